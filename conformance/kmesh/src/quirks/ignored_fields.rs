//! Fields that Kmesh does not look at: query parameters, runtime fractions, `case_sensitive`; and
//! actions that it does not know: a route with one leads to no cluster.

use envoy_types::pb::envoy::config::route::v3::{Route, RouteAction, RouteMatch, route::Action};

/// Whether the match asks for something that is not looked at.
pub(crate) fn in_match(matched: &RouteMatch) -> bool {
    let ignores_case = matched.case_sensitive.as_ref().is_some_and(|it| !it.value);
    !matched.query_parameters.is_empty() || matched.runtime_fraction.is_some() || ignores_case
}

/// The action, where it is one that Kmesh knows.
pub(crate) fn known_action(route: &Route) -> Option<&RouteAction> {
    match &route.action {
        Some(Action::Route(action)) => Some(action),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
    use envoy_types::pb::envoy::config::route::v3::{QueryParameterMatcher, RedirectAction};

    use super::*;

    #[test]
    fn what_is_not_looked_at() {
        assert!(!in_match(&RouteMatch::default()));
        assert!(in_match(&RouteMatch {
            query_parameters: vec![QueryParameterMatcher::default()],
            ..RouteMatch::default()
        }));
        assert!(in_match(&RouteMatch {
            runtime_fraction: Some(RuntimeFractionalPercent::default()),
            ..RouteMatch::default()
        }));
        let redirect = Route {
            action: Some(Action::Redirect(RedirectAction::default())),
            ..Route::default()
        };
        assert!(known_action(&redirect).is_none());
    }
}
