//! Policy from a file, reread when it changes.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use twinmesh_xds::{ReadError, ReadOptions, Snapshot, read_bytes};

use super::PolicySource;
use crate::metrics::Metrics;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What tells that a file may have changed, without reading it.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self {
            modified: metadata.modified().ok(),
            length: metadata.len(),
            inode: metadata.ino(),
        }
    }
}

/// A snapshot file.
#[derive(Debug)]
struct File {
    path: PathBuf,
    stamp: Option<Stamp>,
    digest: Option<[u8; 32]>,
}

impl File {
    /// The content where it is another one than before; errors too only once for each content.
    fn changed(&mut self) -> Option<Result<Snapshot, ReadError>> {
        let name = self.path.display().to_string();
        let unreadable = |source: io::Error| ReadError::Unreadable {
            file: name.clone(),
            source,
        };
        let stamp = match std::fs::metadata(&self.path) {
            Ok(metadata) => Stamp::of(&metadata),
            Err(error) => return self.gone().then(|| Err(unreadable(error))),
        };
        if self.stamp.as_ref() == Some(&stamp) {
            return None;
        }
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) => return self.gone().then(|| Err(unreadable(error))),
        };
        // A file that was written a moment ago may be written again within the same tick of its
        // modification time.
        let settled = stamp
            .modified
            .and_then(|modified| modified.elapsed().ok())
            .is_some_and(|age| age > Duration::from_secs(2));
        self.stamp = settled.then_some(stamp);
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        if self.digest == Some(digest) {
            return None;
        }
        self.digest = Some(digest);
        Some(read_bytes(&name, &bytes, &ReadOptions::default()))
    }

    /// Whether it was there before.
    fn gone(&mut self) -> bool {
        self.stamp = None;
        self.digest.take().is_some()
    }
}

/// Reads the file and follows its changes, in a thread of its own that ends with the receivers.
/// A file that is refused leaves the snapshot before in force.
///
/// # Errors
/// The file is refused at the start.
pub fn watch(path: &Path, metrics: Arc<Metrics>) -> Result<PolicySource, Box<ReadError>> {
    let mut file = File {
        path: path.to_owned(),
        stamp: None,
        // Whatever it is, it is not this.
        digest: Some([0; 32]),
    };
    let first = match file.changed() {
        Some(read) => Some(Arc::new(read.map_err(Box::new)?)),
        None => None,
    };
    let (sender, receiver) = watch::channel(first);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            std::thread::sleep(LOOK);
            match file.changed() {
                None => {}
                Some(Ok(snapshot)) => {
                    tracing::info!("{}: read again", file.path.display());
                    // No receiver: the agent is ending.
                    let _ = sender.send(Some(Arc::new(snapshot)));
                }
                Some(Err(error)) => metrics.refused_update(&error.to_string()),
            }
        }
    });
    Ok(receiver)
}
