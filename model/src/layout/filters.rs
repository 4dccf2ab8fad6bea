//! HTTP filters, which userspace alone runs ([`crate::Machine::FILTERS`]).

/// The filters of a filter chain: four words, then those of its connection manager, a record each.
pub mod http_filters {
    /// Low: how many; high: slot of the server name that the connection asked for plus one, or 0
    /// where no filter looks at it.
    pub const COUNT: u64 = 0;
    /// Low: `xff_num_trusted_hops`; high: flags.
    pub const CLIENT: u64 = 8;
    /// Slot of x-forwarded-for.
    pub const FORWARDED_FOR: u64 = 16;
    /// Low: offset of the chain's own filters, one record of [`network_rbac`](super::network_rbac) each;
    /// high: how many.
    pub const NETWORK: u64 = 24;
    /// The filters.
    pub const FILTERS: u64 = 32;

    /// Flag: `use_remote_address`.
    pub const REMOTE_ADDRESS: u64 = 1;
    /// Flag: the listener reads the ClientHello.
    pub const INSPECTS_TLS: u64 = 2;
    /// Flag: `upstream_connect_mode: ON_DOWNSTREAM_DATA` of the chain's TCP proxy.
    pub const WAITS_FOR_DATA: u64 = 4;
}

/// An HTTP filter.
pub mod http_filter {
    /// Low: kind; high: index in the connection manager's list.
    pub const KIND: u64 = 0;
    /// Low: offset of its configuration, or 0 where it does nothing; high: flags.
    pub const CONFIG: u64 = 8;
    /// Low: number of its name, by which levels speak to it; high: 0.
    pub const NAME: u64 = 16;
    /// Low: first state word; high: how many.
    pub const STATE: u64 = 24;

    /// Kind: RBAC.
    pub const RBAC: u64 = 1;
    /// Kind: faults.
    pub const FAULT: u64 = 2;
    /// Kind: local rate limits.
    pub const LOCAL_RATE_LIMIT: u64 = 3;
    /// Kind: another.
    pub const OTHER: u64 = 4;
    /// Kind: CORS.
    pub const CORS: u64 = 5;
    /// Kind: health checks.
    pub const HEALTH_CHECK: u64 = 6;

    /// Flag: `disabled`.
    pub const DISABLED: u64 = 1;
    /// Flag: it is not decided, by the reason of this number, which stands in the configuration's
    /// place.
    pub const UNDECIDED: u64 = 2;
}

/// What a level of a route configuration says to a filter: records in order of their first two
/// words.
pub mod per_filter {
    /// Low: as the level has it, an offset or the route's number; high: the level.
    pub const PLACE: u64 = 0;
    /// Low: number of the filter's name; high: index of the weighted cluster's entry.
    pub const FILTER: u64 = 8;
    /// Low: offset of the configuration, or 0 for one that does nothing; high: flags.
    pub const CONFIG: u64 = 16;
    /// The kind of filter that the configuration is for; 0 where there is none.
    pub const KIND: u64 = 24;

    /// Level: a route configuration, by its record.
    pub const ROUTE_CONFIGURATION: u64 = 0;
    /// Level: a virtual host, by its record.
    pub const VIRTUAL_HOST: u64 = 1;
    /// Level: a route, by its number.
    pub const ROUTE: u64 = 2;
    /// Level: an entry of weighted clusters, by the route's number.
    pub const ENTRY: u64 = 3;
}

/// A fraction of the requests. Low: numerator; high: denominator.
pub mod fraction {
    /// Every request.
    pub const ALL: u64 = 1 | 1 << 32;
}

/// RBAC.
pub mod rbac {
    /// The outcome where the rules match: 1 to go on, 0 to refuse; the other where they do not.
    /// [`TREE`]: what a tree leads to says the outcome.
    pub const PASSES: u64 = 0;
    /// The first condition: as in [`condition::NEXT`](super::condition::NEXT); or the first
    /// [`branch`](super::branch) of the tree.
    pub const RULES: u64 = 8;
    /// Bytes of the record.
    pub const BYTES: u64 = 16;

    /// A matcher tree decides; what leads nowhere is refused.
    pub const TREE: u64 = 2;
}

/// RBAC of connections.
pub mod network_rbac {
    /// Index in `FilterChain.filters`.
    pub const INDEX: u64 = 0;
    /// Low: as in [`rbac::RULES`](super::rbac::RULES); high: as in
    /// [`rbac::PASSES`](super::rbac::PASSES).
    pub const RULES: u64 = 8;
}

