//! Whether a route takes all that another one would: what is said here is proved, or not said.

use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, QueryParameterMatcher, Route, RouteMatch, header_matcher::HeaderMatchSpecifier,
    query_parameter_matcher::QueryParameterMatchSpecifier, route_match::PathSpecifier,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use twinmesh_spec::reading::{Matchers, is_always_taken};
use twinmesh_xds::Unsupported;

use crate::reach::{exact, folds_case, match_undecided, takes_any_path};

/// Whether `earlier` takes every request that `later` would take.
pub(crate) fn covers(
    matchers: &Matchers,
    earlier: (&Route, Option<&Unsupported>),
    later: &Route,
) -> bool {
    let (Some(wide), Some(narrow)) = (&earlier.0.r#match, &later.r#match) else {
        return false;
    };
    if match_undecided(earlier.0, earlier.1).is_some() || !is_always_taken(wide) {
        return false;
    }
    let headers = wide.headers.iter().all(|wide| {
        let mut same = narrow.headers.iter();
        same.any(|narrow| header_covers(matchers, wide, narrow))
    });
    let parameters = wide.query_parameters.iter().all(|wide| {
        let mut same = narrow.query_parameters.iter();
        same.any(|narrow| parameter_covers(matchers, wide, narrow))
    });
    // Each of these has to be asked by both in the same words.
    let grpc = wide.grpc.is_none() || narrow.grpc.is_some();
    let mut cookies = wide.cookies.iter();
    let cookies = cookies.all(|wide| narrow.cookies.contains(wide));
    let tls_context = wide.tls_context.is_none() || wide.tls_context == narrow.tls_context;
    let beside = grpc && cookies && tls_context;
    beside && headers && parameters && path_covers(matchers, wide, narrow)
}

