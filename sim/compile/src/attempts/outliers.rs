//! `Cluster.outlier_detection`.

use envoy_types::pb::envoy::config::cluster::v3::Cluster as ClusterConfig;
use envoy_types::pb::google::protobuf::UInt32Value;
use twinmesh_attempts::outlier_detection::Policy;

use super::milliseconds;

/// What a cluster says of outliers; `None`: nothing.
pub fn outlier_policy(cluster: &ClusterConfig) -> Option<Policy> {
    let config = cluster.outlier_detection.as_ref()?;
    let number =
        |value: Option<UInt32Value>, default| value.map_or(default, |it| u64::from(it.value));
    let unless = Policy::default();
    let base_ms = milliseconds(config.base_ejection_time.as_ref()).unwrap_or(unless.base_ms);
    let max_ms = milliseconds(config.max_ejection_time.as_ref()).unwrap_or(unless.max_ms);
    Some(Policy {
        five_xx: number(config.consecutive_5xx, unless.five_xx),
        enforcing_five_xx: number(config.enforcing_consecutive_5xx, unless.enforcing_five_xx),
        gateway: number(config.consecutive_gateway_failure, unless.gateway),
        enforcing_gateway: number(
            config.enforcing_consecutive_gateway_failure,
            unless.enforcing_gateway,
        ),
        split: config.split_external_local_origin_errors,
        local: number(config.consecutive_local_origin_failure, unless.local),
        enforcing_local: number(
            config.enforcing_consecutive_local_origin_failure,
            unless.enforcing_local,
        ),
        interval_ms: milliseconds(config.interval.as_ref())
            .unwrap_or(unless.interval_ms)
            .max(1),
        base_ms,
        max_ms: max_ms.max(base_ms),
        max_percent: number(config.max_ejection_percent, unless.max_percent),
        always_one: config.always_eject_one_host.is_some_and(|it| it.value),
        rate_hosts: number(config.success_rate_minimum_hosts, unless.rate_hosts),
        rate_volume: number(config.success_rate_request_volume, unless.rate_volume),
        rate_factor: number(config.success_rate_stdev_factor, unless.rate_factor),
        enforcing_rate: number(config.enforcing_success_rate, unless.enforcing_rate),
        enforcing_local_rate: number(
            config.enforcing_local_origin_success_rate,
            unless.enforcing_local_rate,
        ),
        percentage: number(config.failure_percentage_threshold, unless.percentage),
        percentage_hosts: number(
            config.failure_percentage_minimum_hosts,
            unless.percentage_hosts,
        ),
        percentage_volume: number(
            config.failure_percentage_request_volume,
            unless.percentage_volume,
        ),
        enforcing_percentage: number(
            config.enforcing_failure_percentage,
            unless.enforcing_percentage,
        ),
        enforcing_local_percentage: number(
            config.enforcing_failure_percentage_local_origin,
            unless.enforcing_local_percentage,
        ),
    })
}

/// Why it is not decided.
pub(super) fn undecided(cluster: &ClusterConfig) -> Option<&'static str> {
    let config = cluster.outlier_detection.as_ref()?;
    if !config.monitors.is_empty() {
        return Some("monitors of outlier detection are not decided");
    }
    if config
        .detect_degraded_hosts
        .as_ref()
        .is_some_and(|it| it.value)
    {
        return Some("degraded endpoints are detected, which is not decided");
    }
    if milliseconds(config.max_ejection_time_jitter.as_ref()).is_some_and(|jitter| jitter > 0) {
        return Some("an ejection time with jitter is not decided");
    }
    let policy = outlier_policy(cluster)?;
    let enforced = [
        policy.enforcing_five_xx,
        policy.enforcing_gateway,
        policy.enforcing_local,
        policy.enforcing_rate,
        policy.enforcing_local_rate,
        policy.enforcing_percentage,
        policy.enforcing_local_percentage,
    ];
    enforced
        .iter()
        .any(|percent| (1..100).contains(percent))
        .then_some("ejections that are enforced by chance are not decided")
}
