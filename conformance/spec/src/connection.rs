//! What a connection shows of itself before its first byte is decided.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use envoy_types::pb::envoy::config::listener::v3::Listener as ListenerConfig;
use twinmesh_engine::Request;
use twinmesh_xds::Listener;

use crate::head;
use crate::listener::{canonical, ip_and_port};

const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// What filter chains match on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    /// The request says where it goes, or its listener has an address.
    pub(crate) knows_destination: bool,
    /// Lower-cased; empty where there is none.
    pub(crate) server_name: String,
    /// `tls` or `raw_buffer`.
    pub(crate) transport_protocol: &'static str,
    /// In the client's order.
    pub(crate) application_protocols: Vec<String>,
}

impl Connection {
    /// The connection of a request as this listener sees it, with what its listener filters find
    /// out. An absent destination is the listener's address; what is still unknown is 0.0.0.0:0.
    pub(crate) fn new(request: &Request, listener: &Listener) -> Self {
        let bound = ip_and_port(&listener.config.address).map(|(address, _)| address);
        let mut connection = Self {
            source: request.source.map_or(UNKNOWN, canonical),
            destination: request.destination.or(bound).map_or(UNKNOWN, canonical),
            knows_destination: request.destination.or(bound).is_some(),
            server_name: String::new(),
            transport_protocol: "raw_buffer",
            application_protocols: Vec::new(),
        };
        if request.is_tls() {
            if inspects_tls(&listener.config) {
                connection.transport_protocol = "tls";
                connection.server_name = request
                    .sni
                    .as_deref()
                    .unwrap_or_default()
                    .to_ascii_lowercase();
                connection.application_protocols = application_protocols(request);
            }
        } else if has_filter(&listener.config, "http_inspector", "HttpInspector")
            && head::is_inspected(request)
        {
            connection.application_protocols = vec!["http/1.1".to_owned()];
        }
        connection
    }
}

fn application_protocols(request: &Request) -> Vec<String> {
    request
        .alpn
        .iter()
        .flat_map(|list| list.split(','))
        .map(|protocol| protocol.trim().to_owned())
        .filter(|protocol| !protocol.is_empty())
        .collect()
}

/// Whether the listener reads the ClientHello. Envoy adds no TLS inspector for filter chains that ask for
/// what only it can tell.
fn inspects_tls(listener: &ListenerConfig) -> bool {
    has_filter(listener, "tls_inspector", "TlsInspector")
}

/// Whether a listener filter has this extension name, or this message as its configuration.
pub(crate) fn has_filter(listener: &ListenerConfig, name: &str, message: &str) -> bool {
    use envoy_types::pb::envoy::config::listener::v3::listener_filter::ConfigType;

    listener.listener_filters.iter().any(|filter| {
        let by_type = matches!(&filter.config_type, Some(ConfigType::TypedConfig(any))
            if any.type_url.rsplit('.').next() == Some(message));
        by_type || filter.name == format!("envoy.filters.listener.{name}")
    })
}
