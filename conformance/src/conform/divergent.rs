//! Every divergence of a case through an engine, for the reports: the decisions, both traces, and
//! the place in the snapshot.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use twinmesh_engine::{Decision, Engine, Request, Step, Strictness, Trace};
use twinmesh_xds::{Snapshot, Target, locate};

use super::divergence::Compared;
use crate::comparison::{Divergence, Field, Fields, Verdict, compare_traces};
use crate::engines::REFERENCE;
use crate::failure::Failure;
use crate::judge::Question;
use crate::place::{self, Site};
use crate::words::{self, Narrator, Sentence};

/// Of so many divergences of a case and engine both traces are told; all others are listed.
const TOLD: usize = 200;

/// Of so many steps behind the one where traces part each is told.
const TOLD_BEHIND: usize = 30;

/// A divergence.
#[derive(Debug, Clone)]
pub struct Divergent {
    /// The request's id.
    pub id: String,
    /// The case's folder.
    pub folder: PathBuf,
    /// The request's line in the traffic file, from 1.
    pub line: usize,
    /// The request in one line.
    pub request: String,
    /// In what the decisions do not agree.
    pub divergence: Divergence,
    /// The decisions, each with who made it; the engine's own is the last.
    pub decisions: Vec<(&'static str, Decision)>,
    /// The engine decides as the reference: what differs is the recording.
    pub is_of_recording: bool,
    /// How they came about.
    pub told: Option<SideBySide>,
    /// The field on which it turns; `None` where none of the snapshot's does.
    pub site: Option<Site>,
    /// What the site is looked up by, the nearest first.
    targets: Vec<Target>,
    /// The snapshot that decided is the one of the case's file.
    in_file: bool,
}

/// Two traces beside each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideBySide {
    /// Who took the steps on the left; `None` where only one trace is known.
    pub left: Option<&'static str>,
    /// Who took those on the right.
    pub right: &'static str,
    /// The steps.
    pub rows: Vec<Pair>,
}

impl SideBySide {
    /// Whether the two traces part.
    pub fn part(&self) -> bool {
        self.rows.iter().any(|row| row.parts)
    }
}

/// What two engines did at one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Number of the step, from 1; of several in one row, the first.
    pub number: usize,
    /// On the left; `None` where the trace has ended.
    pub left: Option<Sentence>,
    /// On the right.
    pub right: Option<Sentence>,
    /// The traces part here.
    pub parts: bool,
}

/// All divergences of a run; without `told`, their traces are not put into words.
pub fn all(
    folder: &Path,
    question: &Question<'_>,
    engine: &mut dyn Engine,
    reference: Option<&mut (dyn Engine + '_)>,
    compared: &Compared<'_>,
    told: bool,
) -> Result<Vec<Divergent>, Failure> {
    let wanted: Vec<(usize, &Divergence)> = compared
        .verdicts
        .iter()
        .enumerate()
        .filter_map(|(index, verdict)| match verdict {
            Verdict::Diverges(divergence) => Some((index, divergence)),
            _ => None,
        })
        .collect();
    let name = engine.name();
    let traces = match engine.strictness() {
        Strictness::Live => BTreeMap::new(),
        _ => traces(question, engine, &wanted)?,
    };
    let expected = match reference {
        Some(reference) => self::traces(question, reference, &wanted)?,
        None => BTreeMap::new(),
    };
    let all_fields = Fields::EVERY.without(Field::NEVER_COMPARED);
    let mut found = Vec::with_capacity(wanted.len());
    for (index, divergence) in wanted {
        let Some(request) = question.requests.get(index) else {
            continue;
        };
        let snapshot = question.snapshot_at(index)?;
        let decisions = [
            ("recorded", question.recorded),
            (
                REFERENCE,
                compared.reference.map(|run| run.decisions.as_slice()),
            ),
            (name, Some(compared.run.decisions.as_slice())),
        ];
        // A live server makes no traces.
        let of_own = |trace: &&Trace| !trace.steps.is_empty();
        let (left, right) = (expected.get(&index), traces.get(&index).filter(of_own));
        let own = compared.run.decisions.get(index);
        let of_reference = compared.reference.and_then(|run| run.decisions.get(index));
        let differ = |one: Option<&Decision>, other: Option<&Decision>| {
            one.zip(other)
                .is_some_and(|(one, other)| !all_fields.differing(one, other).is_empty())
        };
        // Where the engines decide alike it is the recording that differs, and not the traces.
        let alike = of_reference.is_some() && !differ(of_reference, own);
        let parting = left.filter(|_| !alike || divergence.fields.is_empty());
        let walked = if right.is_some() { own } else { of_reference };
        let recorded = question.recorded.and_then(|all| all.get(index));
        let others = [recorded, of_reference, own].into_iter();
        let other = others.flatten().find(|it| differ(Some(it), walked));
        found.push(Divergent {
            id: request.id.clone(),
            folder: folder.to_owned(),
            line: index + 1,
            request: words::request_line(request),
            divergence: divergence.clone(),
            decisions: decisions
                .into_iter()
                .filter_map(|(who, decisions)| Some((who, decisions?.get(index)?.clone())))
                .collect(),
            told: match (left, right) {
                _ if !told || found.len() >= TOLD => None,
                (_, Some(right)) => Some(side_by_side(&snapshot, request, left, (name, right))),
                (Some(left), None) => {
                    Some(side_by_side(&snapshot, request, None, (REFERENCE, left)))
                }
                (None, None) => None,
            },
            site: None,
            is_of_recording: (alike || name == REFERENCE) && !divergence.fields.is_empty(),
            targets: place::of_divergence(
                &snapshot,
                request,
                (parting, right.or(left)),
                divergence.fields,
                other,
            ),
            in_file: !replaced(question, index),
        });
    }
    Ok(found)
}

/// The traces of some requests. All are decided anew: balancers remember those before.
fn traces(
    question: &Question<'_>,
    engine: &mut dyn Engine,
    wanted: &[(usize, &Divergence)],
) -> Result<BTreeMap<usize, Trace>, Failure> {
    let mut traces = BTreeMap::new();
    let Some((last, _)) = wanted.last() else {
        return Ok(traces);
    };
    let again = Question {
        requests: question.requests.get(..=*last).unwrap_or_default(),
        ..question.clone()
    };
    again.watch(engine, true, &mut |decided| {
        if wanted
            .binary_search_by_key(&decided.index, |(index, _)| *index)
            .is_ok()
        {
            traces.insert(decided.index, decided.answer.trace);
        }
    })?;
    Ok(traces)
}

/// Whether an event has put another file in the snapshot's place by then.
fn replaced(question: &Question<'_>, index: usize) -> bool {
    let Some(schedule) = question.schedule else {
        return false;
    };
    let times = question.requests.iter().take(index + 1);
    let now = times.filter_map(|request| request.time_us).max();
    schedule
        .replacements()
        .any(|(time, _)| time <= now.unwrap_or(0))
}

/// Looks up where the divergences' fields stand in the snapshot's file.
pub fn put_sites<'a>(file: &Path, divergents: impl Iterator<Item = &'a mut Divergent>) {
    let mut divergents: Vec<&mut Divergent> = divergents.collect();
    if divergents.is_empty() {
        return;
    }
    let targets: Vec<Target> = divergents
        .iter()
        .flat_map(|divergent| divergent.targets.iter().cloned())
        .collect();
    // A file that has gone since it was read has no lines to point at.
    let bytes = std::fs::read(file).unwrap_or_default();
    let mut positions = locate(&file.display().to_string(), &bytes, &targets).into_iter();
    for divergent in &mut divergents {
        let sites: Vec<Site> = divergent
            .targets
            .iter()
            .map(|target| Site {
                file: file.to_owned(),
                position: positions.next().flatten().filter(|_| divergent.in_file),
                target: target.clone(),
            })
            .collect();
        let with_line = sites.iter().find(|site| site.position.is_some());
        divergent.site = with_line.or(sites.first()).cloned();
    }
}

