//! `upgrade_configs`: which upgrades a route allows, and which its connection manager (measured on
//! Envoy 1.40). It is looked at once there is a route and it has chosen a cluster, before HTTP filters.

use envoy_types::pb::envoy::config::route::v3::{Route, route::Action};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;

/// Whether an upgrade goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upgrade {
    /// It does.
    Allowed,
    /// It does, through filters of its own.
    Filtered,
    /// Envoy answers 403.
    Refused,
}

/// Whether a request may ask for this upgrade. What the route says counts before what the
/// connection manager says; types are compared in any case, and as a whole.
pub(crate) fn may(
    to: &str,
    route: Option<&Route>,
    manager: Option<&HttpConnectionManager>,
) -> Upgrade {
    let of_route = match route.map(|route| &route.action) {
        Some(Some(Action::Route(action))) => action.upgrade_configs.as_slice(),
        _ => &[],
    };
    let of_manager = manager.map_or(&[][..], |manager| &manager.upgrade_configs);
    let by_route = of_route
        .iter()
        .find(|config| config.upgrade_type.eq_ignore_ascii_case(to));
    let by_manager = of_manager
        .iter()
        .find(|config| config.upgrade_type.eq_ignore_ascii_case(to));
    let is_enabled = match (by_route, by_manager) {
        (Some(config), _) => config.enabled.is_none_or(|enabled| enabled.value),
        (None, Some(config)) => config.enabled.is_none_or(|enabled| enabled.value),
        (None, None) => false,
    };
    match by_manager {
        _ if !is_enabled => Upgrade::Refused,
        Some(config) if !config.filters.is_empty() => Upgrade::Filtered,
        _ => Upgrade::Allowed,
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::route::v3::{
        RouteAction, route_action::UpgradeConfig as OfRoute,
    };
    use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::UpgradeConfig;
    use envoy_types::pb::google::protobuf::BoolValue;
    use rstest::rstest;

    use super::*;

    const ON: Option<bool> = Some(true);
    const OFF: Option<bool> = Some(false);

    #[rstest]
    #[case::nobody_says(&[], &[], Upgrade::Refused)]
    #[case::manager(&[("WebSocket", None)], &[], Upgrade::Allowed)]
    #[case::manager_disables(&[("websocket", OFF)], &[], Upgrade::Refused)]
    #[case::another(&[("foo", None)], &[("bar", None)], Upgrade::Refused)]
    #[case::route(&[], &[("WEBSOCKET", None)], Upgrade::Allowed)]
    #[case::route_over_manager(&[("websocket", OFF)], &[("websocket", ON)], Upgrade::Allowed)]
    #[case::route_disables(&[("websocket", ON)], &[("websocket", OFF)], Upgrade::Refused)]
    fn by_whom(
        #[case] of_manager: &[(&str, Option<bool>)],
        #[case] of_route: &[(&str, Option<bool>)],
        #[case] expected: Upgrade,
    ) {
        let enabled = |said: Option<bool>| said.map(|value| BoolValue { value });
        let configs = of_route.iter().map(|&(kind, said)| OfRoute {
            upgrade_type: kind.to_owned(),
            enabled: enabled(said),
            ..OfRoute::default()
        });
        let route = Route {
            action: Some(Action::Route(RouteAction {
                upgrade_configs: configs.collect(),
                ..RouteAction::default()
            })),
            ..Route::default()
        };
        let configs = of_manager.iter().map(|&(kind, said)| UpgradeConfig {
            upgrade_type: kind.to_owned(),
            enabled: enabled(said),
            ..UpgradeConfig::default()
        });
        let manager = HttpConnectionManager {
            upgrade_configs: configs.collect(),
            ..HttpConnectionManager::default()
        };
        assert_eq!(may("websocket", Some(&route), Some(&manager)), expected);
    }
}
