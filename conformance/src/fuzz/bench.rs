//! The engines side by side: what each makes of one generated snapshot and its traffic, compared
//! with what the first makes of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::Value;
use twinmesh_engine::{Decision, Engine, Outcome, Request, Strictness};
use twinmesh_generate::reached::Reached;
use twinmesh_generate::{read_as, traffic};
use twinmesh_xds::{Profile, Snapshot};

use super::divergence::Divergence;
use crate::case::Comparison;
use crate::comparison::{self, Inconsistent, Verdict};
use crate::conform::FALSE_ALARM;
use crate::engines::{self, WhyNot};
use crate::judge::{Question, Run};
use crate::known::Known;
use crate::words::without_indices;

/// How probable it is that what a live server draws for one snapshot is called a divergence though
/// the weights hold: a million snapshots together are as safe as a run of `conform`.
const FALSE_ALARM_OF_ONE: f64 = FALSE_ALARM / 1e6;

/// What the reason says where an engine looks at less than the reference, and stops before its filters.
const OWN_LIMITS: [&str; 2] = [
    "than this engine ",
    "Envoy rewrites a header of this request before routing",
];

/// A static bootstrap in JSON, and the choices behind each of its requests
/// ([`traffic::requests`]).
pub type Input = (Value, Vec<Vec<u16>>);

/// What was compared of one engine.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Requests.
    pub requests: usize,
    /// Of them, undecided by the engine and decided by the reference.
    pub limits: usize,
    /// Of them, undecided by both.
    pub undecided: usize,
    /// Of them, decided otherwise as it is known beforehand.
    pub known: usize,
    /// What the reference decided, where both did.
    pub outcomes: BTreeMap<Outcome, usize>,
    /// What the decisions went through, where traces were compared.
    pub reached: Reached,
    /// Why requests were undecided, without the indices of fields: of the engine, and with
    /// `reference: ` before it, of that.
    pub reasons: BTreeMap<String, usize>,
}

impl Counts {
    /// Counts a request that is undecided for this reason, wherever in a snapshot it stands.
    fn undecided_for(&mut self, reason: &str) {
        let reason = without_indices(reason);
        *self.reasons.entry(reason).or_default() += 1;
    }

    /// Adds what another bench counted for the same engine.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.limits += other.limits;
        self.undecided += other.undecided;
        self.known += other.known;
        self.reached.add(&other.reached);
        for (outcome, times) in &other.outcomes {
            *self.outcomes.entry(*outcome).or_default() += times;
        }
        for (reason, times) in &other.reasons {
            *self.reasons.entry(reason.clone()).or_default() += times;
        }
    }
}

/// The engines: the reference, and those that are compared with it.
pub type Engines = (Box<dyn Engine>, Vec<Box<dyn Engine>>);

/// Makes the engines, anew after one of them has panicked.
type Make = Box<dyn Fn() -> Result<Engines, WhyNot>>;

/// The engines side by side.
pub struct Bench {
    make: Make,
    reference: Box<dyn Engine>,
    others: Vec<Box<dyn Engine>>,
    known: Known,
    profile: Profile,
}

impl Bench {
    /// Makes the engines; the first is the one that the others are compared with.
    ///
    /// # Errors
    /// The first engine that does not run here, and why, or that there are not two.
    pub fn new(names: &[String]) -> Result<Self, WhyNot> {
        let names = names.to_vec();
        Self::with(Box::new(move || {
            let make =
                |name: &String| engines::make(name).map_err(|why| format!("engine {name}: {why}"));
            let [reference, others @ ..] = names.as_slice() else {
                return Err("no engine is named".to_owned());
            };
            if others.is_empty() {
                return Err(format!(
                    "only engine {reference} is named: there is none to compare it with"
                ));
            }
            let others = others.iter().map(make).collect::<Result<_, _>>()?;
            Ok((make(reference)?, others))
        }))
    }

