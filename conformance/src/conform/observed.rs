//! What is looked at for the reports beside the table, and only where one was asked for.

use std::path::PathBuf;

use hdrhistogram::Histogram;
use twinmesh_engine::Engine;

use super::Arguments;
use super::coverage::{self, Coverage};
use super::divergence::Compared;
use super::divergent::{self, Divergent};
use super::run::Row;
use super::shares::{self, Split};
use crate::case::{self, Case};
use crate::failure::Failure;
use crate::judge::{Question, Run};

/// Decisions that take longer count as this long: a minute, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// What was seen of a case through an engine.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Every divergence.
    pub divergents: Vec<Divergent>,
    /// What single decisions took, in nanoseconds, with three digits.
    pub latencies: Option<Histogram<u64>>,
    /// The canary splits.
    pub splits: Vec<Split>,
    /// The endpoints of each cluster.
    pub endpoints: Vec<Split>,
}

/// What was seen of a case, whichever the engine.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The case.
    pub case: String,
    /// The snapshot's file.
    pub snapshot: PathBuf,
    /// The canary splits of what was recorded.
    pub splits: Vec<Split>,
    /// The endpoints of what was recorded.
    pub endpoints: Vec<Split>,
    /// The routes that were reached; `None` where no engine told.
    pub coverage: Option<Coverage>,
    /// Why the shares of endpoints are not told; empty where they are.
    pub no_endpoints: &'static str,
}

/// Whether some report points at places in snapshots.
fn points_at_places(arguments: &Arguments) -> bool {
    arguments.html.is_some() || arguments.junit.is_some() || arguments.sarif.is_some()
}

/// Puts the question to an engine, and counts for the HTML report what single decisions took and
/// what was chosen.
pub fn put(
    arguments: &Arguments,
    question: &Question<'_>,
    engine: &mut dyn Engine,
    observed: &mut Observed,
) -> Result<Run, Failure> {
    if arguments.html.is_none() {
        return question.put(engine, arguments.trace);
    }
    let mut latencies = Histogram::new_with_bounds(1, LONGEST, 3)
        .map_err(|error| Failure(format!("latencies cannot be counted: {error}")))?;
    let mut run = Run::default();
    question.watch(engine, false, &mut |decided| {
        let taken = u64::try_from(decided.elapsed.as_nanos()).unwrap_or(LONGEST);
        latencies.saturating_record(taken.max(1));
        run.elapsed += decided.elapsed;
        run.decisions.push(decided.answer.decision);
    })?;
    if arguments.trace {
        run.traces = question.put(engine, true)?.traces;
    }
    observed.latencies = Some(latencies);
    observed.splits = shares::splits(&question.snapshot, &run.decisions);
    if question.schedule.is_none() {
        observed.endpoints = shares::endpoints(&question.snapshot, &run.decisions);
    }
    Ok(run)
}

/// The divergences of an engine's run.
pub fn divergents(
    arguments: &Arguments,
    case: &Case,
    question: &Question<'_>,
    engine: &mut dyn Engine,
    reference: Option<&mut (dyn Engine + '_)>,
    compared: &Compared<'_>,
) -> Result<Vec<Divergent>, Failure> {
    if !points_at_places(arguments) {
        return Ok(Vec::new());
    }
    divergent::all(
        &case.folder,
        question,
        engine,
        reference,
        compared,
        arguments.html.is_some(),
    )
}

/// Looks up the places of a case's divergences in its snapshot.
pub fn put_sites(arguments: &Arguments, case: &Case, rows: &mut [Row]) {
    if points_at_places(arguments)
        && let Ok(file) = case::snapshot_file(&case.folder)
    {
        let divergents = rows.iter_mut().flat_map(|row| &mut row.observed.divergents);
        divergent::put_sites(&file, divergents);
    }
}

/// What the HTML report tells of a case besides the engines' runs.
pub fn case(
    arguments: &Arguments,
    case: &Case,
    question: &Question<'_>,
    engines: &mut [Box<dyn Engine>],
) -> Result<Option<Seen>, Failure> {
    if arguments.html.is_none() {
        return Ok(None);
    }
    let recorded = question.recorded.unwrap_or_default();
    let has_events = question.schedule.is_some();
    let coverage = match engines.first_mut() {
        Some(engine) => coverage::count(question, engine.as_mut()).ok(),
        None => None,
    };
    Ok(Some(Seen {
        case: case.name.clone(),
        snapshot: case::snapshot_file(&case.folder).unwrap_or_else(|_| case.folder.clone()),
        splits: shares::splits(&question.snapshot, recorded),
        endpoints: if has_events {
            Vec::new()
        } else {
            shares::endpoints(&question.snapshot, recorded)
        },
        coverage,
        no_endpoints: if has_events {
            "its endpoints change while requests arrive"
        } else {
            ""
        },
    }))
}
