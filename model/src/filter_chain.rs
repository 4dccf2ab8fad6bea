//! Which filter chain of a listener takes a connection (`FilterChainMatch`), in Envoy's order:
//! destination port, destination address, server name, transport protocol, application protocol,
//! direct source address, source type, source address, source port. At each level the most
//! specific that is there is taken, and there is no way back from it. A level at which no filter
//! chain asks for anything is not there. An end of the connection that is not known is undecided only at
//! a level that asks for it.

use crate::{
    Machine, Span, decide,
    layout::{
        connection, filter_chain_node, high, input, listener, low, outcome, pair, unsupported, work,
    },
    scan::{class, scan},
    trie::mode,
};

/// Application protocols of a client that are looked at.
const PROTOCOLS: u64 = 64;

/// The offset of the filter chain's record; 0 where none takes the connection, and the outcome is left.
#[inline(always)]
pub fn choose<M: Machine>(machine: &mut M, record: u64) -> u64 {
    let chains = machine.policy64(record.wrapping_add(listener::CHAINS));
    let flags = high(machine.policy64(record.wrapping_add(listener::INDEX)));
    let mut node = low(chains);
    let mut index = 0;
    while index < LEVELS {
        if node == 0 {
            break;
        }
        let level = high(machine.policy64(node.wrapping_add(filter_chain_node::LEVEL)));
        if level == filter_chain_node::CHAIN {
            return node;
        }
        node = machine.filter_chain_level(node, level, flags);
        if high(node) != 0 {
            decide::end(machine, outcome::UNSUPPORTED, high(node));
            return 0;
        }
        index += 1;
    }
    let default = high(chains);
    if default == 0 {
        decide::end(machine, outcome::NO_FILTER_CHAIN, 0);
    }
    default
}

/// Levels, and the filter chain's own record below them.
const LEVELS: u64 = filter_chain_node::SOURCE_PORT + 1;

/// One level: the node of the connection's key, else of its longest prefix, else the default; or
/// 0. High, where what it asks for is not known: the number of the reason. `flags` are the listener's.
#[inline(always)]
pub fn level<M: Machine>(machine: &mut M, node: u64, level: u64, flags: u64) -> u64 {
    let bits = machine.word(work::CONNECTION);
    let reason = not_known(machine, level, bits);
    if reason != 0 {
        return pair(0, reason);
    }
    // What no listener filter reads is not known.
    let tls = bits & connection::TLS != 0 && flags & listener::INSPECTS_TLS != 0;
    let found = match level {
        filter_chain_node::DESTINATION_PORT => {
            let known = connection::DESTINATION_V4 | connection::DESTINATION_V6;
            key(machine, node, input::DESTINATION_PORT, bits & known)
        }
        filter_chain_node::DESTINATION_ADDRESS => address(
            machine,
            node,
            input::DESTINATION_ADDRESS,
            bits & connection::DESTINATION_V4,
            bits & connection::DESTINATION_V6,
        ),
        filter_chain_node::SERVER_NAME => server_name(machine, node, tls),
        filter_chain_node::TRANSPORT_PROTOCOL => child(machine, node, tls),
        filter_chain_node::APPLICATION_PROTOCOL => {
            let inspected = if bits & connection::TLS != 0 {
                flags & listener::INSPECTS_TLS
            } else if bits & connection::NO_REQUEST_LINE != 0 {
                0
            } else {
                flags & listener::INSPECTS_HTTP
            };
            machine.application_protocol(node, inspected)
        }
        filter_chain_node::SOURCE_TYPE => child(machine, node, bits & connection::LOCAL != 0),
        filter_chain_node::SOURCE_PORT => {
            let known = connection::SOURCE_V4 | connection::SOURCE_V6;
            key(machine, node, input::SOURCE_PORT, bits & known)
        }
        _ => address(
            machine,
            node,
            input::SOURCE_ADDRESS,
            bits & connection::SOURCE_V4,
            bits & connection::SOURCE_V6,
        ),
    };
    if found != 0 {
        found
    } else {
        low(machine.policy64(node.wrapping_add(filter_chain_node::DEFAULT)))
    }
}

