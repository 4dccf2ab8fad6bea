//! Circuit breakers and connections: what a cluster may have at one time.
//!
//! On HTTP/1 a connection has one request at a time and is kept for the next; on HTTP/2 an endpoint
//! has one connection for all. A request that finds none waits for one.

use std::collections::{BTreeMap, VecDeque};

use envoy_types::pb::envoy::config::cluster::v3::{
    CircuitBreakers, Cluster as ClusterConfig, circuit_breakers::Thresholds,
};
use envoy_types::pb::envoy::config::core::v3::RoutingPriority;
use envoy_types::pb::google::protobuf::UInt32Value;
use twinmesh_engine::stream::{ConnectionId, StreamId};

/// A cluster as long as its message stays, at one routing priority.
pub(super) type Of = (String, u64, bool);
/// One of its endpoints: locality and address.
pub(super) type Endpoint = (Option<String>, String);

/// What there is of everything.
#[derive(Debug, Default)]
pub(super) struct Breakers {
    clusters: BTreeMap<Of, Counted>,
    pools: BTreeMap<(Of, Endpoint), Pool>,
    connecting: BTreeMap<ConnectionId, (Of, Endpoint)>,
    connections: ConnectionId,
}

#[derive(Debug, Default)]
struct Counted {
    connections: u64,
    pending: u64,
    requests: u64,
    retries: u64,
}

/// The connections to one endpoint.
#[derive(Debug, Default)]
struct Pool {
    http2: bool,
    idle: u64,
    busy: u64,
    connecting: u64,
    /// Requests on HTTP/2's one connection.
    streams: u64,
    waiting: VecDeque<StreamId>,
}

impl Pool {
    fn connections(&self) -> u64 {
        self.idle + self.busy + self.connecting
    }
}

/// What became of an attempt that asks for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// It has one.
    Sent,
    /// It waits, and a connection is to be opened perhaps.
    Waits(Option<ConnectionId>),
    /// It may not be sent.
    NotSent,
    /// It may not even wait: nobody says for which endpoint.
    NotWaiting,
}

/// How an attempt that was sent has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Open,
    Closed,
}

/// What follows for others when a connection opens or closes.
#[derive(Debug, Default)]
pub(super) struct Follows {
    /// They have a connection.
    pub(super) sent: Vec<StreamId>,
    /// They could have one, and may not be sent.
    pub(super) not_sent: Vec<StreamId>,
    /// A connection that is to be opened, with its endpoint.
    pub(super) connect: Option<(ConnectionId, String)>,
}

/// Why the circuit breakers of a cluster are not decided.
pub(super) fn undecided(cluster: &ClusterConfig) -> Option<&'static str> {
    let breakers = cluster.circuit_breakers.as_ref()?;
    let all = || {
        breakers
            .thresholds
            .iter()
            .chain(&breakers.per_host_thresholds)
    };
    if all().any(|it| it.max_connection_pools.is_some()) {
        return Some("max_connection_pools is not decided");
    }
    let budgets = || all().filter_map(|it| it.retry_budget.as_ref());
    if budgets().any(|budget| budget.budget_interval.is_some()) {
        return Some("a retry budget over an interval is not decided");
    }
    if all().any(|it| it.max_connections.is_some())
        && (cluster.preconnect_policy.is_some()
            || cluster.max_requests_per_connection.is_some()
            || cluster.connection_pool_per_downstream_connection)
    {
        return Some("max_connections is not decided where connections are not kept for all");
    }
    None
}

fn of_priority(thresholds: &[Thresholds], high: bool) -> Option<&Thresholds> {
    let priority = if high {
        RoutingPriority::High
    } else {
        RoutingPriority::Default
    };
    thresholds.iter().find(|it| it.priority == priority as i32)
}

/// A threshold of a cluster.
fn most(
    breakers: Option<&CircuitBreakers>,
    high: bool,
    field: fn(&Thresholds) -> Option<UInt32Value>,
    default: u64,
) -> u64 {
    breakers
        .and_then(|it| field(of_priority(&it.thresholds, high)?))
        .map_or(default, |most| u64::from(most.value))
}

