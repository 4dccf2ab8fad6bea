//! What becomes of a request after its first endpoint is chosen: attempts, timeouts, retries, circuit
//! breakers, outlier detection.

mod again;
mod breakers;
mod connecting;
mod detection;
mod internal;
mod outliers;
mod plan;
mod retry;
mod timeouts;

use std::collections::BTreeMap;
use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::Cluster as ClusterConfig;
use twinmesh_engine::stream::{Action, Arrival, Event, Response, StreamId, Timer};
use twinmesh_engine::update::{Identity, keeps_state, renumber};
use twinmesh_engine::{Answer, EngineError, Failure, Held, Outcome, Request, Step, Streams, Try};
use twinmesh_xds::Snapshot;

use crate::balancer::Chooser;
use crate::engine::{Spec, nothing_loaded, start};
use crate::header_values::forget_response;

use breakers::{Breakers, Endpoint, Kept, Of};
use outliers::{Detector, Said};
use plan::Plan;
pub(crate) use plan::{Forwarded, microseconds};
use retry::{Ended, Left};

/// All streams under way.
#[derive(Debug, Default)]
pub(crate) struct Following {
    streams: BTreeMap<StreamId, Stream>,
    breakers: Breakers,
    /// How often a cluster was replaced by another one of its name.
    replaced: BTreeMap<String, u64>,
    /// By the number of its timer: the cluster that it watches, and how often that was replaced.
    detectors: BTreeMap<usize, ((String, u64), Detector)>,
    numbers: usize,
}

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It waits for a connection.
    Waits,
    /// The endpoint has it.
    Sent,
    /// It has ended, or was never made.
    Over,
}

#[derive(Debug)]
struct Stream {
    /// The decision of the first attempt, which becomes the last one's.
    answer: Answer,
    request: Request,
    random: u64,
    arrived_us: u64,
    /// `None`: a TCP proxy's connection, which nothing is decided of.
    plan: Option<Plan>,
    left: Left,
    tries: Vec<Try>,
    held: Option<Held>,
    /// Where the attempt goes.
    place: Option<(Of, Endpoint)>,
    /// What the endpoint is known by.
    identity: Option<Identity>,
    phase: Phase,
    /// Where the attempt counts as a retry, if it is one.
    retries_of: Option<Of>,
    trace: bool,
}

impl Following {
    /// Another snapshot follows.
    pub(crate) fn update(&mut self, before: &Snapshot, after: &Snapshot) {
        for stream in self.streams.values_mut() {
            stream.held = stream.held.and_then(|held| renumber(held, before, after));
        }
        for cluster in &before.clusters {
            let goes_on = after
                .cluster(&cluster.name)
                .is_some_and(|next| keeps_state(cluster, next));
            if !goes_on {
                *self.replaced.entry(cluster.name.clone()).or_default() += 1;
            }
        }
    }
}

impl Streams for Spec {
    fn begin(&mut self, now_us: u64, actions: &mut Vec<Action>) -> Result<(), EngineError> {
        self.detect(now_us, actions);
        Ok(())
    }

    fn arrive(
        &mut self,
        arrival: &Arrival<'_>,
        actions: &mut Vec<Action>,
    ) -> Result<(), EngineError> {
        let generation = self.generation;
        let loaded = self.loaded.as_mut().ok_or_else(nothing_loaded)?;
        let (snapshot, regexes) = (&loaded.snapshot, &loaded.regexes);
        let chooser = Chooser::Balancers(&mut loaded.balancers);
        let (request, random) = (arrival.request, arrival.random);
        let run = start(
            snapshot,
            regexes,
            &loaded.substitutions,
            chooser,
            &mut loaded.filters,
            request,
            (random, arrival.now_us),
            generation,
            arrival.trace,
        )?;
        let plan = run.forwarded.as_ref().map(|it| Plan::new(it, request));
        let mut answer = run.answer;
        let held = answer.held.take();
        let id = arrival.stream;
        if answer.decision.outcome != Outcome::Forward {
            actions.push(Action::End {
                stream: id,
                answer: Box::new(answer),
            });
            return Ok(());
        }
        let plan = match plan.transpose() {
            Ok(plan) => plan,
            Err(reason) => {
                if let Some(held) = held {
                    loaded.balancers.release(held);
                }
                undecide(&mut answer, reason, arrival.trace);
                actions.push(Action::End {
                    stream: id,
                    answer: Box::new(answer),
                });
                return Ok(());
            }
        };
        let now = arrival.now_us;
        let timers = match &plan {
            Some(Plan { timeouts, .. }) => [
                (Timer::Route(id), timeouts.route),
                (Timer::Idle(id), timeouts.idle),
                (Timer::Duration(id), timeouts.duration),
            ],
            None => [
                (Timer::Duration(id), Some(request.duration_us)),
                (Timer::Route(id), None),
                (Timer::Idle(id), None),
            ],
        };
        for (timer, time) in timers {
            actions.extend(time.map(|time| Action::Set(timer, now.saturating_add(time))));
        }
        let left = plan
            .as_ref()
            .map_or(Left::default(), |plan| plan.retry.left());
        let is_http = plan.is_some();
        let stream = Stream {
            answer,
            request: request.clone(),
            random,
            arrived_us: now,
            plan,
            left,
            tries: Vec::new(),
            held,
            place: None,
            identity: None,
            phase: Phase::Over,
            retries_of: None,
            trace: arrival.trace,
        };
        self.following.streams.insert(id, stream);
        if is_http {
            self.attempt(id, now, actions);
        }
        Ok(())
    }

