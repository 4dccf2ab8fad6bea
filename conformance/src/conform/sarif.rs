//! The report for code scanning: divergences at the field of the snapshot that they turn on.

use std::collections::BTreeMap;

use super::divergent::Divergent;
use super::{Report, Row};
use crate::case::files;
use crate::comparison::Field;
use crate::failure::Failure;
use crate::place::Site;
use crate::sarif::{self, Finding, Level, Remark, rules};

/// Of so many requests that diverge alike each is named.
const NAMED: usize = 5;

/// The report as a SARIF log: one result for all requests of a case and engine that differ first in
/// the same field, at the same place.
pub fn write(report: &Report) -> Result<String, Failure> {
    let findings: Vec<Finding> = report.rows.iter().flat_map(of_row).collect();
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

fn of_row(row: &Row) -> Vec<Finding> {
    let mut order: Vec<(Option<Field>, String)> = Vec::new();
    let mut groups: BTreeMap<(Option<Field>, String), Vec<&Divergent>> = BTreeMap::new();
    for divergent in &row.observed.divergents {
        let field = divergent.divergence.fields.iter().next();
        let site = divergent.site.as_ref().map(Site::to_string);
        let key = (field, site.unwrap_or_default());
        let group = groups.entry(key.clone()).or_default();
        if group.is_empty() {
            order.push(key);
        }
        group.push(divergent);
    }
    order
        .iter()
        .filter_map(|key| finding(row, key.0, groups.get(key)?))
        .collect()
}

fn finding(row: &Row, field: Option<Field>, group: &[&Divergent]) -> Option<Finding> {
    let first = group.first()?;
    let rule = rules::divergence(field);
    let site = first.site.as_ref();
    let target = site.map(|site| &site.target);
    let decision = first.decisions.last().map(|(_, decision)| decision);
    let name = |name: Option<&Option<String>>| name.cloned().flatten().unwrap_or_default();
    Some(Finding {
        rule,
        level: None,
        message: message(row, field, group, first),
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
            row.case.clone(),
            row.engine.to_owned(),
            target.map_or_else(String::new, |target| target.resource.clone()),
            target.map_or_else(String::new, |target| sarif::without_indices(&target.path)),
            name(decision.map(|decision| &decision.virtual_host)),
            name(decision.map(|decision| &decision.route)),
        ],
    })
}

fn message(row: &Row, field: Option<Field>, group: &[&Divergent], first: &Divergent) -> String {
    let ids: Vec<&str> = group
        .iter()
        .take(NAMED)
        .map(|one| one.id.as_str())
        .collect();
    let more = match group.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let what = field.map_or("the steps", Field::name);
    let plural = if group.len() == 1 { "" } else { "s" };
    let mut text = format!(
        "{}: engine {} differs in {what} for {} request{plural}: {}{more}.",
        row.case,
        row.engine,
        group.len(),
        ids.join(", ")
    );
    if let Some(field) = field {
        let values: Vec<String> = first
            .decisions
            .iter()
            .map(|(who, decision)| {
                let value = field.value(decision);
                format!("{who} has {}", value.as_deref().unwrap_or("nothing"))
            })
            .collect();
        text.push_str(&format!(" For {}, {}.", first.id, values.join(", ")));
    }
    if let Some(note) = &first.divergence.note {
        text.push_str(&format!(" {note}."));
    }
    if let Some(reason) = first
        .decisions
        .last()
        .and_then(|(_, it)| it.reason.as_deref())
    {
        text.push_str(&format!(" Reason of {}: {reason}.", row.engine));
    }
    text
}
