//! Requests for both sides of RBAC policies, and requests that filters let on to the actions of routes.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;

use envoy_types::pb::envoy::config::rbac::v3::rbac::Action;
use twinmesh_engine::{Answer, Request};
use twinmesh_xds::Snapshot;
use twinmesh_xds::http_filter::{FilterKind, Level};

use super::candidates::Maker;
use super::connections;
use super::draft::Draft;
use super::setting::{Sampler, Settings};
use crate::failure::Failure;
use crate::reach::{
    self, Catalogue, Filter, Goal, Judging, Passed, PolicyOf, RouteAt, Way, judging,
};

/// How many filters of one chain are got past.
const MOST_FILTERS: usize = 8;
/// How many requests are varied for one side of a policy.
const MOST_BASES: usize = 8;
/// How many requests at once are tried for a filter that limits them.
const MOST_IN_A_BURST: usize = 64;
/// How many ways past one filter are tried.
const MOST_SETTINGS: usize = 200;
/// How many requests are tried at filters: beyond that no further ones are.
const MOST_TRIED: usize = 200_000;
/// How many random numbers are tried for a filter that answers a share of the requests.
const MOST_NUMBERS: u64 = 48;

/// Requests that others are made from.
#[derive(Debug, Default)]
pub(crate) struct Bases {
    /// One to each filter chain.
    chains: BTreeMap<(usize, Option<usize>), Draft>,
    /// One that each route takes.
    routes: BTreeMap<RouteAt, Draft>,
    /// One for each entry of weighted clusters.
    entries: BTreeMap<(RouteAt, usize), Draft>,
    /// Filters that answer whatever the random number is.
    hopeless: HashSet<Filter>,
    /// What got the last request past a filter of RBAC.
    last: Settings,
    /// How many requests were tried.
    tried: usize,
    /// What gets requests past a filter that answers a share of them.
    number: u64,
}

impl Bases {
    pub(crate) fn chain(&mut self, listener: usize, chain: Option<usize>, request: &Request) {
        let draft = Draft::new(request.clone());
        self.chains.insert((listener, chain), draft);
    }

    pub(crate) fn route(&mut self, at: RouteAt, draft: &Draft) {
        self.routes.insert(at, draft.clone());
    }

    pub(crate) fn entry(&mut self, at: RouteAt, entry: usize, draft: &Draft) {
        self.entries.insert((at, entry), draft.clone());
    }

    /// Adds those of routes that were made apart.
    pub(crate) fn add(&mut self, others: Self) {
        self.routes.extend(others.routes);
        self.entries.extend(others.entries);
        self.hopeless.extend(others.hopeless);
        self.tried += others.tried;
    }

    /// The request through each filter chain that leads to the route configuration.
    fn through(&self, snapshot: &Snapshot, configuration: usize, draft: &Draft) -> Vec<Draft> {
        let chains = self.chains.iter().filter(|((listener, chain), _)| {
            let at = Filter {
                listener: *listener,
                chain: *chain,
                filter: 0,
            };
            reach::table(snapshot, at) == Some(configuration)
        });
        let drafts = chains.map(|(_, first)| draft.through(first));
        drafts.take(MOST_BASES).collect()
    }

