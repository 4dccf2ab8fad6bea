//! Connections through a TCP proxy: decided once, then carried both ways.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::copy_bidirectional_with_sizes;
use tokio_util::sync::CancellationToken;
use twinmesh_engine::{Outcome, Request};

use super::finish::Finish;
use super::io::{Counted, Counts, Stream};
use super::upstream::Pool;
use super::{ConnectionInfo, Shared};
use crate::access_log::Record;
use crate::datapath::stream::SharedStream;
use crate::plan::{ChainKind, Transport};

/// Bytes that are on their way in each direction at most.
const BUFFER: usize = 64 * 1024;

/// Carries a connection whose filter chain ends in a TCP proxy.
pub async fn serve(
    shared: &Arc<Shared>,
    stream: impl Stream,
    info: &ConnectionInfo,
    request: &Request,
    stop: &CancellationToken,
) {
    let mut record = Record::new(info, request);
    record.connection();
    let mut decided = match shared.live.decide(request, rand::random()) {
        Ok(decided) => decided,
        Err(error) => {
            record.outcome = Outcome::Unsupported;
            Finish::new(Arc::clone(shared), record, None).failed(error.message);
            return;
        }
    };
    record.decided(&decided);
    let mut finish = Finish::new(Arc::clone(shared), record, None);
    finish.hold(decided.hold.take());
    let policy = Arc::clone(&decided.policy);
    let place = policy.plan.place(&decided.answer.trace);
    let decision = &decided.answer.decision;
    let Some(ChainKind::Tcp(plan)) = place.chain.map(|chain| &chain.kind) else {
        finish.failed("the policy changed while the connection was accepted");
        return;
    };
    if decision.outcome != Outcome::Forward {
        finish.complete();
        return;
    }
    let tls = place
        .cluster
        .is_none_or(|cluster| cluster.transport(place.endpoint) != Transport::Plain);
    let impossible = if tls {
        Some("transport_socket: the endpoint speaks TLS, which this proxy does not yet".to_owned())
    } else {
        plan.impossible.clone()
    };
    if let Some(reason) = impossible {
        tracing::warn!(source = %info.source, destination = %info.destination, "the connection is closed: {reason}");
        finish.failed(reason);
        return;
    }
    let endpoint = decision.endpoint.as_deref().unwrap_or_default();
    let Some(address) = shared.resolve(endpoint) else {
        finish.failed(format!(
            "the endpoint {endpoint:?} is no IP address and port"
        ));
        return;
    };
    let limit = place
        .cluster
        .map_or(Duration::from_secs(5), |cluster| cluster.connect_timeout);
    let endpoint = match connect(&shared.pool, address, limit, plan.connect_attempts).await {
        Ok(endpoint) => endpoint,
        Err(error) => {
            finish.failed(format!("connecting to the endpoint: {error}"));
            return;
        }
    };
    let idle = plan.idle_timeout;
    let counts = Arc::new(Counts::default());
    let client = Counted::new(stream, Arc::clone(&counts));
    let ended = carry(client, endpoint, &counts, idle, stop).await;
    finish.request_bytes(counts.read.load(Relaxed));
    finish.response_bytes(counts.written.load(Relaxed));
    match ended {
        Ok(()) => finish.complete(),
        Err(reason) => finish.failed(reason),
    }
}

async fn connect(
    pool: &Pool,
    address: SocketAddr,
    limit: Duration,
    attempts: u32,
) -> io::Result<SharedStream> {
    let mut left = attempts;
    loop {
        left = left.saturating_sub(1);
        match pool.stream(address, limit).await {
            Err(_) if left > 0 => {}
            connected => return connected,
        }
    }
}

/// Copies both ways until both have ended. The end of one direction is passed on by itself, so
/// half-closed connections go on.
///
/// # Errors
/// Why it ended otherwise.
pub async fn carry(
    mut client: impl Stream,
    mut endpoint: impl Stream,
    counts: &Counts,
    idle: Option<Duration>,
    stop: &CancellationToken,
) -> Result<(), String> {
    let mut copying = std::pin::pin!(copy_bidirectional_with_sizes(
        &mut client,
        &mut endpoint,
        BUFFER,
        BUFFER
    ));
    let mut seen = counts.total();
    loop {
        let tick = async {
            match idle {
                Some(idle) => tokio::time::sleep(idle).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            copied = &mut copying => {
                return copied.map(|_| ()).map_err(|error| format!("the connection broke: {error}"));
            }
            () = tick => {
                let now = counts.total();
                if now == seen {
                    return Err("the idle timeout ran out".to_owned());
                }
                seen = now;
            }
            () = stop.cancelled() => {
                return Err("the agent is shutting down".to_owned());
            }
        }
    }
}
