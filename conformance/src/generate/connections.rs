//! Connections to filter chains: at, and right beside, what their criteria ask for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use envoy_types::pb::envoy::config::core::v3::{
    CidrRange, address::Address, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::config::listener::v3::{
    FilterChainMatch, filter_chain_match::ConnectionSourceType,
};
use twinmesh_engine::Request;
use twinmesh_xds::{Listener, Snapshot};

use super::chain_tree;

/// Where connections come from that say nothing else.
pub(super) const SOURCE: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 40_000);

/// A connection, and what is particular about it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// In words.
    pub(crate) label: String,
    /// A request on it that says nothing else.
    pub(crate) request: Request,
}

/// A request for `/` that says nothing of its connection.
pub(crate) fn plain() -> Request {
    Request {
        authority: Some("host.test".to_owned()),
        random: Some(0),
        ..Request::default()
    }
}

/// Connections that the chain may take: the likeliest first. `None` is the default chain.
pub(crate) fn to_chain(snapshot: &Snapshot, listener: usize, chain: Option<usize>) -> Vec<Request> {
    let Some(resource) = snapshot.listeners.get(listener) else {
        return Vec::new();
    };
    let mut base = plain();
    base.listener = Some(resource.name.clone());
    let chain = chain.and_then(|chain| resource.filter_chains.get(chain));
    if let Some(matcher) = &resource.config.filter_chain_matcher {
        let name = chain.map(|chain| chain.config.name.as_str());
        return chain_tree::to_chain(resource, matcher, name);
    }
    let asked = chain.and_then(|chain| chain.config.filter_chain_match.as_ref());
    let Some(asked) = asked else {
        let mut elsewhere = base.clone();
        elsewhere.destination = Some(SocketAddr::new(address(resource, None), 65_535));
        elsewhere.sni = Some("nobody.invalid".to_owned());
        let mut tls = base.clone();
        tls.tls = Some(true);
        return vec![base, tls, elsewhere];
    };
    let mut out = Vec::new();
    let all = |count: usize| (0..count.clamp(1, 8)).collect::<Vec<_>>();
    for range in all(asked.prefix_ranges.len()) {
        for tls in [None, Some(true)] {
            for name in all(asked.server_names.len()) {
                let mut request = at(resource, asked, range, name);
                if asked.transport_protocol.is_empty()
                    && let Some(tls) = tls
                {
                    request.tls = Some(tls);
                } else if tls.is_some() {
                    continue;
                }
                out.push(request);
            }
        }
    }
    out
}

/// A connection with the values of the criteria: the ranges' and names' at these places, of the
/// others the first.
fn at(listener: &Listener, asked: &FilterChainMatch, range: usize, name: usize) -> Request {
    let mut request = plain();
    request.listener = Some(listener.name.clone());
    if asked.destination_port.is_some() || !asked.prefix_ranges.is_empty() {
        let ip = address(listener, asked.prefix_ranges.get(range));
        request.destination = Some(SocketAddr::new(ip, port(listener, asked)));
    }
    let sources = [
        &asked.source_prefix_ranges,
        &asked.direct_source_prefix_ranges,
    ];
    // The narrower of the two lies within the other, where anything can fit both.
    let narrowest = sources
        .into_iter()
        .flatten()
        .max_by_key(|range| range.prefix_len.as_ref().map_or(0, |length| length.value));
    let local = asked.source_type == ConnectionSourceType::SameIpOrLoopback as i32;
    let external = asked.source_type == ConnectionSourceType::External as i32;
    if narrowest.is_some() || local || external || !asked.source_ports.is_empty() {
        let ip = match narrowest.and_then(inside) {
            Some(ip) => ip,
            None if local => Ipv4Addr::LOCALHOST.into(),
            None => SOURCE.ip(),
        };
        let port = asked.source_ports.first().copied().unwrap_or(40_000);
        request.source = Some(SocketAddr::new(ip, u16::try_from(port).unwrap_or(0)));
    }
    let in_the_clear = asked.transport_protocol == "raw_buffer";
    if !in_the_clear {
        request.sni = asked.server_names.get(name).map(|name| one_of(name));
        let over_tls = asked.transport_protocol == "tls" || request.sni.is_some();
        let protocol = asked.application_protocols.first();
        // In the clear the inspector tells HTTP/1.1 by itself.
        if over_tls || protocol.is_some_and(|protocol| protocol != "http/1.1") {
            request.alpn = protocol.cloned();
        }
        if over_tls {
            request.tls = Some(true);
        }
    }
    request
}

