//! The maps' values as userspace sees them: policies, balancer state, requests.

use std::mem::{offset_of, size_of};
use std::sync::atomic::{AtomicU64, Ordering};

use twinmesh_compile::{Input, Left};
use twinmesh_model::Machine;
use twinmesh_model::layout::work;

use crate::capacity::Capacity;
use crate::region::Region;
use crate::shape::{Control, HEAD_BYTES, SLOTS, WORKERS, Work};

/// Words of one request.
const WORK_WORDS: usize = size_of::<Work>() / 8;
const GENERATION: usize = offset_of!(Work, generation) / 8;
const INPUT: usize = offset_of!(Work, input) / 8;

const CURRENT: usize = offset_of!(Control, current) / 8;
const GENERATIONS: usize = offset_of!(Control, generations) / 8;
const STATE_WORDS: usize = offset_of!(Control, state_words) / 8;

/// The maps, by name, and how many words each has.
pub fn sizes(capacity: Capacity) -> [(&'static str, usize); 4] {
    [
        ("WORK", WORKERS as usize * WORK_WORDS),
        ("POLICY", (SLOTS * capacity.policy_bytes / 8) as usize),
        ("STATE", (SLOTS * capacity.state_words) as usize),
        ("CONTROL", size_of::<Control>() / 8),
    ]
}

/// The maps' values.
#[derive(Debug)]
pub struct Areas {
    /// How much they hold.
    pub capacity: Capacity,
    /// The regions, in the order of [`sizes`].
    pub regions: [Region; 4],
}

impl Areas {
    /// Areas over regions in the order of [`sizes`].
    pub fn new(capacity: Capacity, regions: [Region; 4]) -> Self {
        let areas = Self { capacity, regions };
        store(areas.control(), STATE_WORDS, capacity.state_words);
        areas
    }

    fn work(&self, worker: u32) -> &[AtomicU64] {
        part(self.regions[0].words(), worker as usize, WORK_WORDS)
    }

    fn policy(&self, generation: u64) -> &[AtomicU64] {
        let words = (self.capacity.policy_bytes / 8) as usize;
        part(
            self.regions[1].words(),
            (generation % SLOTS) as usize,
            words,
        )
    }

    /// The words of balancer state of a generation.
    pub fn state(&self, generation: u64) -> &[AtomicU64] {
        let words = self.capacity.state_words as usize;
        part(
            self.regions[2].words(),
            (generation % SLOTS) as usize,
            words,
        )
    }

    fn control(&self) -> &[AtomicU64] {
        self.regions[3].words()
    }

    /// From now on no decision starts in the slot that a generation will have.
    pub fn withdraw(&self, generation: u64) {
        if let Some(word) = self
            .control()
            .get(GENERATIONS + (generation % SLOTS) as usize)
        {
            word.store(0, Ordering::SeqCst);
        }
    }

    /// Writes a generation into its slot. No program may be running that began there.
    pub fn write(&self, generation: u64, policy: &[u64], state: &[u64]) {
        for (to, from) in self.policy(generation).iter().zip(policy) {
            to.store(*from, Ordering::Relaxed);
        }
        for (to, from) in self.state(generation).iter().zip(state) {
            to.store(*from, Ordering::Relaxed);
        }
    }

    /// From now on a generation decides what asks for it, and what asks for none.
    pub fn publish(&self, generation: u64) {
        let control = self.control();
        if let Some(word) = control.get(GENERATIONS + (generation % SLOTS) as usize) {
            word.store(generation, Ordering::SeqCst);
        }
        if let Some(word) = control.get(CURRENT) {
            word.store(generation, Ordering::SeqCst);
        }
    }

    /// The place of one request.
    pub fn request(&self, worker: u32) -> Request<'_> {
        Request {
            words: self.work(worker),
            policy: &[],
        }
    }

    /// The place of one request that has been decided, with the policy that decided it.
    pub fn decided(&self, worker: u32, generation: u64) -> Request<'_> {
        Request {
            words: self.work(worker),
            policy: self.policy(generation),
        }
    }
}

