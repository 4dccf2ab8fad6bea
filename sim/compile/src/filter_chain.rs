//! Compiles the filter chain match of a listener: one node a level, in Envoy's order.

use std::collections::BTreeMap;
use std::net::IpAddr;

use envoy_types::pb::envoy::config::core::v3::{
    CidrRange, http_protocol_options::HeadersWithUnderscoresAction,
};
use envoy_types::pb::envoy::config::listener::v3::{
    FilterChainMatch, filter_chain_match::ConnectionSourceType,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager,
    http_connection_manager::{PathWithEscapedSlashesAction, StripPortMode},
};
use twinmesh_model::head::HEADERS;
use twinmesh_model::layout::{filter_chain, filter_chain_node, pair, unsupported};
use twinmesh_re2::{DEFAULT_STATE_CAP, Dfa};
use twinmesh_xds::{FilterChain, Terminal, Unsupported};

use crate::compiler::Compiler;
use crate::trie::Keys;
use crate::{managed_header, plain};

/// A filter chain's match and its record.
pub type Chain = (FilterChainMatch, u64);

impl Compiler<'_> {
    /// Compiles a filter chain; the offset of its record. `index` is `None` for the listener's
    /// default one; `configurations` are the route configurations' offsets.
    pub fn filter_chain(
        &mut self,
        listener: usize,
        index: Option<usize>,
        chain: &FilterChain,
        configurations: &[u64],
    ) -> u64 {
        let mut reason = chain.unsupported.clone();
        let mut normal = 0;
        let managed = managed_header::may_matter(chain, self.snapshot);
        let (kind, target) = match &chain.terminal {
            Terminal::Http {
                manager,
                route_configuration,
            } => {
                let configuration = route_configuration
                    .and_then(|index| configurations.get(index))
                    .copied();
                if configuration.is_none() && reason.is_none() {
                    reason = Some(Unsupported {
                        path: "route_specifier".to_owned(),
                        reason: "the snapshot does not hold the route configuration".to_owned(),
                    });
                }
                if managed {
                    self.headers_in_userspace((listener, index), chain);
                }
                if let Some(pattern) = left_alone(managed, manager) {
                    match self.paths_dfa(pattern) {
                        Ok(dfa) => normal = dfa,
                        Err(too_large) => {
                            reason.get_or_insert(Unsupported {
                                path: "normalize_path".to_owned(),
                                reason: too_large,
                            });
                        }
                    }
                }
                let plain = if plain::filter_chain(chain) {
                    filter_chain::PLAIN
                } else {
                    0
                };
                (
                    pair(filter_chain::HTTP, flags(manager) | plain),
                    pair(configuration.unwrap_or(0), limits(manager)),
                )
            }
            Terminal::Tcp(proxy) => (filter_chain::TCP, self.tcp_route(proxy)),
            Terminal::Unknown => {
                reason.get_or_insert(Unsupported {
                    path: "filters".to_owned(),
                    reason: "the filter chain has no terminal filter that is decided".to_owned(),
                });
                (0, 0)
            }
        };
        let mut filters = 0;
        let has_filters = !chain.http_filters.is_empty() || !chain.network_rbac.is_empty();
        if reason.is_none() && has_filters {
            match self.http_filters((listener, index), chain) {
                Ok(found) => filters = found,
                Err(undecided) => reason = Some(undecided),
            }
        }
        let reason = match filters {
            0 => self.reason_or_none(reason.as_ref()),
            _ => unsupported::FILTERS,
        };
        let inside = match &chain.terminal {
            Terminal::Http { manager, .. } => self.internal_addresses(manager),
            _ => 0,
        };
        let index = index.map_or(u64::from(u32::MAX), |index| index as u64);
        let record = self.arena.words(&[
            kind,
            target,
            index,
            pair(reason, normal),
            pair(filters, inside),
        ]);
        if managed {
            self.managed_chains.insert(record);
        }
        record
    }

    /// The offset of the DFA of a pattern of paths; compiled once, as all listeners of a mesh have
    /// the same.
    ///
    /// # Errors
    /// Why it has none.
    fn paths_dfa(&mut self, pattern: String) -> Result<u64, String> {
        if let Some(known) = self.paths_dfas.get(&pattern) {
            return known.clone();
        }
        let compiled = match Dfa::new(&pattern, DEFAULT_STATE_CAP) {
            Ok(dfa) => Ok(self.arena.dfa(&dfa)),
            Err(error) => Err(error.to_string()),
        };
        self.paths_dfas.insert(pattern, compiled.clone());
        compiled
    }

    /// Writes the levels of a listener's filter chain match; the first node, or 0.
    pub fn filter_chain_match(&mut self, chains: &[Chain]) -> u64 {
        let by_port = group(chains, |matched| match &matched.destination_port {
            Some(port) if port.value != 0 => vec![Some(port.value as u16)],
            _ => vec![None],
        });
        self.ports(
            filter_chain_node::DESTINATION_PORT,
            by_port,
            Self::destination_addresses,
        )
    }

    /// A level of ports.
    fn ports(
        &mut self,
        level: u64,
        groups: Groups<u16>,
        next: fn(&mut Self, &[Chain]) -> u64,
    ) -> u64 {
        let mut keys = Keys::default();
        let mut default = 0;
        for (port, chains) in groups {
            let node = next(self, &chains);
            match port {
                Some(port) => {
                    keys.exact.insert(port.to_be_bytes().to_vec(), node);
                }
                None => default = node,
            }
        }
        self.node(level, &keys, &Keys::default(), default)
    }

    fn destination_addresses(&mut self, chains: &[Chain]) -> u64 {
        let groups = group(chains, |matched| ranges(&matched.prefix_ranges));
        self.addresses(
            filter_chain_node::DESTINATION_ADDRESS,
            groups,
            Self::server_names,
        )
    }

    /// A level of address ranges.
    fn addresses(
        &mut self,
        level: u64,
        groups: Groups<Range>,
        next: fn(&mut Self, &[Chain]) -> u64,
    ) -> u64 {
        let mut v4: BTreeMap<Vec<u8>, (u8, u64)> = BTreeMap::new();
        let mut v6 = v4.clone();
        let mut default = 0;
        for (range, chains) in groups {
            let node = next(self, &chains);
            match range {
                None => default = node,
                Some((IpAddr::V4(address), length)) => {
                    expand(&mut v4, &address.octets(), length, node)
                }
                Some((IpAddr::V6(address), length)) => {
                    expand(&mut v6, &address.octets(), length, node)
                }
            }
        }
        let keys = |ranges: BTreeMap<Vec<u8>, (u8, u64)>| Keys {
            prefix: ranges
                .into_iter()
                .map(|(bytes, (_, node))| (bytes, node))
                .collect(),
            ..Keys::default()
        };
        self.node(level, &keys(v4), &keys(v6), default)
    }

    fn server_names(&mut self, chains: &[Chain]) -> u64 {
        let groups = group(chains, |matched| {
            // Envoy compares them in lower case.
            let names = matched.server_names.iter();
            let names: Vec<String> = names.map(|it| it.to_ascii_lowercase()).collect();
            texts(&names)
        });
        let mut exact = Keys::default();
        let mut suffixes = Keys::default();
        let mut default = 0;
        for (name, chains) in groups {
            let node = self.transport_protocols(&chains);
            match name {
                None => default = node,
                // Envoy files `*.x` as `.x` among the exact names, which a client may send too.
                Some(name) => {
                    let filed = name.strip_prefix('*').unwrap_or(&name);
                    if filed.starts_with('.') {
                        suffixes.prefix.insert(filed.bytes().rev().collect(), node);
                    }
                    exact.exact.insert(filed.as_bytes().to_vec(), node);
                }
            }
        }
        self.node(filter_chain_node::SERVER_NAME, &exact, &suffixes, default)
    }

    fn transport_protocols(&mut self, chains: &[Chain]) -> u64 {
        let groups = group(chains, |matched| {
            match matched.transport_protocol.as_str() {
                "" => vec![None],
                protocol => vec![Some(protocol.to_owned())],
            }
        });
        let (mut tls, mut raw, mut default) = (0, 0, 0);
        for (protocol, chains) in groups {
            let node = self.application_protocols(&chains);
            match protocol.as_deref() {
                None => default = node,
                Some("tls") => tls = node,
                Some("raw_buffer") => raw = node,
                // Other transport protocols are none that a connection here has.
                Some(_) => {}
            }
        }
        self.children(filter_chain_node::TRANSPORT_PROTOCOL, tls, raw, default)
    }

    fn application_protocols(&mut self, chains: &[Chain]) -> u64 {
        let groups = group(chains, |matched| texts(&matched.application_protocols));
        let mut keys = Keys::default();
        let mut default = 0;
        for (protocol, chains) in groups {
            let node = self.direct_sources(&chains);
            match protocol {
                Some(protocol) => {
                    keys.exact.insert(protocol.into_bytes(), node);
                }
                None => default = node,
            }
        }
        self.node(
            filter_chain_node::APPLICATION_PROTOCOL,
            &keys,
            &Keys::default(),
            default,
        )
    }

    fn direct_sources(&mut self, chains: &[Chain]) -> u64 {
        let groups = group(chains, |matched| {
            ranges(&matched.direct_source_prefix_ranges)
        });
        self.addresses(
            filter_chain_node::DIRECT_SOURCE_ADDRESS,
            groups,
            Self::source_types,
        )
    }

    fn source_types(&mut self, chains: &[Chain]) -> u64 {
        let groups = group(chains, |matched| vec![Some(matched.source_type)]);
        let (mut local, mut external, mut any) = (0, 0, 0);
        for (kind, chains) in groups {
            let node = self.sources(&chains);
            match kind.map(ConnectionSourceType::try_from) {
                Some(Ok(ConnectionSourceType::SameIpOrLoopback)) => local = node,
                Some(Ok(ConnectionSourceType::External)) => external = node,
                _ => any = node,
            }
        }
        self.children(filter_chain_node::SOURCE_TYPE, local, external, any)
    }

    fn sources(&mut self, chains: &[Chain]) -> u64 {
        let groups = group(chains, |matched| ranges(&matched.source_prefix_ranges));
        self.addresses(
            filter_chain_node::SOURCE_ADDRESS,
            groups,
            Self::source_ports,
        )
    }

    fn source_ports(&mut self, chains: &[Chain]) -> u64 {
        let groups = group(chains, |matched| {
            if matched.source_ports.is_empty() {
                vec![None]
            } else {
                matched
                    .source_ports
                    .iter()
                    .map(|&port| Some(port as u16))
                    .collect()
            }
        });
        self.ports(filter_chain_node::SOURCE_PORT, groups, |_, chains| {
            chains.first().map_or(0, |(_, chain)| *chain)
        })
    }

    /// A node with keys; without any, its default takes its place.
    fn node(&mut self, level: u64, low: &Keys, high: &Keys, default: u64) -> u64 {
        let mut root = |keys: &Keys| {
            if keys.is_empty() {
                0
            } else {
                self.arena.trie(keys)
            }
        };
        let (low, high) = (root(low), root(high));
        self.children(level, low, high, default)
    }

    fn children(&mut self, level: u64, low: u64, high: u64, default: u64) -> u64 {
        if low == 0 && high == 0 {
            return default;
        }
        self.arena
            .record([pair(low, high), default, pair(0, level), 0])
    }
}

