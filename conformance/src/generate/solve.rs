//! Finds a request that a route takes, or that one matcher of it alone refuses, and that gets past
//! the routes before.
//!
//! It starts from a draft and sets one part after the other to a value at which fewer matchers say
//! what they should not. Where the engine says that an earlier route takes the request, that one
//! has to refuse from then on.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use envoy_types::pb::envoy::config::route::v3::{RouteMatch, VirtualHost};
use twinmesh_engine::{Answer, Chain, Engine, Request};
use twinmesh_spec::reading::{Matchers, Seen};
use twinmesh_xds::Snapshot;

use super::DAY_US;
use super::draft::{Dimension, Draft};
use super::probes;
use crate::failure::Failure;
use crate::reach::{Brief, Goal, Part, Passed, Passing, Way};

/// How many earlier routes are looked at before a way past them is given up.
const MOST_BLOCKERS: usize = 24;
/// How many parts are set before a draft is given up.
const MOST_STEPS: usize = 24;

/// What a request is to do at a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// The route takes it.
    Take,
    /// Of the route's matchers only this one refuses it.
    Refuse(Part),
}

/// A virtual host that requests get to.
#[derive(Debug, Clone)]
pub(crate) struct Place<'a> {
    pub(crate) configuration: usize,
    pub(crate) virtual_host: usize,
    pub(crate) config: &'a VirtualHost,
    /// A request that gets there.
    pub(crate) connection: Request,
    /// The filter chain by which it does.
    pub(crate) at: Option<(usize, Chain)>,
}

/// Values that a part of the request may take.
type Options = BTreeMap<Dimension, Vec<Vec<String>>>;

/// A draft that does what it is to, and the engine's word for it.
#[derive(Debug, Clone)]
pub(crate) struct Solved {
    pub(crate) draft: Draft,
    pub(crate) request: Request,
    pub(crate) answer: Answer,
}

/// The snapshot, and who decides by it.
pub(crate) struct Solver<'a> {
    pub(crate) snapshot: &'a Arc<Snapshot>,
    pub(crate) matchers: &'a Matchers,
    engine: Brief,
    passing: Passing<'a>,
    now_us: u64,
    /// Of the routes of one virtual host.
    options: HashMap<usize, Rc<Options>>,
    options_of: (usize, usize),
}

impl<'a> Solver<'a> {
    /// # Errors
    /// The engine does not take the snapshot.
    pub(crate) fn new(
        snapshot: &'a Arc<Snapshot>,
        matchers: &'a Matchers,
    ) -> Result<Self, Failure> {
        let mut engine = Brief::default();
        engine.load(snapshot)?;
        Ok(Self {
            snapshot,
            matchers,
            engine,
            passing: Passing::new(snapshot, matchers),
            now_us: 0,
            options: HashMap::new(),
            options_of: (usize::MAX, usize::MAX),
        })
    }

    /// What the engine says.
    pub(crate) fn decide(&mut self, request: &Request) -> Result<Answer, Failure> {
        // So late that every token bucket is full, and no delayed request goes on.
        self.now_us += DAY_US;
        self.decide_at_once(request)
    }

    /// What the engine says if the request comes at the time of the one before.
    pub(crate) fn decide_at_once(&mut self, request: &Request) -> Result<Answer, Failure> {
        let answer = self
            .engine
            .decide(request, request.random.unwrap_or(0), self.now_us, true)?;
        if let Some(held) = answer.held {
            self.engine.release(held)?;
        }
        Ok(answer)
    }

    /// What a decided request reaches by itself.
    pub(crate) fn passed(&mut self, request: &Request, answer: &Answer) -> Passed {
        self.passing.passed(request, answer)
    }

    /// The sides of policies that do not match, each the first time.
    pub(crate) fn unmatched(&mut self, passed: &Passed) -> Vec<Goal> {
        self.passing.unmatched(passed)
    }

