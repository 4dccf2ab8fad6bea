//! What is told of the traffic that was made.

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::config::route::v3::{RouteMatch, route_match::PathSpecifier};
use twinmesh_spec::reading::{Matchers, is_never_taken};
use twinmesh_xds::{Snapshot, Unsupported};

use super::Generated;
use super::candidates::route_label;
use super::shadow;
use crate::output::Style;
use crate::reach::{
    Catalogue, Filter, Goal, Kind, RouteAt, behind, http_filter, match_undecided, name, route,
};
use crate::words::counted;

/// How often two routes are held against each other, at most: beyond that only those are looked at
/// that took a request.
const MOST_COMPARISONS: usize = 20_000_000;
/// How many of one list are shown.
const SHOWN: usize = 10;

/// A route that no request reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreached {
    /// Which.
    pub route: RouteAt,
    /// What is known about it.
    pub why: Why,
}

/// Why no request reaches a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Proved: this route of the virtual host takes all that it would take.
    Shadowed(usize),
    /// Proved: `runtime_fraction` lets nothing through.
    Never,
    /// Proved: every path starts with a slash, and this one does not.
    NoSuchPath,
    /// Not proved; requests match it, and this HTTP filter answered each of them before its action.
    Answered(Filter),
    /// Not proved; these routes of the virtual host took what was tried.
    Taken(Vec<usize>),
    /// Not proved: nothing that was tried satisfies all of its matchers, or gets to the virtual
    /// host.
    Unknown,
}

impl Why {
    /// Whether it is proved that nothing reaches the route.
    pub fn is_proved(&self) -> bool {
        matches!(self, Self::Shadowed(_) | Self::Never | Self::NoSuchPath)
    }
}

/// The routes that are not reached, each with what is known.
pub(crate) fn unreached(
    snapshot: &Snapshot,
    matchers: &Matchers,
    catalogue: &Catalogue,
    reached: &BTreeSet<Goal>,
    (blocked, answered): (&BTreeMap<RouteAt, Vec<usize>>, &BTreeMap<RouteAt, Filter>),
) -> Vec<Unreached> {
    let mut budget = MOST_COMPARISONS;
    let goals = catalogue.goals.iter();
    goals
        .filter(|goal| !reached.contains(goal) && !catalogue.undecided.contains_key(goal))
        .filter_map(|goal| match goal {
            Goal::Route(at) => Some(*at),
            _ => None,
        })
        .map(|at| {
            let took = blocked.get(&at).map_or(&[][..], Vec::as_slice);
            let why = match answered.get(&at) {
                Some(filter) => Why::Answered(*filter),
                None => why(snapshot, matchers, at, took, &mut budget),
            };
            Unreached { route: at, why }
        })
        .collect()
}

fn why(
    snapshot: &Snapshot,
    matchers: &Matchers,
    at: RouteAt,
    took: &[usize],
    budget: &mut usize,
) -> Why {
    let Some(later) = route(snapshot, at) else {
        return Why::Unknown;
    };
    if later.r#match.as_ref().is_some_and(is_never_taken) {
        return Why::Never;
    }
    if later.r#match.as_ref().is_some_and(has_no_slash) {
        return Why::NoSuchPath;
    }
    // In a matcher tree another route need not be looked at first.
    if in_tree(snapshot, at) {
        return match took {
            [] => Why::Unknown,
            took => Why::Taken(took.to_vec()),
        };
    }
    let covers = |index: &usize| {
        let earlier = RouteAt {
            route: *index,
            ..at
        };
        let mark = mark(snapshot, earlier);
        route(snapshot, earlier)
            .is_some_and(|earlier| shadow::covers(matchers, (earlier, mark), later))
    };
    if let Some(index) = took.iter().find(|index| covers(index)) {
        return Why::Shadowed(*index);
    }
    if *budget >= at.route {
        *budget -= at.route;
        if let Some(index) = (0..at.route).find(covers) {
            return Why::Shadowed(index);
        }
    }
    if took.is_empty() {
        Why::Unknown
    } else {
        Why::Taken(took.to_vec())
    }
}

fn in_tree(snapshot: &Snapshot, at: RouteAt) -> bool {
    let found = snapshot.route_configurations.get(at.configuration);
    let host = found.and_then(|it| it.config.virtual_hosts.get(at.virtual_host));
    host.is_some_and(|host| host.matcher.is_some())
}

/// Whether the route asks for a path that starts otherwise than any path does.
fn has_no_slash(route_match: &RouteMatch) -> bool {
    match &route_match.path_specifier {
        Some(PathSpecifier::Path(text) | PathSpecifier::PathSeparatedPrefix(text)) => {
            !text.starts_with('/')
        }
        Some(PathSpecifier::Prefix(text)) => !text.is_empty() && !text.starts_with('/'),
        _ => false,
    }
}

/// What the reader found not to be decided in a route.
fn mark(snapshot: &Snapshot, at: RouteAt) -> Option<&Unsupported> {
    let found = snapshot.route_configurations.get(at.configuration)?;
    let host = found.virtual_hosts.get(at.virtual_host)?;
    host.routes.get(at.route)?.as_ref()
}

