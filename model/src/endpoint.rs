//! The endpoint of a cluster: the priority's set, then the set's balancer.

use crate::{
    Machine,
    layout::{header, low, set, work},
    round_robin,
};

/// The number of the chosen endpoint plus one, or 0 where there is none. Its active count goes up.
#[inline(always)]
pub fn choose<M: Machine>(machine: &mut M, cluster: u64) -> u64 {
    let record = machine.priority(cluster);
    if record == 0 {
        return 0;
    }
    let kind = low(machine.policy64(record));
    let position = if kind == set::SAMPLE {
        machine.sample(record)
    } else if kind == set::HEAP {
        machine.heap(record)
    } else {
        round_robin::next(machine, record)
    };
    take(machine, record, position)
}

/// The number plus one of the endpoint at a position of a set. Its active count goes up.
#[inline(always)]
pub fn take<M: Machine>(machine: &mut M, record: u64, position: u64) -> u64 {
    let endpoints = low(machine.policy64(record.wrapping_add(set::ENDPOINTS)));
    let endpoint = low(machine.policy64(endpoints.wrapping_add(position << 3)));
    hold(machine, endpoint)
}

/// The number plus one of an endpoint that takes the request. Its active count goes up.
#[inline(always)]
pub fn hold<M: Machine>(machine: &mut M, endpoint: u64) -> u64 {
    machine.tick(low(machine.policy64(header::ACTIVE)).wrapping_add(endpoint));
    machine.set_word(work::ENDPOINT, endpoint.wrapping_add(1));
    endpoint.wrapping_add(1)
}
