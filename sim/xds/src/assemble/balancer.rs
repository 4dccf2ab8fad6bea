//! How a cluster's endpoints are chosen: `lb_policy`, or the first extension of
//! `load_balancing_policy` that Envoy has.

use envoy_types::pb::envoy::{
    config::cluster::v3::{
        Cluster as ClusterConfig, LoadBalancingPolicy,
        cluster::{
            LbConfig, LbPolicy, LbSubsetConfig, common_lb_config::LocalityConfigSpecifier,
            lb_subset_config::LbSubsetSelector, ring_hash_lb_config::HashFunction,
        },
    },
    extensions::load_balancing_policies::{
        common::v3::{
            ConsistentHashingLbConfig, LocalityLbConfig, SlowStartConfig,
            locality_lb_config::LocalityConfigSpecifier as Specifier,
        },
        least_request::v3::{LeastRequest, least_request::SelectionMethod},
        maglev::v3::Maglev as MaglevPolicy,
        override_host::v3::OverrideHost,
        random::v3::Random,
        ring_hash::v3::{RingHash as RingHashPolicy, ring_hash},
        round_robin::v3::RoundRobin,
        subset::v3::Subset,
        wrr_locality::v3::WrrLocality,
    },
};
use envoy_types::pb::google::protobuf::{Any, UInt32Value, UInt64Value};
use prost::Message as _;

use crate::{
    classify::{
        CLIENT_SIDE_WEIGHTED, LEAST_REQUEST, MAGLEV, OVERRIDE_HOST, RANDOM, RING_HASH, ROUND_ROBIN,
        SUBSET, WRR_LOCALITY, is_known_balancer,
    },
    schema::type_name,
    snapshot::{Balancer, Hashing, Maglev, RingHash, SlowStart, Subsets, ZoneAware},
};

/// `choice_count` where it is not set.
const CHOICES: u32 = 2;

/// `min_weight_percent` where it is not set.
const LEAST_WEIGHT: f64 = 10.0;

/// `minimum_ring_size` where it is not set.
const MINIMUM_RING_SIZE: u64 = 1024;

/// `maximum_ring_size` where it is not set.
const MAXIMUM_RING_SIZE: u64 = 8 << 20;

/// `table_size` of Maglev where it is not set.
const TABLE_SIZE: u64 = 65537;

/// How a cluster's endpoints are chosen, of the ways that are decided; others are unsupported by
/// their tables.
#[derive(Debug, Default)]
pub(crate) struct Balancing {
    pub(crate) balancer: Balancer,
    pub(crate) locality_weighted: bool,
    pub(crate) zone_aware: ZoneAware,
    pub(crate) fail_traffic_on_panic: bool,
    pub(crate) slow_start: Option<SlowStart>,
    pub(crate) subsets: Option<Box<Subsets>>,
    pub(crate) override_headers: Option<Vec<String>>,
    /// Endpoints report their weights.
    pub(crate) reports_weights: bool,
}

/// What a cluster says of it.
pub(crate) fn balancing(config: &ClusterConfig) -> Balancing {
    if let Some(policy) = &config.load_balancing_policy {
        return by_policy(policy);
    }
    let common = config.common_lb_config.as_ref();
    let locality = common.and_then(|common| common.locality_config_specifier.as_ref());
    let subsets = config.lb_subset_config.as_ref();
    let subsets = subsets.filter(|subsets| !subsets.subset_selectors.is_empty());
    Balancing {
        balancer: by_name(config),
        locality_weighted: matches!(
            locality,
            Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_))
        ),
        zone_aware: match locality {
            Some(LocalityConfigSpecifier::ZoneAwareLbConfig(config)) => zone_aware(
                config.routing_enabled.map(|percent| percent.value),
                config.min_cluster_size,
                false,
            ),
            _ => ZoneAware::default(),
        },
        fail_traffic_on_panic: matches!(
            locality,
            Some(LocalityConfigSpecifier::ZoneAwareLbConfig(config)) if config.fail_traffic_on_panic
        ),
        slow_start: by_name_slowly(config),
        subsets: subsets.map(|config| {
            Box::new(Subsets {
                config: config.clone(),
                allow_redundant_keys: false,
            })
        }),
        ..Balancing::default()
    }
}

/// The configuration of the first policy that Envoy has.
pub(crate) fn first_known(policy: &LoadBalancingPolicy) -> Option<&Any> {
    let mut configs = policy.policies.iter().filter_map(|policy| {
        policy
            .typed_extension_config
            .as_ref()?
            .typed_config
            .as_ref()
    });
    configs.find(|any| is_known_balancer(type_name(&any.type_url)))
}