impl Breakers {
    fn may_connect(&self, cluster: &ClusterConfig, place: &(Of, Endpoint)) -> bool {
        let breakers = cluster.circuit_breakers.as_ref();
        let high = place.0.2;
        let of_endpoint = self.pools.get(place).map_or(0, Pool::connections);
        if of_endpoint == 0 {
            // Nothing would ever serve what waits for this endpoint.
            return true;
        }
        let all = self
            .clusters
            .get(&place.0)
            .map_or(0, |counted| counted.connections);
        let each = breakers
            .and_then(|it| of_priority(&it.per_host_thresholds, high)?.max_connections)
            .is_none_or(|most| of_endpoint < u64::from(most.value));
        each && all < most(breakers, high, |it| it.max_connections, 1024)
    }

    fn may_send(&self, cluster: &ClusterConfig, of: &Of) -> bool {
        let active = self.clusters.get(of).map_or(0, |counted| counted.requests);
        active
            < most(
                cluster.circuit_breakers.as_ref(),
                of.2,
                |it| it.max_requests,
                1024,
            )
    }

    fn connect(&mut self, place: &(Of, Endpoint)) -> ConnectionId {
        self.connections += 1;
        self.connecting.insert(self.connections, place.clone());
        self.pools.entry(place.clone()).or_default().connecting += 1;
        self.clusters
            .entry(place.0.clone())
            .or_default()
            .connections += 1;
        self.connections
    }

    /// An attempt asks for a connection.
    pub(super) fn ask(
        &mut self,
        cluster: &ClusterConfig,
        http2: bool,
        place: &(Of, Endpoint),
        stream: StreamId,
    ) -> Asked {
        let pool = self.pools.entry(place.clone()).or_default();
        pool.http2 = http2;
        let is_ready = pool.idle > 0 || (http2 && pool.busy > 0);
        if is_ready {
            if !self.may_send(cluster, &place.0) {
                return Asked::NotSent;
            }
            self.send(place);
            return Asked::Sent;
        }
        let breakers = cluster.circuit_breakers.as_ref();
        let pending = self
            .clusters
            .get(&place.0)
            .map_or(0, |counted| counted.pending);
        if pending >= most(breakers, place.0.2, |it| it.max_pending_requests, 1024) {
            return Asked::NotWaiting;
        }
        self.clusters.entry(place.0.clone()).or_default().pending += 1;
        let pool = self.pools.entry(place.clone()).or_default();
        pool.waiting.push_back(stream);
        let most = if http2 { 1 } else { pool.waiting.len() as u64 };
        if pool.connecting >= most {
            // One that is being opened will do.
            return Asked::Waits(None);
        }
        Asked::Waits(
            self.may_connect(cluster, place)
                .then(|| self.connect(place)),
        )
    }

    fn send(&mut self, place: &(Of, Endpoint)) {
        let pool = self.pools.entry(place.clone()).or_default();
        if pool.http2 {
            if pool.streams == 0 && pool.idle > 0 {
                (pool.idle, pool.busy) = (0, 1);
            }
            pool.streams += 1;
        } else {
            pool.idle = pool.idle.saturating_sub(1);
            pool.busy += 1;
        }
        self.clusters.entry(place.0.clone()).or_default().requests += 1;
    }

    /// Where a connection leads that is being opened.
    pub(super) fn place_of(&self, connection: ConnectionId) -> Option<&(Of, Endpoint)> {
        self.connecting.get(&connection)
    }

    /// A connection is there.
    pub(super) fn connected(
        &mut self,
        cluster: &ClusterConfig,
        connection: ConnectionId,
    ) -> Follows {
        let Some(place) = self.connecting.remove(&connection) else {
            return Follows::default();
        };
        let pool = self.pools.entry(place.clone()).or_default();
        pool.connecting = pool.connecting.saturating_sub(1);
        pool.idle += 1;
        self.serve(cluster, &place)
    }