    fn happen(
        &mut self,
        event: Event,
        now_us: u64,
        actions: &mut Vec<Action>,
    ) -> Result<(), EngineError> {
        match event {
            Event::Connected(connection) => {
                actions.push(Action::Clear(Timer::Connect(connection)));
                let place = self.following.breakers.place_of(connection).cloned();
                if let Some(((name, ..), _)) = place {
                    let snapshot = self.snapshot();
                    let cluster = cluster_of(&snapshot, &name);
                    let follows = self.following.breakers.connected(&cluster, connection);
                    self.follow(follows, now_us, actions);
                }
            }
            Event::Refused(connection) => {
                actions.push(Action::Clear(Timer::Connect(connection)));
                self.not_connected(connection, Failure::ConnectFailure, now_us, actions);
            }
            Event::Response { stream, response } => {
                self.responded(stream, &response, now_us, actions);
            }
            Event::Reset { stream, refused } => {
                let is_http2 = self.plan(stream).is_some_and(|plan| plan.http2);
                let failure = if refused && is_http2 {
                    Failure::RefusedStream
                } else {
                    Failure::Reset
                };
                self.failed(stream, failure, now_us, actions);
            }
            Event::Due(timer) => self.due(timer, now_us, actions),
            Event::Forgotten(stream) => {
                self.give_up(stream, Failure::NeverEnds, now_us, actions);
            }
        }
        Ok(())
    }
}

impl Spec {
    fn plan(&self, id: StreamId) -> Option<&Plan> {
        self.following.streams.get(&id)?.plan.as_ref()
    }

    fn due(&mut self, timer: Timer, now: u64, actions: &mut Vec<Action>) {
        match timer {
            Timer::Route(id) => self.give_up(id, Failure::Timeout, now, actions),
            Timer::Idle(id) => self.give_up(id, Failure::IdleTimeout, now, actions),
            Timer::Duration(id) => self.give_up(id, Failure::MaxStreamDuration, now, actions),
            Timer::Try(id) => {
                actions.push(Action::Cancel(id));
                self.failed(id, Failure::PerTryTimeout, now, actions);
            }
            Timer::TryIdle(id) => {
                actions.push(Action::Cancel(id));
                self.failed(id, Failure::PerTryIdleTimeout, now, actions);
            }
            Timer::BackOff(id) => {
                if self.choose_again(id, now, actions) {
                    self.attempt(id, now, actions);
                }
            }
            Timer::Connect(connection) => {
                actions.push(Action::GiveUp(connection));
                self.not_connected(connection, Failure::ConnectTimeout, now, actions);
            }
            Timer::Outliers(number) => self.interval(number, now, actions),
        }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        let loaded = self.loaded.as_ref();
        loaded
            .map(|loaded| Arc::clone(&loaded.snapshot))
            .unwrap_or_default()
    }

    /// The attempt is over: what it held is given back.
    fn attempt_ends(
        &mut self,
        id: StreamId,
        status: Option<u32>,
        failure: Option<Failure>,
        now: u64,
        actions: &mut Vec<Action>,
    ) {
        let Some(stream) = self.following.streams.get_mut(&id) else {
            return;
        };
        actions.push(Action::Clear(Timer::Try(id)));
        actions.push(Action::Clear(Timer::TryIdle(id)));
        if let Some(last) = stream.tries.last_mut() {
            last.end_us = now;
            last.status = status;
            last.failure = failure;
        }
        let held = stream.held.take();
        let phase = std::mem::replace(&mut stream.phase, Phase::Over);
        let place = stream.place.take();
        if let Some(held) = held
            && phase == Phase::Sent
            && let Some(loaded) = &mut self.loaded
        {
            loaded.balancers.release(held);
        }
        let Some(place) = place else {
            return;
        };
        match phase {
            Phase::Sent => {
                let snapshot = self.snapshot();
                let cluster = cluster_of(&snapshot, &place.0.0);
                let kept = if status.is_some() && failure.is_none() {
                    Kept::Open
                } else {
                    Kept::Closed
                };
                let follows = self.following.breakers.ended(&cluster, &place, kept);
                self.follow(follows, now, actions);
            }
            Phase::Waits => self.following.breakers.leaves(&place, id),
            Phase::Over => {}
        }
    }

