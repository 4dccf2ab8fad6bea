//! `envoy.extensions.filters.http.rbac.v3`: rules over the connection and the request, compiled to
//! conditions each of which says where to go on. Those of the network filter ([`crate::network_rbac`])
//! are alike.

use core::net::IpAddr;

use crate::{
    Machine, address_text, client_address, filter_chain_matcher,
    http_filter::{self, Filter, Verdict},
    layout::{condition, connection, high, input, low, rbac, unsupported, work},
    matcher_tree, regex, slot,
};

/// The status of a request that is refused.
const FORBIDDEN: u64 = 403;

/// What the rules make of the request.
pub fn verdict<M: Machine>(machine: &mut M, filter: Filter) -> Verdict {
    let passes = machine.policy64(filter.config.wrapping_add(rbac::PASSES));
    let rules = machine.policy64(filter.config.wrapping_add(rbac::RULES));
    match judge(machine, filter, rules, passes) {
        Ok((true, _)) => Verdict::Pass,
        Ok((false, _)) => Verdict::Answer(FORBIDDEN),
        Err(reason) => Verdict::Undecided(reason),
    }
}

/// Whether rules or a tree let on what they are asked about, and the number of the policy or the action
/// that says so plus one, or 0. `rules` and `passes` are as in [`rbac::RULES`] and [`rbac::PASSES`].
///
/// # Errors
/// The number of a reason why that is not decided.
pub fn judge<M: Machine>(
    machine: &mut M,
    filter: Filter,
    rules: u64,
    passes: u64,
) -> Result<(bool, u64), u64> {
    if passes == rbac::TREE {
        let action = matcher_tree::leads(machine, filter, rules)?;
        return Ok((high(action) != 0, low(action)));
    }
    let matched = follow_to(machine, filter, rules)?;
    let policy = matched.map_or(0, |number| number.wrapping_add(1));
    Ok((u64::from(matched.is_some()) == passes, policy))
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
fn follow_to<M: Machine>(machine: &mut M, filter: Filter, first: u64) -> Result<Option<u64>, u64> {
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

/// Whether the condition at this offset holds.
///
/// # Errors
/// As [`follow`].
pub fn holds<M: Machine>(machine: &mut M, filter: Filter, at: u64) -> Result<bool, u64> {
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
            let port = destination_port(machine)?;
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
        condition::TEXT => text_matches(machine, filter, kind >> 8 & 0xff, value),
        condition::NOT_EMPTY => {
            let first = slot::first(machine, value).checked_sub(1);
            Ok(first.is_some_and(|first| slot::span(machine, first).length() != 0))
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

fn destination_port<M: Machine>(machine: &M) -> Result<u64, u64> {
    let known = connection::DESTINATION_V4 | connection::DESTINATION_V6;
    if machine.word(work::CONNECTION) & known == 0 {
        return Err(unsupported::DESTINATION);
    }
    Ok(u64::from(
        (machine.input64(input::DESTINATION_PORT) as u16).swap_bytes(),
    ))
}

/// Whether the DFA accepts the text of an address, a port or something else of the connection.
fn text_matches<M: Machine>(
    machine: &M,
    filter: Filter,
    which: u64,
    dfa: u64,
) -> Result<bool, u64> {
    let text = match which {
        condition::DESTINATION_PORT => address_text::of_port(destination_port(machine)?),
        condition::SOURCE_PORT => address_text::of_port(client_address::source_port(machine)?),
        condition::CLIENT_PORT => {
            address_text::of_port(client_address::client_port(machine, filter.chain)?)
        }
        condition::SERVER_NAME..=condition::SOURCE_TYPE => {
            return filter_chain_matcher::accepts(machine, filter.chain, which, dfa);
        }
        _ => address_text::of_address(address(machine, filter, which)?),
    };
    Ok(regex::accepts(machine, dfa, text.bytes().iter().copied()))
}
