//! Compiles what is balanced by itself: a cluster, or a subset of one. Its levels have a set each,
//! or one for each locality where those are chosen by weight.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use twinmesh_model::layout::{cluster, level, pair, set, unsupported};
use twinmesh_xds::Cluster;

use crate::CapacityError;
use crate::cluster::{Endpoint, Health};
use crate::compiler::Compiler;
use crate::criteria::{Criteria, labels};
use crate::kept::{Key, Set, Source};
use crate::loads::{Loads, Options};
use crate::locality::{Effective, Locality, indices, localities, picks};
use crate::set::packed;
use crate::subset::{Attempt, Index, Pool};
use crate::zone::{Routing, WHOLE, routing};

/// A cluster with subsets.
#[derive(Debug)]
pub struct Subsetted {
    /// Its index in the snapshot.
    pub index: usize,
    /// Its endpoints by priority.
    pub priorities: Vec<Vec<Endpoint>>,
    /// Its subsets.
    pub subsets: Index,
}

/// The levels of a pool.
#[derive(Debug, Clone, Copy)]
pub struct Levels {
    /// Low: their offset; high: how many. As in [`cluster::LEVELS`].
    pub word: u64,
    /// Whether some level chooses among localities by weight.
    pub by_locality: bool,
    /// Whether some level prefers Envoy's own locality to others.
    pub by_zone: bool,
}

/// The endpoints of a priority that sets are made of.
struct Part<'p> {
    key: Key,
    cluster: &'p Cluster,
    /// Of the pool, whatever their health.
    own: &'p [Endpoint],
    localities: Option<&'p [Locality]>,
    options: Options,
}

/// What a level's set chooses among before an endpoint is chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Among {
    Endpoints,
    Localities,
    Zones,
}

