//! Envoy 1.40.0 with scripted HTTP/1 endpoints on loopback: status, response flags and attempts as
//! its access log has them.

use rstest::rstest;
use serde_json::{Value, json};
use twinmesh_engine::{Decision, Outcome};

use crate::snapshot::{both, cluster, group, request, route, script, snapshot};

fn retry(retry_on: &str, more: &Value) -> Value {
    let mut policy = json!({"retry_on": retry_on, "num_retries": 2});
    for (field, value) in more.as_object().into_iter().flatten() {
        policy[field] = value.clone();
    }
    json!({"retry_policy": policy})
}

/// One request to a cluster of one endpoint, which answers so in turns.
fn one(action: &Value, answers: &str, headers: &[(&str, &str)], manager: &Value) -> Decision {
    let routes = [route("/", "one", action)];
    let clusters = [cluster("one", &[group(1, 1, 0)], &json!({}))];
    let snapshot = snapshot(&routes, &clusters, &json!({}), manager);
    let rules = if answers.starts_with("outage") {
        format!("[[endpoint]]\naddress = \"*\"\n{answers}")
    } else {
        format!("[[endpoint]]\naddress = \"*\"\n[[endpoint.rule]]\nanswers = [{answers}]")
    };
    let requests = [request(0, "/", headers, 0)];
    let mut answers = both(&snapshot, &requests, &script(&rules));
    answers.remove(0).decision
}

fn check(decision: &Decision, expected: (u32, &str, u32)) {
    let flags = decision.response_flags.as_deref().unwrap_or("-");
    let found = (
        decision.status.unwrap_or(0),
        flags,
        decision.attempts.unwrap_or(0),
    );
    assert_eq!(found, expected, "{decision:?}");
    assert_eq!(decision.tries.len(), expected.2 as usize);
}

const OK: &str = "{}";
const S503: &str = "{ status = 503 }";
const RESET: &str = "{ reset = \"before_headers\" }";
const CUT: &str = "{ reset = \"after_headers\" }";
const REFUSED: &str = "outage = [{ kind = \"refused\" }]";
const SILENT: &str = "outage = [{ kind = \"silent\" }]";

#[rstest]
#[case::ok("", OK, (200, "-", 1))]
#[case::error("", S503, (503, "-", 1))]
#[case::reset("", RESET, (503, "UC", 1))]
#[case::cut("", CUT, (200, "UPE", 1))]
#[case::refused("", REFUSED, (503, "UF", 1))]
#[case::retried("5xx", "{ status = 503 }, {}", (200, "-", 2))]
#[case::exhausted("5xx", S503, (503, "URX", 3))]
#[case::third("5xx", "{ status = 500, times = 2 }, {}", (200, "-", 3))]
#[case::reset_retried("5xx", "{ reset = \"before_headers\" }, {}", (200, "-", 2))]
#[case::reset_exhausted("5xx", RESET, (503, "URX,UC", 3))]
#[case::not_5xx("5xx", "{ status = 404 }", (404, "-", 1))]
#[case::cut_after("5xx", "{ status = 501 }, { reset = \"after_headers\" }", (200, "UPE", 2))]
#[case::gateway("gateway-error", "{ status = 502 }, { status = 503 }, { status = 504 }", (504, "URX", 3))]
#[case::no_gateway("gateway-error", "{ status = 500 }, {}", (500, "-", 1))]
#[case::gateway_reset("gateway-error", RESET, (503, "URX,UC", 3))]
#[case::reset_only("reset", "{ status = 503 }, {}", (503, "-", 1))]
#[case::reset_on_reset("reset", RESET, (503, "URX,UC", 3))]
#[case::not_connect("connect-failure", RESET, (503, "UC", 1))]
#[case::connect("connect-failure", REFUSED, (503, "URX,UF", 3))]
#[case::connect_5xx("5xx", REFUSED, (503, "URX,UF", 3))]
#[case::connect_before("reset-before-request", REFUSED, (503, "URX,UF", 3))]
#[case::sent_before("reset-before-request", RESET, (503, "UC", 1))]
#[case::silent("connect-failure", SILENT, (503, "URX,UF", 3))]
#[case::conflict("retriable-4xx", "{ status = 409 }, {}", (200, "-", 2))]
#[case::no_conflict("retriable-4xx", "{ status = 429 }, {}", (429, "-", 1))]
#[case::limited("envoy-ratelimited", "{ status = 429, headers = [[\"x-envoy-ratelimited\", \"true\"]] }, {}", (200, "-", 2))]
#[case::not_limited("envoy-ratelimited", "{ status = 429 }, {}", (429, "-", 1))]
#[case::limited_5xx("5xx", "{ status = 503, headers = [[\"x-envoy-ratelimited\", \"true\"]] }, {}", (503, "-", 1))]
#[case::grpc("unavailable", "{ grpc_status = 14 }, {}", (200, "-", 2))]
#[case::other_grpc("unavailable", "{ grpc_status = 2 }, {}", (200, "-", 1))]
fn conditions(#[case] on: &str, #[case] answers: &str, #[case] expected: (u32, &str, u32)) {
    let action = if on.is_empty() {
        json!({})
    } else {
        retry(on, &json!({}))
    };
    check(&one(&action, answers, &[], &json!({})), expected);
}

