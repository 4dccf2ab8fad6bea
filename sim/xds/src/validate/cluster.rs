//! Clusters and load assignments.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::{
    cluster::v3::{
        Cluster,
        cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy},
    },
    endpoint::v3::{ClusterLoadAssignment, lb_endpoint::HostIdentifier},
};

use super::check_address;
use crate::{
    assemble::balancer,
    error::ReadError,
    path::Path,
    snapshot::{Balancer, Maglev, RingHash},
    source::Source,
};

/// The largest total weight of a hash balancer.
const MAX_WEIGHT: u64 = u32::MAX as u64;

pub(crate) fn check(config: &Cluster, path: &Path, source: &Source<'_>) -> Result<(), ReadError> {
    let kind = match &config.cluster_discovery_type {
        Some(ClusterDiscoveryType::ClusterType(_)) => return Ok(()),
        Some(ClusterDiscoveryType::Type(kind)) => {
            DiscoveryType::try_from(*kind).unwrap_or(DiscoveryType::Static)
        }
        None => DiscoveryType::Static,
    };
    check_eds(config, kind, path, source)?;
    check_balancer(config, kind, path, source)?;
    check_sizes(config, path, source)?;
    let Some(assignment) = &config.load_assignment else {
        return Ok(());
    };
    let path = path.field("load_assignment");
    if kind == DiscoveryType::OriginalDst {
        return Err(source.invalid(&path, "an ORIGINAL_DST cluster has no load assignment"));
    }
    if kind == DiscoveryType::LogicalDns {
        let counts: Vec<usize> = assignment
            .endpoints
            .iter()
            .map(|group| group.lb_endpoints.len())
            .collect();
        if counts != [1] {
            return Err(source.invalid(
                &path.field("endpoints"),
                "a LOGICAL_DNS cluster has exactly one locality with exactly one endpoint",
            ));
        }
    }
    let is_static = kind == DiscoveryType::Static;
    check_endpoints(config, assignment, is_static, &path, source)
}

fn check_eds(
    config: &Cluster,
    kind: DiscoveryType,
    path: &Path,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    match (&config.eds_cluster_config, kind) {
        (None, DiscoveryType::Eds) => {
            Err(source.invalid(path, "an EDS cluster needs eds_cluster_config"))
        }
        (Some(_), kind) if kind != DiscoveryType::Eds => Err(source.invalid(
            &path.field("eds_cluster_config"),
            format!(
                "it may stand only in an EDS cluster, this is a {} one",
                kind.as_str_name()
            ),
        )),
        _ => Ok(()),
    }
}

fn check_balancer(
    config: &Cluster,
    kind: DiscoveryType,
    path: &Path,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    if let Some(extension) = &config.load_balancing_policy {
        let mut policies = extension.policies.iter();
        if policies.any(|policy| policy.typed_extension_config.is_some()) {
            return Ok(());
        }
        return Err(source.invalid(
            &path.field("load_balancing_policy"),
            "at least one policy with a typed_extension_config is required",
        ));
    }
    let policy = LbPolicy::try_from(config.lb_policy).unwrap_or(LbPolicy::RoundRobin);
    let is_original = kind == DiscoveryType::OriginalDst;
    let path = path.field("lb_policy");
    if policy == LbPolicy::LoadBalancingPolicyConfig {
        return Err(source.invalid(&path, "load_balancing_policy is required beside it"));
    }
    if is_original != (policy == LbPolicy::ClusterProvided) {
        return Err(source.invalid(
            &path,
            format!(
                "an ORIGINAL_DST cluster, and no other, has the policy CLUSTER_PROVIDED; this is \
                 a {} one with {}",
                kind.as_str_name(),
                policy.as_str_name()
            ),
        ));
    }
    Ok(())
}

