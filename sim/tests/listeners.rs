//! Which listener takes a connection, in the tables as in the plain reading: listeners at addresses
//! that are alike, as far as Envoy takes them.

use std::sync::Arc;

use rstest::rstest;
use serde_json::{Value, json};
use twinmesh_engine::{Decision, Engine, Outcome, Request};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::{ReadOptions, Snapshot};

fn listener(name: &str, address: &str, port: u16, catches: bool) -> Value {
    json!({
        "name": name,
        "address": {"socket_address": {"address": address, "port_value": port, "ipv4_compat": name == "both"}},
        "use_original_dst": catches,
        "filter_chains": [{"filters": [{"name": "tcp", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "s", "cluster": "c"}}]}],
    })
}

fn snapshot(listeners: &[Value]) -> Arc<Snapshot> {
    let address = json!({"socket_address": {"address": "10.9.0.1", "port_value": 1}});
    let cluster = json!({"name": "c", "type": "STATIC", "load_assignment": {"cluster_name": "c",
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}});
    let text =
        json!({"static_resources": {"listeners": listeners, "clusters": [cluster]}}).to_string();
    let read = twinmesh_xds::read_bytes("t.json", text.as_bytes(), &ReadOptions::default());
    Arc::new(read.unwrap_or_else(|error| panic!("{error}")))
}

/// What both engines say: the outcome and the listener, or that the request does not say enough.
fn decide(snapshot: &Arc<Snapshot>, destination: &str) -> Option<(Outcome, Option<String>)> {
    let line = json!({"id": "r", "destination": destination});
    let request: Request = serde_json::from_value(line).expect("a line of traffic");
    let engines: [&mut dyn Engine; 2] = [&mut Spec::default(), &mut Sim::default()];
    let [spec, sim] = engines.map(|engine| {
        engine.load(snapshot).expect("it loads");
        let answer = engine.decide(&request, 1, 0, false).ok()?;
        Some((answer.decision.outcome, answer.decision.listener))
    });
    assert_eq!(spec, sim, "{destination}");
    spec
}

/// What each engine decides of a request to the listener `l` that says this besides.
fn at_l(snapshot: &Arc<Snapshot>, said: &Value) -> [Decision; 2] {
    let mut line = json!({"id": "r", "listener": "l"});
    for (field, value) in said.as_object().into_iter().flatten() {
        line[field] = value.clone();
    }
    let request: Request = serde_json::from_value(line).expect("a line of traffic");
    let engines: [&mut dyn Engine; 2] = [&mut Spec::default(), &mut Sim::default()];
    engines.map(|engine| {
        engine.load(snapshot).expect("it loads");
        let answer = engine.decide(&request, 1, 0, false);
        answer.expect("it decides").decision
    })
}

#[rstest]
#[case("127.0.0.1:80", "exact")]
#[case("127.0.0.2:80", "any")]
#[case("[::1]:80", "both")]
#[case("[::ffff:127.0.0.1]:80", "exact")]
#[case("127.0.0.1:81", "one")]
fn the_nearest_takes_it(#[case] destination: &str, #[case] expected: &str) {
    let snapshot = snapshot(&[
        listener("exact", "127.0.0.1", 80, false),
        listener("any", "0.0.0.0", 80, false),
        listener("both", "::", 80, false),
        listener("one", "0.0.0.0", 15001, true),
    ]);
    let decided = decide(&snapshot, destination);
    assert_eq!(decided, Some((Outcome::Forward, Some(expected.to_owned()))));
}

#[test]
fn ports_that_the_kernel_chooses_are_nobodys() {
    let snapshot = snapshot(&[
        listener("a", "127.0.0.1", 0, false),
        listener("b", "127.0.0.1", 0, false),
    ]);
    assert_eq!(
        decide(&snapshot, "127.0.0.1:0"),
        Some((Outcome::NoListener, None))
    );
}