#[rstest]
#[case::codes(json!({"retriable_status_codes": [418, 429]}), "{ status = 418 }, { status = 429 }, {}", (200, "-", 3))]
#[case::header(json!({"retriable_headers": [{"name": "x-again"}]}), "{ headers = [[\"x-again\", \"1\"]] }, {}", (200, "-", 2))]
#[case::no_header(json!({"retriable_headers": [{"name": "x-again"}]}), "{ headers = [[\"x-other\", \"1\"]] }, {}", (200, "-", 1))]
#[case::by_default_one(json!({"num_retries": null, "retry_on": "5xx"}), S503, (503, "URX", 2))]
#[case::none(json!({"num_retries": 0, "retry_on": "5xx"}), S503, (503, "URX", 1))]
#[case::request_lacks(json!({"retry_on": "5xx", "retriable_request_headers": [{"name": "x-may"}]}), S503, (503, "-", 1))]
#[case::request_has(json!({"retry_on": "5xx", "retriable_request_headers": [{"name": "x-has"}]}), S503, (503, "URX", 3))]
fn policies(#[case] more: Value, #[case] answers: &str, #[case] expected: (u32, &str, u32)) {
    let action = retry("retriable-status-codes,retriable-headers", &more);
    check(
        &one(&action, answers, &[("x-has", "1")], &json!({})),
        expected,
    );
}

/// An endpoint that takes 400 ms.
#[rstest]
#[case::route(json!({"timeout": "0.2s"}), (504, "UT", 1), 200)]
#[case::none(json!({"timeout": "0s"}), (200, "-", 1), 400)]
#[case::idle(json!({"timeout": "0s", "idle_timeout": "0.3s"}), (504, "SI", 1), 300)]
#[case::duration(json!({"max_stream_duration": {"max_stream_duration": "0.3s"}}), (504, "-", 1), 300)]
#[case::duration_for_timeout(json!({"timeout": "0.1s", "max_stream_duration": {"max_stream_duration": "0.5s"}}), (200, "-", 1), 400)]
#[case::attempt(json!({"retry_policy": {"per_try_timeout": "0.15s"}}), (504, "UT", 1), 150)]
#[case::not_connect(json!({"retry_policy": {"retry_on": "connect-failure", "per_try_timeout": "0.15s"}}), (504, "UT", 1), 150)]
#[case::attempt_beside_route(json!({"timeout": "0.3s", "retry_policy": {"retry_on": "5xx", "per_try_timeout": "0.3s"}}), (504, "UT", 1), 300)]
fn timeouts(#[case] action: Value, #[case] expected: (u32, &str, u32), #[case] milliseconds: u64) {
    let decision = one(&action, "{ latency_us = 400_000 }", &[], &json!({}));
    check(&decision, expected);
    assert_eq!(decision.duration_us, Some(milliseconds * 1000));
}

#[rstest]
#[case("5xx", (504, "URX,UT", 3))]
#[case("reset", (504, "URX,UT", 3))]
#[case("gateway-error", (504, "URX,UT", 3))]
#[case("connect-failure", (504, "UT", 1))]
fn attempts_time_out(#[case] on: &str, #[case] expected: (u32, &str, u32)) {
    for field in ["per_try_timeout", "per_try_idle_timeout"] {
        let action = retry(on, &json!({field: "0.15s"}));
        let decision = one(&action, "{ latency_us = 400_000 }", &[], &json!({}));
        check(&decision, expected);
    }
}

#[test]
fn the_route_s_timeout_ends_a_back_off() {
    let back_off = json!({"retry_back_off": {"base_interval": "1000s", "max_interval": "1000s"}});
    let mut action = retry("5xx", &back_off);
    action["timeout"] = "0.2s".into();
    let decision = one(&action, S503, &[], &json!({}));
    check(&decision, (504, "UT", 1));
    assert_eq!(decision.tries[0].status, Some(503));
}

#[test]
fn a_connection_that_does_not_come_about_takes_its_timeout() {
    let decision = one(&json!({}), SILENT, &[], &json!({}));
    check(&decision, (503, "UF", 1));
    assert_eq!(decision.duration_us, Some(1_000_000));
}

