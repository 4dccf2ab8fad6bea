//! Classes as RE2 compiles them to UTF-8.
//!
//! RE2 never checks that the text is valid UTF-8; its classes accept byte sequences. Two of its
//! choices show: surrogates have their three bytes, and a range that ends in U+10FFFF and has all
//! of U+0080 and up takes any sequence of the right shape, overlong ones and those over U+10FFFF
//! included.

use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, Hir};

use crate::rune_set::{MAX_RUNE, RuneSet};
use crate::unicode;

const CONTINUATION: (u8, u8) = (0x80, 0xBF);

/// What RE2 takes for U+0080 to U+10FFFF.
const ANY_MULTIBYTE: [&[(u8, u8)]; 3] = [
    &[(0xC2, 0xDF), CONTINUATION],
    &[(0xE0, 0xEF), CONTINUATION, CONTINUATION],
    &[(0xF0, 0xF4), CONTINUATION, CONTINUATION, CONTINUATION],
];

/// A pattern for one code point of `set`.
pub(crate) fn class(mut set: RuneSet) -> Hir {
    let mut alternatives = Vec::new();
    let last = set.ranges().last().copied();
    if last.is_some_and(|(low, high)| low <= 0x80 && high == MAX_RUNE) {
        alternatives.extend(ANY_MULTIBYTE.into_iter().map(sequence));
        set = set.intersection(&mut RuneSet::new([(0, 0x7F)]));
    }
    let mut surrogates = set.intersection(&mut RuneSet::new([(0xD800, 0xDFFF)]));
    for &(low, high) in surrogates.ranges() {
        alternatives.extend(surrogate_sequences(low, high));
    }
    let characters = unicode::to_class(&mut set);
    if !characters.ranges().is_empty() {
        alternatives.push(Hir::class(Class::Unicode(characters)));
    }
    Hir::alternation(alternatives)
}

/// The bytes of one code point, surrogate or not.
pub(crate) fn encode(rune: u32) -> Vec<u8> {
    match char::from_u32(rune) {
        Some(c) => c.to_string().into_bytes(),
        None => vec![0xED, low_bits(rune >> 6), low_bits(rune)],
    }
}

/// A continuation byte with the low six bits of `bits`.
fn low_bits(bits: u32) -> u8 {
    0x80 | u8::try_from(bits & 0x3F).unwrap_or_default()
}

/// The three-byte sequences of `low..=high`, which are surrogates: one for each second byte.
fn surrogate_sequences(low: u32, high: u32) -> Vec<Hir> {
    (low >> 6..=high >> 6)
        .map(|block| {
            let first = low.max(block << 6);
            let last = high.min(block << 6 | 0x3F);
            sequence(&[
                (0xED, 0xED),
                (low_bits(block), low_bits(block)),
                (low_bits(first), low_bits(last)),
            ])
        })
        .collect()
}

fn sequence(bytes: &[(u8, u8)]) -> Hir {
    Hir::concat(bytes.iter().map(|&range| byte(range)).collect())
}

/// One byte of `low..=high`.
pub(crate) fn byte((low, high): (u8, u8)) -> Hir {
    Hir::class(Class::Bytes(ClassBytes::new([ClassBytesRange::new(
        low, high,
    )])))
}
