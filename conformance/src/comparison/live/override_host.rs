//! Which requests name their endpoint (`OverrideHost`), and so ask no balancer.

use twinmesh_engine::{Decision, Request, endpoint};
use twinmesh_envoy::override_host::names;
use twinmesh_xds::Cluster;

use super::pinned::Settled;

/// The requests that ask a cluster's balancer, should they get to it.
pub(super) struct Asking {
    /// `None`: all of them.
    pub(super) ids: Option<Vec<String>>,
    /// Of some nobody can say.
    pub(super) is_open: bool,
}

impl Asking {
    /// All but those that name their endpoint.
    pub(super) fn new(
        cluster: &Cluster,
        requests: &[Request],
        expected: &[Decision],
        found: &[Decision],
    ) -> Self {
        if cluster.override_headers.is_none() {
            return Self {
                ids: None,
                is_open: false,
            };
        }
        let (mut ids, mut is_open) = (Vec::new(), false);
        for ((request, expected), found) in requests.iter().zip(expected).zip(found) {
            let is_of = |it: &&Decision| it.cluster.as_ref() == Some(&cluster.name);
            let mut decisions = [expected, found].into_iter().filter(is_of);
            let named = decisions.next().map(|it| is_named(cluster, request, it));
            is_open |= named == Some(Settled::Perhaps);
            if named != Some(Settled::Yes) {
                ids.push(request.id.clone());
            }
        }
        let ids = (ids.len() < requests.len()).then_some(ids);
        Self { ids, is_open }
    }

    /// Whether the request of this id is one of them.
    pub(super) fn asks(&self, id: &String) -> bool {
        self.ids.as_ref().is_none_or(|ids| ids.contains(id))
    }

    /// Their indices.
    pub(super) fn indices(&self, requests: &[Request]) -> Vec<usize> {
        let all = requests.iter().enumerate();
        let asking = all.filter(|(_, request)| self.asks(&request.id));
        asking.map(|(index, _)| index).collect()
    }
}

/// Whether the request names an endpoint of the cluster; `decision` is one of it.
fn is_named(cluster: &Cluster, request: &Request, decision: &Decision) -> Settled {
    // A TCP proxy looks at no header.
    if decision.route.is_none() {
        return Settled::No;
    }
    let mut settled = Settled::No;
    for header in cluster.override_headers.iter().flatten() {
        let mut lines = request.headers.iter();
        let first = lines.find(|(name, _)| name.eq_ignore_ascii_case(header));
        let Some((_, value)) = first else {
            continue;
        };
        if names(value).any(|name| has(cluster, name)) {
            settled = settled.max(match may_be_another(request, header, value) {
                true => Settled::Perhaps,
                false => Settled::Yes,
            });
        }
    }
    settled
}

fn has(cluster: &Cluster, address: &str) -> bool {
    let groups = cluster.load_assignment.iter().flat_map(|it| &it.endpoints);
    let mut endpoints = groups.flat_map(|group| &group.lb_endpoints);
    endpoints.any(|it| endpoint::address(it).as_deref() == Some(address))
}

/// Whether the balancer may get another value: of a header that `Connection` names, one that is dropped for
/// its name, or one over several lines.
fn may_be_another(request: &Request, header: &str, value: &str) -> bool {
    let mut lines = request.headers.iter();
    header.contains('_')
        || value.contains(['\r', '\n'])
        || lines.any(|(name, _)| {
            // A line that begins with white space goes on with the one before.
            name.starts_with([' ', '\t']) || name.trim().eq_ignore_ascii_case("connection")
        })
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::{
        Address, SocketAddress, address, socket_address::PortSpecifier,
    };
    use envoy_types::pb::envoy::config::endpoint::v3::{
        ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
        lb_endpoint::HostIdentifier,
    };
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    /// 10.0.0.1:80, which x-a and x_b name.
    fn cluster() -> Cluster {
        let socket = SocketAddress {
            address: "10.0.0.1".to_owned(),
            port_specifier: Some(PortSpecifier::PortValue(80)),
            ..SocketAddress::default()
        };
        let endpoint = Endpoint {
            address: Some(Address {
                address: Some(address::Address::SocketAddress(socket)),
            }),
            ..Endpoint::default()
        };
        let group = LocalityLbEndpoints {
            lb_endpoints: vec![LbEndpoint {
                host_identifier: Some(HostIdentifier::Endpoint(endpoint)),
                ..LbEndpoint::default()
            }],
            ..LocalityLbEndpoints::default()
        };
        Cluster {
            load_assignment: Some(ClusterLoadAssignment {
                endpoints: vec![group],
                ..ClusterLoadAssignment::default()
            }),
            override_headers: Some(vec!["x-a".to_owned(), "x_b".to_owned()]),
            ..Cluster::default()
        }
    }

    #[rstest]
    #[case(&[], Settled::No)]
    #[case(&[("X-A", "10.0.0.9:80, 10.0.0.1:80")], Settled::Yes)]
    #[case(&[("x-a", ""), ("x-a", "10.0.0.1:80")], Settled::No)]
    #[case(&[("x-c", "10.0.0.1:80")], Settled::No)]
    #[case(&[("x_b", "10.0.0.1:80")], Settled::Perhaps)]
    #[case(&[("x_b", "10.0.0.1:80"), ("x-a", "10.0.0.1:80")], Settled::Yes)]
    #[case(&[("connection", "x-a"), ("x-a", "10.0.0.1:80")], Settled::Perhaps)]
    #[case(&[("connection", "x-a"), ("x-a", "10.0.0.2:80")], Settled::No)]
    #[case(&[("x-a", "10.0.0.1:80"), (" b", "1")], Settled::Perhaps)]
    fn first_values_name_endpoints(#[case] headers: &[(&str, &str)], #[case] expected: Settled) {
        let request = json!({"id": "r", "headers": headers});
        let request: Request = serde_json::from_value(request).expect("a line of traffic");
        let mut decision = Decision {
            route: Some("#0".to_owned()),
            ..Decision::default()
        };
        assert_eq!(is_named(&cluster(), &request, &decision), expected);
        decision.route = None;
        assert_eq!(is_named(&cluster(), &request, &decision), Settled::No);
    }
}
