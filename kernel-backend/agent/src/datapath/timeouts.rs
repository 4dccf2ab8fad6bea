//! Route timeouts and idle timeouts of spliced requests. Programs run only where bytes move, so the
//! agent looks some times a second at the connections that have requests.

use std::collections::HashMap;
use std::mem::offset_of;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use twinmesh_kernel_backend::datapath::Datapath;
use twinmesh_kernel_backend::datapath::maps::Record;
use twinmesh_kernel_backend::datapath::shape::{Client as ClientShape, Decision, Upstream, state};

use super::client::Client;
use super::slots::Slot;
use super::{Splice, events, upstream};
use crate::plan::ChainKind;
use crate::proxy::{Expired, Reply, is_grpc};

/// How often connections are looked at. Younger requests than this are not: so nearly all have
/// ended before they cost anything here.
const LOOK: Duration = Duration::from_millis(50);

/// Which request a connection has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Request {
    client: u64,
    uses: u64,
    time: Duration,
}

/// What has moved of a request and its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moved {
    /// Bytes of the response that were redirected.
    redirected: u64,
    /// Bytes that the agent wrote to the client.
    written: u64,
    /// Bytes of the request that are still to come.
    body: u64,
}

/// A request with a timer that has run out.
#[derive(Debug, Clone, Copy)]
pub struct Overdue {
    request: Request,
    moved: Moved,
    /// Which timer.
    pub why: Expired,
}

impl Overdue {
    /// Whether it is still so.
    pub fn is_still(&self, splice: &Splice, slot: u64) -> bool {
        let Some((request, moved)) = under_way(splice, slot) else {
            return false;
        };
        request == self.request && (self.why == Expired::Timeout || moved == self.moved)
    }
}

/// The timers of a request.
#[derive(Debug)]
struct Timers {
    request: Request,
    timeout: Option<Duration>,
    idle: Option<Duration>,
    /// When the request's last byte had gone.
    ended: Option<Duration>,
    moved: Moved,
    since: Duration,
}

/// The request that a connection has.
fn under_way(splice: &Splice, slot: u64) -> Option<(Request, Moved)> {
    let maps = splice.datapath.maps();
    let record = maps.upstream(slot);
    let client = record.get(offset_of!(Upstream, client)).checked_sub(1)?;
    let of = maps.client(client);
    let time = offset_of!(ClientShape, decision) + offset_of!(Decision, time_ns);
    let request = Request {
        client,
        uses: record.get(offset_of!(Upstream, client_uses)),
        time: Duration::from_nanos(of.get(time)),
    };
    let moved = Moved {
        redirected: record.get(offset_of!(Upstream, bytes)),
        written: of.get(offset_of!(ClientShape, agent_written)),
        body: of.get(offset_of!(ClientShape, body)),
    };
    Some((request, moved))
}

/// What the policy that decided says: `RouteAction.timeout`, and how long nothing may move.
fn limits(splice: &Splice, client: &Client) -> (Option<Duration>, Option<Duration>) {
    let decision = client.decision();
    let live = splice.live.get();
    let Some(policy) = live.and_then(|live| live.by_generation(decision.generation)) else {
        // Two policies came since it was decided, before it was looked at once.
        return (None, None);
    };
    let mut no_others = |_| Vec::new();
    let compiled = &policy.compiled;
    let answer = compiled.answer(
        &twinmesh_engine::Request::default(),
        &decision.left,
        Some(&mut no_others),
    );
    let place = policy.plan.place(&answer.trace);
    let of_route = place.route.and_then(|route| route.idle_timeout);
    let idle = of_route.unwrap_or_else(|| match place.chain.map(|chain| &chain.kind) {
        Some(ChainKind::Http(manager)) => manager.stream_idle_timeout,
        _ => None,
    });
    (place.route.and_then(|route| route.timeout), idle)
}

impl Timers {
    /// Of a request that is seen for the first time.
    fn new(splice: &Splice, request: Request, moved: Moved, now: Duration) -> Option<Self> {
        let client = splice.client(request.client, request.uses)?;
        let (timeout, idle) = limits(splice, &client);
        // One that has no body was whole when it was decided.
        let bare = client.record().get(offset_of!(ClientShape, replayable)) != 0;
        let started = if bare { request.time } else { now };
        Some(Self {
            request,
            timeout,
            idle,
            ended: (moved.body == 0).then_some(started),
            moved,
            since: if moved.redirected == 0 { started } else { now },
        })
    }

    fn follow(&mut self, moved: Moved, now: Duration) -> Option<Expired> {
        if moved != self.moved {
            self.moved = moved;
            self.since = now;
        }
        if moved.body == 0 && self.ended.is_none() {
            self.ended = Some(now);
        }
        let passed = |since: Duration, limit: Option<Duration>| {
            limit.is_some_and(|limit| now.saturating_sub(since) >= limit)
        };
        if self.ended.is_some_and(|ended| passed(ended, self.timeout)) {
            Some(Expired::Timeout)
        } else {
            passed(self.since, self.idle).then_some(Expired::Idle)
        }
    }
}

