//! Requests for every goal of a snapshot, each verified by the engine.

use std::collections::{BTreeMap, HashSet};

use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteMatch, WeightedCluster, route::Action, route_action::ClusterSpecifier,
    weighted_cluster::RandomValueSpecifier,
};
use twinmesh_engine::{Answer, Outcome, Request, Step};
use twinmesh_xds::Snapshot;

use super::connections;
use super::draft::{Dimension, Draft};
use super::halves::halves;
use super::hosts;
use super::items::{Item, Items};
use super::policies::Bases;
use super::probes::{self, Probe};
use super::solve::{Place, Solver, Want};
use super::tree;
use crate::failure::Failure;
use crate::reach::{self, Catalogue, Goal, Part, RouteAt, Way, entries, match_undecided, parts};

/// A verified request.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) request: Request,
    /// What the engine saw it reach, by number, in order.
    pub(crate) items: Vec<usize>,
}

/// All candidates, and where there are none.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    pub(crate) all: Vec<Candidate>,
    /// What they reach.
    pub(crate) items: Items,
    /// Routes that no request took, each with those that took what was tried.
    pub(crate) blocked: BTreeMap<RouteAt, Vec<usize>>,
    /// Requests that reach a goal when so many of them come at once.
    pub(crate) bursts: Vec<(Request, usize, Goal)>,
    /// Boundaries that are verified.
    pub(crate) boundaries: usize,
    /// Boundaries that an earlier route, or another rule, keeps requests from.
    pub(crate) missed: usize,
}

impl Candidates {
    /// Adds those that were made apart.
    fn add(&mut self, others: Self) {
        let numbers = self.items.add(others.items, self.boundaries);
        let number = |item: &usize| numbers.get(*item).copied();
        self.all.extend(others.all.into_iter().map(|candidate| {
            let items = candidate.items.iter().filter_map(number);
            let mut items: Vec<usize> = items.collect();
            items.sort_unstable();
            Candidate {
                request: candidate.request,
                items,
            }
        }));
        self.blocked.extend(others.blocked);
        self.bursts.extend(others.bursts);
        self.boundaries += others.boundaries;
        self.missed += others.missed;
    }
}

/// Virtual hosts: route configuration and virtual host.
pub(crate) type Hosts = HashSet<(usize, usize)>;

/// Makes them.
pub(crate) struct Maker<'a, 's> {
    pub(crate) solver: &'s mut Solver<'a>,
    pub(crate) made: Candidates,
    /// What is reached of filters and routes.
    pub(crate) seen: HashSet<Goal>,
    pub(crate) bases: Bases,
    /// The first way into each route configuration.
    pub(super) ways: BTreeMap<usize, (Request, Way)>,
}

impl<'a, 's> Maker<'a, 's> {
    pub(crate) fn new(solver: &'s mut Solver<'a>) -> Self {
        Self {
            solver,
            made: Candidates::default(),
            seen: HashSet::new(),
            bases: Bases::default(),
            ways: BTreeMap::new(),
        }
    }

    /// All candidates of the snapshot; of virtual hosts those for these alone, where some are named.
    pub(crate) fn make(
        mut self,
        catalogue: &Catalogue,
        hosts: Option<&Hosts>,
    ) -> Result<Candidates, Failure> {
        let snapshot = self.solver.snapshot;
        for listener in 0..snapshot.listeners.len() {
            self.listener(listener)?;
        }
        for (configuration, resource) in snapshot.route_configurations.iter().enumerate() {
            let all = 0..resource.config.virtual_hosts.len();
            let is_wanted =
                |host: &usize| hosts.is_none_or(|it| it.contains(&(configuration, *host)));
            let wanted: Vec<usize> = all.filter(is_wanted).collect();
            let (own, others) = halves(&resource.config.virtual_hosts, &wanted);
            if others.is_empty() {
                self.configuration(configuration, own)?;
                continue;
            }
            let (matchers, ways) = (self.solver.matchers, self.ways.clone());
            let others = std::thread::scope(|scope| {
                let others = scope.spawn(|| {
                    let mut solver = Solver::new(snapshot, matchers)?;
                    let mut maker = Maker::new(&mut solver);
                    maker.ways = ways;
                    maker.configuration(configuration, others)?;
                    Ok::<_, Failure>((maker.made, maker.seen, maker.bases))
                });
                self.configuration(configuration, own)?;
                let panicked = |_| Failure("a thread that makes requests panicked".to_owned());
                others.join().map_err(panicked)?
            })?;
            let (made, seen, bases) = others;
            self.made.add(made);
            self.seen.extend(seen);
            self.bases.add(bases);
        }
        self.policies(catalogue)?;
        Ok(self.made)
    }

