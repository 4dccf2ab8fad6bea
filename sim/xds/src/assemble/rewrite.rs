//! Rewrites that depend on more than their own field.

use envoy_types::pb::envoy::config::{
    core::v3::HeaderValueOption,
    route::v3::{
        Route, RouteAction, RouteConfiguration, VirtualHost, redirect_action::PathRewriteSpecifier,
        route::Action, route_action::ClusterSpecifier, route_action::HostRewriteSpecifier,
    },
};
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

/// The field below the route that is not decided, and why.
pub(super) fn undecided(
    route: &Route,
    host: &VirtualHost,
    config: &RouteConfiguration,
) -> Option<(&'static str, String)> {
    match &route.action {
        Some(Action::Route(action)) => {
            let of_path = action
                .regex_rewrite
                .as_ref()
                .and_then(|rule| undecided_pattern("route.regex_rewrite.pattern.regex", rule));
            of_path.or_else(|| match &action.host_rewrite_specifier {
                Some(HostRewriteSpecifier::HostRewritePathRegex(rule)) => {
                    undecided_pattern("route.host_rewrite_path_regex.pattern.regex", rule)
                }
                Some(HostRewriteSpecifier::HostRewriteHeader(name)) => {
                    changed_header(name, action, route, host, config)
                }
                _ => None,
            })
        }
        Some(Action::Redirect(action)) => match &action.path_rewrite_specifier {
            Some(PathRewriteSpecifier::RegexRewrite(rule)) => {
                undecided_pattern("redirect.regex_rewrite.pattern.regex", rule)
            }
            _ => None,
        },
        _ => None,
    }
}

/// A pattern with more nested groups than are followed.
fn undecided_pattern(
    field: &'static str,
    rule: &RegexMatchAndSubstitute,
) -> Option<(&'static str, String)> {
    let pattern = rule.pattern.as_ref()?;
    let error = twinmesh_re2::parse_latin_1_captures(&pattern.regex).err()?;
    Some((field, format!("it is not searched for: {error}")))
}

/// Headers are added and removed before the host is taken from one.
fn changed_header(
    name: &str,
    action: &RouteAction,
    route: &Route,
    host: &VirtualHost,
    config: &RouteConfiguration,
) -> Option<(&'static str, String)> {
    let weighted = match &action.cluster_specifier {
        Some(ClusterSpecifier::WeightedClusters(weighted)) => weighted.clusters.as_slice(),
        _ => &[],
    };
    let changes = weighted
        .iter()
        .map(|it| (&it.request_headers_to_add, &it.request_headers_to_remove))
        .chain([
            (
                &route.request_headers_to_add,
                &route.request_headers_to_remove,
            ),
            (
                &host.request_headers_to_add,
                &host.request_headers_to_remove,
            ),
            (
                &config.request_headers_to_add,
                &config.request_headers_to_remove,
            ),
        ]);
    let is_it = |other: &str| other.eq_ignore_ascii_case(name);
    let added = |option: &HeaderValueOption| {
        let header = option.header.as_ref();
        header.is_some_and(|header| is_it(&header.key))
    };
    let mut changes = changes;
    changes
        .any(|(add, remove)| add.iter().any(added) || remove.iter().any(|other| is_it(other)))
        .then(|| {
            let reason = format!("request_headers_to_add or _remove changes {name:?} before");
            ("route.host_rewrite_header", reason)
        })
}
