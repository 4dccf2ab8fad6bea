//! The datapath's map values, as the programs and their loader both see them.
//!
//! Addresses are 16 bytes, IPv4 as `::ffff:a.b.c.d`; ports are in host order.

use twinmesh_model::layout::work;

/// Work areas that the programs share; a power of two.
pub const WORK_AREAS: u64 = 64;
/// Bytes of a request's head that are kept until its response ends: for the log, and a request of
/// which the upstream connection dies before an answer is sent again from here.
pub const KEPT_HEAD_BYTES: u64 = 1024;
/// Ranges of durations that are counted: up to 16 µs, to 32, and so on.
pub const RANGES: u64 = 24;
/// The upper end of the first of them, as a power of two, in microseconds.
pub const FIRST_RANGE: u64 = 4;
/// Bytes of a Content-Length from which on a request is not spliced: they would all lie in the
/// endpoint's receive queue.
pub const MOST_BODY_BYTES: u64 = 128 * 1024;
/// Upstream connections that are tried before a request goes to the agent.
pub const TRIES: u64 = 4;

/// An address and a port.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Address {
    /// Four words as the socket API has them: bytes in network order.
    pub ip: [u32; 4],
    /// The port, in host order.
    pub port: u32,
}

/// Bits of [`Config::flags`].
pub mod flag {
    /// Requests may be spliced.
    pub const SPLICE: u64 = 1;
    /// Endpoints may be chosen at connect(2).
    pub const CONNECT_TIME: u64 = 2;
    /// Connections to the agent come in at all.
    pub const REDIRECT: u64 = 4;
    /// Decisions and ends of requests are numbered in their order: see [`Order`](super::Order).
    pub const ORDER: u64 = 16;
    /// Each spliced response leaves an [`Event`](super::Event).
    pub const EVENTS: u64 = 8;
}

/// What the agent tells the programs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    /// Bits of [`flag`].
    pub flags: u64,
    /// Cookie of the network namespace whose connections are taken; 0: of any.
    pub netns_cookie: u64,
    /// Where the agent takes IPv4 connections.
    pub agent_v4: Address,
    /// Where the agent takes IPv6 connections.
    pub agent_v6: Address,
    /// Of how many responses out of 2^32 [`flag::EVENTS`] leaves an event.
    pub event_share: u64,
    /// Bytes that may lie unread in a client's queue of redirected data.
    pub queue_limit: u64,
    /// Offset of `sk_user_data` in `struct sock`; 0 where this kernel does not say.
    pub sk_user_data: u64,
    /// Offset of `msg_tot_len` in `struct sk_psock`; 0 where this kernel does not have it.
    pub psock_queued: u64,
    /// Offset of `ingress_msg` in `struct sk_psock`; 0 where this kernel does not say.
    pub psock_queue: u64,
    /// Offset of `skc_cookie` in `struct sock`.
    pub sk_cookie: u64,
    /// Offset of `write_seq` in `struct tcp_sock`; 0 where this kernel does not say.
    pub write_seq: u64,
    /// Offset of `copied_seq` in `struct tcp_sock`.
    pub copied_seq: u64,
    /// Offset of `skc_flags` in `struct sock`.
    pub sk_flags: u64,
    /// The bit of SO_ZEROCOPY in it; 0 where this kernel does not say.
    pub zero_copy: u64,
}

/// Kinds of [`Socket::kind`].
pub mod kind {
    /// The agent's own: never redirected.
    pub const AGENT: u32 = 1;
    /// Connected to the agent in place of its destination.
    pub const REDIRECTED: u32 = 2;
    /// Connected to an endpoint in place of its destination.
    pub const CONNECTED: u32 = 3;
    /// A client's, tracked: [`Socket::index`] is that of its [`Client`](super::Client).
    pub const CLIENT: u32 = 4;
    /// An endpoint's accepted one, tracked: of its [`Upstream`](super::Upstream).
    pub const UPSTREAM: u32 = 5;
}

/// What is known of a socket; lives in the socket.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Socket {
    /// One of [`kind`].
    pub kind: u32,
    /// Index of the record; of a [`kind::REDIRECTED`] one whether it is to be tracked.
    pub index: u32,
    /// Which use of the record, or the place of the state word that counts this connection plus
    /// one.
    pub word: u64,
    /// What the application asked for.
    pub destination: Address,
    /// 2 or 10.
    pub family: u32,
}

