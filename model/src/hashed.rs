//! `RING_HASH` and `MAGLEV`: a look-up in what was laid out when the policy was compiled.

use crate::{
    Machine,
    layout::{high, set},
};

/// The position of the endpoint at the first hash of the ring that is not below the number; behind
/// the last hash the ring starts over.
pub fn ring<M: Machine>(machine: &M, record: u64, number: u64) -> u64 {
    let ring = high(machine.policy64(record.wrapping_add(set::ENDPOINTS)));
    let length = high(machine.policy64(record.wrapping_add(set::STATE)));
    let (mut from, mut to) = (0, length);
    while from < to {
        let middle = (from + to) >> 1;
        if machine.policy64(ring.wrapping_add(middle << 3)) < number {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    let at = if from == length { 0 } else { from };
    machine.policy16(ring.wrapping_add(length << 3).wrapping_add(at << 1))
}

/// The position that the table has at the number modulo its size.
pub fn table<M: Machine>(machine: &M, record: u64, number: u64) -> u64 {
    let table = high(machine.policy64(record.wrapping_add(set::ENDPOINTS)));
    let size = high(machine.policy64(record.wrapping_add(set::STATE)));
    let at = number.checked_rem(size).unwrap_or(0);
    machine.policy16(table.wrapping_add(at << 1))
}