fn part(words: &[AtomicU64], index: usize, size: usize) -> &[AtomicU64] {
    words
        .get(index * size..)
        .and_then(|rest| rest.get(..size))
        .unwrap_or_default()
}

#[inline]
fn load(words: &[AtomicU64], index: usize) -> u64 {
    words
        .get(index)
        .map_or(0, |word| word.load(Ordering::Relaxed))
}

#[inline]
fn store(words: &[AtomicU64], index: usize, value: u64) {
    if let Some(word) = words.get(index) {
        word.store(value, Ordering::Relaxed);
    }
}

/// One request in the maps: what it is given, and what its decision leaves.
#[derive(Debug)]
pub struct Request<'a> {
    words: &'a [AtomicU64],
    policy: &'a [AtomicU64],
}

impl Request<'_> {
    /// Asks for a generation; 0 for the current one.
    pub fn set_generation(&self, generation: u64) {
        store(self.words, GENERATION, generation);
    }

    /// What the decision left.
    pub fn left(&self) -> Left {
        let mut left = Left::default();
        for (to, index) in left.iter_mut().zip(work::OUTCOME as usize..) {
            *to = load(self.words, index);
        }
        left
    }

    /// The sequence number that follows the last one.
    pub fn sequence(&self) -> u64 {
        load(self.words, work::SEQUENCE as usize).wrapping_add(1)
    }
}

impl Input for Request<'_> {
    #[inline]
    fn set_word(&mut self, index: u64, value: u64) {
        store(self.words, index as usize, value);
    }

    #[inline]
    fn set_bytes(&mut self, offset: u64, bytes: &[u8]) {
        let mut at = offset as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = at % 8;
            let (now, later) = rest.split_at(rest.len().min(8 - within));
            let word = INPUT + at / 8;
            let mut whole = if now.len() == 8 {
                [0; 8]
            } else {
                load(self.words, word).to_le_bytes()
            };
            for (to, from) in whole.iter_mut().skip(within).zip(now) {
                *to = *from;
            }
            store(self.words, word, u64::from_le_bytes(whole));
            at += now.len();
            rest = later;
        }
    }

    fn head_bytes(&self) -> u64 {
        HEAD_BYTES
    }
}

/// For traces: the model looks at a request that has been decided. The balancers' state is out of
/// its reach.
impl Machine for Request<'_> {
    const HEAD_BYTES: u64 = HEAD_BYTES;

    fn input64(&self, offset: u64) -> u64 {
        let at = INPUT + (offset / 8) as usize;
        let shift = offset % 8 * 8;
        let low = load(self.words, at);
        if shift == 0 {
            low
        } else {
            low >> shift | load(self.words, at + 1) << (64 - shift)
        }
    }
    fn input8(&self, offset: u64) -> u64 {
        self.input64(offset) & 0xff
    }
    fn policy64(&self, offset: u64) -> u64 {
        load(self.policy, (offset / 8) as usize)
    }
    fn policy16(&self, offset: u64) -> u64 {
        self.policy64(offset) >> (offset % 8 * 8) & 0xffff
    }
    fn policy8(&self, offset: u64) -> u64 {
        self.policy64(offset) >> (offset % 8 * 8) & 0xff
    }
    fn word(&self, index: u64) -> u64 {
        if index < work::WORDS {
            load(self.words, index as usize)
        } else {
            0
        }
    }
    fn set_word(&mut self, index: u64, value: u64) {
        if index < work::WORDS {
            store(self.words, index as usize, value);
        }
    }
    fn state(&self, _index: u64) -> u64 {
        0
    }
    fn set_state(&mut self, _index: u64, _value: u64) {}
    fn tick(&mut self, _index: u64) -> u64 {
        0
    }
}