impl Compiler<'_> {
    /// Writes the levels of a pool of a cluster that has these endpoints in all.
    ///
    /// # Errors
    /// What its balancer needs does not fit.
    pub fn levels(
        &mut self,
        (index, cluster): (usize, &Cluster),
        pool: &Pool,
        all: &[Vec<Endpoint>],
        subsets: Option<&Index>,
    ) -> Result<Levels, CapacityError> {
        let own = members(pool, all, subsets);
        let options = Options::new(cluster);
        let loads = Loads::new(&own, options);
        // These look at the healthy endpoints alone, whichever load chose the priority.
        let by_hash = cluster.balancer.hashes();
        let mut levels = Vec::new();
        let mut sum = 0;
        let (mut by_locality, mut by_zone) = (false, false);
        // In a panic the healthy and the degraded load go to one set.
        let mut of_all = HashMap::new();
        for (degraded, shares) in [(false, &loads.healthy), (true, &loads.degraded)] {
            for (priority, (&share, endpoints)) in shares.iter().zip(own.iter()).enumerate() {
                if share == 0 {
                    continue;
                }
                sum += share;
                let panic = loads.panic.get(priority).copied().unwrap_or(false);
                let source = match (panic, degraded) {
                    (true, _) => Source::All,
                    (false, true) if !by_hash => Source::Degraded,
                    (false, _) => Source::Healthy,
                };
                let chosen: Vec<Endpoint> = endpoints
                    .iter()
                    .filter(|endpoint| source.has(endpoint.health))
                    .copied()
                    .collect();
                let known = of_all.get(&priority).copied();
                let known = known.filter(|_| panic || by_hash);
                let set = match known {
                    _ if (panic && options.fail_on_panic && !by_hash) || chosen.is_empty() => 0,
                    Some(set) => set,
                    None => {
                        let every = all.get(priority).map_or(&[][..], Vec::as_slice);
                        let localities = self.weighed(cluster, priority, endpoints, every, subsets);
                        let part = Part {
                            key: Key {
                                cluster: index,
                                pool: pool.clone(),
                                priority,
                                source,
                                locality: None,
                            },
                            cluster,
                            own: endpoints,
                            localities: localities.as_deref(),
                            options,
                        };
                        let (set, among) = self.sets_of(part, &chosen)?;
                        by_locality |= among == Among::Localities;
                        by_zone |= among == Among::Zones;
                        set
                    }
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
        Ok(Levels {
            word: pair(offset, levels.len() as u64),
            by_locality,
            by_zone,
        })
    }

    /// The localities of a priority with the weights that they have for a pool with these endpoints
    /// of it; `None` where localities do not count.
    fn weighed(
        &self,
        cluster: &Cluster,
        priority: usize,
        own: &[Endpoint],
        all: &[Endpoint],
        subsets: Option<&Index>,
    ) -> Option<Vec<Locality>> {
        let assignment = cluster.load_assignment.as_ref();
        let assignment = assignment.filter(|_| cluster.locality_weighted)?;
        let node = self.snapshot.node_locality.as_ref();
        let mut localities = localities(assignment, priority, node);
        let Some(subsets) = subsets else {
            return Some(localities);
        };
        let indices = indices(assignment, &localities, node);
        let count = |list: &[Endpoint], index| {
            let is_there = |it: &&Endpoint| indices.get(it.place.0) == Some(&Some(index));
            list.iter().filter(is_there).count()
        };
        for (index, locality) in localities.iter_mut().enumerate() {
            let (own, all) = (count(own, index), count(all, index));
            locality.weight = subsets.weight(locality.weight, own, all)?;
        }
        Some(localities)
    }

    /// The set that a level's endpoints are picked from, and what it chooses among.
    ///
    /// # Errors
    /// What it needs does not fit.
    fn sets_of(
        &mut self,
        part: Part<'_>,
        chosen: &[Endpoint],
    ) -> Result<(u64, Among), CapacityError> {
        let by_hash = part.cluster.balancer.hashes();
        let in_panic = part.key.source == Source::All;
        let localities = part.localities.filter(|_| !by_hash && !in_panic);
        let weighted = localities.map_or_else(Vec::new, |localities| {
            self.effective(&part, localities, chosen)
        });
        match weighted.as_slice() {
            [] if by_hash || in_panic || part.key.priority != 0 => {
                let set = self.set(part.key, part.cluster, chosen, part.localities)?;
                Ok((set, Among::Endpoints))
            }
            [] => self.zones(part, chosen),
            [(index, _, endpoints)] => {
                let key = Key {
                    locality: Some(*index),
                    ..part.key
                };
                let set = self.set(key, part.cluster, endpoints, None)?;
                Ok((set, Among::Endpoints))
            }
            several => {
                let mut sets = Vec::with_capacity(several.len());
                for (index, _, endpoints) in several {
                    let key = Key {
                        locality: Some(*index),
                        ..part.key.clone()
                    };
                    sets.push(self.set(key, part.cluster, endpoints, None)?);
                }
                let weights: Vec<Effective> = several.iter().map(|(_, it, _)| *it).collect();
                let picks = picks(&weights)?;
                let list = self.arena.words(&sets);
                let schedule = self.arena.words(&packed(&picks));
                let state = self.state.len();
                self.state.push(0);
                self.sets.push(Set {
                    key: part.key,
                    kind: set::LOCALITIES,
                    state,
                    words: 1,
                });
                let record = self.arena.record([
                    pair(set::LOCALITIES, sets.len() as u64),
                    pair(list, schedule),
                    pair(state as u64, picks.len() as u64),
                    0,
                ]);
                Ok((record, Among::Localities))
            }
        }
    }

    /// The set of a level of priority 0 where no localities are weighed: Envoy's own locality goes
    /// before others, where Envoy is in a cluster.
    ///
    /// # Errors
    /// What it needs does not fit.
    fn zones(
        &mut self,
        part: Part<'_>,
        chosen: &[Endpoint],
    ) -> Result<(u64, Among), CapacityError> {
        let node = self.snapshot.node_locality.as_ref();
        let assignment = part.cluster.load_assignment.as_ref();
        let assignment = assignment.filter(|_| self.snapshot.local_cluster.is_some());
        let known = assignment.map_or_else(Vec::new, |it| localities(it, 0, node));
        let indices = assignment.map_or_else(Vec::new, |it| indices(it, &known, node));
        let place = |it: &Endpoint| indices.get(it.place.0).copied().flatten();
        let there: Vec<(usize, Endpoint)> = part
            .own
            .iter()
            .filter_map(|endpoint| Some((place(endpoint)?, *endpoint)))
            .collect();
        let zones = match routing(self.snapshot, part.cluster, &known, &there, part.options) {
            Routing::Everywhere => {
                let set = self.set(part.key, part.cluster, chosen, None)?;
                return Ok((set, Among::Endpoints));
            }
            Routing::Zones(zones) => zones,
        };
        let mut sets = Vec::with_capacity(known.len());
        for index in 0..zones.capacities.len() {
            let own = chosen.iter().filter(|it| place(it) == Some(index));
            let own: Vec<Endpoint> = own.copied().collect();
            let key = Key {
                locality: Some(index),
                ..part.key.clone()
            };
            // In a panic of Envoy's own cluster traffic may have to fail.
            let is_empty = own.is_empty() || zones.fails;
            sets.push(match is_empty {
                true => 0,
                false => self.set(key, part.cluster, &own, None)?,
            });
        }
        if zones.enabled >= 100 && zones.local >= WHOLE {
            let first = sets.first().copied().unwrap_or(0);
            return Ok((first, Among::Endpoints));
        }
        let everywhere = self.set(part.key, part.cluster, chosen, None)?;
        let list = self.arena.words(&sets);
        let capacities = self.arena.words(&zones.capacities);
        let record = self.arena.record([
            pair(set::ZONES, sets.len() as u64),
            pair(list, capacities),
            pair(everywhere, zones.enabled),
            zones.local,
        ]);
        Ok((record, Among::Zones))
    }

    /// Index, weight and endpoints of each locality that gets anything.
    fn effective(
        &self,
        part: &Part<'_>,
        localities: &[Locality],
        chosen: &[Endpoint],
    ) -> Vec<(usize, Effective, Vec<Endpoint>)> {
        let Some(assignment) = &part.cluster.load_assignment else {
            return Vec::new();
        };
        let node = self.snapshot.node_locality.as_ref();
        let indices = indices(assignment, localities, node);
        let health = match part.key.source {
            Source::Degraded => Health::Degraded,
            Source::Healthy | Source::All => Health::Healthy,
        };
        let all = localities.iter().enumerate().map(|(index, locality)| {
            let is_there = |it: &&Endpoint| indices.get(it.place.0) == Some(&Some(index));
            let own = part.own.iter().filter(is_there);
            let weight =
                Effective::new(locality.weight, own, health, part.options.overprovisioning);
            let endpoints = chosen.iter().filter(is_there).copied().collect();
            (index, weight, endpoints)
        });
        all.filter(|(_, weight, _)| weight.is_some()).collect()
    }

    /// The record of a cluster for requests with these criteria.
    pub fn cluster_for(&mut self, name: &str, criteria: &Criteria) -> u64 {
        let Some(subsetted) = self.subsetted.get(name).cloned() else {
            return self.cluster_offset(name);
        };
        let key = (subsetted.index, labels(criteria));
        if let Some(&known) = self.asked.get(&key) {
            return known;
        }
        let Some(cluster) = self.snapshot.clusters.get(subsetted.index) else {
            return self.cluster_offset(name);
        };
        let found = self.subset_record(&subsetted, cluster, criteria);
        let offset = found.unwrap_or_else(|over| {
            self.cluster_over(subsetted.index, cluster, "lb_subset_config", &over)
        });
        self.asked.insert(key, offset);
        offset
    }

    fn subset_record(
        &mut self,
        subsetted: &Arc<Subsetted>,
        cluster: &Cluster,
        criteria: &Criteria,
    ) -> Result<u64, CapacityError> {
        let mut pools = Vec::new();
        for attempt in subsetted.subsets.attempts(criteria) {
            pools.push(match attempt {
                Attempt::Pool(pool) => self.pool(subsetted, cluster, pool)?,
                Attempt::Single(locality, place) => {
                    let all = subsetted.priorities.iter().flatten();
                    let mut found = all.filter(|it| it.place == (locality, place));
                    let number = found.next().map_or(0, |endpoint| endpoint.number);
                    let list = self.arena.words(&[number]);
                    let single = self.arena.record([pair(set::ANY, 1), list, 0, 0]);
                    self.arena.record([0, single, 0, 0])
                }
            });
        }
        let list = self.arena.words(&pools);
        let code = cluster::POOLS | self.code(cluster);
        let (word, code) = self.overridden(
            (subsetted.index, cluster),
            &subsetted.priorities,
            (pair(list, pools.len() as u64), code),
        )?;
        Ok(self.arena.record([
            word,
            pair(cluster::UNSUPPORTED, unsupported::USERSPACE),
            pair(subsetted.index as u64, code),
            pair(0, crate::cluster::dropped(cluster)),
        ]))
    }

    /// The record of a pool.
    fn pool(
        &mut self,
        subsetted: &Subsetted,
        cluster: &Cluster,
        pool: Pool,
    ) -> Result<u64, CapacityError> {
        let key = (subsetted.index, pool);
        if let Some(&known) = self.pools.get(&key) {
            return Ok(known);
        }
        let (state, sets) = (self.state.len(), self.sets.len());
        let of = (subsetted.index, cluster);
        let subsets = Some(&subsetted.subsets);
        match self.levels(of, &key.1, &subsetted.priorities, subsets) {
            Ok(levels) => {
                let record = self.arena.record([levels.word, 0, 0, 0]);
                self.pools.insert(key, record);
                Ok(record)
            }
            Err(over) => {
                self.state.truncate(state);
                self.sets.truncate(sets);
                Err(over)
            }
        }
    }
}

/// Of a cluster's endpoints those of a pool.
fn members<'e>(
    pool: &Pool,
    all: &'e [Vec<Endpoint>],
    subsets: Option<&Index>,
) -> Cow<'e, [Vec<Endpoint>]> {
    let Some(places) = subsets.and_then(|subsets| subsets.places(pool)) else {
        return Cow::Borrowed(all);
    };
    let places: std::collections::HashSet<&(usize, usize)> = places.iter().collect();
    let of_priority = |endpoints: &Vec<Endpoint>| {
        let is_in = |endpoint: &&Endpoint| places.contains(&endpoint.place);
        endpoints.iter().filter(is_in).copied().collect()
    };
    Cow::Owned(all.iter().map(of_priority).collect())
}
