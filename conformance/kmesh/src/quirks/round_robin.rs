//! Every balancer is round robin over all endpoints, whatever their weight, priority, locality or
//! health.

use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use twinmesh_xds::{Balancer, Cluster};

/// The place of the next of `count` endpoints; moves the counter.
pub(crate) fn next(counter: &mut u64, count: usize) -> Option<usize> {
    let count = u64::try_from(count).ok().filter(|count| *count > 0)?;
    let place = *counter % count;
    *counter = counter.wrapping_add(1);
    usize::try_from(place).ok()
}

/// Whether Envoy's balancer does the same over the cluster's endpoints.
pub(crate) fn is_envoys(cluster: &Cluster) -> bool {
    let Some(assignment) = &cluster.load_assignment else {
        return true;
    };
    let healthy = [HealthStatus::Unknown as i32, HealthStatus::Healthy as i32];
    let mut endpoints = assignment.endpoints.iter().flat_map(|locality| {
        let endpoints = locality.lb_endpoints.iter();
        endpoints.map(move |endpoint| (locality.priority, endpoint))
    });
    let plain = endpoints.all(|(priority, endpoint)| {
        let weight = endpoint.load_balancing_weight.as_ref();
        priority == 0
            && healthy.contains(&endpoint.health_status)
            && weight.is_none_or(|weight| weight.value == 1)
    });
    plain && cluster.balancer == Balancer::RoundRobin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_turn() {
        let mut counter = u64::MAX;
        let turns: Vec<Option<usize>> = (0..4).map(|_| next(&mut counter, 3)).collect();
        assert_eq!(turns, [Some(0), Some(0), Some(1), Some(2)]);
        assert_eq!(next(&mut counter, 0), None);
        assert_eq!(counter, 3);
    }

    #[test]
    fn other_policies_are_not_envoys() {
        let of = |balancer| Cluster {
            load_assignment: Some(Default::default()),
            balancer,
            ..Cluster::default()
        };
        assert!(is_envoys(&of(Balancer::RoundRobin)));
        let cluster = of(Balancer::LeastRequest {
            choice_count: 2,
            active_request_bias: 1.0,
            full_scan: false,
        });
        assert!(!is_envoys(&cluster));
    }
}
