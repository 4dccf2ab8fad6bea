//! From a snapshot back to a text: a `/config_dump` that reads as the same snapshot.

mod json;

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{
                Cluster as ClusterConfig,
                cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig},
            },
            core::v3::{
                AggregatedConfigSource, ConfigSource, config_source::ConfigSourceSpecifier,
            },
            endpoint::v3::ClusterLoadAssignment,
            listener::v3::{
                FilterChain as FilterChainConfig, Listener as ListenerConfig, filter::ConfigType,
            },
            route::v3::RouteConfiguration as RouteConfigurationConfig,
        },
        extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier,
    },
    google::protobuf::Any,
};
use prost::Message as _;

use crate::{
    classify::{MANAGER, TCP_PROXY},
    form::{CLUSTER, LISTENER, LOAD_ASSIGNMENT, ROUTE_CONFIGURATION},
    snapshot::{
        Cluster, FilterChain, Listener, RouteConfiguration, Snapshot, Terminal, Unsupported,
    },
};
use json::Writer;

/// The snapshot as JSON in the shape of Envoy's `/config_dump`; [`read_bytes`](crate::read_bytes)
/// makes the same snapshot of it.
///
/// What counts is what stands outermost: `Snapshot::route_configurations`, also for those that a
/// connection manager holds inline, [`FilterChain::config`] and [`FilterChain::terminal`],
/// [`Cluster::load_assignment`]. So parts may be taken out there beforehand, from `config` and
/// from the lists beside it alike. Findings about what was read over, and the content of unknown
/// fields, are not kept; that an unknown field makes something undecided is.
pub fn to_json(snapshot: &Snapshot) -> String {
    let mut writer = Writer::default();
    let inline = snapshot.inline_route_configurations();
    let routes: Vec<&RouteConfiguration> = snapshot
        .route_configurations
        .iter()
        .enumerate()
        .filter(|(index, _)| !inline.contains(index))
        .map(|(_, configuration)| configuration)
        .collect();
    // Without the section, reading adds the clusters that routes name again.
    let all_absent = snapshot.clusters.iter().all(is_absent) && !snapshot.clusters.is_empty();
    let clusters: &[Cluster] = if all_absent { &[] } else { &snapshot.clusters };
    writer.object(|writer| {
        writer.key("configs");
        let sections = ["Listeners", "Routes", "Clusters", "Endpoints", "Bootstrap"];
        let says_more = snapshot.node_locality.is_some() || snapshot.local_cluster.is_some();
        let sections = sections.into_iter().filter(|section| match *section {
            "Clusters" => !all_absent,
            "Bootstrap" => says_more,
            _ => true,
        });
        writer.array(sections, |writer, section| {
            writer.object(|writer| {
                writer.key("@type");
                let name = format!("type.googleapis.com/envoy.admin.v3.{section}ConfigDump");
                writer.string(&name);
                match section {
                    "Listeners" => listeners(writer, snapshot),
                    "Routes" => route_configurations(writer, &routes),
                    "Clusters" => {
                        writer.key("static_clusters");
                        writer.array(clusters, |writer, cluster| {
                            let config = cluster_config(cluster);
                            let unknown = unknown_at(cluster.unsupported.as_ref(), "", "");
                            wrapped(writer, "cluster", CLUSTER, &config.encode_to_vec(), unknown);
                        });
                    }
                    "Bootstrap" => {
                        writer.key("bootstrap");
                        bootstrap(writer, snapshot);
                    }
                    _ => endpoints(writer, clusters),
                }
            });
        });
    });
    writer.finish()
}

/// What a bootstrap says besides its resources.
fn bootstrap(writer: &mut Writer, snapshot: &Snapshot) {
    writer.object(|writer| {
        if let Some(locality) = &snapshot.node_locality {
            writer.key("node");
            writer.object(|writer| {
                writer.key("locality");
                writer.object(|writer| {
                    for (field, text) in [
                        ("region", &locality.region),
                        ("zone", &locality.zone),
                        ("sub_zone", &locality.sub_zone),
                    ] {
                        writer.key(field);
                        writer.string(text);
                    }
                });
            });
        }
        if let Some(name) = &snapshot.local_cluster {
            writer.key("cluster_manager");
            writer.object(|writer| {
                writer.key("local_cluster_name");
                writer.string(name);
            });
        }
    });
}

