//! Numbers as `absl::SimpleAtoi` reads them: white space around, a sign, decimal digits.

use crate::{Machine, Span, layout::work};

/// Characters that are looked at; text that is longer is no number.
const CHARACTERS: u64 = 64;

/// What has been read so far, with the sign above it.
mod phase {
    /// Nothing but white space.
    pub const START: u64 = 0;
    /// The sign.
    pub const SIGN: u64 = 1;
    /// Digits.
    pub const DIGITS: u64 = 2;
    /// White space after the digits.
    pub const END: u64 = 3;
    /// This is no number.
    pub const NONE: u64 = 4;
    /// Bit: the sign is a minus.
    pub const NEGATIVE: u64 = 8;
}

/// Reads a number. The result's magnitude is left in [`work::NUMBER`]; given back: 0 not a
/// number or over 2^64-1, 1 zero or positive, 2 negative.
#[inline(always)]
pub fn parse<M: Machine>(machine: &mut M, span: Span) -> u64 {
    machine.set_word(work::NUMBER, 0);
    if span.length() > CHARACTERS {
        return 0;
    }
    let mut state = phase::START;
    let mut index = 0;
    while index < CHARACTERS {
        if index >= span.length() {
            break;
        }
        let byte = machine.input8(span.offset().wrapping_add(index));
        state = machine.character(state, byte);
        index += 1;
    }
    match state & 7 {
        phase::DIGITS | phase::END => 1 + ((state / phase::NEGATIVE) & 1),
        _ => 0,
    }
}

/// The state after one more character.
#[inline(always)]
pub fn character<M: Machine>(machine: &mut M, state: u64, byte: u64) -> u64 {
    let negative = state & phase::NEGATIVE;
    let phase = state & 7;
    let digit = byte.wrapping_sub(b'0' as u64);
    if digit < 10 && phase <= phase::DIGITS {
        let number = machine.word(work::NUMBER);
        if number > (u64::MAX - digit) / 10 {
            return phase::NONE;
        }
        machine.set_word(work::NUMBER, number.wrapping_mul(10).wrapping_add(digit));
        return phase::DIGITS | negative;
    }
    if byte == b' ' as u64 || byte.wrapping_sub(b'\t' as u64) < 5 {
        return match phase {
            phase::START => phase::START,
            phase::DIGITS | phase::END => phase::END | negative,
            _ => phase::NONE,
        };
    }
    if phase == phase::START && byte == b'+' as u64 {
        return phase::SIGN;
    }
    if phase == phase::START && byte == b'-' as u64 {
        return phase::SIGN | phase::NEGATIVE;
    }
    phase::NONE
}