/// The reason why a level cannot be decided: it asks for an end of the connection that is not known. 0 where
/// it can.
#[inline(always)]
fn not_known<M: Machine>(machine: &M, level: u64, bits: u64) -> u64 {
    let has_destination = bits & (connection::DESTINATION_V4 | connection::DESTINATION_V6) != 0;
    let known = match level {
        filter_chain_node::DESTINATION_PORT => has_destination,
        filter_chain_node::DESTINATION_ADDRESS => {
            has_destination && is_specified(machine, input::DESTINATION_ADDRESS)
        }
        filter_chain_node::SERVER_NAME
        | filter_chain_node::TRANSPORT_PROTOCOL
        | filter_chain_node::APPLICATION_PROTOCOL => true,
        _ => {
            let has_source = bits & (connection::SOURCE_V4 | connection::SOURCE_V6) != 0;
            if !has_source || !is_specified(machine, input::SOURCE_ADDRESS) {
                return unsupported::CLIENT_ADDRESS;
            }
            // A source that is not local may yet be the destination.
            level != filter_chain_node::SOURCE_TYPE
                || bits & connection::LOCAL != 0
                || has_destination && is_specified(machine, input::DESTINATION_ADDRESS)
        }
    };
    if known { 0 } else { unsupported::DESTINATION }
}

/// Whether an address is another than 0.0.0.0 and `::`.
#[inline(always)]
fn is_specified<M: Machine>(machine: &M, offset: u64) -> bool {
    // 0.0.0.0 inside an IPv6 address, as it is laid out.
    const UNSPECIFIED_V4: u64 = u64::from_le_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]);
    let first = machine.input64(offset);
    let second = machine.input64(offset.wrapping_add(8));
    first != 0 || second != 0 && second != UNSPECIFIED_V4
}

/// A level of ports. `known` is 0 where the connection's is not.
#[inline(always)]
fn key<M: Machine>(machine: &mut M, node: u64, offset: u64, known: u64) -> u64 {
    if known == 0 {
        return 0;
    }
    let root = low(machine.policy64(node.wrapping_add(filter_chain_node::CHILDREN)));
    low(machine.walk(root, Span::new(offset, 2), 0))
}

/// A level of addresses: the longest range that covers the connection's.
#[inline(always)]
fn address<M: Machine>(machine: &mut M, node: u64, offset: u64, v4: u64, v6: u64) -> u64 {
    let roots = machine.policy64(node.wrapping_add(filter_chain_node::CHILDREN));
    let (root, span) = if v4 != 0 {
        (low(roots), Span::new(offset + 12, 4))
    } else if v6 != 0 {
        (high(roots), Span::new(offset, 16))
    } else {
        return 0;
    };
    if root == 0 {
        return 0;
    }
    high(machine.walk(root, span, 0))
}

/// A level of two kinds of connections.
#[inline(always)]
fn child<M: Machine>(machine: &M, node: u64, first: bool) -> u64 {
    let children = machine.policy64(node.wrapping_add(filter_chain_node::CHILDREN));
    if first { low(children) } else { high(children) }
}

/// The level of the server name: the name itself, then the longest `*.` that covers it.
#[inline(always)]
fn server_name<M: Machine>(machine: &mut M, node: u64, tls: bool) -> u64 {
    let name = Span::new(input::SERVER_NAME, machine.word(work::SERVER_NAME_LENGTH));
    if !tls || name.length() == 0 {
        return 0;
    }
    let roots = machine.policy64(node.wrapping_add(filter_chain_node::CHILDREN));
    if low(roots) != 0 {
        let exact = low(machine.walk(low(roots), name, 0));
        if exact != 0 {
            return exact;
        }
    }
    if high(roots) != 0 {
        return high(machine.walk_back(high(roots), name, mode::STRICT));
    }
    0
}

/// The level of the application protocols: the first of the client's that is there, or 0.
/// `inspected` is the one of the listener's flags that says who found out.
#[inline(always)]
pub fn application_protocol<M: Machine>(machine: &mut M, node: u64, inspected: u64) -> u64 {
    let root = low(machine.policy64(node));
    if inspected == listener::INSPECTS_HTTP {
        return low(machine.walk(root, Span::new(input::HTTP_1_1, 8), 0));
    }
    if inspected != listener::INSPECTS_TLS {
        return 0;
    }
    let end =
        input::APPLICATION_PROTOCOLS.wrapping_add(machine.word(work::APPLICATION_PROTOCOLS_LENGTH));
    let mut offset = input::APPLICATION_PROTOCOLS;
    let mut index = 0;
    while index < PROTOCOLS {
        if offset >= end {
            break;
        }
        let comma = scan(
            machine,
            Span::new(offset, end.wrapping_sub(offset)),
            class::COMMA,
        );
        let found = low(machine.walk(root, Span::new(offset, comma.wrapping_sub(offset)), 0));
        if found != 0 {
            return found;
        }
        offset = comma.wrapping_add(1);
        index += 1;
    }
    0
}
