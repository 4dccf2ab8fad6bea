//! A snapshot as resources by which Envoy's decisions can be read, and by which nothing leaves
//! loopback. What a decision rests on stays as it is:
//!
//! - A listener keeps its addresses without binding them. Connections come in at *entries*, bound
//!   to loopback ports, with the request's own addresses in a PROXY header ahead: `front` hands
//!   each on to the listener at its destination, as Envoy does; a listener that is entered by name
//!   has a second copy of itself bound.
//! - Each endpoint gets a loopback address of its own, all at the backend's port, so that the
//!   address tells which it is; what else an endpoint's address decides (a hash ring's keys) keeps
//!   the address that it had.
//! - Names go into access logs as indices, and come back as the snapshot's.

mod cluster;
mod json;
mod listener;
mod routes;
mod secured;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::{Value, json};
use twinmesh_xds::{Profile, Snapshot};

use crate::error::EnvoyError;
use crate::plan::Entry;
pub use cluster::{Place, stands_in};
pub use listener::{Log, is_tcp};
use routes::Routes;
pub use secured::Secured;

/// The key of the metadata that names virtual hosts and routes.
const MARK: &str = "twinmesh";

/// What Envoy gets, and what its parts stand for.
pub struct Rewritten {
    /// The listeners.
    pub listeners: Vec<Value>,
    /// The clusters.
    pub clusters: Vec<Value>,
    /// Each endpoint by the address that stands for it, without the port.
    pub places: BTreeMap<String, Place>,
    /// The port of all these addresses.
    pub backend: u16,
    /// Clusters whose endpoints are not what Envoy would have, and why.
    pub replaced: BTreeMap<String, String>,
    /// The filter chains that take TLS.
    pub secured: Secured,
    /// Whose rules decide.
    pub profile: Profile,
}

/// Rewrites a snapshot for requests that come in at these entries, mostly over TLS or not.
/// Listeners are named after the
/// `generation`, which counts the snapshots that one Envoy gets.
///
/// # Errors
/// The snapshot has more endpoints than there are loopback addresses.
pub fn rewrite(
    snapshot: &Snapshot,
    entries: &BTreeSet<Entry>,
    mostly_tls: bool,
    backend: u16,
    log: &Path,
    generation: usize,
) -> Result<Rewritten, EnvoyError> {
    let mut sections = Sections::of(snapshot)?;
    let secured = Secured::new(snapshot, mostly_tls)?;
    let log = Log::new(log, generation);
    let routes = Routes::new(snapshot, &mut sections.listeners, sections.routes);
    let (mut listeners, mut entered) = (Vec::new(), Vec::new());
    for (index, config) in sections.listeners.into_iter().enumerate() {
        let Some(of) = snapshot.listeners.get(index) else {
            continue;
        };
        if !listener::is_tcp(&of.config) {
            continue;
        }
        let plain = listener::listener(config, index, of, &routes, &log, &secured);
        let entry = Entry::Listener(index);
        if entries.contains(&entry) {
            entered.push(listener::entered(plain.clone(), &entry.name(generation)));
        }
        listeners.push(plain);
    }
    for entry in entries {
        let name = entry.name(generation);
        match entry {
            Entry::Front => entered.push(listener::front(&name, &log)),
            Entry::Routes(index) => entered.push(listener::bare(&name, *index, &routes, &log)),
            Entry::Listener(_) => {}
        }
    }
    for (number, entry) in entered.iter_mut().enumerate() {
        json::set(
            entry,
            "address",
            address(entry_address(generation, number), 0),
        );
    }
    // A worker takes them in this order: where connections come in, all others are there.
    listeners.append(&mut entered);
    let clusters = cluster::clusters(snapshot, sections.clusters, sections.endpoints, backend)?;
    Ok(Rewritten {
        listeners,
        clusters: clusters.configs,
        places: clusters.places,
        backend,
        replaced: clusters.replaced,
        secured,
        profile: snapshot.profile,
    })
}

impl Rewritten {
    /// A bootstrap with all of it.
    pub fn bootstrap(&self) -> Value {
        let mut bootstrap = empty(self.profile);
        let resources = json!({"listeners": self.listeners, "clusters": self.clusters});
        json::set(&mut bootstrap, "static_resources", resources);
        bootstrap
    }
}

/// What has Envoy 1.40 decide by the rules of an older one.
const MATCH_ONE_BY_ONE: &str = "envoy.reloadable_features.match_headers_individually";

/// A bootstrap with no resources.
pub fn empty(profile: Profile) -> Value {
    let mut runtime = json!({"http.max_requests_per_io_cycle": 1});
    if profile.joins_lines() {
        json::set(&mut runtime, MATCH_ONE_BY_ONE, Value::Bool(false));
    }
    json!({
        "node": {"id": MARK, "cluster": MARK},
        "admin": {"address": address(Ipv4Addr::LOCALHOST, 0)},
        // Pipelined requests that Envoy answers itself would all be answered in one turn of its
        // loop, and a third response that waits to be written ends the connection.
        "layered_runtime": {"layers": [{
            "name": MARK,
            "static_layer": runtime,
        }]},
        // The kernel sends nothing from this address to another than a loopback one.
        "cluster_manager": {"upstream_bind_config": {
            "source_address": {"address": "127.0.0.1", "port_value": 0},
        }},
    })
}

/// A loopback address.
fn address(ip: Ipv4Addr, port: u16) -> Value {
    json!({"socket_address": {"address": ip.to_string(), "port_value": port}})
}

/// Where an entry listens, from 127.0.1.0 on: not at an address of the snapshot before, whose
/// sockets Envoy would go on with.
fn entry_address(generation: usize, number: usize) -> Ipv4Addr {
    const FIRST: u32 = u32::from_be_bytes([127, 0, 1, 0]);
    const COUNT: usize = 254 << 8;
    // A prime, so that snapshots with some entries more do not meet.
    let number = (generation.wrapping_mul(251)).wrapping_add(number) % COUNT;
    Ipv4Addr::from(FIRST.saturating_add(u32::try_from(number).unwrap_or(0)))
}

/// The snapshot's resources as JSON.
struct Sections {
    listeners: Vec<Value>,
    routes: Vec<Value>,
    clusters: Vec<Value>,
    endpoints: Vec<Value>,
}

impl Sections {
    fn of(snapshot: &Snapshot) -> Result<Self, EnvoyError> {
        let text = twinmesh_xds::to_json(snapshot);
        let mut dump: Value = serde_json::from_str(&text).map_err(|error| {
            EnvoyError::Unexpected(format!("the snapshot cannot be written as JSON: {error}"))
        })?;
        let mut sections = Self {
            listeners: Vec::new(),
            routes: Vec::new(),
            clusters: Vec::new(),
            endpoints: Vec::new(),
        };
        for mut section in json::take_array(&mut dump, "configs") {
            for (list, key, member) in [
                (&mut sections.listeners, "static_listeners", "listener"),
                (
                    &mut sections.routes,
                    "dynamic_route_configs",
                    "route_config",
                ),
                (&mut sections.clusters, "static_clusters", "cluster"),
                (
                    &mut sections.endpoints,
                    "dynamic_endpoint_configs",
                    "endpoint_config",
                ),
            ] {
                list.extend(
                    json::take_array(&mut section, key)
                        .into_iter()
                        .map(|mut it| {
                            let mut resource =
                                it.get_mut(member).map(Value::take).unwrap_or_default();
                            json::remove(&mut resource, &["@type"]);
                            resource
                        }),
                );
            }
        }
        Ok(sections)
    }
}
