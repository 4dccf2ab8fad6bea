//! The cases, one after the other, each through every engine.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use twinmesh_engine::format::endpoints::Script;
use twinmesh_engine::{Decision, Engine, Strictness};

use super::observed::{self, Observed, Seen};
use super::reasons::{self, Reason};
use super::{Arguments, divergence};
use crate::case::Case;
use crate::comparison::{Compared, Divergence, Test, Verdict};
use crate::engines::REFERENCE;
use crate::failure::Failure;
use crate::interrupt;
use crate::judge::{Question, Run, interrupted};
use crate::known::Known;

/// How probable it is that a run calls something random a divergence though the weights hold, in
/// all its tests together.
pub const FALSE_ALARM: f64 = 1e-4;

/// What `conform` found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// One for each case and engine.
    pub rows: Vec<Row>,
    /// The engines that did not run.
    pub not_run: Vec<NotRun>,
    /// What went wrong with a case, so that nothing can be said of it.
    pub errors: Vec<CaseError>,
    /// How many cases there were.
    pub cases: usize,
    /// Cases that were not run, because `--fail-fast` ended the run before.
    pub left_out: usize,
    /// The seed.
    pub seed: u64,
    /// The divergences that are known beforehand, and how often each was found.
    pub known: Vec<KnownDivergence>,
    /// What the HTML report tells of each case.
    pub seen: Vec<Seen>,
}

/// An entry of the list of known divergences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownDivergence {
    /// The engine.
    pub engine: String,
    /// Why it differs.
    pub reason: String,
    /// Where that is said.
    pub source: String,
    /// How many requests it was found in.
    pub count: usize,
}

/// One case through one engine.
#[derive(Debug, Clone)]
pub struct Row {
    /// The case.
    pub case: String,
    /// The engine.
    pub engine: &'static str,
    /// What it was compared with; nothing where it only served as the reference of others.
    pub against: Vec<&'static str>,
    /// How its requests were judged.
    pub counts: Counts,
    /// Why requests were left undecided.
    pub unsupported: Vec<Reason>,
    /// What the engine took to decide them.
    pub elapsed: Duration,
    /// The first divergences.
    pub details: Vec<Detail>,
    /// The tests of what a live server draws.
    pub tests: Vec<Test>,
    /// What reports beside the table tell.
    pub observed: Observed,
}

/// How many requests were judged how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub requests: usize,
    /// Those that agree with all that they were compared with.
    pub agreements: usize,
    /// Those that do not.
    pub divergences: usize,
    /// Those that do not, as it is known beforehand.
    pub known: usize,
    /// Those that the engine says it cannot decide.
    pub unsupported: usize,
}

/// A divergence, with all that is needed to print it.
#[derive(Debug, Clone)]
pub struct Detail {
    /// The request's id.
    pub id: String,
    /// Its line in the traffic file, from 1.
    pub line: usize,
    /// The request in one line.
    pub request: String,
    /// In what the decisions do not agree.
    pub divergence: Divergence,
    /// The decisions, each with who made it; the engine's own is the last.
    pub decisions: Vec<(&'static str, Decision)>,
    /// Where the traces part, or how the engine decided, in words.
    pub steps: Vec<String>,
    /// The engine decides as the reference does: what differs is the recording.
    pub is_of_recording: bool,
    /// The minimal reproducer, or why there is none.
    pub reproducer: Option<Result<PathBuf, String>>,
}

impl Detail {
    /// Whether both are one divergence of the recording, found with different engines.
    pub fn is_as(&self, other: &Self) -> bool {
        self.is_of_recording
            && other.is_of_recording
            && self.line == other.line
            && self.divergence.fields == other.divergence.fields
    }
}

/// An engine that did not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotRun {
    /// Its name.
    pub engine: String,
    /// Why.
    pub reason: String,
}

impl fmt::Display for NotRun {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} did not run: {}", self.engine, self.reason)
    }
}

/// A case that could not be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseError {
    /// The case.
    pub case: String,
    /// The engine; `None` where the case itself is wrong.
    pub engine: Option<&'static str>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for CaseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.engine {
            Some(engine) => write!(formatter, "{}: {engine}: {}", self.case, self.message),
            None => write!(formatter, "{}: {}", self.case, self.message),
        }
    }
}

