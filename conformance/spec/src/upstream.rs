//! From a cluster to an endpoint.

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::cluster::v3::Cluster as ClusterConfig;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use twinmesh_engine::{Held, Outcome, Step};

use crate::cluster::{self, Policy};
use crate::draw::{self, draw};
use crate::hash_balancer::Laid;
use crate::hash_policy;
use crate::listener::canonical;
use crate::priority::{self, Source};
use crate::run::Run;
use crate::tcp_proxy;

const DEFAULT_OVERPROVISIONING_FACTOR: u32 = 140;
const DEFAULT_HEALTHY_PANIC_THRESHOLD: u32 = 50;

/// What a cluster gave.
pub(crate) enum Picked {
    Endpoint {
        hostname: String,
    },
    /// No endpoint may be used.
    Nothing,
    /// The decision ended as undecided.
    Undecided,
}

impl<'a> Run<'a> {
    pub(crate) fn at_tcp_proxy(&mut self, proxy: &'a TcpProxy) {
        self.hash = hash_policy::of_connection(&proxy.hash_policy, self.client());
        let Some((name, choice)) = tcp_proxy::cluster(proxy, self.random) else {
            self.undecided("the tcp_proxy names no cluster");
            return;
        };
        if let Some(choice) = choice {
            self.weighted(choice);
        }
        self.decision().cluster = Some(name.to_owned());
        let Some(index) = self.cluster_index(name) else {
            self.end(Outcome::NoCluster, "there is no such cluster");
            return;
        };
        match self.at_cluster(index) {
            Picked::Undecided => {}
            Picked::Nothing => self.end(
                Outcome::NoHealthyUpstream,
                "the cluster has no endpoint that may be used",
            ),
            Picked::Endpoint { .. } => self.end(Outcome::Forward, "the tcp_proxy forwards"),
        }
    }

    pub(crate) fn cluster_index(&self, name: &str) -> Option<usize> {
        let clusters = &self.snapshot.clusters;
        clusters.iter().position(|cluster| cluster.name == name)
    }

    /// Chooses an endpoint and writes it down.
    pub(crate) fn at_cluster(&mut self, index: usize) -> Picked {
        let snapshot = self.snapshot;
        let Some(cluster) = snapshot.clusters.get(index) else {
            return Picked::Nothing;
        };
        self.step(Step::Cluster(index));
        if self.is_unsupported(cluster.unsupported.as_ref()) {
            return Picked::Undecided;
        }
        let (policy, fail_traffic_on_panic) = cluster::policy(&cluster.config);
        match policy {
            Policy::Undecided => {
                self.undecided("the cluster's load balancing policy is not decided");
                return Picked::Undecided;
            }
            Policy::OriginalDestination => {
                let destination = self.request.destination.map(canonical);
                return self.original_destination(destination);
            }
            Policy::RoundRobin | Policy::LeastRequest(_) | Policy::Hash(_) | Policy::Random => {}
        }
        let nothing = ClusterLoadAssignment::default();
        let is_static = cluster::is_static(&cluster.config);
        let Some(assignment) = cluster
            .load_assignment
            .as_ref()
            .or(is_static.then_some(&nothing))
        else {
            self.undecided("the snapshot does not hold the cluster's endpoints");
            return Picked::Undecided;
        };
        let mut number = draw(self.random, draw::PRIORITY);
        let by_hash = match policy {
            Policy::Hash(options) => Some(options),
            _ => None,
        };
        if by_hash.is_some() {
            match self.hash {
                Ok(hash) => number = hash.unwrap_or(number),
                Err(reason) => {
                    self.undecided(reason);
                    return Picked::Undecided;
                }
            }
        }
        if by_hash.is_none() && cluster::weighs_localities(&cluster.config, assignment) {
            self.undecided("the choice among weighted localities is not decided");
            return Picked::Undecided;
        }
        let options = options(&cluster.config, assignment, fail_traffic_on_panic);
        let priorities = cluster::hosts_by_priority(assignment);
        let choice = priority::select(&priorities, options, number);
        let level = u32::try_from(choice.priority).unwrap_or(u32::MAX);
        self.step(Step::Priority {
            priority: level,
            value: choice.value,
            degraded: choice.degraded,
            panic: choice.panic,
        });
        let (Some(mut source), Some(hosts)) = (choice.source, priorities.get(choice.priority))
        else {
            return Picked::Nothing;
        };
        if by_hash.is_some() && source == Source::Degraded {
            // These never look at degraded hosts.
            source = Source::Healthy;
        }
        let hosts = priority::usable(hosts, source);
        let key = (index, choice.priority, source);
        let picked = match policy {
            Policy::Hash(options) => {
                let config = &cluster.config;
                let lay_out = || Laid::out(config, assignment, choice.priority, &hosts, options);
                self.chooser.pick_by_hash(key, number, lay_out)
            }
            // The number that chose the priority.
            Policy::Random => random_index(number, hosts.len()),
            _ => self.chooser.pick(key, &hosts, policy, self.random),
        };
        let Some(host) = picked.and_then(|picked| hosts.get(picked)) else {
            return Picked::Nothing;
        };
        let endpoint = assignment
            .endpoints
            .get(host.locality)
            .and_then(|locality| locality.lb_endpoints.get(host.endpoint));
        let Some(endpoint) = endpoint else {
            return Picked::Nothing;
        };
        self.step(Step::Endpoint {
            locality: host.locality,
            endpoint: host.endpoint,
        });
        let held = Held {
            cluster: index,
            locality: host.locality,
            endpoint: host.endpoint,
            generation: self.generation,
        };
        self.chooser.hold(held);
        self.answer.held = Some(held);
        let decision = self.decision();
        decision.endpoint = cluster::address(endpoint);
        decision.priority = Some(level);
        decision.locality = cluster::locality_name(assignment, host.locality);
        Picked::Endpoint {
            hostname: cluster::hostname(&cluster.config, endpoint),
        }
    }

    fn original_destination(&mut self, destination: Option<SocketAddr>) -> Picked {
        let Some(destination) = destination else {
            return Picked::Nothing;
        };
        let decision = self.decision();
        decision.endpoint = Some(destination.to_string());
        decision.priority = Some(0);
        Picked::Endpoint {
            hostname: String::new(),
        }
    }
}

/// `RANDOM`.
fn random_index(number: u64, count: usize) -> Option<usize> {
    usize::try_from(number.checked_rem(count as u64)?).ok()
}

/// What the cluster says of priorities.
fn options(
    config: &ClusterConfig,
    assignment: &ClusterLoadAssignment,
    fail_traffic_on_panic: bool,
) -> priority::Options {
    let assigned = assignment.policy.as_ref();
    let common = config.common_lb_config.as_ref();
    priority::Options {
        overprovisioning_factor: assigned
            .and_then(|policy| policy.overprovisioning_factor.as_ref())
            .map_or(DEFAULT_OVERPROVISIONING_FACTOR, |factor| factor.value),
        weighted_priority_health: assigned.is_some_and(|policy| policy.weighted_priority_health),
        healthy_panic_threshold: common
            .and_then(|common| common.healthy_panic_threshold.as_ref())
            .map_or(DEFAULT_HEALTHY_PANIC_THRESHOLD, |percent| {
                priority::threshold_percent(percent.value)
            }),
        fail_traffic_on_panic,
    }
}
