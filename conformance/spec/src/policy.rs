//! How a cluster says that its endpoints are chosen: `lb_policy`, or the extensions of
//! `load_balancing_policy`.

use envoy_types::pb::envoy::config::cluster::v3::{
    Cluster as ClusterConfig, LoadBalancingPolicy,
    cluster::{
        ClusterDiscoveryType, DiscoveryType, LbConfig, LbPolicy, RingHashLbConfig as OldRingHash,
        common_lb_config::LocalityConfigSpecifier as OldLocality,
        ring_hash_lb_config::HashFunction as OldHashFunction,
    },
};
use envoy_types::pb::envoy::config::core::v3::RuntimeDouble;
use envoy_types::pb::envoy::extensions::load_balancing_policies::common::v3::{
    LocalityLbConfig, locality_lb_config::LocalityConfigSpecifier,
};
use envoy_types::pb::envoy::extensions::load_balancing_policies::{
    least_request::v3::{LeastRequest, least_request::SelectionMethod},
    maglev::v3::Maglev,
    override_host::v3::OverrideHost,
    random::v3::Random,
    ring_hash::v3::{RingHash, ring_hash::HashFunction},
    round_robin::v3::RoundRobin,
    subset::v3::Subset,
    wrr_locality::v3::WrrLocality,
};
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::{UInt32Value, UInt64Value};
use prost::Message as _;

use crate::hash_balancer::{self, Kinds};
use crate::least_request::Options;
use crate::ring_hash;
use crate::slow_start;
use crate::subset::Subsets;
use crate::zone;

const DEFAULT_CHOICE_COUNT: u32 = 2;
const DEFAULT_ACTIVE_REQUEST_BIAS: f64 = 1.0;
const DEFAULT_MINIMUM_RING_SIZE: u64 = 1024;
const DEFAULT_MAXIMUM_RING_SIZE: u64 = 8 * 1024 * 1024;
const DEFAULT_TABLE_SIZE: u64 = 65537;
const EXTENSIONS: &str = "envoy.extensions.load_balancing_policies.";

/// How one of several endpoints is chosen.
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

/// How a cluster chooses among its endpoints.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Balancing {
    pub(crate) policy: Policy,
    /// `fail_traffic_on_panic`.
    pub(crate) fails_on_panic: bool,
    /// `locality_weighted_lb_config`.
    pub(crate) locality_weighted: bool,
    /// `zone_aware_lb_config`.
    pub(crate) zone_aware: zone::Options,
    /// `slow_start_config`.
    pub(crate) slow_start: Option<slow_start::Options>,
    /// Where it has subsets.
    pub(crate) subsets: Option<Subsets>,
    /// `override_host_sources`: headers that name endpoints, in order.
    pub(crate) override_headers: Vec<String>,
}

impl Balancing {
    fn of(policy: Policy) -> Self {
        Self {
            policy,
            fails_on_panic: false,
            locality_weighted: false,
            zone_aware: zone::Options::default(),
            slow_start: None,
            subsets: None,
            override_headers: Vec::new(),
        }
    }

