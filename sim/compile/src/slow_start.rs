//! Compiles sets of endpoints whose weights grow with the time since they came.

use envoy_types::pb::envoy::config::endpoint::v3::{LbEndpoint, LocalityLbEndpoints};
use twinmesh_engine::update::{Identity, identity};
use twinmesh_model::layout::{pair, set};
use twinmesh_xds::{Balancer, Cluster};

use crate::cluster::{Endpoint, Health};
use crate::compiler::Compiler;
use crate::kept::{Key, Set, Source};
use crate::{CapacityError, capacity};

/// A set of endpoints of a cluster with a slow start.
#[derive(Debug, Clone)]
pub struct SlowSet {
    /// The cluster's name.
    pub cluster: String,
    /// The priority.
    pub priority: u32,
    /// Which of the priority's endpoints.
    pub source: Source,
    /// Index of the locality, where it was chosen by weight.
    pub locality: Option<usize>,
    /// The endpoints by position.
    pub members: Vec<SlowMember>,
}

/// What an endpoint is known by: from one snapshot to the next, or where its address has no text, only
/// in this one, by its place.
pub type SlowName = Result<Identity, (usize, usize)>;

/// The name of an endpoint at a place: index of its locality, and in that.
pub fn slow_name(
    group: &LocalityLbEndpoints,
    endpoint: &LbEndpoint,
    place: (usize, usize),
) -> SlowName {
    identity(group, endpoint).ok_or(place)
}

/// An endpoint of such a set.
#[derive(Debug, Clone)]
pub struct SlowMember {
    /// What it is known by.
    pub name: SlowName,
    /// Its number.
    pub number: u64,
    /// `load_balancing_weight`.
    pub weight: u64,
    /// Others are never in slow start.
    pub is_healthy: bool,
}

impl Compiler<'_> {
    /// The record of a set; `list` is the offset of its endpoints.
    ///
    /// # Errors
    /// More choices are asked for than fit.
    pub fn slow_set(
        &mut self,
        key: Key,
        cluster: &Cluster,
        endpoints: &[Endpoint],
        list: u64,
    ) -> Result<u64, CapacityError> {
        let (choices, otherwise) = match cluster.balancer {
            Balancer::LeastRequest {
                full_scan: true, ..
            } => (0, set::BY_SCAN),
            Balancer::LeastRequest { choice_count, .. } => {
                let choices = u64::from(choice_count);
                let most = twinmesh_model::least_request::CHOICES;
                capacity::check("choices (choice_count)", choices, most)?;
                (choices, set::BY_SAMPLE)
            }
            _ => (0, set::BY_TURN),
        };
        let groups = cluster.load_assignment.as_ref().map(|it| &it.endpoints);
        let member = |endpoint: &Endpoint| {
            let (locality, position) = endpoint.place;
            let group = groups.and_then(|groups| groups.get(locality));
            SlowMember {
                name: group
                    .and_then(|it| {
                        Some(slow_name(
                            it,
                            it.lb_endpoints.get(position)?,
                            (locality, position),
                        ))
                    })
                    .unwrap_or(Err((locality, position))),
                number: endpoint.number,
                weight: endpoint.weight,
                is_healthy: endpoint.health == Health::Healthy,
            }
        };
        let number = self.slow_sets.len() as u64;
        self.slow_sets.push(SlowSet {
            cluster: cluster.name.clone(),
            priority: u32::try_from(key.priority).unwrap_or(u32::MAX),
            source: key.source,
            locality: key.locality,
            members: endpoints.iter().map(member).collect(),
        });
        let state = self.state.len();
        self.state.push(0);
        self.sets.push(Set {
            key,
            kind: set::SLOW_START,
            state,
            words: 1,
        });
        Ok(self.arena.record([
            pair(set::SLOW_START, endpoints.len() as u64),
            list,
            pair(state as u64, choices),
            pair(number, otherwise),
        ]))
    }
}
