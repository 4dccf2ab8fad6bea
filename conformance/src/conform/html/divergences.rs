//! Every divergence: both decisions, and both traces side by side.

use super::super::divergent::{Divergent, SideBySide};
use super::super::grouping::{self, listed};
use crate::comparison::{Field, Fields};

/// The divergences of a case that the same engines show.
pub struct Group<'a> {
    pub anchor: String,
    pub case: &'a str,
    pub engines: String,
    pub count: usize,
    /// Those with their traces.
    pub told: Vec<Told<'a>>,
    /// Those without.
    pub listed: Vec<Listed<'a>>,
    /// The reproducer's folder, or why there is none.
    pub reproducer: Option<String>,
}

/// A divergence with all that is known of it.
pub struct Told<'a> {
    pub divergent: &'a Divergent,
    pub fields: String,
    pub site: Option<String>,
    /// Who decided, over the columns of `lines`.
    pub deciders: Vec<String>,
    pub lines: Vec<FieldLine>,
    pub reasons: Vec<(&'static str, &'a str)>,
    pub traces: &'a SideBySide,
    /// No step differs.
    pub traces_equal: bool,
}

/// A field of the decisions.
pub struct FieldLine {
    pub name: &'static str,
    pub differs: bool,
    pub values: Vec<String>,
}

/// A divergence in one line.
pub struct Listed<'a> {
    pub divergent: &'a Divergent,
    pub fields: String,
    pub site: Option<String>,
}

pub fn of<'a>(groups: &[grouping::Group<'a>]) -> Vec<Group<'a>> {
    let groups = groups.iter().enumerate();
    groups.map(|(place, group)| one(place, group)).collect()
}

fn one<'a>(place: usize, group: &grouping::Group<'a>) -> Group<'a> {
    let engines = listed(&group.engines());
    let mut told = Vec::new();
    let mut listed = Vec::new();
    for all in &group.requests {
        let Some(first) = all.first().copied() else {
            continue;
        };
        let fields = fields(first);
        let site = first.site.as_ref().map(ToString::to_string);
        let traces = all.iter().filter_map(|divergent| divergent.told.as_ref());
        // Two traces say more than one, and most where they part.
        let most = |traces: &&SideBySide| (traces.left.is_some(), traces.part());
        match traces.max_by_key(most) {
            Some(traces) => told.push(tell(first, traces, &engines, fields, site)),
            None => listed.push(Listed {
                divergent: first,
                fields,
                site,
            }),
        }
    }
    let details = group.rows.iter().flat_map(|row| &row.details);
    let reproducer = details
        .filter_map(|detail| detail.reproducer.as_ref())
        .next();
    Group {
        anchor: super::anchor(place),
        case: group.case(),
        count: group.requests.len(),
        engines,
        told,
        listed,
        reproducer: reproducer.map(|written| match written {
            Ok(folder) => format!("Reproducer: {}", folder.display()),
            Err(message) => format!("No reproducer: {message}"),
        }),
    }
}

fn fields(divergent: &Divergent) -> String {
    let names: Vec<&str> = divergent
        .divergence
        .fields
        .iter()
        .map(Field::name)
        .collect();
    if names.is_empty() {
        "trace".to_owned()
    } else {
        names.join(", ")
    }
}

fn tell<'a>(
    divergent: &'a Divergent,
    traces: &'a SideBySide,
    engines: &str,
    fields: String,
    site: Option<String>,
) -> Told<'a> {
    let mut lines = Vec::new();
    for field in Fields::EVERY.without(Field::NEVER_COMPARED).iter() {
        let values: Vec<Option<String>> = divergent
            .decisions
            .iter()
            .map(|(_, decision)| field.value(decision).map(std::borrow::Cow::into_owned))
            .collect();
        if values.iter().any(Option::is_some) {
            lines.push(FieldLine {
                name: field.name(),
                differs: divergent.divergence.fields.contains(field),
                values: values
                    .into_iter()
                    .map(|value| value.unwrap_or_else(|| "–".to_owned()))
                    .collect(),
            });
        }
    }
    Told {
        divergent,
        fields,
        site,
        deciders: deciders(divergent, engines),
        lines,
        reasons: divergent
            .decisions
            .iter()
            .filter_map(|(who, decision)| Some((*who, decision.reason.as_deref()?)))
            .collect(),
        traces,
        traces_equal: traces.left.is_some() && !traces.part(),
    }
}

/// Who decided: the last column is of all engines.
fn deciders(divergent: &Divergent, engines: &str) -> Vec<String> {
    let all = divergent.decisions.iter();
    let mut all: Vec<String> = all.map(|(who, _)| (*who).to_owned()).collect();
    if let Some(last) = all.last_mut() {
        engines.clone_into(last);
    }
    all
}
