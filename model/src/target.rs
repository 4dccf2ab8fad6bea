//! The request's target and authority.

use crate::{
    Machine, Span,
    layout::{framing, input, unsupported, work},
    scan::{class, scan},
};

/// Characters of a host that are looked at from its end.
const HOST_BYTES: u64 = 512;

/// The host without its port: what stands before the last colon, unless that colon is inside
/// brackets.
#[inline(always)]
pub fn without_port<M: Machine>(machine: &mut M, host: Span) -> Span {
    let mut index = 0;
    while index < HOST_BYTES {
        if index >= host.length() {
            break;
        }
        let length = host.length().wrapping_sub(index).wrapping_sub(1);
        let byte = machine.input8(host.offset().wrapping_add(length));
        if byte == b']' as u64 {
            break;
        }
        if byte == b':' as u64 {
            return Span::new(host.offset(), length);
        }
        index += 1;
    }
    host
}

/// Whether the host has the port of the connection's destination.
#[inline(always)]
pub fn port_matches<M: Machine>(machine: &mut M, host: Span, without: Span) -> bool {
    let from = without.end().wrapping_add(1);
    if machine.integer(Span::new(from, host.end().wrapping_sub(from))) != 1 {
        return false;
    }
    let port = machine.input64(input::DESTINATION_PORT) & 0xffff;
    machine.word(work::NUMBER) == (port & 0xff) << 8 | port >> 8
}

/// Takes an absolute-form target apart: the authority becomes the host, the rest the path. Gives
/// 0, or the reason why it is not decided.
#[inline(always)]
pub fn absolute<M: Machine>(machine: &mut M) -> u64 {
    let target = Span(machine.word(work::TARGET));
    let start = machine.input64(target.offset()) | 0x2020_2020;
    let scheme = if start & 0x00ff_ffff_ffff_ffff == u64::from_le_bytes(*b"http://\0") {
        7
    } else if start == u64::from_le_bytes(*b"https://") {
        8
    } else {
        return unsupported::TARGET_FORM;
    };
    if target.length() < scheme {
        return unsupported::TARGET_FORM;
    }
    let from = target.offset().wrapping_add(scheme);
    let slash = scan(
        machine,
        Span::new(from, target.end().wrapping_sub(from)),
        class::AUTHORITY,
    );
    machine.set_word(work::HOST, Span::new(from, slash.wrapping_sub(from)).0);
    let bits = machine.word(work::FRAMING);
    machine.set_word(work::FRAMING, bits | framing::ABSOLUTE);
    if slash >= target.end() {
        machine.set_word(work::TARGET, Span::new(input::SLASH, 1).0);
        machine.set_word(work::PATH, Span::new(input::SLASH, 1).0);
        return 0;
    }
    if machine.input8(slash) != b'/' as u64 {
        return unsupported::TARGET_FORM;
    }
    let path = Span(machine.word(work::PATH));
    machine.set_word(
        work::TARGET,
        Span::new(slash, target.end().wrapping_sub(slash)).0,
    );
    machine.set_word(
        work::PATH,
        Span::new(slash, path.end().wrapping_sub(slash)).0,
    );
    0
}
