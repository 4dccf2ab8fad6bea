//! RBAC filters that go by a matcher tree, as both engines decide them and as Envoy 1.40 was measured to
//! (`fixtures/rbac-matcher`).

use std::sync::Arc;

use rstest::rstest;
use serde_json::{Value, json};
use twinmesh_compile::compile;
use twinmesh_engine::{Answer, Did, Engine, Outcome, Request, Step};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::{ReadOptions, Snapshot};

const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters";
const COMMON: &str = "type.googleapis.com/envoy.extensions.matching.common_inputs";

fn input(name: &str) -> Value {
    json!({"name": "i", "typed_config": {"@type": format!("{COMMON}.{name}Input")}})
}

fn header(name: &str) -> Value {
    let kind = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput";
    json!({"name": "i", "typed_config": {"@type": kind, "header_name": name}})
}

fn to(action: &str) -> Value {
    let kind = "type.googleapis.com/envoy.config.rbac.v3.Action";
    let config = json!({"@type": kind, "name": action, "action": action});
    json!({"action": {"name": "a", "typed_config": config}})
}

fn says(input: &Value, value: &Value) -> Value {
    json!({"single_predicate": {"input": input, "value_match": value}})
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

/// Ranges, each with its length, what it leads to, and whether it is exclusive.
fn ranges(input: &Value, ranges: &[(&str, u32, &str, bool)]) -> Value {
    let matchers = ranges.iter().map(|(prefix, length, action, exclusive)| {
        let leads = match *action {
            "" => json!({"matcher": list(&[(says(&input_of_nothing(), &json!({"exact": "x"})), to("DENY"))], None)}),
            action => to(action),
        };
        json!({"ranges": [{"address_prefix": prefix, "prefix_len": length}], "on_match": leads,
            "exclusive": exclusive})
    });
    let kind = "type.googleapis.com/xds.type.matcher.v3.IPMatcher";
    let custom = json!({"@type": kind, "range_matchers": matchers.collect::<Vec<_>>()});
    json!({"matcher_tree": {"input": input, "custom_match": {"name": "c", "typed_config": custom}}})
}

fn input_of_nothing() -> Value {
    input("network.v3.ServerName")
}

/// A network filter in front of a TCP proxy at port 8080, an HTTP filter at 8081, and a filter whose
/// configuration the route has at 8082.
fn snapshot(network: &Value, http: &Value) -> Arc<Snapshot> {
    let chain = |filters: &Value| json!([{"filters": filters}]);
    let rbac = |matcher: &Value| json!({"@type": format!("{FILTERS}.http.rbac.v3.RBAC"), "matcher": matcher});
    let manager = |config: &Value, said: &Value| {
        let route = json!({"match": {"prefix": "/"}, "direct_response": {"status": 204},
            "typed_per_filter_config": said});
        json!([{"name": "http", "typed_config": {
            "@type": format!("{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "s",
            "http_filters": [{"name": "r", "typed_config": config}, {"name": "router", "typed_config":
                {"@type": format!("{FILTERS}.http.router.v3.Router")}}],
            "route_config": {"name": "rc", "virtual_hosts": [
                {"name": "v", "domains": ["*"], "routes": [route]}]}}}])
    };
    let guarded = json!([
        {"name": "guard", "typed_config": {"@type": format!("{FILTERS}.network.rbac.v3.RBAC"),
            "stat_prefix": "s", "matcher": network}},
        {"name": "tcp", "typed_config": {"@type": format!("{FILTERS}.network.tcp_proxy.v3.TcpProxy"),
            "stat_prefix": "s", "cluster": "c"}}]);
    let idle = json!({"@type": format!("{FILTERS}.http.rbac.v3.RBAC")});
    let said = json!({"r": {"@type": format!("{FILTERS}.http.rbac.v3.RBACPerRoute"), "rbac": {"matcher": http}}});
    let chains = [
        chain(&guarded),
        chain(&manager(&rbac(http), &json!({}))),
        chain(&manager(&idle, &said)),
    ];
    let listeners = chains.iter().enumerate().map(|(index, chains)| {
        let address = json!({"address": "127.0.0.1", "port_value": 8080 + index});
        let inspector = format!("{FILTERS}.listener.tls_inspector.v3.TlsInspector");
        json!({"name": format!("l{index}"), "address": {"socket_address": address},
            "listener_filters": [{"name": "tls", "typed_config": {"@type": inspector}}],
            "filter_chains": chains})
    });
    let endpoint = json!({"endpoint": {"address": {"socket_address":
        {"address": "10.0.0.1", "port_value": 80}}}});
    let bootstrap = json!({"static_resources": {
        "listeners": listeners.collect::<Vec<_>>(),
        "clusters": [{"name": "c", "type": "STATIC", "connect_timeout": "1s", "load_assignment": {
            "cluster_name": "c", "endpoints": [{"lb_endpoints": [endpoint]}]}}]}});
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
    fn new(snapshot: &Arc<Snapshot>) -> Self {
        let compiled = compile(snapshot).expect("it compiles");
        assert_eq!(compiled.undecided(), []);
        let mut both = Self {
            spec: Spec::new(),
            sim: Sim::default(),
        };
        both.spec.load(snapshot).expect("spec loads");
        both.sim.load(snapshot).expect("sim loads");
        both
    }

    fn at(&mut self, request: &Request) -> Answer {
        let engines: [&mut dyn Engine; 2] = [&mut self.spec, &mut self.sim];
        let mut answers = engines.map(|engine| {
            let mut answer = engine.decide(request, 0, 0, true).expect("it decides");
            answer.decision.engine = None;
            answer.decision.reason = None;
            Some(answer)
        });
        assert_eq!(answers[0], answers[1], "{request:?}");
        answers[0].take().expect("two answers")
    }
}

/// Whether the filter lets it on; `None` where that is not decided.
fn passes(answer: &Answer) -> Option<bool> {
    if answer.decision.outcome == Outcome::Unsupported {
        return None;
    }
    let mut steps = answer.trace.steps.iter();
    let found = steps.find_map(|step| match step {
        Step::NetworkFilter { closes, .. } => Some(!closes),
        Step::Filter { did, .. } => Some(matches!(did, Did::Pass)),
        _ => None,
    });
    Some(found.expect("a filter was asked"))
}

/// What a tree that both filters know makes of a request.
fn of_all(matcher: &Value, more: &Value) -> [Option<bool>; 3] {
    let mut both = Both::new(&snapshot(matcher, matcher));
    [0, 1, 2].map(|listener| passes(&both.at(&request(listener, more))))
}

#[rstest]
#[case::empty(json!({}), false)]
#[case::log(json!({"on_no_match": to("LOG")}), true)]
#[case::source(list(&[(says(&input("network.v3.SourceIP"), &json!({"exact": "127.0.0.9"})), to("ALLOW"))], None), true)]
#[case::part_of_it(list(&[(says(&input("network.v3.SourceIP"), &json!({"contains": "7.0.0.9"})), to("ALLOW"))], None), true)]
#[case::direct(list(&[(says(&input("network.v3.DirectSourceIP"), &json!({"suffix": ".0.9"})), to("ALLOW"))], None), true)]
#[case::no_prefix(list(&[(says(&input("network.v3.DirectSourceIP"), &json!({"prefix": "27"})), to("ALLOW"))], None), false)]
#[case::port(list(&[(says(&input("network.v3.SourcePort"), &json!({"safe_regex": {"google_re2": {}, "regex": "9{3}"}})), to("ALLOW"))], None), true)]
#[case::to_port(list(&[(says(&input("network.v3.DestinationPort"), &json!({"prefix": "808"})), to("ALLOW"))], None), true)]
#[case::no_server_name(list(&[(says(&input("network.v3.ServerName"), &json!({"safe_regex": {"google_re2": {}, "regex": ".*"}})), to("DENY"))], Some(to("ALLOW"))), true)]
#[case::no_certificate(list(&[(says(&input("ssl.v3.Subject"), &json!({"contains": "x"})), to("ALLOW"))], Some(to("ALLOW"))), false)]
#[case::none_asked_for(list(&[(says(&input("network.v3.DestinationPort"), &json!({"prefix": "8"})), to("ALLOW")), (says(&input("ssl.v3.Subject"), &json!({"contains": "x"})), to("DENY"))], None), true)]
#[case::longest(ranges(&input("network.v3.SourceIP"), &[("127.0.0.0", 8, "DENY", false), ("127.0.0.9", 32, "ALLOW", false)]), true)]
#[case::next(ranges(&input("network.v3.SourceIP"), &[("127.0.0.0", 8, "ALLOW", false), ("127.0.0.9", 32, "", false)]), true)]
#[case::next_but_exclusive(ranges(&input("network.v3.SourceIP"), &[("127.0.0.0", 8, "ALLOW", true), ("127.0.0.9", 32, "", false)]), false)]
#[case::exclusive(ranges(&input("network.v3.SourceIP"), &[("127.0.0.0", 8, "ALLOW", true), ("10.0.0.9", 32, "", false)]), true)]
#[case::longer_than_an_address(ranges(&input("network.v3.SourceIP"), &[("127.0.0.9", 32, "DENY", false), ("127.0.0.9", 99, "ALLOW", false)]), true)]
#[case::other_family(ranges(&input("network.v3.DestinationIP"), &[("::", 0, "ALLOW", false)]), false)]
fn trees_of_both_filters(#[case] matcher: Value, #[case] expected: bool) {
    assert_eq!(of_all(&matcher, &json!({})), [Some(expected); 3]);
}

#[rstest]
#[case::certificate(list(&[(says(&input("ssl.v3.UriSan"), &json!({"contains": "x"})), to("ALLOW"))], None), json!({"tls": true}))]
#[case::source(ranges(&input("network.v3.SourceIP"), &[]), json!({"source": null}))]
#[case::port(list(&[(says(&input("network.v3.SourcePort"), &json!({"exact": "1"})), to("ALLOW"))], None), json!({"source": null}))]
fn what_is_not_known_is_not_decided(#[case] matcher: Value, #[case] more: Value) {
    assert_eq!(of_all(&matcher, &more), [None; 3]);
}

#[test]
fn a_client_that_a_header_says_has_no_port() {
    let matcher = |address: &str, port: &str| {
        let predicates = [
            says(&input("network.v3.SourceIP"), &json!({"exact": address})),
            says(&input("network.v3.SourcePort"), &json!({"exact": port})),
        ];
        list(
            &[(
                json!({"and_matcher": {"predicate": predicates}}),
                to("ALLOW"),
            )],
            None,
        )
    };
    for (said, expected) in [
        ("10.1.1.1", "10.1.1.1"),
        ("FD00:0::1", "fd00::1"),
        ("::10.1.1.1", "::10.1.1.1"),
        ("::ffff:10.1.1.1", "::ffff:10.1.1.1"),
    ] {
        let more = json!({"headers": [["x-forwarded-for", said]]});
        let found = of_all(&matcher(expected, "0"), &more);
        assert_eq!(found, [Some(false), Some(true), Some(true)], "{said}");
    }
    // There is nobody else before there is a request.
    let more = json!({"headers": [["x-forwarded-for", "10.1.1.1"]]});
    let found = of_all(&matcher("127.0.0.9", "999"), &more);
    assert_eq!(found, [Some(true), Some(false), Some(false)]);
}

#[test]
fn server_names_are_in_lower_case() {
    let keys = json!({"a.com": to("ALLOW"), "": to("ALLOW"), "B.com": to("ALLOW")});
    let matcher = json!({"matcher_tree": {"input": input("network.v3.ServerName"),
        "exact_match_map": {"map": keys}}});
    for (name, expected) in [("A.com", true), ("b.com", false), ("", false)] {
        let found = of_all(&matcher, &json!({"tls": true, "sni": name}));
        assert_eq!(found, [Some(expected); 3], "{name}");
    }
}

#[rstest]
#[case(json!([["x", "1"]]), true)]
#[case(json!([["x", ""]]), false)]
#[case(json!([["x", "1"], ["x", "2"]]), false)]
#[case(json!([]), true)]
fn headers(#[case] lines: Value, #[case] expected: bool) {
    let keys = json!({"1": to("ALLOW"), "1,2": to("DENY"), "": to("DENY")});
    let matcher = json!({"matcher_tree": {"input": header("x"), "exact_match_map": {"map": keys}},
        "on_no_match": to("LOG")});
    let mut both = Both::new(&snapshot(&json!({}), &matcher));
    for listener in [1, 2] {
        let answer = both.at(&request(listener, &json!({"headers": lines})));
        assert_eq!(passes(&answer), Some(expected));
        let status = if expected { 204 } else { 403 };
        assert_eq!(answer.decision.status, Some(status));
    }
}

/// Each nesting asks all that stands beside once more where something was lacking.
#[test]
fn nested_certificates_stay_small() {
    let peer = says(&input("ssl.v3.DnsSan"), &json!({"exact": "x"}));
    let mut predicate = says(
        &input("network.v3.SourceIP"),
        &json!({"exact": "127.0.0.9"}),
    );
    for _ in 0..12 {
        predicate = json!({"or_matcher": {"predicate": [peer, predicate]}});
    }
    let matcher = list(&[(predicate, to("ALLOW"))], Some(to("ALLOW")));
    assert_eq!(of_all(&matcher, &json!({})), [Some(true); 3]);
    let other = json!({"source": "127.0.0.8:1"});
    assert_eq!(of_all(&matcher, &other), [Some(false); 3]);
}

#[test]
fn the_action_that_decides_is_named() {
    let source = input("network.v3.SourceIP");
    let matcher = list(
        &[
            (says(&source, &json!({"exact": "127.0.0.8"})), to("ALLOW")),
            (says(&source, &json!({"exact": "127.0.0.9"})), to("DENY")),
        ],
        None,
    );
    let mut both = Both::new(&snapshot(&matcher, &json!({})));
    for (source, policy, closes) in [
        ("8", Some(0), false),
        ("9", Some(1), true),
        ("7", None, true),
    ] {
        let asked = request(0, &json!({"source": format!("127.0.0.{source}:1")}));
        let answer = both.at(&asked);
        let expected = Step::NetworkFilter {
            filter: 0,
            policy,
            closes,
        };
        assert!(answer.trace.steps.contains(&expected), "{answer:?}");
    }
}
