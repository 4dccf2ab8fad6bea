//! The head of an HTTP/1.1 response, as far as its framing needs: the status, and how the body's
//! end is found (RFC 9112, section 6.3).
//!
//! What is not plainly said is [`UNUSUAL`], never guessed: whoever reads a response so has a slower
//! reader to give it to.

use crate::{
    Machine, Span, bytes, head,
    layout::{framing, high, input, low, work},
    scan::{class, scan},
};

/// Lines that are looked at.
const LINES: u64 = 128;

/// The head is whole; [`work::STATUS`], [`work::FRAMING`], [`work::CONTENT_LENGTH`] and
/// [`work::HEAD_END`] say the rest.
pub const WHOLE: u64 = 0;
/// The input ends before the head does.
pub const INCOMPLETE: u64 = 1;
/// No response of HTTP/1.1, or one that is framed unusually.
pub const UNUSUAL: u64 = 2;

/// [`line`]'s high half: the head ends here.
const END: u64 = 255;

/// How the end of a body is found.
pub mod body {
    /// There is none.
    pub const NONE: u64 = 0;
    /// After so many bytes as [`super::work::CONTENT_LENGTH`] says.
    pub const LENGTH: u64 = 1;
    /// By its chunks.
    pub const CHUNKED: u64 = 2;
    /// Where the connection ends.
    pub const UNTIL_CLOSE: u64 = 3;
}

/// Reads the head of a response, which stands where a request's does ([`input::HEAD`],
/// [`work::HEAD_LENGTH`]). [`WHOLE`], [`INCOMPLETE`] or [`UNUSUAL`].
#[inline(always)]
pub fn head<M: Machine>(machine: &mut M) -> u64 {
    let length = machine.word(work::HEAD_LENGTH);
    let end = input::HEAD.wrapping_add(length);
    machine.set_word(work::FRAMING, 0);
    machine.set_word(work::CONTENT_LENGTH, 0);
    let start = machine.input64(input::HEAD);
    let rest = machine.input64(input::HEAD + 8);
    let mut index = 0;
    let mut number = 0;
    while index < 3 {
        let digit = (rest >> (8 + index * 8) & 0xff).wrapping_sub(b'0' as u64) & 0xff;
        if digit > 9 {
            number = 0;
            break;
        }
        number = number * 10 + digit;
        index += 1;
    }
    let after = rest >> 32 & 0xff;
    let line_ends = after == b' ' as u64 || after == b'\r' as u64;
    if length < 13 {
        return INCOMPLETE;
    }
    if start != u64::from_le_bytes(*b"HTTP/1.1")
        || rest & 0xff != b' ' as u64
        || number < 100
        || !line_ends
    {
        return UNUSUAL;
    }
    machine.set_word(work::STATUS, number);
    let phrase = Span::new(input::HEAD + 12, length.wrapping_sub(12));
    let phrase_end = scan(machine, phrase, class::VALUE);
    if phrase_end.wrapping_add(1) >= end {
        return INCOMPLETE;
    }
    let mut offset = head::line_end(machine, phrase_end, end);
    if offset == 0 {
        return UNUSUAL;
    }
    let mut index = 0;
    while index < LINES {
        let line = machine.response_line(offset, end);
        if high(line) == END {
            machine.set_word(work::HEAD_END, low(line));
            return WHOLE;
        }
        if high(line) != 0 {
            return high(line);
        }
        offset = low(line);
        index += 1;
    }
    UNUSUAL
}

