//! The request's target and authority.

use crate::{
    Machine, Span,
    layout::{
        bad_request, connection, filter_chain, framing, header, high, input, unsupported, work,
    },
    scan::{class, scan, scan_here},
};

/// The longest host that is looked at.
const HOST_BYTES: u64 = 512;
/// Stops of a scan at bytes that an authority may have beside letters and digits.
const STOPS: u64 = 32;

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

/// Where the host's last dot is, counted from its start; its length where there is none.
#[inline(always)]
pub fn last_dot<M: Machine>(machine: &mut M, host: Span) -> u64 {
    let mut index = 0;
    while index < HOST_BYTES {
        if index >= host.length() {
            break;
        }
        let at = host.length().wrapping_sub(index).wrapping_sub(1);
        if machine.input8(host.offset().wrapping_add(at)) == b'.' as u64 {
            return at;
        }
        index += 1;
    }
    host.length()
}

/// The number of the host's port; `u64::MAX` where it is none.
#[inline(always)]
pub fn port<M: Machine>(machine: &mut M, host: Span, without: Span) -> u64 {
    let from = without.end().wrapping_add(1);
    if machine.integer(Span::new(from, host.end().wrapping_sub(from))) != 1 {
        return u64::MAX;
    }
    machine.word(work::NUMBER)
}

/// The port of the connection's destination.
#[inline(always)]
pub fn destination_port<M: Machine>(machine: &M) -> u64 {
    let port = machine.input64(input::DESTINATION_PORT) & 0xffff;
    (port & 0xff) << 8 | port >> 8
}

/// Takes an absolute-form target apart: the authority becomes the host, the rest the path. 0, or 1
/// where it is of a form that is not decided.
#[inline(always)]
pub fn absolute<M: Machine>(machine: &mut M) -> u64 {
    let target = Span(machine.word(work::TARGET));
    let dfa = high(machine.policy64(header::METHODS));
    if machine.regex(dfa, target) == 0 {
        return 1;
    }
    let bits = machine.word(work::FRAMING);
    // `http://` or `https://`, as the DFA says.
    let https = machine.input8(target.offset().wrapping_add(4)) | 0x20 == b's' as u64;
    let from = target.offset().wrapping_add(if https { 8 } else { 7 });
    let slash = scan(
        machine,
        Span::new(from, target.end().wrapping_sub(from)),
        class::AUTHORITY,
    );
    machine.set_word(work::HOST, Span::new(from, slash.wrapping_sub(from)).0);
    machine.set_word(
        work::FRAMING,
        bits | framing::ABSOLUTE | if https { framing::HTTPS } else { 0 },
    );
    if slash >= target.end() {
        machine.set_word(work::TARGET, Span::new(input::SLASH, 1).0);
        machine.set_word(work::PATH, Span::new(input::SLASH, 1).0);
        return 0;
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

/// Whether a byte may stand in an authority beside letters, digits and `-.:_`: `!$%&'()*+,;=@[]~`.
#[inline(always)]
const fn in_authority(byte: u64) -> bool {
    let bits: u64 = match byte >> 6 {
        0 => 0x2800_1ff2_0000_0000,
        1 => 0x4000_0000_2800_0001,
        _ => 0,
    };
    bits >> (byte & 63) & 1 == 1
}

/// 1 where every byte of the host may stand in an authority; 2 where that is too long to say.
#[inline(always)]
pub fn host_is_valid<M: Machine>(machine: &mut M, host: Span) -> u64 {
    let mut at = scan_here(machine, host, class::HOST);
    if at >= host.end() {
        return 1;
    }
    let mut index = 0;
    while index < STOPS {
        at = scan(
            machine,
            Span::new(at, host.end().wrapping_sub(at)),
            class::HOST,
        );
        if at >= host.end() {
            return 1;
        }
        if !in_authority(machine.input8(at)) {
            return 0;
        }
        at = at.wrapping_add(1);
        index += 1;
    }
    2
}

/// What is left to check when the head's lines are read: the target's form, the host. 0, or what
/// [`crate::head::head`] gives.
#[inline(always)]
pub fn authority<M: Machine>(machine: &mut M) -> u64 {
    let target = Span(machine.word(work::TARGET));
    let start = machine.input8(target.offset());
    let asterisk = start == b'*' as u64;
    if asterisk {
        let method = Span(machine.word(work::METHOD));
        if method.length() != 7 || machine.input8(method.offset()) != b'O' as u64 {
            return bad_request::TARGET;
        }
    } else if start != b'/' as u64 && machine.absolute() != 0 {
        return unsupported::TARGET_FORM << 32;
    }
    let bits = machine.word(work::FRAMING);
    if bits & framing::HTTPS != 0
        && machine.word(work::FLAGS) & filter_chain::OWN_FORWARDED_PROTO != 0
        && machine.word(work::CONNECTION) & connection::TLS == 0
    {
        return bad_request::SCHEME;
    }
    if bits & framing::OTHER_VERSION != 0 {
        // Envoy looks at what Connection names first.
        return if bits & framing::REWRITTEN != 0 {
            unsupported::HEADER_REWRITTEN << 32
        } else {
            bad_request::VERSION
        };
    }
    let host = Span(machine.word(work::HOST));
    if host.length() > HOST_BYTES {
        return unsupported::TOO_MANY_VALUES << 32;
    }
    if bits & (framing::HOST | framing::ABSOLUTE) != 0 {
        let valid = machine.host_is_valid(host);
        if valid == 2 {
            return unsupported::TOO_MANY_VALUES << 32;
        }
        if valid == 0 && bits & framing::REWRITTEN == 0 {
            return bad_request::INVALID_HOST;
        }
    }
    // What Connection names is taken off before Host is looked at, which may be named, too. What
    // follows the connection manager refuses, with another status than the codec before it.
    if bits & framing::REWRITTEN != 0 {
        return unsupported::HEADER_REWRITTEN << 32;
    }
    if bits & (framing::HOST | framing::ABSOLUTE) == 0 {
        return bad_request::NO_HOST;
    }
    if asterisk {
        return bad_request::NOT_A_PATH;
    }
    if bits & framing::FRAGMENT != 0 {
        return bad_request::FRAGMENT;
    }
    0
}
