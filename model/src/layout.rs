//! Where things stand: the input, the work area, and the records of the policy.
//!
//! Policy offsets are in bytes from its start and fit 32 bits; every record is a whole number of
//! 8-byte words. Two 32-bit fields share a word as *low* and *high*. Offset 0 is the header, so 0
//! stands for "none" everywhere.

/// A stretch of the input: its first byte's offset and its length in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Span(pub u64);

impl Span {
    /// `length` bytes from `offset` on.
    #[inline(always)]
    pub const fn new(offset: u64, length: u64) -> Self {
        Self((offset & 0xffff_ffff) | length << 32)
    }
    /// Offset of the first byte.
    #[inline(always)]
    pub const fn offset(self) -> u64 {
        self.0 & 0xffff_ffff
    }
    /// Length in bytes.
    #[inline(always)]
    pub const fn length(self) -> u64 {
        self.0 >> 32
    }
    /// Offset after the last byte.
    #[inline(always)]
    pub const fn end(self) -> u64 {
        self.offset().wrapping_add(self.length())
    }
}

/// The low 32 bits of a word.
#[inline(always)]
pub const fn low(word: u64) -> u64 {
    word & 0xffff_ffff
}

/// The high 32 bits of a word.
#[inline(always)]
pub const fn high(word: u64) -> u64 {
    word >> 32
}

/// A word of two 32-bit fields.
#[inline(always)]
pub const fn pair(low: u64, high: u64) -> u64 {
    (low & 0xffff_ffff) | high << 32
}

/// The input: constants and the connection's ends first, then the request's head.
pub mod input {
    /// The byte `/`; what an absolute-form target without a path means.
    pub const SLASH: u64 = 16;
    /// `http`.
    pub const HTTP: u64 = 24;
    /// `https`.
    pub const HTTPS: u64 = 32;
    /// Destination address, 16 bytes; IPv4 as `::ffff:a.b.c.d`. The port follows.
    pub const DESTINATION_ADDRESS: u64 = 40;
    /// Destination port, two bytes, big endian.
    pub const DESTINATION_PORT: u64 = 56;
    /// Source address, as the destination's.
    pub const SOURCE_ADDRESS: u64 = 64;
    /// Source port.
    pub const SOURCE_PORT: u64 = 80;
    /// The server name of the ClientHello, lower-case.
    pub const SERVER_NAME: u64 = 96;
    /// Bytes that a server name may have.
    pub const SERVER_NAME_BYTES: u64 = 256;
    /// The client's ALPN list, comma-separated.
    pub const APPLICATION_PROTOCOLS: u64 = 352;
    /// Bytes that the list may have.
    pub const APPLICATION_PROTOCOLS_BYTES: u64 = 256;
    /// `http/1.1`: what the HTTP inspector finds out.
    pub const HTTP_1_1: u64 = 608;
    /// The request head.
    pub const HEAD: u64 = 640;
    /// Bytes to leave after the head: reads are eight bytes wide.
    pub const PADDING: u64 = 16;
}

/// The work area, in words: what the caller gives, what the decision leaves, what it needs
/// on the way.
pub mod work {
    /// Given: bytes of the head.
    pub const HEAD_LENGTH: u64 = 0;
    /// Given: offset of the listener's record, or 0 to choose one by destination.
    pub const LISTENER: u64 = 1;
    /// Given: offset of a route configuration's record to start at, or 0.
    pub const ROUTE_CONFIGURATION: u64 = 2;
    /// Given: the request's one random number.
    pub const RANDOM: u64 = 3;
    /// Given: bits of [`super::connection`].
    pub const CONNECTION: u64 = 4;
    /// Given: length of the server name.
    pub const SERVER_NAME_LENGTH: u64 = 5;
    /// Given: length of the ALPN list.
    pub const APPLICATION_PROTOCOLS_LENGTH: u64 = 6;
    /// Given: differs from one request to the next, so that slots need no reset.
    pub const SEQUENCE: u64 = 7;

