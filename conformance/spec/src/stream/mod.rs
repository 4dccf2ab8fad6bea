//! What becomes of a request after its first endpoint is chosen: attempts, timeouts, retries, circuit
//! breakers.

mod breakers;
mod internal;
mod plan;
mod retry;
mod timeouts;

use std::collections::BTreeMap;
use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::Cluster as ClusterConfig;
use twinmesh_engine::stream::{Action, Arrival, ConnectionId, Event, Response, StreamId, Timer};
use twinmesh_engine::update::{keeps_state, renumber};
use twinmesh_engine::{Answer, EngineError, Failure, Held, Outcome, Request, Step, Streams, Try};
use twinmesh_xds::Snapshot;

use crate::balancer::Chooser;
use crate::draw::draw;
use crate::engine::{Loaded, Spec, nothing_loaded, start};
use crate::rewrite;
use crate::run::Run;
use crate::upstream::Picked;

use breakers::{Asked, Breakers, Endpoint, Follows, Kept, Of};
pub(crate) use plan::Forwarded;
use plan::Plan;
use retry::{Ended, Left};

/// The first draw for the choice of another attempt's endpoint.
const ATTEMPT: u64 = 1 << 32;
/// How many draws an attempt has.
const SELECTIONS: u64 = 1 << 16;

/// All streams under way.
#[derive(Debug, Default)]
pub(crate) struct Following {
    streams: BTreeMap<StreamId, Stream>,
    breakers: Breakers,
    /// How often a cluster was replaced by another one of its name.
    replaced: BTreeMap<String, u64>,
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
    fn begin(&mut self, _now_us: u64, _actions: &mut Vec<Action>) -> Result<(), EngineError> {
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
            Timer::Outliers(_) => {}
        }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        let loaded = self.loaded.as_ref();
        loaded
            .map(|loaded| Arc::clone(&loaded.snapshot))
            .unwrap_or_default()
    }

    /// A connection does not come about.
    fn not_connected(
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
    fn follow(&mut self, follows: Follows, now: u64, actions: &mut Vec<Action>) {
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

    fn connect(
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
    fn attempt(&mut self, id: StreamId, now: u64, actions: &mut Vec<Action>) {
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
    fn send(&mut self, id: StreamId, now: u64, actions: &mut Vec<Action>) {
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
        let retried = self.retry(id, Ended::Failure(failure), now, actions);
        self.attempt_ends(id, None, Some(failure), now, actions);
        if retried.is_again {
            return;
        }
        let Some(plan) = self.plan(id) else {
            return;
        };
        let http2 = plan.http2;
        let timeout_status = plan.timeouts.status;
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

    /// Chooses the endpoint of another attempt; ends the stream where there is none.
    fn choose_again(&mut self, id: StreamId, now: u64, actions: &mut Vec<Action>) -> bool {
        let generation = self.generation;
        let Some(stream) = self.following.streams.get_mut(&id) else {
            return false;
        };
        let Some(loaded) = &mut self.loaded else {
            return false;
        };
        match select(loaded, generation, stream) {
            Selected::Endpoint => return true,
            Selected::Nothing => {
                stream.tries.push(Try {
                    start_us: now,
                    end_us: now,
                    failure: Some(Failure::NoHealthyUpstream),
                    ..Try::default()
                });
                stream.answer.decision.outcome = Outcome::NoHealthyUpstream;
                name_nothing(&mut stream.answer);
                let status = stream
                    .plan
                    .as_ref()
                    .map(|it| it.message.local_reply_status(503));
                let reason = "the cluster has no endpoint that may be used";
                self.end(id, status, &[Some("UH")], reason, now, actions);
            }
            Selected::Undecided(reason) => {
                if let Some(mut stream) = self.following.streams.remove(&id) {
                    if let Some(of) = &stream.retries_of {
                        self.following.breakers.retried(of);
                    }
                    undecide(&mut stream.answer, reason, stream.trace);
                    clear(id, actions);
                    let answer = stream.answer;
                    actions.push(Action::End {
                        stream: id,
                        answer: Box::new(answer),
                    });
                }
            }
        }
        false
    }

    /// Ends a stream whatever its attempt does.
    fn give_up(&mut self, id: StreamId, failure: Failure, now: u64, actions: &mut Vec<Action>) {
        let Some(stream) = self.following.streams.get(&id) else {
            return;
        };
        let backing_off = stream.phase == Phase::Over;
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

enum Selected {
    Endpoint,
    Nothing,
    Undecided(String),
}

/// Another endpoint of the stream's cluster, into its decision.
fn select(loaded: &mut Loaded, generation: u64, stream: &mut Stream) -> Selected {
    let Some(plan) = &stream.plan else {
        return Selected::Nothing;
    };
    let attempt = ATTEMPT + stream.tries.len() as u64 * SELECTIONS;
    let tried: Vec<String> = stream
        .tries
        .iter()
        .filter_map(|it| it.endpoint.clone())
        .collect();
    let selections = if plan.retry.passes_over_tried {
        plan.retry.selections
    } else {
        0
    };
    for selection in 0..=selections {
        let snapshot = &loaded.snapshot;
        let clusters = &snapshot.clusters;
        let Some(index) = clusters
            .iter()
            .position(|cluster| cluster.name == plan.cluster)
        else {
            return Selected::Nothing;
        };
        let hashes = clusters
            .get(index)
            .is_some_and(|cluster| cluster.balancer.hashes());
        if hashes && plan.retry.passes_over_tried {
            return Selected::Undecided(
                "retries of a balancer that hashes with retry_host_predicate are not decided"
                    .to_owned(),
            );
        }
        let mut run = Run::again(
            loaded,
            &stream.request,
            draw(stream.random, attempt + selection),
            generation,
            plan.hash,
        );
        let picked = run.at_cluster(index);
        let found = run.answer;
        match picked {
            Picked::Nothing => return Selected::Nothing,
            Picked::Undecided => {
                return Selected::Undecided(found.decision.reason.unwrap_or_default());
            }
            Picked::Endpoint { hostname } => {
                let again = found.decision.endpoint.clone();
                let is_tried = again.as_ref().is_some_and(|again| tried.contains(again));
                if is_tried && selection < selections {
                    if let Some(held) = found.held {
                        loaded.balancers.release(held);
                    }
                    continue;
                }
                stream.held = found.held;
                let authority = rewrite::authority(
                    &plan.action,
                    plan.host_rewrite.as_deref(),
                    &plan.message,
                    &hostname,
                    &loaded.substitutions,
                );
                let decision = &mut stream.answer.decision;
                decision.endpoint = again;
                decision.priority = found.decision.priority;
                decision.locality = found.decision.locality;
                decision.authority =
                    authority.filter(|it| stream.request.authority.as_ref() != Some(it));
                return Selected::Endpoint;
            }
        }
    }
    Selected::Nothing
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
