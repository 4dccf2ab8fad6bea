//! The agent's ends of upstream connections, while the kernel uses the others: they are idle, until
//! the endpoint ends one, or a response has to be relayed.

use std::mem::offset_of;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use twinmesh_kernel_backend::datapath::shape::{Client as ClientShape, Upstream, phase, state};

use super::client::Client;
use super::framing::{Response, Start};
use super::slots::Slot;
use super::stream::SharedStream;
use super::timeouts::Overdue;
use super::{Splice, timeouts};
use crate::proxy::{Expired, Reply, reset};

/// Bytes that are read at a time.
const BUFFER: usize = 64 * 1024;
/// How long a connection may wait to be accepted, and how often that is looked at.
const ACCEPTED: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(1);

/// Gives a connection that is idle to the kernel, and stays with it until it ends.
pub fn keep(splice: Arc<Splice>, stream: SharedStream, slot: Slot) {
    follow(splice, stream, slot, Slot::put_idle);
}

/// Stays with a connection that the kernel has, which `give` gives to it, until it ends.
pub fn follow(splice: Arc<Splice>, stream: SharedStream, slot: Slot, give: impl FnOnce(&Slot)) {
    let (taker, taken) = oneshot::channel();
    let (overdue, mut late) = mpsc::channel(1);
    let kept = Kept {
        stream: stream.clone(),
        overdue,
        taker,
    };
    {
        // Whoever sees it kept may count on the kernel's having it.
        let mut all = splice.kept();
        all.insert(slot.index, kept);
        give(&slot);
    }
    tokio::spawn(async move {
        tokio::select! {
            () = watch(&splice, &stream, &slot, &mut late) => {}
            taker = taken => if let Ok(taker) = taker {
                let taker: oneshot::Sender<(SharedStream, Slot)> = taker;
                // Where nobody waits for it any more, it is closed.
                let _ = taker.send((stream, slot));
                return;
            },
        }
        splice.kept().remove(&slot.index);
        ended(&splice, &slot).await;
    });
}

/// A connection that the kernel may use.
#[derive(Debug)]
pub struct Kept {
    /// The agent's end.
    pub stream: SharedStream,
    /// Who is to be told that a timer of its request has run out.
    pub overdue: mpsc::Sender<Overdue>,
    taker: oneshot::Sender<oneshot::Sender<(SharedStream, Slot)>>,
}

/// Takes an idle connection to an address back from the kernel.
pub async fn take(splice: &Splice, address: SocketAddr) -> Option<(SharedStream, Slot)> {
    loop {
        let pool = splice.slots.pool(address)?;
        let index = splice.datapath.maps().take_idle(pool)?;
        let Some(kept) = splice.kept().remove(&index) else {
            // It is ending just now.
            continue;
        };
        let (taker, taken) = oneshot::channel();
        if kept.taker.send(taker).is_ok()
            && let Ok(taken) = taken.await
        {
            return Some(taken);
        }
    }
}

/// Until the connection ends, or is of no use any more.
async fn watch(
    splice: &Arc<Splice>,
    stream: &SharedStream,
    slot: &Slot,
    late: &mut mpsc::Receiver<Overdue>,
) {
    let mut buffer = Vec::new();
    loop {
        tokio::select! {
            readable = stream.0.readable() => if readable.is_err() {
                return;
            },
            Some(late) = late.recv() => {
                if timeouts::end(splice, slot, late).await {
                    return;
                }
                continue;
            }
        }
        // An idle connection needs no buffer.
        buffer.resize(BUFFER, 0);
        match stream.0.try_read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Ok(0) | Err(_) => return,
            Ok(count) => {
                let first = buffer.get(..count).unwrap_or_default().to_vec();
                if slot.state() != state::RELAY {
                    return;
                }
                if !relay(splice, stream, slot, first, late).await {
                    // The client has been told.
                    slot.change(state::RELAY, state::AGENT);
                    return;
                }
            }
        }
        buffer = Vec::new();
    }
}

