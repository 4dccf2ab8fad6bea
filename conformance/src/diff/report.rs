//! What is told of a difference.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use twinmesh_engine::{Decision, Request};

use super::changes::{Change, What};
use super::sorting::Effect;
use super::{Arguments, Difference, Group};
use crate::comparison::{Field, Fields, outcome_name};
use crate::failure::Failure;
use crate::output::Style;
use crate::words;

/// How much of a value is shown, in characters.
const LONGEST: usize = 160;
/// How many changes of a kind are shown.
const SHOWN: usize = 50;

#[derive(Serialize)]
struct Document<'a> {
    first: String,
    second: String,
    requests: usize,
    different: usize,
    /// Not compared, or not to their end.
    undecided: usize,
    /// Why, with the number of requests.
    undecided_reasons: &'a BTreeMap<String, usize>,
    groups: Vec<GroupEntry<'a>>,
    changes_without_effect: Vec<ChangeEntry<'a>>,
    /// On the way of requests that others move.
    changes_beside: Vec<ChangeEntry<'a>>,
    /// On the way of requests that are not decided.
    changes_not_known: Vec<ChangeEntry<'a>>,
    changes_not_tried: Vec<ChangeEntry<'a>>,
    /// No decision depends on them.
    changes_not_told: Vec<ChangeEntry<'a>>,
}

#[derive(Serialize)]
struct GroupEntry<'a> {
    requests: usize,
    fields: Vec<&'static str>,
    causes: Vec<ChangeEntry<'a>>,
    /// False: they are one of these, or some together.
    proved: bool,
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
        proved: group.is_proved,
        example: &group.example,
        first: &group.first.decision,
        second: &group.second.decision,
    });
    let of = |effect| entries(difference, difference.having(effect));
    let document = Document {
        first: arguments.first.display().to_string(),
        second: arguments.second.display().to_string(),
        requests: difference.requests,
        different: difference.moved(),
        undecided: difference.not_compared(),
        undecided_reasons: &difference.undecided,
        groups: groups.collect(),
        changes_without_effect: of(Effect::None),
        changes_beside: of(Effect::Beside),
        changes_not_known: of(Effect::Unknown),
        changes_not_tried: of(Effect::Untried),
        changes_not_told: of(Effect::Untold),
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
    let titles = [
        (
            Effect::None,
            "changes without effect on these requests, which came their way",
        ),
        (
            Effect::Beside,
            "changes on the way of requests that the causes above move",
        ),
        (
            Effect::Unknown,
            "changes whose effect is not known: requests on their way are not decided",
        ),
        (
            Effect::Untried,
            "changed, and no request is known to have tried it",
        ),
        (
            Effect::Untold,
            "changes that no decision tells of, as of timeouts, retries, logs and names; --endpoints plays the first two",
        ),
    ];
    for (effect, title) in titles {
        let all = difference.having(effect);
        if all.is_empty() {
            continue;
        }
        lines.push(style.bold(title));
        let shown = all.iter().take(SHOWN);
        let shown = shown.filter_map(|index| difference.changes.all.get(*index));
        lines.extend(shown.map(|change| format!("  {}", words_of(change))));
        if all.len() > SHOWN {
            let more = format!("  and {} more", all.len() - SHOWN);
            lines.push(style.dim(&more));
        }
        lines.push(String::new());
    }
    let undecided = difference.not_compared();
    if undecided > 0 {
        let title = format!("{} not compared, or not to the end", requests(undecided));
        lines.push(style.bold(&title));
        let shown = difference.undecided.iter().take(SHOWN);
        lines.extend(shown.map(|(reason, count)| format!("  {count} × {reason}")));
        if difference.undecided.len() > SHOWN {
            let more = format!("  and {} more reasons", difference.undecided.len() - SHOWN);
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
        total = if undecided > 0 {
            let alike = difference.requests - undecided;
            format!(
                "{alike} of {} requests are decided alike",
                difference.requests
            )
        } else {
            format!("all {} requests are decided alike", difference.requests)
        };
    }
    if undecided > 0 {
        total.push_str(&format!(
            "; {undecided} could not be compared, or not to the end"
        ));
    }
    lines.push(if different == 0 && difference.is_whole() {
        style.green(&total)
    } else {
        style.red(&total)
    });
    lines
}

fn requests(count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} request{plural}")
}

fn of_group(difference: &Difference, number: usize, group: &Group, style: Style) -> Vec<String> {
    let fields: Vec<&str> = group.fields.iter().copied().collect();
    let title = format!(
        "{number}. {}: other {}",
        requests(group.requests),
        fields.join(", ")
    );
    let mut lines = vec![style.bold(&title)];
    let causes = group.causes.iter();
    let causes = causes.filter_map(|index| difference.changes.all.get(*index));
    if !group.is_proved {
        lines.push(match group.causes.len() {
            0 => "   why is not known: no field was changed".to_owned(),
            1 => "   probably".to_owned(),
            _ => "   one of these changes, or some of them together".to_owned(),
        });
    }
    let shown = causes.take(SHOWN);
    lines.extend(shown.map(|change| format!("   {}", words_of(change))));
    if group.causes.len() > SHOWN {
        let more = format!("   and {} more", group.causes.len() - SHOWN);
        lines.push(style.dim(&more));
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
