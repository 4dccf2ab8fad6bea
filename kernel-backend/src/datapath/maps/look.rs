//! What lies in the maps, for whoever compares it with what it should be. Others write meanwhile.

use std::mem::{offset_of, size_of};
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::shape::{Address, Client, Config, Endpoint, Pool, Upstream};
use super::{Maps, Record, lock, word};
use crate::shape::{Control, SLOTS};

impl Maps {
    /// The generation that decides, 0 where none does; and those in the slots.
    pub fn generations(&self) -> (u64, Vec<u64>) {
        let current = word(&self.control, offset_of!(Control, current));
        let slots = 0..SLOTS as usize;
        let in_slots = slots.map(|slot| self.generation_in(slot).load(Ordering::SeqCst));
        (current.load(Ordering::SeqCst), in_slots.collect())
    }

    /// The words of the slot that a generation has.
    pub fn policy(&self, generation: u64) -> &[AtomicU64] {
        let words = (self.sizes.policy.policy_bytes / 8) as usize;
        let from = (generation % SLOTS) as usize * words;
        self.policy
            .words()
            .get(from..from + words)
            .unwrap_or_default()
    }

    /// What the programs were told last; the offsets are not in it.
    pub fn told(&self) -> Config {
        *lock(&self.told)
    }

    /// What the programs find that they are told.
    pub fn config(&self) -> Config {
        let get = |field: usize| word(&self.config, field).load(Ordering::SeqCst);
        let address = |field: usize| record(&self.config, field).address(0);
        Config {
            flags: get(offset_of!(Config, flags)),
            netns_cookie: get(offset_of!(Config, netns_cookie)),
            // They lie one behind the other, so the second does not start at a whole word.
            agent_v4: address(offset_of!(Config, agent_v4)),
            agent_v6: address(offset_of!(Config, agent_v6)),
            event_share: get(offset_of!(Config, event_share)),
            queue_limit: get(offset_of!(Config, queue_limit)),
            sk_user_data: get(offset_of!(Config, sk_user_data)),
            psock_queued: get(offset_of!(Config, psock_queued)),
            psock_queue: get(offset_of!(Config, psock_queue)),
            sk_cookie: get(offset_of!(Config, sk_cookie)),
            write_seq: get(offset_of!(Config, write_seq)),
            copied_seq: get(offset_of!(Config, copied_seq)),
            sk_flags: get(offset_of!(Config, sk_flags)),
            zero_copy: get(offset_of!(Config, zero_copy)),
        }
    }

    /// Where an endpoint is.
    pub fn endpoint(&self, number: u64) -> Endpoint {
        let from = number as usize * size_of::<Endpoint>();
        let record = record(&self.endpoint, from);
        Endpoint {
            address: record.address(0),
            family: record.half(offset_of!(Endpoint, family)),
            pool: record.get(offset_of!(Endpoint, pool)),
        }
    }

    /// The records in a pool's list of idle upstream connections, the first first. A list that
    /// changes meanwhile may be told wrong.
    pub fn idle(&self, pool: u64) -> Vec<u64> {
        let first = word(&self.pool, pool as usize * size_of::<Pool>());
        self.listed(first, self.sizes.upstreams, |index| {
            self.upstream(index).get(offset_of!(Upstream, next))
        })
    }

    /// How many records of clients are free; as [`Maps::idle`].
    pub fn count_free_clients(&self) -> u64 {
        let free = self.listed(word(&self.free, 0), self.sizes.clients, |index| {
            self.client(index).get(offset_of!(Client, next))
        });
        free.len() as u64
    }

    /// Follows a list, for as many steps as there can be records.
    fn listed(&self, first: &AtomicU64, most: u32, next: impl Fn(u64) -> u64) -> Vec<u64> {
        let mut list = Vec::new();
        let mut at = first.load(Ordering::SeqCst) & 0xffff_ffff;
        while at != 0 && list.len() < most as usize {
            list.push(at - 1);
            at = next(at - 1) & 0xffff_ffff;
        }
        list
    }

    /// How many connections stand in the maps of those that are not accepted yet, with a record and
    /// without, and of those that are expected.
    pub fn count_waiting(&self) -> [u64; 3] {
        let accepted = lock(&self.accepted);
        let (mut with, mut without) = (0, 0);
        for (_, accepted) in accepted.iter().filter_map(Result::ok) {
            match accepted.client {
                0 => without += 1,
                _ => with += 1,
            }
        }
        drop(accepted);
        let expected = lock(&self.expected).keys().filter_map(Result::ok).count();
        [with, without, expected as u64]
    }
}

fn record(region: &crate::region::Region, from: usize) -> Record<'_> {
    Record { region, from }
}

impl Record<'_> {
    /// Four bytes of it.
    fn half(self, field: usize) -> u32 {
        let at = self.from + field;
        let both = word(self.region, at & !7)
            .load(Ordering::SeqCst)
            .to_ne_bytes();
        let half = both.get(at & 4..).and_then(<[u8]>::first_chunk);
        half.map_or(0, |half| u32::from_ne_bytes(*half))
    }

    fn address(self, field: usize) -> Address {
        Address {
            ip: [0, 4, 8, 12].map(|at| self.half(field + at)),
            port: self.half(field + offset_of!(Address, port)),
        }
    }
}
