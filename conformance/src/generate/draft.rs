//! A request in the making: every part that a matcher asks about can be set by itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use twinmesh_engine::{ClientCertificate, Request};
use twinmesh_xds::Snapshot;

use super::connections;
use super::policies;
use super::setting::Setting;

/// Stands for the path of a CONNECT request, which has none.
pub(crate) const CONNECT: &str = "CONNECT";
/// The port of such a request where its host says none.
const PORT: &str = ":443";

/// A part of a request that matchers ask about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Dimension {
    /// The path without its query.
    Path,
    /// The method.
    Method,
    /// The host.
    Authority,
    /// A header, by its name in lower case.
    Header(String),
    /// A query parameter, by its name.
    QueryParameter(String),
    /// A cookie, by its name.
    Cookie(String),
    /// What became of the client's certificate, where the connection is TLS.
    ClientCertificate,
}

impl Dimension {
    /// The part that a header matcher of this name asks about; `None`: none that can be set.
    pub(crate) fn of_header(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            ":method" => Some(Self::Method),
            ":authority" | "host" => Some(Self::Authority),
            ":path" => Some(Self::Path),
            name if name.starts_with(':') => None,
            name => Some(Self::Header(name.to_owned())),
        }
    }
}

/// A request in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    connection: Request,
    path: String,
    headers: BTreeMap<String, Vec<String>>,
    parameters: BTreeMap<String, String>,
    cookies: BTreeMap<String, String>,
}

impl Draft {
    /// Starts with a connection, and the host and path that stand in its request.
    pub(crate) fn new(connection: Request) -> Self {
        Self {
            path: connection.path.clone(),
            headers: BTreeMap::new(),
            parameters: BTreeMap::new(),
            cookies: BTreeMap::new(),
            connection,
        }
    }

    /// Sets a part; no value takes a header or a query parameter away.
    pub(crate) fn set(&mut self, dimension: &Dimension, values: &[String]) {
        let first = values.first();
        match dimension {
            Dimension::Path => {
                if let Some(path) = first {
                    self.path.clone_from(path);
                }
            }
            Dimension::Method => {
                if let Some(method) = first {
                    self.connection.method.clone_from(method);
                }
            }
            Dimension::Authority => {
                if let Some(authority) = first {
                    self.connection.authority = Some(authority.clone());
                }
            }
            Dimension::Header(name) => {
                self.headers.insert(name.clone(), values.to_vec());
            }
            Dimension::QueryParameter(name) => match first {
                Some(value) => {
                    self.parameters.insert(name.clone(), value.clone());
                }
                None => {
                    self.parameters.remove(name);
                }
            },
            Dimension::Cookie(name) => match first {
                Some(value) => {
                    self.cookies.insert(name.clone(), value.clone());
                }
                None => {
                    self.cookies.remove(name);
                }
            },
            Dimension::ClientCertificate => {
                self.connection.client_certificate = match first.map(String::as_str) {
                    Some("presented") => Some(ClientCertificate::Presented),
                    Some(_) => Some(ClientCertificate::Validated),
                    None => None,
                };
                if self.connection.client_certificate.is_some() {
                    self.connection.tls.get_or_insert(true);
                }
            }
        }
    }

    /// Has the request be as the setting says.
    pub(crate) fn apply(&mut self, setting: &Setting, snapshot: &Snapshot) {
        let bound = policies::bound(snapshot, &self.connection);
        let connection = &mut self.connection;
        let to = connection.destination.unwrap_or(bound);
        let from = connection.source.unwrap_or(connections::SOURCE);
        match setting {
            Setting::Part(dimension, values) => self.set(dimension, values),
            Setting::Source(ip) => connection.source = Some(SocketAddr::new(*ip, from.port())),
            Setting::SourcePort(port) => {
                connection.source = Some(SocketAddr::new(from.ip(), *port));
            }
            Setting::Destination(ip) => {
                connection.destination = Some(SocketAddr::new(*ip, to.port()));
            }
            Setting::DestinationPort(port) => {
                connection.destination = Some(SocketAddr::new(to.ip(), *port));
            }
            Setting::ServerName(name) => {
                connection.sni = Some(name.clone());
                connection.tls = Some(true);
            }
            Setting::InTheClear => {
                connection.tls = None;
                (connection.sni, connection.alpn) = (None, None);
                connection.client_certificate = None;
            }
        }
    }

    /// The path without its query.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The same request on the connection of another.
    pub(crate) fn through(&self, other: &Self) -> Self {
        let mut draft = self.clone();
        let (own, other) = (&mut draft.connection, &other.connection);
        own.listener.clone_from(&other.listener);
        own.route_config.clone_from(&other.route_config);
        (own.destination, own.source) = (other.destination, other.source);
        own.sni.clone_from(&other.sni);
        own.alpn.clone_from(&other.alpn);
        (own.tls, own.client_certificate) = (other.tls, other.client_certificate);
        draft
    }

    /// Sets the request's random number.
    pub(crate) fn random(&mut self, random: u64) {
        self.connection.random = Some(random);
    }

    /// The request, without an id.
    pub(crate) fn request(&self) -> Request {
        let mut request = self.connection.clone();
        let tunnels = self.path == CONNECT;
        if tunnels {
            CONNECT.clone_into(&mut request.method);
            let authority = request.authority.clone().unwrap_or_default();
            let has_port = authority
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            request.path = authority;
            if !has_port {
                request.path.push_str(PORT);
            }
        } else {
            request.path.clone_from(&self.path);
        }
        let parameters = self.parameters.iter().filter(|_| !tunnels);
        for (index, (name, value)) in parameters.enumerate() {
            request.path.push(if index == 0 { '?' } else { '&' });
            request.path.push_str(name);
            request.path.push('=');
            request.path.push_str(value);
        }
        for (name, values) in &self.headers {
            let lines = values.iter().map(|value| (name.clone(), value.clone()));
            request.headers.extend(lines);
        }
        let cookies = self.cookies.iter();
        let cookies: Vec<String> = cookies
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if !cookies.is_empty() {
            let line = ("cookie".to_owned(), cookies.join("; "));
            request.headers.push(line);
        }
        if !request.is_tls() {
            request.client_certificate = None;
        }
        request
    }
}
