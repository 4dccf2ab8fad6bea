//! Cluster and endpoint in words.

use envoy_types::pb::envoy::config::route::v3::{
    route::Action, route_action::ClusterSpecifier, weighted_cluster::RandomValueSpecifier,
};
use twinmesh_engine::endpoint;
use twinmesh_xds::Balancer;

use super::narrator::{Narrator, Sentence, quoted};

impl<'a> Narrator<'a> {
    pub(super) fn tell_weighted_cluster(
        &self,
        entry: usize,
        value: u64,
        from: u64,
        to: u64,
    ) -> Sentence {
        let weighted = match self.route_action() {
            Some(ClusterSpecifier::WeightedClusters(weighted)) => Some(weighted),
            _ => None,
        };
        let clusters = weighted.map_or(&[][..], |weighted| weighted.clusters.as_slice());
        let number = match weighted.and_then(|weighted| weighted.random_value_specifier.as_ref()) {
            Some(RandomValueSpecifier::HeaderName(name)) => {
                format!("the number in header {name}, or else the random number,")
            }
            Some(RandomValueSpecifier::UseHashPolicy(_)) => {
                "the hash by route.hash_policy, or else the random number,".to_owned()
            }
            None => "the random number".to_owned(),
        };
        let name = match clusters.get(entry) {
            Some(weight) if weight.name.is_empty() => {
                format!("by header {}", weight.cluster_header)
            }
            Some(weight) => quoted(&weight.name),
            None => String::new(),
        };
        let total: u64 = clusters
            .iter()
            .filter_map(|weight| weight.weight.as_ref())
            .map(|weight| u64::from(weight.value))
            .sum();
        Sentence {
            topic: "weighted cluster",
            choice: format!("weighted_clusters.clusters[{entry}] {name}"),
            because: format!(
                "{number} modulo the total weight {total} is {value}, in its interval {from}..{to}"
            ),
        }
    }

    pub(super) fn tell_cluster(&self, index: usize) -> Sentence {
        let name = self
            .snapshot
            .clusters
            .get(index)
            .map_or("", |cluster| &cluster.name);
        let because = match self.route_action() {
            Some(ClusterSpecifier::Cluster(_)) => "route.cluster".to_owned(),
            Some(ClusterSpecifier::ClusterHeader(header)) => {
                format!("route.cluster_header {header:?}")
            }
            Some(ClusterSpecifier::WeightedClusters(_)) => "route.weighted_clusters".to_owned(),
            Some(_) => "the route's cluster specifier".to_owned(),
            None => "tcp_proxy.cluster".to_owned(),
        };
        Sentence {
            topic: "cluster",
            choice: quoted(name),
            because,
        }
    }

    /// The header of an `OverrideHost` that names endpoints.
    pub(super) fn override_header(&self, source: usize) -> String {
        let clusters = &self.snapshot.clusters;
        let cluster = self.cluster.and_then(|index| clusters.get(index));
        let headers = cluster.and_then(|cluster| cluster.override_headers.as_ref());
        let name = headers.and_then(|headers| headers.get(source));
        format!("header {:?}", name.map_or("", String::as_str))
    }

    pub(super) fn tell_endpoint(&self, locality: usize, index: usize) -> Sentence {
        let cluster = self
            .cluster
            .and_then(|index| self.snapshot.clusters.get(index));
        let address = cluster
            .and_then(|cluster| cluster.load_assignment.as_ref())
            .and_then(|assignment| assignment.endpoints.get(locality))
            .and_then(|locality| locality.lb_endpoints.get(index))
            .and_then(endpoint::address);
        let balancer = match cluster.map(|cluster| cluster.balancer) {
            _ if self.overridden => "the one that the header names".to_owned(),
            Some(Balancer::RoundRobin) => "the next in turn (ROUND_ROBIN)".to_owned(),
            Some(Balancer::LeastRequest {
                full_scan: true, ..
            }) => "the least busy of all, or by weight (LEAST_REQUEST)".to_owned(),
            Some(Balancer::LeastRequest { choice_count, .. }) => {
                format!("the least busy of {choice_count} drawn, or by weight (LEAST_REQUEST)")
            }
            Some(Balancer::RingHash(_)) => "the next one on the ring (RING_HASH)".to_owned(),
            Some(Balancer::Maglev(_)) => "its entry of the table (MAGLEV)".to_owned(),
            Some(Balancer::Random) => "drawn (RANDOM)".to_owned(),
            Some(Balancer::OriginalDestination) => {
                "where the connection was going (ORIGINAL_DST)".to_owned()
            }
            None => String::new(),
        };
        Sentence {
            topic: "endpoint",
            choice: address.unwrap_or_default(),
            because: format!("endpoints[{locality}].lb_endpoints[{index}]: {balancer}"),
        }
    }

    fn route_action(&self) -> Option<&'a ClusterSpecifier> {
        match self.route_at(self.route?)?.action.as_ref()? {
            Action::Route(action) => action.cluster_specifier.as_ref(),
            _ => None,
        }
    }
}
