//! Requests that ask for an upgrade, in userspace: they stop at their route, whose `upgrade_configs`
//! say whether they may.

use crate::{
    Machine,
    layout::{connection, high, more, pair, route, unsupported, work},
};

/// Whether the request stops at the route with this record: not where its action is not decided.
#[inline(always)]
pub fn stops<M: Machine>(machine: &M, record: u64) -> bool {
    if machine.word(work::CONNECTION) & connection::UPGRADE == 0 {
        return false;
    }
    let mut action = machine.policy64(record.wrapping_add(route::ACTION));
    if action == pair(route::UNSUPPORTED, unsupported::USERSPACE) {
        let more = high(machine.policy64(record.wrapping_add(route::FORWARDING)));
        action = machine.policy64(more.wrapping_add(more::ACTION));
    }
    action & 0xffff_ffff != route::UNSUPPORTED
}
