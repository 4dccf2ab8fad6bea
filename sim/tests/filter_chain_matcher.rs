//! Filter chains that a matcher tree chooses, as both engines decide them and as Envoy 1.40 was measured to
//! (`fixtures/filter-chain-matcher`); listeners that have no address.

use std::sync::Arc;

use rstest::rstest;
use serde_json::{Value, json};
use twinmesh_compile::{Part, compile};
use twinmesh_engine::{Answer, Chain, Engine, Outcome, Request, Step};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::{ReadOptions, Snapshot};

const TYPES: &str = "type.googleapis.com";
const COMMON: &str = "type.googleapis.com/envoy.extensions.matching.common_inputs";

fn input(name: &str) -> Value {
    json!({"name": "i", "typed_config": {"@type": format!("{COMMON}.{name}Input")}})
}

fn to(name: &str) -> Value {
    let kind = format!("{TYPES}/google.protobuf.StringValue");
    json!({"action": {"name": "a", "typed_config": {"@type": kind, "value": name}}})
}

fn says(input_name: &str, value: &Value) -> Value {
    json!({"single_predicate": {"input": input(input_name), "value_match": value}})
}

fn list(fields: &[(Value, Value)], otherwise: Option<Value>) -> Value {
    let fields = fields
        .iter()
        .map(|(predicate, leads)| json!({"predicate": predicate, "on_match": leads}));
    let mut tree = json!({"matcher_list": {"matchers": fields.collect::<Vec<_>>()}});
    if let Some(otherwise) = otherwise {
        tree["on_no_match"] = otherwise;
    }
    tree
}

/// A map by an input; what its keys lead to.
fn map(kind: &str, input_name: &str, keys: &[(&str, Value)]) -> Value {
    let keys = keys
        .iter()
        .map(|(key, leads)| (key.to_string(), leads.clone()));
    let keys: serde_json::Map<String, Value> = keys.collect();
    json!({"matcher_tree": {"input": input(input_name), kind: {"map": keys}}})
}

/// Ranges of destinations, each with its length and what it leads to.
fn ranges(of: &[(&str, u32, Value)]) -> Value {
    let matchers = of.iter().map(|(prefix, length, leads)| {
        json!({"ranges": [{"address_prefix": prefix, "prefix_len": length}], "on_match": leads})
    });
    let kind = format!("{TYPES}/xds.type.matcher.v3.IPMatcher");
    let custom = json!({"@type": kind, "range_matchers": matchers.collect::<Vec<_>>()});
    let custom = json!({"name": "c", "typed_config": custom});
    json!({"matcher_tree": {"input": input("network.v3.DestinationIP"), "custom_match": custom}})
}

fn inspector(name: &str, message: &str) -> Value {
    let kind = format!("{TYPES}/envoy.extensions.filters.listener.{name}.v3.{message}");
    json!({"name": name, "typed_config": {"@type": kind}})
}

fn chain(name: &str) -> Value {
    let kind = format!("{TYPES}/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy");
    let proxy = json!({"@type": kind, "stat_prefix": "s", "cluster": name});
    json!({"name": name, "filters": [{"name": "tcp", "typed_config": proxy}]})
}

/// A listener with the filter chains `a` and `b` and a default one, and these fields.
fn listener(name: &str, matcher: &Value, more: &Value) -> Value {
    let mut listener = json!({"name": name, "filter_chains": [chain("a"), chain("b")],
        "default_filter_chain": chain("d"), "filter_chain_matcher": matcher});
    for (field, value) in more.as_object().into_iter().flatten() {
        listener[field] = value.clone();
    }
    listener
}

