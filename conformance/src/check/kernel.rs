//! What of a snapshot the engines `kernel` and `bpf-vm` decide, and whether their maps hold it.

use std::collections::HashSet;

use serde::Serialize;
use twinmesh_compile::{Compiled, Part};
use twinmesh_kernel_backend::{Capacity, MOST_HEAD_BYTES};
use twinmesh_xds::{Snapshot, Unsupported};

use super::resources::{Decided, Resources};
use crate::failure::Failure;
use crate::output::{Output, Style};

/// What the BPF engines make of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kernel<'a> {
    /// Whether their maps hold it.
    fits: bool,
    /// What there is too much of, where they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    over_capacity: Option<String>,
    policy_bytes: Share,
    state_words: Share,
    /// The longest request head that they decide.
    most_head_bytes: u64,
    listeners: Decided,
    filter_chains: Decided,
    virtual_hosts: Decided,
    routes: Decided,
    clusters: Decided,
    /// What they do not decide; a part of what is undecided is not named again.
    undecided: Vec<Undecided<'a>>,
}

/// How much of a map there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Share {
    /// What the snapshot needs.
    needed: u64,
    /// What is allocated for it; 0 where it does not fit.
    allocated: u64,
    /// The most that can be.
    most: u64,
}

/// A part of the snapshot that is not decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Undecided<'a> {
    /// What it is, and its name.
    part: String,
    /// The field that is not decided.
    path: &'a str,
    /// Why.
    reason: &'a str,
}

