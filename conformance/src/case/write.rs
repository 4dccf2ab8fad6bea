//! Writing a case folder.

use std::path::{Path, PathBuf};

use twinmesh_engine::format::{endpoints::Script, events::Schedule};
use twinmesh_engine::{Decision, Request, format};
use twinmesh_xds::Snapshot;

use super::{Settings, files};
use crate::failure::Failure;
use crate::output;

/// A folder of this name (with a number behind it, where there is one already), created.
///
/// # Errors
/// It cannot be created.
pub fn free_folder(parent: &Path, name: &str) -> Result<PathBuf, Failure> {
    let plain: String = name
        .trim_start_matches(['.', '/'])
        .chars()
        .map(|it| {
            if it.is_ascii_alphanumeric() || "._-".contains(it) {
                it
            } else {
                '-'
            }
        })
        .collect();
    let failure = |path: &Path, error: std::io::Error| {
        Failure(format!("{}: cannot be created: {error}", path.display()))
    };
    std::fs::create_dir_all(parent).map_err(|error| failure(parent, error))?;
    let mut number = 1;
    loop {
        let folder = if number == 1 {
            parent.join(&plain)
        } else {
            parent.join(format!("{plain}-{number}"))
        };
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(failure(&folder, error)),
        }
    }
}

/// What a case folder holds beside its settings.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// The requests.
    pub requests: &'a [Request],
    /// What was recorded of them.
    pub recorded: Option<&'a [Decision]>,
    /// What changes while they arrive.
    pub schedule: Option<&'a Schedule>,
    /// What endpoints do with them.
    pub endpoints: Option<&'a Script>,
}

/// Writes a case into a folder: what [`Case::read`](super::Case::read) reads again. `case.toml`,
/// which makes the folder a case, is written last.
///
/// # Errors
/// The folder does not take it.
pub fn write(folder: &Path, content: &Content<'_>, settings: &Settings) -> Result<(), Failure> {
    let snapshot_file = folder.join(files::SNAPSHOT).with_extension("json");
    let snapshot = twinmesh_xds::to_json(content.snapshot);
    output::file(&snapshot_file, snapshot.as_bytes())?;
    let unwritable = |error: std::io::Error| Failure(format!("{}: {error}", folder.display()));
    let mut traffic = Vec::new();
    format::traffic::write(content.requests, &mut traffic).map_err(unwritable)?;
    output::file(&folder.join(files::TRAFFIC), &traffic)?;
    if let Some(schedule) = content.schedule {
        let events = schedule.lines(&mut |number, snapshot| {
            let name = PathBuf::from(format!("event-{number}.json"));
            let text = twinmesh_xds::to_json(snapshot);
            output::file(&folder.join(&name), text.as_bytes())?;
            Ok::<PathBuf, Failure>(name)
        })?;
        let mut lines = Vec::new();
        format::events::write(&events, &mut lines).map_err(unwritable)?;
        output::file(&folder.join(files::EVENTS), &lines)?;
    }
    if let Some(script) = content.endpoints {
        let text = toml::to_string(script).map_err(|error| {
            Failure(format!(
                "{}: {}: {error}",
                folder.display(),
                files::ENDPOINTS
            ))
        })?;
        output::file(&folder.join(files::ENDPOINTS), text.as_bytes())?;
    }
    if let Some(recorded) = content.recorded {
        let mut lines = Vec::new();
        for decision in recorded {
            format::decisions::write(decision, &mut lines).map_err(unwritable)?;
        }
        output::file(&folder.join(files::RECORDED), &lines)?;
    }
    let text = toml::to_string(settings)
        .map_err(|error| Failure(format!("{}: case.toml: {error}", folder.display())))?;
    output::file(&folder.join(files::SETTINGS), text.as_bytes())
}
