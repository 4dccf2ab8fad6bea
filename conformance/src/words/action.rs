//! What a route does with a request, in words: the fields of its action that decide.

use envoy_types::pb::envoy::config::route::v3::{
    RedirectAction, Route, RouteAction,
    redirect_action::{PathRewriteSpecifier, SchemeRewriteSpecifier},
    route::Action,
    route_action::{ClusterSpecifier, HostRewriteSpecifier},
};

/// A route's action as one line.
pub fn action(route: &Route) -> String {
    match &route.action {
        Some(Action::Route(action)) => forward(action),
        Some(Action::Redirect(redirect)) => format!("redirect: {}", redirected(redirect)),
        Some(Action::DirectResponse(response)) => {
            format!("direct_response.status {}", response.status)
        }
        Some(Action::FilterAction(_)) => "filter_action".to_owned(),
        Some(Action::NonForwardingAction(_)) => "non_forwarding_action".to_owned(),
        None => "no action".to_owned(),
    }
}

fn forward(action: &RouteAction) -> String {
    let mut parts = vec![match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => format!("route.cluster {name:?}"),
        Some(ClusterSpecifier::ClusterHeader(name)) => format!("route.cluster_header {name:?}"),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let clusters: Vec<String> = weighted
                .clusters
                .iter()
                .map(|cluster| {
                    let weight = cluster.weight.as_ref().map_or(0, |weight| weight.value);
                    format!("{:?} {weight}", cluster.name)
                })
                .collect();
            format!("route.weighted_clusters {}", clusters.join(", "))
        }
        Some(ClusterSpecifier::ClusterSpecifierPlugin(name)) => {
            format!("route.cluster_specifier_plugin {name:?}")
        }
        Some(ClusterSpecifier::InlineClusterSpecifierPlugin(_)) => {
            "route.inline_cluster_specifier_plugin".to_owned()
        }
        None => "route without a cluster".to_owned(),
    }];
    if !action.prefix_rewrite.is_empty() {
        parts.push(format!("prefix_rewrite {:?}", action.prefix_rewrite));
    }
    if let Some(rewrite) = &action.regex_rewrite {
        let pattern = rewrite
            .pattern
            .as_ref()
            .map_or("", |pattern| &pattern.regex);
        parts.push(format!(
            "regex_rewrite /{pattern}/ to {:?}",
            rewrite.substitution
        ));
    }
    if !action.path_rewrite.is_empty() {
        parts.push(format!("path_rewrite {:?}", action.path_rewrite));
    }
    match &action.host_rewrite_specifier {
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => {
            parts.push(format!("host_rewrite_literal {host:?}"));
        }
        Some(HostRewriteSpecifier::AutoHostRewrite(_)) => {
            parts.push("auto_host_rewrite".to_owned());
        }
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) => {
            parts.push(format!("host_rewrite_header {name:?}"));
        }
        Some(HostRewriteSpecifier::HostRewritePathRegex(_)) => {
            parts.push("host_rewrite_path_regex".to_owned());
        }
        Some(_) => parts.push("a host rewrite".to_owned()),
        None => (),
    }
    parts.join(", ")
}

fn redirected(redirect: &RedirectAction) -> String {
    let mut parts = Vec::new();
    match &redirect.scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => {
            parts.push("https_redirect".to_owned());
        }
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => {
            parts.push(format!("scheme_redirect {scheme:?}"));
        }
        _ => (),
    }
    if !redirect.host_redirect.is_empty() {
        parts.push(format!("host_redirect {:?}", redirect.host_redirect));
    }
    if redirect.port_redirect != 0 {
        parts.push(format!("port_redirect {}", redirect.port_redirect));
    }
    match &redirect.path_rewrite_specifier {
        Some(PathRewriteSpecifier::PathRedirect(path)) => {
            parts.push(format!("path_redirect {path:?}"));
        }
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => {
            parts.push(format!("prefix_rewrite {prefix:?}"));
        }
        Some(PathRewriteSpecifier::RegexRewrite(_)) => parts.push("regex_rewrite".to_owned()),
        Some(PathRewriteSpecifier::PathRewrite(path)) => {
            parts.push(format!("path_rewrite {path:?}"));
        }
        None => (),
    }
    if redirect.strip_query {
        parts.push("strip_query".to_owned());
    }
    if parts.is_empty() {
        "to the same location".to_owned()
    } else {
        parts.join(", ")
    }
}
