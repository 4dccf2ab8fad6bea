//! CONNECT requests, in userspace: they are laid out with their target as Host and with the path `/`,
//! which nobody sees, and only routes with a `connect_matcher` take them.

use crate::{
    Machine,
    layout::{
        RECORD, bad_request, connection, framing, header, high, low, matcher, of, route,
        virtual_host, work,
    },
    route::{NONE, first_failed},
};

/// Whether the request is one.
#[inline(always)]
pub fn asks<M: Machine>(machine: &M) -> bool {
    M::USERSPACE && machine.word(work::CONNECTION) & connection::CONNECT != 0
}

/// Whether the route of this record takes such requests.
pub fn takes<M: Machine>(machine: &M, record: u64) -> bool {
    let path = low(machine.policy64(record.wrapping_add(route::PATH)));
    path != 0
        && machine.policy64(path) == matcher::CONNECT
        && high(machine.policy64(path.wrapping_add(matcher::INDEX))) == of::PATH
}

/// The number of the route of a virtual host that takes the request, or [`NONE`].
pub fn route<M: Machine>(machine: &mut M, host: u64) -> u64 {
    let routes = machine.policy64(host.wrapping_add(virtual_host::ROUTES));
    let first = low(routes);
    let records = low(machine.policy64(header::ROUTES));
    (first..first.wrapping_add(high(routes)))
        .find(|number| {
            let record = records.wrapping_add(number.wrapping_mul(RECORD));
            takes(machine, record) && first_failed(machine, *number) == 0
        })
        .unwrap_or(NONE)
}

/// What is said of a body, which such a request has not: 0, or a code of [`bad_request`].
pub fn body_fault<M: Machine>(machine: &M) -> u64 {
    let bits = machine.word(work::FRAMING);
    if bits & framing::CONTENT_LENGTH != 0 && machine.word(work::CONTENT_LENGTH) != 0 {
        bad_request::CONTENT_LENGTH
    } else if bits & framing::TRANSFER_ENCODING != 0 {
        bad_request::TRANSFER_ENCODING
    } else {
        0
    }
}
