//! Whether two snapshots decide a request alike.

use envoy_types::pb::envoy::config::core::v3::Locality;
use envoy_types::pb::envoy::config::endpoint::v3::{
    LbEndpoint, cluster_load_assignment::Policy, lb_endpoint::HostIdentifier,
};
use envoy_types::pb::google::protobuf::UInt32Value;
use twinmesh_engine::{Outcome, endpoint};
use twinmesh_xds::{Balancer, Cluster, Maglev, RingHash, Snapshot};

use super::changes::Changes;
use super::trial::Origins;
use super::ways::Decided;

/// How it is known whether two routes without names are the same.
#[derive(Clone, Copy)]
pub(crate) enum Same<'a> {
    /// The first is what was changed into the second.
    Changes(&'a Changes),
    /// The first is a trial.
    Trial(&'a Origins),
}

/// Two snapshots whose decisions are compared.
#[derive(Clone, Copy)]
pub(crate) struct Comparison<'a> {
    pub(crate) first: &'a Snapshot,
    pub(crate) second: &'a Snapshot,
    pub(crate) same: Same<'a>,
}

impl Comparison<'_> {
    /// The fields in which two decisions differ, as far as both get.
    pub(crate) fn found(&self, one: &Decided, other: &Decided) -> Vec<&'static str> {
        let undecided = |decided: &Decided| decided.decision.outcome == Outcome::Unsupported;
        if undecided(one) || undecided(other) {
            self.differing_so_far(one, other)
        } else {
            self.differing(one, other)
        }
    }

    /// The fields in which the decisions differ, by name; the endpoints of a cluster as a set.
    fn differing(&self, one: &Decided, other: &Decided) -> Vec<&'static str> {
        let (a, b) = (&one.decision, &other.decision);
        let mut fields = Vec::new();
        let mut differ = |name: &'static str, differs: bool| {
            if differs {
                fields.push(name);
            }
        };
        differ("outcome", a.outcome != b.outcome);
        differ("listener", a.listener != b.listener);
        differ("filter_chain", a.filter_chain != b.filter_chain);
        differ("route_config", a.route_config != b.route_config);
        differ("virtual_host", a.virtual_host != b.virtual_host);
        differ("route", self.is_other_route(one, other));
        differ("cluster", a.cluster != b.cluster);
        differ("status", a.status != b.status);
        differ("location", a.location != b.location);
        differ("path", a.path != b.path);
        differ("authority", a.authority != b.authority);
        differ("body", a.body != b.body);
        differ("request_headers", a.request_headers != b.request_headers);
        differ("response_headers", a.response_headers != b.response_headers);
        differ("mirrors", a.mirrors != b.mirrors);
        // These a script of the endpoints leaves.
        differ("attempts", a.attempts != b.attempts);
        differ("response_flags", a.response_flags != b.response_flags);
        differ("duration_us", a.duration_us != b.duration_us);
        let forwards = a.outcome == Outcome::Forward && b.outcome == Outcome::Forward;
        if forwards && a.cluster == b.cluster {
            let cluster = |snapshot: &'_ Snapshot, of: &Decided| {
                let cluster = of.cluster().and_then(|it| snapshot.clusters.get(it));
                cluster.map(|cluster| {
                    let chooses = (balancing(cluster), zone(snapshot, cluster));
                    (endpoints(cluster), chooses, cluster.balancer)
                })
            };
            let (one_has, other_has) = (cluster(self.first, one), cluster(self.second, other));
            if let (Some(one_has), Some(other_has)) = (one_has, other_has) {
                differ("endpoints", one_has.0 != other_has.0);
                differ("balancer", one_has.1 != other_has.1);
                // What a hash picks does not depend on the requests before.
                let is_alike = one_has == other_has && one_has.2.hashes();
                if is_alike && one.stand_in.is_none() && other.stand_in.is_none() {
                    differ("endpoint", a.endpoint != b.endpoint);
                }
            }
        }
        fields
    }

    /// Where one of the two is not decided to the end: the fields that both got to and in which they
    /// differ.
    fn differing_so_far(&self, one: &Decided, other: &Decided) -> Vec<&'static str> {
        let (a, b) = (&one.decision, &other.decision);
        let names = [
            ("listener", &a.listener, &b.listener),
            ("filter_chain", &a.filter_chain, &b.filter_chain),
            ("route_config", &a.route_config, &b.route_config),
            ("virtual_host", &a.virtual_host, &b.virtual_host),
            ("cluster", &a.cluster, &b.cluster),
        ];
        let differ = names
            .into_iter()
            .filter(|(_, a, b)| a.is_some() && b.is_some() && a != b);
        let mut fields: Vec<&'static str> = differ.map(|(name, _, _)| name).collect();
        let both = one.route().is_some() && other.route().is_some();
        if both && self.is_other_route(one, other) {
            fields.push("route");
        }
        fields
    }

    /// A route without a name is known by what it is, not by its index.
    fn is_other_route(&self, one: &Decided, other: &Decided) -> bool {
        match (one.route(), other.route()) {
            (Some(first), Some(second)) => {
                let named = |name: &Option<String>| {
                    name.as_deref().is_some_and(|name| !name.starts_with('#'))
                };
                let (a, b) = (&one.decision.route, &other.decision.route);
                if named(a) || named(b) {
                    a != b
                } else {
                    match self.same {
                        Same::Changes(changes) => !changes.are_same(first, second),
                        Same::Trial(origins) => {
                            let route = one.way.route.unwrap_or(usize::MAX);
                            origins.second(&one.decision, route) != other.way.route
                        }
                    }
                }
            }
            (first, second) => first.is_some() != second.is_some(),
        }
    }
}

