//! One line of a decisions file.

use serde::{Deserialize, Serialize};

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
    /// Answered by the route itself.
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
    /// Status of a redirect, a direct response or a local reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u32>,
    /// Location of a redirect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The path as sent upstream, only where it differs from the request's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The authority as sent upstream, only where it differs from the request's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// Which engine decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Why this outcome, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
