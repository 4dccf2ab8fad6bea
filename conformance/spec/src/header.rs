//! `HeaderMatcher`.

use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, header_matcher::HeaderMatchSpecifier,
};

use crate::integer;
use crate::message::{Message, OF_A_CONNECTION, arrives_as_sent};
use crate::regex::Regexes;
use crate::string_match;

/// Whether the matcher accepts the request.
///
/// Values on separate lines are tried one by one; any of them that matches is a match, which
/// `invert_match` then turns round. A header that is missing is none, turned round or not, unless
/// `treat_missing_header_as_empty`. By some profiles all lines are one value.
pub(crate) fn matches(matcher: &HeaderMatcher, message: &Message, regexes: &Regexes) -> bool {
    if !is_decided(matcher) {
        return true;
    }
    accepts(matcher, message.matched_values(&matcher.name), regexes)
}

/// As [`matches`], of one that sees lines one by one by every profile (RBAC's).
pub(crate) fn matches_apart(matcher: &HeaderMatcher, message: &Message, regexes: &Regexes) -> bool {
    !is_decided(matcher) || accepts(matcher, message.values(&matcher.name), regexes)
}

/// Whether the matcher accepts these values of its header.
pub(crate) fn accepts(matcher: &HeaderMatcher, mut values: Vec<String>, regexes: &Regexes) -> bool {
    if values.is_empty() && matcher.treat_missing_header_as_empty {
        values.push(String::new());
    }
    let is_present = !values.is_empty();
    let accepts: &dyn Fn(&str) -> bool = match &matcher.header_match_specifier {
        None => return is_present != matcher.invert_match,
        Some(HeaderMatchSpecifier::PresentMatch(present)) => {
            return (is_present == *present) != matcher.invert_match;
        }
        // The deprecated form accepts any value when it is empty.
        Some(HeaderMatchSpecifier::ExactMatch(expected)) => {
            &move |value| expected.is_empty() || value == expected
        }
        Some(HeaderMatchSpecifier::PrefixMatch(prefix)) => {
            &move |value| value.starts_with(prefix.as_str())
        }
        Some(HeaderMatchSpecifier::SuffixMatch(suffix)) => {
            &move |value| value.ends_with(suffix.as_str())
        }
        Some(HeaderMatchSpecifier::ContainsMatch(part)) => {
            &move |value| value.contains(part.as_str())
        }
        Some(HeaderMatchSpecifier::SafeRegexMatch(pattern)) => {
            &move |value| regexes.matches(&pattern.regex, value)
        }
        Some(HeaderMatchSpecifier::RangeMatch(range)) => &move |value| {
            integer::signed(value).is_some_and(|number| (range.start..range.end).contains(&number))
        },
        Some(HeaderMatchSpecifier::StringMatch(string)) => {
            &move |value| string_match::matches(string, value, regexes)
        }
    };
    if !is_present {
        return false;
    }
    values.iter().any(|value| accepts(value)) != matcher.invert_match
}

