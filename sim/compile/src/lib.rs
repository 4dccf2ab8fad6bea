//! Snapshot to compiled tables: what [`twinmesh_model`] reads, and the way back from its answer to
//! names.
//!
//! [`compile`] writes the policy; [`Compiled::prepare`] lays a request out as the model's input;
//! [`Compiled::answer`] turns what the model left into a decision and a trace. In between,
//! [`Compiled::managed`] says whether the connection manager changes the request first.

mod address_text;
mod answer;
mod arena;
pub mod attempts;
mod breaker;
pub mod capacity;
mod cluster;
mod codec;
mod compiler;
mod connect;
mod cors;
mod criteria;
mod delay;
mod endpoint_name;
mod fault;
mod filter_chain;
mod filter_chain_matcher;
mod grpc;
mod hash_policy;
mod hashing;
mod head;
mod header_count;
mod header_value;
mod headers;
mod health_check;
mod http_filter;
pub mod input;
mod inspected;
mod internal_addresses;
mod kept;
mod listener;
mod loads;
mod local_rate_limit;
mod locality;
mod managed;
mod managed_header;
mod matcher;
mod matcher_tree;
mod murmur;
mod named;
mod names;
mod network_rbac;
mod normalize;
mod numbers;
mod original_destination;
mod override_host;
mod path;
mod plain;
mod pool;
mod rate_limit;
mod rbac;
mod redirect;
mod refused;
mod rewrite;
mod route;
mod schedule;
mod seen;
mod set;
mod slow_start;
mod subset;
mod substitution;
mod tree_input;
mod trie;
mod undecided;
mod upgrade;
mod virtual_host;
mod zone;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use twinmesh_engine::Held;
use twinmesh_model::layout;
use twinmesh_xds::{Snapshot, Unsupported};

pub use answer::{Filtered, Left};
pub use capacity::CapacityError;
pub use cluster::is_healthy;
pub use grpc::Called;
pub use hash_policy::HashRewrites;
pub use input::Input;
pub use kept::{Kept, Source, unchanged_priorities};
pub use managed::Managed;
pub use numbers::{Numbered, Numbers};
pub use slow_start::{SlowMember, SlowName, SlowSet, slow_name};
pub use undecided::{Part, Undecided};

use compiler::Compiler;
use names::Commas;
use substitution::Substitutions;

/// A snapshot's tables.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// What was compiled.
    pub snapshot: Arc<Snapshot>,
    /// The policy, in words.
    pub policy: Vec<u64>,
    /// The balancers' state to start with, in words.
    pub state: Vec<u64>,
    /// How much of each thing there is.
    pub sizes: Sizes,
    reasons: Vec<Unsupported>,
    undecided: Vec<Undecided>,
    userspace: Vec<Undecided>,
    sets: Vec<kept::Set>,
    /// The sets of clusters with a slow start, by number.
    pub slow_sets: Vec<SlowSet>,
    filter_states: Vec<kept::FilterState>,
    /// The clusters with subsets, by name.
    subsetted: HashMap<String, Arc<pool::Subsetted>>,
    /// The records of filter chains whose connection managers change headers that something looks at.
    managed_chains: HashSet<u64>,
    /// Where the records of the snapshot's clusters stand, by name.
    clusters: HashMap<String, u64>,
    endpoints: Vec<Option<(usize, usize, usize)>>,
    numbers: HashMap<(usize, usize, usize), u64>,
    missing: Vec<String>,
    listeners: HashMap<String, u64>,
    configurations: HashMap<String, u64>,
    bound: HashMap<String, std::net::SocketAddr>,
    /// The regexes of rewrites.
    substitutions: Substitutions,
    /// How headers are rewritten before they are hashed.
    pub hash_rewrites: Arc<HashRewrites>,
    /// Names of the listeners with `use_original_dst`.
    catching: Vec<String>,
    /// Headers whose repeated lines are joined for the model alone.
    by_commas: BTreeMap<String, Commas>,
    /// A header's name that nothing asks for.
    unused_name: String,
    /// Some matcher looks at Connection or Upgrade, which only requests that ask for an upgrade have.
    matches_upgrades: bool,
}

/// Sizes of the compiled tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Bytes of policy.
    pub policy_bytes: u64,
    /// Bytes of balancer state.
    pub state_bytes: u64,
    /// Listeners.
    pub listeners: u64,
    /// Route configurations.
    pub route_configurations: u64,
    /// Routes of all virtual hosts.
    pub routes: u64,
    /// Clusters.
    pub clusters: u64,
    /// Endpoints of all clusters.
    pub endpoints: u64,
    /// Header and query parameter names that routes refer to.
    pub names: u64,
    /// Entries of the trie table that are used.
    pub trie_entries: u64,
}

/// Compiles a snapshot.
///
/// # Errors
/// The snapshot as a whole has more of something than the tables hold; the error says of what.
/// Where one route, cluster or route configuration does not fit, that one is undecided: see
/// [`Compiled::undecided`].
pub fn compile(snapshot: &Arc<Snapshot>) -> Result<Compiled, CapacityError> {
    compile_into(snapshot, None)
}

/// As [`compile`]; endpoints keep the numbers that they had in the snapshots before. The state has
/// as many words for their active requests as there are numbers.
///
/// # Errors
/// As there, and the numbers are used up. What was given out meanwhile rests.
pub fn compile_on(
    snapshot: &Arc<Snapshot>,
    numbers: &mut Numbers,
) -> Result<Compiled, CapacityError> {
    numbers.begin();
    let compiled = compile_into(snapshot, Some(numbers));
    if compiled.is_ok() {
        numbers.end();
    }
    compiled
}

