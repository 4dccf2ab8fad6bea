//! What Envoy refuses of retries, circuit breakers and outlier detection beside its constraints on
//! single fields.

use std::time::Duration;

use envoy_types::pb::envoy::config::{
    cluster::v3::{Cluster, circuit_breakers::Thresholds},
    route::v3::RetryPolicy,
};
use envoy_types::pb::google::protobuf;

use crate::{error::ReadError, path::Path, source::Source};

const BASE_EJECTION_TIME: Duration = Duration::from_secs(30);

fn duration(value: &protobuf::Duration) -> Duration {
    let seconds = u64::try_from(value.seconds).unwrap_or(0);
    Duration::new(seconds, u32::try_from(value.nanos).unwrap_or(0))
}

/// `RetryPolicy`, at its path.
pub(crate) fn retries(
    policy: &RetryPolicy,
    path: &Path,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    let Some(back_off) = &policy.retry_back_off else {
        return Ok(());
    };
    let (Some(base), Some(most)) = (&back_off.base_interval, &back_off.max_interval) else {
        return Ok(());
    };
    if duration(most) >= duration(base) {
        return Ok(());
    }
    let path = path.field("retry_back_off").field("max_interval");
    Err(source.invalid(&path, "it may not be less than base_interval"))
}

/// `Cluster.circuit_breakers` and `Cluster.outlier_detection`.
pub(crate) fn cluster(config: &Cluster, path: &Path, source: &Source<'_>) -> Result<(), ReadError> {
    let breakers = config.circuit_breakers.iter();
    let each = breakers.flat_map(|it| &it.per_host_thresholds).enumerate();
    for (index, thresholds) in each {
        let allowed = Thresholds {
            priority: thresholds.priority,
            max_connections: thresholds.max_connections,
            track_remaining: thresholds.track_remaining,
            ..Thresholds::default()
        };
        if *thresholds != allowed {
            let path = path
                .field("circuit_breakers")
                .item("per_host_thresholds", index);
            return Err(source.invalid(&path, "only max_connections may stand here"));
        }
    }
    let detection = config.outlier_detection.as_ref();
    let base = detection.and_then(|it| it.base_ejection_time.as_ref());
    let most = detection.and_then(|it| it.max_ejection_time.as_ref());
    let base = base.map_or(BASE_EJECTION_TIME, duration);
    if most.is_some_and(|most| duration(most) < base) {
        let path = path.field("outlier_detection").field("max_ejection_time");
        return Err(source.invalid(&path, "it may not be less than base_ejection_time"));
    }
    Ok(())
}
