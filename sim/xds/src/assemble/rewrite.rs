//! Rewrites that depend on more than their own field.

use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, VirtualHost,
    redirect_action::PathRewriteSpecifier,
    route::Action,
    route_action::{ClusterSpecifier, HostRewriteSpecifier, hash_policy::PolicySpecifier},
    weighted_cluster::ClusterWeight,
};
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

use crate::validate::rewrite::of_hash_policy;

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
            of_path
                .or_else(|| match &action.host_rewrite_specifier {
                    Some(HostRewriteSpecifier::HostRewritePathRegex(rule)) => {
                        undecided_pattern("route.host_rewrite_path_regex.pattern.regex", rule)
                    }
                    _ => None,
                })
                .or_else(|| {
                    let mut rules = action.hash_policy.iter().filter_map(of_hash_policy);
                    rules.find_map(|rule| undecided_pattern("route.hash_policy", rule))
                })
                .or_else(|| changed_hash(action, route, host, config))
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

/// A balancer takes the hash of the request as it is sent: after header mutations and rewrites.
fn changed_hash(
    action: &RouteAction,
    route: &Route,
    host: &VirtualHost,
    config: &RouteConfiguration,
) -> Option<(&'static str, String)> {
    let is_path_rewritten = !action.prefix_rewrite.is_empty()
        || !action.path_rewrite.is_empty()
        || action.regex_rewrite.is_some()
        || action.path_rewrite_policy.is_some();
    let texts = [
        action.prefix_rewrite.as_str(),
        action.path_rewrite.as_str(),
        action
            .regex_rewrite
            .as_ref()
            .map_or("", |rule| rule.substitution.as_str()),
    ];
    // What a command comes to may hold a question mark.
    let adds_query = texts.iter().any(|text| text.contains(['?', '%']));
    let weighted = weighted_clusters(action);
    let of_weighted = weighted
        .iter()
        .any(|entry| entry.host_rewrite_specifier.is_some());
    // An endpoint's name comes after the choice.
    let of_route = action
        .host_rewrite_specifier
        .as_ref()
        .is_some_and(|it| !matches!(it, HostRewriteSpecifier::AutoHostRewrite(_)));
    let is_host_rewritten = of_weighted || of_route;
    let of_stream = action.max_stream_duration.as_ref();
    #[expect(deprecated, reason = "Envoy reads it still")]
    let old = action.max_grpc_timeout.is_some();
    let bounds_grpc_timeout =
        old || of_stream.is_some_and(|it| it.grpc_timeout_header_max.is_some());
    let changed = |name: &str| match name {
        ":path" => is_path_rewritten,
        ":authority" | "host" => is_host_rewritten,
        "grpc-timeout" if bounds_grpc_timeout => true,
        name => {
            let appended = action.append_x_forwarded_host && is_host_rewritten;
            appended && name == "x-forwarded-host"
                || names_changed(weighted, route, host, config)
                    .any(|it| it.eq_ignore_ascii_case(name))
        }
    };
    action.hash_policy.iter().find_map(|policy| {
        let what = match policy.policy_specifier.as_ref()? {
            PolicySpecifier::Header(header)
                if changed(&header.header_name.to_ascii_lowercase()) =>
            {
                format!("the header {:?}", header.header_name)
            }
            PolicySpecifier::Cookie(_) if changed("cookie") => "a cookie".to_owned(),
            PolicySpecifier::QueryParameter(_) if adds_query => "a query parameter".to_owned(),
            _ => return None,
        };
        let reason = format!("the hash takes {what}, which the route changes before");
        Some(("route.hash_policy", reason))
    })
}

pub(super) fn weighted_clusters(action: &RouteAction) -> &[ClusterWeight] {
    match &action.cluster_specifier {
        Some(ClusterSpecifier::WeightedClusters(weighted)) => weighted.clusters.as_slice(),
        _ => &[],
    }
}

/// The names of the request headers that mutations change.
pub(super) fn names_changed<'a>(
    weighted: &'a [ClusterWeight],
    route: &'a Route,
    host: &'a VirtualHost,
    config: &'a RouteConfiguration,
) -> impl Iterator<Item = &'a str> {
    let levels = [
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
    ];
    let weighted = weighted
        .iter()
        .map(|it| (&it.request_headers_to_add, &it.request_headers_to_remove));
    weighted.chain(levels).flat_map(|(add, remove)| {
        let added = add.iter().filter_map(|option| option.header.as_ref());
        let added = added.map(|header| header.key.as_str());
        added.chain(remove.iter().map(String::as_str))
    })
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
