//! `RegexMatchAndSubstitute`: every match of a pattern gives way to a text.
//!
//! RE2's GlobalReplace, measured on Envoy 1.40: `\0` to `\9` stand for what a group holds, which is
//! nothing where it has no part in the match, and `\\` for a backslash. A substitution that names a
//! group which the pattern does not have replaces nothing; one with another escape ends there.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::route::v3::{
    Route, VirtualHost,
    redirect_action::PathRewriteSpecifier,
    route::Action,
    route_action::{HashPolicy, HostRewriteSpecifier, hash_policy::PolicySpecifier},
};
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use regex_automata::Input;
use regex_automata::nfa::thompson::{self, pikevm::PikeVM};
use twinmesh_xds::Snapshot;

/// A pattern that is searched for.
#[derive(Debug)]
struct Pattern {
    machine: PikeVM,
    groups: usize,
}

/// Every pattern of a snapshot that something is substituted for.
#[derive(Debug, Default)]
pub(crate) struct Substitutions {
    patterns: BTreeMap<String, Pattern>,
}

impl Substitutions {
    /// Compiles the patterns of a snapshot's routes. Those of which the reader found that they
    /// are not decided are left out.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let configurations = snapshot.route_configurations.iter();
        Self::of_routes(configurations.flat_map(|it| &it.config.virtual_hosts))
    }

    /// The same for these virtual hosts.
    pub(crate) fn of_routes<'a>(hosts: impl IntoIterator<Item = &'a VirtualHost>) -> Self {
        let routes = hosts.into_iter().flat_map(|host| &host.routes);
        let mut substitutions = Self::default();
        for pattern in routes.flat_map(of_route).filter_map(pattern) {
            substitutions.add(pattern);
        }
        substitutions
    }

    fn add(&mut self, pattern: &str) {
        if !self.patterns.contains_key(pattern)
            && let Some(compiled) = compile(pattern)
        {
            self.patterns.insert(pattern.to_owned(), compiled);
        }
    }

    /// The text after the substitution; `None` where the pattern is not decided.
    pub(crate) fn apply(&self, rule: &RegexMatchAndSubstitute, text: &str) -> Option<String> {
        let replaced = self.apply_to_bytes(rule, text.as_bytes())?;
        Some(String::from_utf8_lossy(&replaced).into_owned())
    }

    /// The same of bytes: what is left of a character need not be one.
    pub(crate) fn apply_to_bytes(
        &self,
        rule: &RegexMatchAndSubstitute,
        text: &[u8],
    ) -> Option<Vec<u8>> {
        let found = self.patterns.get(pattern(rule)?)?;
        Some(replace_all(found, &rule.substitution, text))
    }
}

