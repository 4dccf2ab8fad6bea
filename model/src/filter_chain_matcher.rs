//! `Listener.filter_chain_matcher`: a matcher tree that chooses the filter chain by name, in place of what
//! the filter chains ask for themselves. Where it leads nowhere the default filter chain takes the
//! connection; where it leads to a name that no filter chain has, none does. In userspace.

use crate::{
    Machine, client_address, decide,
    http_filter::{self, Filter},
    layout::{condition, connection, filter_step, high, input, listener, low, outcome, work},
    matcher_tree, regex,
};

/// The offset of the filter chain's record; 0 where none takes the connection, and the outcome is left.
pub fn choose<M: Machine>(machine: &mut M, record: u64) -> u64 {
    let root = machine.policy64(record.wrapping_add(listener::TREE));
    let filter = Filter {
        chain: record,
        ..Filter::default()
    };
    let chain = match matcher_tree::leads(machine, filter, root) {
        // The default filter chain.
        Ok(0) => high(machine.policy64(record.wrapping_add(listener::CHAINS))),
        Ok(action) => {
            let place = low(action).wrapping_sub(1);
            http_filter::step(machine, 0, filter_step::FILTER_CHAIN_NAMED, place);
            high(action)
        }
        Err(reason) => {
            decide::end(machine, outcome::UNSUPPORTED, reason);
            return 0;
        }
    };
    if chain == 0 {
        decide::end(machine, outcome::NO_FILTER_CHAIN, 0);
    }
    chain
}

/// Whether the DFA accepts what the connection has, as the listener of this record sees it: a text from
/// [`condition::SERVER_NAME`] on. What it does not have is no text.
///
/// # Errors
/// An end of the connection is not known; the number of the reason.
pub(crate) fn accepts<M: Machine>(
    machine: &M,
    record: u64,
    which: u64,
    dfa: u64,
) -> Result<bool, u64> {
    let flags = high(machine.policy64(record.wrapping_add(listener::INDEX)));
    let bits = machine.word(work::CONNECTION);
    let is_tls = bits & connection::TLS != 0;
    let reads_tls = is_tls && flags & listener::INSPECTS_TLS != 0;
    let reads_http =
        flags & listener::INSPECTS_HTTP != 0 && bits & connection::NO_REQUEST_LINE == 0;
    let given = |offset: u64, length: u64| {
        (0..length).map(move |index| machine.input8(offset.wrapping_add(index)) as u8)
    };
    Ok(match which {
        condition::SERVER_NAME => {
            let length = machine.word(work::SERVER_NAME_LENGTH);
            let name = given(input::SERVER_NAME, length);
            reads_tls && length != 0 && regex::accepts(machine, dfa, name)
        }
        condition::TRANSPORT_PROTOCOL => {
            let protocol: &[u8] = if reads_tls { b"tls" } else { b"raw_buffer" };
            regex::accepts(machine, dfa, protocol.iter().copied())
        }
        condition::APPLICATION_PROTOCOL => {
            let (offset, length) = match is_tls {
                true if reads_tls => (
                    input::APPLICATION_PROTOCOLS,
                    machine.word(work::APPLICATION_PROTOCOLS_LENGTH),
                ),
                false if reads_http => (input::HTTP_1_1, 8),
                _ => (0, 0),
            };
            let between = given(offset, length).flat_map(|byte| {
                let several: &[u8] = match byte {
                    b',' => b"','",
                    _ => &[],
                };
                let one = (byte != b',').then_some(byte);
                one.into_iter().chain(several.iter().copied())
            });
            let quoted = core::iter::once(b'\'').chain(between).chain([b'\'']);
            length != 0 && regex::accepts(machine, dfa, quoted)
        }
        _ => {
            client_address::source(machine)?;
            let is_local = bits & connection::LOCAL != 0;
            if !is_local {
                client_address::destination(machine)?;
            }
            is_local && regex::accepts(machine, dfa, b"local".iter().copied())
        }
    })
}
