//! Which route of a virtual host takes the request: the first whose matchers all accept it.
//!
//! No route is looked at whose path matcher does not accept the path: a walk through the paths
//! finds their class, and a class lists its candidates in order. Where a class has many, those
//! that ask for an exact value of some header are listed by that value.

use crate::{
    Machine, Span, connect, fraction,
    layout::{RECORD, class, header, high, low, matcher, of, pair, route, virtual_host, work},
    slot,
    trie::{self, mode},
    userspace,
};

/// Matchers that a route may have in the kernel's loop; the compiler refuses more.
pub const MATCHERS: u64 = 256;
/// Candidates of one part of a list.
pub const PART: u64 = 128;
/// Parts that are looked through.
pub const PARTS: u64 = 1024;
/// Classes above one another: the compiler merges what is deeper.
pub const CLASSES: u64 = 64;
/// Slots by whose values a class lists routes.
pub const KEYS: u64 = 4;
/// No route: larger than every number.
pub const NONE: u64 = 0xffff_ffff;
/// Not decided: more lists than fit.
pub const TOO_MANY: u64 = NONE + 1;

/// 1 where all matchers of a route accept the request. Low: their offset; high: how many.
#[inline(always)]
pub fn candidate<M: Machine>(machine: &mut M, matchers: u64) -> u64 {
    let mut index = 0;
    while index < MATCHERS {
        if index >= high(matchers) {
            break;
        }
        if machine.matcher(low(matchers).wrapping_add(index * RECORD)) == 0 {
            return 0;
        }
        index += 1;
    }
    1
}

/// The better of `best` and the first candidate that accepts the request among the next [`PART`]
/// of the lists to look through.
#[inline(always)]
pub fn part<M: Machine>(machine: &mut M, best: u64) -> u64 {
    let routes = low(machine.policy64(header::ROUTES));
    let at = work::LISTS + (machine.word(work::LISTS_DONE) & (work::LISTS_MAX - 1));
    let list = machine.word(at);
    let mut index = 0;
    while index < PART {
        if index >= high(list) {
            break;
        }
        let number = low(machine.policy64(low(list).wrapping_add(index * 8)));
        if number >= best {
            return next_list(machine, best);
        }
        let record = routes.wrapping_add(number.wrapping_mul(RECORD));
        let matchers = machine.policy64(record);
        if (high(matchers) == 0 || machine.candidate(matchers) != 0)
            && (!M::USERSPACE || userspace::route(machine, record))
        {
            return next_list(machine, number);
        }
        index += 1;
    }
    if high(list) <= PART {
        return next_list(machine, best);
    }
    machine.set_word(at, pair(low(list) + PART * 8, high(list) - PART));
    best
}

/// Goes on to the next list.
#[inline(always)]
fn next_list<M: Machine>(machine: &mut M, best: u64) -> u64 {
    let done = machine.word(work::LISTS_DONE);
    machine.set_word(work::LISTS_DONE, done.wrapping_add(1));
    best
}

/// Adds a list (low: offset, high: candidates) to those to look through.
#[inline(always)]
fn add_list<M: Machine>(machine: &mut M, list: u64) {
    if high(list) == 0 {
        return;
    }
    let used = machine.word(work::LISTS_USED);
    machine.set_word(work::LISTS + (used & (work::LISTS_MAX - 1)), list);
    machine.set_word(work::LISTS_USED, used.wrapping_add(1));
}

/// Adds what a class lists under the values of a slot. 0.
#[inline(always)]
pub fn keyed<M: Machine>(machine: &mut M, class: u64, slot: u64) -> u64 {
    let number = machine.policy64(class.wrapping_add(class::NUMBER));
    let mut occurrence = slot::first(machine, slot);
    let mut index = 0;
    while index < work::OCCURRENCES_MAX {
        if occurrence == 0 {
            break;
        }
        occurrence = machine.keyed_value(number, slot, occurrence.wrapping_sub(1));
        index += 1;
    }
    0
}

/// Adds what a class lists under one value of a slot. The slot's next value plus one, or 0.
#[inline(always)]
pub fn keyed_value<M: Machine>(machine: &mut M, number: u64, slot: u64, occurrence: u64) -> u64 {
    let value = slot::number(machine, occurrence);
    if value != 0 {
        let entry = machine.probe(pair(value, slot), trie::key(number, trie::tag::LIST));
        if entry != 0 {
            let list = machine.policy64(entry.wrapping_add(16));
            add_list(machine, list);
        }
    }
    slot::next(machine, occurrence)
}

