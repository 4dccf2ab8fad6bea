//! Header lines, of which some values may not be known.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use envoy_types::pb::envoy::extensions::filters::{
    http::router::v3::Router,
    network::http_connection_manager::v3::{HttpConnectionManager, http_filter::ConfigType},
};
use prost::Message as _;
use twinmesh_xds::{HeaderFilters, header_filters};

use crate::message::{self, Message};

/// Why something of a request is not known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecided(pub String);

impl Undecided {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Undecided {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A value, or why it is not known.
pub type Known<T> = Result<T, Undecided>;

/// Headers of responses of which Envoy keeps one entry each (measured on Envoy 1.40).
const JOINED_IN_RESPONSES: [&str; 31] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-allow-private-network",
    "access-control-expose-headers",
    "access-control-max-age",
    "age",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "etag",
    "expires",
    "grpc-message",
    "grpc-status",
    "keep-alive",
    "last-modified",
    "location",
    "proxy-status",
    "vary",
    "via",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-degraded",
    "x-envoy-immediate-health-check-fail",
    "x-envoy-ratelimited",
    "x-envoy-upstream-canary",
    "x-envoy-upstream-healthchecked-cluster",
    "x-request-id",
];

/// Names that Envoy puts into requests where it traces, or starts with.
const TRACING: [&str; 4] = ["b3", "traceparent", "tracestate", "x-b3-"];

/// What a response has that nobody told of: its body's headers, and what Envoy adds to it.
const OF_RESPONSES: [&str; 13] = [
    "connection",
    "content-length",
    "date",
    "grpc-message",
    "grpc-status",
    "keep-alive",
    "proxy-connection",
    "proxy-status",
    "server",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-request-id",
];

/// Which headers are as nobody tells here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Foreign {
    /// None.
    #[default]
    Nothing,
    /// Those of a request that the connection manager writes, and these.
    Request(BTreeSet<&'static str>),
    /// Those that Envoy writes into responses; the content type too where the response is its own,
    /// and a location where its status may have one.
    Response {
        is_local: bool,
        is_located: bool,
        cors: bool,
    },
    /// All.
    All,
}

impl Foreign {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => !name.is_empty() && !name.starts_with(':'),
            Self::Request(more) => {
                let kept = ["x-envoy-original-host", "x-envoy-original-path"];
                let written = !message::arrives_as_sent(name) && !kept.contains(&name);
                let checked = ["content-length", "referer"];
                written || checked.contains(&name) || more.iter().any(|it| is_named(it, name))
            }
            Self::Response {
                is_local,
                is_located,
                cors,
            } => {
                name.starts_with("x-envoy-")
                    || (*cors && name.starts_with("access-control-"))
                    || OF_RESPONSES.contains(&name)
                    || (*is_local && name == "content-type")
                    || (*is_located && name == "location")
            }
        }
    }
}

/// Whether a name is this one, or starts with it where it ends in a hyphen.
fn is_named(pattern: &str, name: &str) -> bool {
    name == pattern || (pattern.ends_with('-') && name.starts_with(pattern))
}

/// The header lines of a request or a response, pseudo headers among them, names in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    lines: Vec<(String, String)>,
    /// Headers of which not all values are known, and why.
    unknown: BTreeMap<String, Undecided>,
    foreign: Foreign,
    /// Headers that were taken away or written as a whole: nothing foreign is left of them.
    settled: BTreeSet<String>,
    is_response: bool,
    /// `Router.suppress_envoy_headers`.
    forgets_originals: bool,
    /// `SchemeHeaderTransformation.match_upstream`: the endpoint's transport socket says the scheme.
    matches_upstream: bool,
}

const ROUTER: &str = "/envoy.extensions.filters.http.router.v3.Router";

/// What the router keeps of a path and a host that it rewrites.
const ORIGINALS: [&str; 2] = ["x-envoy-original-path", "x-envoy-original-host"];

impl Lines {
    /// The lines of these headers.
    pub(crate) fn new(headers: &[(String, String)]) -> Self {
        let mut lines = Self::default();
        for (name, value) in headers {
            lines.add(name, value.clone());
        }
        lines
    }

