//! Header values, and the matchers of a retry policy on them.

#![allow(deprecated)] // Envoy decides by what it has deprecated

use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, header_matcher::HeaderMatchSpecifier as Specifier,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use twinmesh_engine::{Request, stream::Response};

use crate::header_value;
use crate::matcher::is_of_a_connection;
use crate::names;
use crate::seen::{Seen, joined};

/// Whether a matcher is a regex, or of an extension.
pub(super) fn is_regex(matcher: &HeaderMatcher) -> bool {
    match &matcher.header_match_specifier {
        Some(Specifier::SafeRegexMatch(_)) => true,
        Some(Specifier::StringMatch(StringMatcher { match_pattern, .. })) => matches!(
            match_pattern,
            Some(MatchPattern::SafeRegex(_) | MatchPattern::Custom(_))
        ),
        _ => false,
    }
}

/// Whether a matcher accepts the request.
pub(super) fn of_request(matcher: &HeaderMatcher, request: &Request, seen: &Seen) -> bool {
    let name = matcher.name.to_ascii_lowercase();
    let is_pseudo = name.starts_with(':') || name == "host" || name == "x-forwarded-proto";
    if is_pseudo {
        let value = seen.first_value(request, &name);
        return accepts(matcher, &value.as_deref().into_iter().collect::<Vec<_>>());
    }
    if is_of_a_connection(&name) {
        return accepts(matcher, &[]);
    }
    let values = seen.values(request, &name);
    if values.len() > 1 && names::is_joined(&name) {
        let value = joined(request, &name).unwrap_or_default();
        return accepts(matcher, &[&value]);
    }
    accepts_lines(matcher, &values, seen.joins_lines)
}

/// Whether a matcher accepts a response, whose lines it may see as one.
pub(super) fn of_response(matcher: &HeaderMatcher, response: &Response, joins_lines: bool) -> bool {
    accepts_lines(matcher, &response.values(&matcher.name), joins_lines)
}

fn accepts_lines(matcher: &HeaderMatcher, values: &[&str], joins_lines: bool) -> bool {
    if values.len() > 1 && joins_lines {
        return accepts(matcher, &[&values.join(",")]);
    }
    accepts(matcher, values)
}

/// Whether a matcher accepts these values; `is_regex` keeps regexes out.
fn accepts(matcher: &HeaderMatcher, values: &[&str]) -> bool {
    header_value::accepts(matcher, values, &|_, _| false)
}
