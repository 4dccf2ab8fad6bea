//! The snapshot: what every xDS form is read into, and what every engine starts from.
//!
//! Resources stay Envoy's own messages, so that an engine reads the fields that Envoy's
//! documentation names. Beside them stands what the reader found out and no engine should find
//! out twice: which route configuration a connection manager uses, which load assignment a
//! cluster has, and what this build does not decide.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use envoy_types::pb::envoy::config::{
    cluster::v3::{Cluster as ClusterConfig, cluster::LbSubsetConfig},
    core::v3::Locality,
    endpoint::v3::ClusterLoadAssignment,
    listener::v3::{
        FilterChain as FilterChainConfig, Listener as ListenerConfig, listener_filter::ConfigType,
    },
    route::v3::RouteConfiguration as RouteConfigurationConfig,
};
use envoy_types::pb::envoy::extensions::filters::network::{
    http_connection_manager::v3::{HttpConnectionManager, http_connection_manager::RouteSpecifier},
    tcp_proxy::v3::TcpProxy,
};

use crate::header_mutation::{HeaderMutationFilter, PerLevels};
use crate::http_filter::{HttpFilter, PerFilters};
use crate::network_rbac::NetworkRbac;
use crate::profile::Profile;
use crate::report::Report;

/// A consistent set of resources, validated as Envoy validates it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// In the order of the source.
    pub listeners: Vec<Listener>,
    /// In the order of the source; those written inline in a connection manager follow.
    pub route_configurations: Vec<RouteConfiguration>,
    /// In the order of the source.
    pub clusters: Vec<Cluster>,
    /// `Node.locality` of the bootstrap, where the form has one: of a priority's localities Envoy's
    /// own goes first.
    pub node_locality: Option<Locality>,
    /// `ClusterManager.local_cluster_name`: the cluster that Envoy itself is in, where the form says
    /// so. Other clusters' balancers then prefer endpoints in its own locality.
    pub local_cluster: Option<String>,
    /// Names of clusters that are not among `clusters` because Envoy does not use them yet
    /// (`ClustersConfigDump.dynamic_warming_clusters`).
    pub warming_clusters: BTreeSet<String>,
    /// Every `safe_regex` pattern of the snapshot, compiled once; the error is why a pattern that
    /// RE2 accepts is not decided here (a DFA over the cap).
    pub regexes: BTreeMap<String, Result<twinmesh_re2::Dfa, twinmesh_re2::TooLarge>>,
    /// Whose rules decide.
    pub profile: Profile,
    /// What was found while reading.
    pub report: Report,
}

/// Why requests that get this far have the outcome `unsupported`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// Field path of what is not decided; empty where the snapshot as a whole is meant.
    pub path: String,
    /// What it is, in one sentence.
    pub reason: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(formatter, "{}: ", self.path)?;
        }
        formatter.write_str(&self.reason)
    }
}

/// A listener and its filter chains.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listener {
    /// `Listener.name`, or its address as `ip:port` where it has none.
    pub name: String,
    /// The resource as it was read.
    pub config: ListenerConfig,
    /// One for each of `config.filter_chains`, in order.
    pub filter_chains: Vec<FilterChain>,
    /// `Listener.default_filter_chain`.
    pub default_filter_chain: Option<FilterChain>,
    /// Where each action of `Listener.filter_chain_matcher` stands in the listener: depth first, a map's
    /// in the order of its keys, and what `on_no_match` leads to last.
    pub matcher_places: Vec<String>,
    /// Every connection to this listener is undecided.
    pub unsupported: Option<Unsupported>,
}

/// A filter chain and its terminal network filter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FilterChain {
    /// The message as it was read.
    pub config: FilterChainConfig,
    /// What decides where the connection goes.
    pub terminal: Terminal,
    /// The network RBAC filters that may close a connection, in order.
    pub network_rbac: Vec<NetworkRbac>,
    /// The connection manager's filters that may do something to a request, in order.
    pub http_filters: Vec<HttpFilter>,
    /// The connection manager's filters that change headers, in order.
    pub header_mutations: Vec<HeaderMutationFilter>,
    /// Every request that comes through this filter chain is undecided.
    pub unsupported: Option<Unsupported>,
}

impl Listener {
    /// Its filter chains in order, the default one last.
    pub fn all_filter_chains(&self) -> impl Iterator<Item = &FilterChain> + Clone {
        self.filter_chains.iter().chain(&self.default_filter_chain)
    }

    /// Whether `Listener.listener_filters` has a TLS inspector: without one nothing of TLS is known where a
    /// filter chain is chosen.
    pub fn has_tls_inspector(&self) -> bool {
        self.config.listener_filters.iter().any(|filter| {
            let is_typed = matches!(&filter.config_type, Some(ConfigType::TypedConfig(any))
                if any.type_url.ends_with(".TlsInspector"));
            is_typed || filter.name == "envoy.filters.listener.tls_inspector"
        })
    }
}

