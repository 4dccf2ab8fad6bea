//! The regexes of route matchers, each compiled once.

use std::{borrow::Cow, collections::BTreeMap};

use envoy_types::pb::envoy::{
    config::route::v3::{
        RouteMatch, header_matcher::HeaderMatchSpecifier,
        query_parameter_matcher::QueryParameterMatchSpecifier, route_match::PathSpecifier,
    },
    r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
};
use twinmesh_re2::{DEFAULT_STATE_CAP, Dfa, Error, SyntaxError, TooLarge};

use crate::{
    path::{Path, Segment},
    uri_template,
};

/// The patterns seen so far.
#[derive(Default)]
pub(crate) struct Regexes {
    compiled: BTreeMap<String, Result<Dfa, TooLarge>>,
}

impl Regexes {
    /// Compiles a pattern, where it is a new one; `Some` where its DFA is over the cap.
    pub(crate) fn compile(&mut self, pattern: &str) -> Result<Option<TooLarge>, SyntaxError> {
        if let Some(known) = self.compiled.get(pattern) {
            return Ok(known.as_ref().err().cloned());
        }
        let result = match Dfa::latin_1(pattern, DEFAULT_STATE_CAP) {
            Ok(dfa) => Ok(dfa),
            Err(Error::TooLarge(error)) => Err(error),
            Err(Error::Syntax(error)) => return Err(error),
        };
        let too_large = result.as_ref().err().cloned();
        self.compiled.insert(pattern.to_owned(), result);
        Ok(too_large)
    }

    /// All patterns.
    pub(crate) fn into_map(self) -> BTreeMap<String, Result<Dfa, TooLarge>> {
        self.compiled
    }
}

/// A regex, and where it stands below a RouteMatch.
pub(crate) struct Pattern<'m> {
    pub(crate) regex: Cow<'m, str>,
    list: Option<(&'static str, usize)>,
    fields: &'static [&'static str],
}

impl Pattern<'_> {
    /// Appends where it stands.
    pub(crate) fn extend(&self, path: &mut Path) {
        if let Some((list, index)) = self.list {
            path.push(Segment::Field(list));
            path.push(Segment::Index(index));
        }
        for field in self.fields {
            path.push(Segment::Field(field));
        }
    }
}

/// The regexes of a route's matchers.
#[expect(deprecated, reason = "Envoy still takes `safe_regex_match`")]
pub(crate) fn patterns(matched: &RouteMatch) -> Vec<Pattern<'_>> {
    const IN_STRING: &[&str] = &["string_match", "safe_regex", "regex"];
    let mut found = Vec::new();
    match &matched.path_specifier {
        Some(PathSpecifier::SafeRegex(regex)) => found.push(Pattern {
            regex: Cow::Borrowed(&regex.regex),
            list: None,
            fields: &["safe_regex", "regex"],
        }),
        Some(PathSpecifier::PathMatchPolicy(policy)) => {
            let template = uri_template::template(policy);
            let regex = template.and_then(|template| uri_template::regex(&template).ok());
            found.extend(regex.map(|regex| Pattern {
                regex: Cow::Owned(regex),
                list: None,
                fields: &["path_match_policy"],
            }));
        }
        _ => {}
    }
    for (index, header) in matched.headers.iter().enumerate() {
        let (regex, fields): (_, &'static [&'static str]) = match &header.header_match_specifier {
            Some(HeaderMatchSpecifier::SafeRegexMatch(regex)) => {
                (Some(regex.regex.as_str()), &["safe_regex_match", "regex"])
            }
            Some(HeaderMatchSpecifier::StringMatch(matcher)) => (regex_of(matcher), IN_STRING),
            _ => continue,
        };
        found.extend(regex.map(|regex| Pattern {
            regex: Cow::Borrowed(regex),
            list: Some(("headers", index)),
            fields,
        }));
    }
    for (index, cookie) in matched.cookies.iter().enumerate() {
        let regex = cookie.string_match.as_ref().and_then(regex_of);
        found.extend(regex.map(|regex| Pattern {
            regex: Cow::Borrowed(regex),
            list: Some(("cookies", index)),
            fields: IN_STRING,
        }));
    }
    for (index, parameter) in matched.query_parameters.iter().enumerate() {
        let Some(QueryParameterMatchSpecifier::StringMatch(matcher)) =
            &parameter.query_parameter_match_specifier
        else {
            continue;
        };
        found.extend(regex_of(matcher).map(|regex| Pattern {
            regex: Cow::Borrowed(regex),
            list: Some(("query_parameters", index)),
            fields: IN_STRING,
        }));
    }
    found
}

fn regex_of(matcher: &StringMatcher) -> Option<&str> {
    match &matcher.match_pattern {
        Some(MatchPattern::SafeRegex(regex)) => Some(&regex.regex),
        _ => None,
    }
}
