//! Cookies: the value of one by its name, and `RouteMatch.cookies`.

use envoy_types::pb::envoy::config::route::v3::CookieMatcher;

use crate::message::Message;
use crate::regex::Regexes;
use crate::string_match;

/// The value of the first cookie of this name: only spaces before the name and one pair of quotes
/// around the value are taken off.
pub(crate) fn value<'a>(lines: &'a [String], name: &str) -> Option<&'a str> {
    let cookies = lines.iter().flat_map(|line| line.split(';'));
    let value = cookies
        .filter_map(|cookie| cookie.trim_start_matches(' ').split_once('='))
        .find(|(other, _)| *other == name)
        .map(|(_, value)| value)?;
    let unquoted = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    Some(unquoted.unwrap_or(value))
}

/// Whether the matcher accepts the request. A cookie that is missing does not match, and
/// `invert_match` turns that round too.
pub(crate) fn matches(matcher: &CookieMatcher, message: &Message, regexes: &Regexes) -> bool {
    let lines = message.values("cookie");
    let found = value(&lines, &matcher.name).is_some_and(|value| {
        let string = matcher.string_match.as_ref();
        string.is_none_or(|string| string_match::matches(string, value, regexes))
    });
    found != matcher.invert_match
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::r#type::matcher::v3::{
        StringMatcher, string_matcher::MatchPattern,
    };
    use rstest::rstest;

    use super::*;
    use crate::message::tests::message;

    #[rstest]
    #[case(&[], false, false)]
    #[case(&[], true, true)]
    #[case(&["c=1"], false, true)]
    #[case(&["c=1"], true, false)]
    #[case(&["c=2; c=1"], false, false)]
    #[case(&["d=2", "c=\"1\""], false, true)]
    fn matchers(#[case] lines: &[&str], #[case] invert_match: bool, #[case] expected: bool) {
        let matcher = CookieMatcher {
            name: "c".to_owned(),
            string_match: Some(StringMatcher {
                ignore_case: false,
                match_pattern: Some(MatchPattern::Exact("1".to_owned())),
            }),
            invert_match,
        };
        let lines: Vec<_> = lines.iter().map(|&line| ("cookie", line)).collect();
        let found = matches(&matcher, &message(&lines), &Regexes::default());
        assert_eq!(found, expected);
    }
}
