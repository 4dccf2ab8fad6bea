//! Compiles clusters: endpoint sets by priority and health, their loads, and their balancers.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use twinmesh_model::layout::{cluster, header, level, low, pair, set, unsupported};
use twinmesh_xds::{Balancer, Cluster, Unsupported};

use twinmesh_engine::update::identity;

use crate::compiler::Compiler;
use crate::kept::{Set, Source};
use crate::{CapacityError, capacity, hashing, plain, schedule};

/// An endpoint as its priority sees it.
#[derive(Debug, Clone, Copy)]
struct Endpoint {
    number: u64,
    weight: u64,
    health: Health,
}

/// What `health_status` means to a balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// May be used.
    Healthy,
    /// May be used where too few are healthy.
    Degraded,
    /// May not be used but in a panic.
    Unhealthy,
    /// Not healthy, and left out of what the healthy ones are a share of.
    Draining,
}

/// What a `health_status` means.
pub fn health(status: i32) -> Health {
    match HealthStatus::try_from(status) {
        Ok(HealthStatus::Unknown | HealthStatus::Healthy) => Health::Healthy,
        Ok(HealthStatus::Degraded) => Health::Degraded,
        Ok(HealthStatus::Draining) => Health::Draining,
        _ => Health::Unhealthy,
    }
}

/// Loads of the priorities, in percent, as `LoadBalancerBase` computes them.
#[derive(Debug, Default)]
struct Loads {
    healthy: Vec<u64>,
    degraded: Vec<u64>,
    panic: Vec<bool>,
}