    /// A request as the connection manager leaves it to the router.
    pub(crate) fn of_message(message: &Message, manager: &HttpConnectionManager) -> Self {
        let mut lines = Self::default();
        for (name, value) in [
            (":authority", &message.authority),
            (":path", &message.path),
            (":method", &message.method),
            (":scheme", &message.scheme),
        ] {
            if name != ":path" || !message.is_connect() {
                lines.add(name, value.clone());
            }
        }
        for (name, value) in &message.headers {
            if name != "x-forwarded-proto" {
                lines.add(name, value.clone());
            }
        }
        lines.add("x-forwarded-proto", message.forwarded_proto.clone());
        let mut more = BTreeSet::new();
        if manager.add_user_agent.is_some_and(|it| it.value) {
            more.insert("user-agent");
        }
        if manager.tracing.is_some() {
            more.extend(TRACING);
        }
        lines.foreign = match header_filters(manager).change_any {
            true => Foreign::All,
            false => Foreign::Request(more),
        };
        // An edge takes them off, unless the client is inside.
        for name in ORIGINALS {
            let is_sent = message.headers.iter().any(|(other, _)| other == name);
            if is_sent && manager.use_remote_address.is_some_and(|it| it.value) {
                lines.lose(
                    name,
                    Undecided::new(format!("use_remote_address may take {name} off")),
                );
            }
        }
        let scheme = manager.scheme_header_transformation.as_ref();
        lines.matches_upstream = scheme.is_some_and(|scheme| scheme.match_upstream);
        lines.forgets_originals = forgets_originals(manager);
        lines
    }

    /// What a format says of a header: its first value.
    ///
    /// # Errors
    /// It is not known.
    pub(crate) fn told(&self, name: &str) -> Known<Option<String>> {
        if self.matches_upstream && name.eq_ignore_ascii_case(":scheme") {
            return Err(Undecided::new("the scheme is that of the endpoint"));
        }
        self.first(name)
    }

    /// Writes what a rewrite replaces, where the router does that.
    pub(crate) fn remember(&mut self, name: &str, value: String) {
        if !self.forgets_originals {
            self.set(name, value);
        }
    }

    /// A response of this status: one that Envoy makes itself, or an endpoint's.
    pub(crate) fn of_response(
        status: u32,
        is_local: bool,
        headers: &[(String, String)],
        manager: &HttpConnectionManager,
    ) -> Self {
        let mut lines = Self::new(headers);
        lines.add(":status", status.to_string());
        let HeaderFilters { change_any, cors } = header_filters(manager);
        lines.foreign = match change_any {
            true => Foreign::All,
            false => Foreign::Response {
                is_local,
                is_located: is_local && (status == 201 || (300..400).contains(&status)),
                cors,
            },
        };
        lines.is_response = true;
        lines
    }

    /// Whether Envoy may write a response's header once all mutations are done: the CORS filter does, the
    /// connection manager, and the codec.
    fn comes_later(&self, name: &str) -> bool {
        self.is_response
            && (OF_RESPONSES.contains(&name)
                || ["content-type", "x-envoy-attempt-count"].contains(&name)
                || name.starts_with("access-control-"))
    }

    /// All values of a header, those of separate lines apart unless Envoy joins them.
    ///
    /// # Errors
    /// They are not known.
    pub fn values(&self, name: &str) -> Known<Vec<String>> {
        let name = key(name);
        if let Some(reason) = self.unknown.get(&name) {
            return Err(reason.clone());
        }
        let settles = self.settled.contains(&name) && !self.comes_later(&name);
        if self.foreign.has(&name) && !settles {
            return Err(Undecided::new(format!("Envoy itself may write {name}")));
        }
        let values: Vec<String> = self
            .lines
            .iter()
            .filter(|(other, _)| *other == name)
            .map(|(_, value)| value.clone())
            .collect();
        let is_joined = if self.is_response {
            JOINED_IN_RESPONSES.contains(&name.as_str())
        } else {
            message::is_joined(&name) || name == "content-length"
        };
        if values.len() > 1 && is_joined {
            return Ok(vec![message::join(&values)]);
        }
        Ok(values)
    }

    /// The first value of a header.
    ///
    /// # Errors
    /// It is not known.
    pub fn first(&self, name: &str) -> Known<Option<String>> {
        Ok(self.values(name)?.into_iter().next())
    }

    /// The first value; empty where there is none.
    pub(crate) fn text(&self, name: &str) -> Known<String> {
        Ok(self.first(name)?.unwrap_or_default())
    }

    /// Whether the header is there.
    pub(crate) fn has(&self, name: &str) -> Known<bool> {
        Ok(!self.values(name)?.is_empty())
    }

    /// Adds a line.
    pub(crate) fn add(&mut self, name: &str, value: String) {
        self.lines.push((key(name), value));
    }

    /// Puts one line in the place of all.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.remove(name);
        self.add(name, value);
    }

    /// Takes all lines away.
    pub(crate) fn remove(&mut self, name: &str) {
        let name = key(name);
        self.unknown.remove(&name);
        self.lines.retain(|(other, _)| *other != name);
        self.settled.insert(name);
    }

    /// Says that not all values of a header are known from here on.
    pub(crate) fn lose(&mut self, name: &str, reason: Undecided) {
        self.unknown.insert(key(name), reason);
    }

    /// As routes see a request. Only what is asked for has to be known: pseudo headers are.
    pub(crate) fn message(&self) -> Known<Message> {
        Ok(Message {
            method: self.text(":method")?,
            scheme: self.text(":scheme")?,
            authority: self.text(":authority")?,
            path: self.text(":path")?,
            forwarded_proto: self.text("x-forwarded-proto").unwrap_or_default(),
            headers: self
                .lines
                .iter()
                .filter(|(name, _)| !name.starts_with(':'))
                .cloned()
                .collect(),
            ..Message::default()
        })
    }
}

