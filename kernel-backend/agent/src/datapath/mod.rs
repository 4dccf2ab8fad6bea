//! The datapath in operation: the kernel splices requests into endpoints on this node; here is what
//! it needs beside it.

pub mod adopt;
pub mod client;
pub mod events;
pub mod framing;
pub mod listen;
pub mod look;
pub mod memory;
pub mod paths;
pub mod slots;
pub mod start;
pub mod stream;
pub mod tally;
pub mod timeouts;
pub mod upstream;

use std::collections::HashMap;
use std::mem::offset_of;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinmesh_kernel_backend::datapath::Datapath;
use twinmesh_kernel_backend::datapath::shape::{Client as Shape, Decision, Upstream};

use client::Client;
use slots::{Slot, Slots};
use stream::SharedStream;

use crate::access_log::AccessLog;
use crate::keep::ledger::Ledger;
use crate::keep::{Keep, Name};
use crate::live::Live;
use crate::metrics::Metrics;
use crate::proxy::Resolve;
use crate::shadow::Shadow;

/// How long the agent waits for a connection to an endpoint that had one a moment before.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What is counted here; the kernel's own counts are in its maps.
#[derive(Debug, Default)]
pub struct Counts {
    /// Responses that went through the agent from some byte on.
    pub relayed: AtomicU64,
    /// Requests that were sent again, as their connection had died.
    pub replayed: AtomicU64,
    /// Connections of an earlier agent that go on.
    pub adopted: AtomicU64,
    /// Connections of an earlier agent that could not.
    pub cut_off: AtomicU64,
}

