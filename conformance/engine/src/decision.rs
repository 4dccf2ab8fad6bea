//! One line of a decisions file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Values of headers, by name in lower case: none where the header is not there, and `None` where
/// they are not decided.
pub type HeaderValues = BTreeMap<String, Option<Vec<String>>>;

/// What became of a request.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Sent to an endpoint.
    Forward,
    /// Answered with a redirect.
    Redirect,
    /// Answered by the route itself, or by a filter. Without a status: a network filter closed the
    /// connection.
    DirectResponse,
    /// No listener takes the connection.
    NoListener,
    /// The listener has no filter chain for the connection.
    NoFilterChain,
    /// No virtual host has the authority.
    NoVirtualHost,
    /// The virtual host has no route for the request.
    NoRoute,
    /// The chosen cluster does not exist.
    NoCluster,
    /// The chosen cluster has no endpoint that may be used.
    NoHealthyUpstream,
    /// A circuit breaker refused it.
    Overflow,
    /// The request is malformed.
    BadRequest,
    /// This engine cannot decide it; `reason` says why.
    #[default]
    Unsupported,
}

/// A line of a `*.decisions.jsonl` file. Absent and null mean the same.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The request's id.
    pub id: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Name of the accepting listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// Name of the filter chain; absent where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_chain: Option<String>,
    /// Name of the route configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_config: Option<String>,
    /// Name of the virtual host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_host: Option<String>,
    /// The route's name, or `#i` for the unnamed route at index i of its virtual host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The cluster, after the weighted choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// `ip:port`, or a pipe's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The endpoint's priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// The endpoint's locality as `region/zone/sub_zone`; absent where all three are empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
    /// Status of a redirect, a direct response or a local reply; where endpoints follow a script,
    /// that of any response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u32>,
    /// The body of a route's direct response, empty where it has none; absent where it is not decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Location of a redirect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The path as sent upstream, only where it differs from the request's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The authority as sent upstream, only where it differs from the request's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// What the endpoint gets of each header that a mutation of the route names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<HeaderValues>,
    /// What the client gets of each header that a mutation of the route names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_headers: Option<HeaderValues>,
    /// The clusters that get a copy of the request, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,
    /// How many attempts were made, where endpoints follow a script: Envoy's
    /// `%UPSTREAM_REQUEST_ATTEMPT_COUNT%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Envoy's `%RESPONSE_FLAGS%`, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_flags: Option<String>,
    /// From the arrival to the end, in microseconds of virtual time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
    /// The attempts in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tries: Vec<Try>,
    /// Which engine decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Why this outcome, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One attempt of a forwarded request, where endpoints follow a script.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Try {
    /// The endpoint; absent where none could be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// When it began, in microseconds of virtual time.
    pub start_us: u64,
    /// When it ended.
    pub end_us: u64,
    /// The status of the endpoint's response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u32>,
    /// What it ended in, where that is not a whole response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// What an attempt may end in besides a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The connection was refused.
    ConnectFailure,
    /// The connection did not come about within `connect_timeout`.
    ConnectTimeout,
    /// The endpoint ended it before its response.
    Reset,
    /// The endpoint ended it inside its response.
    ResetAfterHeaders,
    /// The endpoint refused the stream.
    RefusedStream,
    /// `per_try_timeout`.
    PerTryTimeout,
    /// `per_try_idle_timeout`.
    PerTryIdleTimeout,
    /// The route's timeout.
    Timeout,
    /// The stream's idle timeout.
    IdleTimeout,
    /// The stream's longest duration.
    MaxStreamDuration,
    /// A circuit breaker refused it.
    Overflow,
    /// There is no endpoint that may be used.
    NoHealthyUpstream,
    /// Nothing ends it.
    NeverEnds,
}

impl Failure {
    /// It in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::ConnectFailure => "the connection is refused",
            Self::ConnectTimeout => "the connection does not come about in time",
            Self::Reset => "reset before a response",
            Self::ResetAfterHeaders => "reset inside the response",
            Self::RefusedStream => "the stream is refused",
            Self::PerTryTimeout => "the attempt's timeout",
            Self::PerTryIdleTimeout => "the attempt's idle timeout",
            Self::Timeout => "the route's timeout",
            Self::IdleTimeout => "the stream's idle timeout",
            Self::MaxStreamDuration => "the longest duration of the stream",
            Self::Overflow => "a circuit breaker refuses it",
            Self::NoHealthyUpstream => "no endpoint may be used",
            Self::NeverEnds => "nothing ends it",
        }
    }
}
