//! What becomes of requests after their endpoint is chosen, by the model's rules.

use std::collections::HashMap;

use twinmesh_attempts::retry::{self, Left, Reset};
use twinmesh_compile::attempts::Plan;
use twinmesh_engine::stream::{Action, Arrival, ConnectionId, Event, Response, StreamId, Timer};
use twinmesh_engine::update::renumber;
use twinmesh_engine::{Answer, EngineError, Failure, Held, Outcome, Request, Step, Streams, Try};
use twinmesh_model::random;
use twinmesh_xds::Snapshot;

use crate::again::{self, Chosen};
use crate::{Sim, not_matched};

/// Draws of a request's number that attempts after the first take, one each for a selection.
const ATTEMPT: u64 = 1 << 32;
const SELECTIONS: u64 = 1 << 16;
/// Draws that back offs take.
const BACK_OFF: u64 = 1 << 33;

/// Where a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It waits for a connection.
    Connecting(ConnectionId),
    /// The endpoint has it.
    Sent,
    /// It waits for another attempt.
    BackingOff,
}

#[derive(Debug)]
struct Stream {
    request: Request,
    random: u64,
    start_us: u64,
    /// What the first attempt was decided to; the last one's endpoint goes in.
    answer: Answer,
    traced: bool,
    /// `None`: a TCP proxy's, which ends after its duration.
    plan: Option<Plan>,
    hash: Option<u64>,
    left: Left,
    state: State,
    held: Option<Held>,
    tries: Vec<Try>,
}

/// Streams under way.
#[derive(Debug, Default)]
pub(crate) struct Under {
    streams: HashMap<StreamId, Stream>,
    connecting: HashMap<ConnectionId, StreamId>,
    connections: ConnectionId,
}

impl Under {
    /// Another snapshot follows.
    pub(crate) fn update(&mut self, before: &Snapshot, after: &Snapshot) {
        for stream in self.streams.values_mut() {
            stream.held = stream.held.and_then(|held| renumber(held, before, after));
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
enum Ending<'a> {
    Response(&'a Response),
    Failure(Failure),
}

/// What goes to the client where nothing is tried again.
#[derive(Debug, Default)]
struct Reply {
    status: Option<u32>,
    flags: Vec<&'static str>,
    reason: &'static str,
}

impl Streams for Sim {
    fn begin(&mut self, _: u64, _: &mut Vec<Action>) -> Result<(), EngineError> {
        Ok(())
    }

    fn arrive(
        &mut self,
        arrival: &Arrival<'_>,
        actions: &mut Vec<Action>,
    ) -> Result<(), EngineError> {
        let (request, random, now) = (arrival.request, arrival.random, arrival.now_us);
        let decided = if arrival.trace {
            self.run_planned(request, (random, now), Some(&mut not_matched))?
        } else {
            self.run_planned(request, (random, now), None)?
        };
        let (mut answer, plan) = decided;
        let id = arrival.stream;
        let held = answer.held.take();
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
                self.release_held(held);
                undecide(&mut answer, reason, arrival.trace);
                actions.push(Action::End {
                    stream: id,
                    answer: Box::new(answer),
                });
                return Ok(());
            }
        };
        let mut set = |timer, after: Option<u64>| {
            actions.extend(after.map(|after| Action::Set(timer, now.saturating_add(after))));
        };
        let mut left = Left {
            retries: 0,
            interval_ms: 0,
        };
        match &plan {
            Some(plan) => {
                set(Timer::Route(id), microseconds(plan.route_ms));
                set(Timer::Idle(id), microseconds(plan.idle_ms));
                let lasts = plan.duration_ms.map(|ms| ms.saturating_mul(1000));
                set(Timer::Duration(id), lasts);
                left = Left::new(plan.retries, plan.intervals);
            }
            None => set(Timer::Duration(id), Some(request.duration_us)),
        }
        let hash = self
            .loaded
            .as_ref()
            .and_then(|(_, memory)| again::hash_of_last(memory));
        let followed = plan.is_some();
        self.under.streams.insert(
            id,
            Stream {
                request: request.clone(),
                random,
                start_us: now,
                answer,
                traced: arrival.trace,
                plan,
                hash,
                left,
                state: State::Sent,
                held,
                tries: Vec::new(),
            },
        );
        if followed {
            self.connect(id, now, actions);
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
                if let Some(id) = self.under.connecting.remove(&connection) {
                    self.send(id, now_us, actions);
                }
            }
            Event::Refused(connection) => {
                actions.push(Action::Clear(Timer::Connect(connection)));
                self.not_connected(connection, Failure::ConnectFailure, now_us, actions);
            }
            Event::Response { stream, response } => {
                self.ended(stream, Ending::Response(&response), now_us, actions);
            }
            Event::Reset { stream, refused } => {
                let plan = self
                    .under
                    .streams
                    .get(&stream)
                    .and_then(|it| it.plan.as_ref());
                let by_frame = refused && plan.is_some_and(|plan| plan.http2);
                let failure = if by_frame {
                    Failure::RefusedStream
                } else {
                    Failure::Reset
                };
                self.ended(stream, Ending::Failure(failure), now_us, actions);
            }
            Event::Due(timer) => match timer {
                Timer::Connect(connection) => {
                    actions.push(Action::GiveUp(connection));
                    self.not_connected(connection, Failure::ConnectTimeout, now_us, actions);
                }
                Timer::Try(id) => {
                    actions.push(Action::Cancel(id));
                    self.ended(id, Ending::Failure(Failure::PerTryTimeout), now_us, actions);
                }
                Timer::TryIdle(id) => {
                    actions.push(Action::Cancel(id));
                    let failure = Failure::PerTryIdleTimeout;
                    self.ended(id, Ending::Failure(failure), now_us, actions);
                }
                Timer::BackOff(id) => self.try_again(id, now_us, actions),
                Timer::Route(id) => self.stop(id, Failure::Timeout, now_us, actions),
                Timer::Idle(id) => self.stop(id, Failure::IdleTimeout, now_us, actions),
                Timer::Duration(id) => {
                    self.stop(id, Failure::MaxStreamDuration, now_us, actions);
                }
                Timer::Outliers(_) => {}
            },
            Event::Forgotten(id) => self.stop(id, Failure::NeverEnds, now_us, actions),
        }
        Ok(())
    }
}

