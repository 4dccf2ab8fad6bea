//! The state of all balancers: one for each cluster, subset, priority and source.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use twinmesh_engine::Held;
use twinmesh_engine::update::{identity, keeps_state, places};
use twinmesh_xds::{Cluster, Snapshot};

use crate::bounded;
use crate::cluster::{self, Host};
use crate::edf::Edf;
use crate::hash_balancer::Laid;
use crate::least_request::{self, LeastRequest};
use crate::locality::{self, Effective, Schedule};
use crate::policy::{Balancing, Policy};
use crate::priority::Source;
use crate::round_robin::{RoundRobin, all_equal};
use crate::slow_start::Times;
use crate::subset::Pool;

/// Names one balancer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The cluster's index.
    pub(crate) cluster: usize,
    pub(crate) pool: Pool,
    pub(crate) priority: usize,
    pub(crate) source: Source,
    /// Index of the locality, in Envoy's order, where it was chosen by weight.
    pub(crate) locality: Option<usize>,
}

/// What balancers remember. Everything starts at zero when a snapshot is loaded.
#[derive(Debug, Default)]
pub(crate) struct Balancers {
    round_robin: BTreeMap<Key, RoundRobin>,
    least_request: BTreeMap<Key, LeastRequest>,
    /// When the endpoints of clusters with a slow start came, by cluster.
    times: BTreeMap<usize, Times>,
    /// The queues of those.
    queues: BTreeMap<Key, Edf<f64>>,
    /// Which locality is next.
    localities: BTreeMap<Key, Schedule>,
    /// What the balancers that hash choose from; it follows from the snapshot alone.
    laid: BTreeMap<Key, Laid>,
    /// Forwarded requests that have not ended, by cluster, locality and endpoint.
    active: BTreeMap<(usize, usize, usize), u64>,
}

/// Who chooses among the endpoints that may be used.
#[derive(Debug)]
pub(crate) enum Chooser<'a> {
    /// The balancers, which remember it.
    Balancers(&'a mut Balancers),
    /// Somebody else has chosen already: that stands where a balancer could choose it, whatever it
    /// remembers.
    Elsewhere(Option<Held>),
}

impl Chooser<'_> {
    /// Index into `hosts` of the endpoint that takes the request.
    pub(crate) fn pick(
        &mut self,
        key: Key,
        hosts: &[Host],
        policy: Policy,
        random: u64,
        now_us: u64,
    ) -> Option<usize> {
        let chosen = match self {
            Self::Balancers(balancers) => {
                return balancers.pick(key, hosts, policy, random, now_us);
            }
            Self::Elsewhere(chosen) => *chosen,
        };
        let choices = choices(hosts, policy, random);
        let stands = choices.iter().copied().find(|&index| {
            hosts.get(index).is_some_and(|host| {
                let place = (key.cluster, host.locality, host.endpoint);
                chosen.is_some_and(|held| endpoint(held) == place)
            })
        });
        stands.or_else(|| choices.first().copied())
    }

    /// Index of the locality that takes the request, by these weights; `None` where no locality has
    /// any. `hosts` are the localities' endpoints.
    pub(crate) fn pick_locality(
        &mut self,
        key: &Key,
        weights: &[Effective],
        hosts: impl Fn(usize) -> Vec<Host>,
    ) -> Option<usize> {
        let chosen = match self {
            Self::Balancers(balancers) => {
                if !balancers.localities.contains_key(key) {
                    let schedule = Schedule::new(weights)?;
                    balancers.localities.insert(key.clone(), schedule);
                }
                return balancers.localities.get_mut(key)?.pick();
            }
            Self::Elsewhere(chosen) => *chosen,
        };
        let weighted = || (0..weights.len()).filter(|&it| has_weight(weights, it));
        let stands = weighted().find(|&locality| {
            hosts(locality).iter().any(|host| {
                let place = (key.cluster, host.locality, host.endpoint);
                chosen.is_some_and(|held| endpoint(held) == place)
            })
        });
        stands.or_else(|| weighted().next())
    }

    /// Index into `hosts` of the one that a hash leads to, or, where `factor` bounds what a host may
    /// have, of the one that takes its place. `lay_out` is asked where it is not known yet what there
    /// is to choose from.
    pub(crate) fn pick_by_hash(
        &mut self,
        key: Key,
        hosts: &[Host],
        hash: u64,
        factor: u32,
        lay_out: impl FnOnce() -> Laid,
    ) -> Option<usize> {
        let cluster = key.cluster;
        let place = |host: &Host| (cluster, host.locality, host.endpoint);
        match self {
            Self::Balancers(balancers) => {
                let laid = balancers.laid.entry(key).or_insert_with(lay_out);
                let first = laid.pick(hash)?;
                if factor == 0 {
                    return Some(first);
                }
                let active = &balancers.active;
                let of_cluster = active.iter().filter(|((index, ..), _)| *index == cluster);
                let all = of_cluster.map(|(_, active)| active).sum();
                let of_host = |host: usize| {
                    let found = hosts.get(host).and_then(|host| active.get(&place(host)));
                    found.copied().unwrap_or(0)
                };
                let shares = &laid.shares;
                Some(bounded::pick(shares, first, hash, factor, all, of_host))
            }
            Self::Elsewhere(chosen) => {
                let laid = lay_out();
                let bound = chosen.filter(|_| factor != 0);
                let mut shares = laid.shares.iter().map(|share| share.host);
                let stands = shares.find(|&host| {
                    let host = hosts.get(host).map(place);
                    bound.is_some_and(|held| host == Some(endpoint(held)))
                });
                stands.or_else(|| laid.pick(hash))
            }
        }
    }

    /// A request was forwarded to the endpoint.
    pub(crate) fn hold(&mut self, held: Held) {
        if let Self::Balancers(balancers) = self {
            balancers.hold(held);
        }
    }
}

