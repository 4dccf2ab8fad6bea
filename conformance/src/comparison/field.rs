//! The fields of a decision, by name.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use twinmesh_engine::{Decision, HeaderValues, Outcome};

/// A field of a decision that can be compared; `id` is what decisions are paired by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the field of its name in `Decision`")]
pub enum Field {
    Outcome,
    Listener,
    FilterChain,
    RouteConfig,
    VirtualHost,
    Route,
    Cluster,
    Endpoint,
    Priority,
    Locality,
    Status,
    Body,
    Location,
    Path,
    Authority,
    RequestHeaders,
    ResponseHeaders,
    Mirrors,
    Attempts,
    ResponseFlags,
    DurationUs,
    Tries,
    Engine,
    Reason,
}

impl Field {
    /// Every field, in the order of the format.
    pub const ALL: [Self; 24] = [
        Self::Outcome,
        Self::Listener,
        Self::FilterChain,
        Self::RouteConfig,
        Self::VirtualHost,
        Self::Route,
        Self::Cluster,
        Self::Endpoint,
        Self::Priority,
        Self::Locality,
        Self::Status,
        Self::Body,
        Self::Location,
        Self::Path,
        Self::Authority,
        Self::RequestHeaders,
        Self::ResponseHeaders,
        Self::Mirrors,
        Self::Attempts,
        Self::ResponseFlags,
        Self::DurationUs,
        Self::Tries,
        Self::Engine,
        Self::Reason,
    ];

    /// What came to the format later, or is known only where endpoints follow a script; a `case.toml`
    /// that does not name one of them ignores it.
    pub const OPTIONAL: Fields = Fields(
        1 << Self::Body as u32
            | 1 << Self::RequestHeaders as u32
            | 1 << Self::ResponseHeaders as u32
            | 1 << Self::Mirrors as u32
            | 1 << Self::Attempts as u32
            | 1 << Self::ResponseFlags as u32
            | 1 << Self::DurationUs as u32
            | 1 << Self::Tries as u32,
    );

    /// What says who decided, and in which words, and so never agrees between two engines.
    pub const NEVER_COMPARED: Fields = Fields(1 << Self::Engine as u32 | 1 << Self::Reason as u32);

