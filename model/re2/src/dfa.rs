//! The table of a full match.

use regex_syntax::hir::Hir;

use crate::determinise::determinise;
use crate::error::{Error, TooLarge};
use crate::minimise::minimise;
use crate::parse::{parse, parse_latin_1};

/// The cap on the states of one table where nothing else is asked for.
pub const DEFAULT_STATE_CAP: usize = 4096;

/// The most entries of [`Dfa::transitions`], so that `state * class_count` fits 16 bits. A table
/// over this is [`TooLarge`] whatever the cap.
pub const MAX_TABLE_ENTRIES: usize = 65_535;

/// A minimised DFA that decides a full match.
///
/// The table is row by row: a state's row has one entry for each byte class, and an entry is the
/// index of the next state (not premultiplied; `index * class_count` fits 16 bits). State 0 is
/// dead: it never accepts and never leaves itself; the table has it even where no state leads
/// there. The accepting states come last, from `first_accepting` on. No two states accept the same
/// texts, and no two byte classes have the same column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dfa {
    /// Equivalence class of each byte.
    pub classes: [u8; 256],
    /// Number of byte classes.
    pub class_count: u16,
    /// `transitions[state * class_count + class]` is the next state. State 0 is dead (never
    /// accepts, never leaves itself).
    pub transitions: Vec<u16>,
    /// The state before the first byte.
    pub start: u16,
    /// States from this one on accept.
    pub first_accepting: u16,
    /// Number of states.
    pub state_count: u16,
}

impl Dfa {
    /// The table of `pattern`, in RE2's grammar, with `cap` states at most (the dead state
    /// included).
    ///
    /// # Errors
    ///
    /// [`Error::Syntax`] where RE2 refuses the pattern, [`Error::TooLarge`] where the table would
    /// be over `cap` states or [`MAX_TABLE_ENTRIES`], or where building it would take too much
    /// time or memory to tell.
    pub fn new(pattern: &str, cap: usize) -> Result<Self, Error> {
        let hir = parse(pattern)?;
        Ok(Self::from_hir(&hir, pattern, cap)?)
    }

    /// The table of `pattern` as Envoy 1.40 compiles it (measured): pattern and text are one byte a
    /// character, so that `.` takes one byte, and a character beyond ASCII is as many as its UTF-8
    /// has.
    ///
    /// # Errors
    ///
    /// As [`Dfa::new`].
    pub fn latin_1(pattern: &str, cap: usize) -> Result<Self, Error> {
        let hir = parse_latin_1(pattern)?;
        Ok(Self::from_hir(&hir, pattern, cap)?)
    }

    /// The table of `hir`; `pattern` is for the error.
    ///
    /// # Errors
    ///
    /// [`TooLarge`], as [`Dfa::new`].
    pub fn from_hir(hir: &Hir, pattern: &str, cap: usize) -> Result<Self, TooLarge> {
        determinise(hir, cap)
            .and_then(|raw| minimise(&raw, cap))
            .map_err(|over| TooLarge {
                pattern: pattern.to_owned(),
                cap: over.cap,
            })
    }

    /// Whether the DFA accepts the whole of `text`.
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        let width = usize::from(self.class_count);
        let mut state = self.start;
        for &byte in text {
            // A byte's class and a state's row are in the table by construction.
            let class = self.classes.get(usize::from(byte)).copied().unwrap_or(0);
            let entry = usize::from(state) * width + usize::from(class);
            state = self.transitions.get(entry).copied().unwrap_or(0);
        }
        state >= self.first_accepting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latin_1_takes_a_byte_for_a_character() {
        for (pattern, text, expected) in [
            ("a.b", "aüb", false),
            ("a..b", "aüb", true),
            ("ü", "ü", true),
            ("ü+", "üü", false),
            ("[äü]", "ü", false),
            ("[äü]+", "ü", true),
            ("[^a]", "ü", false),
            (r"\x{c3}\xbc", "ü", true),
            (r"a\Cb", "aüb", false),
            ("(?i)É", "É", true),
        ] {
            let dfa = Dfa::latin_1(pattern, DEFAULT_STATE_CAP).unwrap();
            assert_eq!(
                dfa.is_match(text.as_bytes()),
                expected,
                "{pattern} on {text}"
            );
        }
    }
}
