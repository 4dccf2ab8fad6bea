//! Decisions and traces in words that a mesh operator uses.

mod absent;
mod action;
mod chain;
mod host;
mod matcher;
mod mutation;
mod narrator;
mod nearest;
mod tree;

pub use absent::alternatives;
pub use host::domain;
pub(crate) use matcher::named as matcher;
pub use narrator::{Narrator, Sentence};
pub use nearest::{Nearness, nearness};

use twinmesh_engine::Request;

/// A request as one line: method, target, host.
pub fn request_line(request: &Request) -> String {
    match &request.authority {
        Some(authority) => format!("{} {} of host {authority}", request.method, request.path),
        None => format!("{} {} without a host", request.method, request.path),
    }
}
