//! Text of the policy against a value.

use crate::{Machine, Span, bytes, layout::TEXT_BYTES};

/// 1 where the span's bytes are the policy's at `text`, else 0. The span is as long as the text,
/// at most [`TEXT_BYTES`].
#[inline(always)]
pub fn equal<M: Machine>(machine: &mut M, text: u64, span: Span) -> u64 {
    let rest = span.length() & 7;
    let whole = span.length() - rest;
    let difference = machine.input64(span.offset().wrapping_add(whole))
        ^ machine.policy64(text.wrapping_add(whole));
    if bytes::keep(difference, rest) != 0 {
        return 0;
    }
    let mut index = 0;
    while index < TEXT_BYTES / 8 {
        let position = index * 8;
        if position >= whole {
            break;
        }
        if machine.input64(span.offset().wrapping_add(position))
            != machine.policy64(text.wrapping_add(position))
        {
            return 0;
        }
        index += 1;
    }
    1
}
