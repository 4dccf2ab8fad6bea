//! `twinmesh fuzz`: generated snapshots and traffic through every engine.

mod bench;
mod divergence;
mod report;
mod run;
mod shrink;

use std::num::{NonZeroU16, NonZeroUsize};
use std::path::PathBuf;

use clap::Args;

use crate::engines;
use crate::failure::{Failure, Status};
use crate::known::Known;
use crate::output::{Output, Style};
use crate::profile::ProfileArgument;

pub use bench::{Bench, Counts, Engines, Input};
pub use divergence::Divergence;
pub use run::{Found, Report};
pub use shrink::{shrink, write};

/// Generates snapshots, and traffic at the boundaries of their matchers, and compares what the
/// engines decide.
///
/// Each snapshot comes from the seed and its own number alone. A divergence is shrunk, and its case
/// is written once for each cause: engine, outcomes, the fields that differ and the first step in
/// which the traces part. Decisions are compared in every field; of every 16th snapshot, and with
/// --trace of all, every step is too. Ctrl-C ends the run with its report.
#[derive(Debug, Args)]
pub struct Arguments {
    /// How long to go on: 90s, 10m, 1h.
    #[arg(long, value_name = "DURATION", required_unless_present = "snapshots")]
    pub time: Option<humantime::Duration>,
    /// End after so many snapshots.
    #[arg(long, value_name = "N")]
    pub snapshots: Option<u64>,
    /// The engines, comma-separated; the others are compared with the first. Unless given, all that
    /// this machine can run but `envoy`; those that it cannot are noted.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub engines: Vec<String>,
    /// Whose rules decide.
    #[command(flatten)]
    pub profile: ProfileArgument,
    /// What snapshots and traffic are generated from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// The number of the first snapshot: with `--snapshots 1` one is looked at again.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub first: u64,
    /// Requests for each snapshot, at most; at least half as many.
    #[arg(long, value_name = "N", default_value = "500")]
    pub requests: NonZeroU16,
    /// Compare every step of every decision.
    #[arg(long)]
    pub trace: bool,
    /// Threads; unless given, one for each processor.
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    /// End once so many causes are found.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub causes: usize,
    /// The divergences that are known beforehand, which are counted and not reported: a file like
    /// conformance/known-divergences.toml, which is used unless one is given.
    #[arg(long, value_name = "FILE")]
    pub known: Option<PathBuf>,
    /// Where the cases of divergences are written.
    #[arg(long, value_name = "DIR", default_value = "twinmesh-fuzz")]
    pub cases: PathBuf,
    /// Write the report to standard output as JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// An engine that is named does not run here, there are not two, or the report is not taken.
pub fn run(arguments: &Arguments, style: Style) -> Result<Status, Failure> {
    arguments.profile.fits(&arguments.engines)?;
    let (engines, not_run) = engines_to_run(arguments)?;
    let known = Known::read(arguments.known.as_deref())?;
    let report = run::run(arguments, &engines, &known)?;
    let mut output = Output::stdout();
    if arguments.json {
        output.data(report::json(arguments, &report, &not_run)?)?;
    } else {
        report::write(arguments, &report, &not_run, style, &mut output)?;
    }
    output.finish()?;
    if report.found.is_empty() {
        Ok(Status::Agreement)
    } else {
        Ok(Status::Divergence)
    }
}

/// The engines that run, and of each other one why not.
fn engines_to_run(arguments: &Arguments) -> Result<(Vec<String>, Vec<String>), Failure> {
    if !arguments.engines.is_empty() {
        return Ok((arguments.engines.clone(), Vec::new()));
    }
    let (mut run, mut not_run) = (Vec::new(), Vec::new());
    for name in engines::NAMES {
        // A server for each snapshot takes its time: only where it is asked for.
        if name == engines::LIVE {
            continue;
        }
        match engines::make(name) {
            Ok(_) => run.push(name.to_owned()),
            Err(reason) => not_run.push(format!("{name} did not run: {reason}")),
        }
    }
    Ok((run, not_run))
}
