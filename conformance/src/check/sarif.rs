//! What `check` finds, as results at the lines of the snapshot.

use std::path::Path;

use twinmesh_compile::Undecided;
use twinmesh_xds::{Effect, FindingKind, Target, locate};

use crate::failure::Failure;
use crate::input::InputError;
use crate::sarif::{self, Finding, Level, Rule, rules};
use crate::words::without_indices;

/// What is to be said of a snapshot, and where in it.
struct Saying<'a> {
    rule: &'static Rule,
    level: Level,
    resource: &'a str,
    path: &'a str,
    message: String,
}

/// The findings of a snapshot that was read; `over` is what its tables do not hold.
pub fn of_findings(
    file: &Path,
    findings: &[twinmesh_xds::Finding],
    undecided: &[Undecided],
    over: Option<String>,
) -> Result<String, Failure> {
    let mut sayings: Vec<Saying<'_>> = findings.iter().map(of_finding).collect();
    sayings.extend(undecided.iter().map(|undecided| Saying {
        rule: &rules::UNSUPPORTED_BY_TABLES,
        level: Level::Warning,
        resource: &undecided.resource,
        path: &undecided.path,
        message: format!(
            "{}; {} are unsupported",
            undecided.reason, undecided.requests
        ),
    }));
    let targets: Vec<Target> = sayings
        .iter()
        .map(|saying| Target {
            resource: saying.resource.to_owned(),
            path: saying.path.to_owned(),
        })
        .collect();
    let name = file.display().to_string();
    let bytes =
        std::fs::read(file).map_err(|error| Failure(format!("{name}: cannot be read: {error}")))?;
    let positions = locate(&name, &bytes, &targets);
    let mut results: Vec<Finding> = sayings
        .into_iter()
        .zip(positions)
        .map(|(saying, position)| finding(file, saying, position))
        .collect();
    let failed = over.is_some();
    results.extend(over.map(|over| Finding {
        rule: &rules::OVER_CAPACITY,
        level: None,
        identity: Vec::new(),
        message: format!("the compiled tables do not hold the snapshot: {over}"),
        file: Some(file.to_owned()),
        position: None,
        field: String::new(),
        related: None,
    }));
    sarif::write(&results, &[], failed)
}

/// Why a snapshot was not read.
pub fn of_error(file: &Path, error: &InputError) -> Result<String, Failure> {
    let place = match error {
        InputError::Snapshot(error) => error.place(),
        _ => None,
    };
    let path = place.map_or("", |place| place.path.as_str());
    let result = Finding {
        rule: &rules::REFUSED,
        level: None,
        message: error.to_string(),
        file: Some(file.to_owned()),
        position: place.and_then(|place| place.position),
        field: path.to_owned(),
        related: None,
        identity: vec![without_indices(path)],
    };
    sarif::write(&[result], &[], true)
}

fn of_finding(finding: &twinmesh_xds::Finding) -> Saying<'_> {
    let rule = match (finding.kind, finding.effect) {
        (FindingKind::UnknownField, _) => &rules::UNKNOWN_FIELD,
        (FindingKind::UnknownType, _) => &rules::UNKNOWN_TYPE,
        (FindingKind::NotDecided, Effect::Unsupported) => &rules::UNSUPPORTED,
        (FindingKind::NotDecided, Effect::Caution) => &rules::NOT_IN_FORCE,
        (FindingKind::NotDecided, Effect::ReadOver) => &rules::READ_OVER,
    };
    Saying {
        rule,
        level: match finding.effect {
            Effect::Unsupported | Effect::Caution => Level::Warning,
            Effect::ReadOver => Level::Note,
        },
        resource: &finding.resource,
        path: &finding.path,
        message: finding.message.clone(),
    }
}

fn finding(file: &Path, saying: Saying<'_>, position: Option<(u64, u64)>) -> Finding {
    let field = format!("{} {}", saying.resource, saying.path);
    Finding {
        rule: saying.rule,
        level: Some(saying.level),
        identity: vec![
            saying.resource.to_owned(),
            without_indices(saying.path),
            saying.message.clone(),
        ],
        message: format!("{}: {}", field.trim_end(), saying.message),
        file: Some(file.to_owned()),
        position,
        field: field.trim_end().to_owned(),
        related: None,
    }
}
