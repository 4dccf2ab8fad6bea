//! How much the BPF maps hold; chosen when a policy is loaded.

use twinmesh_compile::{CapacityError, Compiled};

/// Sizes of one slot of the maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capacity {
    /// Bytes of policy: a power of two.
    pub policy_bytes: u64,
    /// Words of balancer state: a power of two.
    pub state_words: u64,
}

impl Capacity {
    /// The least that is allocated: some thousand routes.
    pub const LEAST: Self = Self {
        policy_bytes: 1 << 21,
        state_words: 1 << 16,
    };
    /// The most: the verifier takes no offset over 512 MiB into a value; this is half of it.
    pub const MOST: Self = Self {
        policy_bytes: 1 << 28,
        state_words: 1 << 25,
    };

    /// The least capacity that holds a compiled snapshot.
    ///
    /// # Errors
    /// It is larger than [`Capacity::MOST`].
    pub fn of(compiled: &Compiled) -> Result<Self, CapacityError> {
        let size = |resource, count: u64, least: u64, limit: u64| {
            twinmesh_compile::capacity::check(resource, count, limit)?;
            Ok::<_, CapacityError>(count.next_power_of_two().max(least))
        };
        Ok(Self {
            policy_bytes: size(
                "bytes of compiled policy for the BPF engines",
                compiled.policy.len() as u64 * 8,
                Self::LEAST.policy_bytes,
                Self::MOST.policy_bytes,
            )?,
            state_words: size(
                "words of balancer state for the BPF engines",
                compiled.state.len() as u64,
                Self::LEAST.state_words,
                Self::MOST.state_words,
            )?,
        })
    }

    /// Whether all that fits `other` fits this.
    pub fn holds(self, other: Self) -> bool {
        self.policy_bytes >= other.policy_bytes && self.state_words >= other.state_words
    }

    /// What holds both.
    pub fn and(self, other: Self) -> Self {
        Self {
            policy_bytes: self.policy_bytes.max(other.policy_bytes),
            state_words: self.state_words.max(other.state_words),
        }
    }
}
