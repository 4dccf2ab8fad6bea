//! How much the BPF maps hold; chosen when a policy is loaded.

use twinmesh_compile::capacity::check;
use twinmesh_compile::{CapacityError, Compiled};

/// Bytes of the longest request head that the BPF engines decide; a longer one is `unsupported`.
pub const MOST_HEAD_BYTES: u64 = crate::shape::HEAD_BYTES;

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
        Self::holding(
            compiled.policy.len() as u64 * 8,
            compiled.state.len() as u64,
        )
    }

    fn holding(policy_bytes: u64, state_words: u64) -> Result<Self, CapacityError> {
        check(
            "bytes of compiled policy for the BPF engines",
            policy_bytes,
            Self::MOST.policy_bytes,
        )?;
        check(
            "words of balancer state for the BPF engines",
            state_words,
            Self::MOST.state_words,
        )?;
        Ok(Self {
            policy_bytes: policy_bytes
                .next_power_of_two()
                .max(Self::LEAST.policy_bytes),
            state_words: state_words.next_power_of_two().max(Self::LEAST.state_words),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_two_from_the_least_to_the_most() {
        assert_eq!(Capacity::holding(1, 0), Ok(Capacity::LEAST));
        assert_eq!(Capacity::holding(1 << 21, 1 << 16), Ok(Capacity::LEAST));
        let more = Capacity::holding((1 << 21) + 1, (1 << 16) + 1);
        assert_eq!(
            more,
            Ok(Capacity {
                policy_bytes: 1 << 22,
                state_words: 1 << 17
            })
        );
        assert_eq!(Capacity::holding(1 << 28, 1 << 25), Ok(Capacity::MOST));
    }

    #[test]
    fn what_is_over_the_most_is_named_with_its_limit() {
        let text =
            |policy, state| Capacity::holding(policy, state).map_err(|error| error.to_string());
        assert_eq!(
            text((1 << 28) + 8, 0),
            Err("the snapshot has 268435464 bytes of compiled policy for the BPF engines; the limit is 268435456".to_owned())
        );
        assert_eq!(
            text(8, (1 << 25) + 1),
            Err("the snapshot has 33554433 words of balancer state for the BPF engines; the limit is 33554432".to_owned())
        );
    }
}
