//! The headers that mutations of a route name: which they are, and what of them a live Envoy can
//! show.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::config::core::v3::HeaderValueOption;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteConfiguration, VirtualHost, route::Action, route_action::ClusterSpecifier,
    weighted_cluster::ClusterWeight,
};
use twinmesh_engine::{HeaderValues, Request};
use twinmesh_xds::Snapshot;

/// What formats ask for that is another thing here: endpoints have stand-ins, and connections come
/// from the client of this engine, with the addresses that the request says.
fn elsewhere(request: Option<&Request>) -> Vec<&'static str> {
    let mut parts = vec!["%UPSTREAM_HOST", "%UPSTREAM_REMOTE_", "%DOWNSTREAM_DIRECT_"];
    if request.is_none_or(|request| request.source.is_none()) {
        parts.push("%DOWNSTREAM_REMOTE_");
    }
    if request.is_none_or(|request| request.destination.is_none()) {
        parts.push("%DOWNSTREAM_LOCAL_");
    }
    parts
}

/// Headers by name in lower case, and whether their values can be told.
pub type Named = BTreeMap<String, bool>;

/// Whose headers are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The request's.
    Request,
    /// The response's.
    Response,
}

/// The levels that a request came through.
#[derive(Debug, Clone, Copy)]
pub struct Levels<'a> {
    /// The route configuration.
    pub table: &'a RouteConfiguration,
    /// The virtual host.
    pub host: &'a VirtualHost,
    /// The route.
    pub route: &'a Route,
}

impl Levels<'_> {
    /// The headers that mutations of a request name; `cluster` tells the entries of weighted
    /// clusters.
    pub fn named(&self, of: Of, request: Option<&Request>, cluster: Option<&str>) -> Named {
        let mut named = Named::new();
        let elsewhere = elsewhere(request);
        macro_rules! add {
            ($message:expr) => {
                match of {
                    Of::Request => note(
                        &mut named,
                        &$message.request_headers_to_add,
                        &$message.request_headers_to_remove,
                        &elsewhere,
                    ),
                    Of::Response => note(
                        &mut named,
                        &$message.response_headers_to_add,
                        &$message.response_headers_to_remove,
                        &elsewhere,
                    ),
                }
            };
        }
        add!(self.route);
        add!(self.host);
        add!(self.table);
        let chosen = entries(self.route)
            .iter()
            .filter(|entry| Some(entry.name.as_str()) == cluster);
        let is_one = chosen.clone().count() < 2;
        let sure = named.clone();
        for entry in chosen {
            add!(entry);
        }
        if !is_one {
            // Which of them was taken nobody says.
            for (name, is_told) in &mut named {
                *is_told &= sure.contains_key(name);
            }
        }
        named
    }

    /// Whether the route sends requests on.
    pub fn forwards(&self) -> bool {
        matches!(self.route.action, Some(Action::Route(_)))
    }
}

fn entries(route: &Route) -> &[ClusterWeight] {
    match &route.action {
        Some(Action::Route(action)) => match &action.cluster_specifier {
            Some(ClusterSpecifier::WeightedClusters(weighted)) => &weighted.clusters,
            _ => &[],
        },
        _ => &[],
    }
}

fn note(named: &mut Named, add: &[HeaderValueOption], remove: &[String], elsewhere: &[&str]) {
    for name in remove {
        named.entry(name.to_ascii_lowercase()).or_insert(true);
    }
    for header in add.iter().filter_map(|option| option.header.as_ref()) {
        let is_told = !elsewhere.iter().any(|part| header.value.contains(part));
        let entry = named.entry(header.key.to_ascii_lowercase()).or_insert(true);
        *entry &= is_told;
    }
}

/// The request headers that some mutation of a snapshot names: what endpoints are to tell of.
pub fn of_requests(snapshot: &Snapshot) -> BTreeSet<String> {
    let mut named = Named::new();
    for table in snapshot.route_configurations.iter().map(|it| &it.config) {
        for host in &table.virtual_hosts {
            for route in &host.routes {
                let levels = Levels { table, host, route };
                named.extend(levels.named(Of::Request, None, None));
                for entry in entries(route) {
                    named.extend(levels.named(Of::Request, None, Some(&entry.name)));
                }
            }
        }
    }
    named.into_keys().collect()
}

/// The values of these headers among lines; nothing where there are none to tell of.
pub fn values<'l>(
    named: &Named,
    lines: impl Iterator<Item = (&'l str, &'l [u8])> + Clone,
) -> Option<HeaderValues> {
    let values = named.iter().map(|(name, is_told)| {
        let own = lines
            .clone()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let own = own.map(|(_, value)| String::from_utf8_lossy(value.trim_ascii()).into_owned());
        (name.clone(), is_told.then(|| own.collect()))
    });
    (!named.is_empty()).then(|| values.collect())
}
