//! `twinmesh diff`: which requests two snapshots decide differently, and which change is why.

mod changes;
mod compare;
mod pairs;
mod report;
mod scripted;
mod values;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use twinmesh_engine::format::{endpoints::Script, traffic};
use twinmesh_engine::{Engine as _, Outcome, Request, random};
use twinmesh_xds::Snapshot;

use crate::failure::{Failure, Status};
use crate::output::{Output, Style};
use crate::profile::ProfileArgument;
use crate::reach::Brief;
use crate::{generate, input, start};

use changes::Changes;
use compare::{Comparison, Decided};

/// Tells which requests two snapshots decide differently, grouped by the changed fields that are
/// why, and which changes move no request.
///
/// Without --traffic the requests are those that `generate` makes for either snapshot. Decisions are
/// compared from the listener to the cluster, with redirects, replies and rewrites; of the choice of
/// an endpoint only what it is made from: the cluster's endpoints with their weights, priorities and
/// health, and its balancer. Both snapshots have the same random numbers.
///
/// Exit codes: 0 nothing is decided differently, 1 something is, 2 the input or the call is wrong.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The snapshot before, in any of the forms.
    #[arg(value_name = "A")]
    first: PathBuf,
    /// The snapshot after.
    #[arg(value_name = "B")]
    second: PathBuf,
    /// Requests to decide; may be repeated.
    #[arg(long, value_name = "FILE")]
    traffic: Vec<PathBuf>,
    /// What endpoints do with the requests that reach them. What becomes of them is compared then,
    /// too: attempts, response flags, and how long it takes.
    #[arg(long, value_name = "FILE", requires = "traffic")]
    endpoints: Option<PathBuf>,
    /// What the random numbers are drawn from that requests don't give.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Write the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    profile: ProfileArgument,
    /// Refuse a snapshot in which anything is not known or not decided.
    #[arg(long)]
    strict: bool,
}

/// Requests that are decided differently for one reason.
#[derive(Debug, Clone)]
struct Group {
    /// Indices of the changes.
    causes: BTreeSet<usize>,
    /// The fields of the decisions that differ in any of them.
    fields: BTreeSet<&'static str>,
    requests: usize,
    example: Request,
    first: Decided,
    second: Decided,
}

/// What two snapshots make of requests.
#[derive(Debug, Default)]
struct Difference {
    requests: usize,
    groups: Vec<Group>,
    changes: Changes,
    /// Requests that one of the two does not decide here, or whose start it does not have.
    undecided: usize,
}

impl Difference {
    fn moved(&self) -> usize {
        self.groups.iter().map(|group| group.requests).sum()
    }

    /// The changes that move no request.
    fn without_effect(&self) -> Vec<usize> {
        let used: HashSet<usize> = self
            .groups
            .iter()
            .flat_map(|group| group.causes.iter().copied())
            .collect();
        let all = 0..self.changes.all.len();
        all.filter(|index| !used.contains(index)).collect()
    }
}

/// Runs the command.
///
/// # Errors
/// An input is wrong, or standard output does not take the report.
pub fn run(arguments: &Arguments, style: Style) -> Result<Status, Failure> {
    let first = Arc::new(input::snapshot(
        &arguments.first,
        arguments.strict,
        arguments.profile.profile(),
    )?);
    let second = Arc::new(input::snapshot(
        &arguments.second,
        arguments.strict,
        arguments.profile.profile(),
    )?);
    let requests = if arguments.traffic.is_empty() {
        generated(&first, &second)?
    } else {
        captured(arguments, &first, &second)?
    };
    let script = arguments.endpoints.as_deref().map(Script::read);
    let script = script.transpose()?;
    let difference = difference(&first, &second, requests, script.as_ref(), arguments.seed)?;
    let mut output = Output::stdout();
    if arguments.json {
        output.line(report::json(&difference, arguments)?)?;
    } else {
        for line in report::lines(&difference, style) {
            output.line(line)?;
        }
    }
    output.finish()?;
    Ok(if difference.groups.is_empty() {
        Status::Agreement
    } else {
        Status::Divergence
    })
}

/// The requests of the files: each must start somewhere in one of the snapshots.
fn captured(
    arguments: &Arguments,
    first: &Snapshot,
    second: &Snapshot,
) -> Result<Vec<Request>, Failure> {
    let mut all = Vec::new();
    for file in &arguments.traffic {
        let requests = traffic::read(file)?;
        if let Err(unclear) = start::check(file, &requests, first, None)
            && start::check(file, &requests, second, None).is_err()
        {
            return Err(unclear.into());
        }
        all.extend(requests);
    }
    Ok(all)
}

