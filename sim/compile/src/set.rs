//! Compiles sets of endpoints: the records that balancers pick from, and their first state.

use twinmesh_model::layout::{low, pair, set};
use twinmesh_xds::{Balancer, Cluster};

use crate::cluster::Endpoint;
use crate::compiler::Compiler;
use crate::kept::{Key, Set};
use crate::locality::Locality;
use crate::{CapacityError, capacity, hashing, schedule};

/// Four positions a word, the first in the lowest bits.
pub fn packed(positions: &[u16]) -> Vec<u64> {
    let word = |chunk: &[u16]| {
        let highest_first = chunk.iter().rev();
        highest_first.fold(0, |word, &position| word << 16 | u64::from(position))
    };
    positions.chunks(4).map(word).collect()
}

impl Compiler<'_> {
    /// The record of a set that a hash balancer chooses from.
    ///
    /// # Errors
    /// What it lays out does not fit.
    fn hashed(
        &mut self,
        (members, cluster): (usize, &Cluster),
        endpoints: &[Endpoint],
        localities: Option<&[Locality]>,
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
        let places: Vec<(usize, usize)> = endpoints.iter().map(|it| it.place).collect();
        let own = self.snapshot.node_locality.as_ref();
        let shares = hashing::shares(cluster, &places, localities, own, hashing.by_hostname);
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
        let bound = match hashing.balance_factor {
            0 => 0,
            factor => pair(self.bound(&shares, members), u64::from(factor)),
        };
        Ok(Some([
            pair(kind, count),
            pair(list, offset),
            pair(0, length as u64),
            bound,
        ]))
    }

    /// What bounds the load of a set's endpoints: their shares, and the numbers of the cluster's
    /// endpoints.
    fn bound(&mut self, shares: &[hashing::Share], members: usize) -> u64 {
        let numbers = self.endpoints.iter().zip(0_u64..);
        let numbers = numbers.filter_map(|(endpoint, number)| {
            endpoint
                .is_some_and(|(of, ..)| of == members)
                .then_some(number)
        });
        let numbers: Vec<u64> = numbers.collect();
        let mut words = vec![pair(shares.len() as u64, numbers.len() as u64)];
        for share in shares {
            words.extend([u64::from(share.position), share.weight.to_bits()]);
        }
        words.extend(numbers);
        self.arena.words(&words)
    }

    /// A set of endpoints and its balancer; the offset of its record.
    pub fn set(
        &mut self,
        key: Key,
        cluster: &Cluster,
        endpoints: &[Endpoint],
        localities: Option<&[Locality]>,
    ) -> Result<u64, CapacityError> {
        let words: Vec<u64> = endpoints
            .iter()
            .map(|endpoint| pair(endpoint.number, endpoint.weight))
            .collect();
        let list = self.arena.words(&words);
        let count = endpoints.len() as u64;
        if let Some(record) = self.hashed((key.cluster, cluster), endpoints, localities, list)? {
            // Localities without weights leave nothing to choose from.
            return Ok(match record {
                [0, ..] => 0,
                record => self.arena.record(record),
            });
        }
        if cluster.slow_start.is_some() {
            return self.slow_set(key, cluster, endpoints, list);
        }
        let state = self.state.len() as u64;
        let weights: Vec<u64> = endpoints.iter().map(|endpoint| endpoint.weight).collect();
        let equal = weights.windows(2).all(|pair| pair.first() == pair.last());
        let record = match cluster.balancer {
            Balancer::LeastRequest {
                full_scan: true, ..
            } if equal => [pair(set::SCAN, count), list, 0, 0],
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
            key,
            kind: low(record[0]),
            state: state as usize,
            words: self.state.len() - state as usize,
        });
        Ok(self.arena.record(record))
    }
}
