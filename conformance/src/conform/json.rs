//! The report for programs.

use serde::Serialize;
use twinmesh_engine::Decision;

use super::{Report, Row};
use crate::failure::Failure;

#[derive(Serialize)]
struct Document<'a> {
    agree: bool,
    cases: usize,
    left_out: usize,
    seed: u64,
    results: Vec<CaseResult<'a>>,
    engines_not_run: Vec<EngineNotRun<'a>>,
    errors: Vec<ErrorEntry<'a>>,
    known_divergences: Vec<KnownEntry<'a>>,
    false_alarm: f64,
}

#[derive(Serialize)]
struct KnownEntry<'a> {
    engine: &'a str,
    reason: &'a str,
    source: &'a str,
    requests: usize,
}

#[derive(Serialize)]
struct TestEntry<'a> {
    subject: &'a str,
    chi_square: f64,
    degrees_of_freedom: usize,
    p: f64,
    significance_level: f64,
    rejected: bool,
}

#[derive(Serialize)]
struct CaseResult<'a> {
    case: &'a str,
    engine: &'a str,
    compared_with: &'a [&'static str],
    requests: usize,
    agreements: usize,
    divergences: usize,
    known_divergences: usize,
    unsupported: usize,
    unsupported_reasons: Vec<ReasonEntry<'a>>,
    seconds: f64,
    decisions_per_second: Option<f64>,
    first_divergences: Vec<DivergenceEntry<'a>>,
    tests: Vec<TestEntry<'a>>,
}

#[derive(Serialize)]
struct ReasonEntry<'a> {
    reason: &'a str,
    requests: usize,
    first: &'a str,
}

#[derive(Serialize)]
struct DivergenceEntry<'a> {
    id: &'a str,
    line: usize,
    fields: Vec<&'static str>,
    note: Option<&'a str>,
    decisions: Vec<DecisionEntry<'a>>,
    steps: &'a [String],
    reproducer: Option<String>,
    no_reproducer: Option<&'a str>,
}

#[derive(Serialize)]
struct DecisionEntry<'a> {
    by: &'a str,
    decision: &'a Decision,
}

#[derive(Serialize)]
struct EngineNotRun<'a> {
    engine: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct ErrorEntry<'a> {
    case: &'a str,
    engine: Option<&'a str>,
    message: &'a str,
}

/// The whole report as one JSON object.
pub fn write(report: &Report) -> Result<String, Failure> {
    let document = Document {
        agree: report.errors.is_empty() && !report.diverges(),
        cases: report.cases,
        left_out: report.left_out,
        seed: report.seed,
        results: report.rows.iter().map(result).collect(),
        engines_not_run: report
            .not_run
            .iter()
            .map(|not_run| EngineNotRun {
                engine: &not_run.engine,
                reason: &not_run.reason,
            })
            .collect(),
        errors: report
            .errors
            .iter()
            .map(|error| ErrorEntry {
                case: &error.case,
                engine: error.engine,
                message: &error.message,
            })
            .collect(),
        known_divergences: report
            .known
            .iter()
            .map(|known| KnownEntry {
                engine: &known.engine,
                reason: &known.reason,
                source: &known.source,
                requests: known.count,
            })
            .collect(),
        false_alarm: super::FALSE_ALARM,
    };
    serde_json::to_string_pretty(&document)
        .map_err(|error| Failure(format!("the report cannot be written as JSON: {error}")))
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn result(row: &Row) -> CaseResult<'_> {
    let seconds = row.elapsed.as_secs_f64();
    CaseResult {
        case: &row.case,
        engine: row.engine,
        compared_with: &row.against,
        requests: row.counts.requests,
        agreements: row.counts.agreements,
        divergences: row.counts.divergences,
        known_divergences: row.counts.known,
        unsupported: row.counts.unsupported,
        unsupported_reasons: row
            .unsupported
            .iter()
            .map(|reason| ReasonEntry {
                reason: &reason.text,
                requests: reason.requests,
                first: &reason.first,
            })
            .collect(),
        seconds,
        decisions_per_second: (seconds > 0.0).then(|| row.counts.requests as f64 / seconds),
        first_divergences: row
            .details
            .iter()
            .map(|detail| DivergenceEntry {
                id: &detail.id,
                line: detail.line,
                fields: detail
                    .divergence
                    .fields
                    .iter()
                    .map(|field| field.name())
                    .collect(),
                note: detail.divergence.note.as_deref(),
                decisions: detail
                    .decisions
                    .iter()
                    .map(|(by, decision)| DecisionEntry { by, decision })
                    .collect(),
                steps: &detail.steps,
                reproducer: match &detail.reproducer {
                    Some(Ok(folder)) => Some(folder.display().to_string()),
                    _ => None,
                },
                no_reproducer: match &detail.reproducer {
                    Some(Err(message)) => Some(message),
                    _ => None,
                },
            })
            .collect(),
        tests: row
            .tests
            .iter()
            .map(|test| TestEntry {
                subject: &test.subject,
                chi_square: test.statistic,
                degrees_of_freedom: test.freedom,
                p: test.probability,
                significance_level: test.level,
                rejected: test.is_rejected,
            })
            .collect(),
    }
}
