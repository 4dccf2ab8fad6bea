//! What Envoy 1.40 was seen to refuse of retries, circuit breakers and outlier detection.

use rstest::rstest;
use twinmesh_xds::{ReadOptions, read_bytes};

fn refused(text: &str) -> Option<String> {
    let read = read_bytes("f.json", text.as_bytes(), &ReadOptions::default());
    read.err().map(|error| error.to_string())
}

fn route(host: &str, action: &str) -> String {
    format!(
        r#"{{"name": "r", "virtual_hosts": [{{"name": "h", "domains": ["*"], {host}
        "routes": [{{"match": {{"prefix": "/"}}, "route": {{"cluster": "c"{action}}}}}]}}]}}"#
    )
}

fn cluster(fields: &str) -> String {
    format!(
        r#"{{"static_resources": {{"clusters": [{{"name": "c", "type": "STATIC", {fields}}}]}}}}"#
    )
}

const SHORT: &str =
    r#""retry_policy": {"retry_back_off": {"base_interval": "0.2s", "max_interval": "0.1s"}}"#;

#[rstest]
#[case(route("", &format!(", {SHORT}")), "routes[0].route.retry_policy.retry_back_off.max_interval")]
#[case(route(&format!("{SHORT},"), ""), "virtual_hosts[0].retry_policy.retry_back_off.max_interval")]
#[case(
    cluster(r#""outlier_detection": {"base_ejection_time": "10s", "max_ejection_time": "1s"}"#),
    "outlier_detection.max_ejection_time"
)]
#[case(
    cluster(r#""outlier_detection": {"max_ejection_time": "1s"}"#),
    "outlier_detection.max_ejection_time"
)]
#[case(
    cluster(r#""outlier_detection": {"max_ejection_percent": 101}"#),
    "outlier_detection.max_ejection_percent"
)]
#[case(
    cluster(r#""outlier_detection": {"interval": "0s"}"#),
    "outlier_detection.interval"
)]
#[case(
    cluster(r#""circuit_breakers": {"per_host_thresholds": [{"max_pending_requests": 1}]}"#),
    "circuit_breakers.per_host_thresholds[0]"
)]
fn refusals(#[case] text: String, #[case] place: &str) {
    let error = refused(&text).unwrap_or_default();
    assert!(error.contains(place), "{error}\n{text}");
}

#[rstest]
#[case(route(
    "",
    r#", "retry_policy": {"retry_on": "junk", "host_selection_retry_max_attempts": -1}"#
))]
#[case(route(
    "",
    r#", "retry_policy": {"retry_back_off": {"base_interval": "0.2s", "max_interval": "0.2s"}}"#
))]
#[case(cluster(r#""circuit_breakers": {"thresholds": [{"max_requests": 1}, {"max_requests": 2}], "per_host_thresholds": [{"max_connections": 1}]}"#))]
#[case(cluster(
    r#""outlier_detection": {"base_ejection_time": "10s", "max_ejection_time": "10s"}"#
))]
fn taken(#[case] text: String) {
    assert_eq!(refused(&text), None, "{text}");
}
