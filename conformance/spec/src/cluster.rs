//! What a cluster says of its endpoints and of how to choose among them.

use envoy_types::pb::envoy::config::cluster::v3::Cluster as ClusterConfig;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, LbConfig, LbPolicy, RingHashLbConfig as OldRingHash,
    common_lb_config::LocalityConfigSpecifier as OldLocalityConfig,
    ring_hash_lb_config::HashFunction as OldHashFunction,
};
use envoy_types::pb::envoy::config::core::v3::{
    Address, HealthStatus, RuntimeDouble, address, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, LbEndpoint, lb_endpoint::HostIdentifier,
};
use envoy_types::pb::envoy::extensions::load_balancing_policies::common::v3::{
    LocalityLbConfig, locality_lb_config::LocalityConfigSpecifier,
};
use envoy_types::pb::envoy::extensions::load_balancing_policies::{
    least_request::v3::{LeastRequest, least_request::SelectionMethod},
    maglev::v3::Maglev,
    random::v3::Random,
    ring_hash::v3::{RingHash, ring_hash::HashFunction},
    round_robin::v3::RoundRobin,
};
use envoy_types::pb::google::protobuf::UInt64Value;
use prost::Message as _;

use crate::hash_balancer::{self, Kinds};
use crate::least_request::Options;
use crate::ring_hash;

const DEFAULT_CHOICE_COUNT: u32 = 2;
const DEFAULT_ACTIVE_REQUEST_BIAS: f64 = 1.0;
const DEFAULT_MINIMUM_RING_SIZE: u64 = 1024;
const DEFAULT_MAXIMUM_RING_SIZE: u64 = 8 * 1024 * 1024;
const DEFAULT_TABLE_SIZE: u64 = 65537;

/// How a cluster chooses among its endpoints.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Policy {
    RoundRobin,
    LeastRequest(Options),
    Hash(hash_balancer::Options),
    Random,
    /// The connection's own destination is the endpoint.
    OriginalDestination,
    /// One that is not decided here.
    Undecided,
}

/// An endpoint and its place in the load assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// Index into `ClusterLoadAssignment.endpoints`.
    pub(crate) locality: usize,
    /// Index into its `lb_endpoints`.
    pub(crate) endpoint: usize,
    pub(crate) weight: u32,
    pub(crate) health: Health,
}

/// What `health_status` means to a balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Healthy,
    Degraded,
    Unhealthy,
    /// Not healthy, and not counted among the endpoints that could be.
    Draining,
}

/// The cluster's policy, and whether it has `fail_traffic_on_panic`.
pub(crate) fn policy(config: &ClusterConfig) -> (Policy, bool) {
    let is_original_destination = matches!(
        config.cluster_discovery_type,
        Some(ClusterDiscoveryType::Type(kind)) if kind == DiscoveryType::OriginalDst as i32
    );
    if is_original_destination {
        return (Policy::OriginalDestination, false);
    }
    if let Some(policies) = &config.load_balancing_policy {
        let first = policies
            .policies
            .first()
            .and_then(|policy| policy.typed_extension_config.as_ref())
            .and_then(|extension| extension.typed_config.as_ref());
        return first.map_or((Policy::Undecided, false), |any| {
            let message = any.type_url.rsplit('/').next().unwrap_or_default();
            typed_policy(message, &any.value).unwrap_or((Policy::Undecided, false))
        });
    }
    let fails_on_panic = config
        .common_lb_config
        .as_ref()
        .and_then(|common| common.locality_config_specifier.as_ref())
        .is_some_and(|locality| {
            matches!(locality, OldLocalityConfig::ZoneAwareLbConfig(zone_aware)
                if zone_aware.fail_traffic_on_panic)
        });
    let policy = match LbPolicy::try_from(config.lb_policy) {
        Ok(LbPolicy::RoundRobin) => Policy::RoundRobin,
        Ok(LbPolicy::LeastRequest) => match &config.lb_config {
            Some(LbConfig::LeastRequestLbConfig(old)) => Policy::LeastRequest(options(
                old.choice_count.as_ref().map(|count| count.value),
                old.active_request_bias.as_ref(),
            )),
            _ => Policy::LeastRequest(options(None, None)),
        },
        Ok(LbPolicy::RingHash) => {
            let old = match &config.lb_config {
                Some(LbConfig::RingHashLbConfig(old)) => *old,
                _ => OldRingHash::default(),
            };
            let kind = Kinds::RingHash(ring_hash::Options {
                minimum_size: size(old.minimum_ring_size, DEFAULT_MINIMUM_RING_SIZE),
                maximum_size: size(old.maximum_ring_size, DEFAULT_MAXIMUM_RING_SIZE),
                murmur: old.hash_function == OldHashFunction::MurmurHash2 as i32,
            });
            return (Policy::Hash(hashing(config, kind)), false);
        }
        Ok(LbPolicy::Maglev) => {
            let old = match &config.lb_config {
                Some(LbConfig::MaglevLbConfig(old)) => old.table_size,
                _ => None,
            };
            let kind = Kinds::Maglev(size(old, DEFAULT_TABLE_SIZE));
            return (Policy::Hash(hashing(config, kind)), false);
        }
        Ok(LbPolicy::Random) => Policy::Random,
        _ => Policy::Undecided,
    };
    (policy, fails_on_panic)
}