/// Whether the matcher asks for a header that reaches the routes as the client sent it, or not at all.
pub(crate) fn is_decided(matcher: &HeaderMatcher) -> bool {
    let name = matcher.name.to_ascii_lowercase();
    arrives_as_sent(&name) || OF_A_CONNECTION.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::r#type::matcher::v3::{
        RegexMatcher, StringMatcher, string_matcher::MatchPattern,
    };
    use envoy_types::pb::envoy::r#type::v3::Int64Range;
    use rstest::rstest;

    use super::*;
    use crate::message::tests::message;

    fn exact(text: &str) -> Option<HeaderMatchSpecifier> {
        Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
            ignore_case: false,
            match_pattern: Some(MatchPattern::Exact(text.to_owned())),
        }))
    }

    fn old_exact(text: &str) -> Option<HeaderMatchSpecifier> {
        Some(HeaderMatchSpecifier::ExactMatch(text.to_owned()))
    }

    fn range(start: i64, end: i64) -> Option<HeaderMatchSpecifier> {
        Some(HeaderMatchSpecifier::RangeMatch(Int64Range { start, end }))
    }

    fn present(present: bool) -> Option<HeaderMatchSpecifier> {
        Some(HeaderMatchSpecifier::PresentMatch(present))
    }

    fn regex(pattern: &str) -> Option<HeaderMatchSpecifier> {
        Some(HeaderMatchSpecifier::SafeRegexMatch(RegexMatcher {
            regex: pattern.to_owned(),
            ..RegexMatcher::default()
        }))
    }

    /// `expected`: as it stands, inverted, with `treat_missing_header_as_empty`, with both.
    #[rstest]
    #[case::equal(exact("v"), &["v"], [true, false, true, false])]
    #[case::unequal(exact("v"), &["w"], [false, true, false, true])]
    #[case::case_counts(exact("v"), &["V"], [false, true, false, true])]
    #[case::missing(exact("v"), &[], [false, false, false, true])]
    #[case::any_line(exact("yes"), &["no", "yes"], [true, false, true, false])]
    #[case::lines_are_not_joined(exact("a,b"), &["a", "b"], [false, true, false, true])]
    #[case::one_line_with_a_comma(exact("a,b"), &["a,b"], [true, false, true, false])]
    #[case::empty(exact(""), &[""], [true, false, true, false])]
    #[case::empty_is_not_missing(exact(""), &[], [false, false, true, false])]
    #[case::old_exact(old_exact("v"), &["v"], [true, false, true, false])]
    #[case::old_exact_empty_takes_all(old_exact(""), &["v"], [true, false, true, false])]
    #[case::old_exact_empty_missing(old_exact(""), &[], [false, false, true, false])]
    #[case::range_from(range(0, 10), &["0"], [true, false, true, false])]
    #[case::range_to(range(0, 10), &["10"], [false, true, false, true])]
    #[case::range_last(range(0, 10), &["9"], [true, false, true, false])]
    #[case::range_sign(range(0, 10), &["+5"], [true, false, true, false])]
    #[case::range_zeros(range(0, 10), &["007"], [true, false, true, false])]
    #[case::range_negative(range(-10, 0), &["-10"], [true, false, true, false])]
    #[case::range_no_number(range(0, 10), &["5abc"], [false, true, false, true])]
    #[case::range_empty(range(0, 10), &[""], [false, true, false, true])]
    #[case::range_missing(range(0, 10), &[], [false, false, false, true])]
    #[case::range_any_line(range(0, 10), &["99", "5"], [true, false, true, false])]
    #[case::range_extreme(range(i64::MIN, i64::MAX), &["9223372036854775806"], [true, false, true, false])]
    #[case::regex(regex("v[0-9]"), &["v1"], [true, false, true, false])]
    #[case::regex_in_full(regex("v[0-9]"), &["v12"], [false, true, false, true])]
    #[case::present(present(true), &["v"], [true, false, true, false])]
    #[case::present_empty(present(true), &[""], [true, false, true, false])]
    #[case::present_missing(present(true), &[], [false, true, true, false])]
    #[case::absent(present(false), &[], [true, false, false, true])]
    #[case::absent_present(present(false), &["v"], [false, true, false, true])]
    #[case::nothing_asked(None, &["v"], [true, false, true, false])]
    #[case::nothing_asked_missing(None, &[], [false, true, true, false])]
    fn header_x(
        #[case] specifier: Option<HeaderMatchSpecifier>,
        #[case] values: &[&str],
        #[case] expected: [bool; 4],
    ) {
        let regexes = Regexes::for_tests(&["v[0-9]"]);
        let lines: Vec<_> = values.iter().map(|&value| ("x", value)).collect();
        let message = message(&lines);
        let settings = [(false, false), (true, false), (false, true), (true, true)];
        for ((invert_match, treat_missing_header_as_empty), expected) in
            settings.into_iter().zip(expected)
        {
            let matcher = HeaderMatcher {
                name: "X".to_owned(),
                invert_match,
                treat_missing_header_as_empty,
                header_match_specifier: specifier.clone(),
            };
            assert_eq!(
                matches(&matcher, &message, &regexes),
                expected,
                "invert_match {invert_match}, \
                 treat_missing_header_as_empty {treat_missing_header_as_empty}"
            );
        }
    }

    // As Envoy 1.38 has them: an empty line leaves its comma.
    #[rstest]
    #[case::joined(&["a", "b"], exact("a,b"), [true, false])]
    #[case::not_one_by_one(&["no", "yes"], exact("yes"), [false, true])]
    #[case::with_an_empty_line(&["a", ""], exact("a,"), [true, false])]
    #[case::no_number(&["99", "5"], range(0, 10), [false, true])]
    #[case::one_line(&["yes"], exact("yes"), [true, false])]
    #[case::missing(&[], exact("yes"), [false, false])]
    fn lines_are_joined(
        #[case] values: &[&str],
        #[case] specifier: Option<HeaderMatchSpecifier>,
        #[case] expected: [bool; 2],
    ) {
        let lines: Vec<_> = values.iter().map(|&value| ("x", value)).collect();
        let mut message = message(&lines);
        message.profile = twinmesh_xds::Profile::Envoy138;
        for (invert_match, expected) in [false, true].into_iter().zip(expected) {
            let matcher = HeaderMatcher {
                name: "x".to_owned(),
                invert_match,
                header_match_specifier: specifier.clone(),
                ..HeaderMatcher::default()
            };
            let found = matches(&matcher, &message, &Regexes::default());
            assert_eq!(found, expected, "invert_match {invert_match}");
        }
    }

    #[rstest]
    #[case(HeaderMatchSpecifier::PrefixMatch("ab".to_owned()), "abc", true)]
    #[case(HeaderMatchSpecifier::PrefixMatch("ab".to_owned()), "cab", false)]
    #[case(HeaderMatchSpecifier::SuffixMatch("bc".to_owned()), "abc", true)]
    #[case(HeaderMatchSpecifier::SuffixMatch("bc".to_owned()), "bca", false)]
    #[case(HeaderMatchSpecifier::ContainsMatch("b".to_owned()), "abc", true)]
    #[case(HeaderMatchSpecifier::ContainsMatch("x".to_owned()), "abc", false)]
    fn deprecated_forms(
        #[case] specifier: HeaderMatchSpecifier,
        #[case] value: &str,
        #[case] expected: bool,
    ) {
        let matcher = HeaderMatcher {
            name: "x".to_owned(),
            header_match_specifier: Some(specifier),
            ..HeaderMatcher::default()
        };
        let message = message(&[("x", value)]);
        assert_eq!(matches(&matcher, &message, &Regexes::default()), expected);
    }
}
