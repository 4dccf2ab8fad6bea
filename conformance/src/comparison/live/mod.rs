//! A live server's decisions against the reference's.
//!
//! Both saw the same snapshot and requests. What the snapshot leaves no choice about is compared
//! exactly; where a balancer only starts somewhere, up to that; what is drawn, by the shares of
//! what was drawn.

mod managed;
mod override_host;
mod picks;
mod pinned;
mod shares;
mod unsettled;

use std::collections::{BTreeMap, BTreeSet};

use envoy_types::pb::envoy::config::route::v3::{
    RouteAction, WeightedCluster, route::Action, route_action::ClusterSpecifier,
};
use twinmesh_engine::{Decision, HeaderValues, Outcome, Request};
use twinmesh_xds::{Cluster, Snapshot};

use super::{Field, Fields, Inconsistent, Verdict, compare_with_recorded, fraction::hosts};
use crate::case::{Comparison, Distribution, Phase};
use managed::managed;
use override_host::Asking;
use picks::Picks;
use pinned::Settled;
use shares::Shares;
pub use shares::Test;

/// What comparing came to.
#[derive(Debug, Clone, Default)]
pub struct Compared {
    /// One for each request.
    pub verdicts: Vec<Verdict>,
    /// The tests of what is random.
    pub tests: Vec<Test>,
}

/// What a pick consists of.
const PICK: [Field; 3] = [Field::Endpoint, Field::Priority, Field::Locality];

/// What a draw among weighted clusters decides.
const SPLIT: [Field; 8] = [
    Field::Cluster,
    Field::Endpoint,
    Field::Priority,
    Field::Locality,
    Field::Path,
    Field::Authority,
    Field::RequestHeaders,
    Field::ResponseHeaders,
];

/// What it decides too where not all of the clusters can be used.
const FATE: [Field; 2] = [Field::Outcome, Field::Status];

/// What only a request that is sent has.
const SENT: [Field; 4] = [
    Field::Path,
    Field::Authority,
    Field::RequestHeaders,
    Field::ResponseHeaders,
];

