//! An endpoint for clusters whose own are not decided, so that all else about their requests is.

use std::collections::HashMap;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::{
    Address, SocketAddress, address::Address as AddressKind, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use twinmesh_xds::{Balancer, Cluster, Snapshot, ZoneAware};

/// Of a network for documentation (RFC 5737).
const ADDRESS: &str = "192.0.2.1";

/// A snapshot in which every cluster has an endpoint that can be chosen.
#[derive(Debug)]
pub(super) struct StandIns {
    pub(super) snapshot: Arc<Snapshot>,
    /// By index, the clusters whose own endpoints are not decided.
    unknown: HashMap<usize, Unknown>,
}

/// What is not known of a cluster.
#[derive(Debug, Clone)]
pub(super) struct Unknown {
    /// Why it is not decided.
    pub(super) reason: String,
    /// The snapshot says which endpoints it has; they are compared as it writes them.
    pub(super) is_held: bool,
}

impl StandIns {
    pub(super) fn of(snapshot: &Arc<Snapshot>) -> Self {
        let mut unknown = HashMap::new();
        for (index, cluster) in snapshot.clusters.iter().enumerate() {
            if let Some(found) = &cluster.unsupported {
                let held = Unknown {
                    reason: format!("cluster {}: {found}", cluster.name),
                    // What stands outside of it, in the bootstrap, is not compared with it.
                    is_held: cluster.load_assignment.is_some() && !found.path.is_empty(),
                };
                unknown.insert(index, held);
            }
        }
        if unknown.is_empty() {
            return Self {
                snapshot: Arc::clone(snapshot),
                unknown,
            };
        }
        let mut changed = Snapshot::clone(snapshot);
        for index in unknown.keys() {
            if let Some(cluster) = changed.clusters.get_mut(*index) {
                replace(cluster);
            }
        }
        Self {
            snapshot: Arc::new(changed),
            unknown,
        }
    }

    pub(super) fn unknown(&self, cluster: usize) -> Option<&Unknown> {
        self.unknown.get(&cluster)
    }
}

fn replace(cluster: &mut Cluster) {
    let address = Address {
        address: Some(AddressKind::SocketAddress(SocketAddress {
            address: ADDRESS.to_owned(),
            port_specifier: Some(PortSpecifier::PortValue(1)),
            ..SocketAddress::default()
        })),
    };
    let endpoint = LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(address),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    };
    cluster.load_assignment = Some(ClusterLoadAssignment {
        cluster_name: cluster.name.clone(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: vec![endpoint],
            ..LocalityLbEndpoints::default()
        }],
        ..ClusterLoadAssignment::default()
    });
    cluster.balancer = Balancer::RoundRobin;
    cluster.locality_weighted = false;
    cluster.zone_aware = ZoneAware::default();
    cluster.slow_start = None;
    cluster.subsets = None;
    cluster.override_headers = None;
    cluster.unsupported = None;
}
