//! Upstream connections that the kernel tracks: each has a record, from connect(2) to its end.

use std::collections::HashMap;
use std::io;
use std::mem::offset_of;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpSocket;
use twinmesh_kernel_backend::datapath::shape::{Upstream, state};
use twinmesh_kernel_backend::datapath::{Datapath, maps::Record};

use super::stream::SharedStream;
use crate::keep::{Keep, Name};

/// How long an endpoint that was not on this node is not looked for there again.
const ELSEWHERE: Duration = Duration::from_secs(60);

/// The records of upstream connections.
#[derive(Debug)]
pub struct Slots {
    pub(super) datapath: Arc<Datapath>,
    keep: Option<Arc<Keep>>,
    pub(super) free: Mutex<Vec<u64>>,
    /// Dead, but still in their pools' lists.
    listed: Mutex<Vec<u64>>,
    pools: Mutex<Pools>,
    elsewhere: Mutex<HashMap<SocketAddr, Instant>>,
    /// The records are the next agent's.
    handed_over: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pools that there are.
#[derive(Debug, Default)]
struct Pools {
    by_address: HashMap<SocketAddr, u64>,
    next: u64,
}

/// A record that is in use. Dropped, it can be used again.
#[derive(Debug)]
pub struct Slot {
    /// Its index.
    pub index: u64,
    slots: Arc<Slots>,
}

impl Slot {
    /// The record.
    pub fn record(&self) -> Record<'_> {
        self.slots.datapath.maps().upstream(self.index)
    }

    /// What its connection is called by the holder.
    fn name(&self) -> Name {
        Name::Upstream(self.index, self.record().get(offset_of!(Upstream, uses)))
    }

    /// One of [`state`].
    pub fn state(&self) -> u64 {
        self.record().get(offset_of!(Upstream, state))
    }

    /// From one state to another; whether it was in the first.
    pub fn change(&self, from: u64, to: u64) -> bool {
        let word = self.record().word(offset_of!(Upstream, state));
        word.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// The connection is idle: the kernel may use it.
    pub fn put_idle(&self) {
        let record = self.record();
        record.set(offset_of!(Upstream, client), 0);
        record.set(offset_of!(Upstream, state), state::IDLE);
        self.slots.datapath.maps().put_idle(self.index);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.slots.handed_over.load(Ordering::SeqCst) {
            return;
        }
        if let Some(keep) = &self.slots.keep {
            keep.keeper.release(self.name());
        }
        self.slots.retire(self.index);
    }
}

impl Slots {
    /// All records are free. `keep`: connections are to outlive this process.
    pub fn new(datapath: Arc<Datapath>, keep: Option<Arc<Keep>>) -> Arc<Self> {
        let count = u64::from(datapath.maps().sizes.upstreams);
        Arc::new(Self {
            datapath,
            keep,
            free: Mutex::new((0..count).rev().collect()),
            listed: Mutex::default(),
            pools: Mutex::default(),
            elsewhere: Mutex::default(),
            handed_over: AtomicBool::new(false),
        })
    }

    /// The pool of an address; `None` where there are as many as the map holds.
    pub fn pool(&self, address: SocketAddr) -> Option<u64> {
        let mut pools = lock(&self.pools);
        if let Some(&pool) = pools.by_address.get(&address) {
            return Some(pool);
        }
        let next = pools.next;
        if next >= u64::from(self.datapath.maps().sizes.pools) {
            return None;
        }
        pools.by_address.insert(address, next);
        pools.next += 1;
        Some(next)
    }

    /// The pools that the maps know already.
    pub(super) fn adopt_pools(&self, known: &[(SocketAddr, u64)]) {
        let mut pools = lock(&self.pools);
        for &(address, pool) in known {
            pools.by_address.insert(address, pool);
            pools.next = pools.next.max(pool + 1);
        }
    }

    /// A record, as one in use.
    pub(super) fn slot(self: &Arc<Self>, index: u64) -> Slot {
        Slot {
            index,
            slots: Arc::clone(self),
        }
    }

    /// A record's connection has ended.
    pub(super) fn retire(&self, index: u64) {
        let record = self.datapath.maps().upstream(index);
        let state = record.word(offset_of!(Upstream, state));
        let dies =
            state.compare_exchange(state::IDLE, state::DEAD, Ordering::SeqCst, Ordering::SeqCst);
        if matches!(dies, Ok(_) | Err(state::DEAD)) {
            // Whoever takes it from its pool's list says that it did.
            lock(&self.listed).push(index);
            return;
        }
        state.store(state::GONE, Ordering::SeqCst);
        lock(&self.free).push(index);
    }

    /// From now on the records stay as they are.
    pub(super) fn hand_over(&self) {
        self.handed_over.store(true, Ordering::SeqCst);
    }

