//! `twinmesh coverage`: what of a snapshot traffic reaches.

mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use twinmesh_engine::format::traffic;
use twinmesh_engine::{Engine, Outcome, Replay, Request};
use twinmesh_xds::Snapshot;

use crate::failure::{Failure, Status};
use crate::output::{self, Output, Style};
use crate::profile::ProfileArgument;
use crate::reach::{Brief, Catalogue, Filter, Goal, Observer, RouteAt};
use crate::{engines, input, start};

/// Tells what of a snapshot traffic reaches: routes, both sides of every matcher, clusters, weighted
/// ones too, endpoints.
///
/// A matcher accepts where its route takes a request, and it refuses where a request gets as far as
/// its route and it alone keeps the request from it. A route is reached where a request gets to its
/// action: that an HTTP filter answered every one that it matched is told apart. What this build does not
/// decide is not counted.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The snapshot, in any of the forms.
    #[arg(long, value_name = "FILE")]
    snapshot: PathBuf,
    /// The traffic; may be repeated. Balancers start anew with each file.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    traffic: Vec<PathBuf>,
    /// The engine that decides: spec, sim.
    #[arg(long, value_name = "NAME", default_value = engines::DEFAULT)]
    engine: String,
    /// What the random numbers are drawn from that requests don't give.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Exit with 1 where less is reached of what there is, over all kinds; an error where there is
    /// nothing to reach.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    fail_under: Option<f64>,
    /// Leave out what is reached.
    #[arg(long)]
    only_missing: bool,
    /// Write the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    profile: ProfileArgument,
    /// Refuse a snapshot in which anything is not known or not decided.
    #[arg(long)]
    strict: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| format!("expected a number from 0 to 100, found `{text}`"))?;
    if (0.0..=100.0).contains(&number) {
        Ok(number)
    } else {
        Err(format!("expected a number from 0 to 100, found `{text}`"))
    }
}

/// What traffic reaches.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    /// All there is to reach.
    pub catalogue: Catalogue,
    /// What is reached.
    pub reached: BTreeSet<Goal>,
    /// Routes that are matched, and the HTTP filter that answered before their action.
    pub answered: BTreeMap<RouteAt, Filter>,
    /// How many requests there were.
    pub requests: usize,
    /// How many of them the engine did not decide.
    pub undecided: usize,
}

impl Coverage {
    /// The HTTP filter that answered every request that the route matched.
    pub fn answered(&self, goal: &Goal) -> Option<Filter> {
        match goal {
            Goal::Route(at) if !self.reached.contains(goal) => self.answered.get(at).copied(),
            _ => None,
        }
    }

    /// Reached, and all that could be, of the goals that fit.
    pub fn count(&self, fits: impl Fn(&Goal) -> bool) -> (usize, usize) {
        let goals = self.catalogue.goals.iter();
        let decided = goals.filter(|goal| fits(goal) && !self.is_undecided(goal));
        let (mut reached, mut all) = (0, 0);
        for goal in decided {
            all += 1;
            reached += usize::from(self.reached.contains(goal));
        }
        (reached, all)
    }

    /// Whether this build cannot tell if the goal is reached.
    pub fn is_undecided(&self, goal: &Goal) -> bool {
        self.catalogue.undecided.contains_key(goal)
    }

    /// What is reached of all that could be, from 0 to 100; 100 where there is nothing.
    pub fn percent(&self) -> f64 {
        match self.count(|_| true) {
            (_, 0) => 100.0,
            (reached, all) => reached as f64 * 100.0 / all as f64,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// An input is wrong, or standard output does not take the report.
pub fn run(arguments: &Arguments, style: Style) -> Result<Status, Failure> {
    let snapshot = Arc::new(input::snapshot(
        &arguments.snapshot,
        arguments.strict,
        arguments.profile.profile(),
    )?);
    let mut files = Vec::new();
    for file in &arguments.traffic {
        let requests = traffic::read(file)?;
        start::check(file, &requests, &snapshot, None)?;
        files.push(requests);
    }
    let coverage = measure(&snapshot, &files, &arguments.engine, arguments.seed)?;
    let mut output = Output::stdout();
    if arguments.json {
        let text = report::json(&snapshot, &coverage, arguments)?;
        output.data(text)?;
    } else {
        for line in report::lines(&snapshot, &coverage, arguments.only_missing, style) {
            output.line(line)?;
        }
    }
    output.finish()?;
    let Some(least) = arguments.fail_under else {
        return Ok(Status::Agreement);
    };
    let (reached, all) = coverage.count(|_| true);
    if all == 0 {
        return Err(Failure(format!(
            "{}: there is nothing to reach that is decided here, so that --fail-under {least} says nothing",
            arguments.snapshot.display()
        )));
    }
    let percent = coverage.percent();
    if percent >= least {
        return Ok(Status::Agreement);
    }
    output::note(format!(
        "{reached} of {all} are reached, {} %: less than the {least} % of --fail-under",
        told(percent, least)
    ));
    Ok(Status::Divergence)
}

/// A percentage that is less than another, with as many digits as it takes to see that.
fn told(percent: f64, least: f64) -> String {
    let rounded = |digits: usize| format!("{percent:.digits$}");
    let is_less = |text: &String| text.parse().is_ok_and(|it: f64| it < least);
    let digits = (1..15).map(rounded).find(is_less);
    digits.unwrap_or_else(|| percent.to_string())
}

/// Measures what sequences of requests reach, each with balancers that start anew.
///
/// # Errors
/// There is no such engine, or it fails.
pub fn measure(
    snapshot: &Arc<Snapshot>,
    files: &[Vec<Request>],
    engine: &str,
    seed: u64,
) -> Result<Coverage, Failure> {
    let matchers = Observer::matchers(snapshot)?;
    let mut observer = Observer::new(snapshot, &matchers);
    let mut coverage = Coverage {
        catalogue: Catalogue::of(snapshot),
        ..Coverage::default()
    };
    for requests in files {
        let mut engine: Box<dyn Engine> = if engine == engines::DEFAULT {
            Box::new(Brief::default())
        } else {
            engines::make(engine).map_err(|reason| Failure(format!("engine {engine}: {reason}")))?
        };
        let replay = Replay {
            seed,
            trace: true,
            schedule: None,
            endpoints: None,
        };
        replay.run(engine.as_mut(), snapshot, requests, &mut |decided| {
            coverage.requests += 1;
            let outcome = decided.answer.decision.outcome;
            coverage.undecided += usize::from(outcome == Outcome::Unsupported);
            observer.observe(decided.request, &decided.answer);
            ControlFlow::Continue(())
        })?;
    }
    coverage.reached.clone_from(observer.reached());
    coverage.answered.clone_from(observer.answered());
    Ok(coverage)
}
