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
    with_filters(&[])
}

/// The same, with these HTTP filters and a direct response for `d.test`.
fn with_filters(filters: &[&str]) -> Arc<Snapshot> {
    let extensions = "type.googleapis.com/envoy.extensions.filters";
    let looks = json!({"prefix": "/",
        "headers": [{"name": "x-a", "string_match": {"exact": "a"}}]});
    let mut manager = json!({
        "@type": format!("{extensions}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "s",
        "route_config": {"name": "rc", "virtual_hosts": [{"name": "v", "domains": ["h.test"],
            "routes": [{"match": looks, "route": {"cluster": "c"}}]}]},
    });
    let answers = json!({"match": {"prefix": "/"},
        "direct_response": {"status": 403, "body": {"inline_string": "no"}}});
    let host = json!({"name": "d", "domains": ["d.test"], "routes": [answers]});
    if let Some(hosts) = manager["route_config"]["virtual_hosts"].as_array_mut() {
        hosts.push(host);
    }
    let filters = filters.iter().copied().chain(["router.v3.Router"]);
    let filters = filters.map(|kind| {
        json!({"name": kind, "typed_config": {"@type": format!("{extensions}.http.{kind}")}})
    });
    manager["http_filters"] = filters.collect();
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

/// grpc_web makes gRPC requests of its own, whose answers are messages.
#[rstest]
#[case(&[], "application/grpc-web", Some("no"))]
#[case(&["grpc_web.v3.GrpcWeb"], "application/grpc-web", None)]
#[case(&["grpc_web.v3.GrpcWeb"], "application/grpc-web-text+proto", None)]
#[case(&["grpc_web.v3.GrpcWeb"], "text/plain", Some("no"))]
fn the_body_of_an_answer_to_grpc_web(
    #[case] filters: &[&str],
    #[case] kind: &str,
    #[case] expected: Option<&str>,
) {
    let snapshot = with_filters(filters);
    let request: Request = serde_json::from_value(json!({"id": "r", "method": "POST",
        "authority": "d.test", "path": "/", "listener": "l", "headers": [["content-type", kind]]}))
    .expect("a request");
    let engines: [Box<dyn Engine>; 2] = [Box::new(Spec::default()), Box::new(Sim::default())];
    for mut engine in engines {
        engine.load(&snapshot).expect("it loads");
        let answer = engine.decide(&request, 0, 0, false).expect("it decides");
        assert_eq!(answer.decision.status, Some(403));
        assert_eq!(
            answer.decision.body.as_deref(),
            expected,
            "{}",
            engine.name()
        );
    }
}
