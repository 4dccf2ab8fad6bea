//! The HTTP filters of a connection manager, which run in order between the choice of the route
//! and what it does. Each goes by the most specific configuration that the route's levels have for
//! it (`typed_per_filter_config`), else by its own; where a level switches it off, it does not run.

use crate::{
    Machine, cors, decide, fault, health_check,
    layout::{
        RECORD, cluster, filter_step, header, high, http_filter, http_filters, low, outcome, pair,
        per_filter, work,
    },
    local_rate_limit, random, rbac, slot,
};

/// Filters of one connection manager.
pub const FILTERS: u64 = 32;

/// What a filter does with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// The filter leaves it alone, and that is not worth a step.
    Ignore,
    /// It is answered with this status.
    Answer(u64),
    /// It is not decided, by the reason's number.
    Undecided(u64),
}

/// A filter at work on a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    /// Offset of the chain's filters.
    pub chain: u64,
    /// Index in the connection manager's list.
    pub index: u64,
    /// Offset of the configuration that counts.
    pub config: u64,
    /// First word of its state.
    pub state: u64,
    /// How many words of state it has.
    pub states: u64,
    /// Record of the cluster that the route chose, or 0.
    pub cluster: u64,
}

/// Before anything is decided.
pub fn begin<M: Machine>(machine: &mut M) {
    machine.set_word(work::FILTERS, 0);
    machine.set_word(work::DELAY, 0);
    machine.set_word(work::FILTER_STEPS, 0);
    machine.set_word(work::FAULTS, 0);
}

/// Runs the filters of the chain; `cluster` is the record of the cluster that the route chose, or
/// 0. Whether the request goes on; where it does not, the outcome is left.
pub fn run<M: Machine>(machine: &mut M, cluster: u64) -> bool {
    let chain = machine.word(work::FILTERS);
    // They run once, and not for what has no connection manager.
    machine.set_word(work::FILTERS, 0);
    if chain == 0 {
        return true;
    }
    let count = machine.policy64(chain);
    if !add_server_name(machine, chain) {
        let reason = crate::layout::unsupported::TOO_MANY_VALUES;
        decide::end(machine, outcome::UNSUPPORTED, reason);
        return false;
    }
    for number in 0..low(count).min(FILTERS) {
        let record = chain
            .wrapping_add(http_filters::FILTERS)
            .wrapping_add(number.wrapping_mul(RECORD));
        let kind = machine.policy64(record);
        let Some(config) = config(machine, record, low(kind)) else {
            continue;
        };
        let state = machine.policy64(record.wrapping_add(http_filter::STATE));
        let filter = Filter {
            chain,
            index: high(kind),
            config: low(config),
            state: low(state),
            states: high(state),
            cluster,
        };
        let verdict = match low(kind) {
            _ if high(config) & http_filter::UNDECIDED != 0 => Verdict::Undecided(low(config)),
            _ if low(config) == 0 => Verdict::Ignore,
            http_filter::RBAC => rbac::verdict(machine, filter),
            http_filter::FAULT => fault::verdict(machine, filter),
            http_filter::LOCAL_RATE_LIMIT => local_rate_limit::verdict(machine, filter),
            http_filter::CORS => cors::verdict(machine, filter),
            http_filter::HEALTH_CHECK => health_check::verdict(machine, filter),
            _ => Verdict::Ignore,
        };
        match verdict {
            Verdict::Ignore => {}
            Verdict::Pass => step(machine, filter.index, filter_step::PASSED, 0),
            Verdict::Answer(status) => {
                step(machine, filter.index, filter_step::ANSWERED, status);
                let reason = pair(status, filter.index);
                decide::end(machine, outcome::FILTER_REPLY, reason);
                return false;
            }
            Verdict::Undecided(reason) => {
                decide::end(machine, outcome::UNSUPPORTED, reason);
                return false;
            }
        }
    }
    true
}

/// Notes what a filter did.
pub fn step<M: Machine>(machine: &mut M, index: u64, what: u64, value: u64) {
    let count = machine.word(work::FILTER_STEPS);
    if count < work::FILTER_STEPS_MAX {
        machine.set_word(work::FILTER_STEPS, count.wrapping_add(1));
        let word = (index & 0xffff) | what << 16 | value << 32;
        machine.set_word(work::FILTER_STEPS + 1 + count, word);
    }
}

/// Whether a fraction (low: numerator, high: denominator) takes the request, by the filter's draw
/// of this number.
pub fn takes<M: Machine>(machine: &M, fraction: u64, index: u64, draw: u64) -> bool {
    let number = random::FILTER
        .wrapping_add(index.wrapping_mul(4))
        .wrapping_add(draw);
    random::draw(machine.word(work::RANDOM), number)
        .checked_rem(high(fraction))
        .is_some_and(|value| value < low(fraction))
}

