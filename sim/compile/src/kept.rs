//! What balancers remember from one snapshot to the next: see
//! [`Engine::update`](twinmesh_engine::Engine::update).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::{Locality, Metadata};
use twinmesh_engine::update::{Identity, identity, keeps_filters, keeps_routes, keeps_state};
use twinmesh_model::layout::set;
use twinmesh_xds::{Cluster, Snapshot, http_filter::Level};

use crate::cluster::{Health, health};
use crate::subset::Pool;
use crate::{Compiled, Part};

/// Which endpoints of a priority a set has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The healthy ones.
    Healthy,
    /// The degraded ones.
    Degraded,
    /// All, in a panic.
    All,
}

impl Source {
    /// Whether it has endpoints of this health.
    pub fn has(self, health: Health) -> bool {
        match self {
            Self::Healthy => health == Health::Healthy,
            Self::Degraded => health == Health::Degraded,
            Self::All => true,
        }
    }
}

/// Names a set of endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Index into `Snapshot::clusters`.
    pub cluster: usize,
    /// Which part of the cluster.
    pub pool: Pool,
    /// The priority.
    pub priority: usize,
    /// Which of the priority's endpoints.
    pub source: Source,
    /// Index of the locality, where it was chosen by weight.
    pub locality: Option<usize>,
}

/// A set of endpoints in the tables, and where its balancer's state stands.
#[derive(Debug, Clone)]
pub struct Set {
    /// Its name.
    pub key: Key,
    /// As in [`set`].
    pub kind: u64,
    /// The first word of its state.
    pub state: usize,
    /// How many words it has.
    pub words: usize,
}

/// Where the state of an HTTP filter stands.
#[derive(Debug, Clone)]
pub struct FilterState {
    /// Whose it is.
    pub owner: Owner,
    /// The first word.
    pub state: usize,
    /// How many words there are.
    pub words: usize,
}

/// Whose the state of a filter is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// The filter's own: index into `Snapshot::listeners`, into its filter chains (`None`: the
    /// default one) and into the connection manager's filters.
    Filter(usize, Option<usize>, usize),
    /// What a level says: index into `Snapshot::route_configurations`, the level, and the filter's
    /// name.
    Level(usize, Level, String),
}

impl Owner {
    /// The owner in the snapshot before, where it goes on.
    fn before(&self, before: &Snapshot, after: &Snapshot) -> Option<Self> {
        match self {
            Self::Filter(listener, chain, filter) => {
                let listener = after.listeners.get(*listener)?;
                let old = keeps_filters(before, listener)?;
                Some(Self::Filter(old, *chain, *filter))
            }
            Self::Level(configuration, level, name) => {
                let old = keeps_routes(before, after, *configuration)?;
                Some(Self::Level(old, *level, name.clone()))
            }
        }
    }
}

/// What one balancer remembers.
#[derive(Debug, Clone, Default)]
struct Balancer {
    /// Picks so far while all weights were equal.
    index: u64,
    /// Where the schedule stands, or the heap, while weights differ.
    schedule: Option<Vec<u64>>,
}

/// What balancers remember, of sources too that the snapshot does not use just now.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    balancers: HashMap<Name, Balancer>,
    /// Clusters of which userspace alone decided in some snapshot so far.
    elsewhere: HashSet<String>,
}

/// A set's name over all snapshots: the cluster's instead of its index, and then as in [`Key`].
type Name = (String, Pool, usize, Source, Option<usize>);

fn name_of(set: &Set, cluster: &Cluster) -> Name {
    let key = &set.key;
    (
        cluster.name.clone(),
        key.pool.clone(),
        key.priority,
        key.source,
        key.locality,
    )
}

