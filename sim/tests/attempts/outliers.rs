//! Outlier detection, as Envoy 1.40.0 was measured to have it: which endpoints requests go to, one
//! after the other, by round robin, while some of them fail.

use rstest::rstest;
use serde_json::{Value, json};

use crate::snapshot::{both, cluster, group, request, route, script, snapshot};

/// Where requests go, one at each of these milliseconds; `!`: it does not answer 200. Every endpoint
/// of `bad` answers so.
fn went(
    endpoints: usize,
    detection: &Value,
    bad: &[usize],
    answer: &str,
    times: impl Iterator<Item = u64>,
    more: &Value,
) -> String {
    let mut fields = json!({"outlier_detection": {
        "interval": "0.5s", "base_ejection_time": "1s", "max_ejection_percent": 100}});
    for (field, value) in detection.as_object().expect("an object") {
        fields["outlier_detection"][field] = value.clone();
    }
    let headers: &[(&str, &str)] = match more["grpc"].as_bool() {
        Some(true) => &[("content-type", "application/grpc")],
        _ => &[],
    };
    let clusters = [cluster("c", &[group(1, endpoints, 0)], &fields)];
    let snapshot = snapshot(
        &[route("/", "c", &more["action"])],
        &clusters,
        &json!({}),
        &json!({}),
    );
    let mut rules = String::new();
    for number in bad {
        let address = format!("[[endpoint]]\naddress = \"10.0.0.{number}:80\"\n");
        rules += &match answer {
            "outage" => format!("{address}outage = [{{ kind = \"refused\" }}]\n"),
            _ => format!("{address}[[endpoint.rule]]\nanswers = [{answer}]\n"),
        };
    }
    let requests: Vec<_> = times
        .enumerate()
        .map(|(index, time)| request(index, "/", headers, time * 1000))
        .collect();
    let answers = both(&snapshot, &requests, &script(&rules));
    let places: Vec<String> = answers
        .iter()
        .map(|answer| {
            let decision = &answer.decision;
            let address = decision.endpoint.as_deref().expect("an endpoint");
            let number = address
                .trim_start_matches("10.0.0.")
                .trim_end_matches(":80");
            let failed = if decision.status == Some(200) {
                ""
            } else {
                "!"
            };
            format!("{number}{failed}")
        })
        .collect();
    places.join(" ")
}

const S503: &str = "{ status = 503 }";

#[rstest]
#[case::consecutive(json!({"consecutive_5xx": 3}), &[1], S503, "1! 2 3 1! 2 3 1! 3 2 3 2 3")]
#[case::gateway(json!({"consecutive_5xx": 1000, "consecutive_gateway_failure": 2, "enforcing_consecutive_gateway_failure": 100}), &[1], "{ status = 502 }", "1! 2 3 1! 2 3 2 3 2 3 2 3")]
#[case::no_gateway(json!({"consecutive_5xx": 1000, "consecutive_gateway_failure": 2, "enforcing_consecutive_gateway_failure": 100}), &[1], "{ status = 500 }", "1! 2 3 1! 2 3 1! 2 3 1! 2 3")]
#[case::over_the_share(json!({"consecutive_5xx": 1, "max_ejection_percent": 10}), &[1, 2], S503, "1! 2! 3 1! 2! 3 1! 2! 3 1! 2! 3")]
#[case::one_of_three(json!({"consecutive_5xx": 1, "max_ejection_percent": 34}), &[1], S503, "1! 3 2 3 2 3 2 3 2 3 2 3")]
#[case::none_of_three(json!({"consecutive_5xx": 1, "max_ejection_percent": 33}), &[1], S503, "1! 2 3 1! 2 3 1! 2 3 1! 2 3")]
#[case::always_one(json!({"consecutive_5xx": 1, "max_ejection_percent": 0, "always_eject_one_host": true}), &[1], S503, "1! 3 2 3 2 3 2 3 2 3 2 3")]
#[case::refused(json!({"consecutive_5xx": 2}), &[1], "outage", "1! 2 3 1! 2 3 2 3 2 3 2 3")]
#[case::refused_apart(json!({"consecutive_5xx": 1000, "split_external_local_origin_errors": true, "consecutive_local_origin_failure": 2}), &[1], "outage", "1! 2 3 1! 2 3 2 3 2 3 2 3")]
// Measured: each connection that comes about sets the count back, so that resets behind it are one in a row.
#[case::reset_apart(json!({"consecutive_5xx": 1000, "split_external_local_origin_errors": true, "consecutive_local_origin_failure": 2}), &[1], "{ reset = \"before_headers\" }", "1! 2 3 1! 2 3 1! 2 3 1! 2 3")]
#[case::one_reset_apart(json!({"consecutive_5xx": 1000, "split_external_local_origin_errors": true, "consecutive_local_origin_failure": 1}), &[1], "{ reset = \"before_headers\" }", "1! 3 2 3 2 3 2 3 2 3 2 3")]
#[case::reset(json!({"consecutive_5xx": 2}), &[1], "{ reset = \"before_headers\" }", "1! 2 3 1! 2 3 2 3 2 3 2 3")]
#[case::status_and_cut(json!({"consecutive_5xx": 2}), &[1], "{ status = 503, reset = \"after_headers\" }", "1! 3 2 3 2 3 2 3 2 3 2 3")]
#[case::cut(json!({"consecutive_5xx": 2}), &[1], "{ reset = \"after_headers\" }", "1 2 3 1 2 3 1 2 3 1 2 3")]
#[case::not_enforced(json!({"consecutive_5xx": 2, "enforcing_consecutive_5xx": 0}), &[1], S503, "1! 2 3 1! 2 3 1! 2 3 1! 2 3")]
fn consecutive_failures(
    #[case] detection: Value,
    #[case] bad: &[usize],
    #[case] answer: &str,
    #[case] expected: &str,
) {
    // All within an interval.
    assert_eq!(
        went(
            3,
            &detection,
            bad,
            answer,
            (0..12).map(|it| 10 * it),
            &json!({})
        ),
        expected
    );
}