type Groups<Key> = BTreeMap<Option<Key>, Vec<Chain>>;
type Range = (IpAddr, u8);

/// The chains by the keys that they have at a level; `None` where a chain has none.
fn group<Key: Ord>(
    chains: &[Chain],
    keys: impl Fn(&FilterChainMatch) -> Vec<Option<Key>>,
) -> Groups<Key> {
    let mut groups: Groups<Key> = BTreeMap::new();
    for chain in chains {
        for key in keys(&chain.0) {
            groups.entry(key).or_default().push(chain.clone());
        }
    }
    groups
}

fn texts(texts: &[String]) -> Vec<Option<String>> {
    if texts.is_empty() {
        vec![None]
    } else {
        texts.iter().cloned().map(Some).collect()
    }
}

/// Address ranges; the reader has refused what is none.
fn ranges(ranges: &[CidrRange]) -> Vec<Option<Range>> {
    if ranges.is_empty() {
        return vec![None];
    }
    ranges
        .iter()
        .filter_map(|range| {
            let address: IpAddr = range.address_prefix.parse().ok()?;
            let length = range
                .prefix_len
                .as_ref()
                .map_or(0, |length| length.value as u8);
            Some(Some((address, length)))
        })
        .collect()
}

/// Adds a range as byte prefixes: up to 128 where it ends within a byte. Of two ranges the longer
/// keeps what both cover.
fn expand(ranges: &mut BTreeMap<Vec<u8>, (u8, u64)>, octets: &[u8], length: u8, node: u64) {
    let whole = usize::from(length / 8);
    let bits = length % 8;
    let mut add = |bytes: Vec<u8>| {
        let place = ranges.entry(bytes).or_insert((length, node));
        if place.0 <= length {
            *place = (length, node);
        }
    };
    let start = octets.get(..whole).unwrap_or(octets).to_vec();
    match octets.get(whole) {
        Some(&octet) if bits != 0 => {
            let mask = 0xffu8 << (8 - bits);
            for last in 0..=!mask {
                let mut bytes = start.clone();
                bytes.push(octet & mask | last);
                add(bytes);
            }
        }
        _ => add(start),
    }
}

