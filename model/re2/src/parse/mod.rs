//! RE2's grammar, with the options that Envoy uses (`RE2::Quiet`: UTF-8, Perl's syntax).
//!
//! This is not the grammar of the regex crate: `\d` is ASCII, `a{,3}` and `[a&&b]` are literal
//! text, `a**` is refused, `\C` is any byte.

mod class;
mod cursor;
mod escape;
mod group;
mod stack;

use regex_syntax::hir::{Hir, Look};

use crate::encoding::{Encoding, latin_1, utf8};
use crate::error::{SyntaxError, SyntaxErrorKind};
use cursor::Cursor;
use group::Group;
use stack::{Repeat, Stack};

/// How deep groups and repeats may nest. Parentheses alone do not count: only what is left of
/// them in the parsed pattern does.
pub const MAX_NESTING: usize = 100;

/// RE2's limit of copies in `x{n}`, also for the product of nested repeats.
const MAX_REPEAT: u32 = 1000;

/// The flags of `(?imsU)`, and the encoding, which never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flags {
    encoding: Encoding,
    fold_case: bool,
    multi_line: bool,
    dot_matches_newline: bool,
    /// Which match is found, never whether there is a full one.
    swap_greed: bool,
}

/// A pattern whose captures count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captures {
    /// The pattern, with its groups numbered from 1, and lazy where the pattern is.
    pub hir: Hir,
    /// How many groups the pattern has; a group that nothing can reach is not in `hir`.
    pub count: u32,
}

/// Parses `pattern` as RE2 does. The result matches in full what RE2 matches in full, over any
/// bytes; captures and greed are left out.
///
/// # Errors
///
/// Where RE2 refuses the pattern, and where it nests deeper than [`MAX_NESTING`].
pub fn parse(pattern: &str) -> Result<Hir, SyntaxError> {
    parse_as(pattern, Encoding::Utf8, false).map(|parsed| parsed.hir)
}

/// Parses `pattern` as RE2 does with its option `Latin1`: each byte of the pattern and of the text
/// is one character.
///
/// # Errors
///
/// As [`parse`]; also for `\x{100}` and above.
pub fn parse_latin_1(pattern: &str) -> Result<Hir, SyntaxError> {
    latin_1_as(pattern, false).map(|parsed| parsed.hir)
}

/// As [`parse_latin_1`], for those that search and substitute: with captures and greed.
///
/// # Errors
///
/// As [`parse_latin_1`].
pub fn parse_latin_1_captures(pattern: &str) -> Result<Captures, SyntaxError> {
    latin_1_as(pattern, true)
}

fn latin_1_as(pattern: &str, captures: bool) -> Result<Captures, SyntaxError> {
    let decoded = latin_1::decode(pattern);
    parse_as(&decoded, Encoding::Latin1, captures).map_err(|error| {
        // The decoded pattern has a character for each byte.
        let length = |text: &str| text.chars().count();
        let offset = length(error.pattern.get(..error.offset).unwrap_or_default());
        let found = pattern
            .as_bytes()
            .get(offset..offset + length(&error.found))
            .filter(|_| error.found != error.pattern)
            .unwrap_or(pattern.as_bytes());
        let found = if error.found.is_empty() { &[] } else { found };
        SyntaxError {
            pattern: pattern.to_owned(),
            offset,
            kind: error.kind,
            found: String::from_utf8_lossy(found).into_owned(),
        }
    })
}

