//! Endpoint scripts on the command line, read for the snapshots that they are played over.

use std::collections::BTreeSet;
use std::path::Path;

use twinmesh_engine::format::{endpoints::Script, events::Schedule};
use twinmesh_engine::{FormatError, endpoint};
use twinmesh_xds::{Balancer, Snapshot};

/// Reads a script that is for these snapshots.
///
/// # Errors
/// It cannot be read, or names an endpoint that no cluster of any of the snapshots has.
pub fn read(file: &Path, snapshots: &[&Snapshot]) -> Result<Script, FormatError> {
    let script = Script::read(file)?;
    let mut clusters = snapshots.iter().flat_map(|snapshot| &snapshot.clusters);
    if clusters.any(|cluster| cluster.balancer == Balancer::OriginalDestination) {
        // Whatever a connection asks for is an endpoint.
        return Ok(script);
    }
    let addresses: BTreeSet<String> = snapshots
        .iter()
        .flat_map(|snapshot| &snapshot.clusters)
        .filter_map(|cluster| cluster.load_assignment.as_ref())
        .flat_map(|assignment| &assignment.endpoints)
        .flat_map(|locality| &locality.lb_endpoints)
        .filter_map(endpoint::address)
        .collect();
    for (index, entry) in script.endpoint.iter().enumerate() {
        if entry.address == "*" || addresses.contains(&entry.address) {
            continue;
        }
        let message = format!(
            "no cluster of the snapshot has an endpoint `{}`",
            entry.address
        );
        return Err(FormatError {
            field: Some(format!("endpoint[{index}].address")),
            ..FormatError::file(file, message)
        });
    }
    Ok(script)
}

/// The snapshots of a run: the first, and those that events put in its place.
pub fn snapshots<'a>(first: &'a Snapshot, schedule: Option<&'a Schedule>) -> Vec<&'a Snapshot> {
    let later = schedule.into_iter().flat_map(Schedule::replacements);
    std::iter::once(first)
        .chain(later.map(|(_, snapshot)| snapshot))
        .collect()
}
