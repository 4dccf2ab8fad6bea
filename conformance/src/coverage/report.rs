//! The report: a table of counts, and every goal by its resource.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use twinmesh_xds::Snapshot;

use super::{Arguments, Coverage};
use crate::failure::Failure;
use crate::output::Style;
use crate::reach::{Goal, Kind, Name, behind, http_filter, name};
use crate::words::counted;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Reached,
    Missing,
    /// A route that requests match, each of which an HTTP filter answered.
    Answered,
    Undecided,
}

impl State {
    fn of(coverage: &Coverage, goal: &Goal) -> Self {
        if coverage.is_undecided(goal) {
            Self::Undecided
        } else if coverage.reached.contains(goal) {
            Self::Reached
        } else if coverage.answered(goal).is_some() {
            Self::Answered
        } else {
            Self::Missing
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Missing => "missing",
            Self::Answered => "answered",
            Self::Undecided => "not decided",
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    snapshot: String,
    traffic: Vec<String>,
    engine: &'a str,
    requests: usize,
    undecided_requests: usize,
    percent: f64,
    kinds: Vec<Count>,
    goals: Vec<Entry>,
    undecided_filter_chains: Vec<FilterChain<'a>>,
}

/// A filter chain, or a listener as a whole, of which no request is decided.
#[derive(Serialize)]
struct FilterChain<'a> {
    listener: &'a str,
    /// The field of the listener; empty for the listener as a whole.
    path: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    route_configuration: Option<String>,
}

#[derive(Serialize)]
struct Count {
    kind: Kind,
    reached: usize,
    total: usize,
    undecided: usize,
}

#[derive(Serialize)]
struct Entry {
    kind: Kind,
    state: State,
    #[serde(flatten)]
    name: Name,
    /// Why it is not decided, or who answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

fn counts(coverage: &Coverage) -> Vec<Count> {
    let count = |kind: Kind| {
        let (reached, total) = coverage.count(|goal| goal.kind() == kind);
        let goals = coverage.catalogue.undecided.keys();
        Count {
            kind,
            reached,
            total,
            undecided: goals.filter(|goal| goal.kind() == kind).count(),
        }
    };
    let all = Kind::ALL.into_iter().map(count);
    all.filter(|count| count.total + count.undecided > 0)
        .collect()
}

/// Why the goal is not decided, or who answered the requests before it.
fn reason(snapshot: &Snapshot, coverage: &Coverage, goal: &Goal) -> Option<String> {
    if let Some(reason) = coverage.catalogue.undecided.get(goal) {
        return Some(reason.clone());
    }
    let filter = coverage.answered(goal)?;
    Some(format!(
        "each request that it matches is answered by the HTTP filter {} before its action",
        http_filter(snapshot, filter)
    ))
}

/// The report as JSON.
pub(super) fn json(
    snapshot: &Snapshot,
    coverage: &Coverage,
    arguments: &Arguments,
) -> Result<String, Failure> {
    let goals = coverage.catalogue.goals.iter().map(|goal| Entry {
        kind: goal.kind(),
        state: State::of(coverage, goal),
        name: name(snapshot, goal),
        reason: reason(snapshot, coverage, goal),
    });
    let goals = goals.filter(|entry| !arguments.only_missing || entry.state != State::Reached);
    let files = arguments.traffic.iter();
    let chains = behind::of(snapshot).into_iter().map(|one| FilterChain {
        listener: one.listener,
        path: &one.why.path,
        reason: &one.why.reason,
        route_configuration: one.routes.map(|(index, _)| behind::named(snapshot, index)),
    });
    let document = Document {
        snapshot: arguments.snapshot.display().to_string(),
        traffic: files.map(|file| file.display().to_string()).collect(),
        engine: &arguments.engine,
        requests: coverage.requests,
        undecided_requests: coverage.undecided,
        percent: coverage.percent(),
        kinds: counts(coverage),
        goals: goals.collect(),
        undecided_filter_chains: chains.collect(),
    };
    serde_json::to_string_pretty(&document)
        .map_err(|error| Failure(format!("the report cannot be written as JSON: {error}")))
}

/// The report as lines.
pub(super) fn lines(
    snapshot: &Snapshot,
    coverage: &Coverage,
    only_missing: bool,
    style: Style,
) -> Vec<String> {
    let mut lines = Vec::new();
    let mut resource = String::new();
    for goal in &coverage.catalogue.goals {
        let state = State::of(coverage, goal);
        if only_missing && !matches!(state, State::Missing | State::Answered) {
            continue;
        }
        let name = name(snapshot, goal);
        if name.resource != resource {
            lines.push(style.bold(&name.resource));
            resource.clone_from(&name.resource);
        }
        let word = format!("{:<11}", state.word());
        let word = match state {
            State::Reached => style.green(&word),
            State::Missing | State::Answered => style.red(&word),
            State::Undecided => style.yellow(&word),
        };
        let text = [name.path, name.what].join(" ");
        let text = match text.trim() {
            "" => "the resource itself",
            text => text,
        };
        let reason = reason(snapshot, coverage, goal);
        let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
        lines.push(format!("  {word} {text}{reason}"));
    }
    if !lines.is_empty() {
        lines.push(String::new());
    }
    let undecided = behind::lines(snapshot, style, |name, is_decided| {
        let by = match is_decided {
            true => "come through another filter chain",
            false => "start at the route configuration",
        };
        format!("routes of route_config {name} are reached only by requests that {by}")
    });
    if !undecided.is_empty() {
        lines.extend(undecided);
        lines.push(String::new());
    }
    lines.extend(table(coverage));
    lines.push(String::new());
    let (reached, all) = coverage.count(|_| true);
    let percent = coverage.percent();
    let mut total = format!(
        "{} {} {reached} of {all}: {percent:.1} %",
        counted(coverage.requests, "request"),
        if coverage.requests == 1 {
            "reaches"
        } else {
            "reach"
        }
    );
    if coverage.undecided > 0 {
        total.push_str(&format!(
            "; {} of the requests are not decided here",
            coverage.undecided
        ));
    }
    lines.push(style.bold(&total));
    lines
}

fn table(coverage: &Coverage) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.force_no_tty();
    table.set_header(["", "reached", "of", "%", "not decided"]);
    for count in counts(coverage) {
        let percent = if count.total == 0 {
            "-".to_owned()
        } else {
            format!("{:.1}", count.reached as f64 * 100.0 / count.total as f64)
        };
        table.add_row([
            count.kind.words().to_owned(),
            count.reached.to_string(),
            count.total.to_string(),
            percent,
            count.undecided.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string().lines().map(str::to_owned).collect()
}
