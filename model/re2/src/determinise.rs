//! From a pattern to a DFA that is not minimal yet, within bounds.

use std::collections::HashMap;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};
use regex_syntax::hir::Hir;

/// Memory for the NFA, in bytes. Stops repeats of large classes.
const NFA_BYTES: usize = 4 << 20;

/// Memory for the sets of NFA states, in bytes.
const SETS_BYTES: usize = 4 << 20;

/// Work for the sets of NFA states: each byte of them is looked at once for each byte class.
const SETS_WORK: usize = 16 << 20;

/// Memory for the table before it is minimal, in bytes.
const TABLE_BYTES: usize = 4 << 20;

/// How many times the cap the DFA may have in states before it is minimal.
const SLACK: usize = 8;

/// A limit was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Over {
    /// The cap to report, in states.
    pub(crate) cap: usize,
}

/// A DFA with unreachable states left out. State 0 is dead.
#[derive(Debug)]
pub(crate) struct RawDfa {
    /// Class of each byte.
    pub(crate) classes: [u8; 256],
    pub(crate) class_count: usize,
    /// `transitions[state * class_count + class]`.
    pub(crate) transitions: Vec<u32>,
    pub(crate) accepting: Vec<bool>,
    pub(crate) start: u32,
}

/// The DFA of a full match of `hir`.
pub(crate) fn determinise(hir: &Hir, cap: usize) -> Result<RawDfa, Over> {
    let over = Over { cap };
    let nfa = thompson::Compiler::new()
        .configure(
            thompson::Config::new()
                .utf8(false)
                .which_captures(WhichCaptures::None)
                .nfa_size_limit(Some(NFA_BYTES)),
        )
        .build_from_hir(hir)
        .map_err(|_| over)?;
    let row_bytes = size_of::<StateID>() << nfa.byte_classes().stride2();
    let table_bytes = cap
        .saturating_mul(SLACK)
        .saturating_mul(row_bytes)
        .min(TABLE_BYTES);
    let sets_bytes = SETS_BYTES.min(SETS_WORK / nfa.byte_classes().alphabet_len());
    let dfa = dense::Builder::new()
        .configure(
            dense::Config::new()
                // All matches are followed to the end: the first one by preference may be shorter
                // than the text where another one is not.
                .match_kind(MatchKind::All)
                .start_kind(StartKind::Anchored)
                .accelerate(false)
                .minimize(false)
                .dfa_size_limit(Some(table_bytes))
                .determinize_size_limit(Some(sets_bytes)),
        )
        .build_from_nfa(&nfa)
        .map_err(|_| over)?;
    explore(&dfa, over)
}

/// Reads off the states that can be reached from the start of the text.
fn explore(dfa: &dense::DFA<Vec<u32>>, over: Over) -> Result<RawDfa, Over> {
    let mut classes = [0; 256];
    let mut representatives = Vec::new();
    for (byte, class) in (0..=u8::MAX).zip(&mut classes) {
        *class = dfa.byte_classes().get(byte);
        if usize::from(*class) == representatives.len() {
            representatives.push(byte);
        }
    }
    let start = dfa
        .start_state(&start::Config::new().anchored(Anchored::Yes))
        .map_err(|_| over)?;
    let mut raw = RawDfa {
        classes,
        class_count: representatives.len(),
        transitions: vec![0; representatives.len()],
        accepting: vec![false],
        start: 0,
    };
    let mut numbers: HashMap<StateID, u32> = HashMap::new();
    let mut queue = Vec::new();
    let mut number = |state: StateID, queue: &mut Vec<StateID>| -> Result<u32, Over> {
        if dfa.is_dead_state(state) {
            return Ok(0);
        }
        let next = u32::try_from(numbers.len() + 1).map_err(|_| over)?;
        Ok(*numbers.entry(state).or_insert_with(|| {
            queue.push(state);
            next
        }))
    };
    raw.start = number(start, &mut queue)?;
    let mut done = 0;
    while let Some(&state) = queue.get(done) {
        done += 1;
        for &byte in &representatives {
            let next = dfa.next_state(state, byte);
            raw.transitions.push(number(next, &mut queue)?);
        }
        raw.accepting
            .push(dfa.is_match_state(dfa.next_eoi_state(state)));
    }
    Ok(raw)
}