/// A server name that the pattern stands for.
fn one_of(pattern: &str) -> String {
    match pattern.strip_prefix('*') {
        Some(domain) => format!("a{domain}"),
        None => pattern.to_owned(),
    }
}

fn socket(listener: &Listener) -> Option<(IpAddr, u16)> {
    let Some(Address::SocketAddress(socket)) = &listener.config.address.as_ref()?.address else {
        return None;
    };
    let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else {
        return None;
    };
    Some((socket.address.parse().ok()?, u16::try_from(port).ok()?))
}

/// Where connections to the listener go that say nothing else.
pub(super) fn bound(listener: Option<&Listener>) -> SocketAddr {
    match listener {
        Some(listener) => {
            let port = socket(listener).map_or(80, |(_, port)| port);
            SocketAddr::new(address(listener, None), port)
        }
        None => SocketAddr::new(Ipv4Addr::new(10, 255, 0, 1).into(), 80),
    }
}

/// An address inside the range, or else the listener's, or one that it may take.
fn address(listener: &Listener, range: Option<&CidrRange>) -> IpAddr {
    if let Some(ip) = range.and_then(inside) {
        return ip;
    }
    match socket(listener) {
        Some((ip, _)) if !ip.is_unspecified() => ip,
        Some((IpAddr::V6(_), _)) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into(),
        _ => Ipv4Addr::new(10, 255, 0, 1).into(),
    }
}

fn port(listener: &Listener, asked: &FilterChainMatch) -> u16 {
    let bound = socket(listener).map_or(80, |(_, port)| port);
    let asked = asked.destination_port.as_ref();
    asked.map_or(bound, |port| u16::try_from(port.value).unwrap_or(bound))
}

/// First and last address of the range, and whether it is of IPv6.
fn ends(range: &CidrRange) -> Option<(u128, u128, bool)> {
    let length = range.prefix_len.as_ref().map_or(0, |length| length.value);
    let (bits, width): (u128, u32) = match range.address_prefix.parse().ok()? {
        IpAddr::V4(ip) => (u128::from(ip.to_bits()), 32),
        IpAddr::V6(ip) => (ip.to_bits(), 128),
    };
    let all = if width == 32 {
        u128::from(u32::MAX)
    } else {
        u128::MAX
    };
    let free = width.checked_sub(length)?;
    let mask = 1u128.checked_shl(free).map_or(all, |bit| bit - 1);
    Some((bits & !mask, (bits | mask) & all, width == 128))
}

fn ip(bits: u128, is_v6: bool) -> Option<IpAddr> {
    if is_v6 {
        return Some(Ipv6Addr::from_bits(bits).into());
    }
    u32::try_from(bits)
        .ok()
        .map(|bits| Ipv4Addr::from_bits(bits).into())
}

pub(super) fn inside(range: &CidrRange) -> Option<IpAddr> {
    let (first, last, is_v6) = ends(range)?;
    ip(if first < last { first + 1 } else { first }, is_v6)
}

/// The addresses at the range's ends and right outside.
pub(super) fn boundaries(range: &CidrRange) -> Vec<(&'static str, IpAddr)> {
    let Some((first, last, is_v6)) = ends(range) else {
        return Vec::new();
    };
    let at = [
        ("the first address", Some(first)),
        ("the last address", Some(last)),
        ("the address before", first.checked_sub(1)),
        ("the address behind", last.checked_add(1)),
    ];
    at.into_iter()
        .filter_map(|(label, bits)| Some((label, ip(bits?, is_v6)?)))
        .collect()
}

