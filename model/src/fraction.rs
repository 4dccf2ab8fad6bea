//! `RouteMatch.runtime_fraction`: the request's random number modulo the denominator is below the
//! numerator. It is the same number that weighted clusters take.

use crate::{
    Machine,
    layout::{high, low, more, route, work},
    random,
};

/// Whether the fraction of a route lets the request pass.
#[inline(always)]
pub fn passes<M: Machine>(machine: &M, record: u64) -> bool {
    let more = high(machine.policy64(record.wrapping_add(route::FORWARDING)));
    if more == 0 {
        return true;
    }
    let fraction = machine.policy64(more.wrapping_add(more::FRACTION));
    random::draw(machine.word(work::RANDOM), 0)
        .checked_rem(high(fraction))
        .is_none_or(|value| value < low(fraction))
}