    /// Engines of the caller's own.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn with(make: Make) -> Result<Self, WhyNot> {
        let (reference, others) = make()?;
        Ok(Self {
            make,
            reference,
            others,
            known: Known::default(),
            profile: Profile::default(),
        })
    }

    /// The same, with divergences that are counted and not reported.
    #[must_use]
    pub fn knowing(self, known: Known) -> Self {
        Self { known, ..self }
    }

    /// By this profile's rules.
    #[must_use]
    pub fn with_profile(self, profile: Profile) -> Self {
        Self { profile, ..self }
    }

    /// Whose rules decide.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// What an engine holds after a panic is anybody's guess.
    fn renew(&mut self) -> Result<(), WhyNot> {
        (self.reference, self.others) = (self.make)()?;
        Ok(())
    }

    /// The engines that are compared with the reference.
    pub fn others(&self) -> impl Iterator<Item = &'static str> {
        self.others.iter().map(|engine| engine.name())
    }

    /// The divergences of one input, one an engine at most; `None` where the reader refuses it.
    /// `traced`: steps are compared too, and what was gone through is counted. `counts` holds one
    /// for each of the other engines.
    ///
    /// # Errors
    /// An engine panicked, and cannot be made anew.
    pub fn look(
        &mut self,
        input: &Input,
        traced: bool,
        counts: &mut Vec<Counts>,
    ) -> Result<Option<Vec<Divergence>>, WhyNot> {
        let Ok(snapshot) = read_as(&input.0, self.profile) else {
            return Ok(None);
        };
        let looked = Looked {
            bootstrap: &input.0,
            snapshot: Arc::new(snapshot),
            requests: traffic::requests(&input.0, &input.1),
            traced,
            known: &self.known,
        };
        counts.resize_with(self.others.len(), Counts::default);
        let mut divergences = Vec::new();
        let mut panicked = false;
        let reference = self.reference.as_mut();
        let expected = guarded(|| looked.run(&looked.requests, reference).map_err(Box::new));
        let expected = match expected {
            Ok(Ok(expected)) => expected,
            Ok(Err(failed)) => return Ok(Some(vec![*failed])),
            Err(message) => {
                let name = self.reference.name();
                self.renew()?;
                return Ok(Some(vec![Divergence::panicked(name, message)]));
            }
        };
        for (engine, counts) in self.others.iter_mut().zip(counts) {
            let reference = self.reference.as_mut();
            let compared =
                guarded(|| looked.compare(reference, engine.as_mut(), &expected, counts));
            divergences.extend(compared.unwrap_or_else(|message| {
                panicked = true;
                Some(Divergence::panicked(engine.name(), message))
            }));
        }
        if panicked {
            self.renew()?;
        }
        Ok(Some(divergences))
    }

    /// Whether an input still shows a divergence, traces compared.
    pub fn shows(&mut self, input: &Input, like: &Divergence) -> Option<Divergence> {
        let found = self.look(input, true, &mut Vec::new()).ok()??;
        found.into_iter().find(|other| other.is_like(like))
    }
}

/// What comes of a call, or what it panicked with.
fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()));
        text.unwrap_or_default()
    })
}

/// One input, as it is put to the engines.
struct Looked<'a> {
    bootstrap: &'a Value,
    snapshot: Arc<Snapshot>,
    requests: Vec<Request>,
    traced: bool,
    known: &'a Known,
}

impl Looked<'_> {
    fn question<'q>(&self, requests: &'q [Request], comparison: &'q Comparison) -> Question<'q> {
        Question {
            snapshot: Arc::clone(&self.snapshot),
            requests,
            recorded: None,
            comparison,
            schedule: None,
            endpoints: None,
            seed: 1,
        }
    }

    fn run(&self, requests: &[Request], engine: &mut dyn Engine) -> Result<Run, Divergence> {
        let comparison = Comparison::default();
        let put = self
            .question(requests, &comparison)
            .put(engine, self.traced);
        put.map_err(|failure| Divergence::failed(engine.name(), failure.to_string()))
    }

    /// Compares one engine with the reference, which made `whole` of all requests.
    fn compare(
        &self,
        reference: &mut dyn Engine,
        engine: &mut dyn Engine,
        whole: &Run,
        counts: &mut Counts,
    ) -> Option<Divergence> {
        let mut found = match self.run(&self.requests, engine) {
            Ok(found) => found,
            Err(failed) => return Some(failed),
        };
        // What a live server decided stands beside what it was not asked.
        let is_live = engine.strictness() == Strictness::Live;
        let limited = engine.is_of_kernel();
        if is_live || !over_limits(limited, whole, &found).any(|over| over) {
            return self.judge(engine, &self.requests, whole, &found, counts);
        }
        // Where only the reference decides, only its balancers go on: what follows is compared
        // without that request, unless nothing depends on it.
        let mut alike = counts.clone();
        if self
            .judge(engine, &self.requests, whole, &found, &mut alike)
            .is_none()
        {
            *counts = alike;
            return None;
        }
        let mut over: Vec<bool> = over_limits(limited, whole, &found).collect();
        let mut requests = Cow::Borrowed(&self.requests);
        loop {
            count_limits(&found, &over, counts);
            let fewer = kept(&requests, &over);
            let expected = match self.run(&fewer, reference) {
                Ok(expected) => expected,
                Err(failed) => return Some(failed),
            };
            // Mostly the engine's balancers stood still where it left a request: what it decided of
            // the others needs no second run then.
            found.leave_out(&over);
            let mut alike = counts.clone();
            if !over_limits(limited, &expected, &found).any(|over| over)
                && self
                    .judge(engine, &fewer, &expected, &found, &mut alike)
                    .is_none()
            {
                *counts = alike;
                return None;
            }
            found = match self.run(&fewer, engine) {
                Ok(found) => found,
                Err(failed) => return Some(failed),
            };
            over = over_limits(limited, &expected, &found).collect();
            if !over.contains(&true) {
                return self.judge(engine, &fewer, &expected, &found, counts);
            }
            requests = Cow::Owned(fewer);
        }
    }

    fn judge(
        &self,
        engine: &dyn Engine,
        requests: &[Request],
        expected: &Run,
        found: &Run,
        counts: &mut Counts,
    ) -> Option<Divergence> {
        let comparison = Comparison::default();
        let question = self.question(requests, &comparison);
        for (index, (request, decision)) in requests.iter().zip(&expected.decisions).enumerate() {
            counts.requests += 1;
            if decision.outcome == Outcome::Unsupported {
                counts.undecided += 1;
                // Without the place in the snapshot.
                let reason = decision.reason.as_deref().unwrap_or_default();
                let reason = reason.rsplit(": ").next().unwrap_or_default();
                counts.undecided_for(&format!("reference: {reason}"));
            }
            if let Some(trace) = expected.traces.get(index) {
                counts
                    .reached
                    .note(self.bootstrap, request, decision, trace);
            }
            *counts.outcomes.entry(decision.outcome).or_default() += 1;
        }
        let verdicts = match verdicts(&question, engine.strictness(), expected, found) {
            Ok(verdicts) => verdicts,
            Err(error) => return Some(Divergence::failed(engine.name(), error.to_string())),
        };
        for ((verdict, expected), found) in verdicts
            .iter()
            .zip(&expected.decisions)
            .zip(&found.decisions)
        {
            if *verdict == Verdict::Unsupported && expected.outcome != Outcome::Unsupported {
                counts.limits += 1;
                let reason = match found.outcome {
                    Outcome::Unsupported => found.reason.clone().unwrap_or_default(),
                    _ => "it draws what the reference has as an input".to_owned(),
                };
                counts.undecided_for(&reason);
            }
        }
        let known = self.known.of(engine.name(), &self.snapshot);
        let is_known = |index: usize, divergence: &comparison::Divergence| {
            let found = found.decisions.get(index);
            found.is_some_and(|found| known.matching(divergence, found).is_some())
        };
        verdicts.iter().enumerate().find_map(|(index, verdict)| {
            let Verdict::Diverges(divergence) = verdict else {
                return None;
            };
            if is_known(index, divergence) {
                counts.known += 1;
                return None;
            }
            Divergence::of(
                engine,
                requests.get(index)?,
                index,
                divergence,
                expected,
                found,
            )
        })
    }
}

