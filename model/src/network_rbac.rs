//! `envoy.extensions.filters.network.rbac.v3`: rules over the connection, of the filter chain that takes
//! it. They close it at its first data; a TCP proxy has looked for an endpoint before, unless it waits
//! for that.

use crate::{
    Machine, decide,
    http_filter::{self, Filter},
    layout::{
        RECORD, filter_chain, filter_step, high, http_filters, low, network_rbac, outcome, pair,
        unsupported, work,
    },
    rbac,
};

/// Whether the filters of the chain at this offset stop the connection at its first data; the outcome is
/// then left.
pub fn stops<M: Machine>(machine: &mut M, chain: u64) -> bool {
    let list = list(machine, chain);
    let filters = machine.policy64(list.wrapping_add(http_filters::NETWORK));
    if list == 0 || high(filters) == 0 {
        return false;
    }
    // The head, which is read behind it, begins its occurrences anew; filters of requests may have run.
    machine.set_word(work::OCCURRENCES_USED, 0);
    http_filter::forget_server_name(machine, list);
    let kept = http_filter::add_server_name(machine, list);
    let stopped = !kept || (0..high(filters)).any(|number| stops_at(machine, list, number));
    http_filter::forget_server_name(machine, list);
    if !kept {
        decide::end(machine, outcome::UNSUPPORTED, unsupported::TOO_MANY_VALUES);
    }
    stopped
}

/// Whether the chain's TCP proxy looks for an endpoint only once there is data.
pub fn comes_first<M: Machine>(machine: &M, chain: u64) -> bool {
    let list = list(machine, chain);
    let flags = high(machine.policy64(list.wrapping_add(http_filters::CLIENT)));
    list != 0 && flags & http_filters::WAITS_FOR_DATA != 0
}

/// Offset of the filters of a chain, or 0 where it has none.
fn list<M: Machine>(machine: &M, chain: u64) -> u64 {
    let reason = low(machine.policy64(chain.wrapping_add(filter_chain::REASON)));
    match reason == unsupported::FILTERS {
        true => low(machine.policy64(chain.wrapping_add(filter_chain::FILTERS))),
        false => 0,
    }
}

fn stops_at<M: Machine>(machine: &mut M, list: u64, number: u64) -> bool {
    let first = low(machine.policy64(list.wrapping_add(http_filters::NETWORK)));
    let record = first.wrapping_add(number.wrapping_mul(RECORD));
    let index = machine.policy64(record.wrapping_add(network_rbac::INDEX));
    let rules = machine.policy64(record.wrapping_add(network_rbac::RULES));
    let filter = Filter {
        chain: list,
        index,
        config: 0,
        state: 0,
        states: 0,
        cluster: 0,
    };
    let (passes, policy) = match rbac::judge(machine, filter, low(rules), high(rules)) {
        Ok(judged) => judged,
        Err(reason) => {
            decide::end(machine, outcome::UNSUPPORTED, reason);
            return true;
        }
    };
    let did = match passes {
        true => filter_step::NETWORK_PASSED,
        false => filter_step::NETWORK_CLOSED,
    };
    http_filter::step(machine, index, did, policy);
    if !passes {
        decide::end(machine, outcome::CLOSED, pair(policy, index));
    }
    !passes
}
