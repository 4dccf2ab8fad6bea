//! Redirects, as both engines make them and as Envoy 1.40 was measured to.

use std::sync::Arc;

use rstest::rstest;
use serde_json::{Value, json};
use twinmesh_engine::{Engine, Request};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::ReadOptions;

/// The scheme that the request had decides whether its port was that scheme's default, and is left
/// out. At the edge the client does not say it.
#[rstest]
#[case::of_the_connection(false, 0, true, "https://a.com:80/z")]
#[case::as_the_client_says(false, 0, false, "https://a.com/z")]
#[case::at_the_edge(true, 0, true, "https://a.com:80/z")]
#[case::behind_a_trusted_hop(true, 1, true, "https://a.com/z")]
fn whether_the_port_was_a_default_at_the_edge(
    #[case] use_remote_address: bool,
    #[case] xff_num_trusted_hops: u32,
    #[case] is_tls: bool,
    #[case] expected: &str,
) {
    let redirect = json!({"path_redirect": "/z", "https_redirect": true});
    let options = json!({
        "use_remote_address": use_remote_address,
        "xff_num_trusted_hops": xff_num_trusted_hops,
    });
    let mut request = json!({"id": "r", "path": "/a", "authority": "a.com:80", "listener": "l",
        "tls": is_tls});
    if !is_tls || use_remote_address {
        request["headers"] = json!([["x-forwarded-proto", "http"]]);
    }
    assert_sent_to(&redirect, &options, &request, expected);
}

/// Blanks at the end are on the wire, but no client reads them.
#[test]
fn blanks_at_the_end_do_not_count() {
    let redirect = json!({"path_rewrite": "/z%PATH(NQ)% %QUERY_PARAM(q)% "});
    let request = json!({"id": "r", "path": "/a", "authority": "a.com", "listener": "l"});
    assert_sent_to(&redirect, &json!({}), &request, "http://a.com/z/a");
}

/// That both engines answer a request with this location, where its connection manager has these options.
fn assert_sent_to(redirect: &Value, options: &Value, request: &Value, expected: &str) {
    let types = "type.googleapis.com/envoy.extensions.filters";
    let mut manager = json!({
        "@type": format!("{types}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "s",
        "route_config": {"name": "r", "virtual_hosts": [{
            "name": "v", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "redirect": redirect}],
        }]},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": format!("{types}.http.router.v3.Router"),
        }}],
    });
    for (field, value) in options.as_object().into_iter().flatten() {
        manager[field] = value.clone();
    }
    let snapshot = json!({"static_resources": {"listeners": [{
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }]}});
    let text = snapshot.to_string();
    let snapshot = twinmesh_xds::read_bytes("r.json", text.as_bytes(), &ReadOptions::default());
    let snapshot = Arc::new(snapshot.expect("it reads"));
    let request: Request = serde_json::from_value(request.clone()).expect("a request");
    let engines: [Box<dyn Engine>; 2] = [Box::new(Spec::default()), Box::new(Sim::default())];
    for mut engine in engines {
        engine.load(&snapshot).expect("it loads");
        let answer = engine.decide(&request, 0, 0, false);
        let decision = answer.expect("it is decided").decision;
        assert_eq!(decision.location.as_deref(), Some(expected), "{decision:?}");
    }
}
