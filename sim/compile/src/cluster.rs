//! Compiles clusters: their endpoints' numbers, and their records.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use twinmesh_model::layout::{cluster, header, pair, unsupported};
use twinmesh_xds::{Balancer, Cluster, Unsupported};

use twinmesh_engine::update::identity;

use crate::compiler::Compiler;
use crate::criteria::Criteria;
use crate::pool::{Levels, Subsetted};
use crate::subset::{Index, Pool};
use crate::{CapacityError, capacity, plain};

/// An endpoint as its priority sees it.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    /// Its number.
    pub number: u64,
    /// `load_balancing_weight`.
    pub weight: u64,
    /// Its health.
    pub health: Health,
    /// Index of its locality in the load assignment, and its own there.
    pub place: (usize, usize),
}

/// What `health_status` means to a balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// May be used.
    Healthy,
    /// May be used where too few are healthy.
    Degraded,
    /// May not be used but in a panic.
    Unhealthy,
    /// Not healthy, and left out of what the healthy ones are a share of.
    Draining,
}

/// What a `health_status` means.
pub fn health(status: i32) -> Health {
    match HealthStatus::try_from(status) {
        Ok(HealthStatus::Unknown | HealthStatus::Healthy) => Health::Healthy,
        Ok(HealthStatus::Degraded) => Health::Degraded,
        Ok(HealthStatus::Draining) => Health::Draining,
        _ => Health::Unhealthy,
    }
}

/// Whether a `health_status` means that an endpoint is healthy.
pub fn is_healthy(status: i32) -> bool {
    health(status) == Health::Healthy
}

/// The field that says what does not fit: the choices of least request, or the weights.
fn over_in(cluster: &Cluster) -> &'static str {
    match cluster.balancer {
        Balancer::LeastRequest { .. } if cluster.config.load_balancing_policy.is_some() => {
            "load_balancing_policy"
        }
        Balancer::LeastRequest { .. } => "least_request_lb_config.choice_count",
        Balancer::RingHash(_) | Balancer::Maglev(_)
            if cluster.config.load_balancing_policy.is_some() =>
        {
            "load_balancing_policy"
        }
        Balancer::RingHash(_) => "ring_hash_lb_config",
        Balancer::Maglev(_) => "maglev_lb_config",
        _ if cluster.config.load_assignment.is_some() => "load_assignment.endpoints",
        _ => "endpoints",
    }
}

/// How many of a million requests the cluster drops.
pub fn dropped(cluster: &Cluster) -> u64 {
    let policy = cluster
        .load_assignment
        .as_ref()
        .and_then(|assignment| assignment.policy.as_ref());
    let share = policy
        .and_then(|policy| policy.drop_overloads.first())
        .and_then(|overload| overload.drop_percentage)
        .unwrap_or_default();
    let scale = match DenominatorType::try_from(share.denominator) {
        Ok(DenominatorType::TenThousand) => 100,
        Ok(DenominatorType::Million) => 1,
        _ => 10_000,
    };
    (u64::from(share.numerator) * scale).min(1_000_000)
}

