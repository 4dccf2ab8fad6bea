//! The ends of a request's connection, and the client that the connection manager takes it to come
//! from: the connection's source, or an address of `x-forwarded-for` (`use_remote_address`,
//! `xff_num_trusted_hops`).

use core::net::{IpAddr, Ipv6Addr};

use crate::{
    Machine, Span,
    layout::{
        connection, filter_chain, high, http_filters, input, internal_addresses, low, unsupported,
        work,
    },
    slot,
};

/// Bytes of an address as text, at most.
const TEXT: usize = 45;

/// The address that the connection goes to; the error is the reason's number.
///
/// # Errors
/// It is not known.
pub fn destination<M: Machine>(machine: &M) -> Result<IpAddr, u64> {
    let bits = machine.word(work::CONNECTION);
    let known = bits & (connection::DESTINATION_V4 | connection::DESTINATION_V6) != 0;
    let is_v4 = bits & connection::DESTINATION_V4 != 0;
    let address = given(machine, input::DESTINATION_ADDRESS, is_v4);
    match address {
        Some(address) if known && !address.is_unspecified() => Ok(address),
        _ => Err(unsupported::DESTINATION),
    }
}

/// The address that the connection comes from; the error is the reason's number.
///
/// # Errors
/// It is not known.
pub fn source<M: Machine>(machine: &M) -> Result<IpAddr, u64> {
    let is_v4 = machine.word(work::CONNECTION) & connection::SOURCE_V4 != 0;
    match given(machine, input::SOURCE_ADDRESS, is_v4) {
        Some(address) if !address.is_unspecified() => Ok(address),
        _ => Err(unsupported::CLIENT_ADDRESS),
    }
}

/// The port that the connection comes from; the error is the reason's number.
///
/// # Errors
/// It is not known.
pub fn source_port<M: Machine>(machine: &M) -> Result<u64, u64> {
    source(machine)?;
    let port = machine.input64(input::SOURCE_PORT) as u16;
    Ok(u64::from(port.swap_bytes()))
}

/// The client's address, by the options of the connection manager whose filters stand at `chain`.
///
/// # Errors
/// It is not known.
pub fn client<M: Machine>(machine: &M, chain: u64) -> Result<IpAddr, u64> {
    match forwarded(machine, chain) {
        Some(address) => Ok(address),
        None => source(machine),
    }
}

/// The client's port, as [`client`]: 0 where x-forwarded-for says its address.
///
/// # Errors
/// It is not known.
pub fn client_port<M: Machine>(machine: &M, chain: u64) -> Result<u64, u64> {
    match forwarded(machine, chain) {
        Some(_) => Ok(0),
        None => source_port(machine),
    }
}

/// The client's address as x-forwarded-for says it; `None` where it says none, or does not count.
fn forwarded<M: Machine>(machine: &M, chain: u64) -> Option<IpAddr> {
    let options = machine.policy64(chain.wrapping_add(http_filters::CLIENT));
    let own = high(options) & http_filters::REMOTE_ADDRESS != 0;
    // What is skipped at the end of the header; with its own address Envoy is the last hop.
    let skipped = match (own, low(options)) {
        (false, hops) => Some(hops),
        (true, hops) => hops.checked_sub(1),
    };
    let slot = machine.policy64(chain.wrapping_add(http_filters::FORWARDED_FOR));
    let first = slot::first(machine, slot);
    match (skipped, first.checked_sub(1)) {
        (Some(skipped), Some(occurrence)) => {
            said(machine, slot::span(machine, occurrence), skipped)
        }
        _ => None,
    }
}