/// 0 stands for none.
fn microseconds(milliseconds: u64) -> Option<u64> {
    (milliseconds != 0).then(|| milliseconds.saturating_mul(1000))
}

impl Sim {
    fn release_held(&mut self, held: Option<Held>) {
        if let (Some(held), Some((compiled, memory))) = (held, &mut self.loaded) {
            again::release(compiled, memory, held);
        }
    }

    /// Opens a connection to the endpoint that the stream has.
    fn connect(&mut self, id: StreamId, now: u64, actions: &mut Vec<Action>) {
        let Some(stream) = self.under.streams.get_mut(&id) else {
            return;
        };
        let connect_ms = stream.plan.as_ref().map_or(0, |plan| plan.connect_ms);
        let endpoint = stream.answer.decision.endpoint.clone();
        stream.tries.push(Try {
            endpoint: endpoint.clone(),
            start_us: now,
            end_us: now,
            ..Try::default()
        });
        self.under.connections += 1;
        let connection = self.under.connections;
        stream.state = State::Connecting(connection);
        self.under.connecting.insert(connection, id);
        let timeout = now.saturating_add(connect_ms.saturating_mul(1000));
        actions.push(Action::Set(Timer::Connect(connection), timeout));
        let endpoint = endpoint.unwrap_or_default();
        actions.push(Action::Connect {
            connection,
            endpoint,
        });
    }

    fn not_connected(
        &mut self,
        connection: ConnectionId,
        failure: Failure,
        now: u64,
        actions: &mut Vec<Action>,
    ) {
        if let Some(id) = self.under.connecting.remove(&connection) {
            self.ended(id, Ending::Failure(failure), now, actions);
        }
    }

