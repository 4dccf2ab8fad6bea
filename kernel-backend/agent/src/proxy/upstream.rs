//! Connections to endpoints, HTTP/1.1: kept in pools by address, driven by the request that uses
//! them.
//!
//! A connection goes back to its pool only where hyper says that it is ready for another request:
//! both messages are whole, neither said `Connection: close`, it is HTTP/1.1 with a length or
//! chunks, and no byte is left over.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::task::noop_waker;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::body::{Progress, RequestBody};
use super::io::{Counted, Counts};
use super::watch::{Expired, Watch};
use crate::datapath::slots::Slot;
use crate::datapath::stream::SharedStream;
use crate::datapath::{self, Splice};

/// Bytes that are read or written ahead on a connection to an endpoint. Response heads have to
/// fit: `max_response_headers_kb` is 60 by default.
const BUFFER: usize = 64 * 1024;
/// Response headers that are taken: Envoy's `max_headers_count`.
const HEADERS: usize = 100;

/// hyper's side of a connection; its type has no name.
type Connection = dyn Future<Output = hyper::Result<()>> + Send;

/// A connection to an endpoint, in use by one request.
pub struct Upstream {
    sender: SendRequest<RequestBody>,
    /// `None` when it has ended.
    connection: Option<Pin<Box<Connection>>>,
    counts: Arc<Counts>,
    pool: Arc<Pool>,
    address: SocketAddr,
    idle_timeout: Option<Duration>,
    requests_left: Option<u64>,
    /// Where the kernel tracks it: the stream itself, and its record.
    tracked: Option<(SharedStream, Slot)>,
    /// It carried a request before.
    pub reused: bool,
}

/// Why a request got no response head.
#[derive(Debug)]
pub enum Failure {
    /// The connection ended or broke before the head was whole.
    Reset {
        /// It carried a request before, and not a byte came back since.
        stale: bool,
        /// The error, in words.
        reason: String,
    },
    /// What came is no HTTP/1.1 response.
    Protocol(String),
    /// A timer ran out.
    Expired(Expired),
    /// The client broke off its own request.
    ClientGone,
}

impl Upstream {
    /// Moves what can be moved.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(cx).is_ready()
        {
            self.connection = None;
        }
    }

    /// Waits until the connection has handed its stream over to an upgrade, or has ended.
    pub async fn finish(mut self) {
        if let Some(connection) = self.connection.take() {
            // An error is the upgraded stream's own, too.
            let _ = connection.await;
        }
    }

    /// Sends a request and waits for the response's head. With an error comes back the request,
    /// where none of it was sent.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
        progress: Option<&Progress>,
        watch: &mut Watch,
    ) -> Result<Response<Incoming>, (Failure, Option<Request<RequestBody>>)> {
        let before = self.counts.read.load(Relaxed);
        if let Some(left) = &mut self.requests_left {
            *left = left.saturating_sub(1);
        }
        let mut sending = pin!(self.sender.try_send_request(request));
        let connection = &mut self.connection;
        let counts = &self.counts;
        let mut moved = counts.total();
        let sent = std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
                    return Poll::Ready(Ok(sent));
                }
                match connection {
                    Some(running) => {
                        if running.as_mut().poll(cx).is_ready() {
                            *connection = None;
                            continue;
                        }
                    }
                    None => return Poll::Ready(Err(None)),
                }
                if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
                    return Poll::Ready(Ok(sent));
                }
                if progress.is_none_or(|progress| progress.ended.load(Relaxed)) {
                    watch.request_ended();
                }
                let now = counts.total();
                if now != moved {
                    moved = now;
                    watch.active();
                }
                return watch.poll(cx).map(|expired| Err(Some(expired)));
            }
        })
        .await;
        let nothing_came = self.counts.read.load(Relaxed) == before;
        let stale = self.reused && nothing_came;
        match sent {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(mut error)) => {
                let message = error.take_message();
                let error = error.into_error();
                let failure = if progress.is_some_and(|progress| progress.broken.load(Relaxed)) {
                    Failure::ClientGone
                } else if error.is_parse() || error.is_parse_too_large() {
                    Failure::Protocol(error.to_string())
                } else {
                    Failure::Reset {
                        stale: stale || message.is_some(),
                        reason: words(&error),
                    }
                };
                Err((failure, message))
            }
            Err(Some(expired)) => Err((Failure::Expired(expired), None)),
            Err(None) => Err((
                Failure::Reset {
                    stale,
                    reason: "the connection ended".to_owned(),
                },
                None,
            )),
        }
    }

    /// The response is whole: the connection goes back to its pool, if it can carry another.
    pub fn done(mut self) {
        let waker = noop_waker();
        self.drive(&mut Context::from_waker(&waker));
        if self.connection.is_some() && self.sender.is_ready() && self.requests_left != Some(0) {
            let pool = Arc::clone(&self.pool);
            match (self.tracked.take(), &pool.splice) {
                (Some((stream, slot)), Some(splice)) if self.requests_left.is_none() => {
                    // hyper's side has nothing read ahead: it is ready for another request.
                    drop(self);
                    splice.keep(stream, slot);
                }
                _ => pool.put(self),
            }
        }
    }
}

