//! `LEAST_REQUEST`: the fewest active requests among some random choices; with weights that
//! differ, an earliest-deadline-first queue in which active requests lower a weight
//! (`active_request_bias`).

use crate::{
    Machine,
    layout::{header, high, low, pair, set, work},
    random,
};

/// `choice_count` that is looked at; the compiler refuses more.
pub const CHOICES: u64 = 128;
/// Levels of the queue's heap.
const DEPTH: u64 = 24;

/// Active requests of an endpoint.
#[inline(always)]
fn active<M: Machine>(machine: &mut M, endpoint: u64) -> u64 {
    let base = low(machine.policy64(header::ACTIVE));
    machine.state(base.wrapping_add(endpoint))
}

/// The position of the endpoint with the fewest active requests among the choices; the first of
/// equals.
#[inline(always)]
pub fn sample<M: Machine>(machine: &mut M, record: u64) -> u64 {
    let choices = high(machine.policy64(record.wrapping_add(set::STATE)));
    let mut best = pair(0, 0xffff_ffff);
    let mut index = 0;
    while index < CHOICES {
        if index >= choices {
            break;
        }
        best = machine.choice(record, index, best);
        index += 1;
    }
    low(best)
}

/// The position of an endpoint with the fewest active requests of all; of several each with the same
/// chance. In userspace.
pub fn scan<M: Machine>(machine: &mut M, record: u64) -> u64 {
    let count = high(machine.policy64(record));
    let endpoints = low(machine.policy64(record.wrapping_add(set::ENDPOINTS)));
    let random = machine.word(work::RANDOM);
    let (mut best, mut fewest) = (0, u64::MAX);
    let (mut alike, mut ties) = (0_u64, 0);
    let mut position = 0;
    while position < count {
        let endpoint = low(machine.policy64(endpoints.wrapping_add(position << 3)));
        let requests = active(machine, endpoint);
        if requests < fewest {
            (best, fewest, alike) = (position, requests, 1);
        } else if requests == fewest {
            alike += 1;
            if random::draw(random, random::ENDPOINT + ties).checked_rem(alike) == Some(0) {
                best = position;
            }
            ties += 1;
        }
        position += 1;
    }
    best
}

/// The better of two: low the position, high the active requests of the best so far; and the
/// endpoint that the next draw chooses.
#[inline(always)]
pub fn choice<M: Machine>(machine: &mut M, record: u64, index: u64, best: u64) -> u64 {
    let count = high(machine.policy64(record));
    let endpoints = low(machine.policy64(record.wrapping_add(set::ENDPOINTS)));
    if count == 0 {
        return best;
    }
    let position = random::draw(machine.word(work::RANDOM), random::ENDPOINT + index) % count;
    let endpoint = low(machine.policy64(endpoints.wrapping_add(position << 3)));
    let active = active(machine, endpoint);
    if active < high(best) {
        pair(position, active)
    } else {
        best
    }
}

/// Whether the heap's entry at one place of the state goes before the one at another: the earlier
/// deadline, or of equals the one inserted first.
#[inline(always)]
fn before<M: Machine>(machine: &M, one: u64, other: u64) -> bool {
    let difference = machine.state(one).wrapping_sub(machine.state(other)) as i64;
    difference < 0
        || (difference == 0
            && high(machine.state(one.wrapping_add(1)))
                < high(machine.state(other.wrapping_add(1))))
}

/// The position of the endpoint whose deadline is next. The set's state is a counter of
/// insertions, then the heap: two words an entry, the deadline, and low: the position, high: the
/// insertion.
#[inline(always)]
pub fn weighted<M: Machine>(machine: &mut M, record: u64) -> u64 {
    let count = high(machine.policy64(record));
    let endpoints = low(machine.policy64(record.wrapping_add(set::ENDPOINTS)));
    let state = low(machine.policy64(record.wrapping_add(set::STATE)));
    let costs = machine.policy64(record.wrapping_add(set::COSTS));
    let heap = state.wrapping_add(1);

    let picked = low(machine.state(heap.wrapping_add(1)));
    let endpoint = machine.policy64(endpoints.wrapping_add(picked << 3));
    let active = active(machine, low(endpoint));
    let active = if active < set::COSTS_MAX {
        active
    } else {
        set::COSTS_MAX - 1
    };
    let cost = if high(costs) == 0 {
        active.wrapping_add(1) << 16
    } else {
        machine.policy64(high(costs).wrapping_add(active << 3))
    };
    let weight = high(endpoint);
    let step = low(costs)
        .wrapping_mul(cost)
        .checked_div(weight)
        .unwrap_or(0);
    let deadline = machine.state(heap).wrapping_add(step);
    let insertion = machine.tick(state);
    machine.set_state(heap, deadline);
    machine.set_state(heap.wrapping_add(1), picked | insertion << 32);

    let mut parent = 0;
    let mut index = 0;
    while index < DEPTH {
        parent = machine.sift(heap, parent, count);
        if parent == 0 {
            break;
        }
        index += 1;
    }
    picked
}

/// Moves the entry at a position of the heap below its earlier child. The child's position, or 0
/// where the entry stays.
#[inline(always)]
pub fn sift<M: Machine>(machine: &mut M, heap: u64, parent: u64, count: u64) -> u64 {
    let mut position = parent.wrapping_mul(2).wrapping_add(1);
    if position >= count {
        return 0;
    }
    let right = position.wrapping_add(1);
    if right < count
        && before(
            machine,
            heap.wrapping_add(right << 1),
            heap.wrapping_add(position << 1),
        )
    {
        position = right;
    }
    let here = heap.wrapping_add(parent << 1);
    let child = heap.wrapping_add(position << 1);
    if !before(machine, child, here) {
        return 0;
    }
    let (deadline, entry) = (machine.state(here), machine.state(here.wrapping_add(1)));
    let (child_deadline, child_entry) =
        (machine.state(child), machine.state(child.wrapping_add(1)));
    machine.set_state(here, child_deadline);
    machine.set_state(here.wrapping_add(1), child_entry);
    machine.set_state(child, deadline);
    machine.set_state(child.wrapping_add(1), entry);
    position
}
