//! Format strings: the values of headers that routes add, and the paths and hosts that they make.

mod metadata;
mod query;

use std::net::{IpAddr, SocketAddr};

use envoy_types::pb::envoy::config::cluster::v3::Cluster as ClusterConfig;
use envoy_types::pb::envoy::config::endpoint::v3::LbEndpoint;
use envoy_types::pb::envoy::config::route::v3::{Route, VirtualHost};

use twinmesh_engine::address_text;

use crate::cluster::hostname;
use crate::lines::{Known, Lines, Undecided};

/// What a format may ask for.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The request.
    pub(crate) request: &'a Lines,
    /// The response, where there is one.
    pub(crate) response: Option<&'a Lines>,
    /// What is known beside the two.
    pub(crate) facts: &'a Facts<'a>,
}

/// What is known of a request beside its headers.
pub(crate) enum Facts<'a> {
    /// What the route table check tool has.
    OfTool,
    /// What a request has come through.
    Of(Box<Told<'a>>),
}

/// What a request has come through so far.
#[derive(Clone, Default)]
pub(crate) struct Told<'a> {
    /// The connection's peer.
    pub(crate) source: Option<SocketAddr>,
    /// The client, as the connection manager finds it.
    pub(crate) client: Option<SocketAddr>,
    pub(crate) destination: Option<SocketAddr>,
    pub(crate) is_tls: bool,
    pub(crate) server_name: &'a str,
    pub(crate) filter_chain: &'a str,
    pub(crate) route: Option<&'a Route>,
    pub(crate) virtual_host: Option<&'a VirtualHost>,
    pub(crate) cluster: Option<&'a ClusterConfig>,
    /// The endpoint, by its address.
    pub(crate) endpoint: Option<(&'a str, Option<&'a LbEndpoint>)>,
    /// How far it has come; `None`: it is not known how Envoy calls that.
    pub(crate) progress: Option<Progress>,
    /// A fault delayed it.
    pub(crate) is_delayed: bool,
    /// The body of the answer that is being formatted.
    pub(crate) body: Option<&'a str>,
}

/// How Envoy calls what became of a request so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    pub(crate) attempts: u32,
    /// `%RESPONSE_CODE%`: that of an endpoint's response.
    pub(crate) code: u32,
    pub(crate) details: &'static str,
    pub(crate) flags: &'static str,
}

/// `%RESPONSE_FLAGS%`, as they came: a delay comes before what the router finds.
fn flags(flags: &str, is_delayed: bool) -> String {
    match (is_delayed, flags) {
        (false, flags) => flags.to_owned(),
        (true, "-") => "DI".to_owned(),
        (true, flags) => ["DI", flags].join(","),
    }
}

/// What a command comes to.
type Value = Known<Option<String>>;

/// The value of a format. `missing` stands for what a command has nothing to say about.
///
/// # Errors
/// It has a command whose value is not known.
pub(crate) fn value(format: &str, missing: &str, context: &Context<'_>) -> Known<String> {
    let mut value = String::new();
    let mut rest = format;
    while let Some((text, after)) = rest.split_once('%') {
        value.push_str(text);
        if let Some(after) = after.strip_prefix('%') {
            value.push('%');
            rest = after;
            continue;
        }
        let Some((command, after)) = split_command(after) else {
            return Err(Undecided::new(format!(
                "the format {format:?} has a % without an end"
            )));
        };
        match evaluate(command, context)? {
            Some(text) => value.push_str(&text),
            None => value.push_str(missing),
        }
        rest = after;
    }
    value.push_str(rest);
    Ok(value)
}

/// The value of a format that is one command and nothing else, with the command's name; `None` of
/// any other.
pub(crate) fn alone<'f>(format: &'f str, context: &Context<'_>) -> Option<Known<Alone<'f>>> {
    let after = format.strip_prefix('%').filter(|it| !it.starts_with('%'))?;
    let (command, "") = split_command(after)? else {
        return None;
    };
    let name = command.split(['(', ':']).next().unwrap_or_default();
    Some(evaluate(command, context).map(|value| Alone { name, value }))
}

/// What a single command comes to.
pub(crate) struct Alone<'f> {
    pub(crate) name: &'f str,
    pub(crate) value: Option<String>,
}

/// A command up to its closing percent sign, which stands outside of parentheses.
fn split_command(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '%' if depth == 0 => return Some((text.get(..at)?, text.get(at + 1..)?)),
            _ => {}
        }
    }
    None
}

fn unknown(command: &str) -> Undecided {
    Undecided::new(format!("%{command}% is not decided"))
}

