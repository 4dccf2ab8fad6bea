//! `twinmesh conform`: every case through every engine.

mod coverage;
mod details;
mod divergence;
mod divergent;
mod grouping;
mod html;
mod json;
mod junit;
mod observed;
mod reasons;
mod run;
mod sarif;
mod shard;
mod shares;
mod table;
mod wilson;

use std::path::PathBuf;

use clap::Args;

use crate::case;
use crate::engines;
use crate::failure::{Failure, Status};
use crate::known::Known;
use crate::output::{self, Output, Style};
use crate::profile::ProfileArgument;
use crate::words::counted;

pub use run::{Counts, Detail, FALSE_ALARM, KnownDivergence, NotRun, Report, Row};
pub use shard::Shard;
pub use table::rate;

/// Replays cases through the engines and compares their decisions.
///
/// A case is a folder with case.toml, config_dump.json (or another snapshot form),
/// requests.traffic.jsonl and, where an Envoy was recorded, recorded.decisions.jsonl; folders are
/// searched for cases. Each engine is compared with what was recorded, as case.toml says, and with
/// `spec` where that runs too: in every field, and with --trace in every step. A request that an
/// engine says it cannot decide is counted as unsupported, neither as agreement nor as divergence.
///
/// The engine `envoy` is a real Envoy on loopback: $ENVOY, or one that `ci/setup` installed. It runs
/// only where --engines names it, and is compared as far as the snapshot leaves no choice: what is
/// drawn at random by its shares, where a balancer only starts somewhere up to that.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Case folders, or folders of case folders.
    #[arg(required = true, value_name = "CASE")]
    pub cases: Vec<PathBuf>,
    /// The engines to run, comma-separated; where one of them cannot run, the command fails (exit
    /// code 2). Unless given, all that this machine can run, without `envoy`; those that it cannot
    /// are noted. `kmesh` (Kmesh's kernel-native mode, quirks included) runs only where it is named.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub engines: Vec<String>,
    /// Engines that must run: where one cannot, the command fails (exit code 2). TWINMESH_REQUIRE_KERNEL
    /// set to 1 requires `kernel`.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub require_engines: Vec<String>,
    /// Refuse snapshots in which anything is not known or not decided.
    #[arg(long)]
    pub strict: bool,
    /// A profile takes the place of the cases' own: what was recorded under another is not compared.
    #[command(flatten)]
    pub profile: ProfileArgument,
    /// What endpoints do with the requests of every case, in the place of the cases' own scripts:
    /// engines are compared with one another then, and with no recording.
    #[arg(long, value_name = "FILE")]
    pub endpoints: Option<PathBuf>,
    /// What the random numbers are drawn from that requests don't give.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Compare every step of every decision too, not only decisions.
    #[arg(long)]
    pub trace: bool,
    /// Say why requests are unsupported, for each engine.
    #[arg(long)]
    pub reasons: bool,
    /// Fail (exit code 1) where an engine leaves a request undecided, and say why it does.
    #[arg(long)]
    pub fail_unsupported: bool,
    /// Stop after the first case that diverges.
    #[arg(long)]
    pub fail_fast: bool,
    /// Run only the i-th of n equal parts of the cases, i from 1.
    #[arg(long, value_name = "i/n")]
    pub shard: Option<Shard>,
    /// Write the report to standard output as JSON instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Write a JUnit report to this file too.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write the divergences to this file too, as SARIF 2.1.0 for code scanning: each at the field of
    /// the snapshot that it turns on.
    #[arg(long, value_name = "FILE")]
    pub sarif: Option<PathBuf>,
    /// Write a report to look at to this file too, as one HTML page that needs nothing else: all
    /// divergences with their traces, shares, latencies, and the routes that were reached. Decides
    /// everything twice, timed and with traces.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Where minimal reproducers are written, each as a case folder: one for each case and engine
    /// that diverge, of the first divergence.
    #[arg(long, value_name = "DIR", default_value = "twinmesh-reproducers")]
    pub reproducers: PathBuf,
    /// Write no reproducers.
    #[arg(long, conflicts_with = "reproducers")]
    pub no_reproducers: bool,
    /// The divergences that are known beforehand, which are counted apart: a file like
    /// conformance/known-divergences.toml, which is used unless one is given.
    #[arg(long, value_name = "FILE")]
    pub known: Option<PathBuf>,
    /// Fail (exit code 2) where a known divergence of an engine that ran was not found in any case.
    #[arg(long)]
    pub all_known: bool,
    /// How many divergences of each case and engine are printed; the rest are counted.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub show: usize,
}

