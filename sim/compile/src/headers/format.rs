//! The values of format strings.

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::cluster::v3::Cluster as ClusterConfig;
use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::envoy::config::endpoint::v3::LbEndpoint;
use envoy_types::pb::envoy::config::route::v3::{Route, VirtualHost};
use envoy_types::pb::google::protobuf::value::Kind;
use twinmesh_xds::format::{Command, LOCAL_REPLY_BODY, Part, parse};

use super::entries::Entries;
use crate::address_text;
use crate::endpoint_name::hostname;

/// What formats may ask for beside headers.
#[derive(Clone, Default)]
pub struct Asked<'a> {
    /// The connection's peer, where it is known.
    pub peer: Option<SocketAddr>,
    /// The client, where it is known.
    pub client: Option<SocketAddr>,
    /// Where the connection went to, where it is known.
    pub destination: Option<SocketAddr>,
    pub is_tls: bool,
    pub server_name: String,
    pub filter_chain: &'a str,
    pub route: Option<&'a Route>,
    pub host: Option<&'a VirtualHost>,
    pub cluster: Option<&'a ClusterConfig>,
    /// The endpoint's name, and its message where it has one.
    pub endpoint: Option<(String, Option<&'a LbEndpoint>)>,
    /// Attempts, `%RESPONSE_CODE%`, `%RESPONSE_CODE_DETAILS%` and `%RESPONSE_FLAGS%`; `None`: they
    /// are not known.
    pub state: Option<(u32, u32, &'static str, &'static str)>,
    /// A fault delayed the request, which is a flag, too.
    pub is_delayed: bool,
    /// The body of the answer that is being formatted.
    pub reply: Option<&'a str>,
}

/// The value of a format that is one command.
pub enum Lone {
    Unknown,
    Nothing,
    Text(String),
    Number(u64),
}

/// The value of a format that is one command and nothing else; `None` of any other.
pub fn lone(format: &str, request: &Entries, asked: &Asked<'_>) -> Option<Lone> {
    let parts = parse(format).ok()?;
    let [Part::Command(command)] = parts.as_slice() else {
        return None;
    };
    let name = command.name;
    let is_number = ["RESPONSE_CODE", "UPSTREAM_REQUEST_ATTEMPT_COUNT"].contains(&name)
        || name.ends_with("_PORT") && !name.ends_with("_WITHOUT_PORT");
    // What metadata hold may be of any type.
    let is_typed = ["METADATA", "CLUSTER_METADATA", "UPSTREAM_METADATA"].contains(&name);
    Some(match said(*command, request, None, asked) {
        Said::Nothing => Lone::Nothing,
        Said::Text(_) if is_typed => Lone::Unknown,
        Said::Text(text) if is_number => text.parse().map_or(Lone::Unknown, Lone::Number),
        Said::Text(text) => match cut(text, command.length) {
            Some(text) => Lone::Text(text),
            None => Lone::Unknown,
        },
        Said::Unknown => Lone::Unknown,
    })
}

/// At most so many bytes of a value; nothing where that cuts a character in two.
fn cut(text: String, length: Option<usize>) -> Option<String> {
    match length {
        Some(length) if length < text.len() => text.get(..length).map(str::to_owned),
        _ => Some(text),
    }
}

/// What a command has to say: `Unknown`, `Nothing` or a text.
enum Said {
    Unknown,
    Nothing,
    Text(String),
}

impl Said {
    fn or_nothing(text: Option<String>) -> Self {
        text.map_or(Self::Nothing, Self::Text)
    }

    fn name(text: &str) -> Self {
        match text {
            "" => Self::Nothing,
            text => Self::Text(text.to_owned()),
        }
    }

    /// What may not be known.
    fn of(text: Option<String>) -> Self {
        text.map_or(Self::Unknown, Self::Text)
    }
}

/// The value of a format, where all of it is known; `nothing` stands where a command has nothing to
/// say.
pub fn value(
    format: &str,
    nothing: &str,
    request: &Entries,
    response: Option<&Entries>,
    asked: &Asked<'_>,
) -> Option<String> {
    let mut made = String::with_capacity(format.len());
    for part in parse(format).ok()? {
        match part {
            Part::Text(text) => made.push_str(text),
            Part::Command(command) => match said(command, request, response, asked) {
                Said::Unknown => return None,
                Said::Nothing => made.push_str(nothing),
                Said::Text(text) => made.push_str(&cut(text, command.length)?),
            },
        }
    }
    Some(made)
}

