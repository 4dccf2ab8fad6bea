//! Replays what the real RE2 said (`ci/re2-oracle`): refusals with their messages, full matches of
//! bytes, Unicode's groups and case folding.

use regex_automata::nfa::thompson::{NFA, pikevm::PikeVM};
use regex_syntax::hir::{Hir, Look};
use serde::Deserialize;
use twinmesh_re2::{
    DEFAULT_STATE_CAP, Dfa, SyntaxError, SyntaxErrorKind, TooLarge, parse, parse_latin_1,
};

const ORACLE: &str = include_str!("data/re2-oracle.jsonl");

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Pattern(PatternLine),
    Group { g: String, c: String },
    RefusedGroups { x: String },
    Folds { f: String },
}

/// A pattern, whole or in repeated parts, with the answers in UTF-8.
#[derive(Deserialize)]
struct PatternLine {
    #[serde(alias = "r")]
    p: Pattern,
    #[serde(flatten)]
    utf_8: Answers,
    /// The answers in Latin-1 where they are others.
    l: Option<Answers>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Pattern {
    Whole(String),
    Repeated(Vec<(String, usize)>),
}

#[derive(Deserialize)]
struct Answers {
    /// RE2's message, where it refuses the pattern.
    e: Option<String>,
    /// Texts that match, and that do not.
    #[serde(default)]
    y: Vec<String>,
    #[serde(default)]
    n: Vec<String>,
}

/// Patterns whose verdict differs from RE2's: how they begin, what differs, and why.
const DIFFERENCES: &[(&str, &str)] = &[
    // RE2 has no limit of nesting but its memory; this crate stays within a thread's stack.
    ("((((((((((((((((((((", "refused: nested too deep"),
];

/// How many patterns are over the limits of a table, in UTF-8 and in Latin-1. They are compared
/// without one.
const WITHOUT_TABLE: [usize; 2] = [21, 4];

fn lines() -> Vec<Line> {
    ORACLE
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

/// Where RE2 quotes a long pattern as a whole, the oracle has `*`.
fn abbreviated(message: &str, pattern: &str) -> String {
    if pattern.len() > 200 {
        message.replace(pattern, "*")
    } else {
        message.to_owned()
    }
}

/// What is wrong about a refusal that RE2 makes as well.
fn wrong_refusal(pattern: &str, ours: &SyntaxError, theirs: &str, latin_1: bool) -> Option<String> {
    let at = pattern.as_bytes().get(ours.offset..)?;
    let mut message = ours.kind.to_string();
    if latin_1 && !pattern.is_ascii() {
        // RE2 shows each byte as a character; the errors here quote the pattern as written.
        let kind = theirs.split_once(": ").map_or(theirs, |(kind, _)| kind);
        return (message != kind).then(|| format!("refused as `{message}`, by RE2 as `{theirs}`"));
    }
    if !ours.found.is_empty() {
        message = format!("{message}: {}", ours.found);
    }
    if abbreviated(&message, pattern) != theirs {
        return Some(format!("refused as `{message}`, by RE2 as `{theirs}`"));
    }
    // Unbalanced parentheses are quoted with the whole pattern.
    let quoted = match ours.kind {
        SyntaxErrorKind::MissingParen => "(",
        SyntaxErrorKind::UnexpectedParen => ")",
        _ => &ours.found,
    };
    (!at.starts_with(quoted.as_bytes())).then(|| format!("`{quoted}` is not at {}", ours.offset))
}

/// The texts for which `matches` differs from RE2.
fn wrong_texts(yes: &[String], no: &[String], matches: impl Fn(&[u8]) -> bool) -> Option<String> {
    let mut wrong = Vec::new();
    for (texts, expected) in [(yes, true), (no, false)] {
        for text in texts {
            if matches(&bytes(text)) != expected {
                wrong.push(format!("{text} is {}", !expected));
            }
        }
    }
    (!wrong.is_empty()).then(|| wrong.join(", "))
}

/// A full match without a table.
fn simulate(hir: Hir) -> impl Fn(&[u8]) -> bool {
    let whole = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
    let nfa = NFA::compiler()
        .configure(NFA::config().utf8(false))
        .build_from_hir(&whole)
        .unwrap();
    let vm = PikeVM::new_from_nfa(nfa).unwrap();
    move |text| vm.is_match(&mut vm.create_cache(), text)
}

/// What differs from RE2 for one pattern. Counts the patterns that have no table.
fn difference(
    pattern: &str,
    parsed: Result<Hir, SyntaxError>,
    answers: &Answers,
    latin_1: bool,
    without_table: &mut usize,
) -> Option<String> {
    let Answers { e, y, n } = answers;
    let hir = match (parsed, e) {
        (Ok(hir), None) => hir,
        (Ok(_), Some(theirs)) => return Some(format!("accepted, by RE2 refused as `{theirs}`")),
        (Err(ours), None) => return Some(format!("refused: {}", ours.kind)),
        (Err(ours), Some(theirs)) => return wrong_refusal(pattern, &ours, theirs, latin_1),
    };
    // A pattern without texts is about the program size, which the parser decides.
    if y.is_empty() && n.is_empty() {
        return None;
    }
    match Dfa::from_hir(&hir, pattern, DEFAULT_STATE_CAP) {
        Ok(dfa) => wrong_texts(y, n, |text| dfa.is_match(text)),
        Err(TooLarge { .. }) => {
            *without_table += 1;
            wrong_texts(y, n, simulate(hir))
        }
    }
}

#[test]
fn patterns_have_the_verdicts_of_re2() {
    let mut patterns = 0;
    let mut without_table = [0, 0];
    let mut wrong = Vec::new();
    let mut differing = vec![0; DIFFERENCES.len()];
    for line in lines() {
        let Line::Pattern(line) = line else { continue };
        let pattern = match line.p {
            Pattern::Whole(pattern) => pattern,
            Pattern::Repeated(parts) => parts
                .iter()
                .map(|(text, count)| text.repeat(*count))
                .collect(),
        };
        patterns += 1;
        let latin_1 = line.l.as_ref().unwrap_or(&line.utf_8);
        let problems = [
            difference(
                &pattern,
                parse(&pattern),
                &line.utf_8,
                false,
                &mut without_table[0],
            ),
            difference(
                &pattern,
                parse_latin_1(&pattern),
                latin_1,
                true,
                &mut without_table[1],
            ),
        ];
        for (problem, encoding) in problems.into_iter().zip(["UTF-8", "Latin-1"]) {
            let Some(problem) = problem else { continue };
            let known = DIFFERENCES
                .iter()
                .position(|(start, what)| pattern.starts_with(start) && problem == *what);
            match known {
                Some(known) => differing[known] += 1,
                None => {
                    let start: String = pattern.chars().take(80).collect();
                    wrong.push(format!("{start:?} in {encoding}: {problem}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(patterns > 3000, "{patterns}");
    assert_eq!(without_table, WITHOUT_TABLE);
    for ((start, what), count) in DIFFERENCES.iter().zip(differing) {
        assert!(count > 0, "`{start}..` is no longer {what}");
    }
}

#[test]
fn groups_have_the_code_points_of_re2() {
    let mut groups = 0;
    for line in lines() {
        match line {
            Line::Group { g, c } => {
                groups += 1;
                let class: String = c
                    .split(',')
                    .map(|range| match range.split_once('-') {
                        Some((low, high)) => format!("\\x{{{low}}}-\\x{{{high}}}"),
                        None => format!("\\x{{{range}}}"),
                    })
                    .collect();
                let named = parse(&format!("\\p{{{g}}}")).unwrap();
                assert_eq!(named, parse(&format!("[{class}]")).unwrap(), "{g}");
            }
            Line::RefusedGroups { x } => {
                for name in x.split(' ') {
                    let error = parse(&format!("\\p{{{name}}}")).unwrap_err();
                    assert_eq!(error.kind, SyntaxErrorKind::BadCharRange, "{name}");
                }
            }
            _ => {}
        }
    }
    assert!(groups > 190, "{groups}");
}

#[test]
fn case_folds_as_in_re2() {
    let orbits: Vec<Vec<u32>> = lines()
        .into_iter()
        .filter_map(|line| match line {
            Line::Folds { f } => Some(f),
            _ => None,
        })
        .flat_map(|f| f.split(';').map(str::to_owned).collect::<Vec<_>>())
        .map(|orbit| {
            orbit
                .split(',')
                .map(|rune| u32::from_str_radix(rune, 16).unwrap())
                .collect()
        })
        .collect();
    assert!(orbits.len() > 800, "{}", orbits.len());
    let mut folding = String::new();
    for orbit in &orbits {
        let class: String = orbit
            .iter()
            .map(|rune| format!("\\x{{{rune:x}}}"))
            .collect();
        folding += &class;
        let expected = parse(&format!("[{class}]")).unwrap();
        for rune in orbit {
            let folded = parse(&format!("(?i)\\x{{{rune:x}}}")).unwrap();
            assert_eq!(folded, expected, "U+{rune:04X}");
        }
    }
    // No other code point folds.
    let rest = format!("[^{folding}]");
    assert_eq!(
        parse(&rest).unwrap(),
        parse(&format!("(?i){rest}")).unwrap()
    );
}
