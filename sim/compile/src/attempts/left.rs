//! What leaves the way of a request on undecided: redirects that Envoy itself follows, and bodies that
//! it does not keep for a retry.

#![allow(deprecated)] // Envoy decides by what it has deprecated

use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, VirtualHost, route_action::InternalRedirectAction,
};
use twinmesh_engine::Request;

/// Why the attempts of a request are not decided, if so.
pub(super) fn reason(
    host: &VirtualHost,
    route: &Route,
    action: &RouteAction,
    request: &Request,
) -> Option<&'static str> {
    const FOLLOWS: i32 = InternalRedirectAction::HandleInternalRedirect as i32;
    if action.internal_redirect_policy.is_some() || action.internal_redirect_action == FOLLOWS {
        return Some("internal redirects are not decided");
    }
    let limit = buffer_limit(host, route)?;
    request
        .headers
        .iter()
        .any(|(name, value)| passes(limit, name, value))
        .then_some("bodies over a route's buffer limit are not decided")
}

/// The least of the limits that a route and its virtual host have, in bytes.
fn buffer_limit(host: &VirtualHost, route: &Route) -> Option<u64> {
    let small = [
        host.per_request_buffer_limit_bytes,
        route.per_request_buffer_limit_bytes,
    ];
    let large = [
        host.request_body_buffer_limit,
        route.request_body_buffer_limit,
    ];
    let small = small.into_iter().flatten().map(|it| u64::from(it.value));
    let large = large.into_iter().flatten().map(|it| it.value);
    small.chain(large).min()
}

fn passes(limit: u64, name: &str, value: &str) -> bool {
    if name.eq_ignore_ascii_case("transfer-encoding") {
        return true;
    }
    let length = value.trim_matches([' ', '\t']).parse();
    name.eq_ignore_ascii_case("content-length") && length.map_or(true, |it: u64| it > limit)
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::route::v3::InternalRedirectPolicy;
    use envoy_types::pb::google::protobuf::{UInt32Value, UInt64Value};

    use super::*;

    #[test]
    fn bodies_over_the_least_limit_are_left() {
        let host = VirtualHost {
            request_body_buffer_limit: Some(UInt64Value { value: 9 }),
            ..VirtualHost::default()
        };
        let route = Route {
            per_request_buffer_limit_bytes: Some(UInt32Value { value: 5 }),
            ..Route::default()
        };
        let action = RouteAction::default();
        let left = |route: &Route, name: &str, value: &str| {
            let request = Request {
                headers: vec![(name.to_owned(), value.to_owned())],
                ..Request::default()
            };
            reason(&host, route, &action, &request).is_some()
        };
        assert!(!left(&route, "Content-Length", "5"));
        assert!(left(&route, "Content-Length", "6"));
        assert!(left(&route, "transfer-encoding", "chunked"));
        assert!(!left(&route, "x", "6"));
        assert!(!left(&Route::default(), "content-length", "9"));
        assert!(left(&Route::default(), "content-length", "10"));
    }

    #[test]
    fn redirects_that_are_followed_are_left() {
        let (host, route, request) = (VirtualHost::default(), Route::default(), Request::default());
        let mut action = RouteAction::default();
        assert_eq!(reason(&host, &route, &action, &request), None);
        action.internal_redirect_policy = Some(InternalRedirectPolicy::default());
        assert!(reason(&host, &route, &action, &request).is_some());
    }
}
