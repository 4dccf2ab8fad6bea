//! Every divergence: both decisions, and both traces side by side.

use super::super::Report;
use super::super::divergent::{Divergent, SideBySide};
use crate::comparison::{Field, Fields};

/// The divergences of a case and engine.
pub struct Group<'a> {
    pub anchor: String,
    pub case: &'a str,
    pub engine: &'static str,
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
    pub deciders: Vec<&'static str>,
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

pub fn of(report: &Report) -> Vec<Group<'_>> {
    let rows = report.rows.iter().filter(|row| row.counts.divergences > 0);
    rows.map(|row| {
        let mut told = Vec::new();
        let mut listed = Vec::new();
        for divergent in &row.observed.divergents {
            let fields = fields(divergent);
            let site = divergent.site.as_ref().map(ToString::to_string);
            match &divergent.told {
                Some(traces) => told.push(tell(divergent, traces, fields, site)),
                None => listed.push(Listed {
                    divergent,
                    fields,
                    site,
                }),
            }
        }
        let reproducer = row
            .details
            .iter()
            .find_map(|detail| detail.reproducer.as_ref());
        Group {
            anchor: super::anchor(report, &row.case, row.engine),
            case: &row.case,
            engine: row.engine,
            count: row.counts.divergences,
            told,
            listed,
            reproducer: reproducer.map(|written| match written {
                Ok(folder) => format!("Reproducer: {}", folder.display()),
                Err(message) => format!("No reproducer: {message}"),
            }),
        }
    })
    .collect()
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
        deciders: divergent.decisions.iter().map(|(who, _)| *who).collect(),
        lines,
        reasons: divergent
            .decisions
            .iter()
            .filter_map(|(who, decision)| Some((*who, decision.reason.as_deref()?)))
            .collect(),
        traces,
        traces_equal: traces.left.is_some() && !traces.rows.iter().any(|row| row.parts),
    }
}
