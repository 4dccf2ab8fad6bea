//! The chunked transfer coding (RFC 9112, section 7.1), byte by byte: where a body ends.
//!
//! The state is one word, so that it can lie anywhere: the phase in the lowest four bits, what is
//! left of the chunk above.

/// Where in the coding the next byte is.
mod phase {
    /// The first digit of a size.
    pub const START: u64 = 0;
    /// A further digit.
    pub const SIZE: u64 = 1;
    /// A chunk extension.
    pub const EXTENSION: u64 = 2;
    /// The LF after a size.
    pub const SIZE_LF: u64 = 3;
    /// A chunk's data.
    pub const DATA: u64 = 4;
    /// The CR after it.
    pub const DATA_CR: u64 = 5;
    /// The LF after that.
    pub const DATA_LF: u64 = 6;
    /// A trailer's first byte, or the CR of the last line.
    pub const TRAILER_START: u64 = 7;
    /// Inside a trailer.
    pub const TRAILER: u64 = 8;
    /// The LF after a trailer.
    pub const TRAILER_LF: u64 = 9;
    /// The LF of the last line.
    pub const LAST_LF: u64 = 10;
    /// The body has ended.
    pub const END: u64 = 11;
    /// This is not the coding.
    pub const BAD: u64 = 15;
}

/// The state before a body's first byte.
pub const START: u64 = phase::START;

/// Sizes stay below this many bytes; larger ones are refused.
const SIZE_LIMIT: u64 = 1 << 48;

/// Whether the body has ended.
#[inline(always)]
pub const fn ended(state: u64) -> bool {
    state & 15 == phase::END
}

/// Whether what was read is not the chunked coding.
#[inline(always)]
pub const fn bad(state: u64) -> bool {
    state & 15 == phase::BAD
}

/// How many bytes of data come before the next byte that [`step`] has to see.
#[inline(always)]
pub const fn data(state: u64) -> u64 {
    if state & 15 == phase::DATA {
        state >> 4
    } else {
        0
    }
}

/// The state after `count` bytes of data, at most as many as [`data`] says.
#[inline(always)]
pub const fn skip(state: u64, count: u64) -> u64 {
    let left = (state >> 4).wrapping_sub(count);
    if left == 0 {
        phase::DATA_CR
    } else {
        left << 4 | phase::DATA
    }
}

#[inline(always)]
const fn digit(byte: u64) -> u64 {
    let decimal = byte.wrapping_sub(b'0' as u64);
    let letter = (byte | 32).wrapping_sub(b'a' as u64);
    if decimal < 10 {
        decimal
    } else if letter < 6 {
        letter + 10
    } else {
        16
    }
}

/// The state after one byte that is not data. Line ends are CR LF, as Envoy's codec wants them.
#[inline(always)]
pub const fn step(state: u64, byte: u64) -> u64 {
    let size = state >> 4;
    let lf = byte == b'\n' as u64;
    let cr = byte == b'\r' as u64;
    match state & 15 {
        phase::START | phase::SIZE => {
            let digit = digit(byte);
            if digit < 16 {
                let size = size << 4 | digit;
                if size >= SIZE_LIMIT {
                    phase::BAD
                } else {
                    size << 4 | phase::SIZE
                }
            } else if state & 15 == phase::START {
                phase::BAD
            } else if cr {
                size << 4 | phase::SIZE_LF
            } else if byte == b';' as u64 || byte == b' ' as u64 || byte == b'\t' as u64 {
                size << 4 | phase::EXTENSION
            } else {
                phase::BAD
            }
        }
        phase::EXTENSION if cr => size << 4 | phase::SIZE_LF,
        phase::EXTENSION if !lf => state,
        phase::SIZE_LF if lf && size == 0 => phase::TRAILER_START,
        phase::SIZE_LF if lf => size << 4 | phase::DATA,
        phase::DATA_CR if cr => phase::DATA_LF,
        phase::DATA_LF if lf => phase::START,
        phase::TRAILER_START if cr => phase::LAST_LF,
        phase::TRAILER_START if !lf => phase::TRAILER,
        phase::TRAILER if cr => phase::TRAILER_LF,
        phase::TRAILER if !lf => phase::TRAILER,
        phase::TRAILER_LF if lf => phase::TRAILER_START,
        phase::LAST_LF if lf => phase::END,
        _ => phase::BAD,
    }
}
