//! Cookies: the value of one by its name, and `RouteMatch.cookies`.
//!
//! The first cookie of a name counts, over all lines; only spaces before the name and one pair of
//! quotes around the value are taken off (measured on Envoy 1.40).

use crate::{
    Machine, Span,
    layout::{high, low, matcher},
    matcher::text,
    slot,
};

/// Whether the request passes a cookie's matcher. A cookie that is missing does not match, and
/// `invert_match` turns that round too.
pub fn matches<M: Machine>(machine: &mut M, record: u64) -> bool {
    let head = machine.policy64(record);
    let name = machine.policy64(record.wrapping_add(matcher::END));
    let data = machine.policy64(record.wrapping_add(matcher::VALUE));
    let found = match value(machine, head >> 16 & 0xffff, name) {
        None => 0,
        Some(span) if head & 0xff == matcher::REGEX => machine.regex(data, span),
        Some(span) => text(machine, head & 0xff, data, head >> 32, span),
    };
    (found ^ (head >> 8 & matcher::INVERT)) != 0
}

/// The value of the first cookie of a name (low: its offset in the policy; high: its length), over
/// all headers that have cookies.
pub fn value<M: Machine>(machine: &M, slot: u64, name: u64) -> Option<Span> {
    let mut occurrence = slot::first(machine, slot);
    for _ in 0..slot::count(machine, slot) {
        let line = slot::span(machine, occurrence.wrapping_sub(1));
        let mut offset = line.offset();
        while offset < line.end() {
            let end = find(machine, offset, line.end(), b';');
            let equals = find(machine, offset, end, b'=');
            let mut from = offset;
            while from < equals && machine.input8(from) == u64::from(b' ') {
                from = from.wrapping_add(1);
            }
            let is_named = equals.wrapping_sub(from) == high(name)
                && (0..high(name)).all(|index| {
                    machine.input8(from.wrapping_add(index))
                        == machine.policy8(low(name).wrapping_add(index))
                });
            if equals < end && is_named {
                return Some(unquoted(machine, equals.wrapping_add(1), end));
            }
            offset = end.wrapping_add(1);
        }
        occurrence = slot::next(machine, occurrence.wrapping_sub(1));
    }
    None
}

fn find<M: Machine>(machine: &M, mut offset: u64, end: u64, byte: u8) -> u64 {
    while offset < end && machine.input8(offset) != u64::from(byte) {
        offset = offset.wrapping_add(1);
    }
    offset
}

/// A cookie's value without the quotes around it.
fn unquoted<M: Machine>(machine: &M, from: u64, end: u64) -> Span {
    let quote = |offset: u64| machine.input8(offset) == u64::from(b'"');
    let length = end.wrapping_sub(from);
    if length >= 2 && quote(from) && quote(end.wrapping_sub(1)) {
        Span::new(from.wrapping_add(1), length.wrapping_sub(2))
    } else {
        Span::new(from, length)
    }
}