fn evaluate(command: &str, context: &Context<'_>) -> Value {
    let (name, argument, length) = match command.split_once('(') {
        None => (command, "", ""),
        Some((name, arguments)) => {
            let parts = arguments.rsplit_once(')');
            let (argument, length) = parts.ok_or_else(|| unknown(command))?;
            (name, argument, length)
        }
    };
    let length: Option<usize> = match length.strip_prefix(':') {
        Some(length) => Some(length.parse().map_err(|_| unknown(command))?),
        None if length.is_empty() => None,
        None => return Err(unknown(command)),
    };
    let found = match (name, context.response) {
        ("REQ" | "REQUEST_HEADER" | "STREAM_INFO_REQ", _) => header(argument, context.request)?,
        ("RESP" | "RESPONSE_HEADER", Some(response)) => header(argument, response)?,
        ("RESP" | "RESPONSE_HEADER", None) if matches!(context.facts, Facts::OfTool) => {
            return Err(unknown(command));
        }
        ("RESP" | "RESPONSE_HEADER" | "TRAILER", _) => None,
        ("QUERY_PARAM", _) => query::parameter(&context.request.text(":path")?, argument)?,
        ("QUERY_PARAMS", _) if argument != "DECODED" => {
            let path = context.request.text(":path")?;
            path.split_once('?').map(|(_, query)| query.to_owned())
        }
        ("PATH", _) => path(argument, context.request)?,
        _ => match context.facts {
            Facts::OfTool => of_tool(name).ok_or_else(|| {
                Undecided::new(format!(
                    "a route table cannot tell what %{command}% comes to"
                ))
            })?,
            Facts::Of(told) => told.value(name, argument, command)?,
        },
    };
    let Some(mut value) = found else {
        return Ok(None);
    };
    if let Some(length) = length
        && value.len() > length
    {
        if !value.is_char_boundary(length) {
            return Err(Undecided::new(format!(
                "%{command}% cuts a character in two"
            )));
        }
        value.truncate(length);
    }
    Ok(Some(value))
}

