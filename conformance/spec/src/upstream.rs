//! From a cluster to an endpoint.

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::cluster::v3::Cluster as ClusterConfig;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use twinmesh_engine::{Held, Outcome, Step};

use crate::balancer::Key;
use crate::cluster::{self, Health, Host};
use crate::criteria::Criteria;
use crate::draw::{self, draw};
use crate::hash_balancer::Laid;
use crate::hash_policy;
use crate::locality::{self, Effective, Locality};
use crate::original_destination::original_destination;
use crate::overload;
use crate::override_host;
use crate::policy::{Balancing, Policy};
use crate::priority::{self, Source};
use crate::run::Run;
use crate::subset::{Attempt, Pool, Subsets};
use crate::tcp_proxy;
use crate::zone;

const DEFAULT_OVERPROVISIONING_FACTOR: u32 = 140;
const DEFAULT_HEALTHY_PANIC_THRESHOLD: u32 = 50;

/// What a cluster gave.
pub(crate) enum Picked {
    Endpoint {
        hostname: String,
    },
    /// No endpoint may be used.
    Nothing,
    /// `drop_overloads` has dropped it.
    Dropped,
    /// The decision ended as undecided.
    Undecided,
}

/// Whether `drop_overloads` counts: TCP proxies do not look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drops {
    Heeded,
    Ignored,
}

/// Where zone-aware routing looks for an endpoint.
enum Zoned {
    /// In all localities alike.
    Anywhere,
    /// In the locality of this index.
    In(usize),
    Nowhere,
}

/// A cluster that an endpoint is chosen of.
struct Among<'c> {
    index: usize,
    config: &'c ClusterConfig,
    assignment: &'c ClusterLoadAssignment,
    balancing: &'c Balancing,
    /// Chooses the priority: the hash, or a random one.
    number: u64,
}