/// What the agent finds of a connection that it accepts, by the client's address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// What the application asked for.
    pub destination: Address,
    /// Index of the [`Client`] plus one; 0 where there is none.
    pub client: u32,
    /// Which use of that record.
    pub uses: u64,
}

/// Values of [`Client::mode`].
pub mod mode {
    /// The next head is decided here.
    pub const SPLICE: u64 = 0;
    /// All bytes go to the agent.
    pub const AGENT: u64 = 1;
}

/// Why a request went to the agent; counted in `HANDED`.
pub mod handed {
    /// No work area was free, or no policy was there.
    pub const BUSY: u64 = 0;
    /// The head is incomplete at the limit, malformed, or not decided.
    pub const HEAD: u64 = 1;
    /// The outcome is no endpoint.
    pub const OUTCOME: u64 = 2;
    /// The route, the chain or the cluster asks for more than forwarding.
    pub const ROUTE: u64 = 3;
    /// The request's framing: a body that is chunked or long, Connection.
    pub const FRAMING: u64 = 4;
    /// No upstream connection was idle, or the endpoint is not on this node.
    pub const POOL: u64 = 5;
    /// A request before the response to the one before.
    pub const PIPELINED: u64 = 6;
    /// The agent still has bytes of this connection, or the client those of the agent.
    pub const UNREAD: u64 = 7;
    /// How many there are.
    pub const COUNT: u64 = 8;
}

/// A tracked client connection.
#[repr(C)]
pub struct Client {
    /// Next in the list of free records.
    pub next: u64,
    /// Its index in the map; the agent writes it once.
    pub index: u64,
    /// Counts the uses of this record; in the socket it says whether the record is still its own.
    pub uses: u64,
    /// The socket's cookie, by which it stands in `CLIENTS`.
    pub cookie: u64,
    /// The address of its `struct sock`.
    pub socket: u64,
    /// Its own address.
    pub source: Address,
    /// What it asked for.
    pub destination: Address,
    /// One of [`mode`].
    pub mode: u64,
    /// Index of the upstream connection that has its request, plus one.
    pub upstream: u64,
    /// Bytes of the request's body that are still to come.
    pub body: u64,
    /// Bytes of the message that is looked at that come after those of the last run. What is left
    /// of a message must never wait for more: kernels put the next bytes in the wrong place, after
    /// others' data.
    pub rest: u64,
    /// Sequence numbers when the connection was established.
    pub first_write: u32,
    /// See above.
    pub first_read: u32,
    /// Bytes of this connection that the agent has read, of requests that it has answered.
    pub agent_read: u64,
    /// Bytes of this connection that the agent has written.
    pub agent_written: u64,
    /// It has sent a request before the response to the one before had ended: from then on all of
    /// its requests are the agent's.
    pub pipelines: u64,
    /// The socket is closed.
    pub closed: u64,
    /// Requests that were spliced.
    pub spliced: u64,
    /// Counts what was handed over; odd while a decision goes with it.
    pub handed: u64,
    /// The decision of the request under way: see [`Decision`].
    pub decision: Decision,
    /// Bytes that the head has; as many as fit are in `head`.
    pub head_length: u64,
    /// The request can be sent again: it is a GET or HEAD without a body, and all of it is in `head`.
    pub replayable: u64,
    /// The head.
    pub head: [u8; KEPT_HEAD_BYTES as usize],
}

/// The order of what changes the balancers' state, kept while traffic is recorded.
#[repr(C)]
pub struct Order {
    /// 1 while somebody decides or ends a request.
    pub lock: u64,
    /// The next number.
    pub next: u64,
    /// Ends that could not wait for the lock: their place in the order is not certain.
    pub uncertain: u64,
}

/// What the model left, with what went in.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// Its number in the [`Order`], where that is kept.
    pub number: u64,
    /// The policy's generation.
    pub generation: u64,
    /// The random number.
    pub random: u64,
    /// When, in nanoseconds of the monotonic clock.
    pub time_ns: u64,
    /// Place of the state word that counts the request, plus one; 0 once it is given back.
    pub active: u64,
    /// The words from [`work::OUTCOME`] on.
    pub left: [u64; work::LEFT as usize],
}

