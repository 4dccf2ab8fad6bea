//! Which route of a virtual host takes a request: the first whose matchers all accept it.

use std::ops::Range;

use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteMatch, VirtualHost, route::Action, route_action::ClusterSpecifier,
    route_match::PathSpecifier,
};
use twinmesh_engine::Failed;

use crate::connect;
use crate::cookie;
use crate::fraction;
use crate::header;
use crate::matcher_tree;
use crate::message::{Message, arrives_as_sent};
use crate::path;
use crate::query_parameter;
use crate::regex::Regexes;
use crate::tls_context;
use crate::uri_template;

/// The result of walking over a virtual host's routes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Index of the first route that accepts.
    pub(crate) route: Option<usize>,
    /// For each route that was looked at before it, the matcher that failed first.
    pub(crate) failed: Vec<(usize, Failed)>,
}

/// The routes that are looked at: all, or those that the matcher tree leads to.
pub(crate) fn looked_at(
    virtual_host: &VirtualHost,
    message: &Message,
    regexes: &Regexes,
) -> Range<usize> {
    match &virtual_host.matcher {
        Some(matcher) => matcher_tree::routes(matcher, message, regexes),
        None => 0..virtual_host.routes.len(),
    }
}

/// Walks over the routes.
pub(crate) fn select(
    virtual_host: &VirtualHost,
    message: &Message,
    regexes: &Regexes,
    random: u64,
) -> Found {
    let nothing = RouteMatch::default();
    let mut found = Found::default();
    let looked_at = looked_at(virtual_host, message, regexes);
    let routes = virtual_host.routes.iter().enumerate();
    for (index, route) in routes.take(looked_at.end).skip(looked_at.start) {
        let route_match = route.r#match.as_ref().unwrap_or(&nothing);
        match first_failed(route_match, message, regexes, random) {
            Some(failed) => found.failed.push((index, failed)),
            None => {
                found.route = Some(index);
                break;
            }
        }
    }
    found
}

/// The first matcher that refuses the request, in Envoy's order.
pub(crate) fn first_failed(
    route_match: &RouteMatch,
    message: &Message,
    regexes: &Regexes,
    random: u64,
) -> Option<Failed> {
    if message.is_connect() && !connect::takes(route_match) {
        // Envoy looks at no other route of a request without a path.
        return Some(match fraction::is_nothing(route_match) {
            true => Failed::RuntimeFraction,
            false => Failed::Path,
        });
    }
    if !fraction::includes(route_match, random) {
        return Some(Failed::RuntimeFraction);
    }
    if route_match.grpc.is_some() && !message.is_grpc() {
        return Some(Failed::Grpc);
    }
    let header = route_match
        .headers
        .iter()
        .position(|matcher| !header::matches(matcher, message, regexes));
    if let Some(index) = header {
        return Some(Failed::Header(index));
    }
    let query_parameter = route_match
        .query_parameters
        .iter()
        .position(|matcher| !query_parameter::matches(matcher, &message.path, regexes));
    if let Some(index) = query_parameter {
        return Some(Failed::QueryParameter(index));
    }
    let mut cookies = route_match.cookies.iter();
    if let Some(index) = cookies.position(|it| !cookie::matches(it, message, regexes)) {
        return Some(Failed::Cookie(index));
    }
    let certificate = message.client_certificate;
    let tls_context = route_match.tls_context.as_ref();
    if tls_context.is_some_and(|asked| !tls_context::matches(asked, certificate)) {
        return Some(Failed::TlsContext);
    }
    // There is no metadata yet when a route is chosen (measured on Envoy 1.40): no value matches, not
    // even where its absence is asked for.
    let mut metadata = route_match.dynamic_metadata.iter();
    if let Some(index) = metadata.position(|matcher| !matcher.invert) {
        return Some(Failed::DynamicMetadata(index));
    }
    let is_accepted =
        message.is_connect() || path::matches(route_match, message.path_without_query(), regexes);
    (!is_accepted).then_some(Failed::Path)
}

