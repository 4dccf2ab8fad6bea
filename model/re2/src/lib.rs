//! RE2's regular expression grammar, compiled to bounded DFA tables.
//!
//! Envoy matches with `RE2::FullMatch`. [`parse_latin_1`] (a character is one byte, as Envoy has
//! it) and [`parse`] (a character is UTF-8) take the grammar of RE2 and refuse what RE2 refuses;
//! [`Dfa::latin_1`] and [`Dfa::new`] turn the result into a minimal table that decides a full match
//! byte by byte, in time that depends on the length of the text only. Patterns whose table would be
//! over a cap are refused, in bounded time and memory.

mod class_size;
mod determinise;
mod dfa;
mod encoding;
mod error;
mod literal;
mod minimise;
mod parse;
mod partition;
mod prefix;
mod program_size;
mod rune_set;
mod unicode;

pub use dfa::{DEFAULT_STATE_CAP, Dfa, MAX_TABLE_ENTRIES};
pub use error::{Error, SyntaxError, SyntaxErrorKind, TooLarge};
pub use parse::{Captures, MAX_NESTING, parse, parse_latin_1, parse_latin_1_captures};
