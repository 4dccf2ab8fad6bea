//! What the steps of a decision's trace reach, one by one.

use std::collections::HashMap;

use twinmesh_engine::{Answer, Chain, Request, Step};
use twinmesh_spec::reading::Seen;
use twinmesh_xds::Snapshot;

use super::catalogue::parts;
use super::domains::Domains;
use super::name::route;
use super::{Goal, RouteAt};

/// Where a trace went, in indices into the snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) listener: Option<usize>,
    pub(crate) chain: Option<Chain>,
    pub(crate) configuration: Option<usize>,
    pub(crate) virtual_host: Option<usize>,
    pub(crate) route: Option<usize>,
}

impl Way {
    /// Of the trace.
    pub(crate) fn of(answer: &Answer) -> Self {
        let mut way = Self::default();
        for step in &answer.trace.steps {
            match step {
                Step::Listener(index) => way.listener = Some(*index),
                Step::FilterChain(chain) => way.chain = Some(*chain),
                Step::RouteConfiguration(index) => way.configuration = Some(*index),
                Step::VirtualHost { virtual_host, .. } => way.virtual_host = Some(*virtual_host),
                Step::Route(index) => way.route = Some(*index),
                _ => {}
            }
        }
        way
    }

    /// The route that took the request.
    pub(crate) fn route(&self) -> Option<RouteAt> {
        Some(RouteAt {
            configuration: self.configuration?,
            virtual_host: self.virtual_host?,
            route: self.route?,
        })
    }

    /// As the routes of this way see the request.
    pub(crate) fn seen(&self, snapshot: &Snapshot, request: &Request) -> Option<Seen> {
        Seen::new(snapshot, request, self.listener.zip(self.chain))
    }
}

/// Reads from traces what requests reach.
#[derive(Debug)]
pub(crate) struct Passing<'a> {
    snapshot: &'a Snapshot,
    /// By route configuration and virtual host.
    domains: HashMap<(usize, usize), Domains>,
}

impl<'a> Passing<'a> {
    /// For requests that the snapshot decides.
    pub(crate) fn new(snapshot: &'a Snapshot) -> Self {
        Self {
            snapshot,
            domains: HashMap::new(),
        }
    }

    /// What the steps of the trace reach, one by one.
    pub(crate) fn goals(&mut self, request: &Request, answer: &Answer) -> Vec<Goal> {
        let mut goals = Vec::new();
        let way = Way::of(answer);
        let mut last_cluster = None;
        for step in &answer.trace.steps {
            match step {
                Step::Listener(index) => goals.push(Goal::Listener(*index)),
                Step::FilterChain(chain) => {
                    if let Some(listener) = way.listener {
                        let chain = match chain {
                            Chain::Index(index) => Some(*index),
                            Chain::Default => None,
                        };
                        goals.push(Goal::FilterChain { listener, chain });
                    }
                }
                Step::VirtualHost {
                    virtual_host,
                    domain,
                } => goals.extend(self.domain(request, way, *virtual_host, *domain)),
                Step::Route(_) => {
                    if let Some(at) = way.route() {
                        goals.push(Goal::Route(at));
                        let config = route(self.snapshot, at);
                        let config = config.and_then(|route| route.r#match.as_ref());
                        let parts = config.into_iter().flat_map(parts);
                        goals.extend(parts.map(|part| Goal::Accepts(at, part)));
                    }
                }
                Step::WeightedCluster { entry, .. } => {
                    goals.extend(way.route().map(|at| Goal::Weight(at, *entry)));
                }
                Step::Cluster(index) => {
                    last_cluster = Some(*index);
                    goals.push(Goal::Cluster(*index));
                }
                Step::Endpoint { locality, endpoint } => {
                    goals.extend(last_cluster.map(|cluster| Goal::Endpoint {
                        cluster,
                        locality: *locality,
                        endpoint: *endpoint,
                    }));
                }
                _ => {}
            }
        }
        goals
    }

    fn domain(
        &mut self,
        request: &Request,
        way: Way,
        virtual_host: usize,
        kind: twinmesh_engine::Domain,
    ) -> Option<Goal> {
        let configuration = way.configuration?;
        let found = self.snapshot.route_configurations.get(configuration)?;
        let host = found.config.virtual_hosts.get(virtual_host)?;
        let seen = way.seen(self.snapshot, request)?;
        let authority = seen.values(":authority").into_iter().next()?;
        let domains = self
            .domains
            .entry((configuration, virtual_host))
            .or_insert_with(|| Domains::of(host));
        Some(Goal::Domain {
            configuration,
            virtual_host,
            domain: domains.taking(kind, &authority)?,
        })
    }
}
