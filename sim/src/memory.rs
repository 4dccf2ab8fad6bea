//! The model's memory in userspace: plain vectors.

use std::sync::Arc;

use twinmesh_compile::{Compiled, Filtered, HashRewrites, Input, Left};
use twinmesh_model::Machine;
use twinmesh_model::layout::{Span, input, work};

use crate::bounded;
use crate::slow_start::{self, SlowStarts};

/// Bytes of head that fit: what Envoy takes at most, rounded up.
const HEAD_BYTES: u64 = 64 * 1024;
/// Bytes of input that are addressed: a power of two, so that a mask keeps every read inside.
const INPUT_BYTES: usize = (input::HEAD + HEAD_BYTES + input::PADDING).next_power_of_two() as usize;
/// Words of the work area.
const WORDS: usize = work::WORDS as usize;

/// Policy, state, work area and input of one simulator.
#[derive(Debug, Clone)]
pub struct Memory {
    policy: Vec<u64>,
    state: Vec<u64>,
    words: Box<[u64; WORDS]>,
    input: Box<[u8; INPUT_BYTES + 8]>,
    /// What clusters with a slow start remember.
    pub(crate) slow_starts: SlowStarts,
    hash_rewrites: Arc<HashRewrites>,
}

impl Memory {
    /// Memory for a compiled snapshot that is loaded at the virtual time 0, the balancers at their
    /// start.
    pub fn new(compiled: &Compiled) -> Self {
        Self {
            policy: compiled.policy.clone(),
            state: compiled.state.clone(),
            words: Box::new([0; WORDS]),
            input: Box::new([0; INPUT_BYTES + 8]),
            slow_starts: SlowStarts::new(compiled),
            hash_rewrites: Arc::clone(&compiled.hash_rewrites),
        }
    }

    /// What the last decision left.
    pub fn left(&self) -> Left {
        let mut left = Left::default();
        for (to, index) in left.iter_mut().zip(work::OUTCOME..) {
            *to = self.word(index);
        }
        left
    }
}

impl Memory {
    /// What the HTTP filters of the last decision left.
    pub fn filtered(&self) -> Filtered {
        let count = self.word(work::FILTER_STEPS).min(work::FILTER_STEPS_MAX);
        let steps = (0..count).map(|index| self.word(work::FILTER_STEPS + 1 + index));
        Filtered {
            steps: steps.collect(),
            delayed_us: self.word(work::DELAY),
            random: self.word(work::RANDOM),
        }
    }
}

impl Machine for Memory {
    const HEAD_BYTES: u64 = HEAD_BYTES;
    const FILTERS: bool = true;
    const SLOW_START: bool = true;

    #[inline(always)]
    fn input64(&self, offset: u64) -> u64 {
        let at = offset as usize & (INPUT_BYTES - 1);
        let bytes = self.input.get(at..at + 8).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
    #[inline(always)]
    fn input8(&self, offset: u64) -> u64 {
        let at = offset as usize & (INPUT_BYTES - 1);
        self.input.get(at).copied().map_or(0, u64::from)
    }
    #[inline(always)]
    fn policy64(&self, offset: u64) -> u64 {
        self.policy
            .get((offset >> 3) as usize)
            .copied()
            .unwrap_or(0)
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
        let word = self.words.get(index as usize & (WORDS - 1));
        word.copied().unwrap_or(0)
    }
    #[inline(always)]
    fn set_word(&mut self, index: u64, value: u64) {
        if let Some(word) = self.words.get_mut(index as usize & (WORDS - 1)) {
            *word = value;
        }
    }
    #[inline(always)]
    fn state(&self, index: u64) -> u64 {
        self.state.get(index as usize).copied().unwrap_or(0)
    }
    #[inline(always)]
    fn set_state(&mut self, index: u64, value: u64) {
        if let Some(word) = self.state.get_mut(index as usize) {
            *word = value;
        }
    }
    fn bounded(&mut self, record: u64, position: u64, number: u64) -> u64 {
        bounded::pick(self, record, position, number)
    }
    fn slow_start(&mut self, record: u64) -> u64 {
        slow_start::pick(self, record)
    }
    fn rewritten_hash(&self, rule: u64, values: &mut dyn Iterator<Item = Span>) -> Option<u64> {
        self.hash_rewrites.hash(self, rule, values)
    }
    #[inline(always)]
    fn tick(&mut self, index: u64) -> u64 {
        let value = self.state(index);
        self.set_state(index, value.wrapping_add(1));
        value
    }
}

impl Input for Memory {
    fn set_word(&mut self, index: u64, value: u64) {
        Machine::set_word(self, index, value);
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
