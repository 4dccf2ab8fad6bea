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
use twinmesh_engine::{Decision, Request};
use twinmesh_model::layout::{filter_chain, high, low, work};
use twinmesh_xds::uri_template;

use crate::Compiled;
use crate::answer::Record;
use crate::compiler::Compiler;
use crate::matcher::arrives_as_sent;
use crate::names;
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
    /// The route that the model chose.
    fn chosen_route(&self, record: &Record<'_>) -> Option<&Route> {
        let configuration = self.index(record.word(work::CHOSEN_ROUTE_CONFIGURATION))?;
        let host = record.word(work::CHOSEN_VIRTUAL_HOST);
        let first = low(self.policy_word(host + 8));
        let position = record.word(work::CHOSEN_ROUTE).checked_sub(first + 1)?;
        let hosts = &self
            .snapshot
            .route_configurations
            .get(configuration)?
            .config
            .virtual_hosts;
        hosts.get(self.index(host)?)?.routes.get(position as usize)
    }

    /// Notes what goes upstream otherwise than it `came`. `request` is the one that was decided,
    /// `hostname` what `auto_host_rewrite` takes of the endpoint.
    pub(crate) fn rewritten(
        &self,
        came: &Request,
        request: &Request,
        seen: &Seen,
        record: &Record<'_>,
        hostname: &str,
        decision: &mut Decision,
    ) {
        let Some(route) = self.chosen_route(record) else {
            return;
        };
        let Some(Action::Route(action)) = &route.action else {
            return;
        };
        let path = self.path(action, route, seen);
        if came.path != path {
            decision.path = Some(path);
        }
        let entry = record.word(work::ENTRY).checked_sub(1);
        let of_route = self.host(action, request, seen, record, hostname);
        let host = of_route.filter(|host| !host.is_empty());
        let weighted = || of_weighted_cluster(action, entry?).map(str::to_owned);
        let host = host.or_else(weighted);
        let host = host.unwrap_or_else(|| seen.authority.clone());
        if came.authority.as_deref() != Some(&host) {
            decision.authority = Some(host);
        }
    }

    /// The path and query after `prefix_rewrite`, `path_rewrite_policy` or `regex_rewrite`.
    fn path(&self, action: &RouteAction, route: &Route, seen: &Seen) -> String {
        if !action.prefix_rewrite.is_empty() {
            let rest = seen.path.get(prefix_length(route, seen)..);
            return action.prefix_rewrite.clone() + rest.unwrap_or_default();
        }
        if let Some(rule) = template(route) {
            return substituted(&self.substitutions, &rule, seen);
        }
        match &action.regex_rewrite {
            Some(rule) => substituted(&self.substitutions, rule, seen),
            None => seen.path.clone(),
        }
    }

    /// The host that the route asks for.
    fn host(
        &self,
        action: &RouteAction,
        request: &Request,
        seen: &Seen,
        record: &Record<'_>,
        hostname: &str,
    ) -> Option<String> {
        match action.host_rewrite_specifier.as_ref()? {
            HostRewriteSpecifier::HostRewriteLiteral(host) => Some(host.clone()),
            HostRewriteSpecifier::AutoHostRewrite(auto) => auto.value.then(|| hostname.to_owned()),
            HostRewriteSpecifier::HostRewriteHeader(name) => {
                self.header(request, seen, record, &name.to_ascii_lowercase())
            }
            HostRewriteSpecifier::HostRewritePathRegex(rule) => {
                Some(self.substitutions.apply(rule, without_query(&seen.path)))
            }
            HostRewriteSpecifier::HostRewrite(_) => None,
        }
    }

    /// The first value of a header, as the router sees it.
    fn header(
        &self,
        request: &Request,
        seen: &Seen,
        record: &Record<'_>,
        name: &str,
    ) -> Option<String> {
        match name {
            "host" | ":authority" => return Some(seen.authority.clone()),
            ":path" => return Some(seen.path.clone()),
            ":method" => return Some(request.method.trim_matches([' ', '\t']).to_owned()),
            _ => {}
        }
        let chain = record.word(work::CHOSEN_FILTER_CHAIN);
        let flags = match chain {
            0 => 0,
            _ => high(self.policy_word(chain + filter_chain::KIND)),
        };
        if name.contains('_') && flags & filter_chain::DROP_UNDERSCORES != 0 {
            return None;
        }
        let lines = request.headers.iter().filter_map(|(given, value)| {
            // On the wire a name ends at its first colon.
            let (given, more) = match given.split_once(':') {
                Some((given, more)) => (given, format!("{more}: {value}")),
                None => (given.as_str(), value.clone()),
            };
            let value = more.trim_matches([' ', '\t']).to_owned();
            given.eq_ignore_ascii_case(name).then_some(value)
        });
        let values: Vec<String> = lines.collect();
        if values.len() > 1 && names::is_joined(name) {
            let filled: Vec<String> = values.into_iter().filter(|it| !it.is_empty()).collect();
            return Some(filled.join(","));
        }
        values.into_iter().next()
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
