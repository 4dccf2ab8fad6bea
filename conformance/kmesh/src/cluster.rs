//! Clusters as Kmesh keeps them: a flat list of endpoints and one counter.

use std::collections::HashMap;

use twinmesh_engine::endpoint;
use twinmesh_xds::{Cluster, Snapshot};

use crate::quirks::{limits, round_robin, stale_endpoints};

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) address: String,
    pub(crate) priority: u32,
    pub(crate) locality: Option<String>,
    /// Locality and endpoint in the load assignment; `None` where it has gone from there.
    pub(crate) place: Option<(usize, usize)>,
}

/// The clusters of a snapshot, with what was there before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clusters {
    by_name: HashMap<String, State>,
}

#[derive(Debug, Clone, Default)]
struct State {
    endpoints: Vec<Endpoint>,
    counter: u64,
}

impl Clusters {
    /// Those of a first snapshot.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        Self::default().after(snapshot)
    }

    /// Those after an update.
    pub(crate) fn after(mut self, snapshot: &Snapshot) -> Self {
        let mut by_name = HashMap::new();
        for cluster in &snapshot.clusters {
            let before = self.by_name.remove(&cluster.name).unwrap_or_default();
            let state = State {
                endpoints: stale_endpoints::after_update(&before.endpoints, endpoints(cluster)),
                counter: before.counter,
            };
            by_name.insert(cluster.name.clone(), state);
        }
        Self { by_name }
    }

    /// Whether there is a cluster of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The next endpoint of a cluster.
    pub(crate) fn pick(&mut self, name: &str) -> Option<Endpoint> {
        let state = self.by_name.get_mut(name)?;
        let used = state.endpoints.len().min(limits::ENDPOINTS);
        let place = round_robin::next(&mut state.counter, used)?;
        state.endpoints.get(place).cloned()
    }
}

/// All endpoints, in the order of the configuration.
fn endpoints(cluster: &Cluster) -> Vec<Endpoint> {
    let assignment = cluster.load_assignment.iter();
    let localities = assignment.flat_map(|assignment| assignment.endpoints.iter().enumerate());
    localities
        .flat_map(|(at, locality)| {
            let name = locality.locality.as_ref().and_then(|locality| {
                let parts = [&locality.region, &locality.zone, &locality.sub_zone];
                let named = parts.iter().any(|part| !part.is_empty());
                named.then(|| parts.map(String::as_str).join("/"))
            });
            let endpoints = locality.lb_endpoints.iter().enumerate();
            endpoints.filter_map(move |(index, candidate)| {
                Some(Endpoint {
                    address: endpoint::address(candidate)?,
                    priority: locality.priority,
                    locality: name.clone(),
                    place: Some((at, index)),
                })
            })
        })
        .collect()
}
