//! Compiles listeners: by which addresses they are found, and their filter chains.

use std::net::{IpAddr, SocketAddr};

use envoy_types::pb::envoy::config::core::v3::{
    Address,
    address::Address as AddressKind,
    socket_address::{PortSpecifier, Protocol},
};
use envoy_types::pb::envoy::config::listener::v3::{
    FilterChainMatch, Listener as ListenerConfig, listener_filter::ConfigType,
};
use twinmesh_model::layout::{header, listener, pair, unsupported};
use twinmesh_xds::Listener;

use crate::compiler::Compiler;
use crate::input::address_bytes;
use crate::plain;
use crate::trie::Keys;

/// The TCP address of a listener, and whether `[::]` takes IPv4 as well.
pub fn socket_address(address: Option<&Address>) -> Option<(SocketAddr, bool)> {
    let Some(AddressKind::SocketAddress(socket)) = address?.address.as_ref() else {
        return None;
    };
    if Protocol::try_from(socket.protocol) == Ok(Protocol::Udp) {
        return None;
    }
    let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else {
        return None;
    };
    let address: IpAddr = socket.address.parse().ok()?;
    Some((
        SocketAddr::new(address, u16::try_from(port).ok()?),
        socket.ipv4_compat,
    ))
}

/// All addresses of a listener.
pub fn addresses(listener: &Listener) -> Vec<(SocketAddr, bool)> {
    let additional = listener
        .config
        .additional_addresses
        .iter()
        .map(|additional| additional.address.as_ref());
    std::iter::once(listener.config.address.as_ref())
        .chain(additional)
        .filter_map(socket_address)
        .collect()
}

/// Whether the listener hands connections on by their original destination.
pub fn uses_original_dst(listener: &Listener) -> bool {
    listener
        .config
        .use_original_dst
        .as_ref()
        .is_some_and(|value| value.value)
}

/// Whether the ClientHello is read: only by a configured TLS inspector, whatever filter chains ask for.
pub fn inspects_tls(config: &ListenerConfig) -> bool {
    has_filter(config, "tls_inspector", "TlsInspector")
}

/// Whether a listener filter has this name, or a configuration of this message.
pub(crate) fn has_filter(config: &ListenerConfig, name: &str, message: &str) -> bool {
    config.listener_filters.iter().any(|filter| {
        let typed = matches!(&filter.config_type, Some(ConfigType::TypedConfig(any))
            if any.type_url.ends_with(&format!(".{message}")));
        typed || filter.name.strip_prefix("envoy.filters.listener.") == Some(name)
    })
}

impl Compiler<'_> {
    /// Compiles all listeners; the offsets of their records.
    pub fn listeners(&mut self, configurations: &[u64]) -> Vec<u64> {
        let snapshot = self.snapshot;
        let mut exact = Keys::default();
        let mut v4 = Keys::default();
        let mut v6 = Keys::default();
        let mut offsets = Vec::with_capacity(snapshot.listeners.len());
        let mut last_resort = 0;
        for (index, listener) in snapshot.listeners.iter().enumerate() {
            let offset = self.listener(index, listener, configurations);
            offsets.push(offset);
            for (address, v4_too) in addresses(listener) {
                // The kernel chooses this port.
                if address.port() == 0 {
                    continue;
                }
                let port = address.port().to_be_bytes();
                if address.ip().is_unspecified() {
                    if address.is_ipv4() || v4_too {
                        v4.exact.entry(port.to_vec()).or_insert(offset);
                    }
                    if address.is_ipv6() {
                        v6.exact.entry(port.to_vec()).or_insert(offset);
                    }
                } else {
                    let mut key = address_bytes(address.ip()).to_vec();
                    key.extend_from_slice(&port);
                    exact.exact.entry(key).or_insert(offset);
                }
            }
            if last_resort == 0 && uses_original_dst(listener) {
                last_resort = offset;
            }
        }
        let exact = if exact.is_empty() {
            0
        } else {
            self.arena.trie(&exact)
        };
        let v4 = self.arena.trie(&v4);
        let v6 = self.arena.trie(&v6);
        self.arena.set(header::LISTENERS, pair(exact, v4));
        self.arena
            .set(header::LISTENERS_BY_PORT, pair(v6, last_resort));
        offsets
    }

    fn listener(&mut self, index: usize, listener: &Listener, configurations: &[u64]) -> u64 {
        let mut chains = Vec::with_capacity(listener.filter_chains.len());
        for (position, chain) in listener.filter_chains.iter().enumerate() {
            let offset = self.filter_chain(index, Some(position), chain, configurations);
            let matched = chain
                .config
                .filter_chain_match
                .clone()
                .unwrap_or_else(FilterChainMatch::default);
            chains.push((matched, offset));
        }
        let default = match &listener.default_filter_chain {
            Some(chain) => self.filter_chain(index, None, chain, configurations),
            None => 0,
        };
        let matcher = listener.config.filter_chain_matcher.as_ref();
        let tree = match matcher.filter(|_| listener.unsupported.is_none()) {
            Some(matcher) => {
                let offsets = chains.iter().map(|(_, offset)| *offset);
                Some(self.filter_chain_matcher(index, listener, matcher, offsets))
            }
            None => None,
        };
        let root = if chains.is_empty() || matcher.is_some() {
            0
        } else {
            self.filter_chain_match(&chains)
        };
        let mut flags = if uses_original_dst(listener) {
            listener::USE_ORIGINAL_DST
        } else {
            0
        };
        if inspects_tls(&listener.config) {
            flags |= listener::INSPECTS_TLS;
        }
        if has_filter(&listener.config, "http_inspector", "HttpInspector") {
            flags |= listener::INSPECTS_HTTP;
        }
        if plain::connect_time(listener, self.snapshot, &self.plain_clusters) {
            flags |= listener::CONNECT_TIME;
        }
        if plain::by_request(listener) {
            flags |= listener::BY_REQUEST;
        }
        let (reason, tree) = match (&listener.unsupported, tree) {
            (Some(left), _) => (self.reason(left), 0),
            (None, Some(Err(left))) => (self.reason(&left), 0),
            (None, Some(Ok(tree))) => (unsupported::FILTER_CHAIN_MATCHER, tree),
            (None, None) => (0, 0),
        };
        let index = pair(index as u64, flags);
        self.arena
            .record([pair(root, default), reason, index, tree])
    }
}
