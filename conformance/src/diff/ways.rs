//! The ways of requests through either snapshot, and what was changed on them.

use std::collections::BTreeSet;

use twinmesh_engine::{Answer, Chain, Decision, Step};

use super::changes::{Changes, Part, Side};
use crate::reach::Way;

/// What a snapshot makes of a request.
#[derive(Debug, Clone)]
pub(crate) struct Decided {
    pub(crate) decision: Decision,
    pub(super) way: Way,
    /// Those that were chosen, in order.
    clusters: Vec<usize>,
    /// All parts on its way, each as often as it came there.
    passed: Vec<Part>,
    /// The cluster that has an endpoint in the place of its own.
    pub(crate) stand_in: Option<usize>,
}

impl Decided {
    /// `stand_ins` are the clusters that have an endpoint in the place of their own.
    pub(crate) fn of(answer: Answer, is_stand_in: impl Fn(usize) -> bool) -> Self {
        let steps = answer.trace.steps.iter();
        let clusters = steps.filter_map(|step| match step {
            Step::Cluster(index) => Some(*index),
            _ => None,
        });
        let clusters: Vec<usize> = clusters.collect();
        let stand_in = clusters.iter().copied().find(|index| is_stand_in(*index));
        let mut decided = Self {
            way: Way::of(&answer),
            passed: passed(&answer.trace.steps),
            clusters,
            stand_in,
            decision: answer.decision,
        };
        if stand_in.is_some() {
            decided.decision.endpoint = None;
            decided.decision.priority = None;
            decided.decision.locality = None;
        }
        decided
    }

    fn chain(&self) -> Option<Part> {
        let chain = match self.way.chain? {
            Chain::Index(index) => Some(index),
            Chain::Default => None,
        };
        Some(Part::FilterChain(self.way.listener?, chain))
    }

    fn host(&self) -> Option<Part> {
        let (configuration, host) = (self.way.configuration?, self.way.virtual_host?);
        Some(Part::VirtualHost(configuration, host))
    }

    pub(super) fn route(&self) -> Option<Part> {
        let at = self.way.route()?;
        Some(Part::Route(at.configuration, at.virtual_host, at.route))
    }

    pub(super) fn cluster(&self) -> Option<usize> {
        self.clusters.first().copied()
    }

    /// From the listener to the cluster.
    fn parts(&self) -> [Option<Part>; 6] {
        [
            self.way.listener.map(Part::Listener),
            self.chain(),
            self.way.configuration.map(Part::Configuration),
            self.host(),
            self.route(),
            self.cluster().map(Part::Cluster),
        ]
    }
}

/// All parts that the steps lead through.
fn passed(steps: &[Step]) -> Vec<Part> {
    let mut parts = vec![Part::Bootstrap];
    let (mut listener, mut configuration, mut host) = (None, None, None);
    for step in steps {
        let part = match step {
            Step::Listener(index) => {
                listener = Some(*index);
                Some(Part::Listener(*index))
            }
            Step::FilterChain(Chain::Index(chain)) => {
                listener.map(|listener| Part::FilterChain(listener, Some(*chain)))
            }
            Step::FilterChain(Chain::Default) => {
                listener.map(|listener| Part::FilterChain(listener, None))
            }
            Step::RouteConfiguration(index) => {
                configuration = Some(*index);
                Some(Part::Configuration(*index))
            }
            Step::VirtualHost { virtual_host, .. } => {
                host = Some(*virtual_host);
                configuration.map(|it| Part::VirtualHost(it, *virtual_host))
            }
            Step::Route(route) => configuration
                .zip(host)
                .map(|(configuration, host)| Part::Route(configuration, host, *route)),
            Step::Cluster(index) => Some(Part::Cluster(*index)),
            _ => None,
        };
        parts.extend(part);
    }
    parts
}

/// The fields of what becomes of a request behind its endpoint.
const OF_STREAM: [&str; 3] = ["attempts", "response_flags", "duration_us"];
/// Where in [`Decided::parts`] the virtual host stands.
const HOST: usize = 3;
/// Where the route stands.
const ROUTE: usize = 4;
/// Where the cluster stands.
const CLUSTER: usize = 5;

