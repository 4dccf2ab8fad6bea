//! Regexes: RE2's grammar, matched in full by a virtual machine over an NFA.
//!
//! Envoy 1.40 lets RE2 take pattern and value as Latin-1: `.` is one byte, and a character beyond
//! ASCII is as many as UTF-8 gives it (measured).

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, QueryParameterMatcher, RouteMatch, header_matcher::HeaderMatchSpecifier,
    query_parameter_matcher::QueryParameterMatchSpecifier, route_match::PathSpecifier,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use regex_automata::nfa::thompson::{self, pikevm::PikeVM};
use regex_syntax::hir::{Hir, Look};
use twinmesh_xds::Snapshot;

/// Every pattern of a snapshot, ready to match.
#[derive(Debug, Default)]
pub(crate) struct Regexes {
    machines: BTreeMap<String, PikeVM>,
}

impl Regexes {
    /// Compiles every pattern that a route or an HTTP filter of the snapshot matches by, but those that the reader
    /// found not to be decided.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub(crate) fn of(snapshot: &Snapshot) -> Result<Self, String> {
        let routes = snapshot
            .route_configurations
            .iter()
            .flat_map(|route_configuration| &route_configuration.config.virtual_hosts)
            .flat_map(|virtual_host| &virtual_host.routes);
        let patterns = routes
            .filter_map(|route| route.r#match.as_ref())
            .flat_map(patterns)
            // Those of HTTP filters.
            .chain(snapshot.regexes.keys().map(String::as_str))
            .filter(|pattern| !matches!(snapshot.regexes.get(*pattern), Some(Err(_))));
        Self::compile(patterns)
    }

    /// Compiles the patterns.
    ///
    /// # Errors
    /// A pattern is not RE2's, or too large for this machine; the text names it.
    pub(crate) fn compile<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut machines = BTreeMap::new();
        for pattern in patterns {
            if machines.contains_key(pattern) {
                continue;
            }
            let machine =
                compile(pattern).map_err(|error| format!("the regex `{pattern}`: {error}"))?;
            machines.insert(pattern.to_owned(), machine);
        }
        Ok(Self { machines })
    }

    /// Whether the whole value matches. A pattern that was not compiled is one that is not
    /// decided: it counts as matching, its route is marked.
    pub(crate) fn matches(&self, pattern: &str, value: &str) -> bool {
        let Some(machine) = self.machines.get(pattern) else {
            return true;
        };
        machine.is_match(&mut machine.create_cache(), value)
    }

    #[cfg(test)]
    pub(crate) fn for_tests(patterns: &[&str]) -> Self {
        Self::compile(patterns.iter().copied()).expect("the tests' patterns are valid")
    }
}

/// The patterns of a route.
pub(crate) fn patterns(route_match: &RouteMatch) -> Vec<&str> {
    let of_path = match &route_match.path_specifier {
        Some(PathSpecifier::SafeRegex(pattern)) => Some(pattern.regex.as_str()),
        _ => None,
    };
    let of_headers = route_match.headers.iter().filter_map(of_header);
    let of_parameters = route_match.query_parameters.iter().filter_map(of_parameter);
    let cookies = route_match.cookies.iter();
    let of_cookies = cookies.filter_map(|cookie| of_string(cookie.string_match.as_ref()?));
    of_path
        .into_iter()
        .chain(of_headers)
        .chain(of_parameters)
        .chain(of_cookies)
        .collect()
}

pub(crate) fn of_header(matcher: &HeaderMatcher) -> Option<&str> {
    match matcher.header_match_specifier.as_ref()? {
        HeaderMatchSpecifier::SafeRegexMatch(pattern) => Some(&pattern.regex),
        HeaderMatchSpecifier::StringMatch(string) => of_string(string),
        _ => None,
    }
}

fn of_parameter(matcher: &QueryParameterMatcher) -> Option<&str> {
    match matcher.query_parameter_match_specifier.as_ref()? {
        QueryParameterMatchSpecifier::StringMatch(string) => of_string(string),
        QueryParameterMatchSpecifier::PresentMatch(_) => None,
    }
}

fn of_string(matcher: &StringMatcher) -> Option<&str> {
    match matcher.match_pattern.as_ref()? {
        MatchPattern::SafeRegex(pattern) => Some(&pattern.regex),
        _ => None,
    }
}

fn compile(pattern: &str) -> Result<PikeVM, String> {
    let hir = twinmesh_re2::parse_latin_1(pattern).map_err(|error| error.to_string())?;
    // Anchored here and not in the text, which an alternation would escape from.
    let anchored = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
    let nfa = thompson::Compiler::new()
        .configure(thompson::Config::new().utf8(false))
        .build_from_hir(&anchored)
        .map_err(|error| error.to_string())?;
    PikeVM::new_from_nfa(nfa).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    // What Envoy 1.40 answered.
    #[rstest]
    #[case("a.b", "aüb", false)]
    #[case("a..b", "aüb", true)]
    #[case("aüb", "aüb", true)]
    #[case("a[^x]b", "aüb", false)]
    #[case("a.b", "axb", true)]
    #[case("a.b", "axyb", false)]
    #[case("(?i)ü", "ü", true)]
    #[case("(?i)ü", "Ü", false)]
    #[case("(?i)[à-ü]+", "ã", true)]
    #[case("(?i)[à-ü]+", "Ü", false)]
    #[case(r"a\Cb", "axb", true)]
    #[case(r"a\Cb", "aüb", false)]
    #[case(r"a\C\Cb", "aüb", true)]
    #[case(r"\xfc", "ü", false)]
    #[case(r"[\x80-\xff]{2}", "ü", true)]
    #[case(r"(?i)\xe3\xbc", "ü", false)]
    #[case(r"(?i)\xc3\x9c", "Ü", true)]
    #[case(r"\x{c3}\x{bc}", "ü", true)]
    #[case("(?i)s", "ſ", false)]
    #[case("(?i)ſ", "s", false)]
    #[case("(?i)k", "\u{212a}", false)]
    #[case("(?i)k", "K", true)]
    #[case("ü+", "üü", false)]
    fn bytes_are_characters(#[case] pattern: &str, #[case] value: &str, #[case] expected: bool) {
        assert_eq!(
            Regexes::for_tests(&[pattern]).matches(pattern, value),
            expected
        );
    }

    #[test]
    fn no_character_is_beyond_a_byte() {
        let error = Regexes::compile([r"\x{100}"]).expect_err("Envoy refuses it");
        assert!(error.starts_with(r"the regex `\x{100}`: "), "{error}");
    }

    #[test]
    fn an_invalid_pattern_is_named() {
        let error = Regexes::compile(["a**"]).expect_err("RE2 refuses it");
        assert!(error.starts_with("the regex `a**`: "), "{error}");
    }
}
