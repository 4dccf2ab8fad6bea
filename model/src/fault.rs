//! `envoy.extensions.filters.http.fault.v3`: delays and aborts of a share of the requests.
//!
//! A delay and an abort have a draw each. With `max_active_faults`, how many faults are under way
//! counts: a request's ends with the request.

use crate::{
    Machine, Span,
    http_filter::{self, Filter, Verdict},
    layout::{
        RECORD, fault, filter_step, high, http_filters, low, outcome, pair, unsupported, work,
    },
    slot,
};

/// The filter's draws.
mod draw {
    /// Whether the request is delayed.
    pub const DELAY: u64 = 0;
    /// Whether it is aborted.
    pub const ABORT: u64 = 1;
}

/// Microseconds of a millisecond.
const MILLISECOND: u64 = 1000;
/// The status of an abort that has a gRPC status.
const OK: u64 = 200;

/// What the filter does with the request; a delay is noted.
pub fn verdict<M: Machine>(machine: &mut M, filter: Filter) -> Verdict {
    match is_meant(machine, filter) {
        Ok(true) => {}
        Ok(false) => return Verdict::Ignore,
        Err(reason) => return Verdict::Undecided(reason),
    }
    let mut active = false;
    let delay = delay(machine, filter);
    if delay != 0 {
        match begin(machine, filter) {
            Ok(begun) => active = begun,
            Err(reason) => return Verdict::Undecided(reason),
        }
        if active {
            http_filter::step(machine, filter.index, filter_step::DELAYED, delay);
            let sum = machine.word(work::DELAY);
            let sum = sum.saturating_add(delay.saturating_mul(MILLISECOND));
            machine.set_word(work::DELAY, sum);
        }
    }
    let Some(status) = status(machine, filter) else {
        return Verdict::Ignore;
    };
    // One that is aborted without a delay has ended at once.
    if active || is_below_limit(machine, filter) {
        Verdict::Answer(status)
    } else {
        Verdict::Ignore
    }
}

fn word<M: Machine>(machine: &M, filter: Filter, field: u64) -> u64 {
    machine.policy64(filter.config.wrapping_add(field))
}

/// Whether the request is one of those that the configuration is for.
fn is_meant<M: Machine>(machine: &mut M, filter: Filter) -> Result<bool, u64> {
    if !is_to_cluster(machine, filter) {
        return Ok(false);
    }
    let nodes = word(machine, filter, fault::NODES);
    if high(nodes) != 0 {
        let options = machine.policy64(filter.chain.wrapping_add(http_filters::CLIENT));
        if high(options) & http_filters::REMOTE_ADDRESS != 0 {
            return Err(unsupported::INTERNAL_HEADER);
        }
        if !(0..high(nodes)).any(|at| matches(machine, nodes, at)) {
            return Ok(false);
        }
    }
    let headers = word(machine, filter, fault::HEADERS);
    Ok((0..high(headers)).all(|at| matches(machine, headers, at)))
}

fn matches<M: Machine>(machine: &mut M, matchers: u64, at: u64) -> bool {
    machine.matcher(low(matchers).wrapping_add(at.wrapping_mul(RECORD))) != 0
}

/// `upstream_cluster`: the cluster that the route chose has this name.
fn is_to_cluster<M: Machine>(machine: &mut M, filter: Filter) -> bool {
    let wanted = word(machine, filter, fault::CLUSTER);
    let length = word(machine, filter, fault::NAME);
    low(wanted) == 0 || http_filter::chose(machine, filter.cluster, wanted, length)
}

/// The delay in milliseconds, or 0.
fn delay<M: Machine>(machine: &mut M, filter: Filter) -> u64 {
    let flags = low(word(machine, filter, fault::FLAGS));
    if flags & fault::DELAYS == 0 {
        return 0;
    }
    let by_header = flags & fault::DELAY_BY_HEADER != 0;
    let slots = word(machine, filter, fault::DELAY_SLOTS);
    if !takes(
        machine,
        filter,
        fault::DELAYED,
        by_header,
        high(slots),
        draw::DELAY,
    ) {
        return 0;
    }
    if by_header {
        number(machine, low(slots)).unwrap_or(0)
    } else {
        word(machine, filter, fault::DELAY)
    }
}

