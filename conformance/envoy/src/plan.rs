//! How each request gets to Envoy, or why it does not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use envoy_types::pb::envoy::config::core::v3::{address::Address, socket_address::PortSpecifier};
use envoy_types::pb::envoy::config::listener::v3::FilterChainMatch;
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use prost::Message as _;
use twinmesh_engine::Request;
use twinmesh_xds::{FilterChain, Listener, Snapshot, Terminal};

use crate::override_host::OverrideHosts;
use crate::rewrite;
use crate::tls::Tls;

/// Where connections come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entry {
    /// Envoy finds the listener by the destination.
    Front,
    /// At this listener: index into `Snapshot::listeners`.
    Listener(usize),
    /// At this route configuration: index into `Snapshot::route_configurations`.
    Routes(usize),
}

impl Entry {
    /// The name of its listener, of the snapshot of this number.
    pub fn name(self, generation: usize) -> String {
        match self {
            Self::Front => format!("entry-{generation}-front"),
            Self::Listener(index) => format!("entry-{generation}-listener-{index}"),
            Self::Routes(index) => format!("entry-{generation}-routes-{index}"),
        }
    }
}

/// A connection's ends, as the PROXY header says them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ends {
    /// The client's.
    pub source: SocketAddr,
    /// What it connected to.
    pub destination: SocketAddr,
}

/// Over which connections a request may be sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Way {
    /// Where they come in.
    pub entry: Entry,
    /// Their ends; none at an entry to a route configuration.
    pub ends: Option<Ends>,
    /// What the client says over TLS; none where it speaks none.
    pub tls: Option<Tls>,
}

/// What is done with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// It is sent.
    Send {
        /// Over such a connection.
        way: Way,
        /// Which nothing else is sent over.
        alone: bool,
    },
    /// It cannot be, for this reason.
    Cannot(String),
}

/// Plans the requests over one snapshot.
pub struct Planner<'a> {
    snapshot: &'a Snapshot,
    decides_once: bool,
    override_hosts: &'a OverrideHosts,
}

/// Stands for a source that nobody gives.
const CLIENT: u16 = 40_000;

impl<'a> Planner<'a> {
    /// For this snapshot, whose endpoints these headers name.
    pub fn new(snapshot: &'a Snapshot, override_hosts: &'a OverrideHosts) -> Self {
        Self {
            snapshot,
            override_hosts,
            decides_once: chains(snapshot.listeners.iter()).any(|chain| {
                let is_http = matches!(chain.terminal, Terminal::Http { .. });
                !is_http || !chain.network_rbac.is_empty()
            }),
        }
    }

    /// How this request is sent.
    pub fn plan(&self, request: &Request) -> Plan {
        match self.way(request) {
            Ok(way) => Plan::Send {
                way,
                // A TCP proxy decides once for a connection, and so do network filters.
                alone: self.decides_once || stands_alone(request),
            },
            Err(reason) => Plan::Cannot(reason),
        }
    }

    fn way(&self, request: &Request) -> Result<Way, String> {
        if let Some(reason) = self.override_hosts.why_not(request) {
            return Err(reason);
        }
        let (entry, ends) = self.place(request)?;
        let tls = match entry {
            _ if !request.is_tls() => None,
            Entry::Routes(_) => {
                return Err("it comes over TLS, and names a route configuration".to_owned());
            }
            Entry::Front | Entry::Listener(_) => Some(Tls::new(
                request.sni.as_deref(),
                request.alpn.as_deref(),
                request.client_certificate,
            )?),
        };
        Ok(Way { entry, ends, tls })
    }

    /// Where it comes in, and between which ends.
    fn place(&self, request: &Request) -> Result<(Entry, Option<Ends>), String> {
        if let Some(name) = &request.route_config {
            let mut all = self.snapshot.route_configurations.iter();
            let index = all.position(|it| &it.name == name);
            let index = index.ok_or_else(|| format!("there is no route configuration `{name}`"))?;
            return Ok((Entry::Routes(index), None));
        }
        let listeners = &self.snapshot.listeners;
        if let Some(name) = &request.listener {
            let index = listeners.iter().position(|it| &it.name == name);
            let index = index.ok_or_else(|| format!("there is no listener `{name}`"))?;
            return self.at_listener(request, index);
        }
        if listeners.is_empty() && self.snapshot.route_configurations.len() == 1 {
            return Ok((Entry::Routes(0), None));
        }
        let Some(destination) = request.destination else {
            return match listeners.len() {
                1 => self.at_listener(request, 0),
                count => Err(format!(
                    "it names neither listener nor destination, and there are {count} listeners"
                )),
            };
        };
        // What no listener is at is taken by the one that takes all that was redirected to it.
        let mut catching = listeners.iter().enumerate().filter(|(_, listener)| {
            let hands_on = listener.config.use_original_dst.as_ref();
            hands_on.is_some_and(|it| it.value)
        });
        match (catching.next(), catching.next()) {
            (Some((index, _)), None) => self.at_listener(request, index),
            _ => {
                let ends = self.ends(self.snapshot.listeners.iter(), request, destination)?;
                Ok((Entry::Front, Some(ends)))
            }
        }
    }