    pub(crate) fn add(&mut self, id: String, request: &Request, answer: &Answer, more: Vec<Item>) {
        let passed = self.solver.passed(request, answer);
        let unmatched = self.solver.unmatched(&passed);
        let goals = passed.goals.into_iter().chain(unmatched);
        // Which endpoint is picked depends on the requests before.
        let goals = goals
            .filter(|goal| !matches!(goal, Goal::Endpoint { .. }))
            .map(Item::Goal);
        let items: Vec<Item> = goals.chain(more).collect();
        self.seen.extend(items.iter().filter_map(|item| match item {
            Item::Goal(goal @ (Goal::Policy { .. } | Goal::Answer(_) | Goal::Route(_))) => {
                Some(*goal)
            }
            _ => None,
        }));
        let items = items.into_iter();
        let mut items: Vec<usize> = items.map(|item| self.made.items.number(item)).collect();
        items.sort_unstable();
        items.dedup();
        let mut request = request.clone();
        request.id = id;
        self.made.all.push(Candidate { request, items });
    }

    pub(super) fn boundary(&mut self) -> Item {
        self.made.boundaries += 1;
        Item::Boundary(self.made.boundaries)
    }

    /// Those for some virtual hosts of a route configuration.
    fn configuration(&mut self, configuration: usize, hosts: &[usize]) -> Result<(), Failure> {
        let snapshot = self.solver.snapshot;
        let Some(resource) = snapshot.route_configurations.get(configuration) else {
            return Ok(());
        };
        let (connection, way) = match self.ways.get(&configuration) {
            Some((connection, way)) => (connection.clone(), *way),
            None => {
                let mut request = connections::plain();
                request.route_config = Some(resource.name.clone());
                let answer = self.solver.decide(&request)?;
                let way = Way::of(&answer);
                if way.configuration != Some(configuration) {
                    return Ok(());
                }
                (request, way)
            }
        };
        let at = way.listener.zip(way.chain);
        for virtual_host in hosts.iter().copied() {
            let Some(config) = resource.config.virtual_hosts.get(virtual_host) else {
                continue;
            };
            let name = format!("{}/{}", resource.name, config.name);
            let mut authority = None;
            for (domain, text) in config.domains.iter().enumerate() {
                let goal = Goal::Domain {
                    configuration,
                    virtual_host,
                    domain,
                };
                for host in hosts::of(text) {
                    let mut request = connection.clone();
                    request.authority = Some(host.text.clone());
                    let answer = self.solver.decide(&request)?;
                    if Way::of(&answer).configuration != Some(configuration) {
                        self.made.missed += 1;
                        continue;
                    }
                    let is_in = self.solver.passed(&request, &answer).goals.contains(&goal);
                    if is_in && authority.is_none() {
                        authority = Some(request.clone());
                    }
                    let side = if is_in { "takes" } else { "refuses" };
                    let id = format!("{name} domains[{domain}] {side}, {}", host.label);
                    let more = vec![self.boundary()];
                    self.add(id, &request, &answer, more);
                }
            }
            let Some(connection) = authority else {
                continue;
            };
            let place = Place {
                configuration,
                virtual_host,
                config,
                connection: self.secured(connection, config.require_tls != 0)?,
                at,
            };
            self.routes(&place, &name)?;
        }
        Ok(())
    }

    /// The request as a virtual host takes it that requires TLS.
    fn secured(&mut self, request: Request, is_required: bool) -> Result<Request, Failure> {
        if !is_required {
            return Ok(request);
        }
        let mut over_tls = request.clone();
        over_tls.tls = Some(true);
        let mut forwarded = request.clone();
        let name = "x-forwarded-proto".to_owned();
        forwarded.headers.push((name, "https".to_owned()));
        let there = Way::of(&self.solver.decide(&request)?).virtual_host;
        for secured in [over_tls, forwarded] {
            let answer = self.solver.decide(&secured)?;
            let way = Way::of(&answer);
            let is_redirected = way.route.is_none() && answer.decision.outcome == Outcome::Redirect;
            if way.virtual_host == there && !is_redirected {
                return Ok(secured);
            }
        }
        Ok(request)
    }

