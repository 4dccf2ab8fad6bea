//! Serves what files hold, and what they hold later.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::served::{Served, ServedError, files};
use crate::server::ControlPlane;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_millis(200);

/// What tells a file that has changed.
type Stamp = Vec<(std::path::PathBuf, Option<(u64, Option<SystemTime>)>)>;

/// Serves a snapshot, or a folder of them, and serves it again whenever its files change; a change
/// that cannot be read is said, and what was served before stays.
///
/// # Errors
/// It cannot be read the first time.
pub async fn follow(path: &Path, server: &ControlPlane) -> Result<(), ServedError> {
    let mut seen = stamp(path);
    server.serve(Served::read(path, None)?);
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = stamp(path);
        if now == seen {
            continue;
        }
        seen = now;
        match Served::read(path, None) {
            Ok(served) => {
                tracing::info!("{} has changed", path.display());
                server.serve(served);
            }
            Err(error) => tracing::error!("what was served before stays: {error}"),
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let files = files(path).unwrap_or_default();
    files
        .into_iter()
        .map(|file| {
            let about = std::fs::metadata(&file).ok();
            let about = about.map(|about| (about.len(), about.modified().ok()));
            (file, about)
        })
        .collect()
}
