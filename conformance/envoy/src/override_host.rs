//! Endpoints that headers of a request name (`OverrideHost`): the server has them at addresses of its
//! own, and gets the headers with those.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use envoy_types::pb::envoy::config::cluster::v3::Cluster as ClusterConfig;
use prost::Message;
use twinmesh_engine::{Request, endpoint};
use twinmesh_xds::managed_header::arrives_as_sent;
use twinmesh_xds::{Cluster, Snapshot, Terminal};

use crate::rewrite::{Place, stands_in};

/// The longest address of a stand-in, with the comma that follows it.
const LONGEST: usize = "127.199.255.255:65535,".len();

/// `max_request_headers_kb` where a connection manager does not say.
const HEAD_KILOBYTES: u32 = 60;

/// The endpoints that a header's value names, in order: addresses with commas between them.
pub fn names(value: &str) -> impl Iterator<Item = &str> {
    let parts = value.split(',').map(|part| part.trim_matches(is_space));
    parts.filter(|part| !part.is_empty())
}

/// What Envoy takes for white space around an address.
fn is_space(character: char) -> bool {
    matches!(character, '\t'..='\r' | ' ')
}

/// The headers that name endpoints of a snapshot's clusters.
pub struct OverrideHosts {
    /// By name, in lower case.
    headers: BTreeMap<String, Header>,
    /// How many endpoints of the snapshot are at each address.
    endpoints: BTreeMap<String, usize>,
    /// The length of a head that no connection manager refuses.
    head: usize,
}

struct Header {
    /// Something else reads it, too.
    is_read: bool,
    /// The addresses that two endpoints of one cluster have, of those that look at it.
    shared: BTreeSet<String>,
}

impl OverrideHosts {
    /// Those of this snapshot.
    pub fn new(snapshot: &Snapshot) -> Self {
        let mut found = Self {
            headers: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            head: usize::MAX,
        };
        let asked = snapshot.clusters.iter();
        if asked.clone().all(|it| it.override_headers.is_none()) {
            return found;
        }
        let texts = texts(snapshot);
        for cluster in &snapshot.clusters {
            let (mut own, mut shared) = (BTreeSet::new(), BTreeSet::new());
            for address in addresses(cluster) {
                *found.endpoints.entry(address.clone()).or_default() += 1;
                if !own.insert(address.clone()) {
                    shared.insert(address);
                }
            }
            for name in cluster.override_headers.iter().flatten() {
                let header = found.headers.entry(name.clone());
                let header = header.or_insert_with(|| Header {
                    is_read: is_read(name, &texts),
                    shared: BTreeSet::new(),
                });
                header.shared.extend(shared.iter().cloned());
            }
        }
        found.head = longest_head(snapshot);
        found
    }

    /// Why this request cannot be sent with the addresses that the server has its endpoints at.
    pub fn why_not(&self, request: &Request) -> Option<String> {
        let mut longer = 0;
        for (name, value) in &request.headers {
            let Some(header) = self.headers.get(&name.to_ascii_lowercase()) else {
                continue;
            };
            for address in names(value) {
                let Some(count) = self.endpoints.get(address) else {
                    if is_stand_in(address) {
                        return Some(format!(
                            "its header {name:?} names {address}, which another endpoint may be at in this run"
                        ));
                    }
                    continue;
                };
                if header.is_read {
                    return Some(format!(
                        "its header {name:?} names {address}, which is at another address in this run, and something else may read it"
                    ));
                }
                if header.shared.contains(address) {
                    return Some(format!(
                        "its header {name:?} names {address}, which two endpoints of a cluster have"
                    ));
                }
                longer += count * LONGEST;
            }
        }
        (longer > 0 && request.head().len() + longer > self.head).then(|| {
            "with the addresses of its endpoints in this run its head may be too large".to_owned()
        })
    }

    /// The requests with the addresses that the server has the snapshot's endpoints at, all at this port.
    /// One that several clusters have becomes a list: each knows its own.
    pub fn translated<'r>(
        &self,
        requests: &'r [Request],
        snapshot: &Snapshot,
        places: &BTreeMap<String, Place>,
        port: u16,
    ) -> Cow<'r, [Request]> {
        if self.headers.is_empty() {
            return Cow::Borrowed(requests);
        }
        let mut stand_ins: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (ip, place) in places {
            if let Some(address) = address_at(snapshot, *place) {
                let own = stand_ins.entry(address).or_default();
                own.push(format!("{ip}:{port}"));
            }
        }
        let translate = |request: &Request| {
            let mut request = request.clone();
            for (name, value) in &mut request.headers {
                if self.headers.contains_key(&name.to_ascii_lowercase()) {
                    *value = translated(value, &stand_ins);
                }
            }
            request
        };
        Cow::Owned(requests.iter().map(translate).collect())
    }
}

