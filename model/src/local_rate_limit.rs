//! `envoy.extensions.filters.http.local_ratelimit.v3`: requests that find no token are answered.

use crate::{
    Machine, client_address,
    http_filter::{self, Filter, Verdict},
    layout::{high, local_rate_limit, low, rate_limits, token_bucket as bucket, work},
    rbac, token_bucket,
};

/// The filter's draws.
mod draw {
    /// `filter_enabled`.
    pub const ENABLED: u64 = 0;
    /// `filter_enforced`.
    pub const ENFORCED: u64 = 1;
}

/// What the filter does with the request.
pub fn verdict<M: Machine>(machine: &mut M, filter: Filter) -> Verdict {
    let word = |machine: &M, field: u64| machine.policy64(filter.config.wrapping_add(field));
    let enabled = word(machine, local_rate_limit::ENABLED);
    if !http_filter::takes(machine, enabled, filter.index, draw::ENABLED) {
        return Verdict::Ignore;
    }
    match takes_tokens(machine, filter) {
        Ok(true) => return Verdict::Pass,
        Ok(false) => {}
        Err(reason) => return Verdict::Undecided(reason),
    }
    let enforced = word(machine, local_rate_limit::ENFORCED);
    if http_filter::takes(machine, enforced, filter.index, draw::ENFORCED) {
        Verdict::Answer(word(machine, local_rate_limit::STATUS))
    } else {
        Verdict::Pass
    }
}

/// Whether the request finds a token in each bucket that it has to: those of its descriptors, the one
/// that fills slowest first, and the filter's. The error is a reason's number.
fn takes_tokens<M: Machine>(machine: &mut M, filter: Filter) -> Result<bool, u64> {
    let word = |machine: &M, field: u64| machine.policy64(filter.config.wrapping_add(field));
    let descriptors = word(machine, local_rate_limit::DESCRIPTORS);
    let mut found = [(0, 0); rate_limits::MOST];
    let mut count = 0;
    let limits = if low(descriptors) == 0 {
        0
    } else {
        limits(machine, filter)
    };
    if limits != 0 {
        let head = machine.policy64(limits);
        if high(head) != 0 {
            client_address::client(machine, filter.chain)?;
        }
        // The rate limit whose descriptor was found last, plus one.
        let mut done = 0;
        for index in 0..low(head) {
            let at = limits
                .wrapping_add(rate_limits::FIRST)
                .wrapping_add(index.wrapping_mul(rate_limits::BYTES));
            let entry = machine.policy64(at);
            let limit = entry & 0xffff;
            let condition = machine.policy64(at.wrapping_add(8));
            if limit < done || !rbac::follow(machine, filter, condition)? {
                continue;
            }
            done = limit.wrapping_add(1);
            if let Some(place) = found.get_mut(count) {
                *place = (entry >> 16 & 0xffff, high(entry));
                count += 1;
            }
        }
    }
    let found = found.get_mut(..count).unwrap_or_default();
    // Few, and those alike stay in order.
    for end in 1..found.len() {
        let mut at = end;
        while at > 0 && found[at - 1].0 > found[at].0 {
            found.swap(at - 1, at);
            at -= 1;
        }
    }
    for (_, index) in found.iter() {
        let place = low(descriptors).wrapping_add(index.wrapping_mul(bucket::BYTES));
        if !token_bucket::take(machine, place) {
            return Ok(false);
        }
    }
    let own = word(machine, local_rate_limit::BUCKET);
    let asks_own = own != 0 && (found.is_empty() || high(descriptors) != 0);
    Ok(!asks_own || token_bucket::take(machine, own))
}

/// The offset of the rate limits that count for the request, or 0.
fn limits<M: Machine>(machine: &M, filter: Filter) -> u64 {
    let word = |field: u64| machine.policy64(filter.config.wrapping_add(field));
    let own = word(local_rate_limit::OWN);
    if own != 0 {
        return own;
    }
    let routes = word(local_rate_limit::ROUTES);
    let Some(route) = machine.word(work::CHOSEN_ROUTE).checked_sub(1) else {
        return 0;
    };
    let (mut from, mut to) = (0, high(routes));
    while from < to {
        let middle = (from + to) >> 1;
        let at = low(routes).wrapping_add(middle << 4);
        match machine.policy64(at).cmp(&route) {
            core::cmp::Ordering::Equal => return machine.policy64(at.wrapping_add(8)),
            core::cmp::Ordering::Less => from = middle + 1,
            core::cmp::Ordering::Greater => to = middle,
        }
    }
    0
}