impl<'a> Kernel<'a> {
    /// Looks at a snapshot and its tables.
    pub fn of(snapshot: &'a Snapshot, compiled: &'a Compiled) -> Self {
        let left: HashSet<Part> = compiled
            .undecided()
            .iter()
            .chain(compiled.userspace())
            .filter_map(|undecided| undecided.part)
            .collect();
        let Resources {
            listeners,
            filter_chains,
            virtual_hosts,
            routes,
            clusters,
            ..
        } = Resources::of(snapshot, &left);
        let capacity = Capacity::of(compiled);
        let allocated = capacity.as_ref().copied().unwrap_or(Capacity {
            policy_bytes: 0,
            state_words: 0,
        });
        let mut undecided = by_the_reader(snapshot);
        undecided.extend(by_the_tables(snapshot, compiled));
        Self {
            fits: capacity.is_ok(),
            over_capacity: capacity.err().map(|over| over.to_string()),
            policy_bytes: Share {
                needed: compiled.sizes.policy_bytes,
                allocated: allocated.policy_bytes,
                most: Capacity::MOST.policy_bytes,
            },
            state_words: Share {
                needed: compiled.sizes.state_bytes / 8,
                allocated: allocated.state_words,
                most: Capacity::MOST.state_words,
            },
            most_head_bytes: MOST_HEAD_BYTES,
            listeners,
            filter_chains,
            virtual_hosts,
            routes,
            clusters,
            undecided,
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// The output is not taken.
    pub fn write(&self, style: Style, output: &mut Output) -> Result<(), Failure> {
        output.line("")?;
        output.line(style.bold("the kernel (and bpf-vm)"))?;
        output.line(match &self.over_capacity {
            None => format!("  {}", style.green("the snapshot fits its maps")),
            Some(over) => format!(
                "  {}",
                style.red(&format!("the snapshot does not fit its maps: {over}"))
            ),
        })?;
        for (name, share) in [
            ("policy, bytes", self.policy_bytes),
            ("balancer state, words", self.state_words),
        ] {
            output.line(format!(
                "  {name:<21} {:>7} of at most {}, {} allocated",
                share.needed, share.most, share.allocated
            ))?;
        }
        output.line(format!(
            "  request heads of more than {} bytes are unsupported",
            self.most_head_bytes
        ))?;
        output.line("  decided in full / all")?;
        for (name, count) in [
            ("listeners", &self.listeners),
            ("filter chains", &self.filter_chains),
            ("virtual hosts", &self.virtual_hosts),
            ("routes", &self.routes),
            ("clusters", &self.clusters),
        ] {
            output.line(count.line(&format!("  {name}"), style))?;
        }
        self.write_undecided(style, output)
    }

    /// By reason: a mesh repeats few of them in many resources.
    fn write_undecided(&self, style: Style, output: &mut Output) -> Result<(), Failure> {
        if self.undecided.is_empty() {
            return Ok(());
        }
        output.line(style.yellow("  not decided, by reason:"))?;
        let mut reasons: Vec<&str> = Vec::new();
        for undecided in &self.undecided {
            if !reasons.contains(&undecided.reason) {
                reasons.push(undecided.reason);
            }
        }
        for reason in reasons {
            let parts: Vec<&Undecided<'_>> = self
                .undecided
                .iter()
                .filter(|undecided| undecided.reason == reason)
                .collect();
            output.line(format!("    {} × {reason}", parts.len()))?;
            if let Some(first) = parts.first() {
                let more = match parts.len() - 1 {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                output.line(format!("      {}{more}", first.part))?;
            }
        }
        Ok(())
    }
}

/// What the reader says is not decided.
fn by_the_reader(snapshot: &Snapshot) -> Vec<Undecided<'_>> {
    let mut found = Vec::new();
    for listener in &snapshot.listeners {
        let name = format!("listener {:?}", listener.name);
        if let Some(unsupported) = &listener.unsupported {
            found.push(undecided(name, unsupported));
            continue;
        }
        let chains = listener.filter_chains.iter().enumerate();
        let chains = chains
            .map(|(index, chain)| (format!("{name} filter_chains[{index}]"), chain))
            .chain(
                listener
                    .default_filter_chain
                    .iter()
                    .map(|chain| (format!("{name} default_filter_chain"), chain)),
            );
        for (part, chain) in chains {
            if let Some(unsupported) = &chain.unsupported {
                found.push(undecided(part, unsupported));
            }
        }
    }
    for configuration in &snapshot.route_configurations {
        let name = format!("route configuration {:?}", configuration.name);
        if let Some(unsupported) = &configuration.unsupported {
            found.push(undecided(name, unsupported));
            continue;
        }
        for (index, host) in configuration.virtual_hosts.iter().enumerate() {
            if let Some(unsupported) = &host.unsupported {
                found.push(undecided(
                    format!("{name} virtual_hosts[{index}]"),
                    unsupported,
                ));
                continue;
            }
            for (position, route) in host.routes.iter().enumerate() {
                if let Some(unsupported) = route {
                    let part = format!("{name} {}", configuration.route_path(index, position));
                    found.push(undecided(part, unsupported));
                }
            }
        }
    }
    for cluster in &snapshot.clusters {
        if let Some(unsupported) = &cluster.unsupported {
            found.push(undecided(
                format!("cluster {:?}", cluster.name),
                unsupported,
            ));
        }
    }
    found
}

fn undecided(part: String, unsupported: &Unsupported) -> Undecided<'_> {
    Undecided {
        part,
        path: &unsupported.path,
        reason: &unsupported.reason,
    }
}

/// What only the tables leave undecided, and what they hold for userspace alone.
fn by_the_tables<'a>(
    snapshot: &'a Snapshot,
    compiled: &'a Compiled,
) -> impl Iterator<Item = Undecided<'a>> {
    let all = compiled.undecided().iter().chain(compiled.userspace());
    all.map(|undecided| {
        let configuration = |index: usize| {
            let name = snapshot.route_configurations.get(index);
            let name = name.map_or("", |configuration| configuration.name.as_str());
            format!("route configuration {name:?}")
        };
        Undecided {
            part: match undecided.part {
                Some(Part::RouteConfiguration(index)) => configuration(index),
                Some(Part::VirtualHost(index, host)) => {
                    format!("{} virtual_hosts[{host}]", configuration(index))
                }
                Some(Part::Route(index, host, route)) => {
                    let found = snapshot.route_configurations.get(index);
                    let path = found.map_or_else(String::new, |it| it.route_path(host, route));
                    format!("{} {path}", configuration(index))
                }
                Some(Part::Listener(_) | Part::Cluster(_)) | None => undecided.resource.clone(),
            },
            path: &undecided.path,
            reason: &undecided.reason,
        }
    })
}
