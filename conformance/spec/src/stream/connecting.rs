//! Attempts on their way to an endpoint.

use std::sync::Arc;

use twinmesh_engine::stream::{Action, ConnectionId, StreamId, Timer};
use twinmesh_engine::update::{Identity, identity};
use twinmesh_engine::{Failure, Held, Try};
use twinmesh_xds::Snapshot;

use super::breakers::{Asked, Follows};
use super::outliers::Said;
use super::{Phase, cluster_of, name_nothing, plan};
use crate::engine::Spec;

impl Spec {
    /// A connection does not come about.
    pub(super) fn not_connected(
        &mut self,
        connection: ConnectionId,
        failure: Failure,
        now: u64,
        actions: &mut Vec<Action>,
    ) {
        for id in self.following.breakers.not_connected(connection) {
            if let Some(stream) = self.following.streams.get_mut(&id) {
                stream.phase = Phase::Over;
            }
            self.failed(id, failure, now, actions);
        }
    }

    /// What a connection's opening or closing means to others.
    pub(super) fn follow(&mut self, follows: Follows, now: u64, actions: &mut Vec<Action>) {
        for id in follows.sent {
            self.send(id, now, actions);
        }
        for id in follows.not_sent {
            if let Some(stream) = self.following.streams.get_mut(&id) {
                stream.phase = Phase::Over;
            }
            self.failed(id, Failure::Overflow, now, actions);
        }
        if let Some((connection, endpoint)) = follows.connect {
            self.connect(connection, endpoint, now, actions);
        }
    }

    pub(super) fn connect(
        &mut self,
        connection: ConnectionId,
        endpoint: String,
        now: u64,
        actions: &mut Vec<Action>,
    ) {
        let snapshot = self.snapshot();
        let place = self.following.breakers.place_of(connection);
        let cluster = place
            .map(|((name, ..), _)| cluster_of(&snapshot, name))
            .unwrap_or_default();
        let timeout = plan::connect_timeout_us(&cluster);
        actions.push(Action::Set(
            Timer::Connect(connection),
            now.saturating_add(timeout),
        ));
        actions.push(Action::Connect {
            connection,
            endpoint,
        });
    }

    /// An attempt at the endpoint that the stream's decision names.
    pub(super) fn attempt(&mut self, id: StreamId, now: u64, actions: &mut Vec<Action>) {
        let following = &mut self.following;
        let Some(stream) = following.streams.get_mut(&id) else {
            return;
        };
        let Some(plan) = &stream.plan else {
            return;
        };
        let Some(loaded) = &mut self.loaded else {
            return;
        };
        let endpoint = stream.answer.decision.endpoint.clone();
        stream.tries.push(Try {
            endpoint: endpoint.clone(),
            start_us: now,
            end_us: now,
            ..Try::default()
        });
        let replaced = following.replaced.get(&plan.cluster).copied().unwrap_or(0);
        let of = (plan.cluster.clone(), replaced, plan.high);
        let endpoint = endpoint.unwrap_or_default();
        let place = (
            of,
            (stream.answer.decision.locality.clone(), endpoint.clone()),
        );
        stream.place = Some(place.clone());
        let held = stream.held;
        let snapshot = Arc::clone(&loaded.snapshot);
        stream.identity = held.and_then(|held| known_by(&snapshot, held));
        let cluster = cluster_of(&snapshot, &plan.cluster);
        // It counts as the endpoint's when it is sent.
        if let Some(held) = held {
            loaded.balancers.release(held);
        }
        match following.breakers.ask(&cluster, plan.http2, &place, id) {
            Asked::Sent => self.send(id, now, actions),
            Asked::Waits(connection) => {
                stream.phase = Phase::Waits;
                if let Some(connection) = connection {
                    self.connect(connection, endpoint, now, actions);
                }
            }
            Asked::NotSent => self.failed(id, Failure::Overflow, now, actions),
            Asked::NotWaiting => {
                if let Some(last) = stream.tries.last_mut() {
                    last.endpoint = None;
                }
                name_nothing(&mut stream.answer);
                self.failed(id, Failure::Overflow, now, actions);
            }
        }
    }

    /// Sends the attempt, which has a connection.
    pub(super) fn send(&mut self, id: StreamId, now: u64, actions: &mut Vec<Action>) {
        let Some(stream) = self.following.streams.get_mut(&id) else {
            return;
        };
        let Some(plan) = &stream.plan else {
            return;
        };
        stream.phase = Phase::Sent;
        if let Some(held) = stream.held
            && let Some(loaded) = &mut self.loaded
        {
            loaded.balancers.hold(held);
        }
        for (timer, time) in [
            (Timer::Try(id), plan.timeouts.per_try),
            (Timer::TryIdle(id), plan.timeouts.per_try_idle),
        ] {
            actions.extend(time.map(|time| Action::Set(timer, now.saturating_add(time))));
        }
        actions.push(Action::Send {
            stream: id,
            endpoint: stream.answer.decision.endpoint.clone().unwrap_or_default(),
        });
        self.tell(id, Said::Connected, now, actions);
    }
}

/// What an endpoint is known by.
fn known_by(snapshot: &Snapshot, held: Held) -> Option<Identity> {
    let assignment = snapshot
        .clusters
        .get(held.cluster)?
        .load_assignment
        .as_ref()?;
    let group = assignment.endpoints.get(held.locality)?;
    identity(group, group.lb_endpoints.get(held.endpoint)?)
}