fn by_policy(policy: &LoadBalancingPolicy) -> Balancing {
    let Some(any) = first_known(policy) else {
        return Balancing::default();
    };
    let value = any.value.as_slice();
    match type_name(&any.type_url) {
        ROUND_ROBIN => {
            let policy = RoundRobin::decode(value).unwrap_or_default();
            Balancing {
                slow_start: policy.slow_start_config.as_ref().and_then(slow_start),
                ..by_locality(Balancer::RoundRobin, policy.locality_lb_config.as_ref())
            }
        }
        LEAST_REQUEST => least_request(&LeastRequest::decode(value).unwrap_or_default()),
        RING_HASH => ring_hash_policy(&RingHashPolicy::decode(value).unwrap_or_default()),
        MAGLEV => {
            let policy = MaglevPolicy::decode(value).unwrap_or_default();
            let locality_weighted = policy.locality_weighted_lb_config.is_some();
            let common = policy.consistent_hashing_lb_config.as_ref();
            Balancing {
                balancer: Balancer::Maglev(Maglev {
                    table_size: policy.table_size.map_or(TABLE_SIZE, |size| size.value),
                    hashing: hashing(common, locality_weighted),
                }),
                locality_weighted,
                ..Balancing::default()
            }
        }
        RANDOM => {
            let policy = Random::decode(value).unwrap_or_default();
            by_locality(Balancer::Random, policy.locality_lb_config.as_ref())
        }
        SUBSET => {
            let policy = Subset::decode(value).unwrap_or_default();
            let within = policy.subset_lb_policy.as_ref().map(by_policy);
            Balancing {
                subsets: Some(Box::new(subsets(policy))),
                // Within a subset it finds no endpoint by its address.
                override_headers: None,
                ..within.unwrap_or_default()
            }
        }
        OVERRIDE_HOST => {
            let policy = OverrideHost::decode(value).unwrap_or_default();
            let fallback = policy.fallback_policy.as_ref().map(by_policy);
            let headers = policy.override_host_sources.iter().map(|it| &it.header);
            let headers = headers.filter(|header| !header.is_empty());
            Balancing {
                // One within another finds that the request's endpoints have been asked for.
                override_headers: Some(headers.map(|it| it.to_ascii_lowercase()).collect()),
                ..fallback.unwrap_or_default()
            }
        }
        WRR_LOCALITY => {
            let policy = WrrLocality::decode(value).unwrap_or_default();
            let within = policy.endpoint_picking_policy.as_ref().map(by_policy);
            Balancing {
                locality_weighted: true,
                ..within.unwrap_or_default()
            }
        }
        CLIENT_SIDE_WEIGHTED => Balancing {
            balancer: Balancer::RoundRobin,
            reports_weights: true,
            ..Balancing::default()
        },
        _ => Balancing::default(),
    }
}

/// The policy that another one leaves the choice to, in the end.
fn within(policy: &LoadBalancingPolicy) -> Option<LoadBalancingPolicy> {
    let any = first_known(policy)?;
    let value = any.value.as_slice();
    match type_name(&any.type_url) {
        SUBSET => Subset::decode(value).ok()?.subset_lb_policy,
        OVERRIDE_HOST => OverrideHost::decode(value).ok()?.fallback_policy,
        WRR_LOCALITY => WrrLocality::decode(value).ok()?.endpoint_picking_policy,
        _ => None,
    }
}

fn zone_aware(enabled: Option<f64>, size: Option<UInt64Value>, force_direct: bool) -> ZoneAware {
    ZoneAware {
        // As Envoy rounds it.
        routing_enabled: enabled.map_or(100, |percent| (100.0 * (percent / 100.0)).round() as u64),
        min_cluster_size: size.map_or(6, |size| size.value),
        force_direct,
    }
}

/// Whether a cluster says of Envoy's own zone what is not decided: `force_local_zone`, or a
/// `locality_basis` by weight.
pub(super) fn says_more(config: &ClusterConfig) -> bool {
    let Some(policy) = &config.load_balancing_policy else {
        return false;
    };
    let locality = |policy: &LoadBalancingPolicy| {
        let any = first_known(policy)?;
        let value = any.value.as_slice();
        match type_name(&any.type_url) {
            ROUND_ROBIN => RoundRobin::decode(value).ok()?.locality_lb_config,
            LEAST_REQUEST => LeastRequest::decode(value).ok()?.locality_lb_config,
            RANDOM => Random::decode(value).ok()?.locality_lb_config,
            _ => None,
        }
    };
    let mut policy = policy.clone();
    while let Some(within) = within(&policy) {
        policy = within;
    }
    let config = locality(&policy);
    matches!(
        config.and_then(|config| config.locality_config_specifier),
        Some(Specifier::ZoneAwareLbConfig(config))
            if config.force_local_zone.is_some() || config.locality_basis != 0
    )
}

