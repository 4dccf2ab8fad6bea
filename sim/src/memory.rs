//! The model's memory in userspace: plain vectors.

use twinmesh_compile::{Compiled, Input, Left};
use twinmesh_model::Machine;
use twinmesh_model::layout::{input, work};

/// Bytes of head that fit: what Envoy takes at most, rounded up.
const HEAD_BYTES: u64 = 64 * 1024;

/// Policy, state, work area and input of one simulator.
#[derive(Debug, Clone)]
pub struct Memory {
    policy: Vec<u8>,
    state: Vec<u64>,
    words: Vec<u64>,
    input: Vec<u8>,
}

impl Memory {
    /// Memory for a compiled snapshot, the balancers at their start.
    pub fn new(compiled: &Compiled) -> Self {
        let mut policy: Vec<u8> = compiled
            .policy
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        policy.extend_from_slice(&[0; 8]);
        Self {
            policy,
            state: compiled.state.clone(),
            words: vec![0; work::WORDS as usize],
            input: vec![0; (input::HEAD + HEAD_BYTES + input::PADDING) as usize],
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

#[inline(always)]
fn read<const BYTES: usize>(bytes: &[u8], offset: u64) -> [u8; BYTES] {
    bytes
        .get(offset as usize..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .unwrap_or([0; BYTES])
}

impl Machine for Memory {
    const HEAD_BYTES: u64 = HEAD_BYTES;

    #[inline(always)]
    fn input64(&self, offset: u64) -> u64 {
        u64::from_le_bytes(read(&self.input, offset))
    }
    #[inline(always)]
    fn input8(&self, offset: u64) -> u64 {
        self.input
            .get(offset as usize)
            .copied()
            .map_or(0, u64::from)
    }
    #[inline(always)]
    fn policy64(&self, offset: u64) -> u64 {
        u64::from_le_bytes(read(&self.policy, offset))
    }
    #[inline(always)]
    fn policy16(&self, offset: u64) -> u64 {
        u64::from(u16::from_le_bytes(read(&self.policy, offset)))
    }
    #[inline(always)]
    fn policy8(&self, offset: u64) -> u64 {
        self.policy
            .get(offset as usize)
            .copied()
            .map_or(0, u64::from)
    }
    #[inline(always)]
    fn word(&self, index: u64) -> u64 {
        self.words.get(index as usize).copied().unwrap_or(0)
    }
    #[inline(always)]
    fn set_word(&mut self, index: u64, value: u64) {
        if let Some(word) = self.words.get_mut(index as usize) {
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
