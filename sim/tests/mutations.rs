//! What both engines make of header mutations whose effect is not known.

use std::sync::Arc;

use serde_json::{Value, json};
use twinmesh_engine::{Decision, Engine, Outcome, Request};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::ReadOptions;

/// What both make of a request to a redirect with these `response_headers_to_add`.
fn redirected(add: &Value) -> [Decision; 2] {
    let types = "type.googleapis.com/envoy.extensions.filters";
    let manager = json!({
        "@type": format!("{types}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "s",
        "route_config": {"name": "r", "virtual_hosts": [{
            "name": "v", "domains": ["*"], "response_headers_to_add": add,
            "routes": [{"match": {"prefix": "/"}, "redirect": {"path_redirect": "/z"}}],
        }]},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": format!("{types}.http.router.v3.Router"),
        }}],
    });
    let snapshot = json!({"static_resources": {"listeners": [{
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }]}});
    let text = snapshot.to_string();
    let snapshot = twinmesh_xds::read_bytes("r.json", text.as_bytes(), &ReadOptions::default());
    let snapshot = Arc::new(snapshot.expect("it reads"));
    let request = json!({"id": "r", "path": "/a", "authority": "h.test", "listener": "l"});
    let request: Request = serde_json::from_value(request).expect("a request");
    let engines: [Box<dyn Engine>; 2] = [Box::new(Spec::default()), Box::new(Sim::default())];
    engines.map(|mut engine| {
        engine.load(&snapshot).expect("it loads");
        let answer = engine.decide(&request, 0, 0, true);
        answer.expect("it is decided").decision
    })
}

/// Envoy may have written x-request-id itself: what asks whether it is there may add or not.
#[rstest::rstest]
#[case("x-request-id", "ADD_IF_ABSENT", None)]
#[case("x-request-id", "OVERWRITE_IF_EXISTS", None)]
#[case("x-a", "ADD_IF_ABSENT", Some(&["1", "2"][..]))]
#[case("x-a", "OVERWRITE_IF_EXISTS", Some(&["1"][..]))]
fn what_may_be_there_already_is_not_known_to_be_added(
    #[case] name: &str,
    #[case] action: &str,
    #[case] expected: Option<&[&str]>,
) {
    let add = json!([
        {"header": {"key": name, "value": "1"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
        {"header": {"key": name, "value": "2"}, "append_action": action},
    ]);
    for decision in redirected(&add) {
        assert_eq!(decision.outcome, Outcome::Redirect);
        let headers = decision.response_headers.expect("mutations take part");
        let values = headers.get(name).expect("it is named").as_deref();
        let expected = expected.map(|it| it.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        assert_eq!(values, expected.as_deref(), "{:?}", decision.engine);
    }
}
