//! What only userspace decides of routes and clusters: see [`Machine::USERSPACE`].

use crate::{
    Machine, cookie, decide, endpoint, fraction, hash_policy,
    hash_policy::Hash,
    hashed,
    layout::{RECORD, cluster, header, high, low, matcher, more, of, outcome, route, set, work},
    priority, random, slot, tls_context,
};

/// Whether a route, whose other matchers accept the request, takes it.
pub fn route<M: Machine>(machine: &mut M, record: u64) -> bool {
    fraction::passes(machine, record) && first_failed(machine, record) == 0
}

/// The offset of the first matcher of a route's among those that only userspace decides which does
/// not accept the request, or 0.
pub fn first_failed<M: Machine>(machine: &mut M, record: u64) -> u64 {
    let more = high(machine.policy64(record.wrapping_add(route::FORWARDING)));
    if more == 0 {
        return 0;
    }
    let block = low(machine.policy64(more.wrapping_add(more::MATCHERS)));
    if block == 0 {
        return 0;
    }
    for index in 0..machine.policy64(block) {
        let record = block
            .wrapping_add(8)
            .wrapping_add(index.wrapping_mul(RECORD));
        let accepts = match high(machine.policy64(record.wrapping_add(matcher::INDEX))) {
            of::COOKIE => cookie::matches(machine, record),
            _ => tls_context::matches(machine, record),
        };
        if !accepts {
            return record;
        }
    }
    0
}

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
