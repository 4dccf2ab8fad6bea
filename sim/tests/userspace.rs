//! What userspace alone decides: that the tables name it, and that both engines leave the same of
//! it undecided.

use std::sync::Arc;

use rstest::rstest;
use serde_json::{Value, json};
use twinmesh_compile::{Part, compile};
use twinmesh_engine::{Decision, Engine, Outcome, Request};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::{ReadOptions, Snapshot};

const NETWORK: &str = "type.googleapis.com/envoy.extensions.filters.network";

fn cluster(name: &str, more: &Value) -> Value {
    let endpoints: Vec<Value> = (1..=9)
        .map(|number| {
            let address = json!({"address": format!("10.0.0.{number}"), "port_value": 80});
            json!({"endpoint": {"address": {"socket_address": address}}})
        })
        .collect();
    let mut cluster = json!({
        "name": name, "type": "STATIC", "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        cluster[field] = value.clone();
    }
    cluster
}

/// A listener with one filter, and four clusters.
fn snapshot(filter: &Value) -> Arc<Snapshot> {
    let bootstrap = json!({"static_resources": {
        "listeners": [{
            "name": "web",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}},
            "filter_chains": [{"filters": [filter]}],
        }],
        "clusters": [
            cluster("plain", &json!({})),
            cluster("ring", &json!({"lb_policy": "RING_HASH"})),
            cluster("table", &json!({"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 31}})),
            cluster("random", &json!({"lb_policy": "RANDOM"})),
        ],
    }});
    let text = bootstrap.to_string();
    let read = twinmesh_xds::read_bytes("test.json", text.as_bytes(), &ReadOptions::default());
    Arc::new(read.unwrap_or_else(|error| panic!("{error}")))
}

fn routes(routes: &[Value]) -> Arc<Snapshot> {
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    snapshot(&json!({"name": "http", "typed_config": {
        "@type": format!("{NETWORK}.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "s",
        "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
        "route_config": {"name": "rc", "virtual_hosts": [
            {"name": "host", "domains": ["*"], "routes": routes},
        ]},
    }}))
}

fn to(cluster: &str, policies: &Value) -> Value {
    json!({"match": {"prefix": "/"}, "route": {"cluster": cluster, "hash_policy": policies}})
}

/// What both engines decide.
fn decide(snapshot: &Arc<Snapshot>, request: &Value, random: u64) -> Decision {
    let mut line = json!({"id": "r", "authority": "a.test"});
    for (field, value) in request.as_object().into_iter().flatten() {
        line[field] = value.clone();
    }
    let request: Request = serde_json::from_value(line).expect("a line of traffic");
    let mut decisions = Vec::new();
    let engines: [&mut dyn Engine; 2] = [&mut Spec::default(), &mut Sim::default()];
    for engine in engines {
        engine.load(snapshot).expect("it loads");
        let mut answer = engine
            .decide(&request, random, 0, true)
            .expect("it decides");
        answer.decision.engine = None;
        answer.decision.reason = None;
        decisions.push((answer.decision, answer.trace));
    }
    let (sim, spec) = (decisions.pop(), decisions.pop());
    assert_eq!(spec, sim);
    spec.expect("two decisions").0
}

#[test]
fn the_tables_name_what_is_left_to_userspace() {
    let share = json!({"prefix": "/s", "runtime_fraction": {"default_value": {"numerator": 5}}});
    let weighted = |entry: Value| json!({"clusters": [{"name": "plain", "weight": 1}, entry]});
    let mut by_hash = weighted(json!({"name": "ring", "weight": 1}));
    by_hash["use_hash_policy"] = json!(true);
    let by_header = weighted(json!({"cluster_header": "x", "weight": 1}));
    let snapshot = routes(&[
        json!({"match": share, "route": {"cluster": "plain"}}),
        json!({"match": {"prefix": "/h"}, "route": {"cluster_header": "x"}}),
        json!({"match": {"prefix": "/w"}, "route": {"weighted_clusters": by_header}}),
        json!({"match": {"prefix": "/b"}, "route": {"weighted_clusters": by_hash}}),
        to("plain", &json!([{"header": {"header_name": "x"}}])),
    ]);
    let compiled = compile(&snapshot).expect("it compiles");
    assert!(compiled.undecided().is_empty());
    let found: Vec<_> = compiled
        .userspace()
        .iter()
        .map(|found| {
            (
                found.part,
                found.path.rsplit("routes").next().unwrap_or_default(),
            )
        })
        .collect();
    let expected = [
        (Some(Part::Cluster(1)), "lb_policy"),
        (Some(Part::Cluster(2)), "lb_policy"),
        (Some(Part::Cluster(3)), "lb_policy"),
        (Some(Part::Route(0, 0, 0)), "[0].match.runtime_fraction"),
        (Some(Part::Route(0, 0, 1)), "[1].route.cluster_header"),
        (
            Some(Part::Route(0, 0, 2)),
            "[2].route.weighted_clusters.clusters[1].cluster_header",
        ),
        (
            Some(Part::Route(0, 0, 3)),
            "[3].route.weighted_clusters.use_hash_policy",
        ),
    ];
    assert_eq!(found, expected);
}

#[rstest]
#[case::made_up(json!({"cookie": {"name": "c", "ttl": "1s"}}), json!({}))]
#[case::made_up_for_an_empty_one(
    json!({"cookie": {"name": "c", "ttl": "1s"}}),
    json!({"headers": [["cookie", "c="]]})
)]
#[case::no_source(json!({"connection_properties": {"source_ip": true}}), json!({}))]
#[case::forwarded(
    json!({"connection_properties": {"source_ip": true}}),
    json!({"source": "10.0.0.1:5", "headers": [["x-forwarded-for", "10.1.1.1"]]})
)]
#[case::filter_state(json!({"filter_state": {"key": "k"}}), json!({}))]
#[case::managed(json!({"header": {"header_name": "x-request-id"}}), json!({}))]
fn only_a_cluster_that_hashes_needs_the_hash(#[case] policy: Value, #[case] request: Value) {
    let policies = json!([policy]);
    for (cluster, expected) in [
        ("plain", Outcome::Forward),
        ("random", Outcome::Forward),
        ("ring", Outcome::Unsupported),
        ("table", Outcome::Unsupported),
    ] {
        let snapshot = routes(&[to(cluster, &policies)]);
        let outcome = decide(&snapshot, &request, 7).outcome;
        assert_eq!(outcome, expected, "{cluster}");
    }
}