/// Only a request from inside says anything by these headers.
#[rstest]
#[case(&[("x-envoy-upstream-rq-timeout-ms", "100")], "{ latency_us = 400_000 }", (504, "UT", 1))]
#[case(&[("x-envoy-upstream-rq-timeout-ms", "100"), ("x-envoy-upstream-rq-timeout-alt-response", "1")], "{ latency_us = 400_000 }", (204, "UT", 1))]
#[case(&[("x-envoy-upstream-rq-per-try-timeout-ms", "50")], "{ latency_us = 400_000 }", (504, "UT", 1))]
#[case(&[("x-envoy-retry-on", "5xx")], "{ status = 503 }, {}", (200, "-", 2))]
#[case(&[("x-envoy-retry-on", "5xx"), ("x-envoy-retry-on", "reset")], "{ status = 503 }, {}", (200, "-", 2))]
#[case(&[("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "3")], S503, (503, "URX", 4))]
#[case(&[("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "0")], S503, (503, "URX", 1))]
#[case(&[("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "x")], S503, (503, "URX", 2))]
#[case(&[("x-envoy-max-retries", "3")], S503, (503, "-", 1))]
#[case(&[("x-envoy-retry-on", "retriable-status-codes"), ("x-envoy-retriable-status-codes", "x, 501")], "{ status = 501 }, {}", (200, "-", 2))]
#[case(&[("x-envoy-retry-on", "retriable-headers"), ("x-envoy-retriable-header-names", "X-Hey, x-b")], "{ headers = [[\"x-b\", \"1\"]] }, {}", (200, "-", 2))]
#[case(&[("x-envoy-retry-grpc-on", "unavailable")], "{ grpc_status = 14 }, {}", (200, "-", 2))]
#[case(&[("x-envoy-retry-on", "unavailable")], "{ grpc_status = 14 }, {}", (200, "-", 1))]
#[case(&[("x-envoy-retry-grpc-on", "5xx")], S503, (503, "-", 1))]
fn asked_by_headers(
    #[case] headers: &[(&str, &str)],
    #[case] answers: &str,
    #[case] expected: (u32, &str, u32),
) {
    let inside = json!({
        "use_remote_address": true,
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]},
    });
    check(&one(&json!({}), answers, headers, &inside), expected);
    let outside = one(
        &json!({}),
        answers,
        headers,
        &json!({"use_remote_address": true}),
    );
    assert_eq!((outside.attempts, outside.response_flags), (Some(1), None));
}

/// gRPC has its statuses inside a 200.
#[test]
fn replies_to_grpc() {
    let headers = [("content-type", "application/grpc")];
    let decision = one(
        &json!({"timeout": "0.1s"}),
        "{ latency_us = 400_000 }",
        &headers,
        &json!({}),
    );
    check(&decision, (200, "UT", 1));
}

/// Round robin over two endpoints that answer 503: where each attempt went.
#[rstest]
#[case(json!({}), "1212")]
#[case(json!({"retry_host_predicate": [previous_hosts()], "host_selection_retry_max_attempts": 5}), "1222")]
#[case(json!({"retry_host_predicate": [previous_hosts()]}), "1222")]
fn endpoints_of_attempts(#[case] more: Value, #[case] expected: &str) {
    let mut action = retry("5xx", &more);
    action["retry_policy"]["num_retries"] = 3.into();
    let clusters = [cluster("two", &[group(1, 2, 0)], &json!({}))];
    let snapshot = snapshot(
        &[route("/", "two", &action)],
        &clusters,
        &json!({}),
        &json!({}),
    );
    let rules = "[[endpoint]]\naddress = \"*\"\n[[endpoint.rule]]\nanswers = [{ status = 503 }]";
    let answers = both(&snapshot, &[request(0, "/", &[], 0)], &script(rules));
    let tries = answers[0].decision.tries.iter();
    let went: String = tries
        .map(|attempt| attempt.endpoint.as_deref().expect("an endpoint"))
        .map(|endpoint| {
            endpoint
                .trim_start_matches("10.0.0.")
                .trim_end_matches(":80")
        })
        .collect();
    assert_eq!(went, expected);
}

