//! What becomes of requests after their endpoint is chosen, by the model's rules.

mod connecting;
mod detection;
mod retrying;

use std::collections::VecDeque;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use twinmesh_attempts::retry::{Left, Reset};
use twinmesh_compile::attempts::Plan;
use twinmesh_engine::stream::{Action, Arrival, Event, Response, StreamId, Timer};
use twinmesh_engine::update::{Identity, keeps_state, renumber};
use twinmesh_engine::{Answer, EngineError, Failure, Held, Outcome, Request, Step, Streams, Try};
use twinmesh_xds::Snapshot;

use crate::again;
use crate::outliers::Watched;
use crate::pools::{ClusterKey, PoolKey, Pools};
use crate::{Sim, not_matched};

/// Where a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It waits for a connection.
    Queued,
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
    /// The endpoints that it names and that were not tried.
    named: VecDeque<String>,
    /// Which tables it was decided by, and its cluster's record there.
    record: (u64, u64),
    left: Left,
    state: State,
    /// Where the attempt goes, or went.
    pool: Option<PoolKey>,
    /// What its endpoint is known by.
    identity: Option<Identity>,
    /// Where it counts as a retry.
    retry_of: Option<ClusterKey>,
    held: Option<Held>,
    tries: Vec<Try>,
}

/// Streams under way.
#[derive(Debug, Default)]
pub(crate) struct Under {
    streams: HashMap<StreamId, Stream>,
    pools: Pools,
    /// How often each cluster was replaced.
    replaced: HashMap<String, u64>,
    /// By the number of the timer.
    watched: BTreeMap<usize, Watched>,
    numbers: usize,
}