/// Counts the requests that are over the engine's limits.
fn count_limits(found: &Run, over: &[bool], counts: &mut Counts) {
    let decisions = found.decisions.iter().zip(over);
    for (decision, _) in decisions.filter(|(_, over)| **over) {
        counts.requests += 1;
        counts.limits += 1;
        counts.undecided_for(decision.reason.as_deref().unwrap_or_default());
    }
}

/// The requests that are not over the engine's limits.
fn kept(requests: &[Request], over: &[bool]) -> Vec<Request> {
    let requests = requests.iter().zip(over);
    requests
        .filter(|(_, over)| !**over)
        .map(|(request, _)| request.clone())
        .collect()
}

/// A verdict for each request.
fn verdicts(
    question: &Question<'_>,
    strictness: Strictness,
    expected: &Run,
    found: &Run,
) -> Result<Vec<Verdict>, Inconsistent> {
    if strictness == Strictness::Live {
        let compared = question.judge_live(found, Some(expected), FALSE_ALARM_OF_ONE)?;
        Ok(compared.verdicts)
    } else {
        question.judge(found, strictness, Some(expected))
    }
}

/// For each request, whether only the reference decides it, or neither does and one got further: then its
/// balancers alone go on, or its filters alone have counted the request. An endpoint may be chosen before
/// what is undecided and not be told: another reason is enough where it is a limit of the engine's own, or the
/// engine's programs leave more to userspace (`limited`).
fn over_limits<'a>(
    limited: bool,
    expected: &'a Run,
    found: &'a Run,
) -> impl Iterator<Item = bool> + 'a {
    let both = expected.decisions.iter().zip(&found.decisions);
    both.map(move |(expected, found)| {
        let got_further = how_far(expected) != how_far(found);
        let own = |reason: &String| limited || OWN_LIMITS.iter().any(|it| reason.contains(it));
        let other_reason = expected.reason != found.reason && found.reason.iter().any(own);
        found.outcome == Outcome::Unsupported
            && (expected.outcome != Outcome::Unsupported || got_further || other_reason)
    })
}

/// Which of its steps a decision tells of.
fn how_far(decision: &Decision) -> [bool; 5] {
    [
        decision.route_config.is_some(),
        decision.virtual_host.is_some(),
        decision.route.is_some(),
        decision.cluster.is_some(),
        decision.endpoint.is_some(),
    ]
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// A filter in front of routes may have counted a request that got as far as the route configuration.
    #[rstest]
    #[case(Some("rc"), None, true)]
    #[case(Some("rc"), Some("rc"), false)]
    #[case(None, None, false)]
    fn a_request_that_neither_decides(
        #[case] expected: Option<&str>,
        #[case] found: Option<&str>,
        #[case] is_left_out: bool,
    ) {
        let [expected, found] = [(expected, "one"), (found, "another")].map(|(name, why)| Run {
            decisions: vec![Decision {
                outcome: Outcome::Unsupported,
                route_config: name.map(str::to_owned),
                reason: Some(why.to_owned()),
                ..Decision::default()
            }],
            ..Run::default()
        });
        let over: Vec<bool> = over_limits(false, &expected, &found).collect();
        assert_eq!(over, [is_left_out]);
    }
}
