//! `RouteMatch.path_specifier`.

use envoy_types::pb::envoy::config::route::v3::{RouteMatch, route_match::PathSpecifier};

use crate::regex::Regexes;
use crate::uri_template;

/// Whether the route's path matcher accepts the path, which is given without its query. A matcher
/// that is not decided here counts as accepting.
pub(crate) fn matches(route_match: &RouteMatch, path: &str, regexes: &Regexes) -> bool {
    let is_case_sensitive = route_match
        .case_sensitive
        .as_ref()
        .is_none_or(|case_sensitive| case_sensitive.value);
    let fold = |text: &str| {
        if is_case_sensitive {
            text.to_owned()
        } else {
            text.to_ascii_lowercase()
        }
    };
    match &route_match.path_specifier {
        Some(PathSpecifier::Path(expected)) => fold(path) == fold(expected),
        Some(PathSpecifier::Prefix(prefix)) => fold(path).starts_with(&fold(prefix)),
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => fold(path)
            .strip_prefix(&fold(prefix))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        Some(PathSpecifier::SafeRegex(pattern)) => regexes.matches(&pattern.regex, path),
        // It accepts CONNECT only, which has no path.
        Some(PathSpecifier::ConnectMatcher(_)) => false,
        Some(PathSpecifier::PathMatchPolicy(policy)) => {
            uri_template::of_match(policy).is_none_or(|template| template.matches(path))
        }
        None => true,
    }
}

/// The part of the path that a `prefix_rewrite` replaces: the prefix that the route names, or all
/// of the path where it names more.
pub(crate) fn matched_part<'a>(route_match: &RouteMatch, path: &'a str) -> &'a str {
    match &route_match.path_specifier {
        Some(PathSpecifier::Prefix(prefix) | PathSpecifier::PathSeparatedPrefix(prefix)) => {
            path.get(..prefix.len()).unwrap_or(path)
        }
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::route::v3::route_match::ConnectMatcher;
    use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatcher;
    use envoy_types::pb::google::protobuf::BoolValue;
    use rstest::rstest;

    use super::*;

    fn path(text: &str) -> PathSpecifier {
        PathSpecifier::Path(text.to_owned())
    }

    fn prefix(text: &str) -> PathSpecifier {
        PathSpecifier::Prefix(text.to_owned())
    }

    fn separated(text: &str) -> PathSpecifier {
        PathSpecifier::PathSeparatedPrefix(text.to_owned())
    }

    fn regex(text: &str) -> PathSpecifier {
        PathSpecifier::SafeRegex(RegexMatcher {
            regex: text.to_owned(),
            ..RegexMatcher::default()
        })
    }

    #[rstest]
    #[case::path(path("/a"), "/a", true, true)]
    #[case::path_longer(path("/a"), "/a/", false, false)]
    #[case::path_shorter(path("/a"), "/", false, false)]
    #[case::path_case(path("/a"), "/A", false, true)]
    #[case::prefix(prefix("/a"), "/ab", true, true)]
    #[case::prefix_equal(prefix("/a"), "/a", true, true)]
    #[case::prefix_case(prefix("/a"), "/Ab", false, true)]
    #[case::prefix_root(prefix("/"), "/anything", true, true)]
    #[case::separated_equal(separated("/seg"), "/seg", true, true)]
    #[case::separated_below(separated("/seg"), "/seg/x", true, true)]
    #[case::separated_slash(separated("/seg"), "/seg/", true, true)]
    #[case::separated_longer(separated("/seg"), "/segment", false, false)]
    #[case::separated_case(separated("/seg"), "/SEG/x", false, true)]
    #[case::regex(regex("/v[0-9]+"), "/v12", true, true)]
    #[case::regex_in_full(regex("/v[0-9]+"), "/v12/x", false, false)]
    #[case::regex_ignores_case_sensitive(regex("/v"), "/V", false, false)]
    #[case::connect(PathSpecifier::ConnectMatcher(ConnectMatcher {}), "/", false, false)]
    fn specifiers(
        #[case] specifier: PathSpecifier,
        #[case] path: &str,
        #[case] case_sensitive: bool,
        #[case] case_insensitive: bool,
    ) {
        let regexes = Regexes::for_tests(&["/v[0-9]+", "/v"]);
        for (setting, expected) in [
            (None, case_sensitive),
            (Some(true), case_sensitive),
            (Some(false), case_insensitive),
        ] {
            let route_match = RouteMatch {
                case_sensitive: setting.map(|value| BoolValue { value }),
                path_specifier: Some(specifier.clone()),
                ..RouteMatch::default()
            };
            assert_eq!(matches(&route_match, path, &regexes), expected);
        }
    }
}
