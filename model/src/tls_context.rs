//! `RouteMatch.tls_context`: whether the client presented a certificate, and whether it was validated.

use crate::{
    Machine,
    layout::{high, low, matcher, work},
};

/// Whether the connection is as the matcher says. Low half of its value: the bits of
/// [`work::CONNECTION`] that count; high half: how they must be.
pub fn matches<M: Machine>(machine: &M, record: u64) -> bool {
    let value = machine.policy64(record.wrapping_add(matcher::VALUE));
    machine.word(work::CONNECTION) & low(value) == high(value)
}
