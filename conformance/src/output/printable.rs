//! Text of which no terminal makes more than text.

use std::borrow::Cow;

/// Stands for the escape of a colour until the text is written: no name has it, as it is no
/// character.
const COLOUR: char = '\u{fdd0}';

/// The text with its control characters, line feeds among them, and those that turn the direction of
/// writing, as Rust writes them: `\n`, `\u{1b}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_unprintable)
}

/// As [`printable`], of a text of several lines.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| {
        character != '\n' && is_unprintable(character)
    })
}

/// A text in a colour, or in bold, for [`coloured`].
pub(super) fn paint(code: u8, text: &str) -> String {
    format!("{COLOUR}[{code}m{}{COLOUR}[0m", printable(text))
}

/// The text as it is written: [`paint`]'s colours, and everything else printable.
pub(super) fn coloured(text: &str, has_lines: bool) -> String {
    let escape = |part| match has_lines {
        true => printable_lines(part),
        false => printable(part),
    };
    let mut parts = text.split(COLOUR);
    let mut written = escape(parts.next().unwrap_or_default()).into_owned();
    for part in parts {
        let is_colour = ["[0m", "[1m", "[2m", "[31m", "[32m", "[33m"]
            .iter()
            .any(|code| part.starts_with(code));
        if is_colour {
            written.push('\u{1b}');
        } else {
            written.extend(COLOUR.escape_unicode());
        }
        written.push_str(&escape(part));
    }
    written
}

fn is_unprintable(character: char) -> bool {
    let turns_direction = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    // A tab is only a blank.
    (character.is_control() && character != '\t') || turns_direction
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_escaped(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_terminals_take_for_orders_is_shown() {
        let hostile = "a\nb\u{1b}[2J\r\u{7f}\u{9b}\u{202e}ü\tz";
        let shown = r"a\nb\u{1b}[2J\r\u{7f}\u{9b}\u{202e}ü";
        assert_eq!(printable(hostile), format!("{shown}\tz"));
        let lines = printable_lines(hostile);
        assert_eq!(lines, format!("{}\tz", shown.replacen(r"\n", "\n", 1)));
        assert!(matches!(printable("вх 😀"), Cow::Borrowed(_)));
    }

    #[test]
    fn colours_are_those_of_paint() {
        let red = format!("{} \u{1b}[31m", paint(31, "a\u{1b}[2J"));
        assert_eq!(
            coloured(&red, false),
            "\u{1b}[31ma\\u{1b}[2J\u{1b}[0m \\u{1b}[31m"
        );
        assert_eq!(coloured("\u{fdd0}[2J", true), r"\u{fdd0}[2J");
    }
}
