//! What the parts of the compiler share while a snapshot is compiled.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use envoy_types::pb::envoy::config::route::v3::{route::Action, route_action::ClusterSpecifier};
use twinmesh_model::layout::{cluster, header, pair, unsupported};
use twinmesh_xds::{Snapshot, Unsupported};

use crate::arena::Arena;
use crate::criteria::{Criteria, Labels, labels};
use crate::hash_policy::HashRewrites;
use crate::http_filter::Filters;
use crate::kept::Set;
use crate::names::Names;
use crate::numbers::Numbers;
use crate::pool::Subsetted;
use crate::slow_start::SlowSet;
use crate::subset::Pool;
use crate::substitution::Substitutions;
use crate::trie::Keys;
use crate::undecided::Undecided;
use crate::{CapacityError, capacity};

/// A snapshot on its way into tables.
#[derive(Debug)]
pub struct Compiler<'a> {
    /// What is compiled.
    pub snapshot: &'a Snapshot,
    /// The policy so far.
    pub arena: Arena,
    /// Names and values that matchers refer to.
    pub names: Names,
    /// The routes' records: the table is written when all are known.
    pub routes: Vec<u64>,
    /// Why something is not decided; numbers count from [`unsupported::FIRST_OF_SNAPSHOT`].
    pub reasons: Vec<Unsupported>,
    /// What the reader leaves to be decided and does not fit.
    pub undecided: Vec<Undecided>,
    /// What only userspace decides.
    pub userspace: Vec<Undecided>,
    /// Some cluster's balancer looks at a request's hash.
    pub hashes: bool,
    /// The balancers' state.
    pub state: Vec<u64>,
    /// The sets of endpoints, and where the state of each stands.
    pub sets: Vec<Set>,
    /// Those of clusters with a slow start.
    pub slow_sets: Vec<SlowSet>,
    /// Where each endpoint stands, by number: cluster, locality, position.
    pub endpoints: Vec<Option<(usize, usize, usize)>>,
    /// The numbers that endpoints keep, where they do.
    pub numbers: Option<&'a mut Numbers>,
    /// The clusters with subsets, by name.
    pub subsetted: HashMap<String, Arc<Subsetted>>,
    /// Their records, by index and what requests ask for.
    pub asked: HashMap<(usize, Labels), u64>,
    /// The records of their pools, by index.
    pub pools: HashMap<(usize, Pool), u64>,
    /// The names of clusters for what requests ask for.
    pub named: HashMap<Labels, u64>,
    /// Names of the clusters that ask for nothing but forwarding.
    pub plain_clusters: HashSet<String>,
    /// Whether the virtual host that is being compiled asks for nothing but forwarding.
    pub plain_host: bool,
    /// The next class's number.
    pub classes: u64,
    /// What the filters of connection managers share.
    pub filters: Filters,
    /// The DFAs of the paths that connection managers leave as they are, by pattern.
    pub paths_dfas: HashMap<String, Result<u64, String>>,
    /// The records of filter chains whose connection managers change headers that something looks at.
    pub managed_chains: HashSet<u64>,
    /// The regexes of rewrites.
    pub substitutions: Substitutions,
    /// Of the clusters whose endpoints headers name, by index: the addresses, and the headers' slots.
    pub override_hosts: HashMap<usize, (u64, u64)>,
    /// How hashed headers are rewritten, by number.
    pub hash_rewrites: HashRewrites,
    /// Where the records of clusters stand, by name.
    pub clusters: HashMap<String, u64>,
    missing: Vec<String>,
}

impl<'a> Compiler<'a> {
    /// Nothing compiled yet.
    pub fn new(snapshot: &'a Snapshot, numbers: Option<&'a mut Numbers>) -> Self {
        Self {
            snapshot,
            arena: Arena::new(),
            names: Names::new(),
            routes: Vec::new(),
            reasons: Vec::new(),
            undecided: Vec::new(),
            userspace: Vec::new(),
            hashes: snapshot
                .clusters
                .iter()
                .any(|cluster| cluster.balancer.hashes()),
            state: Vec::new(),
            sets: Vec::new(),
            slow_sets: Vec::new(),
            endpoints: Vec::new(),
            numbers,
            subsetted: HashMap::new(),
            asked: HashMap::new(),
            pools: HashMap::new(),
            named: HashMap::new(),
            plain_clusters: HashSet::new(),
            plain_host: false,
            classes: 0,
            filters: Filters::of(snapshot),
            paths_dfas: HashMap::new(),
            managed_chains: HashSet::new(),
            substitutions: Substitutions::default(),
            override_hosts: HashMap::new(),
            hash_rewrites: HashRewrites::default(),
            clusters: HashMap::new(),
            missing: Vec::new(),
        }
    }

