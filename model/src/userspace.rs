//! What only userspace decides of clusters: see [`Machine::USERSPACE`].

use crate::{
    Machine, decide, endpoint, hash_policy,
    hash_policy::Hash,
    hashed,
    layout::{cluster, header, high, low, outcome, set, work},
    priority, random, slot,
};

/// The endpoint of such a cluster. 0.
pub fn cluster<M: Machine>(machine: &mut M, record: u64) -> u64 {
    let kind = high(machine.policy64(record.wrapping_add(cluster::INDEX)));
    if kind == cluster::BY_HEADER {
        return by_header(machine, record);
    }
    let drawn = random::draw(machine.word(work::RANDOM), random::PRIORITY);
    let number = if kind == cluster::BY_HASH {
        match hash_policy::of_route(machine) {
            // Without a hash any endpoint will do: one number for all that it decides.
            Hash::Nothing => drawn,
            Hash::Number(hash) => hash,
            Hash::Undecided(reason) => {
                decide::end(machine, outcome::UNSUPPORTED, reason);
                return 0;
            }
        }
    } else {
        drawn
    };
    let found = priority::by_number(machine, record, number);
    if found == 0 {
        decide::end(machine, outcome::NO_HEALTHY_UPSTREAM, 0);
        return 0;
    }
    let kind = machine.policy64(found);
    let position = if low(kind) == set::RING {
        hashed::ring(machine, found, number)
    } else if low(kind) == set::TABLE {
        hashed::table(machine, found, number)
    } else {
        number.checked_rem(high(kind)).unwrap_or(0)
    };
    endpoint::take(machine, found, position);
    decide::end(machine, outcome::FORWARD, 0);
    0
}

/// `cluster_header`: the cluster that the header's first value names. 0.
fn by_header<M: Machine>(machine: &mut M, record: u64) -> u64 {
    let slot = high(machine.policy64(record.wrapping_add(cluster::FORWARDING)));
    let first = slot::first(machine, slot);
    let root = low(machine.policy64(header::CLUSTERS));
    let found = if first == 0 {
        0
    } else {
        let name = slot::span(machine, first.wrapping_sub(1));
        low(machine.walk(root, name, 0))
    };
    if found == 0 {
        decide::end(machine, outcome::NO_CLUSTER, 0);
        return 0;
    }
    machine.cluster(found)
}
