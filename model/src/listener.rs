//! Which listener takes a connection: the one of its destination address and port, else the one
//! of any address and its port, else one with `use_original_dst`, which keeps what it cannot hand
//! on.

use crate::{
    Machine, Span,
    layout::{connection, header, high, input, listener, low, work},
};

/// The offset of the listener's record, or 0.
#[inline(always)]
pub fn choose<M: Machine>(machine: &mut M) -> u64 {
    let given = machine.word(work::LISTENER);
    if given != 0
        && high(machine.policy64(given.wrapping_add(listener::INDEX))) & listener::USE_ORIGINAL_DST
            == 0
    {
        return given;
    }
    let bits = machine.word(work::CONNECTION);
    if bits & connection::NOWHERE != 0 {
        return 0;
    }
    let exact = machine.policy64(header::LISTENERS);
    let ports = machine.policy64(header::LISTENERS_BY_PORT);
    let mut found = 0;
    if bits & (connection::DESTINATION_V4 | connection::DESTINATION_V6) != 0 {
        if low(exact) != 0 {
            found = low(machine.walk(low(exact), Span::new(input::DESTINATION_ADDRESS, 18), 0));
        }
        if found == 0 {
            let root = if bits & connection::DESTINATION_V4 != 0 {
                high(exact)
            } else {
                low(ports)
            };
            found = low(machine.walk(root, Span::new(input::DESTINATION_PORT, 2), 0));
        }
    }
    if found != 0 {
        found
    } else if given != 0 {
        given
    } else {
        high(ports)
    }
}