    fn at_listener(
        &self,
        request: &Request,
        index: usize,
    ) -> Result<(Entry, Option<Ends>), String> {
        let listener = self
            .snapshot
            .listeners
            .get(index)
            .ok_or("no such listener")?;
        if !rewrite::is_tcp(&listener.config) {
            return Err(format!(
                "listener `{}` takes no TCP connections at an address",
                listener.name
            ));
        }
        let destination = match request.destination {
            Some(destination) => destination,
            None => self.own_address(listener)?,
        };
        let ends = self.ends(std::iter::once(listener), request, destination)?;
        Ok((Entry::Listener(index), Some(ends)))
    }

    /// The listener's address, as the destination of a request that gives none.
    fn own_address(&self, listener: &Listener) -> Result<SocketAddr, String> {
        let address = listener
            .config
            .address
            .as_ref()
            .and_then(|it| it.address.as_ref());
        let Some(Address::SocketAddress(socket)) = address else {
            return Err(format!("listener `{}` has no IP address", listener.name));
        };
        let ip: IpAddr = socket
            .address
            .parse()
            .map_err(|_| format!("listener `{}` is at {}", listener.name, socket.address))?;
        let port = match socket.port_specifier {
            Some(PortSpecifier::PortValue(port)) => u16::try_from(port).unwrap_or_default(),
            _ => 0,
        };
        if !ip.is_unspecified() {
            return Ok(SocketAddr::new(ip, port));
        }
        let listener = std::iter::once(listener);
        let of_tree = ["DestinationIPInput", "SourceTypeInput"];
        if matches(listener, |it| !it.prefix_ranges.is_empty(), &of_tree) {
            return Err(
                "filter chains match on the destination address, and it gives none".to_owned(),
            );
        }
        Ok(SocketAddr::new(loopback(ip), port))
    }

    /// The ends of a connection to one of these listeners.
    fn ends(
        &self,
        listeners: impl Iterator<Item = &'a Listener> + Clone,
        request: &Request,
        destination: SocketAddr,
    ) -> Result<Ends, String> {
        if matches(
            listeners.clone(),
            |it| !it.direct_source_prefix_ranges.is_empty(),
            &["DirectSourceIPInput"],
        ) {
            return Err(
                "filter chains match on the direct source, which no PROXY header says".to_owned(),
            );
        }

        let canonical = |it: SocketAddr| SocketAddr::new(it.ip().to_canonical(), it.port());
        let destination = canonical(destination);
        let source = match request.source {
            Some(source) => canonical(source),
            None if matches(listeners, matches_source, &OF_SOURCE) => {
                return Err("filter chains match on the source, and it gives none".to_owned());
            }
            None => SocketAddr::new(loopback(destination.ip()), CLIENT),
        };
        if source.is_ipv4() != destination.is_ipv4() {
            return Err(format!(
                "no PROXY header says a connection from {source} to {destination}"
            ));
        }
        for (end, name) in [(source, "source"), (destination, "destination")] {
            let is_broadcast = end.ip() == IpAddr::V4(Ipv4Addr::BROADCAST);
            if end.ip().is_unspecified() || end.ip().is_multicast() || is_broadcast {
                return Err(format!("its {name} {end} is no address of a connection"));
            }
        }
        Ok(Ends {
            source,
            destination,
        })
    }
}

/// Of the same family.
fn loopback(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

fn chains<'a>(
    listeners: impl Iterator<Item = &'a Listener>,
) -> impl Iterator<Item = &'a FilterChain> {
    listeners.flat_map(Listener::all_filter_chains)
}

/// Inputs that say something of the source.
const OF_SOURCE: [&str; 3] = ["SourceIPInput", "SourcePortInput", "SourceTypeInput"];

/// Whether a filter chain of these listeners matches on this, or a matcher tree, which takes the place of
/// what the chains ask for, on one of these inputs.
fn matches<'a>(
    mut listeners: impl Iterator<Item = &'a Listener>,
    wanted: fn(&FilterChainMatch) -> bool,
    inputs: &[&str],
) -> bool {
    listeners.any(|listener| match &listener.config.filter_chain_matcher {
        Some(matcher) => inputs.iter().any(|input| looks_at(matcher, input)),
        None => chains(std::iter::once(listener))
            .filter_map(|chain| chain.config.filter_chain_match.as_ref())
            .any(wanted),
    })
}

/// Whether an input of this type stands anywhere in the tree, also inside of other extensions.
fn looks_at(matcher: &Matcher, input: &str) -> bool {
    let name = format!("/envoy.extensions.matching.common_inputs.network.v3.{input}");
    let bytes = matcher.encode_to_vec();
    bytes
        .windows(name.len())
        .any(|window| window == name.as_bytes())
}

fn matches_source(it: &FilterChainMatch) -> bool {
    !(it.source_prefix_ranges.is_empty() && it.source_ports.is_empty() && it.source_type == 0)
}

/// Whether what follows the request on its connection could be taken for a part of it, or it for
/// the beginning of another protocol.
fn stands_alone(request: &Request) -> bool {
    const FRAMING: [&str; 5] = [
        "connection",
        "content-length",
        "expect",
        "transfer-encoding",
        "upgrade",
    ];
    let frames = |name: &str| {
        let name = name.trim();
        FRAMING.iter().any(|it| name.eq_ignore_ascii_case(it))
    };
    let method = request.method.trim();
    method.eq_ignore_ascii_case("CONNECT")
        || method == "PRI"
        || request.headers.iter().any(|(name, _)| frames(name))
}
