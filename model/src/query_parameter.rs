//! The query of the target, cut into parameters; only those that some route names are kept, and
//! of each the first value.

use crate::{
    Machine, Span,
    layout::{header, low, work},
    scan::{class, scan},
    slot,
};

/// Parameters that are looked at.
pub const PARAMETERS: u64 = 512;

/// Keeps the parameter from `offset` on. Low: the offset after its `&`; high: 1 where there was no
/// room for it.
#[inline(always)]
pub fn parameter<M: Machine>(machine: &mut M, offset: u64, end: u64) -> u64 {
    let ampersand = scan(
        machine,
        Span::new(offset, end.wrapping_sub(offset)),
        class::AMPERSAND,
    );
    let equals = scan(
        machine,
        Span::new(offset, ampersand.wrapping_sub(offset)),
        class::EQUALS,
    );
    let root = low(machine.policy64(header::QUERY_PARAMETERS));
    let found = low(machine.walk(root, Span::new(offset, equals.wrapping_sub(offset)), 0));
    let next = ampersand.wrapping_add(1);
    if found == 0 || slot::first(machine, found.wrapping_sub(1)) != 0 {
        return next;
    }
    let from = if equals < ampersand {
        equals.wrapping_add(1)
    } else {
        ampersand
    };
    let full = machine.add(
        found.wrapping_sub(1),
        Span::new(from, ampersand.wrapping_sub(from)),
    );
    next | full << 32
}

/// Keeps the parameters of the target's query. 0, or 1 where there are more than fit.
#[inline(always)]
pub fn parse<M: Machine>(machine: &mut M) -> u64 {
    let target = Span(machine.word(work::TARGET));
    let path = Span(machine.word(work::PATH));
    let mut offset = path.end().wrapping_add(1);
    let mut index = 0;
    while index < PARAMETERS {
        if offset >= target.end() {
            return 0;
        }
        let next = machine.query_parameter(offset, target.end());
        if next >> 32 != 0 {
            return 1;
        }
        offset = low(next);
        index += 1;
    }
    (offset < target.end()) as u64
}
