//! An engine's decisions against recorded ones, as `case.toml` says.

use std::collections::HashSet;

use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use twinmesh_engine::{Decision, Outcome, endpoint};
use twinmesh_xds::Snapshot;

use super::{
    Field, Fields, Verdict, distribution,
    fraction::{draws_faults, is_fractional},
    headers, phase,
    unseen::unseen,
};
use crate::case::{Comparison, Distribution};

/// A recording that is not what its `case.toml` says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Inconsistent(pub String);

/// Compares an engine's decisions with the recorded ones of the same requests: a verdict for each.
/// Where a runtime fraction draws the route, or a filter whether there is a fault, and another was
/// drawn, nothing can be said; nor where a circuit breaker refused the request, whose thresholds count
/// as not reached.
///
/// # Errors
/// The recording contradicts its `case.toml`, so that nothing can be said.
pub fn compare_with_recorded(
    snapshot: &Snapshot,
    comparison: &Comparison,
    recorded: &[Decision],
    found: &[Decision],
) -> Result<Vec<Verdict>, Inconsistent> {
    let exact: Fields = comparison.exact.iter().copied().collect();
    let selections: Vec<Selection<'_>> =
        comparison.distribution.iter().map(Selection::new).collect();
    let mut verdicts = Vec::with_capacity(recorded.len());
    for (expected, found) in recorded.iter().zip(found) {
        if found.outcome == Outcome::Unsupported {
            verdicts.push(Verdict::Unsupported);
            continue;
        }
        let mut verdict = Verdict::Agrees;
        let freed = freed(comparison, &selections, expected)
            .union(unseen(expected, found))
            .union(headers::undecided(expected, found));
        let differing = exact.without(freed).differing(expected, found);
        if !differing.is_empty() {
            verdict.diverge(differing, None);
        }
        if freed.contains(Field::Endpoint)
            && let Some((fields, note)) = not_a_member(snapshot, expected, found)
        {
            verdict.diverge(fields, Some(note));
        }
        verdicts.push(verdict);
    }
    for rule in &comparison.phase {
        phase::compare(rule, recorded, found, &mut verdicts)?;
    }
    for selection in &selections {
        let selected: Vec<usize> = recorded
            .iter()
            .enumerate()
            .filter(|(_, expected)| selection.fits(expected))
            .map(|(index, _)| index)
            .collect();
        distribution::compare(selection.rule, &selected, found, &mut verdicts);
    }
    // Another draw, which `case.toml` may not know of: two recordings can agree by chance.
    let faults = draws_faults(snapshot);
    for ((expected, found), verdict) in recorded.iter().zip(found).zip(&mut verdicts) {
        let Verdict::Diverges(divergence) = &*verdict else {
            continue;
        };
        let fields = &divergence.fields;
        if is_refused_by_breaker(snapshot, expected, found)
            || faults && (fields.contains(Field::Outcome) || fields.contains(Field::Status))
            || fields.contains(Field::Route) && is_fractional(snapshot, expected)
        {
            *verdict = Verdict::Unsupported;
        }
    }
    Ok(verdicts)
}

/// Whether a circuit breaker refused what was decided as if none of its thresholds were reached; those
/// of 0 are, but for a TCP proxy's requests, which have no route.
fn is_refused_by_breaker(snapshot: &Snapshot, expected: &Decision, found: &Decision) -> bool {
    let cluster = expected.cluster.as_deref();
    let breakers = cluster
        .and_then(|name| snapshot.cluster(name))
        .and_then(|cluster| cluster.config.circuit_breakers.as_ref());
    (expected.outcome, found.outcome) == (Outcome::Overflow, Outcome::Forward)
        && expected.cluster == found.cluster
        && breakers.is_some_and(|it| {
            let reached = |it: &Thresholds| {
                let most = [it.max_connections, it.max_pending_requests, it.max_requests];
                it.max_connection_pools.is_some()
                    || most.into_iter().flatten().any(|most| most.value > 0)
            };
            found.route.is_none() || it.thresholds.iter().any(reached)
        })
}

/// What the rules free from the exact comparison with this recorded decision.
fn freed(comparison: &Comparison, selections: &[Selection<'_>], expected: &Decision) -> Fields {
    let phases = comparison
        .phase
        .iter()
        .filter(|phase| phase.is_of(expected))
        .map(|phase| &phase.fields);
    let distributions = selections
        .iter()
        .filter(|selection| selection.fits(expected))
        .map(|selection| &selection.rule.fields);
    phases.chain(distributions).flatten().copied().collect()
}

struct Selection<'a> {
    rule: &'a Distribution,
    ids: Option<HashSet<&'a str>>,
}

impl<'a> Selection<'a> {
    fn new(rule: &'a Distribution) -> Self {
        let ids = rule.ids.as_ref();
        Self {
            rule,
            ids: ids.map(|ids| ids.iter().map(String::as_str).collect()),
        }
    }

    fn fits(&self, expected: &Decision) -> bool {
        let fits =
            |wanted: &Option<String>, value: &Option<String>| wanted.is_none() || wanted == value;
        fits(&self.rule.cluster, &expected.cluster)
            && fits(&self.rule.route_config, &expected.route_config)
            && fits(&self.rule.virtual_host, &expected.virtual_host)
            && fits(&self.rule.route, &expected.route)
            && self
                .ids
                .as_ref()
                .is_none_or(|ids| ids.contains(expected.id.as_str()))
    }
}

/// What is freed is not arbitrary: an endpoint that is picked freely is still one of its cluster,
/// with that endpoint's priority and locality.
fn not_a_member(
    snapshot: &Snapshot,
    expected: &Decision,
    found: &Decision,
) -> Option<(Fields, String)> {
    if found.outcome != Outcome::Forward {
        return None;
    }
    let endpoint_field = Fields::from_iter([Field::Endpoint]);
    let Some(address) = &found.endpoint else {
        let note = "no endpoint is named for a request that is forwarded".to_owned();
        return expected
            .endpoint
            .is_some()
            .then_some((endpoint_field, note));
    };
    let cluster = found.cluster.as_deref()?;
    let assignment = snapshot.cluster(cluster)?.load_assignment.as_ref()?;
    let mut places = assignment.endpoints.iter().filter(|locality| {
        let mut endpoints = locality.lb_endpoints.iter();
        endpoints.any(|candidate| endpoint::address(candidate).as_deref() == Some(address))
    });
    if places.clone().next().is_none() {
        let note = format!("{address} is no endpoint of cluster `{cluster}`");
        return Some((endpoint_field, note));
    }
    let fits = places.any(|place| {
        found.priority == Some(place.priority) && found.locality == locality_name(place)
    });
    (!fits).then(|| {
        (
            Fields::from_iter([Field::Priority, Field::Locality]),
            format!("{address} has another priority or locality in cluster `{cluster}`"),
        )
    })
}

/// A locality as decisions name it.
fn locality_name(
    place: &envoy_types::pb::envoy::config::endpoint::v3::LocalityLbEndpoints,
) -> Option<String> {
    let locality = place.locality.as_ref()?;
    let parts = [&locality.region, &locality.zone, &locality.sub_zone];
    if parts.iter().all(|part| part.is_empty()) {
        return None;
    }
    Some(format!("{}/{}/{}", parts[0], parts[1], parts[2]))
}
