//! One engine over one traffic file, in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use twinmesh_xds::Snapshot;

use crate::format::{FormatError, endpoints::Script, events::Schedule};
use crate::play;
use crate::update::{keep_order, renumber};
use crate::{Answer, Engine, EngineError, Held, Outcome, Request, random};

/// How a run is done.
#[derive(Debug, Clone, Copy, Default)]
pub struct Replay<'a> {
    /// From what the random numbers are drawn that requests don't give; see [`random::draw`].
    pub seed: u64,
    /// Whether answers carry traces.
    pub trace: bool,
    /// What changes while the run goes on.
    pub schedule: Option<&'a Schedule>,
    /// What endpoints do with requests; without it each holds a request for its `duration_us`, and
    /// responses are not looked at.
    pub endpoints: Option<&'a Script>,
}

/// A request and what the engine made of it.
#[derive(Debug)]
pub struct Decided<'a> {
    /// Its index in the traffic file.
    pub index: usize,
    /// The request.
    pub request: &'a Request,
    /// The engine's answer.
    pub answer: Answer,
    /// What the engine took to decide, in real time.
    pub elapsed: Duration,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An event does not fit its snapshot.
    #[error(transparent)]
    Event(#[from] FormatError),
}

impl Replay<'_> {
    /// Loads the snapshot and decides the requests in order, each handed to `each`, which may end
    /// the run. Returns how many events were applied.
    ///
    /// At each arrival, in this order: what ended by then is released and what events changed by
    /// then is changed, by time (at one time releases go first), then the request is decided. A
    /// request of no duration ends before the next one, even where that arrives at the same time.
    /// With a script of endpoints, what endpoints do goes before what timers say of one time, and
    /// decisions are handed out once their requests have ended.
    ///
    /// # Errors
    /// The engine failed; what was handed out before then is no whole run.
    pub fn run(
        &self,
        engine: &mut dyn Engine,
        snapshot: &Arc<Snapshot>,
        requests: &[Request],
        each: &mut dyn FnMut(Decided<'_>) -> ControlFlow<()>,
    ) -> Result<usize, ReplayError> {
        if let Some(script) = self.endpoints {
            return play::run(self, script, engine, snapshot, requests, each);
        }
        engine.load(snapshot)?;
        let mut ahead = engine.foresee(self.before_events(requests))?;
        let mut state = State {
            current: InForce::new(self.schedule, snapshot),
            held: BinaryHeap::new(),
            sequence: 0,
        };
        let mut now = 0;
        for (index, request) in requests.iter().enumerate() {
            now = request.time_us.unwrap_or(now).max(now);
            state.advance(engine, now)?;
            let random = request
                .random
                .unwrap_or_else(|| random::draw(self.seed, index as u64));
            let started = Instant::now();
            let answer = engine.decide(request, random, now, self.trace)?;
            let elapsed = started.elapsed() + std::mem::take(&mut ahead);
            if let Some(held) = answer.held {
                let end = match answer.decision.outcome {
                    // It was not sent there.
                    Outcome::Overflow | Outcome::DirectResponse => now,
                    _ => now
                        .saturating_add(answer.delayed_us)
                        .saturating_add(request.duration_us),
                };
                state.hold(held, end);
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
        Ok(state.current.events)
    }

    /// The requests that arrive before the first event.
    fn before_events<'b>(&self, requests: &'b [Request]) -> &'b [Request] {
        let Some(event) = self.schedule.and_then(|schedule| schedule.time(0)) else {
            return requests;
        };
        let later = |request: &Request| request.time_us.is_some_and(|time| time >= event);
        let count = requests.iter().position(later).unwrap_or(requests.len());
        requests.get(..count).unwrap_or_default()
    }

    /// The snapshot by which the request at `index` is decided, when the run starts with `first`.
    ///
    /// # Errors
    /// An event does not fit its snapshot.
    pub fn snapshot_at(
        &self,
        first: &Arc<Snapshot>,
        requests: &[Request],
        index: usize,
    ) -> Result<Arc<Snapshot>, FormatError> {
        let times = requests.iter().take(index.saturating_add(1));
        let now = times.filter_map(|request| request.time_us).max();
        let mut current = InForce::new(self.schedule, first);
        while current.due(now.unwrap_or(0)).is_some() {
            current.advance()?;
        }
        Ok(current.snapshot)
    }
}

/// The snapshot in force, as events replace it.
pub(crate) struct InForce<'a> {
    schedule: Option<&'a Schedule>,
    pub(crate) snapshot: Arc<Snapshot>,
    /// How many events are applied.
    pub(crate) events: usize,
}

impl<'a> InForce<'a> {
    pub(crate) fn new(schedule: Option<&'a Schedule>, first: &Arc<Snapshot>) -> Self {
        Self {
            schedule,
            snapshot: Arc::clone(first),
            events: 0,
        }
    }

    /// The time of the next events, where that is not after `now`.
    pub(crate) fn due(&self, now: u64) -> Option<u64> {
        let time = self.schedule?.time(self.events)?;
        (time <= now).then_some(time)
    }

    /// Applies the next events, all of one time; returns the snapshot before them.
    pub(crate) fn advance(&mut self) -> Result<Arc<Snapshot>, FormatError> {
        let before = Arc::clone(&self.snapshot);
        let Some(schedule) = self.schedule else {
            return Ok(before);
        };
        let time = schedule.time(self.events);
        while time.is_some() && schedule.time(self.events) == time {
            self.snapshot = schedule.apply_at(self.events, &self.snapshot)?;
            self.events += 1;
        }
        self.snapshot = keep_order(&before, Arc::clone(&self.snapshot));
        Ok(before)
    }
}

struct State<'a> {
    current: InForce<'a>,
    /// By end, then by arrival.
    held: BinaryHeap<Reverse<(u64, u64, Held)>>,
    sequence: u64,
}

impl State<'_> {
    fn hold(&mut self, held: Held, end: u64) {
        self.sequence += 1;
        self.held.push(Reverse((end, self.sequence, held)));
    }

    fn advance(&mut self, engine: &mut dyn Engine, now: u64) -> Result<(), ReplayError> {
        while let Some(time) = self.current.due(now) {
            self.release(engine, time)?;
            let before = self.current.advance()?;
            let after = &self.current.snapshot;
            engine.update(after, time)?;
            let held = std::mem::take(&mut self.held);
            self.held = held
                .into_iter()
                .filter_map(|Reverse((end, sequence, held))| {
                    let held = renumber(held, &before, after)?;
                    Some(Reverse((end, sequence, held)))
                })
                .collect();
        }
        self.release(engine, now)?;
        Ok(())
    }

    fn release(&mut self, engine: &mut dyn Engine, now: u64) -> Result<(), EngineError> {
        while let Some(Reverse((end, _, held))) = self.held.peek().copied() {
            if end > now {
                break;
            }
            self.held.pop();
            engine.release(held)?;
        }
        Ok(())
    }
}
