//! Where things stand in the compiled policy: its header and its records.

/// The header of the policy.
pub mod header {
    /// [`super::MAGIC`].
    pub const MAGIC: u64 = 0;
    /// Low: offset of the trie table; high: its number of entries less one.
    pub const TRIE: u64 = 8;
    /// Low: root of the listeners by address and port, or 0; high: by port alone, for IPv4.
    pub const LISTENERS: u64 = 16;
    /// Low: root of the listeners by port alone, for IPv6; high: offset of the listener that takes
    /// what no other does, or 0.
    pub const LISTENERS_BY_PORT: u64 = 24;
    /// Low: root of the header names; high: offset of the 512-bit filter over them.
    pub const HEADER_NAMES: u64 = 32;
    /// Low: root of the query parameter names; high: offset of the slots' table.
    pub const QUERY_PARAMETERS: u64 = 40;
    /// Low: offset of the routes' table.
    pub const ROUTES: u64 = 48;
    /// Low: first state word of the endpoints' active counts.
    pub const ACTIVE: u64 = 56;
    /// Low: root of the methods that Envoy's parser knows; high: DFA of absolute targets.
    pub const METHODS: u64 = 64;
    /// Low: DFA of the values of Connection that change nothing.
    pub const CONNECTION: u64 = 72;
    /// Low: 1 where some route refers to x-forwarded-proto, a pseudo header or the path without its
    /// query, else 0.
    pub const PSEUDO_HEADERS: u64 = 80;
    /// Low: root of the clusters' names, or 0.
    pub const CLUSTERS: u64 = 88;
    /// What levels of route configurations say to filters. Low: offset; high: how many records.
    pub const PER_FILTERS: u64 = 96;
    /// Low: DFA of the targets that Envoy's parser takes, beside those that start with `/` or `*`;
    /// high: root of the names of headers of which Envoy keeps one entry, numbered from 1 to 63.
    pub const TARGETS: u64 = 104;
    /// Bytes of the header.
    pub const BYTES: u64 = 128;
}

/// First word of a policy: the layout's name and version.
pub const MAGIC: u64 = u64::from_le_bytes(*b"twinmsh1");

/// Bytes that a text of the policy may have: a path, a domain, a header's name or value.
pub const TEXT_BYTES: u64 = 1024;

/// A record of 32 bytes: listener, filter chain, route configuration, virtual host, class, route,
/// matcher, cluster, set.
pub const RECORD: u64 = 32;

/// Listener. `0`: low: first filter chain node, high: default filter chain. `8`: low: its reason
/// if it is not decided, high: its port. `16`: its index. `24`: its matcher tree.
pub mod listener {
    /// Low: root node of the filter chain match, or 0; high: default filter chain, or 0.
    pub const CHAINS: u64 = 0;
    /// Low: number of the reason why it is not decided, or 0;
    /// [`unsupported::FILTER_CHAIN_MATCHER`](super::unsupported::FILTER_CHAIN_MATCHER) where a tree
    /// chooses the filter chain.
    pub const REASON: u64 = 8;
    /// Low: its index in the snapshot; high: flags.
    pub const INDEX: u64 = 16;
    /// The first [`branch`](super::branch) of `filter_chain_matcher`, or 0. In userspace.
    pub const TREE: u64 = 24;

    /// Flag: `use_original_dst`.
    pub const USE_ORIGINAL_DST: u64 = 1;
    /// Flag: the TLS inspector reads the ClientHello.
    pub const INSPECTS_TLS: u64 = 2;
    /// Flag: the HTTP inspector reads the request line.
    pub const INSPECTS_HTTP: u64 = 4;
    /// Flag: nothing but the destination decides about its connections, and they are plainly
    /// forwarded: an endpoint can be chosen at connect(2).
    pub const CONNECT_TIME: u64 = 8;
    /// Flag: every filter chain is an HTTP connection manager's, so that each request is decided by
    /// itself.
    pub const BY_REQUEST: u64 = 16;
}

/// A node of the filter chain match; each level has one kind of key.
pub mod filter_chain_node {
    /// Low and high: two tries' roots (or 0) or two children, as the level has it. The addresses'
    /// are IPv4 and IPv6; the server names' whole names, and suffixes reversed; the transport
    /// protocol's `tls` and `raw_buffer`; the source type's local and external.
    pub const CHILDREN: u64 = 0;
    /// Low: the child where nothing more specific matched, or 0.
    pub const DEFAULT: u64 = 8;
    /// High: the level.
    pub const LEVEL: u64 = 16;

