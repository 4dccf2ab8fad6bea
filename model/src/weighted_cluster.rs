//! The choice among weighted clusters (`RouteAction.weighted_clusters`): the random number, a
//! header's, or the request's hash, modulo the total weight, in half-open intervals in the order of
//! the configuration.

use crate::{
    Machine, decide,
    hash_policy::{self, Hash},
    layout::{high, low, outcome, pair, weighted_clusters, work},
    random, slot,
};

/// Halvings that find any entry.
const STEPS: u64 = 32;

/// The offset of the chosen cluster's record; 0 where the hash that chooses is not decided.
#[inline(always)]
pub fn choose<M: Machine>(machine: &mut M, block: u64) -> u64 {
    let count = machine.policy64(block.wrapping_add(weighted_clusters::COUNT));
    let mut number = random::draw(machine.word(work::RANDOM), 0);
    if M::USERSPACE && high(count) == weighted_clusters::BY_HASH {
        match hash_policy::of_route(machine) {
            Hash::Nothing => {}
            Hash::Number(hash) => number = hash,
            Hash::Undecided(reason) => {
                decide::end(machine, outcome::UNSUPPORTED, reason);
                return 0;
            }
        }
        return by_number(machine, block, number);
    }
    // `header_name`: a header that is there once and is a number takes the random number's place.
    if high(count) != 0 && slot::count(machine, high(count).wrapping_sub(1)) == 1 {
        let occurrence = slot::first(machine, high(count).wrapping_sub(1)).wrapping_sub(1);
        if machine.integer(slot::span(machine, occurrence)) == 1 {
            number = machine.word(work::NUMBER);
        }
    }
    by_number(machine, block, number)
}

/// As [`choose`], by this number.
#[inline(always)]
fn by_number<M: Machine>(machine: &mut M, block: u64, number: u64) -> u64 {
    let total = machine.policy64(block);
    let count = machine.policy64(block.wrapping_add(weighted_clusters::COUNT));
    let value = if total == 0 { 0 } else { number % total };
    let entries = block.wrapping_add(weighted_clusters::ENTRIES);
    let mut bounds = pair(0, low(count));
    let mut index = 0;
    while index < STEPS {
        if low(bounds).wrapping_add(1) >= high(bounds) {
            break;
        }
        bounds = machine.halve(entries, bounds, value);
        index += 1;
    }
    let from = low(bounds);
    let entry = entries.wrapping_add(from.wrapping_mul(weighted_clusters::ENTRY));
    let start = if from == 0 {
        0
    } else {
        machine.policy64(entry.wrapping_sub(weighted_clusters::ENTRY))
    };
    let data = machine.policy64(entry.wrapping_add(8));
    machine.set_word(work::ENTRY, high(data).wrapping_add(1));
    machine.set_word(work::VALUE, value);
    machine.set_word(work::INTERVAL_FROM, start);
    machine.set_word(work::INTERVAL_TO, machine.policy64(entry));
    low(data)
}

/// One halving of the entries from low to high, of which one has the value in its interval.
#[inline(always)]
pub fn halve<M: Machine>(machine: &mut M, entries: u64, bounds: u64, value: u64) -> u64 {
    let middle = low(bounds).wrapping_add(high(bounds)) >> 1;
    let start = machine.policy64(
        entries.wrapping_add(
            middle
                .wrapping_sub(1)
                .wrapping_mul(weighted_clusters::ENTRY),
        ),
    );
    if value < start {
        pair(low(bounds), middle)
    } else {
        pair(middle, high(bounds))
    }
}
