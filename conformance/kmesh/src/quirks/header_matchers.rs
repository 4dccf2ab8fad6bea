//! Some kinds of header matcher are dropped, which widens the route; some never match; `invert_match`
//! is ignored.

use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, header_matcher::HeaderMatchSpecifier,
};
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

/// What Kmesh makes of a matcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    /// It is not there.
    Dropped,
    /// It matches nothing.
    Never,
    /// The value is equal.
    Exact(&'a str),
    /// The value starts so.
    Prefix(&'a str),
}

/// The kind of a matcher.
pub(crate) fn kind(matcher: &HeaderMatcher) -> Kind<'_> {
    match &matcher.header_match_specifier {
        None
        | Some(
            HeaderMatchSpecifier::PresentMatch(_)
            | HeaderMatchSpecifier::RangeMatch(_)
            | HeaderMatchSpecifier::SafeRegexMatch(_),
        ) => Kind::Dropped,
        Some(HeaderMatchSpecifier::ExactMatch(text)) => Kind::Exact(text),
        Some(HeaderMatchSpecifier::PrefixMatch(text)) => Kind::Prefix(text),
        Some(HeaderMatchSpecifier::SuffixMatch(_) | HeaderMatchSpecifier::ContainsMatch(_)) => {
            Kind::Never
        }
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => match &matcher.match_pattern {
            Some(MatchPattern::Exact(text)) => Kind::Exact(text),
            Some(MatchPattern::Prefix(text)) => Kind::Prefix(text),
            _ => Kind::Never,
        },
    }
}

impl Kind<'_> {
    /// Whether a value, or its absence, is taken; `invert_match` has no part in it.
    pub(crate) fn takes(self, value: Option<&str>) -> bool {
        match self {
            Self::Dropped => true,
            Self::Never => false,
            Self::Exact(text) => value == Some(text),
            Self::Prefix(text) => value.is_some_and(|value| value.starts_with(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::r#type::matcher::v3::StringMatcher;
    use rstest::rstest;

    use super::*;

    fn of(specifier: Option<HeaderMatchSpecifier>) -> HeaderMatcher {
        HeaderMatcher {
            header_match_specifier: specifier,
            ..HeaderMatcher::default()
        }
    }

    fn string(pattern: MatchPattern) -> HeaderMatcher {
        of(Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: Some(pattern),
            ..StringMatcher::default()
        })))
    }

    #[rstest]
    #[case(of(None), None, true)]
    #[case(of(Some(HeaderMatchSpecifier::PresentMatch(true))), None, true)]
    #[case(
        of(Some(HeaderMatchSpecifier::RangeMatch(Default::default()))),
        Some("x"),
        true
    )]
    #[case(
        of(Some(HeaderMatchSpecifier::SafeRegexMatch(Default::default()))),
        Some("x"),
        true
    )]
    #[case(string(MatchPattern::Suffix("a".into())), Some("a"), false)]
    #[case(string(MatchPattern::Contains("a".into())), Some("a"), false)]
    #[case(string(MatchPattern::SafeRegex(Default::default())), Some(""), false)]
    #[case(string(MatchPattern::Exact("a".into())), Some("a"), true)]
    #[case(string(MatchPattern::Exact("a".into())), Some("ab"), false)]
    #[case(string(MatchPattern::Prefix("a".into())), Some("ab"), true)]
    #[case(string(MatchPattern::Prefix("a".into())), None, false)]
    fn kinds(#[case] matcher: HeaderMatcher, #[case] value: Option<&str>, #[case] taken: bool) {
        assert_eq!(kind(&matcher).takes(value), taken);
        let inverted = HeaderMatcher {
            invert_match: true,
            ..matcher
        };
        assert_eq!(kind(&inverted).takes(value), taken);
    }
}
