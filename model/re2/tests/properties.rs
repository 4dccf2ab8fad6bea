//! Tables against a simulation of the same pattern, and their layout.

use proptest::prelude::*;
use regex_automata::nfa::thompson::{NFA, pikevm::PikeVM};
use regex_syntax::hir::{Hir, Look};
use twinmesh_re2::{Dfa, parse, parse_latin_1};

/// Pieces of RE2's grammar; most concatenations of them are valid or nearly so.
const PIECES: &[&str] = &[
    "a",
    "b",
    "ab",
    "k",
    "é",
    "日",
    "\n",
    "0",
    " ",
    ".",
    "[ab]",
    "[^a]",
    "[^é]",
    "[a-é]",
    r"\d",
    r"\W",
    r"\s",
    r"\b",
    r"\B",
    r"\C",
    r"\pL",
    r"\x{D800}",
    "^",
    "$",
    r"\A",
    r"\z",
    "(?m:^)",
    "(?m:$)",
    "|",
    "|",
    "(",
    "(",
    ")",
    ")",
    "(?:",
    "(?i)",
    "(?s)",
    "(?m)",
    "*",
    "+",
    "?",
    "{2}",
    "{1,3}",
    "{0}",
    "{2,}",
    r"\Qa.\E",
    "[[:alpha:]]",
    "[",
    "]",
    "{",
    "-",
    "\\",
    "(?P<n>",
];

fn pattern() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..9).prop_map(|pieces| pieces.concat())
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let bytes: &[&[u8]] = &[
        b"a",
        b"b",
        b"k",
        b"K",
        b"0",
        b" ",
        b"\n",
        b"\xC3\xA9",
        b"\xE6\x97\xA5",
        b"\x80",
        b"\xFF",
        b"\xED\xA0\x80",
        b"\xE2\x84\xAA",
        b".",
    ];
    let piece = prop::sample::select(bytes.to_vec());
    prop::collection::vec(piece, 0..7).prop_map(|pieces| pieces.concat())
}

/// A full match by simulating the NFA of the same `Hir`.
fn simulation(hir: Hir) -> impl Fn(&[u8]) -> bool {
    let whole = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
    let nfa = NFA::compiler()
        .configure(NFA::config().utf8(false))
        .build_from_hir(&whole)
        .expect("the table was built from the same pattern");
    let vm = PikeVM::new_from_nfa(nfa).expect("no unsupported assertion");
    move |text| vm.is_match(&mut vm.create_cache(), text)
}

/// Whether two states accept the same texts, by refining from the accepting ones.
fn blocks(dfa: &Dfa) -> Vec<usize> {
    let width = usize::from(dfa.class_count);
    let mut block: Vec<usize> = (0..dfa.state_count)
        .map(|state| usize::from(state >= dfa.first_accepting))
        .collect();
    loop {
        let signatures: Vec<Vec<usize>> = block
            .iter()
            .zip(dfa.transitions.chunks(width))
            .map(|(own, row)| {
                let next = row.iter().map(|&next| block[usize::from(next)]);
                [*own].into_iter().chain(next).collect()
            })
            .collect();
        let mut distinct = signatures.clone();
        distinct.sort();
        distinct.dedup();
        let refined: Vec<usize> = signatures
            .iter()
            .map(|signature| distinct.binary_search(signature).expect("it is in there"))
            .collect();
        let count = |block: &[usize]| block.iter().max().copied();
        if count(&refined) == count(&block) {
            return refined;
        }
        block = refined;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_parser_takes_any_string(pattern in any::<String>()) {
        if let Err(error) = parse(&pattern) {
            prop_assert!(pattern.is_char_boundary(error.offset));
            prop_assert!(!error.to_string().is_empty());
        }
        if let Err(error) = parse_latin_1(&pattern) {
            prop_assert!(error.offset <= pattern.len());
            prop_assert_eq!(error.pattern, pattern);
        }
    }

    #[test]
    fn the_parser_takes_any_pieces(pattern in pattern()) {
        if let Err(error) = parse(&pattern) {
            prop_assert!(pattern.is_char_boundary(error.offset));
            prop_assert!(pattern.contains(&error.found));
        }
    }

    #[test]
    fn tables_agree_with_a_simulation(
        pattern in pattern(),
        texts in prop::collection::vec(text(), 1..8),
    ) {
        for hir in [parse(&pattern), parse_latin_1(&pattern)].into_iter().flatten() {
            let Ok(dfa) = Dfa::from_hir(&hir, &pattern, 2000) else { continue };
            let simulation = simulation(hir);
            for text in &texts {
                prop_assert_eq!(dfa.is_match(text), simulation(text), "{:?}", text);
            }
        }
    }

    #[test]
    fn what_is_accepted_starts_with_the_prefix(
        pattern in pattern(),
        texts in prop::collection::vec(text(), 1..8),
    ) {
        let Ok(dfa) = Dfa::latin_1(&pattern, 300) else { return Ok(()) };
        let prefix = dfa.prefix(8);
        for text in texts.iter().chain([&prefix]) {
            prop_assert!(!dfa.is_match(text) || text.starts_with(&prefix), "{:?}", text);
        }
        // Some text that goes on after it is accepted, unless none is at all.
        let after = prefix.iter().fold(dfa.start, |state, &byte| {
            let class = usize::from(dfa.classes[usize::from(byte)]);
            dfa.transitions[usize::from(state) * usize::from(dfa.class_count) + class]
        });
        prop_assert!(after != 0 || dfa.start == 0);
    }

    #[test]
    fn tables_are_minimal_and_laid_out_as_documented(pattern in pattern()) {
        let Ok(dfa) = Dfa::latin_1(&pattern, 300) else { return Ok(()) };
        let (width, count) = (usize::from(dfa.class_count), usize::from(dfa.state_count));
        prop_assert!(count <= 300 && dfa.start < dfa.state_count);
        prop_assert!(dfa.first_accepting >= 1 && dfa.first_accepting <= dfa.state_count);
        prop_assert_eq!(dfa.transitions.len(), width * count);
        prop_assert!(dfa.transitions.iter().all(|&next| next < dfa.state_count));
        prop_assert!(dfa.transitions[..width].iter().all(|&next| next == 0));

        let mut distinct = blocks(&dfa);
        distinct.sort_unstable();
        distinct.dedup();
        prop_assert_eq!(distinct.len(), count, "equivalent states");

        let mut columns: Vec<Vec<u16>> = (0..width)
            .map(|class| dfa.transitions.iter().skip(class).step_by(width).copied().collect())
            .collect();
        columns.sort();
        columns.dedup();
        prop_assert_eq!(columns.len(), width, "equal columns");
        let used = dfa.classes.iter().copied().max().map(usize::from);
        prop_assert_eq!(used, Some(width - 1));
    }
}
