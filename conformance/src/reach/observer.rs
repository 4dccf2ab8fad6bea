//! What decided requests reach.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;

use twinmesh_engine::{Answer, Request};
use twinmesh_spec::reading::Matchers;
use twinmesh_xds::Snapshot;

use super::catalogue::{always_accepts, criteria, match_undecided, parts};
use super::passing::{Passing, Way};
use super::refusals::Refusals;
use super::{Filter, Goal, RouteAt};
use crate::failure::Failure;

/// Collects what requests reach.
#[derive(Debug)]
pub struct Observer<'a> {
    snapshot: &'a Snapshot,
    matchers: &'a Matchers,
    passing: Passing<'a>,
    reached: BTreeSet<Goal>,
    answered: BTreeMap<RouteAt, Filter>,
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

impl<'a> Observer<'a> {
    /// Nothing is reached yet.
    pub fn new(snapshot: &'a Snapshot, matchers: &'a Matchers) -> Self {
        Self {
            snapshot,
            matchers,
            passing: Passing::new(snapshot, matchers),
            reached: BTreeSet::new(),
            answered: BTreeMap::new(),
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
        let passed = self.passing.passed(request, answer);
        self.reached.extend(self.passing.unmatched(&passed));
        self.reached.extend(passed.goals);
        let way = Way::of(answer);
        let answered = way.answered.and_then(|filter| way.filter(filter));
        if let (Some(at), Some(filter)) = (way.route(), answered) {
            self.answered.entry(at).or_insert(filter);
        }
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
        let Some(end) = way.end(host, answer) else {
            return;
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

    /// Routes of which a request was answered by an HTTP filter before their action, and by which: of
    /// several the first.
    pub fn answered(&self) -> &BTreeMap<RouteAt, Filter> {
        &self.answered
    }

    /// All that was reached.
    pub fn reached(&self) -> &BTreeSet<Goal> {
        &self.reached
    }
}
