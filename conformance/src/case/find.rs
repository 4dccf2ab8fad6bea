//! Case folders below the arguments of `conform`.

use std::path::{Path, PathBuf};

use twinmesh_engine::FormatError;

use super::files;

/// Every case folder among the arguments and below them, sorted by path, each once. A folder that
/// holds a `case.toml` is a case and is not searched further.
///
/// # Errors
/// An argument does not exist, is no folder, cannot be read, or has no case below it.
pub fn find(arguments: &[PathBuf]) -> Result<Vec<PathBuf>, FormatError> {
    let mut cases = Vec::new();
    for argument in arguments {
        if !argument.is_dir() {
            let message = if argument.exists() {
                "expected a case folder or a folder of case folders, found a file"
            } else {
                "no such folder"
            };
            return Err(FormatError::file(argument, message));
        }
        let before = cases.len();
        descend(argument, &mut cases)?;
        if cases.len() == before {
            let message = format!("holds no case: no folder in it has a {}", files::SETTINGS);
            return Err(FormatError::file(argument, message));
        }
    }
    cases.sort();
    cases.dedup();
    Ok(cases)
}

fn descend(folder: &Path, cases: &mut Vec<PathBuf>) -> Result<(), FormatError> {
    if folder.join(files::SETTINGS).is_file() {
        cases.push(folder.to_owned());
        return Ok(());
    }
    let unreadable =
        |error: std::io::Error| FormatError::file(folder, format!("cannot be read: {error}"));
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        // A link is not followed: it could lead back up.
        if entry.file_type().map_err(unreadable)?.is_dir() {
            descend(&entry.path(), cases)?;
        }
    }
    Ok(())
}