#[test]
fn a_terminal_policy_keeps_what_follows_from_being_asked() {
    let policies = json!([
        {"header": {"header_name": "x"}, "terminal": true}, {"filter_state": {"key": "k"}},
    ]);
    let snapshot = routes(&[to("table", &policies)]);
    let given = json!({"headers": [["x", "1"]]});
    assert_eq!(decide(&snapshot, &given, 7).outcome, Outcome::Forward);
    assert_eq!(
        decide(&snapshot, &json!({}), 7).outcome,
        Outcome::Unsupported
    );
}

#[test]
fn connections_are_hashed_by_their_source() {
    let proxy = |policies: Value| {
        snapshot(&json!({"name": "tcp", "typed_config": {
            "@type": format!("{NETWORK}.tcp_proxy.v3.TcpProxy"),
            "stat_prefix": "s", "cluster": "table", "hash_policy": policies,
        }}))
    };
    let by_source = proxy(json!([{"source_ip": {}}]));
    let endpoint =
        |source: &str, random| decide(&by_source, &json!({"source": source}), random).endpoint;
    let first = endpoint("10.0.0.1:5", 1);
    assert!((2..20).all(|random| endpoint("10.0.0.1:6", random) == first));
    assert!((2..20).any(|last| endpoint(&format!("10.0.0.{last}:5"), 1) != first));
    let at_random = proxy(json!([]));
    let chosen = |random| decide(&at_random, &json!({"source": "10.0.0.1:5"}), random).endpoint;
    assert!((2..20).any(|random| chosen(random) != chosen(1)));
}

#[test]
fn the_fraction_and_the_weights_share_the_number() {
    let share = json!({"prefix": "/", "runtime_fraction": {"default_value": {"numerator": 30}}});
    let weighted = json!({"clusters": [
        {"name": "plain", "weight": 30}, {"name": "ring", "weight": 70},
    ]});
    let snapshot = routes(&[
        json!({"match": share, "route": {"weighted_clusters": weighted}}),
        to("table", &json!([])),
    ]);
    for random in 0..300 {
        let expected = if random % 100 < 30 { "plain" } else { "table" };
        let found = decide(&snapshot, &json!({}), random);
        assert_eq!(found.cluster.as_deref(), Some(expected), "{random}");
    }
}
