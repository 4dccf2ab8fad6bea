//! How the picks of a cluster's balancer can be compared.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::cluster::v3::cluster::LbPolicy;
use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use twinmesh_engine::endpoint;
use twinmesh_xds::{Balancer, Cluster};

/// How far the snapshot settles the picks of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Picks {
    /// There is one choice.
    Exact,
    /// They repeat after so many; where the sequence starts is open.
    Phase(usize),
    /// The request's hash settles them, if it has one.
    ByHash,
    /// Each is drawn, by these weights.
    Shares(BTreeMap<String, u64>),
    /// Nothing but that they are endpoints of the cluster.
    Free,
}

/// A period beyond which no run shows anything.
const LONGEST_PERIOD: u64 = 100_000;

/// Envoy's defaults, in percent.
const OVERPROVISIONING: u64 = 140;
const PANIC_THRESHOLD: f64 = 50.0;

struct Host {
    address: String,
    weight: u64,
    is_healthy: bool,
    is_draining: bool,
}

/// How the picks of this cluster compare; `overlaps`: requests are under way together.
pub fn of(cluster: &Cluster, overlaps: bool) -> Picks {
    let config = &cluster.config;
    if cluster.balancer == Balancer::OriginalDestination {
        return Picks::Exact;
    }
    if matches!(policy(cluster), Some(LbPolicy::RingHash | LbPolicy::Maglev)) {
        // The server has no two requests under way.
        let is_bounded = match cluster.balancer {
            Balancer::RingHash(ring) => ring.hashing.balance_factor != 0,
            Balancer::Maglev(table) => table.hashing.balance_factor != 0,
            _ => false,
        };
        return match is_bounded && overlaps {
            true => Picks::Free,
            false => Picks::ByHash,
        };
    }
    // The server's endpoints came at another time, and its queue begins somewhere.
    let starts_slowly = cluster.slow_start.is_some();
    // A request that may not wait takes its turn all the same, which nobody sees.
    let breakers = config.circuit_breakers.iter().flat_map(|it| &it.thresholds);
    let mut waiting = breakers.filter_map(|it| it.max_pending_requests);
    let refuses_some = waiting.any(|most| most.value == 0);
    if cluster.locality_weighted || cluster.subsets.is_some() || starts_slowly || refuses_some {
        return Picks::Free;
    }
    let Some(hosts) = certain_hosts(cluster) else {
        return Picks::Free;
    };
    if hosts.len() <= 1 {
        return Picks::Exact;
    }
    let divisor = hosts
        .iter()
        .map(|it| it.weight)
        .fold(0, greatest_common_divisor);
    let equal = hosts.iter().all(|it| it.weight == divisor);
    let total: u64 = hosts.iter().map(|it| it.weight).sum();
    let phase = match total.checked_div(divisor) {
        Some(period) if period <= LONGEST_PERIOD => {
            usize::try_from(period).map_or(Picks::Free, Picks::Phase)
        }
        _ => Picks::Free,
    };
    let shares = || {
        let mut weights: BTreeMap<String, u64> = BTreeMap::new();
        for host in &hosts {
            *weights.entry(host.address.clone()).or_default() += 1;
        }
        Picks::Shares(weights)
    };
    let by_name = config.load_balancing_policy.is_none();
    if by_name && policy(cluster) == Some(LbPolicy::Random) {
        return if equal { shares() } else { Picks::Free };
    }
    match cluster.balancer {
        Balancer::RoundRobin => phase,
        Balancer::LeastRequest { .. } if overlaps => Picks::Free,
        Balancer::LeastRequest { .. } if equal => shares(),
        Balancer::LeastRequest { .. } => phase,
        _ => Picks::Free,
    }
}

/// Whether a draw may come to where there is no endpoint: to a locality or a subset that has none
/// in one priority, or to the degraded ones of a priority, which have no hash ring.
pub fn may_find_none(cluster: &Cluster) -> bool {
    let groups = cluster.load_assignment.iter().flat_map(|it| &it.endpoints);
    let mut endpoints = groups.flat_map(|it| &it.lb_endpoints);
    let hashes = matches!(policy(cluster), Some(LbPolicy::RingHash | LbPolicy::Maglev))
        || cluster.config.load_balancing_policy.is_some();
    cluster.locality_weighted
        || cluster.subsets.is_some()
        || hashes && endpoints.any(|it| it.health_status == HealthStatus::Degraded as i32)
}