    /// Its name in a decisions file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Outcome => "outcome",
            Self::Listener => "listener",
            Self::FilterChain => "filter_chain",
            Self::RouteConfig => "route_config",
            Self::VirtualHost => "virtual_host",
            Self::Route => "route",
            Self::Cluster => "cluster",
            Self::Endpoint => "endpoint",
            Self::Priority => "priority",
            Self::Locality => "locality",
            Self::Status => "status",
            Self::Body => "body",
            Self::Location => "location",
            Self::Path => "path",
            Self::Authority => "authority",
            Self::RequestHeaders => "request_headers",
            Self::ResponseHeaders => "response_headers",
            Self::Mirrors => "mirrors",
            Self::Attempts => "attempts",
            Self::ResponseFlags => "response_flags",
            Self::DurationUs => "duration_us",
            Self::Tries => "tries",
            Self::Engine => "engine",
            Self::Reason => "reason",
        }
    }

    /// Its value in a decision, as text; `None` where it is absent.
    pub fn value(self, decision: &Decision) -> Option<Cow<'_, str>> {
        let text = |text: &'_ Option<String>| text.clone().map(Cow::Owned);
        match self {
            Self::Outcome => Some(Cow::Borrowed(outcome_name(decision.outcome))),
            Self::Listener => text(&decision.listener),
            Self::FilterChain => text(&decision.filter_chain),
            Self::RouteConfig => text(&decision.route_config),
            Self::VirtualHost => text(&decision.virtual_host),
            Self::Route => text(&decision.route),
            Self::Cluster => text(&decision.cluster),
            Self::Endpoint => text(&decision.endpoint),
            Self::Priority => decision.priority.map(|value| Cow::Owned(value.to_string())),
            Self::Locality => text(&decision.locality),
            Self::Status => decision.status.map(|value| Cow::Owned(value.to_string())),
            Self::Body => text(&decision.body),
            Self::Location => text(&decision.location),
            Self::Path => text(&decision.path),
            Self::Authority => text(&decision.authority),
            Self::RequestHeaders => headers(decision.request_headers.as_ref()),
            Self::ResponseHeaders => headers(decision.response_headers.as_ref()),
            Self::Mirrors => {
                (!decision.mirrors.is_empty()).then(|| Cow::Owned(decision.mirrors.join(", ")))
            }
            Self::Attempts => decision.attempts.map(|value| Cow::Owned(value.to_string())),
            Self::ResponseFlags => text(&decision.response_flags),
            Self::DurationUs => decision
                .duration_us
                .map(|value| Cow::Owned(value.to_string())),
            Self::Tries => serde_json::to_string(&decision.tries)
                .ok()
                .filter(|_| !decision.tries.is_empty())
                .map(Cow::Owned),
            Self::Engine => text(&decision.engine),
            Self::Reason => text(&decision.reason),
        }
    }

    /// Whether two decisions have the same in it.
    pub fn equal(self, one: &Decision, other: &Decision) -> bool {
        match self {
            Self::Outcome => one.outcome == other.outcome,
            Self::Listener => one.listener == other.listener,
            Self::FilterChain => one.filter_chain == other.filter_chain,
            Self::RouteConfig => one.route_config == other.route_config,
            Self::VirtualHost => one.virtual_host == other.virtual_host,
            Self::Route => one.route == other.route,
            Self::Cluster => one.cluster == other.cluster,
            Self::Endpoint => one.endpoint == other.endpoint,
            Self::Priority => one.priority == other.priority,
            Self::Locality => one.locality == other.locality,
            Self::Status => one.status == other.status,
            Self::Body => one.body == other.body,
            Self::Location => one.location == other.location,
            Self::Path => one.path == other.path,
            Self::Authority => one.authority == other.authority,
            Self::RequestHeaders => one.request_headers == other.request_headers,
            Self::ResponseHeaders => one.response_headers == other.response_headers,
            Self::Mirrors => one.mirrors == other.mirrors,
            Self::Attempts => one.attempts == other.attempts,
            Self::ResponseFlags => one.response_flags == other.response_flags,
            Self::DurationUs => one.duration_us == other.duration_us,
            Self::Tries => one.tries == other.tries,
            Self::Engine => one.engine == other.engine,
            Self::Reason => one.reason == other.reason,
        }
    }
}

fn headers(values: Option<&HeaderValues>) -> Option<Cow<'static, str>> {
    serde_json::to_string(values?).ok().map(Cow::Owned)
}

/// An outcome's name in a decisions file.
pub fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Forward => "forward",
        Outcome::Redirect => "redirect",
        Outcome::DirectResponse => "direct_response",
        Outcome::NoListener => "no_listener",
        Outcome::NoFilterChain => "no_filter_chain",
        Outcome::NoVirtualHost => "no_virtual_host",
        Outcome::NoRoute => "no_route",
        Outcome::NoCluster => "no_cluster",
        Outcome::NoHealthyUpstream => "no_healthy_upstream",
        Outcome::Overflow => "overflow",
        Outcome::BadRequest => "bad_request",
        Outcome::Unsupported => "unsupported",
    }
}

/// A set of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Fields(u32);

impl Fields {
    /// Every field.
    pub const EVERY: Self = Self((1 << Field::ALL.len()) - 1);

    /// The fields of both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The fields of this that the other does not have.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether it holds the field.
    pub fn contains(self, field: Field) -> bool {
        self.0 & (1 << field as u32) != 0
    }

    /// The fields, in the order of the format.
    pub fn iter(self) -> impl Iterator<Item = Field> {
        Field::ALL
            .into_iter()
            .filter(move |field| self.contains(*field))
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in which two decisions differ.
    #[must_use]
    pub fn differing(self, one: &Decision, other: &Decision) -> Self {
        self.iter()
            .filter(|field| !field.equal(one, other))
            .collect()
    }
}

impl FromIterator<Field> for Fields {
    fn from_iter<I: IntoIterator<Item = Field>>(fields: I) -> Self {
        Self(
            fields
                .into_iter()
                .fold(0, |bits, field| bits | 1 << field as u32),
        )
    }
}
