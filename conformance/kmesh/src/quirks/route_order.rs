//! The first route without header matchers is tried last.

use envoy_types::pb::envoy::config::route::v3::Route;

/// The indices of the routes in the order in which they are tried.
pub(crate) fn order(routes: &[Route]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..routes.len()).collect();
    let plain = routes.iter().position(|route| {
        let matched = route.r#match.as_ref();
        matched.is_none_or(|matched| matched.headers.is_empty())
    });
    if let Some(plain) = plain {
        order.remove(plain);
        order.push(plain);
    }
    order
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::route::v3::{HeaderMatcher, RouteMatch};

    use super::*;

    #[test]
    fn only_the_first_moves() {
        let route = |headers: usize| Route {
            r#match: Some(RouteMatch {
                headers: vec![HeaderMatcher::default(); headers],
                ..RouteMatch::default()
            }),
            ..Route::default()
        };
        assert_eq!(order(&[route(0), route(0)]), [1, 0]);
        assert_eq!(
            order(&[route(1), route(0), route(2), route(0)]),
            [0, 2, 3, 1]
        );
        assert_eq!(order(&[route(1)]), [0]);
        assert!(order(&[]).is_empty());
    }
}
