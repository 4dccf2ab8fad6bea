//! Which route of a virtual host takes a request, and which quirk is to blame where Envoy's takes
//! another.

use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, Route, RouteMatch, header_matcher::HeaderMatchSpecifier,
};
use twinmesh_engine::Failed;

use crate::head::Head;
use crate::quirk::Quirk;
use crate::quirks::{
    header_matchers, header_names, ignored_fields, parsed_names, path_kinds, prefix_anywhere,
    pseudo_headers, repeated_headers, route_order,
};

/// What trying the routes came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tried {
    /// The routes that did not match, in the order in which they were tried.
    pub(crate) failed: Vec<(usize, Failed)>,
    pub(crate) taken: Option<usize>,
}

/// Tries the routes, in Kmesh's order.
pub(crate) fn select(routes: &[Route], head: &Head) -> Tried {
    let nothing = RouteMatch::default();
    let mut tried = Tried {
        failed: Vec::new(),
        taken: None,
    };
    for index in route_order::order(routes) {
        let route = routes.get(index);
        let matched = route.and_then(|route| route.r#match.as_ref());
        match failed(matched.unwrap_or(&nothing), head) {
            Some(failed) => tried.failed.push((index, failed)),
            None => {
                tried.taken = Some(index);
                break;
            }
        }
    }
    tried
}

/// The first matcher that fails.
fn failed(matched: &RouteMatch, head: &Head) -> Option<Failed> {
    let header = matched
        .headers
        .iter()
        .position(|matcher| !takes(matcher, head));
    if let Some(index) = header {
        return Some(Failed::Header(index));
    }
    let prefix = path_kinds::prefix(matched)?;
    let path = parsed_names::last(head, "URI")?;
    (!prefix_anywhere::matches(head, path, prefix)).then_some(Failed::Path)
}

fn takes(matcher: &HeaderMatcher, head: &Head) -> bool {
    if pseudo_headers::asks_for(&matcher.name) {
        return false;
    }
    let field = parsed_names::last(head, &matcher.name);
    header_matchers::kind(matcher).takes(field.map(|field| field.value.as_str()))
}

/// By which quirk Kmesh and Envoy part at a matcher of a route.
pub(crate) fn blame(route: &Route, failed: Failed, head: &Head) -> Quirk {
    let nothing = RouteMatch::default();
    let matched = route.r#match.as_ref().unwrap_or(&nothing);
    match failed {
        Failed::Header(index) => match matched.headers.get(index) {
            Some(matcher) => blame_header(matcher, head),
            None => Quirk::HeaderMatchers,
        },
        Failed::RuntimeFraction
        | Failed::Grpc
        | Failed::QueryParameter(_)
        | Failed::Cookie(_)
        | Failed::TlsContext
        | Failed::DynamicMetadata(_) => Quirk::IgnoredFields,
        Failed::Path => {
            if parsed_names::overwrites_path(head) {
                Quirk::ParsedNames
            } else if ignored_fields::in_match(matched) {
                Quirk::IgnoredFields
            } else if path_kinds::prefix(matched).is_none() {
                Quirk::PathKinds
            } else {
                Quirk::PrefixAnywhere
            }
        }
    }
}

fn blame_header(matcher: &HeaderMatcher, head: &Head) -> Quirk {
    use header_matchers::Kind;
    let name = matcher.name.as_str();
    let own_case = matches!(
        &matcher.header_match_specifier,
        Some(HeaderMatchSpecifier::StringMatch(string)) if string.ignore_case
    );
    if pseudo_headers::asks_for(name) {
        Quirk::PseudoHeaders
    } else if matches!(header_matchers::kind(matcher), Kind::Dropped | Kind::Never)
        || matcher.invert_match
    {
        Quirk::HeaderMatchers
    } else if ["METHOD", "URI", "VERSION"].contains(&name) {
        Quirk::ParsedNames
    } else if header_names::misses(head, name) {
        Quirk::HeaderNames
    } else if repeated_headers::reads_otherwise(head, name) {
        Quirk::RepeatedHeaders
    } else if own_case || matcher.treat_missing_header_as_empty {
        Quirk::IgnoredFields
    } else {
        Quirk::HeaderMatchers
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;

    use super::*;
    use crate::head::tests::head;

    fn route(prefix: &str, header: Option<(&str, &str)>) -> Route {
        Route {
            r#match: Some(RouteMatch {
                path_specifier: Some(PathSpecifier::Prefix(prefix.to_owned())),
                headers: header
                    .map(|(name, value)| HeaderMatcher {
                        name: name.to_owned(),
                        header_match_specifier: Some(HeaderMatchSpecifier::ExactMatch(
                            value.to_owned(),
                        )),
                        ..HeaderMatcher::default()
                    })
                    .into_iter()
                    .collect(),
                ..RouteMatch::default()
            }),
            ..Route::default()
        }
    }

    #[test]
    fn the_more_general_route_takes_what_stands_behind_it() {
        let routes = [route("/api", None), route("/", None)];
        assert_eq!(select(&routes, &head("/api", &[])).taken, Some(1));
    }

    #[test]
    fn a_header_of_another_spelling_is_blamed() {
        let routes = [route("/", Some(("user", "a"))), route("/", None)];
        let head = head("/", &[("User", "a")]);
        let tried = select(&routes, &head);
        assert_eq!(tried.taken, Some(1));
        assert_eq!(tried.failed, [(0, Failed::Header(0))]);
        assert_eq!(
            blame(&routes[0], Failed::Header(0), &head),
            Quirk::HeaderNames
        );
    }
}
