//! `twinmesh replay`: a traffic file through one engine.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use hdrhistogram::Histogram;
use twinmesh_engine::format::{decisions, traffic};
use twinmesh_engine::{Decision, Replay};

use crate::comparison::outcome_name;
use crate::failure::{Failure, Status};
use crate::output::{self, Output, printable};
use crate::profile::ProfileArgument;
use crate::words::counted;
use crate::{engines, input, interrupt, script, start};

/// Decides the requests of a traffic file, in virtual time.
///
/// The decisions go to standard output as JSON Lines, one for each request in the same order; a
/// summary goes to standard error. docs/formats.md describes the files.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The snapshot, in any of the forms.
    #[arg(long, value_name = "FILE")]
    snapshot: PathBuf,
    /// The requests, as JSON Lines.
    #[arg(long, value_name = "FILE")]
    traffic: PathBuf,
    /// Which engine decides: spec, sim, bpf-vm, kernel, envoy or kmesh.
    #[arg(long, value_name = "NAME", default_value = engines::DEFAULT)]
    engine: String,
    /// What the random numbers are drawn from that requests don't give.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// What changes while the requests come: endpoints' health, endpoints, snapshots.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// What endpoints do with the requests that reach them: latencies, statuses, resets, outages.
    /// Timeouts and retries are decided then.
    #[arg(long, value_name = "FILE")]
    endpoints: Option<PathBuf>,
    #[command(flatten)]
    profile: ProfileArgument,
    /// Refuse a snapshot in which anything is not known or not decided.
    #[arg(long)]
    strict: bool,
}

