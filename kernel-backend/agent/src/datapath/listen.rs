//! Connections that the kernel sends to the agent: accepted, told where they were going, served by
//! the proxy, with the kernel's say in their requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::net::{TcpListener, TcpStream};
use twinmesh_engine::Request;
use twinmesh_kernel_backend::datapath::maps::socket_address;

use super::Splice;
use super::client::{Client, ClientStream};
use super::stream::SharedStream;
use crate::live::{Decided, Live};
use crate::proxy::{ConnectionInfo, Hooks, Proxy};

/// How long accepting rests after an error that lies with the process (too many open files).
const REST: Duration = Duration::from_millis(50);
/// How often the end of a spliced response is looked for, at first and at most.
const LOOK: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(5));

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
    let proxying = proxy.clone();
    let Some(index) = accepted.client.checked_sub(1) else {
        proxy.spawn_connection(stream, Bytes::new(), info, None);
        return;
    };
    let client = splice.accept(stream, u64::from(index), accepted.uses);
    let hooks = Arc::new(Spliced {
        client: Arc::clone(&client),
        live: live.clone(),
    });
    let splice = Arc::clone(splice);
    let drain = proxy.draining();
    proxy.track(async move {
        let io = ClientStream::new(Arc::clone(&client));
        let serving = proxying.serve_connection(io, Bytes::new(), info, Some(hooks));
        tokio::pin!(serving);
        let mut draining = false;
        loop {
            tokio::select! {
                () = &mut serving => break,
                () = drain.cancelled(), if !draining => {
                    draining = true;
                    client.keep();
                }
            }
        }
        splice.leave(&client).await;
    });
}

/// The kernel's say in the requests of a connection.
struct Spliced {
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
        );
        if decided.is_none() {
            self.client.give_back_share(decision.active);
        }
        decided
    }

    fn ready_to_respond(&self) -> BoxFuture<'_, ()> {
        async {
            let mut pause = LOOK.0;
            while self.client.in_flight() && !self.client.is_closed() {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LOOK.1);
            }
        }
        .boxed()
    }

    fn response_written(&self) {
        self.client.answered();
    }
}