impl<'a> Run<'a> {
    pub(crate) fn at_tcp_proxy(&mut self, proxy: &'a TcpProxy) {
        self.hash = hash_policy::of_connection(&proxy.hash_policy, self.client());
        self.criteria = Criteria::new(proxy.metadata_match.as_ref());
        let Some((name, choice)) = tcp_proxy::cluster(proxy, self.random) else {
            self.undecided("the tcp_proxy names no cluster");
            return;
        };
        if let Some(choice) = choice {
            self.weighted(choice);
            let own = tcp_proxy::metadata_match(proxy, choice.entry);
            self.criteria = self.criteria.with(own);
        }
        self.decision().cluster = Some(name.to_owned());
        let Some(index) = self.cluster_index(name) else {
            self.end(Outcome::NoCluster, "there is no such cluster");
            return;
        };
        match self.at_cluster(index, Drops::Ignored) {
            Picked::Undecided => {}
            Picked::Nothing | Picked::Dropped => self.end(
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
    pub(crate) fn at_cluster(&mut self, index: usize, drops: Drops) -> Picked {
        let snapshot = self.snapshot;
        let Some(cluster) = snapshot.clusters.get(index) else {
            return Picked::Nothing;
        };
        self.step(Step::Cluster(index));
        if self.is_unsupported(cluster.unsupported.as_ref()) {
            return Picked::Undecided;
        }
        let balancing = Balancing::new(&cluster.config);
        match balancing.policy {
            Policy::Undecided => {
                self.undecided("the cluster's load balancing policy is not decided");
                return Picked::Undecided;
            }
            Policy::OriginalDestination => {
                let taking = self.answer.decision.listener.as_ref();
                let listener =
                    taking.and_then(|name| snapshot.listeners.iter().find(|it| it.name == *name));
                let destination = original_destination(self.request, listener);
                return self.at_original_destination(destination);
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
        if drops == Drops::Heeded && overload::drops(assignment, self.random) {
            return Picked::Dropped;
        }
        if let Some((source, locality, endpoint)) =
            self.override_host(&balancing.override_headers, assignment)
        {
            self.step(Step::OverrideHost(source));
            self.is_named = true;
            return self.take((index, &cluster.config, assignment), locality, endpoint);
        }
        let mut number = draw(self.random, draw::PRIORITY);
        if matches!(balancing.policy, Policy::Hash(_)) {
            match self.hash {
                Ok(hash) => number = hash.unwrap_or(number),
                Err(reason) => {
                    self.undecided(reason);
                    return Picked::Undecided;
                }
            }
        }
        let attempts = match &balancing.subsets {
            Some(subsets) => subsets.attempts(&self.criteria, assignment),
            None => vec![Attempt::Pool(Pool::Whole)],
        };
        let among = Among {
            index,
            config: &cluster.config,
            assignment,
            balancing: &balancing,
            number,
        };
        let mut picked = None;
        let mut tried = None;
        for attempt in attempts {
            (picked, tried) = match attempt {
                Attempt::Single(locality, endpoint) => (Some((locality, endpoint)), None),
                Attempt::Pool(pool) => self.pick(&among, pool),
            };
            if picked.is_some() {
                break;
            }
        }
        // Of several attempts the last one is told.
        if let Some(step) = tried {
            self.step(step);
        }
        let Some((locality, endpoint)) = picked else {
            return Picked::Nothing;
        };
        self.take((index, &cluster.config, assignment), locality, endpoint)
    }

    /// The header, and the endpoint that it names: its locality and its place there.
    fn override_host(
        &mut self,
        headers: &[String],
        assignment: &ClusterLoadAssignment,
    ) -> Option<(usize, usize, usize)> {
        if headers.is_empty() {
            return None;
        }
        let message = self.forwarded.as_ref().map(|it| &it.message);
        let named = || message.map(|message| override_host::named(headers, message));
        let mut named = self.named.take().or_else(named).unwrap_or_default();
        let found = override_host::take(assignment, &mut named);
        if let Some(forwarded) = &mut self.forwarded {
            forwarded.named.clone_from(&named);
        }
        self.named = Some(named);
        found
    }

    /// Locality and place there of the endpoint of a pool that takes the request; and the step that
    /// tells its priority.
    fn pick(&mut self, among: &Among<'_>, pool: Pool) -> (Option<(usize, usize)>, Option<Step>) {
        let Among {
            index,
            config,
            assignment,
            balancing,
            number,
        } = *among;
        let policy = balancing.policy;
        let all = cluster::hosts_by_priority(assignment);
        let priorities = match &balancing.subsets {
            Some(subsets) => in_pool(subsets, &pool, assignment, &all),
            None => all.clone(),
        };
        let options = options(config, assignment, balancing.fails_on_panic);
        let choice = priority::select(&priorities, options, number);
        let step = Step::Priority {
            priority: u32::try_from(choice.priority).unwrap_or(u32::MAX),
            value: choice.value,
            degraded: choice.degraded,
            panic: choice.panic,
        };
        let (Some(mut source), Some(own)) = (choice.source, priorities.get(choice.priority)) else {
            return (None, Some(step));
        };
        if matches!(policy, Policy::Hash(_)) && source == Source::Degraded {
            // These never look at degraded hosts.
            source = Source::Healthy;
        }
        let mut hosts = priority::usable(own, source);
        let mut key = Key {
            cluster: index,
            pool,
            priority: choice.priority,
            source,
            locality: None,
        };
        let localities = balancing.locality_weighted.then(|| {
            let every = all.get(choice.priority).map_or(&[][..], Vec::as_slice);
            self.weighed(among, choice.priority, own, every)
        });
        let localities = localities.flatten();
        let picked = match policy {
            Policy::Hash(options) => {
                let lay_out =
                    || Laid::out(config, assignment, localities.as_deref(), &hosts, options);
                let factor = options.balance_factor;
                self.chooser
                    .pick_by_hash(key, &hosts, number, factor, lay_out)
            }
            _ => {
                if let Some(localities) = localities.filter(|_| source != Source::All) {
                    let of = |hosts: &[Host], index: usize| {
                        let locality = localities.get(index);
                        locality.map_or_else(Vec::new, |it| located(assignment, hosts, it))
                    };
                    let health = match source {
                        Source::Degraded => Health::Degraded,
                        Source::Healthy | Source::All => Health::Healthy,
                    };
                    let weights: Vec<Effective> = localities
                        .iter()
                        .enumerate()
                        .map(|(index, locality)| {
                            let factor = options.overprovisioning_factor;
                            let own = of(own, index);
                            Effective::new(locality.weight, own.iter(), health, factor)
                        })
                        .collect();
                    let chooser = &mut self.chooser;
                    key.locality = chooser.pick_locality(&key, &weights, |index| of(&hosts, index));
                    if let Some(index) = key.locality {
                        hosts = of(&hosts, index);
                    }
                }
                if key.locality.is_none() && choice.priority == 0 && source != Source::All {
                    let zones = self.zones(among, own, options);
                    let places =
                        locality::of_priority(assignment, 0, self.snapshot.node_locality.as_ref());
                    match zones {
                        Zoned::Anywhere => {}
                        Zoned::Nowhere => hosts.clear(),
                        Zoned::In(index) => {
                            let place = places.get(index);
                            hosts =
                                place.map_or_else(Vec::new, |it| located(assignment, &hosts, it));
                            key.locality = Some(index);
                        }
                    }
                }
                match policy {
                    // The number that chose the priority.
                    Policy::Random => random_index(number, hosts.len()),
                    _ => {
                        let now = self.now_us;
                        self.chooser.pick(key, &hosts, policy, self.random, now)
                    }
                }
            }
        };
        let host = picked.and_then(|picked| hosts.get(picked));
        (host.map(|host| (host.locality, host.endpoint)), Some(step))
    }

    /// Where zone-aware routing sends a request of priority 0. `own` are the pool's endpoints of it.
    fn zones(&self, among: &Among<'_>, own: &[Host], options: priority::Options) -> Zoned {
        let snapshot = self.snapshot;
        let node = snapshot.node_locality.as_ref();
        let mut local = None;
        if let Some(name) = &snapshot.local_cluster
            && let Some(index) = self.cluster_index(name)
            && index != among.index
        {
            local = snapshot.clusters.get(index);
        }
        let Some(local) = local.and_then(|local| local.load_assignment.as_ref()) else {
            return Zoned::Anywhere;
        };
        let count = |assignment: &ClusterLoadAssignment, hosts: &[Host]| -> Vec<zone::Count> {
            let localities = locality::of_priority(assignment, 0, node).into_iter();
            let counted = localities.map(|place| {
                let hosts = located(assignment, hosts, &place);
                let healthy = hosts.iter().filter(|it| it.health == Health::Healthy);
                zone::Count {
                    name: place.name,
                    healthy: healthy.count() as u64,
                }
            });
            counted.collect()
        };
        let locals = cluster::hosts_by_priority(local)
            .into_iter()
            .next()
            .unwrap_or_default();
        let zones = among.balancing.zone_aware;
        let routing = zone::Routing::new(
            &count(among.assignment, own),
            &count(local, &locals),
            node.map(locality::name_of).as_ref(),
            zones,
        );
        if routing == zone::Routing::Everywhere || !zones.includes(self.random) {
            return Zoned::Anywhere;
        }
        let threshold = options.healthy_panic_threshold.min(100);
        if priority::is_in_panic(&locals, threshold) {
            return match options.fail_traffic_on_panic {
                true => Zoned::Nowhere,
                false => Zoned::Anywhere,
            };
        }
        routing.pick(self.random).map_or(Zoned::Anywhere, Zoned::In)
    }

    /// The localities of a priority with the weights that they have for a pool; `None` where those
    /// do not count. `own` are the pool's endpoints of the priority.
    fn weighed(
        &self,
        among: &Among<'_>,
        priority: usize,
        own: &[Host],
        every: &[Host],
    ) -> Option<Vec<Locality>> {
        let node = self.snapshot.node_locality.as_ref();
        let mut localities = locality::of_priority(among.assignment, priority, node);
        if let Some(subsets) = &among.balancing.subsets {
            let counts = localities.iter().map(|locality| {
                let count = |hosts| located(among.assignment, hosts, locality).len();
                (locality.weight, count(own), count(every))
            });
            let weights = subsets.weights(counts)?;
            for (locality, weight) in localities.iter_mut().zip(weights) {
                locality.weight = weight;
            }
        }
        Some(localities)
    }

    /// Writes an endpoint down.
    fn take(
        &mut self,
        (index, config, assignment): (usize, &ClusterConfig, &ClusterLoadAssignment),
        locality: usize,
        endpoint: usize,
    ) -> Picked {
        let group = assignment.endpoints.get(locality);
        let Some((group, message)) =
            group.and_then(|group| Some((group, group.lb_endpoints.get(endpoint)?)))
        else {
            return Picked::Nothing;
        };
        self.step(Step::Endpoint { locality, endpoint });
        let held = Held {
            cluster: index,
            locality,
            endpoint,
            generation: self.generation,
        };
        self.chooser.hold(held);
        self.answer.held = Some(held);
        let decision = self.decision();
        decision.endpoint = cluster::address(message);
        decision.priority = Some(group.priority);
        decision.locality = cluster::locality_name(assignment, locality);
        Picked::Endpoint {
            hostname: cluster::hostname(config, message),
        }
    }

    fn at_original_destination(&mut self, destination: Option<SocketAddr>) -> Picked {
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

/// Of the endpoints by priority those in a pool.
fn in_pool(
    subsets: &Subsets,
    pool: &Pool,
    assignment: &ClusterLoadAssignment,
    all: &[Vec<Host>],
) -> Vec<Vec<Host>> {
    let is_in = |host: &&Host| {
        let group = assignment.endpoints.get(host.locality);
        let endpoint = group.and_then(|group| group.lb_endpoints.get(host.endpoint));
        endpoint.is_some_and(|endpoint| subsets.contains(pool, endpoint))
    };
    let priorities = all.iter();
    priorities
        .map(|hosts| hosts.iter().filter(is_in).cloned().collect())
        .collect()
}

/// Those of `hosts` that are in the locality.
fn located(assignment: &ClusterLoadAssignment, hosts: &[Host], locality: &Locality) -> Vec<Host> {
    let is_there = |host: &&Host| {
        let group = assignment.endpoints.get(host.locality);
        group.is_some_and(|group| locality::name(group) == locality.name)
    };
    hosts.iter().filter(is_there).cloned().collect()
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