impl FilterChain {
    /// The route configuration that stands in its connection manager
    /// (`HttpConnectionManager.route_config`), as an index into [`Snapshot::route_configurations`].
    pub fn inline_route_configuration(&self) -> Option<usize> {
        match &self.terminal {
            Terminal::Http {
                manager,
                route_configuration,
            } if matches!(
                manager.route_specifier,
                Some(RouteSpecifier::RouteConfig(_))
            ) =>
            {
                *route_configuration
            }
            _ => None,
        }
    }
}

/// The last network filter of a filter chain.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Terminal {
    /// The chain has no filter that this build knows as terminal; its `unsupported` says why.
    #[default]
    Unknown,
    /// `envoy.filters.network.http_connection_manager`.
    Http {
        /// The filter's configuration.
        manager: Box<HttpConnectionManager>,
        /// Index into [`Snapshot::route_configurations`]; `None` where RDS names a route
        /// configuration that the snapshot does not hold (the chain is then `unsupported`).
        route_configuration: Option<usize>,
    },
    /// `envoy.filters.network.tcp_proxy`.
    Tcp(Box<TcpProxy>),
}

/// A route configuration with what is not decided in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouteConfiguration {
    /// `RouteConfiguration.name`; may be empty for an inline one.
    pub name: String,
    /// The resource as it was read.
    pub config: RouteConfigurationConfig,
    /// Every request that reaches this route configuration is undecided.
    pub unsupported: Option<Unsupported>,
    /// One for each of `config.virtual_hosts`, in order.
    pub virtual_hosts: Vec<VirtualHost>,
    /// What it says to filters (`typed_per_filter_config`), by level.
    pub per_filters: PerFilters,
    /// What it says to filters that change headers.
    pub header_mutations: PerLevels,
}

/// What is not decided in a virtual host.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VirtualHost {
    /// Every request that reaches this virtual host is undecided.
    pub unsupported: Option<Unsupported>,
    /// One for each of its routes, in order: a request that all *decided* matchers of the route
    /// accept (and that no route before it took) is undecided.
    pub routes: Vec<Option<Unsupported>>,
    /// Where each of its routes stands in the route configuration, where they stand in a matcher tree;
    /// `config` lists them all the same, depth first.
    pub places: Vec<String>,
}

impl RouteConfiguration {
    /// The field path of a route, by the index of its virtual host and its own.
    pub fn route_path(&self, virtual_host: usize, route: usize) -> String {
        let marks = self.virtual_hosts.get(virtual_host);
        match marks.and_then(|marks| marks.places.get(route)) {
            Some(place) => place.clone(),
            None => format!("virtual_hosts[{virtual_host}].routes[{route}]"),
        }
    }
}

/// A cluster and its endpoints.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    /// `Cluster.name`.
    pub name: String,
    /// The resource as it was read.
    pub config: ClusterConfig,
    /// EDS's, else `Cluster.load_assignment`. `None` where the snapshot holds none; the cluster is
    /// then `unsupported`.
    pub load_assignment: Option<ClusterLoadAssignment>,
    /// How an endpoint is chosen, whether `lb_policy` or `load_balancing_policy` says so.
    pub balancer: Balancer,
    /// `locality_weighted_lb_config`: a locality is chosen before an endpoint, by weight.
    pub locality_weighted: bool,
    /// `zone_aware_lb_config`, for balancers that do not hash.
    pub zone_aware: ZoneAware,
    /// `fail_traffic_on_panic`, for balancers that do not hash.
    pub fail_traffic_on_panic: bool,
    /// `slow_start_config` of the balancers that have one, where its window is not empty.
    pub slow_start: Option<SlowStart>,
    /// `lb_subset_config`, or the extension of the same: [`Self::balancer`] chooses within a subset.
    pub subsets: Option<Box<Subsets>>,
    /// `OverrideHost.override_host_sources`: the headers whose first values name endpoints that come
    /// before what [`Self::balancer`] chooses, in order and in lower case. `None` without that extension.
    pub override_headers: Option<Vec<String>>,
    /// Every request that chooses this cluster is undecided from there on (its endpoint).
    pub unsupported: Option<Unsupported>,
}

/// How an endpoint that has come gets to its full weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowStart {
    /// `slow_start_window`, in whole milliseconds; above 0.
    pub window_ms: u64,
    /// `aggression`: the share of the window that has passed counts to the power of 1 over this;
    /// above 0.
    pub aggression: f64,
    /// `min_weight_percent`, as a share of the weight.
    pub least: f64,
}