/// An endpoint with all that decides how often it is picked.
type Endpoint = (u32, String, String, i32, u32, u32, Vec<u8>);

/// Each endpoint of a cluster, and what holds for all of them.
fn endpoints(cluster: &Cluster) -> (Vec<Endpoint>, Vec<u8>) {
    let by_hostname = match cluster.balancer {
        Balancer::RingHash(RingHash { hashing, .. }) | Balancer::Maglev(Maglev { hashing, .. }) => {
            hashing.by_hostname
        }
        _ => false,
    };
    let more = |it: &LbEndpoint| {
        let mut more = Vec::new();
        if (cluster.subsets.is_some() || cluster.balancer.hashes())
            && let Some(metadata) = &it.metadata
        {
            // In the order of their names: those of a map have none of their own.
            let mut parts: Vec<_> = metadata.filter_metadata.iter().collect();
            parts.sort_unstable_by_key(|(name, _)| name.as_str());
            let parts = parts.into_iter().map(|(name, fields)| {
                let mut fields: Vec<String> = fields
                    .fields
                    .iter()
                    .map(|(name, value)| format!("{name}={value:?}"))
                    .collect();
                fields.sort_unstable();
                format!("{name}:{fields:?}")
            });
            more.extend(parts.collect::<String>().into_bytes());
        }
        if by_hostname && let Some(HostIdentifier::Endpoint(endpoint)) = &it.host_identifier {
            more.extend(endpoint.hostname.as_bytes());
        }
        more
    };
    let assignment = cluster.load_assignment.as_ref();
    let mut all: Vec<Endpoint> = assignment
        .iter()
        .flat_map(|assignment| &assignment.endpoints)
        .flat_map(|locality| {
            let of_locality = locality.load_balancing_weight.as_ref();
            let of_locality = of_locality.map_or(0, |weight| weight.value);
            let name = locality.locality.clone().unwrap_or_default();
            let name = [name.region, name.zone, name.sub_zone].join("/");
            locality.lb_endpoints.iter().map(move |it| {
                (
                    locality.priority,
                    name.clone(),
                    endpoint::address(it).unwrap_or_default(),
                    it.health_status,
                    it.load_balancing_weight.as_ref().map_or(1, |it| it.value),
                    of_locality,
                    more(it),
                )
            })
        })
        .collect();
    all.sort_unstable();
    // Without endpoints it says nothing, and what a dump says in full may be the default.
    let mut policy = match all.is_empty() {
        true => Policy::default(),
        false => assignment
            .and_then(|it| it.policy.clone())
            .unwrap_or_default(),
    };
    policy
        .overprovisioning_factor
        .get_or_insert(UInt32Value { value: 140 });
    let policy = prost::Message::encode_to_vec(&policy);
    (all, policy)
}

/// What decides besides over a cluster whose load is spread by zone: the zone that Envoy itself is in, and the
/// endpoints of its own cluster.
fn zone(snapshot: &Snapshot, cluster: &Cluster) -> Option<(Option<Locality>, Vec<Endpoint>)> {
    let spreads = snapshot.spreads_by_zone(cluster);
    let local = snapshot.local_cluster.as_deref();
    let local = local.and_then(|name| snapshot.cluster(name));
    let local = local.map_or_else(Vec::new, |local| endpoints(local).0);
    spreads.then(|| (snapshot.node_locality.clone(), local))
}

/// How a cluster chooses one of them.
fn balancing(cluster: &Cluster) -> impl PartialEq + use<> {
    let common = cluster.config.common_lb_config.as_ref();
    (
        cluster.balancer,
        (cluster.locality_weighted, cluster.zone_aware),
        (cluster.fail_traffic_on_panic, cluster.slow_start),
        (cluster.subsets.clone(), cluster.override_headers.clone()),
        common.map(prost::Message::encode_to_vec),
    )
}
