//! Whether two snapshots decide a request alike, and what of the changes is why they don't.

use std::collections::BTreeSet;

use twinmesh_engine::{Answer, Chain, Decision, Outcome, Step, endpoint};
use twinmesh_xds::Snapshot;

use super::changes::{Changes, Part, Side};
use crate::reach::Way;

/// What a snapshot makes of a request.
#[derive(Debug, Clone)]
pub(crate) struct Decided {
    pub(crate) decision: Decision,
    way: Way,
    cluster: Option<usize>,
}

impl Decided {
    pub(crate) fn of(answer: Answer) -> Self {
        let cluster = answer.trace.steps.iter().find_map(|step| match step {
            Step::Cluster(index) => Some(*index),
            _ => None,
        });
        Self {
            way: Way::of(&answer),
            cluster,
            decision: answer.decision,
        }
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

    fn route(&self) -> Option<Part> {
        let at = self.way.route()?;
        Some(Part::Route(at.configuration, at.virtual_host, at.route))
    }

    /// From the listener to the cluster.
    fn parts(&self) -> [Option<Part>; 6] {
        [
            self.way.listener.map(Part::Listener),
            self.chain(),
            self.way.configuration.map(Part::Configuration),
            self.host(),
            self.route(),
            self.cluster.map(Part::Cluster),
        ]
    }
}

/// The fields of what becomes of a request behind its endpoint.
const OF_STREAM: [&str; 3] = ["attempts", "response_flags", "duration_us"];
/// Where in [`Decided::parts`] the virtual host stands.
const HOST: usize = 3;
/// Where the route stands.
const ROUTE: usize = 4;
/// Where the cluster stands.
const CLUSTER: usize = 5;

/// The two snapshots and what was changed between them.
pub(crate) struct Comparison<'a> {
    pub(crate) first: &'a Snapshot,
    pub(crate) second: &'a Snapshot,
    pub(crate) changes: &'a Changes,
}

impl Comparison<'_> {
    /// The fields in which the decisions differ, by name; the endpoints of a cluster as a set.
    pub(crate) fn differing(&self, one: &Decided, other: &Decided) -> Vec<&'static str> {
        let (a, b) = (&one.decision, &other.decision);
        let mut fields = Vec::new();
        let mut differ = |name: &'static str, differs: bool| {
            if differs {
                fields.push(name);
            }
        };
        differ("outcome", a.outcome != b.outcome);
        differ("listener", a.listener != b.listener);
        differ("filter_chain", a.filter_chain != b.filter_chain);
        differ("route_config", a.route_config != b.route_config);
        differ("virtual_host", a.virtual_host != b.virtual_host);
        differ("route", self.is_other_route(one, other));
        differ("cluster", a.cluster != b.cluster);
        differ("status", a.status != b.status);
        differ("location", a.location != b.location);
        differ("path", a.path != b.path);
        differ("authority", a.authority != b.authority);
        // These a script of the endpoints leaves.
        differ("attempts", a.attempts != b.attempts);
        differ("response_flags", a.response_flags != b.response_flags);
        differ("duration_us", a.duration_us != b.duration_us);
        let forwards = a.outcome == Outcome::Forward && b.outcome == Outcome::Forward;
        if forwards && a.cluster == b.cluster {
            let balancer = |snapshot: &Snapshot, of: &Decided| {
                let cluster = of.cluster.and_then(|it| snapshot.clusters.get(it));
                cluster.map(|cluster| cluster.balancer)
            };
            differ(
                "endpoints",
                endpoints(self.first, one.cluster) != endpoints(self.second, other.cluster),
            );
            differ(
                "balancer",
                balancer(self.first, one) != balancer(self.second, other),
            );
        }
        fields
    }

    /// Where one of the two is not decided to the end: the fields that both got to and in which they
    /// differ.
    pub(crate) fn differing_so_far(&self, one: &Decided, other: &Decided) -> Vec<&'static str> {
        let (a, b) = (&one.decision, &other.decision);
        let names = [
            ("listener", &a.listener, &b.listener),
            ("filter_chain", &a.filter_chain, &b.filter_chain),
            ("route_config", &a.route_config, &b.route_config),
            ("virtual_host", &a.virtual_host, &b.virtual_host),
            ("cluster", &a.cluster, &b.cluster),
        ];
        let differ = names
            .into_iter()
            .filter(|(_, a, b)| a.is_some() && b.is_some() && a != b);
        let mut fields: Vec<&'static str> = differ.map(|(name, _, _)| name).collect();
        let both = one.route().is_some() && other.route().is_some();
        if both && self.is_other_route(one, other) {
            fields.push("route");
        }
        fields
    }

    /// A route without a name is known by what it is, not by its index.
    fn is_other_route(&self, one: &Decided, other: &Decided) -> bool {
        match (one.route(), other.route()) {
            (Some(first), Some(second)) => {
                let named = |name: &Option<String>| {
                    name.as_deref().is_some_and(|name| !name.starts_with('#'))
                };
                let (a, b) = (&one.decision.route, &other.decision.route);
                if named(a) || named(b) {
                    a != b
                } else {
                    !self.changes.are_same(first, second)
                }
            }
            (first, second) => first.is_some() != second.is_some(),
        }
    }

    /// The changes that the difference comes from, as indices: those of the first parts that are
    /// not the same on both ways, else those of the last parts that both ways have.
    pub(crate) fn causes(&self, one: &Decided, other: &Decided) -> BTreeSet<usize> {
        let (first, second) = (one.parts(), other.parts());
        let mut parted = first.len();
        for (level, (a, b)) in first.iter().zip(&second).enumerate() {
            let same = match (a, b) {
                (Some(a), Some(b)) => self.changes.are_same(*a, *b),
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
        let fields = self.differing(one, other);
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
            part.map_or(&[][..], |part| self.changes.of(side, part))
                .iter()
                .copied()
        };
        of(Side::First, first)
            .chain(of(Side::Second, second))
            .filter(|index| {
                let change = self.changes.all.get(*index);
                change.is_some_and(|change| wanted(&change.field))
            })
            .collect()
    }
}

fn is_match(field: &str) -> bool {
    field == "match" || field.starts_with("match.")
}

/// Each endpoint of a cluster with all that decides how often it is picked.
fn endpoints(snapshot: &Snapshot, cluster: Option<usize>) -> Vec<(u32, String, i32, u32, u32)> {
    let cluster = cluster.and_then(|index| snapshot.clusters.get(index));
    let assignment = cluster.and_then(|cluster| cluster.load_assignment.as_ref());
    let mut all: Vec<_> = assignment
        .iter()
        .flat_map(|assignment| &assignment.endpoints)
        .flat_map(|locality| {
            let of_locality = locality.load_balancing_weight.as_ref();
            let of_locality = of_locality.map_or(0, |weight| weight.value);
            locality.lb_endpoints.iter().map(move |it| {
                (
                    locality.priority,
                    endpoint::address(it).unwrap_or_default(),
                    it.health_status,
                    it.load_balancing_weight.as_ref().map_or(1, |it| it.value),
                    of_locality,
                )
            })
        })
        .collect();
    all.sort_unstable();
    all
}