#[test]
fn several_of_one_name_are_undecided() {
    let snapshot = snapshot(&[
        listener("a", "127.0.0.1", 80, false),
        listener("a", "127.0.0.1", 80, false),
    ]);
    let expected = Some((Outcome::Unsupported, Some("a".to_owned())));
    assert_eq!(decide(&snapshot, "127.0.0.1:80"), expected);
}

#[test]
fn several_that_catch_all_must_be_told_apart() {
    let snapshot = snapshot(&[
        listener("out", "0.0.0.0", 15001, true),
        listener("in", "0.0.0.0", 15006, true),
        listener("both", "::", 90, false),
    ]);
    assert_eq!(decide(&snapshot, "10.0.0.1:80"), None);
    assert_eq!(decide(&snapshot, "[fd00::1]:15001"), None);
    for (destination, name) in [("10.0.0.1:15006", "in"), ("10.0.0.1:90", "both")] {
        let expected = Some((Outcome::Forward, Some(name.to_owned())));
        assert_eq!(decide(&snapshot, destination), expected);
    }
}

/// A listener whose filter chains ask for what only TLS tells, with a TLS inspector or without.
fn of_tls(inspects: bool) -> Arc<Snapshot> {
    let mut text = listener("l", "127.0.0.1", 80, false);
    let last = text["filter_chains"][0]["filters"].clone();
    let asks = [
        ("name", json!({"server_names": ["A.com", "*.B.com"]})),
        (
            "protocol",
            json!({"transport_protocol": "tls", "application_protocols": ["h2"]}),
        ),
        ("tls", json!({"transport_protocol": "tls"})),
        ("clear", json!({"transport_protocol": "raw_buffer"})),
    ];
    let chains = asks
        .map(|(name, asked)| json!({"name": name, "filter_chain_match": asked, "filters": last}));
    text["filter_chains"] = json!(chains);
    if inspects {
        let kind =
            "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
        text["listener_filters"] = json!([{"name": "tls", "typed_config": {"@type": kind}}]);
    }
    snapshot(&[text])
}

/// Measured: Envoy adds no TLS inspector for what filter chains ask for, and compares names in lower case.
#[rstest]
#[case(json!({"sni": "a.com"}), "name")]
#[case(json!({"sni": "x.b.COM"}), "name")]
#[case(json!({"alpn": "h2"}), "protocol")]
#[case(json!({"tls": true}), "tls")]
#[case(json!({}), "clear")]
fn of_tls_only_an_inspector_knows(#[case] asked: Value, #[case] chain: &str) {
    for (inspects, chain) in [(true, chain), (false, "clear")] {
        for decision in at_l(&of_tls(inspects), &asked) {
            let found = decision.filter_chain;
            assert_eq!(found.as_deref(), Some(chain), "{asked}, {inspects}");
        }
    }
}

/// Connections that say neither end, one or both, to a listener of any address without a listener filter.
#[rstest]
#[case::port(json!({"destination_port": 80}), json!({}), Ok("asks"))]
#[case::port_elsewhere(json!({"destination_port": 81}), json!({"source": "10.0.0.9:5"}), Ok("any"))]
#[case::address(json!({"prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}),
    json!({"source": "10.0.0.9:5"}), Err("destination"))]
#[case::address_said(json!({"prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}),
    json!({"destination": "10.0.0.1:80"}), Ok("asks"))]
#[case::direct_source(json!({"direct_source_prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}),
    json!({"destination": "10.0.0.1:80"}), Err("source"))]
#[case::all_direct_sources(json!({"direct_source_prefix_ranges": [{"address_prefix": "0.0.0.0", "prefix_len": 0}]}),
    json!({}), Err("source"))]
#[case::source(json!({"source_prefix_ranges": [{"address_prefix": "fd00::", "prefix_len": 8}]}),
    json!({}), Err("source"))]
#[case::source_said(json!({"source_prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}),
    json!({"source": "10.0.0.9:5"}), Ok("asks"))]
