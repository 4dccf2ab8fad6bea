//! The head of an HTTP/1.x request: request line, headers, and what Envoy refuses in them.

use crate::{
    Machine, Span,
    layout::{bad_request, framing, header, high, input, low, slot, unsupported, work},
    scan::{class, scan},
    trie::mode,
};

/// Lines that are looked at: Envoy takes 100 headers.
const LINES: u64 = 112;
/// Headers that Envoy takes.
const HEADERS: u64 = 100;
/// Stops of a scan at bytes that a token may have beside letters and digits.
const STOPS: u64 = 32;
/// A token with more of them.
const TOO_LONG: u64 = u64::MAX;

/// [`header_line`]'s high half: the head ends here.
const END: u64 = 255;

/// Whether a byte may stand in a token: `!#$%&'*+-.^_` and the backquote, `|~`, letters, digits.
#[inline(always)]
const fn token(byte: u64) -> bool {
    let bits: u64 = if byte < 64 {
        0x03ff_6cfa_0000_0000
    } else if byte < 128 {
        0x57ff_ffff_c7ff_fffe
    } else {
        0
    };
    bits >> (byte & 63) & 1 == 1
}

/// The end of the token that starts at `offset`: the first byte that may not be in one;
/// [`TOO_LONG`] where that is too far.
#[inline(always)]
pub fn token_end<M: Machine>(machine: &mut M, offset: u64, end: u64) -> u64 {
    let mut at = offset;
    let mut index = 0;
    while index < STOPS {
        at = scan(machine, Span::new(at, end.wrapping_sub(at)), class::NAME);
        if at >= end || !token(machine.input8(at)) {
            return at;
        }
        at = at.wrapping_add(1);
        index += 1;
    }
    TOO_LONG
}

/// The request line at `offset`. Low: the offset after it; high: 0 or a code of [`bad_request`].
#[inline(always)]
pub fn request_line<M: Machine>(machine: &mut M, offset: u64, end: u64) -> u64 {
    let bad = bad_request::REQUEST_LINE << 32;
    let method_end = machine.token_end(offset, end);
    if method_end == offset || method_end >= end || machine.input8(method_end) != b' ' as u64 {
        return bad;
    }
    let from = method_end.wrapping_add(1);
    let path_end = scan(
        machine,
        Span::new(from, end.wrapping_sub(from)),
        class::PATH,
    );
    if path_end >= end {
        return bad;
    }
    let mut target_end = path_end;
    if machine.input8(path_end) == b'?' as u64 {
        target_end = scan(
            machine,
            Span::new(path_end, end.wrapping_sub(path_end)),
            class::QUERY,
        );
    }
    if target_end >= end || target_end == from {
        return bad;
    }
    let stop = machine.input8(target_end);
    if stop == b'#' as u64 {
        return bad_request::TARGET << 32;
    }
    let version = machine.input64(target_end.wrapping_add(1));
    let minor = (version >> 56).wrapping_sub(b'0' as u64);
    let line_end = target_end.wrapping_add(9);
    if stop != b' ' as u64
        || version & 0x00ff_ffff_ffff_ffff != u64::from_le_bytes(*b"HTTP/1.\0")
        || minor > 1
    {
        return bad;
    }
    let tail = machine.input64(line_end) & 0xffff;
    if line_end.wrapping_add(2) > end || tail != 0x0a0d {
        return bad;
    }
    machine.set_word(
        work::METHOD,
        Span::new(offset, method_end.wrapping_sub(offset)).0,
    );
    machine.set_word(
        work::TARGET,
        Span::new(from, target_end.wrapping_sub(from)).0,
    );
    machine.set_word(work::PATH, Span::new(from, path_end.wrapping_sub(from)).0);
    machine.set_word(work::MINOR_VERSION, minor);
    line_end.wrapping_add(2)
}

/// Space or tab.
#[inline(always)]
const fn blank(byte: u64) -> bool {
    byte == b' ' as u64 || byte == b'\t' as u64
}

/// The span without the spaces and tabs around it.
#[inline(always)]
fn trim<M: Machine>(machine: &mut M, offset: u64, end: u64) -> Span {
    // Nearly every value has one space before it and none after.
    let mut from = if machine.input8(offset) == b' ' as u64 && offset < end {
        offset.wrapping_add(1)
    } else {
        offset
    };
    let mut to = end;
    if from < to && blank(machine.input8(from)) {
        from = scan(
            machine,
            Span::new(from, to.wrapping_sub(from)),
            class::BLANK,
        );
    }
    if from < to && blank(machine.input8(to.wrapping_sub(1))) {
        to = machine.scan_back(Span::new(from, to.wrapping_sub(from)));
        if to == TOO_LONG {
            return Span::new(TOO_LONG, 0);
        }
    }
    Span::new(from, to.wrapping_sub(from))
}

/// The slot of a header name plus one, or 0 where no route refers to it.
#[inline(always)]
pub fn slot_of<M: Machine>(machine: &mut M, name: Span) -> u64 {
    let names = machine.policy64(header::HEADER_NAMES);
    let start = crate::bytes::keep(
        crate::bytes::lower(machine.input64(name.offset())),
        name.length(),
    );
    let bit = filter_bit(start, name.length());
    let word = machine.policy64(high(names).wrapping_add(bit >> 6 << 3));
    if word >> (bit & 63) & 1 == 0 {
        return 0;
    }
    low(machine.walk(low(names), name, mode::LOWER))
}

