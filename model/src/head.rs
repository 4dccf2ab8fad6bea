//! The head of an HTTP/1.x request, line by line: what Envoy's HTTP/1 codec takes and refuses.
//!
//! What Envoy accepts and changes before it routes (obsolete folding, a CR inside a value, headers
//! that Connection names, repeated headers that it joins) is `unsupported`: never a decision on
//! other values than Envoy's.

use crate::{
    Machine, Span, bytes, connect,
    layout::{
        bad_request, filter_chain, framing, header, high, input, low, slot, unsupported, work,
    },
    request_line::blank,
    scan::{self, class, scan},
    trie::mode,
};

/// Headers that Envoy takes by default (`max_headers_count`).
pub const HEADERS: u64 = 100;
/// Stops of a scan at bytes that a token may have beside letters and digits.
const STOPS: u64 = 32;
/// A token with more of them, a value with more blanks after it: further than is looked.
pub(crate) const TOO_LONG: u64 = u64::MAX;

/// [`header_line`]'s high half: the head ends here.
pub const END: u64 = 255;
/// [`header_line`]'s high half from here on: one of [`unsupported`].
pub const UNDECIDED: u64 = 256;

const LF: u64 = b'\n' as u64;
pub(crate) const CR: u64 = b'\r' as u64;

/// Whether a byte may stand in a token: `!#$%&'*+-.^_` and the backquote, `|~`, letters, digits.
#[inline(always)]
const fn token(byte: u64) -> bool {
    let bits: u64 = match byte >> 6 {
        0 => 0x03ff_6cfa_0000_0000,
        1 => 0x57ff_ffff_c7ff_fffe,
        _ => 0,
    };
    bits >> (byte & 63) & 1 == 1
}

/// The end of the token that starts at `offset`: the first byte that may not be in one; or
/// `u64::MAX` where that is too far.
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

/// The offset after a line end at `offset`, or 0 where there is none.
#[inline(always)]
pub(crate) fn line_end<M: Machine>(machine: &M, offset: u64, end: u64) -> u64 {
    let bytes = machine.input64(offset);
    if bytes & 0xff == LF && offset < end {
        return offset.wrapping_add(1);
    }
    if bytes & 0xffff == CR | LF << 8 && offset.wrapping_add(1) < end {
        return offset.wrapping_add(2);
    }
    0
}

