//! Reading what the commands are given, and how they say that it is wrong.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use twinmesh_compile::{CapacityError, Undecided};
use twinmesh_engine::{FormatError, format::events::Schedule};
use twinmesh_xds::{Profile, ReadError, ReadOptions, Snapshot};

/// An input is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A traffic, decisions or events file, a case or its settings.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A snapshot.
    #[error(transparent)]
    Snapshot(#[from] ReadError),
    /// The compiled tables do not hold a snapshot, and `strict` asks for that.
    #[error("{file}: refused, as strict asks: the compiled tables do not hold it: {over}")]
    OverCapacity {
        /// The file.
        file: String,
        /// What there is too much of.
        over: CapacityError,
    },
    /// The compiled tables leave something undecided, and `strict` asks for none of that.
    #[error("{}", undecided(.file, .all))]
    Undecided {
        /// The file.
        file: String,
        /// What is left.
        all: Vec<Undecided>,
    },
}

fn undecided(file: &str, all: &[Undecided]) -> String {
    const SHOWN: usize = 20;
    let mut text = format!(
        "{file}: refused, as strict asks: the compiled tables leave {} finding{} undecided",
        all.len(),
        if all.len() == 1 { "" } else { "s" }
    );
    for undecided in all.iter().take(SHOWN) {
        text.push_str(&format!("\n  {undecided}"));
    }
    if all.len() > SHOWN {
        text.push_str(&format!("\n  and {} more", all.len() - SHOWN));
    }
    text
}

/// The name and the content of a file; `-` is standard input.
pub fn content(file: &Path) -> (String, std::io::Result<Vec<u8>>) {
    if file != Path::new("-") {
        return (file.display().to_string(), std::fs::read(file));
    }
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut bytes);
    ("standard input".to_owned(), read.map(|_| bytes))
}

/// Reads a snapshot (`-`: from standard input), to be decided by a profile's rules; with `strict`, one that is known and decided in full, by every engine.
///
/// # Errors
/// The file cannot be read, or what Envoy would refuse, or (strict) what is not decided.
pub fn snapshot(file: &Path, strict: bool, profile: Profile) -> Result<Snapshot, InputError> {
    let (file, bytes) = content(file);
    let snapshot = match bytes {
        Ok(bytes) => twinmesh_xds::read_bytes(&file, &bytes, &ReadOptions { strict, profile })?,
        Err(source) => return Err(ReadError::Unreadable { file, source }.into()),
    };
    if !strict {
        return Ok(snapshot);
    }
    let snapshot = Arc::new(snapshot);
    match twinmesh_compile::compile(&snapshot) {
        Ok(compiled) if compiled.undecided().is_empty() => {}
        Ok(compiled) => {
            return Err(InputError::Undecided {
                file,
                all: compiled.undecided().to_vec(),
            });
        }
        Err(over) => return Err(InputError::OverCapacity { file, over }),
    }
    Ok(Arc::unwrap_or_clone(snapshot))
}

/// Reads an events file, with the snapshots that it names, which are decided as the first is.
///
/// # Errors
/// The file or one of its snapshots is wrong, or does not fit the first snapshot.
pub fn schedule(file: &Path, first: &Snapshot, strict: bool) -> Result<Schedule, InputError> {
    let profile = first.profile;
    let mut read = |path: &Path| snapshot(path, strict, profile).map_err(|error| error.to_string());
    Ok(Schedule::read(file, first, &mut read)?)
}
