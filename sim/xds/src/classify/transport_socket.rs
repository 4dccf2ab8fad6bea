//! `FilterChain.transport_socket`: the engines take every connection to fit it.

use super::{Judged, Verdict, filter};

const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
const TLS: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";

/// A connection that does not fit is closed before a request of it is read.
pub(super) fn downstream(judged: &Judged<'_>) -> Verdict {
    let config = judged.child.and_then(|socket| socket.any("typed_config"));
    let Some(config) = config else {
        return Verdict::Inert;
    };
    let kind = filter::content_type(&config);
    if kind == RAW_BUFFER {
        return Verdict::Inert;
    }
    if kind != TLS {
        return Verdict::Caution("connections are taken to fit it, whatever they are".into());
    }
    let requires = config
        .content()
        .and_then(|it| it.wrapped("require_client_certificate"));
    let closes = match requires == Some(1) {
        true => "one in the clear, and one without the certificate that it requires of the client",
        false => "one in the clear",
    };
    Verdict::Caution(format!("connections are taken to fit it: Envoy closes {closes}").into())
}
