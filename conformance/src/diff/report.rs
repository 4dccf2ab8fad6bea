//! What is told of a difference.

use serde::Serialize;
use serde_json::Value;
use twinmesh_engine::{Decision, Request};

use super::changes::{Change, What};
use super::{Arguments, Difference, Group};
use crate::comparison::{Field, Fields, outcome_name};
use crate::failure::Failure;
use crate::output::Style;
use crate::words;

/// How much of a value is shown, in characters.
const LONGEST: usize = 160;
/// How many changes without effect are shown.
const SHOWN: usize = 50;

#[derive(Serialize)]
struct Document<'a> {
    first: String,
    second: String,
    requests: usize,
    different: usize,
    undecided: usize,
    groups: Vec<GroupEntry<'a>>,
    changes_without_effect: Vec<ChangeEntry<'a>>,
}

#[derive(Serialize)]
struct GroupEntry<'a> {
    requests: usize,
    fields: Vec<&'static str>,
    causes: Vec<ChangeEntry<'a>>,
    example: &'a Request,
    first: &'a Decision,
    second: &'a Decision,
}

#[derive(Serialize)]
struct ChangeEntry<'a> {
    resource: &'a str,
    path: &'a str,
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'a Value>,
    /// The path that it moved to.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
}

impl<'a> From<&'a Change> for ChangeEntry<'a> {
    fn from(change: &'a Change) -> Self {
        let (kind, before, after, to) = match &change.what {
            What::Field(before, after) => ("field", before.as_ref(), after.as_ref(), None),
            What::Added => ("added", None, None, None),
            What::Removed => ("removed", None, None, None),
            What::Moved(to) => ("moved", None, None, Some(to.as_str())),
        };
        Self {
            resource: &change.resource,
            path: &change.path,
            change: kind,
            before,
            after,
            to,
        }
    }
}

fn entries<'a>(
    difference: &'a Difference,
    indices: impl IntoIterator<Item = usize>,
) -> Vec<ChangeEntry<'a>> {
    let all = indices.into_iter();
    all.filter_map(|index| difference.changes.all.get(index))
        .map(ChangeEntry::from)
        .collect()
}

/// The report as JSON.
pub(super) fn json(difference: &Difference, arguments: &Arguments) -> Result<String, Failure> {
    let groups = difference.groups.iter().map(|group| GroupEntry {
        requests: group.requests,
        fields: group.fields.iter().copied().collect(),
        causes: entries(difference, group.causes.iter().copied()),
        example: &group.example,
        first: &group.first.decision,
        second: &group.second.decision,
    });
    let document = Document {
        first: arguments.first.display().to_string(),
        second: arguments.second.display().to_string(),
        requests: difference.requests,
        different: difference.moved(),
        undecided: difference.undecided,
        groups: groups.collect(),
        changes_without_effect: entries(difference, difference.without_effect()),
    };
    serde_json::to_string_pretty(&document)
        .map_err(|error| Failure(format!("the report cannot be written as JSON: {error}")))
}

/// The report as lines.
pub(super) fn lines(difference: &Difference, style: Style) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, group) in difference.groups.iter().enumerate() {
        lines.extend(of_group(difference, number + 1, group, style));
        lines.push(String::new());
    }
    let idle = difference.without_effect();
    if !idle.is_empty() {
        lines.push(style.bold("changes without effect on these requests"));
        let shown = idle.iter().take(SHOWN);
        let shown = shown.filter_map(|index| difference.changes.all.get(*index));
        lines.extend(shown.map(|change| format!("  {}", words_of(change))));
        if idle.len() > SHOWN {
            let more = format!("  and {} more", idle.len() - SHOWN);
            lines.push(style.dim(&more));
        }
        lines.push(String::new());
    }
    let different = difference.moved();
    let reasons = difference.groups.len();
    let plural = if reasons == 1 { "" } else { "s" };
    let mut total = format!(
        "{different} of {} requests are decided differently, for {reasons} reason{plural}",
        difference.requests
    );
    if difference.groups.is_empty() {
        total = format!("all {} requests are decided alike", difference.requests);
        if difference.undecided > 0 {
            total = format!(
                "{} requests are decided alike",
                difference.requests - difference.undecided
            );
        }
    }
    if difference.undecided > 0 {
        total.push_str(&format!(
            "; {} are not compared, as one of the two does not decide them here",
            difference.undecided
        ));
    }
    lines.push(if different == 0 {
        style.green(&total)
    } else {
        style.red(&total)
    });
    lines
}

fn of_group(difference: &Difference, number: usize, group: &Group, style: Style) -> Vec<String> {
    let fields: Vec<&str> = group.fields.iter().copied().collect();
    let plural = if group.requests == 1 { "" } else { "s" };
    let title = format!(
        "{number}. {} request{plural}: other {}",
        group.requests,
        fields.join(", ")
    );
    let mut lines = vec![style.bold(&title)];
    let causes = group.causes.iter();
    let causes = causes.filter_map(|index| difference.changes.all.get(*index));
    lines.extend(causes.map(|change| format!("   {}", words_of(change))));
    if group.causes.is_empty() {
        lines.push("   no field on their way was changed".to_owned());
    }
    let request = words::request_line(&group.example);
    let headers = group.example.headers.iter();
    let headers: Vec<String> = headers
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    let mut example = format!("   for example {:?}: {request}", group.example.id);
    if !headers.is_empty() {
        example.push_str(&format!(" [{}]", headers.join("; ")));
    }
    lines.push(example);
    for (side, decided) in [("A", &group.first), ("B", &group.second)] {
        lines.push(style.dim(&format!("   {side}  {}", decision(&decided.decision))));
    }
    lines
}

fn decision(decision: &Decision) -> String {
    let hidden = Fields::from_iter([Field::Outcome, Field::Engine, Field::Reason]);
    let fields = Fields::EVERY.without(hidden);
    let fields = fields.iter().filter_map(|field| {
        let value = field.value(decision)?;
        Some(format!("{} {value}", field.name()))
    });
    let fields: Vec<String> = fields.collect();
    format!("{}: {}", outcome_name(decision.outcome), fields.join(", "))
}

fn words_of(change: &Change) -> String {
    let place = if change.path.is_empty() {
        change.resource.clone()
    } else {
        format!("{} {}", change.resource, change.path)
    };
    match &change.what {
        What::Field(before, after) => format!("{place}: {} → {}", short(before), short(after)),
        What::Added => format!("{place}: added"),
        What::Removed => format!("{place}: removed"),
        What::Moved(to) => format!("{place}: moved to {to}"),
    }
}

fn short(value: &Option<Value>) -> String {
    let Some(value) = value else {
        return "absent".to_owned();
    };
    let text = value.to_string();
    if text.chars().count() <= LONGEST {
        return text;
    }
    let start: String = text.chars().take(LONGEST).collect();
    format!("{start}…")
}