/// Compares a live server's decisions with the reference's: `level` is the probability of a false
/// alarm in all tests together. A decision that the server left undecided names the cluster in which
/// the request may have taken a turn.
///
/// # Errors
/// The reference's picks are not what its snapshot says.
pub fn compare_with_live(
    snapshot: &Snapshot,
    requests: &[Request],
    expected: &[Decision],
    found: &[Decision],
    level: f64,
) -> Result<Compared, Inconsistent> {
    let found: Vec<Decision> = expected
        .iter()
        .zip(found)
        .map(|(expected, found)| with_unseen(expected, found))
        .collect();
    let mut rules = Rules::default();
    rules.add_clusters(snapshot, requests, expected, &found);
    rules.add_splits(snapshot, requests, expected);
    // What they chose there is missing elsewhere.
    let strays = |(expected, found)| unsettled::takes_another_chain(snapshot, expected, found);
    if expected.iter().zip(&found).any(strays) {
        rules.leave_choices_open(snapshot);
    }
    let mut verdicts = compare_with_recorded(snapshot, &rules.comparison, expected, &found)?;
    for (expected, verdict) in expected.iter().zip(&mut verdicts) {
        if expected.outcome == Outcome::Unsupported {
            *verdict = Verdict::Unsupported;
        }
    }
    unsettled::leave(snapshot, expected, &found, &mut verdicts);
    let mut counted: Vec<(Shares, usize)> = Vec::new();
    for mut shares in rules.shares {
        let first = shares.count(expected, &found, &mut verdicts);
        if let Some(first) = first.filter(|_| shares.can_be_tested()) {
            counted.push((shares, first));
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let level = level / counted.len().max(1) as f64;
    let mut tests = Vec::new();
    for (shares, first) in counted {
        let test = shares.test(level);
        if test.is_rejected
            && let Some(verdict) = verdicts.get_mut(first)
        {
            let fields = Fields::from_iter([shares.field()]);
            verdict.diverge(fields, Some(test.to_string()));
        }
        tests.push(test);
    }
    Ok(Compared { verdicts, tests })
}

/// Compares a live server's decisions with those recorded of another: as its `case.toml` says, but
/// for shares, which are tested once, by the snapshot's weights.
///
/// # Errors
/// The recording contradicts its `case.toml`.
pub fn compare_live_with_recorded(
    snapshot: &Snapshot,
    comparison: &Comparison,
    recorded: &[Decision],
    found: &[Decision],
) -> Result<Vec<Verdict>, Inconsistent> {
    let mut comparison = comparison.clone();
    for rule in &mut comparison.distribution {
        rule.weights = None;
    }
    // Of a sequence that was only observed nobody knows how it goes on without what was not asked.
    let left_out = |rule: &Phase| {
        let mut asked = recorded.iter().zip(found);
        rule.observed
            && asked.any(|(recorded, found)| {
                found.outcome == Outcome::Unsupported && rule.is_of(recorded)
            })
    };
    for rule in comparison.phase.extract_if(.., |rule| left_out(rule)) {
        comparison.distribution.push(Distribution {
            cluster: Some(rule.cluster),
            route_config: None,
            virtual_host: None,
            route: None,
            ids: rule.ids,
            fields: rule.fields,
            weights: None,
        });
    }
    let found: Vec<Decision> = recorded
        .iter()
        .zip(found)
        .map(|(recorded, found)| with_unseen(recorded, found))
        .collect();
    let mut verdicts = compare_with_recorded(snapshot, &comparison, recorded, &found)?;
    unsettled::leave(snapshot, recorded, &found, &mut verdicts);
    Ok(verdicts)
}

/// The decision with what a running server does not show as the reference has it: the name of a
/// missing cluster that was drawn or named by a header, what was sent to an endpoint that could not
/// be reached, and the headers and copies that it could not tell.
fn with_unseen(expected: &Decision, found: &Decision) -> Decision {
    let mut found = found.clone();
    if found.outcome == Outcome::NoCluster
        && expected.outcome == Outcome::NoCluster
        && found.cluster.is_none()
    {
        found.cluster.clone_from(&expected.cluster);
    }
    let reason = found.reason.as_deref().unwrap_or_default();
    if found.outcome == Outcome::Forward && reason.split([' ', ',']).any(|flag| flag == "UF") {
        found.path.clone_from(&expected.path);
        found.authority.clone_from(&expected.authority);
        found.request_headers.clone_from(&expected.request_headers);
        found
            .response_headers
            .clone_from(&expected.response_headers);
    }
    // Headers may name the endpoint, which the server may have drawn.
    let is_other = (&found.endpoint, &found.cluster) != (&expected.endpoint, &expected.cluster);
    for (expected, found) in [
        (&expected.request_headers, &mut found.request_headers),
        (&expected.response_headers, &mut found.response_headers),
    ] {
        if is_other || found.is_none() {
            found.clone_from(expected);
        } else {
            *found = of_those(expected.as_ref(), found.take().unwrap_or_default());
        }
    }
    if found.mirrors.is_empty() {
        found.mirrors.clone_from(&expected.mirrors);
    }
    found
}

/// The values of the headers that the reference names, and of others where they are known: which
/// entry of a weighted cluster was taken, and so whether it names a header, a server may not say.
fn of_those(expected: Option<&HeaderValues>, mut found: HeaderValues) -> Option<HeaderValues> {
    let names = expected.into_iter().flat_map(HeaderValues::keys);
    let mut values: HeaderValues = names
        .map(|name| (name.clone(), found.remove(name).flatten()))
        .collect();
    values.extend(found.into_iter().filter(|(_, values)| values.is_some()));
    (expected.is_some() || !values.is_empty()).then_some(values)
}

/// What the snapshot leaves open in this run.
#[derive(Default)]
struct Rules {
    comparison: Comparison,
    shares: Vec<Shares>,
}

impl Rules {
    fn add_clusters(
        &mut self,
        snapshot: &Snapshot,
        requests: &[Request],
        expected: &[Decision],
        found: &[Decision],
    ) {
        let overlaps = requests.iter().any(|request| request.duration_us > 0);
        let named: BTreeSet<&str> = expected
            .iter()
            .chain(found)
            .filter_map(|decision| decision.cluster.as_deref())
            .collect();
        for name in named {
            let Some(cluster) = snapshot.cluster(name) else {
                continue;
            };
            let hides_turns = |decision: &Decision| {
                decision.outcome == Outcome::Unsupported
                    && decision.cluster.as_deref() == Some(name)
            };
            // The server is told of no zone that it is in: the locality may have no endpoint.
            let elsewhere = snapshot.spreads_by_zone(cluster);
            if elsewhere {
                self.open(name, None, &[&FATE[..], &SENT].concat());
            }
            let asking = Asking::new(cluster, requests, expected, found);
            let unseen = found.iter().any(hides_turns)
                || unsettled::closes_some(snapshot, name)
                || asking.is_open;
            let picks = match elsewhere || unseen {
                true => Picks::Free,
                false => picks::of(cluster, overlaps),
            };
            match picks {
                Picks::Exact => {}
                Picks::ByHash => {
                    let unhashed = requests.iter().zip(expected).filter(|(request, decision)| {
                        decision.cluster.as_deref() == Some(name)
                            && asking.asks(&request.id)
                            && !actions(snapshot, decision).iter().any(|action| {
                                let managed = managed(snapshot, request, decision);
                                pinned::has_hash(&managed, action) == Settled::Yes
                            })
                    });
                    let ids: Vec<String> = unhashed.map(|(it, _)| it.id.clone()).collect();
                    if !ids.is_empty() {
                        self.free(cluster, Some(ids));
                    }
                }
                Picks::Phase(period) => self.comparison.phase.push(Phase {
                    cluster: name.to_owned(),
                    ids: asking.ids,
                    fields: PICK.to_vec(),
                    period,
                    observed: false,
                }),
                Picks::Shares(weights) => {
                    let indices = asking.indices(requests);
                    self.free(cluster, asking.ids);
                    let shares = Shares::of_endpoints(name, weights, indices);
                    self.shares.push(shares);
                }
                Picks::Free => self.free(cluster, asking.ids),
            }
            if picks::drops_some(cluster) {
                self.open(name, None, &[&PICK[..], &FATE, &SENT].concat());
            }
        }
    }

    /// No choice is counted, and none is held to the one before it.
    fn leave_choices_open(&mut self, snapshot: &Snapshot) {
        self.shares.clear();
        for rule in std::mem::take(&mut self.comparison.phase) {
            if let Some(cluster) = snapshot.cluster(&rule.cluster) {
                self.free(cluster, rule.ids);
            }
        }
    }

    /// The picks of a cluster (of these requests) are only checked to be its endpoints.
    fn free(&mut self, cluster: &Cluster, ids: Option<Vec<String>>) {
        let mut fields = PICK.to_vec();
        if picks::may_find_none(cluster) {
            fields.extend(FATE.iter().chain(&SENT));
        }
        self.open(&cluster.name, ids, &fields);
    }

    /// These fields are left open in the decisions for a cluster (of these requests).
    fn open(&mut self, cluster: &str, ids: Option<Vec<String>>, fields: &[Field]) {
        self.comparison.distribution.push(Distribution {
            cluster: Some(cluster.to_owned()),
            route_config: None,
            virtual_host: None,
            route: None,
            ids,
            fields: fields.to_vec(),
            weights: None,
        });
    }

    /// A rule for each route whose weighted clusters are drawn, by the requests that pin nothing.
    fn add_splits(&mut self, snapshot: &Snapshot, requests: &[Request], expected: &[Decision]) {
        let mut splits: BTreeMap<RouteName<'_>, Split<'_>> = BTreeMap::new();
        for (index, (request, decision)) in requests.iter().zip(expected).enumerate() {
            for action in actions(snapshot, decision) {
                let Some(ClusterSpecifier::WeightedClusters(weighted)) = &action.cluster_specifier
                else {
                    continue;
                };
                let managed = managed(snapshot, request, decision);
                let pinned = pinned::is_pinned(&managed, action, weighted);
                if is_random(weighted) && pinned != Settled::Yes {
                    let split = splits.entry(route_name(decision)).or_insert(Split {
                        weighted,
                        open: Vec::new(),
                        drawn: Vec::new(),
                    });
                    split.open.push(index);
                    if pinned == Settled::No {
                        split.drawn.push(index);
                    }
                    break;
                }
            }
        }
        for (name, split) in splits {
            let Split {
                weighted,
                open,
                drawn,
            } = split;
            let mut fields = SPLIT.to_vec();
            if !all_can_be_used(snapshot, weighted) {
                fields.extend(FATE);
            }
            let ids = open.iter().filter_map(|index| requests.get(*index));
            self.comparison.distribution.push(Distribution {
                cluster: None,
                route_config: None,
                virtual_host: None,
                route: None,
                ids: Some(ids.map(|request| request.id.clone()).collect()),
                fields,
                weights: None,
            });
            // What a header names is not one of few choices.
            if weighted.clusters.iter().any(|it| it.name.is_empty()) {
                continue;
            }
            let (_, host, route) = name;
            let subject = format!(
                "the clusters of route `{}` of virtual host `{}`",
                route.unwrap_or_default(),
                host.unwrap_or_default()
            );
            let mut weights: BTreeMap<String, u64> = BTreeMap::new();
            for cluster in &weighted.clusters {
                let weight = cluster.weight.as_ref().map_or(0, |weight| weight.value);
                *weights.entry(cluster.name.clone()).or_default() += u64::from(weight);
            }
            self.shares
                .push(Shares::of_clusters(subject, weights, drawn));
        }
    }
}

/// The requests to a route with weighted clusters whose cluster is not settled.
struct Split<'a> {
    weighted: &'a WeightedCluster,
    /// All of them, by index.
    open: Vec<usize>,
    /// Those whose cluster is surely drawn.
    drawn: Vec<usize>,
}

type RouteName<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>);