fn previous_hosts() -> Value {
    json!({"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}})
}

/// The route's policy takes the place of the virtual host's as a whole.
#[rstest]
#[case(json!({}), (503, "URX", 3))]
#[case(json!({"retry_policy": {"retry_on": "reset"}}), (503, "-", 1))]
#[case(json!({"retry_policy": {"num_retries": 3}}), (503, "-", 1))]
fn whose_policy(#[case] action: Value, #[case] expected: (u32, &str, u32)) {
    let host = json!({"retry_policy": {"retry_on": "5xx", "num_retries": 2}});
    let clusters = [cluster("one", &[group(1, 1, 0)], &json!({}))];
    let snapshot = snapshot(&[route("/", "one", &action)], &clusters, &host, &json!({}));
    let rules = "[[endpoint]]\naddress = \"*\"\n[[endpoint.rule]]\nanswers = [{ status = 503 }]";
    let answers = both(&snapshot, &[request(0, "/", &[], 0)], &script(rules));
    check(&answers[0].decision, expected);
}

/// The subsets v: a has two endpoints, v: b three, all of which answer 503.
#[rstest]
#[case::of_two("a", "NO_FALLBACK", json!({}), "12121")]
#[case::of_three("b", "NO_FALLBACK", json!({}), "34534")]
#[case::of_none("z", "NO_FALLBACK", json!({}), "")]
#[case::of_all("z", "ANY_ENDPOINT", json!({}), "12345")]
#[case::passing_over("b", "NO_FALLBACK", passing_over_five(), "34555")]
fn retries_stay_in_the_subset(
    #[case] label: &str,
    #[case] fallback: &str,
    #[case] more: Value,
    #[case] measured: &str,
) {
    let endpoints: Vec<Value> = [(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "b")]
        .into_iter()
        .map(|(number, label)| {
            let address = json!({"address": format!("10.0.0.{number}"), "port_value": 80});
            json!({"endpoint": {"address": {"socket_address": address}},
                "metadata": {"filter_metadata": {"envoy.lb": {"v": label}}}})
        })
        .collect();
    let subsets = json!({"lb_subset_config": {"fallback_policy": fallback,
        "subset_selectors": [{"keys": ["v"]}]}});
    let clusters = [cluster(
        "c",
        &[json!({"lb_endpoints": endpoints})],
        &subsets,
    )];
    let mut policy = json!({"retry_on": "5xx", "num_retries": 4});
    for (field, value) in more.as_object().into_iter().flatten() {
        policy[field] = value.clone();
    }
    let action = json!({"retry_policy": policy,
        "metadata_match": {"filter_metadata": {"envoy.lb": {"v": label}}}});
    let snapshot = snapshot(
        &[route("/", "c", &action)],
        &clusters,
        &json!({}),
        &json!({}),
    );
    let rules = format!("[[endpoint]]\naddress = \"*\"\n[[endpoint.rule]]\nanswers = [{S503}]");
    let mut answers = both(&snapshot, &[request(0, "/", &[], 0)], &script(&rules));
    let decision = answers.remove(0).decision;
    let tries = decision
        .tries
        .iter()
        .filter_map(|it| it.endpoint.as_deref());
    let digit = |endpoint: &str| endpoint.split(':').next().and_then(|it| it.chars().last());
    let found: String = tries.filter_map(digit).collect();
    assert_eq!(found, measured, "{decision:?}");
}

fn passing_over_five() -> Value {
    let kind =
        "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
    json!({"host_selection_retry_max_attempts": "5",
        "retry_host_predicate": [{"name": "p", "typed_config": {"@type": kind}}]})
}

/// Envoy follows the redirect, retries by the cluster's policy, and does not retry what it does not keep.
#[rstest]
#[case::redirect(json!({"internal_redirect_policy": {}}), json!({}), "0", true)]
#[case::of_the_cluster(json!({}), json!({"retry_policy": {"retry_on": "5xx"}}), "0", true)]
#[case::kept(json!({"retry_policy": {"retry_on": "5xx"}}), json!({}), "5", false)]
#[case::not_kept(json!({"retry_policy": {"retry_on": "5xx"}}), json!({}), "6", true)]
fn what_is_not_played(
    #[case] action: Value,
    #[case] options: Value,
    #[case] length: &str,
    #[case] unsupported: bool,
) {
    const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let mut of_cluster = json!({
        "@type": format!("type.googleapis.com/{OPTIONS}"),
        "explicit_http_config": {"http_protocol_options": {}},
    });
    for (field, value) in options.as_object().into_iter().flatten() {
        of_cluster[field] = value.clone();
    }
    let mut of_cluster = json!({"typed_extension_protocol_options": {OPTIONS: of_cluster}});
    let cluster = cluster("one", &[group(1, 1, 0)], &of_cluster.take());
    let mut route = route("/", "one", &action);
    route["request_body_buffer_limit"] = json!(5);
    let snapshot = snapshot(&[route], &[cluster], &json!({}), &json!({}));
    let requests = [request(0, "/", &[("content-length", length)], 0)];
    let rules = format!("[[endpoint]]\naddress = \"*\"\n[[endpoint.rule]]\nanswers = [{OK}]");
    let answers = both(&snapshot, &requests, &script(&rules));
    let outcome = answers[0].decision.outcome;
    assert_eq!(
        outcome == Outcome::Unsupported,
        unsupported,
        "{:?}",
        answers[0].decision
    );
}
