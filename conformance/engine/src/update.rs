//! What goes on from one snapshot to the next, as Envoy 1.40 was measured to have it.

use std::collections::HashMap;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Locality;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints,
};
use twinmesh_xds::{Cluster, FilterChain, Listener, Snapshot};

use crate::{Held, endpoint};

/// Whether a cluster goes on as `next` in the snapshot that follows: of one name, with an equal
/// `Cluster` message (which holds the endpoints of a static cluster, not those from EDS). Envoy
/// replaces a cluster whose message changed, and with it the balancer and the counts.
pub fn keeps_state(cluster: &Cluster, next: &Cluster) -> bool {
    cluster.name == next.name && cluster.config == next.config
}

/// The listener of the snapshot before that goes on as this one, with all that its filters know: one
/// of the same name with an equal message. Envoy replaces any other, and with it its filters.
pub fn keeps_filters(before: &Snapshot, listener: &Listener) -> Option<usize> {
    let same = |old: &Listener| old.name == listener.name && old.config == listener.config;
    before.listeners.iter().position(same)
}

/// The route configuration of the snapshot before that goes on as the one at `index`, with all that
/// it says to filters: one of the same name with an equal message, or, where it stands in a
/// listener, that of a listener that [goes on](keeps_filters).
pub fn keeps_routes(before: &Snapshot, after: &Snapshot, index: usize) -> Option<usize> {
    let chains = |listener: &Listener| -> Vec<Option<usize>> {
        let chains = listener.all_filter_chains();
        chains
            .map(FilterChain::inline_route_configuration)
            .collect()
    };
    for listener in &after.listeners {
        if let Some(position) = chains(listener)
            .iter()
            .position(|held| *held == Some(index))
        {
            let old = before.listeners.get(keeps_filters(before, listener)?)?;
            return *chains(old).get(position)?;
        }
    }
    let next = after.route_configurations.get(index)?;
    let held = before.inline_route_configurations();
    let mut old = before.route_configurations.iter().enumerate();
    let (found, _) = old.find(|(at, old)| {
        old.name == next.name && old.config == next.config && !held.contains(at)
    })?;
    Some(found)
}

/// What an endpoint is known by: its address and its locality. Envoy takes one of another locality
/// for another, which has no active requests; health, weight and priority do not matter.
pub type Identity = (String, Locality);

/// The identity of an endpoint; `None` where its address is of a kind that has no text.
pub fn identity(group: &LocalityLbEndpoints, endpoint: &LbEndpoint) -> Option<Identity> {
    Some((
        endpoint::address(endpoint)?,
        group.locality.clone().unwrap_or_default(),
    ))
}

/// The endpoints of a load assignment with their places: index into
/// `ClusterLoadAssignment.endpoints`, and into its `lb_endpoints`.
pub fn places(
    assignment: Option<&ClusterLoadAssignment>,
) -> impl Iterator<Item = (usize, usize, &LocalityLbEndpoints, &LbEndpoint)> {
    let groups = assignment.into_iter().flat_map(|it| &it.endpoints);
    groups.enumerate().flat_map(|(locality, group)| {
        let endpoints = group.lb_endpoints.iter().enumerate();
        endpoints.map(move |(index, endpoint)| (locality, index, group, endpoint))
    })
}

/// The snapshot that follows, with endpoints in the order in which Envoy has them: where the
/// endpoints of a priority are the same ones, in another order, it keeps the one before.
pub fn keep_order(before: &Snapshot, mut after: Arc<Snapshot>) -> Arc<Snapshot> {
    let old: HashMap<&str, &Cluster> = before
        .clusters
        .iter()
        .map(|cluster| (cluster.name.as_str(), cluster))
        .collect();
    let reordered: Vec<(usize, ClusterLoadAssignment)> = after
        .clusters
        .iter()
        .enumerate()
        .filter_map(|(index, next)| {
            let cluster = old.get(next.name.as_str())?;
            let (before, after) = (
                cluster.load_assignment.as_ref()?,
                next.load_assignment.as_ref()?,
            );
            if !keeps_state(cluster, next) || before.endpoints == after.endpoints {
                return None;
            }
            Some((index, in_order(before, after)?))
        })
        .collect();
    if !reordered.is_empty() {
        let snapshot = Arc::make_mut(&mut after);
        for (index, assignment) in reordered {
            if let Some(cluster) = snapshot.clusters.get_mut(index) {
                cluster.load_assignment = Some(assignment);
            }
        }
    }
    after
}