    /// A request that does as wanted at the route, or the routes that took all that were tried.
    /// What `locked` names stays as it is in the draft.
    pub(crate) fn solve(
        &mut self,
        place: &Place<'_>,
        route: usize,
        want: Want,
        draft: &Draft,
        locked: Option<&Dimension>,
    ) -> Result<Result<Solved, Vec<usize>>, Failure> {
        let mut blockers: Vec<usize> = Vec::new();
        let mut draft = draft.clone();
        loop {
            let Some(next) = self.climb(place, route, want, &draft, locked, &blockers) else {
                return Ok(Err(blockers));
            };
            draft = next;
            let request = draft.request();
            if place.config.matcher.is_some() {
                let seen = Seen::new(self.snapshot, &request, place.at);
                let looked_at = seen.map(|seen| self.matchers.looked_at(place.config, &seen));
                if !looked_at.is_some_and(|routes| routes.contains(&route)) {
                    return Ok(Err(blockers));
                }
            }
            let answer = self.decide(&request)?;
            let way = Way::of(&answer);
            let there = way.configuration == Some(place.configuration)
                && way.virtual_host == Some(place.virtual_host);
            let Some(end) = way.end(place.config, &answer) else {
                return Ok(Err(blockers));
            };
            let is_done = match want {
                Want::Take => end == route,
                Want::Refuse(_) => end > route,
            };
            if there && is_done {
                return Ok(Ok(Solved {
                    draft,
                    request,
                    answer,
                }));
            }
            if !there || end >= route || blockers.len() >= MOST_BLOCKERS || blockers.contains(&end)
            {
                return Ok(Err(blockers));
            }
            blockers.push(end);
        }
    }

    /// The matchers of the route that refuse the draft; `None`: it does not get so far.
    pub(crate) fn refusing(
        &self,
        place: &Place<'_>,
        route: usize,
        draft: &Draft,
    ) -> Option<Vec<Part>> {
        let seen = Seen::new(self.snapshot, &draft.request(), place.at)?;
        let config = place.config.routes.get(route)?.r#match.as_ref()?;
        let refusing = self.matchers.refusing(config, &seen, usize::MAX);
        Some(refusing)
    }

    fn climb(
        &mut self,
        place: &Place<'_>,
        route: usize,
        want: Want,
        start: &Draft,
        locked: Option<&Dimension>,
        blockers: &[usize],
    ) -> Option<Draft> {
        let mut draft = start.clone();
        let mut cost = self.cost(place, route, want, &draft, blockers)?;
        if cost == 0 {
            return Some(draft);
        }
        let all: Vec<Rc<Options>> = std::iter::once(route)
            .chain(blockers.iter().copied())
            .map(|route| self.options(place, route))
            .collect();
        for _ in 0..MOST_STEPS {
            let (next, less) =
                self.better(place, route, want, &draft, locked, blockers, &all, cost)?;
            if less == 0 {
                return Some(next);
            }
            draft = next;
            cost = less;
        }
        None
    }

    /// The first draft with one part set otherwise that costs less.
    #[expect(clippy::too_many_arguments, reason = "the inside of one loop")]
    fn better(
        &self,
        place: &Place<'_>,
        route: usize,
        want: Want,
        draft: &Draft,
        locked: Option<&Dimension>,
        blockers: &[usize],
        all: &[Rc<Options>],
        cost: usize,
    ) -> Option<(Draft, usize)> {
        let options = all.iter().flat_map(|options| options.iter());
        for (dimension, values) in options.filter(|(dimension, _)| Some(*dimension) != locked) {
            for value in values {
                let mut next = draft.clone();
                next.set(dimension, value);
                let Some(less) = self.cost(place, route, want, &next, blockers) else {
                    continue;
                };
                if less < cost {
                    return Some((next, less));
                }
            }
        }
        None
    }