/// A condition of RBAC's rules, with where to go on from it.
pub mod condition {
    /// Bits 0..8 the kind, 8..16 what of the request is compared, 16..24 whether the range is
    /// IPv6; high: bits of the prefix.
    pub const KIND: u64 = 0;
    /// Offset of the matcher, the DFA, or of the range's address, 16 bytes; or the ports from low to high,
    /// the last not included; or the slot.
    pub const VALUE: u64 = 8;
    /// Low: the condition to go on with where it holds; high: where it does not. [`FALSE`] and
    /// [`TRUE`] end the rules.
    pub const NEXT: u64 = 16;

    /// The rules do not match.
    pub const FALSE: u64 = 0;
    /// The rules match. The bits above are the number of the policy.
    pub const TRUE: u64 = 1;

    /// Kind: a matcher of a header, the path or the server name.
    pub const MATCHER: u64 = 1;
    /// Kind: an address range.
    pub const ADDRESS: u64 = 2;
    /// Kind: a range of the destination's port.
    pub const PORT: u64 = 3;
    /// Kind: the connection is TLS, of which it is not decided who the peer is.
    pub const AUTHENTICATED: u64 = 4;

    /// Kind: the first value of a header. Low: its slot; high: the value's number.
    pub const FIRST_VALUE: u64 = 5;
    /// Kind: a slot has some value.
    pub const PRESENT: u64 = 6;
    /// Kind: the route chose a cluster. Two words: low the offset of its record, high of its name;
    /// the name's length.
    pub const CLUSTER: u64 = 7;

    /// Kind: what is asked is not decided, for the reason of this number.
    pub const UNDECIDED: u64 = 8;

    /// Kind: a DFA accepts the text of an address, a port or something else of the connection. What is
    /// not there has no text, which none accepts.
    pub const TEXT: u64 = 9;
    /// Kind: the first value of a slot is not empty.
    pub const NOT_EMPTY: u64 = 10;

    /// Address: the destination's.
    pub const DESTINATION: u64 = 0;
    /// Address: the connection's source.
    pub const SOURCE: u64 = 1;
    /// Address: the client's, which x-forwarded-for may say.
    pub const CLIENT: u64 = 2;
    /// Port: the destination's.
    pub const DESTINATION_PORT: u64 = 3;
    /// Port: the connection's source's.
    pub const SOURCE_PORT: u64 = 4;
    /// Port: the client's, 0 where x-forwarded-for says its address.
    pub const CLIENT_PORT: u64 = 5;
    /// Text, of a listener's tree: the server name, as far as the listener reads it.
    pub const SERVER_NAME: u64 = 6;
    /// Text, of a listener's tree: `tls` or `raw_buffer`.
    pub const TRANSPORT_PROTOCOL: u64 = 7;
    /// Text, of a listener's tree: the client's protocols, each in `'`, with commas between.
    pub const APPLICATION_PROTOCOL: u64 = 8;
    /// Text, of a listener's tree: `local`, where the source is.
    pub const SOURCE_TYPE: u64 = 9;
}

/// Faults: a record of words.
pub mod fault {
    /// Low: flags; high: `max_active_faults`, or [`UNLIMITED`].
    pub const FLAGS: u64 = 0;
    /// `fixed_delay`, in milliseconds.
    pub const DELAY: u64 = 8;
    /// The share of the requests that are delayed.
    pub const DELAYED: u64 = 16;
    /// The status of an abort.
    pub const STATUS: u64 = 24;
    /// The share of the requests that are aborted.
    pub const ABORTED: u64 = 32;
    /// `headers`. Low: offset of the matchers; high: how many.
    pub const HEADERS: u64 = 40;
    /// `downstream_nodes`: matchers of which one has to hold, where there are any.
    pub const NODES: u64 = 48;
    /// `upstream_cluster`. Low: the cluster's record, or 0 where any will do; high: the offset of
    /// its name.
    pub const CLUSTER: u64 = 56;
    /// Length of the cluster's name.
    pub const NAME: u64 = 64;
    /// Slots of the headers that say a delay and its share.
    pub const DELAY_SLOTS: u64 = 72;
    /// Slots of the headers that say an abort's HTTP status and its share.
    pub const ABORT_SLOTS: u64 = 80;
    /// Low: slot of the header that says an abort's gRPC status.
    pub const GRPC_SLOT: u64 = 88;
    /// Bytes of the record.
    pub const BYTES: u64 = 96;

