//! Clusters: their endpoints and balancers.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use envoy_types::pb::envoy::config::{
    cluster::v3::{
        Cluster as ClusterConfig,
        cluster::{ClusterDiscoveryType, DiscoveryType},
    },
    core::v3::{HealthStatus, address},
    endpoint::v3::{ClusterLoadAssignment, LbEndpoint, lb_endpoint::HostIdentifier},
};

use prost::Message as _;

use super::{Assembly, Held, balancer::balancing, decode, hash_key};
use crate::{
    assemble::balancer::says_more,
    error::ReadError,
    report::{Effect, Finding, FindingKind},
    snapshot::{Balancer, Cluster, Maglev, RingHash, Snapshot, Unsupported},
    validate,
    view::View,
    walk::Walker,
};

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
        let mut assignments: HashMap<&str, Vec<&View<'_>>> = HashMap::new();
        for view in held.load_assignments {
            let of_name = assignments.entry(view.text("cluster_name")).or_default();
            if of_name.iter().all(|other| other.bytes != view.bytes) {
                of_name.push(view);
            }
        }
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
        assignments: &HashMap<&str, Vec<&View<'_>>>,
        held: &Held<'_, '_>,
    ) -> Result<Cluster, ReadError> {
        let resource = format!("cluster {:?}", view.text("name"));
        let config: ClusterConfig = decode(view, self.source)?;
        let kind = discovery_type(&config);
        let is_eds = kind == Some(DiscoveryType::Eds);
        let name = assignment_name(&config);
        let of_name = assignments.get(name).map_or(&[][..], Vec::as_slice);
        let own = of_name.last().copied();
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
        let balancing = balancing(&config);
        walker.context.by_hash = balancing.balancer.hashes();
        walker.context.in_subsets = balancing.subsets.is_some();
        walker.context.dumped = self.dumped;
        let mut unsupported = walker.resource(view)?.unsupported;
        validate::cluster::check(&config, &view.path, self.source)?;
        if let (true, Some(view), Some(assignment)) = (is_own, own, &load_assignment) {
            let mut walker = Walker::new(
                self.source,
                &mut self.report,
                resource.clone(),
                !held.dumped,
            );
            walker.context.by_hash = balancing.balancer.hashes();
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
        if of_name.len() > 1 {
            // A dump has one of each cluster, by the name that the cluster asks for it.
            let reason = format!("several ClusterLoadAssignments are named {name}, and differ");
            let found = self.unsupported(&resource, "load_assignment".to_owned(), reason);
            unsupported.get_or_insert(found);
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
        let balancer = balancing.balancer;
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
        if balancing.reports_weights && load_assignment.as_ref().is_some_and(differ_in_weight) {
            let reason =
                "until the first report endpoints go from weights of their own to equal ones";
            let found = self.unsupported(
                &resource,
                "load_balancing_policy".to_owned(),
                reason.to_owned(),
            );
            unsupported.get_or_insert(found);
        }
        Ok(Cluster {
            name: config.name.clone(),
            balancer,
            locality_weighted: balancing.locality_weighted,
            zone_aware: balancing.zone_aware,
            fail_traffic_on_panic: balancing.fail_traffic_on_panic,
            slow_start: balancing.slow_start,
            subsets: balancing.subsets,
            override_headers: balancing.override_headers,
            load_assignment,
            config,
            unsupported,
        })
    }
}

impl Assembly<'_> {
    /// Where Envoy is in a cluster, others are routed by zone; they are undecided where that cluster
    /// is, or where they say how in a way that is not known here.
    pub(super) fn leave_zones(&mut self, snapshot: &mut Snapshot) {
        let Some(name) = snapshot.local_cluster.clone() else {
            return;
        };
        let local = snapshot.cluster(&name);
        let is_known =
            local.is_some_and(|it| it.unsupported.is_none() && it.load_assignment.is_some());
        for cluster in &mut snapshot.clusters {
            if !cluster.is_spread_by_zone(&name) || cluster.unsupported.is_some() {
                continue;
            }
            let reason = if !is_known {
                format!(
                    "Envoy prefers endpoints in its own zone, and its cluster {name} is not decided"
                )
            } else if says_more(&cluster.config) {
                "what it says of Envoy's own zone is not decided".to_owned()
            } else {
                continue;
            };
            let resource = format!("cluster {:?}", cluster.name);
            let found = self.unsupported(&resource, "load_assignment".to_owned(), reason);
            cluster.unsupported = Some(found);
        }
    }
}

/// Whether endpoints have different weights.
fn differ_in_weight(assignment: &ClusterLoadAssignment) -> bool {
    let groups = assignment.endpoints.iter();
    let endpoints = groups.flat_map(|group| &group.lb_endpoints);
    let mut weights = endpoints.map(|it| it.load_balancing_weight.map_or(1, |it| it.value));
    let first = weights.next();
    weights.any(|weight| Some(weight) != first)
}

/// Whether a cluster has subsets.
pub(super) fn has_subsets(view: &View<'_>) -> bool {
    ClusterConfig::decode(view.bytes).is_ok_and(|config| balancing(&config).subsets.is_some())
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
