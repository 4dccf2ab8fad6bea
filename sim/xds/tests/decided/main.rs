//! What is decided, read over and unsupported, and where in the snapshot that stands.

mod clusters;
#[path = "../common/mod.rs"]
mod common;
mod listeners;
mod managers;
mod routes;

use twinmesh_xds::{Effect, Snapshot};

/// Paths of what is unsupported and of what is read over.
fn findings(snapshot: &Snapshot, effect: Effect) -> Vec<&str> {
    let findings = snapshot.report.findings.iter();
    findings
        .filter(|finding| finding.effect == effect && finding.resource != "clusters")
        .map(|finding| finding.path.as_str())
        .collect()
}

fn first_route(snapshot: &Snapshot) -> Option<&str> {
    let host = snapshot
        .route_configurations
        .first()?
        .virtual_hosts
        .first()?;
    Some(host.routes.first()?.as_ref()?.path.as_str())
}
