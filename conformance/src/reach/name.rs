//! What goals are called: the resource, the field's path in it, and what is or is not reached.

use envoy_types::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use envoy_types::pb::envoy::config::route::v3::{Route, route::Action};
use serde::Serialize;
use twinmesh_engine::endpoint;
use twinmesh_xds::Snapshot;

use super::goal::{Filter, PolicyOf};
use super::policy::{filter_path, judging, level_path};
use super::{Goal, Part, RouteAt};
use crate::words;

/// A goal's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Name {
    /// The xDS resource: its kind and its name.
    pub resource: String,
    /// The field's path in the resource; empty where the resource as a whole is meant.
    pub path: String,
    /// What the field is, or which side of it is meant.
    pub what: String,
}

impl std::fmt::Display for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.resource)?;
        for part in [&self.path, &self.what] {
            if !part.is_empty() {
                write!(formatter, " {part}")?;
            }
        }
        Ok(())
    }
}

/// The goal's name.
pub fn name(snapshot: &Snapshot, goal: &Goal) -> Name {
    let (resource, path, what) = match *goal {
        Goal::Listener(listener) => (
            of_listener(snapshot, listener),
            String::new(),
            String::new(),
        ),
        Goal::FilterChain { listener, chain } => {
            let (path, what) = filter_chain(snapshot, listener, chain);
            (of_listener(snapshot, listener), path, what)
        }
        Goal::Criterion {
            listener,
            chain,
            criterion,
        } => {
            let (path, what) = filter_chain(snapshot, listener, Some(chain));
            let path = format!("{path}.filter_chain_match.{criterion}");
            let what = format!("refuses {what}").trim_end().to_owned();
            (of_listener(snapshot, listener), path, what)
        }
        Goal::Domain {
            configuration,
            virtual_host,
            domain,
        } => {
            let host = virtual_host_at(snapshot, configuration, virtual_host);
            let text = host.and_then(|host| host.domains.get(domain));
            let path = format!("virtual_hosts[{virtual_host}].domains[{domain}]");
            let what = format!("{:?}", text.map_or("", String::as_str));
            (of_configuration(snapshot, configuration), path, what)
        }
        Goal::Policy {
            of,
            policy,
            matches,
        } => policy_side(snapshot, of, policy, matches),
        Goal::Answer(at) => {
            let (path, what) = filter_path(snapshot, at, true);
            let what = format!("answers ({what})");
            (of_listener(snapshot, at.listener), path, what)
        }
        Goal::Route(at) => (
            of_configuration(snapshot, at.configuration),
            route_path(snapshot, at),
            route_name(snapshot, at),
        ),
        Goal::Accepts(at, part) => of_part(snapshot, at, part, "accepts"),
        Goal::Refuses(at, part) => of_part(snapshot, at, part, "refuses"),
        Goal::Weight(at, entry) => {
            let path = format!(
                "{}.route.weighted_clusters.clusters[{entry}]",
                route_path(snapshot, at)
            );
            let what = weight(snapshot, at, entry);
            (of_configuration(snapshot, at.configuration), path, what)
        }
        Goal::Cluster(cluster) => (of_cluster(snapshot, cluster), String::new(), String::new()),
        Goal::Endpoint {
            cluster,
            locality,
            endpoint: index,
        } => {
            let found = snapshot.clusters.get(cluster);
            let assignment = found.and_then(|cluster| cluster.load_assignment.as_ref());
            let place = assignment.and_then(|it| it.endpoints.get(locality));
            let place = place.and_then(|it| it.lb_endpoints.get(index));
            let path = format!("endpoints[{locality}].lb_endpoints[{index}]");
            let what = place.and_then(endpoint::address).unwrap_or_default();
            (of_cluster(snapshot, cluster), path, what)
        }
    };
    Name {
        resource,
        path,
        what,
    }
}

fn of_listener(snapshot: &Snapshot, index: usize) -> String {
    let found = snapshot.listeners.get(index);
    resource("listener", index, found.map(|it| it.name.as_str()))
}

fn of_configuration(snapshot: &Snapshot, index: usize) -> String {
    let found = snapshot.route_configurations.get(index);
    resource("route_config", index, found.map(|it| it.name.as_str()))
}

fn of_cluster(snapshot: &Snapshot, index: usize) -> String {
    let found = snapshot.clusters.get(index);
    resource("cluster", index, found.map(|it| it.name.as_str()))
}

fn resource(kind: &str, index: usize, name: Option<&str>) -> String {
    match name {
        Some(name) if !name.is_empty() => format!("{kind} {name}"),
        _ => format!("{kind} #{index}"),
    }
}

