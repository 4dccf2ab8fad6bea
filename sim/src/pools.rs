//! Connections to endpoints, and what circuit breakers count.

use std::collections::{HashMap, VecDeque};

use twinmesh_attempts::circuit_breaker::{Counts, Thresholds};
use twinmesh_engine::stream::{ConnectionId, StreamId};

/// A cluster, as long as its message stays: its name and how often it was replaced; and whether
/// the routing priority is HIGH.
pub(crate) type ClusterKey = (String, u64, bool);

/// Names the pool of an endpoint: its locality and address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    pub(crate) cluster: ClusterKey,
    pub(crate) locality: Option<String>,
    pub(crate) endpoint: String,
}

/// The connections of one endpoint.
#[derive(Debug, Default)]
struct Pool {
    /// One connection carries all requests.
    http2: bool,
    /// Connections that are open, with or without requests.
    open: u64,
    /// Requests on them.
    active: u64,
    /// Connections that are being opened.
    opening: u64,
    queue: VecDeque<StreamId>,
}

impl Pool {
    fn has_room(&self) -> bool {
        if self.http2 {
            self.open > 0
        } else {
            self.active < self.open
        }
    }

    /// Whether those who wait have not each a connection that is being opened for them.
    fn lacks(&self) -> bool {
        let most = if self.http2 { 1 } else { u64::MAX };
        self.opening < most.min(self.queue.len() as u64)
    }
}

/// All pools.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    counts: HashMap<ClusterKey, Counts>,
    pools: HashMap<PoolKey, Pool>,
    opening: HashMap<ConnectionId, PoolKey>,
    last: ConnectionId,
}

/// Whether a request goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// At once.
    Sent,
    /// When there is a connection; perhaps one is to be opened.
    Queued(Option<ConnectionId>),
    /// Not: too many requests.
    TooManyRequests,
    /// Not: too many wait.
    TooManyPending,
}

/// What a change in a pool leads to.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// Each has a connection, or may not use it.
    pub(crate) streams: Vec<(StreamId, bool)>,
    /// To be opened, to this endpoint.
    pub(crate) opens: Option<(ConnectionId, String)>,
}

impl Pools {
    fn counts(&mut self, key: &ClusterKey) -> &mut Counts {
        self.counts.entry(key.clone()).or_default()
    }

    fn pool(&mut self, key: &PoolKey) -> &mut Pool {
        self.pools.entry(key.clone()).or_default()
    }

    fn open(&mut self, limits: &Thresholds, key: &PoolKey) -> Option<ConnectionId> {
        let counts = *self.counts(&key.cluster);
        let pool = self.pool(key);
        if !limits.connection(&counts, pool.open + pool.opening) {
            return None;
        }
        pool.opening += 1;
        self.counts(&key.cluster).connections += 1;
        self.last += 1;
        self.opening.insert(self.last, key.clone());
        Some(self.last)
    }

    /// A request asks for its endpoint's connection.
    pub(crate) fn admit(
        &mut self,
        limits: &Thresholds,
        key: &PoolKey,
        http2: bool,
        stream: StreamId,
    ) -> Admission {
        let counts = *self.counts(&key.cluster);
        let pool = self.pool(key);
        pool.http2 = http2;
        if pool.has_room() {
            if !limits.request(&counts) {
                return Admission::TooManyRequests;
            }
            pool.active += 1;
            self.counts(&key.cluster).requests += 1;
            return Admission::Sent;
        }
        if !limits.pending(&counts) {
            return Admission::TooManyPending;
        }
        pool.queue.push_back(stream);
        let lacks = pool.lacks();
        self.counts(&key.cluster).pending += 1;
        Admission::Queued(if lacks { self.open(limits, key) } else { None })
    }

    /// The pool that a connection is being opened for.
    pub(crate) fn key(&self, connection: ConnectionId) -> Option<PoolKey> {
        self.opening.get(&connection).cloned()
    }

    /// A connection is open.
    pub(crate) fn opened(&mut self, limits: &Thresholds, connection: ConnectionId) -> Moves {
        let Some(key) = self.opening.remove(&connection) else {
            return Moves::default();
        };
        let pool = self.pool(&key);
        pool.opening -= 1;
        pool.open += 1;
        self.settle(limits, &key)
    }

    /// A connection is not opened: whoever waits in its pool fails.
    pub(crate) fn not_opened(&mut self, connection: ConnectionId) -> Vec<StreamId> {
        let Some(key) = self.opening.remove(&connection) else {
            return Vec::new();
        };
        let pool = self.pool(&key);
        pool.opening -= 1;
        let failed = Vec::from(std::mem::take(&mut pool.queue));
        let counts = self.counts(&key.cluster);
        counts.connections -= 1;
        counts.pending -= failed.len() as u64;
        failed
    }

    /// A request waits no longer.
    pub(crate) fn withdraw(&mut self, key: &PoolKey, stream: StreamId) {
        let queue = &mut self.pool(key).queue;
        let before = queue.len();
        queue.retain(|other| *other != stream);
        let gone = before - queue.len();
        self.counts(&key.cluster).pending -= gone as u64;
    }

    /// A request that was sent has ended; `closes`: an HTTP/1 connection goes with it.
    pub(crate) fn end(&mut self, limits: &Thresholds, key: &PoolKey, closes: bool) -> Moves {
        let pool = self.pool(key);
        pool.active -= 1;
        let closed = closes && !pool.http2;
        pool.open -= u64::from(closed);
        let counts = self.counts(&key.cluster);
        counts.requests -= 1;
        counts.connections -= u64::from(closed);
        self.settle(limits, key)
    }

    /// Those who wait get what there is, in order.
    fn settle(&mut self, limits: &Thresholds, key: &PoolKey) -> Moves {
        let mut moves = Moves::default();
        while self.pool(key).has_room()
            && let Some(stream) = self.pool(key).queue.pop_front()
        {
            let counts = self.counts(&key.cluster);
            counts.pending -= 1;
            let may = limits.request(counts);
            counts.requests += u64::from(may);
            self.pool(key).active += u64::from(may);
            moves.streams.push((stream, may));
        }
        if self.pool(key).lacks() {
            let opened = self.open(limits, key);
            moves.opens = opened.map(|connection| (connection, key.endpoint.clone()));
        }
        moves
    }

    /// Takes a retry; `false`: there are too many.
    pub(crate) fn retry(&mut self, limits: &Thresholds, key: &ClusterKey) -> bool {
        let counts = self.counts(key);
        let may = limits.retry(counts);
        counts.retries += u64::from(may);
        may
    }

    /// A retry has come to something.
    pub(crate) fn retried(&mut self, key: &ClusterKey) {
        self.counts(key).retries -= 1;
    }
}
