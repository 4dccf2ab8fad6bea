//! Circuit breakers whose thresholds of 0 do what the engines do not decide.

use envoy_types::pb::envoy::config::{
    cluster::v3::{Cluster, circuit_breakers::Thresholds},
    core::v3::RoutingPriority,
};
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
    TcpProxy, tcp_proxy::ClusterSpecifier,
};
use envoy_types::pb::google::protobuf::UInt32Value;

use super::Assembly;
use crate::snapshot::{Snapshot, Terminal, Unsupported};

impl Assembly<'_> {
    /// Makes clusters undecided that Envoy opens no connections to for a threshold of 0, and filter
    /// chains whose TCP proxy gets none: a connection in the clear waits as a request does.
    pub(super) fn leave_thresholds(&mut self, snapshot: &mut Snapshot) {
        for cluster in &mut snapshot.clusters {
            let Some((path, reason)) = of_cluster(&cluster.config) else {
                continue;
            };
            let resource = format!("cluster {:?}", cluster.name);
            let found = self.unsupported(&resource, path.to_owned(), reason.to_owned());
            cluster.unsupported.get_or_insert(found);
        }
        let clusters = &snapshot.clusters;
        for listener in &mut snapshot.listeners {
            let resource = format!("listener {:?}", listener.name);
            let chains = listener.filter_chains.iter_mut().enumerate();
            let chains = chains.map(|(index, chain)| (format!("filter_chains[{index}]"), chain));
            let default = listener.default_filter_chain.iter_mut();
            let default = default.map(|chain| ("default_filter_chain".to_owned(), chain));
            for (path, chain) in chains.chain(default) {
                let Terminal::Tcp(proxy) = &chain.terminal else {
                    continue;
                };
                let mut named = clusters.iter().filter(|it| names(proxy, &it.name));
                let closes = |it: &&Cluster| closes(it, proxy.tunneling_config.is_some());
                let Some(cluster) = named.find_map(|it| Some(&it.config).filter(closes)) else {
                    continue;
                };
                let last = chain.config.filters.len().saturating_sub(1);
                let reason = format!(
                    "thresholds of 0 of the cluster {:?} close connections, which is not decided",
                    cluster.name
                );
                let found: Unsupported =
                    self.unsupported(&resource, format!("{path}.filters[{last}]"), reason);
                chain.unsupported.get_or_insert(found);
            }
        }
    }
}

fn is_zero(threshold: &Option<UInt32Value>) -> bool {
    threshold.as_ref().is_some_and(|it| it.value == 0)
}

fn of_cluster(config: &Cluster) -> Option<(&'static str, &'static str)> {
    let breakers = config.circuit_breakers.as_ref()?;
    let any = |field: fn(&Thresholds) -> &Option<UInt32Value>| {
        breakers.thresholds.iter().any(|it| is_zero(field(it)))
    };
    let preconnect = config.preconnect_policy.as_ref();
    let preconnects = preconnect.is_some_and(|it| it.per_upstream_preconnect_ratio.is_some());
    if any(|it| &it.max_connection_pools) {
        return Some((
            "circuit_breakers",
            "a max_connection_pools of 0 is not decided",
        ));
    }
    (preconnects && any(|it| &it.max_pending_requests)).then_some((
        "preconnect_policy",
        "connections ahead of requests are not decided beside a max_pending_requests of 0",
    ))
}

/// Whether no connection of a TCP proxy gets to the cluster: they have the default priority.
fn closes(config: &Cluster, by_requests: bool) -> bool {
    let breakers = config.circuit_breakers.iter();
    let mut thresholds =
        breakers.flat_map(|it| it.thresholds.iter().chain(&it.per_host_thresholds));
    thresholds.any(|it| {
        it.priority == RoutingPriority::Default as i32
            && (is_zero(&it.max_connections)
                || is_zero(&it.max_pending_requests)
                || by_requests && is_zero(&it.max_requests))
    })
}

fn names(proxy: &TcpProxy, cluster: &str) -> bool {
    match &proxy.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => name == cluster,
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            weighted.clusters.iter().any(|it| it.name == cluster)
        }
        None => false,
    }
}
