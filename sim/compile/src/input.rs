//! Lays a request out as the model's input.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use twinmesh_engine::{ClientCertificate, EngineError, Request};
use twinmesh_model::layout::{connection, input, work};

use crate::Compiled;
use crate::inspected;
use crate::listener::addresses;

/// Where a request is written to: an engine's work area and input.
pub trait Input {
    /// Writes a word of the work area.
    fn set_word(&mut self, index: u64, value: u64);
    /// Writes bytes of the input.
    fn set_bytes(&mut self, offset: u64, bytes: &[u8]);
    /// Bytes of head that fit.
    fn head_bytes(&self) -> u64;
}

/// An address in 16 bytes; IPv4 mapped into IPv6.
pub fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A v4-mapped address is an IPv4 connection.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl Compiled {
    /// Whether a listener is at this address, or at its port on all addresses.
    fn is_bound(&self, destination: SocketAddr) -> bool {
        let listeners = self.snapshot.listeners.iter().flat_map(addresses);
        let mut listeners = listeners.filter(|(address, _)| address.port() == destination.port());
        listeners.any(|(address, v4_too)| {
            let any = address.ip().is_unspecified();
            let family = address.is_ipv4() == destination.is_ipv4();
            address == destination || any && (family || v4_too)
        })
    }

    /// Writes what the model reads: the connection's ends, the names that it asked for, the head as
    /// a client would send it, and the random number. `sequence` differs from the one before.
    ///
    /// # Errors
    /// The request names a listener or a route configuration that the snapshot does not have, or
    /// names none where several fit.
    pub fn prepare<I: Input>(
        &self,
        request: &Request,
        random: u64,
        sequence: u64,
        to: &mut I,
    ) -> Result<(), EngineError> {
        self.lay_out(request, random, sequence, 0, to)
    }

    /// As [`Self::prepare`], with bits of [`connection`] set from the start.
    pub(crate) fn lay_out<I: Input>(
        &self,
        request: &Request,
        random: u64,
        sequence: u64,
        bits: u64,
        to: &mut I,
    ) -> Result<(), EngineError> {
        let error = |message: String| EngineError {
            engine: "sim",
            message: format!("request {}: {message}", request.id),
        };
        let configuration = match &request.route_config {
            Some(name) => *self.configurations.get(name).ok_or_else(|| {
                error(format!("the snapshot has no route configuration `{name}`"))
            })?,
            // A snapshot that is nothing but a route configuration.
            None if self.snapshot.listeners.is_empty() && self.configurations.len() == 1 => {
                self.configurations.values().next().copied().unwrap_or(0)
            }
            None => 0,
        };
        let mut nowhere = false;
        let listener = match &request.listener {
            Some(name) => self.listeners.get(name).copied().unwrap_or_else(|| {
                nowhere = true;
                0
            }),
            None if configuration == 0 && request.destination.is_none() => {
                let mut offsets = self.listeners.values();
                match (offsets.next(), offsets.next()) {
                    (Some(&only), None) => only,
                    (None, _) => 0,
                    _ => {
                        return Err(error(
                            "names no listener, destination or route_config, and the snapshot has several listeners"
                                .to_owned(),
                        ));
                    }
                }
            }
            None => 0,
        };
        if let (None, None, Some(destination)) = (
            &request.listener,
            &request.route_config,
            request.destination,
        ) && self.catching.len() > 1
            && !self.is_bound(canonical(destination))
        {
            return Err(error(format!(
                "{destination} fits several listeners ({}), and none is named",
                self.catching.join(", ")
            )));
        }
        let head = request.head();
        to.set_word(work::HEAD_LENGTH, head.len() as u64);
        to.set_word(work::LISTENER, listener);
        to.set_word(work::ROUTE_CONFIGURATION, configuration);
        to.set_word(work::RANDOM, random);
        to.set_word(work::SEQUENCE, sequence & 0xff_ffff_ffff);
        to.set_bytes(input::SLASH, b"/");
        to.set_bytes(input::HTTP, b"http");
        to.set_bytes(input::HTTPS, b"https");
        to.set_bytes(input::HTTP_1_1, b"http/1.1");
        let mut bits = bits;
        if request.is_tls() {
            bits |= connection::TLS;
        } else if !inspected::is_http(request) {
            bits |= connection::NO_REQUEST_LINE;
        }
        bits |= match request.client_certificate.filter(|_| request.is_tls()) {
            None => 0,
            Some(ClientCertificate::Presented) => connection::CERTIFICATE_PRESENTED,
            Some(ClientCertificate::Validated) => {
                connection::CERTIFICATE_PRESENTED | connection::CERTIFICATE_VALIDATED
            }
        };
        if nowhere {
            bits |= connection::NOWHERE;
        }
        // What a request does not say is its listener's address, and 0.0.0.0:0 as source.
        let bound = request
            .listener
            .as_ref()
            .or_else(|| self.listeners.keys().next());
        let bound = bound.and_then(|name| self.bound.get(name)).copied();
        let destination = request
            .destination
            .or(bound.filter(|_| listener != 0))
            .map(canonical);
        let source = Some(request.source.map_or(UNKNOWN, canonical));
        if let Some(address) = destination {
            bits |= if address.is_ipv4() {
                connection::DESTINATION_V4
            } else {
                connection::DESTINATION_V6
            };
            to.set_bytes(input::DESTINATION_ADDRESS, &address_bytes(address.ip()));
            to.set_bytes(input::DESTINATION_PORT, &address.port().to_be_bytes());
        }
        if let Some(address) = source {
            bits |= if address.is_ipv4() {
                connection::SOURCE_V4
            } else {
                connection::SOURCE_V6
            };
            to.set_bytes(input::SOURCE_ADDRESS, &address_bytes(address.ip()));
            to.set_bytes(input::SOURCE_PORT, &address.port().to_be_bytes());
            // Of the loopback network Envoy takes these two addresses only.
            let localhost = [
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
            ];
            if localhost.contains(&address.ip())
                || destination.is_some_and(|other| other.ip() == address.ip())
            {
                bits |= connection::LOCAL;
            }
        }
        to.set_word(work::CONNECTION, bits);
        let sni = request
            .sni
            .as_deref()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let fits = |text: &str, limit: u64| text.len() as u64 <= limit;
        if !fits(&sni, input::SERVER_NAME_BYTES) {
            return Err(error(format!(
                "sni has {} bytes; at most {} fit",
                sni.len(),
                input::SERVER_NAME_BYTES
            )));
        }
        to.set_word(work::SERVER_NAME_LENGTH, sni.len() as u64);
        to.set_bytes(input::SERVER_NAME, sni.as_bytes());
        let alpn = request.alpn.as_deref().unwrap_or_default();
        let protocols: Vec<&str> = alpn
            .split(',')
            .map(str::trim)
            .filter(|protocol| !protocol.is_empty())
            .collect();
        let alpn = protocols.join(",");
        if !fits(&alpn, input::APPLICATION_PROTOCOLS_BYTES) {
            return Err(error(format!(
                "alpn has {} bytes; at most {} fit",
                alpn.len(),
                input::APPLICATION_PROTOCOLS_BYTES
            )));
        }
        to.set_word(work::APPLICATION_PROTOCOLS_LENGTH, alpn.len() as u64);
        to.set_bytes(input::APPLICATION_PROTOCOLS, alpn.as_bytes());
        if head.len() as u64 <= to.head_bytes() {
            to.set_bytes(input::HEAD, &head);
        }
        Ok(())
    }
}
