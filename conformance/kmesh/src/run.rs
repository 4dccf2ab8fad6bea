//! One request through Kmesh's rules, and what makes it go elsewhere than through Envoy's.

use envoy_types::pb::envoy::config::route::v3::{
    Route, VirtualHost, route_action::ClusterSpecifier,
};
use twinmesh_engine::{Answer, Chain, Decision, Domain, Failed, Outcome, Request, Step, Trace};
use twinmesh_xds::{Balancer, FilterChain, Snapshot};

use crate::cluster::{Clusters, Endpoint};
use crate::head::Head;
use crate::quirk::Quirk;
use crate::quirks::{domains, ignored_fields, limits, round_robin, weights};
use crate::route;

/// One request on its way.
pub(crate) struct Run<'a> {
    snapshot: &'a Snapshot,
    clusters: &'a mut Clusters,
    request: &'a Request,
    random: u64,
    envoy: &'a Answer,
    head: Head,
    decision: Decision,
    trace: Trace,
    quirks: Vec<Quirk>,
}

/// What became of it.
pub(crate) struct Done {
    pub(crate) decision: Decision,
    pub(crate) trace: Trace,
    /// Where Kmesh and Envoy parted on the way.
    pub(crate) quirks: Vec<Quirk>,
}

/// Decides a request of which it is known what Envoy does, and that Envoy routes.
pub(crate) fn decide(
    snapshot: &Snapshot,
    clusters: &mut Clusters,
    request: &Request,
    random: u64,
    envoy: &Answer,
) -> Done {
    let of_envoy = &envoy.decision;
    let mut run = Run {
        snapshot,
        clusters,
        request,
        random,
        envoy,
        head: Head::of(request),
        decision: Decision {
            id: request.id.clone(),
            listener: of_envoy.listener.clone(),
            filter_chain: of_envoy.filter_chain.clone(),
            route_config: of_envoy.route_config.clone(),
            ..Decision::default()
        },
        trace: Trace::default(),
        quirks: Vec::new(),
    };
    run.enter();
    run.finish()
}

impl<'a> Run<'a> {
    fn blame(&mut self, quirk: Quirk) {
        if !self.quirks.contains(&quirk) {
            self.quirks.push(quirk);
        }
    }

    /// Up to the route configuration both go one way.
    fn enter(&mut self) {
        let mut configuration = None;
        let mut listener = None;
        for step in &self.envoy.trace.steps {
            match step {
                Step::Listener(index) => {
                    self.trace.steps.push(step.clone());
                    listener = self.snapshot.listeners.get(*index);
                }
                Step::FilterChain(chain) => {
                    self.trace.steps.push(step.clone());
                    let chain = listener.and_then(|listener| match chain {
                        Chain::Index(index) => listener.filter_chains.get(*index),
                        Chain::Default => listener.default_filter_chain.as_ref(),
                    });
                    let has_filters = |chain: &FilterChain| {
                        !(chain.http_filters.is_empty() && chain.network_rbac.is_empty())
                    };
                    if chain.is_some_and(has_filters) {
                        self.trace.steps.push(Step::Unsupported);
                        self.decision.outcome = Outcome::Unsupported;
                        let why = "what Kmesh makes of the chain's filters is not decided";
                        self.decision.reason = Some(why.to_owned());
                        return;
                    }
                }
                Step::RouteConfiguration(index) => {
                    self.trace.steps.push(step.clone());
                    configuration = Some(*index);
                }
                _ => break,
            }
        }
        let snapshot = self.snapshot;
        let found = configuration.and_then(|index| snapshot.route_configurations.get(index));
        match found {
            Some(found) => self.at_hosts(&found.config.virtual_hosts),
            // A tcp_proxy: its cluster is Envoy's, its endpoint is not.
            None => match &self.envoy.decision.cluster {
                Some(cluster) => self.at_cluster(cluster),
                None => self.decision.outcome = self.envoy.decision.outcome,
            },
        }
    }