    fn responded(
        &mut self,
        id: StreamId,
        response: &Response,
        now: u64,
        actions: &mut Vec<Action>,
    ) {
        let cut = response.cut.then_some(Failure::ResetAfterHeaders);
        let is_grpc = self.plan(id).is_some_and(|plan| plan.message.is_grpc());
        let said = Said::Status(outliers::status(response, is_grpc));
        self.tell(id, said, now, actions);
        if response.cut {
            self.tell(id, Said::Local(503), now, actions);
        }
        let retried = self.retry(id, Ended::Response(response), now, actions);
        self.attempt_ends(id, Some(response.status), cut, now, actions);
        if retried.is_again {
            return;
        }
        let is_http2 = self.plan(id).is_some_and(|plan| plan.http2);
        let flag = match (response.cut, is_http2) {
            (false, _) => None,
            // The codec misses the rest of the body.
            (true, false) => Some("UPE"),
            (true, true) => Some("UR"),
        };
        let flags = [retried.flag, flag];
        self.end(
            id,
            Some(response.status),
            &flags,
            "the endpoint responds",
            now,
            actions,
        );
    }

    fn failed(&mut self, id: StreamId, failure: Failure, now: u64, actions: &mut Vec<Action>) {
        let timeout_status = self.plan(id).map_or(504, |plan| plan.timeouts.status);
        match failure {
            // It is the cluster's, not the endpoint's.
            Failure::Overflow => {}
            Failure::PerTryTimeout | Failure::PerTryIdleTimeout => {
                self.tell(id, Said::Local(timeout_status), now, actions);
            }
            _ => self.tell(id, Said::Local(503), now, actions),
        }
        let retried = self.retry(id, Ended::Failure(failure), now, actions);
        self.attempt_ends(id, None, Some(failure), now, actions);
        if retried.is_again {
            return;
        }
        let Some(plan) = self.plan(id) else {
            return;
        };
        let http2 = plan.http2;
        if failure == Failure::Overflow
            && let Some(stream) = self.following.streams.get_mut(&id)
        {
            stream.answer.decision.outcome = Outcome::Overflow;
        }
        let (status, flag, reason) = match failure {
            Failure::Overflow => (503, "UO", "a circuit breaker refuses the request"),
            Failure::ConnectFailure => (503, "UF", "the connection is refused"),
            Failure::ConnectTimeout => (503, "UF", "the connection does not come about in time"),
            Failure::PerTryTimeout | Failure::PerTryIdleTimeout => {
                (timeout_status, "UT", "the attempt takes too long")
            }
            _ if http2 => (503, "UR", "the endpoint resets the stream"),
            _ => (503, "UC", "the endpoint closes the connection"),
        };
        let status = self
            .plan(id)
            .map(|plan| plan.message.local_reply_status(status));
        self.end(
            id,
            status,
            &[retried.flag, Some(flag)],
            reason,
            now,
            actions,
        );
    }

    /// Sees to another attempt, where there is to be one.
    fn retry(
        &mut self,
        id: StreamId,
        ended: Ended<'_>,
        now: u64,
        actions: &mut Vec<Action>,
    ) -> Retried {
        let nothing = Retried {
            is_again: false,
            flag: None,
        };
        let Some(stream) = self.following.streams.get_mut(&id) else {
            return nothing;
        };
        let Some(plan) = &stream.plan else {
            return nothing;
        };
        let replaced = self
            .following
            .replaced
            .get(&plan.cluster)
            .copied()
            .unwrap_or(0);
        let of = (plan.cluster.clone(), replaced, plan.high);
        if let Some(before) = stream.retries_of.take() {
            self.following.breakers.retried(&before);
        }
        if !plan.retry.would_retry(ended) {
            return nothing;
        }
        if stream.left.retries == 0 {
            return Retried {
                flag: Some("URX"),
                ..nothing
            };
        }
        stream.left.retries -= 1;
        let snapshot = self
            .loaded
            .as_ref()
            .map(|loaded| Arc::clone(&loaded.snapshot));
        let cluster = cluster_of(&snapshot.unwrap_or_default(), &plan.cluster);
        if !self.following.breakers.retry(&cluster, &of) {
            return Retried {
                flag: Some("UO"),
                ..nothing
            };
        }
        stream.retries_of = Some(of);
        let attempt = stream.tries.len() as u64;
        let left = &mut stream.left;
        let wait = plan
            .retry
            .back_off(left, ended, stream.random, attempt, now);
        actions.push(Action::Set(Timer::BackOff(id), now.saturating_add(wait)));
        Retried {
            is_again: true,
            flag: None,
        }
    }

