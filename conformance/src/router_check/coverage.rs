//! Which routes the tests reach, counted as the tool counts them.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteConfiguration, VirtualHost, route::Action, route_action::ClusterSpecifier,
    route_match::PathSpecifier,
};
use twinmesh_spec::route_table::Taker;

/// A field of a route that a test may check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// `cluster_name`.
    Cluster,
    /// `virtual_cluster_name`.
    VirtualCluster,
    /// `virtual_host_name`.
    VirtualHost,
    /// `path_rewrite`.
    PathRewrite,
    /// `host_rewrite`.
    HostRewrite,
    /// `path_redirect`.
    PathRedirect,
    /// `code_redirect`.
    CodeRedirect,
}

/// The fields of a route that forwards.
const OF_FORWARD: [Field; 5] = [
    Field::Cluster,
    Field::VirtualCluster,
    Field::VirtualHost,
    Field::PathRewrite,
    Field::HostRewrite,
];

/// The fields of a redirect or a direct response.
const OF_ANSWER: [Field; 2] = [Field::PathRedirect, Field::CodeRedirect];

impl Field {
    /// As test files call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cluster => "cluster_name",
            Self::VirtualCluster => "virtual_cluster_name",
            Self::VirtualHost => "virtual_host_name",
            Self::PathRewrite => "path_rewrite",
            Self::HostRewrite => "host_rewrite",
            Self::PathRedirect => "path_redirect",
            Self::CodeRedirect => "code_redirect",
        }
    }
}

/// What the tests checked and found as expected.
#[derive(Debug)]
pub struct Coverage<'a> {
    config: &'a RouteConfiguration,
    checked: BTreeMap<Taker, BTreeSet<Field>>,
}

impl<'a> Coverage<'a> {
    /// Nothing yet.
    pub fn new(config: &'a RouteConfiguration) -> Self {
        Self {
            config,
            checked: BTreeMap::new(),
        }
    }

    /// A test checked these fields of what took its request.
    pub fn add(&mut self, taker: Taker, fields: &[Field]) {
        let counted: &[Field] = match taker {
            Taker::Forward { .. } => &OF_FORWARD,
            Taker::Answer { .. } => &OF_ANSWER,
            // No route: the tool would count the redirect to TLS as one more than there are.
            Taker::Tls { .. } | Taker::Nothing => return,
        };
        let fields: BTreeSet<Field> = fields
            .iter()
            .copied()
            .filter(|field| counted.contains(field))
            .collect();
        if !fields.is_empty() {
            self.checked.entry(taker).or_default().extend(fields);
        }
    }

    /// In percent: the routes, and each weighted cluster as a route, of which a field was checked;
    /// with `all_fields`, the share of its fields. 100 where there are no routes.
    pub fn percent(&self, all_fields: bool) -> f64 {
        let routes: usize = self.routes().map(|(_, _, _, route)| entries(route)).sum();
        if routes == 0 {
            return 100.0;
        }
        let covered: f64 = self
            .checked
            .iter()
            .map(|(taker, fields)| match taker {
                _ if !all_fields => 1.0,
                Taker::Answer { .. } => share(fields.len(), OF_ANSWER.len()),
                _ => share(fields.len(), OF_FORWARD.len()),
            })
            .sum();
        100.0 * covered / float(routes)
    }

