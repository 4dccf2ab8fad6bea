//! An endpoint's address, as decisions and events name it.

use envoy_types::pb::envoy::config::core::v3::{
    Address, address, envoy_internal_address::AddressNameSpecifier, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::config::endpoint::v3::{LbEndpoint, lb_endpoint::HostIdentifier};

/// `LbEndpoint.endpoint.address` as `ip:port`, as a pipe's path, or as `envoy://listener/id`; `None` where it
/// is of another kind (`endpoint_name`).
pub fn address(endpoint: &LbEndpoint) -> Option<String> {
    match endpoint.host_identifier.as_ref()? {
        HostIdentifier::Endpoint(endpoint) => text(endpoint.address.as_ref()?),
        HostIdentifier::EndpointName(_) => None,
    }
}

/// An `Address` as `ip:port`, as a pipe's path, or as `envoy://listener/id`.
pub fn text(address: &Address) -> Option<String> {
    match address.address.as_ref()? {
        address::Address::SocketAddress(socket) => {
            let port = match socket.port_specifier.as_ref()? {
                PortSpecifier::PortValue(port) => port.to_string(),
                PortSpecifier::NamedPort(name) => name.clone(),
            };
            Some(match socket.address.parse::<std::net::Ipv6Addr>() {
                Ok(ip) => format!("[{ip}]:{port}"),
                Err(_) => format!("{}:{port}", socket.address),
            })
        }
        address::Address::Pipe(pipe) => Some(pipe.path.clone()),
        address::Address::EnvoyInternalAddress(internal) => {
            let AddressNameSpecifier::ServerListenerName(listener) =
                internal.address_name_specifier.as_ref()?;
            Some(format!("envoy://{listener}/{}", internal.endpoint_id))
        }
    }
}
