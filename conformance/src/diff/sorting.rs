//! Requests, decided by both snapshots and sorted by what became of them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use twinmesh_engine::format::endpoints::Script;
use twinmesh_engine::{Engine as _, HeaderValues, Outcome, Request, random};
use twinmesh_xds::Snapshot;

use super::attempts::Attempts;
use super::causes::{self, Moved};
use super::changes::Changes;
use super::compare::{Comparison, Same};
use super::probes;
use super::scripted;
use super::stand_in::StandIns;
use super::ways::{Decided, Ways};
use crate::failure::Failure;
use crate::generate::DAY_US;
use crate::interrupt;
use crate::judge::interrupted;
use crate::reach::Brief;

/// Requests that are decided differently for one reason.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// Indices of the changes.
    pub(super) causes: BTreeSet<usize>,
    /// It was tried that these changes are the reason; else it is one of them, or some together.
    pub(super) is_proved: bool,
    /// The fields of the decisions that differ in any of them.
    pub(super) fields: BTreeSet<&'static str>,
    pub(super) requests: usize,
    pub(super) example: Request,
    pub(super) first: Decided,
    pub(super) second: Decided,
}

/// What is known of a change that is no group's reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// Requests came its way, and all of them are decided alike.
    None,
    /// It is on the way of requests that another change moves.
    Beside,
    /// Requests on its way are not decided.
    Unknown,
    /// No request came its way, or none is known to have asked for what was changed.
    Untried,
    /// No decision depends on it.
    Untold,
}

/// What two snapshots make of requests.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) requests: usize,
    pub(super) groups: Vec<Group>,
    pub(super) changes: Changes,
    /// Why requests were not compared, or not to their end, with the number of requests.
    pub(super) undecided: BTreeMap<String, usize>,
    /// What is known of the other changes, by index.
    pub(super) others: Vec<(usize, Effect)>,
}

impl Difference {
    pub(super) fn moved(&self) -> usize {
        self.groups.iter().map(|group| group.requests).sum()
    }

    /// Requests that were not compared, or not to their end.
    pub(super) fn not_compared(&self) -> usize {
        self.undecided.values().sum()
    }

    /// Whether everything was compared.
    pub(super) fn is_whole(&self) -> bool {
        self.undecided.is_empty()
    }

    /// The changes of which this is known.
    pub(super) fn having(&self, effect: Effect) -> Vec<usize> {
        let all = self.others.iter();
        all.filter(|(_, other)| *other == effect)
            .map(|(index, _)| *index)
            .collect()
    }
}

/// One snapshot's engine.
pub(super) struct Side<'a> {
    engine: Brief,
    configurations: HashSet<&'a str>,
    stand_ins: &'a StandIns,
    /// When the last request arrived, in microseconds of virtual time.
    now_us: u64,
}

impl<'a> Side<'a> {
    pub(super) fn new(stand_ins: &'a StandIns) -> Result<Self, Failure> {
        let mut engine = Brief::default();
        engine.load(&stand_ins.snapshot)?;
        let configurations = stand_ins.snapshot.route_configurations.iter();
        Ok(Self {
            engine,
            configurations: configurations.map(|it| it.name.as_str()).collect(),
            stand_ins,
            now_us: 0,
        })
    }

    /// `None`: the snapshot does not have what the request starts at.
    pub(super) fn decide(&mut self, request: &Request, random: u64) -> Option<Decided> {
        self.now_us = request.time_us.unwrap_or(self.now_us).max(self.now_us);
        let named = request.route_config.as_deref();
        if named.is_some_and(|name| !self.configurations.contains(name)) {
            return None;
        }
        let answer = self
            .engine
            .decide(request, random, self.now_us, true)
            .ok()?;
        if let Some(held) = answer.held {
            self.engine.release(held).ok()?;
        }
        let is_stand_in = |cluster| self.stand_ins.unknown(cluster).is_some();
        Some(Decided::of(answer, is_stand_in))
    }

    /// The same of several requests, given with their indices.
    fn decide_all<'r>(
        &mut self,
        requests: impl Iterator<Item = (usize, &'r Request)>,
        seed: u64,
    ) -> Vec<Option<Decided>> {
        requests
            .map(|(index, request)| self.decide(request, random_of(seed, index, request)))
            .collect()
    }
}