    /// Left: a code of [`super::outcome`].
    pub const OUTCOME: u64 = 8;
    /// Left: what the outcome needs: the reason's number of `unsupported`, the
    /// [`super::bad_request`] code.
    pub const REASON: u64 = 9;
    /// Left: offset of the listener's record.
    pub const CHOSEN_LISTENER: u64 = 10;
    /// Left: offset of the filter chain's record.
    pub const CHOSEN_FILTER_CHAIN: u64 = 11;
    /// Left: offset of the route configuration's record.
    pub const CHOSEN_ROUTE_CONFIGURATION: u64 = 12;
    /// Left: offset of the virtual host's record.
    pub const CHOSEN_VIRTUAL_HOST: u64 = 13;
    /// Left: a code of [`super::domain`].
    pub const DOMAIN: u64 = 14;
    /// Left: number of the route plus one.
    pub const CHOSEN_ROUTE: u64 = 15;
    /// Left: index of the weighted cluster's entry plus one.
    pub const ENTRY: u64 = 16;
    /// Left: the value that chose the entry.
    pub const VALUE: u64 = 17;
    /// Left: offset of the cluster's record.
    pub const CHOSEN_CLUSTER: u64 = 18;
    /// Left: the number 1..=100 that chose the priority.
    pub const PRIORITY_VALUE: u64 = 19;
    /// Left: the level's second word: priority, degraded, panic.
    pub const LEVEL: u64 = 20;
    /// Left: number of the endpoint plus one.
    pub const ENDPOINT: u64 = 21;
    /// Left: start of the weighted cluster's interval.
    pub const INTERVAL_FROM: u64 = 22;
    /// Left: end of the weighted cluster's interval.
    pub const INTERVAL_TO: u64 = 23;
    /// Left: the host's span, as Host or the target has it and the connection manager leaves it.
    pub const HOST: u64 = 24;
    /// On the way: the method's span.
    pub const METHOD: u64 = 25;
    /// Left: the path's span, with its query.
    pub const TARGET: u64 = 26;
    /// Left: the scheme's span.
    pub const SCHEME: u64 = 27;
    /// How many words from [`OUTCOME`] on are left by a decision.
    pub const LEFT: u64 = 20;

    /// On the way: the path's span, without the query.
    pub const PATH: u64 = 37;
    /// On the way: how many occurrences of slots there are.
    pub const OCCURRENCES_USED: u64 = 28;
    /// On the way: span of x-forwarded-proto.
    pub const FORWARDED_PROTO: u64 = 29;
    /// On the way: flags of the filter chain.
    pub const FLAGS: u64 = 31;
    /// On the way: how many headers there may be.
    pub const HEADERS_MAX: u64 = 38;
    /// On the way: bits of [`super::framing`].
    pub const FRAMING: u64 = 30;
    /// On the way: offset after the head's empty line.
    pub const HEAD_END: u64 = 32;
    /// On the way: what [`crate::integer::parse`] read.
    pub const NUMBER: u64 = 34;

    /// On the way: how many lists of candidates there are.
    pub const LISTS_USED: u64 = 35;
    /// On the way: how many of them are done.
    pub const LISTS_DONE: u64 = 36;

    /// Occurrences, two words each.
    pub const OCCURRENCES: u64 = 64;
    /// How many occurrences fit.
    pub const OCCURRENCES_MAX: u64 = 128;
    /// Lists of candidates, one word each.
    pub const LISTS: u64 = 320;
    /// How many lists fit.
    pub const LISTS_MAX: u64 = 128;
    /// Slots, one word each.
    pub const SLOTS: u64 = 512;
    /// How many slots fit.
    pub const SLOTS_MAX: u64 = 2048;
    /// Words in all.
    pub const WORDS: u64 = 4096;
}

/// Bits of [`work::CONNECTION`].
pub mod connection {
    /// The connection is TLS.
    pub const TLS: u64 = 1;
    /// The destination is known and IPv4.
    pub const DESTINATION_V4: u64 = 2;
    /// The destination is known and IPv6.
    pub const DESTINATION_V6: u64 = 4;
    /// The source is known and IPv4.
    pub const SOURCE_V4: u64 = 8;
    /// The source is known and IPv6.
    pub const SOURCE_V6: u64 = 16;
    /// The source is a loopback address or equals the destination's address.
    pub const LOCAL: u64 = 32;
    /// The request names a listener that the snapshot does not have.
    pub const NOWHERE: u64 = 64;
}