/// The report, line by line.
pub(crate) fn lines(snapshot: &Snapshot, generated: &Generated, style: Style) -> Vec<String> {
    let mut lines = vec![style.bold(&counted(generated.requests.len(), "request"))];
    lines.extend(Kind::ALL.into_iter().filter_map(|kind| {
        let goals = generated.catalogue.goals.iter();
        let all = goals.filter(|goal| goal.kind() == kind);
        let (undecided, all): (Vec<_>, Vec<_>) =
            all.partition(|goal| generated.catalogue.undecided.contains_key(goal));
        if all.is_empty() && undecided.is_empty() {
            return None;
        }
        let reached = all.iter().filter(|goal| generated.reached.contains(goal));
        let mut line = format!("  {} of {} {}", reached.count(), all.len(), kind.words());
        if !undecided.is_empty() {
            line.push_str(&format!(
                ", and {} that are not decided here",
                undecided.len()
            ));
        }
        Some(line)
    }));
    if generated.boundaries > 0 {
        lines.push(format!(
            "  {} boundaries; at {} others another rule decides first",
            generated.boundaries, generated.missed
        ));
    }
    lines.extend(behind::lines(snapshot, style, |name, is_decided| {
        let from = match is_decided {
            true => "come through another filter chain",
            false => "start at the route configuration",
        };
        format!(
            "the requests for the routes of route_config {name} {from}: they say nothing of which \
             routes this one lets requests get to"
        )
    }));
    let (proved, open): (Vec<&Unreached>, Vec<&Unreached>) = generated
        .unreached
        .iter()
        .partition(|it| it.why.is_proved());
    for (title, routes) in [
        ("proved unreachable", proved),
        ("not reached, not proved", open),
    ] {
        if !routes.is_empty() {
            lines.push(style.bold(&format!("{title}: {}", routes.len())));
        }
        for unreached in routes {
            lines.push(format!("  {}", route_label(snapshot, unreached.route)));
            lines.push(style.dim(&format!("    {}", because(snapshot, unreached))));
        }
    }
    lines.extend(others(snapshot, generated, style));
    lines
}

fn because(snapshot: &Snapshot, unreached: &Unreached) -> String {
    let label = |index: &usize| {
        let at = RouteAt {
            route: *index,
            ..unreached.route
        };
        let found = route(snapshot, at);
        let mut label = match found.map_or("", |route| route.name.as_str()) {
            "" => format!("routes[{index}]"),
            name => format!("routes[{index}] {name:?}"),
        };
        if found.is_some_and(|route| match_undecided(route, mark(snapshot, at)).is_some()) {
            label.push_str(" (whose match is not decided here)");
        }
        label
    };
    match &unreached.why {
        Why::Shadowed(index) => {
            format!(
                "shadowed by {}, which takes all that it would",
                label(index)
            )
        }
        Why::NoSuchPath => "its path does not start with a slash, as every path does".to_owned(),
        Why::Never => "match.runtime_fraction lets nothing through".to_owned(),
        Why::Answered(filter) => format!(
            "requests match it, and each of them was answered by the HTTP filter {} before its action",
            http_filter(snapshot, *filter)
        ),
        Why::Taken(routes) => {
            let mut shown: Vec<String> = routes.iter().take(SHOWN).map(label).collect();
            if routes.len() > SHOWN {
                shown.push(format!("{} more", routes.len() - SHOWN));
            }
            format!("what was tried is taken by {}", shown.join(", "))
        }
        Why::Unknown => {
            "nothing was found that gets to its virtual host and satisfies its matchers".to_owned()
        }
    }
}

/// What else is not reached, but for what belongs to routes that are told already.
fn others(snapshot: &Snapshot, generated: &Generated, style: Style) -> Vec<String> {
    let told: BTreeSet<RouteAt> = generated.unreached.iter().map(|it| it.route).collect();
    let mut lines = Vec::new();
    for kind in [
        Kind::FilterChains,
        Kind::Criteria,
        Kind::Policies,
        Kind::Answers,
        Kind::Domains,
        Kind::Matchers,
        Kind::WeightedClusters,
    ] {
        let open: Vec<&Goal> = generated
            .catalogue
            .goals
            .iter()
            .filter(|goal| goal.kind() == kind)
            .filter(|goal| !generated.catalogue.undecided.contains_key(goal))
            .filter(|goal| !generated.reached.contains(goal))
            .filter(|goal| goal.route().is_none_or(|at| !told.contains(&at)))
            .collect();
        if open.is_empty() {
            continue;
        }
        let title = format!("{} not reached: {}", kind.words(), open.len());
        lines.push(style.bold(&title));
        let shown = open.iter().take(SHOWN);
        lines.extend(shown.map(|goal| format!("  {}", name(snapshot, goal))));
        if open.len() > SHOWN {
            lines.push(style.dim(&format!("  and {} more", open.len() - SHOWN)));
        }
    }
    lines
}
