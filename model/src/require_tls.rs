//! `VirtualHost.require_tls`: a request that is not https is redirected to it, all of them or those
//! whose client is outside. In userspace.

use crate::{
    Machine, Span, bytes, client_address, decide,
    layout::{filter_chain, framing, high, outcome, pair, virtual_host, work},
};

/// Whether the request goes on to the virtual host's routes; where it does not, the outcome is left.
/// `chain` is the record of its filter chain, or 0.
pub fn passes<M: Machine>(machine: &mut M, chain: u64, host: u64) -> bool {
    let flags = high(machine.policy64(host.wrapping_add(virtual_host::INDEX)));
    machine.set_word(work::LOOKED, 0);
    let asked = virtual_host::TLS_FOR_ALL | virtual_host::TLS_FOR_EXTERNAL;
    if flags & asked != 0 && !is_https(machine) {
        let inside = if flags & virtual_host::TLS_FOR_ALL != 0 {
            Ok(false)
        } else {
            client_address::is_inside(machine, chain)
        };
        match inside {
            Ok(true) => {}
            Ok(false) => {
                if !decide::answers_before(machine, 0) {
                    decide::end(machine, outcome::REDIRECT, 0);
                }
                return false;
            }
            Err(reason) => {
                decide::end(machine, outcome::UNSUPPORTED, reason);
                return false;
            }
        }
    }
    let routes = machine.policy64(host.wrapping_add(virtual_host::ROUTES));
    let first = crate::layout::low(routes);
    machine.set_word(work::LOOKED, pair(first, first.wrapping_add(high(routes))));
    true
}

/// Whether x-forwarded-proto says https, or the connection where it says nothing.
fn is_https<M: Machine>(machine: &M) -> bool {
    let given = machine.word(work::FRAMING) & framing::FORWARDED_PROTO != 0
        && machine.word(work::FLAGS) & filter_chain::OWN_FORWARDED_PROTO == 0;
    let scheme = if given {
        Span(machine.word(work::FORWARDED_PROTO))
    } else {
        decide::connection_scheme(machine)
    };
    let text = bytes::keep(machine.input64(scheme.offset()), scheme.length());
    scheme.length() == 5 && text == u64::from_le_bytes(*b"https\0\0\0")
}
