//! What of a route only userspace decides: a share of the requests, matchers, hash policies, a cluster
//! by hash or by header.

use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteMatch, WeightedCluster, route::Action, route_action::ClusterSpecifier,
};
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use twinmesh_model::layout::{low, of, pair, route, unsupported};

use super::{Left, Routes};
use crate::compiler::Compiler;
use crate::connect;
use crate::matcher as compile_matcher;

/// How many of the requests `runtime_fraction` lets a route take.
pub(super) enum Share {
    None,
    /// Numerator and denominator.
    Some(u64, u64),
    All,
}

pub(super) fn share(matched: &RouteMatch) -> Share {
    let Some(fraction) = &matched.runtime_fraction else {
        return Share::All;
    };
    let fraction = fraction.default_value.unwrap_or_default();
    let all: u32 = match DenominatorType::try_from(fraction.denominator) {
        Ok(DenominatorType::TenThousand) => 10_000,
        Ok(DenominatorType::Million) => 1_000_000,
        _ => 100,
    };
    match fraction.numerator {
        0 => Share::None,
        some if some < all => Share::Some(u64::from(some), u64::from(all)),
        _ => Share::All,
    }
}

/// Whether the request's hash chooses among the clusters.
pub(super) fn by_hash(config: &WeightedCluster) -> bool {
    use envoy_types::pb::envoy::config::route::v3::weighted_cluster::RandomValueSpecifier;
    matches!(
        config.random_value_specifier,
        Some(RandomValueSpecifier::UseHashPolicy(flag)) if flag.value
    )
}

/// The field by which a header names a cluster, if one does.
fn by_header(action: &RouteAction) -> Option<String> {
    match &action.cluster_specifier {
        Some(ClusterSpecifier::ClusterHeader(_)) => Some("route.cluster_header".to_owned()),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let mut clusters = weighted.clusters.iter();
            let index = clusters.position(|cluster| cluster.name.is_empty())?;
            Some(format!(
                "route.weighted_clusters.clusters[{index}].cluster_header"
            ))
        }
        _ => None,
    }
}

impl Compiler<'_> {
    /// The matchers of a route that only userspace decides, in Envoy's order.
    pub(super) fn userspace_matchers(
        &mut self,
        matched: &RouteMatch,
        left: &mut Left,
    ) -> Vec<[u64; 4]> {
        let mut records = Vec::new();
        for (index, cookie) in matched.cookies.iter().enumerate() {
            match compile_matcher::cookie(
                &mut self.arena,
                &mut self.names,
                self.snapshot,
                cookie,
                index,
            ) {
                Ok(record) => records.extend(record),
                Err(over) => left.push((format!("match.cookies[{index}]"), over.of_a_part())),
            }
        }
        let tls_context = matched.tls_context.as_ref();
        records.extend(tls_context.and_then(compile_matcher::tls_context));
        records
    }

    /// What a route has for userspace alone, or 0: a share of the requests, matchers, hash policies,
    /// and then its `action`, which becomes undecided for others.
    pub(super) fn more(
        &mut self,
        routes: &mut Routes,
        place: (usize, usize, usize),
        config: &Route,
        beside: &[[u64; 4]],
        action: &mut u64,
        left: &mut Left,
    ) -> u64 {
        let fraction = match share(config.r#match.as_ref().unwrap_or(&RouteMatch::default())) {
            Share::Some(numerator, denominator) => pair(numerator, denominator),
            Share::None | Share::All => 0,
        };
        let forwards = match &config.action {
            Some(Action::Route(forwards)) => Some(forwards),
            _ => None,
        };
        let by_hash = forwards.is_some_and(|forwards| {
            matches!(&forwards.cluster_specifier,
                Some(ClusterSpecifier::WeightedClusters(weighted)) if by_hash(weighted))
        });
        let policies = forwards.map_or(&[][..], |forwards| forwards.hash_policy.as_slice());
        let mut hash_policies = 0;
        if !policies.is_empty() && (by_hash || self.hashes) && low(*action) != route::UNSUPPORTED {
            match self.hash_policies(policies, &mut routes.query) {
                Ok(found) => hash_policies = found,
                Err(over) => left.push(("route.hash_policy".to_owned(), over.of_a_part())),
            }
        }
        if low(*action) != route::UNSUPPORTED
            && let Some(path) = forwards.and_then(by_header)
        {
            let reason = "the cluster that a header names is found in userspace only";
            self.route_in_userspace(place, &path, reason);
        }
        let ends = forwards.is_some_and(|forwards| connect::ends(forwards, "POST"));
        if fraction == 0 && beside.is_empty() && hash_policies == 0 && !by_hash && !ends {
            return 0;
        }
        let matchers = if beside.is_empty() {
            0
        } else {
            let block = self.arena.words(&[beside.len() as u64]);
            self.arena.words(beside.as_flattened());
            block
        };
        let more = self.arena.record([
            *action,
            fraction,
            hash_policies,
            pair(matchers, of::FRACTION),
        ]);
        if low(*action) == route::UNSUPPORTED {
            return more;
        }
        if fraction != 0 {
            let reason = "a share of the requests is taken in userspace only";
            self.route_in_userspace(place, "match.runtime_fraction", reason);
        }
        if let Some(first) = beside.first() {
            let (path, reason) = match first[3] >> 32 {
                of::COOKIE => ("match.cookies", "cookies are matched in userspace only"),
                _ => (
                    "match.tls_context",
                    "the client's certificate is known in userspace only",
                ),
            };
            self.route_in_userspace(place, path, reason);
        }
        if by_hash {
            let reason = "a cluster is chosen by hash in userspace only";
            let path = "route.weighted_clusters.use_hash_policy";
            self.route_in_userspace(place, path, reason);
        }
        if ends {
            let reason = "tunnels are ended in userspace only";
            self.route_in_userspace(place, "route.upgrade_configs", reason);
        }
        if fraction != 0 || by_hash || ends || !beside.is_empty() {
            *action = pair(route::UNSUPPORTED, unsupported::USERSPACE);
        }
        more
    }
}
