//! `twinmesh check`: what in a snapshot is not known or not decided.

mod kernel;
mod resources;
mod sarif;
mod tables;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use twinmesh_xds::{Effect, Finding, FindingKind, Profile, Snapshot};

use crate::failure::{Failure, Status};
use crate::input;
use crate::output::{self, Output, Style};
use crate::profile::ProfileArgument;

use kernel::Kernel;
use resources::Resources;
use tables::{TableFinding, Tables};

/// Reads a snapshot and reports what in it is not known or not decided.
///
/// The report lists the findings by resource, with path and effect: first those that make requests
/// unsupported, then what is not in force or stands elsewhere (caution), then what is unsupported in
/// the compiled tables only, and at the end what changes no decision. Between them it counts the resources and how many of them are decided in full, and
/// tells the sizes of the compiled tables and what of the snapshot the kernel can decide.
///
/// A snapshot that Envoy would refuse is refused, with the path of what is wrong (exit code 2).
/// What is read over cannot influence a decision, or only by load or failures; a request that gets as far as what is
/// unsupported has the outcome `unsupported`, with the reason.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The snapshot, in any of the forms; `-`: from standard input.
    #[arg(value_name = "SNAPSHOT")]
    snapshot: PathBuf,
    #[command(flatten)]
    profile: ProfileArgument,
    /// Refuse a snapshot in which anything is not known or not decided.
    #[arg(long)]
    strict: bool,
    /// Write the report as JSON.
    #[arg(long)]
    json: bool,
    /// Write the findings to this file too, as SARIF 2.1.0 for code scanning: each at its line of the
    /// snapshot. Of a snapshot that is refused, why.
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document<'a> {
    snapshot: String,
    /// Whose rules decide.
    profile: &'static str,
    resources: Resources,
    tables: &'a Tables,
    /// What only the tables leave undecided.
    table_findings: &'a [TableFinding<'a>],
    /// Absent where the tables do not hold the snapshot.
    kernel: Option<&'a Kernel<'a>>,
    findings: Vec<FindingEntry<'a>>,
}

/// All that there is to say of a snapshot.
struct Report<'a> {
    snapshot: &'a Snapshot,
    tables: Tables,
    table_findings: Vec<TableFinding<'a>>,
    kernel: Option<Kernel<'a>>,
}

#[derive(Serialize)]
struct FindingEntry<'a> {
    resource: &'a str,
    path: &'a str,
    kind: &'static str,
    effect: &'static str,
    message: &'a str,
}

/// Runs the command.
///
/// # Errors
/// The snapshot cannot be read, or standard output does not take the report.
pub fn run(arguments: &Arguments, style: Style) -> Result<Status, Failure> {
    let file = &arguments.snapshot;
    output::has_folder(arguments.sarif.as_deref())?;
    let snapshot = match input::snapshot(file, arguments.strict, arguments.profile.profile()) {
        Ok(snapshot) => Arc::new(snapshot),
        Err(error) => {
            if let Some(log) = &arguments.sarif {
                output::file(log, sarif::of_error(file, &error)?.as_bytes())?;
            }
            return Err(error.into());
        }
    };
    let compiled = twinmesh_compile::compile(&snapshot);
    if let Some(log) = &arguments.sarif {
        let (undecided, over) = match &compiled {
            Ok(compiled) => (compiled.undecided(), None),
            Err(over) => (&[][..], Some(over.to_string())),
        };
        let findings = &snapshot.report.findings;
        let text = sarif::of_findings(file, findings, undecided, over)?;
        output::file(log, text.as_bytes())?;
    }
    let report = match &compiled {
        Ok(compiled) => Report {
            snapshot: &snapshot,
            tables: Tables::of(compiled),
            table_findings: tables::findings(compiled),
            kernel: Some(Kernel::of(&snapshot, compiled)),
        },
        Err(over) => Report {
            snapshot: &snapshot,
            tables: Tables::OverCapacity(over.to_string()),
            table_findings: Vec::new(),
            kernel: None,
        },
    };
    let mut output = Output::stdout();
    if arguments.json {
        let document = Document {
            snapshot: file.display().to_string(),
            profile: snapshot.profile.name(),
            resources: Resources::of(&snapshot, &HashSet::new()),
            tables: &report.tables,
            table_findings: &report.table_findings,
            kernel: report.kernel.as_ref(),
            findings: snapshot.report.findings.iter().map(entry).collect(),
        };
        let text = serde_json::to_string_pretty(&document)
            .map_err(|error| Failure(format!("the report cannot be written as JSON: {error}")))?;
        output.data(text)?;
    } else {
        report.write(style, &mut output)?;
    }
    output.finish()?;
    match compiled {
        Ok(_) => Ok(Status::Agreement),
        Err(over) => Err(Failure(format!(
            "{}: the compiled tables do not hold it: {over}",
            file.display()
        ))),
    }
}