/// Whether the cluster drops some requests (`drop_overloads`) and not others: which is drawn.
pub fn drops_some(cluster: &Cluster) -> bool {
    let policy = cluster
        .load_assignment
        .as_ref()
        .and_then(|it| it.policy.as_ref());
    let overloads = policy.into_iter().flat_map(|policy| &policy.drop_overloads);
    let mut shares = overloads.filter_map(|overload| overload.drop_percentage);
    shares.any(|share| {
        let whole = match DenominatorType::try_from(share.denominator) {
            Ok(DenominatorType::TenThousand) => 10_000,
            Ok(DenominatorType::Million) => 1_000_000,
            Ok(DenominatorType::Hundred) | Err(_) => 100,
        };
        (1..whole).contains(&share.numerator)
    })
}

/// Whether the cluster takes every request: it has endpoints, and all of them are healthy.
pub fn takes_all(cluster: &Cluster) -> bool {
    let Some(assignment) = &cluster.load_assignment else {
        return false;
    };
    let mut endpoints = assignment.endpoints.iter().flat_map(|it| &it.lb_endpoints);
    let healthy = |status: i32| {
        status == HealthStatus::Unknown as i32 || status == HealthStatus::Healthy as i32
    };
    let some = endpoints.clone().next().is_some();
    // A subset may have none of them, and a locality no weight.
    let policy = assignment.policy.as_ref();
    let refuses = policy.is_some_and(|policy| !policy.drop_overloads.is_empty())
        || cluster.config.circuit_breakers.is_some();
    let all_count = cluster.subsets.is_none() && !cluster.locality_weighted && !refuses;
    all_count && some && endpoints.all(|endpoint| healthy(endpoint.health_status))
}

fn policy(cluster: &Cluster) -> Option<LbPolicy> {
    LbPolicy::try_from(cluster.config.lb_policy).ok()
}

/// The endpoints among which each pick is made, where health alone settles which these are: the
/// load does not go to several priorities, nor to healthy and degraded ones alike.
fn certain_hosts(cluster: &Cluster) -> Option<Vec<Host>> {
    let assignment = cluster.load_assignment.as_ref()?;
    let policy = assignment.policy.as_ref();
    if policy.is_some_and(|it| it.weighted_priority_health || !it.drop_overloads.is_empty()) {
        return None;
    }
    let mut priorities: BTreeMap<u32, Vec<Host>> = BTreeMap::new();
    for group in &assignment.endpoints {
        for host in &group.lb_endpoints {
            if host.health_status == HealthStatus::Degraded as i32 {
                return None;
            }
            let healthy = [HealthStatus::Unknown as i32, HealthStatus::Healthy as i32];
            priorities.entry(group.priority).or_default().push(Host {
                address: endpoint::address(host)?,
                weight: host
                    .load_balancing_weight
                    .as_ref()
                    .map_or(1, |it| u64::from(it.value)),
                is_healthy: healthy.contains(&host.health_status),
                is_draining: host.health_status == HealthStatus::Draining as i32,
            });
        }
    }
    let count = priorities.len();
    let factor = policy.and_then(|it| it.overprovisioning_factor.as_ref());
    let factor = factor.map_or(OVERPROVISIONING, |it| u64::from(it.value));
    for hosts in priorities.into_values() {
        // What drains counts nowhere, and is taken in a panic all the same.
        let total = hosts.iter().filter(|host| !host.is_draining).count() as u64;
        let healthy = hosts.iter().filter(|host| host.is_healthy).count() as u64;
        if count == 1 {
            let has_enough = (factor * healthy).checked_div(total).unwrap_or(0) >= 100;
            let panics = !has_enough && is_panic(cluster, healthy, total);
            let used = hosts.into_iter().filter(|host| panics || host.is_healthy);
            return Some(used.collect());
        }
        match (factor * healthy).checked_div(total).unwrap_or(0) {
            0 => {}
            100.. => return Some(hosts.into_iter().filter(|host| host.is_healthy).collect()),
            _ => return None,
        }
    }
    None
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn is_panic(cluster: &Cluster, healthy: u64, total: u64) -> bool {
    let common = cluster.config.common_lb_config.as_ref();
    let threshold = common.and_then(|it| it.healthy_panic_threshold.as_ref());
    let threshold = threshold.map_or(PANIC_THRESHOLD, |it| it.value);
    // Where none counts, none is healthy.
    (healthy as f64) * 100.0 < threshold * total.max(1) as f64
}

fn greatest_common_divisor(one: u64, other: u64) -> u64 {
    if other == 0 {
        one
    } else {
        greatest_common_divisor(other, one % other)
    }
}