    /// Level: not a node, but the filter chain's record.
    pub const CHAIN: u64 = 0;
    /// Level: `destination_port`.
    pub const DESTINATION_PORT: u64 = 1;
    /// Level: `prefix_ranges`.
    pub const DESTINATION_ADDRESS: u64 = 2;
    /// Level: `server_names`.
    pub const SERVER_NAME: u64 = 3;
    /// Level: `transport_protocol`.
    pub const TRANSPORT_PROTOCOL: u64 = 4;
    /// Level: `application_protocols`.
    pub const APPLICATION_PROTOCOL: u64 = 5;
    /// Level: `direct_source_prefix_ranges`.
    pub const DIRECT_SOURCE_ADDRESS: u64 = 6;
    /// Level: `source_type`.
    pub const SOURCE_TYPE: u64 = 7;
    /// Level: `source_prefix_ranges`.
    pub const SOURCE_ADDRESS: u64 = 8;
    /// Level: `source_ports`.
    pub const SOURCE_PORT: u64 = 9;
}

/// Filter chain.
pub mod filter_chain {
    /// Low: [`HTTP`](super::filter_chain::HTTP) or another kind; high: flags.
    pub const KIND: u64 = 0;
    /// Low: route configuration, or the TCP proxy's action (a route record); high: bits 0..16
    /// `max_request_headers_kb`, bits 16..32 `max_headers_count`.
    pub const TARGET: u64 = 8;
    /// Low: its index in the listener; `u32::MAX` the default filter chain; high:
    /// [`filter_chain_node::CHAIN`](super::filter_chain_node::CHAIN).
    pub const INDEX: u64 = 16;
    /// Low: number of the reason why it is not decided, or 0; high: DFA of the paths that path
    /// normalisation leaves as they are, or 0.
    pub const REASON: u64 = 24;
    /// Low: offset of its [`http_filters`](super::http_filters), where the reason is
    /// [`unsupported::FILTERS`](super::unsupported::FILTERS); high: offset of its
    /// [`internal_addresses`](super::internal_addresses), or 0 where no client is inside.
    pub const FILTERS: u64 = 32;

    /// Kind: HTTP connection manager.
    pub const HTTP: u64 = 1;
    /// Kind: TCP proxy.
    pub const TCP: u64 = 2;

    /// Flag: `strip_any_host_port`.
    pub const STRIP_ANY_PORT: u64 = 1;
    /// Flag: `strip_matching_host_port`.
    pub const STRIP_MATCHING_PORT: u64 = 2;
    /// Flag: `strip_trailing_host_dot`.
    pub const STRIP_TRAILING_DOT: u64 = 4;
    /// The flags that change the host.
    pub const STRIP: u64 = STRIP_ANY_PORT | STRIP_MATCHING_PORT | STRIP_TRAILING_DOT;
    /// Flag: `headers_with_underscores_action: REJECT_REQUEST`.
    pub const REJECT_UNDERSCORES: u64 = 8;
    /// Flag: `headers_with_underscores_action: DROP_HEADER`.
    pub const DROP_UNDERSCORES: u64 = 16;
    /// Flag: `use_remote_address` without trusted hops: x-forwarded-proto is the connection's.
    pub const OWN_FORWARDED_PROTO: u64 = 32;
    /// Flag: something in the HTTP/1 options is not decided where it would matter:
    /// `allow_chunked_length`, `allow_absolute_url: false`.
    pub const UNUSUAL_OPTIONS: u64 = 64;
    /// Flag: its filters and options ask for nothing but forwarding.
    pub const PLAIN: u64 = 128;
}

/// Which clients a connection manager takes to be inside (`internal_address_config`), which userspace
/// alone reads: two words, then the ranges.
pub mod internal_addresses {
    /// Low: how many ranges; high: 1 with `use_remote_address`.
    pub const COUNT: u64 = 0;
    /// Slot of x-forwarded-for.
    pub const FORWARDED_FOR: u64 = 8;
    /// The ranges.
    pub const RANGES: u64 = 16;
    /// Bytes of a range. Low: bits of the prefix; high: 1 for IPv6; then the address, 16 bytes.
    pub const RANGE: u64 = 24;
}

