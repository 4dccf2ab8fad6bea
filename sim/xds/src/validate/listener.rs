//! Listeners, filter chains and connection managers.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use envoy_types::pb::envoy::{
    config::{
        core::v3::{Address, address, socket_address::PortSpecifier},
        listener::v3::{FilterChainMatch, Listener},
    },
    extensions::filters::network::http_connection_manager::v3::{
        HttpConnectionManager, http_connection_manager::StripPortMode,
    },
};

use super::{check_address, check_cidr};
use crate::{
    classify::{ROUTER, content_type},
    error::ReadError,
    path::Path,
    source::Source,
    view::View,
};

pub(crate) fn check(config: &Listener, path: &Path, source: &Source<'_>) -> Result<(), ReadError> {
    let is_internal = config.listener_specifier.is_some();
    if is_internal {
        check_internal(config, path, source)?;
    }
    match &config.address {
        Some(Address {
            address: Some(address::Address::EnvoyInternalAddress(_)),
        }) => {
            let problem = "an internal listener has internal_listener instead of an address";
            return Err(source.invalid(&path.field("address"), problem));
        }
        Some(address) => {
            check_address(address, &path.field("address"), source)?;
            check_compat(address, &path.field("address"), source)?;
        }
        None if is_internal || config.api_listener.is_some() => {}
        None => return Err(source.invalid(path, "address is required")),
    }
    for (index, additional) in config.additional_addresses.iter().enumerate() {
        if let Some(address) = &additional.address {
            let path = path.item("additional_addresses", index).field("address");
            check_address(address, &path, source)?;
            check_compat(address, &path, source)?;
        }
    }
    let has_chains = !config.filter_chains.is_empty()
        || config.default_filter_chain.is_some()
        || config.fcds_config.is_some();
    if !has_chains && config.udp_listener_config.is_none() && config.api_listener.is_none() {
        return Err(source.invalid(path, "at least one filter chain is required"));
    }
    check_chains(config, path, source)
}

/// Refuses what has no place beside `internal_listener`: addresses, and what is asked of sockets.
fn check_internal(config: &Listener, path: &Path, source: &Source<'_>) -> Result<(), ReadError> {
    let fields = [
        ("address", config.address.is_some()),
        (
            "additional_addresses",
            !config.additional_addresses.is_empty(),
        ),
        (
            "connection_balance_config",
            config.connection_balance_config.is_some(),
        ),
        ("enable_mptcp", config.enable_mptcp),
        ("enable_reuse_port", config.enable_reuse_port.is_some()),
        ("freebind", config.freebind.is_some()),
        ("socket_options", !config.socket_options.is_empty()),
        ("tcp_backlog_size", config.tcp_backlog_size.is_some()),
        (
            "tcp_fast_open_queue_length",
            config.tcp_fast_open_queue_length.is_some(),
        ),
        ("transparent", config.transparent.is_some()),
    ];
    match fields.into_iter().find(|(_, is_set)| *is_set) {
        Some((field, _)) => {
            let problem = "an internal listener has no socket";
            Err(source.invalid(&path.field(field), problem))
        }
        None => Ok(()),
    }
}

/// Refuses a second listener at an address of a first one, whether they bind to it or not. Ports
/// that the kernel chooses differ, and so do TCP and UDP; of several listeners of one name, which
/// only a bootstrap may have, Envoy looks at the first.
pub(crate) fn check_addresses<'c>(
    listeners: impl Iterator<Item = (&'c Listener, &'c Path)>,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    let mut names = HashSet::new();
    let mut seen: HashMap<Bound<'_>, &Path> = HashMap::new();
    for (listener, path) in listeners {
        if !listener.name.is_empty() && !names.insert(listener.name.as_str()) {
            continue;
        }
        let own = listener.address.as_ref();
        let own = own.map(|address| (address, path.field("address")));
        let additional = listener.additional_addresses.iter().enumerate();
        let additional = additional.filter_map(|(index, additional)| {
            let path = path.item("additional_addresses", index).field("address");
            Some((additional.address.as_ref()?, path))
        });
        // A listener may list an address of its own twice.
        let mut all = HashSet::new();
        for (address, at) in own.into_iter().chain(additional) {
            let Some(bound) = bound(address) else {
                continue;
            };
            if let Some(first) = seen.get(&bound) {
                return Err(source.invalid(
                    &at,
                    format!("a second listener at this address; the first is {first}"),
                ));
            }
            all.insert(bound);
        }
        seen.extend(all.into_iter().map(|bound| (bound, path)));
    }
    Ok(())
}

/// What a listener binds to.
#[derive(PartialEq, Eq, Hash)]
enum Bound<'a> {
    Socket {
        protocol: i32,
        address: IpAddr,
        port: u32,
        network_namespace: &'a str,
    },
    Pipe(&'a str),
}