/// The value with what stands in for each endpoint that it names; all else as it is.
fn translated(value: &str, stand_ins: &BTreeMap<String, Vec<String>>) -> String {
    let parts = value.split(',').map(|part| {
        let address = part.trim_matches(is_space);
        match stand_ins.get(address) {
            Some(own) => Cow::Owned(part.replacen(address, &own.join(","), 1)),
            None => Cow::Borrowed(part),
        }
    });
    parts.collect::<Vec<_>>().join(",")
}

fn addresses(cluster: &Cluster) -> impl Iterator<Item = String> {
    let groups = cluster.load_assignment.iter().flat_map(|it| &it.endpoints);
    let endpoints = groups.flat_map(|group| &group.lb_endpoints);
    endpoints.filter_map(endpoint::address)
}

fn address_at(snapshot: &Snapshot, place: Place) -> Option<String> {
    let assignment = snapshot
        .clusters
        .get(place.cluster)?
        .load_assignment
        .as_ref();
    let group = assignment?.endpoints.get(place.locality)?;
    endpoint::address(group.lb_endpoints.get(place.endpoint)?)
}

/// Whether an endpoint of some run may have this address.
fn is_stand_in(address: &str) -> bool {
    let (ip, _) = address.rsplit_once(':').unwrap_or((address, ""));
    ip.parse::<Ipv4Addr>().is_ok_and(stands_in)
}

fn longest_head(snapshot: &Snapshot) -> usize {
    let chains = snapshot.all_filter_chains();
    let said = chains.filter_map(|chain| match &chain.terminal {
        Terminal::Http { manager, .. } => manager.max_request_headers_kb.as_ref(),
        _ => None,
    });
    let least = said.map(|it| it.value).chain([HEAD_KILOBYTES]).min();
    usize::try_from(least.unwrap_or_default()).map_or(usize::MAX, |least| least * 1024)
}

/// All that may read a header: listeners, route configurations, and clusters but for their balancers,
/// which read none but those that name endpoints. Extensions hold others' bytes, in which names stand as
/// they are.
fn texts(snapshot: &Snapshot) -> Vec<Vec<u8>> {
    let listeners = snapshot.listeners.iter();
    let listeners = listeners.map(|it| it.config.encode_to_vec());
    let tables = snapshot.route_configurations.iter();
    let tables = tables.map(|it| it.config.encode_to_vec());
    let clusters = snapshot.clusters.iter().map(|cluster| {
        let rest = ClusterConfig {
            load_balancing_policy: None,
            ..cluster.config.clone()
        };
        rest.encode_to_vec()
    });
    let mut texts: Vec<Vec<u8>> = listeners.chain(tables).chain(clusters).collect();
    for text in &mut texts {
        text.make_ascii_lowercase();
    }
    texts
}

