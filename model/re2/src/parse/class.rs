//! Classes: `[a-z]`, `[^[:alpha:]]`, `\d`, `\pL`, `\P{Greek}`.

use super::Flags;
use super::cursor::Cursor;
use super::escape::parse_escape;
use crate::encoding::Encoding;
use crate::error::{SyntaxError, SyntaxErrorKind};
use crate::rune_set::{MAX_RUNE, RuneSet};
use crate::unicode;

/// Parses the bracketed class at the cursor, which stands on `[`.
pub(super) fn parse_bracket(cursor: &mut Cursor<'_>, flags: Flags) -> Result<RuneSet, SyntaxError> {
    let start = cursor.offset();
    let missing = |cursor: &Cursor<'_>| {
        let class = cursor.pattern().get(start..).unwrap_or_default();
        cursor.error_naming(SyntaxErrorKind::MissingBracket, start, class)
    };
    cursor.eat("[");
    let negated = cursor.eat("^");
    let mut set = RuneSet::default();
    let mut first = true;
    loop {
        let rest = cursor.rest();
        if rest.is_empty() {
            return Err(missing(cursor));
        }
        // A `]` in the first place stands for itself.
        if !first && cursor.eat("]") {
            return Ok(if negated { set.negated() } else { set });
        }
        first = false;
        if let Some(named) = parse_posix_class(cursor, flags)? {
            set.union(&named);
            continue;
        }
        // RE2 looks for a group only where another character follows `\p`.
        if (rest.starts_with("\\p") || rest.starts_with("\\P")) && rest.len() > 2 {
            set.union(&parse_unicode_group(cursor, flags)?);
            continue;
        }
        if let Some(perl) = parse_perl_class(cursor, flags) {
            set.union(&perl);
            continue;
        }
        let (low, high) = parse_range(cursor, flags, &missing)?;
        set.union(&folded_if(RuneSet::new([(low, high)]), flags));
    }
}

