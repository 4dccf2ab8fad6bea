//! Clusters: their endpoints and balancers.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use envoy_types::pb::envoy::{
    config::{
        cluster::v3::{
            Cluster as ClusterConfig,
            cluster::{
                ClusterDiscoveryType, DiscoveryType, LbConfig, LbPolicy,
                common_lb_config::LocalityConfigSpecifier, ring_hash_lb_config::HashFunction,
            },
        },
        core::v3::{HealthStatus, address},
        endpoint::v3::{ClusterLoadAssignment, LbEndpoint, lb_endpoint::HostIdentifier},
    },
    extensions::load_balancing_policies::{
        common::v3::ConsistentHashingLbConfig, least_request::v3::LeastRequest,
        maglev::v3::Maglev as MaglevPolicy, ring_hash::v3::RingHash as RingHashPolicy,
    },
};
use prost::Message as _;

use super::{Assembly, Held, decode, hash_key};
use crate::{
    classify::{LEAST_REQUEST, MAGLEV, RANDOM, RING_HASH, ROUND_ROBIN},
    error::ReadError,
    report::{Effect, Finding, FindingKind},
    schema::type_name,
    snapshot::{Balancer, Cluster, Hashing, Maglev, RingHash, Unsupported},
    validate,
    view::View,
    walk::Walker,
};

/// `choice_count` where it is not set.
const CHOICES: u32 = 2;

/// `minimum_ring_size` where it is not set.
const MINIMUM_RING_SIZE: u64 = 1024;

/// `maximum_ring_size` where it is not set.
const MAXIMUM_RING_SIZE: u64 = 8 << 20;

/// `table_size` of Maglev where it is not set.
const TABLE_SIZE: u64 = 65537;

/// A cluster that routes name and the snapshot does not hold.
pub(super) fn absent(name: &str, reason: &str) -> Cluster {
    Cluster {
        name: name.to_owned(),
        config: ClusterConfig {
            name: name.to_owned(),
            ..ClusterConfig::default()
        },
        unsupported: Some(Unsupported {
            path: String::new(),
            reason: reason.to_owned(),
        }),
        ..Cluster::default()
    }
}

