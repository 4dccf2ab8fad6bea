//! The report for code scanning: divergences at the field of the snapshot that they turn on.

use std::collections::BTreeMap;

use super::Report;
use super::divergent::Divergent;
use super::grouping::{Group, groups, listed};
use crate::case::files;
use crate::comparison::Field;
use crate::failure::Failure;
use crate::place::Site;
use crate::sarif::{self, Finding, Level, Remark, rules};
use crate::words::without_indices;

/// Of so many requests that diverge alike each is named.
const NAMED: usize = 5;

/// What stands for the engine where it is the recording that differs.
const RECORDING: &str = "recorded";

/// The report as a SARIF log: one result for all requests of a case that differ first in the same
/// field, at the same place, for the same engines.
pub fn write(report: &Report) -> Result<String, Failure> {
    let findings: Vec<Finding> = groups(report).iter().flat_map(of_group).collect();
    let errors = report.errors.iter().map(|error| Remark {
        level: Level::Error,
        message: error.to_string(),
    });
    let not_run = report.not_run.iter().map(|not_run| Remark {
        level: Level::Note,
        message: not_run.to_string(),
    });
    let remarks: Vec<Remark> = errors.chain(not_run).collect();
    sarif::write(&findings, &remarks, !report.errors.is_empty())
}

fn of_group(group: &Group<'_>) -> Vec<Finding> {
    let mut order: Vec<(Option<Field>, String)> = Vec::new();
    let mut findings: BTreeMap<(Option<Field>, String), Vec<&Divergent>> = BTreeMap::new();
    for divergent in group.requests.iter().filter_map(|all| all.first()) {
        let field = divergent.divergence.fields.iter().next();
        let site = divergent.site.as_ref().map(Site::to_string);
        let key = (field, site.unwrap_or_default());
        let alike = findings.entry(key.clone()).or_default();
        if alike.is_empty() {
            order.push(key);
        }
        alike.push(divergent);
    }
    order
        .iter()
        .filter_map(|key| finding(group, key.0, findings.get(key)?))
        .collect()
}

fn finding(group: &Group<'_>, field: Option<Field>, alike: &[&Divergent]) -> Option<Finding> {
    let first = alike.first()?;
    let engine = match group.is_of_recording {
        true => RECORDING.to_owned(),
        false => group.engines().join(", "),
    };
    let rule = rules::divergence(field);
    let site = first.site.as_ref();
    let target = site.map(|site| &site.target);
    let decision = first.decisions.last().map(|(_, decision)| decision);
    let name = |name: Option<&Option<String>>| name.cloned().flatten().unwrap_or_default();
    Some(Finding {
        rule,
        level: None,
        message: message(group, field, alike, first),
        file: site.map(|site| site.file.clone()),
        position: site.and_then(|site| site.position),
        field: target.map_or_else(String::new, |target| {
            format!("{} {}", target.resource, target.path)
                .trim_end()
                .to_owned()
        }),
        related: Some((
            first.folder.join(files::TRAFFIC),
            first.line,
            format!("request {}", first.id),
        )),
        identity: vec![
            group.case().to_owned(),
            engine,
            target.map_or_else(String::new, |target| target.resource.clone()),
            target.map_or_else(String::new, |target| without_indices(&target.path)),
            name(decision.map(|decision| &decision.virtual_host)),
            name(decision.map(|decision| &decision.route)),
        ],
    })
}

fn message(
    group: &Group<'_>,
    field: Option<Field>,
    alike: &[&Divergent],
    first: &Divergent,
) -> String {
    let ids: Vec<&str> = alike
        .iter()
        .take(NAMED)
        .map(|one| one.id.as_str())
        .collect();
    let more = match alike.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let what = field.map_or("the steps", Field::name);
    let plural = if alike.len() == 1 { "" } else { "s" };
    let engines = listed(&group.engines());
    let (who, differ, have) = match group.rows.len() {
        1 => ("engine", "differs", "has"),
        _ => ("engines", "differ", "have"),
    };
    let mut text = format!(
        "{}: {who} {engines} {differ} in {what} for {} request{plural}: {}{more}.",
        group.case(),
        alike.len(),
        ids.join(", ")
    );
    if let Some(field) = field {
        let last = first.decisions.len().saturating_sub(1);
        let values: Vec<String> = first
            .decisions
            .iter()
            .enumerate()
            .map(|(at, (who, decision))| {
                let value = field.value(decision);
                let value = value.as_deref().unwrap_or("nothing");
                if at == last {
                    format!("{engines} {have} {value}")
                } else {
                    format!("{who} has {value}")
                }
            })
            .collect();
        text.push_str(&format!(" For {}, {}.", first.id, values.join(", ")));
    }
    if let Some(note) = &first.divergence.note {
        text.push_str(&format!(" {note}."));
    }
    if let Some((who, decision)) = first.decisions.last()
        && let Some(reason) = decision.reason.as_deref()
    {
        text.push_str(&format!(" Reason of {who}: {reason}."));
    }
    text
}
