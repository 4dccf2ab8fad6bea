//! A run in which endpoints follow a script: the clock, the endpoints, and one engine's streams.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use twinmesh_xds::Snapshot;

use crate::format::endpoints::{OutageKind, ResetKind, Script, Turns};
use crate::replay::{InForce, ReplayError};
use crate::stream::{Action, Arrival, ConnectionId, Event, Response, StreamId, Timer};
use crate::update::{Identity, identity, keeps_state};
use crate::{
    Answer, Decided, Engine, EngineError, Outcome, Replay, Request, Step, Strictness, random,
};

/// What happens at one time goes in this order.
const ENDPOINTS: u8 = 0;
const TIMERS: u8 = 1;

/// What is said of a request that an engine forwards and cannot follow.
const NOT_FOLLOWED: &str = "what becomes of a forwarded request where endpoints follow a script is decided in userspace only";

/// As [`Replay::run`].
pub(crate) fn run(
    replay: &Replay<'_>,
    script: &Script,
    engine: &mut dyn Engine,
    snapshot: &Arc<Snapshot>,
    requests: &[Request],
    each: &mut dyn FnMut(Decided<'_>) -> ControlFlow<()>,
) -> Result<usize, ReplayError> {
    if engine.streams().is_none() {
        return first_attempts(replay, engine, snapshot, requests, each);
    }
    engine.load(snapshot)?;
    let mut play = Play {
        script,
        requests,
        current: InForce::new(replay.schedule, snapshot),
        ejected: Vec::new(),
        queue: BinaryHeap::new(),
        items: HashMap::new(),
        sequence: 0,
        lively: 0,
        sent: HashMap::new(),
        connecting: HashMap::new(),
        timers: HashMap::new(),
        turns: Turns::default(),
        spent: HashMap::new(),
        ended: BTreeMap::new(),
        open: 0,
        handed: 0,
    };
    play.begin(engine, 0)?;
    let mut now = 0;
    for (stream, request) in requests.iter().enumerate() {
        now = request.time_us.unwrap_or(now).max(now);
        play.advance(engine, now)?;
        let random = request
            .random
            .unwrap_or_else(|| random::draw(replay.seed, stream as u64));
        let arrival = Arrival {
            stream,
            request,
            random,
            now_us: now,
            trace: replay.trace,
        };
        play.arrive(engine, &arrival)?;
        if play.hand_out(each).is_break() {
            return Ok(play.current.events);
        }
    }
    while play.open > 0 {
        play.step(engine)?;
        if play.hand_out(each).is_break() {
            break;
        }
    }
    Ok(play.current.events)
}

/// A run through an engine that follows no stream: what it forwards is undecided.
fn first_attempts(
    replay: &Replay<'_>,
    engine: &mut dyn Engine,
    snapshot: &Arc<Snapshot>,
    requests: &[Request],
    each: &mut dyn FnMut(Decided<'_>) -> ControlFlow<()>,
) -> Result<usize, ReplayError> {
    let live = engine.strictness() == Strictness::Live;
    engine.load(snapshot)?;
    let mut current = InForce::new(replay.schedule, snapshot);
    let mut now = 0;
    for (index, request) in requests.iter().enumerate() {
        now = request.time_us.unwrap_or(now).max(now);
        while let Some(time) = current.due(now) {
            current.advance()?;
            engine.update(&current.snapshot, time)?;
        }
        let random = request
            .random
            .unwrap_or_else(|| random::draw(replay.seed, index as u64));
        let started = Instant::now();
        let mut answer = if live {
            // Its endpoints answer as they do.
            let mut answer = Answer::default();
            answer.decision.id.clone_from(&request.id);
            answer.decision.engine = Some(engine.name().to_owned());
            answer.decision.reason = Some("a live server's endpoints follow no script".to_owned());
            answer
        } else {
            engine.decide(request, random, now, replay.trace)?
        };
        let elapsed = started.elapsed();
        if let Some(held) = answer.held.take() {
            engine.release(held)?;
        }
        // A circuit breaker's overflow is met on the way, too.
        if [Outcome::Forward, Outcome::Overflow].contains(&answer.decision.outcome) {
            answer.decision.outcome = Outcome::Unsupported;
            answer.decision.reason = Some(NOT_FOLLOWED.to_owned());
            if replay.trace {
                answer.trace.steps.push(Step::Unsupported);
            }
        }
        let decided = Decided {
            index,
            request,
            answer,
            elapsed,
        };
        if each(decided).is_break() {
            break;
        }
    }
    Ok(current.events)
}

struct Play<'a> {
    script: &'a Script,
    requests: &'a [Request],
    /// Without what is ejected.
    current: InForce<'a>,
    /// The ejected endpoints, each with the name of its cluster.
    ejected: Vec<(String, Identity)>,
    /// By time, kind and order.
    queue: BinaryHeap<Reverse<(u64, u8, u64)>>,
    /// What is in the queue and was not called off.
    items: HashMap<u64, Event>,
    sequence: u64,
    /// How many of them are not outlier detection's, which goes on for ever.
    lively: usize,
    sent: HashMap<StreamId, u64>,
    connecting: HashMap<ConnectionId, u64>,
    timers: HashMap<Timer, u64>,
    turns: Turns,
    spent: HashMap<StreamId, Duration>,
    ended: BTreeMap<StreamId, Answer>,
    open: usize,
    handed: usize,
}

fn follows(engine: &mut dyn Engine) -> Result<&mut dyn crate::Streams, EngineError> {
    let name = engine.name();
    engine.streams().ok_or_else(|| EngineError {
        engine: name,
        message: "it follows streams no longer".to_owned(),
    })
}

impl Play<'_> {
    fn begin(&mut self, engine: &mut dyn Engine, now: u64) -> Result<(), ReplayError> {
        let mut actions = Vec::new();
        follows(engine)?.begin(now, &mut actions)?;
        self.carry_out(engine, actions, now)
    }

    fn arrive(
        &mut self,
        engine: &mut dyn Engine,
        arrival: &Arrival<'_>,
    ) -> Result<(), ReplayError> {
        let mut actions = Vec::new();
        let started = Instant::now();
        self.open += 1;
        follows(engine)?.arrive(arrival, &mut actions)?;
        self.spent.insert(arrival.stream, started.elapsed());
        self.carry_out(engine, actions, arrival.now_us)
    }

    fn happen(
        &mut self,
        engine: &mut dyn Engine,
        event: Event,
        now: u64,
    ) -> Result<(), ReplayError> {
        let mut actions = Vec::new();
        let stream = match &event {
            Event::Response { stream, .. } | Event::Reset { stream, .. } => Some(*stream),
            _ => None,
        };
        let started = Instant::now();
        follows(engine)?.happen(event, now, &mut actions)?;
        if let Some(spent) = stream.and_then(|stream| self.spent.get_mut(&stream)) {
            *spent += started.elapsed();
        }
        self.carry_out(engine, actions, now)
    }

    /// All that happens by a time.
    fn advance(&mut self, engine: &mut dyn Engine, now: u64) -> Result<(), ReplayError> {
        loop {
            let change = self.current.due(now);
            match self.next() {
                Some((time, number))
                    if time <= now && change.is_none_or(|change| time <= change) =>
                {
                    self.take(engine, time, number)?;
                }
                _ => match change {
                    Some(change) => self.change(engine, change)?,
                    None => return Ok(()),
                },
            }
        }
    }

    /// The next thing that happens when no request arrives any more.
    fn step(&mut self, engine: &mut dyn Engine) -> Result<(), ReplayError> {
        let Some((time, number)) = self.next().filter(|_| self.lively > 0) else {
            let streams = (0..self.requests.len()).filter(|it| !self.ended.contains_key(it));
            let open: Vec<StreamId> = streams.skip_while(|it| *it < self.handed).collect();
            for stream in open {
                self.happen(engine, Event::Forgotten(stream), u64::MAX)?;
            }
            // Whatever an engine did with that: nothing more comes.
            self.open = 0;
            return Ok(());
        };
        match self.current.due(time) {
            Some(change) if change < time => self.change(engine, change),
            _ => self.take(engine, time, number),
        }
    }

    /// Time and number of what happens next.
    fn next(&mut self) -> Option<(u64, u64)> {
        while let Some(Reverse((time, _, number))) = self.queue.peek().copied() {
            if self.items.contains_key(&number) {
                return Some((time, number));
            }
            self.queue.pop();
        }
        None
    }

    fn take(&mut self, engine: &mut dyn Engine, time: u64, number: u64) -> Result<(), ReplayError> {
        self.queue.pop();
        let Some(event) = self.call_off(Some(number)) else {
            return Ok(());
        };
        match &event {
            Event::Connected(connection) | Event::Refused(connection) => {
                self.connecting.remove(connection);
            }
            Event::Response { stream, .. } | Event::Reset { stream, .. } => {
                self.sent.remove(stream);
            }
            Event::Due(timer) => {
                self.timers.remove(timer);
            }
            Event::Forgotten(_) => {}
        }
        self.happen(engine, event, time)
    }

    fn call_off(&mut self, number: Option<u64>) -> Option<Event> {
        let event = self.items.remove(&number?)?;
        if !matches!(event, Event::Due(Timer::Outliers(_))) {
            self.lively -= 1;
        }
        Some(event)
    }

    fn expect(&mut self, time: u64, event: Event) -> u64 {
        self.sequence += 1;
        let kind = match event {
            Event::Due(_) => TIMERS,
            _ => ENDPOINTS,
        };
        if !matches!(event, Event::Due(Timer::Outliers(_))) {
            self.lively += 1;
        }
        self.queue.push(Reverse((time, kind, self.sequence)));
        self.items.insert(self.sequence, event);
        self.sequence
    }

    fn carry_out(
        &mut self,
        engine: &mut dyn Engine,
        actions: Vec<Action>,
        now: u64,
    ) -> Result<(), ReplayError> {
        for action in actions {
            match action {
                Action::Connect {
                    connection,
                    endpoint,
                } => {
                    let event = match self.script.outage(&endpoint, now) {
                        None => Event::Connected(connection),
                        Some(OutageKind::Refused) => Event::Refused(connection),
                        Some(OutageKind::Silent) => continue,
                    };
                    let number = self.expect(now, event);
                    self.connecting.insert(connection, number);
                }
                Action::GiveUp(connection) => {
                    let number = self.connecting.remove(&connection);
                    self.call_off(number);
                }
                Action::Send { stream, endpoint } => self.send(stream, &endpoint, now),
                Action::Cancel(stream) => {
                    let number = self.sent.remove(&stream);
                    self.call_off(number);
                }
                Action::Set(timer, time) => {
                    let before = self.timers.remove(&timer);
                    self.call_off(before);
                    let number = self.expect(time.max(now), Event::Due(timer));
                    self.timers.insert(timer, number);
                }
                Action::Clear(timer) => {
                    let number = self.timers.remove(&timer);
                    self.call_off(number);
                }
                Action::Health {
                    cluster,
                    identity,
                    ejected,
                } => {
                    let place = (cluster, identity);
                    self.ejected.retain(|other| *other != place);
                    if ejected {
                        self.ejected.push(place);
                    }
                    let snapshot = self.in_force();
                    engine.update(&snapshot, now)?;
                }
                Action::End { stream, answer } => {
                    self.open = self.open.saturating_sub(1);
                    self.ended.insert(stream, *answer);
                }
            }
        }
        Ok(())
    }

    /// An attempt reaches its endpoint.
    fn send(&mut self, stream: StreamId, endpoint: &str, now: u64) {
        let Some(request) = self.requests.get(stream) else {
            return;
        };
        let (latency, event) = match self.script.outage(endpoint, now) {
            Some(OutageKind::Silent) => return,
            Some(OutageKind::Refused) => {
                let refused = false;
                (0, Event::Reset { stream, refused })
            }
            None => {
                let reply = self.script.reply(&mut self.turns, endpoint, request, now);
                let latency = reply.latency_us.unwrap_or(request.duration_us);
                let mut headers = reply.headers;
                if let Some(status) = reply.grpc_status {
                    headers.push(("grpc-status".to_owned(), status.to_string()));
                }
                let event = match reply.reset {
                    Some(kind @ (ResetKind::BeforeHeaders | ResetKind::RefusedStream)) => {
                        let refused = kind == ResetKind::RefusedStream;
                        Event::Reset { stream, refused }
                    }
                    reset => Event::Response {
                        stream,
                        response: Response {
                            status: reply.status,
                            headers,
                            cut: reset.is_some(),
                        },
                    },
                };
                (latency, event)
            }
        };
        let number = self.expect(now.saturating_add(latency), event);
        self.sent.insert(stream, number);
    }

    /// The next events of the schedule.
    fn change(&mut self, engine: &mut dyn Engine, now: u64) -> Result<(), ReplayError> {
        let before = self.current.advance()?;
        let after = &self.current.snapshot;
        self.ejected.retain(|(name, known)| {
            let clusters = (before.cluster(name), after.cluster(name));
            matches!(clusters, (Some(old), Some(new)) if keeps_state(old, new)
                && crate::update::places(new.load_assignment.as_ref())
                    .any(|(_, _, group, endpoint)| identity(group, endpoint).as_ref() == Some(known)))
        });
        let snapshot = self.in_force();
        engine.update(&snapshot, now)?;
        self.begin(engine, now)
    }

    /// The snapshot, with what is ejected.
    fn in_force(&self) -> Arc<Snapshot> {
        if self.ejected.is_empty() {
            return Arc::clone(&self.current.snapshot);
        }
        let mut snapshot = Snapshot::clone(&self.current.snapshot);
        for cluster in &mut snapshot.clusters {
            let of_cluster = self
                .ejected
                .iter()
                .filter(|(name, _)| *name == cluster.name);
            let ejected: Vec<&Identity> = of_cluster.map(|(_, known)| known).collect();
            let Some(assignment) = cluster.load_assignment.as_mut() else {
                continue;
            };
            if ejected.is_empty() {
                continue;
            }
            for group in &mut assignment.endpoints {
                let known: Vec<Option<Identity>> = group
                    .lb_endpoints
                    .iter()
                    .map(|endpoint| identity(group, endpoint))
                    .collect();
                for (endpoint, known) in group.lb_endpoints.iter_mut().zip(known) {
                    let is_ejected = known.is_some_and(|known| ejected.contains(&&known));
                    if is_ejected && endpoint.health_status != HealthStatus::Draining as i32 {
                        endpoint.health_status = HealthStatus::Unhealthy as i32;
                    }
                }
            }
        }
        Arc::new(snapshot)
    }

    /// The decisions of requests that have ended, in the order of the file.
    fn hand_out(
        &mut self,
        each: &mut dyn FnMut(Decided<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        while let (Some(answer), Some(request)) = (
            self.ended.remove(&self.handed),
            self.requests.get(self.handed),
        ) {
            let index = self.handed;
            self.handed += 1;
            each(Decided {
                index,
                request,
                answer,
                elapsed: self.spent.remove(&index).unwrap_or_default(),
            })?;
        }
        ControlFlow::Continue(())
    }
}
