//! Requests that ask for an upgrade, in userspace: they stop before HTTP filters, and `upgrade_configs` of
//! the route and of the connection manager say whether they may go on.

use crate::{
    Machine, decide,
    layout::{connection, outcome, unsupported, work},
};

/// Whether the request stops here; the outcome is then left.
pub fn stops<M: Machine>(machine: &mut M) -> bool {
    let asks = machine.word(work::CONNECTION) & connection::UPGRADE != 0;
    if asks {
        decide::end(machine, outcome::UNSUPPORTED, unsupported::UPGRADE);
    }
    asks
}
