//! Generated policies, scripts and traffic through both engines.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use twinmesh_engine::{Answer, Outcome, Request, Step};
use twinmesh_xds::Snapshot;

use crate::snapshot::{both, cluster, group, merge, request, route, script, snapshot};

const PATHS: [&str; 3] = ["/a", "/b", "/c"];

fn one_of(values: &[&'static str]) -> impl Strategy<Value = &'static str> + use<> {
    prop::sample::select(values.to_vec())
}

fn milliseconds() -> impl Strategy<Value = Value> {
    one_of(&["0s", "0.001s", "0.010s", "0.050s", "0.200s", "1s"]).prop_map(Value::from)
}

/// Each of the fields is there or not, so often of about ten times.
fn some(fields: Vec<(&'static str, u32, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    fields
        .into_iter()
        .map(|(name, often, value)| {
            let value = prop::option::weighted(f64::from(often) / 10.1, value);
            value.prop_map(move |value| (name, value))
        })
        .collect::<Vec<_>>()
        .prop_map(|fields| {
            let fields = fields.into_iter();
            let present = fields.filter_map(|(name, value)| Some((name.to_owned(), value?)));
            Value::Object(present.collect())
        })
        .boxed()
}

fn retry_policy() -> BoxedStrategy<Value> {
    let conditions = [
        "5xx",
        "gateway-error",
        "reset",
        "connect-failure",
        "retriable-4xx",
        "unavailable",
        "retriable-status-codes",
        "retriable-headers",
        "reset-before-request",
        "refused-stream",
        "envoy-ratelimited",
    ];
    let on = prop::collection::vec(one_of(&conditions), 1..4).prop_map(|on| on.join(",").into());
    let intervals = (1_u32..60, 0_u32..200).prop_map(|(base, more)| {
        json!({"base_interval": format!("0.{base:03}s"), "max_interval": format!("0.{:03}s", base + more)})
    });
    let previous = json!([{"name": "p", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}]);
    let limited = json!({"reset_headers": [{"name": "retry-after", "format": "SECONDS"}], "max_interval": "2s"});
    some(vec![
        ("retry_on", 10, on.boxed()),
        ("num_retries", 7, (0_u32..5).prop_map(Value::from).boxed()),
        ("per_try_timeout", 3, milliseconds().boxed()),
        ("per_try_idle_timeout", 2, milliseconds().boxed()),
        ("retry_back_off", 5, intervals.boxed()),
        ("retriable_status_codes", 5, Just(json!([418, 503])).boxed()),
        (
            "retriable_headers",
            5,
            Just(json!([{"name": "x-again", "string_match": {"prefix": "y"}}])).boxed(),
        ),
        (
            "retriable_request_headers",
            1,
            Just(json!([{"name": ":path", "string_match": {"exact": "/a"}}, {"name": "x-may"}]))
                .boxed(),
        ),
        ("retry_host_predicate", 3, Just(previous).boxed()),
        (
            "host_selection_retry_max_attempts",
            5,
            (0_u32..4).prop_map(Value::from).boxed(),
        ),
        ("rate_limited_retry_back_off", 5, Just(limited).boxed()),
    ])
}

fn action() -> BoxedStrategy<Value> {
    let lasts = some(vec![
        ("max_stream_duration", 2, milliseconds().boxed()),
        ("grpc_timeout_header_max", 5, milliseconds().boxed()),
        ("grpc_timeout_header_offset", 5, milliseconds().boxed()),
    ]);
    let hash = json!([{"header": {"header_name": "x-may"}}]);
    some(vec![
        ("timeout", 3, milliseconds().boxed()),
        ("idle_timeout", 2, milliseconds().boxed()),
        ("max_grpc_timeout", 3, milliseconds().boxed()),
        ("grpc_timeout_offset", 5, milliseconds().boxed()),
        ("max_stream_duration", 2, lasts),
        ("retry_policy", 9, retry_policy()),
        ("auto_host_rewrite", 5, Just(json!(true)).boxed()),
        ("hash_policy", 4, Just(hash).boxed()),
        ("priority", 5, Just(json!("HIGH")).boxed()),
    ])
}

/// A balancer behind headers that name endpoints.
fn override_host() -> impl Strategy<Value = Value> {
    let extension = |kind: &str, more: Value| {
        let mut config = json!({
            "@type": format!("type.googleapis.com/envoy.extensions.load_balancing_policies.{kind}")});
        merge(&mut config, &more);
        json!({"policies": [{"typed_extension_config": {"name": "p", "typed_config": config}}]})
    };
    let fallback = one_of(&[
        "round_robin.v3.RoundRobin",
        "least_request.v3.LeastRequest",
        "random.v3.Random",
        "ring_hash.v3.RingHash",
    ]);
    fallback.prop_map(move |fallback| {
        let sources = json!([{"header": "x-other"}, {"header": "x-host"}]);
        let fallback = extension(fallback, json!({}));
        let config = json!({"override_host_sources": sources, "fallback_policy": fallback});
        extension("override_host.v3.OverrideHost", config)
    })
}

fn clusters() -> impl Strategy<Value = Vec<Value>> {
    let balancer = one_of(&["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH"]);
    let http2 = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}}}});
    let number = |most: u32| (0..most).prop_map(Value::from).boxed();
    let budget = some(vec![
        ("min_retry_concurrency", 5, number(3)),
        (
            "budget_percent",
            5,
            one_of(&["20", "50"])
                .prop_map(|it| json!({"value": it.parse::<f64>().unwrap_or(0.0)}))
                .boxed(),
        ),
    ]);
    let thresholds = some(vec![
        ("priority", 3, Just(json!("HIGH")).boxed()),
        ("max_connections", 4, number(4)),
        ("max_pending_requests", 3, number(4)),
        ("max_requests", 3, number(4)),
        ("max_retries", 3, number(3)),
        ("retry_budget", 3, budget),
    ]);
    let of_endpoint = some(vec![("max_connections", 5, number(3))]);
    let breakers = (thresholds, of_endpoint)
        .prop_map(|(all, each)| json!({"thresholds": [all], "per_host_thresholds": [each]}));
    let enforcing = || prop::sample::select(vec![json!(0), json!(100)]).boxed();
    let ejection = one_of(&["0.010s", "0.100s", "0.500s"]).prop_map(Value::from);
    let detection = some(vec![
        (
            "interval",
            8,
            one_of(&["0.020s", "0.100s"]).prop_map(Value::from).boxed(),
        ),
        ("base_ejection_time", 8, ejection.boxed()),
        (
            "max_ejection_percent",
            8,
            prop::sample::select(vec![json!(34), json!(50), json!(100)]).boxed(),
        ),
        (
            "consecutive_5xx",
            6,
            (1_u32..4).prop_map(Value::from).boxed(),
        ),
        (
            "consecutive_gateway_failure",
            5,
            (1_u32..3).prop_map(Value::from).boxed(),
        ),
        ("enforcing_consecutive_gateway_failure", 5, enforcing()),
        (
            "split_external_local_origin_errors",
            4,
            Just(json!(true)).boxed(),
        ),
        (
            "consecutive_local_origin_failure",
            5,
            (1_u32..3).prop_map(Value::from).boxed(),
        ),
        ("success_rate_minimum_hosts", 5, number(3)),
        ("success_rate_request_volume", 5, number(3)),
        (
            "success_rate_stdev_factor",
            5,
            prop::sample::select(vec![json!(500), json!(1300)]).boxed(),
        ),
        ("failure_percentage_minimum_hosts", 5, number(3)),
        ("failure_percentage_request_volume", 5, number(3)),
        ("enforcing_failure_percentage", 5, enforcing()),
        ("failure_percentage_threshold", 5, Just(json!(50)).boxed()),
        ("always_eject_one_host", 3, Just(json!(true)).boxed()),
    ]);
    let more = some(vec![
        ("circuit_breakers", 4, breakers.boxed()),
        ("outlier_detection", 5, detection),
        ("lb_policy", 5, balancer.prop_map(Value::from).boxed()),
        ("load_balancing_policy", 4, override_host().boxed()),
        (
            "connect_timeout",
            5,
            one_of(&["0.005s", "0.100s"]).prop_map(Value::from).boxed(),
        ),
        ("typed_extension_protocol_options", 5, Just(http2).boxed()),
    ]);
    let one = (1_usize..4, 0_usize..3, more);
    prop::collection::vec(one, 1..3).prop_map(|all| {
        let all = all.into_iter().enumerate();
        all.map(|(index, (first, second, more))| {
            let from = 10 * index + 1;
            let mut groups = vec![group(from, first, 0)];
            if second > 0 {
                groups.push(group(from + 5, second, 1));
            }
            for group in &mut groups {
                let endpoints = group["lb_endpoints"].as_array_mut().expect("a list");
                for (number, endpoint) in endpoints.iter_mut().enumerate().skip(1) {
                    endpoint["endpoint"]["hostname"] = format!("host-{number}").into();
                }
            }
            cluster(&format!("c{index}"), &groups, &more)
        })
        .collect()
    })
}

