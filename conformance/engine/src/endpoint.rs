//! An endpoint's address, as decisions and events name it.

use std::net::IpAddr;

use envoy_types::pb::envoy::config::core::v3::{
    Address, address, envoy_internal_address::AddressNameSpecifier, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::config::endpoint::v3::{LbEndpoint, lb_endpoint::HostIdentifier};

use crate::address_text;

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
            Some(match socket.address.parse() {
                Ok(ip @ IpAddr::V6(_)) => format!("[{}]:{port}", address_text::text(ip)),
                _ => format!("{}:{port}", socket.address),
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

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::SocketAddress;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("10.0.0.1", "10.0.0.1:80")]
    #[case("FD00:0:0::0A", "[fd00::a]:80")]
    #[case("::10.0.0.1", "[::10.0.0.1]:80")]
    #[case("a.test", "a.test:80")]
    fn endpoints_are_called_by_their_address(#[case] given: &str, #[case] expected: &str) {
        let socket = SocketAddress {
            address: given.to_owned(),
            port_specifier: Some(PortSpecifier::PortValue(80)),
            ..SocketAddress::default()
        };
        let address = Address {
            address: Some(address::Address::SocketAddress(socket)),
        };
        assert_eq!(text(&address).as_deref(), Some(expected));
    }
}