/// Route configuration.
pub mod route_configuration {
    /// Low: root of exact and prefix domains; high: root of suffix domains, reversed.
    pub const DOMAINS: u64 = 0;
    /// Low: virtual host of `*`, or 0; high: flags.
    pub const ANY: u64 = 8;
    /// Its index in the snapshot.
    pub const INDEX: u64 = 16;
    /// Low: number of the reason why it is not decided, or 0.
    pub const REASON: u64 = 24;

    /// Flag: `ignore_port_in_host_matching`.
    pub const IGNORE_PORT: u64 = 1;
}

/// Virtual host.
pub mod virtual_host {
    /// Low: root of the paths; high: root of the lower-cased paths of routes that ignore case, or 0.
    pub const PATHS: u64 = 0;
    /// Low: first route's number; high: how many.
    pub const ROUTES: u64 = 8;
    /// Low: its index in the route configuration; high: flags.
    pub const INDEX: u64 = 16;
    /// Low: number of the reason why it is not decided, or 0;
    /// [`unsupported::USERSPACE`](super::unsupported::USERSPACE) where the other flags say something.
    /// High: the first [`branch`](super::branch) of its matcher tree.
    pub const REASON: u64 = 24;

    /// Flag: a route has query parameter matchers.
    pub const QUERY: u64 = 1;
    /// Flag: `require_tls: ALL`. In userspace.
    pub const TLS_FOR_ALL: u64 = 2;
    /// Flag: `require_tls: EXTERNAL_ONLY`. In userspace.
    pub const TLS_FOR_EXTERNAL: u64 = 4;
    /// Flag: its routes stand in a matcher tree. In userspace.
    pub const TREE: u64 = 8;
}

/// A branch of a matcher tree, with where to go on from it: a record. In userspace.
pub mod branch {
    /// Low: kind; high: slot of the header, or of the server name.
    pub const KIND: u64 = 0;
    /// Offset of the matcher or the condition, or root of the keys, each of which says where to go on;
    /// or what the tree leads to. Of a virtual host's routes low: number of the first; high: of the one
    /// after the last. Of an RBAC filter's action low: its place plus one; high: 1 to go on, 0 to refuse.
    /// Of a listener's action low: its place plus one; high: the filter chain, or 0 where there is none.
    pub const VALUE: u64 = 8;
    /// Low: where to go on where the matcher accepts; high: where it does not, or no key fits. 0: the
    /// tree leads nowhere.
    pub const NEXT: u64 = 16;

    /// Kind: a matcher of the header.
    pub const MATCHER: u64 = 1;
    /// Kind: keys that the header may be equal to.
    pub const EXACT: u64 = 2;
    /// Kind: keys that the header may start with, of which the longest counts.
    pub const PREFIX: u64 = 3;
    /// Kind: what the tree leads to.
    pub const LEAF: u64 = 4;
    /// Kind: a [`condition`](super::condition), whose own next ones do not count.
    pub const CONDITION: u64 = 5;
}

/// A class of paths: the routes whose path matcher accepts them.
pub mod class {
    /// Low: offset of the list of candidates; high: how many.
    pub const LIST: u64 = 0;
    /// Low: the class of the next shorter prefix, or 0; high: the smallest route number here and
    /// in the classes above.
    pub const PARENT: u64 = 8;
    /// Up to four slots, 16 bits each, plus one; by the values of these slots further lists are found.
    pub const KEYS: u64 = 16;
    /// The class's number: part of the key under which those lists stand in the trie table.
    pub const NUMBER: u64 = 24;
}

/// Route.
pub mod route {
    /// Low: offset of its matchers, or 0; high: how many.
    pub const MATCHERS: u64 = 0;
    /// Low: kind of action; high: what the kind needs.
    pub const ACTION: u64 = 8;
    /// Low: bits of [`PLAIN`](super::route::PLAIN); high: offset of what it has
    /// [`more`](super::more), or 0.
    pub const FORWARDING: u64 = 16;
    /// Low: offset of its path matcher (for traces).
    pub const PATH: u64 = 24;

    /// Forwarding: the request goes upstream as it is, and so does the response come back.
    pub const PLAIN: u64 = 1;

