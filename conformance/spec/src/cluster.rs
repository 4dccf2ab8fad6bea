//! A cluster's endpoints.

use std::net::IpAddr;

use envoy_types::pb::envoy::config::cluster::v3::Cluster as ClusterConfig;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::{
    Address, HealthStatus, address, envoy_internal_address::AddressNameSpecifier,
    socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, LbEndpoint, lb_endpoint::HostIdentifier,
};
use twinmesh_engine::address_text;

/// An endpoint and its place in the load assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// Index into `ClusterLoadAssignment.endpoints`.
    pub(crate) locality: usize,
    /// Index into its `lb_endpoints`.
    pub(crate) endpoint: usize,
    pub(crate) weight: u32,
    pub(crate) health: Health,
}

/// What `health_status` means to a balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Healthy,
    Degraded,
    Unhealthy,
    /// Not healthy, and not counted among the endpoints that could be.
    Draining,
}

/// Whether the cluster's endpoints stand in its own configuration; without any it is empty.
pub(crate) fn is_static(config: &ClusterConfig) -> bool {
    matches!(
        config.cluster_discovery_type,
        None | Some(ClusterDiscoveryType::Type(0))
    )
}

/// The endpoints of each priority, in the order of the load assignment.
pub(crate) fn hosts_by_priority(assignment: &ClusterLoadAssignment) -> Vec<Vec<Host>> {
    let mut priorities = vec![Vec::new()];
    for (locality, of_locality) in assignment.endpoints.iter().enumerate() {
        let priority = usize::try_from(of_locality.priority).unwrap_or(usize::MAX);
        while priorities.len() <= priority {
            priorities.push(Vec::new());
        }
        let hosts = of_locality
            .lb_endpoints
            .iter()
            .enumerate()
            .map(|(index, endpoint)| Host {
                locality,
                endpoint: index,
                weight: endpoint
                    .load_balancing_weight
                    .as_ref()
                    .map_or(1, |weight| weight.value.max(1)),
                health: health(endpoint.health_status),
            });
        if let Some(of_priority) = priorities.get_mut(priority) {
            of_priority.extend(hosts);
        }
    }
    priorities
}

fn health(status: i32) -> Health {
    match HealthStatus::try_from(status) {
        Ok(HealthStatus::Unknown | HealthStatus::Healthy) => Health::Healthy,
        Ok(HealthStatus::Degraded) => Health::Degraded,
        Ok(HealthStatus::Draining) => Health::Draining,
        Ok(HealthStatus::Unhealthy | HealthStatus::Timeout) | Err(_) => Health::Unhealthy,
    }
}

/// The address of an endpoint: `ip:port`, a pipe's path, or the name of an internal listener.
pub(crate) fn address(endpoint: &LbEndpoint) -> Option<String> {
    match &address_of(endpoint)?.address {
        Some(address::Address::SocketAddress(socket)) => {
            let port = match &socket.port_specifier {
                Some(PortSpecifier::PortValue(port)) => port.to_string(),
                Some(PortSpecifier::NamedPort(name)) => name.clone(),
                None => return None,
            };
            Some(match socket.address.parse() {
                Ok(ip @ IpAddr::V6(_)) => format!("[{}]:{port}", address_text::text(ip)),
                _ => format!("{}:{port}", socket.address),
            })
        }
        Some(address::Address::Pipe(pipe)) => Some(pipe.path.clone()),
        Some(address::Address::EnvoyInternalAddress(internal)) => {
            // The slash stands there without an id, too.
            let id = &internal.endpoint_id;
            match internal.address_name_specifier.as_ref()? {
                AddressNameSpecifier::ServerListenerName(name) => {
                    Some(format!("envoy://{name}/{id}"))
                }
            }
        }
        None => None,
    }
}

/// The name that `auto_host_rewrite` takes: the endpoint's, else the one that DNS resolves.
pub(crate) fn hostname(config: &ClusterConfig, endpoint: &LbEndpoint) -> String {
    if let Some(HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier
        && !endpoint.hostname.is_empty()
    {
        return endpoint.hostname.clone();
    }
    let is_dns = matches!(
        config.cluster_discovery_type,
        Some(ClusterDiscoveryType::Type(kind))
            if kind == DiscoveryType::StrictDns as i32 || kind == DiscoveryType::LogicalDns as i32
    );
    match address_of(endpoint).and_then(|address| address.address.as_ref()) {
        Some(address::Address::SocketAddress(socket)) if is_dns => socket.address.clone(),
        _ => String::new(),
    }
}

fn address_of(endpoint: &LbEndpoint) -> Option<&Address> {
    match endpoint.host_identifier.as_ref()? {
        HostIdentifier::Endpoint(endpoint) => endpoint.address.as_ref(),
        HostIdentifier::EndpointName(_) => None,
    }
}

/// `region/zone/sub_zone`; `None` where all three are empty.
pub(crate) fn locality_name(assignment: &ClusterLoadAssignment, locality: usize) -> Option<String> {
    let locality = assignment.endpoints.get(locality)?.locality.as_ref()?;
    let parts = [&locality.region, &locality.zone, &locality.sub_zone];
    let name = parts.map(String::as_str).join("/");
    parts.iter().any(|part| !part.is_empty()).then_some(name)
}
