//! Connections that a listener's matcher tree leads to a filter chain, and those right beside.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use envoy_types::pb::envoy::config::core::v3::CidrRange;
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use twinmesh_engine::Request;
use twinmesh_xds::Listener;

use super::connections::{Connection, SOURCE, boundaries, inside, plain};
use super::wish::{self, Asked, Wish};
use crate::matcher_tree::{decoded, walk};

/// Where a connection goes where nothing is asked of it.
const DESTINATION: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 255, 0, 1)), 80);

/// What a connection is to have, on the way down a tree.
#[derive(Debug, Clone, Default)]
struct Hints {
    destination: Option<IpAddr>,
    destination_port: Option<u16>,
    source: Option<IpAddr>,
    source_port: Option<u16>,
    server_name: Option<String>,
    protocols: Option<String>,
    tls: Option<bool>,
    local: bool,
}

/// Connections that the chain of this name may take, or none that a name leads to: the likeliest first.
/// `None` is the default chain.
pub(super) fn to_chain(listener: &Listener, matcher: &Matcher, name: Option<&str>) -> Vec<Request> {
    let mut leads: Vec<(Hints, Option<String>)> = Vec::new();
    walk(matcher, &mut |way, action| {
        if let Some(action) = action {
            let ways = wish::of_way(way).into_iter();
            leads.extend(ways.map(|wishes| (Hints::of(&wishes), decoded(action))));
        }
    });
    let mut found: Vec<Request> = Vec::new();
    let mut add = |hints: &Hints| {
        let request = hints.request(listener);
        if !found.contains(&request) {
            found.push(request);
        }
    };
    for (hints, leads_to) in &leads {
        if leads_to.as_deref() == name {
            add(hints);
        }
    }
    if name.is_none() {
        // Beside all that is asked for, or beside one part of it.
        add(&Hints::default());
        for (hints, _) in leads.iter().take(MOST) {
            let beside = |change: &dyn Fn(&mut Hints)| {
                let mut hints = hints.clone();
                change(&mut hints);
                hints
            };
            add(&beside(&|it| it.destination_port = Some(65_535)));
            add(&beside(&|it| it.destination = Some(DESTINATION.ip())));
            add(&beside(&|it| it.source = Some(SOURCE.ip())));
            add(&beside(&|it| {
                it.server_name = Some("nobody.invalid".to_owned())
            }));
            add(&beside(&|it| {
                it.protocols = Some("none-of-these".to_owned())
            }));
            add(&beside(&|it| it.tls = Some(it.tls != Some(true))));
        }
    }
    found.truncate(8 * MOST);
    found
}

/// Actions whose neighbours are tried.
const MOST: usize = 16;

/// The connection that the tree led somewhere, varied by one value at a time: at what the tree asks for, and
/// right beside.
pub(super) fn variations(matcher: &Matcher, taken: &Request) -> Vec<Connection> {
    let to = taken.destination.unwrap_or(DESTINATION);
    let from = taken.source.unwrap_or(SOURCE);
    let mut out: Vec<Connection> = Vec::new();
    let mut vary = |label: String, change: &dyn Fn(&mut Request)| {
        let mut request = taken.clone();
        change(&mut request);
        if !out.iter().any(|it| it.request == request) {
            out.push(Connection { label, request });
        }
    };
    for (input, value) in wish::asked(matcher) {
        let input = input.kind;
        match (input.as_str(), value) {
            ("DestinationIPInput", Asked::Range(range)) => {
                for (label, ip) in boundaries(&range) {
                    let label = format!("{input}: {label} of {}", range.address_prefix);
                    vary(label, &|request| {
                        request.destination = Some(SocketAddr::new(ip, to.port()));
                    });
                }
            }
            ("SourceIPInput" | "DirectSourceIPInput", Asked::Range(range)) => {
                for (label, ip) in boundaries(&range) {
                    let label = format!("{input}: {label} of {}", range.address_prefix);
                    vary(label, &|request| {
                        request.source = Some(SocketAddr::new(ip, from.port()));
                    });
                }
            }
            ("DestinationPortInput" | "SourcePortInput", Asked::Text(text)) => {
                let Ok(port) = text.parse::<u16>() else {
                    continue;
                };
                for port in [port, port.wrapping_add(1)] {
                    vary(format!("{input}: port {port}"), &|request| {
                        if input == "DestinationPortInput" {
                            request.destination = Some(SocketAddr::new(to.ip(), port));
                        } else {
                            request.source = Some(SocketAddr::new(from.ip(), port));
                        }
                    });
                }
            }
            (_, Asked::Text(text)) => {
                let mut hints = Hints::default();
                hints.say(&input, &text);
                vary(format!("{input}: {text}"), &|request| {
                    hints.put(request);
                });
            }
            (_, Asked::Range(_)) => {}
        }
    }
    out.truncate(4 * MOST);
    out
}

impl Hints {
    fn of(wishes: &[Wish]) -> Self {
        let mut hints = Self::default();
        for (input, asked) in wishes {
            match asked {
                Asked::Text(text) => hints.say(&input.kind, text),
                Asked::Range(range) => hints.range(&input.kind, range),
            }
        }
        hints
    }

    fn request(&self, listener: &Listener) -> Request {
        let mut request = plain();
        request.listener = Some(listener.name.clone());
        request.destination = Some(DESTINATION);
        request.source = Some(SOURCE);
        self.put(&mut request);
        request
    }

    fn put(&self, request: &mut Request) {
        let to = request.destination.unwrap_or(DESTINATION);
        let to = SocketAddr::new(
            self.destination.unwrap_or(to.ip()),
            self.destination_port.unwrap_or(to.port()),
        );
        request.destination = Some(to);
        let from = request.source.unwrap_or(SOURCE);
        let ip = match self.local {
            true => to.ip(),
            false => self.source.unwrap_or(from.ip()),
        };
        request.source = Some(SocketAddr::new(ip, self.source_port.unwrap_or(from.port())));
        if self.server_name.is_some() {
            request.sni.clone_from(&self.server_name);
        }
        if self.protocols.is_some() {
            request.alpn.clone_from(&self.protocols);
        }
        if self.tls.is_some() {
            request.tls = self.tls;
        }
    }

    /// Has the input say this.
    fn say(&mut self, input: &str, text: &str) {
        match input {
            "DestinationIPInput" => self.destination = text.parse().ok(),
            "DestinationPortInput" => self.destination_port = text.parse().ok(),
            "SourceIPInput" | "DirectSourceIPInput" => self.source = text.parse().ok(),
            "SourcePortInput" => self.source_port = text.parse().ok(),
            "ServerNameInput" => {
                self.server_name = Some(text.to_owned());
                self.tls = Some(true);
            }
            "TransportProtocolInput" => self.tls = Some(text == "tls"),
            // In the clear the inspector tells HTTP/1.1 by itself.
            "ApplicationProtocolInput" if text == "'http/1.1'" => {}
            "ApplicationProtocolInput" => {
                self.protocols = Some(text.replace('\'', ""));
                self.tls = Some(true);
            }
            "SourceTypeInput" => self.local = text == "local",
            _ => {}
        }
    }

    /// Has the input say an address of the range.
    fn range(&mut self, input: &str, range: &CidrRange) {
        if let Some(ip) = inside(range) {
            self.say(input, &ip.to_string());
        }
    }
}
