//! Case folders: a snapshot, its traffic, and what another server made of it.

mod find;
mod settings;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use twinmesh_engine::format::{decisions, endpoints::Script, events::Schedule, traffic};
use twinmesh_engine::{Decision, FormatError, Request};
use twinmesh_xds::{Profile, Snapshot};

pub use find::find;
pub use settings::{Comparison, Distribution, Phase, Recorder, Settings, Source};
pub use write::{Content, free_folder, write};

use crate::input::{self, InputError};
use crate::start;

/// A case, read and known to be consistent.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its folder.
    pub folder: PathBuf,
    /// How it is called in reports: its folder, as it was reached from the arguments.
    pub name: String,
    /// `config_dump.json`, or another snapshot form.
    pub snapshot: Arc<Snapshot>,
    /// `requests.traffic.jsonl`.
    pub requests: Vec<Request>,
    /// `recorded.decisions.jsonl`; `None` where the case has none and engines are compared with
    /// one another only.
    pub recorded: Option<Vec<Decision>>,
    /// `requests.events.jsonl`: what changes while the requests arrive.
    pub schedule: Option<Schedule>,
    /// `requests.endpoints.toml`: what endpoints do with the requests.
    pub endpoints: Option<Script>,
    /// How what was recorded is compared.
    pub comparison: Comparison,
}

/// The file names of a case folder.
pub mod files {
    /// Where it comes from and how it is compared.
    pub const SETTINGS: &str = "case.toml";
    /// The traffic.
    pub const TRAFFIC: &str = "requests.traffic.jsonl";
    /// What changes meanwhile.
    pub const EVENTS: &str = "requests.events.jsonl";
    /// What endpoints do.
    pub const ENDPOINTS: &str = "requests.endpoints.toml";
    /// What was recorded.
    pub const RECORDED: &str = "recorded.decisions.jsonl";
    /// The snapshot, without its ending: one of `.json`, `.yaml`, `.yml`, `.pb`.
    pub const SNAPSHOT: &str = "config_dump";
}

impl Case {
    /// Reads a case folder.
    ///
    /// # Errors
    /// A file is missing, cannot be read, or does not fit the others.
    pub fn read(folder: &Path, name: &str, strict: bool) -> Result<Self, InputError> {
        Self::read_as(folder, name, strict, None)
    }

    /// As [`Self::read`]. A profile that is given decides in the place of the case's own; what was
    /// recorded under another is left out.
    ///
    /// # Errors
    /// As there.
    pub fn read_as(
        folder: &Path,
        name: &str,
        strict: bool,
        profile: Option<Profile>,
    ) -> Result<Self, InputError> {
        let settings_file = folder.join(files::SETTINGS);
        let settings = Settings::read(&settings_file)?;
        let traffic_file = folder.join(files::TRAFFIC);
        let requests = traffic::read(&traffic_file)?;
        if requests.is_empty() {
            let message = "holds no request: a case without any would agree with everything";
            return Err(FormatError::file(&traffic_file, message).into());
        }
        if let Some(expected) = settings.requests.filter(|count| *count != requests.len()) {
            let message = format!(
                "{expected}, but {} has {} lines: one of them is not whole",
                files::TRAFFIC,
                requests.len()
            );
            let error = FormatError::file(&settings_file, message);
            return Err(InputError::from(FormatError {
                field: Some("requests".to_owned()),
                ..error
            }));
        }
        let recorded_file = folder.join(files::RECORDED);
        let recorded = if recorded_file.exists() {
            let recorded = decisions::read(&recorded_file)?;
            decisions::fits(&recorded_file, &recorded, &requests)?;
            Some(recorded)
        } else {
            None
        };
        check_ids(&settings_file, &settings.comparison, &requests)?;
        let own = settings.profile.unwrap_or_default();
        let profile = profile.unwrap_or(own);
        let snapshot = input::snapshot(&snapshot_file(folder)?, strict, profile)?;
        let events_file = folder.join(files::EVENTS);
        let schedule = if events_file.exists() {
            Some(input::schedule(&events_file, &snapshot, strict)?)
        } else {
            None
        };
        let endpoints_file = folder.join(files::ENDPOINTS);
        let endpoints = if endpoints_file.exists() {
            Some(Script::read(&endpoints_file)?)
        } else {
            None
        };
        start::check(&traffic_file, &requests, &snapshot, schedule.as_ref())?;
        Ok(Self {
            folder: folder.to_owned(),
            name: name.to_owned(),
            snapshot: Arc::new(snapshot),
            requests,
            recorded: recorded.filter(|_| profile == own),
            schedule,
            endpoints,
            comparison: settings.comparison,
        })
    }
}

/// A profile as a case names it: Envoy 1.40's goes without saying.
pub fn named(profile: Profile) -> Option<Profile> {
    Some(profile).filter(|profile| *profile != Profile::default())
}

/// The snapshot in a case folder.
///
/// # Errors
/// There is none, or more than one.
pub fn snapshot_file(folder: &Path) -> Result<PathBuf, FormatError> {
    let endings = ["json", "yaml", "yml", "pb"];
    let mut found = endings
        .iter()
        .map(|ending| folder.join(files::SNAPSHOT).with_extension(ending))
        .filter(|file| file.exists());
    match (found.next(), found.next()) {
        (Some(file), None) => Ok(file),
        (None, _) => Err(FormatError::file(
            &folder.join(files::SNAPSHOT).with_extension("json"),
            "expected the case's snapshot here (or as .yaml, .yml, .pb), found no such file",
        )),
        (Some(first), Some(second)) => Err(FormatError::file(
            &second,
            format!(
                "expected one snapshot in a case, found {} beside it",
                first.display()
            ),
        )),
    }
}

fn check_ids(
    file: &Path,
    comparison: &Comparison,
    requests: &[Request],
) -> Result<(), FormatError> {
    let known: std::collections::HashSet<&str> =
        requests.iter().map(|request| request.id.as_str()).collect();
    for (index, distribution) in comparison.distribution.iter().enumerate() {
        for id in distribution.ids.iter().flatten() {
            if !known.contains(id.as_str()) {
                return Err(FormatError {
                    field: Some(format!("comparison.distribution[{index}].ids")),
                    ..FormatError::file(file, format!("`{id}` is no request of the traffic file"))
                });
            }
        }
    }
    Ok(())
}