/// Looks at the connections that have requests, for as long as it is polled, and tells those that
/// are overdue.
pub async fn look(splice: Arc<Splice>) {
    let mut timers = HashMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        look_once(&splice, &mut timers);
    }
}

fn look_once(splice: &Splice, timers: &mut HashMap<u64, Timers>) {
    let maps = splice.datapath.maps();
    let busy: Vec<(u64, mpsc::Sender<Overdue>)> = splice
        .kept()
        .iter()
        .filter(|(slot, _)| {
            let state = maps.upstream(**slot).get(offset_of!(Upstream, state));
            state == state::BUSY || state == state::RELAY
        })
        .map(|(slot, kept)| (*slot, kept.overdue.clone()))
        .collect();
    let now = events::now();
    let mut before = std::mem::take(timers);
    for (slot, tell) in busy {
        let Some((request, moved)) = under_way(splice, slot) else {
            continue;
        };
        if now.saturating_sub(request.time) < LOOK {
            continue;
        }
        let known = before.remove(&slot);
        let known = known.filter(|timers| timers.request == request);
        let Some(mut known) = known.or_else(|| Timers::new(splice, request, moved, now)) else {
            continue;
        };
        if let Some(why) = known.follow(moved, now) {
            // Where one waits to be looked at already, that will do.
            let _ = tell.try_send(Overdue {
                request,
                moved,
                why,
            });
        }
        timers.insert(slot, known);
    }
}

/// Until the route's timeout of a client's request under way, which has no body, has run out.
pub async fn run_out(splice: &Splice, client: &Client) {
    let Some(timeout) = limits(splice, client).0 else {
        return std::future::pending().await;
    };
    let end = Duration::from_nanos(client.decision().time_ns).saturating_add(timeout);
    tokio::time::sleep(end.saturating_sub(events::now())).await;
}

/// Ends the request of a connection of which nothing waits to be relayed. Whether that was still to
/// be done: then the connection is of no use any more.
pub async fn end(splice: &Splice, slot: &Slot, late: Overdue) -> bool {
    // The response may come just now. From here on it goes to the agent, once programs that saw the
    // state before have ended; if one of them has ended the response, it has left another state.
    if slot.change(state::BUSY, state::RELAY)
        && !matches!(
            tokio::task::spawn_blocking(Datapath::wait).await,
            Ok(Ok(()))
        )
    {
        tracing::error!("cannot wait for running programs; a timeout is not applied");
        return false;
    }
    if slot.state() != state::RELAY || !late.is_still(splice, slot.index) {
        return false;
    }
    slot.change(state::RELAY, state::AGENT);
    let Some(client) = upstream::client_of(splice, slot).await else {
        return true;
    };
    let _turn = client.turn.lock().await;
    if !client.has_left() {
        let record = slot.record();
        let begun = record.get(offset_of!(Upstream, bytes)) != 0;
        tell(splice, &client, is_head(record), begun, late.why).await;
    }
    true
}

/// Whether the request of a connection is a HEAD.
pub fn is_head(record: Record<'_>) -> bool {
    record.get(offset_of!(Upstream, head_request)) != 0
}

/// Tells a client, in [`Client::turn`], that a timer of its request has run out: as the proxy does,
/// or with a reset where some of the response is there already.
pub async fn tell(splice: &Splice, client: &Client, head_request: bool, begun: bool, why: Expired) {
    let reason = match why {
        Expired::Timeout => "the route's timeout ran out",
        Expired::Idle => "the stream's idle timeout ran out",
    };
    if begun || client.is_closed() {
        let reason = format!("the response broke off: {reason}");
        splice.finished_as(client, None, Some(&reason));
        client.abort();
        client.land();
        return;
    }
    let unsent = client.record().get(offset_of!(ClientShape, body)) != 0;
    let reply = match why {
        Expired::Timeout => Reply::text(504, "upstream request timeout"),
        Expired::Idle if unsent => Reply::text(408, "stream timeout").and_close(),
        Expired::Idle => Reply::text(504, "stream timeout"),
    };
    send(splice, client, reply, head_request, Some(reason)).await;
}

/// Ends a client's request under way, in [`Client::turn`], with a reply of the agent's own.
pub(super) async fn send(
    splice: &Splice,
    client: &Client,
    reply: Reply,
    head_request: bool,
    reason: Option<&str>,
) {
    let request = client.request(0);
    let mut headers = request.headers.iter();
    let kind = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let grpc = kind.is_some_and(|(_, value)| is_grpc(value.as_bytes()));
    let closes = reply.close;
    let (status, bytes) = reply.into_bytes(grpc, head_request);
    if closes {
        // What still comes of the request is none of its own.
        client.keep();
        client.is_last();
    }
    splice.finished_as(client, Some(status), reason);
    client.drained().await;
    let written = tokio::select! {
        written = client.write_last(&bytes) => written.is_ok(),
        () = client.gone.cancelled() => false,
    };
    if written && closes {
        client.finish();
    }
    if !written {
        client.abort();
    }
}
