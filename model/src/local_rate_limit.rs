//! `envoy.extensions.filters.http.local_ratelimit.v3`: requests that find no token are answered.

use crate::{
    Machine,
    http_filter::{self, Filter, Verdict},
    layout::local_rate_limit,
    token_bucket,
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
    let bucket = word(machine, local_rate_limit::BUCKET);
    if token_bucket::take(machine, bucket) {
        return Verdict::Pass;
    }
    let enforced = word(machine, local_rate_limit::ENFORCED);
    if http_filter::takes(machine, enforced, filter.index, draw::ENFORCED) {
        Verdict::Answer(word(machine, local_rate_limit::STATUS))
    } else {
        Verdict::Pass
    }
}
