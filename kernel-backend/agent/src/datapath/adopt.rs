//! Taking over what an earlier agent left: its connections go on where nobody has to know what that
//! agent was in the middle of, and the others end, with an error and never as if all were said.

use std::collections::{HashMap, HashSet};
use std::io;
use std::mem::offset_of;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use twinmesh_kernel_backend::datapath::pins;
use twinmesh_kernel_backend::datapath::shape::{Client as Shape, Upstream, state};

use super::client::Client;
use super::slots::Slot;
use super::stream::SharedStream;
use super::{Splice, lock, upstream};
use crate::keep::{Found, Keep, Name, Others};

/// How long a program may take from a response's end to what follows from it.
const SETTLE: Duration = Duration::from_millis(20);

/// Connections that are adopted.
#[derive(Debug, Default)]
pub struct Adopted {
    /// Where the agent took connections, and takes them on.
    pub listeners: Vec<TcpListener>,
    /// Clients' connections.
    pub clients: Vec<Arc<Client>>,
    /// Connections to endpoints.
    pub upstreams: Vec<(SharedStream, Slot)>,
    /// Clients' connections that cannot go on.
    pub cut_off: Vec<Arc<Client>>,
}

fn stream(socket: OwnedFd) -> io::Result<SharedStream> {
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    let stream = tokio::net::TcpStream::from_std(stream)?;
    Ok(SharedStream(Arc::new(stream)))
}

impl Splice {
    /// Takes over the records and sockets that were found in adopted maps. Called before any policy
    /// is published and before any connection is accepted here.
    ///
    /// # Errors
    /// A socket is none that could be used.
    pub fn adopt(&self, found: Found) -> io::Result<Adopted> {
        let maps = self.datapath.maps();
        maps.open_order();
        maps.forget_expected();
        for (number, held) in (0..).zip(self.ledger.held()) {
            let count = held.swap(0, Ordering::SeqCst);
            if count != 0 {
                maps.take_active(number, count);
            }
        }
        // What an earlier agent could still have named.
        let counts = maps.counts();
        lock(&self.tally).seen.extend(counts);

        let mut adopted = Adopted::default();
        let (mut clients, mut upstreams) = (Vec::new(), HashMap::new());
        for (name, socket) in found.sockets {
            match name {
                Name::Listener(_) => adopted.listeners.push(TcpListener::from(socket)),
                Name::Client(index, uses) => clients.push((index, uses, socket)),
                Name::Upstream(index, uses) => {
                    upstreams.insert((index, uses), socket);
                }
            }
        }
        adopted.upstreams = self.slots.adopt(&maps.pools(), &mut upstreams)?;
        for (index, uses) in upstreams.into_keys() {
            self.release_held(Name::Upstream(index, uses));
        }
        let going_on: HashSet<u64> = adopted
            .upstreams
            .iter()
            .map(|(_, slot)| slot.index)
            .collect();
        let indices = clients.iter().map(|(index, _, _)| *index);
        let mut cut_off: HashSet<u64> = indices
            .filter(|&index| self.is_cut_off(index, &going_on))
            .collect();
        if !cut_off.is_empty() {
            // A response that was just ending has ended then.
            std::thread::sleep(SETTLE);
            cut_off.retain(|&index| self.is_cut_off(index, &going_on));
        }
        for (index, uses, socket) in clients {
            if maps.client(index).get(offset_of!(Shape, uses)) != uses {
                self.release_held(Name::Client(index, uses));
                continue;
            }
            let is_cut_off = cut_off.contains(&index);
            let client = self.accept(stream(socket)?, maps.ends(index), index, uses);
            if is_cut_off {
                adopted.cut_off.push(client);
            } else {
                adopted.clients.push(client);
            }
        }
        self.note_unclaimed(!adopted.listeners.is_empty());
        let going_on = adopted.clients.len() + adopted.upstreams.len();
        self.counts
            .adopted
            .store(going_on as u64, Ordering::Relaxed);
        let cut_off = adopted.cut_off.len() as u64;
        self.counts.cut_off.store(cut_off, Ordering::Relaxed);
        Ok(adopted)
    }

    fn release_held(&self, name: Name) {
        if let Some(keep) = &self.keep {
            keep.keeper.release(name);
        }
    }