/// An element of a section: an object with the resource in an Any.
fn wrapped(
    writer: &mut Writer,
    field: &str,
    name: &str,
    bytes: &[u8],
    unknown: Vec<(String, String)>,
) {
    writer.object(|writer| {
        writer.key(field);
        writer.resource(name, bytes, unknown);
    });
}

fn listeners(writer: &mut Writer, snapshot: &Snapshot) {
    writer.key("static_listeners");
    writer.array(&snapshot.listeners, |writer, listener| {
        let config = ListenerConfig {
            filter_chains: listener
                .filter_chains
                .iter()
                .map(|chain| filter_chain(chain, snapshot))
                .collect(),
            default_filter_chain: listener
                .default_filter_chain
                .as_ref()
                .map(|chain| filter_chain(chain, snapshot)),
            ..listener.config.clone()
        };
        let unknown = unknown_in_listener(listener, snapshot);
        wrapped(
            writer,
            "listener",
            LISTENER,
            &config.encode_to_vec(),
            unknown,
        );
    });
}

/// The chain's message, with its terminal filter as the snapshot has it.
fn filter_chain(chain: &FilterChain, snapshot: &Snapshot) -> FilterChainConfig {
    let mut config = chain.config.clone();
    let (name, value) = match &chain.terminal {
        Terminal::Http {
            manager,
            route_configuration,
        } => {
            let mut manager = manager.clone();
            let lifted =
                route_configuration.and_then(|index| snapshot.route_configurations.get(index));
            if let (Some(RouteSpecifier::RouteConfig(inline)), Some(lifted)) =
                (&mut manager.route_specifier, lifted)
            {
                *inline = as_written(&lifted.config);
            }
            (MANAGER, manager.encode_to_vec())
        }
        Terminal::Tcp(proxy) => (TCP_PROXY, proxy.encode_to_vec()),
        Terminal::Unknown => return config,
    };
    if let Some(filter) = config.filters.last_mut() {
        filter.config_type = Some(ConfigType::TypedConfig(Any {
            type_url: format!("type.googleapis.com/{name}"),
            value,
        }));
    }
    config
}

/// Without the routes that stand in a matcher tree.
fn as_written(config: &RouteConfigurationConfig) -> RouteConfigurationConfig {
    let mut config = config.clone();
    for host in &mut config.virtual_hosts {
        if host.matcher.is_some() {
            host.routes.clear();
        }
    }
    config
}

fn route_configurations(writer: &mut Writer, routes: &[&RouteConfiguration]) {
    writer.key("dynamic_route_configs");
    writer.array(routes, |writer, configuration| {
        let unknown = unknown_in_routes(configuration, "");
        let bytes = as_written(&configuration.config).encode_to_vec();
        wrapped(writer, "route_config", ROUTE_CONFIGURATION, &bytes, unknown);
    });
}

fn endpoints(writer: &mut Writer, clusters: &[Cluster]) {
    let held = clusters.iter().filter_map(|cluster| {
        let assignment = cluster.load_assignment.as_ref()?;
        let is_own = is_eds(cluster) || cluster.config.load_assignment.as_ref() != Some(assignment);
        is_own.then(|| {
            (
                ClusterLoadAssignment {
                    cluster_name: service_name(cluster).to_owned(),
                    ..assignment.clone()
                },
                unknown_at(cluster.unsupported.as_ref(), "", ""),
            )
        })
    });
    writer.key("dynamic_endpoint_configs");
    writer.array(held, |writer, (assignment, unknown)| {
        let bytes = assignment.encode_to_vec();
        wrapped(writer, "endpoint_config", LOAD_ASSIGNMENT, &bytes, unknown);
    });
}

fn is_eds(cluster: &Cluster) -> bool {
    matches!(
        cluster.config.cluster_discovery_type,
        Some(ClusterDiscoveryType::Type(kind)) if kind == DiscoveryType::Eds as i32
    )
}

fn service_name(cluster: &Cluster) -> &str {
    match &cluster.config.eds_cluster_config {
        Some(eds) if is_eds(cluster) && !eds.service_name.is_empty() => &eds.service_name,
        _ => &cluster.config.name,
    }
}

/// A cluster that was not in what the snapshot was read from.
fn is_absent(cluster: &Cluster) -> bool {
    cluster.unsupported.is_some()
        && cluster.load_assignment.is_none()
        && cluster.config
            == ClusterConfig {
                name: cluster.name.clone(),
                ..ClusterConfig::default()
            }
}

