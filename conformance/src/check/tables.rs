//! The compiled tables: their sizes, and what only they leave undecided.

use serde::Serialize;
use twinmesh_compile::Compiled;

use crate::failure::Failure;
use crate::output::{Output, Style};

/// Sizes of the compiled tables, which the model reads in every engine but `spec`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tables {
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

impl Tables {
    /// The sizes of compiled tables.
    pub fn of(compiled: &Compiled) -> Self {
        Self::Sizes {
            policy_bytes: compiled.sizes.policy_bytes,
            state_bytes: compiled.sizes.state_bytes,
            trie_entries: compiled.sizes.trie_entries,
            names: compiled.sizes.names,
        }
    }

    /// Writes them.
    ///
    /// # Errors
    /// The output is not taken.
    pub fn write(&self, style: Style, output: &mut Output) -> Result<(), Failure> {
        let Self::Sizes {
            policy_bytes,
            state_bytes,
            trie_entries,
            names,
        } = self
        else {
            return Ok(());
        };
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
        Ok(())
    }
}

/// Something that `spec` decides and the tables leave undecided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableFinding<'a> {
    resource: &'a str,
    path: &'a str,
    message: &'a str,
    /// Which requests are `unsupported` for it.
    requests: &'a str,
}

/// What only the tables leave undecided.
pub fn findings(compiled: &Compiled) -> Vec<TableFinding<'_>> {
    compiled
        .undecided()
        .iter()
        .map(|undecided| TableFinding {
            resource: &undecided.resource,
            path: &undecided.path,
            message: &undecided.reason,
            requests: undecided.requests,
        })
        .collect()
}

/// Writes what only the tables leave undecided.
///
/// # Errors
/// The output is not taken.
pub fn write_findings(
    findings: &[TableFinding<'_>],
    style: Style,
    output: &mut Output,
) -> Result<(), Failure> {
    if findings.is_empty() {
        return Ok(());
    }
    output.line(style.yellow(&format!(
        "{} finding{} that only the compiled tables leave undecided (spec decides them):",
        findings.len(),
        if findings.len() == 1 { "" } else { "s" }
    )))?;
    let mut resource = "";
    for finding in findings {
        if finding.resource != resource {
            resource = finding.resource;
            output.line(format!("  {resource}"))?;
        }
        output.line(format!("    {}", finding.path))?;
        output.line(format!(
            "      {}; unsupported: {}",
            finding.message, finding.requests
        ))?;
    }
    Ok(())
}
