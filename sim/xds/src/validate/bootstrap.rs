//! What a bootstrap says beside its resources.

use crate::{error::ReadError, form::BOOTSTRAP, source::Source, view::View};

/// Refuses a `ClusterManager.local_cluster_name` of no static cluster: Envoy does not wait for one that
/// comes by CDS. Other messages than bootstraps pass.
pub(crate) fn check(config: &View<'_>, source: &Source<'_>) -> Result<(), ReadError> {
    if config.message.name != BOOTSTRAP {
        return Ok(());
    }
    let Some(manager) = config.child("cluster_manager") else {
        return Ok(());
    };
    let name = manager.text("local_cluster_name");
    let resources = config.child("static_resources");
    let clusters = resources.map_or_else(Vec::new, |held| held.children("clusters"));
    if name.is_empty() || clusters.iter().any(|cluster| cluster.text("name") == name) {
        return Ok(());
    }
    let problem = format!("no static cluster has the name {name:?}");
    Err(source.invalid(&manager.path.field("local_cluster_name"), problem))
}
