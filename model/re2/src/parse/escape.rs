//! Escapes that stand for one code point: `\n`, `\.`, `\x41`, `\x{1F600}`, `\012`.

use super::cursor::Cursor;
use crate::encoding::Encoding;
use crate::error::{SyntaxError, SyntaxErrorKind};

/// Parses the escape at the cursor, which stands on a backslash.
pub(super) fn parse_escape(
    cursor: &mut Cursor<'_>,
    encoding: Encoding,
) -> Result<u32, SyntaxError> {
    let start = cursor.offset();
    let bad = |cursor: &Cursor<'_>| cursor.error(SyntaxErrorKind::BadEscape, start);
    cursor.eat("\\");
    let Some(c) = cursor.next() else {
        return Err(cursor.error_naming(SyntaxErrorKind::TrailingBackslash, start, ""));
    };
    match c {
        'n' => Ok(u32::from('\n')),
        'r' => Ok(u32::from('\r')),
        't' => Ok(u32::from('\t')),
        'a' => Ok(0x07),
        'f' => Ok(0x0C),
        'v' => Ok(0x0B),
        // One digit other than 0 would be a backreference, which RE2 has not.
        '1'..='7' if !matches!(cursor.peek(), Some('0'..='7')) => Err(bad(cursor)),
        '0'..='7' => {
            let code = octal(cursor, c);
            if code > encoding.max_rune() {
                return Err(bad(cursor));
            }
            Ok(code)
        }
        'x' => hexadecimal(cursor, start, encoding.max_rune()),
        _ if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(u32::from(c)),
        _ => Err(bad(cursor)),
    }
}

/// Up to three octal digits, of which `first` has been read.
fn octal(cursor: &mut Cursor<'_>, first: char) -> u32 {
    let mut code = first.to_digit(8).unwrap_or_default();
    for _ in 0..2 {
        let Some(digit) = cursor.peek().and_then(|c| c.to_digit(8)) else {
            break;
        };
        cursor.next();
        code = code * 8 + digit;
    }
    code
}

/// What follows `\x`: two digits, or any number of them in braces.
fn hexadecimal(cursor: &mut Cursor<'_>, start: usize, max_rune: u32) -> Result<u32, SyntaxError> {
    let bad = |cursor: &Cursor<'_>| cursor.error(SyntaxErrorKind::BadEscape, start);
    if !cursor.eat("{") {
        // RE2 reads both characters before it looks at either.
        let high = cursor.next();
        let low = cursor.next();
        let digit = |c: Option<char>| c.and_then(|c| c.to_digit(16));
        return match (digit(high), digit(low)) {
            (Some(high), Some(low)) => Ok(high * 16 + low),
            _ => Err(bad(cursor)),
        };
    }
    if cursor.at_end() {
        return Err(cursor.error_naming(SyntaxErrorKind::BadUtf8, start, ""));
    }
    let mut code = 0;
    let mut digits = 0;
    loop {
        match cursor.next() {
            Some('}') if digits > 0 => return Ok(code),
            Some(c) => match c.to_digit(16) {
                Some(digit) => {
                    digits += 1;
                    code = code * 16 + digit;
                    if code > max_rune {
                        return Err(bad(cursor));
                    }
                }
                None => return Err(bad(cursor)),
            },
            None => return Err(bad(cursor)),
        }
    }
}
