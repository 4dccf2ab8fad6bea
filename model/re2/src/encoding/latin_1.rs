//! Classes as RE2 compiles them to Latin-1: a character is one byte.

use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, Hir};

use crate::rune_set::RuneSet;

/// A pattern for one byte of `set`; what is beyond U+00FF matches nothing.
pub(crate) fn class(mut set: RuneSet) -> Hir {
    let bytes = set.ranges().iter().filter_map(|&(low, high)| {
        let low = u8::try_from(low).ok()?;
        let high = u8::try_from(high).unwrap_or(u8::MAX);
        Some(ClassBytesRange::new(low, high))
    });
    Hir::class(Class::Bytes(ClassBytes::new(bytes)))
}

/// The characters whose numbers are the bytes of a text.
pub(crate) fn decode(text: &str) -> String {
    text.bytes().map(char::from).collect()
}