impl Report {
    /// Whether anything diverges.
    pub fn diverges(&self) -> bool {
        self.rows.iter().any(|row| row.counts.divergences > 0)
    }

    /// Whether an engine that was compared left a request undecided.
    pub fn leaves_some(&self) -> bool {
        let mut rows = self.rows.iter();
        rows.any(|row| row.counts.unsupported > 0)
    }

    /// How many cases could not be compared in full.
    pub fn failed_cases(&self) -> usize {
        let cases: BTreeSet<&str> = self
            .errors
            .iter()
            .map(|error| error.case.as_str())
            .collect();
        cases.len()
    }
}

/// Runs the cases.
pub fn run(
    arguments: &Arguments,
    cases: &[PathBuf],
    engines: &mut [Box<dyn Engine>],
    known: &Known,
) -> Result<Report, Failure> {
    let mut report = Report {
        cases: cases.len(),
        seed: arguments.seed,
        known: known
            .entries
            .iter()
            .map(|entry| KnownDivergence {
                engine: entry.engine.clone(),
                reason: entry.reason.clone(),
                source: entry.source.clone(),
                count: 0,
            })
            .collect(),
        ..Report::default()
    };
    let script = arguments
        .endpoints
        .as_deref()
        .map(Script::read)
        .transpose()?;
    let progress = progress(cases.len());
    for (index, folder) in cases.iter().enumerate() {
        if interrupt::requested() {
            progress.finish_and_clear();
            return Err(interrupted());
        }
        let name = folder.display().to_string();
        progress.set_message(name.clone());
        match Case::read_as(folder, &name, arguments.strict, arguments.profile.given()) {
            Ok(case) => {
                let script = script.as_ref();
                run_case(arguments, &case, script, engines, known, &mut report)?;
            }
            Err(error) => report.errors.push(CaseError {
                case: name,
                engine: None,
                message: error.to_string(),
            }),
        }
        progress.inc(1);
        if arguments.fail_fast && report.diverges() {
            report.left_out = cases.len() - index - 1;
            break;
        }
    }
    progress.finish_and_clear();
    Ok(report)
}

fn progress(cases: usize) -> ProgressBar {
    // Hidden by itself where standard error is no terminal.
    let bar = ProgressBar::with_draw_target(Some(cases as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} cases  {msg}") {
        bar.set_style(style);
    }
    bar
}

