//! The threads that look, each at the next snapshot that nobody has looked at.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use twinmesh_generate::{bootstrap, tapes};

use super::bench::{Bench, Counts, Input};
use super::divergence::Divergence;
use super::{Arguments, shrink};
use crate::failure::Failure;
use crate::interrupt;
use crate::known::Known;

/// Of so many snapshots one has its traces compared.
const TRACED: u64 = 16;

/// A divergence, and how often its like was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The first one, shrunk.
    pub divergence: Divergence,
    /// How many inputs showed it.
    pub times: usize,
    /// Which snapshot showed it first.
    pub snapshot: u64,
    /// The case, or why there is none.
    pub case: Result<PathBuf, String>,
}

/// What a run found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The engines, the reference first.
    pub engines: Vec<String>,
    /// For each engine but the reference.
    pub counts: Vec<Counts>,
    /// Snapshots that were looked at.
    pub snapshots: u64,
    /// Of them, those whose traces were compared.
    pub traced: u64,
    /// Of them, those that the reader refuses.
    pub refused: u64,
    /// One for each cause.
    pub found: Vec<Found>,
    /// How long it took.
    pub elapsed: Duration,
    /// It was to go on.
    pub interrupted: bool,
}

/// What the threads share.
struct Shared<'a> {
    arguments: &'a Arguments,
    engines: &'a [String],
    known: &'a Known,
    next: AtomicU64,
    report: Mutex<Report>,
    started: Instant,
    progress: ProgressBar,
}

impl Shared<'_> {
    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the next snapshot; `None` where the run ends.
    fn next(&self) -> Option<u64> {
        if interrupt::requested() {
            self.report().interrupted = true;
            return None;
        }
        let over = self
            .arguments
            .time
            .is_some_and(|time| self.started.elapsed() >= *time);
        if over || self.report().found.len() >= self.arguments.causes {
            return None;
        }
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let last = self.arguments.snapshots;
        last.is_none_or(|last| next - self.arguments.first < last)
            .then_some(next)
    }
}

/// Looks for divergences until it is to end.
///
/// # Errors
/// An engine does not run here.
pub fn run(arguments: &Arguments, engines: &[String], known: &Known) -> Result<Report, Failure> {
    let jobs = arguments.jobs.map_or_else(
        || std::thread::available_parallelism().map_or(1, usize::from),
        usize::from,
    );
    let shared = Shared {
        arguments,
        engines,
        known,
        next: AtomicU64::new(arguments.first),
        report: Mutex::new(Report {
            engines: engines.to_vec(),
            ..Report::default()
        }),
        started: Instant::now(),
        progress: progress(),
    };
    let ended = std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..jobs).map(|_| scope.spawn(|| job(&shared))).collect();
        let ended = jobs.into_iter().map(|job| {
            job.join()
                .unwrap_or_else(|_| Err(Failure("a thread of the run panicked".to_owned())))
        });
        ended.collect::<Vec<_>>()
    });
    shared.progress.finish_and_clear();
    ended.into_iter().collect::<Result<(), Failure>>()?;
    let mut report = std::mem::take(&mut *shared.report());
    report.elapsed = shared.started.elapsed();
    Ok(report)
}

fn job(shared: &Shared<'_>) -> Result<(), Failure> {
    let bench = Bench::new(shared.engines).map_err(Failure)?;
    let bench = bench.knowing(shared.known.clone());
    let mut bench = bench.with_profile(shared.arguments.profile.profile());
    // Making it takes as long as generating from it.
    let inputs = (bootstrap(), tapes(shared.arguments.requests.get().into()));
    while let Some(number) = shared.next() {
        let mut tree = tree(shared.arguments.seed, number, &inputs)?;
        let traced = shared.arguments.trace || number.is_multiple_of(TRACED);
        let mut counts = Vec::new();
        let divergences = bench
            .look(&tree.current(), traced, &mut counts)
            .map_err(Failure)?;
        // An engine that was interrupted has failed, which is no finding.
        if interrupt::requested() {
            shared.report().interrupted = true;
            break;
        }
        note(shared, traced, divergences.is_none(), &counts);
        for divergence in divergences.into_iter().flatten() {
            if !is_known(shared, &divergence) {
                keep(shared, &mut bench, &mut tree, number, &divergence);
            }
        }
    }
    Ok(())
}

fn note(shared: &Shared<'_>, traced: bool, refused: bool, counts: &[Counts]) {
    let mut report = shared.report();
    report.snapshots += 1;
    report.refused += u64::from(refused);
    report.traced += u64::from(traced && !refused);
    let engines = report.counts.len().max(counts.len());
    report.counts.resize_with(engines, Counts::default);
    for (all, counts) in report.counts.iter_mut().zip(counts) {
        all.add(counts);
    }
    let decisions: usize = report.counts.iter().map(|counts| counts.requests).sum();
    shared.progress.set_message(format!(
        "{} snapshots, {} decisions compared, {} causes",
        HumanCount(report.snapshots),
        HumanCount(decisions as u64),
        report.found.len()
    ));
    shared.progress.tick();
}

/// Counts it where its like was found before.
fn is_known(shared: &Shared<'_>, divergence: &Divergence) -> bool {
    let mut report = shared.report();
    let mut found = report.found.iter_mut();
    let known = found.find(|found| found.divergence.is_like(divergence));
    known.map(|known| known.times += 1).is_some()
}

fn keep(
    shared: &Shared<'_>,
    bench: &mut Bench,
    tree: &mut impl ValueTree<Value = Input>,
    number: u64,
    first: &Divergence,
) {
    let (input, divergence) = shrink::shrink(bench, tree, first);
    if is_known(shared, &divergence) {
        return;
    }
    let seed = shared.arguments.seed;
    let origin = format!("snapshot {number} of seed {seed}, shrunk");
    let profile = bench.profile();
    let case = shrink::write(
        &shared.arguments.cases,
        &input,
        &divergence,
        &origin,
        profile,
    )
    .map_err(|failure| failure.to_string());
    shared.report().found.push(Found {
        divergence,
        times: 1,
        snapshot: number,
        case,
    });
}

/// The choices of one snapshot and its traffic: the same for the same numbers, whatever else is
/// looked at.
fn tree<S: Strategy<Value = Input>>(
    seed: u64,
    number: u64,
    inputs: &S,
) -> Result<S::Tree, Failure> {
    let mut bytes = [0; 32];
    let numbers = seed.to_le_bytes().into_iter().chain(number.to_le_bytes());
    bytes
        .iter_mut()
        .zip(numbers)
        .for_each(|(to, from)| *to = from);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    inputs
        .new_tree(&mut runner)
        .map_err(|reason| Failure(format!("no snapshot could be generated: {reason}")))
}

fn progress() -> ProgressBar {
    // Hidden by itself where standard error is no terminal.
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed}  {msg}") {
        bar.set_style(style);
    }
    bar
}