/// The connection that the chain takes, varied by one criterion at a time: at what it lists, and
/// right beside.
pub(crate) fn variations(listener: &Listener, chain: usize, taken: &Request) -> Vec<Connection> {
    if let Some(matcher) = &listener.config.filter_chain_matcher {
        return chain_tree::variations(matcher, taken);
    }
    let chain = listener.filter_chains.get(chain);
    let asked = chain.and_then(|chain| chain.config.filter_chain_match.as_ref());
    let Some(asked) = asked else {
        return Vec::new();
    };
    let mut out = Vec::new();
    let mut vary = |label: String, change: &dyn Fn(&mut Request)| {
        let mut request = taken.clone();
        change(&mut request);
        out.push(Connection { label, request });
    };
    let to = taken.destination.unwrap_or(SocketAddr::new(
        address(listener, None),
        port(listener, asked),
    ));
    let from = taken.source.unwrap_or(SOURCE);
    if let Some(port) = &asked.destination_port {
        let other = u16::try_from(port.value).unwrap_or(0).wrapping_add(1);
        vary("destination_port: the port behind".to_owned(), &|request| {
            request.destination = Some(SocketAddr::new(to.ip(), other));
        });
    }
    for range in &asked.prefix_ranges {
        for (label, ip) in boundaries(range) {
            let label = format!("prefix_ranges: {label} of {}", range.address_prefix);
            vary(label, &|request| {
                request.destination = Some(SocketAddr::new(ip, to.port()));
            });
        }
    }
    for (name, ranges) in [
        (
            "direct_source_prefix_ranges",
            &asked.direct_source_prefix_ranges,
        ),
        ("source_prefix_ranges", &asked.source_prefix_ranges),
    ] {
        for range in ranges {
            for (label, ip) in boundaries(range) {
                let label = format!("{name}: {label} of {}", range.address_prefix);
                vary(label, &|request| {
                    request.source = Some(SocketAddr::new(ip, from.port()));
                });
            }
        }
    }
    if asked.source_type != 0 {
        for ip in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(192, 0, 2, 1)] {
            vary(format!("source_type: from {ip}"), &|request| {
                request.source = Some(SocketAddr::new(ip.into(), from.port()));
            });
        }
    }
    for port in &asked.source_ports {
        let port = u16::try_from(*port).unwrap_or(0);
        for port in [port, port.wrapping_add(1)] {
            vary(format!("source_ports: from port {port}"), &|request| {
                request.source = Some(SocketAddr::new(from.ip(), port));
            });
        }
    }
    for name in &asked.server_names {
        let bare = name.strip_prefix("*.").unwrap_or(name);
        for name in [
            one_of(name),
            bare.to_owned(),
            format!("x.{bare}"),
            format!("x{bare}"),
        ] {
            vary(format!("server_names: {name}"), &|request| {
                request.sni = Some(name.clone());
            });
        }
    }
    if !asked.server_names.is_empty() {
        vary("server_names: none".to_owned(), &|request| {
            request.sni = None
        });
    }
    let mut protocols = asked.application_protocols.clone();
    if !protocols.is_empty() {
        protocols.push("none-of-these".to_owned());
    }
    for protocol in protocols {
        vary(format!("application_protocols: {protocol}"), &|request| {
            request.alpn = Some(protocol.clone())
        });
    }
    if !asked.transport_protocol.is_empty() || !asked.server_names.is_empty() {
        for tls in [false, true] {
            let label = if tls { "over TLS" } else { "in the clear" };
            vary(format!("transport_protocol: {label}"), &|request| {
                request.tls = Some(tls);
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::google::protobuf::UInt32Value;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("10.0.1.5", 24, &["10.0.1.0", "10.0.1.255", "10.0.0.255", "10.0.2.0"])]
    #[case("0.0.0.0", 0, &["0.0.0.0", "255.255.255.255"])]
    #[case("10.0.0.1", 32, &["10.0.0.1", "10.0.0.1", "10.0.0.0", "10.0.0.2"])]
    #[case("fd00::", 127, &["fd00::", "fd00::1", "fcff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fd00::2"])]
    #[case("::", 0, &["::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"])]
    fn ends_of_ranges(#[case] prefix: &str, #[case] length: u32, #[case] expected: &[&str]) {
        let range = CidrRange {
            address_prefix: prefix.to_owned(),
            prefix_len: Some(UInt32Value { value: length }),
        };
        let found: Vec<String> = boundaries(&range)
            .into_iter()
            .map(|(_, ip)| ip.to_string())
            .collect();
        assert_eq!(found, expected);
    }
}
