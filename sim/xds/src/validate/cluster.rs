//! Clusters and load assignments.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::{
    cluster::v3::{
        Cluster,
        cluster::{
            ClusterDiscoveryType, DiscoveryType, LbPolicy,
            common_lb_config::LocalityConfigSpecifier,
        },
    },
    endpoint::v3::{ClusterLoadAssignment, lb_endpoint::HostIdentifier},
};
use envoy_types::pb::envoy::extensions::load_balancing_policies::{
    override_host::v3::OverrideHost, subset::v3::Subset, wrr_locality::v3::WrrLocality,
};
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use prost::Message as _;

use super::{attempts, check_address, subset};
use crate::{
    assemble::{balancing, first_known},
    classify::{CLIENT_SIDE_WEIGHTED, OVERRIDE_HOST, SUBSET, WRR_LOCALITY},
    error::ReadError,
    path::Path,
    schema::type_name,
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
    check_host_names(config, kind, path, source)?;
    check_sizes(config, path, source)?;
    check_subsets(config, path, source)?;
    attempts::cluster(config, path, source)?;
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
            return check_beside_extension(config, path, source);
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

/// Only a STRICT_DNS cluster may say in `common_lb_config` that host names are hashed, whatever its
/// balancer.
fn check_host_names(
    config: &Cluster,
    kind: DiscoveryType,
    path: &Path,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    let common = config.common_lb_config.as_ref();
    let hashing = common.and_then(|common| common.consistent_hashing_lb_config.as_ref());
    if kind == DiscoveryType::StrictDns || !hashing.is_some_and(|it| it.use_hostname_for_hashing) {
        return Ok(());
    }
    let path = path
        .field("common_lb_config")
        .field("consistent_hashing_lb_config")
        .field("use_hostname_for_hashing");
    let problem = format!(
        "it may stand only in a STRICT_DNS cluster, this is a {} one",
        kind.as_str_name()
    );
    Err(source.invalid(&path, problem))
}

/// What may not stand beside `load_balancing_policy`.
fn check_beside_extension(
    config: &Cluster,
    path: &Path,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    const PROBLEM: &str = "it cannot be combined with load_balancing_policy";
    if config.lb_subset_config.is_some() {
        return Err(source.invalid(&path.field("lb_subset_config"), PROBLEM));
    }
    let Some(common) = &config.common_lb_config else {
        return Ok(());
    };
    let field = match &common.locality_config_specifier {
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(_)) => "zone_aware_lb_config",
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => "locality_weighted_lb_config",
        None if common.consistent_hashing_lb_config.is_some() => "consistent_hashing_lb_config",
        None => return Ok(()),
    };
    Err(source.invalid(&path.field("common_lb_config").field(field), PROBLEM))
}

/// Subsets, and what the extensions that have another policy in them take.
fn check_subsets(config: &Cluster, path: &Path, source: &Source<'_>) -> Result<(), ReadError> {
    let Some(policy) = &config.load_balancing_policy else {
        let Some(subsets) = &config.lb_subset_config else {
            return Ok(());
        };
        let path = path.field("lb_subset_config");
        if config.lb_policy == LbPolicy::ClusterProvided as i32
            && !subsets.subset_selectors.is_empty()
        {
            return Err(source.invalid(&path, "it cannot be combined with CLUSTER_PROVIDED"));
        }
        return subset::check(subsets, config.common_lb_config.as_ref(), &path, source);
    };
    let path = path.field("load_balancing_policy");
    let Some(any) = first_known(policy) else {
        return Ok(());
    };
    match type_name(&any.type_url) {
        SUBSET => {
            let config = Subset::decode(any.value.as_slice()).unwrap_or_default();
            if config
                .subset_lb_policy
                .as_ref()
                .and_then(first_known)
                .is_none()
            {
                return Err(source.invalid(&path, "subset_lb_policy names no balancer of Envoy's"));
            }
            for selector in balancing(&Cluster {
                load_balancing_policy: Some(policy.clone()),
                ..Cluster::default()
            })
            .subsets
            .iter()
            .flat_map(|subsets| &subsets.config.subset_selectors)
            {
                subset::check_selector(selector, &path, source)?;
            }
            Ok(())
        }
        OVERRIDE_HOST => {
            let config = OverrideHost::decode(any.value.as_slice()).unwrap_or_default();
            for (index, from) in config.override_host_sources.iter().enumerate() {
                if from.header.is_empty() == from.metadata.is_none() {
                    let path = path.item("override_host_sources", index);
                    return Err(source.invalid(&path, "expected one of header and metadata"));
                }
            }
            match config.fallback_policy {
                Some(fallback) if first_known(&fallback).is_some() => check_subsets(
                    &Cluster {
                        load_balancing_policy: Some(fallback),
                        ..Cluster::default()
                    },
                    &path.field("fallback_policy"),
                    source,
                ),
                _ => Err(source.invalid(&path, "fallback_policy names no balancer of Envoy's")),
            }
        }
        WRR_LOCALITY => {
            let config = WrrLocality::decode(any.value.as_slice()).unwrap_or_default();
            let within = config
                .endpoint_picking_policy
                .as_ref()
                .and_then(first_known);
            match within.map(|any| type_name(&any.type_url)) {
                Some(CLIENT_SIDE_WEIGHTED) => Ok(()),
                _ => Err(source.invalid(
                    &path,
                    "endpoint_picking_policy of wrr_locality may only be client_side_weighted_round_robin",
                )),
            }
        }
        _ => Ok(()),
    }
}

/// The share of requests that a load assignment has dropped.
fn check_overloads(
    assignment: &ClusterLoadAssignment,
    path: &Path,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    let overloads = assignment.policy.iter().flat_map(|it| &it.drop_overloads);
    for (index, overload) in overloads.enumerate() {
        let path = path.field("policy").item("drop_overloads", index);
        if index > 0 {
            return Err(source.invalid(&path, "Envoy takes one category only"));
        }
        let share = overload.drop_percentage.unwrap_or_default();
        let whole = match DenominatorType::try_from(share.denominator) {
            Ok(DenominatorType::TenThousand) => 10_000,
            Ok(DenominatorType::Million) => 1_000_000,
            Ok(DenominatorType::Hundred) | Err(_) => 100,
        };
        if share.numerator > whole {
            let problem = format!("at most {whole} of {whole} can be dropped");
            return Err(source.invalid(&path.field("drop_percentage"), problem));
        }
    }
    Ok(())
}

/// The sizes of rings and Maglev tables.
fn check_sizes(config: &Cluster, path: &Path, source: &Source<'_>) -> Result<(), ReadError> {
    let place = |name| match config.load_balancing_policy {
        Some(_) => path.field("load_balancing_policy"),
        None => path.field(name),
    };
    match balancing(config).balancer {
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
    check_overloads(assignment, path, source)?;
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