impl Report<'_> {
    /// What makes requests unsupported goes first.
    fn write(&self, style: Style, output: &mut Output) -> Result<(), Failure> {
        let findings = &self.snapshot.report.findings;
        if let Some(rules) = rules(self.snapshot.profile) {
            output.line(rules)?;
        }
        if !findings.is_empty() {
            self.write_counts(style, output)?;
        }
        write_findings(findings, Effect::Unsupported, style, output)?;
        write_findings(findings, Effect::Caution, style, output)?;
        if !findings.is_empty() && !self.table_findings.is_empty() {
            output.line("")?;
        }
        tables::write_findings(&self.table_findings, style, output)?;
        if !findings.is_empty() || !self.table_findings.is_empty() {
            output.line("")?;
        }
        let resources = Resources::of(self.snapshot, &HashSet::new());
        output.line(style.bold("resources (decided in full / all)"))?;
        for (name, count) in resources.by_name() {
            output.line(count.line(name, style))?;
        }
        output.line(format!("  {:<21} {:>7}", "endpoints", resources.endpoints))?;
        self.tables.write(style, output)?;
        if let Some(kernel) = &self.kernel {
            kernel.write(style, output)?;
        }
        if findings.is_empty() {
            let decided = if self.table_findings.is_empty() {
                "nothing is unknown, everything is decided"
            } else {
                "nothing is unknown, and spec decides everything"
            };
            output.line("")?;
            return output.line(style.green(decided));
        }
        write_findings(findings, Effect::ReadOver, style, output)
    }

    fn write_counts(&self, style: Style, output: &mut Output) -> Result<(), Failure> {
        let findings = &self.snapshot.report.findings;
        let count = |effect: Effect| {
            let same = findings.iter().filter(|finding| finding.effect == effect);
            same.count()
        };
        let plural = if findings.len() == 1 { "" } else { "s" };
        output.line(style.bold(&format!(
            "{} finding{plural}: {} unsupported (requests that get that far are not decided), {} caution (not in force, elsewhere, or not looked at: decisions are made without it), {} read over (no decision tells of them, or only once load or failures make them act)",
            findings.len(),
            count(Effect::Unsupported),
            count(Effect::Caution),
            count(Effect::ReadOver),
        )))
    }
}

/// What is to be known of another profile than Envoy 1.40's.
fn rules(profile: Profile) -> Option<&'static str> {
    match profile {
        Profile::Envoy140 => None,
        Profile::Envoy138 => Some(
            "by the rules of envoy-1.38: header matchers see the lines of a repeated header as one; \
             what 1.38 refuses and 1.40 takes is taken (docs/profiles.md)",
        ),
        Profile::Grpc => Some(
            "by the rules of grpc: its client's calls to a route configuration; what a call cannot \
             be, listeners, and the kernel are unsupported (docs/profiles.md)",
        ),
    }
}

/// The findings of one effect, by resource.
fn write_findings(
    findings: &[Finding],
    effect: Effect,
    style: Style,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut order: Vec<&str> = Vec::new();
    let mut by_resource: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding.effect == effect) {
        let group = by_resource.entry(&finding.resource).or_default();
        if group.is_empty() {
            order.push(&finding.resource);
        }
        group.push(finding);
    }
    if order.is_empty() {
        return Ok(());
    }
    output.line("")?;
    let title = format!("{}:", effect_name(effect).replace('_', " "));
    output.line(match effect {
        Effect::Unsupported | Effect::Caution => style.yellow(&title),
        Effect::ReadOver => style.dim(&title),
    })?;
    for resource in order {
        output.line(format!("  {resource}"))?;
        for finding in by_resource.get(resource).into_iter().flatten() {
            if !finding.path.is_empty() {
                output.line(format!("    {}", finding.path))?;
            }
            output.line(format!(
                "      {}: {}",
                kind_name(finding.kind).replace('_', " "),
                finding.message
            ))?;
        }
    }
    Ok(())
}

fn entry(finding: &Finding) -> FindingEntry<'_> {
    FindingEntry {
        resource: &finding.resource,
        path: &finding.path,
        kind: kind_name(finding.kind),
        effect: effect_name(finding.effect),
        message: &finding.message,
    }
}

fn kind_name(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::UnknownField => "unknown_field",
        FindingKind::UnknownType => "unknown_type",
        FindingKind::NotDecided => "not_decided",
    }
}

fn effect_name(effect: Effect) -> &'static str {
    match effect {
        Effect::ReadOver => "read_over",
        Effect::Unsupported => "unsupported",
        Effect::Caution => "caution",
    }
}
