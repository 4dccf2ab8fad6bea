//! What decided requests reach.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;

use twinmesh_engine::{Answer, Chain, Outcome, Request, Step};
use twinmesh_spec::reading::{Matchers, Seen};
use twinmesh_xds::Snapshot;

use super::catalogue::{always_accepts, criteria, match_undecided, parts};
use super::name::route;
use super::refusals::Refusals;
use super::{Goal, RouteAt};
use crate::failure::Failure;
use crate::words;

/// Collects what requests reach.
#[derive(Debug)]
pub struct Observer<'a> {
    snapshot: &'a Snapshot,
    matchers: &'a Matchers,
    reached: BTreeSet<Goal>,
    refusals: HashMap<(usize, usize), Refusals>,
    connections: HashSet<Connection>,
}

/// All by which filter chains tell connections apart.
type Connection = (
    usize,
    Option<SocketAddr>,
    Option<SocketAddr>,
    Option<String>,
    Option<String>,
    bool,
    String,
);

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

/// What the steps of the trace reach, one by one.
pub(crate) fn passed(snapshot: &Snapshot, request: &Request, answer: &Answer) -> Vec<Goal> {
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
            } => goals.extend(domain_goal(snapshot, request, way, *virtual_host, *domain)),
            Step::Route(_) => {
                if let Some(at) = way.route() {
                    goals.push(Goal::Route(at));
                    let config = route(snapshot, at).and_then(|route| route.r#match.as_ref());
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

fn domain_goal(
    snapshot: &Snapshot,
    request: &Request,
    way: Way,
    virtual_host: usize,
    kind: twinmesh_engine::Domain,
) -> Option<Goal> {
    let configuration = way.configuration?;
    let found = snapshot.route_configurations.get(configuration)?;
    let host = found.config.virtual_hosts.get(virtual_host)?;
    let authority = way
        .seen(snapshot, request)
        .and_then(|seen| seen.values(":authority").into_iter().next());
    let (domain, _) = words::domain(host, kind, &authority?)?;
    Some(Goal::Domain {
        configuration,
        virtual_host,
        domain,
    })
}

impl<'a> Observer<'a> {
    /// Nothing is reached yet.
    pub fn new(snapshot: &'a Snapshot, matchers: &'a Matchers) -> Self {
        Self {
            snapshot,
            matchers,
            reached: BTreeSet::new(),
            refusals: HashMap::new(),
            connections: HashSet::new(),
        }
    }

    /// The matchers of a snapshot.
    ///
    /// # Errors
    /// A pattern cannot be compiled.
    pub fn matchers(snapshot: &Snapshot) -> Result<Matchers, Failure> {
        Matchers::of(snapshot).map_err(Failure)
    }

    /// Adds what a request reaches, by the trace of its decision.
    pub fn observe(&mut self, request: &Request, answer: &Answer) {
        self.reached.extend(passed(self.snapshot, request, answer));
        let way = Way::of(answer);
        self.criteria(request, way);
        self.refused(request, answer, way);
    }

    fn criteria(&mut self, request: &Request, way: Way) {
        let Some(listener) = way.listener else {
            return;
        };
        let Some(resource) = self.snapshot.listeners.get(listener) else {
            return;
        };
        let connection = (
            listener,
            request.source,
            request.destination,
            request.sni.clone(),
            request.alpn.clone(),
            request.is_tls(),
            request.method.clone(),
        );
        if !self.connections.insert(connection) {
            return;
        }
        for out in twinmesh_spec::not_taken(resource, request) {
            let chain = resource.filter_chains.get(out.filter_chain);
            let asked = chain.and_then(|chain| chain.config.filter_chain_match.as_ref());
            // One that asks for nothing is out because another asks for what the connection has.
            if asked.is_some_and(|asked| criteria(asked).contains(&out.criterion)) {
                self.reached.insert(Goal::Criterion {
                    listener,
                    chain: out.filter_chain,
                    criterion: out.criterion,
                });
            }
        }
    }

    fn refused(&mut self, request: &Request, answer: &Answer, way: Way) {
        let (Some(configuration), Some(virtual_host)) = (way.configuration, way.virtual_host)
        else {
            return;
        };
        let Some(found) = self.snapshot.route_configurations.get(configuration) else {
            return;
        };
        let Some(host) = found.config.virtual_hosts.get(virtual_host) else {
            return;
        };
        let end = match way.route {
            Some(route) => route,
            None if answer.decision.outcome == Outcome::NoRoute => host.routes.len(),
            None => return,
        };
        let Some(seen) = way.seen(self.snapshot, request) else {
            return;
        };
        let marks = found.virtual_hosts.get(virtual_host);
        let marks = marks.map_or(&[][..], |marks| marks.routes.as_slice());
        let refusals = self
            .refusals
            .entry((configuration, virtual_host))
            .or_insert_with(|| Refusals::of(host, marks));
        let reached = &mut self.reached;
        if host.matcher.is_some() {
            let looked_at = self.matchers.looked_at(host, &seen);
            let routes = host.routes.iter().enumerate();
            for (route, config) in routes.take(end.min(looked_at.end)).skip(looked_at.start) {
                let mark = marks.get(route).and_then(Option::as_ref);
                if match_undecided(config, mark).is_some() {
                    continue;
                }
                let asked = config.r#match.as_ref();
                let refusing = asked.map(|it| self.matchers.refusing(it, &seen, 2));
                // Only what there is to reach: a route that is never taken has no sides.
                if let Some([only]) = refusing.as_deref()
                    && asked.is_some_and(|it| parts(it).contains(only))
                    && !always_accepts(asked, *only)
                {
                    let at = RouteAt {
                        configuration,
                        virtual_host,
                        route,
                    };
                    reached.insert(Goal::Refuses(at, *only));
                }
            }
            return;
        }
        refusals.take(host, self.matchers, &seen, end, &mut |route, part| {
            let at = RouteAt {
                configuration,
                virtual_host,
                route,
            };
            reached.insert(Goal::Refuses(at, part));
        });
    }

    /// All that was reached.
    pub fn reached(&self) -> &BTreeSet<Goal> {
        &self.reached
    }
}