/// One character, or two with a `-` between them.
fn parse_range(
    cursor: &mut Cursor<'_>,
    flags: Flags,
    missing: &impl Fn(&Cursor<'_>) -> SyntaxError,
) -> Result<(u32, u32), SyntaxError> {
    let start = cursor.offset();
    let low = parse_class_rune(cursor, flags, missing)?;
    let rest = cursor.rest();
    // The `-` of `[a-]` stands for itself.
    if !rest.starts_with('-') || rest.len() < 2 || rest.starts_with("-]") {
        return Ok((low, low));
    }
    cursor.eat("-");
    let high = parse_class_rune(cursor, flags, missing)?;
    if high < low {
        return Err(cursor.error(SyntaxErrorKind::BadCharRange, start));
    }
    Ok((low, high))
}

fn parse_class_rune(
    cursor: &mut Cursor<'_>,
    flags: Flags,
    missing: &impl Fn(&Cursor<'_>) -> SyntaxError,
) -> Result<u32, SyntaxError> {
    if cursor.rest().starts_with('\\') {
        return parse_escape(cursor, flags.encoding);
    }
    cursor.next().map(u32::from).ok_or_else(|| missing(cursor))
}

/// Parses `[:alpha:]` or `[:^alpha:]` inside a bracketed class. Text without a closing `:]` is no
/// such class and stands for itself.
fn parse_posix_class(
    cursor: &mut Cursor<'_>,
    flags: Flags,
) -> Result<Option<RuneSet>, SyntaxError> {
    let start = cursor.offset();
    let Some(name) = cursor
        .rest()
        .strip_prefix("[:")
        .and_then(|rest| rest.split_once(":]"))
        .map(|(name, _)| name)
    else {
        return Ok(None);
    };
    cursor.eat("[:");
    cursor.eat(name);
    cursor.eat(":]");
    let (negated, name) = match name.strip_prefix('^') {
        Some(name) => (true, name),
        None => (false, name),
    };
    match posix_ranges(name) {
        Some(ranges) => Ok(Some(group(
            RuneSet::new(ranges.iter().copied()),
            negated,
            flags,
        ))),
        None => Err(cursor.error(SyntaxErrorKind::BadCharRange, start)),
    }
}

fn posix_ranges(name: &str) -> Option<&'static [(u32, u32)]> {
    Some(match name {
        "alnum" => &[(0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)],
        "alpha" => &[(0x41, 0x5A), (0x61, 0x7A)],
        "ascii" => &[(0x00, 0x7F)],
        "blank" => &[(0x09, 0x09), (0x20, 0x20)],
        "cntrl" => &[(0x00, 0x1F), (0x7F, 0x7F)],
        "digit" => DIGIT,
        "graph" => &[(0x21, 0x7E)],
        "lower" => &[(0x61, 0x7A)],
        "print" => &[(0x20, 0x7E)],
        "punct" => &[(0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)],
        "space" => &[(0x09, 0x0D), (0x20, 0x20)],
        "upper" => &[(0x41, 0x5A)],
        "word" => WORD,
        "xdigit" => &[(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)],
        _ => return None,
    })
}

const DIGIT: &[(u32, u32)] = &[(0x30, 0x39)];
const WORD: &[(u32, u32)] = &[(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)];
/// Unlike `[:space:]`, without the vertical tab.
const PERL_SPACE: &[(u32, u32)] = &[(0x09, 0x0A), (0x0C, 0x0D), (0x20, 0x20)];

/// Parses `\d \D \s \S \w \W`.
pub(super) fn parse_perl_class(cursor: &mut Cursor<'_>, flags: Flags) -> Option<RuneSet> {
    let mut chars = cursor.rest().strip_prefix('\\')?.chars();
    let (ranges, negated) = match chars.next()? {
        'd' => (DIGIT, false),
        'D' => (DIGIT, true),
        's' => (PERL_SPACE, false),
        'S' => (PERL_SPACE, true),
        'w' => (WORD, false),
        'W' => (WORD, true),
        _ => return None,
    };
    cursor.next();
    cursor.next();
    Some(group(RuneSet::new(ranges.iter().copied()), negated, flags))
}

/// Parses `\pN`, `\PN`, `\p{Greek}`, `\p{^Greek}`. The cursor stands on the backslash, and `p` or
/// `P` follows.
pub(super) fn parse_unicode_group(
    cursor: &mut Cursor<'_>,
    flags: Flags,
) -> Result<RuneSet, SyntaxError> {
    let start = cursor.offset();
    let bad = |cursor: &Cursor<'_>| cursor.error(SyntaxErrorKind::BadCharRange, start);
    cursor.eat("\\");
    let mut negated = cursor.next() == Some('P');
    let name = if cursor.eat("{") {
        let Some((name, _)) = cursor.rest().split_once('}') else {
            let rest = cursor.pattern().get(start..).unwrap_or_default();
            return Err(cursor.error_naming(SyntaxErrorKind::BadCharRange, start, rest));
        };
        cursor.eat(name);
        cursor.eat("}");
        name
    } else {
        let name_start = cursor.offset();
        cursor.next();
        cursor.since(name_start)
    };
    let name = match name.strip_prefix('^') {
        Some(name) => {
            negated = !negated;
            name
        }
        None => name,
    };
    match unicode::named_group(name) {
        Some(set) => Ok(group(set, negated, flags)),
        None => Err(bad(cursor)),
    }
}

/// A named group with case folding and negation, in this order: `(?i)\PLu` is the negation of
/// both cases.
fn group(set: RuneSet, negated: bool, flags: Flags) -> RuneSet {
    let mut set = folded_if(set, flags);
    if negated { set.negated() } else { set }
}

fn folded_if(set: RuneSet, flags: Flags) -> RuneSet {
    match (flags.fold_case, flags.encoding) {
        (false, _) => set,
        (true, Encoding::Utf8) => unicode::case_folded(set),
        (true, Encoding::Latin1) => unicode::ascii_case_folded(set),
    }
}

/// `.`: any code point, without the newline unless `(?s)`.
pub(super) fn dot(flags: Flags) -> RuneSet {
    if flags.dot_matches_newline {
        RuneSet::new([(0, MAX_RUNE)])
    } else {
        RuneSet::new([(0, 0x09), (0x0B, MAX_RUNE)])
    }
}

/// One character, with its other cases under `(?i)`.
pub(super) fn literal(rune: u32, flags: Flags) -> RuneSet {
    folded_if(RuneSet::new([(rune, rune)]), flags)
}
