//! The report to look at: one HTML page that needs nothing beside itself.
//!
//! Snapshots and traffic are hostile here: every text goes through the template's escaping, and the
//! page allows neither scripts nor anything from elsewhere.

mod coverage;
mod divergences;
mod latency;
mod matrix;
mod numbers;
mod shares;

use askama::Template;

use super::grouping;
use super::wilson::CONFIDENCE_PERCENT;
use super::{Counts, Report};
use crate::failure::Failure;

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    version: &'static str,
    confidence: f64,
    agrees: bool,
    counts: Counts,
    report: &'a Report,
    matrix: matrix::Matrix<'a>,
    divergences: Vec<divergences::Group<'a>>,
    splits: Vec<shares::CaseShares<'a>>,
    endpoints: Vec<shares::CaseShares<'a>>,
    latencies: Vec<latency::Latency>,
    coverage: Vec<coverage::CaseCoverage<'a>>,
}

/// The report as one page.
pub fn write(report: &Report) -> Result<String, Failure> {
    let compared = report.rows.iter().filter(|row| !row.against.is_empty());
    let groups = grouping::groups(report);
    let page = Page {
        version: env!("CARGO_PKG_VERSION"),
        confidence: CONFIDENCE_PERCENT,
        agrees: report.errors.is_empty() && !report.diverges(),
        counts: compared.fold(Counts::default(), |counts, row| counts.plus(row.counts)),
        report,
        matrix: matrix::of(report, &groups),
        divergences: divergences::of(&groups),
        splits: shares::of(report, shares::Kind::Clusters),
        endpoints: shares::of(report, shares::Kind::Endpoints),
        latencies: latency::of(report),
        coverage: coverage::of(report),
    };
    page.render()
        .map_err(|error| Failure(format!("the HTML report cannot be written: {error}")))
}

/// The engines that ran, in the order of the tables.
fn engines(report: &Report) -> Vec<&'static str> {
    let mut engines: Vec<&'static str> = Vec::new();
    for row in &report.rows {
        if !engines.contains(&row.engine) {
            engines.push(row.engine);
        }
    }
    engines
}

/// What a group of divergences is called in links; case names are any text.
fn anchor(place: usize) -> String {
    format!("divergences-{place}")
}
