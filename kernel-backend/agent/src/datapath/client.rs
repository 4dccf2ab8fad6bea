//! The agent's end of a client's connection, while the kernel splices what it can.

use std::io;
use std::mem::offset_of;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use twinmesh_engine::Request;
use twinmesh_kernel_backend::datapath::shape::{Client as Shape, Decision, KEPT_HEAD_BYTES, mode};
use twinmesh_kernel_backend::datapath::{Datapath, maps::Record};

use super::events;
use super::framing::Requests;
use super::stream::SharedStream;
use crate::keep::ledger::{Busy, Ledger};
use crate::live::Live;

/// How often the end of a spliced response is looked for while something waits for it.
const LOOK: Duration = Duration::from_millis(1);
/// The same while a response waits for it: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(5));

/// A client's connection.
#[derive(Debug)]
pub struct Client {
    /// The agent's end.
    pub stream: SharedStream,
    /// Its own address, and what it asked for.
    pub ends: (SocketAddr, SocketAddr),
    /// Index of its record.
    pub index: u64,
    /// Which use of the record.
    pub uses: u64,
    /// Cancelled when the agent's end is closed.
    pub gone: CancellationToken,
    /// Who has it writes to the client in the endpoint's place, or ends the use of the record.
    pub turn: tokio::sync::Mutex<()>,
    datapath: Arc<Datapath>,
    ledger: Arc<Ledger>,
    followed: Mutex<Followed>,
    settled: std::sync::atomic::AtomicBool,
    left: std::sync::atomic::AtomicBool,
    /// What is written now follows whole responses.
    prepared: std::sync::atomic::AtomicBool,
    /// Nothing more is read or written.
    ended: std::sync::atomic::AtomicBool,
    /// The last response has been written.
    finished: std::sync::atomic::AtomicBool,
}

#[derive(Debug, Default)]
struct Followed {
    requests: Requests,
    answered: u64,
    /// Bytes that have been read.
    read: u64,
    /// The agent is about to end: nothing is given back to the kernel.
    keeps: bool,
    /// The agent is about to be followed by another: nothing more is read.
    hands_over: bool,
}

impl Client {
    /// A connection that was accepted, and its record.
    pub fn new(
        datapath: Arc<Datapath>,
        ledger: Arc<Ledger>,
        stream: SharedStream,
        ends: (SocketAddr, SocketAddr),
        index: u64,
        uses: u64,
    ) -> Arc<Self> {
        ledger.forget(index);
        let record = datapath.maps().client(index);
        let followed = Followed {
            read: record.get(offset_of!(Shape, agent_read)),
            ..Followed::default()
        };
        Arc::new(Self {
            stream,
            ends,
            index,
            uses,
            gone: CancellationToken::new(),
            turn: tokio::sync::Mutex::default(),
            datapath,
            ledger,
            followed: Mutex::new(followed),
            settled: false.into(),
            left: false.into(),
            prepared: false.into(),
            ended: false.into(),
            finished: false.into(),
        })
    }