    /// Action: `unsupported`; high: the reason's number.
    pub const UNSUPPORTED: u64 = 1;
    /// Action: one cluster; high: its offset.
    pub const CLUSTER: u64 = 2;
    /// Action: weighted clusters; high: offset of the block.
    pub const WEIGHTED_CLUSTERS: u64 = 3;
    /// Action: redirect.
    pub const REDIRECT: u64 = 4;
    /// Action: direct response.
    pub const DIRECT_RESPONSE: u64 = 5;
}

/// What a route has more, which userspace alone reads: a record.
pub mod more {
    /// The action, where the route's own is only decided in userspace; as in
    /// [`route::ACTION`](super::route::ACTION).
    pub const ACTION: u64 = 0;
    /// `runtime_fraction`. Low: numerator; high: denominator, or 0 where every request passes.
    pub const FRACTION: u64 = 8;
    /// Low: offset of the hash policies, a record each; high: how many.
    pub const HASH_POLICIES: u64 = 16;
    /// Low: offset of the matchers that only userspace decides, or 0: their number and a
    /// [`matcher`](super::matcher) each. High: as in [`matcher::INDEX`](super::matcher::INDEX) of a
    /// fraction, for traces.
    pub const MATCHERS: u64 = 24;
}

/// A hash policy.
pub mod hash_policy {
    /// Low: kind; high: flags.
    pub const KIND: u64 = 0;
    /// Low: slot of the header, the query parameter or the header that has the cookies.
    pub const SLOT: u64 = 8;
    /// Low: offset of the cookie's name; high: its length. Of a rewritten header, the number of the
    /// rule.
    pub const NAME: u64 = 16;

    /// Kind: a header.
    pub const HEADER: u64 = 1;
    /// Kind: a cookie.
    pub const COOKIE: u64 = 2;
    /// Kind: the client's address. The slot is that of x-forwarded-for.
    pub const SOURCE_IP: u64 = 3;
    /// Kind: a query parameter.
    pub const QUERY_PARAMETER: u64 = 4;
    /// Kind: not decided.
    pub const UNDECIDED: u64 = 5;
    /// Kind: a header whose values are rewritten by a regex.
    pub const REWRITTEN: u64 = 6;

    /// Flag: where there is a hash so far, what follows does not count.
    pub const TERMINAL: u64 = 1;
    /// Flag: Envoy makes up a cookie that is not there.
    pub const GENERATED: u64 = 2;
}

/// A block of weighted clusters: a header word, then two words an entry.
pub mod weighted_clusters {
    /// Total weight.
    pub const TOTAL: u64 = 0;
    /// Low: how many entries; high: slot of `header_name` plus one, or [`BY_HASH`], or 0.
    pub const COUNT: u64 = 8;
    /// `use_hash_policy`.
    pub const BY_HASH: u64 = 0xffff_ffff;
    /// The entries.
    pub const ENTRIES: u64 = 16;
    /// Bytes of an entry: its interval's end; then low: cluster, high: index in the message.
    pub const ENTRY: u64 = 16;
}

/// Matcher of a header, a query parameter or a path.
pub mod matcher {
    /// Kind (8 bits), flags (8), slot (16), length of the text (32).
    pub const KIND: u64 = 0;
    /// Offset of the text or DFA, number of the exact value, or the range's start.
    pub const VALUE: u64 = 8;
    /// The range's end; of a cookie's matcher: low: offset of the name, high: its length.
    pub const END: u64 = 16;
    /// Low: index in its message; high: a code of [`super::of`].
    pub const INDEX: u64 = 24;

    /// Kind: any value.
    pub const PRESENT: u64 = 1;
    /// Kind: a value with this number.
    pub const EXACT: u64 = 2;
    /// Kind: starts with the text.
    pub const PREFIX: u64 = 3;
    /// Kind: ends with the text.
    pub const SUFFIX: u64 = 4;
    /// Kind: a DFA accepts the whole value.
    pub const REGEX: u64 = 5;
    /// Kind: an integer in the range.
    pub const RANGE: u64 = 6;
    /// Kind: equal to the text.
    pub const EQUAL: u64 = 7;
    /// Kind: equal to the text, or it and `/` are a prefix.
    pub const SEPARATED_PREFIX: u64 = 8;

    /// The first word of a path matcher that no path passes, since its text would be longer than any:
    /// of `connect_matcher` among others.
    pub const CONNECT: u64 = EQUAL | 0xffff_ffff << 32;