#[rstest]
#[case::route(json!({"timeout": "0.005s"}), "1! 2 3 1! 2 3 2 3 2")]
#[case::attempt(json!({"retry_policy": {"per_try_timeout": "0.005s"}}), "1! 2 3 1! 2 3 2 3 2")]
#[case::idle(json!({"idle_timeout": "0.005s"}), "1! 2 3 1! 2 3 1! 2 3")]
fn timeouts_count(#[case] action: Value, #[case] expected: &str) {
    let detection = json!({"consecutive_5xx": 2});
    let times = (0..9).map(|it| 10 * it);
    let more = json!({"action": action});
    let answer = "{ latency_us = 9_000 }";
    assert_eq!(went(3, &detection, &[1], answer, times, &more), expected);
}

#[rstest]
#[case(true, "1 2 3 1 2 3 2 3 2")]
#[case(false, "1 2 3 1 2 3 1 2 3")]
fn grpc_statuses_count_for_grpc(#[case] grpc: bool, #[case] expected: &str) {
    let detection = json!({"consecutive_5xx": 2});
    let times = (0..9).map(|it| 10 * it);
    let more = json!({"grpc": grpc});
    let found = went(3, &detection, &[1], "{ grpc_status = 14 }", times, &more);
    assert_eq!(found, expected);
}

/// One that was ejected twice is ejected for twice as long, where no interval lies between in which
/// it was well; it returns with an interval.
#[test]
fn ejections_last_longer_and_longer() {
    let times = [0, 990, 1010, 1020, 2990, 3010, 3020, 3510, 3520];
    let found = went(
        2,
        &json!({"consecutive_5xx": 1}),
        &[1],
        S503,
        times.into_iter(),
        &json!({}),
    );
    // 1 is ejected at 0 and returns at 1000, is ejected at 1010 for two seconds, and returns at 3500.
    assert_eq!(found, "1! 2 1! 2 2 2 2 2 1!");
}

#[test]
fn rates_are_looked_at_with_an_interval() {
    let detection = json!({"interval": "3s", "consecutive_5xx": 1000, "success_rate_minimum_hosts": 3, "success_rate_request_volume": 4, "success_rate_stdev_factor": 1000});
    let times = || {
        (0..12)
            .map(|it| 10 * it)
            .chain((0..4).map(|it| 3000 + 10 * it))
    };
    let found = went(3, &detection, &[1], S503, times(), &json!({}));
    assert_eq!(found, "1! 2 3 1! 2 3 1! 2 3 1! 2 3 2 3 2 3");
    let few = json!({"interval": "3s", "consecutive_5xx": 1000, "success_rate_minimum_hosts": 3, "success_rate_request_volume": 5});
    let found = went(3, &few, &[1], S503, times(), &json!({}));
    assert_eq!(found, "1! 2 3 1! 2 3 1! 2 3 1! 2 3 1! 2 3 1!");
    let share = json!({"interval": "3s", "consecutive_5xx": 1000, "failure_percentage_minimum_hosts": 3, "failure_percentage_request_volume": 4, "failure_percentage_threshold": 50, "enforcing_failure_percentage": 100, "success_rate_minimum_hosts": 100});
    let found = went(3, &share, &[1], S503, times(), &json!({}));
    assert_eq!(found, "1! 2 3 1! 2 3 1! 2 3 1! 2 3 2 3 2 3");
}

/// What is overflown is the cluster's, not the endpoint's.
#[test]
fn overflows_do_not_count() {
    let fields = json!({
        "circuit_breakers": {"thresholds": [{"max_requests": 0}]},
        "outlier_detection": {"consecutive_5xx": 1, "max_ejection_percent": 100},
    });
    let clusters = [cluster("c", &[group(1, 2, 0)], &fields)];
    let snapshot = snapshot(
        &[route("/", "c", &json!({}))],
        &clusters,
        &json!({}),
        &json!({}),
    );
    let requests: Vec<_> = (0..4)
        .map(|index| request(index, "/", &[], 10_000 * index as u64))
        .collect();
    let answers = both(&snapshot, &requests, &script(""));
    let went = answers
        .iter()
        .map(|answer| answer.decision.endpoint.as_deref().unwrap_or("-"));
    assert_eq!(
        went.collect::<Vec<_>>(),
        ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.1:80", "10.0.0.2:80"]
    );
}