/// The flags of a connection manager.
fn flags(manager: &HttpConnectionManager) -> u64 {
    let mut flags = 0;
    if matches!(
        manager.strip_port_mode,
        Some(StripPortMode::StripAnyHostPort(true))
    ) {
        flags |= filter_chain::STRIP_ANY_PORT;
    }
    if manager.strip_matching_host_port {
        flags |= filter_chain::STRIP_MATCHING_PORT;
    }
    if manager.strip_trailing_host_dot {
        flags |= filter_chain::STRIP_TRAILING_DOT;
    }
    if manager
        .use_remote_address
        .as_ref()
        .is_some_and(|value| value.value)
        && manager.xff_num_trusted_hops == 0
    {
        flags |= filter_chain::OWN_FORWARDED_PROTO;
    }
    let underscores = manager
        .common_http_protocol_options
        .as_ref()
        .map_or(0, |options| options.headers_with_underscores_action);
    flags |= match HeadersWithUnderscoresAction::try_from(underscores) {
        Ok(HeadersWithUnderscoresAction::RejectRequest) => filter_chain::REJECT_UNDERSCORES,
        Ok(HeadersWithUnderscoresAction::DropHeader) => filter_chain::DROP_UNDERSCORES,
        _ => 0,
    };
    if let Some(options) = &manager.http_protocol_options {
        let no_absolute = options
            .allow_absolute_url
            .as_ref()
            .is_some_and(|value| !value.value);
        if options.allow_chunked_length || no_absolute {
            flags |= filter_chain::UNUSUAL_OPTIONS;
        }
    }
    flags
}

