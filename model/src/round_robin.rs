//! `ROUND_ROBIN`: in turn; with weights that differ in the order of an earliest-deadline-first
//! queue, which repeats after as many picks as the weights sum up to and is compiled to a schedule.

use crate::{
    Machine,
    layout::{high, low, set},
};

/// The position of the next endpoint in the set.
#[inline(always)]
pub fn next<M: Machine>(machine: &mut M, record: u64) -> u64 {
    let kind = machine.policy64(record);
    let state = machine.policy64(record.wrapping_add(set::STATE));
    let turn = machine.tick(low(state));
    if low(kind) == set::SCHEDULE {
        let schedule = high(machine.policy64(record.wrapping_add(set::ENDPOINTS)));
        let length = high(state);
        let pick = if length == 0 { 0 } else { turn % length };
        return machine.policy16(schedule.wrapping_add(pick << 1));
    }
    let count = high(kind);
    if count == 0 { 0 } else { turn % count }
}
