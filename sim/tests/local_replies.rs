//! The status of what Envoy answers itself: gRPC's requests get 200, whose `content-type` may be
//! in several lines.

use std::sync::Arc;

use rstest::rstest;
use serde_json::json;
use twinmesh_engine::{Engine, Outcome, Request};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::{ReadOptions, Snapshot, read_bytes};

const GRPC: &str = "application/grpc";

/// A snapshot without a virtual host for anything, whose routes do not look at `content-type`.
fn snapshot() -> Arc<Snapshot> {
    let extensions = "type.googleapis.com/envoy.extensions.filters";
    let looks = json!({"prefix": "/",
        "headers": [{"name": "x-a", "string_match": {"exact": "a"}}]});
    let manager = json!({
        "@type": format!("{extensions}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "s",
        "route_config": {"name": "rc", "virtual_hosts": [{"name": "v", "domains": ["h.test"],
            "routes": [{"match": looks, "route": {"cluster": "c"}}]}]},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": format!("{extensions}.http.router.v3.Router")}}]});
    let config = json!({"static_resources": {
        "listeners": [{"name": "l", "address": {"socket_address": {
            "address": "10.0.0.1", "port_value": 80}},
            "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}]}],
        "clusters": [{"name": "c", "type": "STATIC", "connect_timeout": "1s",
            "load_assignment": {"cluster_name": "c"}}]}});
    let read = read_bytes(
        "t.json",
        config.to_string().as_bytes(),
        &ReadOptions::default(),
    );
    Arc::new(read.expect("it is read"))
}

#[rstest]
#[case::one(&[GRPC], 200)]
#[case::none(&[], 404)]
#[case::empty_before(&["", GRPC], 200)]
#[case::empty_behind(&[GRPC, ""], 200)]
#[case::empty_around(&["", "", "application/grpc+proto", ""], 200)]
#[case::another_before(&["a", GRPC], 404)]
#[case::another_behind(&[GRPC, "a"], 404)]
fn lines_of_content_type_are_joined(#[case] lines: &[&str], #[case] expected: u32) {
    let request: Request = serde_json::from_value(json!({
        "id": "r", "authority": "other.test", "listener": "l",
        "headers": lines.iter().map(|line| ("content-type", line)).collect::<Vec<_>>()}))
    .expect("a request");
    let engines: [Box<dyn Engine>; 2] = [Box::new(Spec::default()), Box::new(Sim::default())];
    for mut engine in engines {
        let snapshot = snapshot();
        engine.load(&snapshot).expect("it is taken");
        let decision = engine.decide(&request, 0, 0, false).expect("it decides");
        let decision = decision.decision;
        assert_eq!(decision.outcome, Outcome::NoVirtualHost);
        assert_eq!(decision.status, Some(expected), "{}", engine.name());
    }
}
