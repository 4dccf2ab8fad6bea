//! What an endpoint is called: in decisions, where it is hashed, and where a host is rewritten to it.

use envoy_types::pb::envoy::config::cluster::v3::{
    Cluster,
    cluster::{ClusterDiscoveryType, DiscoveryType},
};
use envoy_types::pb::envoy::config::core::v3::{
    EnvoyInternalAddress, Locality, address::Address as AddressKind,
    envoy_internal_address::AddressNameSpecifier, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::config::endpoint::v3::{LbEndpoint, lb_endpoint::HostIdentifier};

use crate::address_text;

/// `region/zone/sub_zone`; nothing where all are empty.
pub(crate) fn locality_name(locality: &Locality) -> Option<String> {
    let empty =
        locality.region.is_empty() && locality.zone.is_empty() && locality.sub_zone.is_empty();
    (!empty).then(|| {
        format!(
            "{}/{}/{}",
            locality.region, locality.zone, locality.sub_zone
        )
    })
}

/// The name that `auto_host_rewrite` takes: the endpoint's `hostname`, else what DNS resolves, a literal
/// address too.
pub(crate) fn hostname<'a>(cluster: &Cluster, endpoint: &'a LbEndpoint) -> &'a str {
    let Some(HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier else {
        return "";
    };
    let kind = match cluster.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(kind)) => DiscoveryType::try_from(kind),
        _ => Ok(DiscoveryType::Static),
    };
    let address = endpoint.address.as_ref();
    match (kind, address.and_then(|it| it.address.as_ref())) {
        _ if !endpoint.hostname.is_empty() => &endpoint.hostname,
        (
            Ok(DiscoveryType::StrictDns | DiscoveryType::LogicalDns),
            Some(AddressKind::SocketAddress(socket)),
        ) => &socket.address,
        _ => "",
    }
}

/// `ip:port`, a pipe's path, or `envoy://listener/id`.
pub(crate) fn endpoint_name(endpoint: &LbEndpoint) -> Option<String> {
    let Some(HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier else {
        return None;
    };
    match endpoint.address.as_ref()?.address.as_ref()? {
        AddressKind::SocketAddress(socket) => {
            let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else {
                return None;
            };
            Some(address_text::of_socket(&socket.address, port))
        }
        AddressKind::Pipe(pipe) => Some(pipe.path.clone()),
        AddressKind::EnvoyInternalAddress(internal) => internal_name(internal),
    }
}

/// An internal address, as Envoy writes it.
pub(crate) fn internal_name(internal: &EnvoyInternalAddress) -> Option<String> {
    let Some(AddressNameSpecifier::ServerListenerName(name)) = &internal.address_name_specifier
    else {
        return None;
    };
    Some(format!("envoy://{name}/{}", internal.endpoint_id))
}