fn snapshot(listeners: &[Value]) -> Arc<Snapshot> {
    let clusters = ["a", "b", "d"].map(|name| {
        let internal =
            json!({"envoy_internal_address": {"server_listener_name": name, "endpoint_id": "x"}});
        let socket = json!({"socket_address": {"address": "10.9.0.1", "port_value": 1}});
        let address = if name == "a" { internal } else { socket };
        json!({"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}})
    });
    let text = json!({"static_resources": {"listeners": listeners, "clusters": clusters}});
    let text = text.to_string();
    let read = twinmesh_xds::read_bytes("test.json", text.as_bytes(), &ReadOptions::default());
    Arc::new(read.unwrap_or_else(|error| panic!("{error}")))
}

fn at_port_80(matcher: &Value, inspectors: &[Value]) -> Arc<Snapshot> {
    let address = json!({"socket_address": {"address": "0.0.0.0", "port_value": 80}});
    let more = json!({"address": address, "listener_filters": inspectors});
    snapshot(&[listener("l", matcher, &more)])
}

fn request(more: &Value) -> Request {
    let mut line = json!({"id": "r", "authority": "h", "path": "/"});
    for (field, value) in more.as_object().into_iter().flatten() {
        line[field] = value.clone();
    }
    serde_json::from_value(line).expect("a line of traffic")
}

/// What both engines say.
fn decide(snapshot: &Arc<Snapshot>, request: &Request) -> Answer {
    let engines: [&mut dyn Engine; 2] = [&mut Spec::default(), &mut Sim::default()];
    let [spec, sim] = engines.map(|engine| {
        engine.load(snapshot).expect("it loads");
        let answer = engine.decide(request, 1, 0, true);
        answer.expect("it decides")
    });
    assert_eq!(spec.trace, sim.trace, "{request:?}");
    let without_reason = |answer: &Answer| {
        let mut decision = answer.decision.clone();
        (decision.reason, decision.engine) = (None, None);
        decision
    };
    assert_eq!(without_reason(&spec), without_reason(&sim), "{request:?}");
    spec
}

fn chosen(answer: &Answer) -> Result<&str, Outcome> {
    let decision = &answer.decision;
    decision.filter_chain.as_deref().ok_or(decision.outcome)
}

/// The connection of most requests here.
fn from_outside(more: &Value) -> Value {
    let mut line =
        json!({"source": "10.1.0.1:1000", "destination": "10.2.0.1:80", "listener": "l"});
    for (field, value) in more.as_object().into_iter().flatten() {
        line[field] = value.clone();
    }
    line
}

const ANYTHING: &str = ".*";

fn any() -> Value {
    json!({"safe_regex": {"google_re2": {}, "regex": ANYTHING}})
}

#[rstest]
#[case("network.v3.DestinationIP", "10.2.0.1", json!({}))]
#[case("network.v3.DestinationPort", "80", json!({}))]
#[case("network.v3.SourceIP", "10.1.0.1", json!({}))]
#[case("network.v3.SourcePort", "1000", json!({}))]
#[case("network.v3.DirectSourceIP", "10.1.0.1", json!({}))]
#[case("network.v3.DirectSourceIP", "fd00::1", json!({"source": "[FD00:0::1]:1"}))]
#[case("network.v3.ServerName", "a.com", json!({"sni": "A.com"}))]
#[case("network.v3.TransportProtocol", "raw_buffer", json!({}))]
#[case("network.v3.TransportProtocol", "tls", json!({"tls": true}))]
#[case("network.v3.ApplicationProtocol", "'http/1.1'", json!({}))]
#[case("network.v3.ApplicationProtocol", "'h2'", json!({"alpn": "h2"}))]
#[case("network.v3.ApplicationProtocol", "'h2','a'b'", json!({"alpn": "h2, a'b"}))]
#[case("network.v3.SourceType", "local", json!({"source": "127.0.0.1:1"}))]
#[case("network.v3.SourceType", "local", json!({"source": "10.2.0.1:1"}))]
fn inputs(#[case] name: &str, #[case] text: &str, #[case] connection: Value) {
    let inspectors = [
        inspector("tls_inspector", "TlsInspector"),
        inspector("http_inspector", "HttpInspector"),
    ];
    let request = request(&from_outside(&connection));
    let tree = map("exact_match_map", name, &[(text, to("a"))]);
    let found = decide(&at_port_80(&tree, &inspectors), &request);
    assert_eq!(chosen(&found), Ok("a"));
    assert_eq!(
        found.trace.steps.get(..3),
        Some(
            &[
                Step::Listener(0),
                Step::FilterChainMatcher(0),
                Step::FilterChain(Chain::Index(0))
            ][..]
        )
    );
    let tree = map("prefix_match_map", name, &[("", to("a"))]);
    let found = decide(&at_port_80(&tree, &inspectors), &request);
    assert_eq!(chosen(&found), Ok("a"));
    let beside = format!("{text}x");
    let tree = map(
        "exact_match_map",
        name,
        &[(&beside, to("a")), ("", to("a"))],
    );
    let found = decide(&at_port_80(&tree, &inspectors), &request);
    assert_eq!(chosen(&found), Ok("d"));
}

/// What is not there matches nothing, and what is turned round then holds.
#[rstest]
#[case("network.v3.ServerName", json!({}), true)]
#[case("network.v3.ServerName", json!({"tls": true}), true)]
#[case("network.v3.ServerName", json!({"sni": "a.com"}), false)]
#[case("network.v3.ApplicationProtocol", json!({}), false)]
#[case("network.v3.ApplicationProtocol", json!({"sni": "a.com"}), false)]
#[case("network.v3.SourceType", json!({}), true)]
#[case("network.v3.SourceType", json!({"source": "127.0.0.2:1"}), true)]
fn what_is_missing(#[case] name: &str, #[case] connection: Value, #[case] reads_tls: bool) {
    let inspectors = [inspector("tls_inspector", "TlsInspector")];
    let inspectors = if reads_tls { &inspectors[..] } else { &[] };
    let request = request(&from_outside(&connection));
    let tree = list(&[(says(name, &any()), to("a"))], None);
    assert_eq!(
        chosen(&decide(&at_port_80(&tree, inspectors), &request)),
        Ok("d")
    );
    let turned = json!({"not_matcher": says(name, &any())});
    let tree = list(&[(turned, to("b"))], None);
    assert_eq!(
        chosen(&decide(&at_port_80(&tree, inspectors), &request)),
        Ok("b")
    );
}

#[test]
fn nothing_but_the_inspector_tells_of_tls() {
    let tree = map(
        "exact_match_map",
        "network.v3.TransportProtocol",
        &[("raw_buffer", to("a"))],
    );
    let mut text = listener("l", &tree, &json!({}));
    // Beside a tree the inspector is not added for what the chains ask for.
    text["filter_chains"][1]["filter_chain_match"] = json!({"server_names": ["a.com"]});
    text["address"] = json!({"socket_address": {"address": "0.0.0.0", "port_value": 80}});
    let request = request(&from_outside(&json!({"sni": "a.com"})));
    assert_eq!(chosen(&decide(&snapshot(&[text]), &request)), Ok("a"));
}

/// There is no certificate before there is a filter chain, with TLS or without.
#[rstest]
#[case(json!({}))]
#[case(json!({"sni": "a.com", "client_certificate": "validated"}))]
fn certificates_are_lacking(#[case] connection: Value) {
    let request = request(&from_outside(&connection));
    let inspectors = [inspector("tls_inspector", "TlsInspector")];
    let peer = says("ssl.v3.Subject", &any());
    let port = says("network.v3.DestinationPort", &json!({"exact": "80"}));
    let either = json!({"or_matcher": {"predicate": [peer, port]}});
    for (predicate, expected) in [
        (peer.clone(), "d"),
        (json!({"not_matcher": peer}), "d"),
        (either, "a"),
    ] {
        let tree = list(&[(predicate, to("a"))], Some(to("b")));
        assert_eq!(
            chosen(&decide(&at_port_80(&tree, &inspectors), &request)),
            Ok(expected)
        );
    }
    let tree = map("exact_match_map", "ssl.v3.DnsSan", &[("a", to("a"))]);
    let mut tree = tree;
    tree["on_no_match"] = to("b");
    assert_eq!(
        chosen(&decide(&at_port_80(&tree, &inspectors), &request)),
        Ok("d")
    );
}

/// A name that no filter chain has, the default one's too, closes the connection.
#[rstest]
#[case("gone")]
#[case("d")]
#[case("")]
fn unknown_names(#[case] name: &str) {
    let tree = json!({"on_no_match": to(name)});
    let found = decide(&at_port_80(&tree, &[]), &request(&from_outside(&json!({}))));
    assert_eq!(chosen(&found), Err(Outcome::NoFilterChain));
    assert_eq!(
        found.trace.steps,
        [Step::Listener(0), Step::FilterChainMatcher(0)]
    );
}

#[test]
fn what_leads_nowhere_is_the_default_ones() {
    let tree = map(
        "exact_match_map",
        "network.v3.DestinationPort",
        &[("81", to("a"))],
    );
    let asked = request(&from_outside(&json!({})));
    assert_eq!(chosen(&decide(&at_port_80(&tree, &[]), &asked)), Ok("d"));
    assert_eq!(
        chosen(&decide(&at_port_80(&json!({}), &[]), &asked)),
        Ok("d")
    );
    let more = json!({"default_filter_chain": null, "internal_listener": {}});
    let found = decide(&snapshot(&[listener("l", &tree, &more)]), &asked);
    assert_eq!(chosen(&found), Err(Outcome::NoFilterChain));
    assert_eq!(found.trace.steps, [Step::Listener(0)]);
}

#[test]
fn chains_are_chosen_whatever_they_ask_for_themselves() {
    let mut text = listener(
        "l",
        &json!({"on_no_match": to("b")}),
        &json!({"internal_listener": {}}),
    );
    text["filter_chains"][1]["filter_chain_match"] = json!({"destination_port": 9});
    let asked = request(&from_outside(&json!({})));
    assert_eq!(chosen(&decide(&snapshot(&[text]), &asked)), Ok("b"));
}

/// Addresses, ports below them, and what is numbered behind both.
#[rstest]
#[case("10.96.0.7:80", Ok("a"), Some(0))]
#[case("10.96.0.7:81", Ok("b"), Some(2))]
#[case("10.96.0.8:80", Ok("b"), Some(2))]
#[case("10.97.0.7:80", Ok("d"), None)]
#[case("10.96.0.7:82", Err(Outcome::NoFilterChain), Some(1))]
fn internal_listeners(
    #[case] destination: &str,
    #[case] expected: Result<&str, Outcome>,
    #[case] action: Option<usize>,
) {
    let ports = [("80", to("a")), ("82", to("gone"))];
    let ports = json!({"matcher": map("exact_match_map", "network.v3.DestinationPort", &ports)});
    let tree = ranges(&[("10.96.0.7", 32, ports), ("10.96.0.0", 16, to("b"))]);
    let all = [
        listener(
            "l",
            &json!({"on_no_match": to("d")}),
            &json!({"internal_listener": {}}),
        ),
        listener("main_internal", &tree, &json!({"internal_listener": {}})),
    ];
    let snapshot = snapshot(&all);
    let line = json!({"listener": "main_internal", "destination": destination});
    let found = decide(&snapshot, &request(&line));
    assert_eq!(chosen(&found), expected);
    let led = found.trace.steps.iter().find_map(|step| match step {
        Step::FilterChainMatcher(action) => Some(*action),
        _ => None,
    });
    assert_eq!(led, action);
    if expected == Ok("a") {
        let endpoint = found.decision.endpoint.as_deref();
        assert_eq!(endpoint, Some("envoy://a/x"));
    }
    // It has no address by which it could be found.
    let line = json!({"destination": destination});
    let found = decide(&snapshot, &request(&line));
    assert_eq!(found.decision.outcome, Outcome::NoListener);
}

#[rstest]
#[case("network.v3.DestinationIP", json!({"source": "10.0.0.1:1"}))]
#[case("network.v3.DestinationPort", json!({"source": "10.0.0.1:1"}))]
#[case("network.v3.SourceIP", json!({"destination": "10.0.0.1:1"}))]
#[case("network.v3.SourcePort", json!({"destination": "10.0.0.1:1"}))]
#[case("network.v3.SourceType", json!({"destination": "10.0.0.1:1"}))]
#[case("network.v3.SourceType", json!({"source": "10.0.0.1:1"}))]
fn unknown_ends_are_not_decided(#[case] name: &str, #[case] connection: Value) {
    let tree = map("prefix_match_map", name, &[("", to("a"))]);
    let snapshot = snapshot(&[listener("l", &tree, &json!({"internal_listener": {}}))]);
    let mut line = connection;
    line["listener"] = json!("l");
    let found = decide(&snapshot, &request(&line));
    assert_eq!(found.decision.outcome, Outcome::Unsupported, "{found:?}");
}

#[test]
fn only_userspace_chooses_by_a_tree() {
    let compiled = compile(&at_port_80(&json!({"on_no_match": to("a")}), &[])).expect("it fits");
    let found: Vec<_> = compiled.userspace().iter().collect();
    let [found] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(found.part, Some(Part::Listener(0)));
    assert_eq!(found.path, "filter_chain_matcher");
}
