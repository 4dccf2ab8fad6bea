//! Which of the routes that did not match came nearest: for the reader, not for the decision.

use envoy_types::pb::envoy::config::route::v3::{Route, RouteMatch, route_match::PathSpecifier};
use twinmesh_engine::{Failed, Request};
use twinmesh_spec::reading::Seen;

use super::matcher::{path_fits, path_of};

/// How near a route came; larger is nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nearness {
    /// Its path fits: only other matchers kept the request away.
    path_fits: bool,
    /// Matchers before the one that failed.
    passed: usize,
    /// Bytes that the path that it expects and the request's have in common at the start.
    common: usize,
}

/// How near the route came to matching the request.
pub fn nearness(
    route: Option<&Route>,
    failed: Failed,
    request: &Request,
    seen: Option<&Seen>,
) -> Nearness {
    let route_match = route.and_then(|route| route.r#match.as_ref());
    let headers = route_match.map_or(0, |route_match| route_match.headers.len());
    let parameters = route_match.map_or(0, |route_match| route_match.query_parameters.len());
    let cookies = route_match.map_or(0, |route_match| route_match.cookies.len());
    let (passed, at_path) = match failed {
        Failed::RuntimeFraction | Failed::Grpc => (0, false),
        Failed::Header(index) => (index, false),
        Failed::QueryParameter(index) => (headers + index, false),
        Failed::Cookie(index) => (headers + parameters + index, false),
        Failed::TlsContext | Failed::DynamicMetadata(_) => (headers + parameters + cookies, false),
        Failed::Path => (headers + parameters + cookies, true),
    };
    let path = path_of(request, seen);
    Nearness {
        path_fits: !at_path && route_match.is_some_and(|route_match| path_fits(route_match, path)),
        passed,
        common: route_match.map_or(0, |route_match| common(route_match, path)),
    }
}

fn common(route_match: &RouteMatch, path: &str) -> usize {
    let expected = match &route_match.path_specifier {
        Some(
            PathSpecifier::Prefix(text)
            | PathSpecifier::Path(text)
            | PathSpecifier::PathSeparatedPrefix(text),
        ) => text,
        Some(PathSpecifier::SafeRegex(regex)) => &regex.regex,
        _ => return 0,
    };
    expected
        .bytes()
        .zip(path.bytes())
        .take_while(|(expected, found)| expected == found)
        .count()
}
