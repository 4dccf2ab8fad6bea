//! `StringMatcher`.

use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};

use crate::regex::Regexes;

/// Whether the matcher accepts the value. A matcher that is not decided here counts as accepting;
/// the reader has marked its route.
pub(crate) fn matches(matcher: &StringMatcher, value: &str, regexes: &Regexes) -> bool {
    let fold = |text: &str| {
        if matcher.ignore_case {
            text.to_ascii_lowercase()
        } else {
            text.to_owned()
        }
    };
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(pattern)) => fold(value) == fold(pattern),
        Some(MatchPattern::Prefix(pattern)) => fold(value).starts_with(&fold(pattern)),
        Some(MatchPattern::Suffix(pattern)) => fold(value).ends_with(&fold(pattern)),
        Some(MatchPattern::Contains(pattern)) => fold(value).contains(&fold(pattern)),
        // Envoy's ignore_case has no say over regexes.
        Some(MatchPattern::SafeRegex(pattern)) => regexes.matches(&pattern.regex, value),
        Some(MatchPattern::Custom(_)) | None => true,
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatcher;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::exact(MatchPattern::Exact("ab".into()), false, "ab", true)]
    #[case::exact_longer(MatchPattern::Exact("ab".into()), false, "abc", false)]
    #[case::exact_case(MatchPattern::Exact("ab".into()), false, "AB", false)]
    #[case::exact_ignore_case(MatchPattern::Exact("aB".into()), true, "Ab", true)]
    #[case::exact_empty(MatchPattern::Exact(String::new()), false, "", true)]
    #[case::exact_empty_other(MatchPattern::Exact(String::new()), false, "x", false)]
    #[case::prefix(MatchPattern::Prefix("ab".into()), false, "abc", true)]
    #[case::prefix_equal(MatchPattern::Prefix("ab".into()), false, "ab", true)]
    #[case::prefix_shorter(MatchPattern::Prefix("ab".into()), false, "a", false)]
    #[case::prefix_ignore_case(MatchPattern::Prefix("Ab".into()), true, "aBc", true)]
    #[case::suffix(MatchPattern::Suffix("bc".into()), false, "abc", true)]
    #[case::suffix_shorter(MatchPattern::Suffix("bc".into()), false, "c", false)]
    #[case::suffix_ignore_case(MatchPattern::Suffix("BC".into()), true, "abc", true)]
    #[case::contains(MatchPattern::Contains("b".into()), false, "abc", true)]
    #[case::contains_not(MatchPattern::Contains("x".into()), false, "abc", false)]
    #[case::contains_ignore_case(MatchPattern::Contains("B".into()), true, "abc", true)]
    #[case::only_ascii_is_folded(MatchPattern::Exact("ü".into()), true, "Ü", false)]
    fn patterns(
        #[case] pattern: MatchPattern,
        #[case] ignore_case: bool,
        #[case] value: &str,
        #[case] expected: bool,
    ) {
        let matcher = StringMatcher {
            ignore_case,
            match_pattern: Some(pattern),
        };
        assert_eq!(matches(&matcher, value, &Regexes::default()), expected);
    }

    #[rstest]
    #[case("a|ab", "ab", true)]
    #[case("a|ab", "abc", false)]
    #[case("v1|v10", "v10", true)]
    #[case("b", "abc", false)]
    #[case("[0-9]+", "42", true)]
    #[case("(?i)ab", "AB", true)]
    fn regexes(#[case] pattern: &str, #[case] value: &str, #[case] expected: bool) {
        let regexes = Regexes::for_tests(&[pattern]);
        for ignore_case in [false, true] {
            let matcher = StringMatcher {
                ignore_case,
                match_pattern: Some(MatchPattern::SafeRegex(RegexMatcher {
                    regex: pattern.to_owned(),
                    ..RegexMatcher::default()
                })),
            };
            assert_eq!(matches(&matcher, value, &regexes), expected);
        }
    }
}