    /// What no test checked, a line each: routes and weighted clusters, and with `all_fields` the
    /// fields of others.
    pub fn missing(&self, all_fields: bool) -> Vec<String> {
        let mut lines = Vec::new();
        for (virtual_host, index, host, route) in self.routes() {
            let name = name_of(route, index);
            let what = describe(route);
            let of_route = |taker: &Taker| match taker {
                Taker::Forward {
                    virtual_host: at,
                    route,
                    ..
                }
                | Taker::Answer {
                    virtual_host: at,
                    route,
                } => (*at, *route) == (virtual_host, index),
                Taker::Tls { .. } | Taker::Nothing => false,
            };
            let covered: Vec<_> = self
                .checked
                .iter()
                .filter(|(taker, _)| of_route(taker))
                .collect();
            if covered.is_empty() {
                lines.push(if all_fields {
                    format!("Missing test for host: {}, route: {what}", host.name)
                } else {
                    format!(
                        "Missing test for host: {}, route name: {name}, route: {what}",
                        host.name
                    )
                });
                continue;
            }
            for (entry, cluster) in weighted(route).into_iter().enumerate() {
                let is_covered = covered.iter().any(|(taker, _)| {
                    matches!(taker, Taker::Forward { entry: Some(at), .. } if *at == entry)
                });
                if !is_covered {
                    lines.push(format!(
                        "Missing test for host: {}, route name: {name}, weighted cluster: {cluster}",
                        host.name
                    ));
                }
            }
            if !all_fields {
                continue;
            }
            for (taker, fields) in covered {
                let all: &[Field] = match taker {
                    Taker::Answer { .. } => &OF_ANSWER,
                    _ => &OF_FORWARD,
                };
                let left: Vec<&str> = all
                    .iter()
                    .filter(|field| !fields.contains(field))
                    .map(|field| field.name())
                    .collect();
                if !left.is_empty() {
                    lines.push(format!(
                        "Not checked for host: {}, route name: {name}: {}",
                        host.name,
                        left.join(", ")
                    ));
                }
            }
        }
        lines
    }

    fn routes(&self) -> impl Iterator<Item = (usize, usize, &'a VirtualHost, &'a Route)> + use<'a> {
        let hosts = self.config.virtual_hosts.iter().enumerate();
        hosts.flat_map(|(virtual_host, host)| {
            let routes = host.routes.iter().enumerate();
            routes.map(move |(index, route)| (virtual_host, index, host, route))
        })
    }
}

/// How often a route counts.
fn entries(route: &Route) -> usize {
    weighted(route).len().max(1)
}

/// The weighted clusters of a route.
fn weighted(route: &Route) -> Vec<&str> {
    match &route.action {
        Some(Action::Route(action)) => match &action.cluster_specifier {
            Some(ClusterSpecifier::WeightedClusters(weighted)) => weighted
                .clusters
                .iter()
                .map(|cluster| cluster.name.as_str())
                .collect(),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// The route's name, or `#i` where it has none.
fn name_of(route: &Route, index: usize) -> String {
    if route.name.is_empty() {
        format!("#{index}")
    } else {
        route.name.clone()
    }
}

/// The route's path matcher, and how many others it has.
fn describe(route: &Route) -> String {
    let Some(route_match) = &route.r#match else {
        return "matches everything".to_owned();
    };
    let mut text = match &route_match.path_specifier {
        Some(PathSpecifier::Prefix(text)) => format!("prefix: {text:?}"),
        Some(PathSpecifier::Path(text)) => format!("path: {text:?}"),
        Some(PathSpecifier::PathSeparatedPrefix(text)) => {
            format!("path_separated_prefix: {text:?}")
        }
        Some(PathSpecifier::SafeRegex(regex)) => format!("safe_regex: {:?}", regex.regex),
        Some(PathSpecifier::ConnectMatcher(_)) => "connect_matcher".to_owned(),
        Some(PathSpecifier::PathMatchPolicy(_)) => "path_match_policy".to_owned(),
        None => "no path matcher".to_owned(),
    };
    for matcher in &route_match.headers {
        text.push_str(&format!(", header {}", matcher.name));
    }
    for matcher in &route_match.query_parameters {
        text.push_str(&format!(", query parameter {}", matcher.name));
    }
    if let Some(fraction) = &route_match.runtime_fraction {
        text.push_str(&format!(", runtime key {}", fraction.runtime_key));
    }
    text
}

fn share(part: usize, whole: usize) -> f64 {
    float(part) / float(whole)
}

#[expect(clippy::cast_precision_loss, reason = "counts of routes")]
fn float(count: usize) -> f64 {
    count as f64
}
