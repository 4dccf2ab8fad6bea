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
mod transport_socket;
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

/// A field's path, or a text with some, without the indices, which move when something is put in before.
pub fn without_indices(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        out.push('[');
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        rest = after.get(digits..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_go_and_keys_stay() {
        assert_eq!(
            without_indices("a[0].b[12][\"k[3]\"].c"),
            "a[].b[][\"k[]\"].c"
        );
        assert_eq!(without_indices(""), "");
    }
}
