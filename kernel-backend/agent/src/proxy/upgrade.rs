//! Upgrades: two streams tied together once both sides have agreed.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::body::ResponseBody;
use super::finish::Finish;
use super::io::{Counted, Counts};
use super::tcp;
use super::upstream::Upstream;
use super::{Session, headers};

/// Passes a 101 on and ties the two connections together.
pub fn tunnel(
    session: &Arc<Session>,
    mut response: Response<Incoming>,
    upstream: Upstream,
    downstream: OnUpgrade,
    finish: Finish,
) -> Response<ResponseBody> {
    let endpoint = hyper::upgrade::on(&mut response);
    headers::response_to_client(response.headers_mut(), true);
    let mut switched = Response::new(ResponseBody::silent());
    *switched.status_mut() = response.status();
    *switched.headers_mut() = std::mem::take(response.headers_mut());
    let tunnel = Tunnel::new(session, finish);
    session.shared.tasks.spawn(async move {
        let (_, client, endpoint) = tokio::join!(upstream.finish(), downstream, endpoint);
        match (client, endpoint) {
            (Ok(client), Ok(endpoint)) => {
                tunnel
                    .run(TokioIo::new(client), TokioIo::new(endpoint))
                    .await;
            }
            (Err(error), _) | (_, Err(error)) => {
                tunnel.finish.failed(format!("the upgrade: {error}"));
            }
        }
    });
    switched
}

struct Tunnel {
    finish: Finish,
    idle: Option<Duration>,
    stop: tokio_util::sync::CancellationToken,
}

impl Tunnel {
    fn new(session: &Session, finish: Finish) -> Self {
        Self {
            finish,
            idle: session.manager.stream_idle_timeout,
            stop: session.shared.kill.clone(),
        }
    }

    async fn run(self, client: impl super::io::Stream, endpoint: impl super::io::Stream) {
        let counts = Arc::new(Counts::default());
        let client = Counted::new(client, Arc::clone(&counts));
        let mut finish = self.finish;
        let ended = tcp::carry(client, endpoint, &counts, self.idle, &self.stop).await;
        finish.request_bytes(counts.read.load(Relaxed));
        finish.response_bytes(counts.written.load(Relaxed));
        match ended {
            Ok(()) => finish.complete(),
            Err(reason) => finish.failed(reason),
        }
    }
}

impl ResponseBody {
    /// None, and nothing ends with it.
    fn silent() -> Self {
        Self::own_unfinished(Bytes::new())
    }
}