/// How far Envoy's own locality is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneAware {
    /// `routing_enabled`, in percent of the requests.
    pub routing_enabled: u64,
    /// `min_cluster_size`, in healthy endpoints.
    pub min_cluster_size: u64,
    /// `force_locality_direct_routing`.
    pub force_direct: bool,
}

impl Default for ZoneAware {
    fn default() -> Self {
        Self {
            routing_enabled: 100,
            min_cluster_size: 6,
            force_direct: false,
        }
    }
}

/// The subsets of a cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Subsets {
    /// The fields that `Cluster.lb_subset_config` and the extension have in common.
    pub config: LbSubsetConfig,
    /// `Subset.allow_redundant_keys`, of the extension alone. Its selectors stand in the order in
    /// which they are tried, the longest first.
    pub allow_redundant_keys: bool,
}

/// How a cluster's endpoints are chosen, of the ways that are decided here.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Balancer {
    /// `ROUND_ROBIN`, or the extension of the same name.
    #[default]
    RoundRobin,
    /// `LEAST_REQUEST`, or the extension of the same name.
    LeastRequest {
        /// How many endpoints are drawn; at least 2.
        choice_count: u32,
        /// Exponent of the active requests in a weighted endpoint's weight; 1.0 unless the
        /// configuration says otherwise.
        active_request_bias: f64,
        /// `selection_method: FULL_SCAN`, or `enable_full_scan`: all endpoints of equal weights are
        /// looked at instead.
        full_scan: bool,
    },
    /// `RING_HASH`, or the extension of the same name.
    RingHash(RingHash),
    /// `MAGLEV`, or the extension of the same name.
    Maglev(Maglev),
    /// `RANDOM`, or the extension of the same name.
    Random,
    /// `CLUSTER_PROVIDED`, of a cluster of type ORIGINAL_DST: where the connection was going.
    OriginalDestination,
}

/// A ring of hashes of the endpoints' keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingHash {
    /// `minimum_ring_size`, in hashes.
    pub minimum: u64,
    /// `maximum_ring_size`, in hashes.
    pub maximum: u64,
    /// `hash_function: MURMUR_HASH_2`; else xxHash64.
    pub murmur: bool,
    /// What both hash balancers have.
    pub hashing: Hashing,
}

/// A table of endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maglev {
    /// `table_size`, in entries: a prime.
    pub table_size: u64,
    /// What both hash balancers have.
    pub hashing: Hashing,
}

/// What both hash balancers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hashing {
    /// `use_hostname_for_hashing`: an endpoint's key is its host name, not its address.
    pub by_hostname: bool,
    /// `locality_weighted_lb_config`: an endpoint's share is one of its locality's.
    pub locality_weighted: bool,
    /// `hash_balance_factor`, in percent of an endpoint's share of the active requests; 0: none.
    pub balance_factor: u32,
}

impl Balancer {
    /// Whether it looks at the request's hash.
    pub fn hashes(self) -> bool {
        matches!(self, Self::RingHash(_) | Self::Maglev(_))
    }
}

impl Cluster {
    /// Whether `zone_aware_lb_config` may have a say over the cluster's load, where Envoy itself is in
    /// the cluster `local`.
    pub fn is_spread_by_zone(&self, local: &str) -> bool {
        let groups = self.load_assignment.iter().flat_map(|it| &it.endpoints);
        let groups = groups.filter(|it| it.priority == 0 && !it.lb_endpoints.is_empty());
        let names = groups.map(|group| {
            let locality = group.locality.clone().unwrap_or_default();
            (locality.region, locality.zone, locality.sub_zone)
        });
        self.name != local
            && !self.balancer.hashes()
            && self.balancer != Balancer::OriginalDestination
            && names.collect::<BTreeSet<_>>().len() > 1
    }
}

impl Snapshot {
    /// The filter chains of all listeners, in order.
    pub fn all_filter_chains(&self) -> impl Iterator<Item = &FilterChain> {
        self.listeners.iter().flat_map(Listener::all_filter_chains)
    }

    /// The route configurations that stand in connection managers, as indices into
    /// [`Snapshot::route_configurations`].
    pub fn inline_route_configurations(&self) -> BTreeSet<usize> {
        let inline = self.all_filter_chains();
        inline
            .filter_map(FilterChain::inline_route_configuration)
            .collect()
    }

    /// Whether the load of one of its clusters may be spread by zone.
    pub fn spreads_by_zone(&self, cluster: &Cluster) -> bool {
        let local = self.local_cluster.as_deref();
        local.is_some_and(|local| cluster.is_spread_by_zone(local))
    }

    /// The cluster of this name.
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    /// The route configuration of this name.
    pub fn route_configuration(&self, name: &str) -> Option<&RouteConfiguration> {
        self.route_configurations
            .iter()
            .find(|route_configuration| route_configuration.name == name)
    }
}