    fn by_locality(policy: Policy, locality: Option<LocalityLbConfig>) -> Self {
        let specifier = locality.and_then(|locality| locality.locality_config_specifier);
        let zone_aware = match &specifier {
            Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zones)) => zone::Options {
                forces_direct: zones.force_locality_direct_routing,
                ..zone_options(zones.routing_enabled, zones.min_cluster_size)
            },
            _ => zone::Options::default(),
        };
        Self {
            zone_aware,
            fails_on_panic: matches!(
                &specifier,
                Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zone_aware))
                    if zone_aware.fail_traffic_on_panic
            ),
            locality_weighted: matches!(
                &specifier,
                Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_))
            ),
            ..Self::of(policy)
        }
    }

    fn hashing(options: hash_balancer::Options) -> Self {
        Self {
            locality_weighted: options.locality_weighted,
            ..Self::of(Policy::Hash(options))
        }
    }

    /// What a cluster says.
    pub(crate) fn new(config: &ClusterConfig) -> Self {
        let is_original_destination = matches!(
            config.cluster_discovery_type,
            Some(ClusterDiscoveryType::Type(kind)) if kind == DiscoveryType::OriginalDst as i32
        );
        if is_original_destination {
            return Self::of(Policy::OriginalDestination);
        }
        if let Some(policies) = &config.load_balancing_policy {
            return Self::first_of(policies);
        }
        let subsets = config
            .lb_subset_config
            .as_ref()
            .filter(|subsets| !subsets.subset_selectors.is_empty());
        Self {
            subsets: subsets.map(Subsets::new),
            ..Self::old(config)
        }
    }

    /// What `lb_policy` says, and what stands beside it.
    fn old(config: &ClusterConfig) -> Self {
        let common = config.common_lb_config.as_ref();
        let locality = common.and_then(|common| common.locality_config_specifier.as_ref());
        let policy = match LbPolicy::try_from(config.lb_policy) {
            Ok(LbPolicy::RoundRobin) => Policy::RoundRobin,
            Ok(LbPolicy::LeastRequest) => match &config.lb_config {
                Some(LbConfig::LeastRequestLbConfig(old)) => Policy::LeastRequest(options(
                    old.choice_count.as_ref().map(|count| count.value),
                    old.active_request_bias.as_ref(),
                    false,
                )),
                _ => Policy::LeastRequest(options(None, None, false)),
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
                return Self::hashing(old_hashing(config, kind));
            }
            Ok(LbPolicy::Maglev) => {
                let old = match &config.lb_config {
                    Some(LbConfig::MaglevLbConfig(old)) => old.table_size,
                    _ => None,
                };
                let kind = Kinds::Maglev(size(old, DEFAULT_TABLE_SIZE));
                return Self::hashing(old_hashing(config, kind));
            }
            Ok(LbPolicy::Random) => Policy::Random,
            _ => Policy::Undecided,
        };
        let slowly = match (policy, &config.lb_config) {
            (Policy::RoundRobin, Some(LbConfig::RoundRobinLbConfig(old))) => {
                slow_start::Options::old(old.slow_start_config.as_ref())
            }
            (Policy::LeastRequest(_), Some(LbConfig::LeastRequestLbConfig(old))) => {
                slow_start::Options::old(old.slow_start_config.as_ref())
            }
            _ => None,
        };
        let zone_aware = match locality {
            Some(OldLocality::ZoneAwareLbConfig(zones)) => {
                zone_options(zones.routing_enabled, zones.min_cluster_size)
            }
            _ => zone::Options::default(),
        };
        Self {
            zone_aware,
            slow_start: slowly,
            fails_on_panic: matches!(locality, Some(OldLocality::ZoneAwareLbConfig(zone_aware))
                if zone_aware.fail_traffic_on_panic),
            locality_weighted: matches!(locality, Some(OldLocality::LocalityWeightedLbConfig(_))),
            ..Self::of(policy)
        }
    }

    /// The first policy of the list that Envoy knows: those whose messages are its own.
    fn first_of(policies: &LoadBalancingPolicy) -> Self {
        let known = policies.policies.iter().find_map(|policy| {
            let any = policy
                .typed_extension_config
                .as_ref()?
                .typed_config
                .as_ref()?;
            let message = any.type_url.rsplit('/').next()?;
            Some((message.strip_prefix(EXTENSIONS)?, any.value.as_slice()))
        });
        known
            .and_then(|(message, value)| Self::typed(message, value))
            .unwrap_or_else(|| Self::of(Policy::Undecided))
    }

    fn typed(message: &str, value: &[u8]) -> Option<Self> {
        match message {
            "round_robin.v3.RoundRobin" => {
                let config = RoundRobin::decode(value).ok()?;
                Some(Self {
                    slow_start: slow_start::Options::new(config.slow_start_config.as_ref()),
                    ..Self::by_locality(Policy::RoundRobin, config.locality_lb_config)
                })
            }
            "least_request.v3.LeastRequest" => {
                let config = LeastRequest::decode(value).ok()?;
                let scans = config.selection_method == SelectionMethod::FullScan as i32
                    || config.enable_full_scan.is_some_and(|scan| scan.value);
                let options = options(
                    config.choice_count.as_ref().map(|count| count.value),
                    config.active_request_bias.as_ref(),
                    scans,
                );
                Some(Self {
                    slow_start: slow_start::Options::new(config.slow_start_config.as_ref()),
                    ..Self::by_locality(Policy::LeastRequest(options), config.locality_lb_config)
                })
            }
            "random.v3.Random" => {
                let config = Random::decode(value).ok()?;
                Some(Self::by_locality(Policy::Random, config.locality_lb_config))
            }
            "ring_hash.v3.RingHash" => {
                let config = RingHash::decode(value).ok()?;
                let common = config.consistent_hashing_lb_config.as_ref();
                Some(Self::hashing(hash_balancer::Options {
                    kind: Kinds::RingHash(ring_hash::Options {
                        minimum_size: size(config.minimum_ring_size, DEFAULT_MINIMUM_RING_SIZE),
                        maximum_size: size(config.maximum_ring_size, DEFAULT_MAXIMUM_RING_SIZE),
                        murmur: config.hash_function == HashFunction::MurmurHash2 as i32,
                    }),
                    by_hostname: common.map_or(config.use_hostname_for_hashing, |common| {
                        common.use_hostname_for_hashing
                    }),
                    locality_weighted: config.locality_weighted_lb_config.is_some(),
                    balance_factor: match common {
                        Some(common) => factor(common.hash_balance_factor),
                        None => factor(config.hash_balance_factor),
                    },
                }))
            }
            "maglev.v3.Maglev" => {
                let config = Maglev::decode(value).ok()?;
                let common = config.consistent_hashing_lb_config.as_ref();
                Some(Self::hashing(hash_balancer::Options {
                    kind: Kinds::Maglev(size(config.table_size, DEFAULT_TABLE_SIZE)),
                    by_hostname: common.is_some_and(|common| common.use_hostname_for_hashing),
                    locality_weighted: config.locality_weighted_lb_config.is_some(),
                    balance_factor: factor(common.and_then(|it| it.hash_balance_factor)),
                }))
            }
            "subset.v3.Subset" => {
                let config = Subset::decode(value).ok()?;
                let inner = Self::first_of(config.subset_lb_policy.as_ref()?);
                // Subsets of subsets are not decided.
                let flat = inner.subsets.is_none();
                flat.then(|| Self {
                    subsets: Some(Subsets::of_extension(&config)),
                    // A subset does not know its endpoints by address.
                    override_headers: Vec::new(),
                    ..inner
                })
            }
            "override_host.v3.OverrideHost" => {
                let config = OverrideHost::decode(value).ok()?;
                // Whatever names endpoints to the inner one, this one has taken them all.
                Some(Self {
                    override_headers: config
                        .override_host_sources
                        .iter()
                        .filter(|source| source.metadata.is_none())
                        .map(|source| source.header.clone())
                        .collect(),
                    ..Self::first_of(config.fallback_policy.as_ref()?)
                })
            }
            "wrr_locality.v3.WrrLocality" => {
                let config = WrrLocality::decode(value).ok()?;
                Some(Self {
                    locality_weighted: true,
                    ..Self::first_of(config.endpoint_picking_policy.as_ref()?)
                })
            }
            // Without reports all endpoints weigh the same.
            "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin" => {
                Some(Self::of(Policy::RoundRobin))
            }
            _ => None,
        }
    }
}

