//! Circuit breakers, as Envoy 1.40.0 was measured to have them over HTTP/1.

use rstest::rstest;
use serde_json::{Value, json};
use twinmesh_engine::{Decision, Outcome};

use crate::snapshot::{both, cluster, group, request, route, script, snapshot};

/// Requests that arrive at these milliseconds, each by its own path and answer, to a cluster of so
/// many endpoints with these thresholds.
fn run(
    endpoints: usize,
    breakers: &Value,
    action: &Value,
    requests: &[(u64, &str)],
) -> Vec<Decision> {
    let more = json!({"circuit_breakers": breakers});
    let clusters = [cluster("c", &[group(1, endpoints, 0)], &more)];
    let mut routes = Vec::new();
    let mut rules = "[[endpoint]]\naddress = \"*\"\n".to_owned();
    let mut all = Vec::new();
    for (index, (time, answer)) in requests.iter().enumerate() {
        let path = format!("/{index}");
        routes.push(route(&path, "c", action));
        rules += &format!("[[endpoint.rule]]\npath = \"{path}\"\nanswers = [{answer}]\n");
        all.push(request(index, &path, &[], time * 1000));
    }
    let snapshot = snapshot(&routes, &clusters, &json!({}), &json!({}));
    let answers = both(&snapshot, &all, &script(&rules));
    answers.into_iter().map(|answer| answer.decision).collect()
}

fn thresholds(fields: Value) -> Value {
    json!({"thresholds": [fields]})
}

/// Status, flags, attempts and milliseconds.
fn summary(decision: &Decision) -> (u32, &str, u32, u64) {
    (
        decision.status.unwrap_or(0),
        decision.response_flags.as_deref().unwrap_or("-"),
        decision.attempts.unwrap_or(0),
        decision.duration_us.unwrap_or(0) / 1000,
    )
}

const LONG: &str = "{ latency_us = 400_000 }";

#[test]
fn requests_are_limited_and_the_endpoint_is_named() {
    let decisions = run(
        2,
        &thresholds(json!({"max_requests": 1})),
        &json!({}),
        &[(0, LONG), (60, "{}")],
    );
    assert_eq!(summary(&decisions[0]), (200, "-", 1, 400));
    assert_eq!(summary(&decisions[1]), (503, "UO", 1, 0));
    assert_eq!(decisions[1].outcome, Outcome::Overflow);
    assert!(decisions[1].endpoint.is_some());
}

#[test]
fn each_routing_priority_has_its_own() {
    let high = json!({"priority": "HIGH"});
    let decisions = run(
        1,
        &thresholds(json!({"max_requests": 0})),
        &high,
        &[(0, "{}")],
    );
    assert_eq!(summary(&decisions[0]), (200, "-", 1, 0));
}

#[test]
fn what_may_not_wait_has_no_endpoint() {
    let action = json!({"retry_policy": {"retry_on": "5xx,connect-failure,reset"}});
    let decisions = run(
        1,
        &thresholds(json!({"max_pending_requests": 0})),
        &action,
        &[(0, "{}")],
    );
    assert_eq!(summary(&decisions[0]), (503, "UO", 1, 0));
    assert_eq!(
        (decisions[0].outcome, &decisions[0].endpoint),
        (Outcome::Overflow, &None)
    );
}

#[test]
fn requests_wait_for_the_only_connection() {
    let one = thresholds(json!({"max_connections": 1, "max_pending_requests": 1}));
    let requests = [
        (0, "{ latency_us = 500_000 }"),
        (60, "{ latency_us = 10_000 }"),
        (120, "{}"),
    ];
    let decisions = run(1, &one, &json!({}), &requests);
    let found: Vec<_> = decisions.iter().map(summary).collect();
    assert_eq!(
        found,
        [(200, "-", 1, 500), (200, "-", 1, 450), (503, "UO", 1, 0)]
    );
    assert_eq!(decisions[2].endpoint, None);
}

#[test]
fn an_endpoint_without_a_connection_gets_one() {
    let one = thresholds(json!({"max_connections": 1, "max_pending_requests": 1}));
    let requests = [(0, LONG), (60, "{}"), (120, "{}"), (180, "{}")];
    let decisions = run(2, &one, &json!({}), &requests);
    let found: Vec<_> = decisions.iter().map(|it| summary(it).3).collect();
    assert_eq!(found, [400, 0, 280, 0]);
}

#[test]
fn each_endpoint_may_have_a_limit() {
    let each = json!({"per_host_thresholds": [{"max_connections": 1}]});
    let long = "{ latency_us = 300_000 }";
    let decisions = run(
        2,
        &each,
        &json!({}),
        &[(0, long), (60, long), (120, long), (180, long)],
    );
    let found: Vec<_> = decisions.iter().map(|it| summary(it).3).collect();
    assert_eq!(found, [300, 300, 480, 480]);
}

#[rstest]
#[case(json!({"timeout": "0.3s"}), (504, "UT", 1, 300))]
#[case(json!({"retry_policy": {"retry_on": "5xx", "per_try_timeout": "0.3s"}}), (200, "-", 1, 640))]
fn waiting_counts_for_the_route_alone(
    #[case] action: Value,
    #[case] expected: (u32, &str, u32, u64),
) {
    let one = thresholds(json!({"max_connections": 1}));
    let clusters = [cluster(
        "c",
        &[group(1, 1, 0)],
        &json!({"circuit_breakers": one}),
    )];
    let routes = [
        route("/long", "c", &json!({})),
        route("/waits", "c", &action),
    ];
    let snapshot = snapshot(&routes, &clusters, &json!({}), &json!({}));
    let rules = "[[endpoint]]\naddress = \"*\"\n[[endpoint.rule]]\npath = \"/long\"\nanswers = [{ latency_us = 700_000 }]";
    let requests = [
        request(0, "/long", &[], 0),
        request(1, "/waits", &[], 60_000),
    ];
    let answers = both(&snapshot, &requests, &script(rules));
    assert_eq!(summary(&answers[1].decision), expected);
}

#[test]
fn retries_are_limited() {
    let back_off = json!({"base_interval": "0.4s", "max_interval": "0.4s"});
    let action =
        json!({"retry_policy": {"retry_on": "5xx", "num_retries": 2, "retry_back_off": back_off}});
    let failing = "{ status = 503 }";
    let none = run(
        1,
        &thresholds(json!({"max_retries": 0})),
        &action,
        &[(0, failing)],
    );
    assert_eq!(summary(&none[0]), (503, "UO", 1, 0));
    assert_eq!(none[0].outcome, Outcome::Forward);
    let requests = [(0, failing), (1, failing), (2, failing)];
    let one = run(
        1,
        &thresholds(json!({"max_retries": 1})),
        &action,
        &requests,
    );
    let found: Vec<_> = one
        .iter()
        .map(|it| (summary(it).1, summary(it).2))
        .collect();
    assert_eq!(found, [("URX", 3), ("UO", 1), ("UO", 1)]);
    let budget = json!({"budget_percent": {"value": 50.0}, "min_retry_concurrency": 1});
    let requests = [
        (0, failing),
        (1, failing),
        (2, "{ latency_us = 900_000 }"),
        (3, failing),
    ];
    let budgeted = run(
        1,
        &thresholds(json!({"retry_budget": budget})),
        &action,
        &requests,
    );
    let found: Vec<_> = budgeted
        .iter()
        .map(|it| (summary(it).1, summary(it).2))
        .collect();
    assert_eq!(found, [("URX", 3), ("UO", 1), ("-", 1), ("UO", 1)]);
}
