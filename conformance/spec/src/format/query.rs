//! Query parameters in format strings.

use crate::lines::{Known, Undecided};

/// The first value of a parameter, percent-decoded; a plus sign stays.
///
/// # Errors
/// The value is no text.
pub(super) fn parameter(path: &str, name: &str) -> Known<Option<String>> {
    let Some((_, query)) = path.split_once('?') else {
        return Ok(None);
    };
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decoded(key) == name.as_bytes() {
            let text = String::from_utf8(decoded(value)).ok();
            let text = text.filter(|text| !text.contains(|it: char| it.is_ascii_control()));
            return match text {
                Some(text) => Ok(Some(text)),
                None => Err(Undecided::new(format!(
                    "the query parameter {name} is no text"
                ))),
            };
        }
    }
    Ok(None)
}

fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    let mut found = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let pair = digit(at + 1).zip(digit(at + 2));
        let escaped = pair.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        match escaped.filter(|_| *byte == b'%') {
            Some(escaped) => {
                found.push(escaped);
                at += 3;
            }
            None => {
                found.push(*byte);
                at += 1;
            }
        }
    }
    found
}