fn path_covers(matchers: &Matchers, wide: &RouteMatch, narrow: &RouteMatch) -> bool {
    // Requests by CONNECT are for one kind of matcher alone, and others for none of it.
    let of_connect =
        |it: &RouteMatch| matches!(it.path_specifier, Some(PathSpecifier::ConnectMatcher(_)));
    if of_connect(wide) || of_connect(narrow) {
        return of_connect(wide) && of_connect(narrow);
    }
    if takes_any_path(wide) {
        return true;
    }
    let (wide_folds, narrow_folds) = (folds_case(wide), folds_case(narrow));
    let (Some(of_wide), Some(of_narrow)) = (&wide.path_specifier, &narrow.path_specifier) else {
        return false;
    };
    if let (PathSpecifier::SafeRegex(wide), PathSpecifier::SafeRegex(narrow)) = (of_wide, of_narrow)
    {
        return wide.regex == narrow.regex;
    }
    if let (PathSpecifier::PathMatchPolicy(wide), PathSpecifier::PathMatchPolicy(narrow)) =
        (of_wide, of_narrow)
    {
        return wide.typed_config == narrow.typed_config;
    }
    let letters = |text: &str| text.bytes().any(|byte| byte.is_ascii_alphabetic());
    let text = match of_narrow {
        PathSpecifier::Path(text)
        | PathSpecifier::Prefix(text)
        | PathSpecifier::PathSeparatedPrefix(text) => text,
        _ => return false,
    };
    // In either case it may be written in a way that the other does not take.
    if narrow_folds && !wide_folds && letters(text) {
        return false;
    }
    let fold = |text: &str| {
        if wide_folds {
            text.to_ascii_lowercase()
        } else {
            text.to_owned()
        }
    };
    match (of_wide, of_narrow) {
        (_, PathSpecifier::Path(text)) => matchers.path(wide, text),
        (PathSpecifier::Prefix(wide), _) => fold(text).starts_with(&fold(wide)),
        (PathSpecifier::PathSeparatedPrefix(wide), PathSpecifier::PathSeparatedPrefix(_)) => {
            let rest = fold(text).strip_prefix(&fold(wide)).map(str::to_owned);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        (PathSpecifier::PathSeparatedPrefix(wide), PathSpecifier::Prefix(_)) => {
            let rest = fold(text).strip_prefix(&fold(wide)).map(str::to_owned);
            rest.is_some_and(|rest| rest.starts_with('/'))
        }
        _ => false,
    }
}

fn header_covers(matchers: &Matchers, wide: &HeaderMatcher, narrow: &HeaderMatcher) -> bool {
    if !wide.name.eq_ignore_ascii_case(&narrow.name) {
        return false;
    }
    let same = HeaderMatcher {
        name: wide.name.clone(),
        ..narrow.clone()
    };
    if *wide == same {
        return true;
    }
    if narrow.treat_missing_header_as_empty {
        return false;
    }
    if asks_for_presence(wide) {
        // A header that is missing satisfies no matcher of values, inverted or not.
        return asks_for_presence(narrow) || !is_about_presence(narrow);
    }
    if wide.invert_match || narrow.invert_match {
        return false;
    }
    // Any line that the narrow one accepts makes the wide one accept.
    if let Some((_, value)) = exact(narrow) {
        return matchers.header(wide, &[value]);
    }
    match (&wide.header_match_specifier, &narrow.header_match_specifier) {
        (
            Some(HeaderMatchSpecifier::RangeMatch(wide)),
            Some(HeaderMatchSpecifier::RangeMatch(narrow)),
        ) => wide.start <= narrow.start && narrow.end <= wide.end,
        (
            Some(HeaderMatchSpecifier::StringMatch(wide)),
            Some(HeaderMatchSpecifier::StringMatch(narrow)),
        ) => string_covers(wide, narrow),
        _ => false,
    }
}

fn is_about_presence(matcher: &HeaderMatcher) -> bool {
    matches!(
        matcher.header_match_specifier,
        None | Some(HeaderMatchSpecifier::PresentMatch(_))
    )
}

fn asks_for_presence(matcher: &HeaderMatcher) -> bool {
    let asked = match &matcher.header_match_specifier {
        None => true,
        Some(HeaderMatchSpecifier::PresentMatch(present)) => *present,
        Some(_) => return false,
    };
    asked != matcher.invert_match
}

fn string_covers(wide: &StringMatcher, narrow: &StringMatcher) -> bool {
    if wide == narrow {
        return true;
    }
    if narrow.ignore_case && !wide.ignore_case {
        return false;
    }
    let fold = |text: &str| {
        if wide.ignore_case {
            text.to_ascii_lowercase()
        } else {
            text.to_owned()
        }
    };
    match (&wide.match_pattern, &narrow.match_pattern) {
        (Some(MatchPattern::Prefix(wide)), Some(MatchPattern::Prefix(narrow))) => {
            fold(narrow).starts_with(&fold(wide))
        }
        (Some(MatchPattern::Suffix(wide)), Some(MatchPattern::Suffix(narrow))) => {
            fold(narrow).ends_with(&fold(wide))
        }
        (
            Some(MatchPattern::Contains(wide)),
            Some(
                MatchPattern::Prefix(narrow)
                | MatchPattern::Suffix(narrow)
                | MatchPattern::Contains(narrow),
            ),
        ) => fold(narrow).contains(&fold(wide)),
        _ => false,
    }
}

fn parameter_covers(
    matchers: &Matchers,
    wide: &QueryParameterMatcher,
    narrow: &QueryParameterMatcher,
) -> bool {
    if wide == narrow {
        return true;
    }
    if wide.name != narrow.name {
        return false;
    }
    let of_narrow = match &narrow.query_parameter_match_specifier {
        Some(QueryParameterMatchSpecifier::StringMatch(string)) => Some(string),
        Some(QueryParameterMatchSpecifier::PresentMatch(false)) => return false,
        Some(QueryParameterMatchSpecifier::PresentMatch(true)) | None => None,
    };
    match (&wide.query_parameter_match_specifier, of_narrow) {
        (None | Some(QueryParameterMatchSpecifier::PresentMatch(true)), _) => true,
        (Some(QueryParameterMatchSpecifier::StringMatch(string)), Some(narrow)) => {
            match &narrow.match_pattern {
                Some(MatchPattern::Exact(value)) if !narrow.ignore_case && !value.contains('&') => {
                    matchers.query_parameter(wide, &format!("/?{}={value}", wide.name))
                }
                _ => string_covers(string, narrow),
            }
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    /// Whether the first of two routes covers the second.
    fn first_covers(one: Value, other: Value) -> bool {
        let routes = json!([{"match": one, "direct_response": {"status": 200}},
            {"match": other, "direct_response": {"status": 200}}]);
        let configuration = json!({"name": "r", "virtual_hosts":
            [{"name": "v", "domains": ["*"], "routes": routes}]});
        let text = configuration.to_string();
        let options = twinmesh_xds::ReadOptions::default();
        let snapshot =
            twinmesh_xds::read_bytes("r.json", text.as_bytes(), &options).expect("Envoy takes it");
        let matchers = Matchers::of(&snapshot).expect("the patterns are RE2's");
        let routes = &snapshot.route_configurations[0].config.virtual_hosts[0].routes;
        covers(&matchers, (&routes[0], None), &routes[1])
    }

    #[rstest]
    #[case(json!({"prefix": "/"}), json!({"safe_regex": {"regex": "/a.*"}}), true)]
    #[case(json!({"prefix": "/a"}), json!({"prefix": "/ab"}), true)]
    #[case(json!({"prefix": "/ab"}), json!({"prefix": "/a"}), false)]
    #[case(json!({"prefix": "/a"}), json!({"prefix": "/A"}), false)]
    #[case(json!({"prefix": "/a", "case_sensitive": false}), json!({"path": "/A/b"}), true)]
    #[case(json!({"prefix": "/a"}), json!({"path": "/ab", "case_sensitive": false}), false)]
    #[case(json!({"path": "/a"}), json!({"prefix": "/a"}), false)]
    #[case(json!({"path_separated_prefix": "/a"}), json!({"path": "/ab"}), false)]
    #[case(json!({"path_separated_prefix": "/a"}), json!({"path": "/a/b"}), true)]
    #[case(json!({"path_separated_prefix": "/a"}), json!({"prefix": "/a"}), false)]
    #[case(json!({"path_separated_prefix": "/a"}), json!({"prefix": "/a/"}), true)]
    #[case(json!({"safe_regex": {"regex": "/[ab]+"}}), json!({"path": "/abba"}), true)]
    #[case(json!({"safe_regex": {"regex": "/[ab]+"}}), json!({"prefix": "/a"}), false)]
    #[case(json!({"prefix": "/", "runtime_fraction": {"default_value": {"numerator": 0}}}), json!({"prefix": "/a"}), false)]
    #[case(json!({"prefix": "/", "grpc": {}}), json!({"prefix": "/a"}), false)]
    #[case(json!({"prefix": "/", "grpc": {}}), json!({"prefix": "/a", "grpc": {}}), true)]
    #[case(json!({"prefix": "/", "tls_context": {"presented": true}}), json!({"prefix": "/a"}), false)]
    #[case(json!({"prefix": "/", "cookies": [{"name": "c", "string_match": {"exact": "1"}}]}), json!({"prefix": "/"}), false)]
    #[case(json!({"prefix": "/", "cookies": [{"name": "c", "string_match": {"exact": "1"}}]}), json!({"path": "/x", "cookies": [{"name": "c", "string_match": {"exact": "1"}}]}), true)]
    #[case(json!({"prefix": "/", "dynamic_metadata": [{"filter": "f", "path": [{"key": "k"}], "value": {"present_match": true}}]}), json!({"prefix": "/"}), false)]
    #[case(json!({"connect_matcher": {}}), json!({"connect_matcher": {}}), true)]
    #[case(json!({"connect_matcher": {}}), json!({"prefix": "/"}), false)]
    #[case(json!({"prefix": ""}), json!({"connect_matcher": {}}), false)]
    fn paths(#[case] one: Value, #[case] other: Value, #[case] expected: bool) {
        assert_eq!(first_covers(one, other), expected);
    }

    #[rstest]
    #[case(json!({"present_match": true}), json!({"string_match": {"exact": "1"}}), true)]
    #[case(json!({"present_match": true}), json!({"present_match": false}), false)]
    #[case(json!({"present_match": true}), json!({"string_match": {"exact": "1"}, "invert_match": true}), true)]
    #[case(json!({"present_match": false, "invert_match": true}), json!({"range_match": {"start": 0, "end": 1}}), true)]
    #[case(json!({"present_match": true}), json!({"present_match": true, "invert_match": true}), false)]
    #[case(json!({"present_match": true, "invert_match": true}), json!({"string_match": {"exact": "1"}}), false)]
    #[case(json!({"string_match": {"prefix": "a"}}), json!({"string_match": {"exact": "ab"}}), true)]
    #[case(json!({"string_match": {"prefix": "a"}}), json!({"string_match": {"prefix": "ab"}}), true)]
    #[case(json!({"string_match": {"exact": "ab"}}), json!({"string_match": {"prefix": "a"}}), false)]
    #[case(json!({"range_match": {"start": 0, "end": 9}}), json!({"range_match": {"start": 1, "end": 9}}), true)]
    #[case(json!({"range_match": {"start": 0, "end": 9}}), json!({"string_match": {"exact": "8"}}), true)]
    #[case(json!({"range_match": {"start": 0, "end": 9}}), json!({"string_match": {"exact": "9"}}), false)]
    #[case(json!({"string_match": {"exact": "b"}, "invert_match": true}), json!({"string_match": {"exact": "a"}}), false)]
    #[case(json!({"present_match": true}), json!({"string_match": {"exact": ""}, "treat_missing_header_as_empty": true}), false)]
    fn headers(#[case] mut one: Value, #[case] mut other: Value, #[case] expected: bool) {
        one["name"] = json!("X-a");
        other["name"] = json!("x-A");
        let wide = json!({"prefix": "/", "headers": [one]});
        let narrow = json!({"prefix": "/", "headers": [other.clone()]});
        assert_eq!(first_covers(wide, narrow), expected);
        let without = json!({"prefix": "/"});
        let narrow = json!({"prefix": "/", "headers": [other]});
        assert!(first_covers(without.clone(), narrow.clone()));
        assert!(!first_covers(narrow, without));
    }

    #[rstest]
    #[case(json!({"present_match": true}), json!({"string_match": {"exact": "1"}}), true)]
    #[case(json!({"string_match": {"prefix": "1"}}), json!({"string_match": {"exact": "12"}}), true)]
    #[case(json!({"string_match": {"prefix": "1"}}), json!({"present_match": true}), false)]
    #[case(json!({"present_match": false}), json!({"present_match": false}), true)]
    #[case(json!({"present_match": true}), json!({"present_match": false}), false)]
    fn query_parameters(#[case] mut one: Value, #[case] mut other: Value, #[case] expected: bool) {
        one["name"] = json!("q");
        other["name"] = json!("q");
        let wide = json!({"prefix": "/", "query_parameters": [one]});
        let narrow = json!({"prefix": "/", "query_parameters": [other]});
        assert_eq!(first_covers(wide, narrow), expected);
    }
}
