//! `twinmesh check`: what in a snapshot is not known or not decided.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use twinmesh_xds::{Effect, Finding, FindingKind, Snapshot};

use crate::failure::{Failure, Status};
use crate::input;
use crate::output::{Output, Style};

/// Reads a snapshot and reports what in it is not known or not decided.
///
/// The report counts the resources and how many of them are decided in full, tells the sizes of
/// the compiled tables, and lists the findings by resource, with path and effect.
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
    tables: Tables,
    findings: Vec<FindingEntry<'a>>,
}

/// Sizes of the compiled tables, which the model reads in every engine but `spec`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Tables {
    /// They hold the snapshot.
    Sizes {
        policy_bytes: u64,
        state_bytes: u64,
        trie_entries: u64,
        names: u64,
    },
    /// They do not: what there is too much of.
    OverCapacity(String),
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
    let snapshot = Arc::new(input::snapshot(&arguments.snapshot, arguments.strict)?);
    let tables = Tables::of(&snapshot);
    let mut output = Output::stdout();
    if arguments.json {
        let document = Document {
            snapshot: arguments.snapshot.display().to_string(),
            resources: Resources::of(&snapshot),
            tables: tables.clone(),
            findings: snapshot.report.findings.iter().map(entry).collect(),
        };
        let text = serde_json::to_string_pretty(&document)
            .map_err(|error| Failure(format!("the report cannot be written as JSON: {error}")))?;
        output.line(text)?;
    } else {
        write(&snapshot, &tables, style, &mut output)?;
    }
    output.finish()?;
    match tables {
        Tables::Sizes { .. } => Ok(Status::Agreement),
        Tables::OverCapacity(message) => Err(Failure(format!(
            "{}: the compiled tables do not hold it: {message}",
            arguments.snapshot.display()
        ))),
    }
}

fn write(
    snapshot: &Snapshot,
    tables: &Tables,
    style: Style,
    output: &mut Output,
) -> Result<(), Failure> {
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
    if let Tables::Sizes {
        policy_bytes,
        state_bytes,
        trie_entries,
        names,
    } = tables
    {
        output.line("")?;
        output.line(style.bold("compiled tables (of sim, bpf-vm and kernel)"))?;
        for (name, size) in [
            ("policy, bytes", policy_bytes),
            ("balancer state, bytes", state_bytes),
            ("trie entries", trie_entries),
            ("header, query names", names),
        ] {
            output.line(format!("  {name:<21} {size:>7}"))?;
        }
    }
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

impl Tables {
    fn of(snapshot: &Arc<Snapshot>) -> Self {
        match twinmesh_compile::compile(snapshot) {
            Ok(compiled) => Self::Sizes {
                policy_bytes: compiled.sizes.policy_bytes,
                state_bytes: compiled.sizes.state_bytes,
                trie_entries: compiled.sizes.trie_entries,
                names: compiled.sizes.names,
            },
            Err(error) => Self::OverCapacity(error.to_string()),
        }
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