fn filter_chain(snapshot: &Snapshot, listener: usize, chain: Option<usize>) -> (String, String) {
    let found = snapshot.listeners.get(listener);
    let (path, chain) = match chain {
        Some(index) => (
            format!("filter_chains[{index}]"),
            found.and_then(|it| it.filter_chains.get(index)),
        ),
        None => (
            "default_filter_chain".to_owned(),
            found.and_then(|it| it.default_filter_chain.as_ref()),
        ),
    };
    let name = chain.map_or("", |it| it.config.name.as_str());
    (path, quoted(name))
}

pub(super) fn quoted(name: &str) -> String {
    if name.is_empty() {
        String::new()
    } else {
        format!("{name:?}")
    }
}

fn virtual_host_at(
    snapshot: &Snapshot,
    configuration: usize,
    virtual_host: usize,
) -> Option<&envoy_types::pb::envoy::config::route::v3::VirtualHost> {
    let found = snapshot.route_configurations.get(configuration)?;
    found.config.virtual_hosts.get(virtual_host)
}

/// The route.
pub(crate) fn route(snapshot: &Snapshot, at: RouteAt) -> Option<&Route> {
    let host = virtual_host_at(snapshot, at.configuration, at.virtual_host)?;
    host.routes.get(at.route)
}

fn route_path(snapshot: &Snapshot, at: RouteAt) -> String {
    let found = snapshot.route_configurations.get(at.configuration);
    found.map_or_else(String::new, |it| it.route_path(at.virtual_host, at.route))
}

/// The names of the virtual host and of the route, which paths don't tell.
fn route_name(snapshot: &Snapshot, at: RouteAt) -> String {
    let host = virtual_host_at(snapshot, at.configuration, at.virtual_host);
    let host = host.map_or("", |host| host.name.as_str());
    let name = route(snapshot, at).map_or("", |route| route.name.as_str());
    if name.is_empty() {
        format!("of {host:?}")
    } else {
        format!("{name:?} of {host:?}")
    }
}

fn of_part(snapshot: &Snapshot, at: RouteAt, part: Part, side: &str) -> (String, String, String) {
    let found = route(snapshot, at).and_then(|route| route.r#match.as_ref());
    let (field, text) = match found {
        Some(found) => words::matcher(found, part),
        None => (String::new(), String::new()),
    };
    (
        of_configuration(snapshot, at.configuration),
        format!("{}.match.{field}", route_path(snapshot, at)),
        format!("{side} ({text})"),
    )
}

fn policy_side(
    snapshot: &Snapshot,
    of: PolicyOf,
    policy: usize,
    matches: bool,
) -> (String, String, String) {
    let found = judging(snapshot, of).and_then(|it| it.policies().into_iter().nth(policy));
    let (resource, (base, filter)) = match of {
        PolicyOf::Http(at) => {
            let (path, filter) = filter_path(snapshot, at, true);
            let path = format!("{path}.typed_config");
            (of_listener(snapshot, at.listener), (path, filter))
        }
        PolicyOf::Network(at) => {
            let (path, filter) = filter_path(snapshot, at, false);
            let path = format!("{path}.typed_config");
            (of_listener(snapshot, at.listener), (path, filter))
        }
        PolicyOf::Level {
            configuration,
            level,
            name,
        } => (
            of_configuration(snapshot, configuration),
            level_path(snapshot, configuration, level, name),
        ),
    };
    let (below, what) = match found {
        Some(found) if found.policy.is_some() => {
            let side = if matches { "matches" } else { "does not match" };
            (found.path, format!("{side} (policy of {filter})"))
        }
        Some(found) => {
            let side = if matches {
                "is led to"
            } else {
                "is not led to"
            };
            (found.path, format!("{side} ({:?} of {filter})", found.name))
        }
        None => Default::default(),
    };
    (resource, format!("{base}.{below}"), what)
}

/// An HTTP filter in a report: its listener, its path and its name.
pub(crate) fn http_filter(snapshot: &Snapshot, at: Filter) -> String {
    let (path, name) = filter_path(snapshot, at, true);
    format!("{name} ({} {path})", of_listener(snapshot, at.listener))
}

fn weight(snapshot: &Snapshot, at: RouteAt, entry: usize) -> String {
    let action = route(snapshot, at).and_then(|route| route.action.as_ref());
    let Some(Action::Route(action)) = action else {
        return String::new();
    };
    let Some(ClusterSpecifier::WeightedClusters(weighted)) = &action.cluster_specifier else {
        return String::new();
    };
    let Some(cluster) = weighted.clusters.get(entry) else {
        return String::new();
    };
    let weight = cluster.weight.as_ref().map_or(0, |weight| weight.value);
    let name = if cluster.name.is_empty() {
        format!("by header {}", cluster.cluster_header)
    } else {
        format!("{:?}", cluster.name)
    };
    format!("{name}, weight {weight}")
}