fn run_case(
    arguments: &Arguments,
    case: &Case,
    script: Option<&Script>,
    engines: &mut [Box<dyn Engine>],
    known: &Known,
    report: &mut Report,
) -> Result<(), Failure> {
    let question = Question {
        snapshot: case.snapshot.clone(),
        requests: &case.requests,
        // What was recorded had other endpoints than those of the command line.
        recorded: case.recorded.as_deref().filter(|_| script.is_none()),
        comparison: &case.comparison,
        schedule: case.schedule.as_ref(),
        endpoints: script.or(case.endpoints.as_ref()),
        seed: arguments.seed,
    };
    let mut reference: Option<Run> = None;
    let first_row = report.rows.len();
    for place in 0..engines.len() {
        // The reference goes first, and may be asked again while another engine diverges.
        let (before, rest) = engines.split_at_mut(place);
        let Some((engine, after)) = rest.split_first_mut() else {
            break;
        };
        let name = engine.name();
        let error = |message: String| CaseError {
            case: case.name.clone(),
            engine: Some(name),
            message,
        };
        let mut observed = Observed::default();
        let run = match observed::put(arguments, &question, engine.as_mut(), &mut observed) {
            Ok(run) => run,
            Err(Failure(_)) if interrupt::requested() => return Err(interrupted()),
            Err(Failure(message)) => {
                report.errors.push(error(message));
                continue;
            }
        };
        let against: Vec<&'static str> = question
            .recorded
            .map(|_| "recorded")
            .into_iter()
            .chain(reference.as_ref().map(|_| REFERENCE))
            .collect();
        // The reference itself is not compared where nothing was recorded: the others are, with it.
        let is_reference = name == REFERENCE && !after.is_empty();
        if against.is_empty() && !is_reference {
            report.errors.push(error(
                format!("nothing to compare with: the case has no recorded.decisions.jsonl, and engine {REFERENCE} has not run before it"),
            ));
            continue;
        }
        let judged = match engine.strictness() {
            Strictness::Live => {
                // An equal part of what the run may err, for each of its cases.
                #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
                let level = FALSE_ALARM / report.cases.max(1) as f64;
                question.judge_live(&run, reference.as_ref(), level)
            }
            strictness => {
                let judged = question.judge(&run, strictness, reference.as_ref());
                judged.map(|verdicts| Compared {
                    verdicts,
                    tests: Vec::new(),
                })
            }
        };
        let Compared {
            mut verdicts,
            tests,
        } = match judged {
            Ok(compared) => compared,
            Err(inconsistent) => {
                report.errors.push(error(inconsistent.to_string()));
                continue;
            }
        };
        let known_here = take_known(known, &case.snapshot, name, &run, &mut verdicts);
        for index in &known_here {
            if let Some(known) = report.known.get_mut(*index) {
                known.count += 1;
            }
        }
        let mut row = Row {
            case: case.name.clone(),
            engine: name,
            counts: Counts::of(&verdicts, known_here.len(), !against.is_empty()),
            unsupported: reasons::of(
                &verdicts,
                &run.decisions,
                reference.as_ref().map(|run| run.decisions.as_slice()),
            ),
            against,
            elapsed: run.elapsed,
            details: Vec::new(),
            tests,
            observed,
        };
        if row.counts.divergences > 0 {
            let mut asked = before.first_mut().filter(|first| first.name() == REFERENCE);
            let compared = divergence::Compared {
                run: &run,
                reference: reference.as_ref(),
                verdicts: &verdicts,
                before: report.rows.get(first_row..).unwrap_or_default(),
            };
            row.observed.divergents = observed::divergents(
                arguments,
                case,
                &question,
                engine.as_mut(),
                asked
                    .as_mut()
                    .map(|first| first.as_mut() as &mut dyn Engine),
                &compared,
            )?;
            row.details = divergence::details(
                arguments,
                case,
                &question,
                engine.as_mut(),
                asked.map(|first| first.as_mut() as &mut dyn Engine),
                &compared,
            )?;
        }
        report.rows.push(row);
        if name == REFERENCE {
            reference = Some(run);
        }
    }
    let rows = report.rows.get_mut(first_row..).unwrap_or_default();
    observed::put_sites(arguments, case, rows);
    let seen = observed::case(arguments, case, &question, engines)?;
    report.seen.extend(seen);
    Ok(())
}

/// Takes the divergences that are known out of the verdicts; returns the entry of each.
fn take_known(
    known: &Known,
    snapshot: &twinmesh_xds::Snapshot,
    engine: &str,
    run: &Run,
    verdicts: &mut [Verdict],
) -> Vec<usize> {
    if !verdicts.iter().any(|it| matches!(it, Verdict::Diverges(_))) {
        return Vec::new();
    }
    let matcher = known.of(engine, snapshot);
    let mut found = Vec::new();
    for (verdict, decision) in verdicts.iter_mut().zip(&run.decisions) {
        if let Verdict::Diverges(divergence) = verdict
            && let Some(index) = matcher.matching(divergence, decision)
        {
            *verdict = Verdict::Agrees;
            found.push(index);
        }
    }
    found
}

impl Counts {
    /// What was compared with nothing agrees with nothing. Among the verdicts that agree are those
    /// of as many known divergences.
    fn of(verdicts: &[Verdict], known: usize, compared: bool) -> Self {
        let count = |wanted: fn(&Verdict) -> bool| verdicts.iter().filter(|it| wanted(it)).count();
        let agreements = count(|verdict| *verdict == Verdict::Agrees) - known;
        Self {
            requests: verdicts.len(),
            agreements: if compared { agreements } else { 0 },
            divergences: count(|verdict| matches!(verdict, Verdict::Diverges(_))),
            known,
            unsupported: count(|verdict| *verdict == Verdict::Unsupported),
        }
    }

    /// Adds another case's.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            agreements: self.agreements + other.agreements,
            divergences: self.divergences + other.divergences,
            known: self.known + other.known,
            unsupported: self.unsupported + other.unsupported,
        }
    }
}
