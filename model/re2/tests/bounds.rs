//! Hostile patterns end within bounds. States are counted here, never time: a table that was
//! refused or that is small enough took no more than the limits of its construction.

use twinmesh_re2::{
    DEFAULT_STATE_CAP, Dfa, Error, MAX_NESTING, MAX_TABLE_ENTRIES, SyntaxErrorKind,
};

fn states(pattern: &str) -> Option<u16> {
    match Dfa::new(pattern, DEFAULT_STATE_CAP) {
        Ok(dfa) => Some(dfa.state_count),
        Err(Error::TooLarge(_)) => None,
        Err(Error::Syntax(error)) => panic!("{error}"),
    }
}

#[test]
fn exponential_patterns_are_refused() {
    for pattern in [
        ".*a.{12}",
        "[ab]*a[ab]{12}",
        "(?:.?){1000}",
        r"(?:\pL?){30}",
        r"\pL{400}",
        "(?:.{0,200}x){4}",
        "(?:[ab]{0,30}a){30}",
        "(?:a|b|c|d|e|ab|abc|abcd|abcde){200}",
        r"(?-i:K\S.({)|\.+((é{0,2}\C*?).( b_?|k/|\D {1,3}){2}.|(.+K{0,2})a{{0}){0,2}.|){1,3}",
    ] {
        assert_eq!(states(pattern), None, "{pattern}");
    }
    for long in [
        "a".repeat(100_000),
        "[é-ü]".repeat(20_000),
        format!("(?i){}", "kelvin".repeat(5_000)),
    ] {
        assert_eq!(states(&long), None, "{} bytes", long.len());
    }
}

#[test]
fn patterns_that_backtrack_elsewhere_have_small_tables() {
    for (pattern, expected) in [
        ("(?:a?){1000}a{1000}".to_owned(), 2002),
        ("(x+x+)+y".to_owned(), 5),
        ("(.*)".repeat(500), 5),
        ("[ab]*a[ab]{10}".to_owned(), 2049),
        (format!("{}a{}", "(".repeat(90), ")*".repeat(90)), 2),
        (format!("{}{}", "(".repeat(100_000), ")".repeat(100_000)), 2),
        ("|".repeat(100_000), 2),
        (r"\b".repeat(10_000), 1),
        (".{1000}".to_owned(), 4002),
    ] {
        let start: String = pattern.chars().take(40).collect();
        assert_eq!(states(&pattern), Some(expected), "{start}");
    }
}

#[test]
fn the_cap_is_the_callers() {
    // A start, three states for `abc` and the dead state.
    let exact = Dfa::new("abc", 5).unwrap();
    assert_eq!(exact.state_count, 5);
    let Err(Error::TooLarge(error)) = Dfa::new("abc", 4) else {
        panic!("five states fit four");
    };
    assert_eq!((error.pattern.as_str(), error.cap), ("abc", 4));
    for cap in [0, 1] {
        assert!(
            matches!(Dfa::new("", cap), Err(Error::TooLarge(_))),
            "{cap}"
        );
    }
}

#[test]
fn a_table_stays_within_its_entries_whatever_the_cap() {
    let Err(Error::TooLarge(error)) = Dfa::new(r"\pL{1,3}", usize::MAX) else {
        panic!("the table fits {MAX_TABLE_ENTRIES} entries");
    };
    assert!(error.cap < DEFAULT_STATE_CAP, "{}", error.cap);
    let table = Dfa::new(r"\pL*", DEFAULT_STATE_CAP).unwrap();
    assert!(table.transitions.len() <= MAX_TABLE_ENTRIES);
}

#[test]
fn nesting_has_a_limit_and_plain_parentheses_do_not_count() {
    let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")*".repeat(depth));
    assert!(Dfa::new(&nested(MAX_NESTING), DEFAULT_STATE_CAP).is_ok());
    let Err(Error::Syntax(error)) = Dfa::new(&nested(MAX_NESTING + 1), DEFAULT_STATE_CAP) else {
        panic!("no limit");
    };
    assert_eq!(error.kind, SyntaxErrorKind::NestingTooDeep);
    assert_eq!(error.offset, 3 * MAX_NESTING + 3);
    assert_eq!(error.found, "*");
}
