//! Eight bytes at a time in one word, the first byte in the lowest bits.

const ONES: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte: how every test here marks a byte.
pub const MARKS: u64 = 0x8080_8080_8080_8080;

/// Marks the bytes from `first` to `last`, both below 128.
#[inline(always)]
pub const fn within(word: u64, first: u8, last: u8) -> u64 {
    let low = word & !MARKS;
    let from = low.wrapping_add(ONES.wrapping_mul(0x80 - first as u64));
    let above = low.wrapping_add(ONES.wrapping_mul(0x7f - last as u64));
    from & !above & !word & MARKS
}

/// The highest bit of each byte that is `first` or more, of a word whose bytes are below 128. A
/// larger byte spoils those after it, not those before.
#[inline(always)]
pub const fn from(word: u64, first: u8) -> u64 {
    word.wrapping_add(ONES.wrapping_mul(0x80 - first as u64))
}

/// Of a word the bytes below 32 and the byte 127, exact up to the first of them; a byte 126 after
/// one of 255 may be marked too.
#[inline(always)]
pub const fn control(word: u64) -> u64 {
    (word.wrapping_sub(ONES.wrapping_mul(32)) | word.wrapping_add(ONES)) & !word & MARKS
}

/// Marks the bytes equal to `byte`, below 128.
#[inline(always)]
pub const fn equal(word: u64, byte: u8) -> u64 {
    within(word, byte, byte)
}

/// `word` with its ASCII capitals made small.
#[inline(always)]
pub const fn lower(word: u64) -> u64 {
    word | within(word, b'A', b'Z') >> 2
}

/// `word` with ASCII capitals made small, and other bytes of one kind made bytes of another: for
/// comparing with what is known to be letters, and for hashes.
#[inline(always)]
pub const fn fold(word: u64) -> u64 {
    word | ONES.wrapping_mul(0x20)
}

/// How many bytes stand before the first mark; 8 where there is none.
#[inline(always)]
pub const fn first(marks: u64) -> u64 {
    // BPF has no instruction that counts zeros.
    if !cfg!(target_arch = "bpf") {
        return marks.trailing_zeros() as u64 >> 3;
    }
    if marks == 0 {
        return 8;
    }
    // The marks of all bytes before it, added up in the highest byte.
    let before = marks.wrapping_sub(1) & !marks & MARKS;
    before.wrapping_mul(2 * ONES) >> 56
}

/// The first `count` bytes (0..=8), the others 0.
#[inline(always)]
pub const fn keep(word: u64, count: u64) -> u64 {
    if count >= 8 {
        word
    } else {
        word & !(u64::MAX << ((count & 7) << 3))
    }
}