#[expect(deprecated, reason = "Envoy still takes it")]
fn by_locality(balancer: Balancer, config: Option<&LocalityLbConfig>) -> Balancing {
    let specifier = config.and_then(|config| config.locality_config_specifier.as_ref());
    Balancing {
        balancer,
        locality_weighted: matches!(specifier, Some(Specifier::LocalityWeightedLbConfig(_))),
        zone_aware: match specifier {
            Some(Specifier::ZoneAwareLbConfig(config)) => zone_aware(
                config.routing_enabled.map(|percent| percent.value),
                config.min_cluster_size,
                config.force_locality_direct_routing,
            ),
            _ => ZoneAware::default(),
        },
        fail_traffic_on_panic: matches!(
            specifier,
            Some(Specifier::ZoneAwareLbConfig(config)) if config.fail_traffic_on_panic
        ),
        ..Balancing::default()
    }
}

#[expect(deprecated, reason = "Envoy still takes it")]
fn least_request(policy: &LeastRequest) -> Balancing {
    let balancer = Balancer::LeastRequest {
        choice_count: policy.choice_count.map_or(CHOICES, |count| count.value),
        active_request_bias: policy
            .active_request_bias
            .as_ref()
            .map_or(1.0, |bias| bias.default_value),
        full_scan: policy.selection_method == SelectionMethod::FullScan as i32
            || policy.enable_full_scan.is_some_and(|scan| scan.value),
    };
    Balancing {
        slow_start: policy.slow_start_config.as_ref().and_then(slow_start),
        ..by_locality(balancer, policy.locality_lb_config.as_ref())
    }
}

/// What `lb_policy` and the field beside it say of slow start.
fn by_name_slowly(config: &ClusterConfig) -> Option<SlowStart> {
    let old = match (LbPolicy::try_from(config.lb_policy), &config.lb_config) {
        (Ok(LbPolicy::RoundRobin), Some(LbConfig::RoundRobinLbConfig(policy))) => {
            policy.slow_start_config.as_ref()
        }
        (Ok(LbPolicy::LeastRequest), Some(LbConfig::LeastRequestLbConfig(policy))) => {
            policy.slow_start_config.as_ref()
        }
        _ => None,
    };
    let old = old?;
    slow_start(&SlowStartConfig {
        slow_start_window: old.slow_start_window,
        aggression: old.aggression.clone(),
        min_weight_percent: old.min_weight_percent,
    })
}

/// What acts of a configuration; `None` where the window is empty, which Envoy takes for none.
fn slow_start(config: &SlowStartConfig) -> Option<SlowStart> {
    let window = config.slow_start_window.unwrap_or_default();
    let seconds = u64::try_from(window.seconds).unwrap_or(0);
    let nanos = u64::try_from(window.nanos).unwrap_or(0);
    let window_ms = seconds
        .saturating_mul(1000)
        .saturating_add(nanos / 1_000_000);
    let aggression = config
        .aggression
        .as_ref()
        .map_or(1.0, |it| it.default_value);
    let least = config
        .min_weight_percent
        .map_or(LEAST_WEIGHT, |it| it.value);
    (window_ms > 0).then_some(SlowStart {
        window_ms,
        // Envoy takes 1 for what is no power.
        aggression: if aggression > 0.0 { aggression } else { 1.0 },
        least: least / 100.0,
    })
}

#[expect(deprecated, reason = "Envoy still takes it")]
fn ring_hash_policy(policy: &RingHashPolicy) -> Balancing {
    let locality_weighted = policy.locality_weighted_lb_config.is_some();
    let common = policy.consistent_hashing_lb_config.as_ref();
    let mut hashing = hashing(common, locality_weighted);
    if common.is_none() {
        hashing.by_hostname = policy.use_hostname_for_hashing;
        hashing.balance_factor = factor(policy.hash_balance_factor);
    }
    Balancing {
        balancer: Balancer::RingHash(RingHash {
            minimum: policy
                .minimum_ring_size
                .map_or(MINIMUM_RING_SIZE, |size| size.value),
            maximum: policy
                .maximum_ring_size
                .map_or(MAXIMUM_RING_SIZE, |size| size.value),
            murmur: policy.hash_function == ring_hash::HashFunction::MurmurHash2 as i32,
            hashing,
        }),
        locality_weighted,
        ..Balancing::default()
    }
}

