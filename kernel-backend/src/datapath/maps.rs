//! What the programs and the agent both read and write.

mod adopt;
mod look;

use std::mem::{offset_of, size_of};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Ebpf;
use aya::maps::{HashMap, MapData, RingBuf, SkStorage};

use super::offsets::Offsets;
use super::shape::{
    Accepted, Address, Client, Config, Count, CountKey, Endpoint, Order, Pool, Socket, Upstream,
    handed, kind, state,
};
use super::{Sizes, region};
use crate::region::Region;
use crate::shape::{Control, SLOTS};

/// Values that are stored as they are.
macro_rules! plain {
    ($($name:ident),*) => { $(
        // SAFETY: `repr(C)` structures of integers.
        unsafe impl aya::Pod for $name {}
    )* };
}
plain!(Accepted, Address, Count, CountKey, Socket);

/// The maps.
pub struct Maps {
    /// How much they hold.
    pub sizes: Sizes,
    policy: Region,
    state: Region,
    control: Region,
    config: Region,
    client: Region,
    free: Region,
    upstream: Region,
    pool: Region,
    endpoint: Region,
    handed: Region,
    lost: Region,
    order: Region,
    accepted: std::sync::Mutex<HashMap<MapData, Address, Accepted>>,
    expected: std::sync::Mutex<HashMap<MapData, Address, u64>>,
    sockets: std::sync::Mutex<SkStorage<MapData, Socket>>,
    counts: std::sync::Mutex<HashMap<MapData, CountKey, Count>>,
    events: std::sync::Mutex<Option<RingBuf<MapData>>>,
    told: std::sync::Mutex<Config>,
}

impl std::fmt::Debug for Maps {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Maps")
            .field("sizes", &self.sizes)
            .finish_non_exhaustive()
    }
}