impl Under {
    /// Another snapshot follows.
    pub(crate) fn update(&mut self, before: &Snapshot, after: &Snapshot) {
        for stream in self.streams.values_mut() {
            stream.held = stream.held.and_then(|held| renumber(held, before, after));
        }
        for cluster in &before.clusters {
            match after.cluster(&cluster.name) {
                Some(next) if keeps_state(cluster, next) => {}
                _ => *self.replaced.entry(cluster.name.clone()).or_default() += 1,
            }
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
enum Ending<'a> {
    Response(&'a Response),
    Failure(Failure),
}

/// Whether an attempt is made again.
#[derive(Debug, Clone, Copy)]
enum Again {
    Yes,
    /// Not; with what the response flags say of it.
    No(Option<&'static str>),
}

/// What goes to the client where nothing is tried again.
#[derive(Debug)]
struct Reply {
    status: Option<u32>,
    flags: Vec<&'static str>,
    reason: &'static str,
}

impl Streams for Sim {
    fn begin(&mut self, now_us: u64, actions: &mut Vec<Action>) -> Result<(), EngineError> {
        self.detect(now_us, actions);
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
        let record = self.loaded.as_ref();
        let record = record.map_or(0, |(_, memory)| again::cluster_of_last(memory));
        let followed = plan.is_some();
        let named = plan.as_ref().map(|plan| plan.named.clone());
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
                named: named.unwrap_or_default(),
                record: (self.tables, record),
                left,
                state: State::BackingOff,
                pool: None,
                identity: None,
                retry_of: None,
                held,
                tries: Vec::new(),
            },
        );
        if followed {
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
                if let Some(key) = self.under.pools.key(connection) {
                    let limits = self.limits(&key.cluster);
                    let moves = self.under.pools.opened(&limits, connection);
                    self.moved(moves, now_us, actions);
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
                Timer::Outliers(number) => self.interval(number, now_us, actions),
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

    fn snapshot(&self) -> Arc<Snapshot> {
        let loaded = self.loaded.as_ref();
        loaded
            .map(|(compiled, _)| Arc::clone(&compiled.snapshot))
            .unwrap_or_default()
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
        let state = std::mem::replace(&mut stream.state, State::BackingOff);
        if let Some(last) = stream.tries.last_mut() {
            (last.end_us, last.status, last.failure) = (now, status, failure);
        }
        let held = stream.held.take();
        let pool = stream.pool.take();
        actions.extend([Timer::Try(id), Timer::TryIdle(id)].map(Action::Clear));
        match (state, pool) {
            (State::Sent, Some(key)) => {
                self.release_held(held);
                let limits = self.limits(&key.cluster);
                let closes = status.is_none() || failure.is_some();
                let moves = self.under.pools.end(&limits, &key, closes);
                self.moved(moves, now, actions);
            }
            (State::Queued, Some(key)) => self.under.pools.withdraw(&key, id),
            _ => {}
        }
    }

    /// An attempt has ended: it is made again, or the stream ends with it. What it counts as is
    /// given back after that is decided.
    fn ended(&mut self, id: StreamId, ending: Ending<'_>, now: u64, actions: &mut Vec<Action>) {
        self.watch(id, ending, now, actions);
        let again = self.again(id, ending, now, actions);
        let came_to = match ending {
            Ending::Response(response) => {
                let cut = response.cut.then_some(Failure::ResetAfterHeaders);
                (Some(response.status), cut)
            }
            Ending::Failure(failure) => (None, Some(failure)),
        };
        self.close_try(id, came_to, now, actions);
        let mut flags: Vec<&'static str> = match again {
            Again::Yes => return,
            Again::No(flag) => flag.into_iter().collect(),
        };
        let Some(stream) = self.under.streams.get_mut(&id) else {
            return;
        };
        let Some(plan) = &stream.plan else {
            return;
        };
        let (status, reason) = match ending {
            Ending::Response(response) => {
                if response.cut {
                    flags.push(if plan.http2 { "UR" } else { "UPE" });
                }
                (response.status, "the endpoint responds")
            }
            Ending::Failure(failure) => {
                let (status, flag, reason) = local_reply(failure, plan);
                flags.push(flag);
                if failure == Failure::Overflow {
                    stream.answer.decision.outcome = Outcome::Overflow;
                }
                (plan.status(status), reason)
            }
        };
        let status = Some(status);
        let reply = Reply {
            status,
            flags,
            reason,
        };
        self.finish(id, reply, now, actions);
    }

    /// Ends a stream whatever its attempt would come to.
    fn stop(&mut self, id: StreamId, why: Failure, now: u64, actions: &mut Vec<Action>) {
        let Some(stream) = self.under.streams.get(&id) else {
            return;
        };
        let attempting = stream.state != State::BackingOff;
        let sent = stream.state == State::Sent;
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
        if sent && why == Failure::Timeout {
            self.watch(id, Ending::Failure(why), now, actions);
        }
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
        if let Some(key) = &stream.retry_of {
            self.under.pools.retried(key);
        }
        let mut answer = stream.answer;
        let decision = &mut answer.decision;
        decision.status = reply.status;
        decision.attempts = u32::try_from(stream.tries.len()).ok();
        decision.tries = stream.tries;
        // What a scripted response's headers come to is not decided.
        let headers = decision.response_headers.iter_mut().flatten();
        headers.for_each(|(_, values)| *values = None);
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
        Failure::Overflow => (503, "UO", "a circuit breaker refuses the request"),
        Failure::ConnectFailure => (503, "UF", "the connection is refused"),
        Failure::ConnectTimeout => (503, "UF", "the connection does not come about in time"),
        Failure::PerTryTimeout | Failure::PerTryIdleTimeout => {
            (plan.timeout_status, "UT", "the attempt takes too long")
        }
        _ if plan.http2 => (503, "UR", "the endpoint resets the stream"),
        _ => (503, "UC", "the endpoint closes the connection"),
    }
}

/// No endpoint is known for the request.
fn no_endpoint(answer: &mut Answer) {
    let decision = &mut answer.decision;
    decision.endpoint = None;
    decision.priority = None;
    decision.locality = None;
    decision.path = None;
    decision.authority = None;
    decision.request_headers = None;
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