/// The sizes of rings and Maglev tables.
fn check_sizes(config: &Cluster, path: &Path, source: &Source<'_>) -> Result<(), ReadError> {
    let place = |name| match config.load_balancing_policy {
        Some(_) => path.field("load_balancing_policy"),
        None => path.field(name),
    };
    match balancer(config) {
        Balancer::RingHash(RingHash {
            minimum, maximum, ..
        }) if minimum > maximum => Err(source.invalid(
            &place("ring_hash_lb_config"),
            format!("minimum_ring_size {minimum} is over maximum_ring_size {maximum}"),
        )),
        Balancer::Maglev(Maglev { table_size, .. }) if !is_prime(table_size) => Err(source
            .invalid(
                &place("maglev_lb_config"),
                format!("table_size must be a prime, {table_size} is none"),
            )),
        _ => Ok(()),
    }
}

fn is_prime(number: u64) -> bool {
    let mut divisors = (2..).take_while(|divisor| divisor * divisor <= number);
    number > 1 && divisors.all(|divisor| !number.is_multiple_of(divisor))
}

/// The balancer that hashes, where `lb_policy` says so. It alone normalizes weights, and refuses
/// those that it cannot add up; others take any.
fn hash_balancer(config: &Cluster) -> Option<&'static str> {
    if config.load_balancing_policy.is_some() {
        return None;
    }
    match LbPolicy::try_from(config.lb_policy) {
        Ok(policy @ (LbPolicy::RingHash | LbPolicy::Maglev)) => Some(policy.as_str_name()),
        _ => None,
    }
}

/// Weights, and addresses where they `must_be_ip`.
pub(crate) fn check_endpoints(
    config: &Cluster,
    assignment: &ClusterLoadAssignment,
    must_be_ip: bool,
    path: &Path,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    if let Some(balancer) = hash_balancer(config) {
        check_weights(assignment, balancer, path, source)?;
    }
    for (index, group) in assignment.endpoints.iter().enumerate() {
        let path = path.item("endpoints", index);
        for (index, endpoint) in group.lb_endpoints.iter().enumerate() {
            let path = path.item("lb_endpoints", index);
            let endpoint = match &endpoint.host_identifier {
                Some(HostIdentifier::Endpoint(endpoint)) => endpoint,
                Some(HostIdentifier::EndpointName(_)) => continue,
                None => return Err(source.invalid(&path, "endpoint.address is required")),
            };
            let Some(address) = &endpoint.address else {
                return Err(source.invalid(&path, "endpoint.address is required"));
            };
            if must_be_ip {
                check_address(address, &path.field("endpoint").field("address"), source)?;
            }
        }
    }
    Ok(())
}

/// The sums that a hash balancer takes.
fn check_weights(
    assignment: &ClusterLoadAssignment,
    balancer: &str,
    path: &Path,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    let mut localities: HashMap<u32, u64> = HashMap::new();
    for (index, group) in assignment.endpoints.iter().enumerate() {
        let path = path.item("endpoints", index);
        let weight = group.load_balancing_weight.map_or(0, |weight| weight.value);
        let total = localities.entry(group.priority).or_default();
        *total += u64::from(weight);
        if *total > MAX_WEIGHT {
            return Err(source.invalid(
                &path.field("load_balancing_weight"),
                format!(
                    "with {balancer}, the sum of the weights of all localities of priority {} may \
                     be at most {MAX_WEIGHT}",
                    group.priority
                ),
            ));
        }
        let mut total = 0_u64;
        for (index, endpoint) in group.lb_endpoints.iter().enumerate() {
            total += u64::from(
                endpoint
                    .load_balancing_weight
                    .map_or(1, |weight| weight.value),
            );
            if total > MAX_WEIGHT {
                return Err(source.invalid(
                    &path
                        .item("lb_endpoints", index)
                        .field("load_balancing_weight"),
                    format!(
                        "with {balancer}, the sum of the weights of a locality may be at most \
                         {MAX_WEIGHT}"
                    ),
                ));
            }
        }
    }
    Ok(())
}