    fn send(&mut self, id: StreamId, now: u64, actions: &mut Vec<Action>) {
        let Some(stream) = self.under.streams.get_mut(&id) else {
            return;
        };
        stream.state = State::Sent;
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

    /// Writes down how an attempt ended, and gives back what it held.
    fn close_try(
        &mut self,
        id: StreamId,
        (status, failure): (Option<u32>, Option<Failure>),
        now: u64,
        actions: &mut Vec<Action>,
    ) {
        let Some(stream) = self.under.streams.get_mut(&id) else {
            return;
        };
        stream.state = State::BackingOff;
        if let Some(last) = stream.tries.last_mut() {
            (last.end_us, last.status, last.failure) = (now, status, failure);
        }
        let held = stream.held.take();
        actions.extend([Timer::Try(id), Timer::TryIdle(id)].map(Action::Clear));
        self.release_held(held);
    }

    /// An attempt has ended: it is made again, or the stream ends with it.
    fn ended(&mut self, id: StreamId, result: Ending<'_>, now: u64, actions: &mut Vec<Action>) {
        let cut = |response: &Response| response.cut.then_some(Failure::ResetAfterHeaders);
        let ending = match result {
            Ending::Response(response) => (Some(response.status), cut(response)),
            Ending::Failure(failure) => (None, Some(failure)),
        };
        self.close_try(id, ending, now, actions);
        let Some(stream) = self.under.streams.get_mut(&id) else {
            return;
        };
        let Some(plan) = &stream.plan else {
            return;
        };
        let retriable = match result {
            Ending::Response(response) => retry::response(plan.conditions, plan.facts(response)),
            Ending::Failure(failure) => retry::reset(plan.conditions, reset_of(failure)),
        };
        let mut reply = Reply::default();
        if retriable && stream.left.take() {
            let number = random::draw(stream.random, BACK_OFF + stream.tries.len() as u64);
            let asked = match result {
                Ending::Response(response) => plan.asks_to_wait(response, now, number),
                Ending::Failure(_) => None,
            };
            let wait = asked.unwrap_or_else(|| stream.left.back_off(plan.intervals, number));
            let at = now.saturating_add(wait.saturating_mul(1000));
            actions.push(Action::Set(Timer::BackOff(id), at));
            return;
        }
        if retriable {
            reply.flags.push("URX");
        }
        match result {
            Ending::Response(response) => {
                reply.status = Some(response.status);
                reply.reason = "the endpoint responds";
                if response.cut {
                    reply.flags.push(if plan.http2 { "UR" } else { "UPE" });
                }
            }
            Ending::Failure(failure) => {
                let (status, flag, reason) = local_reply(failure, plan);
                reply.status = Some(plan.status(status));
                reply.flags.push(flag);
                reply.reason = reason;
            }
        }
        self.finish(id, reply, now, actions);
    }

    /// Makes another attempt, where there is an endpoint for it.
    fn try_again(&mut self, id: StreamId, now: u64, actions: &mut Vec<Action>) {
        let Some(stream) = self.under.streams.get_mut(&id) else {
            return;
        };
        let (Some((compiled, memory)), Some(plan)) = (&mut self.loaded, &stream.plan) else {
            return;
        };
        let first = ATTEMPT + stream.tries.len() as u64 * SELECTIONS;
        let of_cluster = compiled.snapshot.cluster(&plan.cluster);
        let hashes = of_cluster.is_some_and(|cluster| cluster.balancer.hashes());
        let most = plan.selections.unwrap_or(0);
        let mut chosen = Chosen::Nothing;
        let decision = &mut stream.answer.decision;
        if hashes && plan.selections.is_some() {
            let why = "retries of a balancer that hashes with retry_host_predicate are not decided";
            chosen = Chosen::Undecided(why.to_owned());
        } else {
            for selection in 0..=most {
                let number = random::draw(stream.random, first + selection);
                let by = (plan, stream.hash);
                chosen = again::choose(compiled, memory, by, number, &stream.request, decision);
                let tried = stream
                    .tries
                    .iter()
                    .any(|it| it.endpoint == decision.endpoint);
                match &chosen {
                    Chosen::Endpoint(held) if tried && selection < most => {
                        if let Some(held) = *held {
                            again::release(compiled, memory, held);
                        }
                    }
                    _ => break,
                }
            }
        }
        match chosen {
            Chosen::Endpoint(held) => {
                stream.held = held.map(|held| Held {
                    generation: self.generation,
                    ..held
                });
                self.connect(id, now, actions);
            }
            Chosen::Nothing => {
                stream.tries.push(Try {
                    start_us: now,
                    end_us: now,
                    failure: Some(Failure::NoHealthyUpstream),
                    ..Try::default()
                });
                let reply = Reply {
                    status: Some(plan.status(503)),
                    flags: vec!["UH"],
                    reason: "the cluster has no endpoint that may be used",
                };
                decision.outcome = Outcome::NoHealthyUpstream;
                (decision.endpoint, decision.priority, decision.locality) = (None, None, None);
                (decision.path, decision.authority) = (None, None);
                self.finish(id, reply, now, actions);
            }
            Chosen::Undecided(reason) => {
                if let Some(mut stream) = self.under.streams.remove(&id) {
                    undecide(&mut stream.answer, reason, stream.traced);
                    end(id, stream.answer, actions);
                }
            }
        }
    }

    /// Ends a stream whatever its attempt would come to.
    fn stop(&mut self, id: StreamId, why: Failure, now: u64, actions: &mut Vec<Action>) {
        let Some(stream) = self.under.streams.get(&id) else {
            return;
        };
        if let State::Connecting(connection) = stream.state {
            self.under.connecting.remove(&connection);
            actions.push(Action::Clear(Timer::Connect(connection)));
            actions.push(Action::GiveUp(connection));
        }
        let attempting = stream.state != State::BackingOff;
        let reply = stream.plan.as_ref().map(|plan| {
            let (status, flag, reason) = match why {
                Failure::Timeout => (
                    Some(plan.timeout_status),
                    Some("UT"),
                    "the route's timeout is over",
                ),
                Failure::IdleTimeout => {
                    (Some(504), Some("SI"), "the stream's idle timeout is over")
                }
                Failure::MaxStreamDuration => {
                    (Some(504), None, "the stream has lasted as long as it may")
                }
                _ => (None, None, "nothing ends the request"),
            };
            Reply {
                status: status.map(|status| plan.status(status)),
                flags: flag.into_iter().collect(),
                reason,
            }
        });
        actions.push(Action::Cancel(id));
        if attempting {
            self.close_try(id, (None, Some(why)), now, actions);
        }
        match reply {
            Some(reply) => self.finish(id, reply, now, actions),
            None => {
                if let Some(stream) = self.under.streams.remove(&id) {
                    end(id, stream.answer, actions);
                }
            }
        }
    }

    fn finish(&mut self, id: StreamId, reply: Reply, now: u64, actions: &mut Vec<Action>) {
        let Some(stream) = self.under.streams.remove(&id) else {
            return;
        };
        let mut answer = stream.answer;
        let decision = &mut answer.decision;
        decision.status = reply.status;
        decision.attempts = u32::try_from(stream.tries.len()).ok();
        decision.tries = stream.tries;
        if !reply.flags.is_empty() {
            decision.response_flags = Some(reply.flags.join(","));
        }
        if now != u64::MAX {
            decision.duration_us = Some(now.saturating_sub(stream.start_us));
        }
        decision.reason = Some(reply.reason.to_owned());
        end(id, answer, actions);
    }
}

fn reset_of(failure: Failure) -> Reset {
    match failure {
        Failure::ConnectFailure | Failure::ConnectTimeout => Reset::Connect,
        Failure::RefusedStream => Reset::Refused,
        _ => Reset::Other,
    }
}

fn local_reply(failure: Failure, plan: &Plan) -> (u32, &'static str, &'static str) {
    match failure {
        Failure::ConnectFailure => (503, "UF", "the connection is refused"),
        Failure::ConnectTimeout => (503, "UF", "the connection does not come about in time"),
        Failure::PerTryTimeout | Failure::PerTryIdleTimeout => {
            (plan.timeout_status, "UT", "the attempt takes too long")
        }
        _ if plan.http2 => (503, "UR", "the endpoint resets the stream"),
        _ => (503, "UC", "the endpoint closes the connection"),
    }
}

fn undecide(answer: &mut Answer, reason: String, traced: bool) {
    answer.decision.outcome = Outcome::Unsupported;
    answer.decision.reason = Some(reason);
    if traced {
        answer.trace.steps.push(Step::Unsupported);
    }
}

fn end(id: StreamId, answer: Answer, actions: &mut Vec<Action>) {
    let timers = [
        Timer::Route(id),
        Timer::Idle(id),
        Timer::Duration(id),
        Timer::BackOff(id),
    ];
    actions.extend(timers.map(Action::Clear));
    actions.push(Action::End {
        stream: id,
        answer: Box::new(answer),
    });
}
