//! RE2's regular expression grammar, compiled to bounded DFA tables.

/// A minimised DFA that decides a full match.
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

/// The pattern is valid and its DFA has more states than the cap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the regex `{pattern}` needs a DFA of more than {cap} states")]
pub struct TooLarge {
    /// The pattern.
    pub pattern: String,
    /// The cap, in states.
    pub cap: usize,
}
