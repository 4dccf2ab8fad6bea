//! Clusters: their endpoints become loopback addresses, their policies stay.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use serde_json::{Value, json};
use twinmesh_xds::{Cluster, Snapshot};

use super::json as steps;
use crate::error::EnvoyError;

/// An endpoint of the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index into `Snapshot::clusters`.
    pub cluster: usize,
    /// Index into `ClusterLoadAssignment.endpoints`.
    pub locality: usize,
    /// Index into its `lb_endpoints`.
    pub endpoint: usize,
}

/// The clusters of a bootstrap.
pub struct Clusters {
    /// Their messages.
    pub configs: Vec<Value>,
    /// Each endpoint by the IP address that stands for it.
    pub places: BTreeMap<String, Place>,
    /// Clusters whose endpoints are not what Envoy would have, and why.
    pub replaced: BTreeMap<String, String>,
}

/// What reaches out of the process, what would take endpoints out while requests are sent, and how
/// requests are carried, which the backend leaves no choice about.
const LEFT_OUT: [&str; 24] = [
    "cluster_type",
    "dns_failure_refresh_rate",
    "dns_jitter",
    "dns_lookup_family",
    "dns_refresh_rate",
    "dns_resolution_config",
    "dns_resolvers",
    "eds_cluster_config",
    "filters",
    "health_checks",
    "http2_protocol_options",
    "http_protocol_options",
    "lrs_server",
    "lrs_report_endpoint_metrics",
    "outlier_detection",
    "preconnect_policy",
    "respect_dns_ttl",
    "transport_socket",
    "transport_socket_matches",
    "typed_dns_resolver_config",
    "typed_extension_protocol_options",
    "upstream_bind_config",
    "upstream_http_protocol_options",
    "use_tcp_for_dns_lookups",
];

/// Rewrites all clusters of a snapshot.
///
/// # Errors
/// There are more endpoints than loopback addresses.
pub fn clusters(
    snapshot: &Snapshot,
    configs: Vec<Value>,
    assignments: Vec<Value>,
    backend: u16,
) -> Result<Clusters, EnvoyError> {
    let mut result = Clusters {
        configs: Vec::new(),
        places: BTreeMap::new(),
        replaced: BTreeMap::new(),
    };
    let assignments: BTreeMap<String, Value> = assignments
        .into_iter()
        .filter_map(|assignment| {
            let name = assignment.get("cluster_name")?.as_str()?.to_owned();
            Some((name, assignment))
        })
        .collect();
    // Where all clusters are absent the dump has none of them.
    let mut configs = configs.into_iter();
    for (index, cluster) in snapshot.clusters.iter().enumerate() {
        let mut config = configs
            .next()
            .unwrap_or_else(|| json!({"name": cluster.name}));
        steps::remove(&mut config, &LEFT_OUT);
        lift_thresholds(&mut config);
        if is(cluster, DiscoveryType::OriginalDst) {
            result.configs.push(config);
            continue;
        }
        let own = config.get_mut("load_assignment").map(Value::take);
        let assignment = assignments.get(service_name(cluster)).cloned().or(own);
        if let Some(reason) = why_replaced(cluster) {
            result.replaced.insert(cluster.name.clone(), reason);
        }
        let mut assignment = match (&cluster.load_assignment, assignment) {
            (Some(_), Some(assignment)) => assignment,
            _ => json!({}),
        };
        steps::set(&mut assignment, "cluster_name", json!(cluster.name));
        steps::remove(&mut assignment, &["named_endpoints"]);
        let hashes_addresses = hashes_addresses(&config);
        for (locality, group) in steps::elements(&mut assignment, "endpoints").enumerate() {
            steps::remove(
                group,
                &["leds_cluster_locality_config", "load_balancer_endpoints"],
            );
            for (endpoint, config) in steps::elements(group, "lb_endpoints").enumerate() {
                let place = Place {
                    cluster: index,
                    locality,
                    endpoint,
                };
                let ip = nth_address(result.places.len())?;
                place_at(
                    config,
                    &ip,
                    backend,
                    address_of(cluster, place),
                    hashes_addresses,
                );
                result.places.insert(ip, place);
            }
        }
        steps::set(&mut config, "type", json!("STATIC"));
        steps::set(&mut config, "load_assignment", assignment);
        if config.get("lb_policy").and_then(Value::as_str) == Some("CLUSTER_PROVIDED") {
            steps::remove(&mut config, &["lb_policy"]);
        }
        result.configs.push(config);
    }
    Ok(result)
}

/// Takes away the circuit breakers that one request at a time does not reach: of a connection that its
/// client has closed, the server's other side may be counted on for a while.
fn lift_thresholds(config: &mut Value) {
    const COUNTS: [&str; 3] = ["max_connections", "max_pending_requests", "max_requests"];
    let Some(breakers) = config.get_mut("circuit_breakers") else {
        return;
    };
    for list in ["thresholds", "per_host_thresholds"] {
        for thresholds in steps::elements(breakers, list) {
            for name in COUNTS {
                if thresholds.get(name).is_some_and(|count| count != 0) {
                    steps::remove(thresholds, &[name]);
                }
            }
        }
    }
}