/// The rules of a route.
fn of_route(route: &Route) -> Vec<&RegexMatchAndSubstitute> {
    match &route.action {
        Some(Action::Route(action)) => {
            let of_host = match &action.host_rewrite_specifier {
                Some(HostRewriteSpecifier::HostRewritePathRegex(rule)) => Some(rule),
                _ => None,
            };
            let of_hash = action.hash_policy.iter().filter_map(of_hash_policy);
            let of_path = action.regex_rewrite.iter();
            of_path.chain(of_host).chain(of_hash).collect()
        }
        Some(Action::Redirect(action)) => match &action.path_rewrite_specifier {
            Some(PathRewriteSpecifier::RegexRewrite(rule)) => vec![rule],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn of_hash_policy(policy: &HashPolicy) -> Option<&RegexMatchAndSubstitute> {
    match &policy.policy_specifier {
        Some(PolicySpecifier::Header(header)) => header.regex_rewrite.as_ref(),
        _ => None,
    }
}

fn pattern(rule: &RegexMatchAndSubstitute) -> Option<&str> {
    rule.pattern.as_ref().map(|pattern| pattern.regex.as_str())
}

fn compile(pattern: &str) -> Option<Pattern> {
    let parsed = twinmesh_re2::parse_latin_1_captures(pattern).ok()?;
    let nfa = thompson::Compiler::new()
        .configure(thompson::Config::new().utf8(false))
        .build_from_hir(&parsed.hir)
        .ok()?;
    Some(Pattern {
        machine: PikeVM::new_from_nfa(nfa).ok()?,
        groups: usize::try_from(parsed.count).ok()?,
    })
}

/// The highest group that a substitution names.
fn highest_group(substitution: &str) -> usize {
    let mut highest = 0;
    let mut characters = substitution.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            continue;
        }
        if let Some(digit) = characters.next().and_then(|digit| digit.to_digit(10)) {
            highest = highest.max(digit as usize);
        }
    }
    highest
}

fn replace_all(pattern: &Pattern, substitution: &str, text: &[u8]) -> Vec<u8> {
    if highest_group(substitution) > pattern.groups {
        return text.to_vec();
    }
    let machine = &pattern.machine;
    let mut cache = machine.create_cache();
    let mut captures = machine.create_captures();
    let mut replaced = Vec::new();
    let mut at = 0;
    let mut last_end = None;
    while at <= text.len() {
        machine.captures(&mut cache, Input::new(text).range(at..), &mut captures);
        let Some(found) = captures.get_match() else {
            break;
        };
        replaced.extend_from_slice(text.get(at..found.start()).unwrap_or_default());
        at = found.end();
        if found.is_empty() && last_end == Some(at) {
            // Not right after another match: one byte on.
            replaced.extend(text.get(at));
            at += 1;
            continue;
        }
        let group = |number: usize| {
            let span = captures.get_group(number)?;
            text.get(span.range())
        };
        substitute(substitution, group, &mut replaced);
        last_end = Some(at);
    }
    replaced.extend_from_slice(text.get(at..).unwrap_or_default());
    replaced
}

/// Appends one match's text.
fn substitute<'t>(substitution: &str, group: impl Fn(usize) -> Option<&'t [u8]>, to: &mut Vec<u8>) {
    let mut bytes = substitution.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            to.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'\\') => to.push(b'\\'),
            Some(digit @ b'0'..=b'9') => {
                to.extend_from_slice(group(usize::from(digit - b'0')).unwrap_or_default());
            }
            _ => return,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatcher;
    use rstest::rstest;

    use super::*;

    pub(crate) fn rule(pattern: &str, substitution: &str) -> RegexMatchAndSubstitute {
        RegexMatchAndSubstitute {
            pattern: Some(RegexMatcher {
                regex: pattern.to_owned(),
                ..RegexMatcher::default()
            }),
            substitution: substitution.to_owned(),
        }
    }

    pub(crate) fn substitutions(patterns: &[&str]) -> Substitutions {
        let mut substitutions = Substitutions::default();
        for pattern in patterns {
            substitutions.add(pattern);
        }
        substitutions
    }

    // What Envoy 1.40 made of paths.
    #[rstest]
    #[case("a", "b", "/aab", "/bbb")]
    #[case("a*", "-", "/aab", "-/-b-")]
    #[case("(a)|(b)", r"[\1\2]", "/ab", "/[a][b]")]
    #[case("^", "/start", "/x", "/start/x")]
    #[case("b*?", "-", "/bb", "-/-b-b-")]
    #[case("(?U)b+", "-", "/bb", "/--")]
    #[case("a|ab", "X", "/ab", "/Xb")]
    #[case(".*", "", "/x", "")]
    #[case(".*", r"\0\0", "/x", "/x/x")]
    #[case("(b)", r"\\\1", "/b", r"/\b")]
    #[case("b", r"\1", "/b", "/b")]
    #[case("b", r"x\y", "/ab", "/ax")]
    #[case("b", r"x\", "/ab", "/ax")]
    #[case("nomatch", "x", "/b", "/b")]
    fn as_re2(
        #[case] pattern: &str,
        #[case] substitution: &str,
        #[case] text: &str,
        #[case] expected: &str,
    ) {
        let found = substitutions(&[pattern]).apply(&rule(pattern, substitution), text);
        assert_eq!(found.as_deref(), Some(expected));
    }

    #[test]
    fn a_pattern_that_is_not_decided_substitutes_nothing() {
        assert_eq!(Substitutions::default().apply(&rule("a", "b"), "a"), None);
    }
}