fn typed_policy(message: &str, value: &[u8]) -> Option<(Policy, bool)> {
    const PACKAGE: &str = "envoy.extensions.load_balancing_policies.";
    match message.strip_prefix(PACKAGE)? {
        "round_robin.v3.RoundRobin" => {
            let config = RoundRobin::decode(value).ok()?;
            Some((
                Policy::RoundRobin,
                fails_on_panic(config.locality_lb_config.as_ref()),
            ))
        }
        "least_request.v3.LeastRequest" => {
            let config = LeastRequest::decode(value).ok()?;
            let scans = config.selection_method == SelectionMethod::FullScan as i32
                || config.enable_full_scan.is_some_and(|scan| scan.value);
            if scans {
                return None;
            }
            let options = options(
                config.choice_count.as_ref().map(|count| count.value),
                config.active_request_bias.as_ref(),
            );
            Some((
                Policy::LeastRequest(options),
                fails_on_panic(config.locality_lb_config.as_ref()),
            ))
        }
        "random.v3.Random" => {
            let config = Random::decode(value).ok()?;
            Some((
                Policy::Random,
                fails_on_panic(config.locality_lb_config.as_ref()),
            ))
        }
        "ring_hash.v3.RingHash" => {
            let config = RingHash::decode(value).ok()?;
            let common = config.consistent_hashing_lb_config.as_ref();
            let options = hash_balancer::Options {
                kind: Kinds::RingHash(ring_hash::Options {
                    minimum_size: size(config.minimum_ring_size, DEFAULT_MINIMUM_RING_SIZE),
                    maximum_size: size(config.maximum_ring_size, DEFAULT_MAXIMUM_RING_SIZE),
                    murmur: config.hash_function == HashFunction::MurmurHash2 as i32,
                }),
                by_hostname: common.map_or(config.use_hostname_for_hashing, |common| {
                    common.use_hostname_for_hashing
                }),
                locality_weighted: config.locality_weighted_lb_config.is_some(),
            };
            Some((Policy::Hash(options), false))
        }
        "maglev.v3.Maglev" => {
            let config = Maglev::decode(value).ok()?;
            let common = config.consistent_hashing_lb_config.as_ref();
            let options = hash_balancer::Options {
                kind: Kinds::Maglev(size(config.table_size, DEFAULT_TABLE_SIZE)),
                by_hostname: common.is_some_and(|common| common.use_hostname_for_hashing),
                locality_weighted: config.locality_weighted_lb_config.is_some(),
            };
            Some((Policy::Hash(options), false))
        }
        _ => None,
    }
}

fn size(given: Option<UInt64Value>, default: u64) -> u64 {
    given.map_or(default, |size| size.value)
}

/// What `common_lb_config` says of hashing beside `lb_policy`.
fn hashing(config: &ClusterConfig, kind: Kinds) -> hash_balancer::Options {
    let common = config.common_lb_config.as_ref();
    let hashing = common.and_then(|common| common.consistent_hashing_lb_config.as_ref());
    let locality = common.and_then(|common| common.locality_config_specifier.as_ref());
    hash_balancer::Options {
        kind,
        by_hostname: hashing.is_some_and(|hashing| hashing.use_hostname_for_hashing),
        locality_weighted: matches!(
            locality,
            Some(OldLocalityConfig::LocalityWeightedLbConfig(_))
        ),
    }
}

fn options(choice_count: Option<u32>, active_request_bias: Option<&RuntimeDouble>) -> Options {
    Options {
        choice_count: choice_count.unwrap_or(DEFAULT_CHOICE_COUNT),
        active_request_bias: active_request_bias
            .map_or(DEFAULT_ACTIVE_REQUEST_BIAS, |bias| bias.default_value),
    }
}

fn fails_on_panic(locality: Option<&LocalityLbConfig>) -> bool {
    matches!(
        locality.and_then(|locality| locality.locality_config_specifier.as_ref()),
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zone_aware))
            if zone_aware.fail_traffic_on_panic
    )
}

/// Whether the cluster's endpoints stand in its own configuration; without any it is empty.
pub(crate) fn is_static(config: &ClusterConfig) -> bool {
    matches!(
        config.cluster_discovery_type,
        None | Some(ClusterDiscoveryType::Type(0))
    )
}

