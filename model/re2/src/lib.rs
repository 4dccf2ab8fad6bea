//! RE2's regular expression grammar, compiled to bounded DFA tables.
//!
//! Envoy matches with `RE2::FullMatch`, one byte a character ([`Dfa::latin_1`]). [`parse`] takes the grammar of RE2 and refuses what RE2
//! refuses; [`Dfa::new`] turns the result into a minimal table that decides a full match byte by
//! byte, in time that depends on the length of the text only. Patterns whose table would be over a
//! cap are refused, in bounded time and memory.

mod class_size;
mod determinise;
mod dfa;
mod error;
mod latin_1;
mod literal;
mod minimise;
mod parse;
mod partition;
mod program_size;
mod rune_set;
mod unicode;
mod utf8;

pub use dfa::{DEFAULT_STATE_CAP, Dfa, MAX_TABLE_ENTRIES};
pub use error::{Error, SyntaxError, SyntaxErrorKind, TooLarge};
pub use parse::{MAX_NESTING, parse, parse_latin_1};