impl Maps {
    pub(super) fn new(ebpf: &mut Ebpf, sizes: Sizes) -> Result<Self, String> {
        let policy = SLOTS * sizes.policy.policy_bytes;
        let state = u64::from(sizes.endpoints) + SLOTS * sizes.policy.state_words;
        let of = |name: &str, count: u32, size: usize| region(ebpf, name, count as usize * size);
        Ok(Self {
            sizes,
            policy: region(ebpf, "POLICY", policy as usize)?,
            state: region(ebpf, "STATE", state as usize * 8)?,
            control: region(ebpf, "CONTROL", size_of::<Control>())?,
            config: region(ebpf, "CONFIG", size_of::<Config>())?,
            client: of("CLIENT", sizes.clients, size_of::<Client>())?,
            free: region(ebpf, "FREE", 8)?,
            upstream: of("UPSTREAM", sizes.upstreams, size_of::<Upstream>())?,
            pool: of("POOL", sizes.pools, size_of::<Pool>())?,
            endpoint: of("ENDPOINT", sizes.endpoints, size_of::<Endpoint>())?,
            handed: region(ebpf, "HANDED", handed::COUNT as usize * 8)?,
            lost: region(ebpf, "LOST", 8)?,
            order: region(ebpf, "ORDER", size_of::<Order>())?,
            accepted: hash(ebpf, "ACCEPTED")?.into(),
            expected: hash(ebpf, "EXPECTED")?.into(),
            sockets: SkStorage::try_from(take(ebpf, "SOCKETS")?)
                .map_err(|failed| format!("map `SOCKETS`: {failed}"))?
                .into(),
            counts: hash(ebpf, "COUNTS")?.into(),
            events: Some(
                RingBuf::try_from(take(ebpf, "EVENTS")?)
                    .map_err(|failed| format!("map `EVENTS`: {failed}"))?,
            )
            .into(),
            told: std::sync::Mutex::default(),
        })
    }
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<aya::maps::Map, String> {
    ebpf.take_map(name)
        .ok_or_else(|| format!("it has no map `{name}`"))
}

fn hash<K: aya::Pod, V: aya::Pod>(
    ebpf: &mut Ebpf,
    name: &str,
) -> Result<HashMap<MapData, K, V>, String> {
    HashMap::try_from(take(ebpf, name)?).map_err(|failed| format!("map `{name}`: {failed}"))
}

/// A word of a region by its place in bytes.
fn word(region: &Region, bytes: usize) -> &AtomicU64 {
    static NONE: AtomicU64 = AtomicU64::new(0);
    region.words().get(bytes / 8).unwrap_or(&NONE)
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A socket address as the programs have it.
pub fn address(of: std::net::SocketAddr) -> Address {
    let octets = match of.ip() {
        std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(ip) => ip.octets(),
    };
    let mut ip = [0; 4];
    for (to, from) in ip.iter_mut().zip(octets.chunks_exact(4)) {
        *to = u32::from_ne_bytes([from[0], from[1], from[2], from[3]]);
    }
    Address {
        ip,
        port: u32::from(of.port()),
    }
}

/// The socket address that the programs mean; a mapped one is IPv4.
pub fn socket_address(of: Address) -> std::net::SocketAddr {
    let mut octets = [0; 16];
    for (to, from) in octets.chunks_exact_mut(4).zip(of.ip) {
        to.copy_from_slice(&from.to_ne_bytes());
    }
    let ip = std::net::Ipv6Addr::from(octets);
    std::net::SocketAddr::new(
        std::net::IpAddr::V6(ip).to_canonical(),
        u16::try_from(of.port).unwrap_or(0),
    )
}

impl Maps {
    /// Writes what the programs find at first: free records, and where state lies.
    pub(super) fn start(&self) {
        let control = |field: usize| word(&self.control, field);
        control(offset_of!(Control, state_words))
            .store(self.sizes.policy.state_words, Ordering::SeqCst);
        control(offset_of!(Control, active_words))
            .store(u64::from(self.sizes.endpoints), Ordering::SeqCst);
        for index in 0..u64::from(self.sizes.upstreams) {
            self.upstream(index)
                .word(offset_of!(Upstream, index))
                .store(index, Ordering::Relaxed);
        }
        for index in (0..u64::from(self.sizes.clients)).rev() {
            self.client(index)
                .word(offset_of!(Client, index))
                .store(index, Ordering::Relaxed);
            self.free_client(index);
        }
    }

    /// Tells the programs what to do. The offsets stay.
    pub fn set_config(&self, config: &Config) {
        *lock(&self.told) = *config;
        let flags = word(&self.config, offset_of!(Config, flags));
        flags.store(0, Ordering::SeqCst);
        let words = self.config.words();
        // SAFETY: a structure of integers, as long as it is, read word by word.
        let bytes = unsafe {
            std::slice::from_raw_parts(
                std::ptr::from_ref(config).cast::<u8>(),
                offset_of!(Config, sk_user_data),
            )
        };
        for (to, from) in words.iter().zip(bytes.chunks_exact(8)).skip(1) {
            if let Some(from) = from.first_chunk() {
                to.store(u64::from_ne_bytes(*from), Ordering::SeqCst);
            }
        }
        flags.store(config.flags, Ordering::SeqCst);
    }

    /// Whether the programs splice requests.
    pub fn splices(&self) -> bool {
        let flags = word(&self.config, offset_of!(Config, flags));
        flags.load(Ordering::SeqCst) & super::shape::flag::SPLICE != 0
    }

    pub(super) fn set_offsets(&self, offsets: Offsets) {
        let set = |field: usize, value: u64| {
            word(&self.config, field).store(value, Ordering::SeqCst);
        };
        set(offset_of!(Config, sk_user_data), offsets.sk_user_data);
        set(offset_of!(Config, psock_queued), offsets.psock_queued);
        set(offset_of!(Config, psock_queue), offsets.psock_queue);
        set(offset_of!(Config, sk_cookie), offsets.sk_cookie);
        set(offset_of!(Config, copied_seq), offsets.copied_seq);
        set(offset_of!(Config, write_seq), offsets.write_seq);
        set(offset_of!(Config, sk_flags), offsets.sk_flags);
        set(offset_of!(Config, zero_copy), offsets.zero_copy);
    }

    /// Active requests by endpoint number, the same for all generations.
    pub fn active(&self) -> &[AtomicU64] {
        self.state
            .words()
            .get(..self.sizes.endpoints as usize)
            .unwrap_or_default()
    }

    /// The balancers' state of a generation, from the word after [`Maps::active`]'s on.
    pub fn state(&self, generation: u64) -> &[AtomicU64] {
        let words = self.sizes.policy.state_words as usize;
        let from = self.sizes.endpoints as usize + (generation % SLOTS) as usize * words;
        self.state
            .words()
            .get(from..from + words)
            .unwrap_or_default()
    }

    /// Whether a policy and its sets' state fit.
    ///
    /// # Errors
    /// What does not.
    pub fn fits(&self, policy: &[u64], sets: &[u64]) -> Result<(), String> {
        let room = self.sizes.policy;
        let (bytes, words) = (policy.len() as u64 * 8, sets.len() as u64);
        if bytes > room.policy_bytes || words > room.state_words {
            return Err(format!(
                "the policy has {bytes} bytes and {words} words of balancer state; the kernel's maps have room for {} and {}",
                room.policy_bytes, room.state_words
            ));
        }
        Ok(())
    }

    fn generation_in(&self, slot: usize) -> &AtomicU64 {
        word(&self.control, offset_of!(Control, generations) + slot * 8)
    }

    /// Writes a policy in the place of the one before the last; it does not decide yet.
    ///
    /// # Errors
    /// There is no way to wait for programs that still read the policy before the last.
    pub fn write_policy(&self, generation: u64, policy: &[u64]) -> Result<(), String> {
        let slot = (generation % SLOTS) as usize;
        self.generation_in(slot).store(0, Ordering::SeqCst);
        crate::machine::wait_for_programs()?;
        let words = (self.sizes.policy.policy_bytes / 8) as usize;
        let to = self.policy.words().iter().skip(slot * words).take(words);
        for (to, from) in to.zip(policy) {
            to.store(*from, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Lets the policy decide that was written last, with its sets' state as it is now.
    pub fn publish(&self, generation: u64, sets: &[u64]) {
        for (to, from) in self.state(generation).iter().zip(sets) {
            to.store(*from, Ordering::Relaxed);
        }
        let slot = (generation % SLOTS) as usize;
        self.generation_in(slot).store(generation, Ordering::SeqCst);
        word(&self.control, offset_of!(Control, current)).store(generation, Ordering::SeqCst);
    }

    /// No policy decides in the kernel any more.
    pub fn retire(&self) {
        word(&self.control, offset_of!(Control, current)).store(0, Ordering::SeqCst);
    }

    /// Says where an endpoint is.
    pub fn set_endpoint(&self, number: u64, endpoint: Endpoint) {
        let from = number as usize * size_of::<Endpoint>();
        let at = |field: usize| word(&self.endpoint, from + field);
        let half = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let Endpoint {
            address: Address { ip, port },
            family,
            pool,
        } = endpoint;
        at(offset_of!(Endpoint, pool)).store(pool, Ordering::SeqCst);
        at(0).store(half(ip[0], ip[1]), Ordering::SeqCst);
        at(8).store(half(ip[2], ip[3]), Ordering::SeqCst);
        at(16).store(half(port, family), Ordering::SeqCst);
    }

    /// Why requests went to the agent, by [`handed`].
    pub fn handed(&self) -> [u64; handed::COUNT as usize] {
        let mut counts = [0; handed::COUNT as usize];
        for (to, from) in counts.iter_mut().zip(self.handed.words()) {
            *to = from.load(Ordering::Relaxed);
        }
        counts
    }

    /// The order that is kept while traffic is recorded: its lock, and the next number.
    pub fn order(&self) -> [&AtomicU64; 2] {
        let at = |field: usize| word(&self.order, field);
        [at(offset_of!(Order, lock)), at(offset_of!(Order, next))]
    }

    /// Ends of requests whose place in the order is not certain.
    pub fn uncertain(&self) -> u64 {
        word(&self.order, offset_of!(Order, uncertain)).load(Ordering::Relaxed)
    }

    /// Events that found no room.
    pub fn lost(&self) -> u64 {
        word(&self.lost, 0).load(Ordering::Relaxed)
    }

    /// What is known of a connection that the agent has accepted, by the client's address.
    pub fn accepted(&self, peer: std::net::SocketAddr) -> Option<Accepted> {
        let mut map = lock(&self.accepted);
        // The client's socket may be an IPv6 one with a mapped address: both look alike.
        let key = address(peer);
        let found = map.get(&key, 0).ok();
        let _ = map.remove(&key);
        found
    }

    /// A connection of the agent's own from this address is to be tracked as an upstream one.
    ///
    /// # Errors
    /// The map is full.
    pub fn expect(&self, local: std::net::SocketAddr, index: u64) -> Result<(), String> {
        lock(&self.expected)
            .insert(address(local), index, 0)
            .map_err(|failed| format!("map `EXPECTED`: {failed}"))
    }

    /// It is connected, or never will be.
    pub fn expect_no_longer(&self, local: std::net::SocketAddr) {
        let _ = lock(&self.expected).remove(&address(local));
    }

    /// Marks a socket as the agent's own, before it connects.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn mark_own(&self, socket: &impl AsRawFd) -> Result<(), String> {
        let own = Socket {
            kind: kind::AGENT,
            ..Socket::default()
        };
        lock(&self.sockets)
            .insert(socket, own, 0)
            .map_err(|failed| format!("cannot mark a socket as the agent's own: {failed}"))
    }

    /// Requests that were counted, by what was decided.
    pub fn counts(&self) -> Vec<(CountKey, Count)> {
        lock(&self.counts).iter().filter_map(Result::ok).collect()
    }

    /// Forgets a count: nothing is counted by it any more.
    pub fn forget_count(&self, key: &CountKey) {
        let _ = lock(&self.counts).remove(key);
    }

    /// The ring of events; given once.
    pub fn take_events(&self) -> Option<RingBuf<MapData>> {
        lock(&self.events).take()
    }

    /// The record of a client connection.
    pub fn client(&self, index: u64) -> Record<'_> {
        Record {
            region: &self.client,
            from: index as usize * size_of::<Client>(),
        }
    }

    /// Puts a client's record back.
    pub fn free_client(&self, index: u64) {
        put(
            word(&self.free, 0),
            self.client(index).word(offset_of!(Client, next)),
            index,
        );
    }

    /// The record of an upstream connection.
    pub fn upstream(&self, index: u64) -> Record<'_> {
        Record {
            region: &self.upstream,
            from: index as usize * size_of::<Upstream>(),
        }
    }

    /// Puts an upstream connection into its pool's list.
    pub fn put_idle(&self, index: u64) {
        let upstream = self.upstream(index);
        let pool = upstream
            .word(offset_of!(Upstream, pool))
            .load(Ordering::SeqCst);
        put(
            word(&self.pool, pool as usize * size_of::<Pool>()),
            upstream.word(offset_of!(Upstream, next)),
            index,
        );
    }

    /// Takes an idle upstream connection out of its pool's list, as the programs do. `None` where
    /// there is none.
    pub fn take_idle(&self, pool: u64) -> Option<u64> {
        let first = word(&self.pool, pool as usize * size_of::<Pool>());
        loop {
            let index = take_first(first, |index| {
                self.upstream(index).word(offset_of!(Upstream, next))
            })?;
            let state = self.upstream(index).word(offset_of!(Upstream, state));
            let taken = state.compare_exchange(
                state::IDLE,
                state::AGENT,
                Ordering::SeqCst,
                Ordering::SeqCst,
            );
            if taken.is_ok() {
                return Some(index);
            }
            state.store(state::GONE, Ordering::SeqCst);
        }
    }

    /// Times that a pool was asked and had none.
    pub fn empty(&self, pool: u64) -> u64 {
        let at = pool as usize * size_of::<Pool>() + offset_of!(Pool, empty);
        word(&self.pool, at).load(Ordering::Relaxed)
    }
}

/// Puts a record into a list, as the programs do.
fn put(first: &AtomicU64, next: &AtomicU64, index: u64) {
    let mut old = first.load(Ordering::SeqCst);
    loop {
        next.store(old & 0xffff_ffff, Ordering::SeqCst);
        let new = (index + 1) & 0xffff_ffff | (old >> 32).wrapping_add(1) << 32;
        match first.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return,
            Err(now) => old = now,
        }
    }
}

/// Takes the first record of a list.
fn take_first<'a>(first: &AtomicU64, next: impl Fn(u64) -> &'a AtomicU64) -> Option<u64> {
    let mut old = first.load(Ordering::SeqCst);
    loop {
        let index = (old & 0xffff_ffff).checked_sub(1)?;
        let after = next(index).load(Ordering::SeqCst) & 0xffff_ffff;
        let new = after | (old >> 32).wrapping_add(1) << 32;
        match first.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return Some(index),
            Err(now) => old = now,
        }
    }
}

/// A record in a map.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    region: &'a Region,
    from: usize,
}

impl<'a> Record<'a> {
    /// A word of it, by its offset in the record.
    pub fn word(self, field: usize) -> &'a AtomicU64 {
        word(self.region, self.from + field)
    }

    /// Reads a word.
    pub fn get(self, field: usize) -> u64 {
        self.word(field).load(Ordering::SeqCst)
    }

    /// Writes a word.
    pub fn set(self, field: usize, value: u64) {
        self.word(field).store(value, Ordering::SeqCst);
    }

    /// Bytes of it, from a multiple of eight on.
    pub fn bytes(self, field: usize, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            let word = self.get(field + bytes.len());
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}