/// The span without the spaces and tabs around it; its offset is [`TOO_LONG`]'s where there are
/// too many.
#[inline(always)]
pub(crate) fn trim<M: Machine>(machine: &mut M, offset: u64, end: u64) -> Span {
    // Nearly every value has one space before it and none after.
    let mut from = offset;
    if machine.input8(offset) == b' ' as u64 && offset < end {
        from = offset.wrapping_add(1);
    }
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

/// The slot of a header name plus one, or 0 where nothing refers to it.
#[inline(always)]
pub fn slot_of<M: Machine>(machine: &mut M, name: Span) -> u64 {
    let names = low(machine.policy64(header::HEADER_NAMES));
    low(machine.walk(names, name, mode::LOWER))
}

/// Whether something may refer to a header name of this length that starts with these bytes.
#[inline(always)]
fn may_have_slot<M: Machine>(machine: &M, start: u64, length: u64) -> bool {
    let filter = high(machine.policy64(header::HEADER_NAMES));
    let bit = filter_bit(start, length);
    machine.policy64(filter.wrapping_add(bit >> 6 << 3)) >> (bit & 63) & 1 == 1
}

/// Which bit of the filter stands for names that start with these bytes (of which the first
/// `length`, up to eight, count) and have this length.
#[inline(always)]
pub const fn filter_bit(start: u64, length: u64) -> u64 {
    let word = bytes::keep(bytes::fold(start), length) ^ length << 59 ^ length;
    word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55
}

/// Words that [`colon`] and [`cr_lf`] look at.
const NAME_WORDS: u64 = 4;
const VALUE_WORDS: u64 = 8;

/// Where the colon after a name of few letters is, or 0 where it takes a closer look. `start` are
/// the name's first bytes.
#[inline(always)]
pub(crate) fn colon<M: Machine>(machine: &mut M, start: u64, offset: u64, end: u64) -> u64 {
    let mut word = start;
    let mut index = 0;
    while index < NAME_WORDS {
        let marks = scan::marks(word, class::NAME);
        if marks != 0 {
            let at = offset
                .wrapping_add(index * 8)
                .wrapping_add(bytes::first(marks));
            let found = at < end && at != offset && machine.input8(at) == b':' as u64;
            return if found { at } else { 0 };
        }
        index += 1;
        word = machine.input64(offset.wrapping_add(index * 8));
    }
    0
}

/// Where the CR and LF after a short header value are, or 0 where it takes a closer look.
#[inline(always)]
pub(crate) fn cr_lf<M: Machine>(machine: &mut M, offset: u64, end: u64) -> u64 {
    let mut index = 0;
    while index < VALUE_WORDS {
        let at = offset.wrapping_add(index * 8);
        let marks = bytes::control(machine.input64(at));
        if marks != 0 {
            let at = at.wrapping_add(bytes::first(marks));
            let found = at.wrapping_add(1) < end && machine.input64(at) & 0xffff == CR | LF << 8;
            return if found { at } else { 0 };
        }
        index += 1;
    }
    0
}

/// The header line at `offset`. Low: the offset after it; high: 0, [`END`], a code of
/// [`bad_request`], or from [`UNDECIDED`] on one of [`unsupported`].
#[inline(always)]
pub fn header_line<M: Machine>(machine: &mut M, offset: u64, end: u64) -> u64 {
    let start = machine.input64(offset);
    if start & 0xff <= CR {
        let after = line_end(machine, offset, end);
        if after != 0 {
            return after | END << 32;
        }
    }
    let mut name_end = colon(machine, start, offset, end);
    if name_end == 0 {
        name_end = machine.token_end(offset, end);
        if name_end == TOO_LONG {
            return (UNDECIDED + unsupported::TOO_MANY_VALUES) << 32;
        }
        if name_end >= end {
            return bad_request::INCOMPLETE << 32;
        }
        if name_end == offset && blank(machine.input8(offset)) {
            // Obsolete folding: the line goes on with the header before it.
            return (UNDECIDED + unsupported::HEADER_REWRITTEN) << 32;
        }
        if name_end == offset || machine.input8(name_end) != b':' as u64 {
            return bad_request::HEADER_NAME << 32;
        }
    }
    let from = name_end.wrapping_add(1);
    let mut value_end = cr_lf(machine, from, end);
    let mut next = value_end.wrapping_add(2);
    if value_end == 0 {
        let rest = Span::new(from, end.wrapping_sub(from));
        value_end = scan(machine, rest, class::VALUE);
        if value_end >= end {
            return bad_request::INCOMPLETE << 32;
        }
        next = line_end(machine, value_end, end);
        if next == 0 {
            let cr = machine.input8(value_end) == CR;
            return if cr {
                UNDECIDED + unsupported::HEADER_REWRITTEN
            } else {
                bad_request::HEADER_VALUE
            } << 32;
        }
    }
    let name = Span::new(offset, name_end.wrapping_sub(offset));
    let flags = machine.word(work::FLAGS);
    if flags & (filter_chain::REJECT_UNDERSCORES | filter_chain::DROP_UNDERSCORES) != 0
        && scan(machine, name, class::UNDERSCORE) < name.end()
    {
        return if flags & filter_chain::REJECT_UNDERSCORES != 0 {
            bad_request::UNDERSCORE << 32
        } else {
            next
        };
    }
    let host = name.length() == 4
        && bytes::fold(start) & 0xffff_ffff == u64::from_le_bytes(*b"host\0\0\0\0");
    let found = if host {
        slot::AUTHORITY + 1
    } else if may_have_slot(machine, start, name.length()) {
        machine.slot_of(name)
    } else {
        0
    };
    if found == 0 {
        return next;
    }
    let value = trim(machine, from, value_end);
    if value.offset() == low(TOO_LONG) {
        return (UNDECIDED + unsupported::TOO_MANY_VALUES) << 32;
    }
    let slot = found.wrapping_sub(1);
    if slot < slot::FIRST {
        machine.framing(slot, value);
    }
    let table = high(machine.policy64(header::QUERY_PARAMETERS));
    let wanted = high(machine.policy64(table.wrapping_add(slot.wrapping_mul(slot::RECORD))));
    if wanted == 0 || (slot::FORWARDED_PROTO..slot::FIRST).contains(&slot) {
        return next;
    }
    if wanted & slot::JOINED != 0 && crate::slot::first(machine, slot) != 0 {
        return (UNDECIDED + unsupported::HEADER_REWRITTEN) << 32;
    }
    if machine.add(slot, value) != 0 {
        return (UNDECIDED + unsupported::TOO_MANY_VALUES) << 32;
    }
    next
}

/// Whether a value of Connection is `keep-alive`.
#[inline(always)]
pub(crate) fn keep_alive<M: Machine>(machine: &M, value: Span) -> bool {
    value.length() == 10
        && bytes::lower(machine.input64(value.offset())) == u64::from_le_bytes(*b"keep-ali")
        && bytes::lower(machine.input64(value.offset().wrapping_add(8))) & 0xffff
            == u64::from_le_bytes(*b"ve\0\0\0\0\0\0")
}

/// Notes what Host, Content-Length, Transfer-Encoding, Connection, Expect and x-forwarded-proto
/// say. 0.
#[inline(always)]
pub fn framing<M: Machine>(machine: &mut M, slot: u64, value: Span) -> u64 {
    let mut bits = machine.word(work::FRAMING);
    let again = |bit: u64| bits & bit != 0;
    let noted = match slot {
        slot::AUTHORITY if again(framing::HOST) => framing::REWRITTEN,
        slot::AUTHORITY => {
            machine.set_word(work::HOST, value.0);
            framing::HOST
        }
        slot::FORWARDED_PROTO if again(framing::FORWARDED_PROTO) || value.length() == 0 => {
            framing::FORWARDED_PROTO | framing::REWRITTEN
        }
        slot::FORWARDED_PROTO => {
            machine.set_word(work::FORWARDED_PROTO, value.0);
            framing::FORWARDED_PROTO
        }
        slot::CONTENT_LENGTH => {
            let digit = machine.input8(value.offset()).wrapping_sub(b'0' as u64) < 10;
            if again(framing::CONTENT_LENGTH) || !digit || machine.integer(value) != 1 {
                framing::CONTENT_LENGTH | framing::BAD_CONTENT_LENGTH
            } else {
                machine.set_word(work::CONTENT_LENGTH, machine.word(work::NUMBER));
                framing::CONTENT_LENGTH
            }
        }
        slot::TRANSFER_ENCODING => {
            let word = bytes::lower(machine.input64(value.offset())) & 0x00ff_ffff_ffff_ffff;
            let chunked = value.length() == 7 && word == u64::from_le_bytes(*b"chunked\0");
            if again(framing::TRANSFER_ENCODING) {
                // Envoy joins them, without the empty ones.
                framing::BAD_TRANSFER_ENCODING | framing::REWRITTEN
            } else if !chunked {
                framing::TRANSFER_ENCODING | framing::BAD_TRANSFER_ENCODING
            } else {
                framing::TRANSFER_ENCODING
            }
        }
        slot::EXPECT => framing::EXPECT,
        slot::CONNECTION => {
            let dfa = low(machine.policy64(header::CONNECTION));
            let close = if keep_alive(machine, value) {
                0
            } else {
                framing::MAY_CLOSE
            };
            // Envoy counts the names on all lines.
            if again(framing::CONNECTION) || machine.regex(dfa, value) == 0 {
                framing::CONNECTION | framing::REWRITTEN | close
            } else {
                framing::CONNECTION | close
            }
        }
        _ => 0,
    };
    bits |= noted;
    machine.set_word(work::FRAMING, bits);
    0
}

/// What Content-Length and Transfer-Encoding together say: as [`head`].
#[inline(always)]
fn framing_fault(bits: u64) -> u64 {
    if bits & framing::CONTENT_LENGTH != 0 && bits & framing::TRANSFER_ENCODING != 0 {
        bad_request::LENGTH_AND_ENCODING
    } else if bits & framing::BAD_TRANSFER_ENCODING != 0 {
        if bits & framing::REWRITTEN != 0 {
            return unsupported::HEADER_REWRITTEN << 32;
        }
        bad_request::TRANSFER_ENCODING
    } else {
        0
    }
}

/// Reads the head. 0 where it is accepted; low: a code of [`bad_request`]; high: one of
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
    let start = machine.head_start(end);
    let line = machine.request_line(start, end);
    if high(line) >= UNDECIDED {
        return (high(line) - UNDECIDED) << 32;
    }
    if high(line) != 0 {
        return high(line);
    }
    if machine.target_fits() == 0 {
        return bad_request::REQUEST_LINE;
    }
    let first = low(line);
    let mut offset = first;
    let mut index = 0;
    while index < M::LINES {
        let line = machine.header_line(offset, end);
        if high(line) == END {
            machine.set_word(work::HEAD_END, low(line));
            machine.set_word(work::HEADER_COUNT, index);
            return lines_end(machine, first);
        }
        if high(line) >= UNDECIDED {
            return (high(line) - UNDECIDED) << 32;
        }
        if high(line) == bad_request::UNDERSCORE {
            machine.set_word(work::HEADER_COUNT, index);
            return underscore(machine);
        }
        if high(line) != 0 {
            return high(line);
        }
        offset = low(line);
        index += 1;
    }
    unsupported::TOO_MANY_VALUES << 32
}