/// Whether the cluster weighs localities against each other, which is not decided but for the
/// balancers that hash.
///
/// Where each priority has one locality at most, there is nothing to weigh.
pub(crate) fn weighs_localities(
    config: &ClusterConfig,
    assignment: &ClusterLoadAssignment,
) -> bool {
    let old = config
        .common_lb_config
        .as_ref()
        .and_then(|common| common.locality_config_specifier.as_ref())
        .is_some_and(|locality| matches!(locality, OldLocalityConfig::LocalityWeightedLbConfig(_)));
    let new = config
        .load_balancing_policy
        .as_ref()
        .and_then(|policies| policies.policies.first())
        .and_then(|policy| policy.typed_extension_config.as_ref())
        .and_then(|extension| extension.typed_config.as_ref())
        .and_then(|any| locality_config(&any.type_url, &any.value))
        .is_some_and(|locality| {
            matches!(
                locality.locality_config_specifier,
                Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_))
            )
        });
    let weighs = if config.load_balancing_policy.is_some() {
        new
    } else {
        old
    };
    let mut priorities: Vec<u32> = assignment
        .endpoints
        .iter()
        .map(|locality| locality.priority)
        .collect();
    let count = priorities.len();
    priorities.sort_unstable();
    priorities.dedup();
    weighs && priorities.len() != count
}

fn locality_config(type_url: &str, value: &[u8]) -> Option<LocalityLbConfig> {
    match type_url.rsplit('.').next()? {
        "RoundRobin" => RoundRobin::decode(value).ok()?.locality_lb_config,
        "LeastRequest" => LeastRequest::decode(value).ok()?.locality_lb_config,
        "Random" => Random::decode(value).ok()?.locality_lb_config,
        _ => None,
    }
}

/// The endpoints of each priority, in the order of the load assignment.
pub(crate) fn hosts_by_priority(assignment: &ClusterLoadAssignment) -> Vec<Vec<Host>> {
    let mut priorities = vec![Vec::new()];
    for (locality, of_locality) in assignment.endpoints.iter().enumerate() {
        let priority = usize::try_from(of_locality.priority).unwrap_or(usize::MAX);
        while priorities.len() <= priority {
            priorities.push(Vec::new());
        }
        let hosts = of_locality
            .lb_endpoints
            .iter()
            .enumerate()
            .map(|(index, endpoint)| Host {
                locality,
                endpoint: index,
                weight: endpoint
                    .load_balancing_weight
                    .as_ref()
                    .map_or(1, |weight| weight.value.max(1)),
                health: health(endpoint.health_status),
            });
        if let Some(of_priority) = priorities.get_mut(priority) {
            of_priority.extend(hosts);
        }
    }
    priorities
}

fn health(status: i32) -> Health {
    match HealthStatus::try_from(status) {
        Ok(HealthStatus::Unknown | HealthStatus::Healthy) => Health::Healthy,
        Ok(HealthStatus::Degraded) => Health::Degraded,
        Ok(HealthStatus::Draining) => Health::Draining,
        Ok(HealthStatus::Unhealthy | HealthStatus::Timeout) | Err(_) => Health::Unhealthy,
    }
}

/// The address of an endpoint: `ip:port`, or a pipe's path.
pub(crate) fn address(endpoint: &LbEndpoint) -> Option<String> {
    match &address_of(endpoint)?.address {
        Some(address::Address::SocketAddress(socket)) => {
            let port = match &socket.port_specifier {
                Some(PortSpecifier::PortValue(port)) => port.to_string(),
                Some(PortSpecifier::NamedPort(name)) => name.clone(),
                None => return None,
            };
            let is_ipv6 = socket.address.parse::<std::net::Ipv6Addr>().is_ok();
            Some(if is_ipv6 {
                format!("[{}]:{port}", socket.address)
            } else {
                format!("{}:{port}", socket.address)
            })
        }
        Some(address::Address::Pipe(pipe)) => Some(pipe.path.clone()),
        _ => None,
    }
}

/// The name that `auto_host_rewrite` takes: the endpoint's, else the one that DNS resolves.
pub(crate) fn hostname(config: &ClusterConfig, endpoint: &LbEndpoint) -> String {
    if let Some(HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier
        && !endpoint.hostname.is_empty()
    {
        return endpoint.hostname.clone();
    }
    let is_dns = matches!(
        config.cluster_discovery_type,
        Some(ClusterDiscoveryType::Type(kind))
            if kind == DiscoveryType::StrictDns as i32 || kind == DiscoveryType::LogicalDns as i32
    );
    match address_of(endpoint).and_then(|address| address.address.as_ref()) {
        Some(address::Address::SocketAddress(socket)) if is_dns => socket.address.clone(),
        _ => String::new(),
    }
}

fn address_of(endpoint: &LbEndpoint) -> Option<&Address> {
    match endpoint.host_identifier.as_ref()? {
        HostIdentifier::Endpoint(endpoint) => endpoint.address.as_ref(),
        HostIdentifier::EndpointName(_) => None,
    }
}

/// `region/zone/sub_zone`; `None` where all three are empty.
pub(crate) fn locality_name(assignment: &ClusterLoadAssignment, locality: usize) -> Option<String> {
    let locality = assignment.endpoints.get(locality)?.locality.as_ref()?;
    let parts = [&locality.region, &locality.zone, &locality.sub_zone];
    let name = parts.map(String::as_str).join("/");
    parts.iter().any(|part| !part.is_empty()).then_some(name)
}
