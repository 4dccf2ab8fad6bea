//! What RE2 puts in the place of a pattern's matches (`RegexMatchAndSubstitute`).

use std::collections::HashMap;

use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use regex_automata::meta;
use regex_automata::util::captures::Captures;

/// The patterns of a snapshot's rewrites, compiled once each.
#[derive(Debug, Clone, Default)]
pub struct Substitutions {
    patterns: HashMap<String, Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    regex: meta::Regex,
    groups: u32,
}

/// A part of a substitution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Byte(u8),
    Group(u32),
}

impl Substitutions {
    /// Compiles a rule's pattern, where it is a new one.
    ///
    /// # Errors
    /// Why it cannot be compiled.
    pub fn add(&mut self, rule: &RegexMatchAndSubstitute) -> Result<(), String> {
        let pattern = pattern(rule);
        if self.patterns.contains_key(pattern) {
            return Ok(());
        }
        let parsed =
            twinmesh_re2::parse_latin_1_captures(pattern).map_err(|error| error.to_string())?;
        let regex = meta::Builder::new()
            .configure(meta::Config::new().utf8_empty(false))
            .build_from_hir(&parsed.hir)
            .map_err(|error| format!("the regex {pattern:?}: {error}"))?;
        let groups = parsed.count;
        self.patterns
            .insert(pattern.to_owned(), Pattern { regex, groups });
        Ok(())
    }

    /// The text after the substitution of every match. A substitution with a group that the
    /// pattern does not have leaves it as it is.
    pub fn apply(&self, rule: &RegexMatchAndSubstitute, text: &str) -> String {
        let replaced = self.apply_to_bytes(rule, text.as_bytes());
        String::from_utf8_lossy(&replaced).into_owned()
    }

    /// The same of bytes, which need be no text before or after.
    pub fn apply_to_bytes(&self, rule: &RegexMatchAndSubstitute, bytes: &[u8]) -> Vec<u8> {
        let parts = parts(&rule.substitution);
        let highest = parts.iter().map(|part| match part {
            Part::Group(number) => *number,
            Part::Byte(_) => 0,
        });
        let highest = highest.max().unwrap_or(0).max(highest_named(rule));
        let Some(pattern) = self.patterns.get(pattern(rule)) else {
            return bytes.to_vec();
        };
        if highest > pattern.groups {
            return bytes.to_vec();
        }
        let mut replaced = Vec::with_capacity(bytes.len());
        let mut from = 0;
        for found in pattern.regex.captures_iter(bytes) {
            let Some(whole) = found.get_match() else {
                continue;
            };
            replaced.extend_from_slice(bytes.get(from..whole.start()).unwrap_or_default());
            for part in &parts {
                match part {
                    Part::Byte(byte) => replaced.push(*byte),
                    Part::Group(number) => {
                        replaced.extend_from_slice(group(&found, *number, bytes))
                    }
                }
            }
            from = whole.end();
        }
        replaced.extend_from_slice(bytes.get(from..).unwrap_or_default());
        replaced
    }
}

fn pattern(rule: &RegexMatchAndSubstitute) -> &str {
    rule.pattern
        .as_ref()
        .map_or("", |pattern| pattern.regex.as_str())
}

/// What a group holds; nothing where it has no part in the match.
fn group<'t>(found: &Captures, number: u32, text: &'t [u8]) -> &'t [u8] {
    found
        .get_group(number as usize)
        .and_then(|span| text.get(span.range()))
        .unwrap_or_default()
}

/// A substitution up to its end, or to an escape that is none.
fn parts(substitution: &str) -> Vec<Part> {
    let mut parts = Vec::with_capacity(substitution.len());
    let mut escaped = false;
    for byte in substitution.bytes() {
        parts.push(match (escaped, byte) {
            (false, b'\\') => {
                escaped = true;
                continue;
            }
            (false, _) | (true, b'\\') => Part::Byte(byte),
            (true, b'0'..=b'9') => Part::Group(u32::from(byte - b'0')),
            (true, _) => break,
        });
        escaped = false;
    }
    parts
}

/// The highest group that the whole substitution names, also behind an escape that is none.
fn highest_named(rule: &RegexMatchAndSubstitute) -> u32 {
    let mut escaped = false;
    let mut highest = 0;
    for byte in rule.substitution.bytes() {
        if escaped && byte.is_ascii_digit() {
            highest = highest.max(u32::from(byte - b'0'));
        }
        escaped = !escaped && byte == b'\\';
    }
    highest
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatcher;

    use super::*;

    fn rule(pattern: &str, substitution: &str) -> RegexMatchAndSubstitute {
        RegexMatchAndSubstitute {
            pattern: Some(RegexMatcher {
                regex: pattern.to_owned(),
                ..RegexMatcher::default()
            }),
            substitution: substitution.to_owned(),
        }
    }

    /// Pattern, substitution, path, and what Envoy 1.40 made of it.
    const RECORDED: &[(&str, &str, &str, &str)] = &[
        ("a*", "-", "/r2/abab", "-/-r-2-/-b-b-"),
        ("(a)|(b)", r"[\1\2]", "/r3/ab", "/r3/[a][b]"),
        ("b*?", "-", "/bb", "-/-b-b-"),
        ("(?U)b+", "-", "/bb", "/--"),
        (r"\b", "|", "/ab", "/|ab|"),
        ("(a)*", r"<\1>", "/aab", "<>/<a>b<>"),
        ("(a){0}b", r"<\1>", "/b", "/<>"),
        ("(^|/)b", r"\1c", "/b/bb", "/c/cb"),
        ("b", r"\1", "/b", "/b"),
        ("(b)", r"x\1y\z", "/abc", "/axbyc"),
        ("b", r"x\", "/abc", "/axc"),
        (".*", "", "/abc", ""),
        ("b", r"\\", "/b", r"/\"),
    ];

    #[test]
    fn matches_give_way_as_in_envoy() {
        for (pattern, substitution, path, expected) in RECORDED {
            let rule = rule(pattern, substitution);
            let mut substitutions = Substitutions::default();
            substitutions.add(&rule).expect("it compiles");
            let found = substitutions.apply(&rule, path);
            assert_eq!(found, *expected, "{pattern} {substitution} on {path}");
        }
    }

    #[test]
    fn what_re2_refuses_is_an_error() {
        let refused = Substitutions::default().add(&rule("a**", "b"));
        assert!(refused.expect_err("RE2 refuses it").contains("a**"));
    }
}
