//! The userspace proxy: connections of the snapshot's listeners, or handed over from elsewhere,
//! decided by the model and carried to their endpoints.

mod body;
mod connection;
mod finish;
mod headers;
mod heads;
mod hooks;
mod http;
mod inspect;
mod io;
mod listen;
mod reply;
mod tcp;
mod upgrade;
mod upstream;
mod watch;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access_log::AccessLog;
use crate::datapath::Splice;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::plan::ManagerPlan;

pub use headers::connection as connection_request;
pub use hooks::{Hooks, OriginalDestination};
pub use io::Stream;
pub use listen::{Bound, BoundListener};
pub(crate) use reply::{Reply, is_grpc, reset};
pub use watch::Expired;

/// How often idle upstream connections are looked through.
const SWEEP: Duration = Duration::from_secs(5);

/// Turns an endpoint's address into the one that is connected to.
pub type Resolve = dyn Fn(SocketAddr) -> SocketAddr + Send + Sync;

/// The ends of a connection, and which listener took it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The peer.
    pub source: SocketAddr,
    /// What the connection asked for, before any redirection.
    pub destination: SocketAddr,
    /// The listener whose own socket took it; `None`: the destination says which one takes it.
    pub listener: Option<Arc<str>>,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) live: Live,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access_log: AccessLog,
    pool: Arc<upstream::Pool>,
    resolve: Option<Box<Resolve>>,
    /// Connections and tunnels.
    tasks: TaskTracker,
    /// No more requests: connections end as soon as they may.
    drain: CancellationToken,
    /// Connections end at once.
    kill: CancellationToken,
}

impl Shared {
    fn resolve(&self, endpoint: &str) -> Option<SocketAddr> {
        let address: SocketAddr = endpoint.parse().ok()?;
        Some(match &self.resolve {
            Some(resolve) => resolve(address),
            None => address,
        })
    }
}

/// The proxy. A clone is the same one.
#[derive(Clone)]
pub struct Proxy {
    shared: Arc<Shared>,
}

impl Proxy {
    /// A proxy that decides by `live`. Has to be called within a tokio runtime.
    pub fn new(live: Live, metrics: Arc<Metrics>, access_log: AccessLog) -> Self {
        Self::with_resolve(live, metrics, access_log, None, None)
    }

    /// The same, with other addresses in the place of endpoints' own: for tests, whose endpoints
    /// are where they can be. With `splice` the kernel gets the connections to endpoints that the
    /// proxy leaves idle.
    pub fn with_resolve(
        live: Live,
        metrics: Arc<Metrics>,
        access_log: AccessLog,
        resolve: Option<Box<Resolve>>,
        splice: Option<Arc<Splice>>,
    ) -> Self {
        let pool = Arc::new(upstream::Pool::new(splice));
        let drain = CancellationToken::new();
        let sweeping = (Arc::downgrade(&pool), drain.clone());
        tokio::spawn(async move {
            let (pool, drain) = sweeping;
            while !drain.is_cancelled() {
                tokio::time::sleep(SWEEP).await;
                match pool.upgrade() {
                    Some(pool) => pool.sweep(),
                    None => return,
                }
            }
        });
        Self {
            shared: Arc::new(Shared {
                live,
                metrics,
                access_log,
                pool,
                resolve,
                tasks: TaskTracker::new(),
                drain,
                kill: CancellationToken::new(),
            }),
        }
    }

    /// Serves one connection to its end. `ahead` was read from it already. With `hooks`, whoever
    /// handed it over has a say in its requests.
    pub async fn serve_connection(
        &self,
        stream: impl Stream,
        ahead: bytes::Bytes,
        info: ConnectionInfo,
        hooks: Option<Arc<dyn Hooks>>,
    ) {
        let drain = self.shared.drain.clone();
        connection::serve(&self.shared, stream, ahead, info, hooks, drain).await;
    }

    /// As [`Self::serve_connection`]; ends, too, when `drain` is cancelled.
    pub async fn serve_until(
        &self,
        stream: impl Stream,
        ahead: bytes::Bytes,
        info: ConnectionInfo,
        hooks: Option<Arc<dyn Hooks>>,
        drain: CancellationToken,
    ) {
        connection::serve(&self.shared, stream, ahead, info, hooks, drain).await;
    }

    /// Serves a connection in a task of its own, which [`Self::drain`] waits for.
    pub fn spawn_connection(
        &self,
        stream: impl Stream,
        ahead: bytes::Bytes,
        info: ConnectionInfo,
        hooks: Option<Arc<dyn Hooks>>,
    ) {
        let proxy = self.clone();
        self.shared.tasks.spawn(async move {
            proxy.serve_connection(stream, ahead, info, hooks).await;
        });
    }

    /// Runs what [`Self::drain`] waits for.
    pub fn track(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.tasks.spawn(task);
    }

    /// Cancelled when the proxy drains.
    pub fn draining(&self) -> CancellationToken {
        self.shared.drain.clone()
    }

    /// Ends: idle connections are closed, busy ones get `Connection: close` with their response.
    /// What is still there after `deadline` is cut off. Whether all ended by themselves.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.drain_with(deadline, &TaskTracker::new()).await
    }

    /// The same, with tasks beside its own that serve connections.
    pub async fn drain_with(&self, deadline: Duration, others: &TaskTracker) -> bool {
        self.shared.drain.cancel();
        self.shared.tasks.close();
        others.close();
        let all = async {
            self.shared.tasks.wait().await;
            others.wait().await;
        };
        let ended = tokio::time::timeout(deadline, all).await;
        if ended.is_err() {
            let left = self.shared.tasks.len() + others.len();
            tracing::warn!("{left} connections are cut off: the deadline is over");
            self.shared.kill.cancel();
            self.shared.tasks.wait().await;
            others.wait().await;
        }
        ended.is_ok()
    }

    /// How many connections to endpoints are idle.
    pub fn idle_upstreams(&self) -> usize {
        self.shared.pool.idle()
    }
}

/// A client's connection through an HTTP connection manager.
struct Session {
    shared: Arc<Shared>,
    info: ConnectionInfo,
    /// As the policy had it when the connection was accepted.
    manager: ManagerPlan,
    hooks: Option<Arc<dyn Hooks>>,
    mark: Arc<io::Mark>,
    heads: Arc<Mutex<heads::Heads>>,
    requests: AtomicU64,
}

impl Session {
    fn mark(&self) -> Arc<io::Mark> {
        Arc::clone(&self.mark)
    }

    /// A request starts: its head, as the client sent it.
    fn request_started(&self) -> Option<Vec<u8>> {
        self.requests.fetch_add(1, Relaxed);
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.next()
    }
}