/// What is said of an underscore, which Envoy looks at with the number of headers, line by line: as
/// [`head`].
#[inline(always)]
fn underscore<M: Machine>(machine: &M) -> u64 {
    if machine.word(work::HEADER_COUNT) < machine.word(work::HEADERS_MAX) {
        bad_request::HEADER_NAME
    } else {
        unsupported::TOO_MANY_VALUES << 32
    }
}

/// What is looked at when the lines, the first of them at this offset, are read: as [`head`].
#[inline(always)]
fn lines_end<M: Machine>(machine: &mut M, first: u64) -> u64 {
    let bits = machine.word(work::FRAMING);
    if bits & framing::BAD_CONTENT_LENGTH != 0 {
        return bad_request::CONTENT_LENGTH;
    }
    let lines = machine.word(work::HEADER_COUNT);
    if lines > machine.word(work::HEADERS_MAX) && machine.header_count(first) != 0 {
        return bad_request::TOO_LARGE;
    }
    if bits & framing::TRANSFER_ENCODING != 0 {
        let fault = framing_fault(bits);
        if fault != 0 {
            return fault;
        }
    }
    if connect::asks(machine) {
        let fault = connect::body_fault(machine);
        if fault != 0 {
            return fault;
        }
    }
    machine.authority()
}

/// The offset of the request line: line ends before it are skipped.
#[inline(always)]
pub fn head_start<M: Machine>(machine: &mut M, end: u64) -> u64 {
    let mut at = input::HEAD;
    let mut index = 0;
    while index < STOPS {
        let byte = machine.input8(at);
        if at >= end || (byte != LF && byte != CR) {
            break;
        }
        at = at.wrapping_add(1);
        index += 1;
    }
    at
}
