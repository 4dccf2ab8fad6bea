//! What Envoy writes of each request into its access log.

use std::collections::HashMap;

use serde::Deserialize;

use crate::client::Sent;
use crate::error::EnvoyError;

/// A line of the log. Indices are those of the snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Entry {
    /// Who wrote it.
    pub kind: Kind,
    /// The connection's own end.
    from: String,
    /// Counts the snapshots that this Envoy got.
    #[serde(default, deserialize_with = "index")]
    pub generation: Option<usize>,
    /// Of the listener.
    #[serde(default, deserialize_with = "index")]
    pub listener: Option<usize>,
    /// Of the filter chain; absent for the default one.
    #[serde(default, deserialize_with = "index")]
    pub filter_chain: Option<usize>,
    /// The filter chain's name, where a listener writes.
    #[serde(default)]
    pub chain: Option<String>,
    /// Of the route configuration.
    #[serde(default, deserialize_with = "index")]
    pub route_config: Option<usize>,
    /// Of the virtual host.
    #[serde(default, deserialize_with = "index")]
    pub virtual_host: Option<usize>,
    /// Of the route.
    #[serde(default, deserialize_with = "index")]
    pub route: Option<usize>,
    /// The cluster's name.
    #[serde(default)]
    pub cluster: Option<String>,
    /// The endpoint's stand-in.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The response's status; 0 where there was none.
    #[serde(default)]
    pub status: Option<u32>,
    /// Why it was answered so.
    #[serde(default)]
    pub details: Option<String>,
    /// Why the connection was closed.
    #[serde(default)]
    pub closed: Option<String>,
    /// Envoy's flags.
    #[serde(default)]
    pub flags: Option<String>,
}

impl Entry {
    /// Whether a network filter closed the connection.
    pub fn is_closed_by_filter(&self) -> bool {
        let closed = self.closed.as_deref().unwrap_or_default();
        closed.starts_with(CLOSED_BY_FILTER)
    }
}

/// Who wrote a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A connection manager, of a request.
    #[default]
    Http,
    /// A TCP proxy, of a connection.
    Tcp,
    /// A listener, of a connection.
    Listener,
    /// The entry that hands connections on, of one that it kept.
    Front,
}

fn index<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom))
        .transpose()
}

/// The log by connection.
#[derive(Debug, Default)]
pub struct Log(HashMap<String, Vec<Entry>>);

impl Log {
    /// Reads its whole lines.
    ///
    /// # Errors
    /// A line is not what was asked for.
    pub fn read(text: &str) -> Result<Self, EnvoyError> {
        let mut log = Self::default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines() {
            let entry: Entry = serde_json::from_str(line).map_err(|error| {
                EnvoyError::Unexpected(format!("Envoy's access log has {line:?}: {error}"))
            })?;
            // A listener also writes of each connection that went well, and a TCP proxy of what a network
            // filter closes.
            let is_of_refusal =
                entry.details.as_deref() == Some(NO_FILTER_CHAIN) || entry.is_closed_by_filter();
            if (entry.kind == Kind::Listener) == is_of_refusal {
                log.0.entry(entry.from.clone()).or_default().push(entry);
            }
        }
        Ok(log)
    }

    /// The line of a request.
    pub fn of(&self, sent: &Sent) -> Option<&Entry> {
        self.0.get(&sent.from)?.get(sent.number)
    }
}

/// `%RESPONSE_CODE_DETAILS%` of a connection that no filter chain takes.
pub const NO_FILTER_CHAIN: &str = "filter_chain_not_found";

/// What `%CONNECTION_TERMINATION_DETAILS%` starts with where network RBAC closed the connection.
const CLOSED_BY_FILTER: &str = "rbac_access_denied";