/// Decides the requests by both snapshots; `is_generated`: further ones are made for what was changed.
///
/// # Errors
/// An engine does not take a snapshot, or the run was interrupted.
pub(super) fn difference(
    (first, second): (&Arc<Snapshot>, &Arc<Snapshot>),
    changes: Changes,
    mut requests: Vec<Request>,
    is_generated: bool,
    script: Option<&Script>,
    seed: u64,
) -> Result<Difference, Failure> {
    let stand_ins = [StandIns::of(first), StandIns::of(second)];
    let between = Between {
        first,
        second,
        stand_ins: &stand_ins,
        changes: &changes,
    };
    let mut sorted = Sorted {
        moved: Vec::new(),
        undecided: BTreeMap::new(),
        passed: vec![false; changes.all.len()],
        unknown: vec![false; changes.all.len()],
    };
    if let Some(script) = script {
        let one = scripted::decide(first, &requests, script, seed)?;
        let other = scripted::decide(second, &requests, script, seed)?;
        for (index, (before, after)) in one.into_iter().zip(other).enumerate() {
            sorted.add(&between, index, before, after);
        }
    } else {
        decide(&between, &mut requests, is_generated, seed, &mut sorted)?;
    }
    let ways = Ways(&changes);
    let moved: Vec<Moved> = sorted
        .moved
        .iter()
        .map(|it| Moved {
            way: ways.all(&it.before, &it.after),
            guess: ways.guess(&it.before, &it.after, &it.fields),
        })
        .collect();
    let wanted = sorted.moved.iter().map(|it| (it.request, &it.after));
    let mut attempts = Attempts::new(
        (first, second),
        &changes,
        (&requests, wanted.collect()),
        script,
        seed,
    );
    let causes = causes::of(&moved, &changes, &mut |chosen, wanted| {
        attempts.attempt(chosen, wanted)
    })?;
    drop(attempts);
    let others = others(&sorted, &moved, &causes, &changes, script.is_some());
    Ok(Difference {
        requests: requests.len(),
        groups: groups(sorted.moved, causes, &requests),
        changes,
        undecided: sorted.undecided,
        others,
    })
}

fn decide(
    between: &Between<'_>,
    requests: &mut Vec<Request>,
    is_generated: bool,
    seed: u64,
    sorted: &mut Sorted,
) -> Result<(), Failure> {
    let (one, other) = both(
        || Side::new(&between.stand_ins[0]),
        || Side::new(&between.stand_ins[1]),
    );
    let (mut one, mut other) = (one?, other?);
    let mut bases: BTreeMap<usize, Vec<Request>> = BTreeMap::new();
    let mut at = 0;
    for is_probe in [false, true] {
        if is_probe {
            let snapshots = (between.first, between.second);
            if !is_generated {
                break;
            }
            let mut more = probes::of(between.changes, snapshots, &bases, requests);
            if let Some(last) = requests.iter().filter_map(|it| it.time_us).max() {
                // Each by itself, so that it finds all tokens.
                for (time, probe) in (1..).zip(&mut more) {
                    probe.time_us = Some(last + time * DAY_US);
                }
            }
            requests.extend(more);
        }
        for part in requests.get(at..).unwrap_or_default().chunks(PART) {
            if interrupt::requested() {
                return Err(interrupted());
            }
            let numbered = || (at..).zip(part);
            let (before, after) = both(
                || one.decide_all(numbered(), seed),
                || other.decide_all(numbered(), seed),
            );
            for ((request, before), after) in part.iter().zip(before).zip(after) {
                if let (false, Some(before), Some(after)) = (is_probe, &before, &after) {
                    for change in Ways(between.changes).all(before, after) {
                        let own = bases.entry(change).or_default();
                        if own.len() < probes::BASES {
                            own.push(request.clone());
                        }
                    }
                }
                sorted.add(between, at, before, after);
                at += 1;
            }
        }
    }
    Ok(())
}

/// Of so many requests at a time each snapshot's decisions are held.
const PART: usize = 4096;

