//! A filter chain's `transport_socket` that a connection does not fit, in words. Decisions are made as if
//! it did.

use envoy_types::pb::envoy::config::core::v3::{TransportSocket, transport_socket::ConfigType};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::DownstreamTlsContext;
use prost::Message as _;
use twinmesh_engine::Request;
use twinmesh_xds::{FilterChain, Terminal};

/// What Envoy would do with the request's connection instead; `None` where it fits.
pub fn does_not_fit(chain: &FilterChain, request: &Request) -> Option<&'static str> {
    let Some(context) = tls(chain.config.transport_socket.as_ref()) else {
        let reads_tls = request.is_tls()
            && chain.config.transport_socket.is_none()
            && matches!(chain.terminal, Terminal::Http { .. });
        return reads_tls.then_some(
            "it has no transport_socket, and the connection is TLS: taken as if TLS ended before it; \
             Envoy would answer 400",
        );
    };
    if !request.is_tls() {
        return Some(
            "its transport_socket is TLS, and the request says no TLS: taken as if it fitted; \
             Envoy closes a connection in the clear",
        );
    }
    let requires = context.require_client_certificate;
    (requires.is_some_and(|it| it.value) && request.client_certificate.is_none()).then_some(
        "its transport_socket requires a client certificate, and the request says none: taken as \
         if there were one; Envoy closes a connection without",
    )
}

fn tls(socket: Option<&TransportSocket>) -> Option<DownstreamTlsContext> {
    let ConfigType::TypedConfig(any) = socket?.config_type.as_ref()?;
    let (_, name) = any.type_url.rsplit_once('/')?;
    if name != "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext" {
        return None;
    }
    DownstreamTlsContext::decode(any.value.as_slice()).ok()
}
