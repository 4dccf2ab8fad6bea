//! How the load is spread over the priorities of a cluster.

use twinmesh_xds::Cluster;

use crate::cluster::{Endpoint, Health};

/// Loads of the priorities, in percent, as `LoadBalancerBase` computes them.
#[derive(Debug, Default)]
pub struct Loads {
    /// Of each priority's healthy endpoints.
    pub healthy: Vec<u64>,
    /// Of its degraded ones.
    pub degraded: Vec<u64>,
    /// Whether it is in panic.
    pub panic: Vec<bool>,
}

/// What a cluster says of its priorities.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// `overprovisioning_factor`, in percent.
    pub overprovisioning: u64,
    /// `healthy_panic_threshold`, in percent, without what is behind the point.
    pub panic_threshold: f64,
    /// `weighted_priority_health`.
    pub weighted_health: bool,
    /// `fail_traffic_on_panic`.
    pub fail_on_panic: bool,
}

impl Options {
    /// Those of a cluster.
    pub fn new(cluster: &Cluster) -> Self {
        let common = cluster.config.common_lb_config.as_ref();
        let threshold = common
            .and_then(|common| common.healthy_panic_threshold.as_ref())
            .map_or(50.0, |threshold| threshold.value);
        let policy = cluster
            .load_assignment
            .as_ref()
            .and_then(|assignment| assignment.policy.as_ref());
        Self {
            overprovisioning: policy
                .and_then(|policy| policy.overprovisioning_factor.as_ref())
                .map_or(140, |factor| u64::from(factor.value)),
            // Envoy cuts off what is behind the point, after a division that turns 29 into 28.
            panic_threshold: (100.0 * (threshold.clamp(0.0, 100.0) / 100.0)).trunc(),
            weighted_health: policy.is_some_and(|policy| policy.weighted_priority_health),
            fail_on_panic: cluster.fail_traffic_on_panic,
        }
    }
}

impl Loads {
    /// Of the endpoints by priority.
    pub fn new(priorities: &[Vec<Endpoint>], options: Options) -> Self {
        let Options {
            overprovisioning,
            panic_threshold,
            ..
        } = options;
        let count = |endpoints: &[Endpoint], health| {
            endpoints
                .iter()
                .filter(|endpoint| endpoint.health == health)
                .count() as u64
        };
        let counted =
            |endpoints: &[Endpoint]| endpoints.len() as u64 - count(endpoints, Health::Draining);
        // With `weighted_priority_health` an endpoint counts as much as its weight.
        let size = |endpoint: &Endpoint| match options.weighted_health {
            true => endpoint.weight,
            false => 1,
        };
        let available = |health| -> Vec<u64> {
            let availability = |endpoints: &Vec<Endpoint>| {
                let (mut all, mut of_health) = (0, 0);
                for endpoint in endpoints.iter().filter(|it| it.health != Health::Draining) {
                    all += size(endpoint);
                    of_health += if endpoint.health == health {
                        size(endpoint)
                    } else {
                        0
                    };
                }
                let percent = (overprovisioning * of_health).checked_div(all);
                percent.map_or(0, |percent| percent.min(100))
            };
            priorities.iter().map(availability).collect()
        };
        let healthy = available(Health::Healthy);
        let degraded = available(Health::Degraded);
        let total = (healthy.iter().sum::<u64>() + degraded.iter().sum::<u64>()).min(100);
        let panic: Vec<bool> = priorities
            .iter()
            .map(|endpoints| {
                let share = |health| match counted(endpoints) as f64 {
                    0.0 => 0.0,
                    all => 100.0 * count(endpoints, health) as f64 / all,
                };
                total != 100 && share(Health::Healthy) + share(Health::Degraded) < panic_threshold
            })
            .collect();
        if !panic.is_empty() && panic.iter().all(|&panic| panic) {
            return Self::total_panic(priorities, panic);
        }
        if total == 0 {
            // Of some that are there a share may round to nothing: the first takes it all.
            let none = vec![0; priorities.len()];
            let mut first = none.clone();
            first.iter_mut().take(1).for_each(|load| *load = 100);
            return Self {
                healthy: first,
                degraded: none,
                panic,
            };
        }
        let mut left = 100;
        let mut share = |available: &[u64]| -> Vec<u64> {
            available
                .iter()
                .map(|&available| {
                    let load = left.min(available * 100 / total);
                    left -= load;
                    load
                })
                .collect()
        };
        let mut loads = Self {
            healthy: share(&healthy),
            degraded: share(&degraded),
            panic,
        };
        // What rounding left over goes to the first that has any.
        let first = |available: &[u64]| available.iter().position(|&available| available > 0);
        if let Some(load) = first(&healthy).and_then(|first| loads.healthy.get_mut(first)) {
            *load += left;
        } else if let Some(load) = first(&degraded).and_then(|first| loads.degraded.get_mut(first))
        {
            *load += left;
        }
        loads
    }

    /// All priorities are in panic: the load follows how many endpoints they have.
    fn total_panic(priorities: &[Vec<Endpoint>], panic: Vec<bool>) -> Self {
        let all: u64 = priorities
            .iter()
            .map(|endpoints| endpoints.len() as u64)
            .sum();
        let mut left = 100;
        let mut healthy: Vec<u64> = priorities
            .iter()
            .map(|endpoints| {
                let load = (100 * endpoints.len() as u64).checked_div(all).unwrap_or(0);
                left -= load;
                load
            })
            .collect();
        let first = priorities
            .iter()
            .position(|endpoints| !endpoints.is_empty())
            .unwrap_or(0);
        if let Some(load) = healthy.get_mut(first) {
            *load += left;
        }
        Self {
            degraded: vec![0; priorities.len()],
            healthy,
            panic,
        }
    }
}
