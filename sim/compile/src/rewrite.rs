//! Path and authority as they go upstream: text that the model does not make, since no choice hangs
//! on it.

use envoy_types::pb::envoy::config::route::v3::{
    RedirectAction, Route, RouteAction,
    redirect_action::PathRewriteSpecifier,
    route::Action,
    route_action::{ClusterSpecifier, HostRewriteSpecifier},
    route_match::PathSpecifier,
    weighted_cluster::cluster_weight,
};
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use twinmesh_xds::uri_template;

use crate::Compiled;
use crate::compiler::Compiler;
use crate::matcher::arrives_as_sent;
use crate::seen::Seen;
use crate::substitution::Substitutions;

impl Compiler<'_> {
    /// Compiles the regexes of a route's rewrites. What is not decided of them goes to `left`.
    pub fn rewrites(&mut self, route: &Route, left: &mut Vec<(String, String)>) {
        let mut add = |field: &str, rule: &RegexMatchAndSubstitute| {
            if let Err(reason) = self.substitutions.add(rule) {
                left.push((field.to_owned(), reason));
            }
        };
        match &route.action {
            Some(Action::Route(action)) => {
                if let Some(rule) = &action.regex_rewrite {
                    add("route.regex_rewrite", rule);
                }
                if let Some(rule) = template(route) {
                    add("route.path_rewrite_policy", &rule);
                }
                match &action.host_rewrite_specifier {
                    Some(HostRewriteSpecifier::HostRewritePathRegex(rule)) => {
                        add("route.host_rewrite_path_regex", rule);
                    }
                    Some(HostRewriteSpecifier::HostRewriteHeader(name))
                        if !arrives_as_sent(name) =>
                    {
                        let reason = format!(
                            "`{name}` is a header that the connection manager writes or removes"
                        );
                        left.push(("route.host_rewrite_header".to_owned(), reason));
                    }
                    _ => {}
                }
            }
            Some(Action::Redirect(RedirectAction {
                path_rewrite_specifier: Some(PathRewriteSpecifier::RegexRewrite(rule)),
                ..
            })) => add("redirect.regex_rewrite", rule),
            _ => {}
        }
    }
}

impl Compiled {
    /// The path and query after `prefix_rewrite`, `path_rewrite_policy` or `regex_rewrite`, where
    /// the route has one.
    pub(crate) fn path(&self, action: &RouteAction, route: &Route, seen: &Seen) -> Option<String> {
        if !action.prefix_rewrite.is_empty() {
            let rest = seen.path.get(prefix_length(route, seen)..);
            return Some(action.prefix_rewrite.clone() + rest.unwrap_or_default());
        }
        if let Some(rule) = template(route) {
            return Some(substituted(&self.substitutions, &rule, seen));
        }
        let rule = action.regex_rewrite.as_ref()?;
        Some(substituted(&self.substitutions, rule, seen))
    }
}

/// The substitution that a route's `path_rewrite_policy` is.
fn template(route: &Route) -> Option<RegexMatchAndSubstitute> {
    let Some(Action::Route(action)) = &route.action else {
        return None;
    };
    let rewrite = uri_template::rewrite(action.path_rewrite_policy.as_ref()?)?;
    let matched = route.r#match.as_ref()?.path_specifier.as_ref()?;
    let PathSpecifier::PathMatchPolicy(policy) = matched else {
        return None;
    };
    uri_template::substitution(&uri_template::template(policy)?, &rewrite).ok()
}

/// The host that an entry of weighted clusters asks for.
pub(crate) fn of_weighted_cluster(action: &RouteAction, entry: u64) -> Option<&str> {
    let Some(ClusterSpecifier::WeightedClusters(weighted)) = &action.cluster_specifier else {
        return None;
    };
    let entry = weighted.clusters.get(entry as usize)?;
    match entry.host_rewrite_specifier.as_ref()? {
        cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(host) => {
            Some(host.as_str()).filter(|host| !host.is_empty())
        }
    }
}

/// How much of the path a prefix rewrite takes the place of: what the route's prefix names, or all
/// of it up to the query.
pub(crate) fn prefix_length(route: &Route, seen: &Seen) -> usize {
    let matched = route.r#match.as_ref();
    match matched.and_then(|matched| matched.path_specifier.as_ref()) {
        Some(PathSpecifier::Prefix(text) | PathSpecifier::PathSeparatedPrefix(text)) => text.len(),
        _ => without_query(&seen.path).len(),
    }
}

/// The path after a regex rewrite, and the query as it was. Where nothing would be left of the
/// path, Envoy leaves it alone.
pub(crate) fn substituted(
    substitutions: &Substitutions,
    rule: &RegexMatchAndSubstitute,
    seen: &Seen,
) -> String {
    let own = without_query(&seen.path);
    let replaced = substitutions.apply(rule, own);
    if replaced.is_empty() {
        return seen.path.clone();
    }
    replaced + seen.path.get(own.len()..).unwrap_or_default()
}

fn without_query(path: &str) -> &str {
    path.split_once('?').map_or(path, |(path, _)| path)
}
