//! Zone-aware routing: the part of priority 0 that Envoy's own locality takes, and what the others
//! have left.

use envoy_types::pb::envoy::config::core::v3::Locality as LocalityConfig;
use twinmesh_xds::{Cluster, Snapshot};

use crate::cluster::{Endpoint, Health, health};
use crate::loads::Options;
use crate::locality::{self, Locality, localities};

/// How a level's endpoints are chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routing {
    /// Among all localities alike.
    Everywhere,
    /// By locality.
    Zones(Zones),
}

/// Shares of localities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zones {
    /// Percent of the requests that are routed so.
    pub enabled: u64,
    /// Of 10,000 of these, how many go to the first locality.
    pub local: u64,
    /// What each locality has left for the others, with those before it.
    pub capacities: Vec<u64>,
    /// The cluster that Envoy is in panics, and traffic shall fail then.
    pub fails: bool,
}

/// All of what is measured here.
pub const WHOLE: u64 = 10_000;

fn part(of: u64, all: u64) -> u64 {
    (WHOLE * of).checked_div(all).unwrap_or(0)
}

/// The cluster that Envoy is in.
struct OwnCluster {
    /// Healthy endpoints by locality.
    healthy: Vec<(locality::Name, u64)>,
    /// How many endpoints are healthy or degraded.
    available: u64,
    /// Of how many.
    all: u64,
}

fn own_cluster(cluster: &Cluster, node: Option<&LocalityConfig>) -> Option<OwnCluster> {
    let assignment = cluster.load_assignment.as_ref()?;
    let mut counts: Vec<(locality::Name, u64)> = localities(assignment, 0, node)
        .into_iter()
        .map(|locality| (locality.name, 0))
        .collect();
    let (mut available, mut all) = (0, 0);
    for group in assignment.endpoints.iter().filter(|it| it.priority == 0) {
        let name = locality::name(group, node);
        for endpoint in &group.lb_endpoints {
            let health = health(endpoint.health_status);
            all += u64::from(health != Health::Draining);
            available += u64::from(matches!(health, Health::Healthy | Health::Degraded));
            if health == Health::Healthy
                && let Some((_, count)) = counts.iter_mut().find(|(known, _)| *known == name)
            {
                *count += 1;
            }
        }
    }
    Some(OwnCluster {
        healthy: counts,
        available,
        all,
    })
}

/// How priority 0 of a pool is routed; `there` are its endpoints, each with its locality's index.
pub fn routing(
    snapshot: &Snapshot,
    cluster: &Cluster,
    known: &[Locality],
    there: &[(usize, Endpoint)],
    options: Options,
) -> Routing {
    let local = snapshot.local_cluster.as_deref();
    let local = local.filter(|name| *name != cluster.name);
    let node = snapshot.node_locality.as_ref();
    let Some(OwnCluster {
        healthy: here,
        available,
        all,
    }) = local
        .and_then(|name| snapshot.cluster(name))
        .and_then(|local| own_cluster(local, node))
    else {
        return Routing::Everywhere;
    };
    let config = cluster.zone_aware;
    let mut healthy = vec![0_u64; known.len()];
    for (index, endpoint) in there {
        if endpoint.health == Health::Healthy
            && let Some(count) = healthy.get_mut(*index)
        {
            *count += 1;
        }
    }
    let total: u64 = healthy.iter().sum();
    let in_own = here.first().is_some_and(|((is_other, ..), _)| !is_other);
    if known.len() < 2
        || (here.len() < 2 && !config.force_direct)
        || !in_own
        || total < config.min_cluster_size
    {
        return Routing::Everywhere;
    }
    let of_those = match all {
        0 => 0.0,
        all => 100.0 * available as f64 / all as f64,
    };
    let in_panic = of_those < options.panic_threshold;
    if in_panic && !options.fail_on_panic {
        return Routing::Everywhere;
    }
    let total_here: u64 = here.iter().map(|(_, count)| count).sum();
    let shares: Vec<(u64, u64)> = known
        .iter()
        .zip(&healthy)
        .map(|(locality, &count)| {
            let own = here.iter().find(|(name, _)| *name == locality.name);
            let own = own.filter(|_| count > 0).map_or(0, |(_, count)| *count);
            (part(own, total_here), part(count, total))
        })
        .collect();
    let has_own = known.first().is_some_and(|it| !it.name.0);
    let (from, to) = shares.first().copied().unwrap_or_default();
    let local = match has_own {
        false => 0,
        true if config.force_direct || (to > 0 && to >= from) => WHOLE,
        true => (to * WHOLE).checked_div(from).unwrap_or(0),
    };
    let mut left = 0;
    let mut capacities = Vec::with_capacity(shares.len());
    for (index, (from, to)) in shares.into_iter().enumerate() {
        if index > 0 || !has_own {
            left += to.saturating_sub(from);
        }
        capacities.push(left);
    }
    Routing::Zones(Zones {
        enabled: config.routing_enabled,
        local,
        capacities,
        fails: in_panic,
    })
}
