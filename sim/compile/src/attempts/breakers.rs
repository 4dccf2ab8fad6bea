//! `Cluster.circuit_breakers`.

use envoy_types::pb::envoy::config::cluster::v3::{
    Cluster as ClusterConfig, circuit_breakers::Thresholds as Config,
};
use envoy_types::pb::envoy::config::core::v3::RoutingPriority;
use envoy_types::pb::google::protobuf::UInt32Value;
use twinmesh_attempts::circuit_breaker::{BUDGET_LEAST, BUDGET_PERCENT, Budget, Thresholds};

/// What a cluster may have at one time, for requests of this routing priority.
pub fn thresholds(cluster: &ClusterConfig, high: bool) -> Thresholds {
    let priority = match high {
        true => RoutingPriority::High,
        false => RoutingPriority::Default,
    };
    let of = |list: &[Config]| {
        list.iter()
            .find(|it| it.priority == priority as i32)
            .cloned()
    };
    let breakers = cluster.circuit_breakers.as_ref();
    let own = breakers
        .and_then(|it| of(&it.thresholds))
        .unwrap_or_default();
    let each = breakers
        .and_then(|it| of(&it.per_host_thresholds))
        .unwrap_or_default();
    let number =
        |value: Option<UInt32Value>, default| value.map_or(default, |it| u64::from(it.value));
    let defaults = Thresholds::default();
    Thresholds {
        connections: number(own.max_connections, defaults.connections),
        connections_of_endpoint: each.max_connections.map(|it| u64::from(it.value)),
        pending: number(own.max_pending_requests, defaults.pending),
        requests: number(own.max_requests, defaults.requests),
        retries: number(own.max_retries, defaults.retries),
        budget: own.retry_budget.map(|budget| Budget {
            percent: budget.budget_percent.map_or(BUDGET_PERCENT, |it| it.value),
            least: number(budget.min_retry_concurrency, BUDGET_LEAST),
        }),
    }
}

/// Why they are not decided.
pub(super) fn undecided(cluster: &ClusterConfig) -> Option<&'static str> {
    let breakers = cluster.circuit_breakers.as_ref()?;
    let mut limits = false;
    for threshold in breakers
        .thresholds
        .iter()
        .chain(&breakers.per_host_thresholds)
    {
        if threshold.max_connection_pools.is_some() {
            return Some("max_connection_pools is not decided");
        }
        let budget = threshold.retry_budget.as_ref();
        if budget.is_some_and(|budget| budget.budget_interval.is_some()) {
            return Some("a retry budget over an interval is not decided");
        }
        limits |= threshold.max_connections.is_some();
    }
    let kept = cluster.preconnect_policy.is_none()
        && cluster.max_requests_per_connection.is_none()
        && !cluster.connection_pool_per_downstream_connection;
    (limits && !kept)
        .then_some("max_connections is not decided where connections are not kept for all")
}
