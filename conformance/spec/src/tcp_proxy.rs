//! `TcpProxy`: the cluster of a connection.

use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, tcp_proxy::ClusterSpecifier,
};

use crate::draw::{self, draw};
use crate::weighted_cluster::{self, Choice};

/// The cluster's name, and the weighted choice that led to it; `None` where there is no cluster.
pub(crate) fn cluster(proxy: &TcpProxy, random: u64) -> Option<(&str, Option<Choice>)> {
    match proxy.cluster_specifier.as_ref()? {
        ClusterSpecifier::Cluster(name) => Some((name, None)),
        ClusterSpecifier::WeightedClusters(weighted) => {
            let weights = weighted.clusters.iter().map(|cluster| cluster.weight);
            let number = draw(random, draw::WEIGHTED_CLUSTER);
            let choice = weighted_cluster::by_number(weights, number)?;
            let name = &weighted.clusters.get(choice.entry)?.name;
            Some((name, Some(choice)))
        }
    }
}

/// `metadata_match` of one of its weighted clusters.
pub(crate) fn metadata_match(proxy: &TcpProxy, entry: usize) -> Option<&Metadata> {
    match proxy.cluster_specifier.as_ref()? {
        ClusterSpecifier::Cluster(_) => None,
        ClusterSpecifier::WeightedClusters(weighted) => {
            weighted.clusters.get(entry)?.metadata_match.as_ref()
        }
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::{
        WeightedCluster, weighted_cluster::ClusterWeight,
    };

    use super::*;

    #[test]
    fn one_cluster() {
        let proxy = TcpProxy {
            cluster_specifier: Some(ClusterSpecifier::Cluster("c".to_owned())),
            ..TcpProxy::default()
        };
        assert_eq!(cluster(&proxy, 1), Some(("c", None)));
        assert_eq!(cluster(&TcpProxy::default(), 1), None);
    }

    #[test]
    fn weighted_clusters() {
        let entry = |name: &str, weight| ClusterWeight {
            name: name.to_owned(),
            weight,
            ..ClusterWeight::default()
        };
        let proxy = TcpProxy {
            cluster_specifier: Some(ClusterSpecifier::WeightedClusters(WeightedCluster {
                clusters: vec![entry("a", 1), entry("b", 2)],
            })),
            ..TcpProxy::default()
        };
        let name = |random| cluster(&proxy, random).map(|(name, _)| name);
        assert_eq!(name(3), Some("a"));
        assert_eq!(name(4), Some("b"));
        assert_eq!(name(5), Some("b"));
    }
}
