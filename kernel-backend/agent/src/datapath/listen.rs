//! Connections that the kernel sends to the agent: accepted, told where they were going, served by
//! the proxy, with the kernel's say in their requests.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use twinmesh_engine::Request;
use twinmesh_kernel_backend::datapath::maps::socket_address;

use super::Splice;
use super::client::{Client, ClientStream};
use super::stream::SharedStream;
use crate::live::{Decided, Live};
use crate::proxy::{ConnectionInfo, Hooks, Proxy};

/// How long accepting rests after an error that lies with the process (too many open files).
const REST: Duration = Duration::from_millis(50);

/// Accepts until the proxy drains.
pub async fn accept(splice: Arc<Splice>, proxy: Proxy, live: Live, listener: TcpListener) {
    let drain = proxy.draining();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => serve(&splice, &proxy, &live, stream, peer),
            Err(error) => {
                tracing::debug!("accepting a redirected connection: {error}");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

fn serve(splice: &Arc<Splice>, proxy: &Proxy, live: &Live, stream: TcpStream, peer: SocketAddr) {
    let Some(accepted) = splice.datapath.maps().accepted(peer) else {
        tracing::warn!(source = %peer,
            "the connection is closed: the kernel did not send it, so nothing is known of where it was going");
        return;
    };
    // An error here is the connection's: it is gone already.
    let _ = stream.set_nodelay(true);
    let info = ConnectionInfo {
        source: peer,
        destination: socket_address(accepted.destination),
        listener: None,
    };
    let stream = SharedStream(Arc::new(stream));
    let Some(index) = accepted.client.checked_sub(1) else {
        let proxying = proxy.clone();
        let drain = proxy.draining().child_token();
        let connection = Connection::new(splice, live, &info, drain.clone());
        proxy.track(async move {
            let serving = proxying.serve_until(stream, Bytes::new(), info, None, drain);
            serving.await;
            drop(connection);
        });
        return;
    };
    let client = splice.accept(
        stream,
        (info.source, info.destination),
        u64::from(index),
        accepted.uses,
    );
    go_on(splice, proxy, live, client);
}

/// Serves a connection that the kernel tracks.
pub fn go_on(splice: &Arc<Splice>, proxy: &Proxy, live: &Live, client: Arc<Client>) {
    let info = ConnectionInfo {
        source: client.ends.0,
        destination: client.ends.1,
        listener: None,
    };
    let proxying = proxy.clone();
    let drain = splice.drain.child_token();
    let connection = Connection::new(splice, live, &info, drain.clone());
    let hooks = Arc::new(Spliced {
        splice: Arc::clone(splice),
        client: Arc::clone(&client),
        live: live.clone(),
    });
    let tasks = splice.tasks.clone();
    let splice = Arc::clone(splice);
    tasks.spawn(async move {
        let (io, closed) = ClientStream::new(Arc::clone(&client));
        proxying
            .serve_until(io, Bytes::new(), info, Some(hooks), drain)
            .await;
        // An error is what says that it has gone.
        let _ = closed.await;
        splice.leave(&client).await;
        drop(connection);
    });
}

/// A connection that is served: it ends when its listener does.
struct Connection {
    splice: Arc<Splice>,
    id: u64,
}

impl Connection {
    fn new(
        splice: &Arc<Splice>,
        live: &Live,
        info: &ConnectionInfo,
        drain: CancellationToken,
    ) -> Self {
        let listener = listener_of(live, info);
        let served = Served {
            info: info.clone(),
            listener,
            drain,
        };
        let mut all = splice.served();
        all.next += 1;
        let id = all.next;
        all.by_id.insert(id, served);
        Self {
            splice: Arc::clone(splice),
            id,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.splice.served().by_id.remove(&self.id);
    }
}

struct Served {
    info: ConnectionInfo,
    listener: Option<String>,
    drain: CancellationToken,
}

/// The connections that are served.
#[derive(Default)]
pub struct AllServed {
    next: u64,
    by_id: HashMap<u64, Served>,
}

/// The listener that takes a connection now.
fn listener_of(live: &Live, info: &ConnectionInfo) -> Option<String> {
    let request = crate::proxy::connection_request(info);
    let decided = live.decide_connection(&request).ok()?;
    decided.answer.decision.listener
}

/// Ends the connections whose listener has gone, as its own socket's end does: requests under way
/// are finished first.
pub fn follow(splice: &Splice, live: &Live) {
    for served in splice.served().by_id.values() {
        if served.listener.is_some() && listener_of(live, &served.info) != served.listener {
            served.drain.cancel();
        }
    }
}

/// The kernel's say in the requests of a connection.
struct Spliced {
    splice: Arc<Splice>,
    client: Arc<Client>,
    live: Live,
}

impl Hooks for Spliced {
    fn decision(&self, request: &Request) -> Option<Decided> {
        let decision = self.client.take_decision()?;
        let decided = self.live.decided_elsewhere(
            request,
            decision.generation,
            &decision.left,
            decision.random,
            decision.number,
        );
        if decided.is_none() {
            self.splice.release(decision.active);
            self.live.uncertain();
        }
        decided
    }

    fn ready_to_respond(&self) -> BoxFuture<'_, ()> {
        self.client.prepare().boxed()
    }

    fn response_written(&self) {
        self.client.answered();
    }

    fn begun_elsewhere(&self) -> u64 {
        self.client.begun()
    }

    fn ready_to_end(&self) -> BoxFuture<'static, ()> {
        let client = Arc::clone(&self.client);
        async move { client.settle().await }.boxed()
    }
}
