//! `envoy.extensions.filters.http.rbac.v3`: rules over the connection and the request, compiled to
//! conditions each of which says where to go on. Those of the network filter ([`crate::network_rbac`])
//! are alike.

use core::net::IpAddr;

use crate::{
    Machine, client_address,
    http_filter::{self, Filter, Verdict},
    layout::{condition, connection, high, input, low, rbac, unsupported, work},
    slot,
};

/// The status of a request that is refused.
const FORBIDDEN: u64 = 403;

/// What the rules make of the request.
pub fn verdict<M: Machine>(machine: &mut M, filter: Filter) -> Verdict {
    let passes = machine.policy64(filter.config.wrapping_add(rbac::PASSES));
    match matched(machine, filter) {
        Ok(matched) if u64::from(matched) == passes => Verdict::Pass,
        Ok(_) => Verdict::Answer(FORBIDDEN),
        Err(reason) => Verdict::Undecided(reason),
    }
}

/// Whether the rules match; the error is the number of a reason.
fn matched<M: Machine>(machine: &mut M, filter: Filter) -> Result<bool, u64> {
    let rules = machine.policy64(filter.config.wrapping_add(rbac::RULES));
    follow(machine, filter, rules)
}

/// Where the conditions from this one on lead to: whether they hold.
///
/// # Errors
/// The number of a reason why one is not decided.
pub fn follow<M: Machine>(machine: &mut M, filter: Filter, first: u64) -> Result<bool, u64> {
    follow_to(machine, filter, first).map(|end| end.is_some())
}

/// As [`follow`]; where they hold, the number of the policy that they are of.
///
/// # Errors
/// As [`follow`].
pub fn follow_to<M: Machine>(
    machine: &mut M,
    filter: Filter,
    first: u64,
) -> Result<Option<u64>, u64> {
    let mut at = first;
    // They lead forward only, so this ends.
    while at != condition::FALSE && at & condition::TRUE == 0 {
        let next = machine.policy64(at.wrapping_add(condition::NEXT));
        at = if holds(machine, filter, at)? {
            low(next)
        } else {
            high(next)
        };
    }
    Ok((at != condition::FALSE).then_some(at >> 1))
}

fn holds<M: Machine>(machine: &mut M, filter: Filter, at: u64) -> Result<bool, u64> {
    let kind = machine.policy64(at);
    let value = machine.policy64(at.wrapping_add(condition::VALUE));
    match kind & 0xff {
        condition::MATCHER => Ok(machine.matcher(value) != 0),
        condition::ADDRESS => {
            let address = address(machine, filter, kind >> 8 & 0xff)?;
            let v6 = kind >> 16 & 0xff != 0;
            Ok(client_address::within(
                machine,
                address,
                value,
                v6,
                high(kind),
            ))
        }
        condition::PORT => {
            let port = u64::from((machine.input64(input::DESTINATION_PORT) as u16).swap_bytes());
            let known = connection::DESTINATION_V4 | connection::DESTINATION_V6;
            if machine.word(work::CONNECTION) & known == 0 {
                return Err(unsupported::DESTINATION);
            }
            Ok(low(value) <= port && port < high(value))
        }
        condition::FIRST_VALUE => {
            let first = slot::first(machine, low(value));
            Ok(first != 0 && slot::number(machine, first.wrapping_sub(1)) == high(value))
        }
        condition::CLUSTER => {
            let wanted = machine.policy64(value);
            let length = machine.policy64(value.wrapping_add(8));
            Ok(http_filter::chose(machine, filter.cluster, wanted, length))
        }
        condition::UNDECIDED => Err(value),
        condition::PRESENT => Ok(slot::first(machine, value) != 0),
        _ if machine.word(work::CONNECTION) & connection::TLS != 0 => Err(unsupported::PEER),
        _ => Ok(false),
    }
}

fn address<M: Machine>(machine: &M, filter: Filter, which: u64) -> Result<IpAddr, u64> {
    match which {
        condition::DESTINATION => client_address::destination(machine),
        condition::SOURCE => client_address::source(machine),
        _ => client_address::client(machine, filter.chain),
    }
}
