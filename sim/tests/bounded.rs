//! `hash_balance_factor`: what Envoy 1.40 did with requests of which none ended.

use std::sync::Arc;

use rstest::rstest;
use serde_json::{Value, json};
use twinmesh_engine::{Engine, Request};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::{ReadOptions, Snapshot};

/// What each request hashes, in order.
const HASHED: [&str; 30] = [
    "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "a", "b", "c", "d", "e", "f", "b", "c",
    "a", "a", "d", "zz", "a", "q", "r", "s", "t", "a", "a",
];

fn snapshot(policy: &Value, weights: &[u32]) -> Arc<Snapshot> {
    let endpoints: Vec<Value> = weights
        .iter()
        .zip(1..)
        .map(|(weight, number)| {
            let address = json!({"address": format!("127.0.20.{number}"), "port_value": 9099});
            json!({"endpoint": {"address": {"socket_address": address}},
                "load_balancing_weight": weight})
        })
        .collect();
    let mut cluster = json!({"name": "c", "type": "STATIC", "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": endpoints}]}});
    for (field, value) in policy.as_object().into_iter().flatten() {
        cluster[field] = value.clone();
    }
    let types = "type.googleapis.com/envoy.extensions.filters";
    let by_header = json!({"cluster": "c", "hash_policy": [{"header": {"header_name": "x-h"}}]});
    let manager = json!({
        "@type": format!("{types}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "s",
        "http_filters": [{"name": "router", "typed_config": {
            "@type": format!("{types}.http.router.v3.Router")}}],
        "route_config": {"name": "r", "virtual_hosts": [{"name": "h", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": by_header}]}]},
    });
    let listener = json!({"name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]});
    let bootstrap = json!({"static_resources": {"listeners": [listener], "clusters": [cluster]}});
    let text = bootstrap.to_string();
    let read = twinmesh_xds::read_bytes("test.json", text.as_bytes(), &ReadOptions::default());
    Arc::new(read.expect("it reads"))
}

fn common(policy: &str, factor: u32) -> Value {
    json!({"lb_policy": policy, "common_lb_config": {
        "consistent_hashing_lb_config": {"hash_balance_factor": factor}}})
}

fn own(factor: u32) -> Value {
    let kind = "type.googleapis.com/envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash";
    let config = json!({"@type": kind, "hash_balance_factor": factor});
    let extension = json!({"name": "r", "typed_config": config});
    json!({"load_balancing_policy": {"policies": [{"typed_extension_config": extension}]}})
}

#[rstest]
#[case::ring(common("RING_HASH", 100), [1; 5], "553315311453414324155314453142")]
#[case::looser(common("RING_HASH", 150), [1; 5], "553533531153435224355315423153")]
#[case::table(common("MAGLEV", 120), [1, 2, 3, 1, 1], "333131313434242243133243351333")]
#[case::extension(own(100), [1, 3, 1, 1, 1], "553311453144225222314513422253")]
fn requests_that_do_not_end(
    #[case] policy: Value,
    #[case] weights: [u32; 5],
    #[case] measured: &str,
) {
    let snapshot = snapshot(&policy, &weights);
    let engines: [Box<dyn Engine>; 2] = [Box::<Spec>::default(), Box::<Sim>::default()];
    for mut engine in engines {
        engine.load(&snapshot).expect("it loads");
        let mut held = Vec::new();
        let picks: String = HASHED
            .iter()
            .map(|hashed| {
                let request = json!({"id": "r", "authority": "h", "path": "/",
                    "headers": [["x-h", hashed]], "destination": "127.0.0.1:8080"});
                let request: Request = serde_json::from_value(request).expect("a request");
                let answer = engine.decide(&request, 0, 0, false).expect("it decides");
                held.extend(answer.held);
                let endpoint = answer.decision.endpoint.expect("it is forwarded");
                let address = endpoint.split(':').next().and_then(|it| it.chars().last());
                address.expect("an address")
            })
            .collect();
        assert_eq!(picks, measured, "{}", engine.name());
        // Once they have ended, the hash alone decides again.
        for held in held {
            engine.release(held).expect("it is released");
        }
        let request = json!({"id": "r", "authority": "h", "path": "/",
            "headers": [["x-h", "a"]], "destination": "127.0.0.1:8080"});
        let request: Request = serde_json::from_value(request).expect("a request");
        let answer = engine.decide(&request, 0, 0, false).expect("it decides");
        let endpoint = answer.decision.endpoint.unwrap_or_default();
        let first = measured.chars().next().expect("a pick");
        assert_eq!(
            endpoint,
            format!("127.0.20.{first}:9099"),
            "{}",
            engine.name()
        );
    }
}
