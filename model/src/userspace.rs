//! What only userspace decides of routes and clusters: see [`Machine::USERSPACE`].

use crate::{
    Machine, cookie, decide, endpoint, fraction, hash_policy,
    hash_policy::Hash,
    hashed,
    layout::{
        RECORD, cluster, header, high, low, matcher, more, of, outcome, pool, route, set,
        unsupported, work,
    },
    least_request, override_host, priority, random, round_robin, slot, tls_context,
};

/// What shares of dropped requests are of.
const MILLION: u64 = 1_000_000;

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
    let code = high(machine.policy64(record.wrapping_add(cluster::INDEX)));
    if code == cluster::BY_HEADER {
        return by_header(machine, record);
    }
    if code & cluster::SLOW_START != 0 && !M::SLOW_START {
        decide::end(machine, outcome::UNSUPPORTED, unsupported::SLOW_START);
        return 0;
    }
    let routed = machine.word(work::CHOSEN_ROUTE) != 0;
    let dropped = high(machine.policy64(record.wrapping_add(cluster::FORWARDING)));
    let drawn = random::draw(machine.word(work::RANDOM), random::OVERLOAD);
    // TCP proxies do not look at it.
    if routed && drawn % MILLION < dropped {
        decide::end(machine, outcome::OVERFLOW, 0);
        return 0;
    }
    let mut record = record;
    if code & cluster::OVERRIDE_HOST != 0 {
        record = low(machine.policy64(record.wrapping_add(cluster::LEVELS)));
        if override_host::choose(machine, record) != 0 {
            decide::end(machine, outcome::FORWARD, 0);
            return 0;
        }
    }
    let code = high(machine.policy64(record.wrapping_add(cluster::INDEX)));
    let drawn = random::draw(machine.word(work::RANDOM), random::PRIORITY);
    let number = if code & !cluster::POOLS == cluster::BY_HASH {
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
    let found = choose(machine, record, number);
    let outcome = if found == 0 {
        outcome::NO_HEALTHY_UPSTREAM
    } else {
        outcome::FORWARD
    };
    decide::end(machine, outcome, 0);
    0
}

/// The number plus one of the endpoint that a cluster gives for a number, the request's hash or one
/// that was drawn; 0 where it gives none.
pub fn choose<M: Machine>(machine: &mut M, record: u64, number: u64) -> u64 {
    let code = high(machine.policy64(record.wrapping_add(cluster::INDEX)));
    if code & cluster::POOLS != 0 {
        of_pools(machine, record, number)
    } else {
        of_levels(machine, record, number)
    }
}

/// The number plus one of the endpoint of the first pool that has one, or 0.
fn of_pools<M: Machine>(machine: &mut M, record: u64, number: u64) -> u64 {
    let list = machine.policy64(record.wrapping_add(cluster::LEVELS));
    let mut index = 0;
    while index < high(list) {
        let pool = low(machine.policy64(low(list).wrapping_add(index << 3)));
        let single = low(machine.policy64(pool.wrapping_add(pool::SINGLE)));
        let found = if single == 0 {
            of_levels(machine, pool, number)
        } else {
            // It has no level.
            machine.set_word(work::PRIORITY_VALUE, 0);
            machine.set_word(work::LEVEL, 0);
            endpoint::take(machine, single, 0)
        };
        if found != 0 {
            return found;
        }
        index += 1;
    }
    0
}

/// The number plus one of the endpoint that a record with levels gives, or 0.
fn of_levels<M: Machine>(machine: &mut M, record: u64, number: u64) -> u64 {
    let found = priority::by_number(machine, record, number);
    if found == 0 {
        return 0;
    }
    let kind = low(machine.policy64(found));
    let found = if kind == set::LOCALITIES {
        locality(machine, found)
    } else if kind == set::ZONES {
        zone(machine, found)
    } else {
        found
    };
    if found == 0 {
        return 0;
    }
    let kind = machine.policy64(found);
    let kind_of = low(kind);
    let position = if kind_of == set::RING {
        let position = hashed::ring(machine, found, number);
        machine.bounded(found, position, number)
    } else if kind_of == set::TABLE {
        let position = hashed::table(machine, found, number);
        machine.bounded(found, position, number)
    } else if kind_of == set::ANY {
        number.checked_rem(high(kind)).unwrap_or(0)
    } else if kind_of == set::SCAN {
        least_request::scan(machine, found)
    } else if kind_of == set::SLOW_START {
        machine.slow_start(found)
    } else if kind_of == set::SAMPLE {
        machine.sample(found)
    } else if kind_of == set::HEAP {
        machine.heap(found)
    } else {
        round_robin::next(machine, found)
    };
    endpoint::take(machine, found, position)
}

/// The set of the locality whose turn it is.
fn locality<M: Machine>(machine: &mut M, record: u64) -> u64 {
    let lists = machine.policy64(record.wrapping_add(set::ENDPOINTS));
    let state = machine.policy64(record.wrapping_add(set::STATE));
    let turn = machine.tick(low(state));
    let pick = turn.checked_rem(high(state)).unwrap_or(0);
    let position = machine.policy16(high(lists).wrapping_add(pick << 1));
    low(machine.policy64(low(lists).wrapping_add(position << 3)))
}

/// The set of the locality that takes the request, or of all; 0 where that is empty.
fn zone<M: Machine>(machine: &mut M, record: u64) -> u64 {
    let random = machine.word(work::RANDOM);
    let drawn = |index| random::draw(random, random::ZONE + index);
    let count = high(machine.policy64(record));
    let lists = machine.policy64(record.wrapping_add(set::ENDPOINTS));
    let state = machine.policy64(record.wrapping_add(set::STATE));
    let local = machine.policy64(record.wrapping_add(set::COSTS));
    if drawn(0) % 100 >= high(state) {
        return low(state);
    }
    let mut position = 0;
    if drawn(1) % 10_000 >= local {
        let upto = |machine: &M, at: u64| machine.policy64(high(lists).wrapping_add(at << 3));
        let left = upto(machine, count.wrapping_sub(1));
        if left == 0 {
            position = drawn(2).checked_rem(count).unwrap_or(0);
        } else {
            let number = drawn(2) % left;
            while position < count && number >= upto(machine, position) {
                position += 1;
            }
        }
    }
    low(machine.policy64(low(lists).wrapping_add(position << 3)))
}

/// `cluster_header`: the cluster that the header's first value names. 0.
fn by_header<M: Machine>(machine: &mut M, record: u64) -> u64 {
    let slot = high(machine.policy64(record.wrapping_add(cluster::FORWARDING)));
    let first = slot::first(machine, slot);
    let own = low(machine.policy64(record.wrapping_add(cluster::LEVELS)));
    let root = if own == 0 {
        low(machine.policy64(header::CLUSTERS))
    } else {
        own
    };
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