/// Values of [`Upstream::state`].
pub mod state {
    /// Not connected, or the agent uses it.
    pub const AGENT: u64 = 0;
    /// In its pool's list.
    pub const IDLE: u64 = 1;
    /// Has a request.
    pub const BUSY: u64 = 2;
    /// Dead while in its pool's list: whoever takes it from there leaves it [`GONE`].
    pub const DEAD: u64 = 3;
    /// Dead, and out of the list.
    pub const GONE: u64 = 4;
    /// Its response goes through the agent from here on.
    pub const RELAY: u64 = 5;
    /// The response has ended, and the connection is not to be used again.
    pub const CLOSE: u64 = 6;
}

/// Where a response is; in [`Upstream::phase`].
pub mod phase {
    /// Before or in its head.
    pub const HEAD: u64 = 0;
    /// In a body of which [`Upstream::left`](super::Upstream::left) bytes are left.
    pub const LENGTH: u64 = 1;
    /// In a chunked body; `left` is the [`twinmesh_model::chunk`] state.
    pub const CHUNKED: u64 = 2;
    /// In a body that ends with the connection.
    pub const UNTIL_CLOSE: u64 = 3;
}

/// A connection of the agent to an endpoint on this node, seen from the endpoint's accepted socket.
#[repr(C)]
pub struct Upstream {
    /// Next in its pool's list.
    pub next: u64,
    /// Its index in the map; the agent writes it once.
    pub index: u64,
    /// One of [`state`].
    pub state: u64,
    /// Counts the uses of this record.
    pub uses: u64,
    /// The accepted socket's cookie, by which it stands in `UPSTREAMS`; 0 until it is tracked.
    pub cookie: u64,
    /// Index of its pool.
    pub pool: u64,
    /// Index of the client whose request it has, plus one.
    pub client: u64,
    /// Which use of that record.
    pub client_uses: u64,
    /// One of [`phase`].
    pub phase: u64,
    /// See [`phase`].
    pub left: u64,
    /// Whether the request is a HEAD.
    pub head_request: u64,
    /// Whether the connection ends after this response.
    pub closes: u64,
    /// The response's status, once it is known.
    pub status: u64,
    /// Bytes of the response that were redirected.
    pub bytes: u64,
    /// Responses that were spliced whole.
    pub spliced: u64,
    /// Address of the bytes that are looked at.
    pub bytes_at: u64,
    /// As [`Client::rest`].
    pub rest: u64,
    /// The message that is looked at was held back before. Kernels throw away what a verdict on
    /// it leaves over, so a verdict must take all of it.
    pub corked: u64,
}

/// A pool of idle upstream connections of one endpoint.
#[repr(C)]
pub struct Pool {
    /// The first idle one: low: its index plus one; high: counts changes.
    pub idle: u64,
    /// Times that it was asked and had none.
    pub empty: u64,
}

/// Where an endpoint is, by its number.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Endpoint {
    /// Its address.
    pub address: Address,
    /// 2 or 10; 0 where it has none.
    pub family: u32,
    /// Index of its pool plus one; 0 where it has none.
    pub pool: u64,
}

/// What requests are counted by.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CountKey {
    /// The policy's generation.
    pub generation: u64,
    /// Offset of the listener's record.
    pub listener: u32,
    /// Offset of the filter chain's record.
    pub filter_chain: u32,
    /// Offset of the route configuration's record.
    pub route_configuration: u32,
    /// Offset of the virtual host's record.
    pub virtual_host: u32,
    /// Number of the route plus one.
    pub route: u32,
    /// Offset of the cluster's record.
    pub cluster: u32,
    /// Number of the endpoint plus one.
    pub endpoint: u32,
    /// The response's status; 0 for a connection whose endpoint was chosen at connect(2).
    pub status: u32,
}

/// Requests that were counted.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// How many.
    pub requests: u64,
    /// Bytes of their responses.
    pub bytes: u64,
    /// Microseconds from head to end, added up.
    pub duration_us: u64,
    /// How many by duration.
    pub ranges: [u64; RANGES as usize],
}

/// A spliced response that has ended.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The client's record.
    pub client: u64,
    /// Its own address.
    pub source: Address,
    /// What it asked for.
    pub destination: Address,
    /// The decision.
    pub decision: Decision,
    /// The number of its end in the [`Order`], where that is kept.
    pub end_number: u64,
    /// When the response ended, as [`Decision::time_ns`].
    pub end_ns: u64,
    /// The status.
    pub status: u64,
    /// Bytes of the response.
    pub bytes: u64,
    /// Bytes that the head has; as many as fit follow.
    pub head_length: u64,
    /// The head's first bytes.
    pub head: [u8; KEPT_HEAD_BYTES as usize],
}
