//! What a request can reach.

use serde::Serialize;
use twinmesh_xds::http_filter::Level;

/// Where a route stands, in indices into the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteAt {
    /// Index into `Snapshot::route_configurations`.
    pub configuration: usize,
    /// Index into `RouteConfiguration.virtual_hosts`.
    pub virtual_host: usize,
    /// Index into `VirtualHost.routes`.
    pub route: usize,
}

/// A matcher of a route: the one that would fail.
pub use twinmesh_engine::Failed as Part;

/// A filter of a filter chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter {
    /// Index into `Snapshot::listeners`.
    pub listener: usize,
    /// Index into `Listener.filter_chains`; `None`: the default filter chain.
    pub chain: Option<usize>,
    /// Index into `HttpConnectionManager.http_filters` or `FilterChain.filters`.
    pub filter: usize,
}

/// Where policies of RBAC stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyOf {
    /// In an HTTP filter.
    Http(Filter),
    /// In a network filter.
    Network(Filter),
    /// In what a level of a route configuration says to an HTTP filter.
    Level {
        /// Index into `Snapshot::route_configurations`.
        configuration: usize,
        /// The level.
        level: Level,
        /// The place of the filter's name among those that the level speaks to, in their order.
        name: usize,
    },
}

/// One thing that a request reaches or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Goal {
    /// The listener takes a connection.
    Listener(usize),
    /// The filter chain takes a connection.
    FilterChain {
        /// Index into `Snapshot::listeners`.
        listener: usize,
        /// Index into `Listener.filter_chains`; `None`: the default filter chain.
        chain: Option<usize>,
    },
    /// A criterion of `filter_chain_match` keeps a connection to the listener from the chain.
    Criterion {
        /// Index into `Snapshot::listeners`.
        listener: usize,
        /// Index into `Listener.filter_chains`.
        chain: usize,
        /// The field of `FilterChainMatch`.
        criterion: &'static str,
    },
    /// A policy of RBAC is asked about a request or a connection, and matches or does not; of a matcher
    /// tree, it leads to this action or to another one.
    Policy {
        /// Where it stands.
        of: PolicyOf,
        /// Its place in the order of the names; of actions: depth first.
        policy: usize,
        /// Which side.
        matches: bool,
    },
    /// An HTTP filter that is none of RBAC answers a request.
    Answer(Filter),
    /// The domain brings a request to its virtual host.
    Domain {
        /// Index into `Snapshot::route_configurations`.
        configuration: usize,
        /// Index into `RouteConfiguration.virtual_hosts`.
        virtual_host: usize,
        /// Index into `VirtualHost.domains`.
        domain: usize,
    },
    /// The route takes a request, and nothing answers it before the route's action.
    Route(RouteAt),
    /// The route takes a request through this matcher: the side on which it accepts.
    Accepts(RouteAt, Part),
    /// No route before takes a request, and of the route's matchers this one alone refuses it.
    Refuses(RouteAt, Part),
    /// The entry of `weighted_clusters.clusters` is chosen.
    Weight(RouteAt, usize),
    /// The cluster is chosen: index into `Snapshot::clusters`.
    Cluster(usize),
    /// The endpoint is chosen.
    Endpoint {
        /// Index into `Snapshot::clusters`.
        cluster: usize,
        /// Index into `ClusterLoadAssignment.endpoints`.
        locality: usize,
        /// Index into its `lb_endpoints`.
        endpoint: usize,
    },
}

/// What goals are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Listeners.
    Listeners,
    /// Filter chains.
    FilterChains,
    /// Criteria of filter chains, on the side on which they refuse.
    Criteria,
    /// Policies of RBAC, each side counted.
    Policies,
    /// HTTP filters that are none of RBAC, on the side on which they answer.
    Answers,
    /// Domains of virtual hosts.
    Domains,
    /// Routes.
    Routes,
    /// Matchers of routes, each side counted.
    Matchers,
    /// Entries of weighted clusters.
    WeightedClusters,
    /// Clusters.
    Clusters,
    /// Endpoints.
    Endpoints,
}

impl Kind {
    /// All, in the order of the tables.
    pub const ALL: [Self; 11] = [
        Self::Listeners,
        Self::FilterChains,
        Self::Criteria,
        Self::Policies,
        Self::Answers,
        Self::Domains,
        Self::Routes,
        Self::Matchers,
        Self::WeightedClusters,
        Self::Clusters,
        Self::Endpoints,
    ];

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Listeners => "listeners",
            Self::FilterChains => "filter chains",
            Self::Criteria => "filter chain criteria",
            Self::Policies => "RBAC policy sides",
            Self::Answers => "filters that answer",
            Self::Domains => "domains",
            Self::Routes => "routes",
            Self::Matchers => "matcher sides",
            Self::WeightedClusters => "weighted clusters",
            Self::Clusters => "clusters",
            Self::Endpoints => "endpoints",
        }
    }
}

impl Goal {
    /// What it is counted by.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Listener(_) => Kind::Listeners,
            Self::FilterChain { .. } => Kind::FilterChains,
            Self::Criterion { .. } => Kind::Criteria,
            Self::Policy { .. } => Kind::Policies,
            Self::Answer(_) => Kind::Answers,
            Self::Domain { .. } => Kind::Domains,
            Self::Route(_) => Kind::Routes,
            Self::Accepts(..) | Self::Refuses(..) => Kind::Matchers,
            Self::Weight(..) => Kind::WeightedClusters,
            Self::Cluster(_) => Kind::Clusters,
            Self::Endpoint { .. } => Kind::Endpoints,
        }
    }

    /// The route that it belongs to.
    pub fn route(&self) -> Option<RouteAt> {
        match self {
            Self::Route(at) | Self::Accepts(at, _) | Self::Refuses(at, _) | Self::Weight(at, _) => {
                Some(*at)
            }
            _ => None,
        }
    }
}
