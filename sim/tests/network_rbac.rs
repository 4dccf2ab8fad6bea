//! Network RBAC, as both engines decide it and as Envoy 1.40 was measured to.

use std::sync::Arc;

use rstest::rstest;
use serde_json::{Value, json};
use twinmesh_compile::compile;
use twinmesh_engine::{Answer, Engine, Outcome, Request, Step};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::{ReadOptions, Snapshot};

const TYPES: &str = "type.googleapis.com/envoy.extensions.filters.network";

fn rbac(rules: &Value) -> Value {
    json!({"name": "guard", "typed_config": {"@type": format!("{TYPES}.rbac.v3.RBAC"),
        "stat_prefix": "s", "rules": rules}})
}

fn policy(permission: &Value) -> Value {
    json!({"permissions": [permission], "principals": [{"any": true}]})
}

fn deny(permission: &Value) -> Value {
    rbac(&json!({"action": "DENY", "policies": {"p": policy(permission)}}))
}

fn any() -> Value {
    json!({"any": true})
}

fn tcp(more: &Value) -> Value {
    let mut proxy = json!({"@type": format!("{TYPES}.tcp_proxy.v3.TcpProxy"), "stat_prefix": "s",
        "cluster": "c"});
    for (field, value) in more.as_object().into_iter().flatten() {
        proxy[field] = value.clone();
    }
    json!({"name": "tcp", "typed_config": proxy})
}