/// The first value of the header, or of the one behind the question mark.
fn header(names: &str, lines: &Lines) -> Value {
    for name in names.splitn(2, '?') {
        let found = lines.told(name)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// `%PATH(query:header)%`: the path as it came before it was rewritten, unless said otherwise.
fn path(argument: &str, request: &Lines) -> Value {
    let mut fields = argument.split(':');
    let query = fields.next().unwrap_or_default();
    let which = fields.next().unwrap_or_default();
    // An empty one is none.
    let original = request.first("x-envoy-original-path");
    let original = original.map(|it| it.filter(|original| !original.is_empty()));
    let found = match which {
        "ORIG" => original?,
        "PATH" => request.first(":path")?,
        _ => match original? {
            Some(original) => Some(original),
            None => request.first(":path")?,
        },
    };
    Ok(found.map(|path| match query {
        "NQ" => path.split('?').next().unwrap_or_default().to_owned(),
        _ => path,
    }))
}

/// The tool's connection comes from the loopback address, at port 0.
fn of_tool(name: &str) -> Option<Option<String>> {
    let fixed = match name {
        "PROTOCOL" => "HTTP/1.1",
        "DOWNSTREAM_REMOTE_ADDRESS" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => "127.0.0.1:0",
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT"
        | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => "127.0.0.1",
        "DOWNSTREAM_REMOTE_PORT" | "DOWNSTREAM_DIRECT_REMOTE_PORT" => "0",
        _ => return None,
    };
    Some(Some(fixed.to_owned()))
}

impl Told<'_> {
    fn value(&self, name: &str, argument: &str, command: &str) -> Value {
        let unknown = || unknown(command);
        let progress = self.progress.ok_or_else(unknown);
        let named = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        let of_cluster = name.starts_with("UPSTREAM_CLUSTER")
            || name == "CLUSTER_METADATA"
            || (name == "METADATA" && argument.starts_with("CLUSTER"));
        if of_cluster && self.progress.is_none() {
            return Err(unknown());
        }
        if let Some((of, part)) = address_of(name) {
            if !argument.is_empty() {
                return Err(unknown());
            }
            let address = match of {
                "DOWNSTREAM_REMOTE" => self.client,
                "DOWNSTREAM_DIRECT_REMOTE" => self.source,
                "UPSTREAM_REMOTE" => {
                    let Some((address, _)) = self.endpoint else {
                        return Ok(None);
                    };
                    address.parse().ok()
                }
                _ => self.destination,
            };
            return Ok(Some(part(address.ok_or_else(unknown)?)));
        }
        Ok(match name {
            "PROTOCOL" => named("HTTP/1.1"),
            "LOCAL_REPLY_BODY" => Some(self.body.ok_or_else(unknown)?.to_owned()),
            "ROUTE_NAME" => self.route.and_then(|route| named(&route.name)),
            "VIRTUAL_CLUSTER_NAME" => {
                let host = self.virtual_host;
                if host.is_some_and(|host| !host.virtual_clusters.is_empty()) {
                    return Err(unknown());
                }
                None
            }
            "UPSTREAM_CLUSTER_RAW" => self.cluster.and_then(|cluster| named(&cluster.name)),
            "UPSTREAM_CLUSTER" => self
                .cluster
                .and_then(|cluster| named(&cluster.alt_stat_name).or_else(|| named(&cluster.name))),
            "UPSTREAM_HOST" => self.endpoint.map(|(address, _)| address.to_owned()),
            "UPSTREAM_HOST_NAME" => match self.endpoint {
                None => None,
                Some((address, endpoint)) => {
                    let both = self.cluster.zip(endpoint);
                    let name = both.map(|(cluster, endpoint)| hostname(cluster, endpoint));
                    named(&name.unwrap_or_default()).or_else(|| named(address))
                }
            },
            "UPSTREAM_REQUEST_ATTEMPT_COUNT" => Some(progress?.attempts.to_string()),
            "REQUESTED_SERVER_NAME" => named(self.server_name),
            "FILTER_CHAIN_NAME" => named(self.filter_chain),
            "RESPONSE_CODE" => Some(progress?.code.to_string()),
            "RESPONSE_CODE_DETAILS" if argument.is_empty() => named(progress?.details),
            "RESPONSE_FLAGS" => named(&flags(progress?.flags, self.is_delayed)),
            "METADATA" => {
                let (kind, path) = argument.split_once(':').unwrap_or((argument, ""));
                let of = match kind {
                    "ROUTE" => self.route.map(|it| it.metadata.as_ref()),
                    "VIRTUAL_HOST" => self.virtual_host.map(|it| it.metadata.as_ref()),
                    "CLUSTER" => self.cluster.map(|it| it.metadata.as_ref()),
                    "UPSTREAM_HOST" => self.of_endpoint(),
                    _ => return Err(unknown()),
                };
                metadata::value(of.flatten(), path).map_err(|()| unknown())?
            }
            "CLUSTER_METADATA" => {
                let of = self.cluster.and_then(|it| it.metadata.as_ref());
                metadata::value(of, argument).map_err(|()| unknown())?
            }
            "UPSTREAM_METADATA" if !argument.starts_with('[') => {
                metadata::value(self.of_endpoint().flatten(), argument).map_err(|()| unknown())?
            }
            name if name.starts_with("DOWNSTREAM_TLS_") || name.starts_with("DOWNSTREAM_PEER_") => {
                if self.is_tls {
                    return Err(unknown());
                }
                None
            }
            _ => return Err(unknown()),
        })
    }

    fn of_endpoint(&self) -> Option<Option<&envoy_types::pb::envoy::config::core::v3::Metadata>> {
        let (_, endpoint) = self.endpoint?;
        Some(endpoint?.metadata.as_ref())
    }
}

/// Takes a part of an address.
type Part = fn(SocketAddr) -> String;

/// Whose address a command names, and what of it.
fn address_of(name: &str) -> Option<(&'static str, Part)> {
    let ends = [
        "DOWNSTREAM_DIRECT_REMOTE",
        "DOWNSTREAM_DIRECT_LOCAL",
        "DOWNSTREAM_REMOTE",
        "DOWNSTREAM_LOCAL",
        "UPSTREAM_REMOTE",
    ];
    ends.into_iter().find_map(|end| {
        let part: Part = match name.strip_prefix(end)? {
            "_ADDRESS" => address_text::with_port,
            "_ADDRESS_WITHOUT_PORT" => |address| address_text::text(address.ip()),
            "_PORT" => |address| address.port().to_string(),
            _ => return None,
        };
        Some((end, part))
    })
}

/// The client's address: with port 0 where a header tells it.
pub(crate) fn client_address(
    said: Option<IpAddr>,
    source: Option<SocketAddr>,
) -> Option<SocketAddr> {
    said.map(|ip| SocketAddr::new(ip, 0)).or(source)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn request() -> Lines {
        Lines::new(&[
            (
                ":path".to_owned(),
                "/p?q=1&enc=a%20b+c&e=&d=1&d=2".to_owned(),
            ),
            ("x-a".to_owned(), "alpha".to_owned()),
            ("x-two".to_owned(), "t1".to_owned()),
            ("x-two".to_owned(), "t2".to_owned()),
            ("x-empty".to_owned(), String::new()),
            ("x-u".to_owned(), "ü".to_owned()),
        ])
    }

    // What Envoy 1.40 sent, the addresses aside, which are the tool's.
    #[rstest]
    #[case("plain", Some("plain"))]
    #[case("100%%", Some("100%"))]
    #[case("%REQ(x-a)%", Some("alpha"))]
    #[case("%REQ(X-A)%", Some("alpha"))]
    #[case("%REQUEST_HEADER(X-A)%", Some("alpha"))]
    #[case("%REQ(nope)%", Some(""))]
    #[case("a-%REQ(nope)%-b", Some("a--b"))]
    #[case("%REQ(nope?x-a)%", Some("alpha"))]
    #[case("%REQ(x-empty?x-a)%", Some(""))]
    #[case("%REQ(?x-a)%", Some("alpha"))]
    #[case("%REQ(x-a):2%", Some("al"))]
    #[case("%REQ(x-a):0%", Some(""))]
    #[case("%REQ(x-two)%", Some("t1"))]
    #[case("%REQ(:PATH)%", Some("/p?q=1&enc=a%20b+c&e=&d=1&d=2"))]
    #[case("%PATH(NQ)%", Some("/p"))]
    #[case("%PATH(NQ):1%", Some("/"))]
    #[case("%PATH(NQ:ORIG)%", Some(""))]
    #[case("%QUERY_PARAMS():3%", Some("q=1"))]
    #[case("%QUERY_PARAM(q)%", Some("1"))]
    #[case("%QUERY_PARAM(enc)%", Some("a b+c"))]
    #[case("%QUERY_PARAM(e)%", Some(""))]
    #[case("%QUERY_PARAM(d)%", Some("1"))]
    #[case("%QUERY_PARAM(no)%", Some(""))]
    #[case("%PROTOCOL%", Some("HTTP/1.1"))]
    #[case("%TRAILER(a)%", Some(""))]
    #[case("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", Some("127.0.0.1"))]
    #[case("%RESP(x-a)%", None)]
    #[case("%START_TIME(%s)%", None)]
    #[case("%UPSTREAM_HOST%", None)]
    #[case("%REQ(x-a):x%", None)]
    #[case("%REQ(x-u):1%", None)]
    #[case("%REQ", None)]
    fn values(#[case] format: &str, #[case] expected: Option<&str>) {
        let context = Context {
            request: &request(),
            response: None,
            facts: &Facts::OfTool,
        };
        assert_eq!(value(format, "", &context).ok().as_deref(), expected);
    }

    // As Envoy 1.40 has it in `host_rewrite`, where a hyphen stands for what is missing.
    #[rstest]
    #[case("%REQ(nope)%", "-")]
    #[case("x%REQ(nope)%", "x-")]
    #[case("%REQ(x-empty)%", "")]
    #[case("%QUERY_PARAM(e)%", "")]
    #[case("%QUERY_PARAM(no)%", "-")]
    #[case("%RESP(x-a)%", "-")]
    #[case("%ROUTE_NAME%", "-")]
    #[case("%RESPONSE_CODE%", "0")]
    #[case("%RESPONSE_FLAGS%", "-")]
    #[case("%RESPONSE_CODE_DETAILS%", "-")]
    #[case("%UPSTREAM_HOST%", "-")]
    #[case("%UPSTREAM_REMOTE_PORT%", "-")]
    #[case("%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "1")]
    #[case("%DOWNSTREAM_TLS_VERSION%", "-")]
    #[case("%DOWNSTREAM_REMOTE_ADDRESS%", "127.0.0.9:90")]
    #[case("%DOWNSTREAM_REMOTE_PORT%", "90")]
    #[case("%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", "::1")]
    #[case("%DOWNSTREAM_LOCAL_ADDRESS%", "[::1]:80")]
    #[case("%METADATA(ROUTE:a:b)%", "-")]
    #[case("%FILTER_CHAIN_NAME%", "fc")]
    fn what_is_missing(#[case] format: &str, #[case] expected: &str) {
        let source = "127.0.0.9:90".parse().ok();
        let told = Told {
            source,
            client: source,
            destination: "[::1]:80".parse().ok(),
            filter_chain: "fc",
            progress: Some(Progress {
                attempts: 1,
                flags: "-",
                ..Progress::default()
            }),
            ..Told::default()
        };
        let context = Context {
            request: &request(),
            response: None,
            facts: &Facts::Of(Box::new(told)),
        };
        assert_eq!(value(format, "-", &context).as_deref(), Ok(expected));
    }

    #[test]
    fn what_is_not_told_is_not_known() {
        let context = Context {
            request: &request(),
            response: None,
            facts: &Facts::Of(Box::default()),
        };
        for format in [
            "%DOWNSTREAM_REMOTE_ADDRESS%",
            "%RESPONSE_FLAGS%",
            "%HOSTNAME%",
            "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(16)%",
            "%METADATA(DYNAMIC:a:b)%",
        ] {
            assert!(value(format, "", &context).is_err(), "{format}");
        }
    }
}
