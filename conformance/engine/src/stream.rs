//! What engines decide of a request after its endpoint is chosen: attempts, timeouts, retries. The
//! driver ([`crate::play`]) has the clock and the endpoints' script; an engine is told what happens
//! and says what is to be done.

use crate::{Answer, EngineError, Request};

/// A request under way: its index in the traffic file.
pub type StreamId = usize;

/// A connection to an endpoint, by a number that the engine chose.
pub type ConnectionId = u64;

/// What an engine sets a clock for. At one time there is one of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// The route's timeout.
    Route(StreamId),
    /// The stream's idle timeout.
    Idle(StreamId),
    /// The longest that the stream may last.
    Duration(StreamId),
    /// `per_try_timeout`.
    Try(StreamId),
    /// `per_try_idle_timeout`.
    TryIdle(StreamId),
    /// The back off before a retry.
    BackOff(StreamId),
    /// `connect_timeout`.
    Connect(ConnectionId),
    /// The interval of a cluster's outlier detection, by a number that the engine chose.
    Outliers(usize),
}

/// What happens to an engine's streams and connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A connection is there.
    Connected(ConnectionId),
    /// A connection was refused.
    Refused(ConnectionId),
    /// The endpoint responds to the attempt that was sent last. Its body ends with it, unless the
    /// stream is `cut` inside.
    Response {
        /// The stream.
        stream: StreamId,
        /// The response.
        response: Response,
    },
    /// The endpoint ends the attempt that was sent last before it responds.
    Reset {
        /// The stream.
        stream: StreamId,
        /// HTTP/2's REFUSED_STREAM.
        refused: bool,
    },
    /// A timer is due.
    Due(Timer),
    /// Nothing will ever happen to the stream any more.
    Forgotten(StreamId),
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Response {
    /// The status.
    pub status: u32,
    /// The headers, `grpc-status` among them.
    pub headers: Vec<(String, String)>,
    /// Whether the stream is cut off in the body.
    pub cut: bool,
}

impl Response {
    /// The values of a header, in order, without white space around them.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let headers = self.headers.iter();
        headers
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim_matches([' ', '\t']))
            .collect()
    }
}

/// What an engine wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A connection is to be opened to the endpoint.
    Connect {
        /// The connection.
        connection: ConnectionId,
        /// `ip:port`, or a pipe's path.
        endpoint: String,
    },
    /// A connection that is not there yet is given up.
    GiveUp(ConnectionId),
    /// An attempt is sent to the endpoint.
    Send {
        /// The stream.
        stream: StreamId,
        /// `ip:port`, or a pipe's path.
        endpoint: String,
    },
    /// The attempt that was sent last is given up: nothing of it comes any more.
    Cancel(StreamId),
    /// A timer is set, in the place of the same one.
    Set(Timer, u64),
    /// A timer is put off.
    Clear(Timer),
    /// An endpoint is ejected from its cluster, or returns.
    Health {
        /// Name of the cluster.
        cluster: String,
        /// The endpoint.
        identity: crate::update::Identity,
        /// Whether it is ejected.
        ejected: bool,
    },
    /// The stream ends in this.
    End {
        /// The stream.
        stream: StreamId,
        /// What came of it.
        answer: Box<Answer>,
    },
}

/// An engine that decides what becomes of requests after their endpoint is chosen. What it remembers
/// of streams survives [`Engine::update`](crate::Engine::update).
pub trait Streams {
    /// The snapshot is there, for the first time or another one: what the engine has to be woken
    /// for.
    ///
    /// # Errors
    /// The engine itself failed.
    fn begin(&mut self, now_us: u64, actions: &mut Vec<Action>) -> Result<(), EngineError>;

    /// A request arrives.
    ///
    /// # Errors
    /// The engine itself failed.
    fn arrive(
        &mut self,
        arrival: &Arrival<'_>,
        actions: &mut Vec<Action>,
    ) -> Result<(), EngineError>;

    /// Something happens.
    ///
    /// # Errors
    /// The engine itself failed.
    fn happen(
        &mut self,
        event: Event,
        now_us: u64,
        actions: &mut Vec<Action>,
    ) -> Result<(), EngineError>;
}

/// A request that arrives.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Its number.
    pub stream: StreamId,
    /// What was asked.
    pub request: &'a Request,
    /// Its one random number.
    pub random: u64,
    /// The time.
    pub now_us: u64,
    /// Whether the answer tells how the first attempt was decided.
    pub trace: bool,
}
