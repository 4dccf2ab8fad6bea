//! Another endpoint of a cluster that the model has chosen before, for another attempt.

use twinmesh_compile::Compiled;
use twinmesh_compile::attempts::Plan;
use twinmesh_engine::{Decision, Held, Request};
use twinmesh_model::layout::{cluster, high, low, pair, unsupported, work};
use twinmesh_model::{Machine, endpoint, hash_policy, random, userspace};

use crate::Memory;

/// What a choice came to.
#[derive(Debug)]
pub(crate) enum Chosen {
    /// An endpoint, named in the decision; what is held of it.
    Endpoint(Option<Held>),
    /// None may be used.
    Nothing,
    /// It is not decided; why.
    Undecided(String),
}

/// The hash of the request that was decided last, where there is one.
pub(crate) fn hash_of_last(memory: &Memory) -> Option<u64> {
    match hash_policy::of_route(memory) {
        hash_policy::Hash::Number(hash) => Some(hash),
        hash_policy::Hash::Nothing | hash_policy::Hash::Undecided(_) => None,
    }
}

/// The record of the cluster that the request was sent to that was decided last.
pub(crate) fn cluster_of_last(memory: &Memory) -> u64 {
    memory.word(work::CHOSEN_CLUSTER)
}

/// Chooses by a random number of the attempt's own; `own` is the record of the cluster that the
/// route has, where it still stands.
pub(crate) fn choose(
    compiled: &Compiled,
    memory: &mut Memory,
    (plan, hash, own): (&Plan, Option<u64>, Option<u64>),
    number: u64,
    request: &Request,
    decision: &mut Decision,
) -> Chosen {
    let mut clusters = compiled.snapshot.clusters.iter();
    let index = clusters.position(|cluster| cluster.name == plan.cluster);
    let Some(record) = index.and_then(|index| compiled.cluster_record(index)) else {
        return Chosen::Nothing;
    };
    // The route says which subsets are tried: its own record of the cluster has them.
    let record = match own {
        _ if !compiled.has_subsets(&plan.cluster) => record,
        Some(own) => own,
        None => {
            let why = "retries over subsets are not decided once the snapshot has changed";
            return Chosen::Undecided(why.to_owned());
        }
    };
    memory.set_word(work::RANDOM, number);
    let kind = memory.policy64(record + cluster::KIND);
    let found = if kind == pair(cluster::UNSUPPORTED, unsupported::USERSPACE) {
        in_userspace(memory, record, hash, number)
    } else if low(kind) == cluster::BALANCED {
        endpoint::choose(memory, record)
    } else if low(kind) == cluster::ORIGINAL_DESTINATION {
        return Chosen::Endpoint(None);
    } else {
        return Chosen::Undecided(compiled.reason(high(kind)));
    };
    match found.checked_sub(1) {
        Some(number) => Chosen::Endpoint(compiled.name_endpoint(number, plan, request, decision)),
        None => Chosen::Nothing,
    }
}

/// The number plus one of the endpoint that a hash or chance leads to; 0: none.
fn in_userspace(memory: &mut Memory, record: u64, hash: Option<u64>, number: u64) -> u64 {
    let drawn = random::draw(number, random::PRIORITY);
    let mut record = record;
    if high(memory.policy64(record + cluster::INDEX)) & cluster::OVERRIDE_HOST != 0 {
        // The endpoints that the request names have been looked for.
        record = low(memory.policy64(record + cluster::LEVELS));
    }
    let code = high(memory.policy64(record + cluster::INDEX)) & !cluster::POOLS;
    let number = hash.filter(|_| code == cluster::BY_HASH).unwrap_or(drawn);
    userspace::choose(memory, record, number)
}

/// An endpoint has a request.
pub(crate) fn hold(compiled: &Compiled, memory: &mut Memory, held: Held) {
    if let Some(word) = compiled.active_word(held) {
        memory.tick(word);
    }
}

/// An endpoint's active request has ended.
pub(crate) fn release(compiled: &Compiled, memory: &mut Memory, held: Held) {
    if let Some(word) = compiled.active_word(held) {
        let active = memory.state(word);
        memory.set_state(word, active.saturating_sub(1));
    }
}
