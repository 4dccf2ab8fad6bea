//! Tables of Envoy's plain string matchers: `exact`, `prefix`, `suffix`, `contains`.

use crate::determinise::RawDfa;
use crate::dfa::{DEFAULT_STATE_CAP, Dfa};
use crate::error::TooLarge;
use crate::minimise::minimise;

/// Which ends of the text the literal must reach.
#[derive(Debug, Clone, Copy)]
struct Ends {
    start: bool,
    end: bool,
}

impl Dfa {
    /// Accepts exactly `value`, in any ASCII case where `ignore_case` (`StringMatcher.exact`).
    ///
    /// # Errors
    ///
    /// [`TooLarge`] over [`DEFAULT_STATE_CAP`] states, which takes about as many bytes; the same
    /// for the other three.
    pub fn equals(value: &[u8], ignore_case: bool) -> Result<Self, TooLarge> {
        literal(
            value,
            ignore_case,
            Ends {
                start: true,
                end: true,
            },
        )
    }

    /// Accepts what begins with `prefix` (`StringMatcher.prefix`).
    ///
    /// # Errors
    ///
    /// As [`Dfa::equals`].
    pub fn starts_with(prefix: &[u8], ignore_case: bool) -> Result<Self, TooLarge> {
        literal(
            prefix,
            ignore_case,
            Ends {
                start: true,
                end: false,
            },
        )
    }

    /// Accepts what ends with `suffix` (`StringMatcher.suffix`).
    ///
    /// # Errors
    ///
    /// As [`Dfa::equals`].
    pub fn ends_with(suffix: &[u8], ignore_case: bool) -> Result<Self, TooLarge> {
        literal(
            suffix,
            ignore_case,
            Ends {
                start: false,
                end: true,
            },
        )
    }

    /// Accepts what has `needle` anywhere (`StringMatcher.contains`).
    ///
    /// # Errors
    ///
    /// As [`Dfa::equals`].
    pub fn contains(needle: &[u8], ignore_case: bool) -> Result<Self, TooLarge> {
        literal(
            needle,
            ignore_case,
            Ends {
                start: false,
                end: false,
            },
        )
    }
}

fn literal(value: &[u8], ignore_case: bool, ends: Ends) -> Result<Dfa, TooLarge> {
    let too_large = |cap| TooLarge {
        pattern: String::from_utf8_lossy(value).into_owned(),
        cap,
    };
    // The start, one state for each byte, and the dead state of an anchored literal.
    if value.len() >= DEFAULT_STATE_CAP {
        return Err(too_large(DEFAULT_STATE_CAP));
    }
    minimise(&search(value, ignore_case, ends), DEFAULT_STATE_CAP)
        .map_err(|over| too_large(over.cap))
}

