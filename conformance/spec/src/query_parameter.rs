//! `QueryParameterMatcher`.

use envoy_types::pb::envoy::config::route::v3::{
    QueryParameterMatcher, query_parameter_matcher::QueryParameterMatchSpecifier,
};

use crate::regex::Regexes;
use crate::string_match;

/// Whether the matcher accepts the request target. Only the first value of a name counts, and
/// nothing is percent-decoded.
pub(crate) fn matches(matcher: &QueryParameterMatcher, path: &str, regexes: &Regexes) -> bool {
    let value = first_value(path, &matcher.name);
    match &matcher.query_parameter_match_specifier {
        Some(QueryParameterMatchSpecifier::PresentMatch(present)) => value.is_some() == *present,
        Some(QueryParameterMatchSpecifier::StringMatch(string)) => {
            value.is_some_and(|value| string_match::matches(string, value, regexes))
        }
        None => value.is_some(),
    }
}

/// The first value of the parameter; empty where it stands without `=`.
pub(crate) fn first_value<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = path.split_once('?')?;
    query
        .split('&')
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
        .find_map(|(key, value)| (key == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::r#type::matcher::v3::{
        StringMatcher, string_matcher::MatchPattern,
    };
    use rstest::rstest;

    use super::*;

    fn exact(value: &str) -> Option<QueryParameterMatchSpecifier> {
        Some(QueryParameterMatchSpecifier::StringMatch(StringMatcher {
            ignore_case: false,
            match_pattern: Some(MatchPattern::Exact(value.to_owned())),
        }))
    }

    const PRESENT: Option<QueryParameterMatchSpecifier> =
        Some(QueryParameterMatchSpecifier::PresentMatch(true));
    const ABSENT: Option<QueryParameterMatchSpecifier> =
        Some(QueryParameterMatchSpecifier::PresentMatch(false));

    #[rstest]
    #[case::equal(exact("1"), "/p?b=1", true)]
    #[case::behind_another(exact("1"), "/p?a=2&b=1", true)]
    #[case::first_value_counts(exact("1"), "/p?b=2&b=1", false)]
    #[case::name_is_case_sensitive(exact("1"), "/p?B=1", false)]
    #[case::no_percent_decoding(exact("a b"), "/p?b=a%20b", false)]
    #[case::name_is_not_decoded(exact("1"), "/p?%62=1", false)]
    #[case::semicolon_is_no_separator(exact("1"), "/p?a=2;b=1", false)]
    #[case::value_up_to_ampersand(exact("1;c=2"), "/p?b=1;c=2", true)]
    #[case::value_may_hold_equals(exact("1=2"), "/p?b=1=2", true)]
    #[case::second_question_mark_is_text(exact("1"), "/p?a?b=1", false)]
    #[case::empty_value(exact(""), "/p?b=", true)]
    #[case::no_equals_is_empty(exact(""), "/p?b", true)]
    #[case::missing(exact(""), "/p", false)]
    #[case::present(PRESENT, "/p?b=3", true)]
    #[case::present_empty(PRESENT, "/p?b=", true)]
    #[case::present_bare(PRESENT, "/p?b", true)]
    #[case::present_missing(PRESENT, "/p?bb=3", false)]
    #[case::present_in_path_only(PRESENT, "/b=3", false)]
    #[case::absent(ABSENT, "/p?a=3", true)]
    #[case::absent_present(ABSENT, "/p?b", false)]
    #[case::no_specifier(None, "/p?b=x", true)]
    #[case::no_specifier_missing(None, "/p?", false)]
    fn parameter_b(
        #[case] specifier: Option<QueryParameterMatchSpecifier>,
        #[case] path: &str,
        #[case] expected: bool,
    ) {
        let matcher = QueryParameterMatcher {
            name: "b".to_owned(),
            query_parameter_match_specifier: specifier,
        };
        assert_eq!(matches(&matcher, path, &Regexes::default()), expected);
    }
}
