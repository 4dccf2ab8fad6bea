//! From resources to a snapshot: what belongs together is put together.

use std::collections::HashMap;

use envoy_types::pb::envoy::{
    config::{
        cluster::v3::cluster::ClusterDiscoveryType,
        cluster::v3::cluster::DiscoveryType,
        endpoint::v3::ClusterLoadAssignment,
        listener::v3::{FilterChain as FilterChainConfig, filter::ConfigType},
    },
    extensions::filters::network::{
        http_connection_manager::v3::{
            HttpConnectionManager, http_connection_manager::RouteSpecifier,
        },
        tcp_proxy::v3::TcpProxy,
    },
};
use prost::Message;

use crate::{
    error::ReadError,
    form::Resources,
    snapshot::{
        Cluster, FilterChain, Listener, RouteConfiguration, Snapshot, Terminal, Unsupported,
        VirtualHost,
    },
    source::Source,
    view::View,
};

const MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

pub(crate) fn assemble(
    resources: Resources<'_>,
    _bare: bool,
    source: &Source<'_>,
) -> Result<Snapshot, ReadError> {
    let mut snapshot = Snapshot::default();
    for view in &resources.route_configurations {
        snapshot
            .route_configurations
            .push(route_configuration(view, source)?);
    }
    let named: HashMap<String, usize> = snapshot
        .route_configurations
        .iter()
        .enumerate()
        .map(|(index, configuration)| (configuration.name.clone(), index))
        .collect();
    for view in &resources.listeners {
        let config: envoy_types::pb::envoy::config::listener::v3::Listener = decode(view, source)?;
        let mut listener = Listener {
            name: config.name.clone(),
            ..Listener::default()
        };
        for chain in &config.filter_chains {
            listener
                .filter_chains
                .push(filter_chain(chain, &named, &mut snapshot));
        }
        if let Some(chain) = &config.default_filter_chain {
            listener.default_filter_chain = Some(filter_chain(chain, &named, &mut snapshot));
        }
        listener.config = config;
        snapshot.listeners.push(listener);
    }
    let mut assignments: HashMap<String, ClusterLoadAssignment> = HashMap::new();
    for view in &resources.load_assignments {
        let assignment: ClusterLoadAssignment = decode(view, source)?;
        assignments.insert(assignment.cluster_name.clone(), assignment);
    }
    for view in &resources.clusters {
        let config: envoy_types::pb::envoy::config::cluster::v3::Cluster = decode(view, source)?;
        let is_eds = matches!(
            config.cluster_discovery_type,
            Some(ClusterDiscoveryType::Type(kind)) if kind == DiscoveryType::Eds as i32
        );
        let load_assignment = if is_eds {
            let service = config
                .eds_cluster_config
                .as_ref()
                .map(|eds| eds.service_name.as_str())
                .filter(|service| !service.is_empty())
                .unwrap_or(&config.name);
            assignments.remove(service)
        } else {
            config.load_assignment.clone()
        };
        snapshot.clusters.push(Cluster {
            name: config.name.clone(),
            load_assignment,
            config,
            ..Cluster::default()
        });
    }
    Ok(snapshot)
}

fn decode<T: Message + Default>(view: &View<'_>, source: &Source<'_>) -> Result<T, ReadError> {
    T::decode(view.bytes)
        .map_err(|error| source.wire(&view.path, &view.message.name, error.to_string()))
}

fn route_configuration(
    view: &View<'_>,
    source: &Source<'_>,
) -> Result<RouteConfiguration, ReadError> {
    let config = decode(view, source)?;
    Ok(lift(config))
}

fn lift(
    config: envoy_types::pb::envoy::config::route::v3::RouteConfiguration,
) -> RouteConfiguration {
    RouteConfiguration {
        name: config.name.clone(),
        virtual_hosts: config
            .virtual_hosts
            .iter()
            .map(|host| VirtualHost {
                unsupported: None,
                routes: vec![None; host.routes.len()],
            })
            .collect(),
        unsupported: None,
        config,
    }
}

fn filter_chain(
    config: &FilterChainConfig,
    named: &HashMap<String, usize>,
    snapshot: &mut Snapshot,
) -> FilterChain {
    let mut chain = FilterChain {
        config: config.clone(),
        ..FilterChain::default()
    };
    let any = config
        .filters
        .last()
        .and_then(|filter| match &filter.config_type {
            Some(ConfigType::TypedConfig(any)) => Some(any),
            _ => None,
        });
    let name = any.map(|any| crate::schema::type_name(&any.type_url));
    match (name, any) {
        (Some(MANAGER), Some(any)) => {
            if let Ok(manager) = HttpConnectionManager::decode(any.value.as_slice()) {
                let route_configuration = match &manager.route_specifier {
                    Some(RouteSpecifier::RouteConfig(config)) => {
                        snapshot.route_configurations.push(lift(config.clone()));
                        Some(snapshot.route_configurations.len() - 1)
                    }
                    Some(RouteSpecifier::Rds(rds)) => named.get(&rds.route_config_name).copied(),
                    _ => None,
                };
                chain.terminal = Terminal::Http {
                    manager: Box::new(manager),
                    route_configuration,
                };
            }
        }
        (Some(TCP_PROXY), Some(any)) => {
            if let Ok(proxy) = TcpProxy::decode(any.value.as_slice()) {
                chain.terminal = Terminal::Tcp(Box::new(proxy));
            }
        }
        _ => {
            chain.unsupported = Some(Unsupported {
                path: "filters".to_owned(),
                reason: "the chain has no terminal filter that is known".to_owned(),
            });
        }
    }
    chain
}
