//! `twinmesh router-check`: the tests of Envoy's route table check tool, without the tool.

pub mod coverage;
pub mod judge;
pub mod test_file;

use std::path::PathBuf;

use clap::Args;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use serde::Serialize;
use twinmesh_spec::route_table::RouteTable;
use twinmesh_xds::{Effect, FindingKind, Snapshot};

use self::coverage::Coverage;
use self::judge::Judged;
use crate::failure::{Failure, Status};
use crate::output::{self, Output};
use crate::profile::ProfileArgument;
use crate::words::counted;
use crate::{input, interrupt};

/// Runs test files of Envoy's router_check_tool against a route configuration.
///
/// Takes that tool's files and flags as they are. A test that cannot be decided fails, with the
/// reason. Exits with 1 where a test fails or the coverage is too low. docs/router-check.md tells
/// what is compared.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The route configuration (YAML or JSON), or any snapshot that holds one.
    #[arg(short, long, value_name = "FILE")]
    config_path: PathBuf,
    /// The tests (JSON or YAML).
    #[arg(short, long, value_name = "FILE")]
    test_path: PathBuf,
    /// Which route configuration of a snapshot that holds several.
    #[arg(long, value_name = "NAME")]
    route_config: Option<String>,
    /// Name the tests that pass, too.
    #[arg(short, long)]
    details: bool,
    /// Name no test that passes, not even with --details.
    #[arg(long)]
    only_show_failures: bool,
    /// Fail where fewer percent of the routes are covered.
    #[arg(short, long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    fail_under: f64,
    /// Count a route by how many of its fields are checked, and name those that are not.
    #[arg(long)]
    covall: bool,
    /// Name the routes without a test, which is always done.
    #[arg(long)]
    detailed_coverage: bool,
    /// Taken for the tool's sake: fields that Envoy only deprecates are always read.
    #[arg(long)]
    disable_deprecation_check: bool,
    #[command(flatten)]
    profile: ProfileArgument,
    /// Write the results to a file, as JSON.
    #[arg(short, long, value_name = "FILE")]
    output_path: Option<PathBuf>,
}

fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| "expected a number of percent".to_owned())?;
    if !(0.0..=100.0).contains(&number) {
        return Err("expected 0 to 100 percent".to_owned());
    }
    Ok(number)
}

/// What is written to `--output-path`.
#[derive(Serialize)]
struct Results<'a> {
    test_results: Vec<&'a Judged>,
    coverage: f64,
    missing: &'a [String],
}

/// Runs the command.
///
/// # Errors
/// An input is wrong, or an output is not taken.
pub fn run(arguments: &Arguments) -> Result<Status, Failure> {
    let profile = arguments
        .profile
        .of_an_envoy("the route table check tool")?;
    output::has_folder(arguments.output_path.as_deref())?;
    let snapshot = input::snapshot(&arguments.config_path, false, profile)?;
    let config = configuration(arguments, &snapshot)?;
    let validation = test_file::read(&arguments.test_path)?;
    let asked = validation
        .tests
        .iter()
        .filter_map(|test| test.validate.as_ref());
    let asked = asked.flat_map(|validate| {
        let requests = validate.request_header_matches.iter();
        requests.chain(&validate.response_header_matches)
    });
    let table = RouteTable::new(config, asked).map_err(|error| {
        Failure(format!(
            "{} with {}: {error}",
            arguments.config_path.display(),
            arguments.test_path.display()
        ))
    })?;
    let table = table.with_profile(profile);
    let mut coverage = Coverage::new(config);
    let mut judged = Vec::with_capacity(validation.tests.len());
    for test in &validation.tests {
        if interrupt::requested() {
            return Err(Failure(format!(
                "interrupted after {} of {} tests",
                judged.len(),
                validation.tests.len()
            )));
        }
        let test = judge::judge(&table, test);
        if let Some((taker, fields)) = &test.checked {
            coverage.add(*taker, fields);
        }
        judged.push(test);
    }
    report(arguments, &judged, &coverage)
}

