//! Whole snapshots, and the traffic that stands on the boundaries of their matchers.
//!
//! [`bootstrap`] makes a static bootstrap in JSON; [`tapes`] makes the choices from which
//! [`traffic::requests`] makes requests for whatever bootstrap it is given. The two are
//! independent, so that proptest shrinks each by itself. The texts come from small alphabets:
//! collisions are what is looked for.

mod balancing;
mod cluster;
mod connect;
mod filter_chain_matcher;
pub mod fuzz;
mod http_filter;
mod listener;
mod malformed;
mod matcher;
mod matcher_tree;
mod mutation;
mod rbac;
mod rbac_matcher;
pub mod reached;
mod route;
mod tape;
mod tapes;
mod texts;
pub mod traffic;
mod upgrade;

use proptest::prelude::*;
use serde_json::{Value, json};
use twinmesh_xds::{Profile, ReadError, ReadOptions, Snapshot};

pub use tape::Tape;
pub use tapes::{Tapes, TapesTree};

/// A static bootstrap: listeners with their filter chains and route configurations, and clusters.
/// Not every one is valid: Envoy refuses, say, two filter chains that match the same connections.
pub fn bootstrap() -> impl Strategy<Value = Value> {
    let own = proptest::option::weighted(0.7, 0..3u32);
    let local = proptest::option::weighted(0.6, proptest::sample::select(texts::CLUSTERS));
    let all = (listener::listeners(), cluster::clusters(), own, local);
    all.prop_map(|(listeners, clusters, own, local)| {
        let listeners = ("listeners", Value::Array(listeners));
        let resources = matcher::object([listeners, ("clusters", Value::Array(clusters))]);
        let mut bootstrap = matcher::object([("static_resources", resources)]);
        if let Some(zone) = own {
            let locality = json!({"region": "r", "zone": format!("z{zone}")});
            matcher::set(&mut bootstrap, "node", json!({"locality": locality}));
        }
        if let Some(local) = local {
            let manager = json!({"local_cluster_name": local});
            matcher::set(&mut bootstrap, "cluster_manager", manager);
        }
        bootstrap
    })
}

/// The choices behind each of up to `count` requests; see [`traffic::requests`].
pub fn tapes(count: usize) -> Tapes {
    Tapes::new(count)
}

/// Reads a generated bootstrap, so that the reader's marks are there.
///
/// # Errors
/// Envoy would refuse it.
pub fn read(bootstrap: &Value) -> Result<Snapshot, ReadError> {
    read_as(bootstrap, Profile::default())
}

/// As [`read`], to be decided by a profile's rules.
///
/// # Errors
/// Envoy would refuse it.
pub fn read_as(bootstrap: &Value, profile: Profile) -> Result<Snapshot, ReadError> {
    // `to_string` would write through a formatter.
    let text = serde_json::to_vec(bootstrap).unwrap_or_default();
    let options = ReadOptions {
        profile,
        ..ReadOptions::default()
    };
    twinmesh_xds::read_bytes("generated.json", &text, &options)
}
