//! Texts that a regex matches, and texts beside them.

use regex_syntax::hir::{Class, Hir, HirKind};

/// How many texts are made of a pattern, at most.
const MOST: usize = 6;
/// The longest text that is made.
const LONGEST: usize = 512;

/// Texts that the pattern is likely to match: the shortest first, then one for each alternative.
/// Whoever takes them asks the matcher: assertions inside a pattern are not looked at.
pub(crate) fn matching(pattern: &str) -> Vec<String> {
    let Ok(hir) = twinmesh_re2::parse_latin_1(pattern) else {
        return Vec::new();
    };
    let mut texts: Vec<String> = Vec::new();
    for turn in 0..MOST {
        let mut bytes = Vec::new();
        write(&hir, turn, &mut bytes);
        if let Ok(text) = String::from_utf8(bytes)
            && text.len() <= LONGEST
            && !texts.contains(&text)
        {
            texts.push(text);
        }
    }
    texts
}

/// Texts right beside those: one character more, less, or another.
pub(crate) fn beside(texts: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    for text in texts.iter().take(2) {
        let mut less = text.clone();
        less.pop();
        let other: String = text
            .char_indices()
            .map(|(at, letter)| if at == 1 { '~' } else { letter })
            .collect();
        out.extend([format!("{text}x"), format!("{text}~"), less, other]);
    }
    out.push("~".to_owned());
    out
}

/// Writes one text. `turn` 0 takes the least of everything, 1 one more of what repeats; later
/// turns take the later alternatives and the ends of classes.
fn write(hir: &Hir, turn: usize, out: &mut Vec<u8>) {
    if out.len() > LONGEST {
        return;
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => out.extend_from_slice(&literal.0),
        HirKind::Class(class) => out.extend(of_class(class, turn)),
        HirKind::Repetition(repetition) => {
            let more = u32::from(turn > 0);
            let most = repetition.max.unwrap_or(u32::MAX);
            let times = repetition.min.saturating_add(more).min(most);
            for _ in 0..times {
                write(&repetition.sub, turn, out);
            }
        }
        HirKind::Capture(capture) => write(&capture.sub, turn, out),
        HirKind::Concat(parts) => parts.iter().for_each(|part| write(part, turn, out)),
        HirKind::Alternation(parts) => {
            if let Some(part) = parts.get(turn % parts.len().max(1)) {
                write(part, turn, out);
            }
        }
    }
}

/// A byte of the class: one that may stand anywhere in a request, if there is one.
fn of_class(class: &Class, turn: usize) -> Option<u8> {
    let has = |byte: u8| match class {
        Class::Bytes(class) => class
            .iter()
            .any(|range| (range.start()..=range.end()).contains(&byte)),
        Class::Unicode(class) => class
            .iter()
            .any(|range| (range.start()..=range.end()).contains(&char::from(byte))),
    };
    let plain = (b'a'..=b'z').chain(b'0'..=b'9').chain(b'A'..=b'Z');
    let plain = plain.chain(*b"-_.~/").filter(|byte| has(*byte));
    let plain: Vec<u8> = plain.collect();
    if turn > 2
        && let Some(last) = plain.last()
    {
        return Some(*last);
    }
    let any = || (b' '..=b'~').find(|byte| has(*byte));
    plain.first().copied().or_else(any)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use twinmesh_re2::{DEFAULT_STATE_CAP, Dfa};

    use super::*;

    #[rstest]
    #[case("/a")]
    #[case("/v[0-9]+/(users|groups)/.*")]
    #[case("(?i)/a{2,3}b?")]
    #[case("a|bc|d+")]
    #[case("[^/]+")]
    #[case(r"\d{4}-\d{2}")]
    fn both_sides(#[case] pattern: &str) {
        let dfa = Dfa::latin_1(pattern, DEFAULT_STATE_CAP).expect("a pattern of RE2");
        let texts = matching(pattern);
        assert!(!texts.is_empty());
        for text in &texts {
            assert!(dfa.is_match(text.as_bytes()), "{pattern} and {text}");
        }
        let beside = beside(&texts);
        assert!(beside.iter().any(|text| !dfa.is_match(text.as_bytes())));
    }

    #[test]
    fn every_alternative_has_its_turn() {
        let texts = matching("a|bc|d+");
        for expected in ["a", "bc", "dd"] {
            assert!(texts.iter().any(|text| text == expected), "{texts:?}");
        }
    }

    #[test]
    fn what_is_no_pattern_has_no_texts() {
        assert!(matching("a**").is_empty());
    }
}