    /// Whether a client waits for something that only the earlier agent had.
    fn is_cut_off(&self, index: u64, going_on: &HashSet<u64>) -> bool {
        let maps = self.datapath.maps();
        let record = maps.client(index);
        if self.ledger.is_busy(index) {
            return true;
        }
        let Some(slot) = record.get(offset_of!(Shape, upstream)).checked_sub(1) else {
            return false;
        };
        let upstream = maps.upstream(slot);
        let is_its_own = upstream.get(offset_of!(Upstream, client)) == index + 1
            && upstream.get(offset_of!(Upstream, client_uses))
                == record.get(offset_of!(Shape, uses));
        !(going_on.contains(&slot) && is_its_own)
    }

    /// Remembers the records in use that no socket is left of.
    fn note_unclaimed(&self, accepts: bool) {
        let maps = self.datapath.maps();
        let free = maps.free_clients();
        let mut claimed: HashSet<u64> = lock(&self.clients).keys().copied().collect();
        if accepts {
            let waiting = maps.waiting();
            let waiting = waiting.iter().filter_map(|one| one.client.checked_sub(1));
            claimed.extend(waiting.map(u64::from));
        } else {
            maps.forget_waiting();
        }
        let unclaimed = (0..).zip(free).filter_map(|(index, is_free)| {
            let uses = maps.client(index).get(offset_of!(Shape, uses));
            (!is_free && !claimed.contains(&index)).then_some((index, uses))
        });
        lock(&self.unclaimed).extend(unclaimed);
    }

    /// Takes back unclaimed records whose clients have gone, one sweep later.
    pub(super) fn claim(&self) {
        let mut unclaimed = lock(&self.unclaimed);
        unclaimed.retain(|&(index, uses)| {
            let record = self.datapath.maps().client(index);
            if record.get(offset_of!(Shape, uses)) != uses {
                return false;
            }
            let is_closed = record.get(offset_of!(Shape, closed)) != 0;
            if is_closed {
                record
                    .word(offset_of!(Shape, uses))
                    .fetch_add(1, Ordering::SeqCst);
                lock(&self.leaving).push(index);
            }
            !is_closed
        });
    }

    /// Ends a connection that cannot go on.
    pub async fn cut_off(&self, client: &Arc<Client>) {
        client.abort();
        self.leave(client).await;
    }

    /// Goes on with connections to endpoints.
    pub fn go_on(self: &Arc<Self>, upstreams: Vec<(SharedStream, Slot)>) {
        for (stream, slot) in upstreams {
            upstream::follow(Arc::clone(self), stream, slot, |_| {});
        }
    }
}

impl super::slots::Slots {
    /// Takes over the records of an earlier agent, with those sockets that are left of them. What
    /// is not taken out of `sockets` is of no use any more.
    fn adopt(
        self: &Arc<Self>,
        pools: &[(SocketAddr, u64)],
        sockets: &mut HashMap<(u64, u64), OwnedFd>,
    ) -> io::Result<Vec<(SharedStream, Slot)>> {
        let mut going_on = Vec::new();
        let count = u64::from(self.datapath.maps().sizes.upstreams);
        self.adopt_pools(pools);
        lock(&self.free).clear();
        for index in (0..count).rev() {
            let record = self.datapath.maps().upstream(index);
            let uses = record.get(offset_of!(Upstream, uses));
            let state = record.get(offset_of!(Upstream, state));
            let is_the_kernels = [state::IDLE, state::BUSY, state::CLOSE].contains(&state);
            match sockets.remove(&(index, uses)) {
                Some(socket) if is_the_kernels => {
                    going_on.push((stream(socket)?, self.slot(index)));
                }
                // The slot's end is that of the socket.
                Some(_) => drop(self.slot(index)),
                None => self.retire(index),
            }
        }
        Ok(going_on)
    }
}

/// Takes no connection by the programs of other versions any more: attached before this version's, they
/// would have the first say.
pub fn detach_others(others: &Others) {
    for folder in &others.pins {
        if let Err(error) = pins::remove_links(folder) {
            tracing::error!("{}: {error}", folder.display());
        }
    }
}

/// Ends what agents of other versions left, once their connections have had time to end.
pub async fn end_others(others: Others, keep: Arc<Keep>, deadline: Duration) {
    if others.pins.is_empty() && others.sockets.is_empty() {
        return;
    }
    tracing::warn!(
        "another version's datapath was found: it takes no connections any more, and its {} sockets are closed in {deadline:?}",
        others.sockets.len()
    );
    tokio::time::sleep(deadline).await;
    drop(others.sockets);
    for name in others.names {
        keep.keeper.release_other(name);
    }
    for folder in &others.pins {
        match pins::remove_folder(folder) {
            Ok(()) => tracing::info!("{}: removed", folder.display()),
            Err(error) => tracing::error!("{}: {error}", folder.display()),
        }
    }
}
