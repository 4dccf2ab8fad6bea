//! What the steps of a decision's trace reach, one by one.

use std::collections::{BTreeSet, HashMap};

use envoy_types::pb::envoy::config::route::v3::VirtualHost;
use twinmesh_engine::{Answer, Chain, Did, Outcome, Request, Step};
use twinmesh_spec::reading::{At, Matchers, Seen};
use twinmesh_xds::Snapshot;

use super::catalogue::parts;
use super::domains::Domains;
use super::goal::{Filter, PolicyOf};
use super::name::route;
use super::policy::{Judging, judging};
use super::{Goal, RouteAt};

/// Where a trace went, in indices into the snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) listener: Option<usize>,
    pub(crate) chain: Option<Chain>,
    pub(crate) configuration: Option<usize>,
    pub(crate) virtual_host: Option<usize>,
    pub(crate) route: Option<usize>,
    /// The entry of the route's weighted clusters.
    pub(crate) entry: Option<usize>,
    /// The HTTP filter that answered: index into `HttpConnectionManager.http_filters`.
    pub(crate) answered: Option<usize>,
    /// The network filter that closed the connection: index into `FilterChain.filters`.
    pub(crate) closed: Option<usize>,
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
                Step::WeightedCluster { entry, .. } => way.entry = Some(*entry),
                Step::Filter {
                    filter,
                    did: Did::Answer(_),
                } => way.answered = Some(*filter),
                Step::NetworkFilter {
                    filter,
                    closes: true,
                    ..
                } => way.closed = Some(*filter),
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

    /// Whether nothing answered the request before the action of its route.
    pub(crate) fn gets_to_action(&self, answer: &Answer) -> bool {
        // What asks for an upgrade is refused behind the route as well.
        let mut steps = answer.trace.steps.iter();
        self.answered.is_none() && !steps.any(|step| matches!(step, Step::BadRequest(_)))
    }

    /// The index in the virtual host of the route that took the request; the number of routes where none
    /// does. `None`: it is not known, or the request got to no route.
    pub(crate) fn end(&self, host: &VirtualHost, answer: &Answer) -> Option<usize> {
        let is_answered = self.answered.is_some() && self.virtual_host.is_some();
        let passed_all = match answer.decision.outcome {
            Outcome::NoRoute => true,
            // A request that is to come by TLS meets the filters without having met the routes.
            _ => is_answered && host.require_tls == 0,
        };
        self.route
            .or_else(|| passed_all.then_some(host.routes.len()))
    }

    /// A filter of this way's filter chain.
    pub(crate) fn filter(&self, filter: usize) -> Option<Filter> {
        let chain = match self.chain? {
            Chain::Index(index) => Some(index),
            Chain::Default => None,
        };
        let listener = self.listener?;
        Some(Filter {
            listener,
            chain,
            filter,
        })
    }

    /// As the routes of this way see the request.
    pub(crate) fn seen(&self, snapshot: &Snapshot, request: &Request) -> Option<Seen> {
        Seen::new(snapshot, request, self.listener.zip(self.chain))
    }
}

/// What a decided request reaches by itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Passed {
    /// The goals, but the sides of policies that do not match.
    pub(crate) goals: Vec<Goal>,
    /// The RBAC filters that were asked, and the policy of each that matches.
    pub(crate) judged: Vec<(PolicyOf, Option<usize>)>,
}

/// Reads from traces what requests reach.
#[derive(Debug)]
pub(crate) struct Passing<'a> {
    snapshot: &'a Snapshot,
    matchers: &'a Matchers,
    /// By route configuration and virtual host.
    domains: HashMap<(usize, usize), Domains>,
    /// The policies that have matched every request so far.
    open: HashMap<PolicyOf, BTreeSet<usize>>,
}

impl<'a> Passing<'a> {
    /// For requests that the snapshot decides.
    pub(crate) fn new(snapshot: &'a Snapshot, matchers: &'a Matchers) -> Self {
        Self {
            snapshot,
            matchers,
            domains: HashMap::new(),
            open: HashMap::new(),
        }
    }

