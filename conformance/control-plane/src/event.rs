//! What happens on the streams, to be looked at by tests.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde::Serialize;
use tokio::sync::watch;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Milliseconds since the server's start.
    pub time_ms: u64,
    /// Which stream, from 1.
    pub stream: u64,
    /// `node.id` of the client; empty before its first request.
    pub client: String,
    /// What happened.
    pub event: What,
    /// `CDS`, `EDS`, `LDS`, `RDS`, or a type URL that is none of theirs; empty where a stream as a
    /// whole is meant.
    pub r#type: String,
    /// Of the response that is sent, ACKed or NACKed; of a request else.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Of the request or response.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nonce: String,
    /// `error_detail.message` of a NACK; why a stream ended.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The names that a request asks for, or that a response carries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The names that a request no longer asks for, or that a response removes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A stream began.
    Open,
    /// A request asked for other resources than before, or for the same ones again.
    Subscribe,
    /// A response was sent.
    Sent,
    /// A response was acknowledged.
    Ack,
    /// A response was refused.
    Nack,
    /// A request with a nonce that is not the last one's.
    Stale,
    /// A client came back with the version that is served: nothing was sent.
    Resumed,
    /// A stream ended.
    Close,
}

/// All events, in order.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    start: Instant,
    events: Arc<Mutex<Vec<Event>>>,
    length: watch::Sender<usize>,
}

impl Log {
    pub(crate) fn new() -> Log {
        Log {
            start: Instant::now(),
            events: Arc::default(),
            length: watch::Sender::new(0),
        }
    }

    pub(crate) fn add(&self, mut event: Event) {
        let since = self.start.elapsed().as_millis();
        event.time_ms = u64::try_from(since).unwrap_or(u64::MAX);
        let mut events = match self.events.lock() {
            Ok(events) => events,
            Err(poisoned) => poisoned.into_inner(),
        };
        events.push(event);
        self.length.send_replace(events.len());
    }

    /// The events from the one at `start` on.
    pub(crate) fn from(&self, start: usize) -> Vec<Event> {
        let events = match self.events.lock() {
            Ok(events) => events,
            Err(poisoned) => poisoned.into_inner(),
        };
        events.get(start..).unwrap_or_default().to_vec()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<usize> {
        self.length.subscribe()
    }
}