fn words(error: &hyper::Error) -> String {
    use std::error::Error as _;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// What a connection to a cluster's endpoints is made by.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a connection may be idle.
    pub idle_timeout: Option<Duration>,
    /// How many requests it may carry.
    pub max_requests: Option<u64>,
}

/// Idle connections, by address.
pub struct Pool {
    splice: Option<Arc<Splice>>,
    idle: Mutex<HashMap<SocketAddr, Vec<Idle>>>,
}

struct Idle {
    upstream: Upstream,
    since: Instant,
}

impl Idle {
    fn is_over(&self, now: Instant) -> bool {
        let idle = now.saturating_duration_since(self.since);
        self.upstream
            .idle_timeout
            .is_some_and(|timeout| idle >= timeout)
    }
}

impl Pool {
    /// No connections yet. With `splice` the kernel gets those that it tracks when they are idle.
    pub fn new(splice: Option<Arc<Splice>>) -> Self {
        Self {
            splice,
            idle: Mutex::default(),
        }
    }

    /// Connects to an endpoint, as the agent's own.
    ///
    /// # Errors
    /// The endpoint refuses, or does not answer in time ([`io::ErrorKind::TimedOut`]).
    pub async fn stream(&self, address: SocketAddr, limit: Duration) -> io::Result<SharedStream> {
        match &self.splice {
            Some(splice) => splice.slots.connect_untracked(address, limit).await,
            None => Ok(SharedStream(Arc::new(connect(address, limit).await?))),
        }
    }

    /// An idle connection that has not been seen to end.
    pub fn take(&self, address: SocketAddr) -> Option<Upstream> {
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        loop {
            let idle = {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                idle.get_mut(&address)?.pop()?
            };
            if idle.is_over(Instant::now()) {
                continue;
            }
            let mut upstream = idle.upstream;
            upstream.drive(&mut cx);
            if upstream.connection.is_some() && upstream.sender.is_ready() {
                upstream.reused = true;
                return Some(upstream);
            }
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// It is not made, or not in time.
    pub async fn connect(
        self: &Arc<Self>,
        address: SocketAddr,
        settings: Settings,
        upgrades: bool,
    ) -> io::Result<Upstream> {
        let limit = settings.connect_timeout;
        let (stream, slot) = match &self.splice {
            // One that leaves HTTP is of no use to the kernel.
            Some(splice) if !upgrades => splice.slots.connect(address, limit).await?,
            _ => (self.stream(address, limit).await?, None),
        };
        self.over(stream, slot, address, settings).await
    }

    /// An idle connection that the kernel has, taken back.
    pub async fn take_back(
        self: &Arc<Self>,
        address: SocketAddr,
        settings: Settings,
    ) -> Option<Upstream> {
        let splice = self.splice.as_ref()?;
        let (stream, slot) = datapath::upstream::take(splice, address).await?;
        let over = self.over(stream, Some(slot), address, settings).await;
        let mut upstream = over.ok()?;
        upstream.reused = true;
        Some(upstream)
    }

    async fn over(
        self: &Arc<Self>,
        stream: SharedStream,
        slot: Option<Slot>,
        address: SocketAddr,
        settings: Settings,
    ) -> io::Result<Upstream> {
        let counts = Arc::new(Counts::default());
        let tracked = slot.map(|slot| (stream.clone(), slot));
        let counted = TokioIo::new(Counted::new(stream, Arc::clone(&counts)));
        let mut builder = Builder::new();
        builder
            .preserve_header_case(true)
            .max_buf_size(BUFFER)
            .max_headers(HEADERS);
        let (sender, connection) = builder.handshake(counted).await.map_err(io::Error::other)?;
        Ok(Upstream {
            sender,
            connection: Some(Box::pin(connection.with_upgrades())),
            counts,
            pool: Arc::clone(self),
            address,
            idle_timeout: settings.idle_timeout,
            requests_left: settings.max_requests,
            tracked,
            reused: false,
        })
    }

    fn put(&self, upstream: Upstream) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.entry(upstream.address).or_default().push(Idle {
            upstream,
            since: Instant::now(),
        });
    }

    /// Drops connections that have been idle for too long or have ended. Called now and then.
    pub fn sweep(&self) {
        let now = Instant::now();
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, list| {
            list.retain_mut(|idle| {
                idle.upstream.drive(&mut cx);
                !idle.is_over(now) && idle.upstream.connection.is_some()
            });
            !list.is_empty()
        });
    }

    /// How many connections are idle.
    pub fn idle(&self) -> usize {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.values().map(Vec::len).sum()
    }
}

/// Connects, with a time limit.
///
/// # Errors
/// The endpoint refuses, or does not answer in time ([`io::ErrorKind::TimedOut`]).
async fn connect(address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let connecting = tokio::time::timeout(limit, TcpStream::connect(address)).await;
    let stream = connecting.map_err(|_| io::ErrorKind::TimedOut)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}