/// `max_request_headers_kb` and `max_headers_count`, 16 bits each.
fn limits(manager: &HttpConnectionManager) -> u64 {
    let kilobytes = manager
        .max_request_headers_kb
        .as_ref()
        .map_or(60, |limit| u64::from(limit.value));
    let count = manager
        .common_http_protocol_options
        .as_ref()
        .and_then(|options| options.max_headers_count.as_ref())
        .map_or(HEADERS, |limit| u64::from(limit.value));
    kilobytes.min(0xffff) | count.min(0xffff) << 16
}

/// The regex of paths (without query) of the requests that the connection manager does not change; `None`
/// where it changes none. `managed`: what it does to headers may matter ([`managed_header::may_matter`]).
pub fn left_alone(managed: bool, manager: &HttpConnectionManager) -> Option<String> {
    // No path has it.
    const NONE: &str = r"\x00";
    match managed {
        true => Some(NONE.to_owned()),
        false => unchanged_paths(manager),
    }
}

/// The regex of paths that the connection manager's options leave as they are; `None` where it has none
/// that change paths.
fn unchanged_paths(manager: &HttpConnectionManager) -> Option<String> {
    let normalize = manager
        .normalize_path
        .as_ref()
        .is_some_and(|value| value.value);
    let escaped = !matches!(
        PathWithEscapedSlashesAction::try_from(manager.path_with_escaped_slashes_action),
        Ok(PathWithEscapedSlashesAction::ImplementationSpecificDefault
            | PathWithEscapedSlashesAction::KeepUnchanged)
    );
    if normalize {
        // What normalisation decodes, escapes or turns, and the segments that it resolves.
        const CHANGED: &str = r#"%\\"<>^\x60{|}"#;
        let segment = format!(
            r"(?:[^/.{CHANGED}][^/{CHANGED}]*|\.[^/.;{CHANGED}][^/{CHANGED}]*|\.\.[^/;{CHANGED}][^/{CHANGED}]*)"
        );
        return Some(if manager.merge_slashes {
            format!("(?:/{segment})*/{segment}?")
        } else {
            format!("(?:/{segment}?)+")
        });
    }
    match (manager.merge_slashes, escaped) {
        (false, false) => None,
        (true, false) => Some(r"(?:/[^/]+)*/?".to_owned()),
        (false, true) => Some(r"(?:[^%]|%+[^25%]|%+2[^Ff%]|%+5[^Cc%])*(?:%+[25]?)?".to_owned()),
        (true, true) => Some(r"(?:/[^/%]+)*/?".to_owned()),
    }
}