impl Kept {
    /// Puts into the tables of the snapshot that follows what survives of the one before, whose
    /// state words `state` gives.
    pub fn carry(&mut self, before: &Compiled, state: impl Fn(usize) -> u64, next: &mut Compiled) {
        self.remember(before, &state);
        let elsewhere = before.userspace().iter().filter_map(|it| match it.part {
            Some(Part::Cluster(index)) => before.snapshot.clusters.get(index),
            _ => None,
        });
        self.elsewhere
            .extend(elsewhere.map(|cluster| cluster.name.clone()));
        self.forget(&before.snapshot, next);
        self.restore(next);
        carry_active(before, &state, next);
        carry_filters(before, &state, next);
    }

    /// Names of the clusters that go on and of which userspace alone decided in some snapshot so far:
    /// who did not see that knows less than their balancers do.
    pub fn elsewhere(&self) -> impl Iterator<Item = &str> {
        self.elsewhere.iter().map(String::as_str)
    }

    fn remember(&mut self, compiled: &Compiled, state: impl Fn(usize) -> u64) {
        for set in &compiled.sets {
            let Some(cluster) = compiled.snapshot.clusters.get(set.key.cluster) else {
                continue;
            };
            let name = name_of(set, cluster);
            let balancer = self.balancers.entry(name).or_default();
            match set.kind {
                set::ROUND_ROBIN | set::SLOW_START => balancer.index = state(set.state),
                set::SCHEDULE | set::HEAP | set::LOCALITIES => {
                    let words = set.state..set.state + set.words;
                    balancer.schedule = Some(words.map(&state).collect());
                }
                _ => {}
            }
        }
    }

    fn forget(&mut self, before: &Snapshot, next: &Compiled) {
        let old = by_name(before);
        let new = by_name(&next.snapshot);
        let mut unchanged: HashMap<&str, HashSet<usize>> = HashMap::new();
        for (name, cluster) in &old {
            if let Some(next) = new.get(name).filter(|next| keeps_state(cluster, next)) {
                unchanged.insert(name, unchanged_priorities(cluster, next));
            }
        }
        self.elsewhere
            .retain(|name| unchanged.contains_key(name.as_str()));
        self.balancers
            .retain(|(name, pool, priority, ..), balancer| {
                let Some(unchanged) = unchanged.get(name.as_str()) else {
                    return false;
                };
                let subsets = next.subsetted.get(name);
                if subsets.is_some_and(|subsetted| !subsetted.subsets.has(pool)) {
                    return false;
                }
                if !unchanged.contains(priority) {
                    balancer.schedule = None;
                }
                true
            });
    }

    fn restore(&self, compiled: &mut Compiled) {
        for set in &compiled.sets {
            let Some(cluster) = compiled.snapshot.clusters.get(set.key.cluster) else {
                continue;
            };
            let Some(balancer) = self.balancers.get(&name_of(set, cluster)) else {
                continue;
            };
            let index = [balancer.index];
            let words: &[u64] = match (set.kind, &balancer.schedule) {
                (set::ROUND_ROBIN | set::SLOW_START, _) => &index,
                (set::SCHEDULE | set::HEAP | set::LOCALITIES, Some(schedule))
                    if schedule.len() == set.words =>
                {
                    schedule
                }
                _ => continue,
            };
            for (to, from) in compiled.state.iter_mut().skip(set.state).zip(words) {
                *to = *from;
            }
        }
    }
}

/// Active requests stay with their endpoints.
fn carry_active(before: &Compiled, state: impl Fn(usize) -> u64, next: &mut Compiled) {
    let (old, new) = (Arc::clone(&before.snapshot), Arc::clone(&next.snapshot));
    let clusters = by_name(&new);
    let mut active: HashMap<(&str, Identity), u64> = HashMap::new();
    for (number, place) in before.places() {
        let count = state(number);
        if count == 0 {
            continue;
        }
        if let Some((cluster, known)) = known(&old, place)
            && clusters
                .get(cluster.name.as_str())
                .is_some_and(|next| keeps_state(cluster, next))
        {
            *active.entry((&cluster.name, known)).or_default() += count;
        }
    }
    if active.is_empty() {
        return;
    }
    let places: Vec<_> = next.places().collect();
    for (number, place) in places {
        if let Some((cluster, known)) = known(&new, place)
            // The first of several with one identity has them all.
            && let Some(count) = active.remove(&(cluster.name.as_str(), known))
            && let Some(word) = next.state.get_mut(number)
        {
            *word = count;
        }
    }
}

