//! The matcher tree of a virtual host (`VirtualHost.matcher`): which of its routes are looked at. In
//! userspace.

use crate::{
    Machine,
    layout::{branch, high, low, pair, virtual_host, work},
    route::{self, NONE, TOO_MANY},
    slot,
};

/// The number of the route that takes the request, or [`NONE`]; [`TOO_MANY`] where that is not
/// decided.
pub fn route<M: Machine>(machine: &mut M, host: u64) -> u64 {
    let root = high(machine.policy64(host.wrapping_add(virtual_host::REASON)));
    let Some(looked) = looked_at(machine, root) else {
        return TOO_MANY;
    };
    machine.set_word(work::LOOKED, looked);
    (low(looked)..high(looked))
        .find(|number| route::first_failed(machine, *number) == 0)
        .unwrap_or(NONE)
}

/// The routes that the tree leads to, from low to high; `None` where a header has several lines, which
/// Envoy joins.
fn looked_at<M: Machine>(machine: &mut M, root: u64) -> Option<u64> {
    let mut at = root;
    // They lead to what was written before them only, so this ends.
    while at != 0 {
        let kind = machine.policy64(at);
        let value = machine.policy64(at.wrapping_add(branch::VALUE));
        let next = machine.policy64(at.wrapping_add(branch::NEXT));
        if low(kind) == branch::ROUTES {
            return Some(value);
        }
        let first = slot::first(machine, high(kind));
        if first != 0 && slot::next(machine, first.wrapping_sub(1)) != 0 {
            return None;
        }
        at = if low(kind) == branch::MATCHER {
            let accepts = machine.matcher(value) != 0;
            if accepts { low(next) } else { high(next) }
        } else {
            let found = match first.checked_sub(1) {
                Some(occurrence) => {
                    let span = slot::span(machine, occurrence);
                    machine.walk(value, span, 0)
                }
                None => 0,
            };
            let found = if low(kind) == branch::EXACT {
                low(found)
            } else {
                high(found)
            };
            if found != 0 { found } else { high(next) }
        };
    }
    Some(pair(0, 0))
}
