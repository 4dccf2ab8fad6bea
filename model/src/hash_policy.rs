//! `RouteAction.hash_policy`: the number by which requests that belong together find the same
//! endpoint. Each policy gives a hash or nothing; they are put together in order.

use core::cmp::Ordering;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use xxhash_rust::xxh64::Xxh64;

use crate::{
    Machine, Span, address_text, cookie,
    layout::{
        RECORD, connection, filter_chain, hash_policy, high, input, low, more, unsupported, work,
    },
    slot,
};

/// What the policies make of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hash {
    /// Nothing to go by.
    Nothing,
    /// The hash.
    Number(u64),
    /// A policy is not decided, by the reason's number.
    Undecided(u64),
}

/// By the policies of the route that is being carried out.
pub fn of_route<M: Machine>(machine: &M) -> Hash {
    let more = machine.word(work::MORE);
    if more == 0 {
        return Hash::Nothing;
    }
    let policies = machine.policy64(more.wrapping_add(more::HASH_POLICIES));
    let mut sum = Hash::Nothing;
    for index in 0..high(policies) {
        let policy = low(policies).wrapping_add(index * RECORD);
        let flags = high(machine.policy64(policy));
        sum = match (sum, one(machine, policy, flags)) {
            (_, undecided @ Hash::Undecided(_)) => return undecided,
            (sum, Hash::Nothing) => sum,
            // Turned, so that a hash that comes twice does not cancel itself out.
            (Hash::Number(sum), Hash::Number(hash)) => Hash::Number(sum.rotate_left(1) ^ hash),
            (_, first) => first,
        };
        if flags & hash_policy::TERMINAL != 0 && sum != Hash::Nothing {
            break;
        }
    }
    sum
}

/// By one policy.
fn one<M: Machine>(machine: &M, policy: u64, flags: u64) -> Hash {
    let kind = low(machine.policy64(policy));
    let slot = low(machine.policy64(policy.wrapping_add(hash_policy::SLOT)));
    match kind {
        hash_policy::HEADER => of_header(machine, slot),
        hash_policy::REWRITTEN => {
            let rule = machine.policy64(policy.wrapping_add(hash_policy::NAME));
            of_rewritten(machine, slot, rule)
        }
        hash_policy::QUERY_PARAMETER => match slot::first(machine, slot) {
            0 => Hash::Nothing,
            first => {
                let value = slot::span(machine, first.wrapping_sub(1));
                Hash::Number(of_span(machine, value, 0))
            }
        },
        hash_policy::COOKIE => {
            let name = machine.policy64(policy.wrapping_add(hash_policy::NAME));
            match cookie::value(machine, slot, name) {
                Some(value) if value.length() != 0 => Hash::Number(of_span(machine, value, 0)),
                _ if flags & hash_policy::GENERATED != 0 => {
                    Hash::Undecided(unsupported::HASH_OF_COOKIE)
                }
                _ => Hash::Nothing,
            }
        }
        hash_policy::SOURCE_IP => of_source(machine, slot),
        _ => Hash::Undecided(unsupported::HASH),
    }
}

fn of_span<M: Machine>(machine: &M, span: Span, seed: u64) -> u64 {
    let mut hasher = Xxh64::new(seed);
    let mut offset = span.offset();
    while offset.wrapping_add(8) <= span.end() {
        hasher.update(&machine.input64(offset).to_le_bytes());
        offset = offset.wrapping_add(8);
    }
    while offset < span.end() {
        hasher.update(&[machine.input8(offset) as u8]);
        offset = offset.wrapping_add(1);
    }
    hasher.digest()
}

/// The order of two values by their bytes; of equal ones, by their numbers.
fn order<M: Machine>(machine: &M, one: u64, other: u64) -> Ordering {
    let (first, second) = (slot::span(machine, one), slot::span(machine, other));
    let shorter = first.length().min(second.length());
    let mut index: u64 = 0;
    // Most of two long values that are alike is passed over eight bytes at a time.
    while index.wrapping_add(8) <= shorter
        && machine.input64(first.offset().wrapping_add(index))
            == machine.input64(second.offset().wrapping_add(index))
    {
        index = index.wrapping_add(8);
    }
    while index < shorter {
        let byte = machine.input8(first.offset().wrapping_add(index));
        let other = machine.input8(second.offset().wrapping_add(index));
        if byte != other {
            return byte.cmp(&other);
        }
        index = index.wrapping_add(1);
    }
    (first.length(), one).cmp(&(second.length(), other))
}

/// The same of a header whose values are rewritten before: neither the order nor the hash is that of
/// the bytes which came.
fn of_rewritten<M: Machine>(machine: &M, slot: u64, rule: u64) -> Hash {
    let first = slot::first(machine, slot);
    if first == 0 {
        return Hash::Nothing;
    }
    let occurrences = core::iter::successors(Some(first), |occurrence| {
        let next = slot::next(machine, occurrence.wrapping_sub(1));
        (next != 0).then_some(next)
    });
    let values = occurrences.map(|occurrence| slot::span(machine, occurrence.wrapping_sub(1)));
    // However values are chained, no more than there is room for.
    let mut values = values.take(work::OCCURRENCES_MAX as usize);
    match machine.rewritten_hash(rule, &mut values) {
        Some(hash) => Hash::Number(hash),
        None => Hash::Undecided(unsupported::HASH),
    }
}

/// All values of a header in the order of their bytes; the hash of each is the next one's seed.
fn of_header<M: Machine>(machine: &M, slot: u64) -> Hash {
    let mut numbers = [0; work::OCCURRENCES_MAX as usize];
    let mut count = 0;
    let mut occurrence = slot::first(machine, slot);
    while occurrence != 0 {
        let number = occurrence.wrapping_sub(1);
        let Some(place) = numbers.get_mut(count) else {
            break;
        };
        *place = number;
        count += 1;
        occurrence = slot::next(machine, number);
    }
    let values = numbers.get_mut(..count).unwrap_or_default();
    if values.is_empty() {
        return Hash::Nothing;
    }
    values.sort_unstable_by(|one, other| order(machine, *one, *other));
    let hash = values.iter().fold(0, |hash, number| {
        of_span(machine, slot::span(machine, *number), hash)
    });
    Hash::Number(hash)
}

/// The client's address as text. `slot` is that of x-forwarded-for, which says the address where
/// the connection manager trusts it.
fn of_source<M: Machine>(machine: &M, slot: u64) -> Hash {
    let undecided = Hash::Undecided(unsupported::HASH_OF_SOURCE);
    let own = machine.word(work::FLAGS) & filter_chain::OWN_FORWARDED_PROTO != 0;
    // A TCP proxy has no route, and no headers.
    let routed = machine.word(work::CHOSEN_ROUTE) != 0;
    if routed && !own && slot::first(machine, slot) != 0 {
        return undecided;
    }
    let word = |at: u64| machine.input64(input::SOURCE_ADDRESS.wrapping_add(at));
    let bytes = u128::from(word(0)) | u128::from(word(8)) << 64;
    let address = Ipv6Addr::from(bytes.to_le_bytes());
    let is_v4 = machine.word(work::CONNECTION) & connection::SOURCE_V4 != 0;
    let address = match address.to_ipv4_mapped() {
        Some(Ipv4Addr::UNSPECIFIED) => return undecided,
        Some(address) if is_v4 => IpAddr::V4(address),
        _ => IpAddr::V6(address),
    };
    let text = address_text::of_address(address);
    Hash::Number(xxhash_rust::xxh64::xxh64(text.bytes(), 0))
}
