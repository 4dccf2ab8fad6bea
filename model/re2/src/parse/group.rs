//! What begins with `(?`: flags, groups without a capture, named groups.

use super::Flags;
use super::cursor::Cursor;
use crate::error::{SyntaxError, SyntaxErrorKind};
use crate::unicode;

/// What a `(?` stood for.
pub(super) enum Group {
    /// `(?P<name>` or `(?<name>`: a group opens, with the flags as they were.
    Named,
    /// `(?i:`: a group opens, with these flags inside.
    NonCapturing(Flags),
    /// `(?i)`: these flags until the group around it ends.
    SetFlags(Flags),
}

/// Parses the `(?` at the cursor.
pub(super) fn parse_group(cursor: &mut Cursor<'_>, flags: Flags) -> Result<Group, SyntaxError> {
    let start = cursor.offset();
    let rest = cursor.rest();
    for around in ["(?=", "(?!", "(?<=", "(?<!"] {
        // RE2 says so only where something follows.
        if rest.len() > around.len() && rest.starts_with(around) {
            return Err(cursor.error_naming(SyntaxErrorKind::BadPerlOp, start, around));
        }
    }
    for opening in ["(?P<", "(?<"] {
        if rest.len() > opening.len() && rest.starts_with(opening) {
            cursor.eat(opening);
            parse_name(cursor, start)?;
            return Ok(Group::Named);
        }
    }
    cursor.eat("(?");
    parse_flags(cursor, flags, start)
}

/// Parses `name>`.
fn parse_name(cursor: &mut Cursor<'_>, start: usize) -> Result<(), SyntaxError> {
    let Some((name, _)) = cursor.rest().split_once('>') else {
        let rest = cursor.pattern().get(start..).unwrap_or_default();
        return Err(cursor.error_naming(SyntaxErrorKind::BadNamedCapture, start, rest));
    };
    cursor.eat(name);
    cursor.eat(">");
    if unicode::is_capture_name(name) {
        Ok(())
    } else {
        Err(cursor.error(SyntaxErrorKind::BadNamedCapture, start))
    }
}

/// Parses flags up to the `:` or `)` behind them.
fn parse_flags(
    cursor: &mut Cursor<'_>,
    mut flags: Flags,
    start: usize,
) -> Result<Group, SyntaxError> {
    let mut negated = false;
    let mut flag_seen = false;
    loop {
        let c = cursor.next();
        match c {
            Some('i') => flags.fold_case = !negated,
            Some('m') => flags.multi_line = !negated,
            Some('s') => flags.dot_matches_newline = !negated,
            Some('U') => flags.swap_greed = !negated,
            Some('-') if !negated => {
                negated = true;
                flag_seen = false;
                continue;
            }
            Some(':' | ')') if flag_seen || !negated => {
                return Ok(if c == Some(':') {
                    Group::NonCapturing(flags)
                } else {
                    Group::SetFlags(flags)
                });
            }
            _ => return Err(cursor.error(SyntaxErrorKind::BadPerlOp, start)),
        }
        flag_seen = true;
    }
}