/// What was changed on the ways of requests.
#[derive(Clone, Copy)]
pub(crate) struct Ways<'a>(pub(crate) &'a Changes);

impl Ways<'_> {
    /// All changes on the way that the request has in either snapshot, as indices.
    pub(crate) fn all(&self, one: &Decided, other: &Decided) -> BTreeSet<usize> {
        let first = one.passed.iter().map(|part| (Side::First, *part));
        let second = other.passed.iter().map(|part| (Side::Second, *part));
        let parts = first.chain(second);
        parts
            .flat_map(|(side, part)| self.0.of(side, part))
            .copied()
            .collect()
    }

    /// The changes of the clusters that either has an endpoint put in the place of its own.
    pub(crate) fn of_stand_ins(&self, one: &Decided, other: &Decided) -> BTreeSet<usize> {
        let cluster = |decided: &Decided| decided.stand_in.map(Part::Cluster);
        self.of(cluster(one), cluster(other), |_| true)
    }

    /// The changes that the difference probably comes from, as indices: those of the first parts that
    /// are not the same on both ways, else those of the last parts that both ways have.
    pub(crate) fn guess(
        &self,
        one: &Decided,
        other: &Decided,
        fields: &[&'static str],
    ) -> BTreeSet<usize> {
        let (first, second) = (one.parts(), other.parts());
        let mut parted = first.len();
        for (level, (a, b)) in first.iter().zip(&second).enumerate() {
            let same = match (a, b) {
                (Some(a), Some(b)) => self.0.are_same(*a, *b),
                (None, None) => true,
                _ => false,
            };
            if !same {
                parted = level;
                break;
            }
        }
        if parted == CLUSTER {
            // A route that names another cluster, or a cluster that has come or gone.
            let route = self.of(first[ROUTE], second[ROUTE], |field| !is_match(field));
            let cluster = self.of(first[CLUSTER], second[CLUSTER], |_| true);
            return if route.is_empty() { cluster } else { route };
        }
        if parted < first.len() {
            let wanted = |field: &str| parted != ROUTE || field.is_empty() || is_match(field);
            let own = self.of(first[parted], second[parted], wanted);
            if !own.is_empty() {
                return own;
            }
            let before = parted.checked_sub(1);
            let before = before.map(|it| self.of(first[it], second[it], |_| true));
            return before.unwrap_or_default();
        }
        if fields.iter().any(|field| OF_STREAM.contains(field)) {
            // Timeouts, retries and limits come from all of these.
            let of_stream = first.iter().zip(&second).enumerate().skip(HOST);
            let found: BTreeSet<usize> = of_stream
                .flat_map(|(level, (a, b))| {
                    self.of(*a, *b, |field| level != ROUTE || !is_match(field))
                })
                .collect();
            if !found.is_empty() {
                return found;
            }
        }
        // The cluster has no say in where its route redirects, or what it rewrites.
        let by_cluster = ["outcome", "endpoints", "balancer"];
        let levels = if fields.iter().any(|field| by_cluster.contains(field)) {
            first.len()
        } else {
            CLUSTER
        };
        for level in (0..levels).rev() {
            let wanted = |field: &str| level != ROUTE || !is_match(field);
            let found = self.of(first[level], second[level], wanted);
            if !found.is_empty() {
                return found;
            }
        }
        BTreeSet::new()
    }

    fn of(
        &self,
        first: Option<Part>,
        second: Option<Part>,
        wanted: impl Fn(&str) -> bool,
    ) -> BTreeSet<usize> {
        let of = |side, part: Option<Part>| {
            part.map_or(&[][..], |part| self.0.of(side, part))
                .iter()
                .copied()
        };
        of(Side::First, first)
            .chain(of(Side::Second, second))
            .filter(|index| {
                let change = self.0.all.get(*index);
                change.is_some_and(|change| wanted(&change.field))
            })
            .collect()
    }
}

fn is_match(field: &str) -> bool {
    field == "match" || field.starts_with("match.")
}