impl Assembly<'_> {
    pub(super) fn clusters(
        &mut self,
        views: &[View<'_>],
        held: &Held<'_, '_>,
    ) -> Result<Vec<Cluster>, ReadError> {
        let assignments: HashMap<&str, &View<'_>> = held
            .load_assignments
            .iter()
            .map(|view| (view.text("cluster_name"), view))
            .collect();
        let mut clusters = Vec::with_capacity(views.len());
        for view in views {
            clusters.push(self.cluster(view, &assignments, held)?);
        }
        self.report_unused(held.load_assignments, &clusters);
        Ok(clusters)
    }

    /// Reports load assignments that no cluster takes.
    fn report_unused(&mut self, assignments: &[View<'_>], clusters: &[Cluster]) {
        const SHOWN: usize = 3;
        let taken: HashSet<&str> = clusters
            .iter()
            .map(|cluster| assignment_name(&cluster.config))
            .collect();
        let mut unused = assignments
            .iter()
            .filter(|view| !taken.contains(view.text("cluster_name")))
            .peekable();
        let Some(first) = unused.peek() else { return };
        let path = first.path.to_string();
        let names: Vec<&str> = unused.map(|view| view.text("cluster_name")).collect();
        let mut message = format!(
            "{} ClusterLoadAssignments name no cluster here: ",
            names.len()
        );
        for (index, name) in names.iter().take(SHOWN).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            message.push_str(&format!("{comma}{name:?}"));
        }
        if names.len() > SHOWN {
            message.push_str(&format!(" and {} more", names.len() - SHOWN));
        }
        self.report.findings.push(Finding {
            resource: "load assignments".to_owned(),
            path,
            kind: FindingKind::NotDecided,
            effect: Effect::ReadOver,
            message,
        });
    }

    fn cluster(
        &mut self,
        view: &View<'_>,
        assignments: &HashMap<&str, &View<'_>>,
        held: &Held<'_, '_>,
    ) -> Result<Cluster, ReadError> {
        let resource = format!("cluster {:?}", view.text("name"));
        let config: ClusterConfig = decode(view, self.source)?;
        let kind = discovery_type(&config);
        let is_eds = kind == Some(DiscoveryType::Eds);
        let name = assignment_name(&config);
        let own = assignments.get(name).copied();
        let decoded: Option<ClusterLoadAssignment> = match own {
            Some(assignment) => Some(decode(assignment, self.source)?),
            None => None,
        };
        let mut missing = None;
        let (load_assignment, is_own) = match (kind, &config.load_assignment, decoded) {
            (Some(DiscoveryType::Eds), _, Some(assignment)) => (Some(assignment), true),
            (Some(DiscoveryType::Eds), _, None) => {
                missing = Some(format!(
                    "endpoints of EDS cluster {name} are not in the snapshot"
                ));
                (None, false)
            }
            (
                Some(DiscoveryType::StrictDns | DiscoveryType::LogicalDns),
                Some(configured),
                dumped,
            ) => match (unresolved(configured), dumped) {
                (None, _) => (Some(configured.clone()), false),
                (Some(_), Some(dumped)) if has_endpoints(&dumped) => (Some(dumped), true),
                (Some(host), _) => {
                    missing = Some(format!("the host name {host} is not resolved here"));
                    (Some(configured.clone()), false)
                }
            },
            (_, Some(configured), dumped) => {
                let mut assignment = configured.clone();
                if let Some(dumped) = dumped {
                    take_health(&mut assignment, &dumped);
                }
                (Some(assignment), false)
            }
            (_, None, dumped) => {
                let is_own = dumped.is_some();
                (dumped, is_own)
            }
        };

        let mut walker = Walker::new(self.source, &mut self.report, resource.clone(), true);
        walker.context.several_localities =
            load_assignment.as_ref().is_some_and(several_localities);
        walker.context.by_hash = balancer(&config).hashes();
        let several_localities = walker.context.several_localities;
        let mut unsupported = walker.resource(view)?.unsupported;
        validate::cluster::check(&config, &view.path, self.source)?;
        if let (true, Some(view), Some(assignment)) = (is_own, own, &load_assignment) {
            let mut walker = Walker::new(
                self.source,
                &mut self.report,
                resource.clone(),
                !held.dumped,
            );
            walker.context.several_localities = several_localities;
            walker.context.by_hash = balancer(&config).hashes();
            let found = walker.resource(view)?.unsupported;
            unsupported = unsupported.or(found);
            if !held.dumped {
                validate::cluster::check_endpoints(
                    &config,
                    assignment,
                    is_eds,
                    &view.path,
                    self.source,
                )?;
            }
        }
        if let Some(reason) = missing {
            let path = if is_eds {
                "eds_cluster_config"
            } else {
                "load_assignment"
            };
            let found = self.unsupported(&resource, path.to_owned(), reason);
            unsupported.get_or_insert(found);
        }
        if held.local_cluster && several_localities {
            let reason = "Envoy prefers endpoints in its own zone, which is not decided".to_owned();
            let found = self.unsupported(&resource, "load_assignment".to_owned(), reason);
            unsupported.get_or_insert(found);
        }
        let balancer = balancer(&config);
        let hashing = match balancer {
            Balancer::RingHash(RingHash { hashing, .. })
            | Balancer::Maglev(Maglev { hashing, .. }) => Some(hashing),
            _ => None,
        };
        let twice = hashing
            .zip(load_assignment.as_ref())
            .and_then(|(hashing, assignment)| hash_key::twice(assignment, hashing.by_hostname));
        if let Some(key) = twice {
            let reason = format!("two endpoints of a priority are hashed by one key, {key:?}");
            let found = self.unsupported(&resource, "load_assignment".to_owned(), reason);
            unsupported.get_or_insert(found);
        }
        Ok(Cluster {
            name: config.name.clone(),
            balancer,
            load_assignment,
            config,
            unsupported,
        })
    }
}

/// The name of the load assignment that is a cluster's.
fn assignment_name(config: &ClusterConfig) -> &str {
    match &config.eds_cluster_config {
        Some(eds)
            if discovery_type(config) == Some(DiscoveryType::Eds)
                && !eds.service_name.is_empty() =>
        {
            &eds.service_name
        }
        _ => &config.name,
    }
}

/// The cluster's type; `None` where an extension is.
fn discovery_type(config: &ClusterConfig) -> Option<DiscoveryType> {
    match &config.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(kind)) => DiscoveryType::try_from(*kind).ok(),
        Some(ClusterDiscoveryType::ClusterType(_)) => None,
        None => Some(DiscoveryType::Static),
    }
}

