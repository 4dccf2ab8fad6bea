//! Attempts on their way to an endpoint.

use twinmesh_attempts::circuit_breaker::Thresholds;
use twinmesh_compile::attempts;
use twinmesh_engine::stream::{Action, ConnectionId, StreamId, Timer};
use twinmesh_engine::update::{Identity, identity};
use twinmesh_engine::{Failure, Held, Try};
use twinmesh_xds::Snapshot;

use super::{Ending, State, microseconds, no_endpoint};
use crate::pools::{Admission, ClusterKey, Moves, PoolKey};
use crate::{Sim, again};

impl Sim {
    pub(super) fn limits(&self, (name, _, high): &ClusterKey) -> Thresholds {
        let snapshot = self.snapshot();
        let cluster = snapshot.cluster(name);
        cluster
            .map(|it| attempts::thresholds(&it.config, *high))
            .unwrap_or_default()
    }

    /// Makes an attempt at the endpoint that the stream has.
    pub(super) fn attempt(&mut self, id: StreamId, now: u64, actions: &mut Vec<Action>) {
        let Some(stream) = self.under.streams.get_mut(&id) else {
            return;
        };
        let Some(plan) = &stream.plan else {
            return;
        };
        let decision = &stream.answer.decision;
        let endpoint = decision.endpoint.clone();
        let replaced = self.under.replaced.get(&plan.cluster).copied();
        let key = PoolKey {
            cluster: (plan.cluster.clone(), replaced.unwrap_or(0), plan.high),
            locality: decision.locality.clone(),
            endpoint: endpoint.clone().unwrap_or_default(),
        };
        let (http2, held) = (plan.http2, stream.held);
        let snapshot = self.loaded.as_ref().map(|(compiled, _)| &compiled.snapshot);
        stream.identity = snapshot
            .zip(held)
            .and_then(|(snapshot, held)| known_by(snapshot, held));
        stream.tries.push(Try {
            endpoint,
            start_us: now,
            end_us: now,
            ..Try::default()
        });
        stream.pool = Some(key.clone());
        // What is not with the endpoint yet does not count as its own.
        self.release_held(held);
        let limits = self.limits(&key.cluster);
        match self.under.pools.admit(&limits, &key, http2, id) {
            Admission::Sent => self.send(id, now, actions),
            Admission::Queued(opens) => {
                if let Some(stream) = self.under.streams.get_mut(&id) {
                    stream.state = State::Queued;
                }
                let opens = opens.map(|connection| (connection, key.endpoint.clone()));
                self.open(opens, now, actions);
            }
            Admission::TooManyRequests => {
                self.ended(id, Ending::Failure(Failure::Overflow), now, actions);
            }
            Admission::TooManyPending => {
                if let Some(stream) = self.under.streams.get_mut(&id) {
                    // Nobody gets to know which one it was.
                    no_endpoint(&mut stream.answer);
                    if let Some(last) = stream.tries.last_mut() {
                        last.endpoint = None;
                    }
                }
                self.ended(id, Ending::Failure(Failure::Overflow), now, actions);
            }
        }
    }

    pub(super) fn open(
        &mut self,
        opens: Option<(ConnectionId, String)>,
        now: u64,
        actions: &mut Vec<Action>,
    ) {
        let Some((connection, endpoint)) = opens else {
            return;
        };
        let snapshot = self.snapshot();
        let key = self.under.pools.key(connection);
        let cluster = key.and_then(|key| snapshot.cluster(&key.cluster.0));
        let timeout = cluster.map_or(0, |cluster| attempts::connect_ms(&cluster.config));
        let at = now.saturating_add(timeout.saturating_mul(1000));
        actions.push(Action::Set(Timer::Connect(connection), at));
        actions.push(Action::Connect {
            connection,
            endpoint,
        });
    }

    /// What a change in a pool means to others.
    pub(super) fn moved(&mut self, moves: Moves, now: u64, actions: &mut Vec<Action>) {
        for (id, may) in moves.streams {
            if may {
                self.send(id, now, actions);
                continue;
            }
            if let Some(stream) = self.under.streams.get_mut(&id) {
                stream.state = State::BackingOff;
            }
            self.ended(id, Ending::Failure(Failure::Overflow), now, actions);
        }
        self.open(moves.opens, now, actions);
    }

    pub(super) fn not_connected(
        &mut self,
        connection: ConnectionId,
        failure: Failure,
        now: u64,
        actions: &mut Vec<Action>,
    ) {
        for id in self.under.pools.not_opened(connection) {
            if let Some(stream) = self.under.streams.get_mut(&id) {
                stream.state = State::BackingOff;
            }
            self.ended(id, Ending::Failure(failure), now, actions);
        }
    }

    pub(super) fn send(&mut self, id: StreamId, now: u64, actions: &mut Vec<Action>) {
        let Some(stream) = self.under.streams.get_mut(&id) else {
            return;
        };
        stream.state = State::Sent;
        self.watch_connected(id, now);
        let Some(stream) = self.under.streams.get(&id) else {
            return;
        };
        if let (Some(held), Some((compiled, memory))) = (stream.held, &mut self.loaded) {
            again::hold(compiled, memory, held);
        }
        if let Some(plan) = &stream.plan {
            let times = [
                (Timer::Try(id), plan.per_try_ms),
                (Timer::TryIdle(id), plan.per_try_idle_ms),
            ];
            for (timer, time) in times {
                let time = microseconds(time);
                actions.extend(time.map(|it| Action::Set(timer, now.saturating_add(it))));
            }
        }
        let endpoint = stream.answer.decision.endpoint.clone().unwrap_or_default();
        actions.push(Action::Send {
            stream: id,
            endpoint,
        });
    }
}

/// What an endpoint is known by.
fn known_by(snapshot: &Snapshot, held: Held) -> Option<Identity> {
    let cluster = snapshot.clusters.get(held.cluster)?;
    let group = cluster
        .load_assignment
        .as_ref()?
        .endpoints
        .get(held.locality)?;
    identity(group, group.lb_endpoints.get(held.endpoint)?)
}
