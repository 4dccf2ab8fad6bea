//! The choice of a priority (`ClusterLoadAssignment`, overprovisioning and panic threshold): a
//! number 1..=100 against the cumulated loads, the healthy ones first, then the degraded ones.
//! The loads and which priorities are in panic follow from the endpoints' health and are
//! compiled.

use crate::{
    Machine,
    layout::{cluster, high, level, low, work},
    random,
};

/// Levels that a cluster may have: 128 priorities, healthy and degraded.
pub const LEVELS: u64 = 256;

/// The offset of the chosen set, or 0 where it is empty. Leaves the number and the level.
#[inline(always)]
pub fn choose<M: Machine>(machine: &mut M, record: u64) -> u64 {
    let number = random::draw(machine.word(work::RANDOM), random::PRIORITY);
    by_number(machine, record, number)
}

/// As [`choose`], by this number.
#[inline(always)]
pub fn by_number<M: Machine>(machine: &mut M, record: u64, number: u64) -> u64 {
    let levels = machine.policy64(record.wrapping_add(cluster::LEVELS));
    let value = number % 100 + 1;
    machine.set_word(work::PRIORITY_VALUE, value);
    // Read back, the verifier knows nothing of it and has less to follow.
    let value = machine.word(work::PRIORITY_VALUE);
    let mut at = low(levels);
    let mut index = 0;
    while index < LEVELS {
        if index >= high(levels) {
            return 0;
        }
        if value <= low(machine.policy64(at)) {
            break;
        }
        at = at.wrapping_add(level::BYTES);
        index += 1;
    }
    let level = machine.policy64(at.wrapping_add(level::PRIORITY));
    machine.set_word(work::LEVEL, level);
    high(machine.policy64(at))
}