fn has_weight(weights: &[Effective], locality: usize) -> bool {
    weights
        .get(locality)
        .is_some_and(|weight| weight.number > 0)
}

/// Those of `hosts` that a balancer could choose, whatever it remembers.
fn choices(hosts: &[Host], policy: Policy, random: u64) -> Vec<usize> {
    match policy {
        Policy::RoundRobin => (0..hosts.len()).collect(),
        Policy::LeastRequest(options) => {
            let weights: Vec<u32> = hosts.iter().map(|host| host.weight).collect();
            least_request::choices(&weights, options, random)
        }
        Policy::Hash(_) | Policy::Random | Policy::OriginalDestination | Policy::Undecided => {
            Vec::new()
        }
    }
}

impl Balancers {
    /// Index into `hosts` of the endpoint that takes the request.
    pub(crate) fn pick(
        &mut self,
        key: Key,
        hosts: &[Host],
        policy: Policy,
        random: u64,
        now_us: u64,
    ) -> Option<usize> {
        let weights: Vec<u32> = hosts.iter().map(|host| host.weight).collect();
        if let Some(times) = self.times.get(&key.cluster)
            && hosts.len() > 1
            && (times.queues_equals(key.priority) || !all_equal(&weights))
        {
            let cluster = key.cluster;
            let first = || times.first(key.priority, hosts, policy);
            let queue = match self.queues.entry(key.clone()) {
                Entry::Occupied(queue) => queue.into_mut(),
                Entry::Vacant(place) => place.insert(Edf::new(first())),
            };
            let next = |index: usize, deadline: &f64| {
                let later = hosts.get(index).map_or(0.0, |host| {
                    let place = (cluster, host.locality, host.endpoint);
                    let active = self.active.get(&place).copied().unwrap_or(0);
                    times.next(host, policy, active, now_us)
                });
                deadline + later
            };
            return queue.pick(|one, other| one < other, next);
        }
        match policy {
            Policy::RoundRobin => self.round_robin.entry(key).or_default().pick(&weights),
            Policy::LeastRequest(options) => {
                let active: Vec<u64> = hosts
                    .iter()
                    .map(|host| {
                        let endpoint = (key.cluster, host.locality, host.endpoint);
                        self.active.get(&endpoint).copied().unwrap_or(0)
                    })
                    .collect();
                self.least_request
                    .entry(key)
                    .or_insert_with(|| LeastRequest::new(&weights, options))
                    .pick(&weights, &active, options, random)
            }
            Policy::Hash(_) | Policy::Random | Policy::OriginalDestination | Policy::Undecided => {
                None
            }
        }
    }