    /// Gives those who wait what connections there are, the first who came first.
    fn serve(&mut self, cluster: &ClusterConfig, place: &(Of, Endpoint)) -> Follows {
        let mut follows = Follows::default();
        loop {
            let pool = self.pools.entry(place.clone()).or_default();
            if pool.idle == 0 && !(pool.http2 && pool.busy > 0) {
                break;
            }
            let Some(stream) = pool.waiting.pop_front() else {
                break;
            };
            let counted = self.clusters.entry(place.0.clone()).or_default();
            counted.pending = counted.pending.saturating_sub(1);
            if self.may_send(cluster, &place.0) {
                self.send(place);
                follows.sent.push(stream);
            } else {
                follows.not_sent.push(stream);
            }
        }
        let pool = self.pools.entry(place.clone()).or_default();
        let waiting = pool.waiting.len() as u64;
        let most = if pool.http2 { waiting.min(1) } else { waiting };
        let waits = pool.connecting < most;
        if waits && self.may_connect(cluster, place) {
            follows.connect = Some((self.connect(place), place.1.1.clone()));
        }
        follows
    }

    /// A connection does not come about: all who wait for its endpoint fail with it.
    pub(super) fn not_connected(&mut self, connection: ConnectionId) -> Vec<StreamId> {
        let Some(place) = self.connecting.remove(&connection) else {
            return Vec::new();
        };
        let pool = self.pools.entry(place.clone()).or_default();
        pool.connecting = pool.connecting.saturating_sub(1);
        let failed: Vec<StreamId> = pool.waiting.drain(..).collect();
        let counted = self.clusters.entry(place.0).or_default();
        counted.connections = counted.connections.saturating_sub(1);
        counted.pending = counted.pending.saturating_sub(failed.len() as u64);
        failed
    }

    /// A stream waits no longer.
    pub(super) fn leaves(&mut self, place: &(Of, Endpoint), stream: StreamId) {
        let pool = self.pools.entry(place.clone()).or_default();
        let before = pool.waiting.len();
        pool.waiting.retain(|other| *other != stream);
        if pool.waiting.len() < before {
            let counted = self.clusters.entry(place.0.clone()).or_default();
            counted.pending = counted.pending.saturating_sub(1);
        }
    }

    /// An attempt that was sent has ended.
    pub(super) fn ended(
        &mut self,
        cluster: &ClusterConfig,
        place: &(Of, Endpoint),
        kept: Kept,
    ) -> Follows {
        let counted = self.clusters.entry(place.0.clone()).or_default();
        counted.requests = counted.requests.saturating_sub(1);
        let pool = self.pools.entry(place.clone()).or_default();
        if pool.http2 {
            // Only the stream ends.
            pool.streams = pool.streams.saturating_sub(1);
            if pool.streams == 0 {
                (pool.idle, pool.busy) = (pool.idle + pool.busy, 0);
            }
        } else {
            pool.busy = pool.busy.saturating_sub(1);
            match kept {
                Kept::Open => pool.idle += 1,
                Kept::Closed => counted.connections = counted.connections.saturating_sub(1),
            }
        }
        self.serve(cluster, place)
    }

    /// Takes a retry, where one may be made.
    pub(super) fn retry(&mut self, cluster: &ClusterConfig, of: &Of) -> bool {
        let counted = self.clusters.entry(of.clone()).or_default();
        let breakers = cluster.circuit_breakers.as_ref();
        let own = breakers.and_then(|it| of_priority(&it.thresholds, of.2));
        let budget = own.and_then(|it| it.retry_budget.as_ref());
        let most = match budget {
            None => most(breakers, of.2, |it| it.max_retries, 3),
            Some(budget) => {
                let percent = budget.budget_percent.as_ref().map_or(20.0, |it| it.value);
                let least = budget
                    .min_retry_concurrency
                    .as_ref()
                    .map_or(3, |it| it.value);
                #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
                let active = (counted.requests + counted.pending) as f64;
                ((percent / 100.0 * active) as u64).max(u64::from(least))
            }
        };
        let may = counted.retries < most;
        counted.retries += u64::from(may);
        may
    }

    /// A retry has come to something.
    pub(super) fn retried(&mut self, of: &Of) {
        let counted = self.clusters.entry(of.clone()).or_default();
        counted.retries = counted.retries.saturating_sub(1);
    }
}
