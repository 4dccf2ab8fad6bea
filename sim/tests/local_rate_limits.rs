//! The local rate limit filter, as both engines decide it and as Envoy 1.40 was measured to.

use std::sync::Arc;

use rstest::rstest;
use serde_json::{Value, json};
use twinmesh_engine::{Answer, Engine, Outcome, Request};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::{ReadError, ReadOptions, Snapshot};

const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";

fn limit(tokens: u32, per_fill: u32, interval: &str) -> Value {
    let all = json!({"default_value": {"numerator": 100}});
    json!({
        "@type": format!("{TYPES}.http.local_ratelimit.v3.LocalRateLimit"),
        "stat_prefix": "s",
        "token_bucket": {
            "max_tokens": tokens, "tokens_per_fill": per_fill, "fill_interval": interval,
        },
        "filter_enabled": all,
        "filter_enforced": all,
    })
}

/// A filter, and virtual hosts with what they and their routes say to it: `/own` has `of_route`.
fn read(own: &Value, of_host: &Value, of_route: &Value) -> Result<Arc<Snapshot>, ReadError> {
    let router = json!({"@type": format!("{TYPES}.http.router.v3.Router")});
    let to = json!({"cluster": "a"});
    let mut host = json!({"name": "v", "domains": ["v"], "routes": [
        {"match": {"prefix": "/own"}, "route": to},
        {"match": {"prefix": "/a"}, "route": to},
        {"match": {"prefix": "/b"}, "route": to},
    ]});
    if !of_host.is_null() {
        host["typed_per_filter_config"] = json!({"limit": of_host});
    }
    if !of_route.is_null() {
        host["routes"][0]["typed_per_filter_config"] = json!({"limit": of_route});
    }
    let plain = json!({"name": "p", "domains": ["p"], "routes": [
        {"match": {"prefix": "/"}, "route": to},
    ]});
    let manager = json!({
        "@type": format!("{TYPES}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "s",
        "http_filters": [
            {"name": "limit", "typed_config": own},
            {"name": "router", "typed_config": router},
        ],
        "route_config": {"name": "rc", "virtual_hosts": [host, plain]},
    });
    let address = json!({"address": "10.0.0.1", "port_value": 80});
    let endpoint = json!({"endpoint": {"address": {"socket_address": address}}});
    let bootstrap = json!({"static_resources": {
        "listeners": [{
            "name": "web",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }],
        "clusters": [{"name": "a", "type": "STATIC", "connect_timeout": "1s",
            "load_assignment": {"cluster_name": "a",
                "endpoints": [{"lb_endpoints": [endpoint]}]}}],
    }});
    let text = bootstrap.to_string();
    twinmesh_xds::read_bytes("test.json", text.as_bytes(), &ReadOptions::default()).map(Arc::new)
}

fn snapshot(own: &Value, of_host: &Value, of_route: &Value) -> Arc<Snapshot> {
    read(own, of_host, of_route).unwrap_or_else(|error| panic!("{error}"))
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

    fn update(&mut self, snapshot: &Arc<Snapshot>) {
        for engine in [&mut self.spec as &mut dyn Engine, &mut self.sim] {
            engine.update(snapshot, 0).expect("it fits");
        }
    }

    fn at(&mut self, now: u64, request: &Request, random: u64) -> Answer {
        let mut answers = Vec::new();
        for engine in [&mut self.spec as &mut dyn Engine, &mut self.sim] {
            let decided = engine.decide(request, random, now, true);
            let mut answer = decided.expect("it decides");
            answer.decision.engine = None;
            answer.decision.reason = None;
            answers.push(answer);
        }
        let (sim, spec) = (answers.pop(), answers.pop());
        assert_eq!(spec, sim, "{request:?} at {now}");
        spec.expect("two answers")
    }

    /// The status that the filter answers with at a millisecond; 0 where it lets the request on.
    fn status(&mut self, milliseconds: u64, authority: &str, path: &str) -> u32 {
        let line = json!({"id": "r", "authority": authority, "path": path});
        let request = serde_json::from_value(line).expect("a line of traffic");
        let decision = self.at(milliseconds * 1000, &request, 0).decision;
        match decision.outcome {
            Outcome::DirectResponse => decision.status.expect("it has one"),
            _ => 0,
        }
    }
}

#[rstest]
#[case(2, 1, "1s", &[(0, true), (10, true), (20, false), (900, false), (1050, true), (1100, false), (2100, true), (3200, true), (3250, false)])]
#[case(3, 5, "2s", &[(0, true), (0, true), (0, true), (0, false), (200, false), (450, true), (500, false), (850, true), (900, false), (1900, true), (1950, true), (2000, true), (2050, false)])]
#[case(2, 10, "1s", &[(0, true), (0, true), (0, false), (99, false), (100, true), (199, false), (200, true), (900_000, true), (900_000, true), (900_000, false)])]
#[case(1, 3, "1s", &[(0, true), (333, false), (334, true), (667, false), (668, true), (1001, false), (1002, true)])]
#[case(0, 1, "1s", &[(0, false), (9000, false)])]
#[case(4_294_967_295, 4_294_967_295, "315576000000s", &[(0, true), (u64::MAX / 1000, true)])]
fn a_bucket_fills_all_the_time(
    #[case] tokens: u32,
    #[case] per_fill: u32,
    #[case] interval: &str,
    #[case] requests: &[(u64, bool)],
) {
    let own = limit(tokens, per_fill, interval);
    let mut both = Both::new(&snapshot(&own, &Value::Null, &Value::Null));
    for (at, passes) in requests {
        let expected = if *passes { 0 } else { 429 };
        assert_eq!(both.status(*at, "p", "/"), expected, "{at} ms");
    }
}

#[test]
fn each_configuration_has_a_bucket_of_its_own() {
    let own = limit(1, 1, "100s");
    let of_host = limit(2, 1, "100s");
    let of_route = limit(1, 1, "100s");
    let before = snapshot(&own, &of_host, &of_route);
    let mut both = Both::new(&before);
    for (path, expected) in [
        ("/a", 0),
        ("/b", 0),
        ("/own", 0),
        ("/a", 429),
        ("/b", 429),
        ("/own", 429),
    ] {
        assert_eq!(both.status(0, "v", path), expected, "{path}");
    }
    // Without a route the filter's own counts.
    assert_eq!(both.status(0, "nobody", "/"), 0);
    assert_eq!(both.status(0, "p", "/"), 429);
    // An equal listener goes on, another starts anew.
    both.update(&before);
    for (authority, path) in [("p", "/"), ("v", "/a"), ("v", "/own")] {
        assert_eq!(both.status(0, authority, path), 429);
    }
    both.update(&snapshot(&own, &of_host, &limit(1, 2, "100s")));
    for (authority, path) in [("p", "/"), ("v", "/a"), ("v", "/own")] {
        assert_eq!(both.status(0, authority, path), 0);
    }
}

#[rstest]
#[case(json!({"status": {"code": 503}}), 503)]
#[case(json!({"status": {"code": 404}}), 404)]
#[case(json!({"status": {"code": 200}}), 429)]
#[case(json!({"filter_enabled": {"default_value": {"numerator": 0}}}), 0)]
#[case(json!({"filter_enabled": null}), 0)]
#[case(json!({"filter_enforced": {"default_value": {"numerator": 0}}}), 0)]
#[case(json!({"filter_enforced": null}), 0)]
fn statuses_and_shares(#[case] more: Value, #[case] expected: u32) {
    let mut own = limit(1, 1, "100s");
    for (field, value) in more.as_object().into_iter().flatten() {
        own[field] = value.clone();
    }
    let mut both = Both::new(&snapshot(&own, &Value::Null, &Value::Null));
    assert_eq!(both.status(0, "p", "/"), 0);
    assert_eq!(both.status(0, "p", "/"), expected);
}

#[test]
fn what_envoy_refuses() {
    let none = Value::Null;
    let error = read(&limit(1, 1, "0.049s"), &none, &none).expect_err("it is too short");
    assert!(error.to_string().contains("at least 50 ms"), "{error}");
    assert!(read(&limit(1, 1, "0.05s"), &none, &none).is_ok());
    let mut without = limit(1, 1, "1s");
    without["token_bucket"] = Value::Null;
    assert!(read(&without, &none, &none).is_ok());
    let error = read(&limit(1, 1, "1s"), &none, &without).expect_err("a route needs a bucket");
    assert!(
        error.to_string().contains("needs a token_bucket"),
        "{error}"
    );
}

/// A filter with these descriptors: key `generic_key`, value, `max_tokens`, tokens in 100 s.
fn by_descriptors(descriptors: &[(&str, u32, u32)], asked: &[&str], always: bool) -> Value {
    let mut config = limit(2, 1, "100s");
    config["descriptors"] = descriptors
        .iter()
        .map(|(value, tokens, per_fill)| {
            json!({
                "entries": [{"key": "generic_key", "value": value}],
                "token_bucket": {"max_tokens": tokens, "tokens_per_fill": per_fill,
                    "fill_interval": "100s"},
            })
        })
        .collect();
    config["rate_limits"] = asked
        .iter()
        .map(|value| json!({"actions": [{"generic_key": {"descriptor_value": value}}]}))
        .collect();
    config["always_consume_default_token_bucket"] = json!(always);
    config
}

#[rstest]
// The one that fills slower is asked first, and the other one keeps its token where that is empty.
#[case::slower_first(&[("a", 2, 2), ("b", 1, 1)], &["a", "b"], false, "+-")]
// Of those alike the first of the rate limits.
#[case::alike(&[("a", 1, 1), ("b", 3, 1)], &["b", "a"], false, "+--")]
#[case::twice(&[("a", 3, 1)], &["a", "a"], false, "+-")]
#[case::nothing_in_it(&[("a", 0, 1)], &["a"], false, "-")]
#[case::and_the_filters_own(&[("a", 3, 1)], &["a"], true, "++-")]
#[case::none_matches(&[("a", 3, 1)], &["b"], false, "++-")]
fn buckets_of_descriptors(
    #[case] descriptors: &[(&str, u32, u32)],
    #[case] asked: &[&str],
    #[case] always: bool,
    #[case] expected: &str,
) {
    let own = by_descriptors(descriptors, asked, always);
    let mut both = Both::new(&snapshot(&own, &Value::Null, &Value::Null));
    let mut sign = || {
        if both.status(0, "p", "/") == 0 {
            '+'
        } else {
            '-'
        }
    };
    let found: String = expected.chars().map(|_| sign()).collect();
    assert_eq!(found, expected);
}

#[rstest]
#[case::short(json!([{"entries": [{"key": "k", "value": "v"}],
    "token_bucket": {"max_tokens": 1, "fill_interval": "0.049s"}}]))]
#[case::no_interval(json!([{"entries": [{"key": "k", "value": "v"}], "token_bucket": {"max_tokens": 1}}]))]
#[case::twice(json!([
    {"entries": [{"key": "k", "value": "v"}], "token_bucket": {"max_tokens": 1, "fill_interval": "1s"}},
    {"entries": [{"key": "k", "value": "v"}], "token_bucket": {"max_tokens": 2, "fill_interval": "1s"}},
]))]
fn descriptors_that_envoy_refuses(#[case] descriptors: Value) {
    let mut own = limit(1, 1, "1s");
    own["descriptors"] = descriptors;
    assert!(read(&own, &Value::Null, &Value::Null).is_err());
}