    /// The balancers of a snapshot that is loaded at this time.
    pub(crate) fn of(snapshot: &Snapshot, now_us: u64) -> Self {
        let mut balancers = Self::default();
        for (index, cluster) in snapshot.clusters.iter().enumerate() {
            balancers.start(index, cluster, None, now_us);
        }
        balancers
    }

    /// Notes the times of a cluster's endpoints, where it has a slow start. `before` is what was
    /// known of them, with which priorities have changed; `None` of one that comes.
    fn start(
        &mut self,
        index: usize,
        cluster: &Cluster,
        before: Option<(Times, &dyn Fn(usize) -> bool)>,
        now_us: u64,
    ) {
        let Some(options) = Balancing::new(&cluster.config).slow_start else {
            return;
        };
        let (mut times, changed) = match before {
            Some((times, changed)) => (times, changed),
            None => (Times::new(options, now_us), (&|_| true) as _),
        };
        let assignment = cluster.load_assignment.clone().unwrap_or_default();
        let priorities = cluster::hosts_by_priority(&assignment);
        for (priority, hosts) in priorities.iter().enumerate() {
            if changed(priority) {
                let active = |(locality, endpoint)| {
                    let place = (index, locality, endpoint);
                    self.active.get(&place).copied().unwrap_or(0)
                };
                times.change(priority, hosts, active, now_us);
            }
        }
        self.times.insert(index, times);
    }

    /// What is left of the state when one snapshot follows another at this time: see
    /// [`Engine::update`](twinmesh_engine::Engine::update).
    pub(crate) fn after_update(self, before: &Snapshot, after: &Snapshot, now_us: u64) -> Self {
        let mut next = Self::default();
        let places: HashMap<&str, usize> = after
            .clusters
            .iter()
            .enumerate()
            .map(|(index, cluster)| (cluster.name.as_str(), index))
            .collect();
        // By its index before: its index now, and both messages.
        let goes_on = |index: usize| {
            let old = before.clusters.get(index)?;
            let now = *places.get(old.name.as_str())?;
            let new = after.clusters.get(now)?;
            keeps_state(old, new).then_some((now, old, new))
        };
        // A subset that has lost all its endpoints is forgotten.
        let is_there = |pool: &Pool, new: &Cluster| match (pool, &new.load_assignment) {
            (Pool::Labelled(_), Some(assignment)) => Balancing::new(&new.config)
                .subsets
                .is_some_and(|subsets| subsets.has(pool, assignment)),
            _ => true,
        };
        // The key in the snapshot that follows, and whether the priority has changed.
        let next_key = |key: Key| {
            let (now, old, new) = goes_on(key.cluster)?;
            let changed = priority_changed(old, new, key.priority);
            is_there(&key.pool, new).then_some((
                Key {
                    cluster: now,
                    ..key
                },
                changed,
            ))
        };
        for (key, mut state) in self.round_robin {
            if let Some((key, changed)) = next_key(key) {
                if changed {
                    state.endpoints_changed();
                }
                next.round_robin.insert(key, state);
            }
        }
        for (key, state) in self.least_request {
            if let Some((key, false)) = next_key(key) {
                next.least_request.insert(key, state);
            }
        }
        for (key, state) in self.queues {
            if let Some((key, false)) = next_key(key) {
                next.queues.insert(key, state);
            }
        }
        for (key, state) in self.localities {
            if let Some((key, false)) = next_key(key) {
                next.localities.insert(key, state);
            }
        }
        for ((index, locality, endpoint), active) in self.active {
            if active == 0 {
                continue;
            }
            let Some((now, old, new)) = goes_on(index) else {
                continue;
            };
            let known = places_of(old)
                .find(|(at, position, _)| (*at, *position) == (locality, endpoint))
                .map(|(_, _, known)| known);
            let mut same =
                places_of(new).filter(|(_, _, candidate)| Some(candidate) == known.as_ref());
            if let Some((locality, endpoint, _)) = same.next() {
                *next.active.entry((now, locality, endpoint)).or_default() += active;
            }
        }
        let mut times: BTreeMap<usize, (Times, usize)> = BTreeMap::new();
        for (index, known) in self.times {
            let Some((now, old, new)) = goes_on(index) else {
                continue;
            };
            let (was, is): (Vec<_>, Vec<_>) = (places_of(old).collect(), places_of(new).collect());
            let moved = |(locality, endpoint)| {
                let mut was = was.iter();
                let (.., known) = was.find(|it| (it.0, it.1) == (locality, endpoint))?;
                let found = is.iter().find(|(.., candidate)| candidate == known)?;
                Some((found.0, found.1))
            };
            times.insert(now, (known.moved(moved), index));
        }
        for (index, cluster) in after.clusters.iter().enumerate() {
            let known = times.remove(&index);
            let known = known.and_then(|(times, old)| Some((times, before.clusters.get(old)?)));
            match known {
                Some((times, old)) => {
                    let changed = |priority| priority_changed(old, cluster, priority);
                    next.start(index, cluster, Some((times, &changed)), now_us);
                }
                None => next.start(index, cluster, None, now_us),
            }
        }
        next
    }

