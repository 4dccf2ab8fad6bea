//! The report for continuous integration: a suite for each engine, a test for each case.

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::grouping::{Group, groups, listed};
use super::{Report, Row};
use crate::failure::Failure;
use crate::place::Site;

/// The report as JUnit XML.
pub fn write(report: &Report) -> Result<String, Failure> {
    let mut document = quick_junit::Report::new("twinmesh conform");
    let mut engines: Vec<&str> = Vec::new();
    let names = report.rows.iter().map(|row| row.engine);
    for name in names.chain(
        report
            .errors
            .iter()
            .map(|error| error.engine.unwrap_or("case")),
    ) {
        if !engines.contains(&name) {
            engines.push(name);
        }
    }
    let groups = groups(report);
    for engine in engines {
        let mut suite = TestSuite::new(engine);
        for row in report.rows.iter().filter(|row| row.engine == engine) {
            let status = if row.counts.divergences > 0 {
                failure(row, &groups)
            } else {
                TestCaseStatus::success()
            };
            let mut test = TestCase::new(row.case.as_str(), status);
            test.set_classname(engine);
            test.set_time(row.elapsed);
            test.set_system_out(format!(
                "requests {}, agreements {}, divergences {}, unsupported {}",
                row.counts.requests,
                row.counts.agreements,
                row.counts.divergences,
                row.counts.unsupported
            ));
            suite.add_test_case(test);
        }
        let errors = report.errors.iter();
        for error in errors.filter(|error| error.engine.unwrap_or("case") == engine) {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_message(error.message.as_str());
            let mut test = TestCase::new(error.case.as_str(), status);
            test.set_classname(engine);
            suite.add_test_case(test);
        }
        document.add_test_suite(suite);
    }
    for not_run in &report.not_run {
        let mut status = TestCaseStatus::skipped();
        status.set_message(not_run.reason.as_str());
        let mut test = TestCase::new("engine runs", status);
        test.set_classname(not_run.engine.as_str());
        let mut suite = TestSuite::new(not_run.engine.as_str());
        suite.add_test_case(test);
        document.add_test_suite(suite);
    }
    document
        .to_string()
        .map_err(|error| Failure(format!("the JUnit report cannot be written: {error}")))
}

/// What is said of a case through an engine: where the recording differs from several engines, it is
/// told with the first of them.
fn failure(row: &Row, groups: &[Group<'_>]) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    let first = row.details.first();
    let place = first.and_then(|detail| site(row, detail.line));
    let place = place.map_or_else(String::new, |site| format!(", first at {site}"));
    let own: Vec<&Group<'_>> = groups.iter().filter(|group| group.is_of(row)).collect();
    let before = own
        .iter()
        .filter_map(|group| group.engines().first().copied());
    let mut before: Vec<&str> = before.filter(|engine| *engine != row.engine).collect();
    before.dedup();
    let as_before = match before.as_slice() {
        [] => String::new(),
        before => format!(", as with {}", listed(before)),
    };
    status.set_message(format!(
        "{} of {} requests diverge{as_before}{place}",
        row.counts.divergences, row.counts.requests
    ));
    let lines = row.details.iter().filter_map(|detail| {
        let group = own.iter().find(|group| {
            let mut requests = group.requests.iter().flatten();
            requests.any(|divergent| divergent.line == detail.line)
        });
        let engines = group.map_or_else(Vec::new, |group| group.engines());
        if engines.first().is_some_and(|first| *first != row.engine) {
            return None;
        }
        let fields: Vec<&str> = detail
            .divergence
            .fields
            .iter()
            .map(|field| field.name())
            .collect();
        let note = detail.divergence.note.as_deref().unwrap_or("");
        let mut text = format!(
            "request {} (line {}): {} {note}",
            detail.id,
            detail.line,
            fields.join(", ")
        );
        text.truncate(text.trim_end().len());
        if engines.len() > 1 {
            text.push_str(&format!(", decided alike by {}", listed(&engines)));
        }
        if let Some(site) = site(row, detail.line) {
            text.push_str(&format!(", decided at {site}"));
        }
        Some(text)
    });
    status.set_description(lines.collect::<Vec<String>>().join("\n"));
    status
}

/// Where in the snapshot the request in this line of the traffic was decided otherwise.
fn site(row: &Row, line: usize) -> Option<&Site> {
    let divergents = row.observed.divergents.iter();
    let mut here = divergents.filter(|divergent| divergent.line == line);
    here.find_map(|divergent| divergent.site.as_ref())
}