fn side_by_side(
    snapshot: &Snapshot,
    request: &Request,
    left: Option<&Trace>,
    right: (&'static str, &Trace),
) -> SideBySide {
    let parting = left.and_then(|left| compare_traces(left, right.1));
    let nothing = Trace::default();
    let of_left = left.unwrap_or(&nothing);
    let length = of_left.steps.len().max(right.1.steps.len());
    let mut narrators = (
        Narrator::new(snapshot, request),
        Narrator::new(snapshot, request),
    );
    let mut rows: Vec<Pair> = Vec::new();
    let mut passed = 0;
    for at in 0..length {
        let steps = (of_left.steps.get(at), right.1.steps.get(at));
        let pair = Pair {
            number: at + 1,
            left: steps.0.map(|step| narrators.0.tell(step)),
            right: steps.1.map(|step| narrators.1.tell(step)),
            parts: parting == Some(at),
        };
        // Routes that neither took say little; those right before the parting, something.
        let unmatched = |step: Option<&Step>| {
            step.is_none_or(|step| matches!(step, Step::RouteNotMatched { .. }))
        };
        let near = parting.is_some_and(|parting| parting.saturating_sub(at) <= 2);
        let is_before = parting.is_none_or(|parting| at < parting);
        if is_before && unmatched(steps.0) && unmatched(steps.1) && !near {
            passed += 1;
            continue;
        }
        if passed > 0 {
            rows.push(several(
                at + 1 - passed,
                passed,
                ("not matched", "route"),
                left.is_some(),
            ));
            passed = 0;
        }
        if parting.is_some_and(|parting| at > parting + TOLD_BEHIND) {
            rows.push(several(
                at + 1,
                length - at,
                ("not told", "step"),
                left.is_some(),
            ));
            break;
        }
        rows.push(pair);
    }
    if passed > 0 {
        rows.push(several(
            length + 1 - passed,
            passed,
            ("not matched", "route"),
            left.is_some(),
        ));
    }
    SideBySide {
        left: left.map(|_| REFERENCE),
        right: right.0,
        rows,
    }
}

/// Steps that are counted only.
fn several(number: usize, count: usize, what: (&'static str, &str), both: bool) -> Pair {
    let plural = if count == 1 { "" } else { "s" };
    let sentence = Sentence {
        topic: what.0,
        choice: format!("{count} {}{plural}", what.1),
        because: String::new(),
    };
    Pair {
        number,
        left: both.then(|| sentence.clone()),
        right: Some(sentence),
        parts: false,
    }
}
