//! The ends of a request's connection, and the client that the connection manager takes it to come
//! from: the connection's source, or an address of `x-forwarded-for` (`use_remote_address`,
//! `xff_num_trusted_hops`).

use core::net::{IpAddr, Ipv6Addr};

use crate::{
    Machine, Span,
    layout::{connection, high, http_filters, input, low, unsupported, work},
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

/// The client's address, by the options of the connection manager whose filters stand at `chain`.
///
/// # Errors
/// It is not known.
pub fn client<M: Machine>(machine: &M, chain: u64) -> Result<IpAddr, u64> {
    let options = machine.policy64(chain.wrapping_add(http_filters::CLIENT));
    let own = high(options) & http_filters::REMOTE_ADDRESS != 0;
    // What is skipped at the end of the header; with its own address Envoy is the last hop.
    let skipped = match (own, low(options)) {
        (false, hops) => Some(hops),
        (true, hops) => hops.checked_sub(1),
    };
    let slot = machine.policy64(chain.wrapping_add(http_filters::FORWARDED_FOR));
    let first = slot::first(machine, slot);
    let said = match (skipped, first.checked_sub(1)) {
        (Some(skipped), Some(occurrence)) => {
            said(machine, slot::span(machine, occurrence), skipped)
        }
        _ => None,
    };
    match said {
        Some(address) => Ok(address),
        None => source(machine),
    }
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
