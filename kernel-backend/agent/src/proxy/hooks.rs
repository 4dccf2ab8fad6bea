//! What whoever hands a connection over can have a say in.

use std::net::SocketAddr;

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use twinmesh_engine::Request;

use crate::live::Decided;

/// A connection's say in its requests.
pub trait Hooks: Send + Sync + 'static {
    /// A decision that was made already for the next request on this connection; `None` has the
    /// proxy decide. The request is as the proxy read it. The answer's trace has to be there: the
    /// proxy finds timeouts and transports by its steps.
    fn decision(&self, _request: &Request) -> Option<Decided> {
        None
    }

    /// Awaited before the first byte of a response is written.
    fn ready_to_respond(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    /// The last byte of a response has been written to the connection.
    fn response_written(&self) {}

    /// How many requests of the connection have begun elsewhere.
    fn begun_elsewhere(&self) -> u64 {
        0
    }

    /// Awaited before the connection is ended between two requests: from then on nothing more begins
    /// elsewhere, and what has begun has ended.
    fn ready_to_end(&self) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }
}

/// Where a connection was going before it was sent to the agent.
pub trait OriginalDestination: Send + Sync + 'static {
    /// The destination that the peer asked for; `None` where nothing is known of the connection,
    /// which is then closed.
    fn of(&self, peer: SocketAddr, local: SocketAddr) -> Option<SocketAddr>;
}
