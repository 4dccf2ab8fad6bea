//! The decision engine: which listener, filter chain, virtual host, route, cluster and endpoint a
//! request goes to, as Envoy decides it.
//!
//! `no_std`, no allocation, no panics. The policy is a flat table that `twinmesh-compile` writes
//! (its shape: [`layout`]); everything that varies between requests is input. The same source runs
//! in userspace and, behind a thin shell, as a BPF program: what differs between the two is the
//! [`Machine`] trait and nothing else.
//!
//! A decision goes top down through one file a step: [`listener`], [`filter_chain`], [`head`],
//! [`virtual_host`], [`route`] (with [`matcher`]), [`weighted_cluster`], [`priority`] and
//! [`endpoint`]; [`mod@decide`] strings them together.

#![no_std]
#![forbid(unsafe_code)]

pub mod address_text;
pub mod bytes;
pub mod chunk;
pub mod client_address;
pub mod connect;
pub mod cookie;
pub mod cors;
pub mod decide;
pub mod endpoint;
pub mod fault;
pub mod filter_chain;
pub mod filter_chain_matcher;
pub mod fraction;
pub mod hash_policy;
pub mod hashed;
pub mod head;
pub mod header_count;
pub mod health_check;
pub mod http_filter;
pub mod integer;
pub mod layout;
pub mod least_request;
pub mod listener;
pub mod local_rate_limit;
pub mod machine;
pub mod matcher;
pub mod matcher_tree;
pub mod network_rbac;
pub mod override_host;
pub mod priority;
pub mod query_parameter;
pub mod random;
pub mod rbac;
pub mod regex;
pub mod request_line;
pub mod require_tls;
pub mod response;
pub mod round_robin;
pub mod route;
pub mod scan;
pub mod slot;
pub mod string;
pub mod target;
pub mod tls_context;
pub mod token_bucket;
pub mod trie;
pub mod upgrade;
pub mod userspace;
pub mod virtual_host;
pub mod weighted_cluster;

pub use decide::decide;
pub use layout::Span;
pub use machine::Machine;
