//! Matcher trees (`xds.type.matcher.v3.Matcher`): of a virtual host (`VirtualHost.matcher`), where they
//! say which of its routes are looked at, of RBAC filters, and of listeners. In userspace.

use crate::{
    Machine,
    http_filter::Filter,
    layout::{branch, high, low, unsupported, virtual_host, work},
    rbac,
    route::{self, NONE, TOO_MANY},
    slot,
};

/// The number of the route that takes the request, or [`NONE`]; [`TOO_MANY`] where that is not
/// decided.
pub fn route<M: Machine>(machine: &mut M, host: u64) -> u64 {
    let root = high(machine.policy64(host.wrapping_add(virtual_host::REASON)));
    // Route tables look at headers alone.
    let Ok(looked) = leads(machine, Filter::default(), root) else {
        return TOO_MANY;
    };
    machine.set_word(work::LOOKED, looked);
    (low(looked)..high(looked))
        .find(|number| route::first_failed(machine, *number) == 0)
        .unwrap_or(NONE)
}

/// What the tree leads to, as in [`branch::VALUE`], or 0 where it leads nowhere. `filter` is the one that
/// asks about the connection.
///
/// # Errors
/// The number of the reason why that is not decided: a header has several lines, which Envoy joins, or a
/// condition is not.
pub fn leads<M: Machine>(machine: &mut M, filter: Filter, root: u64) -> Result<u64, u64> {
    let mut at = root;
    // They lead to what was written before them only, so this ends.
    while at != 0 {
        let kind = machine.policy64(at);
        let value = machine.policy64(at.wrapping_add(branch::VALUE));
        let next = machine.policy64(at.wrapping_add(branch::NEXT));
        if low(kind) == branch::LEAF {
            return Ok(value);
        }
        if low(kind) == branch::CONDITION {
            let holds = rbac::holds(machine, filter, value)?;
            at = if holds { low(next) } else { high(next) };
            continue;
        }
        let first = slot::first(machine, high(kind));
        if first != 0 && slot::next(machine, first.wrapping_sub(1)) != 0 {
            return Err(unsupported::TOO_MANY_VALUES);
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
    Ok(0)
}