/// The header line at `offset`. Low: the offset after it; high: 0, the end of the head,
/// [`INCOMPLETE`] or [`UNUSUAL`].
#[inline(always)]
pub fn line<M: Machine>(machine: &mut M, offset: u64, end: u64) -> u64 {
    if offset >= end {
        return INCOMPLETE << 32;
    }
    let start = machine.input64(offset);
    if start & 0xff <= b'\r' as u64 {
        let after = head::line_end(machine, offset, end);
        if after != 0 {
            return after | END << 32;
        }
        let waits = start & 0xff == b'\r' as u64 && offset.wrapping_add(1) == end;
        return if waits { INCOMPLETE } else { UNUSUAL } << 32;
    }
    let mut name_end = head::colon(machine, start, offset, end);
    if name_end == 0 {
        name_end = machine.token_end(offset, end);
        if name_end == head::TOO_LONG {
            return UNUSUAL << 32;
        }
        if name_end >= end {
            return INCOMPLETE << 32;
        }
        if name_end == offset || machine.input8(name_end) != b':' as u64 {
            return UNUSUAL << 32;
        }
    }
    let from = name_end.wrapping_add(1);
    let mut value_end = head::cr_lf(machine, from, end);
    let mut next = value_end.wrapping_add(2);
    if value_end == 0 {
        let rest = Span::new(from, end.wrapping_sub(from));
        value_end = scan(machine, rest, class::VALUE);
        if value_end.wrapping_add(1) >= end {
            return INCOMPLETE << 32;
        }
        next = head::line_end(machine, value_end, end);
        if next == 0 {
            return UNUSUAL << 32;
        }
    }
    let name_length = name_end.wrapping_sub(offset);
    let name = bytes::lower(start);
    let known = match name_length {
        14 if name == u64::from_le_bytes(*b"content-") => framing::CONTENT_LENGTH,
        17 if name == u64::from_le_bytes(*b"transfer") => framing::TRANSFER_ENCODING,
        10 if name == u64::from_le_bytes(*b"connecti") => framing::CONNECTION,
        _ => return next,
    };
    let second = bytes::lower(machine.input64(offset.wrapping_add(8)));
    let third = bytes::lower(machine.input64(offset.wrapping_add(9)));
    let is = match known {
        framing::CONTENT_LENGTH => second & 0xffff_ffff_ffff == u64::from_le_bytes(*b"length\0\0"),
        framing::TRANSFER_ENCODING => {
            second == u64::from_le_bytes(*b"-encodin") && third >> 56 == b'g' as u64
        }
        _ => second & 0xffff == u64::from_le_bytes(*b"on\0\0\0\0\0\0"),
    };
    if !is {
        return next;
    }
    let value = head::trim(machine, from, value_end);
    if value.offset() == low(head::TOO_LONG) || value.length() == 0 {
        return UNUSUAL << 32;
    }
    let bits = machine.word(work::FRAMING);
    let mut noted = known;
    if known == framing::CONTENT_LENGTH {
        let digit = machine.input8(value.offset()).wrapping_sub(b'0' as u64) < 10;
        if bits & known != 0 || !digit || machine.integer(value) != 1 {
            return UNUSUAL << 32;
        }
        machine.set_word(work::CONTENT_LENGTH, machine.word(work::NUMBER));
    } else if known == framing::TRANSFER_ENCODING {
        let word = bytes::lower(machine.input64(value.offset())) & 0x00ff_ffff_ffff_ffff;
        if bits & known != 0 || value.length() != 7 || word != u64::from_le_bytes(*b"chunked\0") {
            return UNUSUAL << 32;
        }
    } else if !head::keep_alive(machine, value) {
        noted |= framing::MAY_CLOSE;
    }
    machine.set_word(work::FRAMING, bits | noted);
    next
}

/// How the body's end is found after [`head`] gave [`WHOLE`]: one of [`body`], or [`UNUSUAL`] in
/// the high half. `head_request`: the response answers a HEAD.
#[inline(always)]
pub fn body_of<M: Machine>(machine: &M, head_request: bool) -> u64 {
    let status = machine.word(work::STATUS);
    let bits = machine.word(work::FRAMING);
    let length = bits & framing::CONTENT_LENGTH != 0;
    let chunked = bits & framing::TRANSFER_ENCODING != 0;
    if length && chunked || status == 101 {
        return UNUSUAL << 32;
    }
    if head_request || status < 200 || status == 204 || status == 304 {
        return body::NONE;
    }
    if chunked {
        body::CHUNKED
    } else if length {
        body::LENGTH
    } else {
        body::UNTIL_CLOSE
    }
}
