//! `slow_start_config`: the weights of endpoints that have come grow with the time since, in doubles,
//! as Envoy's are, so the model leaves the queue to userspace.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};

use twinmesh_compile::{
    Compiled, SlowMember, SlowName, SlowSet, Source, is_healthy, slow_name, unchanged_priorities,
};
use twinmesh_engine::Held;
use twinmesh_engine::update::{keeps_state, places};
use twinmesh_model::layout::{header, high, low, set, work};
use twinmesh_model::{Machine, least_request, round_robin};
use twinmesh_xds::{Balancer, Cluster, SlowStart};

use crate::Memory;

const MILLISECOND: u64 = 1000;

/// An endpoint in a queue.
#[derive(Debug, Clone)]
struct Due {
    deadline: f64,
    insertion: u64,
    position: usize,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_deadline = self.deadline.total_cmp(&other.deadline);
        by_deadline.then(self.insertion.cmp(&other.insertion))
    }
}

/// The endpoints of a set by deadline.
#[derive(Debug, Clone, Default)]
struct Queue {
    heap: BinaryHeap<Reverse<Due>>,
    insertions: u64,
}

impl Queue {
    fn add(&mut self, deadline: f64, position: usize) {
        self.heap.push(Reverse(Due {
            deadline,
            insertion: self.insertions,
            position,
        }));
        self.insertions += 1;
    }
}

/// A priority at its last change.
#[derive(Debug, Clone)]
struct Change {
    now_us: u64,
    in_window: bool,
    active: HashMap<SlowName, u64>,
}

/// What is remembered of a cluster.
#[derive(Debug, Clone)]
struct Known {
    rule: SlowStart,
    balancer: Balancer,
    /// When the cluster came, or the last of its endpoints.
    latest_us: u64,
    came_us: HashMap<SlowName, u64>,
    changes: HashMap<u32, Change>,
    queues: HashMap<(u32, Source, Option<usize>), Queue>,
}

/// What all clusters with a slow start remember, and their sets in the tables.
#[derive(Debug, Clone, Default)]
pub(crate) struct SlowStarts {
    sets: Vec<SlowSet>,
    clusters: HashMap<String, Known>,
}

impl SlowStarts {
    /// Of a snapshot that is loaded at the time 0.
    pub(crate) fn new(compiled: &Compiled) -> Self {
        Self::default().follow(compiled, compiled, |_| 0, 0)
    }

    /// Of the snapshot that follows; `active` gives its state words. What is not known is new.
    pub(crate) fn follow(
        mut self,
        before: &Compiled,
        after: &Compiled,
        active: impl Fn(u64) -> u64,
        now_us: u64,
    ) -> Self {
        let mut clusters = HashMap::new();
        for (index, cluster) in after.snapshot.clusters.iter().enumerate() {
            let Some(rule) = cluster.slow_start else {
                continue;
            };
            let old = before.snapshot.cluster(&cluster.name);
            let old = old.filter(|old| keeps_state(old, cluster));
            let known = self.clusters.remove(&cluster.name).zip(old);
            let (mut known, unchanged) = match known {
                Some((known, old)) => (known, unchanged_priorities(old, cluster)),
                None => (Known::new(rule, cluster, now_us), Default::default()),
            };
            let of = |locality, endpoint| {
                let held = Held {
                    cluster: index,
                    locality,
                    endpoint,
                    generation: 0,
                };
                after.active_word(held).map_or(0, &active)
            };
            known.follow(
                cluster,
                |priority| !unchanged.contains(&priority),
                of,
                now_us,
            );
            clusters.insert(cluster.name.clone(), known);
        }
        Self {
            sets: after.slow_sets.clone(),
            clusters,
        }
    }

    /// The position in a set of the endpoint that the queue gives; `None` where there is no queue.
    fn pick(&mut self, number: u64, now_us: u64, active: impl Fn(u64) -> u64) -> Option<u64> {
        let set = self.sets.get(number as usize)?;
        let known = self.clusters.get_mut(&set.cluster)?;
        let change = known.changes.get(&set.priority)?;
        let weights = || set.members.windows(2);
        let differ = weights().any(|pair| pair.first().map(weight) != pair.last().map(weight));
        if set.members.len() < 2 || !(differ || change.in_window) {
            return None;
        }
        let key = (set.priority, set.source, set.locality);
        let mut queue = known.queues.remove(&key).unwrap_or_else(|| {
            let mut queue = Queue::default();
            for (position, member) in set.members.iter().enumerate() {
                let active = change.active.get(&member.name).copied();
                let own =
                    known.weight(member, change.now_us, change.in_window, active.unwrap_or(0));
                queue.add(own.recip(), position);
            }
            queue
        });
        let picked = queue.heap.pop().map(|Reverse(due)| due);
        let position = picked.and_then(|due| {
            let member = set.members.get(due.position)?;
            let in_window = known.in_window(now_us);
            let own = known.weight(member, now_us, in_window, active(member.number));
            queue.add(due.deadline + own.recip(), due.position);
            Some(due.position as u64)
        });
        known.queues.insert(key, queue);
        position
    }
}

