//! `twinmesh generate`: the traffic that reaches everything in a snapshot.

mod alike;
mod candidates;
mod chain_tree;
mod chains;
mod connections;
mod cover;
mod draft;
mod halves;
mod hosts;
mod items;
mod policies;
mod probes;
mod report;
mod sample;
mod setting;
mod shadow;
mod solve;
mod tree;
mod wish;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use twinmesh_engine::format::traffic;
use twinmesh_engine::{Replay, Request};
use twinmesh_spec::reading::{Matchers, is_always_taken, is_never_taken};
use twinmesh_xds::Snapshot;
use twinmesh_xds::http_filter::FilterKind;

use crate::failure::{Failure, Status};
use crate::input;
use crate::output::{self, Output, Style};
use crate::profile::ProfileArgument;
use crate::reach::{Brief, Catalogue, Filter, Goal, Observer, RouteAt, filter_chain};

pub(crate) use alike::Alike;
use candidates::{Candidates, Hosts, Maker};
pub use report::{Unreached, Why};
pub(crate) use sample::matching;
use solve::Solver;

/// A day in microseconds.
pub(crate) const DAY_US: u64 = 86_400_000_000;

/// Writes the traffic that reaches everything in a snapshot that can be reached.
///
/// There are requests for every filter chain, domain and route, for both sides of every matcher and
/// right beside its boundaries, and for the first and last number of every weighted cluster. Each is
/// decided before it is written: what its id says it reaches, it reaches. Those that reach the most
/// go first.
///
/// What nothing reaches is told, with the routes that take its requests: as proved, where a route
/// before takes everything that it would take, and else as not reached.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The snapshot, in any of the forms.
    #[arg(long, value_name = "FILE")]
    snapshot: PathBuf,
    /// Where the traffic goes; without it, to standard output, and what is told to standard error.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Leave out requests that only stand on a boundary, and keep one for each side of a matcher.
    #[arg(long)]
    no_boundaries: bool,
    #[command(flatten)]
    profile: ProfileArgument,
    /// Refuse a snapshot in which anything is not known or not decided.
    #[arg(long)]
    strict: bool,
}

/// Traffic for a snapshot, and what it reaches.
#[derive(Debug, Clone, Default)]
pub struct Generated {
    /// The requests, those that reach the most first.
    pub requests: Vec<Request>,
    /// What each of them was made for and reaches, endpoints aside.
    pub goals: Vec<Vec<Goal>>,
    /// What all of them reach, played in order.
    pub reached: BTreeSet<Goal>,
    /// All there is to reach.
    pub catalogue: Catalogue,
    /// Routes of which a request was answered by an HTTP filter before their action, and by which.
    pub answered: BTreeMap<RouteAt, Filter>,
    /// Routes that none of them reaches.
    pub unreached: Vec<Unreached>,
    /// Boundaries that requests stand on.
    pub boundaries: usize,
    /// Boundaries that no request can stand on, as other rules are in the way.
    pub missed: usize,
}

/// Runs the command.
///
/// # Errors
/// The snapshot is wrong, or the traffic cannot be written.
pub fn run(arguments: &Arguments, style: Style) -> Result<Status, Failure> {
    output::has_folder(arguments.output.as_deref())?;
    let snapshot = Arc::new(input::snapshot(
        &arguments.snapshot,
        arguments.strict,
        arguments.profile.profile(),
    )?);
    let generated = generate(&snapshot, !arguments.no_boundaries)?;
    let mut bytes = Vec::new();
    traffic::write(&generated.requests, &mut bytes)
        .map_err(|error| Failure(format!("the traffic cannot be written: {error}")))?;
    let lines = report::lines(&snapshot, &generated, style);
    match &arguments.output {
        Some(file) => {
            output::file(file, &bytes)?;
            let mut output = Output::stdout();
            for line in lines {
                output.line(line)?;
            }
            output.finish()?;
        }
        None => {
            let mut output = Output::stdout();
            output.write_all(&bytes).map_err(output::not_taken)?;
            output.finish()?;
            lines.iter().for_each(output::note);
        }
    }
    Ok(Status::Agreement)
}

/// Makes the traffic.
///
/// # Errors
/// The engine does not take the snapshot.
pub fn generate(snapshot: &Arc<Snapshot>, boundaries: bool) -> Result<Generated, Failure> {
    let matchers = Observer::matchers(snapshot)?;
    let mut solver = Solver::new(snapshot, &matchers)?;
    let catalogue = Catalogue::of(snapshot);
    let made = Maker::new(&mut solver).make(&catalogue, None)?;
    let (requests, goals) = pick(snapshot, &made, boundaries);
    let (reached, answered) = reached(snapshot, &matchers, &requests)?;
    let held = (&made.blocked, &answered);
    let unreached = report::unreached(snapshot, &matchers, &catalogue, &reached, held);
    Ok(Generated {
        requests,
        goals,
        reached,
        catalogue,
        answered,
        unreached,
        boundaries: if boundaries { made.boundaries } else { 0 },
        missed: made.missed,
    })
}

/// The requests of [`generate`], with boundaries; of route configurations only those for these virtual
/// hosts, where some are named.
///
/// # Errors
/// The engine does not take the snapshot.
pub(crate) fn requests(
    snapshot: &Arc<Snapshot>,
    hosts: Option<&Hosts>,
) -> Result<Vec<Request>, Failure> {
    let matchers = Observer::matchers(snapshot)?;
    let mut solver = Solver::new(snapshot, &matchers)?;
    let made = Maker::new(&mut solver).make(&Catalogue::of(snapshot), hosts)?;
    Ok(pick(snapshot, &made, true).0)
}