fn parse_as(pattern: &str, encoding: Encoding, captures: bool) -> Result<Captures, SyntaxError> {
    let mut cursor = Cursor::new(pattern);
    let mut stack = Stack::new(encoding, captures);
    // The operator just before the cursor, where that is a repeat: `a**` is refused.
    let mut repeat_before: Option<usize> = None;
    while let Some(c) = cursor.peek() {
        let start = cursor.offset();
        let mut repeat_here = None;
        match c {
            '(' => parse_open(&mut cursor, &mut stack)?,
            ')' => {
                cursor.next();
                stack.close(&cursor, start)?;
            }
            '|' => {
                cursor.next();
                stack.alternative(&cursor, start)?;
            }
            '^' | '$' => {
                cursor.next();
                stack.push_hir(Hir::look(match (c, stack.flags.multi_line) {
                    ('^', false) => Look::Start,
                    ('^', true) => Look::StartLF,
                    (_, false) => Look::End,
                    (_, true) => Look::EndLF,
                }));
            }
            '.' => {
                cursor.next();
                stack.push_class(class::dot(stack.flags));
            }
            '[' => {
                let set = class::parse_bracket(&mut cursor, stack.flags)?;
                stack.push_class(set);
            }
            '*' | '+' | '?' | '{' => match parse_repeat(&mut cursor) {
                Some((repeat, lazy)) => {
                    if let Some(before) = repeat_before {
                        return Err(cursor.error(SyntaxErrorKind::RepeatOp, before));
                    }
                    stack.repeat(repeat, lazy, &cursor, start)?;
                    repeat_here = Some(start);
                }
                None => {
                    cursor.next();
                    stack.push_literal(u32::from(c));
                }
            },
            '\\' => parse_backslash(&mut cursor, &mut stack)?,
            _ => {
                cursor.next();
                stack.push_literal(u32::from(c));
            }
        }
        repeat_before = repeat_here;
    }
    stack.finish(&cursor)
}

fn parse_open(cursor: &mut Cursor<'_>, stack: &mut Stack) -> Result<(), SyntaxError> {
    let start = cursor.offset();
    if !cursor.rest().starts_with("(?") {
        cursor.eat("(");
        stack.open(start, true);
        return Ok(());
    }
    match group::parse_group(cursor, stack.flags)? {
        Group::Named => stack.open(start, true),
        Group::NonCapturing(flags) => {
            stack.open(start, false);
            stack.flags = flags;
        }
        Group::SetFlags(flags) => stack.flags = flags,
    }
    Ok(())
}

fn parse_backslash(cursor: &mut Cursor<'_>, stack: &mut Stack) -> Result<(), SyntaxError> {
    let mut after = *cursor;
    after.next();
    let look = match after.next() {
        Some('b') => Some(Look::WordAscii),
        Some('B') => Some(Look::WordAsciiNegate),
        Some('A') => Some(Look::Start),
        Some('z') => Some(Look::End),
        Some('C') => {
            *cursor = after;
            stack.push_hir(utf8::byte((0x00, 0xFF)));
            return Ok(());
        }
        Some('Q') => {
            *cursor = after;
            // Without a `\E`, all the rest is literal.
            while !cursor.eat("\\E") {
                let Some(c) = cursor.next() else { break };
                stack.push_literal(u32::from(c));
            }
            return Ok(());
        }
        Some('p' | 'P') => {
            let set = class::parse_unicode_group(cursor, stack.flags)?;
            stack.push_class(set);
            return Ok(());
        }
        _ => None,
    };
    if let Some(look) = look {
        *cursor = after;
        stack.push_hir(Hir::look(look));
    } else if let Some(set) = class::parse_perl_class(cursor, stack.flags) {
        stack.push_class(set);
    } else {
        stack.push_literal(escape::parse_escape(cursor, stack.flags.encoding)?);
    }
    Ok(())
}

/// Parses a repeat operator, and whether a `?` follows it. `{` without a valid `n}`, `n,}` or
/// `n,m}` behind it is literal.
fn parse_repeat(cursor: &mut Cursor<'_>) -> Option<(Repeat, bool)> {
    let mut after = *cursor;
    let repeat = match after.next()? {
        '*' => Repeat::Star,
        '+' => Repeat::Plus,
        '?' => Repeat::Question,
        _ => {
            let min = parse_count(&mut after)?;
            let max = if !after.eat(",") {
                Some(min)
            } else if after.peek() == Some('}') {
                None
            } else {
                Some(parse_count(&mut after)?)
            };
            if !after.eat("}") {
                return None;
            }
            Repeat::Counted { min, max }
        }
    };
    let lazy = after.eat("?");
    *cursor = after;
    Some((repeat, lazy))
}

/// A decimal number without leading zeros, of nine digits at most.
fn parse_count(cursor: &mut Cursor<'_>) -> Option<u32> {
    let start = cursor.offset();
    while matches!(cursor.peek(), Some('0'..='9')) {
        cursor.next();
    }
    let digits = cursor.since(start);
    if digits.len() > 9 || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    digits.parse().ok()
}
