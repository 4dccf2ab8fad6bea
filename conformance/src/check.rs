//! `twinmesh check`: what in a snapshot is not known or not decided.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use twinmesh_xds::{Effect, Finding, FindingKind, Snapshot};

use crate::failure::{Failure, Status};
use crate::input;
use crate::output::{Output, Style};

/// Reads a snapshot and reports what in it is not known or not decided.
///
/// A snapshot that Envoy would refuse is refused, with the path of what is wrong (exit code 2).
/// What is read over cannot influence a decision; a request that gets as far as what is
/// unsupported has the outcome `unsupported`, with the reason.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The snapshot, in any of the forms.
    #[arg(value_name = "SNAPSHOT")]
    snapshot: PathBuf,
    /// Refuse a snapshot in which anything is not known or not decided.
    #[arg(long)]
    strict: bool,
    /// Write the report as JSON.
    #[arg(long)]
    json: bool,
}

/// How many of each resource there are, and how many of them are decided in full.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Resources {
    listeners: Decided,
    filter_chains: Decided,
    route_configurations: Decided,
    virtual_hosts: Decided,
    routes: Decided,
    clusters: Decided,
    endpoints: usize,
    regexes: Decided,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Decided {
    total: usize,
    decided: usize,
}

#[derive(Serialize)]
struct Document<'a> {
    snapshot: String,
    resources: Resources,
    findings: Vec<FindingEntry<'a>>,
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
    let snapshot = input::snapshot(&arguments.snapshot, arguments.strict)?;
    let mut output = Output::stdout();
    if arguments.json {
        let document = Document {
            snapshot: arguments.snapshot.display().to_string(),
            resources: Resources::of(&snapshot),
            findings: snapshot.report.findings.iter().map(entry).collect(),
        };
        let text = serde_json::to_string_pretty(&document)
            .map_err(|error| Failure(format!("the report cannot be written as JSON: {error}")))?;
        output.line(text)?;
    } else {
        write(&snapshot, style, &mut output)?;
    }
    output.finish()?;
    Ok(Status::Agreement)
}

fn write(snapshot: &Snapshot, style: Style, output: &mut Output) -> Result<(), Failure> {
    let resources = Resources::of(snapshot);
    output.line(style.bold("resources (decided in full / all)"))?;
    for (name, count) in [
        ("listeners", &resources.listeners),
        ("filter chains", &resources.filter_chains),
        ("route configurations", &resources.route_configurations),
        ("virtual hosts", &resources.virtual_hosts),
        ("routes", &resources.routes),
        ("clusters", &resources.clusters),
        ("regexes", &resources.regexes),
    ] {
        let text = format!("  {name:<21} {:>7} / {}", count.decided, count.total);
        if count.decided < count.total {
            output.line(style.yellow(&text))?;
        } else {
            output.line(text)?;
        }
    }
    output.line(format!("  {:<21} {:>7}", "endpoints", resources.endpoints))?;
    let findings = &snapshot.report.findings;
    let count = |effect: Effect| {
        let same = findings.iter().filter(|finding| finding.effect == effect);
        same.count()
    };
    output.line("")?;
    if findings.is_empty() {
        return output.line(style.green("nothing is unknown, everything is decided"));
    }
    output.line(style.bold(&format!(
        "{} findings: {} unsupported (requests that get that far are not decided), {} read over (they cannot influence a decision)",
        findings.len(),
        count(Effect::Unsupported),
        count(Effect::ReadOver),
    )))?;
    for effect in [Effect::Unsupported, Effect::ReadOver] {
        write_findings(findings, effect, style, output)?;
    }
    Ok(())
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
        Effect::Unsupported => style.yellow(&title),
        Effect::ReadOver => style.dim(&title),
    })?;
    for resource in order {
        output.line(format!("  {resource}"))?;
        for finding in by_resource.get(resource).into_iter().flatten() {
            output.line(format!("    {}", finding.path))?;
            output.line(format!(
                "      {}: {}",
                kind_name(finding.kind).replace('_', " "),
                finding.message
            ))?;
        }
    }
    Ok(())
}

impl Resources {
    fn of(snapshot: &Snapshot) -> Self {
        let mut resources = Self::default();
        for listener in &snapshot.listeners {
            let whole = listener.unsupported.is_none();
            resources.listeners.add(whole);
            let chains = listener.filter_chains.iter();
            for chain in chains.chain(&listener.default_filter_chain) {
                resources
                    .filter_chains
                    .add(whole && chain.unsupported.is_none());
            }
        }
        for configuration in &snapshot.route_configurations {
            let whole = configuration.unsupported.is_none();
            resources.route_configurations.add(whole);
            for virtual_host in &configuration.virtual_hosts {
                let whole = whole && virtual_host.unsupported.is_none();
                resources.virtual_hosts.add(whole);
                for route in &virtual_host.routes {
                    resources.routes.add(whole && route.is_none());
                }
            }
        }
        for cluster in &snapshot.clusters {
            resources.clusters.add(cluster.unsupported.is_none());
            let assignment = cluster.load_assignment.iter();
            resources.endpoints += assignment
                .flat_map(|assignment| &assignment.endpoints)
                .map(|locality| locality.lb_endpoints.len())
                .sum::<usize>();
        }
        for regex in snapshot.regexes.values() {
            resources.regexes.add(regex.is_ok());
        }
        resources
    }
}

impl Decided {
    fn add(&mut self, decided: bool) {
        self.total += 1;
        self.decided += usize::from(decided);
    }
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
    }
}