/// Which bit of the filter stands for names that start with these (up to eight, lower-case) bytes
/// and have this length.
#[inline(always)]
pub const fn filter_bit(start: u64, length: u64) -> u64 {
    let word = (start ^ length << 59 ^ length).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word >> 55
}

/// The header line at `offset`. Low: the offset after it; high: 0, [`END`], a code of
/// [`bad_request`], or from 256 on 256 plus one of [`unsupported`].
#[inline(always)]
pub fn header_line<M: Machine>(machine: &mut M, offset: u64, end: u64) -> u64 {
    if offset.wrapping_add(2) <= end && machine.input64(offset) & 0xffff == 0x0a0d {
        return offset.wrapping_add(2) | END << 32;
    }
    let name_end = machine.token_end(offset, end);
    if name_end == TOO_LONG {
        return (256 + unsupported::TOO_MANY_VALUES) << 32;
    }
    if name_end >= end {
        return bad_request::INCOMPLETE << 32;
    }
    if name_end == offset || machine.input8(name_end) != b':' as u64 {
        return bad_request::HEADER_NAME << 32;
    }
    let from = name_end.wrapping_add(1);
    let line_end = scan(
        machine,
        Span::new(from, end.wrapping_sub(from)),
        class::VALUE,
    );
    if line_end.wrapping_add(2) > end {
        return bad_request::INCOMPLETE << 32;
    }
    if machine.input64(line_end) & 0xffff != 0x0a0d {
        return bad_request::HEADER_VALUE << 32;
    }
    let next = line_end.wrapping_add(2);
    let found = machine.slot_of(Span::new(offset, name_end.wrapping_sub(offset)));
    if found == 0 {
        return next;
    }
    let value = trim(machine, from, line_end);
    if value.offset() == low(TOO_LONG) {
        return (256 + unsupported::TOO_MANY_VALUES) << 32;
    }
    let slot = found.wrapping_sub(1);
    if slot < slot::FIRST {
        let refused = machine.framing(slot, value);
        if refused != 0 {
            return refused << 32;
        }
        let table = high(machine.policy64(header::QUERY_PARAMETERS));
        let wanted = high(machine.policy64(table.wrapping_add(slot.wrapping_mul(slot::RECORD))));
        if slot >= slot::AUTHORITY || wanted == 0 {
            return next;
        }
    }
    if machine.add(slot, value) != 0 {
        return (256 + unsupported::TOO_MANY_VALUES) << 32;
    }
    next
}

/// Host, Content-Length and Transfer-Encoding. 0, or a code of [`bad_request`].
#[inline(always)]
pub fn framing<M: Machine>(machine: &mut M, slot: u64, value: Span) -> u64 {
    let bits = machine.word(work::FRAMING);
    if slot == slot::AUTHORITY {
        if bits & framing::HOST != 0 {
            return bad_request::DUPLICATE_HOST;
        }
        machine.set_word(work::FRAMING, bits | framing::HOST);
        machine.set_word(work::HOST, value.0);
    }
    if slot == slot::CONTENT_LENGTH {
        if machine.integer(value) != 1 {
            return bad_request::CONTENT_LENGTH;
        }
        let number = machine.word(work::NUMBER);
        if bits & framing::CONTENT_LENGTH != 0 && machine.word(work::CONTENT_LENGTH) != number {
            return bad_request::CONTENT_LENGTH;
        }
        machine.set_word(work::FRAMING, bits | framing::CONTENT_LENGTH);
        machine.set_word(work::CONTENT_LENGTH, number);
    }
    if slot == slot::TRANSFER_ENCODING {
        let word = crate::bytes::keep(
            crate::bytes::lower(machine.input64(value.offset())),
            value.length(),
        );
        if bits & framing::TRANSFER_ENCODING != 0
            || value.length() != 7
            || word != u64::from_le_bytes(*b"chunked\0")
        {
            return bad_request::TRANSFER_ENCODING;
        }
        machine.set_word(work::FRAMING, bits | framing::TRANSFER_ENCODING);
    }
    0
}

/// Reads the head. 0 where it is accepted; low: a code of [`bad_request`]; high: a number of
/// [`unsupported`].
#[inline(always)]
pub fn head<M: Machine>(machine: &mut M) -> u64 {
    let length = machine.word(work::HEAD_LENGTH);
    if length > M::HEAD_BYTES {
        return unsupported::HEAD_TOO_LARGE << 32;
    }
    let end = input::HEAD.wrapping_add(length);
    machine.set_word(work::OCCURRENCES_USED, 0);
    machine.set_word(work::FRAMING, 0);
    machine.set_word(work::HOST, Span::new(input::HEAD, 0).0);
    let line = machine.request_line(input::HEAD, end);
    if high(line) != 0 {
        return high(line);
    }
    let mut offset = low(line);
    let mut index = 0;
    while index < LINES {
        let line = machine.header_line(offset, end);
        if high(line) == END {
            if index > HEADERS {
                return bad_request::TOO_LARGE;
            }
            machine.set_word(work::HEAD_END, low(line));
            let bits = machine.word(work::FRAMING);
            if bits & framing::CONTENT_LENGTH != 0 && bits & framing::TRANSFER_ENCODING != 0 {
                return bad_request::TRANSFER_ENCODING;
            }
            return machine.authority();
        }
        if high(line) >= 256 {
            return (high(line) - 256) << 32;
        }
        if high(line) != 0 {
            return high(line);
        }
        offset = low(line);
        index += 1;
    }
    bad_request::TOO_LARGE
}