    /// Its record.
    pub fn record(&self) -> Record<'_> {
        self.datapath.maps().client(self.index)
    }

    /// The record is somebody else's from now on.
    pub fn leave(&self) {
        self.left.store(true, Ordering::SeqCst);
    }

    /// Whether the record is still this connection's; asked in [`Client::turn`].
    pub fn has_left(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }

    /// Whether a spliced request waits for its response.
    pub fn in_flight(&self) -> bool {
        self.record().get(offset_of!(Shape, upstream)) != 0
    }

    /// Whether bytes that have just been read are none of a request's: the rest of a spliced request's
    /// body whose endpoint has gone, or what follows the last response. Taken for a request they could
    /// be one that nobody has sent.
    fn are_of_no_request(&self) -> bool {
        self.finished.load(Ordering::SeqCst)
            || (self.in_flight() && self.record().get(offset_of!(Shape, body)) != 0)
    }

    /// Whether this is the first response to a client that has sent a request before the response
    /// before had ended: all that come are the agent's from then on.
    fn settles(&self) -> bool {
        self.record().get(offset_of!(Shape, pipelines)) != 0
            && !self.settled.swap(true, Ordering::SeqCst)
    }

    /// Requests that the kernel has spliced.
    pub fn begun(&self) -> u64 {
        self.record().get(offset_of!(Shape, spliced))
    }

    /// Has the kernel splice no more requests, and waits until the one under way has ended.
    pub async fn settle(&self) {
        self.keep();
        // A program that still saw the mode before may just begin.
        let _ = tokio::task::spawn_blocking(Datapath::wait).await;
        self.landed().await;
    }

    /// Waits until no spliced request is under way.
    async fn landed(&self) {
        let mut pause = PAUSE.0;
        while self.in_flight() && !self.is_closed() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Waits until the agent may write: the response before, which came from elsewhere, has ended, and
    /// the client has read it.
    pub async fn prepare(&self) {
        self.landed().await;
        if self.settles() {
            // The response before has ended for the programs; its last bytes may just be on
            // their way into the client's queue. What the wait says does not matter.
            let _ = tokio::task::spawn_blocking(Datapath::wait).await;
        }
        // Whoever has answered the request before may still write.
        if !self.is_closed() {
            drop(self.turn.lock().await);
        }
        self.drained().await;
        self.prepared.store(true, Ordering::SeqCst);
    }

    /// Waits until the client has read what was redirected to it. Bytes that the agent writes before
    /// that may wake nobody: a reader that trusts short reads waits for a sign that came already.
    pub async fn drained(&self) {
        let mut pause = Duration::from_micros(100);
        while !self.is_closed() && !self.gone.is_cancelled() {
            match self.datapath.is_drained(self.index as u32) {
                Ok(false) => {}
                Ok(true) => return,
                Err(why) => {
                    tracing::error!("{why}");
                    return;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }

    /// Whether its next request goes to the agent.
    pub fn is_the_agents(&self) -> bool {
        self.record().get(offset_of!(Shape, mode)) != mode::SPLICE
    }

    /// Whether the application has closed its socket.
    pub fn is_closed(&self) -> bool {
        self.record().get(offset_of!(Shape, closed)) != 0
    }

    fn followed(&self) -> std::sync::MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A response that the proxy made has been written.
    pub fn answered(&self) {
        self.followed().answered += 1;
        self.prepared.store(false, Ordering::SeqCst);
        self.give_back();
    }

    /// From now on the agent keeps what it gets, so that it can end.
    pub fn keep(&self) {
        self.followed().keeps = true;
        self.record().set(offset_of!(Shape, mode), mode::AGENT);
    }

    /// Where the agent is between two requests of the connection, another agent could go on with
    /// it, and the kernel has it again.
    fn give_back(&self) {
        let followed = self.followed();
        let between =
            followed.requests.heads == followed.answered && followed.requests.at_boundary();
        if !between {
            return;
        }
        let record = self.record();
        // Only now: a request of which some is on its way here while the connection is given back is
        // seen by what it has more than this.
        record.set(offset_of!(Shape, agent_read), followed.read);
        self.ledger.end(self.index, Busy::Proxying);
        if !followed.keeps
            && record.get(offset_of!(Shape, pipelines)) == 0
            && record.get(offset_of!(Shape, mode)) == mode::AGENT
        {
            record.set(offset_of!(Shape, mode), mode::SPLICE);
        }
    }

    /// Lets nothing more begin on the connection: what the client sends from now on is for the next
    /// agent.
    pub fn hand_over(&self) {
        self.followed().hands_over = true;
    }

    /// Whether the next bytes are this agent's. They are noted before they are read: killed in
    /// between, it leaves a connection that nobody can go on with.
    fn may_read(&self) -> bool {
        let followed = self.followed();
        let between =
            followed.requests.heads == followed.answered && followed.requests.at_boundary();
        if followed.hands_over && between {
            return false;
        }
        self.ledger.begin(self.index, Busy::Proxying);
        true
    }

    /// Bytes that the agent has written to the client.
    pub fn wrote(&self, count: usize) {
        self.record()
            .word(offset_of!(Shape, agent_written))
            .fetch_add(count as u64, Ordering::SeqCst);
    }

    /// Writes it all.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.stream.write(bytes).await?;
            self.wrote(count);
            bytes = bytes.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Writes it all, with which the spliced request is over, in [`Client::turn`]: a client that sends
    /// its next request upon the last byte must not look as if it pipelined. The bytes are counted
    /// before, so that the kernel splices nothing until the client has read them.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn write_last(&self, mut bytes: &[u8]) -> io::Result<()> {
        self.wrote(bytes.len());
        self.land();
        while !bytes.is_empty() {
            let count = self.stream.write(bytes).await?;
            bytes = bytes.get(count..).unwrap_or_default();
        }
        self.ledger.end(self.index, Busy::Ending);
        Ok(())
    }

    /// The response that is about to be written is the last: nothing that the client still sends is a
    /// request.
    pub fn is_last(&self) {
        self.finished.store(true, Ordering::SeqCst);
    }

    /// Ends the agent's side after a response that says by this where it ends, or that has to be
    /// the last.
    pub fn finish(&self) {
        self.is_last();
        self.stream.shutdown(std::net::Shutdown::Write);
        self.ledger.end(self.index, Busy::Ending);
    }

    /// The decision that the kernel made for the request that it handed over, if it made one, with
    /// what it counts.
    pub fn take_decision(&self) -> Option<Decision> {
        let record = self.record();
        let handed = record.word(offset_of!(Shape, handed));
        let count = handed.load(Ordering::SeqCst);
        if count & 1 == 0 {
            return None;
        }
        handed.store(count.wrapping_add(1), Ordering::SeqCst);
        let share = self.take_share();
        Some(Decision {
            active: share,
            ..self.decision()
        })
    }

    /// The decision of the request under way.
    pub fn decision(&self) -> Decision {
        let record = self.record();
        let at = offset_of!(Shape, decision);
        let get = |field: usize| record.get(at + field);
        let mut left = [0; twinmesh_model::layout::work::LEFT as usize];
        for (index, to) in left.iter_mut().enumerate() {
            *to = get(offset_of!(Decision, left) + index * 8);
        }
        Decision {
            number: get(offset_of!(Decision, number)),
            generation: get(offset_of!(Decision, generation)),
            random: get(offset_of!(Decision, random)),
            time_ns: get(offset_of!(Decision, time_ns)),
            active: get(offset_of!(Decision, active)),
            left,
        }
    }

    /// Takes the share in an endpoint's active requests that the request under way has; 0 where it
    /// has none any more.
    pub fn take_share(&self) -> u64 {
        let word = offset_of!(Shape, decision) + offset_of!(Decision, active);
        self.record().word(word).swap(0, Ordering::SeqCst)
    }

    /// The request under way, from the bytes of its head that are kept.
    pub fn request(&self, random: u64) -> Request {
        let record = self.record();
        let length = record
            .get(offset_of!(Shape, head_length))
            .min(KEPT_HEAD_BYTES);
        let head = record.bytes(offset_of!(Shape, head), length as usize);
        events::request_of(&head, self.ends.0, self.ends.1, random)
    }

    /// Has the shadow make the decision again of the request under way.
    pub fn shadowed(&self, live: &Live, decision: &Decision) {
        let record = self.record();
        let length = record.get(offset_of!(Shape, head_length));
        let kept = length.min(KEPT_HEAD_BYTES) as usize;
        let head = record.bytes(offset_of!(Shape, head), kept);
        let (source, destination) = self.ends;
        let random = decision.random;
        let request = events::whole_request(&head, length, source, destination, random);
        live.shadowed_in_kernel(request, decision.generation, &decision.left, random);
    }

    /// The spliced request is over, as far as the client is concerned. What still has to follow is
    /// one of [`Client::write_last`], [`Client::finish`] and [`Client::abort`]: an agent that is
    /// killed in between leaves a client that waits for it, and that is cut off.
    pub fn land(&self) {
        self.ledger.begin(self.index, Busy::Ending);
        let record = self.record();
        record.set(offset_of!(Shape, body), 0);
        record.set(offset_of!(Shape, upstream), 0);
    }

    /// Ends the connection at once: the application sees an error, never half a response that looks
    /// whole.
    pub fn abort(&self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = socket2::SockRef::from(&*self.stream.0).set_linger(Some(Duration::ZERO));
        // Whoever reads is woken by this.
        self.stream.shutdown(std::net::Shutdown::Read);
    }
}

/// What the proxy reads and writes.
pub struct ClientStream {
    client: Arc<Client>,
    /// Dropped with the stream, wherever that has gone: an upgrade takes it along.
    _closed: oneshot::Sender<()>,
    /// The client has ended its side, and a spliced response is on its way.
    look: Option<Pin<Box<Sleep>>>,
    /// Something is to be written that was not prepared as a response is: hyper's own words.
    preparing: Option<BoxFuture<'static, ()>>,
}

impl ClientStream {
    /// The agent's end of a connection, and what tells that it has been dropped.
    pub fn new(client: Arc<Client>) -> (Self, oneshot::Receiver<()>) {
        let (closed, is_closed) = oneshot::channel();
        let stream = Self {
            client,
            _closed: closed,
            look: None,
            preparing: None,
        };
        (stream, is_closed)
    }

    /// Until something may be written.
    fn poll_prepared(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let client = &self.client;
        if !client.ended.load(Ordering::SeqCst) && !client.prepared.load(Ordering::SeqCst) {
            let preparing = self.preparing.get_or_insert_with(|| {
                let client = Arc::clone(client);
                async move { client.prepare().await }.boxed()
            });
            ready!(preparing.poll_unpin(cx));
            self.preparing = None;
        }
        // In the middle of a response that broke off, another's would look like more of it.
        if self.client.ended.load(Ordering::SeqCst) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if let Some(look) = &mut self.look {
                if std::future::Future::poll(look.as_mut(), cx).is_pending() {
                    return Poll::Pending;
                }
                self.look = None;
                if self.client.in_flight() && !self.client.is_closed() {
                    self.look = Some(Box::pin(tokio::time::sleep(LOOK)));
                    continue;
                }
                return Poll::Ready(Ok(()));
            }
            if self.client.ended.load(Ordering::SeqCst) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            let before = buffer.filled().len();
            if !self.client.may_read() {
                return Poll::Pending;
            }
            match self.client.stream.poll_some(cx, buffer) {
                Poll::Pending => {
                    self.client.give_back();
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) if buffer.remaining() != 0 => {
                    if self.client.ended.load(Ordering::SeqCst) {
                        return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                    }
                    if self.client.in_flight() && !self.client.is_closed() {
                        self.look = Some(Box::pin(tokio::time::sleep(LOOK)));
                        continue;
                    }
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(count)) => {
                    if self.client.are_of_no_request() {
                        self.client.followed().read += count as u64;
                        buffer.set_filled(before);
                        continue;
                    }
                    let read = buffer.filled().get(before..).unwrap_or_default();
                    let mut followed = self.client.followed();
                    followed.requests.follow(read);
                    followed.read += count as u64;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_prepared(cx))?;
        let mut stream = self.client.stream.clone();
        let written = Pin::new(&mut stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            self.client.wrote(*count);
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_prepared(cx))?;
        let mut stream = self.client.stream.clone();
        let written = Pin::new(&mut stream).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(count)) = &written {
            self.client.wrote(*count);
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // One that was aborted ends in a reset, not as if all were said.
        if !self.client.ended.load(Ordering::SeqCst) {
            self.client.stream.shutdown(std::net::Shutdown::Write);
        }
        Poll::Ready(Ok(()))
    }
}