    /// How many matchers and earlier routes say what they should not; `None`: the head is refused.
    fn cost(
        &self,
        place: &Place<'_>,
        route: usize,
        want: Want,
        draft: &Draft,
        blockers: &[usize],
    ) -> Option<usize> {
        let seen = Seen::new(self.snapshot, &draft.request(), place.at)?;
        let routes = &place.config.routes;
        let config = routes.get(route)?.r#match.as_ref()?;
        let refusing = self.matchers.refusing(config, &seen, usize::MAX);
        let wrong = match want {
            Want::Take => refusing.len(),
            Want::Refuse(part) => {
                let others = refusing.iter().filter(|it| **it != part);
                let others = others.count();
                others + usize::from(refusing.len() == others)
            }
        };
        let take = blockers
            .iter()
            .filter_map(|route| routes.get(*route)?.r#match.as_ref())
            .filter(|config| self.matchers.refusing(config, &seen, 1).is_empty());
        Some(wrong + take.count())
    }

    fn options(&mut self, place: &Place<'_>, route: usize) -> Rc<Options> {
        let of = (place.configuration, place.virtual_host);
        if self.options_of != of {
            self.options.clear();
            self.options_of = of;
        }
        let config = place.config.routes.get(route);
        let config = config.and_then(|route| route.r#match.as_ref());
        let entry = self.options.entry(route);
        let options = entry.or_insert_with(|| Rc::new(config.map(options).unwrap_or_default()));
        Rc::clone(options)
    }
}

/// What the matchers of a route make worth trying.
fn options(route_match: &RouteMatch) -> Options {
    let mut options = Options::new();
    let mut add = |dimension: Dimension, values: Vec<String>| {
        let all: &mut Vec<Vec<String>> = options.entry(dimension).or_default();
        if !all.contains(&values) {
            all.push(values);
        }
    };
    for probe in probes::path(route_match) {
        add(Dimension::Path, probe.values);
    }
    for path in probes::further_paths(route_match) {
        add(Dimension::Path, vec![path]);
    }
    for matcher in &route_match.headers {
        let Some(dimension) = Dimension::of_header(&matcher.name) else {
            continue;
        };
        let fits = |values: &[String]| {
            dimension != Dimension::Path || values.iter().all(|path| path.starts_with('/'))
        };
        for probe in probes::header(matcher) {
            if fits(&probe.values) {
                add(dimension.clone(), probe.values);
            }
        }
    }
    for matcher in &route_match.query_parameters {
        for probe in probes::query_parameter(matcher) {
            let dimension = Dimension::QueryParameter(matcher.name.clone());
            add(dimension, probe.values);
        }
    }
    if route_match.grpc.is_some() {
        for probe in probes::grpc() {
            add(Dimension::Header("content-type".to_owned()), probe.values);
        }
    }
    for matcher in &route_match.cookies {
        for probe in probes::cookie(matcher) {
            add(Dimension::Cookie(matcher.name.clone()), probe.values);
        }
    }
    if route_match.tls_context.is_some() {
        for probe in probes::tls_context() {
            add(Dimension::ClientCertificate, probe.values);
        }
    }
    add_pairs(route_match, &mut options);
    options
}

/// Two matchers of one header may each take a line of its own.
fn add_pairs(route_match: &RouteMatch, options: &mut Options) {
    let headers = &route_match.headers;
    for (index, one) in headers.iter().enumerate() {
        for other in headers.iter().skip(index + 1) {
            let Some(dimension @ Dimension::Header(_)) = Dimension::of_header(&one.name) else {
                continue;
            };
            if !one.name.eq_ignore_ascii_case(&other.name) {
                continue;
            }
            for first in probes::header(one).into_iter().take(2) {
                for second in probes::header(other).into_iter().take(2) {
                    let pair = [first.values.clone(), second.values].concat();
                    options.entry(dimension.clone()).or_default().push(pair);
                }
            }
        }
    }
}