/// Runs the command.
///
/// # Errors
/// A case cannot be read, an engine that must run does not, or a report cannot be written.
pub fn run(arguments: &Arguments, style: Style) -> Result<Status, Failure> {
    arguments.profile.fits(&arguments.engines)?;
    for report in [&arguments.junit, &arguments.sarif, &arguments.html] {
        output::has_folder(report.as_deref())?;
    }
    let required = required(arguments);
    for name in arguments.engines.iter().chain(&required) {
        if !engines::is_known(name) {
            return Err(Failure(engines::unknown(name)));
        }
    }
    let known = Known::read(arguments.known.as_deref())?;
    let found = case::find(&arguments.cases)?;
    let all = found.len();
    let cases = match arguments.shard {
        Some(shard) => shard.part(found),
        None => found,
    };
    if let (Some(shard), true) = (arguments.shard, cases.is_empty()) {
        let there = match all {
            1 => "there is 1 case".to_owned(),
            _ => format!("there are {all} cases"),
        };
        let Shard { index, count } = shard;
        output::note(format!("shard {index}/{count} is empty: {there}"));
    }
    let (mut engines, not_run) = engines_to_run(arguments);
    let must_run = |missing: &&NotRun| required.contains(&missing.engine);
    let missing = |missing: &NotRun| {
        format!(
            "engine {} must run and does not: {}",
            missing.engine, missing.reason
        )
    };
    // Without an Envoy the others still say what they have to say.
    let mut absent = not_run.iter().filter(must_run);
    if let Some(engine) = absent.find(|it| it.engine != engines::LIVE || engines.is_empty()) {
        return Err(Failure(missing(engine)));
    }
    if engines.is_empty() {
        let reasons: Vec<String> = not_run.iter().map(ToString::to_string).collect();
        return Err(Failure(format!(
            "no engine runs here: {}",
            reasons.join("; ")
        )));
    }
    let mut report = run::run(arguments, &cases, &mut engines, &known)?;
    let missing: Vec<String> = not_run.iter().filter(must_run).map(missing).collect();
    report.not_run = not_run;
    // The report that everybody reads goes out even where the others are not taken.
    let others = write_files(arguments, &report);
    let mut output = Output::stdout();
    if arguments.json {
        output.data(json::write(&report)?)?;
    } else {
        table::write(&report, arguments.show, style, &mut output)?;
        if arguments.reasons || arguments.fail_unsupported {
            for line in reasons::lines(&report) {
                output.line(line)?;
            }
        }
    }
    output.finish()?;
    others?;
    if let Some(missing) = missing.first() {
        return Err(Failure(missing.clone()));
    }
    if arguments.all_known {
        all_found(&report, &known)?;
    }
    match report.errors.as_slice() {
        [] if report.diverges() => Ok(Status::Divergence),
        [] if arguments.fail_unsupported && report.leaves_some() => Ok(Status::Divergence),
        [] => Ok(Status::Agreement),
        errors => Err(Failure(format!(
            "{} of {} could not be compared in full:\n{}",
            report.failed_cases(),
            counted(cases.len(), "case"),
            errors
                .iter()
                .map(|error| format!("  {error}"))
                .collect::<Vec<String>>()
                .join("\n")
        ))),
    }
}

/// Fails where a known divergence was not found though its engine ran.
fn all_found(report: &Report, known: &Known) -> Result<(), Failure> {
    let ran = |engine: &str| report.rows.iter().any(|row| row.engine == engine);
    let unused: Vec<String> = report
        .known
        .iter()
        .enumerate()
        .filter(|(_, known)| known.count == 0 && ran(&known.engine))
        .map(|(index, known)| format!("  known[{index}], of {}: {}", known.engine, known.reason))
        .collect();
    if unused.is_empty() {
        return Ok(());
    }
    Err(Failure(format!(
        "{}: of these known divergences none was found in {}:\n{}",
        known.file().display(),
        counted(report.cases - report.left_out, "case"),
        unused.join("\n")
    )))
}

/// The reports that go into files; one that is not taken keeps no other back.
fn write_files(arguments: &Arguments, report: &Report) -> Result<(), Failure> {
    type Write = fn(&Report) -> Result<String, Failure>;
    let files: [(&Option<PathBuf>, Write); 3] = [
        (&arguments.junit, junit::write),
        (&arguments.sarif, sarif::write),
        (&arguments.html, html::write),
    ];
    let mut all = Ok(());
    for (file, write) in files {
        let Some(file) = file else { continue };
        let written = write(report).and_then(|text| output::file(file, text.as_bytes()));
        all = all.and(written);
    }
    all
}

/// The engines that must run.
fn required(arguments: &Arguments) -> Vec<String> {
    let mut required = arguments.require_engines.clone();
    required.extend(arguments.engines.iter().cloned());
    let kernel = std::env::var_os("TWINMESH_REQUIRE_KERNEL");
    if kernel.is_some_and(|value| !value.is_empty() && value != "0") {
        required.push("kernel".to_owned());
    }
    required
}

type Engines = Vec<Box<dyn twinmesh_engine::Engine>>;

fn engines_to_run(arguments: &Arguments) -> (Engines, Vec<NotRun>) {
    let mut run: Engines = Vec::new();
    let mut not_run = Vec::new();
    let asked = |name: &str| {
        if arguments.engines.is_empty() {
            return engines::NAMES.contains(&name) && name != engines::LIVE;
        }
        arguments.engines.iter().any(|asked| asked == name)
    };
    for name in engines::NAMES.into_iter().chain(engines::ONLY_BY_NAME) {
        if !asked(name) {
            // Nobody wonders about an engine that was left out by name, unless it must run.
            if required(arguments).iter().any(|required| required == name) {
                not_run.push(NotRun {
                    engine: name.to_owned(),
                    reason: "--engines leaves it out".to_owned(),
                });
            }
            continue;
        }
        match engines::make(name) {
            Ok(engine) => run.push(engine),
            Err(reason) => not_run.push(NotRun {
                engine: name.to_owned(),
                reason,
            }),
        }
    }
    (run, not_run)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Call {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn an_engine_named_outright_must_run() {
        let required = |call: &[&str]| required(&Call::parse_from(call).arguments);
        let named = required(&["conform", "case", "--engines", "sim,kernel"]);
        assert!(named.contains(&"sim".to_owned()) && named.contains(&"kernel".to_owned()));
        assert!(!required(&["conform", "case"]).contains(&"sim".to_owned()));
    }
}
