//! Where the balancers' state lives: words that every deciding thread shares. In userspace it is
//! memory of the process; the kernel's memory-mapped maps take its place by implementing
//! [`Memory`].
//!
//! The words that count endpoints' active requests come first, and are the same for all policies:
//! an endpoint keeps its number (`twinmesh_compile::Numbers`), so that a request counts where it
//! counted whichever policy decides when it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use twinmesh_compile::{Compiled, Numbers};

use crate::record::Order;

/// The state of one policy, by the numbers that its tables have.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
    /// Active requests by endpoint number.
    pub active: &'a [AtomicU64],
    /// The words after them: the sets'.
    pub sets: &'a [AtomicU64],
}

impl<'a> Words<'a> {
    #[inline]
    fn at(self, index: u64) -> Option<&'a AtomicU64> {
        let index = index as usize;
        match index.checked_sub(self.active.len()) {
            None => self.active.get(index),
            Some(rest) => self.sets.get(rest),
        }
    }

    /// The value of a word; 0 past the end.
    #[inline]
    pub fn get(self, index: u64) -> u64 {
        self.at(index).map_or(0, |word| word.load(Relaxed))
    }

    /// Sets a word.
    #[inline]
    pub fn set(self, index: u64, value: u64) {
        if let Some(word) = self.at(index) {
            word.store(value, Relaxed);
        }
    }

    /// Adds one to a word; what it was before.
    #[inline]
    pub fn tick(self, index: u64) -> u64 {
        self.at(index).map_or(0, |word| word.fetch_add(1, Relaxed))
    }
}

/// The words of one policy's sets.
pub trait Sets: Send + Sync {
    /// As many as the policy's `Compiled::state` has after those of active requests, or more.
    fn words(&self) -> &[AtomicU64];
}

/// Makes the state of each policy that is published.
pub trait Memory: Send + Sync {
    /// Active requests by endpoint number: as many as there can be numbers.
    fn active(&self) -> &[AtomicU64];

    /// By endpoint number: how many of the active requests are the proxy's own. Counted for whoever
    /// comes after this process; empty where nobody does.
    fn held(&self) -> &[AtomicU64] {
        &[]
    }

    /// The order that is kept while traffic is recorded.
    fn order(&self) -> Order<'_>;

    /// A policy is about to be published, whose endpoints have these numbers. Called while others
    /// still decide by the one before.
    ///
    /// # Errors
    /// Why it does not fit; the policy before stays.
    fn prepare(
        &self,
        _compiled: &Compiled,
        _numbers: &Numbers,
        _generation: u64,
    ) -> Result<(), String> {
        Ok(())
    }

    /// The state of the policy's sets, with `sets` as its first values (what the policy before
    /// remembered is in them). Called while nobody decides in userspace: decisions wait for it.
    ///
    /// # Errors
    /// Why there is none; the policy before stays.
    fn place(
        &self,
        compiled: &Compiled,
        sets: &[u64],
        generation: u64,
    ) -> Result<Box<dyn Sets>, String>;
}

/// Endpoints that memory of the process has room for.
const ENDPOINTS: usize = 1 << 18;

/// Memory of the process.
#[derive(Debug, Clone)]
pub struct ProcessMemory {
    active: Arc<[AtomicU64]>,
    order: Arc<[AtomicU64; 2]>,
}

impl Default for ProcessMemory {
    fn default() -> Self {
        Self {
            active: (0..ENDPOINTS).map(|_| AtomicU64::new(0)).collect(),
            order: Arc::default(),
        }
    }
}

impl Memory for ProcessMemory {
    fn active(&self) -> &[AtomicU64] {
        &self.active
    }

    fn order(&self) -> Order<'_> {
        let [lock, next] = &*self.order;
        Order { lock, next }
    }

    fn place(
        &self,
        _compiled: &Compiled,
        sets: &[u64],
        _generation: u64,
    ) -> Result<Box<dyn Sets>, String> {
        Ok(in_process(sets))
    }
}

/// Words of the process, with these values.
pub fn in_process(sets: &[u64]) -> Box<dyn Sets> {
    let words = sets.iter().copied().map(AtomicU64::new);
    Box::new(words.collect::<Box<[AtomicU64]>>())
}

impl Sets for Box<[AtomicU64]> {
    fn words(&self) -> &[AtomicU64] {
        self
    }
}