    /// A request was forwarded to the endpoint.
    pub(crate) fn hold(&mut self, held: Held) {
        *self.active.entry(endpoint(held)).or_default() += 1;
    }

    /// It has ended.
    pub(crate) fn release(&mut self, held: Held) {
        if let Some(active) = self.active.get_mut(&endpoint(held)) {
            *active = active.saturating_sub(1);
        }
    }
}

/// The endpoints of a cluster that have an identity.
fn places_of(
    cluster: &Cluster,
) -> impl Iterator<Item = (usize, usize, twinmesh_engine::update::Identity)> {
    places(cluster.load_assignment.as_ref()).filter_map(|(locality, endpoint, group, message)| {
        Some((locality, endpoint, identity(group, message)?))
    })
}

/// Whether a priority has other endpoints, or some of another health, weight or metadata, or other
/// weights of localities, or whether the policy of the load assignment weighs its health otherwise.
fn priority_changed(old: &Cluster, new: &Cluster, priority: usize) -> bool {
    let described = |cluster: &Cluster| {
        let assignment = cluster.load_assignment.clone().unwrap_or_default();
        let priorities = cluster::hosts_by_priority(&assignment);
        let hosts = priorities.into_iter().nth(priority).unwrap_or_default();
        let hosts = hosts.into_iter().map(|host| {
            let group = assignment.endpoints.get(host.locality);
            let endpoint = group.and_then(|group| group.lb_endpoints.get(host.endpoint));
            let known = group.and_then(|group| identity(group, endpoint?));
            let metadata = endpoint.and_then(|endpoint| endpoint.metadata.clone());
            (
                known,
                host.weight,
                host.health,
                metadata.unwrap_or_default(),
            )
        });
        let groups = assignment.endpoints.iter();
        let mut weights: Vec<_> = groups
            .filter(|group| usize::try_from(group.priority) == Ok(priority))
            .filter(|group| group.locality.is_some())
            .filter_map(|group| Some((locality::name(group), group.load_balancing_weight?.value)))
            .collect();
        weights.sort();
        let policy = assignment.policy.as_ref();
        let factor = policy.and_then(|policy| policy.overprovisioning_factor.as_ref());
        (
            hosts.collect::<Vec<_>>(),
            weights,
            factor.map_or(140, |factor| factor.value),
            policy.is_some_and(|policy| policy.weighted_priority_health),
        )
    };
    described(old) != described(new)
}

fn endpoint(held: Held) -> (usize, usize, usize) {
    (held.cluster, held.locality, held.endpoint)
}
