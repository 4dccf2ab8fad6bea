//! Differences: logged, and saved as cases, by their causes.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use twinmesh_engine::{Answer, Decision, Outcome, Step};

use super::Made;
use super::compare::told;
use crate::admin::step;
use crate::record::case::{self, Case, Freed};

/// A cause is logged again after so long.
const QUIET: Duration = Duration::from_secs(60);
/// Causes that are told apart.
const CAUSES: usize = 1000;
/// Cases that a folder gets.
const CASES: usize = 100;
/// The request's id in its case.
const ID: &str = "r0";

/// What has differed so far.
#[derive(Debug)]
pub struct Report {
    causes: HashMap<String, Seen>,
    folder: Option<PathBuf>,
    cases: usize,
}

#[derive(Debug)]
struct Seen {
    logged: Instant,
    /// Since it was logged.
    count: u64,
}

impl Report {
    /// Nothing has. The folder for cases is made.
    ///
    /// # Errors
    /// It cannot be made or read.
    pub fn new(folder: Option<PathBuf>) -> io::Result<Self> {
        let mut cases = 0;
        if let Some(folder) = &folder {
            std::fs::create_dir_all(folder)?;
            cases = std::fs::read_dir(folder)?.count();
        }
        Ok(Self {
            causes: HashMap::new(),
            folder,
            cases,
        })
    }

    /// A live decision differs from `spec`'s in these fields.
    pub fn tell(&mut self, made: &Made, spec: &Answer, fields: &[&str], now: Instant) {
        let cause = cause(made, spec, fields);
        let is_new = !self.causes.contains_key(&cause);
        let Some(count) = self.count(&cause, now) else {
            return;
        };
        let saved = if is_new {
            self.save(&cause, made, spec, fields)
        } else {
            None
        };
        tracing::error!(
            generation = made.generation,
            random = made.random,
            count,
            live = %json(&made.answer.decision),
            live_trace = %trace(&made.answer),
            spec = %json(&spec.decision),
            spec_trace = %trace(spec),
            case = saved.as_ref().map(|folder| folder.display().to_string()),
            "the live decision differs from spec's: {cause}"
        );
    }

    /// Counts one. How many there are to log; `None`: it was logged a short time ago.
    fn count(&mut self, cause: &str, now: Instant) -> Option<u64> {
        let full = self.causes.len() >= CAUSES;
        let key = if full && !self.causes.contains_key(cause) {
            "others"
        } else {
            cause
        };
        let Some(seen) = self.causes.get_mut(key) else {
            let seen = Seen {
                logged: now,
                count: 0,
            };
            self.causes.insert(key.to_owned(), seen);
            return Some(1);
        };
        seen.count += 1;
        if now.saturating_duration_since(seen.logged) < QUIET {
            return None;
        }
        seen.logged = now;
        Some(std::mem::take(&mut seen.count))
    }

    /// Saves a difference, unless there are enough, or this cause has a case. The case's folder.
    fn save(
        &mut self,
        cause: &str,
        made: &Made,
        spec: &Answer,
        fields: &[&str],
    ) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?.join(name(cause));
        if self.cases >= CASES || folder.exists() {
            return None;
        }
        self.cases += 1;
        match save(&folder, cause, made, spec, fields) {
            Ok(()) => Some(folder),
            Err(error) => {
                tracing::error!(
                    "a difference cannot be saved to {}: {error}",
                    folder.display()
                );
                None
            }
        }
    }
}

fn save(folder: &Path, cause: &str, made: &Made, spec: &Answer, fields: &[&str]) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut request = made.request.clone();
    request.id = ID.to_owned();
    request.random = Some(made.random);
    let mut notes = vec![
        format!("found by a live agent's shadow: {cause}"),
        format!("the policy's generation: {}", made.generation),
        format!("live: {}", trace(&made.answer)),
        format!("spec: {}", json(&spec.decision)),
        format!("spec: {}", trace(spec)),
    ];
    if case::redact(&mut request) {
        notes.push(
            "values of authorization and cookies are hashes: routes that look at them decide otherwise in a replay"
                .to_owned(),
        );
    }
    // A replay starts with other balancers; what they choose is told apart by the live agent only.
    let freed: Vec<&'static str> = ["endpoint", "locality"]
        .into_iter()
        .filter(|field| !fields.contains(field))
        .collect();
    let forwarded = made.answer.decision.outcome == Outcome::Forward;
    let freed = (forwarded && !freed.is_empty()).then(|| Freed {
        ids: vec![ID.to_owned()],
        fields: freed,
    });
    let decision = Decision {
        id: ID.to_owned(),
        engine: Some("twinmesh-agent".to_owned()),
        ..made.answer.decision.clone()
    };
    case::save(Case {
        folder,
        snapshot: &made.snapshot,
        traffic: &[request],
        decisions: &mut std::iter::once(decision),
        set: "shadow",
        notes,
        freed,
    })
}

/// What tells one cause from another: in what they differ, and where both got to.
fn cause(made: &Made, spec: &Answer, fields: &[&str]) -> String {
    let mut text = format!("{} at ", fields.join(", "));
    let sides = [("live", &made.answer.decision), ("spec", &spec.decision)];
    for (number, (side, decision)) in sides.into_iter().enumerate() {
        let names = [
            &decision.listener,
            &decision.filter_chain,
            &decision.route_config,
            &decision.virtual_host,
            &decision.route,
            &decision.cluster,
        ];
        let names: Vec<&str> = names.map(|name| name.as_deref().unwrap_or("-")).to_vec();
        let comma = if number == 0 { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "{comma}{side} {} ({:?})",
            names.join("/"),
            decision.outcome
        );
    }
    text
}

/// The folder of a cause.
fn name(cause: &str) -> String {
    let hash = Sha256::digest(cause.as_bytes());
    let start: String = hash
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("difference-{start}")
}

fn json(decision: &Decision) -> String {
    serde_json::to_string(decision).unwrap_or_default()
}

fn trace(answer: &Answer) -> String {
    let steps: Vec<&Step> = told(answer).collect();
    Value::Array(steps.into_iter().map(step).collect()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_a_minute_with_its_count() {
        let mut report = Report::new(None).expect("no folder is made");
        let start = Instant::now();
        assert_eq!(report.count("a", start), Some(1));
        assert_eq!(report.count("b", start), Some(1));
        for second in 1..60 {
            let now = start + Duration::from_secs(second);
            assert_eq!(report.count("a", now), None);
        }
        assert_eq!(report.count("a", start + QUIET), Some(60));
        assert_eq!(report.count("a", start + QUIET), None);
    }

    #[test]
    fn causes_beyond_the_limit_are_one() {
        let mut report = Report::new(None).expect("no folder is made");
        let now = Instant::now();
        for number in 0..CAUSES {
            assert_eq!(report.count(&number.to_string(), now), Some(1));
        }
        assert_eq!(report.count("one more", now), Some(1));
        assert_eq!(report.count("and one more", now), None);
        assert_eq!(report.count("0", now), None);
    }
}
