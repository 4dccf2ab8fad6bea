//! `OverrideHost`: endpoints that headers of the request name come before all others.

use crate::{
    Machine, Span, endpoint,
    layout::{high, low, override_host, work},
    slot,
};

/// The number plus one of the first endpoint of the cluster that the first values of its headers name,
/// addresses with commas between them; 0 where they name none. Its active count goes up.
pub fn choose<M: Machine>(machine: &mut M, block: u64) -> u64 {
    let sources = machine.policy64(block.wrapping_add(override_host::SOURCES));
    for index in 0..high(sources) {
        let slot = low(machine.policy64(low(sources).wrapping_add(index << 3)));
        let first = slot::first(machine, slot);
        if first == 0 {
            continue;
        }
        let value = slot::span(machine, first.wrapping_sub(1));
        let found = first_of(machine, block, value);
        if found != 0 {
            // No number chooses a priority.
            machine.set_word(work::PRIORITY_VALUE, 0);
            machine.set_word(work::LEVEL, index.wrapping_add(1));
            return endpoint::hold(machine, found.wrapping_sub(1));
        }
    }
    0
}

/// The number plus one of the first endpoint that a value names, or 0.
fn first_of<M: Machine>(machine: &mut M, block: u64, value: Span) -> u64 {
    let names = low(machine.policy64(block.wrapping_add(override_host::NAMES)));
    let mut from = value.offset();
    while from < value.end() {
        let mut to = from;
        while to < value.end() && machine.input8(to) != b',' as u64 {
            to = to.wrapping_add(1);
        }
        let name = trimmed(machine, from, to);
        if name.length() != 0 {
            let found = low(machine.walk(names, name, 0));
            if found != 0 {
                return found;
            }
        }
        from = to.wrapping_add(1);
    }
    0
}

fn trimmed<M: Machine>(machine: &M, mut from: u64, mut to: u64) -> Span {
    let is_space = |at: u64| matches!(machine.input8(at) as u8, b'\t'..=b'\r' | b' ');
    while from < to && is_space(from) {
        from = from.wrapping_add(1);
    }
    while from < to && is_space(to.wrapping_sub(1)) {
        to = to.wrapping_sub(1);
    }
    Span::new(from, to.wrapping_sub(from))
}