fn rules() -> impl Strategy<Value = String> {
    let answer = (
        prop::option::of(one_of(&[
            "0", "1_000", "5_000", "30_000", "100_000", "400_000",
        ])),
        one_of(&["200", "200", "409", "418", "500", "502", "503", "504"]),
        prop::option::weighted(
            0.3,
            one_of(&["before_headers", "after_headers", "refused_stream"]),
        ),
        prop::option::weighted(0.2, one_of(&["14", "2"])),
        prop::option::weighted(
            0.3,
            one_of(&[
                "[\"x-again\", \"yes\"]",
                "[\"x-again\", \"no\"]",
                "[\"retry-after\", \"1\"]",
                "[\"retry-after\", \"9\"]",
                "[\"x-envoy-ratelimited\", \"true\"]",
            ]),
        ),
        1_u32..3,
    )
        .prop_map(|(latency, status, reset, grpc, header, times)| {
            let mut fields = vec![format!("status = {status}"), format!("times = {times}")];
            fields.extend(latency.map(|it| format!("latency_us = {it}")));
            fields.extend(reset.map(|it| format!("reset = \"{it}\"")));
            fields.extend(grpc.map(|it| format!("grpc_status = {it}")));
            fields.extend(header.map(|it| format!("headers = [{it}]")));
            format!("{{ {} }}", fields.join(", "))
        });
    let answers = prop::collection::vec(answer, 1..4).prop_map(|all| all.join(", "));
    let rule = (prop::option::of(one_of(&PATHS)), answers).prop_map(|(path, answers)| {
        let path = path
            .map(|path| format!("path = \"{path}\"\n"))
            .unwrap_or_default();
        format!("[[endpoint.rule]]\n{path}answers = [{answers}]\n")
    });
    let outage = (
        0_u64..300_000,
        1_u64..100_000,
        one_of(&["refused", "silent"]),
    )
        .prop_map(|(from, length, kind)| {
            let to = from + length;
            format!("[[endpoint.outage]]\nfrom_us = {from}\nto_us = {to}\nkind = \"{kind}\"\n")
        });
    let address = one_of(&["*", "*", "*", "10.0.0.1:80", "10.0.0.2:80", "10.0.0.11:80"]);
    let entry = (
        address,
        prop::collection::vec(outage, 0..2),
        prop::collection::vec(rule, 1..4),
    )
        .prop_map(|(address, outages, rules)| {
            let (outages, rules) = (outages.concat(), rules.concat());
            format!("[[endpoint]]\naddress = \"{address}\"\n{outages}{rules}")
        });
    prop::collection::vec(entry, 1..4).prop_map(|entries| entries.concat())
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let header = prop::sample::select(vec![
        ("x-may", "1"),
        ("x-may", "2"),
        ("content-type", "application/grpc"),
        ("grpc-timeout", "40m"),
        ("grpc-timeout", "0m"),
        ("x-envoy-retry-on", "5xx,reset"),
        ("x-envoy-retry-grpc-on", "unavailable"),
        ("x-envoy-max-retries", "3"),
        ("x-envoy-max-retries", "0"),
        ("x-envoy-upstream-rq-timeout-ms", "60"),
        ("x-envoy-upstream-rq-per-try-timeout-ms", "20"),
        ("x-envoy-upstream-rq-timeout-alt-response", ""),
        ("x-envoy-retriable-status-codes", "409"),
        ("x-forwarded-for", "127.0.0.9"),
    ]);
    // Endpoints of all clusters, of two priorities, and none.
    let name = one_of(&[
        "10.0.0.1:80",
        "10.0.0.1:80",
        "10.0.0.2:80",
        "10.0.0.6:80",
        "10.0.0.11:80",
        "10.0.0.12:80",
        "10.0.0.99:80",
        "",
    ]);
    let names = prop::collection::vec(name, 1..6).prop_map(|names| names.join(","));
    let names = prop::option::weighted(0.4, (one_of(&["x-host", "x-host", "x-other"]), names));
    let one = (
        one_of(&PATHS),
        (
            prop::collection::vec(header, 0..3),
            prop::collection::vec(names, 2),
        ),
        prop::sample::select(vec![0_u64, 0, 1, 500, 20_000, 200_000]),
        prop::sample::select(vec![0_u64, 1_000, 25_000]),
    );
    prop::collection::vec(one, 1..20).prop_map(|all| {
        let mut now = 0;
        let all = all.into_iter().enumerate();
        all.map(|(index, (path, (mut headers, names), gap, duration))| {
            now += gap;
            let names = names.iter().flatten();
            headers.extend(names.map(|(header, names)| (*header, names.as_str())));
            let mut request = request(index, path, &headers, now);
            request.duration_us = duration;
            request
        })
        .collect()
    })
}