/// Whether something beside balancers may read this header: Envoy itself, or what has its name in one of
/// these texts.
fn is_read(name: &str, texts: &[Vec<u8>]) -> bool {
    const BY_ENVOY: [&str; 5] = [":", "access-control-", "content-", "grpc-", "x-forwarded-"];
    const ITSELF: [&str; 3] = ["cookie", "host", "origin"];
    let mut texts = texts.iter();
    !arrives_as_sent(name)
        || BY_ENVOY.iter().any(|prefix| name.starts_with(prefix))
        || ITSELF.contains(&name)
        || texts.any(|text| {
            let mut parts = text.windows(name.len().max(1));
            parts.any(|part| part == name.as_bytes())
        })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};
    use twinmesh_xds::{ReadOptions, read_bytes};

    use super::*;

    const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    const MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    const POLICY: &str = "type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost";
    const TURNS: &str =
        "type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin";

    fn policy(of: Value) -> Value {
        json!({"policies": [{"typed_extension_config": {"name": "p", "typed_config": of}}]})
    }

    /// A cluster with endpoints 10.0.0.N:80, which a header names.
    fn cluster(name: &str, header: &str, endpoints: &[u8]) -> Value {
        let endpoint = |number: &u8| {
            let address = json!({"address": format!("10.0.0.{number}"), "port_value": 80});
            json!({"endpoint": {"address": {"socket_address": address}}})
        };
        let endpoints: Vec<Value> = endpoints.iter().map(endpoint).collect();
        let fallback = policy(json!({"@type": TURNS}));
        json!({
            "name": name, "type": "STATIC",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
            "load_balancing_policy": policy(json!({
                "@type": POLICY, "override_host_sources": [{"header": header}],
                "fallback_policy": fallback,
            })),
        })
    }

    /// Three clusters behind one route that matches on x-read; the last one's endpoints share an address.
    fn snapshot() -> Snapshot {
        let route = json!({
            "match": {"prefix": "/", "headers": [{"name": "X-Read", "present_match": true}]},
            "route": {"cluster": "a"},
        });
        let manager = json!({
            "@type": MANAGER, "stat_prefix": "s", "max_request_headers_kb": 1,
            "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
            "route_config": {"name": "t", "virtual_hosts": [
                {"name": "v", "domains": ["*"], "routes": [route]}]},
        });
        let text = json!({"static_resources": {
            "listeners": [{
                "name": "l", "address": {"socket_address": {"address": "10.9.0.1", "port_value": 80}},
                "filter_chains": [{"filters": [{"name": "m", "typed_config": manager}]}],
            }],
            "clusters": [
                cluster("a", "X-Host", &[1, 2]),
                cluster("b", "x-host", &[2, 3]),
                cluster("c", "x-read", &[1]),
                cluster("d", "x-shared", &[4, 5, 4]),
            ],
        }});
        let text = text.to_string();
        let read = read_bytes("s.json", text.as_bytes(), &ReadOptions::default());
        read.unwrap_or_else(|error| panic!("{error}"))
    }

    fn request(headers: &[(&str, &str)]) -> Request {
        let line = json!({"id": "r", "authority": "h", "headers": headers});
        serde_json::from_value(line).expect("a line of traffic")
    }

    fn places() -> BTreeMap<String, Place> {
        let place = |cluster, endpoint| Place {
            cluster,
            locality: 0,
            endpoint,
        };
        let places = [
            (0, 0),
            (0, 1),
            (1, 0),
            (1, 1),
            (2, 0),
            (3, 0),
            (3, 1),
            (3, 2),
        ];
        let places = places.iter().enumerate();
        let places = places.map(|(index, (cluster, endpoint))| {
            (format!("127.1.0.{index}"), place(*cluster, *endpoint))
        });
        places.collect()
    }

    #[rstest]
    #[case("x-host", "10.0.0.3:80", "127.1.0.3:7")]
    #[case("X-HOST", "10.0.0.2:80", "127.1.0.1:7,127.1.0.2:7")]
    #[case(
        "x-host",
        " 10.0.0.9:80 ,, 10.0.0.3:80\t",
        " 10.0.0.9:80 ,, 127.1.0.3:7\t"
    )]
    #[case("x-host", "10.0.0.3:80 10.0.0.3:80", "10.0.0.3:80 10.0.0.3:80")]
    #[case("x-host", "10.0.0.3", "10.0.0.3")]
    #[case("x-other", "10.0.0.3:80", "10.0.0.3:80")]
    fn addresses_become_the_servers_own(
        #[case] name: &str,
        #[case] value: &str,
        #[case] expected: &str,
    ) {
        let snapshot = snapshot();
        let hosts = OverrideHosts::new(&snapshot);
        let requests = [request(&[(name, value)])];
        assert_eq!(hosts.why_not(&requests[0]), None);
        let translated = hosts.translated(&requests, &snapshot, &places(), 7);
        let expected = [(name.to_owned(), expected.to_owned())];
        assert_eq!(translated[0].headers, expected);
    }

    #[rstest]
    #[case("x-read", "10.0.0.1:80", Some("something else may read it"))]
    #[case("x-read", "10.0.0.9:80", None)]
    #[case(
        "X-Shared",
        "10.0.0.4:80",
        Some("which two endpoints of a cluster have")
    )]
    #[case("x-shared", "10.0.0.5:80", None)]
    // Another cluster's two endpoints are not asked for.
    #[case("x-host", "10.0.0.4:80", None)]
    #[case(
        "x-host",
        "10.0.0.9:80, 127.1.0.0:80",
        Some("another endpoint may be at")
    )]
    #[case("x-host", "127.0.255.255:80", None)]
    #[case("x-other", "127.1.0.0:80", None)]
    fn what_may_not_be_translated_is_not_sent(
        #[case] name: &str,
        #[case] value: &str,
        #[case] expected: Option<&str>,
    ) {
        let hosts = OverrideHosts::new(&snapshot());
        let why = hosts.why_not(&request(&[(name, value)]));
        assert_eq!(why.is_some(), expected.is_some(), "{why:?}");
        let why = why.unwrap_or_default();
        assert!(why.contains(expected.unwrap_or_default()), "{why}");
    }

    #[test]
    fn a_head_does_not_become_too_large() {
        let hosts = OverrideHosts::new(&snapshot());
        let why = |times: usize, name: &str| {
            let value = vec![name; times].join(",");
            hosts.why_not(&request(&[("x-host", &value)]))
        };
        assert_eq!(why(20, "10.0.0.3:80"), None);
        assert!(why(35, "10.0.0.3:80").is_some());
        // What stays as it is may be as large as it likes.
        assert_eq!(why(200, "10.0.0.9:80"), None);
    }

    #[rstest]
    #[case("x-host", "", false)]
    #[case("x-host", "%req(x-host)%", true)]
    #[case("cookie", "", true)]
    #[case("x-forwarded-proto", "", true)]
    #[case("x-request-id", "", true)]
    fn who_reads_a_header(#[case] name: &str, #[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_read(name, &[text.as_bytes().to_vec()]), expected);
    }
}
