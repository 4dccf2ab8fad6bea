//! What was recorded as a case's folder: snapshot, traffic, decisions and settings.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use twinmesh_engine::format;
use twinmesh_engine::{Decision, Outcome, Request};
use twinmesh_xds::Snapshot;

use super::Recording;

/// The file that makes a folder a case; it is written last.
pub const SETTINGS: &str = "case.toml";

/// Headers whose values are secrets.
const SECRET: [&str; 4] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
];

/// The fields of a decision that engines agree in.
const EXACT: [&str; 14] = [
    "outcome",
    "listener",
    "filter_chain",
    "route_config",
    "virtual_host",
    "route",
    "cluster",
    "endpoint",
    "priority",
    "locality",
    "status",
    "location",
    "path",
    "authority",
];

#[derive(Serialize)]
struct Settings {
    name: String,
    set: &'static str,
    requests: usize,
    outcomes: BTreeMap<Outcome, u64>,
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<Comparison>,
}

#[derive(Serialize)]
struct Comparison {
    exact: [&'static str; 14],
    ignored: [&'static str; 2],
    distribution: [Freed; 1],
}

/// What a replay need not find alike.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Freed {
    /// Of these requests.
    pub ids: Vec<String>,
    /// These fields.
    pub fields: Vec<&'static str>,
}

/// The content of a case's folder.
pub(crate) struct Case<'a> {
    /// The folder, which is there.
    pub folder: &'a Path,
    /// The policy.
    pub snapshot: &'a Snapshot,
    /// The requests, without secrets.
    pub traffic: &'a [Request],
    /// What was decided, in the same order.
    pub decisions: &'a mut dyn Iterator<Item = Decision>,
    /// The set of cases that it belongs to.
    pub set: &'static str,
    /// What is worth knowing about it.
    pub notes: Vec<String>,
    /// What is not compared; without it all is.
    pub freed: Option<Freed>,
}

/// Writes a recording's folder.
pub(super) fn write(recording: &Recording) -> io::Result<()> {
    let Some(snapshot) = &recording.snapshot else {
        return Err(io::Error::other(
            "no policy has come, so there is nothing to replay",
        ));
    };
    let last = recording.requests.last_key_value();
    let last = last.map_or(0, |(number, recorded)| recorded.end.unwrap_or(*number));
    let traffic: Vec<Request> = recording
        .requests
        .iter()
        .map(|(number, recorded)| {
            let mut request = recorded.request.clone();
            redact(&mut request);
            request.id = id(*number);
            request.time_us = Some(*number);
            // What had not ended when the recording did holds its endpoint to the last.
            let end = recorded.end.unwrap_or(last + 1);
            request.duration_us = if recorded.holds {
                end.saturating_sub(*number)
            } else {
                0
            };
            request
        })
        .collect();
    let mut decisions = recording
        .requests
        .iter()
        .map(|(number, recorded)| Decision {
            id: id(*number),
            engine: Some("twinmesh-agent".to_owned()),
            ..recorded.decision.clone()
        });
    let mut notes = vec![
        "recorded by a live agent; times are places in the order in which balancers' state changed"
            .to_owned(),
    ];
    if recording.uncertain != 0 {
        notes.push(format!(
            "{} changes are missing or have a place in that order that is not certain: the balancers' picks may differ in a replay",
            recording.uncertain
        ));
    }
    notes.extend(recording.ended.clone());
    save(Case {
        folder: &recording.folder,
        snapshot,
        traffic: &traffic,
        decisions: &mut decisions,
        set: "live",
        notes,
        freed: None,
    })
}

/// Writes a case's folder.
pub(crate) fn save(case: Case<'_>) -> io::Result<()> {
    let folder = case.folder;
    file(folder, "config_dump.json", |writer| {
        writer.write_all(twinmesh_xds::to_json(case.snapshot).as_bytes())
    })?;
    file(folder, "requests.traffic.jsonl", |writer| {
        format::traffic::write(case.traffic, writer)
    })?;
    let mut outcomes = BTreeMap::new();
    file(folder, "recorded.decisions.jsonl", |writer| {
        for decision in case.decisions {
            *outcomes.entry(decision.outcome).or_default() += 1;
            format::decisions::write(&decision, &mut *writer)?;
        }
        Ok(())
    })?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let settings = Settings {
        name: name.into_owned(),
        set: case.set,
        requests: case.traffic.len(),
        outcomes,
        notes: case.notes,
        comparison: case.freed.map(|freed| Comparison {
            exact: EXACT,
            ignored: ["engine", "reason"],
            distribution: [freed],
        }),
    };
    let text = toml::to_string(&settings).map_err(io::Error::other)?;
    file(folder, SETTINGS, |writer| writer.write_all(text.as_bytes()))
}

fn id(number: u64) -> String {
    format!("r{number}")
}

/// A file under another name until it is whole.
fn file(
    folder: &Path,
    name: &str,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let part = folder.join(format!("{name}.part"));
    let mut writer = BufWriter::new(File::create(&part)?);
    write(&mut writer)?;
    writer.into_inner()?.sync_all()?;
    std::fs::rename(part, folder.join(name))
}

/// Puts a hash in the place of what must not be read; whether there was any.
pub(crate) fn redact(request: &mut Request) -> bool {
    let mut any = false;
    for (name, value) in &mut request.headers {
        if SECRET
            .iter()
            .any(|secret| name.eq_ignore_ascii_case(secret))
        {
            let hash = Sha256::digest(value.as_bytes());
            *value = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            any = true;
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hashed_and_nothing_else_is() {
        let text = r#"{"id": "1", "headers": [["Authorization", "Bearer x"], ["COOKIE", "a=b"], ["accept", "*/*"]]}"#;
        let mut request: Request = serde_json::from_str(text).expect("a request");
        assert!(redact(&mut request));
        assert!(request.headers[0].1.len() == 64 && request.headers[1].1.len() == 64);
        assert_eq!(request.headers[2].1, "*/*");
    }
}