fn is(cluster: &Cluster, kind: DiscoveryType) -> bool {
    matches!(cluster.config.cluster_discovery_type,
        Some(ClusterDiscoveryType::Type(found)) if found == kind as i32)
}

fn service_name(cluster: &Cluster) -> &str {
    match &cluster.config.eds_cluster_config {
        Some(eds) if !eds.service_name.is_empty() => &eds.service_name,
        _ => &cluster.name,
    }
}

/// Why the endpoints that Envoy gets are not those that it would have.
fn why_replaced(cluster: &Cluster) -> Option<String> {
    if let Some(ClusterDiscoveryType::ClusterType(custom)) = &cluster.config.cluster_discovery_type
    {
        return Some(format!(
            "the endpoints of a cluster of type {} are not known",
            custom.name
        ));
    }
    let Some(assignment) = &cluster.load_assignment else {
        return Some("the snapshot does not hold the cluster's endpoints".to_owned());
    };
    let looked_up = is(cluster, DiscoveryType::StrictDns) || is(cluster, DiscoveryType::LogicalDns);
    let mut endpoints = assignment.endpoints.iter().flat_map(|it| &it.lb_endpoints);
    let named = endpoints.find_map(|endpoint| {
        let address = twinmesh_engine::endpoint::address(endpoint)?;
        let (host, _) = address.rsplit_once(':')?;
        let host = host.trim_matches(['[', ']']);
        host.parse::<IpAddr>().is_err().then(|| host.to_owned())
    });
    let name = named.filter(|_| looked_up)?;
    Some(format!("the host name {name} is not looked up"))
}

/// Hash rings and Maglev tables are made of the endpoints' addresses, unless they say otherwise.
fn hashes_addresses(config: &Value) -> bool {
    let text = config.to_string();
    let hashes = ["RING_HASH", "MAGLEV", "RingHash", "Maglev"];
    let by_hostname = text.contains("\"use_hostname_for_hashing\":true");
    hashes.iter().any(|it| text.contains(it)) && !by_hostname
}

fn address_of(cluster: &Cluster, place: Place) -> Option<String> {
    let assignment = cluster.load_assignment.as_ref()?;
    let group = assignment.endpoints.get(place.locality)?;
    twinmesh_engine::endpoint::address(group.lb_endpoints.get(place.endpoint)?)
}

/// Puts an endpoint at its loopback address.
fn place_at(
    config: &mut Value,
    ip: &str,
    port: u16,
    address: Option<String>,
    hashes_addresses: bool,
) {
    steps::remove(config, &["endpoint_name"]);
    if config.get("endpoint").is_none() {
        steps::set(config, "endpoint", json!({}));
    }
    if let Some(endpoint) = config.get_mut("endpoint") {
        steps::remove(endpoint, &["health_check_config", "additional_addresses"]);
        let place = json!({"socket_address": {"address": ip, "port_value": port}});
        steps::set(endpoint, "address", place);
    }
    if let Some(address) = address.filter(|_| hashes_addresses)
        && let Some(members) = config.as_object_mut()
    {
        let metadata = members.entry("metadata").or_insert_with(|| json!({}));
        if metadata.get("filter_metadata").is_none() {
            steps::set(metadata, "filter_metadata", json!({}));
        }
        if let Some(filters) = metadata
            .get_mut("filter_metadata")
            .and_then(Value::as_object_mut)
        {
            let balancers = filters.entry("envoy.lb").or_insert_with(|| json!({}));
            if balancers.get("hash_key").is_none() {
                steps::set(balancers, "hash_key", json!(address));
            }
        }
    }
}

/// Where endpoints are: not where somebody is.
const FIRST: u32 = u32::from_be_bytes([127, 1, 0, 0]);
const LAST: u32 = u32::from_be_bytes([127, 199, 255, 255]);

/// Whether an endpoint may be at this address.
pub fn stands_in(ip: Ipv4Addr) -> bool {
    (FIRST..=LAST).contains(&u32::from(ip))
}

fn nth_address(index: usize) -> Result<String, EnvoyError> {
    u32::try_from(index)
        .ok()
        .and_then(|index| FIRST.checked_add(index))
        .filter(|address| *address <= LAST)
        .map(|address| Ipv4Addr::from(address).to_string())
        .ok_or_else(|| {
            EnvoyError::Unexpected(format!(
                "the snapshot has over {} endpoints, more than loopback has addresses for",
                LAST - FIRST
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_thresholds_of_zero_stay() {
        let mut config = json!({"name": "c", "circuit_breakers": {
            "thresholds": [
                {"max_requests": 1, "max_pending_requests": 0, "max_retries": 2},
                {"priority": "HIGH", "max_connections": 3, "track_remaining": true},
            ],
            "per_host_thresholds": [{"max_connections": 1}],
        }});
        lift_thresholds(&mut config);
        let expected = json!({"name": "c", "circuit_breakers": {
            "thresholds": [
                {"max_pending_requests": 0, "max_retries": 2},
                {"priority": "HIGH", "track_remaining": true},
            ],
            "per_host_thresholds": [{}],
        }});
        assert_eq!(config, expected);
        let mut without = json!({"name": "c"});
        lift_thresholds(&mut without);
        assert_eq!(without, json!({"name": "c"}));
    }
}