    /// The number of a reason.
    pub fn reason(&mut self, reason: &Unsupported) -> u64 {
        let index = match self.reasons.iter().position(|other| other == reason) {
            Some(index) => index,
            None => {
                self.reasons.push(reason.clone());
                self.reasons.len() - 1
            }
        };
        index as u64 + unsupported::FIRST_OF_SNAPSHOT
    }

    /// The number of a reason, or 0.
    pub fn reason_or_none(&mut self, reason: Option<&Unsupported>) -> u64 {
        reason.map_or(0, |reason| self.reason(reason))
    }

    /// Says where a cluster's record stands.
    pub fn set_cluster(&mut self, name: &str, offset: u64) {
        self.clusters.insert(name.to_owned(), offset);
    }

    /// The record of a cluster; one that says so where the snapshot does not have it.
    pub fn cluster_offset(&mut self, name: &str) -> u64 {
        if let Some(&offset) = self.clusters.get(name) {
            return offset;
        }
        let index = self.snapshot.clusters.len() + self.missing.len();
        self.missing.push(name.to_owned());
        let offset = self.arena.record([0, cluster::MISSING, index as u64, 0]);
        self.clusters.insert(name.to_owned(), offset);
        offset
    }

    /// Writes the names of the snapshot's clusters, where a header may name one.
    pub fn write_cluster_names(&mut self) {
        if !names_by_header(self.snapshot) {
            return;
        }
        let mut keys = Keys::default();
        for (name, &offset) in &self.clusters {
            // A longer one is never found: routes by header are undecided then.
            if capacity::text(name.as_bytes()).is_ok() {
                keys.exact.insert(name.as_bytes().to_vec(), offset);
            }
        }
        let root = self.arena.trie(&keys);
        self.arena.set(header::CLUSTERS, root);
    }

    /// The names of the clusters as requests with these criteria find them; 0 where that is as all
    /// requests do.
    fn names_for(&mut self, criteria: &Criteria) -> u64 {
        if criteria.is_empty() || self.subsetted.is_empty() {
            return 0;
        }
        let asked = labels(criteria);
        if let Some(&known) = self.named.get(&asked) {
            return known;
        }
        let mut keys = Keys::default();
        for cluster in &self.snapshot.clusters {
            let offset = self.cluster_for(&cluster.name, criteria);
            keys.exact.insert(cluster.name.as_bytes().to_vec(), offset);
        }
        let root = self.arena.trie(&keys);
        self.named.insert(asked, root);
        root
    }

    /// The record that stands for the cluster that a header names.
    ///
    /// # Errors
    /// The header, or the name of some cluster, does not fit.
    pub fn cluster_by_header(
        &mut self,
        name: &str,
        criteria: &Criteria,
    ) -> Result<u64, CapacityError> {
        for cluster in &self.snapshot.clusters {
            capacity::text(cluster.name.as_bytes())?;
        }
        let slot = self.names.header(name)?;
        let names = self.names_for(criteria);
        Ok(self.arena.record([
            names,
            pair(cluster::UNSUPPORTED, unsupported::USERSPACE),
            pair(cluster::NAMED, cluster::BY_HEADER),
            pair(0, slot),
        ]))
    }

    /// Names of clusters that routes refer to and the snapshot does not have; their indices follow
    /// the snapshot's.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Writes the routes' table.
    pub fn write_routes(&mut self) {
        let routes = std::mem::take(&mut self.routes);
        let offset = self.arena.words(&routes);
        self.arena.set(header::ROUTES, offset);
    }
}

/// Whether some route has a header name its cluster.
fn names_by_header(snapshot: &Snapshot) -> bool {
    let hosts = snapshot
        .route_configurations
        .iter()
        .flat_map(|configuration| &configuration.config.virtual_hosts);
    hosts.flat_map(|host| &host.routes).any(|route| {
        let Some(Action::Route(action)) = &route.action else {
            return false;
        };
        match &action.cluster_specifier {
            Some(ClusterSpecifier::ClusterHeader(_)) => true,
            Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                weighted.clusters.iter().any(|entry| entry.name.is_empty())
            }
            _ => false,
        }
    })
}
