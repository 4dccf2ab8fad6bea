//! `twinmesh kmesh`: which requests go elsewhere under Envoy's semantics than under Kmesh's, and why.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use twinmesh_engine::format::traffic;
use twinmesh_engine::{Decision, Outcome, Replay};
use twinmesh_kmesh::{Explained, Kmesh, Quirk};

use crate::comparison::{Field, Fields, outcome_name};
use crate::failure::{Failure, Status};
use crate::output::{Output, Style};
use crate::profile::ProfileArgument;
use crate::words::counted;
use crate::{input, interrupt, judge, start};

/// Tells which requests go elsewhere under Envoy's semantics than through Kmesh's kernel-native
/// mode, grouped by the quirk that makes the difference.
///
/// Kmesh's side is the engine `kmesh`, Envoy's is `spec`. The exit code is 1 where a request goes
/// elsewhere, or is sent otherwise.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The snapshot, in any of the forms.
    #[arg(long, value_name = "FILE")]
    snapshot: PathBuf,
    /// The requests, as JSON Lines.
    #[arg(long, value_name = "FILE")]
    traffic: PathBuf,
    /// What the random numbers are drawn from that requests don't give.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// What changes while the requests come: endpoints' health, endpoints, snapshots.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// How many requests of each quirk are shown; the rest are counted.
    #[arg(long, value_name = "N", default_value_t = 3)]
    show: usize,
    /// Write the report as JSON, with every request that differs.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    profile: ProfileArgument,
    /// Refuse a snapshot in which anything is not known or not decided.
    #[arg(long)]
    strict: bool,
}