/// An absent cluster beside others becomes one whose endpoints are not in the snapshot.
fn cluster_config(cluster: &Cluster) -> ClusterConfig {
    let mut config = cluster.config.clone();
    if is_absent(cluster) {
        config.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32));
        config.eds_cluster_config = Some(EdsClusterConfig {
            eds_config: Some(ConfigSource {
                config_source_specifier: Some(ConfigSourceSpecifier::Ads(
                    AggregatedConfigSource::default(),
                )),
                ..ConfigSource::default()
            }),
            ..EdsClusterConfig::default()
        });
    }
    config
}

/// Where an unknown field that makes an element undecided stands: its path below the element,
/// which begins after the last `marker` of the path that was found, is put below `place`.
fn unknown_at(
    unsupported: Option<&Unsupported>,
    marker: &str,
    place: &str,
) -> Vec<(String, String)> {
    let Some(unsupported) = unsupported else {
        return Vec::new();
    };
    let mut below = unsupported.path.as_str();
    if !marker.is_empty() {
        let Some((_, rest)) = below.rsplit_once(marker) else {
            return Vec::new();
        };
        // After the index and its dot.
        let Some((_, rest)) = rest.split_once(']') else {
            return Vec::new();
        };
        below = rest.strip_prefix('.').unwrap_or(rest);
    }
    let (parent, name) = below.rsplit_once('.').unwrap_or(("", below));
    // With an index it is an element of a field that the schema has.
    if name.is_empty() || name.ends_with(']') {
        return Vec::new();
    }
    let path = match (place.is_empty(), parent.is_empty()) {
        (true, _) => parent.to_owned(),
        (_, true) => place.to_owned(),
        _ => format!("{place}.{parent}"),
    };
    vec![(path, name.to_owned())]
}

fn unknown_in_routes(configuration: &RouteConfiguration, place: &str) -> Vec<(String, String)> {
    let dot = if place.is_empty() { "" } else { "." };
    let marker = if place.is_empty() { "" } else { "route_config" };
    let mut unknown = match (&configuration.unsupported, marker) {
        (Some(unsupported), "route_config") => {
            let below = unsupported.path.rsplit_once("route_config.");
            let inner = Unsupported {
                path: below.map(|(_, below)| below.to_owned()).unwrap_or_default(),
                reason: String::new(),
            };
            unknown_at(Some(&inner), "", place)
        }
        (unsupported, _) => unknown_at(unsupported.as_ref(), "", place),
    };
    for (host_index, host) in configuration.virtual_hosts.iter().enumerate() {
        let place = format!("{place}{dot}virtual_hosts[{host_index}]");
        unknown.extend(unknown_at(
            host.unsupported.as_ref(),
            "virtual_hosts[",
            &place,
        ));
        for (index, route) in host.routes.iter().enumerate() {
            // What is unknown in a tree's routes is left out with the tree's other unknowns.
            if !host.places.is_empty() {
                break;
            }
            let place = format!("{place}.routes[{index}]");
            unknown.extend(unknown_at(route.as_ref(), "routes[", &place));
        }
    }
    unknown
}

fn unknown_in_listener(listener: &Listener, snapshot: &Snapshot) -> Vec<(String, String)> {
    let mut unknown = unknown_at(listener.unsupported.as_ref(), "", "");
    let chains = listener
        .filter_chains
        .iter()
        .enumerate()
        .map(|(index, chain)| (format!("filter_chains[{index}]"), "filter_chains[", chain))
        .chain(
            listener
                .default_filter_chain
                .iter()
                .map(|chain| ("default_filter_chain".to_owned(), "", chain)),
        );
    for (place, marker, chain) in chains {
        if marker.is_empty() {
            unknown.extend(unknown_at(chain.unsupported.as_ref(), "", ""));
        } else {
            unknown.extend(unknown_at(chain.unsupported.as_ref(), marker, &place));
        }
        if let Some(index) = chain.inline_route_configuration()
            && let Some(configuration) = snapshot.route_configurations.get(index)
        {
            let last = chain.config.filters.len().saturating_sub(1);
            let place = format!("{place}.filters[{last}].typed_config.route_config");
            unknown.extend(unknown_in_routes(configuration, &place));
        }
    }
    unknown
}