    /// Requests that may meet what stands there.
    fn meeting(&self, snapshot: &Snapshot, of: PolicyOf) -> Vec<Draft> {
        let within = |configuration: usize, host: Option<usize>, route: Option<usize>| {
            let fits = move |at: &RouteAt| {
                at.configuration == configuration
                    && host.is_none_or(|host| at.virtual_host == host)
                    && route.is_none_or(|route| at.route == route)
            };
            let routes = self.routes.iter().filter(move |(at, _)| fits(at));
            routes.map(|(_, draft)| draft.clone()).take(MOST_BASES)
        };
        match of {
            PolicyOf::Http(at) | PolicyOf::Network(at) => {
                let Some(first) = self.chains.get(&(at.listener, at.chain)) else {
                    return Vec::new();
                };
                let table = reach::table(snapshot, at);
                let mut routes: Vec<_> = self.routes.iter().collect();
                routes.retain(|(route, _)| table == Some(route.configuration));
                // What routes say to the filter themselves takes the place of its own policies.
                routes.sort_by_key(|(route, _)| reach::is_spoken_to(snapshot, at, **route));
                let routes = routes.into_iter().take(MOST_BASES);
                let routes = routes.map(|(_, draft)| draft.through(first));
                std::iter::once(first.clone()).chain(routes).collect()
            }
            PolicyOf::Level {
                configuration,
                level,
                ..
            } => {
                let bases: Vec<Draft> = match level {
                    Level::RouteConfiguration => within(configuration, None, None).collect(),
                    Level::VirtualHost(host) => within(configuration, Some(host), None).collect(),
                    Level::Route(host, route) => {
                        within(configuration, Some(host), Some(route)).collect()
                    }
                    Level::Entry(virtual_host, route, entry) => {
                        let at = RouteAt {
                            configuration,
                            virtual_host,
                            route,
                        };
                        let found = self.entries.get(&(at, entry));
                        found.cloned().into_iter().collect()
                    }
                };
                let bases = bases.iter();
                bases
                    .flat_map(|draft| self.through(snapshot, configuration, draft))
                    .collect()
            }
        }
    }
}

/// A request that filters let on, and the engine's word for it.
pub(crate) struct LetOn {
    pub(crate) draft: Draft,
    pub(crate) request: Request,
    pub(crate) answer: Answer,
}

impl Maker<'_, '_> {
    /// A request that differs from the draft as little as it takes for filters to let it on the same way;
    /// `None`: none was found.
    pub(crate) fn let_on(&mut self, draft: &Draft) -> Result<Option<LetOn>, Failure> {
        let (found, is_let_on) = self.furthest(draft)?;
        Ok(is_let_on.then_some(found))
    }

    /// The request that gets past most filters, and whether that is all.
    fn furthest(&mut self, draft: &Draft) -> Result<(LetOn, bool), Failure> {
        let mut draft = draft.clone();
        let mut request = draft.request();
        let mut answer = self.solver.decide(&request)?;
        let first = Way::of(&answer);
        for _ in 0..MOST_FILTERS {
            let way = Way::of(&answer);
            let Some(blocking) = way.closed.or(way.answered) else {
                break;
            };
            let passed = self.solver.passed(&request, &answer);
            let held = (first, way, blocking);
            let last = vec![self.bases.last.clone()];
            let mut next = self.vary(&draft, last, held)?;
            if next.is_none() && self.bases.tried < MOST_TRIED {
                let settings = self.past(&draft, &passed);
                next = self.vary(&draft, settings, held)?;
            }
            if next.is_none()
                && let Some(filter) = way.filter(blocking)
                && passed.goals.contains(&Goal::Answer(filter))
            {
                next = self.by_number(&draft, filter, held)?;
            }
            let Some(next) = next else {
                break;
            };
            (draft, request, answer) = (next.draft, next.request, next.answer);
        }
        let way = Way::of(&answer);
        let is_let_on = way.closed.is_none() && way.answered.is_none();
        let found = LetOn {
            draft,
            request,
            answer,
        };
        Ok((found, is_let_on))
    }

    /// The first of the settings with which the draft gets past the filter that held it.
    fn vary(
        &mut self,
        draft: &Draft,
        all: Vec<Settings>,
        held: (Way, Way, usize),
    ) -> Result<Option<LetOn>, Failure> {
        for settings in all.into_iter().take(MOST_SETTINGS) {
            let mut varied = draft.clone();
            let snapshot = self.solver.snapshot;
            settings.iter().for_each(|it| varied.apply(it, snapshot));
            let next = self.further(varied, held)?;
            if next.is_some() {
                self.bases.last = settings;
                return Ok(next);
            }
        }
        Ok(None)
    }

    /// The request, where it goes the same way and gets past the filter that held the other one.
    fn further(
        &mut self,
        draft: Draft,
        (first, held, filter): (Way, Way, usize),
    ) -> Result<Option<LetOn>, Failure> {
        self.bases.tried += 1;
        let request = draft.request();
        let answer = self.solver.decide(&request)?;
        let way = Way::of(&answer);
        let same_route = first.route.is_none() || way.route() == first.route();
        let same = way.listener == first.listener && way.chain == first.chain && same_route;
        let gets_further = match (way.closed, way.answered) {
            (None, None) => true,
            (Some(at), _) => held.closed.is_some() && at > filter,
            (None, Some(at)) => held.closed.is_some() || at > filter,
        };
        let is_there = same && gets_further;
        Ok(is_there.then_some(LetOn {
            draft,
            request,
            answer,
        }))
    }