    /// Ends a stream whatever its attempt does.
    fn give_up(&mut self, id: StreamId, failure: Failure, now: u64, actions: &mut Vec<Action>) {
        let Some(stream) = self.following.streams.get(&id) else {
            return;
        };
        let backing_off = stream.phase == Phase::Over;
        if stream.phase == Phase::Sent && failure == Failure::Timeout {
            let status = self.plan(id).map_or(504, |plan| plan.timeouts.status);
            self.tell(id, Said::Local(status), now, actions);
        }
        actions.push(Action::Cancel(id));
        if !backing_off {
            self.attempt_ends(id, None, Some(failure), now, actions);
        }
        let Some(plan) = self.plan(id) else {
            // A TCP proxy's connection has had its time.
            if let Some(stream) = self.following.streams.remove(&id) {
                clear(id, actions);
                let answer = stream.answer;
                actions.push(Action::End {
                    stream: id,
                    answer: Box::new(answer),
                });
            }
            return;
        };
        let (status, flag, reason) = match failure {
            Failure::Timeout => (
                Some(plan.timeouts.status),
                Some("UT"),
                "the route's timeout is over",
            ),
            Failure::IdleTimeout => (Some(504), Some("SI"), "the stream's idle timeout is over"),
            Failure::MaxStreamDuration => {
                (Some(504), None, "the stream has lasted as long as it may")
            }
            _ => (None, None, "nothing ends the request"),
        };
        let status = status.map(|status| plan.message.local_reply_status(status));
        self.end(id, status, &[flag], reason, now, actions);
    }

    /// Ends a stream in a response.
    fn end(
        &mut self,
        id: StreamId,
        status: Option<u32>,
        flags: &[Option<&str>],
        reason: &str,
        now: u64,
        actions: &mut Vec<Action>,
    ) {
        let Some(stream) = self.following.streams.remove(&id) else {
            return;
        };
        clear(id, actions);
        if let Some(of) = &stream.retries_of {
            self.following.breakers.retried(of);
        }
        let mut answer = stream.answer;
        let flags: Vec<&str> = flags.iter().flatten().copied().collect();
        let decision = &mut answer.decision;
        decision.status = status;
        decision.attempts = u32::try_from(stream.tries.len()).ok();
        decision.response_flags = (!flags.is_empty()).then(|| flags.join(","));
        decision.duration_us = (now != u64::MAX).then(|| now.saturating_sub(stream.arrived_us));
        decision.tries = stream.tries;
        forget_response(decision);
        decision.reason = Some(reason.to_owned());
        actions.push(Action::End {
            stream: id,
            answer: Box::new(answer),
        });
    }
}

struct Retried {
    is_again: bool,
    /// What the response flags say of it.
    flag: Option<&'static str>,
}

fn undecide(answer: &mut Answer, reason: String, trace: bool) {
    if trace {
        answer.trace.steps.push(Step::Unsupported);
    }
    let decision = &mut answer.decision;
    decision.outcome = Outcome::Unsupported;
    decision.reason = Some(reason);
}

/// No endpoint is known for the request.
fn name_nothing(answer: &mut Answer) {
    let decision = &mut answer.decision;
    (decision.endpoint, decision.priority, decision.locality) = (None, None, None);
    (decision.path, decision.authority) = (None, None);
    decision.request_headers = None;
}

/// What a cluster is configured to; nothing, where it has gone.
fn cluster_of(snapshot: &Snapshot, name: &str) -> ClusterConfig {
    let cluster = snapshot.cluster(name);
    cluster
        .map(|cluster| cluster.config.clone())
        .unwrap_or_default()
}

/// Puts off whatever timers a stream has.
fn clear(id: StreamId, actions: &mut Vec<Action>) {
    let timers = [
        Timer::Route(id),
        Timer::Idle(id),
        Timer::Duration(id),
        Timer::Try(id),
        Timer::TryIdle(id),
        Timer::BackOff(id),
    ];
    actions.extend(timers.map(Action::Clear));
}
