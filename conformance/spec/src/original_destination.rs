//! `ORIGINAL_DST`: a connection goes on to where it went before it was redirected to its listener.

use std::net::SocketAddr;

use twinmesh_engine::Request;
use twinmesh_xds::Listener;

use crate::connection::has_filter;
use crate::listener::{canonical, ip_and_port, uses_original_destination};

/// Where the connection went before it was redirected; `None` where it came to the listener directly,
/// or nothing restores the address. `listener` is the one that took it, if one did.
pub(crate) fn original_destination(
    request: &Request,
    listener: Option<&Listener>,
) -> Option<SocketAddr> {
    let destination = request.destination.map(canonical)?;
    let Some(listener) = listener else {
        return Some(destination);
    };
    let named = request.listener.as_ref();
    let was_handed_on = named.is_some_and(|name| *name != listener.name);
    let restores = uses_original_destination(listener)
        || has_filter(&listener.config, "original_dst", "OriginalDst")
        || has_filter(&listener.config, "proxy_protocol", "ProxyProtocol");
    let is_redirected = restores && !is_own(listener, destination);
    (was_handed_on || !has_socket(listener) || is_redirected).then_some(destination)
}

/// Whether this is an address of the listener's: its port at all addresses, or at this one.
fn is_own(listener: &Listener, destination: SocketAddr) -> bool {
    let additional = &listener.config.additional_addresses;
    std::iter::once(&listener.config.address)
        .chain(additional.iter().map(|additional| &additional.address))
        .filter_map(ip_and_port)
        .any(|(bound, _)| {
            let fits = bound.ip().is_unspecified() || bound.ip() == destination.ip();
            bound.port() == destination.port() && fits
        })
}

/// Whether connections come to the listener without another that hands them on.
fn has_socket(listener: &Listener) -> bool {
    #[expect(deprecated, reason = "snapshots have it")]
    let old = listener.config.deprecated_v1.as_ref();
    let old = old.and_then(|old| old.bind_to_port.as_ref());
    let binds = listener.config.bind_to_port.as_ref().or(old);
    binds.is_none_or(|binds| binds.value)
}
