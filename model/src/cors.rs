//! `envoy.extensions.filters.http.cors.v3`: preflight requests are answered.

use crate::{
    Machine, Span, bytes,
    http_filter::{self, Filter, Verdict},
    layout::{RECORD, cors, high, low, work},
    slot,
};

/// What the filter does with the request.
pub fn verdict<M: Machine>(machine: &mut M, filter: Filter) -> Verdict {
    let word = |machine: &M, field: u64| machine.policy64(filter.config.wrapping_add(field));
    let enabled = word(machine, cors::ENABLED);
    // Routes that do not forward have no policy.
    if filter.cluster == 0 || !http_filter::takes(machine, enabled, filter.index, 0) {
        return Verdict::Ignore;
    }
    let slots = word(machine, cors::SLOTS);
    if is_empty(machine, low(slots)) {
        return Verdict::Ignore;
    }
    let method = Span(machine.word(work::METHOD));
    let text = bytes::keep(machine.input64(method.offset()), method.length());
    let is_options = method.length() == 7 && text == u64::from_le_bytes(*b"OPTIONS\0");
    if !is_options || is_empty(machine, high(slots)) {
        return Verdict::Pass;
    }
    let flags = word(machine, cors::FLAGS);
    let origins = word(machine, cors::ORIGINS);
    let is_listed = flags & cors::ALL != 0
        || (0..high(origins)).any(|index| {
            let matcher = low(origins).wrapping_add(index.wrapping_mul(RECORD));
            machine.matcher(matcher) != 0
        });
    if !is_listed && flags & cors::FORWARDS_OTHERS != 0 {
        return Verdict::Pass;
    }
    Verdict::Answer(200)
}

/// Whether a header is missing or empty.
fn is_empty<M: Machine>(machine: &M, slot: u64) -> bool {
    let first = slot::first(machine, slot).checked_sub(1);
    first.is_none_or(|occurrence| slot::span(machine, occurrence).length() == 0)
}