fn forgets_originals(manager: &HttpConnectionManager) -> bool {
    let filters = manager.http_filters.iter();
    filters
        .filter_map(|filter| match &filter.config_type {
            Some(ConfigType::TypedConfig(any)) if any.type_url.ends_with(ROUTER) => {
                Router::decode(any.value.as_slice()).ok()
            }
            _ => None,
        })
        .any(|router| router.suppress_envoy_headers)
}

/// The name that a header goes by: Envoy keeps Host as `:authority`.
fn key(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    if name == "host" {
        return ":authority".to_owned();
    }
    name
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::SchemeHeaderTransformation;
    use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
    use envoy_types::pb::google::protobuf::{Any, BoolValue};

    use super::*;
    use crate::message::tests::message;

    #[test]
    fn what_envoy_writes_is_known_once_it_is_overwritten() {
        let message = message(&[("x-request-id", "given"), ("x-a", "1")]);
        let mut lines = Lines::of_message(&message, &HttpConnectionManager::default());
        assert_eq!(lines.values("X-A"), Ok(vec!["1".to_owned()]));
        assert!(lines.values("x-request-id").is_err());
        lines.add("x-request-id", "added".to_owned());
        assert!(lines.values("x-request-id").is_err());
        lines.set("x-request-id", "own".to_owned());
        assert_eq!(lines.values("x-request-id"), Ok(vec!["own".to_owned()]));
        lines.remove("x-envoy-expected-rq-timeout-ms");
        assert_eq!(lines.values("x-envoy-expected-rq-timeout-ms"), Ok(vec![]));
        assert_eq!(
            lines.first("x-forwarded-proto"),
            Ok(Some("http".to_owned()))
        );
    }

    #[test]
    fn originals_are_lost_at_an_edge_and_not_written_where_suppressed() {
        let sent = message(&[("x-envoy-original-path", "/q")]);
        let plain = HttpConnectionManager::default();
        let edge = HttpConnectionManager {
            use_remote_address: Some(BoolValue { value: true }),
            ..HttpConnectionManager::default()
        };
        let router = Router {
            suppress_envoy_headers: true,
            ..Router::default()
        };
        let suppressed = HttpConnectionManager {
            http_filters: vec![HttpFilter {
                config_type: Some(ConfigType::TypedConfig(Any {
                    type_url: format!("type.googleapis.com{ROUTER}"),
                    value: router.encode_to_vec(),
                })),
                ..HttpFilter::default()
            }],
            ..HttpConnectionManager::default()
        };
        for (manager, before, after) in [
            (plain, Some("/q"), "/a"),
            (edge, None, "/a"),
            (suppressed, Some("/q"), "/q"),
        ] {
            let mut lines = Lines::of_message(&sent, &manager);
            let found = lines.first("x-envoy-original-path").ok().flatten();
            assert_eq!(found.as_deref(), before);
            assert_eq!(lines.first("x-envoy-original-host"), Ok(None));
            lines.remember("x-envoy-original-path", "/a".to_owned());
            assert_eq!(
                lines.first("x-envoy-original-path"),
                Ok(Some(after.to_owned()))
            );
        }
    }

    #[test]
    fn formats_do_not_know_the_scheme_of_an_endpoint() {
        let manager = |match_upstream| HttpConnectionManager {
            scheme_header_transformation: Some(SchemeHeaderTransformation {
                match_upstream,
                ..SchemeHeaderTransformation::default()
            }),
            ..HttpConnectionManager::default()
        };
        let told = |manager| Lines::of_message(&message(&[]), &manager).told(":scheme");
        assert!(told(manager(true)).is_err());
        assert_eq!(told(manager(false)), Ok(Some("http".to_owned())));
    }

    #[test]
    fn responses_join_other_headers_than_requests() {
        let headers = ["location", "accept", "date"].map(|name| (name.to_owned(), "a".to_owned()));
        let manager = HttpConnectionManager::default();
        let mut lines = Lines::of_response(200, false, &headers, &manager);
        lines.add("location", "b".to_owned());
        lines.add("accept", "b".to_owned());
        assert_eq!(lines.values("location"), Ok(vec!["a,b".to_owned()]));
        assert_eq!(lines.values("accept").map(|it| it.len()), Ok(2));
        assert!(lines.values("date").is_err());
    }
}
