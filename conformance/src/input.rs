//! Reading what the commands are given, and how they say that it is wrong.

use std::path::Path;

use twinmesh_engine::{FormatError, format::events::Schedule};
use twinmesh_xds::{ReadError, ReadOptions, Snapshot};

/// An input is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A traffic, decisions or events file, a case or its settings.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A snapshot.
    #[error(transparent)]
    Snapshot(#[from] ReadError),
}

/// Reads a snapshot; with `strict`, one that is known and decided in full.
///
/// # Errors
/// The file cannot be read, or what Envoy would refuse, or (strict) what is not decided.
pub fn snapshot(file: &Path, strict: bool) -> Result<Snapshot, InputError> {
    Ok(twinmesh_xds::read(file, &ReadOptions { strict })?)
}

/// Reads an events file, with the snapshots that it names.
///
/// # Errors
/// The file or one of its snapshots is wrong, or does not fit the first snapshot.
pub fn schedule(file: &Path, first: &Snapshot, strict: bool) -> Result<Schedule, InputError> {
    let mut read = |path: &Path| snapshot(path, strict).map_err(|error| error.to_string());
    Ok(Schedule::read(file, first, &mut read)?)
}
