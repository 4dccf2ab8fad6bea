//! One request of a traffic file.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// What the server knows of a client's certificate (`RouteMatch.tls_context`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificate {
    /// The client presented one, which was not validated.
    Presented,
    /// The client presented one, which was validated.
    Validated,
}

/// A line of a `*.traffic.jsonl` file, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Unique in the file.
    pub id: String,
    /// `:method`.
    #[serde(default = "get", skip_serializing_if = "is_get")]
    pub method: String,
    /// `:scheme`.
    #[serde(default = "http", skip_serializing_if = "is_http")]
    pub scheme: String,
    /// `:authority` or Host; `None`: the request has none.
    #[serde(default)]
    pub authority: Option<String>,
    /// The request target, with its query.
    #[serde(default = "slash")]
    pub path: String,
    /// In wire order, repeats kept; never host or pseudo headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The connection's peer.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "connection_end"
    )]
    pub source: Option<SocketAddr>,
    /// What the connection asked for, before any redirection.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "connection_end"
    )]
    pub destination: Option<SocketAddr>,
    /// Names the accepting listener outright.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// Names the route configuration outright.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_config: Option<String>,
    /// Server name of the TLS ClientHello.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// The client's ALPN list, comma-separated, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpn: Option<String>,
    /// Whether the connection is TLS; absent: it is where `sni` or `alpn` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<bool>,
    /// What became of the client's certificate; absent: the client presented none, or the connection
    /// is not TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
    /// The request's one random number; absent: drawn from the run's seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<u64>,
    /// Arrival in microseconds; absent: equal to the line before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_us: Option<u64>,
    /// How long the endpoint holds the request, in microseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub duration_us: u64,
    /// Requests with one value share a kept-alive connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
}

/// What a traffic file leaves out: `GET /` over `http`, and nothing else is said.
impl Default for Request {
    fn default() -> Self {
        Self {
            id: String::new(),
            method: get(),
            scheme: http(),
            authority: None,
            path: slash(),
            headers: Vec::new(),
            source: None,
            destination: None,
            listener: None,
            route_config: None,
            sni: None,
            alpn: None,
            tls: None,
            client_certificate: None,
            random: None,
            time_us: None,
            duration_us: 0,
            connection: None,
        }
    }
}

fn connection_end<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    parse_connection_end(&text)
        .map(Some)
        .map_err(D::Error::custom)
}

/// Reads `ip:port`, an IPv6 address in brackets.
///
/// # Errors
/// What is wrong with it.
pub fn parse_connection_end(text: &str) -> Result<SocketAddr, String> {
    let expected = "expected `ip:port`, an IPv6 address in brackets";
    text.parse().map_err(|_| {
        if text.parse::<Ipv6Addr>().is_ok() {
            return bare_ipv6(text);
        }
        let Some((ip, port)) = text.rsplit_once(':') else {
            return format!("{expected}, found `{text}`, which has no port");
        };
        let ip = ip
            .strip_prefix('[')
            .map_or(ip, |ip| ip.trim_end_matches(']'));
        if ip.parse::<IpAddr>().is_err() {
            format!("{expected}, found `{text}`, in which `{ip}` is no IP address")
        } else {
            format!("{expected}, found `{text}`, in which `{port}` is no port from 0 to 65535")
        }
    })
}

/// What is said of an IPv6 address without brackets, of which nobody knows where its port starts.
fn bare_ipv6(text: &str) -> String {
    let with_port = text
        .rsplit_once(':')
        .filter(|(ip, port)| ip.parse::<Ipv6Addr>().is_ok() && port.parse::<u16>().is_ok());
    let meant = match with_port {
        Some((ip, port)) => format!("`[{ip}]:{port}`, or `[{text}]:PORT`"),
        None => format!("`[{text}]:PORT`"),
    };
    format!("found `{text}`: an IPv6 address needs brackets before its port; expected {meant}")
}

fn get() -> String {
    "GET".to_owned()
}

fn http() -> String {
    "http".to_owned()
}

fn slash() -> String {
    "/".to_owned()
}

fn is_get(method: &str) -> bool {
    method == "GET"
}

fn is_http(scheme: &str) -> bool {
    scheme == "http"
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Request {
    /// The head as a client writes it on an HTTP/1.1 connection: the request line, `host` first,
    /// the headers as they are, an empty line.
    pub fn head(&self) -> Vec<u8> {
        let mut head = Vec::with_capacity(256);
        for part in [
            self.method.as_str(),
            " ",
            self.path.as_str(),
            " HTTP/1.1\r\n",
        ] {
            head.extend_from_slice(part.as_bytes());
        }
        if let Some(authority) = &self.authority {
            for part in ["host: ", authority, "\r\n"] {
                head.extend_from_slice(part.as_bytes());
            }
        }
        for (name, value) in &self.headers {
            for part in [name.as_str(), ": ", value, "\r\n"] {
                head.extend_from_slice(part.as_bytes());
            }
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    /// Whether the connection is TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
            .unwrap_or(self.sni.is_some() || self.alpn.is_some())
    }
}
