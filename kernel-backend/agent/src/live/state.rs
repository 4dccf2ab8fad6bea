//! Where the balancers' state lives: words that every deciding thread shares. In userspace it is
//! memory of the process; a kernel's memory-mapped map takes its place by implementing [`Memory`].

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use twinmesh_compile::Compiled;

/// The state words of one policy.
pub trait State: Send + Sync {
    /// The words; as many as the policy's `Compiled::state` has, or more.
    fn words(&self) -> &[AtomicU64];
}

/// Makes the state of each policy that is published.
pub trait Memory: Send + Sync {
    /// A policy is about to be published. Called while others still decide by the one before.
    ///
    /// # Errors
    /// Why it does not fit; the policy before stays.
    fn prepare(&self, _compiled: &Compiled, _generation: u64) -> Result<(), String> {
        Ok(())
    }

    /// The state of the policy, with `Compiled::state` as its first values (what the policy before
    /// remembered is in them). Called while nobody decides: decisions wait for it.
    ///
    /// # Errors
    /// Why there is none; the policy before stays.
    fn place(&self, compiled: &Compiled, generation: u64) -> Result<Box<dyn State>, String>;
}

/// Memory of the process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessMemory;

impl Memory for ProcessMemory {
    fn place(&self, compiled: &Compiled, _generation: u64) -> Result<Box<dyn State>, String> {
        let words = compiled.state.iter().copied().map(AtomicU64::new);
        Ok(Box::new(words.collect::<Box<[AtomicU64]>>()))
    }
}

impl State for Box<[AtomicU64]> {
    fn words(&self) -> &[AtomicU64] {
        self
    }
}

/// The value of a word; 0 past the end.
#[inline]
pub fn get(words: &[AtomicU64], index: u64) -> u64 {
    words
        .get(index as usize)
        .map_or(0, |word| word.load(Relaxed))
}

/// Sets a word.
#[inline]
pub fn set(words: &[AtomicU64], index: u64, value: u64) {
    if let Some(word) = words.get(index as usize) {
        word.store(value, Relaxed);
    }
}

/// Adds one to a word; what it was before.
#[inline]
pub fn tick(words: &[AtomicU64], index: u64) -> u64 {
    words
        .get(index as usize)
        .map_or(0, |word| word.fetch_add(1, Relaxed))
}

/// Takes one off a word, down to 0.
pub fn release(words: &[AtomicU64], index: u64) {
    if let Some(word) = words.get(index as usize) {
        // An error says that it was 0 already.
        let _ = word.fetch_update(Relaxed, Relaxed, |count| count.checked_sub(1));
    }
}