impl Compiler<'_> {
    /// Writes the records of all clusters.
    ///
    /// # Errors
    /// Something does not fit.
    pub fn write_clusters(&mut self) -> Result<(), CapacityError> {
        let snapshot = self.snapshot;
        capacity::check(
            "clusters",
            snapshot.clusters.len() as u64,
            capacity::CLUSTERS,
        )?;
        let mut all = Vec::with_capacity(snapshot.clusters.len());
        for (index, cluster) in snapshot.clusters.iter().enumerate() {
            all.push(self.number_endpoints(index, cluster)?);
        }
        let count = self.endpoints.iter().flatten().count();
        capacity::check("endpoints", count as u64, capacity::ENDPOINTS)?;
        // The active counts come first in the state.
        let counts = match &self.numbers {
            Some(numbers) => numbers.capacity() as usize,
            None => self.endpoints.len(),
        };
        self.state = vec![0; counts];
        self.arena.set(header::ACTIVE, 0);
        for (index, (cluster, priorities)) in snapshot.clusters.iter().zip(all).enumerate() {
            let offset = self.cluster(index, cluster, &priorities);
            self.set_cluster(&cluster.name, offset);
        }
        Ok(())
    }

    /// The endpoints of a cluster by priority, each with its number.
    ///
    /// # Errors
    /// The numbers that endpoints keep are used up.
    fn number_endpoints(
        &mut self,
        index: usize,
        cluster: &Cluster,
    ) -> Result<Vec<Vec<Endpoint>>, CapacityError> {
        let mut priorities: Vec<Vec<Endpoint>> = vec![Vec::new()];
        let Some(assignment) = &cluster.load_assignment else {
            return Ok(priorities);
        };
        for (locality, endpoints) in assignment.endpoints.iter().enumerate() {
            let priority = endpoints.priority as usize;
            if priorities.len() <= priority {
                priorities.resize(priority + 1, Vec::new());
            }
            for (position, endpoint) in endpoints.lb_endpoints.iter().enumerate() {
                let number = match &mut self.numbers {
                    None => self.endpoints.len() as u64,
                    Some(numbers) => {
                        let known = identity(endpoints, endpoint);
                        let number = numbers.of(cluster, known);
                        number.ok_or_else(|| capacity::numbers(numbers.capacity()))?
                    }
                };
                let place = number as usize;
                if self.endpoints.len() <= place {
                    self.endpoints.resize(place + 1, None);
                }
                if let Some(slot) = self.endpoints.get_mut(place) {
                    *slot = Some((index, locality, position));
                }
                if let Some(priority) = priorities.get_mut(priority) {
                    priority.push(Endpoint {
                        number,
                        weight: endpoint
                            .load_balancing_weight
                            .as_ref()
                            .map_or(1, |weight| u64::from(weight.value)),
                        health: health(endpoint.health_status),
                        place: (locality, position),
                    });
                }
            }
        }
        Ok(priorities)
    }

    fn cluster(&mut self, index: usize, cluster: &Cluster, priorities: &[Vec<Endpoint>]) -> u64 {
        if let Some(unsupported) = &cluster.unsupported {
            return self.unsupported_cluster(index, unsupported);
        }
        if cluster.balancer == Balancer::OriginalDestination {
            return self
                .arena
                .record([0, cluster::ORIGINAL_DESTINATION, index as u64, 0]);
        }
        let (state, sets) = (self.state.len(), self.sets.len());
        match self.balanced_cluster(index, cluster, priorities) {
            Ok(offset) => offset,
            Err(over) => {
                self.state.truncate(state);
                self.sets.truncate(sets);
                self.cluster_over(index, cluster, over_in(cluster), &over)
            }
        }
    }

    /// The record of a cluster of which something does not fit; `path` is the field.
    pub fn cluster_over(
        &mut self,
        index: usize,
        cluster: &Cluster,
        path: &str,
        over: &CapacityError,
    ) -> u64 {
        let unsupported = Unsupported {
            path: path.to_owned(),
            reason: over.of_a_part(),
        };
        let part = Some(crate::Part::Cluster(index));
        let is_known = |it: &crate::Undecided| it.part == part && it.reason == unsupported.reason;
        if !self.undecided.iter().any(is_known) {
            self.cluster_undecided(index, cluster, path, unsupported.reason.clone());
        }
        self.unsupported_cluster(index, &unsupported)
    }

    /// A cluster with endpoints to choose from.
    ///
    /// # Errors
    /// What its balancer needs does not fit.
    fn balanced_cluster(
        &mut self,
        index: usize,
        cluster: &Cluster,
        priorities: &[Vec<Endpoint>],
    ) -> Result<u64, CapacityError> {
        if let Some(subsets) = &cluster.subsets {
            let subsetted = Subsetted {
                index,
                priorities: priorities.to_vec(),
                subsets: Index::new(subsets, cluster.load_assignment.as_ref()),
            };
            self.subsetted
                .insert(cluster.name.clone(), Arc::new(subsetted));
            self.note_userspace(index, cluster, None);
            return Ok(self.cluster_for(&cluster.name, &Criteria::new()));
        }
        let levels = self.levels((index, cluster), &Pool::Whole, priorities, None)?;
        let in_userspace = self.note_userspace(index, cluster, Some(levels));
        // At connect(2) the kernel would have to choose the endpoint.
        let is_plain = plain::cluster(&cluster.config) && !in_userspace;
        if is_plain {
            self.plain_clusters.insert(cluster.name.clone());
        }
        let (kind, code) = if in_userspace {
            let kind = pair(cluster::UNSUPPORTED, unsupported::USERSPACE);
            (kind, self.code(cluster))
        } else {
            (cluster::BALANCED, 0)
        };
        let (word, code) = self.overridden((index, cluster), priorities, (levels.word, code))?;
        let forwarding = if is_plain { cluster::PLAIN } else { 0 };
        Ok(self.arena.record([
            word,
            kind,
            pair(index as u64, code),
            pair(forwarding, dropped(cluster)),
        ]))
    }

    /// What userspace does with a cluster of its own.
    pub fn code(&self, cluster: &Cluster) -> u64 {
        if cluster.balancer.hashes() {
            cluster::BY_HASH
        } else if cluster.slow_start.is_some() {
            cluster::DRAWN | cluster::SLOW_START
        } else {
            cluster::DRAWN
        }
    }

    /// Notes why userspace alone chooses a cluster's endpoints, where it does.
    fn note_userspace(&mut self, index: usize, cluster: &Cluster, levels: Option<Levels>) -> bool {
        let has_extension = cluster.config.load_balancing_policy.is_some();
        let field = |old: &'static str| match has_extension {
            true => "load_balancing_policy",
            false => old,
        };
        let mut reasons = Vec::new();
        let name = match cluster.balancer {
            Balancer::RingHash(_) => "RING_HASH",
            Balancer::Maglev(_) => "MAGLEV",
            Balancer::Random => "RANDOM",
            Balancer::LeastRequest {
                full_scan: true, ..
            } => "LEAST_REQUEST with a full scan",
            _ => "",
        };
        if !name.is_empty() {
            let reason = format!("the balancer {name} chooses in userspace only");
            reasons.push((field("lb_policy"), reason));
        }
        if levels.is_some_and(|levels| levels.by_zone) {
            let reason = "Envoy's own locality is preferred in userspace only".to_owned();
            let path = match cluster.config.load_assignment {
                Some(_) => "load_assignment.endpoints",
                None => "endpoints",
            };
            reasons.push((path, reason));
        }
        if levels.is_some_and(|levels| levels.by_locality) {
            let reason = "a locality is chosen by weight in userspace only".to_owned();
            let path = field("common_lb_config.locality_weighted_lb_config");
            reasons.push((path, reason));
        }
        if cluster.slow_start.is_some() {
            let reason = "endpoints in slow start are weighed in userspace only".to_owned();
            let path = match cluster.balancer {
                Balancer::LeastRequest { .. } => "least_request_lb_config.slow_start_config",
                _ => "round_robin_lb_config.slow_start_config",
            };
            reasons.push((field(path), reason));
        }
        if cluster.override_headers.is_some() {
            let reason = "endpoints that a header names are found in userspace only".to_owned();
            reasons.push(("load_balancing_policy", reason));
        }
        if cluster.subsets.is_some() {
            let reason = "subsets are chosen in userspace only".to_owned();
            reasons.push((field("lb_subset_config"), reason));
        }
        if dropped(cluster) > 0 {
            let reason = "a share of the requests is dropped in userspace only".to_owned();
            let path = match cluster.config.load_assignment {
                Some(_) => "load_assignment.policy.drop_overloads",
                None => "policy.drop_overloads",
            };
            reasons.push((path, reason));
        }
        for (path, reason) in &reasons {
            self.cluster_in_userspace(index, cluster, path, reason);
        }
        !reasons.is_empty()
    }

    fn unsupported_cluster(&mut self, index: usize, unsupported: &Unsupported) -> u64 {
        let reason = self.reason(unsupported);
        self.arena
            .record([0, pair(cluster::UNSUPPORTED, reason), index as u64, 0])
    }
}