/// Runs the command.
///
/// # Errors
/// An input is wrong, the engine does not run, or standard output does not take the decisions.
pub fn run(arguments: &Arguments) -> Result<Status, Failure> {
    arguments
        .profile
        .fits(std::slice::from_ref(&arguments.engine))?;
    let mut engine = engines::make(&arguments.engine)
        .map_err(|reason| Failure(format!("engine {}: {reason}", arguments.engine)))?;
    let requests = traffic::read(&arguments.traffic)?;
    let snapshot = Arc::new(input::snapshot(
        &arguments.snapshot,
        arguments.strict,
        arguments.profile.profile(),
    )?);
    let schedule = match &arguments.events {
        Some(file) => Some(input::schedule(file, &snapshot, arguments.strict)?),
        None => None,
    };
    let snapshots = script::snapshots(&snapshot, schedule.as_ref());
    let endpoints = arguments.endpoints.as_deref();
    let endpoints = endpoints.map(|file| script::read(file, &snapshots));
    let endpoints = endpoints.transpose()?;
    start::check(&arguments.traffic, &requests, &snapshot, schedule.as_ref())?;
    let replay = Replay {
        seed: arguments.seed,
        trace: false,
        schedule: schedule.as_ref(),
        endpoints: endpoints.as_ref(),
    };
    let mut output = Output::stdout();
    let mut summary = Summary::new()?;
    let mut stopped = None;
    let applied = replay.run(engine.as_mut(), &snapshot, &requests, &mut |decided| {
        if interrupt::requested() {
            stopped = Some(Failure(format!(
                "interrupted after {} of {} requests: what was written is not whole",
                decided.index,
                requests.len()
            )));
            return ControlFlow::Break(());
        }
        summary.count(&decided.answer.decision, decided.elapsed);
        match decisions::write(&decided.answer.decision, &mut output) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                stopped = Some(output::not_taken(error));
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(failure) = stopped {
        return Err(failure);
    }
    output.finish()?;
    output::note(summary.text(engine.name()));
    if let Some(schedule) = schedule {
        output::note(format!(
            "{applied} of {} came before the last request",
            counted(schedule.len(), "event")
        ));
    }
    Ok(Status::Agreement)
}

/// Latencies are told apart up to here; in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// Counts and latencies of a run.
struct Summary {
    outcomes: BTreeMap<&'static str, u64>,
    routes: BTreeMap<String, u64>,
    clusters: BTreeMap<String, u64>,
    endpoints: BTreeMap<String, u64>,
    /// In nanoseconds, with three digits, up to [`LONGEST`].
    latencies: Histogram<u64>,
    elapsed: Duration,
}

impl Summary {
    fn new() -> Result<Self, Failure> {
        let latencies = Histogram::new_with_bounds(1, LONGEST, 3)
            .map_err(|error| Failure(format!("latencies cannot be counted: {error}")))?;
        Ok(Self {
            outcomes: BTreeMap::new(),
            routes: BTreeMap::new(),
            clusters: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            latencies,
            elapsed: Duration::ZERO,
        })
    }

    fn count(&mut self, decision: &Decision, elapsed: Duration) {
        *self
            .outcomes
            .entry(outcome_name(decision.outcome))
            .or_default() += 1;
        if let Some(route) = &decision.route {
            let virtual_host = decision.virtual_host.as_deref().unwrap_or("");
            add(&mut self.routes, &format!("{virtual_host} / {route}"));
        }
        if let Some(cluster) = &decision.cluster {
            add(&mut self.clusters, cluster);
            if let Some(endpoint) = &decision.endpoint {
                add(&mut self.endpoints, &format!("{cluster} / {endpoint}"));
            }
        }
        self.elapsed += elapsed;
        let nanoseconds = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(nanoseconds);
    }

    fn text(&self, engine: &str) -> String {
        let requests = usize::try_from(self.latencies.len()).unwrap_or(usize::MAX);
        let mut lines = vec![format!("{} through {engine}", counted(requests, "request"))];
        let outcomes = self.outcomes.iter();
        let outcomes: Vec<String> = outcomes
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        if !outcomes.is_empty() {
            lines.push(format!("outcomes: {}", outcomes.join(", ")));
        }
        for (title, counts) in [
            ("requests per route (virtual host / route)", &self.routes),
            ("requests per cluster", &self.clusters),
            (
                "requests per endpoint (cluster / endpoint)",
                &self.endpoints,
            ),
        ] {
            if counts.is_empty() {
                continue;
            }
            lines.push(format!("{title}:"));
            let mut sorted: Vec<(&String, &u64)> = counts.iter().collect();
            sorted.sort_by(|one, other| other.1.cmp(one.1).then(one.0.cmp(other.0)));
            lines.extend(
                sorted
                    .into_iter()
                    .map(|(name, count)| format!("{count:>10}  {}", printable(name))),
            );
        }
        if requests > 0 {
            let at = |quantile: f64| microseconds(self.latencies.value_at_quantile(quantile));
            lines.push(format!(
                "{} decisions/s; latency in µs: p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
                crate::conform::rate(requests, self.elapsed),
                at(0.5),
                at(0.9),
                at(0.99),
                at(0.999),
                microseconds(self.latencies.max()),
            ));
        }
        lines.join("\n")
    }
}

fn add(counts: &mut BTreeMap<String, u64>, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => {
            counts.insert(name.to_owned(), 1);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for display, with one digit")]
fn microseconds(nanoseconds: u64) -> String {
    format!("{:.1}", nanoseconds as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_those_that_were_counted() {
        let decision = r#"{"id":"r","engine":"spec","outcome":"no_route"}"#;
        let decision: Decision = serde_json::from_str(decision).expect("a decision");
        let mut summary = Summary::new().expect("a summary");
        for _ in 0..99 {
            summary.count(&decision, Duration::from_micros(110));
        }
        summary.count(&decision, Duration::from_secs(2));
        let text = summary.text("spec");
        let p50 = text
            .split("p50 ")
            .nth(1)
            .and_then(|rest| rest.split(',').next());
        let p50: f64 = p50.expect("p50").parse().expect("a number");
        assert!((109.0..=111.0).contains(&p50), "{text}");
        let max = text.split("max ").nth(1).expect("max");
        let max: f64 = max.parse().expect("a number");
        assert!((1_990_000.0..=2_010_000.0).contains(&max), "{text}");
    }
}