fn http() -> Value {
    let routes = json!([{"match": {"prefix": "/"}, "direct_response": {"status": 204}}]);
    json!({"name": "http", "typed_config": {
        "@type": format!("{TYPES}.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "s",
        "http_filters": [{"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        "route_config": {"name": "rc", "virtual_hosts": [
            {"name": "v", "domains": ["*"], "routes": routes}]},
    }})
}

/// A listener at each port from 8080 on, with these filters, and a cluster of three endpoints.
fn snapshot(listeners: &[Vec<Value>]) -> Arc<Snapshot> {
    let listeners = listeners.iter().enumerate().map(|(index, filters)| {
        let address = json!({"address": "127.0.0.1", "port_value": 8080 + index});
        json!({"name": format!("l{index}"), "address": {"socket_address": address},
            "listener_filters": [{"name": "tls", "typed_config": {"@type":
                "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}}],
            "filter_chains": [{"filters": filters}]})
    });
    let endpoints = [1, 2, 3].map(|number| {
        let address = json!({"address": format!("10.0.0.{number}"), "port_value": 80});
        json!({"endpoint": {"address": {"socket_address": address}}})
    });
    let bootstrap = json!({"static_resources": {
        "listeners": listeners.collect::<Vec<_>>(),
        "clusters": [{"name": "c", "type": "STATIC", "connect_timeout": "1s", "load_assignment": {
            "cluster_name": "c", "endpoints": [{"lb_endpoints": endpoints}]}}],
    }});
    let text = bootstrap.to_string();
    let read = twinmesh_xds::read_bytes("test.json", text.as_bytes(), &ReadOptions::default());
    Arc::new(read.unwrap_or_else(|error| panic!("{error}")))
}

fn request(listener: usize, more: &Value) -> Request {
    let mut line = json!({"id": "r", "authority": "h", "path": "/", "source": "127.0.0.9:999",
        "destination": format!("127.0.0.1:{}", 8080 + listener)});
    for (field, value) in more.as_object().into_iter().flatten() {
        line[field] = value.clone();
    }
    serde_json::from_value(line).expect("a line of traffic")
}

/// Both engines, which have to agree.
struct Both {
    spec: Spec,
    sim: Sim,
}

impl Both {
    fn new(listeners: &[Vec<Value>]) -> Self {
        let snapshot = snapshot(listeners);
        let compiled = compile(&snapshot).expect("it compiles");
        assert_eq!(compiled.undecided(), []);
        let mut both = Self {
            spec: Spec::new(),
            sim: Sim::default(),
        };
        both.spec.load(&snapshot).expect("spec loads");
        both.sim.load(&snapshot).expect("sim loads");
        both
    }

    fn at(&mut self, request: &Request) -> Answer {
        let mut answers = Vec::new();
        let engines: [&mut dyn Engine; 2] = [&mut self.spec, &mut self.sim];
        for engine in engines {
            let decided = engine.decide(request, 0, 0, true);
            let mut answer = decided.expect("it decides");
            answer.decision.engine = None;
            answer.decision.reason = None;
            answers.push(answer);
        }
        let (sim, spec) = (answers.pop(), answers.pop());
        assert_eq!(spec, sim, "{request:?}");
        spec.expect("two answers")
    }
}

fn closes(answer: &Answer) -> bool {
    let decision = &answer.decision;
    let closes = |step: &Step| matches!(step, Step::NetworkFilter { closes: true, .. });
    let closed = answer.trace.steps.iter().any(closes);
    if closed {
        assert_eq!(decision.outcome, Outcome::DirectResponse);
        assert_eq!(decision.status, None);
        assert_eq!(decision.endpoint, None);
        assert_eq!(decision.cluster, None);
    }
    closed
}

#[test]
fn the_balancer_has_moved_on_for_what_is_closed() {
    let waiting = json!({"upstream_connect_mode": "ON_DOWNSTREAM_DATA", "max_early_data_bytes": 9});
    let mut both = Both::new(&[
        vec![tcp(&json!({}))],
        vec![deny(&any()), tcp(&json!({}))],
        vec![deny(&any()), tcp(&waiting)],
    ]);
    let mut endpoints = Vec::new();
    for listener in [0, 1, 0, 2, 0] {
        let answer = both.at(&request(listener, &json!({})));
        assert_eq!(closes(&answer), listener != 0);
        endpoints.extend(answer.decision.endpoint);
    }
    assert_eq!(endpoints, ["10.0.0.1:80", "10.0.0.3:80", "10.0.0.1:80"]);
}

#[test]
fn the_policy_that_decides_is_named() {
    let one_of = |names: [&str; 3], at: usize| {
        let policies = names.iter().enumerate().map(|(index, name)| {
            let port = json!({"destination_port": if index == at { 8080 } else { 1 }});
            ((*name).to_owned(), policy(&port))
        });
        rbac(&json!({"action": "ALLOW", "policies": policies.collect::<serde_json::Map<_, _>>()}))
    };
    let mut both = Both::new(&[vec![one_of(["c", "a", "b"], 0), deny(&any()), http()]]);
    let answer = both.at(&request(0, &json!({})));
    let steps = answer.trace.steps.into_iter();
    let filters: Vec<_> = steps
        .filter_map(|step| match step {
            Step::NetworkFilter {
                filter,
                policy,
                closes,
            } => Some((filter, policy, closes)),
            _ => None,
        })
        .collect();
    assert_eq!(filters, [(0, Some(2), false), (1, Some(0), true)]);
}

#[rstest]
#[case(json!({"url_path": {"path": {"prefix": "/"}}}), json!({}), false)]
#[case(json!({"not_rule": {"url_path": {"path": {"prefix": "/"}}}}), json!({}), true)]
#[case(json!({"requested_server_name": {"exact": ""}}), json!({}), true)]
#[case(json!({"requested_server_name": {"exact": "a.com"}}), json!({"tls": true, "sni": "A.com"}), true)]
#[case(json!({"requested_server_name": {"exact": "a.com"}}), json!({"tls": true, "sni": "b.com"}), false)]
#[case(json!({"destination_port": 8080}), json!({"method": "BAD METHOD"}), true)]
fn conditions(#[case] permission: Value, #[case] more: Value, #[case] expected: bool) {
    for last in [http(), tcp(&json!({}))] {
        let mut both = Both::new(&[vec![deny(&permission), last]]);
        let answer = both.at(&request(0, &more));
        assert_eq!(closes(&answer), expected, "{answer:?}");
    }
}

/// What the HTTP filter sees of the server name is what the network filter saw, once.
#[test]
fn the_server_name_is_read_by_both_filters() {
    let of_a = json!({"requested_server_name": {"exact": "a.com"}});
    let mut manager = http();
    let filters = manager["typed_config"]["http_filters"]
        .as_array_mut()
        .expect("a list");
    let http_rbac = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";
    let rules = json!({"action": "DENY", "policies": {"p": policy(&of_a)}});
    filters.insert(
        0,
        json!({"name": "rbac", "typed_config": {"@type": http_rbac, "rules": rules}}),
    );
    let of_b = json!({"requested_server_name": {"exact": "b.com"}});
    let mut both = Both::new(&[vec![deny(&of_b), manager]]);
    let headers = json!([["x-a", "1"], ["x-forwarded-for", "10.0.0.1"]]);
    for (name, closed, status) in [
        ("a.com", false, Some(403)),
        ("b.com", true, None),
        ("c.com", false, Some(204)),
    ] {
        let more = json!({"tls": true, "sni": name, "headers": headers});
        let answer = both.at(&request(0, &more));
        assert_eq!(closes(&answer), closed);
        assert_eq!(answer.decision.status, status, "{name}");
    }
}

#[rstest]
#[case(json!({"authenticated": {}}), json!({"tls": true}))]
#[case(json!({"remote_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}}), json!({"source": null}))]
fn what_is_not_known_is_not_decided(#[case] principal: Value, #[case] more: Value) {
    let policy = json!({"permissions": [any()], "principals": [principal]});
    let filter = rbac(&json!({"action": "DENY", "policies": {"p": policy}}));
    for last in [http(), tcp(&json!({}))] {
        let mut both = Both::new(&[vec![filter.clone(), last]]);
        let answer = both.at(&request(0, &more));
        assert_eq!(answer.decision.outcome, Outcome::Unsupported);
        assert_eq!(answer.decision.endpoint, None);
    }
}
