//! One connection: which filter chain it gets, and what that makes of it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::inspect::{Protocol, inspect};
use super::io::{ClientIo, Mark, Stream};
use super::{ConnectionInfo, Hooks, Session, Shared, headers, http, tcp};
use crate::live::Decided;
use crate::plan::{ChainKind, Inspect, ManagerPlan};

/// Bytes that are read ahead beyond a head.
const AHEAD: usize = 8 * 1024;

/// Serves a connection until it ends, `drain` asks it to, or the agent cuts it off.
pub async fn serve(
    shared: &Arc<Shared>,
    stream: impl Stream,
    ahead: Bytes,
    info: ConnectionInfo,
    hooks: Option<Arc<dyn Hooks>>,
    drain: CancellationToken,
) {
    let kill = shared.kill.clone();
    let served = run(shared, stream, ahead, &info, hooks, drain);
    let refused = tokio::select! {
        served = served => served.err(),
        () = kill.cancelled() => None,
    };
    if let Some(reason) = refused {
        shared.metrics.refused_connection();
        tracing::warn!(source = %info.source, destination = %info.destination,
            listener = info.listener.as_deref(), "the connection is closed: {reason}");
    }
}

async fn run(
    shared: &Arc<Shared>,
    mut stream: impl Stream,
    mut ahead: Bytes,
    info: &ConnectionInfo,
    hooks: Option<Arc<dyn Hooks>>,
    drain: CancellationToken,
) -> Result<(), String> {
    let mut request = headers::connection(info);
    let mut decided = decide(shared, &request)?;
    let listener = decided.policy.plan.place(&decided.answer.trace).listener;
    if let Some(look) = listener.and_then(|listener| listener.inspect.clone())
        && ahead.is_empty()
    {
        let (protocol, bytes) = first_bytes(&mut stream, &look).await?;
        ahead = bytes;
        match protocol {
            Protocol::Tls => {
                request.tls = Some(true);
                return Err("it speaks TLS, which this proxy does not yet: not decided".to_owned());
            }
            Protocol::Other if look.http => {
                return Err("the HTTP inspector finds no HTTP/1: not decided".to_owned());
            }
            Protocol::Http | Protocol::Other => {}
        }
        decided = decide(shared, &request)?;
    }
    let policy = Arc::clone(&decided.policy);
    let place = policy.plan.place(&decided.answer.trace);
    let decision = &decided.answer.decision;
    let Some(chain) = place.chain else {
        return Err(format!("{:?}", decision.outcome));
    };
    if let Some(reason) = &chain.impossible {
        return Err(reason.clone());
    }
    if let Some(reason) = &decision.reason {
        return Err(format!("not decided: {reason}"));
    }
    match &chain.kind {
        ChainKind::Unknown => Err("the filter chain ends in an unknown filter".to_owned()),
        ChainKind::Tcp(_) => {
            let io = ClientIo::new(stream, ahead, Arc::new(Mark::default()));
            tcp::serve(shared, io, info, &request, &shared.kill).await;
            Ok(())
        }
        ChainKind::Http(manager) => {
            let mark = Arc::new(Mark::new(hooks.clone()));
            let heads = Arc::default();
            let io = ClientIo::new(stream, ahead, Arc::clone(&mark));
            let io = io.with_heads(Arc::clone(&heads));
            let session = Arc::new(Session {
                shared: Arc::clone(shared),
                info: info.clone(),
                manager: manager.clone(),
                hooks,
                mark,
                heads,
                requests: 0.into(),
            });
            // The policy is not held by a connection that may be there for days.
            drop(decided);
            drop(policy);
            serve_http(session, io, drain).await;
            Ok(())
        }
    }
}

fn decide(shared: &Shared, request: &twinmesh_engine::Request) -> Result<Decided, String> {
    let decided = shared.live.decide_connection(request);
    decided.map_err(|error| error.message)
}

async fn first_bytes(
    stream: &mut impl Stream,
    look: &Inspect,
) -> Result<(Protocol, Bytes), String> {
    let reading = inspect(stream);
    let read = match look.timeout {
        Some(limit) => match tokio::time::timeout(limit, reading).await {
            Ok(read) => read,
            Err(_) => {
                return Err("no first bytes came within listener_filters_timeout".to_owned());
            }
        },
        None => reading.await,
    };
    read.map_err(|error| format!("reading its first bytes: {error}"))
}

fn builder(manager: &ManagerPlan) -> Builder {
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .preserve_header_case(true)
        .header_read_timeout(manager.request_headers_timeout)
        .max_buf_size(manager.header_bytes + AHEAD)
        .max_header_size(manager.header_bytes);
    if manager.headers != 100 {
        builder.max_headers(manager.headers);
    }
    builder
}

async fn serve_http(session: Arc<Session>, io: impl Stream, drain: CancellationToken) {
    let service = {
        let session = Arc::clone(&session);
        service_fn(move |request| http::handle(Arc::clone(&session), request))
    };
    let connection = builder(&session.manager)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let idle = session.manager.idle_timeout;
    let hooks = session.hooks.clone();
    let begun = || {
        let elsewhere = hooks.as_ref().map_or(0, |hooks| hooks.begun_elsewhere());
        session.requests.load(Relaxed).wrapping_add(elsewhere)
    };
    let ready_to_end = || match &hooks {
        Some(hooks) => hooks.ready_to_end(),
        None => std::future::ready(()).boxed(),
    };
    let mut draining = false;
    let mut ending: Option<BoxFuture<'static, ()>> = None;
    let mut requests = 0;
    // Looked at now and then only: a timer a request costs more than it is worth.
    let mut idle_since = Instant::now();
    loop {
        let look = async {
            match idle {
                Some(idle) => tokio::time::sleep(idle.min(Duration::from_secs(3600))).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // In this order, so that a response that is written from now on says that it is the last.
            biased;
            () = drain.cancelled(), if !draining => {
                draining = true;
                ending = Some(ready_to_end());
            }
            () = async { if let Some(ending) = &mut ending { ending.await } }, if ending.is_some() => {
                ending = None;
                connection.as_mut().graceful_shutdown();
            }
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(source = %session.info.source, "the connection ended: {error}");
                }
                return;
            }
            () = look, if !draining => {
                let now = begun();
                if now != requests {
                    requests = now;
                    idle_since = Instant::now();
                } else if idle.is_some_and(|idle| idle_since.elapsed() >= idle) {
                    // One that is under way is finished first.
                    draining = true;
                    ending = Some(ready_to_end());
                }
            }
        }
    }
}