fn weight(member: &SlowMember) -> u64 {
    member.weight
}

impl Known {
    fn new(rule: SlowStart, cluster: &Cluster, now_us: u64) -> Self {
        Self {
            rule,
            balancer: cluster.balancer,
            latest_us: now_us,
            came_us: HashMap::new(),
            changes: HashMap::new(),
            queues: HashMap::new(),
        }
    }

    /// Takes the cluster as it is from this time on.
    fn follow(
        &mut self,
        cluster: &Cluster,
        is_changed: impl Fn(usize) -> bool,
        active: impl Fn(usize, usize) -> u64,
        now_us: u64,
    ) {
        let mut came_us = HashMap::new();
        let mut priorities: Vec<u32> = Vec::new();
        for (locality, position, group, endpoint) in places(cluster.load_assignment.as_ref()) {
            priorities.push(group.priority);
            let name = slow_name(group, endpoint, (locality, position));
            if name.is_ok()
                && let Some(came) = self.came_us.get(&name)
            {
                came_us.insert(name, *came);
            }
        }
        self.came_us = came_us;
        priorities.sort_unstable();
        priorities.dedup();
        for priority in priorities {
            if !is_changed(priority as usize) {
                continue;
            }
            let mut then = HashMap::new();
            for (locality, position, group, endpoint) in places(cluster.load_assignment.as_ref()) {
                if group.priority != priority {
                    continue;
                }
                let name = slow_name(group, endpoint, (locality, position));
                then.insert(name.clone(), active(locality, position));
                if is_healthy(endpoint.health_status) {
                    let came = *self.came_us.entry(name).or_insert(now_us);
                    let is_young = self.since(came, now_us) <= self.rule.window_ms;
                    if came > self.latest_us && is_young {
                        self.latest_us = came;
                    }
                }
            }
            let change = Change {
                now_us,
                in_window: self.in_window(now_us),
                active: then,
            };
            self.changes.insert(priority, change);
            self.queues.retain(|(of, ..), _| *of != priority);
        }
    }

    fn since(&self, time_us: u64, now_us: u64) -> u64 {
        now_us.saturating_sub(time_us) / MILLISECOND
    }

    fn in_window(&self, now_us: u64) -> bool {
        self.since(self.latest_us, now_us) <= self.rule.window_ms
    }

    fn weight(&self, member: &SlowMember, now_us: u64, in_window: bool, active: u64) -> f64 {
        let full = member.weight as f64;
        let own = match self.balancer {
            Balancer::LeastRequest {
                active_request_bias: bias,
                ..
            } => {
                let requests = active.saturating_add(1) as f64;
                if bias == 0.0 {
                    full
                } else if bias > 0.0 && bias != 1.0 {
                    full / requests.powf(bias)
                } else {
                    // Also where it is no bias at all.
                    full / requests
                }
            }
            _ => full,
        };
        if !in_window || !member.is_healthy {
            return own;
        }
        let Some(came) = self.came_us.get(&member.name) else {
            return own;
        };
        let since_ms = self.since(*came, now_us);
        if since_ms >= self.rule.window_ms {
            return own;
        }
        let share = since_ms.max(1) as f64 / self.rule.window_ms as f64;
        let share = match self.rule.aggression {
            1.0 => share,
            _ if share == 1.0 => share,
            aggression => share.powf(aggression.recip()),
        };
        own * share.max(self.rule.least)
    }
}

/// [`Machine::slow_start`].
pub(crate) fn pick(memory: &mut Memory, record: u64) -> u64 {
    let word = memory.policy64(record + set::COSTS);
    let now_us = memory.word(work::NOW);
    let mut starts = std::mem::take(&mut memory.slow_starts);
    let base = low(memory.policy64(header::ACTIVE));
    let found = starts.pick(low(word), now_us, |number| memory.state(base + number));
    memory.slow_starts = starts;
    match (found, high(word)) {
        (Some(position), _) => position,
        (None, set::BY_SAMPLE) => memory.sample(record),
        (None, set::BY_SCAN) => least_request::scan(memory, record),
        (None, _) => round_robin::next(memory, record),
    }
}