fn said(
    command: Command<'_>,
    request: &Entries,
    response: Option<&Entries>,
    asked: &Asked<'_>,
) -> Said {
    let argument = command.argument.unwrap_or_default();
    if command.name == LOCAL_REPLY_BODY {
        return Said::of(asked.reply.map(str::to_owned));
    }
    if !command.is_decided() {
        return Said::Unknown;
    }
    match command.name {
        "REQ" | "REQUEST_HEADER" | "STREAM_INFO_REQ" => one_of(argument, request),
        "RESP" | "RESPONSE_HEADER" => match response {
            Some(response) => one_of(argument, response),
            None => Said::Nothing,
        },
        "TRAILER" => Said::Nothing,
        "QUERY_PARAM" => parameter(&request.pseudo(":path"), argument),
        "QUERY_PARAMS" => {
            let path = request.pseudo(":path");
            // A question mark alone says nothing, and is there.
            Said::or_nothing(path.split_once('?').map(|(_, query)| query.to_owned()))
        }
        "PATH" => path(argument, request),
        name => asked.said(name, argument),
    }
}

/// A header, or the one behind the question mark where it is not there.
fn one_of(names: &str, entries: &Entries) -> Said {
    let (name, other) = names.split_once('?').unwrap_or((names, ""));
    match entries.said(name) {
        None => Said::Unknown,
        Some(Some(value)) => Said::Text(value),
        Some(None) if other.is_empty() => Said::Nothing,
        Some(None) => entries.said(other).map_or(Said::Unknown, Said::or_nothing),
    }
}

fn path(argument: &str, request: &Entries) -> Said {
    let mut parts = argument.splitn(3, ':');
    let (query, which) = (parts.next(), parts.next());
    let current = || request.first(":path");
    // An empty one is none.
    let original = request.first("x-envoy-original-path");
    let original = original.map(|it| it.filter(|original| !original.is_empty()));
    let found = match which {
        Some("PATH") => current(),
        Some("ORIG") => original,
        _ => match original {
            Some(None) => current(),
            original => original,
        },
    };
    match found {
        None => Said::Unknown,
        Some(None) => Said::Nothing,
        Some(Some(mut path)) => {
            if query == Some("NQ") {
                path.truncate(path.find('?').unwrap_or(path.len()));
            }
            Said::Text(path)
        }
    }
}

/// The first parameter of this name, both percent-decoded.
fn parameter(path: &str, name: &str) -> Said {
    let Some(at) = path.find('?') else {
        return Said::Nothing;
    };
    let query = path.get(at + 1..).unwrap_or_default();
    let mut pairs = query.split('&').map(|pair| {
        let end = pair.find('=').unwrap_or(pair.len());
        let (key, value) = pair.split_at(end);
        (key, value.strip_prefix('=').unwrap_or(value))
    });
    match pairs.find(|(key, _)| percent_decoded(key) == name.as_bytes()) {
        None => Said::Nothing,
        Some((_, value)) => {
            let text = String::from_utf8(percent_decoded(value)).ok();
            Said::of(text.filter(|text| !text.bytes().any(|byte| byte.is_ascii_control())))
        }
    }
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let hex = |byte: &u8| char::from(*byte).to_digit(16);
        if let (b'%', [high, low, after @ ..]) = (first, more)
            && let (Some(high), Some(low)) = (hex(high), hex(low))
        {
            bytes.push((high << 4 | low) as u8);
            rest = after;
        } else {
            bytes.push(*first);
            rest = more;
        }
    }
    bytes
}