/// Bits of [`work::FRAMING`].
pub mod framing {
    /// There is a Host header.
    pub const HOST: u64 = 1;
    /// There is a Content-Length.
    pub const CONTENT_LENGTH: u64 = 2;
    /// There is a Transfer-Encoding.
    pub const TRANSFER_ENCODING: u64 = 4;
    /// The target is in absolute form and names the host.
    pub const ABSOLUTE: u64 = 8;
    /// The target of an absolute form has the scheme https.
    pub const HTTPS: u64 = 16;
    /// The target has a fragment.
    pub const FRAGMENT: u64 = 32;
    /// There is an x-forwarded-proto.
    pub const FORWARDED_PROTO: u64 = 64;
    /// A Content-Length is no number, or there are two.
    pub const BAD_CONTENT_LENGTH: u64 = 128;
    /// A Transfer-Encoding is not `chunked`, or (with [`REWRITTEN`]) there are two.
    pub const BAD_TRANSFER_ENCODING: u64 = 256;
    /// Envoy rewrites a header of this request before routing.
    pub const REWRITTEN: u64 = 512;
    /// The version is another one than HTTP/1.1.
    pub const OTHER_VERSION: u64 = 1024;
    /// There is a Connection header.
    pub const CONNECTION: u64 = 2048;
}

/// Codes of [`work::OUTCOME`].
pub mod outcome {
    /// Nothing was decided: the caller reads this only when a program never ran.
    pub const NONE: u64 = 0;
    /// Sent to an endpoint.
    pub const FORWARD: u64 = 1;
    /// Answered with a redirect.
    pub const REDIRECT: u64 = 2;
    /// Answered by the route itself.
    pub const DIRECT_RESPONSE: u64 = 3;
    /// No listener.
    pub const NO_LISTENER: u64 = 4;
    /// No filter chain.
    pub const NO_FILTER_CHAIN: u64 = 5;
    /// No virtual host.
    pub const NO_VIRTUAL_HOST: u64 = 6;
    /// No route.
    pub const NO_ROUTE: u64 = 7;
    /// The cluster does not exist.
    pub const NO_CLUSTER: u64 = 8;
    /// The cluster has no endpoint that may be used.
    pub const NO_HEALTHY_UPSTREAM: u64 = 9;
    /// The head is malformed.
    pub const BAD_REQUEST: u64 = 10;
    /// Not decided.
    pub const UNSUPPORTED: u64 = 11;
    /// Sent to the connection's own destination.
    pub const FORWARD_TO_DESTINATION: u64 = 12;
}

/// Codes of [`work::REASON`] where the outcome is `bad_request`. Up to [`bad_request::BY_CODEC`]
/// Envoy's HTTP/1 codec refuses, before there is a route configuration; the others the connection
/// manager.
pub mod bad_request {
    /// The request line is not `METHOD target HTTP/d.d`, with blanks between.
    pub const REQUEST_LINE: u64 = 1;
    /// A header line has no colon, an empty or invalid name, or starts with white space.
    pub const HEADER_NAME: u64 = 2;
    /// A header value holds a byte that may not be in one.
    pub const HEADER_VALUE: u64 = 3;
    /// The authority has a byte that may not be in one.
    pub const INVALID_HOST: u64 = 4;
    /// Content-Length is not a number, or there are two.
    pub const CONTENT_LENGTH: u64 = 5;
    /// Content-Length beside Transfer-Encoding.
    pub const LENGTH_AND_ENCODING: u64 = 6;
    /// Transfer-Encoding is not `chunked`: status 501.
    pub const TRANSFER_ENCODING: u64 = 7;
    /// The target is not valid.
    pub const TARGET: u64 = 8;
    /// The head is larger, or has more headers, than Envoy takes: status 431.
    pub const TOO_LARGE: u64 = 9;
    /// The version is not HTTP/1.1: status 426.
    pub const VERSION: u64 = 10;
    /// The head does not end within the input.
    pub const INCOMPLETE: u64 = 11;
    /// The last of the codec's.
    pub const BY_CODEC: u64 = 15;
    /// No Host.
    pub const NO_HOST: u64 = 16;
    /// The target is `*`: status 404.
    pub const NOT_A_PATH: u64 = 17;
    /// The target has a fragment.
    pub const FRAGMENT: u64 = 18;
}

/// Numbers of [`work::REASON`] where the outcome is `unsupported` for a reason that lies in the
/// request; the snapshot's own reasons count from [`unsupported::FIRST_OF_SNAPSHOT`] on.
pub mod unsupported {
    /// The head is larger than this engine's input.
    pub const HEAD_TOO_LARGE: u64 = 1;
    /// More values of headers and query parameters that routes refer to than fit.
    pub const TOO_MANY_VALUES: u64 = 2;
    /// Path normalisation would change the path.
    pub const PATH_NOT_NORMAL: u64 = 3;
    /// The target is not a path, or the request line has a CR between its tokens, or no version.
    pub const TARGET_FORM: u64 = 4;
    /// Envoy rewrites a header before routing: obsolete folding, a CR inside a value, headers that
    /// Connection names, repeated headers that it joins.
    pub const HEADER_REWRITTEN: u64 = 5;
    /// First number of the snapshot's own reasons.
    pub const FIRST_OF_SNAPSHOT: u64 = 16;
}