    fn routes(&mut self, place: &Place<'_>, host: &str) -> Result<(), Failure> {
        let snapshot = self.solver.snapshot;
        let found = snapshot.route_configurations.get(place.configuration);
        let marks = found.and_then(|it| it.virtual_hosts.get(place.virtual_host));
        if marks.is_some_and(|marks| marks.unsupported.is_some()) {
            return Ok(());
        }
        for (index, route) in place.config.routes.iter().enumerate() {
            let mark = marks.and_then(|marks| marks.routes.get(index)?.as_ref());
            if match_undecided(route, mark).is_none()
                && let Some(route_match) = &route.r#match
            {
                let label = if route.name.is_empty() {
                    format!("routes[{index}]")
                } else {
                    format!("routes[{index}] {}", route.name)
                };
                let id = format!("{host} {label}");
                self.route(place, index, (route, route_match), &id)?;
            }
        }
        Ok(())
    }

    fn route(
        &mut self,
        place: &Place<'_>,
        index: usize,
        (route, route_match): (&Route, &RouteMatch),
        id: &str,
    ) -> Result<(), Failure> {
        let at = RouteAt {
            configuration: place.configuration,
            virtual_host: place.virtual_host,
            route: index,
        };
        let mut start = Draft::new(place.connection.clone());
        // Any path: the first that the route's matcher may take.
        if let Some(first) = probes::path(route_match).into_iter().next() {
            start.set(&Dimension::Path, &first.values);
        }
        let hints = place.config.matcher.as_ref().map(tree::hints);
        for (name, value) in hints.iter().filter_map(|hints| hints.get(index)).flatten() {
            if let Some(dimension) = Dimension::of_header(name) {
                start.set(&dimension, std::slice::from_ref(value));
            }
        }
        let base = self.solver.solve(place, index, Want::Take, &start, None)?;
        let draft = match base {
            Ok(solved) => {
                let name = id;
                let id = format!("{id}: takes");
                self.add(id.clone(), &solved.request, &solved.answer, Vec::new());
                let (mut draft, mut answer) = (solved.draft, solved.answer);
                if Way::of(&answer).answered.is_some()
                    && let Some(found) = self.let_on(&draft)?
                {
                    let id = format!("{id}, and filters let on");
                    self.add(id, &found.request, &found.answer, Vec::new());
                    (draft, answer) = (found.draft, found.answer);
                }
                self.bases.route(at, &draft);
                if is_weighted(&answer) {
                    self.weights(route, at, &draft, name)?;
                }
                draft
            }
            Err(blockers) => {
                self.made.blocked.insert(at, blockers);
                start
            }
        };
        for part in parts(route_match) {
            self.part(place, at, route_match, part, &draft, id)?;
        }
        Ok(())
    }

    /// Both sides of a matcher, at each of its boundaries.
    fn part(
        &mut self,
        place: &Place<'_>,
        at: RouteAt,
        route_match: &RouteMatch,
        part: Part,
        base: &Draft,
        id: &str,
    ) -> Result<(), Failure> {
        let (field, _) = crate::words::matcher(route_match, part);
        let mut refused = false;
        for (dimension, probe) in boundaries(route_match, part) {
            let mut draft = base.clone();
            draft.set(&dimension, &probe.values);
            let refusing = self.solver.refusing(place, at.route, &draft);
            let want = match refusing.as_deref() {
                Some([only]) if *only == part => Want::Refuse(part),
                // What else refuses may be set otherwise.
                Some(others) if others.contains(&part) => Want::Refuse(part),
                Some(_) => Want::Take,
                None => {
                    self.made.missed += 1;
                    continue;
                }
            };
            let solved = self
                .solver
                .solve(place, at.route, want, &draft, Some(&dimension))?;
            let Ok(solved) = solved else {
                self.made.missed += 1;
                continue;
            };
            let mut more = vec![self.boundary()];
            let side = match want {
                Want::Take => "accepts",
                Want::Refuse(part) => {
                    refused = true;
                    more.push(Item::Goal(Goal::Refuses(at, part)));
                    "refuses"
                }
            };
            let id = format!("{id}: {field} {side}, {}", probe.label);
            self.add(id, &solved.request, &solved.answer, more);
        }
        if !refused {
            let want = Want::Refuse(part);
            let solved = self.solver.solve(place, at.route, want, base, None)?;
            if let Ok(solved) = solved {
                let goal = Item::Goal(Goal::Refuses(at, part));
                let id = format!("{id}: {field} refuses");
                self.add(id, &solved.request, &solved.answer, vec![goal]);
            }
        }
        Ok(())
    }

