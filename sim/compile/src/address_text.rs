//! Addresses as text, as Envoy writes them.

use std::net::{IpAddr, SocketAddr};

use twinmesh_model::address_text;

/// The address.
pub(crate) fn text(address: IpAddr) -> String {
    String::from_utf8_lossy(address_text::of_address(address).bytes()).into_owned()
}

/// The same with the port behind it.
pub(crate) fn with_port(address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(_) => address.to_string(),
        IpAddr::V6(_) => format!("[{}]:{}", text(address.ip()), address.port()),
    }
}

/// The address of a configuration, with its port: one of a name stays as it is.
pub(crate) fn of_socket(address: &str, port: u32) -> String {
    match address.parse() {
        Ok(ip @ IpAddr::V6(_)) => format!("[{}]:{port}", text(ip)),
        _ => format!("{address}:{port}"),
    }
}