/// The status of an abort, where there is one.
fn status<M: Machine>(machine: &mut M, filter: Filter) -> Option<u64> {
    let flags = low(word(machine, filter, fault::FLAGS));
    if flags & fault::ABORTS == 0 {
        return None;
    }
    let by_header = flags & fault::ABORT_BY_HEADER != 0;
    let slots = word(machine, filter, fault::ABORT_SLOTS);
    if !takes(
        machine,
        filter,
        fault::ABORTED,
        by_header,
        high(slots),
        draw::ABORT,
    ) {
        return None;
    }
    if !by_header {
        return Some(word(machine, filter, fault::STATUS));
    }
    if let Some(status) = number(machine, low(slots)).filter(|it| (200..600).contains(it)) {
        return Some(status);
    }
    let slot = low(word(machine, filter, fault::GRPC_SLOT));
    number(machine, slot).map(|_| OK)
}

/// Whether a share takes the request; a header may ask for less of it.
fn takes<M: Machine>(
    machine: &mut M,
    filter: Filter,
    field: u64,
    by_header: bool,
    slot: u64,
    draw: u64,
) -> bool {
    let mut share = word(machine, filter, field);
    if by_header && let Some(asked) = number(machine, slot).filter(|it| *it <= u64::from(u32::MAX))
    {
        share = pair(asked.min(low(share)), high(share));
    }
    http_filter::takes(machine, share, filter.index, draw)
}

/// The number that the first value of a header says.
fn number<M: Machine>(machine: &mut M, slot: u64) -> Option<u64> {
    let occurrence = slot::first(machine, slot).checked_sub(1)?;
    let value: Span = slot::span(machine, occurrence);
    (machine.integer(value) == 1).then(|| machine.word(work::NUMBER))
}

/// How many faults of the filter are active: its state has the time at which each ends.
fn active<M: Machine>(machine: &M, filter: Filter) -> u64 {
    let now = machine.word(work::NOW);
    let mut count: u64 = 0;
    for word in 0..filter.states {
        if machine.state(filter.state.wrapping_add(word)) > now {
            count = count.wrapping_add(1);
        }
    }
    count
}

fn is_below_limit<M: Machine>(machine: &M, filter: Filter) -> bool {
    let limit = high(word(machine, filter, fault::FLAGS));
    limit == fault::UNLIMITED || active(machine, filter) < limit
}

/// Begins a fault, which is active until the request has ended. Whether the limit lets it; the
/// error is the reason's number.
fn begin<M: Machine>(machine: &mut M, filter: Filter) -> Result<bool, u64> {
    if !is_below_limit(machine, filter) {
        return Ok(false);
    }
    // Without any limit nobody counts them.
    if filter.states == 0 {
        return Ok(true);
    }
    let now = machine.word(work::NOW);
    for word in 0..filter.states {
        let place = filter.state.wrapping_add(word);
        if machine.state(place) <= now {
            let count = machine.word(work::FAULTS).min(http_filter::FILTERS);
            machine.set_word(work::FAULTS, count.wrapping_add(1));
            machine.set_word(work::FAULTS + 1 + count, place);
            return Ok(true);
        }
    }
    Err(unsupported::ACTIVE_FAULTS)
}

/// Notes when the faults that the request began end: with the request.
pub fn end<M: Machine>(machine: &mut M) {
    let forwards = matches!(
        machine.word(work::OUTCOME),
        outcome::FORWARD | outcome::FORWARD_TO_DESTINATION
    );
    let held = if forwards {
        machine.word(work::DURATION)
    } else {
        0
    };
    let end = machine
        .word(work::NOW)
        .saturating_add(machine.word(work::DELAY))
        .saturating_add(held);
    for index in 0..machine.word(work::FAULTS) {
        let place = machine.word(work::FAULTS + 1 + index);
        machine.set_state(place, end);
    }
}