/// The balancer, of those that are decided; others are unsupported by their table.
pub(crate) fn balancer(config: &ClusterConfig) -> Balancer {
    if let Some(policy) = &config.load_balancing_policy {
        let any = policy
            .policies
            .first()
            .and_then(|policy| policy.typed_extension_config.as_ref())
            .and_then(|extension| extension.typed_config.as_ref());
        return match any.map(|any| (type_name(&any.type_url), &any.value)) {
            Some((LEAST_REQUEST, value)) => {
                let policy = LeastRequest::decode(value.as_slice()).unwrap_or_default();
                Balancer::LeastRequest {
                    choice_count: policy.choice_count.map_or(CHOICES, |count| count.value),
                    active_request_bias: policy
                        .active_request_bias
                        .map_or(1.0, |bias| bias.default_value),
                }
            }
            Some((RING_HASH, value)) => {
                let policy = RingHashPolicy::decode(value.as_slice()).unwrap_or_default();
                ring_hash_policy(&policy)
            }
            Some((MAGLEV, value)) => {
                let policy = MaglevPolicy::decode(value.as_slice()).unwrap_or_default();
                Balancer::Maglev(Maglev {
                    table_size: policy.table_size.map_or(TABLE_SIZE, |size| size.value),
                    hashing: hashing(
                        policy.consistent_hashing_lb_config.as_ref(),
                        policy.locality_weighted_lb_config.is_some(),
                    ),
                })
            }
            Some((RANDOM, _)) => Balancer::Random,
            Some((ROUND_ROBIN, _)) | Some(_) | None => Balancer::RoundRobin,
        };
    }
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

#[expect(deprecated, reason = "Envoy still takes it")]
fn ring_hash_policy(policy: &RingHashPolicy) -> Balancer {
    use envoy_types::pb::envoy::extensions::load_balancing_policies::ring_hash::v3::ring_hash::HashFunction;

    let common = policy.consistent_hashing_lb_config.as_ref();
    let mut hashing = hashing(common, policy.locality_weighted_lb_config.is_some());
    if common.is_none() {
        hashing.by_hostname = policy.use_hostname_for_hashing;
    }
    Balancer::RingHash(RingHash {
        minimum: policy
            .minimum_ring_size
            .map_or(MINIMUM_RING_SIZE, |size| size.value),
        maximum: policy
            .maximum_ring_size
            .map_or(MAXIMUM_RING_SIZE, |size| size.value),
        murmur: policy.hash_function == HashFunction::MurmurHash2 as i32,
        hashing,
    })
}

fn hashing(config: Option<&ConsistentHashingLbConfig>, locality_weighted: bool) -> Hashing {
    Hashing {
        by_hostname: config.is_some_and(|config| config.use_hostname_for_hashing),
        locality_weighted,
    }
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
    }
}

fn endpoints(assignment: &ClusterLoadAssignment) -> impl Iterator<Item = &LbEndpoint> {
    assignment
        .endpoints
        .iter()
        .flat_map(|locality| &locality.lb_endpoints)
}

fn has_endpoints(assignment: &ClusterLoadAssignment) -> bool {
    endpoints(assignment).next().is_some()
}

/// The address and port of an endpoint, where it has those.
pub(crate) fn socket(endpoint: &LbEndpoint) -> Option<(&str, u32)> {
    use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
    let Some(HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier else {
        return None;
    };
    match endpoint.address.as_ref()?.address.as_ref()? {
        address::Address::SocketAddress(socket) => {
            let port = match &socket.port_specifier {
                Some(PortSpecifier::PortValue(port)) => *port,
                _ => 0,
            };
            Some((&socket.address, port))
        }
        _ => None,
    }
}

/// A host name among the endpoints.
fn unresolved(assignment: &ClusterLoadAssignment) -> Option<&str> {
    endpoints(assignment)
        .filter_map(socket)
        .map(|(address, _)| address)
        .find(|address| address.parse::<IpAddr>().is_err())
}

/// Whether some priority has endpoints in more than one locality.
fn several_localities(assignment: &ClusterLoadAssignment) -> bool {
    let mut localities: HashMap<u32, HashSet<_>> = HashMap::new();
    for group in &assignment.endpoints {
        if !group.lb_endpoints.is_empty() {
            let locality = group.locality.clone().unwrap_or_default();
            let name = (locality.region, locality.zone, locality.sub_zone);
            localities.entry(group.priority).or_default().insert(name);
        }
    }
    localities.values().any(|localities| localities.len() > 1)
}

/// A dump tells the health that Envoy found out; the configuration what it was told.
fn take_health(assignment: &mut ClusterLoadAssignment, dumped: &ClusterLoadAssignment) {
    let found: HashMap<(String, u32), i32> = endpoints(dumped)
        .filter_map(|endpoint| {
            let (address, port) = socket(endpoint)?;
            Some(((address.to_owned(), port), endpoint.health_status))
        })
        .collect();
    let healthy = [HealthStatus::Unknown as i32, HealthStatus::Healthy as i32];
    for group in &mut assignment.endpoints {
        for endpoint in &mut group.lb_endpoints {
            let Some((address, port)) = socket(endpoint) else {
                continue;
            };
            let Some(health) = found.get(&(address.to_owned(), port)) else {
                continue;
            };
            if healthy.contains(&endpoint.health_status) && !healthy.contains(health) {
                endpoint.health_status = *health;
            }
        }
    }
}