/// What of a route this engine does not decide; requests that reach it are undecided.
pub(crate) fn undecided(route: &Route) -> Option<&'static str> {
    let of_match = route.r#match.as_ref().and_then(undecided_match);
    of_match.or_else(|| match &route.action {
        Some(Action::Route(action)) => undecided_action(action),
        Some(Action::Redirect(_) | Action::DirectResponse(_)) => None,
        _ => Some("its action is not decided"),
    })
}

pub(crate) fn undecided_match(route_match: &RouteMatch) -> Option<&'static str> {
    if route_match.headers.iter().any(|m| !header::is_decided(m)) {
        return Some("it matches a header that the connection manager rewrites");
    }
    let by_policy = match &route_match.path_specifier {
        Some(PathSpecifier::PathMatchPolicy(policy)) => uri_template::of_match(policy).is_none(),
        specifier => specifier.is_none(),
    };
    let undecided = [
        (by_policy, "its path matcher is not decided"),
        (
            !route_match.filter_state.is_empty(),
            "its filter state matchers are not decided",
        ),
    ];
    undecided
        .into_iter()
        .find_map(|(is_there, what)| is_there.then_some(what))
}

pub(crate) fn undecided_action(action: &RouteAction) -> Option<&'static str> {
    let by_header = match &action.cluster_specifier {
        Some(ClusterSpecifier::ClusterHeader(header)) => !arrives_as_sent(header),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => weighted
            .clusters
            .iter()
            .any(|entry| entry.name.is_empty() && !arrives_as_sent(&entry.cluster_header)),
        _ => false,
    };
    let by_plugin = matches!(
        &action.cluster_specifier,
        Some(
            ClusterSpecifier::ClusterSpecifierPlugin(_)
                | ClusterSpecifier::InlineClusterSpecifierPlugin(_)
        ) | None
    );
    let undecided = [
        (by_plugin, "its cluster specifier plugin is not decided"),
        (
            by_header,
            "its cluster_header is one that the connection manager rewrites",
        ),
        (
            action
                .path_rewrite_policy
                .as_ref()
                .is_some_and(|policy| uri_template::of_rewrite(policy).is_none()),
            "its path_rewrite_policy is not decided",
        ),
    ];
    undecided
        .into_iter()
        .find_map(|(is_there, what)| is_there.then_some(what))
}

/// The route's name, or `#i` where it has none.
pub(crate) fn name(route: &Route, index: usize) -> String {
    if route.name.is_empty() {
        format!("#{index}")
    } else {
        route.name.clone()
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::route::v3::{HeaderMatcher, QueryParameterMatcher};

    use super::*;
    use crate::message::tests::message;

    fn route(prefix: &str, headers: &[&str], query_parameters: &[&str]) -> Route {
        Route {
            r#match: Some(RouteMatch {
                path_specifier: Some(PathSpecifier::Prefix(prefix.to_owned())),
                headers: headers
                    .iter()
                    .map(|&name| HeaderMatcher {
                        name: name.to_owned(),
                        ..HeaderMatcher::default()
                    })
                    .collect(),
                query_parameters: query_parameters
                    .iter()
                    .map(|&name| QueryParameterMatcher {
                        name: name.to_owned(),
                        ..QueryParameterMatcher::default()
                    })
                    .collect(),
                ..RouteMatch::default()
            }),
            ..Route::default()
        }
    }

    #[test]
    fn the_first_that_accepts_wins_and_the_path_is_asked_last() {
        let virtual_host = VirtualHost {
            routes: vec![
                route("/other", &["x", "y"], &["z"]),
                route("/other", &["x"], &["q", "z"]),
                route("/other", &["x"], &["q"]),
                route("/p", &["x"], &["q"]),
                route("/", &[], &[]),
            ],
            ..VirtualHost::default()
        };
        let found = select(
            &virtual_host,
            &message(&[("x", "1")]),
            &Regexes::default(),
            0,
        );
        assert_eq!(
            found,
            Found {
                route: Some(3),
                failed: vec![
                    (0, Failed::Header(1)),
                    (1, Failed::QueryParameter(1)),
                    (2, Failed::Path)
                ],
            }
        );
    }

    #[test]
    fn names() {
        let mut route = Route::default();
        assert_eq!(name(&route, 3), "#3");
        route.name = "r".to_owned();
        assert_eq!(name(&route, 3), "r");
    }
}