#[case::unspecified(json!({"source_prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}),
    json!({"source": "[::]:5"}), Err("source"))]
#[case::source_in_v6(json!({"source_ports": [5]}), json!({"source": "[::1:0:0]:5"}), Ok("asks"))]
#[case::source_port(json!({"source_ports": [5]}), json!({}), Err("source"))]
#[case::local(json!({"source_type": "SAME_IP_OR_LOOPBACK"}), json!({}), Err("source"))]
#[case::external(json!({"source_type": "EXTERNAL"}), json!({"source": "10.0.0.9:5"}), Err("destination"))]
#[case::loopback(json!({"source_type": "EXTERNAL"}), json!({"source": "127.0.0.1:5"}), Ok("any"))]
#[case::both_said(json!({"source_type": "EXTERNAL"}),
    json!({"source": "10.0.0.9:5", "destination": "10.0.0.1:80"}), Ok("asks"))]
#[case::not_asked(json!({"server_names": ["a.com"], "source_ports": [5]}), json!({}), Ok("any"))]
fn what_filter_chains_ask_of_an_unknown_end_is_undecided(
    #[case] asked: Value,
    #[case] said: Value,
    #[case] expected: Result<&str, &str>,
) {
    let mut text = listener("l", "0.0.0.0", 80, false);
    let last = text["filter_chains"][0]["filters"].clone();
    text["filter_chains"] = json!([
        {"name": "asks", "filter_chain_match": asked, "filters": last},
        {"name": "any", "filters": last},
    ]);
    let kind =
        "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
    text["listener_filters"] = json!([{"name": "tls", "typed_config": {"@type": kind}}]);
    let snapshot = snapshot(&[text]);
    for decision in at_l(&snapshot, &said) {
        let reason = decision.reason.unwrap_or_default();
        match expected {
            Ok(chain) => assert_eq!(decision.filter_chain.as_deref(), Some(chain), "{reason}"),
            Err(end) => {
                assert_eq!(
                    decision.outcome,
                    Outcome::Unsupported,
                    "{:?}",
                    decision.filter_chain
                );
                assert!(reason.contains(&format!("looks at the {end}")), "{reason}");
            }
        }
    }
}

/// A request line that does not fit is not HTTP to the inspector, and the chain that takes the connection
/// refuses it.
#[rstest]
#[case("CONNECT", "a.b:65535#", "other", 400)]
#[case("CONNECT", "a.b:1/", "http", 400)]
#[case("CONNECT", "a.b:1", "http", 404)]
#[case("GET", "x", "other", 400)]
#[case("GET", "*", "http", 400)]
fn the_inspector_sees_the_line_that_came(
    #[case] method: &str,
    #[case] path: &str,
    #[case] chain: &str,
    #[case] status: u32,
) {
    const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";
    let manager = json!({
        "@type": format!("{TYPES}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "s",
        "route_config": {"name": "r"},
        "http_filters": [{"name": "router", "typed_config": {"@type": format!("{TYPES}.http.router.v3.Router")}}],
    });
    let filters = json!([{"name": "m", "typed_config": manager}]);
    let mut text = listener("l", "127.0.0.1", 80, false);
    text["listener_filters"] = json!([{"name": "http", "typed_config":
        {"@type": format!("{TYPES}.listener.http_inspector.v3.HttpInspector")}}]);
    text["filter_chains"] = json!([
        {"name": "http", "filter_chain_match": {"application_protocols": ["http/1.1"]}, "filters": filters},
        {"name": "other", "filters": filters},
    ]);
    let snapshot = snapshot(&[text]);
    let said = json!({"method": method, "path": path, "authority": "a.b:1"});
    for decision in at_l(&snapshot, &said) {
        assert_eq!(decision.filter_chain.as_deref(), Some(chain));
        assert_eq!(decision.status, Some(status));
    }
}
