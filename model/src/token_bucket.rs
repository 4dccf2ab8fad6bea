//! `TokenBucket`: it fills all the time, not in steps (measured), up to `max_tokens`, and starts
//! full.
//!
//! A token is counted as the nanoseconds of `fill_interval`, so that nothing is rounded: a
//! microsecond adds a thousand times `tokens_per_fill`. The state has what is missing, low and high
//! half, and when it was so; all zero is a full bucket.

use crate::{
    Machine,
    layout::{low, token_bucket, work},
};

/// Nanoseconds of a microsecond.
const MICROSECOND: u128 = 1000;

/// Takes a token, where there is a whole one.
pub fn take<M: Machine>(machine: &mut M, bucket: u64) -> bool {
    let word = |field: u64| machine.policy64(bucket.wrapping_add(field));
    let token = u128::from(word(token_bucket::FILL_INTERVAL));
    let most = u128::from(word(token_bucket::MAX_TOKENS)).saturating_mul(token);
    let per_fill = u128::from(word(token_bucket::TOKENS_PER_FILL));
    let state = low(word(token_bucket::STATE));
    let now = machine.word(work::NOW);
    let [low_half, high_half, then] = [0, 1, 2].map(|at| machine.state(state.wrapping_add(at)));
    let before = u128::from(low_half) | u128::from(high_half) << 64;
    let added = u128::from(now.saturating_sub(then))
        .saturating_mul(MICROSECOND)
        .saturating_mul(per_fill);
    let missing = before.saturating_sub(added);
    let takes = missing.saturating_add(token) <= most;
    let missing = if takes {
        missing.saturating_add(token)
    } else {
        missing
    };
    machine.set_state(state, missing as u64);
    machine.set_state(state.wrapping_add(1), (missing >> 64) as u64);
    machine.set_state(state.wrapping_add(2), now.max(then));
    takes
}
