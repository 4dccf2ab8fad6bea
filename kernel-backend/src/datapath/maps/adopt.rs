//! What whoever takes the maps over from another process finds in them. Programs go on meanwhile.

use std::mem::{offset_of, size_of};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use super::{Accepted, Address, Client, Endpoint, Maps, lock, socket_address, word};
use crate::shape::{Control, SLOTS};

impl Maps {
    /// The newest generation that was published; 0 where none was.
    pub fn generation(&self) -> u64 {
        let current = word(&self.control, offset_of!(Control, current)).load(Ordering::SeqCst);
        let slots = (0..SLOTS as usize).map(|slot| self.generation_in(slot));
        slots
            .map(|generation| generation.load(Ordering::SeqCst))
            .fold(current, u64::max)
    }

    /// Which records of clients are in no use, by index. One that is taken meanwhile counts as free.
    pub fn free_clients(&self) -> Vec<bool> {
        let mut free = vec![false; self.sizes.clients as usize];
        let mut at = word(&self.free, 0).load(Ordering::SeqCst) & 0xffff_ffff;
        while let Some(index) = at.checked_sub(1) {
            match free.get_mut(index as usize) {
                Some(is_free) if !*is_free => *is_free = true,
                // Only a list that changes meanwhile comes round again.
                _ => break,
            }
            at = self.client(index).get(offset_of!(Client, next)) & 0xffff_ffff;
        }
        free
    }

    /// Connections that wait for the agent to accept them.
    pub fn waiting(&self) -> Vec<Accepted> {
        let map = lock(&self.accepted);
        map.iter()
            .filter_map(Result::ok)
            .map(|(_, accepted)| accepted)
            .collect()
    }

    /// Nobody will accept what waits, nor connect what is expected.
    pub fn forget_waiting(&self) {
        let mut map = lock(&self.accepted);
        let keys: Vec<Address> = map.keys().filter_map(Result::ok).collect();
        for key in keys {
            // One that is gone meanwhile need not be removed.
            let _ = map.remove(&key);
        }
    }

    /// Nobody connects to endpoints now.
    pub fn forget_expected(&self) {
        let mut map = lock(&self.expected);
        let keys: Vec<Address> = map.keys().filter_map(Result::ok).collect();
        for key in keys {
            // As above.
            let _ = map.remove(&key);
        }
    }

    /// The addresses that have pools.
    pub fn pools(&self) -> Vec<(SocketAddr, u64)> {
        let mut pools = Vec::new();
        for number in 0..self.sizes.endpoints as usize {
            let from = number * size_of::<Endpoint>();
            let get = |field: usize| word(&self.endpoint, from + field).load(Ordering::SeqCst);
            let Some(pool) = get(offset_of!(Endpoint, pool)).checked_sub(1) else {
                continue;
            };
            pools.push((
                socket_address(address_from([get(0), get(8), get(16)])),
                pool,
            ));
        }
        pools.sort_unstable();
        pools.dedup();
        pools
    }

    /// A client's own address, and what it asked for.
    pub fn ends(&self, client: u64) -> (SocketAddr, SocketAddr) {
        let record = self.client(client);
        let [a, b, c, d, e] =
            [0, 8, 16, 24, 32].map(|word: usize| record.get(offset_of!(Client, source) + word));
        let source = address_from([a, b, c & 0xffff_ffff]);
        // The second address begins in the middle of a word.
        let destination = address_from([c >> 32 | d << 32, d >> 32 | e << 32, e >> 32]);
        (socket_address(source), socket_address(destination))
    }

    /// Takes what another process counted off an endpoint's active requests.
    pub fn take_active(&self, number: u64, count: u64) {
        if let Some(word) = self.active().get(number as usize) {
            let take = |now: u64| Some(now.saturating_sub(count));
            // It is never refused.
            let _ = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        }
    }

    /// Opens the lock of the order, which a process that is no more may have held.
    pub fn open_order(&self) {
        self.order()[0].store(0, Ordering::SeqCst);
    }
}

/// An address of three words, the port in the low half of the last.
fn address_from([low, high, port]: [u64; 3]) -> Address {
    let half = |word: u64| [word as u32, (word >> 32) as u32];
    let ([a, b], [c, d]) = (half(low), half(high));
    Address {
        ip: [a, b, c, d],
        port: port as u32,
    }
}
