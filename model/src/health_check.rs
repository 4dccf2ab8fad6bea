//! `envoy.extensions.filters.http.health_check.v3`: health checks of Envoy itself are answered.

use crate::{
    Machine,
    http_filter::{Filter, Verdict},
    layout::{RECORD, health_check, high, low},
};

/// What the filter does with the request.
pub fn verdict<M: Machine>(machine: &mut M, filter: Filter) -> Verdict {
    let headers = machine.policy64(filter.config.wrapping_add(health_check::HEADERS));
    let is_one = (0..high(headers)).all(|index| {
        let matcher = low(headers).wrapping_add(index.wrapping_mul(RECORD));
        machine.matcher(matcher) != 0
    });
    if is_one {
        Verdict::Answer(machine.policy64(filter.config.wrapping_add(health_check::STATUS)))
    } else {
        Verdict::Ignore
    }
}