fn report(
    arguments: &Arguments,
    judged: &[Judged],
    coverage: &Coverage<'_>,
) -> Result<Status, Failure> {
    let percent = coverage.percent(arguments.covall);
    let missing = coverage.missing(arguments.covall);
    if let Some(file) = &arguments.output_path {
        let results = Results {
            test_results: judged
                .iter()
                .filter(|test| !test.test_passed || !arguments.only_show_failures)
                .collect(),
            coverage: percent,
            missing: &missing,
        };
        let mut text = serde_json::to_vec_pretty(&results)
            .map_err(|error| Failure(format!("{}: {error}", file.display())))?;
        text.push(b'\n');
        output::file(file, &text)?;
    }
    let mut output = Output::stdout();
    for test in judged {
        if test.test_passed {
            if arguments.details && !arguments.only_show_failures {
                output.line(&test.test_name)?;
            }
            continue;
        }
        output.line(&test.test_name)?;
        for failure in &test.failures {
            output.lines(failure)?;
        }
    }
    for line in &missing {
        output.line(line)?;
    }
    let passed = judged.iter().filter(|test| test.test_passed).count();
    let is_open = |test: &&Judged| {
        let mut failures = test.failures.iter();
        !test.test_passed && failures.all(|failure| failure.undecided.is_some())
    };
    let undecided = judged.iter().filter(is_open).count();
    output.line(format!(
        "{passed} of {} passed, {} failed, {undecided} undecided",
        counted(judged.len(), "test"),
        judged.len() - passed - undecided
    ))?;
    output.line(format!("Current route coverage: {}%", shortest(percent)))?;
    output.finish()?;
    let is_covered = percent >= arguments.fail_under;
    if !is_covered {
        output::note(format!(
            "Failed to meet coverage requirement: {}%",
            shortest(arguments.fail_under)
        ));
    }
    if passed == judged.len() && is_covered {
        Ok(Status::Agreement)
    } else {
        Ok(Status::Divergence)
    }
}

/// The route configuration that is asked.
fn configuration<'a>(
    arguments: &Arguments,
    snapshot: &'a Snapshot,
) -> Result<&'a RouteConfiguration, Failure> {
    let file = arguments.config_path.display();
    let all = &snapshot.route_configurations;
    let names = || {
        let names: Vec<String> = all.iter().map(|one| format!("{:?}", one.name)).collect();
        names.join(", ")
    };
    let found = match (&arguments.route_config, all.as_slice()) {
        (Some(name), _) => snapshot.route_configuration(name).ok_or_else(|| {
            Failure(format!(
                "{file}: no route configuration is called {name:?}: expected one of {}",
                names()
            ))
        })?,
        (None, [one]) => one,
        (None, []) => {
            return Err(Failure(format!("{file}: it holds no route configuration")));
        }
        (None, _) => {
            return Err(Failure(format!(
                "{file}: it holds several route configurations: --route-config chooses one of {}",
                names()
            )));
        }
    };
    let resource = format!("route configuration {:?}", found.name);
    let unknown = snapshot.report.findings.iter().find(|finding| {
        finding.resource == resource
            && finding.effect == Effect::Unsupported
            && finding.kind != FindingKind::NotDecided
    });
    match unknown {
        Some(finding) => Err(Failure(format!("{file}: {finding}"))),
        None => Ok(&found.config),
    }
}

/// A number with up to six digits, as C++ streams write it.
fn shortest(number: f64) -> String {
    let whole = number.abs().log10().floor();
    let decimals = (5.0 - whole).clamp(0.0, 12.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 12"
    )]
    let text = format!("{number:.*}", decimals as usize);
    if text.contains('.') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0.0, "0")]
    #[case(100.0, "100")]
    #[case(200.0 / 3.0, "66.6667")]
    #[case(7.448_63, "7.44863")]
    #[case(0.074_486_3, "0.0744863")]
    #[case(50.0, "50")]
    fn numbers(#[case] number: f64, #[case] expected: &str) {
        assert_eq!(shortest(number), expected);
    }
}