    /// Past a filter that answers a share of the requests.
    fn by_number(
        &mut self,
        draft: &Draft,
        filter: Filter,
        held: (Way, Way, usize),
    ) -> Result<Option<LetOn>, Failure> {
        if self.bases.hopeless.contains(&filter) {
            return Ok(None);
        }
        for number in std::iter::once(self.bases.number).chain(1..MOST_NUMBERS) {
            let mut varied = draft.clone();
            varied.random(number);
            let next = self.further(varied, held)?;
            if next.is_some() {
                self.bases.number = number;
                return Ok(next);
            }
        }
        self.bases.hopeless.insert(filter);
        Ok(None)
    }

    /// What may get a request past the RBAC filter that held it.
    fn past(&self, draft: &Draft, passed: &Passed) -> Vec<Settings> {
        let snapshot = self.solver.snapshot;
        let Some((of, matched)) = passed.judged.last() else {
            return Vec::new();
        };
        let Some(judging) = judging(snapshot, *of) else {
            return Vec::new();
        };
        let sampler = Sampler {
            matchers: self.solver.matchers,
            path: draft.path(),
        };
        let policies = judging.policies();
        match judging {
            Judging::Matcher(matcher) => sampler.actions(matcher, |place| {
                policies.get(place).is_some_and(|action| action.allows)
            }),
            Judging::Rules(rules) if rules.action == Action::Deny as i32 => {
                let policy = matched.and_then(|place| policies.get(place)?.policy);
                policy.map_or_else(Vec::new, |policy| sampler.policy(policy, false))
            }
            Judging::Rules(_) => {
                let policies = policies.iter().filter_map(|found| found.policy);
                policies.flat_map(|it| sampler.policy(it, true)).collect()
            }
        }
    }