    /// Flag: `invert_match`.
    pub const INVERT: u64 = 1;
    /// Flag: the result where the header or parameter is missing.
    pub const IF_MISSING: u64 = 2;
}

/// Which field of `RouteMatch` a matcher stands in: the high half of [`matcher::INDEX`].
pub mod of {
    /// `headers`.
    pub const HEADER: u64 = 0;
    /// `query_parameters`.
    pub const QUERY_PARAMETER: u64 = 1;
    /// The path.
    pub const PATH: u64 = 2;
    /// `runtime_fraction`.
    pub const FRACTION: u64 = 3;
    /// `grpc`.
    pub const GRPC: u64 = 4;
    /// `cookies`.
    pub const COOKIE: u64 = 5;
    /// `tls_context`.
    pub const TLS_CONTEXT: u64 = 6;
    /// `dynamic_metadata`.
    pub const DYNAMIC_METADATA: u64 = 7;
}

/// Slot: what is known of a header or query parameter name that some route refers to.
pub mod slot {
    /// Bytes of a slot's record: low: root of its exact values, or 0; high: whether some route
    /// refers to it.
    pub const RECORD: u64 = 8;

    /// `content-length`.
    pub const CONTENT_LENGTH: u64 = 0;
    /// `transfer-encoding`.
    pub const TRANSFER_ENCODING: u64 = 1;
    /// `connection`.
    pub const CONNECTION: u64 = 2;
    /// `expect`.
    pub const EXPECT: u64 = 3;
    /// `x-forwarded-proto`; like those after it filled when the whole head is read.
    pub const FORWARDED_PROTO: u64 = 4;
    /// `:authority` and Host.
    pub const AUTHORITY: u64 = 5;
    /// `:method`.
    pub const METHOD: u64 = 6;
    /// `:path`.
    pub const PATH: u64 = 7;
    /// `:scheme`.
    pub const SCHEME: u64 = 8;
    /// The path without its query: what `safe_regex` path matchers look at.
    pub const PATH_WITHOUT_QUERY: u64 = 9;
    /// Bit beside the first: repeated values of this header are joined by Envoy.
    pub const JOINED: u64 = 2;
    /// First slot of other names.
    pub const FIRST: u64 = 10;
}

/// Cluster.
pub mod cluster {
    /// Low: offset of its levels; high: how many. With [`POOLS`] those of its pools, one word each.
    /// Where a header names it, low: root of the names, or 0 where it is the header's.
    pub const LEVELS: u64 = 0;
    /// Low: kind; high: number of the reason.
    pub const KIND: u64 = 8;
    /// Low: its index in the snapshot, [`NAMED`] where a header names it; high: what userspace
    /// does where the kind is [`UNSUPPORTED`] for that reason.
    pub const INDEX: u64 = 16;
    /// Low: bits of [`PLAIN`](super::cluster::PLAIN); high: slot of the header that names it, or
    /// how many of a million requests are dropped.
    pub const FORWARDING: u64 = 24;

    /// In userspace: endpoints by levels, chosen by hash.
    pub const BY_HASH: u64 = 1;
    /// In userspace: endpoints by levels, of which a drawn number chooses one.
    pub const DRAWN: u64 = 2;
    /// In userspace: the cluster that a header names.
    pub const BY_HEADER: u64 = 3;
    /// Bit beside the first two: of several pools, the first that has an endpoint.
    pub const POOLS: u64 = 16;
    /// Bit beside the second: its sets are of the kind [`SLOW_START`](super::set::SLOW_START).
    pub const SLOW_START: u64 = 32;
    /// Bit beside the first two: what [`LEVELS`] has is the offset of an
    /// [`override_host`](super::override_host).
    pub const OVERRIDE_HOST: u64 = 64;
    /// No index.
    pub const NAMED: u64 = 0xffff_ffff;

    /// Forwarding: HTTP/1.1 in plain text to endpoints with IP addresses, and nothing else.
    pub const PLAIN: u64 = 1;

    /// Kind: endpoints by levels.
    pub const BALANCED: u64 = 1;
    /// Kind: the connection's own destination.
    pub const ORIGINAL_DESTINATION: u64 = 2;
    /// Kind: not decided.
    pub const UNSUPPORTED: u64 = 3;
    /// Kind: the snapshot has no such cluster.
    pub const MISSING: u64 = 4;
}