fn route_name(decision: &Decision) -> RouteName<'_> {
    (
        decision.route_config.as_deref(),
        decision.virtual_host.as_deref(),
        decision.route.as_deref(),
    )
}

/// The actions of the routes that a decision can mean.
fn actions<'a>(snapshot: &'a Snapshot, decision: &Decision) -> Vec<&'a RouteAction> {
    let Some(route) = &decision.route else {
        return Vec::new();
    };
    hosts(snapshot, decision)
        .flat_map(|host| host.routes.iter().enumerate())
        .filter(|(index, it)| {
            &it.name == route || (it.name.is_empty() && *route == format!("#{index}"))
        })
        .filter_map(|(_, it)| match &it.action {
            Some(Action::Route(action)) => Some(action),
            _ => None,
        })
        .collect()
}

fn is_random(weighted: &WeightedCluster) -> bool {
    let drawn = weighted.clusters.iter().filter(|cluster| {
        let weight = cluster.weight.as_ref();
        weight.is_some_and(|weight| weight.value > 0)
    });
    drawn.count() > 1
}

/// Whether each of the clusters is there and has endpoints, all of them healthy.
fn all_can_be_used(snapshot: &Snapshot, weighted: &WeightedCluster) -> bool {
    weighted.clusters.iter().all(|entry| {
        let cluster = snapshot.cluster(&entry.name);
        cluster.is_some_and(picks::takes_all)
    })
}