/// The load assignment with the old order in each priority that is only reordered; `None` where
/// there is none.
fn in_order(
    before: &ClusterLoadAssignment,
    after: &ClusterLoadAssignment,
) -> Option<ClusterLoadAssignment> {
    let mut priorities: Vec<u32> = after.endpoints.iter().map(|group| group.priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    let mut endpoints = Vec::with_capacity(after.endpoints.len());
    let mut changed = false;
    for priority in priorities {
        let of = |assignment: &ClusterLoadAssignment| -> Vec<LocalityLbEndpoints> {
            let groups = assignment.endpoints.iter();
            let groups = groups.filter(|group| group.priority == priority);
            groups.cloned().collect()
        };
        let (old, new) = (of(before), of(after));
        let reordered = old != new && sorted(&old).is_some_and(|old| Some(old) == sorted(&new));
        changed |= reordered;
        endpoints.extend(if reordered { reweighed(old, &new) } else { new });
    }
    changed.then(|| ClusterLoadAssignment {
        endpoints,
        ..after.clone()
    })
}

/// The groups with the weights that the others give their localities: of several the last one's.
fn reweighed(
    mut groups: Vec<LocalityLbEndpoints>,
    others: &[LocalityLbEndpoints],
) -> Vec<LocalityLbEndpoints> {
    for group in &mut groups {
        let same = others.iter().filter(|it| it.locality == group.locality);
        let mut weights = same.filter_map(|other| other.load_balancing_weight);
        group.load_balancing_weight = weights.next_back();
    }
    groups
}

/// What Envoy compares of each endpoint, in an order that is always the same.
fn sorted(groups: &[LocalityLbEndpoints]) -> Option<Vec<impl PartialEq + use<>>> {
    let mut all = Vec::new();
    for group in groups {
        for endpoint in &group.lb_endpoints {
            let (address, locality) = identity(group, endpoint)?;
            let locality = [locality.region, locality.zone, locality.sub_zone];
            let weight = endpoint.load_balancing_weight.as_ref().map(|it| it.value);
            let known = (address, locality, weight, endpoint.health_status);
            all.push((known, endpoint.metadata.clone()));
        }
    }
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    Some(all)
}

/// What is held, in the indices of the snapshot that follows; `None` where the cluster has gone or
/// is another one, which knows nothing of it.
pub fn renumber(held: Held, before: &Snapshot, after: &Snapshot) -> Option<Held> {
    let cluster = before.clusters.get(held.cluster)?;
    let index = after
        .clusters
        .iter()
        .position(|candidate| keeps_state(cluster, candidate))?;
    let gone = Held {
        cluster: index,
        locality: Held::GONE,
        endpoint: Held::GONE,
        ..held
    };
    let group = cluster
        .load_assignment
        .as_ref()
        .and_then(|assignment| assignment.endpoints.get(held.locality));
    let known = group.and_then(|group| identity(group, group.lb_endpoints.get(held.endpoint)?));
    let assignment = after
        .clusters
        .get(index)
        .and_then(|next| next.load_assignment.as_ref());
    let same = places(assignment)
        .find(|(_, _, group, candidate)| known.is_some() && identity(group, candidate) == known);
    Some(same.map_or(gone, |(locality, endpoint, ..)| Held {
        locality,
        endpoint,
        ..gone
    }))
}
