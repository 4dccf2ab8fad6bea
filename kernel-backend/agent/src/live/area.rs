//! One decision: the model over the shared policy and state, in a work area of the calling thread.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use twinmesh_compile::{HashRewrites, Input, Left};
use twinmesh_model::Machine;
use twinmesh_model::layout::{Span, input, work};
use twinmesh_sim::bounded;

use super::state::Words;

/// Bytes of head that fit: what Envoy takes at most by default, rounded up.
const HEAD_BYTES: u64 = 64 * 1024;
/// Bytes of input that are addressed: a power of two, so that a mask keeps every read inside.
const INPUT_BYTES: usize = (input::HEAD + HEAD_BYTES + input::PADDING).next_power_of_two() as usize;
const WORDS: usize = work::WORDS as usize;

/// A work area and input.
pub struct Area {
    words: Box<[u64; WORDS]>,
    input: Box<[u8]>,
    sequence: u64,
}

impl Area {
    fn new() -> Self {
        Self {
            words: Box::new([0; WORDS]),
            input: vec![0; INPUT_BYTES + 8].into_boxed_slice(),
            sequence: 0,
        }
    }

    /// A number that differs from the one before.
    pub fn next_sequence(&mut self) -> u64 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// What the last decision left.
    pub fn left(&self) -> Left {
        let mut left = Left::default();
        let words = self.words.iter().skip(work::OUTCOME as usize);
        for (to, from) in left.iter_mut().zip(words) {
            *to = *from;
        }
        left
    }
}

/// Runs `body` with the calling thread's area.
pub fn with<T>(body: impl FnOnce(&mut Area) -> T) -> T {
    thread_local! {
        static AREA: RefCell<Area> = RefCell::new(Area::new());
    }
    AREA.with(|area| match area.try_borrow_mut() {
        Ok(mut area) => body(&mut area),
        // A decision within a decision; there is none.
        Err(_) => body(&mut Area::new()),
    })
}

impl Input for Area {
    fn set_word(&mut self, index: u64, value: u64) {
        if let Some(word) = self.words.get_mut(index as usize & (WORDS - 1)) {
            *word = value;
        }
    }

    fn set_bytes(&mut self, offset: u64, bytes: &[u8]) {
        let from = offset as usize;
        if let Some(to) = self.input.get_mut(from..from + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }

    fn head_bytes(&self) -> u64 {
        HEAD_BYTES
    }
}

/// The model's memory for one decision.
pub struct Decision<'a> {
    /// Work area and input.
    pub area: &'a mut Area,
    /// `Compiled::policy`.
    pub policy: &'a [u64],
    /// The shared state.
    pub state: Words<'a>,
    /// Who holds it may change a weighted least-request queue, which takes many words.
    pub queue: &'a Mutex<()>,
    /// How headers are rewritten before they are hashed.
    pub hash_rewrites: &'a HashRewrites,
}

impl Machine for Decision<'_> {
    const HEAD_BYTES: u64 = HEAD_BYTES;

    #[inline(always)]
    fn input64(&self, offset: u64) -> u64 {
        let at = offset as usize & (INPUT_BYTES - 1);
        let bytes = self.area.input.get(at..at + 8);
        let bytes = bytes.and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
    #[inline(always)]
    fn input8(&self, offset: u64) -> u64 {
        let at = offset as usize & (INPUT_BYTES - 1);
        self.area.input.get(at).copied().map_or(0, u64::from)
    }
    #[inline(always)]
    fn policy64(&self, offset: u64) -> u64 {
        let word = self.policy.get((offset >> 3) as usize);
        word.copied().unwrap_or(0)
    }
    #[inline(always)]
    fn policy16(&self, offset: u64) -> u64 {
        self.policy64(offset) >> ((offset & 6) << 3) & 0xffff
    }
    #[inline(always)]
    fn policy8(&self, offset: u64) -> u64 {
        self.policy64(offset) >> ((offset & 7) << 3) & 0xff
    }
    #[inline(always)]
    fn word(&self, index: u64) -> u64 {
        let word = self.area.words.get(index as usize & (WORDS - 1));
        word.copied().unwrap_or(0)
    }
    #[inline(always)]
    fn set_word(&mut self, index: u64, value: u64) {
        Input::set_word(self.area, index, value);
    }
    #[inline(always)]
    fn state(&self, index: u64) -> u64 {
        self.state.get(index)
    }
    #[inline(always)]
    fn set_state(&mut self, index: u64, value: u64) {
        self.state.set(index, value);
    }
    fn bounded(&mut self, record: u64, position: u64, number: u64) -> u64 {
        bounded::pick(self, record, position, number)
    }
    fn rewritten_hash(&self, rule: u64, values: &mut dyn Iterator<Item = Span>) -> Option<u64> {
        self.hash_rewrites.hash(self, rule, values)
    }
    #[inline(always)]
    fn tick(&mut self, index: u64) -> u64 {
        self.state.tick(index)
    }

    fn heap(&mut self, set: u64) -> u64 {
        let _alone = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        twinmesh_model::least_request::weighted(self, set)
    }
}
