//! What the kernel counted, by name: its maps count by the policy's own numbers, which mean nothing
//! once the policy has gone.

use std::collections::HashMap;

use twinmesh_engine::{Decision, Request};
use twinmesh_kernel_backend::datapath::shape::{Count, CountKey, RANGES};
use twinmesh_model::layout::{outcome, work};

use super::{Splice, lock};
use crate::access_log::PathTaken;
use crate::live::{Current, Live};

/// What requests are counted by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Names {
    /// Name of the listener.
    pub listener: String,
    /// Name of the route configuration.
    pub route_config: String,
    /// Name of the virtual host.
    pub virtual_host: String,
    /// The route's name, or `#i`.
    pub route: String,
    /// Name of the cluster.
    pub cluster: String,
    /// The endpoint's address.
    pub endpoint: String,
    /// The response's status; `None` for a connection.
    pub status: Option<u16>,
}

impl Names {
    /// How the kernel carried it.
    pub fn path(&self) -> PathTaken {
        match self.status {
            Some(_) => PathTaken::Splice,
            None => PathTaken::Connect,
        }
    }
}

/// Requests that were counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Total {
    /// How many.
    pub requests: u64,
    /// Bytes of their responses.
    pub bytes: u64,
    /// Microseconds from head to end, added up.
    pub duration_us: u64,
    /// How many by duration, as in `Count::ranges`.
    pub ranges: [u64; RANGES as usize],
}

impl Total {
    /// Adds what a count has gained since it was seen last.
    fn add(&mut self, now: &Count, seen: Option<&Count>) {
        let gained = |now: u64, seen: Option<u64>| now.wrapping_sub(seen.unwrap_or(0));
        self.requests += gained(now.requests, seen.map(|seen| seen.requests));
        self.bytes += gained(now.bytes, seen.map(|seen| seen.bytes));
        self.duration_us += gained(now.duration_us, seen.map(|seen| seen.duration_us));
        for (index, to) in self.ranges.iter_mut().enumerate() {
            let before = seen.and_then(|seen| seen.ranges.get(index).copied());
            *to += gained(now.ranges.get(index).copied().unwrap_or(0), before);
        }
    }
}

/// All that was counted.
#[derive(Debug, Default)]
pub struct Tally {
    totals: HashMap<Names, Total>,
    pub(super) seen: HashMap<CountKey, Count>,
}

impl Splice {
    /// Takes over what the kernel has counted. Called before a policy takes the place of another,
    /// and whenever somebody asks.
    pub fn collect(&self, live: &Live) -> Vec<(Names, Total)> {
        let maps = self.datapath.maps();
        let mut tally = lock(&self.tally);
        let newest = live.current().map_or(0, |policy| policy.generation);
        let Tally { totals, seen } = &mut *tally;
        for (key, count) in maps.counts() {
            let names = live
                .by_generation(key.generation)
                .map(|policy| names(&policy, &key))
                .unwrap_or_default();
            totals.entry(names).or_default().add(&count, seen.get(&key));
            if key.generation + 2 < newest {
                maps.forget_count(&key);
                seen.remove(&key);
            } else {
                seen.insert(key, count);
            }
        }
        let totals = totals.iter();
        totals
            .map(|(names, total)| (names.clone(), total.clone()))
            .collect()
    }
}

/// What a key means under its policy.
fn names(policy: &Current, key: &CountKey) -> Names {
    let decision = decision(policy, key);
    let text = |text: Option<String>| text.unwrap_or_default();
    Names {
        listener: text(decision.listener),
        route_config: text(decision.route_config),
        virtual_host: text(decision.virtual_host),
        route: text(decision.route),
        cluster: text(decision.cluster),
        endpoint: text(decision.endpoint),
        status: u16::try_from(key.status).ok().filter(|&status| status != 0),
    }
}

fn decision(policy: &Current, key: &CountKey) -> Decision {
    let mut left = [0; work::LEFT as usize];
    let words = [
        (work::OUTCOME, outcome::FORWARD),
        (work::CHOSEN_LISTENER, u64::from(key.listener)),
        (work::CHOSEN_FILTER_CHAIN, u64::from(key.filter_chain)),
        (work::CHOSEN_VIRTUAL_HOST, u64::from(key.virtual_host)),
        (work::CHOSEN_ROUTE, u64::from(key.route)),
        (work::CHOSEN_CLUSTER, u64::from(key.cluster)),
        (work::ENDPOINT, u64::from(key.endpoint)),
        (
            work::CHOSEN_ROUTE_CONFIGURATION,
            u64::from(key.route_configuration),
        ),
    ];
    for (index, value) in words {
        if let Some(word) = left.get_mut((index - work::OUTCOME) as usize) {
            *word = value;
        }
    }
    policy
        .compiled
        .answer(&Request::default(), &left, None)
        .decision
}
