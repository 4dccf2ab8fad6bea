//! How a decision came about, step by step, in indices into the snapshot.

/// The steps in the order in which they were taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trace {
    /// The steps.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The listener that takes the connection: index into `Snapshot::listeners`.
    Listener(usize),
    /// The action that the listener's `filter_chain_matcher` leads to, which names a filter chain: its
    /// place among the tree's, depth first.
    FilterChainMatcher(usize),
    /// The filter chain.
    FilterChain(Chain),
    /// The head was refused.
    BadRequest(BadRequest),
    /// The route configuration: index into `Snapshot::route_configurations`.
    RouteConfiguration(usize),
    /// The virtual host: its index, and which kind of domain matched.
    VirtualHost {
        /// Index into `RouteConfiguration::virtual_hosts`.
        virtual_host: usize,
        /// Which kind of domain matched.
        domain: Domain,
    },
    /// A route before the matching one (or any, where none matched), and its first matcher that
    /// failed, in Envoy's order: the runtime fraction first, the path last.
    RouteNotMatched {
        /// Index in the virtual host.
        route: usize,
        /// The matcher that failed.
        failed: Failed,
    },
    /// The route that matched: its index in the virtual host.
    Route(usize),
    /// The choice among weighted clusters.
    WeightedCluster {
        /// Index in `WeightedCluster.clusters`.
        entry: usize,
        /// The random number modulo the total weight.
        value: u64,
        /// The entry's interval is `from..to`.
        from: u64,
        /// End of the interval, exclusive.
        to: u64,
    },
    /// An HTTP filter that looked at the request.
    Filter {
        /// Index into `HttpConnectionManager.http_filters`.
        filter: usize,
        /// What it did.
        did: Did,
    },
    /// A network filter that looked at the connection: RBAC. Where a TCP proxy is behind it, that has
    /// chosen an endpoint by then, unless it waits for the first data.
    NetworkFilter {
        /// Index into `FilterChain.filters`.
        filter: usize,
        /// The policy that matched: its place in the order of their names. None where none matches.
        policy: Option<usize>,
        /// It closed the connection.
        closes: bool,
    },
    /// The cluster: index into `Snapshot::clusters`.
    Cluster(usize),
    /// Headers that a level of the route configuration adds and removes.
    Mutation {
        /// Whose headers.
        of: MutationOf,
        /// Where the mutations stand.
        level: Level,
    },
    /// A copy that goes to another cluster: index into `request_mirror_policies`.
    Mirror {
        /// Whose policies count.
        level: MirrorLevel,
        /// The policy.
        policy: usize,
    },
    /// The priority chosen.
    Priority {
        /// The priority.
        priority: u32,
        /// The number 1..=100 that chose it.
        value: u32,
        /// Chosen from the degraded load.
        degraded: bool,
        /// The priority is in panic: every endpoint of it may be used.
        panic: bool,
    },
    /// `OverrideHost`: the header of this place among its `override_host_sources` names the endpoint; no
    /// priority is chosen.
    OverrideHost(usize),
    /// The endpoint: its place in the load assignment.
    Endpoint {
        /// Index into `ClusterLoadAssignment.endpoints`.
        locality: usize,
        /// Index into its `lb_endpoints`.
        endpoint: usize,
    },
    /// The request is not decided beyond this point.
    Unsupported,
}

/// Whose headers a mutation changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MutationOf {
    /// Those of the request that the endpoint gets.
    Request,
    /// Those of the response that the client gets.
    Response,
}

/// Where header mutations stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `WeightedCluster.ClusterWeight`, the entry that was chosen.
    WeightedCluster,
    /// `Route`.
    Route,
    /// `VirtualHost`.
    VirtualHost,
    /// `RouteConfiguration`.
    RouteConfiguration,
}

/// Where mirror policies stand: only those of the first level that has some count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MirrorLevel {
    /// `HttpProtocolOptions` of the cluster.
    Cluster,
    /// `RouteAction`.
    Route,
    /// `VirtualHost`.
    VirtualHost,
    /// `RouteConfiguration`.
    RouteConfiguration,
}

/// Which filter chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// Index into `Listener::filter_chains`.
    Index(usize),
    /// The default filter chain.
    Default,
}

/// What an HTTP filter did with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Did {
    /// It let the request on.
    Pass,
    /// It delayed it by so many milliseconds.
    Delay(u64),
    /// It answered with this status, which a gRPC client gets inside a 200.
    Answer(u32),
}

/// Which kind of domain of a virtual host matched; the more specific kinds go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// Equal to the host.
    Exact,
    /// `*x`.
    Suffix,
    /// `x*`.
    Prefix,
    /// `*`.
    Any,
}

/// A matcher that failed, in Envoy's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failed {
    /// `RouteMatch.runtime_fraction`.
    RuntimeFraction,
    /// `RouteMatch.grpc`.
    Grpc,
    /// Index into `RouteMatch.headers`.
    Header(usize),
    /// Index into `RouteMatch.query_parameters`.
    QueryParameter(usize),
    /// Index into `RouteMatch.cookies`.
    Cookie(usize),
    /// `RouteMatch.tls_context`.
    TlsContext,
    /// Index into `RouteMatch.dynamic_metadata`.
    DynamicMetadata(usize),
    /// `RouteMatch.path_specifier`.
    Path,
}

/// Why a request head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum BadRequest {
    /// The request line is not `METHOD SP target SP HTTP/1.x`.
    RequestLine = 1,
    /// A header line has no colon, an empty or invalid name, or starts with white space.
    HeaderName,
    /// A header value holds a byte that may not be in one.
    HeaderValue,
    /// HTTP/1.1 without Host.
    NoHost,
    /// More than one Host.
    DuplicateHost,
    /// Host is not a valid authority.
    InvalidHost,
    /// Content-Length is not a number, or two of them differ.
    ContentLength,
    /// Transfer-Encoding is not `chunked`, repeated, or beside Content-Length.
    TransferEncoding,
    /// The target is not a valid one, or has a fragment.
    Target,
    /// The head is larger, or has more headers, than Envoy takes (431).
    TooLarge,
    /// The target says https, and a connection manager at the edge has it without TLS (403).
    Scheme,
    /// Connection names a header that may not be taken away, or too much.
    Connection,
    /// It asks for an upgrade that neither route nor connection manager allows (403).
    Upgrade,
}

impl std::fmt::Display for BadRequest {
    /// In words, about the head.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::RequestLine => "the request line is not `METHOD target HTTP/1.x`",
            Self::HeaderName => "a header line has no colon, or no valid name",
            Self::HeaderValue => "a header value has a byte that may not be in one",
            Self::NoHost => "it has no Host",
            Self::DuplicateHost => "it has more than one Host",
            Self::InvalidHost => "Host is no valid authority",
            Self::ContentLength => "Content-Length is no number, or two of them differ",
            Self::TransferEncoding => {
                "Transfer-Encoding is not `chunked`, repeated, or beside Content-Length"
            }
            Self::Target => "the target is not a valid one, or has a fragment",
            Self::TooLarge => "it is larger, or has more headers, than Envoy takes",
            Self::Scheme => "the target says https on a connection without TLS",
            Self::Connection => "Connection names a header that may not be taken away, or too many",
            Self::Upgrade => "it asks for an upgrade that is not allowed",
        })
    }
}