    /// The first and the last number of each weighted cluster's interval.
    fn weights(
        &mut self,
        route: &Route,
        at: RouteAt,
        draft: &Draft,
        id: &str,
    ) -> Result<(), Failure> {
        let Some(weighted) = weighted(route) else {
            return Ok(());
        };
        let mut from = 0;
        for entry in entries(route) {
            let cluster = weighted.clusters.get(entry);
            let weight = cluster.and_then(|cluster| cluster.weight.as_ref());
            let to = from + weight.map_or(0, |weight| u64::from(weight.value));
            for (number, which) in [(from, "first"), (to - 1, "last")] {
                let mut draft = draft.clone();
                draft.random(number);
                if let Some(RandomValueSpecifier::HeaderName(name)) =
                    &weighted.random_value_specifier
                {
                    let name = Dimension::Header(name.to_ascii_lowercase());
                    draft.set(&name, &[number.to_string()]);
                }
                let request = draft.request();
                let answer = self.solver.decide(&request)?;
                self.bases.entry(at, entry, &draft);
                let is_there = Way::of(&answer).route() == Some(at)
                    && answer.trace.steps.iter().any(|step| {
                        matches!(step, Step::WeightedCluster { entry: chosen, value, .. }
                            if *chosen == entry && *value == number)
                    });
                if !is_there {
                    self.made.missed += 1;
                    continue;
                }
                let more = vec![self.boundary()];
                let id = format!(
                    "{id}: weighted_clusters.clusters[{entry}], the {which} number {number}"
                );
                self.add(id, &request, &answer, more);
            }
            from = to;
        }
        Ok(())
    }
}

/// Whether the decision came to a choice among weighted clusters.
fn is_weighted(answer: &Answer) -> bool {
    let mut steps = answer.trace.steps.iter();
    steps.any(|step| matches!(step, Step::WeightedCluster { .. }))
}

fn weighted(route: &Route) -> Option<&WeightedCluster> {
    let Some(Action::Route(action)) = &route.action else {
        return None;
    };
    match &action.cluster_specifier {
        Some(ClusterSpecifier::WeightedClusters(weighted)) => Some(weighted),
        _ => None,
    }
}

/// The probes of one matcher, each with the part of the request that it sets.
fn boundaries(route_match: &RouteMatch, part: Part) -> Vec<(Dimension, Probe)> {
    let (dimension, probes) = match part {
        Part::Path => (Some(Dimension::Path), probes::path(route_match)),
        Part::Header(index) => match route_match.headers.get(index) {
            Some(matcher) => (Dimension::of_header(&matcher.name), probes::header(matcher)),
            None => (None, Vec::new()),
        },
        Part::QueryParameter(index) => match route_match.query_parameters.get(index) {
            Some(matcher) => (
                Some(Dimension::QueryParameter(matcher.name.clone())),
                probes::query_parameter(matcher),
            ),
            None => (None, Vec::new()),
        },
        Part::Grpc => (
            Some(Dimension::Header("content-type".to_owned())),
            probes::grpc(),
        ),
        Part::Cookie(index) => match route_match.cookies.get(index) {
            Some(matcher) => (
                Some(Dimension::Cookie(matcher.name.clone())),
                probes::cookie(matcher),
            ),
            None => (None, Vec::new()),
        },
        Part::TlsContext => (Some(Dimension::ClientCertificate), probes::tls_context()),
        // Neither has sides that a part of the request chooses between.
        Part::RuntimeFraction | Part::DynamicMetadata(_) => (None, Vec::new()),
    };
    let Some(dimension) = dimension else {
        return Vec::new();
    };
    let fits = |probe: &Probe| {
        dimension != Dimension::Path || probe.values.iter().all(|path| path.starts_with('/'))
    };
    probes
        .into_iter()
        .filter(fits)
        .map(|probe| (dimension.clone(), probe))
        .collect()
}

/// The name under which a snapshot's route is told.
pub(crate) fn route_label(snapshot: &Snapshot, at: RouteAt) -> String {
    reach::name(snapshot, &Goal::Route(at)).to_string()
}