/// Codes of [`work::DOMAIN`].
pub mod domain {
    /// Equal to the host.
    pub const EXACT: u64 = 1;
    /// `*x`.
    pub const SUFFIX: u64 = 2;
    /// `x*`.
    pub const PREFIX: u64 = 3;
    /// `*`.
    pub const ANY: u64 = 4;
}

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
/// if it is not decided, high: its port. `16`: its index.
pub mod listener {
    /// Low: root node of the filter chain match, or 0; high: default filter chain, or 0.
    pub const CHAINS: u64 = 0;
    /// Low: number of the reason why it is not decided, or 0.
    pub const REASON: u64 = 8;
    /// Low: its index in the snapshot; high: flags.
    pub const INDEX: u64 = 16;

    /// Flag: `use_original_dst`.
    pub const USE_ORIGINAL_DST: u64 = 1;
    /// Flag: the TLS inspector reads the ClientHello.
    pub const INSPECTS_TLS: u64 = 2;
    /// Flag: the HTTP inspector reads the request line.
    pub const INSPECTS_HTTP: u64 = 4;
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
    /// Low: number of the reason why it is not decided, or 0.
    pub const REASON: u64 = 24;

    /// Flag: a route has query parameter matchers.
    pub const QUERY: u64 = 1;
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
    /// Low: offset of its path matcher (for traces).
    pub const PATH: u64 = 24;

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

/// A block of weighted clusters: a header word, then two words an entry.
pub mod weighted_clusters {
    /// Total weight.
    pub const TOTAL: u64 = 0;
    /// Low: how many entries; high: slot of `header_name` plus one, or 0.
    pub const COUNT: u64 = 8;
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
    /// The range's end.
    pub const END: u64 = 16;
    /// Low: index in its message; high: 0 header, 1 query parameter, 2 path.
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

    /// Flag: `invert_match`.
    pub const INVERT: u64 = 1;
    /// Flag: the result where the header or parameter is missing.
    pub const IF_MISSING: u64 = 2;
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
    /// `x-forwarded-proto`; like those after it filled when the whole head is read.
    pub const FORWARDED_PROTO: u64 = 3;
    /// `:authority` and Host.
    pub const AUTHORITY: u64 = 4;
    /// `:method`.
    pub const METHOD: u64 = 5;
    /// `:path`.
    pub const PATH: u64 = 6;
    /// `:scheme`.
    pub const SCHEME: u64 = 7;
    /// The path without its query: what `safe_regex` path matchers look at.
    pub const PATH_WITHOUT_QUERY: u64 = 8;
    /// Bit beside the first: repeated values of this header are joined by Envoy.
    pub const JOINED: u64 = 2;
    /// First slot of other names.
    pub const FIRST: u64 = 9;
}

/// Cluster.
pub mod cluster {
    /// Low: offset of its levels; high: how many.
    pub const LEVELS: u64 = 0;
    /// Low: kind; high: number of the reason.
    pub const KIND: u64 = 8;
    /// Its index in the snapshot.
    pub const INDEX: u64 = 16;

    /// Kind: endpoints by levels.
    pub const BALANCED: u64 = 1;
    /// Kind: the connection's own destination.
    pub const ORIGINAL_DESTINATION: u64 = 2;
    /// Kind: not decided.
    pub const UNSUPPORTED: u64 = 3;
    /// Kind: the snapshot has no such cluster.
    pub const MISSING: u64 = 4;
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
    /// the schedule, two bytes a pick.
    pub const ENDPOINTS: u64 = 8;
    /// Low: first state word; high: length of the schedule, or `choice_count`.
    pub const STATE: u64 = 16;
    /// Low: the least common multiple of the weights; high: offset of the costs, or 0 where the
    /// bias is 1.
    pub const COSTS: u64 = 24;

    /// Kind: round robin, equal weights.
    pub const ROUND_ROBIN: u64 = 1;
    /// Kind: round robin by a schedule.
    pub const SCHEDULE: u64 = 2;
    /// Kind: least request of some random choices.
    pub const SAMPLE: u64 = 3;
    /// Kind: least request by weights.
    pub const HEAP: u64 = 4;

    /// How many active requests the costs tell apart.
    pub const COSTS_MAX: u64 = 4096;
}
