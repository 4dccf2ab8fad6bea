//! Its clusters and their endpoints.

use serde_json::{Map, Value, json};
use twinmesh_xds::Cluster;

use super::super::changes::Part;
use super::super::values;
use super::{Making, TYPE, typed};

impl Making<'_> {
    /// The sections of clusters and of their endpoints.
    pub(super) fn clusters(&mut self) -> Vec<Value> {
        let trials = self.trials;
        let (first, second) = (trials.first, trials.second);
        let places = self.places(
            (first.clusters.len(), second.clusters.len()),
            Part::Cluster,
            Part::Cluster,
        );
        let mut clusters = Vec::with_capacity(places.len());
        let mut assignments = Vec::new();
        let mut are_absent = !places.is_empty();
        for place in places {
            let own = place.first.and_then(|at| first.clusters.get(at));
            let other = place.second.and_then(|at| second.clusters.get(at));
            let held = || {
                let held = place.first.and_then(|at| trials.clusters.get(at));
                held.cloned().unwrap_or_default()
            };
            let mut value = match (own, other) {
                (Some(_), Some(other)) => self.fields(
                    Part::Cluster(place.first.unwrap_or(usize::MAX)),
                    held,
                    held,
                    || values::cluster(other),
                ),
                (Some(_), None) => held(),
                (None, Some(other)) => values::cluster(other),
                (None, None) => continue,
            };
            let is_bare = value.as_object().is_some_and(|it| it.len() <= 1);
            let is_absent = is_bare && [own, other].into_iter().flatten().any(is_absent);
            are_absent &= is_absent;
            if is_absent && let Some(members) = value.as_object_mut() {
                // One that the snapshot does not hold: its endpoints are not known.
                members.insert("type".to_owned(), json!("EDS"));
                members.insert(
                    "eds_cluster_config".to_owned(),
                    json!({"eds_config": {"ads": {}}}),
                );
            }
            assignments.extend(apart(&mut value));
            clusters.push(json!({ "cluster": typed("cluster.v3.Cluster", value) }));
        }
        let mut sections = Vec::new();
        if !are_absent {
            sections.push(
                json!({"@type": format!("{TYPE}ClustersConfigDump"), "static_clusters": clusters}),
            );
        }
        sections.push(json!({
            "@type": format!("{TYPE}EndpointsConfigDump"),
            "dynamic_endpoint_configs": assignments,
        }));
        sections
    }
}

/// Takes the endpoints out of a cluster whose come by EDS.
fn apart(cluster: &mut Value) -> Option<Value> {
    let members = cluster.as_object_mut()?;
    if members.get("type").and_then(Value::as_str) != Some("EDS") {
        return None;
    }
    let mut assignment = members.remove("load_assignment")?;
    let service = members.get("eds_cluster_config");
    let service = service.and_then(|it| it.get("service_name")).cloned();
    let name = service.or_else(|| members.get("name").cloned())?;
    let fields: &mut Map<String, Value> = assignment.as_object_mut()?;
    fields.insert("cluster_name".to_owned(), name);
    let name = "endpoint.v3.ClusterLoadAssignment";
    Some(json!({ "endpoint_config": typed(name, assignment) }))
}

fn is_absent(cluster: &Cluster) -> bool {
    cluster.unsupported.is_some()
        && cluster.load_assignment.is_none()
        && cluster.config.cluster_discovery_type.is_none()
}
