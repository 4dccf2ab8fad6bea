//! How many headers a head has (`max_headers_count`), where it has more lines than that: Envoy keeps
//! one entry of a header whose repeated lines it joins, and counts entries.

use crate::{
    Machine, Span,
    head::line_end,
    layout::{filter_chain, header, high, input, low, work},
    scan::{class, scan},
    trie::mode,
};

/// 1 where the head has more entries than it may have, else 0. Its lines have been read; the first
/// is at `offset`.
#[inline(always)]
pub fn exceeds<M: Machine>(machine: &mut M, offset: u64) -> u64 {
    machine.set_word(work::HEADER_COUNT, 0);
    machine.set_word(work::HEADERS_SEEN, 0);
    let mut at = offset;
    let mut index = 0;
    while index < M::LINES {
        at = machine.header_count_line(at);
        if at == 0 {
            break;
        }
        index += 1;
    }
    (machine.word(work::HEADER_COUNT) > machine.word(work::HEADERS_MAX)) as u64
}

/// Counts the line at `offset`. The offset after it, or 0 where the head ends here.
#[inline(always)]
pub fn line<M: Machine>(machine: &mut M, offset: u64) -> u64 {
    let end = input::HEAD.wrapping_add(machine.word(work::HEAD_LENGTH));
    let rest = Span::new(offset, end.wrapping_sub(offset));
    // The name of a line that was read ends at the first colon; the empty line has none.
    if line_end(machine, offset, end) != 0 || offset >= end {
        return 0;
    }
    let name = Span::new(
        offset,
        scan(machine, rest, class::COLON).wrapping_sub(offset),
    );
    let after = scan(machine, rest, class::VALUE);
    let after = line_end(machine, after, end);
    if machine.word(work::FLAGS) & filter_chain::DROP_UNDERSCORES != 0
        && scan(machine, name, class::UNDERSCORE) < name.end()
    {
        return after;
    }
    let root = high(machine.policy64(header::TARGETS));
    let number = low(machine.walk(root, name, mode::LOWER));
    let seen = machine.word(work::HEADERS_SEEN);
    let bit = 1 << (number & 63);
    if number == 0 || seen & bit == 0 {
        let count = machine.word(work::HEADER_COUNT);
        machine.set_word(work::HEADER_COUNT, count.wrapping_add(1));
        machine.set_word(work::HEADERS_SEEN, seen | bit);
    }
    after
}