    /// Requests for the sides of policies, and for answers of filters, that none reaches so far.
    pub(crate) fn policies(&mut self, catalogue: &Catalogue) -> Result<(), Failure> {
        let snapshot = self.solver.snapshot;
        for goal in &catalogue.goals {
            if self.seen.contains(goal) || catalogue.undecided.contains_key(goal) {
                continue;
            }
            let of = match goal {
                Goal::Policy { of, .. } => *of,
                Goal::Answer(at) => PolicyOf::Http(*at),
                Goal::Route(at) => {
                    self.elsewhere(*at)?;
                    continue;
                }
                _ => continue,
            };
            for base in self.bases.meeting(snapshot, of) {
                if self.bases.tried >= MOST_TRIED || self.side(goal, &base)? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// A request that gets to the action of a route through another filter chain than all so far.
    fn elsewhere(&mut self, at: RouteAt) -> Result<(), Failure> {
        let snapshot = self.solver.snapshot;
        let Some(base) = self.bases.routes.get(&at).cloned() else {
            return Ok(());
        };
        for draft in self.bases.through(snapshot, at.configuration, &base) {
            if draft == base || self.bases.tried >= MOST_TRIED {
                continue;
            }
            let Some(found) = self.let_on(&draft)? else {
                continue;
            };
            let passed = self.solver.passed(&found.request, &found.answer);
            if passed.goals.contains(&Goal::Route(at)) {
                let id = reach::name(snapshot, &Goal::Route(at));
                let id = format!("{id}: takes, through another filter chain");
                self.add(id, &found.request, &found.answer, Vec::new());
                break;
            }
        }
        Ok(())
    }

    /// Whether so many equal requests at one time that a token bucket is empty reach the goal.
    fn burst(&mut self, goal: &Goal, base: &Draft) -> Result<bool, Failure> {
        let request = base.request();
        let mut answer = self.solver.decide(&request)?;
        for count in 1..=MOST_IN_A_BURST {
            if self.solver.passed(&request, &answer).goals.contains(goal) {
                let name = reach::name(self.solver.snapshot, goal).to_string();
                let request = Request {
                    id: name,
                    ..request
                };
                self.made.bursts.push((request, count, *goal));
                return Ok(true);
            }
            answer = self.solver.decide_at_once(&request)?;
        }
        Ok(false)
    }

    /// Whether a request that is made from the base reaches the goal.
    fn side(&mut self, goal: &Goal, base: &Draft) -> Result<bool, Failure> {
        let snapshot = self.solver.snapshot;
        let Goal::Policy {
            of,
            policy,
            matches,
        } = *goal
        else {
            // One of those before may answer it.
            let base = &self.furthest(base)?.0.draft;
            if let Goal::Answer(at) = goal
                && limits(snapshot, *at)
            {
                return self.burst(goal, base);
            }
            for number in 0..MOST_NUMBERS {
                let mut varied = base.clone();
                varied.random(number);
                if self.reaches(goal, &varied)? {
                    return Ok(true);
                }
            }
            return Ok(false);
        };
        // What a filter before answers does not get there.
        let base = self
            .let_on(base)?
            .map_or_else(|| base.clone(), |it| it.draft);
        let path = base.path().to_owned();
        let sampler = Sampler {
            matchers: self.solver.matchers,
            path: &path,
        };
        let Some(judging) = judging(snapshot, of) else {
            return Ok(false);
        };
        let mut first = Vec::new();
        let ways = match judging {
            Judging::Matcher(matcher) => sampler.actions(matcher, |it| (it == policy) == matches),
            Judging::Rules(_) => {
                let policies = judging.policies();
                let asked = policies.iter().filter_map(|it| it.policy);
                let before = asked.clone().take(policy);
                let mut not = before.map(|it| sampler.policy(it, false).into_iter());
                // As far as one way each keeps the policies before from matching.
                first = not
                    .by_ref()
                    .filter_map(|mut ways| ways.next())
                    .flatten()
                    .collect();
                let found = asked.clone().nth(policy);
                found.map_or_else(Vec::new, |it| sampler.policy(it, matches))
            }
        };
        for ways in std::iter::once(Settings::new()).chain(ways) {
            for before in [&Settings::new(), &first] {
                let mut varied = base.clone();
                let settings = before.iter().chain(&ways);
                settings.for_each(|it| varied.apply(it, snapshot));
                if self.reaches(goal, &varied)? {
                    return Ok(true);
                }
                if first.is_empty() {
                    break;
                }
            }
        }
        Ok(false)
    }

    /// Whether the draft reaches the goal; if so it is a candidate.
    fn reaches(&mut self, goal: &Goal, draft: &Draft) -> Result<bool, Failure> {
        self.bases.tried += 1;
        let request = draft.request();
        let answer = self.solver.decide(&request)?;
        let passed = self.solver.passed(&request, &answer);
        let is_there = match *goal {
            Goal::Policy {
                of,
                policy,
                matches: false,
            } => passed.judged.iter().any(|(at, matched)| {
                let is_asked = match judging(self.solver.snapshot, of) {
                    Some(Judging::Rules(_)) => matched.is_none_or(|matched| policy < matched),
                    _ => *matched != Some(policy),
                };
                *at == of && is_asked
            }),
            _ => passed.goals.contains(goal),
        };
        if is_there {
            let name = reach::name(self.solver.snapshot, goal).to_string();
            self.add(
                name,
                &request,
                &answer,
                vec![super::items::Item::Goal(*goal)],
            );
        }
        Ok(is_there)
    }
}

/// Whether the HTTP filter has token buckets.
fn limits(snapshot: &Snapshot, at: Filter) -> bool {
    let filters = reach::filter_chain(snapshot, at).map_or(&[][..], |chain| &chain.http_filters);
    let mut filters = filters.iter();
    filters.any(|it| it.index == at.filter && matches!(it.config, FilterKind::LocalRateLimit(_)))
}

/// Where connections to the listener go that say nothing else.
pub(crate) fn bound(snapshot: &Snapshot, request: &Request) -> SocketAddr {
    let mut listeners = snapshot.listeners.iter();
    let named = listeners.find(|it| request.listener.as_deref() == Some(it.name.as_str()));
    connections::bound(named)
}