    /// The virtual host that Envoy took.
    fn envoys_host(&self) -> Option<usize> {
        self.envoy.trace.steps.iter().find_map(|step| match step {
            Step::VirtualHost { virtual_host, .. } => Some(*virtual_host),
            _ => None,
        })
    }

    fn envoys_route(&self) -> Option<usize> {
        self.envoy.trace.steps.iter().find_map(|step| match step {
            Step::Route(index) => Some(*index),
            _ => None,
        })
    }

    /// Why Envoy did not take a route; `None` where it took it, or did not come so far.
    fn envoys_failure(&self, route: usize) -> Option<Failed> {
        self.envoy.trace.steps.iter().find_map(|step| match step {
            Step::RouteNotMatched { route: at, failed } if *at == route => Some(*failed),
            _ => None,
        })
    }

    fn at_hosts(&mut self, hosts: &'a [VirtualHost]) {
        let selected: Option<(usize, Domain)> = domains::select(hosts, &self.head);
        let envoys = self.envoys_host();
        let is_same = selected.map(|(index, _)| index) == envoys;
        if !is_same {
            let kept_out = envoys.is_some_and(|index| limits::keeps_out(hosts, index));
            self.blame(if kept_out {
                Quirk::Limits
            } else {
                Quirk::Domains
            });
        }
        let Some((index, domain)) = selected else {
            self.decision.outcome = Outcome::NoVirtualHost;
            return;
        };
        self.trace.steps.push(Step::VirtualHost {
            virtual_host: index,
            domain,
        });
        let Some(host) = hosts.get(index) else { return };
        self.decision.virtual_host = (!host.name.is_empty()).then(|| host.name.clone());
        self.at_routes(host, is_same);
    }

    fn at_routes(&mut self, host: &'a VirtualHost, is_envoys_host: bool) {
        // It knows no matcher trees.
        let routes = match host.matcher {
            Some(_) => &[][..],
            None => host.routes.as_slice(),
        };
        let tried = route::select(routes, &self.head);
        for (route, failed) in &tried.failed {
            self.trace.steps.push(Step::RouteNotMatched {
                route: *route,
                failed: *failed,
            });
        }
        let envoys = self.envoys_route();
        if is_envoys_host && tried.taken != envoys {
            let quirk = self.blame_route(host, &tried, envoys);
            self.blame(quirk);
        }
        let taken = tried
            .taken
            .and_then(|index| Some((index, host.routes.get(index)?)));
        let Some((index, route)) = taken else {
            self.decision.outcome = Outcome::NoRoute;
            return;
        };
        self.trace.steps.push(Step::Route(index));
        self.decision.route = Some(if route.name.is_empty() {
            format!("#{index}")
        } else {
            route.name.clone()
        });
        self.at_action(route);
    }

    fn blame_route(
        &self,
        host: &VirtualHost,
        tried: &route::Tried,
        envoys: Option<usize>,
    ) -> Quirk {
        // What Envoy answers before it looks at routes: the host requires TLS.
        if envoys.is_none() && self.envoy.decision.outcome == Outcome::Redirect {
            return Quirk::IgnoredFields;
        }
        // Kmesh takes what Envoy does not.
        if let Some(taken) = tried.taken
            && let Some(failed) = self.envoys_failure(taken)
            && let Some(route) = host.routes.get(taken)
        {
            return route::blame(route, failed, &self.head);
        }
        // Kmesh does not take what Envoy does.
        let missed = envoys.and_then(|envoys| {
            let mut failed = tried.failed.iter();
            failed.find_map(|(route, failed)| (*route == envoys).then_some((envoys, *failed)))
        });
        if let Some((index, failed)) = missed
            && let Some(route) = host.routes.get(index)
        {
            return route::blame(route, failed, &self.head);
        }
        Quirk::RouteOrder
    }