/// Two things at a time.
fn both<A: Send, B: Send>(one: impl FnOnce() -> A, other: impl FnOnce() -> B + Send) -> (A, B) {
    std::thread::scope(|scope| {
        let other = scope.spawn(other);
        let one = one();
        match other.join() {
            Ok(other) => (one, other),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

pub(super) fn random_of(seed: u64, index: usize, request: &Request) -> u64 {
    let drawn = || random::draw(seed, index as u64);
    request.random.unwrap_or_else(drawn)
}

/// The two snapshots, and what was changed between them.
struct Between<'a> {
    first: &'a Snapshot,
    second: &'a Snapshot,
    stand_ins: &'a [StandIns; 2],
    changes: &'a Changes,
}

/// A request that is decided differently.
struct Different {
    /// Its index.
    request: usize,
    before: Decided,
    after: Decided,
    fields: Vec<&'static str>,
}

/// Requests, sorted by whether they are decided alike.
struct Sorted {
    moved: Vec<Different>,
    undecided: BTreeMap<String, usize>,
    /// Of each change, whether a request on its way was compared and is decided alike.
    passed: Vec<bool>,
    /// Of each change, whether a request on its way was not compared.
    unknown: Vec<bool>,
}

fn mark(marks: &mut [bool], indices: &BTreeSet<usize>) {
    for index in indices {
        if let Some(mark) = marks.get_mut(*index) {
            *mark = true;
        }
    }
}

impl Sorted {
    /// Takes what the two snapshots make of a request; `None`: one does not have what it starts at.
    fn add(
        &mut self,
        between: &Between<'_>,
        request: usize,
        before: Option<Decided>,
        after: Option<Decided>,
    ) {
        let (Some(before), Some(after)) = (before, after) else {
            let reason = "it starts at a route configuration that one of the two does not have";
            self.leave(reason.to_owned());
            return;
        };
        let comparison = Comparison {
            first: between.first,
            second: between.second,
            same: Same::Changes(between.changes),
        };
        let mut fields = comparison.found(&before, &after);
        let unknown = [(0, &before), (1, &after)]
            .into_iter()
            .find_map(|(side, it)| {
                let found = between.stand_ins.get(side)?.unknown(it.stand_in?)?;
                Some((side, found))
            });
        if let Some((_, found)) = unknown
            && !found.is_held
            && before.decision.cluster == after.decision.cluster
        {
            // What the endpoint in the place of its own comes to says nothing.
            fields.retain(|field| !["outcome", "status", "endpoints"].contains(field));
        }
        let ways = Ways(between.changes);
        let way = ways.all(&before, &after);
        if !fields.is_empty() {
            self.moved.push(Different {
                request,
                before,
                after,
                fields,
            });
            return;
        }
        let left = [&before, &after]
            .into_iter()
            .find(|it| it.decision.outcome == Outcome::Unsupported);
        if let Some(left) = left {
            mark(&mut self.unknown, &way);
            if !between.changes.are_none() {
                self.leave(left.decision.reason.clone().unwrap_or_default());
            }
            return;
        }
        mark(&mut self.passed, &way);
        if let Some((_, found)) = unknown {
            let own = ways.of_stand_ins(&before, &after);
            mark(&mut self.unknown, &own);
            if !own.is_empty() || (!found.is_held && !between.changes.are_none()) {
                self.leave(format!("the endpoint: {}", found.reason));
            }
        } else if let Some(own) = undecided_body(&before, &after, &way, between.changes) {
            mark(&mut self.unknown, &own);
            self.leave("the body of a direct response is not decided".to_owned());
        } else if let Some(name) = undecided_header(&before, &after)
            && !way.is_empty()
        {
            mark(&mut self.unknown, &way);
            self.leave(format!("the header {name} is not decided"));
        }
    }

    fn leave(&mut self, reason: String) {
        *self.undecided.entry(reason).or_default() += 1;
    }
}

/// The changes of direct responses on the way, where one of the two does not decide the body.
fn undecided_body(
    one: &Decided,
    other: &Decided,
    way: &BTreeSet<usize>,
    changes: &Changes,
) -> Option<BTreeSet<usize>> {
    let undecided =
        |it: &Decided| it.decision.outcome == Outcome::DirectResponse && it.decision.body.is_none();
    if !undecided(one) && !undecided(other) {
        return None;
    }
    let is_own = |index: &&usize| {
        let change = changes.all.get(**index);
        change.is_some_and(|it| it.field.contains("body"))
    };
    let own: BTreeSet<usize> = way.iter().filter(is_own).copied().collect();
    (!own.is_empty()).then_some(own)
}

/// A header whose values one of the two does not decide.
fn undecided_header(one: &Decided, other: &Decided) -> Option<String> {
    fn undecided(values: &Option<HeaderValues>) -> Option<&String> {
        let mut values = values.iter().flatten();
        values.find_map(|(name, values)| values.is_none().then_some(name))
    }
    let all = [&one.decision, &other.decision].into_iter();
    let mut all = all.flat_map(|it| [&it.request_headers, &it.response_headers]);
    all.find_map(undecided).cloned()
}

fn groups(moved: Vec<Different>, causes: Vec<causes::Cause>, requests: &[Request]) -> Vec<Group> {
    let mut groups: Vec<Group> = causes
        .into_iter()
        .filter_map(|cause| {
            let own = cause.requests.iter().filter_map(|index| moved.get(*index));
            let fields = own.clone().flat_map(|it| &it.fields).copied().collect();
            let example = own.clone().next()?;
            Some(Group {
                causes: cause.changes,
                is_proved: cause.is_proved,
                fields,
                requests: own.count(),
                example: requests.get(example.request)?.clone(),
                first: example.before.clone(),
                second: example.after.clone(),
            })
        })
        .collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.requests));
    groups
}

/// What is known of the changes that are no cause.
fn others(
    sorted: &Sorted,
    moved: &[Moved],
    causes: &[causes::Cause],
    changes: &Changes,
    is_scripted: bool,
) -> Vec<(usize, Effect)> {
    let used: HashSet<usize> = causes
        .iter()
        .flat_map(|cause| cause.changes.iter().copied())
        .collect();
    let beside: HashSet<usize> = moved.iter().flat_map(|it| it.way.iter().copied()).collect();
    let is = |marks: &[bool], index: usize| marks.get(index) == Some(&true);
    let all = changes.all.iter().enumerate();
    all.filter(|(index, _)| !used.contains(index))
        .map(|(index, change)| {
            let effect = if !is_scripted && !change.may_decide() {
                Effect::Untold
            } else if is(&sorted.unknown, index) {
                Effect::Unknown
            } else if beside.contains(&index) {
                Effect::Beside
            } else if !is(&sorted.passed, index) || probes::is_conditional(change) {
                Effect::Untried
            } else {
                Effect::None
            };
            (index, effect)
        })
        .collect()
}
