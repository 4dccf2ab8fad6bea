//! What a character of the text is, in bytes.

pub(crate) mod latin_1;
pub(crate) mod utf8;

use regex_syntax::hir::Hir;

use crate::rune_set::{MAX_RUNE, RuneSet};

/// RE2's option `encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Utf8,
    Latin1,
}

impl Encoding {
    /// The highest character.
    pub(crate) fn max_rune(self) -> u32 {
        match self {
            Self::Utf8 => MAX_RUNE,
            Self::Latin1 => 0xFF,
        }
    }

    /// The characters of `set` that there are.
    pub(crate) fn within(self, mut set: RuneSet) -> RuneSet {
        match self {
            Self::Utf8 => set,
            Self::Latin1 => set.intersection(&mut RuneSet::new([(0, self.max_rune())])),
        }
    }

    /// A pattern for one character of `set`.
    pub(crate) fn class(self, set: RuneSet) -> Hir {
        match self {
            Self::Utf8 => utf8::class(set),
            Self::Latin1 => latin_1::class(set),
        }
    }

    /// The bytes of one character. It is not beyond [`Encoding::max_rune`].
    pub(crate) fn encode(self, rune: u32) -> Vec<u8> {
        match (self, u8::try_from(rune)) {
            (Self::Latin1, Ok(byte)) => vec![byte],
            _ => utf8::encode(rune),
        }
    }
}