impl Asked<'_> {
    /// Flags with that of the delay, which was there first.
    fn with_delay(&self, flags: &str) -> String {
        match flags {
            _ if !self.is_delayed => flags.to_owned(),
            "-" => "DI".to_owned(),
            after => format!("DI,{after}"),
        }
    }

    fn said(&self, name: &str, argument: &str) -> Said {
        let of_cluster = || self.cluster.and_then(|cluster| cluster.metadata.as_ref());
        let of_endpoint = || {
            let (_, endpoint) = self.endpoint.as_ref()?;
            endpoint.as_ref()?.metadata.as_ref()
        };
        // What a filter has answered may have no cluster yet.
        let is_of_cluster = match name {
            "METADATA" => argument.split(':').next() == Some("CLUSTER"),
            name => name == "CLUSTER_METADATA" || name.starts_with("UPSTREAM_CLUSTER"),
        };
        if is_of_cluster && self.state.is_none() {
            return Said::Unknown;
        }
        match name {
            "PROTOCOL" => Said::name("HTTP/1.1"),
            "ROUTE_NAME" => Said::name(self.route.map_or("", |route| &route.name)),
            "VIRTUAL_CLUSTER_NAME" => match self.host {
                Some(host) if !host.virtual_clusters.is_empty() => Said::Unknown,
                _ => Said::Nothing,
            },
            "UPSTREAM_CLUSTER_RAW" => Said::name(self.cluster.map_or("", |it| &it.name)),
            "UPSTREAM_CLUSTER" => {
                Said::name(self.cluster.map_or(
                    "",
                    |cluster| match cluster.alt_stat_name.as_str() {
                        "" => &cluster.name,
                        name => name,
                    },
                ))
            }
            "UPSTREAM_HOST" => Said::or_nothing(self.endpoint.as_ref().map(|it| it.0.clone())),
            "UPSTREAM_HOST_NAME" => match &self.endpoint {
                None => Said::Nothing,
                Some((address, endpoint)) => {
                    match self.cluster.zip(*endpoint).map(|(of, it)| hostname(of, it)) {
                        None | Some("") => Said::name(address),
                        Some(name) => Said::name(name),
                    }
                }
            },
            "UPSTREAM_REMOTE_ADDRESS"
            | "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT"
            | "UPSTREAM_REMOTE_PORT" => match &self.endpoint {
                None => Said::Nothing,
                Some((address, _)) => part(name, address.parse().ok()),
            },
            name if name.starts_with("DOWNSTREAM_REMOTE_") => part(name, self.client),
            name if name.starts_with("DOWNSTREAM_DIRECT_REMOTE_") => part(name, self.peer),
            name if name.starts_with("DOWNSTREAM_TLS_") || name.starts_with("DOWNSTREAM_PEER_") => {
                if self.is_tls {
                    Said::Unknown
                } else {
                    Said::Nothing
                }
            }
            name if name.starts_with("DOWNSTREAM_") => part(name, self.destination),
            "UPSTREAM_REQUEST_ATTEMPT_COUNT" => {
                Said::of(self.state.map(|(attempts, ..)| attempts.to_string()))
            }
            "RESPONSE_CODE" => Said::of(self.state.map(|(_, code, ..)| code.to_string())),
            "RESPONSE_CODE_DETAILS" => match self.state {
                None => Said::Unknown,
                Some((_, _, details, _)) => Said::name(details),
            },
            "RESPONSE_FLAGS" => Said::of(self.state.map(|(.., flags)| self.with_delay(flags))),
            "REQUESTED_SERVER_NAME" => Said::name(&self.server_name),
            "FILTER_CHAIN_NAME" => Said::name(self.filter_chain),
            "CLUSTER_METADATA" => metadata(of_cluster(), argument),
            "UPSTREAM_METADATA" => metadata(of_endpoint(), argument),
            "METADATA" => {
                let (of, path) = argument.split_once(':').unwrap_or((argument, ""));
                let found = match of {
                    "ROUTE" => self.route.and_then(|route| route.metadata.as_ref()),
                    "VIRTUAL_HOST" => self.host.and_then(|host| host.metadata.as_ref()),
                    "CLUSTER" => of_cluster(),
                    _ => of_endpoint(),
                };
                metadata(found, path)
            }
            _ => Said::Unknown,
        }
    }
}

/// The part of an address that a command's name ends in.
fn part(name: &str, address: Option<SocketAddr>) -> Said {
    Said::of(address.map(|address| {
        if name.ends_with("_WITHOUT_PORT") {
            address_text::text(address.ip())
        } else if name.ends_with("_PORT") {
            address.port().to_string()
        } else {
            address_text::with_port(address)
        }
    }))
}

/// What stands in metadata below a namespace and keys. What would be JSON is not known.
fn metadata(metadata: Option<&Metadata>, path: &str) -> Said {
    let (namespace, keys) = match path.split_once(':') {
        Some((namespace, keys)) => (namespace, Some(keys)),
        None => (path, None),
    };
    let Some(fields) = metadata.and_then(|it| it.filter_metadata.get(namespace)) else {
        return Said::Nothing;
    };
    let Some(keys) = keys else {
        return Said::Unknown;
    };
    let (path, last) = keys
        .rsplit_once(':')
        .map_or((None, keys), |(path, last)| (Some(path), last));
    let mut fields = fields;
    for key in path.iter().flat_map(|path| path.split(':')) {
        match fields.fields.get(key).and_then(|value| value.kind.as_ref()) {
            Some(Kind::StructValue(inner)) => fields = inner,
            _ => return Said::Nothing,
        }
    }
    match fields
        .fields
        .get(last)
        .and_then(|value| value.kind.as_ref())
    {
        None | Some(Kind::NullValue(_)) => Said::Nothing,
        Some(Kind::StringValue(text)) => Said::Text(text.clone()),
        Some(Kind::BoolValue(is_true)) => Said::Text(is_true.to_string()),
        Some(Kind::NumberValue(number)) if number.trunc() == *number && number.abs() < 1e15 => {
            Said::Text(format!("{}", *number as i64))
        }
        Some(_) => Said::Unknown,
    }
}
