//! A recording as a case's folder: snapshot, traffic, decisions and settings.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use twinmesh_engine::format;
use twinmesh_engine::{Outcome, Request};

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

#[derive(Serialize)]
struct Settings {
    name: String,
    set: &'static str,
    requests: usize,
    outcomes: BTreeMap<Outcome, u64>,
    notes: Vec<String>,
}

/// Writes the folder.
pub fn write(recording: &Recording) -> io::Result<()> {
    let folder = &recording.folder;
    let Some(snapshot) = &recording.snapshot else {
        return Err(io::Error::other(
            "no policy has come, so there is nothing to replay",
        ));
    };
    file(folder, "config_dump.json", |writer| {
        writer.write_all(twinmesh_xds::to_json(snapshot).as_bytes())
    })?;
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
    file(folder, "requests.traffic.jsonl", |writer| {
        format::traffic::write(&traffic, writer)
    })?;
    file(folder, "recorded.decisions.jsonl", |writer| {
        for (number, recorded) in &recording.requests {
            let mut decision = recorded.decision.clone();
            decision.id = id(*number);
            decision.engine = Some("twinmesh-agent".to_owned());
            format::decisions::write(&decision, &mut *writer)?;
        }
        Ok(())
    })?;
    let mut outcomes = BTreeMap::new();
    for recorded in recording.requests.values() {
        *outcomes.entry(recorded.decision.outcome).or_default() += 1;
    }
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
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let settings = Settings {
        name: name.into_owned(),
        set: "live",
        requests: traffic.len(),
        outcomes,
        notes,
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

/// Puts a hash in the place of what must not be read.
fn redact(request: &mut Request) {
    for (name, value) in &mut request.headers {
        if SECRET
            .iter()
            .any(|secret| name.eq_ignore_ascii_case(secret))
        {
            let hash = Sha256::digest(value.as_bytes());
            *value = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hashed_and_nothing_else_is() {
        let text = r#"{"id": "1", "headers": [["Authorization", "Bearer x"], ["COOKIE", "a=b"], ["accept", "*/*"]]}"#;
        let mut request: Request = serde_json::from_str(text).expect("a request");
        redact(&mut request);
        assert!(request.headers[0].1.len() == 64 && request.headers[1].1.len() == 64);
        assert_eq!(request.headers[2].1, "*/*");
    }
}
