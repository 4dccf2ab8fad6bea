//! Removing everything that an agent left.

use std::path::PathBuf;

use twinmesh_kernel_backend::datapath::pins;

use super::ledger::Ledger;
use super::{KeepOptions, endpoints, holder, keeper, lock};

/// What was removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Folders with pins.
    pub pins: Vec<PathBuf>,
    /// Whether a holder was told to end.
    pub holder: bool,
}

/// Detaches the programs of every version, removes their maps, and ends the holder, and with it the
/// connections that it holds.
///
/// # Errors
/// An agent runs, or something cannot be removed.
pub fn detach(options: &KeepOptions) -> Result<Removed, String> {
    let is_there = options.folder.is_dir();
    let _lock = if is_there {
        let locked = lock(&options.folder);
        Some(locked.map_err(|why| format!("{why}; SIGTERM ends it and removes everything"))?)
    } else {
        None
    };
    let failed = |error: std::io::Error| format!("{}: {error}", options.pins.display());
    let mut removed = Removed::default();
    for folder in pins::versions(&options.pins).map_err(failed)? {
        pins::remove_folder(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        removed.pins.push(folder);
    }
    if is_there {
        let socket = options.folder.join(holder::SOCKET);
        removed.holder = keeper::quit(&socket)
            .map_err(|error| format!("the holder at {}: {error}", socket.display()))?;
        endpoints::File::remove(&options.folder)?;
        Ledger::remove(&options.folder)?;
    }
    Ok(removed)
}
