//! `safe_regex` and every other matcher that is a DFA: a full match, a byte at a time.
//!
//! A DFA stands in the policy as a word (start state, first accepting state, 16 bits each), a
//! table of 256 byte classes, and the transitions, two bytes each. A state is the offset of its
//! row; state 0 never accepts and never ends.

use crate::{Machine, Span};

/// Bytes that one step takes.
pub const STEP: u64 = 64;
/// Offset of the byte classes.
pub const CLASSES: u64 = 8;
/// Offset of the transitions.
pub const TRANSITIONS: u64 = CLASSES + 256;

/// The state after the span's first [`STEP`] bytes.
#[inline(always)]
pub fn step<M: Machine>(machine: &mut M, dfa: u64, state: u64, span: Span) -> u64 {
    let mut state = state;
    let mut index = 0;
    while index < STEP {
        if index >= span.length() {
            break;
        }
        let byte = machine.input8(span.offset().wrapping_add(index));
        let class = machine.policy8(dfa.wrapping_add(CLASSES).wrapping_add(byte));
        state = machine.policy16(
            dfa.wrapping_add(TRANSITIONS)
                .wrapping_add(state.wrapping_add(class) << 1),
        );
        index += 1;
    }
    state
}

/// 1 where the DFA accepts the span's bytes, else 0.
#[inline(always)]
pub fn matches<M: Machine>(machine: &mut M, dfa: u64, span: Span) -> u64 {
    let head = machine.policy64(dfa);
    let mut state = head & 0xffff;
    let mut index = 0;
    while index < M::HEAD_BYTES / STEP {
        let position = index * STEP;
        if position >= span.length() || state == 0 {
            break;
        }
        let left = span.length().wrapping_sub(position);
        state = machine.regex_step(
            dfa,
            state,
            Span::new(span.offset().wrapping_add(position), left),
        );
        index += 1;
    }
    (state >= head >> 16 & 0xffff) as u64
}

/// Whether the DFA accepts these bytes, which are no input. In userspace.
pub fn accepts<M: Machine>(machine: &M, dfa: u64, bytes: impl Iterator<Item = u8>) -> bool {
    let head = machine.policy64(dfa);
    let mut state = head & 0xffff;
    for byte in bytes {
        let class = machine.policy8(dfa.wrapping_add(CLASSES).wrapping_add(u64::from(byte)));
        let row = state.wrapping_add(class) << 1;
        state = machine.policy16(dfa.wrapping_add(TRANSITIONS).wrapping_add(row));
    }
    state >= head >> 16 & 0xffff
}