/// The agent's side of the datapath.
pub struct Splice {
    /// The programs and their maps.
    pub datapath: Arc<Datapath>,
    /// Upstream connections.
    pub slots: Arc<Slots>,
    /// What is counted here.
    pub counts: Counts,
    clients: Mutex<HashMap<u64, Arc<Client>>>,
    /// Records of clients that have left, which a program may still look at.
    leaving: Mutex<Vec<u64>>,
    kept: Mutex<HashMap<u64, upstream::Kept>>,
    live: OnceLock<Live>,
    observers: OnceLock<(Arc<Metrics>, AccessLog)>,
    endpoints: Mutex<HashMap<u64, SocketAddr>>,
    tally: Mutex<tally::Tally>,
    served: Mutex<listen::AllServed>,
    resolve: Option<Box<Resolve>>,
    /// What the next agent needs to know.
    pub ledger: Arc<Ledger>,
    /// What is kept for it; `None`: connections end with this agent.
    pub keep: Option<Arc<Keep>>,
    /// The connections that the kernel tracks, as they are served.
    pub tasks: TaskTracker,
    /// Cancelled when they are to end.
    pub drain: CancellationToken,
    /// Records that an earlier agent used for connections of which nothing is left.
    unclaimed: Mutex<Vec<(u64, u64)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Splice {
    /// Over programs that are loaded. `resolve` puts other addresses in the place of endpoints'
    /// own: for tests. `keep`: connections are to outlive this agent.
    pub fn new(
        datapath: Arc<Datapath>,
        resolve: Option<Box<Resolve>>,
        keep: Option<Arc<Keep>>,
    ) -> Arc<Self> {
        let ledger = match &keep {
            Some(keep) => Arc::clone(&keep.ledger),
            None => Arc::new(Ledger::owned(datapath.maps().sizes)),
        };
        Arc::new(Self {
            slots: Slots::new(Arc::clone(&datapath), keep.clone()),
            datapath,
            counts: Counts::default(),
            clients: Mutex::default(),
            leaving: Mutex::default(),
            kept: Mutex::default(),
            live: OnceLock::new(),
            observers: OnceLock::new(),
            endpoints: Mutex::default(),
            tally: Mutex::default(),
            served: Mutex::default(),
            resolve,
            ledger,
            keep,
            tasks: TaskTracker::new(),
            drain: CancellationToken::new(),
            unclaimed: Mutex::default(),
        })
    }

    /// Leaves all connections to the next agent, once this one is in the middle of nothing; at the
    /// deadline the others end with it. Whether there were none.
    pub async fn hand_over(&self, deadline: Duration) -> bool {
        for client in lock(&self.clients).values() {
            client.hand_over();
        }
        let indices = || -> Vec<u64> { lock(&self.clients).keys().copied().collect() };
        let is_free = || !indices().iter().any(|&index| self.ledger.is_busy(index));
        let free = tokio::time::timeout(deadline, async {
            while !is_free() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let is_free = free.await.is_ok();
        self.slots.hand_over();
        is_free
    }

    fn resolve(&self, endpoint: SocketAddr) -> SocketAddr {
        match &self.resolve {
            Some(resolve) => resolve(endpoint),
            None => endpoint,
        }
    }

    fn served(&self) -> MutexGuard<'_, listen::AllServed> {
        lock(&self.served)
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<u64, upstream::Kept>> {
        lock(&self.kept)
    }

    /// Where endpoints are, by their numbers; those of the policy before stay known.
    pub fn set_endpoint(&self, number: u64, address: SocketAddr) {
        lock(&self.endpoints).insert(number, address);
    }

    /// How many records are in use, by what they are of.
    pub fn fill(&self) -> [(&'static str, u64); 4] {
        let clients = lock(&self.clients);
        let agents = clients.values().filter(|client| client.is_the_agents());
        let agents = agents.count() as u64;
        let clients = clients.len() as u64;
        [
            ("clients", clients),
            ("clients_with_agent", agents),
            ("upstreams", self.slots.used()),
            ("idle_upstreams", self.kept().len() as u64),
        ]
    }

    /// The client of a record, in this use of it.
    pub fn client(&self, index: u64, uses: u64) -> Option<Arc<Client>> {
        let clients = lock(&self.clients);
        clients
            .get(&index)
            .filter(|client| client.uses == uses)
            .cloned()
    }

    /// A connection was accepted that the kernel tracks.
    pub fn accept(
        &self,
        stream: SharedStream,
        ends: (SocketAddr, SocketAddr),
        index: u64,
        uses: u64,
    ) -> Arc<Client> {
        if let Some(keep) = &self.keep {
            let socket = Arc::clone(&stream.0);
            keep.keeper.put(Name::Client(index, uses), socket);
        }
        let (datapath, ledger) = (Arc::clone(&self.datapath), Arc::clone(&self.ledger));
        let client = Client::new(datapath, ledger, stream, ends, index, uses);
        lock(&self.clients).insert(index, Arc::clone(&client));
        client
    }

    /// Its end: nothing of it is decided in the kernel any more, and soon its record can be used
    /// again.
    pub async fn leave(&self, client: &Arc<Client>) {
        // Whoever still writes to the client ends. The stream is not shut down here: one that was
        // aborted has to end in a reset, not as if all were said.
        client.gone.cancel();
        let _turn = client.turn.lock().await;
        client.leave();
        lock(&self.clients).remove(&client.index);
        let slot = client.record().get(offset_of!(Shape, upstream));
        // What the kernel decides for this connection is for nobody.
        client
            .record()
            .word(offset_of!(Shape, uses))
            .fetch_add(1, Ordering::SeqCst);
        if let Some(slot) = slot.checked_sub(1)
            && self.holds(slot, client)
            && let Some(kept) = self.kept().get(&slot)
        {
            // Nobody waits for what it would answer.
            kept.stream.shutdown(std::net::Shutdown::Both);
        }
        self.finished(client, None);
        lock(&self.leaving).push(client.index);
        if let Some(keep) = &self.keep {
            keep.keeper.release(Name::Client(client.index, client.uses));
        }
    }

    /// Takes back the records of connections that have ended, once no program looks at them. Blocks.
    pub fn sweep(&self) {
        let leaving = std::mem::take(&mut *lock(&self.leaving));
        if !leaving.is_empty() && Datapath::wait().is_err() {
            lock(&self.leaving).extend(leaving);
            return;
        }
        for index in leaving {
            let word = offset_of!(Shape, decision) + offset_of!(Decision, active);
            let record = self.datapath.maps().client(index);
            let active = record.word(word).swap(0, Ordering::SeqCst);
            if active != 0
                && let Some(live) = self.live.get()
            {
                // It was decided while the connection ended; nobody knows the request any more.
                live.uncertain();
            }
            self.release(active);
            self.datapath.maps().free_client(index);
        }
        self.slots.sweep();
        self.claim();
    }

    /// Whether an upstream connection has a client's request.
    fn holds(&self, slot: u64, client: &Client) -> bool {
        let record = self.datapath.maps().upstream(slot);
        record.get(offset_of!(Upstream, client)) == client.index + 1
            && record.get(offset_of!(Upstream, client_uses)) == client.uses
    }

    /// A connection to an endpoint is idle: the kernel may use it from now on.
    pub fn keep(self: &Arc<Self>, stream: SharedStream, slot: Slot) {
        upstream::keep(Arc::clone(self), stream, slot);
    }

    /// Decisions are those of `live` from now on, and what ends here is told to the others.
    pub fn follow(&self, live: Live, metrics: Arc<Metrics>, log: AccessLog) {
        let _ = self.live.set(live);
        let _ = self.observers.set((metrics, log));
    }

    /// Gives back what a request counts that the kernel decided: `active` is the endpoint's number
    /// plus one.
    pub fn release(&self, active: u64) -> u64 {
        match (active.checked_sub(1), self.live.get()) {
            (Some(number), Some(live)) => live.end(number),
            _ => 0,
        }
    }

    /// The request of a client that the kernel decided has ended here: with this status, or, where
    /// there is none, without a whole response.
    fn finished(&self, client: &Client, status: Option<u16>) {
        self.finished_as(client, status, None);
    }

    /// As [`Self::finished`]; `reason`: why it went otherwise than decided.
    fn finished_as(&self, client: &Client, status: Option<u16>, reason: Option<&str>) {
        let active = client.take_share();
        if active == 0 {
            return;
        }
        let end = self.release(active);
        let Some(live) = self.live.get() else {
            return;
        };
        let decision = client.decision();
        let request = client.request(decision.random);
        if live.shadow().is_some_and(Shadow::takes) {
            client.shadowed(live, &decision);
        }
        live.spliced(
            &request,
            decision.number,
            decision.generation,
            &decision.left,
            end,
        );
        if let Some((metrics, log)) = self.observers.get() {
            let mut record = events::record_of(&request, &decision, live);
            record.status = status;
            record.complete = status.is_some();
            let broken = (!record.complete).then_some("it ended without a whole response");
            if let Some(reason) = reason.or(broken) {
                record.reason = Some(reason.to_owned());
            }
            metrics.observe(&record);
            log.write(Box::new(record));
        }
    }

    fn count_relay(&self) {
        self.counts.relayed.fetch_add(1, Ordering::Relaxed);
    }

    fn count_replay(&self) {
        self.counts.replayed.fetch_add(1, Ordering::Relaxed);
    }

    /// Where the endpoint of the request under way is.
    fn endpoint_of(&self, client: &Client) -> Option<SocketAddr> {
        use twinmesh_model::layout::work;
        let at = offset_of!(Shape, decision) + offset_of!(Decision, left);
        let word = (work::ENDPOINT - work::OUTCOME) as usize * 8;
        let number = client.record().get(at + word).checked_sub(1)?;
        lock(&self.endpoints).get(&number).copied()
    }
}