    fn at_action(&mut self, route: &'a Route) {
        let specifier = ignored_fields::known_action(route)
            .and_then(|action| action.cluster_specifier.as_ref());
        let name = match specifier {
            Some(ClusterSpecifier::Cluster(name)) => Some(name.as_str()),
            Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                let entries = weighted.clusters.iter();
                let of_entries =
                    entries.map(|entry| entry.weight.as_ref().map_or(0, |it| it.value));
                let choice = weights::choose(of_entries, self.random);
                let entry = choice.and_then(|choice| weighted.clusters.get(choice.entry));
                let name = entry.map(|entry| entry.name.as_str());
                if name != self.envoy.decision.cluster.as_deref() {
                    let by_header = name == Some("");
                    self.blame(if by_header {
                        Quirk::IgnoredFields
                    } else {
                        Quirk::Weights
                    });
                }
                if let Some(choice) = choice {
                    self.trace.steps.push(Step::WeightedCluster {
                        entry: choice.entry,
                        value: choice.value,
                        from: choice.from,
                        to: choice.to,
                    });
                }
                name.filter(|name| !name.is_empty())
            }
            _ => {
                self.blame(Quirk::IgnoredFields);
                None
            }
        };
        match name {
            Some(name) => self.at_cluster(name),
            None => self.decision.outcome = Outcome::NoCluster,
        }
    }

    fn at_cluster(&mut self, name: &str) {
        self.decision.cluster = Some(name.to_owned());
        let clusters = &self.snapshot.clusters;
        let place = clusters.iter().position(|cluster| cluster.name == name);
        let Some(place) = place.filter(|_| self.clusters.has(name)) else {
            self.decision.outcome = Outcome::NoCluster;
            return;
        };
        self.trace.steps.push(Step::Cluster(place));
        let cluster = clusters.get(place);
        if cluster.is_some_and(|cluster| cluster.balancer == Balancer::OriginalDestination) {
            self.to(self.request.destination.map(|destination| Endpoint {
                address: destination.to_string(),
                priority: 0,
                locality: None,
                place: None,
            }));
            return;
        }
        let picked = self.clusters.pick(name);
        let envoy = &self.envoy.decision;
        let is_same_cluster = envoy.cluster.as_deref() == Some(name);
        let is_same = picked.as_ref().map(|endpoint| &endpoint.address) == envoy.endpoint.as_ref();
        if is_same_cluster && !is_same {
            let is_stale = picked.as_ref().is_some_and(|picked| picked.place.is_none());
            let is_envoys = cluster.is_none_or(round_robin::is_envoys);
            let count = cluster.and_then(|cluster| cluster.load_assignment.as_ref());
            let count = count.map_or(0, |assignment| {
                let localities = assignment.endpoints.iter();
                localities.map(|locality| locality.lb_endpoints.len()).sum()
            });
            self.blame(match (is_stale, is_envoys) {
                (true, _) => Quirk::StaleEndpoints,
                (false, false) => Quirk::RoundRobin,
                (false, true) if count > limits::ENDPOINTS => Quirk::Limits,
                (false, true) => Quirk::EarlierRequests,
            });
        }
        if let Some((locality, endpoint)) = picked.as_ref().and_then(|picked| picked.place) {
            self.trace.steps.push(Step::Endpoint { locality, endpoint });
        }
        self.to(picked);
    }

    fn to(&mut self, endpoint: Option<Endpoint>) {
        let Some(endpoint) = endpoint else {
            self.decision.outcome = Outcome::NoHealthyUpstream;
            return;
        };
        self.decision.outcome = Outcome::Forward;
        self.decision.endpoint = Some(endpoint.address);
        self.decision.priority = Some(endpoint.priority);
        self.decision.locality = endpoint.locality;
    }

    /// Kmesh answers nothing itself: what a client is told is not compared where both refuse.
    fn finish(mut self) -> Done {
        let envoy = &self.envoy.decision;
        if self.decision.outcome == envoy.outcome && envoy.outcome != Outcome::Forward {
            self.decision.status = envoy.status;
        }
        let rewrites = envoy.path.is_some() || envoy.authority.is_some();
        if rewrites && self.decision.outcome == Outcome::Forward {
            self.blame(Quirk::IgnoredFields);
        }
        Done {
            decision: self.decision,
            trace: self.trace,
            quirks: self.quirks,
        }
    }
}