/// The candidates that are needed, with ids that are unique.
fn pick(
    snapshot: &Snapshot,
    made: &Candidates,
    boundaries: bool,
) -> (Vec<Request>, Vec<Vec<Goal>>) {
    let is_wanted = |item: &usize| boundaries || made.items.goal(*item).is_some();
    // Requests that are equal but for their ids are one, which reaches what each of them does.
    let mut places: HashMap<Alike<'_>, usize> = HashMap::with_capacity(made.all.len());
    let mut requests: Vec<&Request> = Vec::new();
    let mut reached: Vec<Vec<usize>> = Vec::new();
    for candidate in &made.all {
        let items = candidate.items.iter().copied().filter(is_wanted);
        match places.entry(Alike::of(&candidate.request)) {
            Entry::Vacant(place) => {
                place.insert(requests.len());
                requests.push(&candidate.request);
                reached.push(items.collect());
            }
            Entry::Occupied(place) => {
                if let Some(all) = reached.get_mut(*place.get()) {
                    all.extend(items);
                }
            }
        }
    }
    drop(places);
    for items in &mut reached {
        items.sort_unstable();
        items.dedup();
    }
    let apart = apart(snapshot);
    let mut ids: HashMap<&str, usize> = HashMap::new();
    let mut shares: HashMap<(usize, usize), Option<usize>> = HashMap::new();
    let mut picked = Vec::new();
    let mut goals = Vec::new();
    for index in cover::greedy(&reached, made.items.len()) {
        let (Some(request), Some(items)) = (requests.get(index), reached.get(index)) else {
            continue;
        };
        let times = ids.entry(request.id.as_str()).or_default();
        *times += 1;
        let mut numbered = (*request).clone();
        if *times > 1 {
            numbered.id = format!("{} ({times})", request.id);
        }
        let own = items.iter().filter_map(|item| made.items.goal(*item));
        let own: Vec<Goal> = own.collect();
        let any = |fits: fn(&Goal) -> bool| own.iter().any(fits);
        let takes_shares = own.iter().any(|goal| match goal {
            Goal::Route(at) => {
                let host = (at.configuration, at.virtual_host);
                let first = shares.entry(host);
                let first = first.or_insert_with(|| first_share(snapshot, host.0, host.1));
                first.is_some_and(|first| first <= at.route)
            }
            _ => false,
        });
        if any(|goal| matches!(goal, Goal::Route(_)))
            && !any(|goal| matches!(goal, Goal::Weight(..)))
            && !takes_shares
            && !own.iter().any(|goal| draws(snapshot, goal))
        {
            // It chooses endpoints only: drawn for each request, it reaches more of them.
            numbered.random = None;
        }
        numbered.time_us = apart.map(|apart| apart * picked.len() as u64);
        picked.push(numbered);
        goals.push(own);
    }
    let mut time = apart.map(|apart| apart * picked.len() as u64);
    for (request, count, goal) in &made.bursts {
        for number in 1..=*count {
            picked.push(Request {
                id: format!("{} ({number} of {count} at once)", request.id),
                time_us: time,
                ..request.clone()
            });
            let is_last = number == *count;
            goals.push(is_last.then_some(*goal).into_iter().collect());
        }
        time = time.zip(apart).map(|(time, apart)| time + apart);
    }
    (picked, goals)
}

/// The first route of the virtual host that takes a share of the requests (`runtime_fraction`), so that the
/// random number decides that a request gets to it, or to one behind it.
fn first_share(snapshot: &Snapshot, configuration: usize, host: usize) -> Option<usize> {
    let configuration = snapshot.route_configurations.get(configuration)?;
    let host = configuration.config.virtual_hosts.get(host)?;
    host.routes.iter().position(|route| {
        let matched = route.r#match.as_ref();
        matched.is_some_and(|it| !is_always_taken(it) && !is_never_taken(it))
    })
}

/// Whether the goal is a filter chain whose HTTP filters answer shares of the requests.
fn draws(snapshot: &Snapshot, goal: &Goal) -> bool {
    let Goal::FilterChain { listener, chain } = *goal else {
        return false;
    };
    let at = Filter {
        listener,
        chain,
        filter: 0,
    };
    let filters = filter_chain(snapshot, at).map_or(&[][..], |chain| &chain.http_filters);
    filters.iter().any(|filter| {
        matches!(
            filter.config,
            FilterKind::Fault(_) | FilterKind::LocalRateLimit(_) | FilterKind::Cors(_)
        )
    })
}

/// How far apart requests have to be in time for every token bucket to be full again; `None`: there are
/// none.
fn apart(snapshot: &Snapshot) -> Option<u64> {
    let mut filters = snapshot
        .all_filter_chains()
        .flat_map(|chain| &chain.http_filters);
    let limits = filters.any(|filter| matches!(filter.config, FilterKind::LocalRateLimit(_)));
    limits.then_some(DAY_US)
}

fn reached(
    snapshot: &Arc<Snapshot>,
    matchers: &Matchers,
    requests: &[Request],
) -> Result<(BTreeSet<Goal>, BTreeMap<RouteAt, Filter>), Failure> {
    let mut observer = Observer::new(snapshot, matchers);
    let replay = Replay {
        trace: true,
        ..Replay::default()
    };
    let mut engine = Brief::default();
    replay.run(&mut engine, snapshot, requests, &mut |decided| {
        observer.observe(decided.request, &decided.answer);
        ControlFlow::Continue(())
    })?;
    Ok((observer.reached().clone(), observer.answered().clone()))
}
