//! The engine `spec`: a plain, slow reading of the xDS structures.
//!
//! It decides from Envoy's own messages by linear scans, one rule a file, in the order in which
//! Envoy asks: listener, filter chain, request head, route configuration, virtual host, route,
//! cluster, priority, endpoint. It shares no code with the compiled tables, so that what both
//! engines over those tables would get wrong together shows here.

#![allow(deprecated)] // snapshots hold what Envoy has deprecated, and Envoy decides by it

mod action;
mod balancer;
mod body;
mod bounded;
mod breaker;
mod changes;
mod client_address;
mod cluster;
mod connect;
mod connection;
mod connection_header;
mod cookie;
mod cors;
mod criteria;
mod delay;
mod draw;
mod edf;
mod engine;
mod fault;
mod filter_chain;
mod filter_chain_matcher;
mod format;
mod fraction;
mod grpc;
mod hash_balancer;
mod hash_policy;
mod head;
mod header;
mod header_count;
mod header_values;
mod health_check;
mod host;
mod http_filter;
mod integer;
mod least_request;
mod lines;
mod listener;
mod local_rate_limit;
mod locality;
mod maglev;
mod managed_header;
mod matcher_tree;
mod message;
mod mirror;
mod murmur;
mod mutation;
mod network_rbac;
mod original_destination;
mod overload;
mod override_host;
mod path;
mod path_normalization;
mod policy;
mod priority;
mod query_parameter;
mod range;
mod rate_limit;
mod rbac;
pub mod reading;
mod redirect;
mod referer;
mod regex;
mod rewrite;
mod ring_hash;
mod round_robin;
mod route;
pub mod route_table;
mod run;
mod sent;
mod slow_start;
mod stream;
mod string_match;
mod subset;
mod substitution;
mod target;
mod tcp_proxy;
mod tls_context;
mod upgrade;
mod upstream;
mod uri_template;
mod virtual_host;
mod weighted_cluster;
mod zone;

pub use changes::{Change, Part};
pub use engine::Spec;
pub use filter_chain::{NotTaken, not_taken};
pub use listener::{Entry, SelectionError, select};
pub use rbac::Judged;
