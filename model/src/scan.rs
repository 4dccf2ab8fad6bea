//! The next byte that ends something.

use crate::{Machine, Span, bytes};

/// Which bytes end the scan.
pub mod class {
    /// What is not a letter, a digit, or one of ``-.^_` ``: the end of most header names and
    /// methods.
    pub const NAME: u64 = 0;
    /// Control bytes but the tab: the end of a header value.
    pub const VALUE: u64 = 1;
    /// What is neither 21 to 7E, or is `?` or `#`: the end of a target's path.
    pub const PATH: u64 = 2;
    /// What is not 21 to 7E, or is `#`: the end of a target's query.
    pub const QUERY: u64 = 3;
    /// What is not 21 to 7E: the end of a target.
    pub const FRAGMENT: u64 = 12;
    /// `&`.
    pub const AMPERSAND: u64 = 4;
    /// `=`.
    pub const EQUALS: u64 = 5;
    /// `,`.
    pub const COMMA: u64 = 6;
    /// `/` and `?`: the end of an absolute target's authority.
    pub const AUTHORITY: u64 = 7;
    /// `:`.
    pub const COLON: u64 = 8;
    /// What is neither a space nor a tab.
    pub const BLANK: u64 = 9;
    /// `_`.
    pub const UNDERSCORE: u64 = 10;
    /// What is not a letter, a digit, `-`, `.`, `:` or `_`: the end of most authorities.
    pub const HOST: u64 = 11;
}

/// Marks the bytes outside all of the (ascending) half-open ranges: a byte is inside where an odd
/// number of the bounds is at or below it.
macro_rules! outside {
    ($word:expr, $($from:literal..$to:literal),+) => {
        ((!(0 $(^ bytes::from($word, $from) ^ bytes::from($word, $to))+)) | $word) & bytes::MARKS
    };
}

/// Marks the bytes that end a scan of the class, exactly up to the first of them.
#[inline(always)]
pub fn marks(word: u64, class: u64) -> u64 {
    match class {
        class::NAME => outside!(word, b'-'..b'/', b'0'..b':', b'A'..b'[', b'^'..b'{'),
        class::VALUE => {
            (bytes::within(word, 0, 31) & !bytes::equal(word, b'\t')) | bytes::equal(word, 127)
        }
        class::PATH => outside!(word, b'!'..b'#', b'$'..b'?', b'@'..127),
        class::QUERY => outside!(word, b'!'..b'#', b'$'..127),
        class::FRAGMENT => outside!(word, b'!'..127),
        class::UNDERSCORE => bytes::equal(word, b'_'),
        class::HOST => {
            outside!(
                word,
                b'-'..b'/',
                b'0'..b';',
                b'A'..b'[',
                b'_'..b'`',
                b'a'..b'{'
            )
        }
        class::AMPERSAND => bytes::equal(word, b'&'),
        class::EQUALS => bytes::equal(word, b'='),
        class::COMMA => bytes::equal(word, b','),
        class::AUTHORITY => bytes::equal(word, b'/') | bytes::equal(word, b'?'),
        class::COLON => bytes::equal(word, b':'),
        _ => not_blank(word),
    }
}

/// Marks what is neither a space nor a tab.
#[inline(always)]
fn not_blank(word: u64) -> u64 {
    !(bytes::equal(word, b' ') | bytes::equal(word, b'\t')) & bytes::MARKS
}

/// Bytes that one block has.
pub const BLOCK: u64 = 64;

/// Offset of the first byte in the span that ends the class; the span's end where none does.
#[inline(always)]
pub fn scan<M: Machine>(machine: &mut M, span: Span, class: u64) -> u64 {
    let found = machine.scan_block(span, class);
    // Nearly everything in a head is shorter than a block.
    if span.length() <= BLOCK || found != span.offset().wrapping_add(BLOCK) {
        return found;
    }
    machine.scan_long(span, class)
}

