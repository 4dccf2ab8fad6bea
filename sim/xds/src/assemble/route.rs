//! Route configurations: what is not decided in them, and their regexes.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration as RouteConfigurationConfig, route::Action,
    route_action::ClusterSpecifier,
};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy;

use super::{Assembly, decode, rewrite};
use crate::{
    error::ReadError,
    header_mutation,
    http_filter::{is_decided_per_route, per_filters},
    matcher_tree::{self, Found},
    path::{Path, Segment},
    regexes::patterns,
    snapshot::{RouteConfiguration, Snapshot, Terminal, Unsupported, VirtualHost},
    validate,
    view::View,
    walk::{Scope, Walker},
};

impl Assembly<'_> {
    /// Reads a route configuration that is a resource of its own.
    pub(super) fn route_configuration(
        &mut self,
        view: &View<'_>,
    ) -> Result<RouteConfiguration, ReadError> {
        let resource = format!("route configuration {:?}", view.text("name"));
        let mut walker = Walker::new(self.source, &mut self.report, resource.clone(), true);
        walker.context.subsets = self.subsets;
        walker.context.dumped = self.dumped;
        walker.context.rate_limits = self.rate_limits;
        walker.context.proxied = self.proxied;
        let mut scope = walker.resource(view)?;
        let mut config = decode(view, self.source)?;
        matcher_tree::list_routes(&mut config, view, self.source)?;
        self.compile_per_filters(&config, view, &mut scope, (&resource, view.path.len()))?;
        self.finish_routes(config, scope, &resource, view, view.path.len())
    }

    /// Validates a route configuration and puts it together with what the walk over it found.
    /// `root` is the length of the path to the resource that it stands in.
    pub(super) fn finish_routes(
        &mut self,
        config: RouteConfigurationConfig,
        mut scope: Scope,
        resource: &str,
        view: &View<'_>,
        root: usize,
    ) -> Result<RouteConfiguration, ReadError> {
        let mut places = Vec::with_capacity(config.virtual_hosts.len());
        let mut too_large = Vec::with_capacity(config.virtual_hosts.len());
        for host in view.children("virtual_hosts") {
            let routes = matcher_tree::routes(&host).into_iter();
            places.push(routes.map(|route| route.path).collect::<Vec<_>>());
            too_large.push(match host.child("matcher") {
                Some(matcher) => self.matcher_tree(&matcher, resource, root)?,
                None => None,
            });
        }
        validate::route::check(&config, &view.path, &places, self.source)?;
        let mut virtual_hosts = Vec::with_capacity(config.virtual_hosts.len());
        let mut hosts = scope.parts_of("virtual_hosts").into_iter();
        let found_of_hosts = config.virtual_hosts.iter().zip(places).zip(too_large);
        for ((host, places), too_large) in found_of_hosts {
            let mut found = hosts.next().unwrap_or_default();
            // In a tree they were walked over in another order.
            let mut routes: HashMap<String, Option<Unsupported>> = found
                .parts_of("routes")
                .into_iter()
                .map(|route| (route.path, route.unsupported))
                .collect();
            let mut verdicts = Vec::with_capacity(host.routes.len());
            for (route, place) in host.routes.iter().zip(&places) {
                let verdict = routes.remove(&place.from(root)).flatten();
                let mut path = place.clone();
                let too_large = self.compile(route, resource, &mut path, root)?;
                let rewritten = match rewrite::undecided(route, host, &config) {
                    Some((field, reason)) if verdict.is_none() => {
                        let field = format!("{}.{field}", path.from(root));
                        Some(self.unsupported(resource, field, reason))
                    }
                    _ => None,
                };
                verdicts.push(verdict.or(too_large).or(rewritten));
            }
            let in_tree = host.matcher.is_some();
            let below = |place: &Path| place.from(view.path.len());
            virtual_hosts.push(VirtualHost {
                unsupported: found.unsupported.or(too_large),
                routes: verdicts,
                places: places.iter().filter(|_| in_tree).map(below).collect(),
            });
        }
        Ok(RouteConfiguration {
            name: config.name.clone(),
            per_filters: per_filters(&config),
            header_mutations: header_mutation::per_levels(&config),
            config,
            unsupported: scope.unsupported,
            virtual_hosts,
        })
    }

    /// Compiles the regexes of what a route configuration says to filters; one over the cap makes
    /// the whole undecided.
    pub(super) fn compile_per_filters(
        &mut self,
        config: &RouteConfigurationConfig,
        view: &View<'_>,
        scope: &mut Scope,
        (resource, root): (&str, usize),
    ) -> Result<(), ReadError> {
        if per_filters(config).is_empty() {
            return Ok(());
        }
        let mut levels = vec![view.clone()];
        for host in view.children("virtual_hosts") {
            for route in matcher_tree::routes(&host) {
                let weighted = route
                    .child("route")
                    .and_then(|action| action.child("weighted_clusters"));
                levels.extend(weighted.iter().flat_map(|it| it.children("clusters")));
                levels.push(route);
            }
            levels.push(host);
        }
        for level in levels {
            for entry in level.children("typed_per_filter_config") {
                let content = decided_content(&entry);
                if let Some(content) = &content
                    && content.message.name.ends_with(".LocalRateLimit")
                    && !content.has("token_bucket")
                {
                    let problem = "a route's local rate limit needs a token_bucket";
                    return Err(self.source.invalid(&entry.path, problem));
                }
                if let Some(content) = content
                    && let Some((path, reason)) = self.compile_within(&content)?
                    && scope.unsupported.is_none()
                {
                    let found = self.unsupported(resource, path.from(root), reason);
                    scope.unsupported = Some(found);
                }
            }
        }
        Ok(())
    }

    /// Checks a matcher tree, beside its routes, and compiles its regexes; one over the cap makes the
    /// virtual host undecided.
    fn matcher_tree(
        &mut self,
        matcher: &View<'_>,
        resource: &str,
        root: usize,
    ) -> Result<Option<Unsupported>, ReadError> {
        let found = Found::of(matcher);
        validate::matcher_tree::check(&found, self.source)?;
        let mut unsupported = None;
        for (path, regex) in found.regexes {
            let too_large = self
                .regexes
                .compile(regex)
                .map_err(|error| self.source.invalid(&path, error.to_string()))?;
            if let Some(too_large) = too_large {
                let found = self.unsupported(resource, path.from(root), too_large.to_string());
                unsupported.get_or_insert(found);
            }
        }
        Ok(unsupported)
    }

    /// Compiles the regexes of a route; one over the cap makes the route undecided.
    fn compile(
        &mut self,
        route: &Route,
        resource: &str,
        path: &mut Path,
        root: usize,
    ) -> Result<Option<Unsupported>, ReadError> {
        let Some(matched) = &route.r#match else {
            return Ok(None);
        };
        let mut unsupported = None;
        path.push(Segment::Field("match"));
        let before = path.len();
        for pattern in patterns(matched) {
            pattern.extend(path);
            let too_large = self
                .regexes
                .compile(&pattern.regex)
                .map_err(|error| self.source.invalid(path, error.to_string()))?;
            if let Some(too_large) = too_large {
                let found = self.unsupported(resource, path.from(root), too_large.to_string());
                unsupported.get_or_insert(found);
            }
            path.truncate(before);
        }
        path.pop();
        Ok(unsupported)
    }
}

