//! The report for continuous integration: a suite for each engine, a test for each case.

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

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
    for engine in engines {
        let mut suite = TestSuite::new(engine);
        for row in report.rows.iter().filter(|row| row.engine == engine) {
            let status = if row.counts.divergences > 0 {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                let first = row.details.first();
                let place = first.and_then(|detail| site(row, detail.line));
                let place = place.map_or_else(String::new, |site| format!(", first at {site}"));
                status.set_message(format!(
                    "{} of {} requests diverge{place}",
                    row.counts.divergences, row.counts.requests
                ));
                let lines: Vec<String> = row
                    .details
                    .iter()
                    .map(|detail| {
                        let fields: Vec<&str> = detail
                            .divergence
                            .fields
                            .iter()
                            .map(|field| field.name())
                            .collect();
                        let note = detail.divergence.note.as_deref().unwrap_or("");
                        let text = format!(
                            "request {} (line {}): {} {note}",
                            detail.id,
                            detail.line,
                            fields.join(", ")
                        );
                        match site(row, detail.line) {
                            Some(site) => format!("{}, decided at {site}", text.trim_end()),
                            None => text,
                        }
                    })
                    .collect();
                status.set_description(lines.join("\n"));
                status
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

/// Where in the snapshot the request in this line of the traffic was decided otherwise.
fn site(row: &Row, line: usize) -> Option<&Site> {
    let divergents = row.observed.divergents.iter();
    let mut here = divergents.filter(|divergent| divergent.line == line);
    here.find_map(|divergent| divergent.site.as_ref())
}