fn snapshots() -> impl Strategy<Value = Arc<Snapshot>> {
    let actions = prop::collection::vec((action(), 0_usize..2), PATHS.len());
    let host = some(vec![("retry_policy", 9, retry_policy())]);
    let manager = some(vec![
        ("use_remote_address", 5, Just(json!(true)).boxed()),
        ("stream_idle_timeout", 2, milliseconds().boxed()),
        (
            "internal_address_config",
            5,
            Just(json!({"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]}))
                .boxed(),
        ),
        (
            "common_http_protocol_options",
            2,
            Just(json!({"max_stream_duration": "0.300s"})).boxed(),
        ),
    ]);
    (actions, clusters(), host, manager).prop_map(|(actions, clusters, host, manager)| {
        let routes: Vec<Value> = PATHS
            .iter()
            .zip(&actions)
            .map(|(path, (action, cluster))| {
                let cluster = format!("c{}", cluster.min(&(clusters.len() - 1)));
                route(path, &cluster, action)
            })
            .collect();
        snapshot(&routes, &clusters, &host, &manager)
    })
}

/// Snapshots that are generated, unless `PROPTEST_CASES` says otherwise.
const CASES: u32 = 256;

#[test]
fn engines_agree() {
    let mut config = ProptestConfig::default();
    if std::env::var("PROPTEST_CASES").is_err() {
        config.cases = CASES;
    }
    config.failure_persistence = None;
    let mut runner = proptest::test_runner::TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let counts = std::cell::Cell::new(Counts::default());
    let strategy = (snapshots(), requests(), rules());
    let result = runner.run(&strategy, |(snapshot, requests, rules)| {
        let mut all = counts.get();
        for answer in both(&snapshot, &requests, &script(&rules)) {
            all.add(&answer);
        }
        counts.set(all);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    let counts = counts.get();
    println!("{counts:?}");
    let all = counts.all;
    assert!(counts.over * 100 > all, "{counts:?}");
    assert!(counts.again * 12 > all, "{counts:?}");
    assert!(counts.undecided * 4 < all, "{counts:?}");
    assert!(counts.named_again * 100 > all, "{counts:?}");
}

/// What became of requests.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    all: usize,
    /// They were tried again.
    again: usize,
    /// So were those whose headers name endpoints.
    named_again: usize,
    /// They were over a threshold.
    over: usize,
    undecided: usize,
}

impl Counts {
    fn add(&mut self, answer: &Answer) {
        let decision = &answer.decision;
        let is_again = decision.attempts.is_some_and(|it| it > 1);
        let mut steps = answer.trace.steps.iter();
        let is_named = steps.any(|step| matches!(step, Step::OverrideHost(_)));
        self.all += 1;
        self.again += usize::from(is_again);
        self.named_again += usize::from(is_again && is_named);
        self.over += usize::from(decision.outcome == Outcome::Overflow);
        self.undecided += usize::from(decision.outcome == Outcome::Unsupported);
    }
}