    /// The pools that there are, by address.
    pub fn pools(&self) -> HashMap<SocketAddr, u64> {
        lock(&self.pools).by_address.clone()
    }

    /// The records that are not in use.
    pub fn free(&self) -> Vec<u64> {
        lock(&self.free).clone()
    }

    /// How many records are in use.
    pub fn used(&self) -> u64 {
        let all = u64::from(self.datapath.maps().sizes.upstreams);
        all.saturating_sub(lock(&self.free).len() as u64)
    }

    /// Takes back the records of connections that have left their lists since they died.
    pub fn sweep(&self) {
        let gone = |&index: &u64| {
            let record = self.datapath.maps().upstream(index);
            record.get(offset_of!(Upstream, state)) == state::GONE
        };
        let mut listed = lock(&self.listed);
        let (free, still): (Vec<u64>, Vec<u64>) = listed.drain(..).partition(gone);
        *listed = still;
        drop(listed);
        lock(&self.free).extend(free);
        lock(&self.elsewhere).retain(|_, since| since.elapsed() < ELSEWHERE);
    }

    /// Connects to an endpoint, as the agent's own; the connection is not tracked.
    ///
    /// # Errors
    /// The endpoint does not answer, or not in time.
    pub async fn connect_untracked(
        &self,
        address: SocketAddr,
        limit: Duration,
    ) -> io::Result<SharedStream> {
        finish(self.own_socket(address)?, address, limit).await
    }

    /// A socket that the kernel lets connect as it says.
    fn own_socket(&self, address: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )?;
        let marked = self.datapath.maps().mark_own(&socket);
        marked.map_err(io::Error::other)?;
        Ok(socket)
    }

    /// Connects to an endpoint, as the agent's own; with a record where the endpoint is on this
    /// node.
    ///
    /// # Errors
    /// The endpoint does not answer, or not in time.
    pub async fn connect(
        self: &Arc<Self>,
        address: SocketAddr,
        limit: Duration,
    ) -> io::Result<(SharedStream, Option<Slot>)> {
        let socket = self.own_socket(address)?;
        let known_elsewhere = lock(&self.elsewhere).contains_key(&address);
        let expected = if known_elsewhere || !self.datapath.maps().splices() {
            None
        } else {
            self.expect(&socket, address)
        };
        let connecting = finish(socket, address, limit).await;
        if let Some((_, local)) = &expected {
            self.datapath.maps().expect_no_longer(*local);
        }
        let stream = connecting?;
        let slot = match expected {
            Some((slot, _)) if slot.record().get(offset_of!(Upstream, cookie)) != 0 => {
                if let Some(keep) = &self.keep {
                    keep.keeper.put(slot.name(), Arc::clone(&stream.0) as _);
                }
                Some(slot)
            }
            Some(_) => {
                lock(&self.elsewhere).insert(address, Instant::now());
                None
            }
            None => None,
        };
        Ok((stream, slot))
    }

    /// Binds a socket and tells the kernel to expect its connection. `None` where that cannot be
    /// done: the connection is then not tracked.
    fn expect(
        self: &Arc<Self>,
        socket: &Socket,
        address: SocketAddr,
    ) -> Option<(Slot, SocketAddr)> {
        let pool = self.pool(address)?;
        let ip = source(address)?;
        socket.bind(&SocketAddr::new(ip, 0).into()).ok()?;
        let local = socket.local_addr().ok()?.as_socket()?;
        let index = lock(&self.free).pop()?;
        let slot = self.slot(index);
        let record = slot.record();
        record
            .word(offset_of!(Upstream, uses))
            .fetch_add(1, Ordering::SeqCst);
        record.set(offset_of!(Upstream, cookie), 0);
        record.set(offset_of!(Upstream, client), 0);
        record.set(offset_of!(Upstream, rest), 0);
        record.set(offset_of!(Upstream, pool), pool);
        record.set(offset_of!(Upstream, state), state::AGENT);
        self.datapath.maps().expect(local, index).ok()?;
        Some((slot, local))
    }
}

/// Connects a socket.
async fn finish(socket: Socket, address: SocketAddr, limit: Duration) -> io::Result<SharedStream> {
    let socket = TcpSocket::from_std_stream(socket.into());
    let connecting = tokio::time::timeout(limit, socket.connect(address)).await;
    let stream = connecting.map_err(|_| io::ErrorKind::TimedOut)??;
    stream.set_nodelay(true)?;
    Ok(SharedStream(Arc::new(stream)))
}

/// The address that a connection to this one will come from.
fn source(address: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0; 16], 0).into(),
    };
    // Connecting a datagram socket sends nothing.
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(address).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