/// Where the first of the marks is, of eight bytes at `at`; the span's end where that is before it.
#[inline(always)]
const fn first_within(at: u64, marks: u64, span: Span) -> u64 {
    let found = at.wrapping_add(bytes::first(marks));
    if found < span.end() {
        found
    } else {
        span.end()
    }
}

/// Words that [`scan_here`] looks at.
const HERE: u64 = 4;

/// As [`scan`], for what is mostly short: the first words are looked at without a call.
#[inline(always)]
pub fn scan_here<M: Machine>(machine: &mut M, span: Span, class: u64) -> u64 {
    let mut index = 0;
    while index < HERE {
        let at = span.offset().wrapping_add(index * 8);
        let marks = marks(machine.input64(at), class);
        if marks != 0 {
            return first_within(at, marks, span);
        }
        if index * 8 + 8 >= span.length() {
            return span.end();
        }
        index += 1;
    }
    let at = span.offset().wrapping_add(HERE * 8);
    scan(machine, Span::new(at, span.end().wrapping_sub(at)), class)
}

/// Scans a span of more than one block.
#[inline(always)]
pub fn scan_long<M: Machine>(machine: &mut M, span: Span, class: u64) -> u64 {
    let mut index = 1;
    while index < M::HEAD_BYTES / BLOCK {
        let at = span.offset().wrapping_add(index * BLOCK);
        if at >= span.end() {
            break;
        }
        let found = machine.scan_block(Span::new(at, span.end().wrapping_sub(at)), class);
        if found != at.wrapping_add(BLOCK) {
            return found;
        }
        index += 1;
    }
    span.end()
}

/// Offset of the first byte in the span's first [`BLOCK`] bytes that ends the class; the end of
/// the block or the span where none does.
#[inline(always)]
pub fn scan_block<M: Machine>(machine: &mut M, span: Span, class: u64) -> u64 {
    match class {
        class::NAME => block(machine, span, class::NAME),
        class::VALUE => block(machine, span, class::VALUE),
        class::PATH => block(machine, span, class::PATH),
        class::QUERY => block(machine, span, class::QUERY),
        class::AMPERSAND => block(machine, span, class::AMPERSAND),
        class::EQUALS => block(machine, span, class::EQUALS),
        class::COMMA => block(machine, span, class::COMMA),
        class::AUTHORITY => block(machine, span, class::AUTHORITY),
        class::COLON => block(machine, span, class::COLON),
        class::UNDERSCORE => block(machine, span, class::UNDERSCORE),
        class::HOST => block(machine, span, class::HOST),
        class::FRAGMENT => block(machine, span, class::FRAGMENT),
        _ => block(machine, span, class::BLANK),
    }
}

/// [`scan_block`] for one class that the compiler knows.
#[inline(always)]
fn block<M: Machine>(machine: &mut M, span: Span, class: u64) -> u64 {
    let mut index = 0;
    while index < BLOCK / 8 {
        if index * 8 >= span.length() {
            return span.end();
        }
        let at = span.offset().wrapping_add(index * 8);
        let marks = marks(machine.input64(at), class);
        if marks != 0 {
            return first_within(at, marks, span);
        }
        index += 1;
    }
    let end = span.offset().wrapping_add(BLOCK);
    if end < span.end() { end } else { span.end() }
}

/// Blanks that [`scan_back`] goes over.
const BLANKS: u64 = 512;

/// Offset after the last byte of the span that is neither a space nor a tab; the span's start
/// where there is none; `u64::MAX` where that is more than 512 bytes away.
#[inline(always)]
pub fn scan_back<M: Machine>(machine: &mut M, span: Span) -> u64 {
    let mut index = 0;
    while index < BLANKS / 8 {
        if index * 8 >= span.length() {
            return span.offset();
        }
        let end = span.end().wrapping_sub(index * 8);
        let marks = not_blank(machine.input64(end.wrapping_sub(8))).swap_bytes();
        if marks != 0 {
            let found = end.wrapping_sub(bytes::first(marks));
            return if found > span.offset() {
                found
            } else {
                span.offset()
            };
        }
        index += 1;
    }
    u64::MAX
}