/// What an entry of `typed_per_filter_config` says to a filter that is decided.
fn decided_content<'a>(entry: &View<'a>) -> Option<View<'a>> {
    let mut content = entry.any("value")?.content()?;
    if let Some(inner) = content.any("config") {
        content = inner.content()?;
    }
    is_decided_per_route(&content.message.name).then_some(content)
}

/// The names of all clusters that routes and TCP proxies send to.
pub(super) fn referred_clusters(snapshot: &Snapshot) -> Vec<&str> {
    let mut names = Vec::new();
    for configuration in &snapshot.route_configurations {
        for host in &configuration.config.virtual_hosts {
            for route in &host.routes {
                if let Some(Action::Route(action)) = &route.action {
                    names.extend(clusters_of(action));
                }
            }
        }
    }
    for chain in snapshot.all_filter_chains() {
        let Terminal::Tcp(proxy) = &chain.terminal else {
            continue;
        };
        match &proxy.cluster_specifier {
            Some(tcp_proxy::ClusterSpecifier::Cluster(name)) => names.push(name.as_str()),
            Some(tcp_proxy::ClusterSpecifier::WeightedClusters(weighted)) => {
                names.extend(weighted.clusters.iter().map(|entry| entry.name.as_str()));
            }
            None => {}
        }
    }
    names
}

/// Routes whose cluster a header names are undecided where the form does not say which clusters
/// there are.
pub(super) fn leave_named_clusters(snapshot: &mut Snapshot, reason: &str) {
    for configuration in &mut snapshot.route_configurations {
        let marks = configuration.virtual_hosts.iter_mut();
        for (host, marks) in configuration.config.virtual_hosts.iter().zip(marks) {
            for (route, mark) in host.routes.iter().zip(&mut marks.routes) {
                let Some(Action::Route(action)) = &route.action else {
                    continue;
                };
                let by_header = match &action.cluster_specifier {
                    Some(ClusterSpecifier::ClusterHeader(_)) => true,
                    Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                        weighted.clusters.iter().any(|entry| entry.name.is_empty())
                    }
                    _ => false,
                };
                if by_header {
                    mark.get_or_insert_with(|| Unsupported {
                        path: String::new(),
                        reason: reason.to_owned(),
                    });
                }
            }
        }
    }
}

/// The names of the clusters that a route may send to.
pub(crate) fn clusters_of(action: &RouteAction) -> Vec<&str> {
    match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![name.as_str()],
        Some(ClusterSpecifier::WeightedClusters(weighted)) => weighted
            .clusters
            .iter()
            .map(|entry| entry.name.as_str())
            .filter(|name| !name.is_empty())
            .collect(),
        _ => Vec::new(),
    }
}