fn zone_options(enabled: Option<Percent>, size: Option<UInt64Value>) -> zone::Options {
    let default = zone::Options::default();
    zone::Options {
        routing_enabled: enabled.map_or(default.routing_enabled, |percent| {
            // Envoy divides, multiplies and rounds.
            (100.0 * (percent.value / 100.0)).round() as u64
        }),
        min_cluster_size: size.map_or(default.min_cluster_size, |size| size.value),
        ..default
    }
}

fn size(given: Option<UInt64Value>, default: u64) -> u64 {
    given.map_or(default, |size| size.value)
}

/// What `common_lb_config` says of hashing beside `lb_policy`.
fn old_hashing(config: &ClusterConfig, kind: Kinds) -> hash_balancer::Options {
    let common = config.common_lb_config.as_ref();
    let hashing = common.and_then(|common| common.consistent_hashing_lb_config.as_ref());
    let locality = common.and_then(|common| common.locality_config_specifier.as_ref());
    hash_balancer::Options {
        kind,
        by_hostname: hashing.is_some_and(|hashing| hashing.use_hostname_for_hashing),
        locality_weighted: matches!(locality, Some(OldLocality::LocalityWeightedLbConfig(_))),
        balance_factor: factor(hashing.and_then(|it| it.hash_balance_factor)),
    }
}

fn factor(given: Option<UInt32Value>) -> u32 {
    given.map_or(0, |factor| factor.value)
}

fn options(
    choice_count: Option<u32>,
    active_request_bias: Option<&RuntimeDouble>,
    full_scan: bool,
) -> Options {
    Options {
        full_scan,
        choice_count: choice_count.unwrap_or(DEFAULT_CHOICE_COUNT),
        active_request_bias: active_request_bias
            .map_or(DEFAULT_ACTIVE_REQUEST_BIAS, |bias| bias.default_value),
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::cluster::v3::load_balancing_policy;
    use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
    use envoy_types::pb::google::protobuf::Any;
    use rstest::rstest;

    use super::*;

    fn policies(names: &[&str]) -> LoadBalancingPolicy {
        let policy = |name: &&str| load_balancing_policy::Policy {
            typed_extension_config: Some(TypedExtensionConfig {
                name: (*name).to_owned(),
                typed_config: Some(Any {
                    type_url: format!("type.googleapis.com/{name}"),
                    value: Vec::new(),
                }),
            }),
        };
        LoadBalancingPolicy {
            policies: names.iter().map(policy).collect(),
        }
    }

    #[rstest]
    #[case(&["envoy.extensions.load_balancing_policies.random.v3.Random"], Policy::Random)]
    #[case(
        &["x.Own", "xds.type.v3.TypedStruct", "envoy.extensions.load_balancing_policies.random.v3.Random"],
        Policy::Random
    )]
    #[case(
        &["envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin",
          "envoy.extensions.load_balancing_policies.random.v3.Random"],
        Policy::RoundRobin
    )]
    #[case(
        &["envoy.extensions.load_balancing_policies.own.v3.Own",
          "envoy.extensions.load_balancing_policies.random.v3.Random"],
        Policy::Undecided
    )]
    #[case(&[], Policy::Undecided)]
    fn the_first_known_policy_counts(#[case] names: &[&str], #[case] expected: Policy) {
        let config = ClusterConfig {
            load_balancing_policy: Some(policies(names)),
            lb_policy: LbPolicy::RingHash as i32,
            ..ClusterConfig::default()
        };
        assert_eq!(Balancing::new(&config).policy, expected);
    }
}
