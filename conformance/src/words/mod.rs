//! Decisions and traces in words that a mesh operator uses.

mod chain;
mod host;
mod matcher;
mod narrator;
mod nearest;

pub use narrator::{Narrator, Sentence};
pub use nearest::{Nearness, nearness};

use twinmesh_engine::Request;

/// A request as one line: method, scheme, authority, path.
pub fn request_line(request: &Request) -> String {
    format!(
        "{} {}://{}{}",
        request.method,
        request.scheme,
        request.authority.as_deref().unwrap_or(""),
        request.path
    )
}
