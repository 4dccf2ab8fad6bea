//! SARIF 2.1.0: results that code scanning shows at a line of the snapshot.

mod location;
pub mod rules;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_sarif::sarif::{
    Invocation, Message, MultiformatMessageString, Notification, PropertyBag,
    ReportingConfiguration, ReportingDescriptor, Result as SarifResult, Run, Sarif, Tool,
    ToolComponent,
};
use sha2::{Digest, Sha256};

use crate::failure::Failure;
pub use rules::{Level, Rule};

/// Where the schema of the format is published.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// Name and version of the fingerprints; another way to make them takes another.
const FINGERPRINT: &str = "twinmesh/v1";

/// Something to show at a place.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What it is a case of.
    pub rule: &'static Rule,
    /// How bad it is, where that is not what the rule says.
    pub level: Option<Level>,
    /// What is to be said, as plain text.
    pub message: String,
    /// The file; none where it is known nowhere.
    pub file: Option<PathBuf>,
    /// Line and column, both from 1, columns in characters.
    pub position: Option<(u64, u64)>,
    /// The resource and the field.
    pub field: String,
    /// Another place that belongs to it: a file, its line, and what stands there.
    pub related: Option<(PathBuf, usize, String)>,
    /// What tells it from others and stays the same when lines and indices move.
    pub identity: Vec<String>,
}

/// What has to be said of the run itself.
#[derive(Debug, Clone)]
pub struct Remark {
    /// How bad it is.
    pub level: Level,
    /// What it is.
    pub message: String,
}

/// The log as JSON; `failed` where the run did not come to its end.
pub fn write(findings: &[Finding], remarks: &[Remark], failed: bool) -> Result<String, Failure> {
    let mut used: Vec<&'static Rule> = Vec::new();
    for finding in findings {
        if !used.iter().any(|rule| rule.id == finding.rule.id) {
            used.push(finding.rule);
        }
    }
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let results: Vec<SarifResult> = findings
        .iter()
        .map(|finding| result(finding, &used, &mut seen))
        .collect();
    let driver = ToolComponent::builder()
        .name("twinmesh")
        .version(env!("CARGO_PKG_VERSION"))
        .semantic_version(env!("CARGO_PKG_VERSION"))
        .rules(used.iter().map(|rule| descriptor(rule)).collect::<Vec<_>>())
        .build();
    let notifications: Vec<Notification> = remarks
        .iter()
        .map(|remark| {
            Notification::builder()
                .level(remark.level.name())
                .message(message(&remark.message))
                .build()
        })
        .collect();
    let invocation = Invocation::builder()
        .execution_successful(!failed)
        .tool_execution_notifications(notifications)
        .build();
    let run = Run::builder()
        .tool(Tool::builder().driver(driver).build())
        .column_kind("unicodeCodePoints")
        .invocations(vec![invocation])
        .results(results)
        .build();
    let log = Sarif::builder()
        .schema(SCHEMA)
        .version("2.1.0")
        .runs(vec![run])
        .build();
    serde_json::to_string_pretty(&log)
        .map_err(|error| Failure(format!("the SARIF report cannot be written: {error}")))
}

fn descriptor(rule: &Rule) -> ReportingDescriptor {
    let text = |text: &str| MultiformatMessageString::builder().text(text).build();
    ReportingDescriptor::builder()
        .id(rule.id)
        .short_description(text(rule.title))
        .full_description(text(rule.help))
        .help(text(rule.help))
        .default_configuration(
            ReportingConfiguration::builder()
                .level(rule.level.name())
                .build(),
        )
        .properties(
            PropertyBag::builder()
                .tags(vec!["envoy".to_owned(), "routing".to_owned()])
                .build(),
        )
        .build()
}

fn result(
    finding: &Finding,
    used: &[&'static Rule],
    seen: &mut BTreeMap<String, usize>,
) -> SarifResult {
    let place = used.iter().position(|rule| rule.id == finding.rule.id);
    let related = finding.related.iter().map(location::related);
    SarifResult::builder()
        .rule_id(finding.rule.id)
        .rule_index(
            place
                .and_then(|place| i64::try_from(place).ok())
                .unwrap_or(-1),
        )
        .level(finding.level.unwrap_or(finding.rule.level).of_result())
        .message(message(&finding.message))
        .locations(location::of(finding).into_iter().collect::<Vec<_>>())
        .related_locations(related.collect::<Vec<_>>())
        .partial_fingerprints(BTreeMap::from([(
            FINGERPRINT.to_owned(),
            fingerprint(finding, seen),
        )]))
        .build()
}

/// A text as it is to be shown: what would read as a link is none.
fn message(text: &str) -> Message {
    Message::builder().text(text.replace("](", "] (")).build()
}

/// Of those that nothing tells apart, each has its number.
fn fingerprint(finding: &Finding, seen: &mut BTreeMap<String, usize>) -> String {
    let mut hash = Sha256::new();
    for part in std::iter::once(finding.rule.id).chain(finding.identity.iter().map(String::as_str))
    {
        // With the length before it no part runs into the next.
        hash.update(part.len().to_le_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let text: String = digest
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let number = seen.entry(text.clone()).or_default();
    *number += 1;
    format!("{text}:{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(identity: &str) -> Finding {
        Finding {
            rule: &rules::READ_OVER,
            level: None,
            message: "[a](http://x.test)".to_owned(),
            file: None,
            position: None,
            field: String::new(),
            related: None,
            identity: vec![identity.to_owned()],
        }
    }

    #[test]
    fn fingerprints_tell_apart_what_is_apart() {
        let mut seen = BTreeMap::new();
        let one = fingerprint(&finding("a"), &mut seen);
        let two = fingerprint(&finding("a"), &mut seen);
        let other = fingerprint(&finding("b"), &mut seen);
        assert!(one != two && one != other && two != other);
        assert_eq!(one, fingerprint(&finding("a"), &mut BTreeMap::new()));
    }

    #[test]
    fn no_text_becomes_a_link() {
        let text = write(&[finding("a")], &[], false).expect("a log");
        assert!(text.contains("[a] (http://x.test)"), "{text}");
    }
}