/// Adds the lists of a class: those under the values of its slots, then its own. The class above
/// it, or 0.
#[inline(always)]
pub fn class<M: Machine>(machine: &mut M, class: u64) -> u64 {
    let mut keys = machine.policy64(class.wrapping_add(class::KEYS));
    let mut index = 0;
    while index < KEYS {
        if keys & 0xffff == 0 {
            break;
        }
        machine.keyed(class, (keys & 0xffff).wrapping_sub(1));
        keys >>= 16;
        index += 1;
    }
    let list = machine.policy64(class);
    add_list(machine, list);
    low(machine.policy64(class.wrapping_add(class::PARENT)))
}

/// Adds the lists of the path's class in the trie at `root`, and of those above it. 0.
#[inline(always)]
pub fn lists<M: Machine>(machine: &mut M, root: u64, mode: u64) -> u64 {
    let found = machine.walk(root, Span(machine.word(work::PATH)), mode);
    let mut class = if low(found) != 0 {
        low(found)
    } else {
        high(found)
    };
    let mut index = 0;
    while index < CLASSES {
        if class == 0 {
            break;
        }
        class = machine.class(class);
        index += 1;
    }
    0
}

/// The number of the route that takes the request, or [`NONE`]; [`TOO_MANY`] where more lists
/// would have to be looked through than fit.
#[inline(always)]
pub fn route<M: Machine>(machine: &mut M, host: u64) -> u64 {
    let paths = machine.policy64(host.wrapping_add(virtual_host::PATHS));
    machine.set_word(work::LISTS_USED, 0);
    machine.set_word(work::LISTS_DONE, 0);
    machine.lists(low(paths), 0);
    if high(paths) != 0 {
        machine.lists(high(paths), mode::LOWER);
    }
    if machine.word(work::LISTS_USED) > work::LISTS_MAX {
        return TOO_MANY;
    }
    let mut best = NONE;
    let mut index = 0;
    while index < PARTS {
        if machine.word(work::LISTS_DONE) >= machine.word(work::LISTS_USED) {
            return best;
        }
        best = machine.part(best);
        index += 1;
    }
    TOO_MANY
}

/// The offset of the first matcher of a route that does not accept the request, the route being
/// looked at by itself, its fraction first and its path last; 0 where all do. For traces, in
/// userspace.
pub fn first_failed<M: Machine>(machine: &mut M, number: u64) -> u64 {
    let routes = low(machine.policy64(header::ROUTES));
    let record = routes.wrapping_add(number.wrapping_mul(RECORD));
    let path = low(machine.policy64(record.wrapping_add(route::PATH)));
    let connects = connect::asks(machine);
    if connects && !connect::takes(machine, record) {
        return path;
    }
    if !fraction::passes(machine, record) {
        return high(machine.policy64(record.wrapping_add(route::FORWARDING)));
    }
    let matchers = machine.policy64(record);
    let mut index = 0;
    while index < high(matchers) {
        let matcher = low(matchers).wrapping_add(index * RECORD);
        // A path's regex stands here too, and comes last all the same.
        let of = high(machine.policy64(matcher.wrapping_add(matcher::INDEX)));
        // A request without a path is never gRPC.
        let fails = connects && of == of::GRPC;
        if of != of::PATH && (fails || machine.matcher(matcher) == 0) {
            return matcher;
        }
        index += 1;
    }
    let more = userspace::first_failed(machine, record);
    if more != 0 {
        return more;
    }
    if path == 0 || connects || path_matches(machine, path) {
        0
    } else {
        path
    }
}

/// Whether the path passes a route's path matcher, looked at by itself.
fn path_matches<M: Machine>(machine: &mut M, matcher: u64) -> bool {
    let span = Span(machine.word(work::PATH));
    let head = machine.policy64(matcher);
    let kind = head & 0xff;
    let data = machine.policy64(matcher.wrapping_add(matcher::VALUE));
    let length = head >> 32;
    if kind == matcher::PRESENT {
        return true;
    }
    if kind == matcher::REGEX {
        return machine.regex(data, span) != 0;
    }
    if span.length() < length || (kind == matcher::EQUAL && span.length() != length) {
        return false;
    }
    if kind == matcher::SEPARATED_PREFIX
        && span.length() != length
        && machine.input8(span.offset().wrapping_add(length)) != b'/' as u64
    {
        return false;
    }
    machine.equal(data, Span::new(span.offset(), length)) != 0
}
