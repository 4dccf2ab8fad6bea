//! What Envoy 1.40 refuses, beyond the constraints in its .proto files (which `walk` checks).

pub(crate) mod access_log;
mod attempts;
pub(crate) mod bootstrap;
pub(crate) mod cluster;
pub(crate) mod header_to_metadata;
pub(crate) mod listener;
pub(crate) mod matcher_tree;
pub(crate) mod names;
pub(crate) mod registered;
pub(crate) mod rewrite;
pub(crate) mod route;
mod subset;
pub(crate) mod upstream_filters;

use std::net::IpAddr;

use envoy_types::pb::envoy::config::core::v3::{Address, CidrRange, address};

use crate::{error::ReadError, path::Path, source::Source};

/// Whether a message may be one that is looked at as a whole while it is walked over, for which its path is
/// copied: those of these packages, of which there are the most, never are.
pub(crate) fn may_look_at(message: &str) -> bool {
    const NEVER: [&str; 5] = [
        "envoy.config.core.",
        "envoy.config.endpoint.",
        "envoy.type.",
        "google.",
        "xds.",
    ];
    !NEVER.iter().any(|package| message.starts_with(package))
}

/// An address that must be an IP address.
fn check_address(address: &Address, path: &Path, source: &Source<'_>) -> Result<(), ReadError> {
    match &address.address {
        Some(address::Address::SocketAddress(socket)) if socket.resolver_name.is_empty() => {
            check_ip(
                &socket.address,
                &path.field("socket_address").field("address"),
                source,
            )
        }
        _ => Ok(()),
    }
}

fn check_ip(text: &str, path: &Path, source: &Source<'_>) -> Result<(), ReadError> {
    // Envoy takes a scope after an IPv6 address.
    let address = text.split('%').next().unwrap_or(text);
    match address.parse::<IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err(source.invalid(path, format!("an IP address was expected, {text:?} found"))),
    }
}

/// A CIDR range, whose prefix must be an IP address; gives its canonical form.
fn check_cidr(
    range: &CidrRange,
    path: &Path,
    source: &Source<'_>,
) -> Result<(IpAddr, u32), ReadError> {
    let Ok(address) = range.address_prefix.parse::<IpAddr>() else {
        return Err(source.invalid(
            &path.field("address_prefix"),
            format!(
                "an IP address was expected, {:?} found",
                range.address_prefix
            ),
        ));
    };
    let length = range.prefix_len.map_or(0, |length| length.value);
    // Envoy takes a longer one as the longest.
    Ok(match address {
        IpAddr::V4(address) => {
            let length = length.min(32);
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            (IpAddr::V4((u32::from(address) & mask).into()), length)
        }
        IpAddr::V6(address) => {
            let length = length.min(128);
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            (IpAddr::V6((u128::from(address) & mask).into()), length)
        }
    })
}
