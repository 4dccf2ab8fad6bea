//! Where things stand: the input, the work area, and the records of the policy.
//!
//! Policy offsets are in bytes from its start and fit 32 bits; every record is a whole number of
//! 8-byte words. Two 32-bit fields share a word as *low* and *high*. Offset 0 is the header, so 0
//! stands for "none" everywhere.

mod filters;
mod policy;

pub use filters::*;
pub use policy::*;

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
    /// Left: the level's second word: priority, degraded, panic. Without [`PRIORITY_VALUE`], the place plus
    /// one of the header that named the endpoint, or 0.
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
    /// On the way: how many header lines have been read; where they are more than that, how many
    /// headers they are.
    pub const HEADER_COUNT: u64 = 40;
    /// On the way: a bit for each header of one entry that has been counted.
    pub const HEADERS_SEEN: u64 = 41;
    /// Left: bits of [`super::framing`].
    pub const FRAMING: u64 = 30;
    /// Left: offset after the head's empty line.
    pub const HEAD_END: u64 = 32;
    /// Left: the Content-Length, where [`super::framing::CONTENT_LENGTH`] is set.
    pub const CONTENT_LENGTH: u64 = 33;
    /// Left by [`crate::response::head`]: the status.
    pub const STATUS: u64 = 39;
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
    /// On the way, in userspace: offset of what the route has [`super::more`], or 0.
    pub const MORE: u64 = 2560;
    /// Given, where filters run: the virtual time in microseconds.
    pub const NOW: u64 = 2561;
    /// Given, where filters run: how long an endpoint holds the request, in microseconds.
    pub const DURATION: u64 = 2562;
    /// On the way: offset of the chain's [`super::http_filters`], or 0.
    pub const FILTERS: u64 = 2563;
    /// Left, where filters run: by how many microseconds they delay the request.
    pub const DELAY: u64 = 2564;
    /// Left, where filters run: how many steps they took, then the steps ([`super::filter_step`]).
    pub const FILTER_STEPS: u64 = 2565;
    /// How many steps fit.
    pub const FILTER_STEPS_MAX: u64 = 128;
    /// Left, in userspace, where [`super::virtual_host::REASON`] leaves the virtual host to it. Low:
    /// number of the first route that was looked at; high: of the one after the last.
    pub const LOOKED: u64 = 2696;
    /// On the way, where filters run: how many faults the request begins, then the state word of
    /// each.
    pub const FAULTS: u64 = 2700;
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
    /// The head has been through the connection manager: its path is normalised.
    pub const MANAGED: u64 = 128;
    /// The client has presented a certificate.
    pub const CERTIFICATE_PRESENTED: u64 = 256;
    /// The client's certificate was validated.
    pub const CERTIFICATE_VALIDATED: u64 = 512;
    /// The request asks for an upgrade, of which its route is to be asked: in userspace.
    pub const UPGRADE: u64 = 1024;
    /// The request is a CONNECT request, laid out as [`crate::connect`] wants it: in userspace.
    pub const CONNECT: u64 = 2048;
    /// The request line is none that an HTTP inspector takes for HTTP/1.1: in userspace.
    pub const NO_REQUEST_LINE: u64 = 4096;
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
    /// A Connection header says something else than `keep-alive`.
    pub const MAY_CLOSE: u64 = 4096;
    /// There is an Expect header.
    pub const EXPECT: u64 = 8192;
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
    /// Answered by an HTTP filter; the reason is the status, and above it the filter's index in the
    /// connection manager's list.
    pub const FILTER_REPLY: u64 = 13;
    /// Dropped before an endpoint was looked for. In userspace.
    pub const OVERFLOW: u64 = 14;
    /// Closed by a network filter, in userspace; the reason is the number of the policy that matched plus
    /// one (0: none), and above it the filter's index in the chain.
    pub const CLOSED: u64 = 15;
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
    /// The target says https without TLS, to a connection manager at the edge: status 403.
    pub const SCHEME: u64 = 12;
    /// On the way: a header's name has an underscore, which the connection manager refuses.
    pub const UNDERSCORE: u64 = 13;
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
    /// Path normalisation would change the path, and the head has not been through it
    /// ([`super::connection::MANAGED`]).
    pub const PATH_NOT_NORMAL: u64 = 3;
    /// The target is not a path, or the request line has a CR between its tokens, or no version.
    pub const TARGET_FORM: u64 = 4;
    /// Envoy rewrites a header before routing: obsolete folding, a CR inside a value, headers that
    /// Connection names, repeated headers that it joins.
    pub const HEADER_REWRITTEN: u64 = 5;
    /// The filter chain has filters that may close connections or answer requests, and this machine runs
    /// none ([`crate::Machine::FILTERS`]).
    pub const FILTERS: u64 = 6;
    /// A filter or a filter chain matcher looks at the client's address, which is not known.
    pub const CLIENT_ADDRESS: u64 = 7;
    /// A filter or a filter chain matcher looks at the destination, which is not known.
    pub const DESTINATION: u64 = 8;
    /// A filter looks at who a TLS connection's peer is.
    pub const PEER: u64 = 9;
    /// A filter looks at a header that the connection manager takes from requests from outside.
    pub const INTERNAL_HEADER: u64 = 10;
    /// More faults are active than are counted.
    pub const ACTIVE_FAULTS: u64 = 11;
    /// Only machines in userspace decide it ([`crate::Machine::USERSPACE`]).
    pub const USERSPACE: u64 = 12;
    /// The hash takes a cookie that Envoy would make up.
    pub const HASH_OF_COOKIE: u64 = 13;
    /// The hash takes the client's address, which is not known, or which x-forwarded-for says.
    pub const HASH_OF_SOURCE: u64 = 14;
    /// The hash takes something that is not decided.
    pub const HASH: u64 = 15;
    /// The request asks for an upgrade, and has a route ([`super::connection::UPGRADE`]).
    pub const UPGRADE: u64 = 16;
    /// The cluster has a slow start, and this machine has none ([`crate::Machine::SLOW_START`]).
    pub const SLOW_START: u64 = 17;
    /// A matcher tree chooses the filter chain, and this machine runs no filters, nor those trees
    /// ([`crate::Machine::FILTERS`]).
    pub const FILTER_CHAIN_MATCHER: u64 = 18;
    /// First number of the snapshot's own reasons.
    pub const FIRST_OF_SNAPSHOT: u64 = 19;
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
