//! Where policies come from.

pub mod ads;
pub mod file;

use std::sync::Arc;

use tokio::sync::watch;
use twinmesh_xds::Snapshot;

/// The newest good snapshot of a source; `None` until there is one. A source changes it whenever
/// it has another; what it refused it has told in the log and the metrics itself.
pub type PolicySource = watch::Receiver<Option<Arc<Snapshot>>>;
