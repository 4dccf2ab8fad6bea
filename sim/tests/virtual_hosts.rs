//! Virtual hosts that userspace alone decides: `require_tls` and matcher trees; and circuit breakers
//! that let nothing through. Both engines are asked, and agree.

use std::sync::Arc;

use rstest::rstest;
use serde_json::{Value, json};
use twinmesh_compile::{Part, compile};
use twinmesh_engine::{Decision, Engine, Failed, Outcome, Request, Step, Trace};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::{ReadOptions, Snapshot};

const NETWORK: &str = "type.googleapis.com/envoy.extensions.filters.network";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
const INPUT: &str = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput";

fn address(host: &str) -> Value {
    json!({"socket_address": {"address": host, "port_value": 80}})
}

/// A listener with one virtual host, and a cluster of two endpoints.
fn snapshot(manager: &Value, host: &Value, cluster: &Value) -> Arc<Snapshot> {
    let endpoint = |host: &str| json!({"endpoint": {"address": address(host)}});
    let mut all = json!({
        "name": "c", "type": "STATIC",
        "load_assignment": {"cluster_name": "c", "endpoints": [
            {"lb_endpoints": [endpoint("10.0.0.1"), endpoint("10.0.0.2")]}]},
    });
    let mut connections = json!({
        "@type": format!("{NETWORK}.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "s",
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
    });
    let mut own = json!({"name": "host", "domains": ["*"]});
    for (to, from) in [
        (&mut all, cluster),
        (&mut connections, manager),
        (&mut own, host),
    ] {
        for (field, value) in from.as_object().into_iter().flatten() {
            to[field] = value.clone();
        }
    }
    connections["route_config"] = json!({"name": "rc", "virtual_hosts": [own]});
    let bootstrap = json!({"static_resources": {
        "listeners": [{"name": "web", "address": address("127.0.0.1"), "filter_chains": [
            {"filters": [{"name": "http", "typed_config": connections}]}]}],
        "clusters": [all],
    }});
    let text = bootstrap.to_string();
    let read = twinmesh_xds::read_bytes("test.json", text.as_bytes(), &ReadOptions::default());
    Arc::new(read.unwrap_or_else(|error| panic!("{error}")))
}

/// What both engines decide of these, one after the other.
fn decide(snapshot: &Arc<Snapshot>, requests: &[Value]) -> Vec<(Decision, Trace)> {
    let engines: [&mut dyn Engine; 2] = [&mut Spec::default(), &mut Sim::default()];
    let mut found = engines.map(|engine| {
        engine.load(snapshot).expect("it loads");
        let mut answers = Vec::new();
        for request in requests {
            let mut line = json!({"id": "r", "authority": "a.test"});
            for (field, value) in request.as_object().into_iter().flatten() {
                line[field] = value.clone();
            }
            let request: Request = serde_json::from_value(line).expect("a line of traffic");
            let answer = engine.decide(&request, 0, 0, true).expect("it decides");
            if let Some(held) = answer.held {
                engine.release(held).expect("it was held");
            }
            let mut decision = answer.decision;
            (decision.engine, decision.reason) = (None, None);
            answers.push((decision, answer.trace));
        }
        answers
    });
    assert_eq!(found[0], found[1]);
    std::mem::take(&mut found[0])
}

fn secured(kind: &str) -> Value {
    json!({"require_tls": kind, "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]})
}

#[rstest]
#[case::all("ALL", json!({}), json!({}), false)]
#[case::over_tls("ALL", json!({}), json!({"tls": true}), true)]
#[case::said("ALL", json!({}), json!({"headers": [["x-forwarded-proto", "https"]]}), true)]
#[case::said_in_capitals("ALL", json!({}), json!({"headers": [["x-forwarded-proto", "HTTPS"]]}), false)]
#[case::nobody_is_inside("EXTERNAL_ONLY", json!({}), json!({"headers": [["x-forwarded-for", "10.1.1.1"]]}), false)]
#[case::private_ten("EXTERNAL_ONLY", json!({"internal_address_config": {"unix_sockets": true}}), json!({"headers": [["x-forwarded-for", "10.1.1.1"]]}), true)]
#[case::private_172("EXTERNAL_ONLY", json!({"internal_address_config": {"unix_sockets": true}}), json!({"headers": [["x-forwarded-for", "172.31.0.1"]]}), true)]
#[case::beside_172("EXTERNAL_ONLY", json!({"internal_address_config": {"unix_sockets": true}}), json!({"headers": [["x-forwarded-for", "172.32.0.1"]]}), false)]
#[case::private_192("EXTERNAL_ONLY", json!({"internal_address_config": {"unix_sockets": true}}), json!({"headers": [["x-forwarded-for", "192.168.1.1"]]}), true)]
#[case::loopback("EXTERNAL_ONLY", json!({"internal_address_config": {"unix_sockets": true}}), json!({"headers": [["x-forwarded-for", "127.0.0.1"]]}), true)]
#[case::other_loopback("EXTERNAL_ONLY", json!({"internal_address_config": {"unix_sockets": true}}), json!({"headers": [["x-forwarded-for", "127.0.0.2"]]}), false)]
#[case::unique_local("EXTERNAL_ONLY", json!({"internal_address_config": {"unix_sockets": true}}), json!({"headers": [["x-forwarded-for", "fd00::1"]]}), true)]
#[case::beside_unique_local("EXTERNAL_ONLY", json!({"internal_address_config": {"unix_sockets": true}}), json!({"headers": [["x-forwarded-for", "fc00::1"]]}), false)]
#[case::loopback_v6("EXTERNAL_ONLY", json!({"internal_address_config": {"unix_sockets": true}}), json!({"headers": [["x-forwarded-for", "::1"]]}), true)]
#[case::elsewhere("EXTERNAL_ONLY", json!({"internal_address_config": {"unix_sockets": true}}), json!({"headers": [["x-forwarded-for", "9.9.9.9"]]}), false)]
#[case::outside("EXTERNAL_ONLY", inside(false), json!({"headers": [["x-forwarded-for", "11.1.1.1"]]}), false)]
#[case::inside("EXTERNAL_ONLY", inside(false), json!({"headers": [["x-forwarded-for", "10.1.1.1"]]}), true)]
#[case::of_two("EXTERNAL_ONLY", inside(false), json!({"headers": [["x-forwarded-for", "10.1.1.1,10.1.1.1"]]}), false)]
#[case::by_source("EXTERNAL_ONLY", inside(true), json!({"source": "10.1.1.1:5"}), true)]
#[case::by_mapped_source("EXTERNAL_ONLY", inside(true), json!({"source": "[::ffff:10.1.1.1]:5"}), true)]
#[case::by_other_source("EXTERNAL_ONLY", inside(true), json!({"source": "11.1.1.1:5"}), false)]
#[case::behind_another("EXTERNAL_ONLY", inside(true),
    json!({"source": "10.1.1.1:5", "headers": [["x-forwarded-for", "10.1.1.1"]]}), false)]
#[case::not_of_all("ALL", inside(true), json!({"source": "10.1.1.1:5"}), false)]
fn tls(
    #[case] kind: &str,
    #[case] manager: Value,
    #[case] request: Value,
    #[case] is_forwarded: bool,
) {
    let snapshot = snapshot(&manager, &secured(kind), &json!({}));
    let (decision, trace) = decide(&snapshot, &[request]).pop().expect("a decision");
    if is_forwarded {
        assert_eq!(decision.outcome, Outcome::Forward);
        return;
    }
    assert_eq!(decision.outcome, Outcome::Redirect);
    assert_eq!(decision.status, Some(301));
    assert_eq!(decision.location.as_deref(), Some("https://a.test/"));
    assert_eq!(
        (decision.virtual_host.as_deref(), decision.route),
        (Some("host"), None)
    );
    assert!(matches!(trace.steps.last(), Some(Step::VirtualHost { .. })));
}

fn inside(own: bool) -> Value {
    json!({"use_remote_address": own, "internal_address_config": {"cidr_ranges": [
        {"address_prefix": "10.0.0.0", "prefix_len": 8}]}})
}

#[test]
fn a_source_that_nobody_says_is_undecided() {
    let snapshot = snapshot(&inside(true), &secured("EXTERNAL_ONLY"), &json!({}));
    let (decision, _) = decide(&snapshot, &[json!({})]).pop().expect("a decision");
    assert_eq!(decision.outcome, Outcome::Unsupported);
}

fn input(name: &str) -> Value {
    json!({"name": "i", "typed_config": {"@type": INPUT, "header_name": name}})
}

fn is(name: &str, value: &str) -> Value {
    json!({"single_predicate": {"input": input(name), "value_match": {"exact": value}}})
}

fn to(name: &str, path: &str) -> Value {
    json!({"action": {"name": "a", "typed_config": {
        "@type": "type.googleapis.com/envoy.config.route.v3.Route",
        "name": name, "match": {"prefix": path}, "route": {"cluster": "c"}}}})
}

fn to_all(routes: &[(&str, &str)]) -> Value {
    let routes: Vec<Value> = routes
        .iter()
        .map(|(name, path)| {
            json!({"name": name, "match": {"prefix": path}, "route": {"cluster": "c"}})
        })
        .collect();
    json!({"action": {"name": "a", "typed_config": {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteList", "routes": routes}}})
}

fn tree() -> Value {
    let inner = json!({"matcher_tree": {"input": input("x-b"), "exact_match_map": {"map": {
        "2": to("b2", "/"), "1": to("b1", "/deep")}}}});
    json!({"matcher": {
        "matcher_list": {"matchers": [
            {"predicate": is("x-a", "1"), "on_match": {"matcher": inner}},
            {"predicate": {"not_matcher": is("x-a", "2")}, "on_match": to_all(&[
                ("first", "/first"), ("second", "/second")])},
        ]},
        "on_no_match": to("other", "/"),
    }})
}

#[rstest]
#[case::in_a_map(json!({"headers": [["x-a", "1"], ["x-b", "2"]]}), Some("b2"), &[])]
#[case::in_a_map_and_refused(json!({"headers": [["x-a", "1"], ["x-b", "1"]]}), None, &[0])]
#[case::refused_where_a_map_had_nothing(json!({"headers": [["x-a", "1"]]}), None, &[2, 3])]
#[case::a_list_goes_on_behind_a_map(
    json!({"path": "/second", "headers": [["x-a", "1"], ["x-b", "3"]]}), Some("second"), &[2])]
#[case::missing(json!({"path": "/first"}), Some("first"), &[])]
#[case::nothing(json!({"headers": [["x-a", "2"]]}), Some("other"), &[])]
fn trees(#[case] request: Value, #[case] route: Option<&str>, #[case] refused: &[usize]) {
    let snapshot = snapshot(&json!({}), &tree(), &json!({}));
    let (decision, trace) = decide(&snapshot, &[request]).pop().expect("a decision");
    assert_eq!(decision.route.as_deref(), route);
    let outcome = if route.is_some() {
        Outcome::Forward
    } else {
        Outcome::NoRoute
    };
    assert_eq!(decision.outcome, outcome);
    let steps: Vec<usize> = trace
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::RouteNotMatched {
                route,
                failed: Failed::Path,
            } => Some(*route),
            _ => None,
        })
        .collect();
    assert_eq!(steps, refused);
}

/// Envoy joins the lines of a header before a tree sees them.
#[test]
fn repeated_headers_are_joined() {
    let matcher = json!({"matcher_tree": {"input": input("x-a"), "exact_match_map": {"map": {
        "1,2": to("joined", "/"), "1": to("first", "/")}}}});
    let snapshot = snapshot(&json!({}), &json!({"matcher": matcher}), &json!({}));
    let request = json!({"headers": [["x-a", "1"], ["x-a", "2"]]});
    let (decision, _) = decide(&snapshot, &[request]).pop().expect("a decision");
    assert_eq!(decision.route.as_deref(), Some("joined"));
}

#[test]
fn the_tables_name_what_is_left_to_userspace() {
    for (host, path) in [(secured("ALL"), "require_tls"), (tree(), "matcher")] {
        let compiled = compile(&snapshot(&json!({}), &host, &json!({}))).expect("it compiles");
        assert!(compiled.undecided().is_empty());
        let found = compiled.userspace();
        let [found] = found else {
            panic!("{found:?}");
        };
        assert_eq!(found.part, Some(Part::VirtualHost(0, 0)));
        assert!(
            found.path.ends_with(&format!("virtual_hosts[0].{path}")),
            "{}",
            found.path
        );
    }
}

#[rstest]
#[case::requests(json!([{"max_requests": 0}]), [true, false], true)]
#[case::pending(json!([{"max_pending_requests": 0}]), [true, false], false)]
#[case::high(json!([{"priority": "HIGH", "max_requests": 0}]), [false, true], true)]
#[case::more(json!([{"max_requests": 1, "max_pending_requests": 1}]), [false, false], true)]
fn breakers(#[case] thresholds: Value, #[case] refused: [bool; 2], #[case] names_endpoint: bool) {
    let route = |path: &str, priority: &str| json!({"match": {"path": path}, "route": {"cluster": "c", "priority": priority}});
    let host = json!({"routes": [route("/", "DEFAULT"), route("/high", "HIGH")]});
    let cluster = json!({
        "circuit_breakers": {"thresholds": thresholds}, "lb_policy": "LEAST_REQUEST",
    });
    let snapshot = snapshot(&json!({}), &host, &cluster);
    let requests = [json!({}), json!({"path": "/high"})];
    for ((decision, trace), refused) in decide(&snapshot, &requests).into_iter().zip(refused) {
        // The balancer chooses all the same.
        assert!(matches!(trace.steps.last(), Some(Step::Endpoint { .. })));
        if refused {
            assert_eq!(
                (decision.outcome, decision.status),
                (Outcome::Overflow, Some(503))
            );
            assert_eq!(decision.endpoint.is_some(), names_endpoint);
            assert_eq!(decision.cluster.as_deref(), Some("c"));
        } else {
            assert_eq!(decision.outcome, Outcome::Forward);
        }
    }
}

/// Envoy takes a name of no characters among the headers that only come from inside.
#[test]
fn a_header_without_a_name_is_none() {
    let text = r#"{"static_resources": {"listeners": [{"name": "l",
        "address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}},
        "filter_chains": [{"filters": [{"name": "m", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "s", "route_config": {"internal_only_headers": ["", "x-a"]},
            "http_filters": [{"name": "router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}]}}"#;
    let read = twinmesh_xds::read_bytes("t.json", text.as_bytes(), &ReadOptions::default());
    let compiled = compile(&Arc::new(read.expect("it is read")));
    assert!(compiled.is_ok());
}