    /// What the steps of the trace reach, one by one.
    pub(crate) fn passed(&mut self, request: &Request, answer: &Answer) -> Passed {
        let mut passed = Passed::default();
        let way = Way::of(answer);
        let seen = way.seen(self.snapshot, request);
        let goals = &mut passed.goals;
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
                } => goals.extend(self.domain(seen.as_ref(), way, *virtual_host, *domain)),
                Step::Route(_) => {
                    if let Some(at) = way.route() {
                        if way.gets_to_action(answer) {
                            goals.push(Goal::Route(at));
                        }
                        let config = route(self.snapshot, at);
                        let config = config.and_then(|route| route.r#match.as_ref());
                        let parts = config.into_iter().flat_map(parts);
                        goals.extend(parts.map(|part| Goal::Accepts(at, part)));
                    }
                }
                Step::WeightedCluster { entry, .. } if way.gets_to_action(answer) => {
                    goals.extend(way.route().map(|at| Goal::Weight(at, *entry)));
                }
                Step::Filter { filter, did } => {
                    if let Some(judged) = self.judged(request, seen.as_ref(), way, *filter) {
                        passed.judged.push(judged);
                    } else if matches!(did, Did::Answer(_)) {
                        goals.extend(way.filter(*filter).map(Goal::Answer));
                    }
                }
                Step::NetworkFilter { filter, policy, .. } => {
                    let of = way.filter(*filter).map(PolicyOf::Network);
                    passed.judged.extend(of.map(|of| (of, *policy)));
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
        for (of, policy) in &passed.judged {
            goals.extend(policy.map(|policy| Goal::Policy {
                of: *of,
                policy,
                matches: true,
            }));
        }
        passed
    }

    /// The sides of policies that do not match, each the first time.
    pub(crate) fn unmatched(&mut self, passed: &Passed) -> Vec<Goal> {
        let mut goals = Vec::new();
        for (of, matched) in &passed.judged {
            let Some(judging) = judging(self.snapshot, *of) else {
                continue;
            };
            let open = self
                .open
                .entry(*of)
                .or_insert_with(|| (0..judging.count()).collect());
            let found: Vec<usize> = match (judging, matched) {
                // What is behind the one that matches is not asked.
                (Judging::Rules(_), Some(matched)) => open.range(..matched).copied().collect(),
                _ => open.iter().copied().collect(),
            };
            for policy in found.into_iter().filter(|it| Some(*it) != *matched) {
                open.remove(&policy);
                goals.push(Goal::Policy {
                    of: *of,
                    policy,
                    matches: false,
                });
            }
        }
        goals
    }

    /// The policies by which an HTTP filter of RBAC goes, and the one that matches.
    fn judged(
        &self,
        request: &Request,
        seen: Option<&Seen>,
        way: Way,
        filter: usize,
    ) -> Option<(PolicyOf, Option<usize>)> {
        let at = way.listener.zip(way.chain)?;
        let route = way.route().map(|route| At {
            configuration: route.configuration,
            host: route.virtual_host,
            route: route.route,
            entry: way.entry,
        });
        let judged = self
            .matchers
            .judged(self.snapshot, (request, seen?), at, filter, route)?;
        let of = match (judged.level, route) {
            (Some(level), Some(route)) => {
                let found = self
                    .snapshot
                    .route_configurations
                    .get(route.configuration)?;
                let mut names = found.per_filters.get(&level)?.keys();
                PolicyOf::Level {
                    configuration: route.configuration,
                    level,
                    name: names.position(|name| *name == judged.name)?,
                }
            }
            _ => PolicyOf::Http(way.filter(filter)?),
        };
        Some((of, judged.place))
    }

    fn domain(
        &mut self,
        seen: Option<&Seen>,
        way: Way,
        virtual_host: usize,
        kind: twinmesh_engine::Domain,
    ) -> Option<Goal> {
        let configuration = way.configuration?;
        let found = self.snapshot.route_configurations.get(configuration)?;
        let host = found.config.virtual_hosts.get(virtual_host)?;
        let authority = seen?.values(":authority").into_iter().next()?;
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