/// The automaton of Knuth, Morris and Pratt: the state after a byte is how much of the literal
/// the text ends with. A pattern `.*literal` would be determinised to the same, in quadratic time
/// for `aaaa`.
fn search(value: &[u8], ignore_case: bool, ends: Ends) -> RawDfa {
    let fold = |byte: u8| {
        if ignore_case {
            byte.to_ascii_lowercase()
        } else {
            byte
        }
    };
    let value: Vec<u8> = value.iter().map(|&byte| fold(byte)).collect();
    // One class for each byte of the literal; all other bytes, where there are any, share the
    // last one.
    let mut class_of: [Option<u8>; 256] = [None; 256];
    let mut width: usize = 0;
    for &byte in &value {
        class_of[usize::from(byte)].get_or_insert_with(|| {
            width += 1;
            (width - 1) as u8
        });
    }
    let others = width as u8;
    let classes: [u8; 256] =
        std::array::from_fn(|byte| class_of[usize::from(fold(byte as u8))].unwrap_or(others));
    if classes.iter().any(|&class| usize::from(class) == width) {
        width += 1;
    }
    let text: Vec<usize> = value
        .iter()
        .map(|&byte| usize::from(classes[usize::from(byte)]))
        .collect();

    // State 0 is dead, state 1 has read nothing of the literal, the last one all of it.
    let mut transitions = vec![0; width * (value.len() + 2)];
    let state = |read: usize| 1 + read as u32;
    // Where the text goes on that the literal without its first byte has led through.
    let mut fallback = if ends.start { 0 } else { 1 };
    for (read, &next) in text.iter().enumerate() {
        let row = (1 + read) * width;
        if read > 0 && !ends.start {
            transitions.copy_within(fallback * width..(fallback + 1) * width, row);
            fallback = transitions[fallback * width + next] as usize;
        } else if !ends.start {
            transitions[row..row + width].fill(state(0));
        }
        transitions[row + next] = state(read + 1);
    }
    let row = (1 + value.len()) * width;
    if !ends.end {
        transitions[row..row + width].fill(state(value.len()));
    } else if !ends.start && value.is_empty() {
        transitions[row..row + width].fill(state(0));
    } else if !ends.start {
        transitions.copy_within(fallback * width..(fallback + 1) * width, row);
    }
    let mut accepting = vec![false; value.len() + 2];
    if let Some(last) = accepting.last_mut() {
        *last = true;
    }
    RawDfa {
        classes,
        class_count: width,
        transitions,
        accepting,
        start: state(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&[u8]; 12] = [
        b"",
        b"a",
        b"ab",
        b"Ab",
        b"aab",
        b"abab",
        b"xabx",
        b"xAB",
        b"abx",
        b"b",
        b"\xFFab\xFF",
        b"ba",
    ];

    #[test]
    fn tables_agree_with_comparisons() {
        for value in [&b""[..], b"ab", b"aba", b"\xFFa", b"aab"] {
            for ignore_case in [false, true] {
                let fold = |text: &[u8]| {
                    if ignore_case {
                        text.to_ascii_lowercase()
                    } else {
                        text.to_vec()
                    }
                };
                let needle = fold(value);
                let equals = Dfa::equals(value, ignore_case).unwrap();
                let starts = Dfa::starts_with(value, ignore_case).unwrap();
                let ends = Dfa::ends_with(value, ignore_case).unwrap();
                let contains = Dfa::contains(value, ignore_case).unwrap();
                for text in TEXTS {
                    let folded = fold(text);
                    let message = format!("{value:?} {text:?} {ignore_case}");
                    assert_eq!(equals.is_match(text), folded == needle, "{message}");
                    assert_eq!(
                        starts.is_match(text),
                        folded.starts_with(&needle),
                        "{message}"
                    );
                    assert_eq!(ends.is_match(text), folded.ends_with(&needle), "{message}");
                    let anywhere = needle.is_empty()
                        || folded.windows(needle.len()).any(|window| window == needle);
                    assert_eq!(contains.is_match(text), anywhere, "{message}");
                }
            }
        }
    }

    #[test]
    fn a_literal_has_one_state_for_each_byte() {
        let longest = vec![b'a'; DEFAULT_STATE_CAP - 2];
        let table = Dfa::equals(&longest, true).unwrap();
        assert_eq!(usize::from(table.state_count), DEFAULT_STATE_CAP);
        assert!(table.is_match(&longest));
        let over = Dfa::equals(&vec![b'a'; DEFAULT_STATE_CAP - 1], true);
        assert_eq!(over.unwrap_err().cap, DEFAULT_STATE_CAP);
        // A literal of every byte value needs one class for each, and so fits fewer states.
        let every: Vec<u8> = (0..=u8::MAX).collect();
        assert_eq!(Dfa::equals(&every, false).unwrap_err().cap, 255);
        assert!(Dfa::contains(&vec![b'a'; 1 << 20], false).is_err());
        assert!(Dfa::contains(&vec![b'a'; 4000], false).is_ok());
    }
}
