//! Which filter chain of a listener takes a connection (`FilterChainMatch`), in Envoy's order:
//! destination port, destination address, server name, transport protocol, application protocol,
//! direct source address, source type, source address, source port. At each level the most
//! specific that is there is taken, and there is no way back from it.

use crate::{
    Machine, Span,
    layout::{connection, filter_chain_node, high, input, listener, low, work},
    scan::{class, scan},
    trie::mode,
};

/// Application protocols of a client that are looked at.
const PROTOCOLS: u64 = 64;

/// One level: the node of the whole key, else of its longest prefix, else the default. The node's
/// low root.
#[inline(always)]
pub fn level<M: Machine>(machine: &mut M, node: u64, span: Span, mode: u64) -> u64 {
    let roots = machine.policy64(node.wrapping_add(filter_chain_node::CHILDREN));
    let root = if mode & HIGH_ROOT != 0 {
        high(roots)
    } else {
        low(roots)
    };
    if root != 0 && mode & NO_KEY == 0 {
        let found = machine.walk(root, span, mode & 7);
        if low(found) != 0 {
            return low(found);
        }
        if high(found) != 0 {
            return high(found);
        }
    }
    low(machine.policy64(node.wrapping_add(filter_chain_node::DEFAULT)))
}

/// For [`level`]: look in the node's high root.
pub const HIGH_ROOT: u64 = 8;
/// For [`level`]: the connection does not have the key.
pub const NO_KEY: u64 = 16;

/// The level of the application protocols: the first of the client's that is there. `flags` are
/// the listener's, of what was inspected.
#[inline(always)]
pub fn application_protocol<M: Machine>(machine: &mut M, node: u64, flags: u64) -> u64 {
    let root = low(machine.policy64(node));
    if flags & (listener::INSPECTS_TLS | listener::INSPECTS_HTTP) == listener::INSPECTS_HTTP {
        let found = if root == 0 {
            0
        } else {
            low(machine.walk(root, Span::new(input::HTTP_1_1, 8), 0))
        };
        return if found != 0 {
            found
        } else {
            low(machine.policy64(node.wrapping_add(filter_chain_node::DEFAULT)))
        };
    }
    if flags & listener::INSPECTS_TLS == 0 {
        return low(machine.policy64(node.wrapping_add(filter_chain_node::DEFAULT)));
    }
    let end =
        input::APPLICATION_PROTOCOLS.wrapping_add(machine.word(work::APPLICATION_PROTOCOLS_LENGTH));
    let mut offset = input::APPLICATION_PROTOCOLS;
    let mut index = 0;
    while index < PROTOCOLS {
        if offset >= end || root == 0 {
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
    low(machine.policy64(node.wrapping_add(filter_chain_node::DEFAULT)))
}

/// How an address is looked up at its level.
#[inline(always)]
fn address(v4: u64, v6: u64, offset: u64) -> (Span, u64) {
    if v4 != 0 {
        (Span::new(offset + 12, 4), 0)
    } else if v6 != 0 {
        (Span::new(offset, 16), HIGH_ROOT)
    } else {
        (Span::new(offset, 0), NO_KEY)
    }
}

/// The offset of the filter chain's record, or 0.
#[inline(always)]
pub fn choose<M: Machine>(machine: &mut M, record: u64) -> u64 {
    let chains = machine.policy64(record.wrapping_add(listener::CHAINS));
    let found = matched(
        machine,
        low(chains),
        high(machine.policy64(record.wrapping_add(listener::INDEX))),
    );
    if found != 0 { found } else { high(chains) }
}

/// Goes down the levels.
#[inline(always)]
fn matched<M: Machine>(machine: &mut M, root: u64, flags: u64) -> u64 {
    let bits = machine.word(work::CONNECTION);
    // What no listener filter reads is not known.
    let tls = bits & connection::TLS != 0 && flags & listener::INSPECTS_TLS != 0;
    let inspected = if tls {
        listener::INSPECTS_TLS
    } else if bits & connection::TLS == 0 {
        flags & listener::INSPECTS_HTTP
    } else {
        0
    };
    let (destination, destination_mode) = address(
        bits & connection::DESTINATION_V4,
        bits & connection::DESTINATION_V6,
        input::DESTINATION_ADDRESS,
    );
    let (source, source_mode) = address(
        bits & connection::SOURCE_V4,
        bits & connection::SOURCE_V6,
        input::SOURCE_ADDRESS,
    );
    if root == 0 {
        return 0;
    }
    let node = machine.filter_chain_level(
        root,
        Span::new(input::DESTINATION_PORT, 2),
        destination_mode & NO_KEY,
    );
    if node == 0 {
        return 0;
    }
    let node = machine.filter_chain_level(node, destination, destination_mode);
    if node == 0 {
        return 0;
    }
    let node = server_name(machine, node, tls);
    if node == 0 {
        return 0;
    }
    let children = machine.policy64(node);
    let child = if tls { low(children) } else { high(children) };
    let node = if child != 0 {
        child
    } else {
        low(machine.policy64(node.wrapping_add(filter_chain_node::DEFAULT)))
    };
    if node == 0 {
        return 0;
    }
    let node = machine.application_protocol(node, inspected);
    if node == 0 {
        return 0;
    }
    let node = machine.filter_chain_level(node, source, source_mode);
    if node == 0 {
        return 0;
    }
    let children = machine.policy64(node);
    let child = if bits & connection::LOCAL != 0 {
        low(children)
    } else {
        high(children)
    };
    let node = if child != 0 {
        child
    } else {
        low(machine.policy64(node.wrapping_add(filter_chain_node::DEFAULT)))
    };
    if node == 0 {
        return 0;
    }
    let node = machine.filter_chain_level(node, source, source_mode);
    if node == 0 {
        return 0;
    }
    machine.filter_chain_level(node, Span::new(input::SOURCE_PORT, 2), source_mode & NO_KEY)
}

/// The level of the server name: the name itself, then the longest `*.` that covers it.
#[inline(always)]
fn server_name<M: Machine>(machine: &mut M, node: u64, tls: bool) -> u64 {
    let name = Span::new(input::SERVER_NAME, machine.word(work::SERVER_NAME_LENGTH));
    let roots = machine.policy64(node.wrapping_add(filter_chain_node::CHILDREN));
    if tls && name.length() != 0 && low(roots) != 0 {
        let exact = low(machine.walk(low(roots), name, 0));
        if exact != 0 {
            return exact;
        }
    }
    if tls && name.length() != 0 && high(roots) != 0 {
        let suffix = high(machine.walk_back(high(roots), name, mode::STRICT));
        if suffix != 0 {
            return suffix;
        }
    }
    low(machine.policy64(node.wrapping_add(filter_chain_node::DEFAULT)))
}