    /// No limit to the active faults.
    pub const UNLIMITED: u64 = 0xffff_ffff;

    /// Flag: there is a delay.
    pub const DELAYS: u64 = 1;
    /// Flag: `header_delay`.
    pub const DELAY_BY_HEADER: u64 = 2;
    /// Flag: there is an abort.
    pub const ABORTS: u64 = 4;
    /// Flag: `header_abort`.
    pub const ABORT_BY_HEADER: u64 = 8;
}

/// Local rate limits: a record of words.
pub mod local_rate_limit {
    /// The status of a request that finds no token.
    pub const STATUS: u64 = 0;
    /// `filter_enabled`. Low: numerator; high: denominator.
    pub const ENABLED: u64 = 8;
    /// `filter_enforced`.
    pub const ENFORCED: u64 = 16;
    /// Offset of the [`token_bucket`](super::token_bucket), or 0.
    pub const BUCKET: u64 = 24;
    /// Low: offset of the descriptors' buckets, one record each, or 0 without descriptors; high: 1
    /// where [`BUCKET`] gives a token to requests with a descriptor, too.
    pub const DESCRIPTORS: u64 = 32;
    /// Low: offset of what each route asks for, in order of their numbers, two words each: number and
    /// offset of the [`rate_limits`](super::rate_limits); high: how many.
    pub const ROUTES: u64 = 40;
    /// Offset of the filter's own [`rate_limits`](super::rate_limits), which count instead, or 0.
    pub const OWN: u64 = 48;
    /// Bytes of the record.
    pub const BYTES: u64 = 56;
}

/// The descriptors that a request may have: a word, then two words each.
pub mod rate_limits {
    /// Low: how many; high: 1 where some take the client's address.
    pub const COUNT: u64 = 0;
    /// The first one. A word with bits 0..16 the rate limit, 16..32 the place of its bucket among
    /// those that fill slower, high: the bucket's index; then the [`condition`](super::condition) on
    /// which the request has it.
    pub const FIRST: u64 = 8;
    /// Bytes of one.
    pub const BYTES: u64 = 16;
    /// Rate limits of one request.
    pub const MOST: usize = 16;
}

/// A token bucket.
pub mod token_bucket {
    /// `max_tokens`.
    pub const MAX_TOKENS: u64 = 0;
    /// `tokens_per_fill`.
    pub const TOKENS_PER_FILL: u64 = 8;
    /// `fill_interval`, in nanoseconds.
    pub const FILL_INTERVAL: u64 = 16;
    /// Low: first word of its state.
    pub const STATE: u64 = 24;
    /// Words of its state.
    pub const STATES: usize = 3;
    /// Bytes of the record.
    pub const BYTES: u64 = 32;
}

/// CORS: a record of words.
pub mod cors {
    /// Matchers of origins. Low: their offset; high: how many.
    pub const ORIGINS: u64 = 0;
    /// The share of the requests that the filter looks at.
    pub const ENABLED: u64 = 8;
    /// Low: slot of `origin`; high: slot of `access-control-request-method`.
    pub const SLOTS: u64 = 16;
    /// Flags.
    pub const FLAGS: u64 = 24;

    /// Flag: every origin is listed.
    pub const ALL: u64 = 1;
    /// Flag: preflight requests from others are forwarded.
    pub const FORWARDS_OTHERS: u64 = 2;
}

/// Health checks: a record of words.
pub mod health_check {
    /// The status with which they are answered.
    pub const STATUS: u64 = 0;
    /// Matchers of what is one. Low: their offset; high: how many.
    pub const HEADERS: u64 = 8;
}

/// What a filter did: a word of [`work::FILTER_STEPS`](super::work::FILTER_STEPS). Bits 0..16 its
/// index in the connection manager's list, 16..32 what, 32..64 the status or the milliseconds; of a
/// network filter its index in the chain and the number of the policy that matched plus one, or 0. A
/// listener's tree leaves one, too.
pub mod filter_step {
    /// It looked at the request and let it on.
    pub const PASSED: u64 = 1;
    /// It delayed it.
    pub const DELAYED: u64 = 2;
    /// It answered.
    pub const ANSWERED: u64 = 3;
    /// A network filter let the connection on.
    pub const NETWORK_PASSED: u64 = 4;
    /// A network filter closed the connection.
    pub const NETWORK_CLOSED: u64 = 5;
    /// The listener's tree led to an action; above, its place.
    pub const FILTER_CHAIN_NAMED: u64 = 6;
}