/// Whether the client of a request through the filter chain at `chain` is inside, as
/// `internal_address_config` has it: its own address, or one that x-forwarded-for says alone.
///
/// # Errors
/// The connection's source is not known; the number of the reason.
pub fn is_inside<M: Machine>(machine: &M, chain: u64) -> Result<bool, u64> {
    let options = match chain {
        0 => 0,
        _ => high(machine.policy64(chain.wrapping_add(filter_chain::FILTERS))),
    };
    if options == 0 {
        return Ok(false);
    }
    let count = machine.policy64(options.wrapping_add(internal_addresses::COUNT));
    let slot = machine.policy64(options.wrapping_add(internal_addresses::FORWARDED_FOR));
    let said = slot::first(machine, slot).checked_sub(1);
    let address = match (high(count) != 0, said) {
        (true, Some(_)) | (false, None) => None,
        (true, None) => Some(source(machine)?),
        (false, Some(occurrence)) => {
            let span = slot::span(machine, occurrence);
            parse(machine, span.offset(), span.end())
        }
    };
    let Some(address) = address else {
        return Ok(false);
    };
    Ok((0..low(count)).any(|index| {
        let range = options
            .wrapping_add(internal_addresses::RANGES)
            .wrapping_add(index.wrapping_mul(internal_addresses::RANGE));
        let bits = machine.policy64(range);
        let place = range.wrapping_add(8);
        within(machine, address, place, high(bits) != 0, low(bits))
    }))
}

/// Whether an address is in the range of so many bits at `range`; a family takes none of the other.
pub fn within<M: Machine>(machine: &M, address: IpAddr, range: u64, v6: bool, bits: u64) -> bool {
    let word = |at: u64| machine.policy64(range.wrapping_add(at));
    let base = u128::from(word(0)) << 64 | u128::from(word(8));
    let (address, width) = match address {
        IpAddr::V4(address) if !v6 => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) if v6 => (address.to_bits(), 128),
        _ => return false,
    };
    let rest = u64::min(bits, width).abs_diff(width) as u32;
    // All bits are beyond the prefix where that is empty.
    (address ^ base).checked_shr(rest).unwrap_or(0) == 0
}

/// Sixteen bytes of input as an address; IPv4 stands there in IPv6.
fn given<M: Machine>(machine: &M, offset: u64, is_v4: bool) -> Option<IpAddr> {
    let word = |at: u64| machine.input64(offset.wrapping_add(at)).swap_bytes();
    let address = Ipv6Addr::from_bits(u128::from(word(0)) << 64 | u128::from(word(8)));
    if is_v4 {
        address.to_ipv4_mapped().map(IpAddr::V4)
    } else {
        Some(IpAddr::V6(address))
    }
}

/// The last address of a list but for those that are skipped; `None` where it is none.
fn said<M: Machine>(machine: &M, list: Span, skipped: u64) -> Option<IpAddr> {
    let comma_before = |end: u64| {
        let mut at = end;
        while at > list.offset() {
            at = at.wrapping_sub(1);
            if machine.input8(at) == u64::from(b',') {
                return Some(at);
            }
        }
        None
    };
    let mut end = list.end();
    for _ in 0..skipped {
        end = comma_before(end)?;
    }
    let from = match comma_before(end) {
        // A list that ends in a comma is no address to Envoy.
        Some(comma) if comma.wrapping_add(1) == end => return None,
        Some(comma) => comma.wrapping_add(1),
        None => list.offset(),
    };
    parse(machine, from, end)
}

fn parse<M: Machine>(machine: &M, mut from: u64, mut end: u64) -> Option<IpAddr> {
    let blank = |at: u64| matches!(machine.input8(at) as u8, b' ' | b'\t'..=b'\r');
    while from < end && blank(from) {
        from = from.wrapping_add(1);
    }
    while from < end && blank(end.wrapping_sub(1)) {
        end = end.wrapping_sub(1);
    }
    let length = usize::try_from(end.wrapping_sub(from)).ok()?;
    let mut text = [0; TEXT];
    let text = text.get_mut(..length)?;
    for (place, at) in text.iter_mut().zip(from..) {
        *place = machine.input8(at) as u8;
    }
    core::str::from_utf8(text).ok()?.parse().ok()
}