/// Runs the command.
///
/// # Errors
/// An input is wrong, or standard output does not take the report.
pub fn run(arguments: &Arguments, style: Style) -> Result<Status, Failure> {
    let profile = arguments
        .profile
        .of_an_envoy("what Kmesh is compared with")?;
    let requests = traffic::read(&arguments.traffic)?;
    let snapshot = Arc::new(input::snapshot(
        &arguments.snapshot,
        arguments.strict,
        profile,
    )?);
    let schedule = match &arguments.events {
        Some(file) => Some(input::schedule(file, &snapshot, arguments.strict)?),
        None => None,
    };
    start::check(&arguments.traffic, &requests, &snapshot, schedule.as_ref())?;
    let replay = Replay {
        seed: arguments.seed,
        trace: false,
        schedule: schedule.as_ref(),
        endpoints: None,
    };
    let (mut engine, log) = Kmesh::explaining();
    let mut whole = true;
    replay.run(&mut engine, &snapshot, &requests, &mut |_| {
        whole = !interrupt::requested();
        if whole {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    if !whole {
        return Err(judge::interrupted());
    }
    let explained = log.take();
    let report = Report::of(&explained);
    let mut output = Output::stdout();
    if arguments.json {
        let text = serde_json::to_string_pretty(&report)
            .map_err(|error| Failure(format!("the report cannot be written as JSON: {error}")))?;
        output.data(text)?;
    } else {
        report.write(arguments.show, style, &mut output)?;
    }
    output.finish()?;
    Ok(if report.elsewhere + report.otherwise > 0 {
        Status::Divergence
    } else {
        Status::Agreement
    })
}

/// What there is to say.
#[derive(Serialize)]
struct Report<'a> {
    requests: usize,
    /// To another cluster or endpoint, or with another outcome.
    elsewhere: usize,
    /// To the same endpoint, but by another route, or rewritten otherwise.
    otherwise: usize,
    unsupported: usize,
    /// A request counts for each of its quirks.
    quirks: Vec<ByQuirk>,
    differing: Vec<Differing<'a>>,
}

#[derive(Serialize)]
struct ByQuirk {
    quirk: &'static str,
    about: &'static str,
    requests: usize,
}

#[derive(Serialize)]
struct Differing<'a> {
    id: &'a str,
    /// Where the request goes differs.
    elsewhere: bool,
    quirks: Vec<&'static str>,
    fields: Vec<&'static str>,
    kmesh: &'a Decision,
    envoy: &'a Decision,
}

/// Where a request goes.
const WHERE: [Field; 3] = [Field::Outcome, Field::Cluster, Field::Endpoint];

impl<'a> Report<'a> {
    fn of(explained: &'a [Explained]) -> Self {
        let headers = [
            Field::RequestHeaders,
            Field::ResponseHeaders,
            Field::Mirrors,
        ];
        let compared = Fields::EVERY
            .without(Field::NEVER_COMPARED)
            .without(Fields::from_iter(headers));
        let differing: Vec<Differing<'a>> = explained
            .iter()
            .filter(|one| one.differs())
            .map(|one| {
                let fields = compared.differing(&one.envoy, &one.kmesh);
                Differing {
                    id: &one.id,
                    elsewhere: WHERE.iter().any(|field| fields.contains(*field)),
                    quirks: one.quirks.iter().map(|quirk| quirk.name()).collect(),
                    fields: fields.iter().map(Field::name).collect(),
                    kmesh: &one.kmesh,
                    envoy: &one.envoy,
                }
            })
            .collect();
        let quirks = Quirk::ALL.into_iter().filter_map(|quirk| {
            let named = |one: &&Differing<'_>| one.quirks.contains(&quirk.name());
            let requests = differing.iter().filter(named).count();
            (requests > 0).then(|| ByQuirk {
                quirk: quirk.name(),
                about: quirk.about(),
                requests,
            })
        });
        let undecided = |one: &&Explained| one.kmesh.outcome == Outcome::Unsupported;
        let elsewhere = differing.iter().filter(|one| one.elsewhere).count();
        Self {
            requests: explained.len(),
            elsewhere,
            otherwise: differing.len() - elsewhere,
            unsupported: explained.iter().filter(undecided).count(),
            quirks: quirks.collect(),
            differing,
        }
    }

    fn write(&self, show: usize, style: Style, output: &mut Output) -> Result<(), Failure> {
        for by_quirk in &self.quirks {
            let heading = format!("{} × {}", by_quirk.requests, by_quirk.quirk);
            output.line(style.yellow(&heading))?;
            output.line(format!("  {}", by_quirk.about))?;
            let named = self.differing.iter();
            let named = named.filter(|one| one.quirks.contains(&by_quirk.quirk));
            for one in named.take(show) {
                output.line(format!("  {}", style.bold(one.id)))?;
                output.line(format!("    Kmesh: {}", destination(one.kmesh)))?;
                output.line(format!("    Envoy: {}", destination(one.envoy)))?;
            }
            let more = by_quirk.requests.saturating_sub(show);
            if more > 0 {
                output.line(format!("  and {more} more"))?;
            }
            output.line("")?;
        }
        let unexplained = self.differing.iter().filter(|one| one.quirks.is_empty());
        let unexplained = unexplained.count();
        if unexplained > 0 {
            output.line(style.red(&format!("{unexplained} differ by no quirk that is known")))?;
        }
        let text = format!(
            "{}: {} go elsewhere under Envoy's semantics, {} are sent otherwise, {} unsupported",
            counted(self.requests, "request"),
            self.elsewhere,
            self.otherwise,
            self.unsupported
        );
        output.line(if self.differing.is_empty() {
            style.green(&text)
        } else {
            style.red(&text)
        })
    }
}

/// Where a decision sends a request, in one line.
fn destination(decision: &Decision) -> String {
    let mut text = outcome_name(decision.outcome).to_owned();
    for field in [
        Field::VirtualHost,
        Field::Route,
        Field::Cluster,
        Field::Endpoint,
        Field::Location,
        Field::Path,
        Field::Authority,
    ] {
        if let Some(value) = field.value(decision) {
            text.push_str(&format!(", {} {value}", field.name()));
        }
    }
    text
}