/// What names endpoints before a cluster's balancer is asked. In userspace.
pub mod override_host {
    /// As [`cluster::LEVELS`](super::cluster::LEVELS) without it.
    pub const LEVELS: u64 = 0;
    /// Low: root of the addresses, each with its endpoint's number plus one.
    pub const NAMES: u64 = 8;
    /// As [`cluster::INDEX`](super::cluster::INDEX), its bit left out.
    pub const INDEX: u64 = 16;
    /// Low: offset of the headers' slots, one word each; high: how many.
    pub const SOURCES: u64 = 24;
}

/// A subset of a cluster, or all of it. In userspace.
pub mod pool {
    /// As in [`cluster::LEVELS`](super::cluster::LEVELS).
    pub const LEVELS: u64 = 0;
    /// Low: offset of the set that has the one endpoint, whatever its level, or 0.
    pub const SINGLE: u64 = 8;
}

/// A share of a cluster's load: a priority's healthy or degraded endpoints.
pub mod level {
    /// Low: cumulated load, 1..=100; high: offset of the set, or 0 for an empty one.
    pub const LOAD: u64 = 0;
    /// Bits 0..16 the priority, then [`DEGRADED`] and [`PANIC`].
    pub const PRIORITY: u64 = 8;
    /// Bytes of a level.
    pub const BYTES: u64 = 16;
    /// Bit: from the degraded load.
    pub const DEGRADED: u64 = 1 << 16;
    /// Bit: the priority is in panic.
    pub const PANIC: u64 = 1 << 17;
}

/// A set of endpoints that a balancer picks from.
pub mod set {
    /// Low: kind; high: how many endpoints.
    pub const KIND: u64 = 0;
    /// Low: offset of the endpoints, one word each (low: number, high: weight); high: offset of
    /// the schedule, two bytes a pick; of the ring: hashes in order, then positions, two bytes
    /// each; or of the table of positions, two bytes each. Of localities low: offset of the sets,
    /// one word each.
    pub const ENDPOINTS: u64 = 8;
    /// Low: first state word; high: length of the schedule, the ring or the table, or
    /// `choice_count`.
    pub const STATE: u64 = 16;
    /// Low: the least common multiple of the weights; high: offset of the costs, or 0 where the
    /// bias is 1. Of a ring or a table that bounds the load, low: offset of the bound, high: the
    /// factor in percent. The bound: how many shares (low) and endpoints of the cluster (high) there
    /// are; of each share the position and the bits of a double; the endpoints' numbers.
    pub const COSTS: u64 = 24;

    /// Kind: round robin, equal weights.
    pub const ROUND_ROBIN: u64 = 1;
    /// Kind: round robin by a schedule.
    pub const SCHEDULE: u64 = 2;
    /// Kind: least request of some random choices.
    pub const SAMPLE: u64 = 3;
    /// Kind: least request by weights.
    pub const HEAP: u64 = 4;
    /// Kind: ring hash.
    pub const RING: u64 = 5;
    /// Kind: Maglev.
    pub const TABLE: u64 = 6;
    /// Kind: any at random.
    pub const ANY: u64 = 7;
    /// Kind: a set for each locality, by a schedule. In userspace.
    pub const LOCALITIES: u64 = 8;
    /// Kind: a set for each locality, of which Envoy's own is preferred. Endpoints low: offset of the
    /// sets, high: of what each locality has left, with those before it, one word each; state low:
    /// the set of all, high: percent of the requests that are routed so; costs: of 10,000 of these
    /// those that go to the first. In userspace.
    pub const ZONES: u64 = 10;
    /// Kind: least request of all, weights being equal. In userspace.
    pub const SCAN: u64 = 9;
    /// Kind: by weights that grow ([`crate::Machine::slow_start`]). State as of round robin, and
    /// `choice_count`; costs low: the set's number, high: what is done where no weight does. In
    /// userspace over virtual time.
    pub const SLOW_START: u64 = 11;
    /// In turn.
    pub const BY_TURN: u64 = 0;
    /// Least request of some random choices.
    pub const BY_SAMPLE: u64 = 1;
    /// Least request of all.
    pub const BY_SCAN: u64 = 2;

    /// How many active requests the costs tell apart.
    pub const COSTS_MAX: u64 = 4096;
}
