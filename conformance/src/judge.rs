//! Runs an engine over a case and says for each request whether its decision stands.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use twinmesh_engine::format::{endpoints::Script, events::Schedule};
use twinmesh_engine::{Decided, Decision, Engine, Outcome, Replay, Request, Strictness, Trace};
use twinmesh_xds::Snapshot;

use crate::case::Comparison;
use crate::comparison::{
    Compared, Divergence, Fields, Inconsistent, Verdict, compare_live_with_recorded,
    compare_traces, compare_with_engine, compare_with_live, compare_with_recorded,
};
use crate::failure::Failure;
use crate::interrupt;

/// What is asked of an engine.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// The requests, in order of arrival.
    pub requests: &'a [Request],
    /// What another server made of them.
    pub recorded: Option<&'a [Decision]>,
    /// How that is compared.
    pub comparison: &'a Comparison,
    /// What changes while they arrive.
    pub schedule: Option<&'a Schedule>,
    /// What endpoints do with them.
    pub endpoints: Option<&'a Script>,
    /// From what the random numbers are drawn that requests don't give.
    pub seed: u64,
}

/// What an engine made of all requests.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// One for each request.
    pub decisions: Vec<Decision>,
    /// One for each request, where they were asked for.
    pub traces: Vec<Trace>,
    /// What the engine took for all of them.
    pub elapsed: Duration,
}

impl Run {
    /// Leaves out the requests for which `out` is true, of which it has one for each request.
    pub fn leave_out(&mut self, out: &[bool]) {
        fn retain<T>(of: &mut Vec<T>, out: &[bool]) {
            let mut out = out.iter();
            of.retain(|_| !out.next().is_some_and(|out| *out));
        }
        retain(&mut self.decisions, out);
        retain(&mut self.traces, out);
    }
}

impl Question<'_> {
    /// The snapshot by which the request at `index` is decided.
    ///
    /// # Errors
    /// An event does not fit its snapshot.
    pub fn snapshot_at(&self, index: usize) -> Result<Arc<Snapshot>, Failure> {
        let replay = Replay {
            seed: self.seed,
            trace: false,
            schedule: self.schedule,
            endpoints: self.endpoints,
        };
        Ok(replay.snapshot_at(&self.snapshot, self.requests, index)?)
    }

    /// Puts it to an engine.
    ///
    /// # Errors
    /// The engine failed, or the run was interrupted.
    pub fn put(&self, engine: &mut dyn Engine, trace: bool) -> Result<Run, Failure> {
        let mut run = Run {
            decisions: Vec::with_capacity(self.requests.len()),
            ..Run::default()
        };
        self.watch(engine, trace, &mut |decided| {
            run.elapsed += decided.elapsed;
            run.decisions.push(decided.answer.decision);
            if trace {
                run.traces.push(decided.answer.trace);
            }
        })?;
        Ok(run)
    }

    /// Puts it to an engine and hands out every decision as it is made, with what it took.
    ///
    /// # Errors
    /// The engine failed, or the run was interrupted; what was handed out is no whole run then.
    pub fn watch(
        &self,
        engine: &mut dyn Engine,
        trace: bool,
        each: &mut dyn FnMut(Decided<'_>),
    ) -> Result<(), Failure> {
        let replay = Replay {
            seed: self.seed,
            trace,
            schedule: self.schedule,
            endpoints: self.endpoints,
        };
        let mut whole = true;
        replay.run(engine, &self.snapshot, self.requests, &mut |decided| {
            if interrupt::requested() {
                whole = false;
                return ControlFlow::Break(());
            }
            each(decided);
            ControlFlow::Continue(())
        })?;
        if whole { Ok(()) } else { Err(interrupted()) }
    }

    /// A verdict for each request: against the recording, and against the reference.
    ///
    /// # Errors
    /// The recording contradicts its `case.toml`.
    pub fn judge(
        &self,
        run: &Run,
        strictness: Strictness,
        reference: Option<&Run>,
    ) -> Result<Vec<Verdict>, Inconsistent> {
        let mut verdicts = match self.recorded {
            Some(recorded) => {
                compare_with_recorded(&self.snapshot, self.comparison, recorded, &run.decisions)?
            }
            None => run.decisions.iter().map(alone).collect(),
        };
        if let Some(reference) = reference {
            for (index, verdict) in verdicts.iter_mut().enumerate() {
                let (Some(expected), Some(found)) =
                    (reference.decisions.get(index), run.decisions.get(index))
                else {
                    continue;
                };
                let mut compared = compare_with_engine(expected, found, strictness);
                if compared == Verdict::Agrees && traces_part(reference, run, index) {
                    compared = Verdict::Diverges(Divergence {
                        fields: Fields::default(),
                        note: Some("the decisions are equal, and their traces are not".to_owned()),
                    });
                }
                *verdict = std::mem::take(verdict).and(compared);
            }
        }
        Ok(verdicts)
    }
}

impl Question<'_> {
    /// As [`Question::judge`], of a live server's run. `level` is the probability of a false alarm
    /// in all tests of what is random.
    ///
    /// # Errors
    /// The recording contradicts its `case.toml`, or the reference its snapshot.
    pub fn judge_live(
        &self,
        run: &Run,
        reference: Option<&Run>,
        level: f64,
    ) -> Result<Compared, Inconsistent> {
        let verdicts = match self.recorded {
            Some(recorded) => compare_live_with_recorded(
                &self.snapshot,
                self.comparison,
                recorded,
                &run.decisions,
            )?,
            None => run.decisions.iter().map(alone).collect(),
        };
        let Some(reference) = reference else {
            return Ok(Compared {
                verdicts,
                tests: Vec::new(),
            });
        };
        let mut compared = compare_with_live(
            &self.snapshot,
            self.requests,
            &reference.decisions,
            &run.decisions,
            level,
        )?;
        for (verdict, other) in compared.verdicts.iter_mut().zip(verdicts) {
            *verdict = std::mem::take(verdict).and(other);
        }
        Ok(compared)
    }
}

/// A decision that is compared with nothing yet.
fn alone(decision: &Decision) -> Verdict {
    if decision.outcome == Outcome::Unsupported {
        Verdict::Unsupported
    } else {
        Verdict::Agrees
    }
}

fn traces_part(reference: &Run, run: &Run, index: usize) -> bool {
    match (reference.traces.get(index), run.traces.get(index)) {
        (Some(one), Some(other)) => compare_traces(one, other).is_some(),
        _ => false,
    }
}

/// What is said after Ctrl-C.
pub fn interrupted() -> Failure {
    Failure("interrupted: the run is not whole, and nothing of it is reported".to_owned())
}