/// The extension's configuration as `Cluster.lb_subset_config` would have it.
fn subsets(policy: Subset) -> Subsets {
    let selectors = policy.subset_selectors.into_iter();
    let mut selectors: Vec<LbSubsetSelector> = selectors
        .map(|selector| LbSubsetSelector {
            keys: selector.keys,
            single_host_per_subset: selector.single_host_per_subset,
            fallback_policy: selector.fallback_policy,
            fallback_keys_subset: selector.fallback_keys_subset,
        })
        .collect();
    if policy.allow_redundant_keys {
        let keys = |selector: &LbSubsetSelector| {
            let mut keys = selector.keys.clone();
            keys.sort_unstable();
            keys.dedup();
            keys.len()
        };
        selectors.sort_by_key(|selector| std::cmp::Reverse(keys(selector)));
    }
    Subsets {
        config: LbSubsetConfig {
            fallback_policy: policy.fallback_policy,
            default_subset: policy.default_subset,
            subset_selectors: selectors,
            locality_weight_aware: policy.locality_weight_aware,
            scale_locality_weight: policy.scale_locality_weight,
            panic_mode_any: policy.panic_mode_any,
            list_as_any: policy.list_as_any,
            metadata_fallback_policy: policy.metadata_fallback_policy,
        },
        allow_redundant_keys: policy.allow_redundant_keys,
    }
}

/// What `lb_policy` says.
fn by_name(config: &ClusterConfig) -> Balancer {
    match LbPolicy::try_from(config.lb_policy) {
        Ok(LbPolicy::LeastRequest) => {
            let policy = match &config.lb_config {
                Some(LbConfig::LeastRequestLbConfig(policy)) => policy.clone(),
                _ => Default::default(),
            };
            Balancer::LeastRequest {
                choice_count: policy.choice_count.map_or(CHOICES, |count| count.value),
                active_request_bias: policy
                    .active_request_bias
                    .map_or(1.0, |bias| bias.default_value),
                full_scan: false,
            }
        }
        Ok(LbPolicy::RingHash) => {
            let policy = match &config.lb_config {
                Some(LbConfig::RingHashLbConfig(policy)) => *policy,
                _ => Default::default(),
            };
            Balancer::RingHash(RingHash {
                minimum: policy
                    .minimum_ring_size
                    .map_or(MINIMUM_RING_SIZE, |size| size.value),
                maximum: policy
                    .maximum_ring_size
                    .map_or(MAXIMUM_RING_SIZE, |size| size.value),
                murmur: policy.hash_function == HashFunction::MurmurHash2 as i32,
                hashing: old_hashing(config),
            })
        }
        Ok(LbPolicy::Maglev) => {
            let size = match &config.lb_config {
                Some(LbConfig::MaglevLbConfig(policy)) => policy.table_size,
                _ => None,
            };
            Balancer::Maglev(Maglev {
                table_size: size.map_or(TABLE_SIZE, |size| size.value),
                hashing: old_hashing(config),
            })
        }
        Ok(LbPolicy::Random) => Balancer::Random,
        Ok(LbPolicy::ClusterProvided) => Balancer::OriginalDestination,
        _ => Balancer::RoundRobin,
    }
}

fn hashing(config: Option<&ConsistentHashingLbConfig>, locality_weighted: bool) -> Hashing {
    Hashing {
        by_hostname: config.is_some_and(|config| config.use_hostname_for_hashing),
        locality_weighted,
        balance_factor: config.map_or(0, |config| factor(config.hash_balance_factor)),
    }
}

fn factor(given: Option<UInt32Value>) -> u32 {
    given.map_or(0, |factor| factor.value)
}

/// What `common_lb_config` says beside `lb_policy`.
fn old_hashing(config: &ClusterConfig) -> Hashing {
    let Some(common) = &config.common_lb_config else {
        return Hashing::default();
    };
    Hashing {
        by_hostname: common
            .consistent_hashing_lb_config
            .is_some_and(|config| config.use_hostname_for_hashing),
        locality_weighted: matches!(
            common.locality_config_specifier,
            Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_))
        ),
        balance_factor: common
            .consistent_hashing_lb_config
            .map_or(0, |config| factor(config.hash_balance_factor)),
    }
}