fn compile_into(
    snapshot: &Arc<Snapshot>,
    numbers: Option<&mut Numbers>,
) -> Result<Compiled, CapacityError> {
    let mut compiler = Compiler::new(snapshot, numbers);
    compiler.arena.head()?;
    compiler.write_clusters()?;
    compiler.write_cluster_names();
    let mut configurations = Vec::with_capacity(snapshot.route_configurations.len());
    for (index, configuration) in snapshot.route_configurations.iter().enumerate() {
        configurations.push(compiler.route_configuration(index, configuration)?);
    }
    compiler.write_per_filters();
    let listeners = compiler.listeners(&configurations);
    compiler.write_routes();
    let names = compiler.names.len() as u64;
    let (by_commas, unused_name) = (compiler.names.by_commas(), compiler.names.unused());
    let matches_upgrades = compiler.names.upgrades();
    compiler.names.write(&mut compiler.arena);
    let trie_entries = compiler.arena.tries.len() as u64;
    let routes = snapshot
        .route_configurations
        .iter()
        .flat_map(|configuration| &configuration.config.virtual_hosts)
        .map(|host| host.routes.len() as u64)
        .sum();
    let missing = compiler.missing().to_vec();
    let policy = compiler.arena.finish()?;
    let sizes = Sizes {
        policy_bytes: policy.len() as u64 * 8,
        state_bytes: compiler.state.len() as u64 * 8,
        listeners: snapshot.listeners.len() as u64,
        route_configurations: snapshot.route_configurations.len() as u64,
        routes,
        clusters: snapshot.clusters.len() as u64,
        endpoints: compiler.endpoints.iter().flatten().count() as u64,
        names,
        trie_entries,
    };
    let mut by_name = HashMap::new();
    for (listener, offset) in snapshot.listeners.iter().zip(listeners) {
        by_name.entry(listener.name.clone()).or_insert(offset);
    }
    let mut configurations_by_name = HashMap::new();
    for (configuration, offset) in snapshot.route_configurations.iter().zip(configurations) {
        configurations_by_name
            .entry(configuration.name.clone())
            .or_insert(offset);
    }
    Ok(Compiled {
        snapshot: Arc::clone(snapshot),
        policy,
        state: compiler.state,
        sizes,
        reasons: compiler.reasons,
        undecided: compiler.undecided,
        userspace: compiler.userspace,
        sets: compiler.sets,
        slow_sets: compiler.slow_sets,
        filter_states: compiler.filters.states,
        subsetted: compiler.subsetted,
        clusters: compiler.clusters,
        numbers: compiler
            .endpoints
            .iter()
            .zip(0..)
            .filter_map(|(&place, number)| Some((place?, number)))
            .collect(),
        endpoints: compiler.endpoints,
        missing,
        substitutions: compiler.substitutions,
        hash_rewrites: Arc::new(compiler.hash_rewrites),
        managed_chains: compiler.managed_chains,
        bound: snapshot
            .listeners
            .iter()
            .filter_map(|listener| {
                Some((
                    listener.name.clone(),
                    listener::addresses(listener).first()?.0,
                ))
            })
            .collect(),
        catching: snapshot
            .listeners
            .iter()
            .filter(|listener| listener::uses_original_dst(listener))
            .map(|listener| listener.name.clone())
            .collect(),
        listeners: by_name,
        configurations: configurations_by_name,
        by_commas,
        unused_name,
        matches_upgrades,
    })
}

impl Compiled {
    /// What the reader leaves to be decided and the tables do not hold.
    pub fn undecided(&self) -> &[Undecided] {
        &self.undecided
    }

    /// What the tables hold for machines in userspace only: the kernel's programs leave it
    /// undecided.
    pub fn userspace(&self) -> &[Undecided] {
        &self.userspace
    }

    /// Whether requests of a cluster are spread over subsets of its endpoints.
    pub fn has_subsets(&self, name: &str) -> bool {
        self.subsetted.contains_key(name)
    }

    /// Leaves a cluster to userspace, for a reader of the tables that has not seen all of what its
    /// balancer has to remember.
    pub fn leave_to_userspace(&mut self, name: &str) {
        let index = self.snapshot.clusters.iter().position(|it| it.name == name);
        let Some((index, &offset)) = index.zip(self.clusters.get(name)) else {
            return;
        };
        let at = ((offset + layout::cluster::KIND) / 8) as usize;
        let Some(kind) = self.policy.get_mut(at) else {
            return;
        };
        if *kind == layout::cluster::BALANCED {
            *kind = layout::pair(layout::cluster::UNSUPPORTED, layout::unsupported::USERSPACE);
            self.userspace.push(Undecided {
                part: Some(Part::Cluster(index)),
                resource: format!("cluster {name:?}"),
                path: String::new(),
                reason: "its balancer has decided in userspace before".to_owned(),
                requests: "requests that choose the cluster",
            });
        }
    }

    /// The endpoints by number: index of the cluster, of the locality, and in that.
    pub fn places(&self) -> impl Iterator<Item = (usize, (usize, usize, usize))> {
        let endpoints = self.endpoints.iter().enumerate();
        endpoints.filter_map(|(number, &place)| Some((number, place?)))
    }

    /// The state word that counts the active requests of an endpoint.
    pub fn active_word(&self, held: Held) -> Option<u64> {
        self.numbers
            .get(&(held.cluster, held.locality, held.endpoint))
            .copied()
    }
}
