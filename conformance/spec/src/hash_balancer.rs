//! What the balancers that hash have in common: keys and shares of the hosts.

use envoy_types::pb::envoy::config::cluster::v3::Cluster as ClusterConfig;
use envoy_types::pb::envoy::config::endpoint::v3::{ClusterLoadAssignment, LbEndpoint};
use envoy_types::pb::google::protobuf::value::Kind;

use crate::cluster::{self, Host};
use crate::locality::{self, Locality};
use crate::maglev::Table;
use crate::ring_hash::{self, Ring};

/// How a cluster chooses by hash.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Options {
    pub(crate) kind: Kinds,
    /// `use_hostname_for_hashing`.
    pub(crate) by_hostname: bool,
    /// `locality_weighted_lb_config`.
    pub(crate) locality_weighted: bool,
    /// `hash_balance_factor`; 0: none.
    pub(crate) balance_factor: u32,
}

/// The two balancers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kinds {
    RingHash(ring_hash::Options),
    /// With the size of the table.
    Maglev(u64),
}

/// A host that can be chosen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Share {
    /// What is hashed for it.
    pub(crate) key: String,
    /// Its share of the load; all are 1 together.
    pub(crate) weight: f64,
    /// Index into the hosts that may be used.
    pub(crate) host: usize,
}

/// What hosts are chosen from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Laid {
    pub(crate) shares: Vec<Share>,
    by_hash: ByHash,
}

#[derive(Debug, Clone, PartialEq)]
enum ByHash {
    Ring(Ring),
    Table(Table),
}

impl Laid {
    /// Lays out the hosts of a priority that may be used, in its localities where those are weighed.
    pub(crate) fn out(
        config: &ClusterConfig,
        assignment: &ClusterLoadAssignment,
        localities: Option<&[Locality]>,
        hosts: &[Host],
        options: Options,
    ) -> Self {
        let shares = shares(config, assignment, localities, hosts, options);
        let by_hash = match options.kind {
            Kinds::RingHash(ring) => ByHash::Ring(Ring::new(&shares, ring)),
            Kinds::Maglev(size) => ByHash::Table(Table::new(&shares, size)),
        };
        Self { shares, by_hash }
    }

    /// The host for a hash.
    pub(crate) fn pick(&self, hash: u64) -> Option<usize> {
        match &self.by_hash {
            ByHash::Ring(ring) => ring.pick(hash),
            ByHash::Table(table) => table.pick(hash),
        }
    }
}

fn shares(
    config: &ClusterConfig,
    assignment: &ClusterLoadAssignment,
    localities: Option<&[Locality]>,
    hosts: &[Host],
    options: Options,
) -> Vec<Share> {
    let all: Vec<(usize, &Host)> = hosts.iter().enumerate().collect();
    let spread = |among: &[(usize, &Host)], load: f64| -> Vec<Share> {
        let weights: u64 = among.iter().map(|(_, host)| u64::from(host.weight)).sum();
        let share = |&(index, host): &(usize, &Host)| Share {
            key: key(config, assignment, host, options.by_hostname),
            weight: f64::from(host.weight) * load / weights as f64,
            host: index,
        };
        among.iter().map(share).collect()
    };
    let Some(localities) = localities else {
        return spread(&all, 1.0);
    };
    let total: u64 = localities.iter().map(|it| u64::from(it.weight)).sum();
    let mut shares = Vec::new();
    for locality in localities.iter().filter(|locality| locality.weight > 0) {
        let is_there = |(_, host): &(usize, &Host)| {
            let group = assignment.endpoints.get(host.locality);
            group.is_some_and(|group| locality::name(group) == locality.name)
        };
        let among: Vec<(usize, &Host)> = all.iter().copied().filter(is_there).collect();
        shares.extend(spread(&among, f64::from(locality.weight) / total as f64));
    }
    shares
}

/// What is hashed for a host.
fn key(
    config: &ClusterConfig,
    assignment: &ClusterLoadAssignment,
    host: &Host,
    by_hostname: bool,
) -> String {
    let endpoint = assignment
        .endpoints
        .get(host.locality)
        .and_then(|group| group.lb_endpoints.get(host.endpoint));
    let Some(endpoint) = endpoint else {
        return String::new();
    };
    match given_key(endpoint) {
        Some(key) => key,
        None if by_hostname => cluster::hostname(config, endpoint),
        None => cluster::address(endpoint).unwrap_or_default(),
    }
}

/// `hash_key` in the endpoint's metadata for `envoy.lb`.
fn given_key(endpoint: &LbEndpoint) -> Option<String> {
    let metadata = endpoint.metadata.as_ref()?;
    let value = metadata
        .filter_metadata
        .get("envoy.lb")?
        .fields
        .get("hash_key")?;
    match value.kind.as_ref()? {
        Kind::StringValue(key) if !key.is_empty() => Some(key.clone()),
        _ => None,
    }
}
