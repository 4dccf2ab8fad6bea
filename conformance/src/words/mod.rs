//! Decisions and traces in words that a mesh operator uses.

mod absent;
mod action;
mod asked;
mod chain;
mod filter;
mod host;
mod matcher;
mod mutation;
mod narrator;
mod nearest;
mod place;
mod tree;
mod upstream;

pub use absent::alternatives;
pub use asked::{Asked, asked, later};
pub use host::domain;
pub(crate) use matcher::named as matcher;
pub use narrator::{Narrator, Sentence};
pub use nearest::Nearness;

use std::fmt::Display;

use twinmesh_engine::Request;

/// A number of things, in the singular where it is one; the plural is the noun with an `s`.
pub fn counted(count: impl Display, noun: &str) -> String {
    let count = count.to_string();
    format!("{count} {noun}{}", if count == "1" { "" } else { "s" })
}

/// A request as one line: method, target, host.
pub fn request_line(request: &Request) -> String {
    match &request.authority {
        Some(authority) => format!("{} {} of host {authority}", request.method, request.path),
        None => format!("{} {} without a host", request.method, request.path),
    }
}