/// The client whose request a connection has, if it is still there. It may have sent that before
/// the agent has accepted its connection.
pub(super) async fn client_of(splice: &Splice, slot: &Slot) -> Option<Arc<Client>> {
    let record = slot.record();
    let index = record.get(offset_of!(Upstream, client)).checked_sub(1)?;
    let uses = record.get(offset_of!(Upstream, client_uses));
    let started = tokio::time::Instant::now();
    loop {
        if let Some(client) = splice.client(index, uses) {
            return Some(client);
        }
        let client = splice.datapath.maps().client(index);
        let is_there = client.get(offset_of!(ClientShape, uses)) == uses
            && client.get(offset_of!(ClientShape, closed)) == 0;
        if !is_there || started.elapsed() > ACCEPTED {
            return None;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Relays the rest of a response, which begins with these bytes. Whether the connection is idle and
/// in its pool again.
async fn relay(
    splice: &Arc<Splice>,
    stream: &SharedStream,
    slot: &Slot,
    first: Vec<u8>,
    late: &mut mpsc::Receiver<Overdue>,
) -> bool {
    let Some(client) = client_of(splice, slot).await else {
        return false;
    };
    let _turn = client.turn.lock().await;
    if client.has_left() {
        return false;
    }
    splice.count_relay();
    let record = slot.record();
    let left = record.get(offset_of!(Upstream, left));
    let start = match record.get(offset_of!(Upstream, phase)) {
        phase::HEAD => Start::Head,
        phase::LENGTH => Start::Length(left),
        phase::CHUNKED => Start::Chunked(left),
        _ => Start::UntilClose,
    };
    let head_request = timeouts::is_head(record);
    let response = Response::new(start, head_request);
    let known = u16::try_from(record.get(offset_of!(Upstream, status))).unwrap_or(0);
    let unbegun = Unbegun::new(&client, record.get(offset_of!(Upstream, bytes)));
    let pumped = {
        let pumping = async {
            client.drained().await;
            pump(splice, stream, &client, response, known, first).await
        };
        tokio::pin!(pumping);
        loop {
            tokio::select! {
                pumped = &mut pumping => break Ok(pumped),
                // Nobody waits for the rest.
                () = client.gone.cancelled() => break Ok(Pumped::Broken),
                Some(late) = late.recv() => if late.is_still(splice, slot.index) {
                    break Err(late.why);
                },
            }
        }
    };
    let pumped = match pumped {
        Ok(pumped) => pumped,
        Err(why) => {
            let begun = !unbegun.is_so(&client);
            timeouts::tell(splice, &client, head_request, begun, why).await;
            return false;
        }
    };
    match pumped {
        Pumped::Whole { closes: true } => {
            client.finish();
            false
        }
        Pumped::Whole { closes: false } => {
            slot.put_idle();
            true
        }
        Pumped::UntilClose { status } => {
            splice.finished(&client, Some(status));
            client.is_last();
            client.land();
            client.finish();
            false
        }
        Pumped::Broken => {
            splice.finished(&client, None);
            client.abort();
            client.land();
            false
        }
    }
}

/// What tells whether a client has got nothing of a response.
struct Unbegun {
    redirected: u64,
    written: u64,
}

impl Unbegun {
    fn new(client: &Client, redirected: u64) -> Self {
        let written = client.record().get(offset_of!(ClientShape, agent_written));
        Self {
            redirected,
            written,
        }
    }

    fn is_so(&self, client: &Client) -> bool {
        let written = client.record().get(offset_of!(ClientShape, agent_written));
        self.redirected == 0 && self.written == written
    }
}

/// How a relay ended.
enum Pumped {
    /// With the whole response, and nothing after it unless it closes.
    Whole { closes: bool },
    /// With the connection, which is how the response says that it ends.
    UntilClose { status: u16 },
    /// In the middle.
    Broken,
}

/// Copies a response from a connection to a client. `known` is the status where the head was seen
/// elsewhere. With the last byte of a whole response the client's request is over, unless the
/// connection closes.
async fn pump(
    splice: &Splice,
    stream: &SharedStream,
    client: &Client,
    mut response: Response,
    known: u16,
    first: Vec<u8>,
) -> Pumped {
    let mut bytes = first;
    loop {
        let taken = response.follow(&bytes);
        let more = taken < bytes.len();
        let rest = bytes.get(..taken).unwrap_or_default();
        if response.is_done() {
            let unsent = client.record().get(offset_of!(ClientShape, body)) != 0;
            let closes = response.closes || more || unsent;
            splice.finished(client, Some(response.status.unwrap_or(known)));
            let written = if closes {
                client.write_all(rest).await
            } else {
                client.write_last(rest).await
            };
            return match written {
                Ok(()) => Pumped::Whole { closes },
                Err(_) => Pumped::Broken,
            };
        }
        if client.write_all(rest).await.is_err() {
            return Pumped::Broken;
        }
        bytes.resize(BUFFER, 0);
        match stream.read(&mut bytes).await {
            Ok(0) if response.ends_with_connection() => {
                return Pumped::UntilClose {
                    status: response.status.unwrap_or(known),
                };
            }
            Ok(0) | Err(_) => return Pumped::Broken,
            Ok(count) => bytes.truncate(count),
        }
    }
}

/// A connection has ended. If a request was on it, the client gets what can still be had.
async fn ended(splice: &Arc<Splice>, slot: &Slot) {
    let waiting = [state::BUSY, state::RELAY];
    if !waiting
        .iter()
        .any(|&waits| slot.change(waits, state::AGENT))
    {
        return;
    }
    let Some(client) = client_of(splice, slot).await else {
        return;
    };
    let _turn = client.turn.lock().await;
    if client.has_left() {
        return;
    }
    let record = slot.record();
    if client.is_closed() {
        splice.finished(&client, None);
        client.land();
        return;
    }
    if record.get(offset_of!(Upstream, bytes)) != 0 {
        splice.finished(&client, None);
        client.abort();
        client.land();
        return;
    }
    // Not a byte of a response has come: the request may never have been read.
    let head_request = timeouts::is_head(record);
    let kept = client.record();
    if kept.get(offset_of!(ClientShape, replayable)) != 0 {
        let length = kept.get(offset_of!(ClientShape, head_length)) as usize;
        let head = kept.bytes(offset_of!(ClientShape, head), length);
        splice.count_replay();
        let unbegun = Unbegun::new(&client, 0);
        let answered = tokio::select! {
            answered = again(splice, &client, &head, head_request) => answered,
            () = timeouts::run_out(splice, &client) => {
                let (begun, why) = (!unbegun.is_so(&client), Expired::Timeout);
                timeouts::tell(splice, &client, head_request, begun, why).await;
                return;
            }
            () = client.gone.cancelled() => {
                splice.finished(&client, None);
                client.land();
                return;
            }
        };
        if answered {
            return;
        }
    }
    let reply = Reply::text(503, reset("connection termination")).and_close();
    timeouts::send(splice, &client, reply, head_request, None).await;
}

/// Sends a request once more, to the same endpoint, on a connection of its own. Whether the client
/// got an answer, or an end.
async fn again(
    splice: &Arc<Splice>,
    client: &Arc<Client>,
    head: &[u8],
    head_request: bool,
) -> bool {
    let Some(address) = splice.endpoint_of(client) else {
        return false;
    };
    let Ok((stream, _slot)) = splice.slots.connect(address, super::CONNECT_TIMEOUT).await else {
        return false;
    };
    let mut rest = head;
    while !rest.is_empty() {
        match stream.write(rest).await {
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(_) => return false,
        }
    }
    let mut first = vec![0; BUFFER];
    match stream.read(&mut first).await {
        Ok(0) | Err(_) => return false,
        Ok(count) => first.truncate(count),
    }
    client.drained().await;
    let response = Response::new(Start::Head, head_request);
    match pump(splice, &stream, client, response, 0, first).await {
        Pumped::Whole { closes } => {
            if closes {
                client.is_last();
                client.land();
                client.finish();
            }
        }
        Pumped::UntilClose { status } => {
            splice.finished(client, Some(status));
            client.is_last();
            client.land();
            client.finish();
        }
        Pumped::Broken => {
            splice.finished(client, None);
            client.abort();
            client.land();
        }
    }
    true
}
