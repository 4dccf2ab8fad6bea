//! The fault filter, as both engines decide it and as Envoy 1.40 was measured to.

use std::sync::Arc;

use rstest::rstest;
use serde_json::{Value, json};
use twinmesh_engine::{Answer, Did, Engine, Outcome, Request, Step};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::{ReadOptions, Snapshot};

const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";

/// A fault filter in front of a route to cluster `a` and one by the header x-c.
fn snapshot(fault: &Value, more: &Value) -> Arc<Snapshot> {
    let mut fault = fault.clone();
    fault["@type"] = json!(format!("{TYPES}.http.fault.v3.HTTPFault"));
    let router = json!({"@type": format!("{TYPES}.http.router.v3.Router")});
    let routes = json!([
        {"match": {"prefix": "/by-header"}, "route": {"cluster_header": "x-c"}},
        {"match": {"prefix": "/redirect"}, "redirect": {"path_redirect": "/z"}},
        {"match": {"prefix": "/nowhere"}, "route": {"cluster": "nowhere"}},
        {"match": {"prefix": "/subset"}, "route": {"cluster": "a", "metadata_match":
            {"filter_metadata": {"envoy.lb": {"v": "1"}}}}},
        {"match": {"prefix": "/"}, "route": {"cluster": "a"}},
    ]);
    let mut manager = json!({
        "@type": format!("{TYPES}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "s",
        "http_filters": [
            {"name": "fault", "typed_config": fault},
            {"name": "router", "typed_config": router},
        ],
        "route_config": {"name": "rc", "validate_clusters": false, "virtual_hosts":
            [{"name": "v", "domains": ["*"], "routes": routes}]},
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        manager[field] = value.clone();
    }
    let clusters: Vec<Value> = ["a", "b"]
        .map(|name| {
            let address = json!({"address": "10.0.0.1", "port_value": 80});
            let endpoint = json!({"endpoint": {"address": {"socket_address": address}},
                "metadata": {"filter_metadata": {"envoy.lb": {"v": "1"}}}});
            json!({"name": name, "type": "STATIC", "connect_timeout": "1s",
                "lb_subset_config": {"fallback_policy": "ANY_ENDPOINT",
                    "subset_selectors": [{"keys": ["v"]}]},
                "load_assignment": {"cluster_name": name,
                    "endpoints": [{"lb_endpoints": [endpoint]}]}})
        })
        .to_vec();
    let bootstrap = json!({"static_resources": {
        "listeners": [{
            "name": "web",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }],
        "clusters": clusters,
    }});
    let text = bootstrap.to_string();
    let read = twinmesh_xds::read_bytes("test.json", text.as_bytes(), &ReadOptions::default());
    Arc::new(read.unwrap_or_else(|error| panic!("{error}")))
}

type Headers<'a> = &'a [(&'a str, &'a str)];

fn request(path: &str, headers: Headers<'_>) -> Request {
    let line = json!({"id": "r", "authority": "h", "path": path, "headers": headers});
    serde_json::from_value(line).expect("a line of traffic")
}

struct Both {
    spec: Spec,
    sim: Sim,
}

impl Both {
    fn new(snapshot: &Arc<Snapshot>) -> Self {
        let mut both = Self {
            spec: Spec::new(),
            sim: Sim::default(),
        };
        both.spec.load(snapshot).expect("spec loads");
        both.sim.load(snapshot).expect("sim loads");
        both
    }

    fn at(&mut self, now: u64, request: &Request, random: u64) -> Answer {
        let mut answers = Vec::new();
        let engines: [&mut dyn Engine; 2] = [&mut self.spec, &mut self.sim];
        for engine in engines {
            let decided = engine.decide(request, random, now, true);
            let mut answer = decided.expect("it decides");
            answer.decision.engine = None;
            answer.decision.reason = None;
            answers.push(answer);
        }
        let (sim, spec) = (answers.pop(), answers.pop());
        assert_eq!(spec, sim, "{request:?}");
        spec.expect("two answers")
    }

    /// The status of an abort, 0 where there is none, and the delay in milliseconds.
    fn meets(&mut self, request: &Request) -> (u32, u64) {
        let answer = self.at(0, request, 0);
        let aborted = answer.trace.steps.iter().find_map(|step| match step {
            Step::Filter {
                did: Did::Answer(status),
                ..
            } => Some(*status),
            _ => None,
        });
        (aborted.unwrap_or(0), answer.delayed_us / 1000)
    }
}

fn all() -> Value {
    json!({"numerator": 100})
}

fn abort() -> Value {
    json!({"http_status": 418, "percentage": all()})
}

#[rstest]
#[case::http(json!({"abort": abort()}), (418, 0))]
#[case::grpc(json!({"abort": {"grpc_status": 14, "percentage": all()}}), (200, 0))]
#[case::no_share(json!({"abort": {"http_status": 418}}), (0, 0))]
#[case::delay(json!({"delay": {"fixed_delay": "0.3s", "percentage": all()}}), (0, 300))]
#[case::both(json!({"delay": {"fixed_delay": "0.3s", "percentage": all()}, "abort": abort()}), (418, 300))]
#[case::less_than_a_millisecond(json!({"delay": {"fixed_delay": "0.0001s", "percentage": all()}}), (0, 0))]
#[case::of_the_cluster(json!({"abort": abort(), "upstream_cluster": "a"}), (418, 0))]
#[case::of_another(json!({"abort": abort(), "upstream_cluster": "b"}), (0, 0))]
#[case::none_active(json!({"abort": abort(), "max_active_faults": 0}), (0, 0))]
#[case::headers(json!({"abort": abort(), "headers": [{"name": "x-a", "string_match": {"exact": "1"}}, {"name": "x-b", "present_match": true}]}), (0, 0))]
fn fixed(#[case] fault: Value, #[case] expected: (u32, u64)) {
    let mut both = Both::new(&snapshot(&fault, &json!({})));
    assert_eq!(both.meets(&request("/", &[("x-a", "1")])), expected);
}

#[test]
fn the_cluster_that_the_route_chose() {
    let fault = json!({"abort": abort(), "upstream_cluster": "a"});
    let mut both = Both::new(&snapshot(&fault, &json!({})));
    let cases: [(&str, Headers<'_>, u32); 6] = [
        ("/subset", &[], 418),
        ("/by-header", &[("x-c", "a")], 418),
        ("/by-header", &[("x-c", "b")], 0),
        ("/by-header", &[], 0),
        ("/redirect", &[], 0),
        ("/nowhere", &[], 0),
    ];
    for (path, headers, expected) in cases {
        assert_eq!(
            both.meets(&request(path, headers)).0,
            expected,
            "{path} {headers:?}"
        );
    }
    let fault = json!({"abort": abort(), "upstream_cluster": "nowhere"});
    let mut both = Both::new(&snapshot(&fault, &json!({})));
    assert_eq!(both.meets(&request("/nowhere", &[])).0, 418);
    let missing = request("/by-header", &[("x-c", "nowhere")]);
    assert_eq!(both.meets(&missing).0, 418);
}

#[rstest]
#[case(&["555"], 555)]
#[case(&["199"], 0)]
#[case(&["200"], 200)]
#[case(&["599"], 599)]
#[case(&["600"], 0)]
#[case(&["x"], 0)]
#[case(&["+555"], 555)]
#[case(&["0555"], 555)]
#[case(&["555.0"], 0)]
#[case(&[""], 0)]
#[case(&["-1"], 0)]
#[case(&["555", "556"], 555)]
#[case(&["x", "555"], 0)]
#[case(&[], 0)]
fn aborts_by_header(#[case] values: &[&str], #[case] expected: u32) {
    let fault = json!({"abort": {"header_abort": {}, "percentage": all()}});
    let mut both = Both::new(&snapshot(&fault, &json!({})));
    let headers: Vec<_> = values
        .iter()
        .map(|&value| ("x-envoy-fault-abort-request", value))
        .collect();
    assert_eq!(both.meets(&request("/", &headers)), (expected, 0));
}

#[rstest]
#[case(&["5"], 200)]
#[case(&["x"], 0)]
#[case(&["99"], 200)]
fn grpc_aborts_by_header(#[case] values: &[&str], #[case] expected: u32) {
    let fault = json!({"abort": {"header_abort": {}, "percentage": all()}});
    let mut both = Both::new(&snapshot(&fault, &json!({})));
    let name = "x-envoy-fault-abort-grpc-request";
    let mut headers: Vec<_> = values.iter().map(|&value| (name, value)).collect();
    assert_eq!(both.meets(&request("/", &headers)), (expected, 0));
    headers.push(("x-envoy-fault-abort-request", "555"));
    assert_eq!(both.meets(&request("/", &headers)), (555, 0));
}

#[rstest]
#[case("0", 0)]
#[case("50", 555)]
#[case("200", 555)]
#[case("x", 555)]
#[case("-1", 555)]
#[case("", 555)]
#[case("4294967296", 555)]
#[case("+0", 0)]
fn shares_by_header(#[case] value: &str, #[case] expected: u32) {
    // The draw for aborts of this number modulo 100 is below 50.
    let random =
        (0..).find(|random| twinmesh_model::random::draw(*random, (1 << 32) + 1) % 100 < 50);
    let random = random.expect("there is one");
    let fault = json!({"abort": {"header_abort": {}, "percentage": all()}});
    let mut both = Both::new(&snapshot(&fault, &json!({})));
    let headers = [
        ("x-envoy-fault-abort-request", "555"),
        ("x-envoy-fault-abort-request-percentage", value),
    ];
    let answer = both.at(0, &request("/", &headers), random);
    let status = answer.decision.status.unwrap_or(0);
    assert_eq!(status, expected);
}

#[rstest]
#[case(&["200"], 200)]
#[case(&["0"], 0)]
#[case(&["x"], 0)]
#[case(&["+200"], 200)]
#[case(&["200.5"], 0)]
#[case(&["200", "400"], 200)]
#[case(&["-5"], 0)]
#[case(&["4294967296000000000000"], 0)]
fn delays_by_header(#[case] values: &[&str], #[case] expected: u64) {
    let fault = json!({"delay": {"header_delay": {}, "percentage": all()}});
    let mut both = Both::new(&snapshot(&fault, &json!({})));
    let headers: Vec<_> = values
        .iter()
        .map(|&value| ("x-envoy-fault-delay-request", value))
        .collect();
    assert_eq!(both.meets(&request("/", &headers)), (0, expected));
}

#[test]
fn nodes() {
    let fault = json!({"abort": abort(), "downstream_nodes": ["n1", "n2"]});
    let mut both = Both::new(&snapshot(&fault, &json!({})));
    let name = "x-envoy-downstream-service-node";
    for (value, expected) in [
        ("n1", 418),
        ("n2", 418),
        ("n3", 0),
        ("n1,n2", 0),
        ("N1", 0),
        ("", 0),
    ] {
        assert_eq!(
            both.meets(&request("/", &[(name, value)])).0,
            expected,
            "{value}"
        );
    }
    assert_eq!(both.meets(&request("/", &[])).0, 0);
    let own = json!({"use_remote_address": true});
    let mut both = Both::new(&snapshot(&fault, &own));
    let answer = both.at(0, &request("/", &[(name, "n1")]), 0);
    assert_eq!(answer.decision.outcome, Outcome::Unsupported);
}

#[test]
fn a_share_of_the_requests_by_a_draw_of_its_own() {
    let fault = json!({
        "abort": {"http_status": 418, "percentage": {"numerator": 25}},
        "delay": {"fixed_delay": "1s", "percentage": {"numerator": 2500, "denominator": "TEN_THOUSAND"}},
    });
    let mut both = Both::new(&snapshot(&fault, &json!({})));
    let (mut aborted, mut delayed, mut together) = (0, 0, 0);
    for random in 0..4000 {
        let answer = both.at(0, &request("/", &[]), random);
        let abort = answer.decision.outcome == Outcome::DirectResponse;
        let delay = answer.delayed_us == 1_000_000;
        aborted += u32::from(abort);
        delayed += u32::from(delay);
        together += u32::from(abort && delay);
    }
    assert!((900..1100).contains(&aborted), "{aborted}");
    assert!((900..1100).contains(&delayed), "{delayed}");
    assert!((200..300).contains(&together), "{together}");
}

#[test]
fn active_faults_end_with_their_requests() {
    let fault = json!({
        "delay": {"fixed_delay": "0.010s", "percentage": all()},
        "max_active_faults": 2,
    });
    let snapshot = snapshot(&fault, &json!({}));
    let mut both = Both::new(&snapshot);
    let mut long = request("/", &[]);
    long.duration_us = 5_000;
    let delayed = |both: &mut Both, now, request: &Request| both.at(now, request, 0).delayed_us;
    // Active until 15,000 and, as nothing holds a redirect, until 10,001.
    assert_eq!(delayed(&mut both, 0, &long), 10_000);
    assert_eq!(delayed(&mut both, 1, &request("/redirect", &[])), 10_000);
    assert_eq!(delayed(&mut both, 2, &long), 0);
    assert_eq!(delayed(&mut both, 10_000, &long), 0);
    for engine in [&mut both.spec as &mut dyn Engine, &mut both.sim] {
        engine.update(&snapshot, 0).expect("the same snapshot fits");
    }
    assert_eq!(delayed(&mut both, 10_000, &long), 0);
    assert_eq!(delayed(&mut both, 10_001, &long), 10_000);
    assert_eq!(delayed(&mut both, 14_999, &long), 0);
    assert_eq!(delayed(&mut both, 15_000, &long), 10_000);
}

/// Measured: a delay that a timeout of the stream does not outlast ends in a 504, before any route is taken.
#[rstest]
#[case::none(json!({}), "1000", Outcome::Forward)]
#[case::by_default(json!({}), "300000", Outcome::Unsupported)]
#[case::off(json!({"stream_idle_timeout": "0s"}), "300000", Outcome::Forward)]
#[case::idle(json!({"stream_idle_timeout": "1s"}), "1000", Outcome::Unsupported)]
#[case::longer_idle(json!({"stream_idle_timeout": "1.001s"}), "1000", Outcome::Forward)]
#[case::longest(json!({"common_http_protocol_options": {"max_stream_duration": "0.2s"}}), "600", Outcome::Unsupported)]
#[case::request(json!({"request_timeout": "0.2s"}), "600", Outcome::Unsupported)]
#[case::no_delay(json!({"request_timeout": "0.2s"}), "0", Outcome::Forward)]
fn a_delay_that_outlasts_a_timeout_is_undecided(
    #[case] manager: Value,
    #[case] delay: &str,
    #[case] expected: Outcome,
) {
    let fault = json!({"delay": {"header_delay": {}, "percentage": all()}});
    let mut both = Both::new(&snapshot(&fault, &manager));
    let request = request("/", &[("x-envoy-fault-delay-request", delay)]);
    assert_eq!(both.at(0, &request, 0).decision.outcome, expected);
}

/// The route's own timeouts come before the connection manager's.
#[rstest]
#[case(json!({"idle_timeout": "0.2s"}), Outcome::Unsupported)]
#[case(json!({"idle_timeout": "0s"}), Outcome::Forward)]
#[case(json!({"max_stream_duration": {"max_stream_duration": "0.2s"}}), Outcome::Unsupported)]
#[case(json!({"max_stream_duration": {"max_stream_duration": "2s"}}), Outcome::Unsupported)]
fn a_route_says_how_long_a_stream_may_be_idle(#[case] more: Value, #[case] expected: Outcome) {
    let fault = json!({"delay": {"header_delay": {}, "percentage": all()}});
    let mut route = json!({"cluster": "a"});
    for (field, value) in more.as_object().into_iter().flatten() {
        route[field] = value.clone();
    }
    let table = json!({"name": "rc", "virtual_hosts": [{"name": "v", "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": route}]}]});
    let manager = json!({"route_config": table, "stream_idle_timeout": "0.5s"});
    let mut both = Both::new(&snapshot(&fault, &manager));
    let request = request("/", &[("x-envoy-fault-delay-request", "600")]);
    assert_eq!(both.at(0, &request, 0).decision.outcome, expected);
}