impl Loads {
    fn new(priorities: &[Vec<Endpoint>], overprovisioning: u64, panic_threshold: f64) -> Self {
        let count = |endpoints: &[Endpoint], health| {
            endpoints
                .iter()
                .filter(|endpoint| endpoint.health == health)
                .count() as u64
        };
        let counted =
            |endpoints: &[Endpoint]| endpoints.len() as u64 - count(endpoints, Health::Draining);
        let available = |health| -> Vec<u64> {
            priorities
                .iter()
                .map(|endpoints| match counted(endpoints) {
                    0 => 0,
                    all => (overprovisioning * count(endpoints, health) / all).min(100),
                })
                .collect()
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
            let none = vec![0; priorities.len()];
            return Self {
                healthy: none.clone(),
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

/// The field that says what does not fit: the choices of least request, or the weights.
fn over_in(cluster: &Cluster) -> &'static str {
    match cluster.balancer {
        Balancer::LeastRequest { .. } if cluster.config.load_balancing_policy.is_some() => {
            "load_balancing_policy"
        }
        Balancer::LeastRequest { .. } => "least_request_lb_config.choice_count",
        Balancer::RingHash(_) | Balancer::Maglev(_)
            if cluster.config.load_balancing_policy.is_some() =>
        {
            "load_balancing_policy"
        }
        Balancer::RingHash(_) => "ring_hash_lb_config",
        Balancer::Maglev(_) => "maglev_lb_config",
        _ if cluster.config.load_assignment.is_some() => "load_assignment.endpoints",
        _ => "endpoints",
    }
}

/// Whether only userspace chooses a cluster's endpoints.
fn in_userspace(balancer: Balancer) -> bool {
    balancer.hashes() || balancer == Balancer::Random
}

/// Four positions a word, the first in the lowest bits.
fn packed(positions: &[u16]) -> Vec<u64> {
    let word = |chunk: &[u16]| {
        let highest_first = chunk.iter().rev();
        highest_first.fold(0, |word, &position| word << 16 | u64::from(position))
    };
    positions.chunks(4).map(word).collect()
}

impl Compiler<'_> {
    /// Writes the records of all clusters.
    ///
    /// # Errors
    /// Something does not fit.
    pub fn write_clusters(&mut self) -> Result<(), CapacityError> {
        let snapshot = self.snapshot;
        capacity::check(
            "clusters",
            snapshot.clusters.len() as u64,
            capacity::CLUSTERS,
        )?;
        let mut all = Vec::with_capacity(snapshot.clusters.len());
        for (index, cluster) in snapshot.clusters.iter().enumerate() {
            // At connect(2) the kernel would have to choose the endpoint.
            if plain::cluster(&cluster.config) && !in_userspace(cluster.balancer) {
                self.plain_clusters.insert(cluster.name.clone());
            }
            all.push(self.number_endpoints(index, cluster)?);
        }
        let count = self.endpoints.iter().flatten().count();
        capacity::check("endpoints", count as u64, capacity::ENDPOINTS)?;
        // The active counts come first in the state.
        let counts = match &self.numbers {
            Some(numbers) => numbers.capacity() as usize,
            None => self.endpoints.len(),
        };
        self.state = vec![0; counts];
        self.arena.set(header::ACTIVE, 0);
        for (index, (cluster, priorities)) in snapshot.clusters.iter().zip(all).enumerate() {
            let offset = self.cluster(index, cluster, &priorities);
            self.set_cluster(&cluster.name, offset);
        }
        Ok(())
    }

    /// The endpoints of a cluster by priority, each with its number.
    ///
    /// # Errors
    /// The numbers that endpoints keep are used up.
    fn number_endpoints(
        &mut self,
        index: usize,
        cluster: &Cluster,
    ) -> Result<Vec<Vec<Endpoint>>, CapacityError> {
        let mut priorities: Vec<Vec<Endpoint>> = vec![Vec::new()];
        let Some(assignment) = &cluster.load_assignment else {
            return Ok(priorities);
        };
        for (locality, endpoints) in assignment.endpoints.iter().enumerate() {
            let priority = endpoints.priority as usize;
            if priorities.len() <= priority {
                priorities.resize(priority + 1, Vec::new());
            }
            for (position, endpoint) in endpoints.lb_endpoints.iter().enumerate() {
                let number = match &mut self.numbers {
                    None => self.endpoints.len() as u64,
                    Some(numbers) => {
                        let known = identity(endpoints, endpoint);
                        let number = numbers.of(cluster, known);
                        number.ok_or_else(|| capacity::numbers(numbers.capacity()))?
                    }
                };
                let place = number as usize;
                if self.endpoints.len() <= place {
                    self.endpoints.resize(place + 1, None);
                }
                if let Some(slot) = self.endpoints.get_mut(place) {
                    *slot = Some((index, locality, position));
                }
                if let Some(priority) = priorities.get_mut(priority) {
                    priority.push(Endpoint {
                        number,
                        weight: endpoint
                            .load_balancing_weight
                            .as_ref()
                            .map_or(1, |weight| u64::from(weight.value)),
                        health: health(endpoint.health_status),
                    });
                }
            }
        }
        Ok(priorities)
    }

    fn cluster(&mut self, index: usize, cluster: &Cluster, priorities: &[Vec<Endpoint>]) -> u64 {
        if let Some(unsupported) = &cluster.unsupported {
            return self.unsupported_cluster(index, unsupported);
        }
        if cluster.balancer == Balancer::OriginalDestination {
            return self
                .arena
                .record([0, cluster::ORIGINAL_DESTINATION, index as u64, 0]);
        }
        let (state, sets) = (self.state.len(), self.sets.len());
        match self.balanced_cluster(index, cluster, priorities) {
            Ok(offset) => offset,
            Err(over) => {
                self.state.truncate(state);
                self.sets.truncate(sets);
                let path = over_in(cluster);
                let unsupported = self.cluster_undecided(index, cluster, path, over.of_a_part());
                self.unsupported_cluster(index, &unsupported)
            }
        }
    }

    fn unsupported_cluster(&mut self, index: usize, unsupported: &Unsupported) -> u64 {
        let reason = self.reason(unsupported);
        self.arena
            .record([0, pair(cluster::UNSUPPORTED, reason), index as u64, 0])
    }

    /// A cluster with endpoints to choose from.
    ///
    /// # Errors
    /// What its balancer needs does not fit.
    fn balanced_cluster(
        &mut self,
        index: usize,
        cluster: &Cluster,
        priorities: &[Vec<Endpoint>],
    ) -> Result<u64, CapacityError> {
        let common = cluster.config.common_lb_config.as_ref();
        let threshold = common
            .and_then(|common| common.healthy_panic_threshold.as_ref())
            .map_or(50.0, |threshold| threshold.value);
        // Envoy cuts off what is behind the point, after a division that turns 29 into 28.
        let threshold = (100.0 * (threshold.clamp(0.0, 100.0) / 100.0)).trunc();
        let fail_on_panic = common.is_some_and(|common| {
            use envoy_types::pb::envoy::config::cluster::v3::cluster::common_lb_config::LocalityConfigSpecifier;
            matches!(&common.locality_config_specifier,
                Some(LocalityConfigSpecifier::ZoneAwareLbConfig(config)) if config.fail_traffic_on_panic)
        });
        let overprovisioning = cluster
            .load_assignment
            .as_ref()
            .and_then(|assignment| assignment.policy.as_ref())
            .and_then(|policy| policy.overprovisioning_factor.as_ref())
            .map_or(140, |factor| u64::from(factor.value));
        let loads = Loads::new(priorities, overprovisioning, threshold);
        // These look at the healthy endpoints alone, whichever load chose the priority.
        let by_hash = cluster.balancer.hashes();
        let mut levels = Vec::new();
        let mut sum = 0;
        // In a panic the healthy and the degraded load go to one set.
        let mut of_all = HashMap::new();
        for (degraded, shares) in [(false, &loads.healthy), (true, &loads.degraded)] {
            for (priority, (&share, endpoints)) in shares.iter().zip(priorities).enumerate() {
                if share == 0 {
                    continue;
                }
                sum += share;
                let panic = loads.panic.get(priority).copied().unwrap_or(false);
                let wanted = if degraded && !by_hash {
                    Health::Degraded
                } else {
                    Health::Healthy
                };
                let chosen: Vec<Endpoint> = endpoints
                    .iter()
                    .filter(|endpoint| panic || endpoint.health == wanted)
                    .copied()
                    .collect();
                let source = match (panic, degraded) {
                    (true, _) => Source::All,
                    (false, true) if !by_hash => Source::Degraded,
                    (false, _) => Source::Healthy,
                };
                let known = of_all.get(&priority).copied();
                let known = known.filter(|_| panic || by_hash);
                let set = match known {
                    _ if (panic && fail_on_panic && !by_hash) || chosen.is_empty() => 0,
                    Some(set) => set,
                    None => self.set((index, priority, source), cluster, &chosen)?,
                };
                if panic || by_hash {
                    of_all.insert(priority, set);
                }
                let flags = if degraded { level::DEGRADED } else { 0 }
                    | if panic { level::PANIC } else { 0 };
                levels.push([pair(sum, set), priority as u64 | flags]);
            }
        }
        if sum < 100 {
            // No endpoint may be used anywhere: what is chosen is priority 0, and nothing in it.
            let panic = loads.panic.first().copied().unwrap_or(false);
            levels.push([pair(100, 0), if panic { level::PANIC } else { 0 }]);
        }
        let offset = self.arena.words(levels.as_flattened());
        let (kind, more) = match self.in_userspace(index, cluster) {
            Some(more) => (pair(cluster::UNSUPPORTED, unsupported::USERSPACE), more),
            None => (cluster::BALANCED, 0),
        };
        Ok(self.arena.record([
            pair(offset, levels.len() as u64),
            kind,
            pair(index as u64, more),
            if self.plain_clusters.contains(&cluster.name) {
                cluster::PLAIN
            } else {
                0
            },
        ]))
    }

    /// How userspace alone chooses a cluster's endpoints, where it does.
    fn in_userspace(&mut self, index: usize, cluster: &Cluster) -> Option<u64> {
        let (kind, name) = match cluster.balancer {
            Balancer::RingHash(_) => (cluster::BY_HASH, "RING_HASH"),
            Balancer::Maglev(_) => (cluster::BY_HASH, "MAGLEV"),
            Balancer::Random => (cluster::AT_RANDOM, "RANDOM"),
            _ => return None,
        };
        let path = if cluster.config.load_balancing_policy.is_some() {
            "load_balancing_policy"
        } else {
            "lb_policy"
        };
        let reason = format!("the balancer {name} chooses in userspace only");
        self.cluster_in_userspace(index, cluster, path, &reason);
        Some(kind)
    }

    /// The record of a set that a hash balancer chooses from.
    ///
    /// # Errors
    /// What it lays out does not fit.
    fn hashed(
        &mut self,
        cluster: &Cluster,
        endpoints: &[Endpoint],
        list: u64,
    ) -> Result<Option<[u64; 4]>, CapacityError> {
        let count = endpoints.len() as u64;
        let hashing = match cluster.balancer {
            Balancer::RingHash(ring) => ring.hashing,
            Balancer::Maglev(maglev) => maglev.hashing,
            Balancer::Random => return Ok(Some([pair(set::ANY, count), list, 0, 0])),
            _ => return Ok(None),
        };
        capacity::check("endpoints for one hash balancer", count, capacity::HASHED)?;
        let places: Vec<(usize, usize)> = endpoints
            .iter()
            .filter_map(|endpoint| *self.endpoints.get(endpoint.number as usize)?)
            .map(|(_, locality, position)| (locality, position))
            .collect();
        let shares = hashing::shares(cluster, &places, hashing);
        if shares.is_empty() {
            return Ok(Some([0; 4]));
        }
        let (kind, length, mut words, positions) = match cluster.balancer {
            Balancer::RingHash(ring) => {
                let points = hashing::ring(&shares, ring)?;
                let (hashes, positions): (Vec<u64>, Vec<u16>) = points.into_iter().unzip();
                (set::RING, hashes.len(), hashes, positions)
            }
            Balancer::Maglev(maglev) => {
                let table = hashing::table(&shares, maglev.table_size)?;
                (set::TABLE, table.len(), Vec::new(), table)
            }
            _ => return Ok(None),
        };
        if length == 0 {
            return Ok(Some([0; 4]));
        }
        words.extend(packed(&positions));
        let offset = self.arena.words(&words);
        Ok(Some([
            pair(kind, count),
            pair(list, offset),
            pair(0, length as u64),
            0,
        ]))
    }

    /// A set of endpoints and its balancer; the offset of its record.
    fn set(
        &mut self,
        (index, priority, source): (usize, usize, Source),
        cluster: &Cluster,
        endpoints: &[Endpoint],
    ) -> Result<u64, CapacityError> {
        let words: Vec<u64> = endpoints
            .iter()
            .map(|endpoint| pair(endpoint.number, endpoint.weight))
            .collect();
        let list = self.arena.words(&words);
        let count = endpoints.len() as u64;
        if let Some(record) = self.hashed(cluster, endpoints, list)? {
            // Localities without weights leave nothing to choose from.
            return Ok(match record {
                [0, ..] => 0,
                record => self.arena.record(record),
            });
        }
        let state = self.state.len() as u64;
        let weights: Vec<u64> = endpoints.iter().map(|endpoint| endpoint.weight).collect();
        let equal = weights.windows(2).all(|pair| pair.first() == pair.last());
        let record = match cluster.balancer {
            Balancer::LeastRequest { choice_count, .. } if equal => {
                capacity::check(
                    "choices (choice_count)",
                    u64::from(choice_count),
                    twinmesh_model::least_request::CHOICES,
                )?;
                self.state.push(0);
                let choices = if count == 1 {
                    1
                } else {
                    u64::from(choice_count)
                };
                [pair(set::SAMPLE, count), list, pair(state, choices), 0]
            }
            Balancer::LeastRequest {
                active_request_bias,
                ..
            } => {
                let (common, costs) = schedule::costs(&weights, active_request_bias);
                self.state.extend(schedule::heap(&weights, common, &costs));
                let table = if active_request_bias == 1.0 {
                    0
                } else {
                    self.arena.words(&costs)
                };
                [
                    pair(set::HEAP, count),
                    list,
                    pair(state, 0),
                    pair(common, table),
                ]
            }
            _ if equal => {
                self.state.push(0);
                [pair(set::ROUND_ROBIN, count), list, pair(state, 0), 0]
            }
            _ => {
                let picks = schedule::picks(&weights)?;
                self.state.push(0);
                let schedule = self.arena.words(&packed(&picks));
                [
                    pair(set::SCHEDULE, count),
                    pair(list, schedule),
                    pair(state, picks.len() as u64),
                    0,
                ]
            }
        };
        self.sets.push(Set {
            cluster: index,
            priority,
            source,
            kind: low(record[0]),
            state: state as usize,
            words: self.state.len() - state as usize,
        });
        Ok(self.arena.record(record))
    }
}
