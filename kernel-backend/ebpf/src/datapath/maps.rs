//! The maps of the datapath.

use aya_ebpf::{
    btf_maps::{Array, HashMap, RingBuf, SkStorage, SockHash},
    macros::btf_map,
};

use crate::datapath_shape::{
    Accepted, Address, Client, Config, Count, CountKey, Endpoint, Event, Order, Pool, Socket,
    Upstream, handed,
};

/// `BPF_F_MMAPABLE`.
const MMAPABLE: usize = 1024;

#[btf_map]
pub static CONFIG: Array<Config, 1, MMAPABLE> = Array::new();

/// What is known of each socket.
#[btf_map]
pub static SOCKETS: SkStorage<Socket> = SkStorage::new();

/// Client connections by cookie.
#[btf_map]
pub static CLIENTS: SockHash<u64, 16384> = SockHash::new();

/// Endpoints' accepted connections by cookie.
#[btf_map]
pub static UPSTREAMS: SockHash<u64, 16384> = SockHash::new();

/// The records of client connections.
#[btf_map]
pub static CLIENT: Array<Client, 16384, MMAPABLE> = Array::new();

/// The first free record of [`CLIENT`]: low: its index plus one; high: counts changes.
#[btf_map]
pub static FREE: Array<u64, 1, MMAPABLE> = Array::new();

/// The records of upstream connections.
#[btf_map]
pub static UPSTREAM: Array<Upstream, 16384, MMAPABLE> = Array::new();

/// The pools of idle upstream connections.
#[btf_map]
pub static POOL: Array<Pool, 4096, MMAPABLE> = Array::new();

/// Where endpoints are, by number.
#[btf_map]
pub static ENDPOINT: Array<Endpoint, 16384, MMAPABLE> = Array::new();

/// What the agent finds of a connection by the client's address.
#[btf_map]
pub static ACCEPTED: HashMap<Address, Accepted, 65536> = HashMap::new();

/// The agent's upstream connections under way, by their own address: index of [`UPSTREAM`].
#[btf_map]
pub static EXPECTED: HashMap<Address, u64, 16384> = HashMap::new();

/// Why requests went to the agent.
#[btf_map]
pub static HANDED: Array<u64, { handed::COUNT as usize }, MMAPABLE> = Array::new();

/// Requests by route, cluster, endpoint and status.
#[btf_map]
pub static COUNTS: HashMap<CountKey, Count, 65536> = HashMap::new();

/// An empty count: a value to put into [`COUNTS`], which is too large for a program's stack.
#[btf_map]
pub static NOTHING: Array<Count, 1> = Array::new();

/// The order of decisions and ends.
#[btf_map]
pub static ORDER: Array<Order, 1, MMAPABLE> = Array::new();

/// Responses that ended.
#[btf_map]
pub static EVENTS: RingBuf<Event, 16777216> = RingBuf::new();

/// Events that found no room.
#[btf_map]
pub static LOST: Array<u64, 1, MMAPABLE> = Array::new();

/// Counts an event that found no room.
#[inline(always)]
pub fn count_lost() {
    if let Some(lost) = LOST.get_ptr_mut(0) {
        // SAFETY: the look-up gave an address inside the map.
        unsafe { crate::atomic::fetch_add(lost, 1) };
    }
}

/// A word of balancer state by its place in the map.
#[inline(always)]
pub fn state_word(place: u64) -> Option<*mut u64> {
    crate::memory::STATE.get_ptr_mut(place as u32)
}