fn bound(address: &Address) -> Option<Bound<'_>> {
    match address.address.as_ref()? {
        address::Address::SocketAddress(socket) => match socket.port_specifier {
            Some(PortSpecifier::PortValue(port)) if port != 0 => Some(Bound::Socket {
                protocol: socket.protocol,
                address: socket.address.parse().ok()?,
                port,
                network_namespace: &socket.network_namespace_filepath,
            }),
            _ => None,
        },
        address::Address::Pipe(pipe) => Some(Bound::Pipe(&pipe.path)),
        address::Address::EnvoyInternalAddress(_) => None,
    }
}

/// What a filter chain matches on, one set of values a property; an empty set, or an empty name in
/// one, is any value.
struct Matched {
    destination_port: Option<u32>,
    destination: BTreeSet<(IpAddr, u32)>,
    server_names: BTreeSet<String>,
    transport_protocol: String,
    application_protocols: BTreeSet<String>,
    direct_source: BTreeSet<(IpAddr, u32)>,
    source_type: i32,
    source: BTreeSet<(IpAddr, u32)>,
    source_ports: BTreeSet<u32>,
}

impl Matched {
    /// Whether some connection's properties are listed by both, so that neither is more specific.
    fn overlaps(&self, other: &Matched) -> bool {
        fn share<T: Ord>(left: &BTreeSet<T>, right: &BTreeSet<T>) -> bool {
            if left.is_empty() || right.is_empty() {
                return left.is_empty() && right.is_empty();
            }
            left.intersection(right).next().is_some()
        }
        self.destination_port == other.destination_port
            && share(&self.destination, &other.destination)
            && share(&self.server_names, &other.server_names)
            && self.transport_protocol == other.transport_protocol
            && share(&self.application_protocols, &other.application_protocols)
            && share(&self.direct_source, &other.direct_source)
            && self.source_type == other.source_type
            && share(&self.source, &other.source)
            && share(&self.source_ports, &other.source_ports)
    }
}

/// Refuses two filter chains that match the same.
fn check_chains(config: &Listener, path: &Path, source: &Source<'_>) -> Result<(), ReadError> {
    // The matcher tree replaces what the chains say.
    if config.filter_chain_matcher.is_some() {
        return Ok(());
    }
    let mut all = Vec::with_capacity(config.filter_chains.len());
    for (index, chain) in config.filter_chains.iter().enumerate() {
        let path = path
            .item("filter_chains", index)
            .field("filter_chain_match");
        let empty = FilterChainMatch::default();
        let matched = chain.filter_chain_match.as_ref().unwrap_or(&empty);
        all.push(matched_by(matched, &path, source)?);
    }
    // Chains can overlap only where they share a server name, or both have none.
    let mut groups: HashMap<(Option<u32>, &str), Vec<usize>> = HashMap::new();
    for (index, matched) in all.iter().enumerate() {
        for name in &matched.server_names {
            let group = groups
                .entry((matched.destination_port, name.as_str()))
                .or_default();
            for other in group.iter() {
                if all.get(*other).is_some_and(|other| other.overlaps(matched)) {
                    return Err(source.invalid(
                        &path.item("filter_chains", index),
                        format!(
                            "it matches the same connections as {}",
                            path.item("filter_chains", *other)
                        ),
                    ));
                }
            }
            group.push(index);
        }
    }
    Ok(())
}

fn matched_by(
    matched: &FilterChainMatch,
    path: &Path,
    source: &Source<'_>,
) -> Result<Matched, ReadError> {
    if !matched.address_suffix.is_empty() || matched.suffix_len.is_some() {
        return Err(source.invalid(path, "address_suffix and suffix_len are not implemented"));
    }
    for (index, name) in matched.server_names.iter().enumerate() {
        let rest = name.strip_prefix("*.").unwrap_or(name);
        if rest.contains('*') {
            return Err(source.invalid(
                &path.item("server_names", index),
                format!("\"*\" may stand only as a first label, {name:?} found"),
            ));
        }
    }
    let ranges = |ranges: &[_], field: &'static str| {
        let canonical = ranges
            .iter()
            .enumerate()
            .map(|(index, range)| check_cidr(range, &path.item(field, index), source))
            .collect::<Result<Vec<_>, _>>()?;
        distinct(canonical, field, path, source)
    };
    // An empty name stands for any, as no name does.
    let names = |names: &[String], field: &'static str| {
        let mut names: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        if names.is_empty() {
            names.push(String::new());
        }
        distinct(names, field, path, source)
    };
    Ok(Matched {
        destination_port: matched.destination_port.map(|port| port.value),
        destination: ranges(&matched.prefix_ranges, "prefix_ranges")?,
        server_names: names(&matched.server_names, "server_names")?,
        transport_protocol: matched.transport_protocol.clone(),
        application_protocols: distinct(
            if matched.application_protocols.is_empty() {
                vec![String::new()]
            } else {
                matched.application_protocols.clone()
            },
            "application_protocols",
            path,
            source,
        )?,
        direct_source: ranges(
            &matched.direct_source_prefix_ranges,
            "direct_source_prefix_ranges",
        )?,
        source_type: matched.source_type,
        source: ranges(&matched.source_prefix_ranges, "source_prefix_ranges")?,
        source_ports: distinct(matched.source_ports.clone(), "source_ports", path, source)?,
    })
}

