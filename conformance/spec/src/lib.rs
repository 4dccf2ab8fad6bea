//! The engine `spec`: a plain, slow reading of the xDS structures.
//!
//! It decides from Envoy's own messages by linear scans, one rule a file, in the order in which
//! Envoy asks: listener, filter chain, request head, route configuration, virtual host, route,
//! cluster, priority, endpoint. It shares no code with the compiled tables, so that what both
//! engines over those tables would get wrong together shows here.

#![allow(deprecated)] // snapshots hold what Envoy has deprecated, and Envoy decides by it

mod balancer;
mod cluster;
mod connection;
mod draw;
mod edf;
mod engine;
mod filter_chain;
mod head;
mod header;
mod host;
mod integer;
mod least_request;
mod listener;
mod message;
mod path;
mod path_normalization;
mod priority;
mod query_parameter;
mod redirect;
mod referer;
mod regex;
mod rewrite;
mod round_robin;
mod route;
mod run;
mod string_match;
mod substitution;
mod target;
mod tcp_proxy;
mod upstream;
mod virtual_host;
mod weighted_cluster;

pub use engine::Spec;
pub use filter_chain::{NotTaken, not_taken};
pub use listener::{Entry, SelectionError, select};
