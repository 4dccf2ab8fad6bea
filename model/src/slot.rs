//! Slots: the values that a request has for each name that some route refers to.
//!
//! A slot's word holds the request's sequence number (so that words of older requests count as
//! empty), how many values it has, and the first and last of them; values are chained.

use crate::{
    Machine, Span,
    layout::{header, high, low, slot, work},
};

/// Offset of the value's span.
#[inline(always)]
pub fn span<M: Machine>(machine: &M, occurrence: u64) -> Span {
    let word = machine.word(work::OCCURRENCES + (occurrence & 127) * 2);
    Span::new(word & 0xff_ffff, word >> 24 & 0xff_ffff)
}

/// The occurrence after this one plus one, or 0.
#[inline(always)]
pub fn next<M: Machine>(machine: &M, occurrence: u64) -> u64 {
    machine.word(work::OCCURRENCES + (occurrence & 127) * 2) >> 48 & 0xff
}

/// The number of the value among those that routes compare with for equality, or 0.
#[inline(always)]
pub fn number<M: Machine>(machine: &M, occurrence: u64) -> u64 {
    machine.word(work::OCCURRENCES + (occurrence & 127) * 2 + 1)
}

/// The slot's first occurrence plus one, or 0.
#[inline(always)]
pub fn first<M: Machine>(machine: &M, slot: u64) -> u64 {
    let word = machine.word(work::SLOTS + (slot & (work::SLOTS_MAX - 1)));
    if word >> 24 == machine.word(work::SEQUENCE) {
        word & 0xff
    } else {
        0
    }
}

/// How many values the slot has.
#[inline(always)]
pub fn count<M: Machine>(machine: &M, slot: u64) -> u64 {
    let word = machine.word(work::SLOTS + (slot & (work::SLOTS_MAX - 1)));
    if word >> 24 == machine.word(work::SEQUENCE) {
        word >> 16 & 0xff
    } else {
        0
    }
}

/// Takes all values from the slot.
#[inline(always)]
pub fn clear<M: Machine>(machine: &mut M, slot: u64) {
    machine.set_word(work::SLOTS + (slot & (work::SLOTS_MAX - 1)), 0);
}

/// Keeps a value. 0, or 1 where there is no room.
#[inline(always)]
pub fn add<M: Machine>(machine: &mut M, slot: u64, span: Span) -> u64 {
    let used = machine.word(work::OCCURRENCES_USED);
    if used >= work::OCCURRENCES_MAX {
        return 1;
    }
    machine.set_word(work::OCCURRENCES_USED, used + 1);
    let table = high(machine.policy64(header::QUERY_PARAMETERS));
    let root = low(machine.policy64(table.wrapping_add(slot.wrapping_mul(slot::RECORD))));
    let number = if root == 0 {
        0
    } else {
        low(machine.walk(root, span, 0))
    };
    let at = work::OCCURRENCES + (used & 127) * 2;
    machine.set_word(
        at,
        (span.offset() & 0xff_ffff) | (span.length() & 0xff_ffff) << 24,
    );
    machine.set_word(at + 1, number);

    let place = work::SLOTS + (slot & (work::SLOTS_MAX - 1));
    let sequence = machine.word(work::SEQUENCE);
    let word = machine.word(place);
    if word >> 24 == sequence {
        let last = work::OCCURRENCES + ((word >> 8 & 0xff).wrapping_sub(1) & 127) * 2;
        let chained = machine.word(last) | (used + 1) << 48;
        machine.set_word(last, chained);
        let count = (word >> 16 & 0xff) + 1;
        machine.set_word(
            place,
            (word & 0xff) | (used + 1) << 8 | (count & 0xff) << 16 | sequence << 24,
        );
    } else {
        machine.set_word(
            place,
            (used + 1) | (used + 1) << 8 | 1 << 16 | sequence << 24,
        );
    }
    0
}
