//! Whether a header matcher accepts values, where no table is asked.

#![allow(deprecated)] // Envoy decides by what it has deprecated

use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, header_matcher::HeaderMatchSpecifier as Specifier,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};

/// Whether a text matches the whole of a regex: the regex, then the text.
type Regex<'r> = &'r dyn Fn(&str, &str) -> bool;

/// An unsigned number, as absl::SimpleAtoi reads it.
pub(crate) fn number(text: &str) -> Option<u64> {
    let text = text.trim_matches([' ', '\t']);
    let digits = text.strip_prefix('+').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

fn signed(text: &str) -> Option<i64> {
    let text = text.trim_matches([' ', '\t']);
    match text.strip_prefix('-') {
        Some(digits) if !digits.starts_with(['+', '-', ' ']) => {
            0_i64.checked_sub_unsigned(number(digits)?)
        }
        Some(_) => None,
        None => i64::try_from(number(text)?).ok(),
    }
}

/// Whether a matcher accepts these values of its header, one for each line.
pub(crate) fn accepts(matcher: &HeaderMatcher, values: &[&str], regex: Regex<'_>) -> bool {
    let values = match values {
        [] if matcher.treat_missing_header_as_empty => &[""],
        values => values,
    };
    let present = !values.is_empty();
    let found = match &matcher.header_match_specifier {
        None => return present != matcher.invert_match,
        Some(Specifier::PresentMatch(wanted)) => {
            return (present == *wanted) != matcher.invert_match;
        }
        _ if !present => return false,
        Some(specifier) => values.iter().any(|value| one(specifier, value, regex)),
    };
    found != matcher.invert_match
}

fn one(specifier: &Specifier, value: &str, regex: Regex<'_>) -> bool {
    match specifier {
        Specifier::ExactMatch(text) => text.is_empty() || value == text,
        Specifier::PrefixMatch(text) => value.starts_with(text.as_str()),
        Specifier::SuffixMatch(text) => value.ends_with(text.as_str()),
        Specifier::ContainsMatch(text) => value.contains(text.as_str()),
        Specifier::RangeMatch(range) => {
            signed(value).is_some_and(|number| (range.start..range.end).contains(&number))
        }
        Specifier::StringMatch(string) => text(string, value, regex),
        Specifier::SafeRegexMatch(matcher) => regex(&matcher.regex, value),
        // The caller has seen to it.
        Specifier::PresentMatch(_) => false,
    }
}

fn text(matcher: &StringMatcher, value: &str, regex: Regex<'_>) -> bool {
    if let Some(MatchPattern::SafeRegex(matcher)) = &matcher.match_pattern {
        return regex(&matcher.regex, value);
    }
    let fold = |text: &str| match matcher.ignore_case {
        true => text.to_ascii_lowercase(),
        false => text.to_owned(),
    };
    let value = fold(value);
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => value == fold(text),
        Some(MatchPattern::Prefix(text)) => value.starts_with(&fold(text)),
        Some(MatchPattern::Suffix(text)) => value.ends_with(&fold(text)),
        Some(MatchPattern::Contains(text)) => value.contains(&fold(text)),
        _ => false,
    }
}