/// Filters of a listener, and of a route configuration, that goes on keep what they know.
fn carry_filters(before: &Compiled, state: impl Fn(usize) -> u64, next: &mut Compiled) {
    for place in &next.filter_states {
        let Some(old) = place.owner.before(&before.snapshot, &next.snapshot) else {
            continue;
        };
        let same = |it: &&FilterState| it.owner == old && it.words == place.words;
        let Some(known) = before.filter_states.iter().find(same) else {
            continue;
        };
        let words = next.state.iter_mut().skip(place.state).take(place.words);
        for (to, from) in words.zip(known.state..) {
            *to = state(from);
        }
    }
}

fn known(
    snapshot: &Snapshot,
    (cluster, locality, endpoint): (usize, usize, usize),
) -> Option<(&Cluster, Identity)> {
    let cluster = snapshot.clusters.get(cluster)?;
    let group = cluster.load_assignment.as_ref()?.endpoints.get(locality)?;
    let known = identity(group, group.lb_endpoints.get(endpoint)?)?;
    Some((cluster, known))
}

fn by_name(snapshot: &Snapshot) -> HashMap<&str, &Cluster> {
    let clusters = snapshot.clusters.iter();
    clusters
        .map(|cluster| (cluster.name.as_str(), cluster))
        .collect()
}

/// The priorities with the same endpoints, of the same health, weights and metadata, in the same
/// order, the same weights of localities, and the same policy for both.
pub fn unchanged_priorities(cluster: &Cluster, next: &Cluster) -> HashSet<usize> {
    let (old, new) = (described(cluster), described(next));
    old.into_iter()
        .filter(|(priority, endpoints)| new.get(priority) == Some(endpoints))
        .map(|(priority, _)| priority)
        .collect()
}

/// What Envoy compares of an endpoint.
type Described = (Option<Identity>, u32, Health, Metadata);

/// What Envoy compares of a priority: endpoints, weights of localities, and of the policy the
/// overprovisioning factor and `weighted_priority_health`.
#[derive(Default, PartialEq)]
struct Priority {
    endpoints: Vec<Described>,
    weights: Vec<(Locality, u32)>,
    policy: (u32, bool),
}

fn described(cluster: &Cluster) -> HashMap<usize, Priority> {
    let mut priorities: HashMap<usize, Priority> = HashMap::new();
    let Some(assignment) = &cluster.load_assignment else {
        return priorities;
    };
    let policy = assignment.policy.as_ref();
    let factor = policy.and_then(|policy| policy.overprovisioning_factor.as_ref());
    let policy = (
        factor.map_or(140, |factor| factor.value),
        policy.is_some_and(|policy| policy.weighted_priority_health),
    );
    for group in &assignment.endpoints {
        let priority = priorities.entry(group.priority as usize).or_default();
        priority.policy = policy;
        if let (Some(locality), Some(weight)) = (&group.locality, &group.load_balancing_weight) {
            priority.weights.push((locality.clone(), weight.value));
        }
        let endpoints = group.lb_endpoints.iter().map(|endpoint| {
            let weight = endpoint.load_balancing_weight.as_ref();
            (
                identity(group, endpoint),
                weight.map_or(1, |weight| weight.value),
                health(endpoint.health_status),
                endpoint.metadata.clone().unwrap_or_default(),
            )
        });
        priority.endpoints.extend(endpoints);
    }
    for priority in priorities.values_mut() {
        let name = |(locality, _): &(Locality, u32)| {
            let Locality {
                region,
                zone,
                sub_zone,
            } = locality.clone();
            (region, zone, sub_zone)
        };
        priority.weights.sort_by_key(name);
    }
    priorities
}