/// The requests that reach everything in either snapshot.
fn generated(first: &Arc<Snapshot>, second: &Arc<Snapshot>) -> Result<Vec<Request>, Failure> {
    let (first_made, second_made) = std::thread::scope(|scope| {
        let second = scope.spawn(|| generate::generate(second, true));
        let first = generate::generate(first, true);
        (first, second.join())
    });
    let panicked = |_| Failure("a thread that generates requests panicked".to_owned());
    let second_made = second_made.map_err(panicked)??;
    let mut all = first_made?.requests;
    let mut known: HashSet<Vec<u8>> = all.iter().map(generate::key).collect();
    let ids: HashSet<String> = all.iter().map(|request| request.id.clone()).collect();
    for mut request in second_made.requests {
        if known.insert(generate::key(&request)) {
            if ids.contains(&request.id) {
                request.id.push_str(", in the second");
            }
            all.push(request);
        }
    }
    let only = |snapshot: &Snapshot| {
        snapshot.listeners.is_empty() && snapshot.route_configurations.len() == 1
    };
    if only(first) && only(second) {
        // Each has but one, which may be called otherwise.
        all.iter_mut()
            .for_each(|request| request.route_config = None);
    }
    Ok(all)
}

/// One snapshot's engine.
struct Side<'a> {
    engine: Brief,
    configurations: HashSet<&'a str>,
}

impl<'a> Side<'a> {
    fn new(snapshot: &'a Arc<Snapshot>) -> Result<Self, Failure> {
        let mut engine = Brief::default();
        engine.load(snapshot)?;
        let configurations = snapshot.route_configurations.iter();
        Ok(Self {
            engine,
            configurations: configurations.map(|it| it.name.as_str()).collect(),
        })
    }

    /// `None`: the snapshot does not have what the request starts at.
    fn decide(&mut self, request: &Request, random: u64) -> Option<Decided> {
        let named = request.route_config.as_deref();
        if named.is_some_and(|name| !self.configurations.contains(name)) {
            return None;
        }
        let answer = self.engine.decide(request, random, 0, true).ok()?;
        if let Some(held) = answer.held {
            self.engine.release(held).ok()?;
        }
        Some(Decided::of(answer))
    }
}

fn difference(
    first: &Arc<Snapshot>,
    second: &Arc<Snapshot>,
    requests: Vec<Request>,
    script: Option<&Script>,
    seed: u64,
) -> Result<Difference, Failure> {
    let mut sorting = Sorting {
        first,
        second,
        result: Difference {
            requests: requests.len(),
            changes: Changes::between(first, second),
            ..Difference::default()
        },
        groups: BTreeMap::new(),
    };
    if let Some(script) = script {
        let one = scripted::decide(first, &requests, script, seed)?;
        let other = scripted::decide(second, &requests, script, seed)?;
        for ((request, before), after) in requests.into_iter().zip(one).zip(other) {
            sorting.add(request, before, after);
        }
        return Ok(sorting.end());
    }
    let (mut one, mut other) = (Side::new(first)?, Side::new(second)?);
    for (index, request) in requests.into_iter().enumerate() {
        let random = request
            .random
            .unwrap_or_else(|| random::draw(seed, index as u64));
        let (before, after) = (one.decide(&request, random), other.decide(&request, random));
        sorting.add(request, before, after);
    }
    Ok(sorting.end())
}

/// Requests on their way into groups.
struct Sorting<'a> {
    first: &'a Snapshot,
    second: &'a Snapshot,
    result: Difference,
    groups: BTreeMap<BTreeSet<usize>, Group>,
}

impl Sorting<'_> {
    /// Takes a request and what the two snapshots make of it; `None`: one does not have what it
    /// starts at.
    fn add(&mut self, request: Request, before: Option<Decided>, after: Option<Decided>) {
        let (Some(before), Some(after)) = (before, after) else {
            self.result.undecided += 1;
            return;
        };
        let comparison = Comparison {
            first: self.first,
            second: self.second,
            changes: &self.result.changes,
        };
        let undecided = |decided: &Decided| decided.decision.outcome == Outcome::Unsupported;
        let fields = if undecided(&before) || undecided(&after) {
            let known = comparison.differing_so_far(&before, &after);
            self.result.undecided += usize::from(known.is_empty());
            known
        } else {
            comparison.differing(&before, &after)
        };
        if fields.is_empty() {
            return;
        }
        let causes = comparison.causes(&before, &after);
        let group = self.groups.entry(causes.clone()).or_insert_with(|| Group {
            causes,
            fields: BTreeSet::new(),
            requests: 0,
            example: request,
            first: before,
            second: after,
        });
        group.requests += 1;
        group.fields.extend(fields);
    }

    /// The groups, the largest first.
    fn end(mut self) -> Difference {
        self.result.groups = self.groups.into_values().collect();
        self.result
            .groups
            .sort_by_key(|group| std::cmp::Reverse(group.requests));
        self.result
    }
}
