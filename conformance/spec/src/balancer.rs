//! The state of all balancers: one for each cluster, priority and source.

use std::collections::BTreeMap;

use twinmesh_engine::Held;

use crate::cluster::{Host, Policy};
use crate::least_request::LeastRequest;
use crate::priority::Source;
use crate::round_robin::RoundRobin;

/// Names one balancer: the cluster's index, the priority, the source.
pub(crate) type Key = (usize, usize, Source);

/// What balancers remember. Everything starts at zero when a snapshot is loaded.
#[derive(Debug, Default)]
pub(crate) struct Balancers {
    round_robin: BTreeMap<Key, RoundRobin>,
    least_request: BTreeMap<Key, LeastRequest>,
    /// Forwarded requests that have not ended, by cluster, locality and endpoint.
    active: BTreeMap<(usize, usize, usize), u64>,
}

impl Balancers {
    /// Index into `hosts` of the endpoint that takes the request.
    pub(crate) fn pick(
        &mut self,
        key: Key,
        hosts: &[Host],
        policy: Policy,
        random: u64,
    ) -> Option<usize> {
        let weights: Vec<u32> = hosts.iter().map(|host| host.weight).collect();
        match policy {
            Policy::RoundRobin => self
                .round_robin
                .entry(key)
                .or_insert_with(|| RoundRobin::new(&weights))
                .pick(&weights),
            Policy::LeastRequest(options) => {
                let active: Vec<u64> = hosts
                    .iter()
                    .map(|host| {
                        let endpoint = (key.0, host.locality, host.endpoint);
                        self.active.get(&endpoint).copied().unwrap_or(0)
                    })
                    .collect();
                self.least_request
                    .entry(key)
                    .or_insert_with(|| LeastRequest::new(&weights, options))
                    .pick(&weights, &active, options, random)
            }
            Policy::OriginalDestination | Policy::Undecided => None,
        }
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

fn endpoint(held: Held) -> (usize, usize, usize) {
    (held.cluster, held.locality, held.endpoint)
}