/// Whether the cluster that the route chose, by its record, is this one: low the offset of its record,
/// high of its name, which is so long.
pub fn chose<M: Machine>(machine: &mut M, chosen: u64, wanted: u64, length: u64) -> bool {
    let by_header = chosen != 0
        && machine.policy64(chosen.wrapping_add(cluster::INDEX))
            == pair(cluster::NAMED, cluster::BY_HEADER);
    if !by_header {
        // A cluster has a record for each set of criteria that its subsets are asked with.
        let index = |record: u64| low(machine.policy64(record.wrapping_add(cluster::INDEX)));
        return chosen != 0 && index(chosen) == index(low(wanted));
    }
    let slot = high(machine.policy64(chosen.wrapping_add(cluster::FORWARDING)));
    let Some(occurrence) = slot::first(machine, slot).checked_sub(1) else {
        return false;
    };
    let name = slot::span(machine, occurrence);
    name.length() == length && machine.equal(high(wanted), name) != 0
}

/// Slot of the server name, where a filter of the chain looks at it.
fn server_name<M: Machine>(machine: &M, chain: u64) -> Option<u64> {
    high(machine.policy64(chain)).checked_sub(1)
}

/// Empties the slot of the server name.
pub fn forget_server_name<M: Machine>(machine: &mut M, chain: u64) {
    if let Some(slot) = server_name(machine, chain) {
        slot::clear(machine, slot);
    }
}

/// Gives the slot of the server name, where a filter looks at it, the one that the connection asked for,
/// which is empty where nobody has read it. Whether there is room.
pub fn add_server_name<M: Machine>(machine: &mut M, chain: u64) -> bool {
    use crate::layout::{connection, input};
    let Some(slot) = server_name(machine, chain) else {
        return true;
    };
    let flags = high(machine.policy64(chain.wrapping_add(http_filters::CLIENT)));
    let read = flags & http_filters::INSPECTS_TLS != 0
        && machine.word(work::CONNECTION) & connection::TLS != 0;
    let length = if read {
        machine.word(work::SERVER_NAME_LENGTH)
    } else {
        0
    };
    slot::add(machine, slot, crate::Span::new(input::SERVER_NAME, length)) == 0
}

/// The configuration by which a filter goes, as in [`http_filter::CONFIG`]; `None` where it does not
/// run.
fn config<M: Machine>(machine: &M, record: u64, kind: u64) -> Option<u64> {
    let own = machine.policy64(record.wrapping_add(http_filter::CONFIG));
    let name = low(machine.policy64(record.wrapping_add(http_filter::NAME)));
    let (mut disabled, mut found) = (None, None);
    let route = machine.word(work::CHOSEN_ROUTE);
    let entry = machine.word(work::ENTRY);
    let host = machine.word(work::CHOSEN_VIRTUAL_HOST);
    // From the most specific level up; without a route there is none.
    for level in [
        per_filter::ENTRY,
        per_filter::ROUTE,
        per_filter::VIRTUAL_HOST,
        per_filter::ROUTE_CONFIGURATION,
    ] {
        if route == 0 {
            break;
        }
        let (place, entry) = match level {
            per_filter::ENTRY if entry != 0 => (route.wrapping_sub(1), entry.wrapping_sub(1)),
            per_filter::ENTRY => continue,
            per_filter::ROUTE => (route.wrapping_sub(1), 0),
            per_filter::VIRTUAL_HOST => (host, 0),
            _ => (machine.word(work::CHOSEN_ROUTE_CONFIGURATION), 0),
        };
        let Some(said) = look_up(machine, pair(place, level), pair(name, entry)) else {
            continue;
        };
        let word = machine.policy64(said.wrapping_add(per_filter::CONFIG));
        disabled = disabled.or(Some(high(word) & http_filter::DISABLED != 0));
        if machine.policy64(said.wrapping_add(per_filter::KIND)) == kind {
            found = found.or(Some(word));
        }
    }
    let disabled = disabled.unwrap_or(high(own) & http_filter::DISABLED != 0);
    (!disabled).then(|| found.unwrap_or(own))
}

/// The record of what a level says to a filter.
fn look_up<M: Machine>(machine: &M, place: u64, filter: u64) -> Option<u64> {
    let table = machine.policy64(header::PER_FILTERS);
    let (mut from, mut to) = (0, high(table));
    while from < to {
        let middle = (from + to) >> 1;
        let record = low(table).wrapping_add(middle.wrapping_mul(RECORD));
        let key = (
            machine.policy64(record),
            machine.policy64(record.wrapping_add(per_filter::FILTER)),
        );
        match key.cmp(&(place, filter)) {
            core::cmp::Ordering::Equal => return Some(record),
            core::cmp::Ordering::Less => from = middle + 1,
            core::cmp::Ordering::Greater => to = middle,
        }
    }
    None
}