/// A chain that lists a value twice matches the same connections twice, which Envoy refuses too.
fn distinct<T: Ord>(
    values: Vec<T>,
    field: &'static str,
    path: &Path,
    source: &Source<'_>,
) -> Result<BTreeSet<T>, ReadError> {
    let mut set = BTreeSet::new();
    for (index, value) in values.into_iter().enumerate() {
        if !set.insert(value) {
            return Err(source.invalid(&path.item(field, index), "it stands twice in the chain"));
        }
    }
    Ok(set)
}

pub(crate) fn check_manager(
    manager: &HttpConnectionManager,
    path: &Path,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    let any = matches!(
        manager.strip_port_mode,
        Some(StripPortMode::StripAnyHostPort(true))
    );
    if any && manager.strip_matching_host_port {
        return Err(source.invalid(
            path,
            "only one of strip_matching_host_port and strip_any_host_port may be set",
        ));
    }
    let mut seen = HashSet::new();
    for (index, config) in manager.upgrade_configs.iter().enumerate() {
        if !seen.insert(config.upgrade_type.to_ascii_lowercase()) {
            let path = path.item("upgrade_configs", index).field("upgrade_type");
            let problem = format!("a second upgrade of the type {:?}", config.upgrade_type);
            return Err(source.invalid(&path, problem));
        }
    }
    let inside = manager.internal_address_config.iter();
    for (index, range) in inside.flat_map(|it| &it.cidr_ranges).enumerate() {
        let path = path.field("internal_address_config");
        check_cidr(range, &path.item("cidr_ranges", index), source)?;
    }
    Ok(())
}

/// Refuses filters without a configuration: Envoy finds none by its name. `is_optional` makes it skip an
/// HTTP filter instead.
pub(crate) fn check_configured(
    of: &View<'_>,
    field: &'static str,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    check_all_configured(&of.children(field), source)
}

/// As [`check_configured`], of these filters.
pub(super) fn check_all_configured(
    filters: &[View<'_>],
    source: &Source<'_>,
) -> Result<(), ReadError> {
    for filter in filters {
        let is_given = filter.has("typed_config") || filter.has("config_discovery");
        if !is_given && filter.number("is_optional") == 0 {
            let problem = "typed_config is required: Envoy finds no extension by its name";
            return Err(source.invalid(&filter.path, problem));
        }
    }
    Ok(())
}

/// `ipv4_compat` is for `::` and for IPv4 addresses in IPv6 ones.
fn check_compat(address: &Address, path: &Path, source: &Source<'_>) -> Result<(), ReadError> {
    let Some(address::Address::SocketAddress(socket)) = &address.address else {
        return Ok(());
    };
    let fits = match socket.address.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => address.is_unspecified() || address.to_ipv4_mapped().is_some(),
        Ok(IpAddr::V4(_)) => false,
        Err(_) => true,
    };
    if socket.ipv4_compat && !fits {
        let path = path.field("socket_address").field("ipv4_compat");
        let problem = format!(
            "it may stand only beside :: and IPv4-mapped IPv6 addresses, {:?} found",
            socket.address
        );
        return Err(source.invalid(&path, problem));
    }
    Ok(())
}

/// A router ends its manager's filters: none stands after it, and it is not disabled.
pub(crate) fn check_filters(manager: &View<'_>, source: &Source<'_>) -> Result<(), ReadError> {
    check_configured(manager, "http_filters", source)?;
    let filters = manager.children("http_filters");
    for (index, filter) in filters.iter().enumerate() {
        let is_router = filter
            .any("typed_config")
            .is_some_and(|any| content_type(&any) == ROUTER);
        if !is_router {
            continue;
        }
        if index + 1 < filters.len() {
            let problem = "a router must be the last of the HTTP filters";
            return Err(source.invalid(&filter.path, problem));
        }
        if filter.number("disabled") != 0 {
            let problem = "the last of the HTTP filters may not be disabled";
            return Err(source.invalid(&filter.path.field("disabled"), problem));
        }
    }
    Ok(())
}
