//! Canary splits and the endpoints of clusters: how often each was chosen, beside its weight.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::config::route::v3::{
    WeightedCluster, route::Action, route_action::ClusterSpecifier,
    weighted_cluster::RandomValueSpecifier,
};
use twinmesh_engine::{Decision, endpoint};
use twinmesh_xds::{Balancer, Cluster, Snapshot};

/// What requests were shared out among.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The route, or the cluster and priority.
    pub what: String,
    /// Why the shares need not be those of the weights; empty where they should be.
    pub remark: String,
    /// Its members, in the order of the snapshot.
    pub members: Vec<Member>,
}

/// A member of a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Name of the cluster, or the endpoint's address.
    pub name: String,
    /// Its weight among the members'; `None` where nothing says what share it should have.
    pub weight: Option<u64>,
    /// How often it was chosen.
    pub count: u64,
}

impl Split {
    /// How many requests were shared out.
    pub fn total(&self) -> u64 {
        self.members.iter().map(|member| member.count).sum()
    }

    /// The share that a member should have.
    #[expect(clippy::cast_precision_loss, reason = "weights are far below 2^53")]
    pub fn expected(&self, member: &Member) -> Option<f64> {
        let weights = self.members.iter().map(|member| member.weight);
        let sum = weights.sum::<Option<u64>>().filter(|sum| *sum > 0)?;
        Some(member.weight? as f64 / sum as f64)
    }
}

/// The routes with weighted clusters that requests took.
pub fn splits(snapshot: &Snapshot, decisions: &[Decision]) -> Vec<Split> {
    let mut counts: BTreeMap<[&str; 3], BTreeMap<&str, u64>> = BTreeMap::new();
    for decision in decisions {
        let (Some(cluster), Some(route)) = (&decision.cluster, &decision.route) else {
            continue;
        };
        let place = [
            decision.route_config.as_deref().unwrap_or(""),
            decision.virtual_host.as_deref().unwrap_or(""),
            route.as_str(),
        ];
        let counted = counts.entry(place).or_default();
        *counted.entry(cluster).or_default() += 1;
    }
    let mut splits = Vec::new();
    for configuration in &snapshot.route_configurations {
        for host in &configuration.config.virtual_hosts {
            for (index, route) in host.routes.iter().enumerate() {
                let Some(Action::Route(action)) = &route.action else {
                    continue;
                };
                let Some(ClusterSpecifier::WeightedClusters(weighted)) = &action.cluster_specifier
                else {
                    continue;
                };
                let name = if route.name.is_empty() {
                    format!("#{index}")
                } else {
                    route.name.clone()
                };
                // Of routes of one name the decisions do not say which it was: the first has all.
                let place = [
                    configuration.name.as_str(),
                    host.name.as_str(),
                    name.as_str(),
                ];
                let key = counts.keys().find(|key| **key == place).copied();
                let Some(counted) = key.and_then(|key| counts.remove(&key)) else {
                    continue;
                };
                let what = format!("{} / {} / {name}", configuration.name, host.name);
                splits.push(split(what, weighted, counted));
            }
        }
    }
    splits
}

fn split(what: String, weighted: &WeightedCluster, mut counted: BTreeMap<&str, u64>) -> Split {
    let mut members: Vec<Member> = Vec::new();
    let mut by_header = false;
    for cluster in &weighted.clusters {
        if cluster.name.is_empty() {
            by_header = true;
            continue;
        }
        let weight = cluster.weight.as_ref().map_or(0, |weight| weight.value);
        // One name may stand twice.
        if let Some(member) = members
            .iter_mut()
            .find(|member| member.name == cluster.name)
        {
            member.weight = member.weight.map(|sum| sum + u64::from(weight));
            continue;
        }
        members.push(Member {
            name: cluster.name.clone(),
            weight: Some(u64::from(weight)),
            count: counted.remove(cluster.name.as_str()).unwrap_or(0),
        });
    }
    for (name, count) in counted {
        members.push(Member {
            name: name.to_owned(),
            weight: (!by_header).then_some(0),
            count,
        });
    }
    let remark = match &weighted.random_value_specifier {
        _ if by_header => "some entries name their cluster by a header",
        Some(RandomValueSpecifier::HeaderName(_)) => {
            "the number may come from a header, which the traffic sets as it likes"
        }
        Some(RandomValueSpecifier::UseHashPolicy(_)) => "the number may come from a hash",
        None => "",
    };
    Split {
        what,
        remark: remark.to_owned(),
        members,
    }
}

/// The clusters with more than one endpoint that requests chose, by priority.
pub fn endpoints(snapshot: &Snapshot, decisions: &[Decision]) -> Vec<Split> {
    let mut counts: BTreeMap<(&str, u32), BTreeMap<&str, u64>> = BTreeMap::new();
    for decision in decisions {
        if let (Some(cluster), Some(endpoint)) = (&decision.cluster, &decision.endpoint) {
            let priority = decision.priority.unwrap_or(0);
            let counted = counts.entry((cluster, priority)).or_default();
            *counted.entry(endpoint).or_default() += 1;
        }
    }
    counts
        .into_iter()
        .filter_map(|((name, priority), counted)| {
            of_cluster(snapshot.cluster(name)?, priority, counted)
        })
        .collect()
}

fn of_cluster(cluster: &Cluster, priority: u32, mut counted: BTreeMap<&str, u64>) -> Option<Split> {
    let assignment = cluster.load_assignment.as_ref()?;
    let mut members: Vec<Member> = Vec::new();
    let mut unused = 0;
    for locality in &assignment.endpoints {
        if locality.priority != priority {
            continue;
        }
        for candidate in &locality.lb_endpoints {
            let Some(address) = endpoint::address(candidate) else {
                continue;
            };
            let healthy = [HealthStatus::Unknown as i32, HealthStatus::Healthy as i32];
            let count = counted.remove(address.as_str()).unwrap_or(0);
            if !healthy.contains(&candidate.health_status) && count == 0 {
                unused += 1;
                continue;
            }
            let weight = candidate.load_balancing_weight.as_ref();
            let by_weight = healthy.contains(&candidate.health_status) && is_by_weight(cluster);
            members.push(Member {
                name: address,
                weight: by_weight.then(|| weight.map_or(1, |weight| u64::from(weight.value))),
                count,
            });
        }
    }
    members.extend(counted.into_iter().map(|(name, count)| Member {
        name: name.to_owned(),
        weight: None,
        count,
    }));
    let mut remarks = Vec::new();
    if !is_by_weight(cluster) {
        remarks.push("its balancer does not go by weights".to_owned());
    } else if members.iter().any(|member| member.weight.is_none()) {
        remarks.push("endpoints that are not healthy were chosen too".to_owned());
    }
    if matches!(cluster.balancer, Balancer::LeastRequest { .. }) {
        remarks.push("active requests shift the shares of LEAST_REQUEST".to_owned());
    }
    if unused > 0 {
        remarks.push(format!(
            "{unused} endpoints that are not healthy were not chosen"
        ));
    }
    (members.len() > 1).then(|| Split {
        what: format!("{} at priority {priority}", cluster.name),
        remark: remarks.join("; "),
        members,
    })
}

/// In the long run every endpoint has the share of its weight.
fn is_by_weight(cluster: &Cluster) -> bool {
    let of_all = !cluster.locality_weighted && cluster.subsets.is_none();
    let turns = matches!(
        cluster.balancer,
        Balancer::RoundRobin | Balancer::LeastRequest { .. }
    );
    of_all && turns
}
