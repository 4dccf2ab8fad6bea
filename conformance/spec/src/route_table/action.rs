//! What a route makes of a request: its cluster, rewrites and header mutations, or its answer.

use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, RedirectAction, Route, RouteAction, RouteConfiguration, RouteMatch,
    VirtualHost, WeightedCluster,
    redirect_action::PathRewriteSpecifier,
    route::Action,
    route_action::ClusterSpecifier,
    weighted_cluster::{ClusterWeight, cluster_weight::HostRewriteSpecifier},
};
use twinmesh_engine::MutationOf;
use twinmesh_xds::Profile;

use super::{Input, Known, Lines, Routed, Taker, Undecided};
use crate::format::Facts;
use crate::message::{Message, as_matched};
use crate::mutation::{self, of_levels};
use crate::regex::Regexes;
use crate::rewrite::{Rewriting, by_mutations, finalize};
use crate::substitution::Substitutions;
use crate::{header, path, redirect, route, weighted_cluster};

const DEFAULT_TIMEOUT_NANOSECONDS: u128 = 15_000_000_000;

/// The route that took a request, and where it stands.
pub(super) struct At<'a> {
    pub(super) table: &'a RouteConfiguration,
    pub(super) regexes: &'a Regexes,
    pub(super) profile: Profile,
    pub(super) substitutions: &'a Substitutions,
    pub(super) host: &'a VirtualHost,
    pub(super) route: &'a Route,
    pub(super) virtual_host: usize,
    pub(super) index: usize,
}

/// The cluster of a route that forwards.
struct Cluster<'a> {
    name: Known<String>,
    /// The weighted cluster, and its index.
    weighted: Option<(usize, &'a ClusterWeight)>,
}

impl<'a> At<'a> {
    pub(super) fn act(&self, routed: Routed, input: &Input) -> Known<Routed> {
        let nothing = RouteMatch::default();
        let route_match = self.route.r#match.as_ref().unwrap_or(&nothing);
        match &self.route.action {
            Some(Action::Route(action)) => self.forward(action, route_match, routed, input),
            Some(Action::Redirect(action)) => self.redirect(action, route_match, routed),
            Some(Action::DirectResponse(action)) => self.answer(action, route_match, routed),
            _ => Err(Undecided::new(format!(
                "the action of route {} of virtual host {} is not decided",
                route::name(self.route, self.index),
                self.host.name
            ))),
        }
    }

    fn forward(
        &self,
        action: &'a RouteAction,
        route_match: &RouteMatch,
        mut routed: Routed,
        input: &Input,
    ) -> Known<Routed> {
        let arrived = routed.request.message()?;
        let Cluster { name, weighted } = cluster(action, &routed.request, &arrived, input)?;
        routed.taker = Taker::Forward {
            virtual_host: self.virtual_host,
            route: self.index,
            entry: weighted.map(|(index, _)| index),
        };
        routed.cluster = name;
        routed.virtual_host.clone_from(&self.host.name);
        routed.timeout = Some(timeout(action));
        let weighted = weighted.map(|(_, weighted)| weighted);
        let of_entry = weighted.and_then(|entry| {
            let HostRewriteSpecifier::HostRewriteLiteral(literal) =
                entry.host_rewrite_specifier.as_ref()?;
            Some(literal.as_str())
        });
        let mutations = self.mutations(weighted, MutationOf::Request);
        by_mutations(mutations, of_entry, &mut routed.request, &Facts::OfTool);
        rewrite(action, route_match, self.substitutions, &mut routed.request);
        for mutation in self.mutations(weighted, MutationOf::Response) {
            let (request, response) = (&routed.request, &mut routed.response);
            mutation::of_response(mutation, request, response, &Facts::OfTool);
        }
        routed.path = routed.request.text(":path");
        routed.authority = routed.request.text(":authority");
        routed.virtual_cluster = self.virtual_cluster(&routed.request);
        Ok(routed)
    }

    fn redirect(
        &self,
        action: &RedirectAction,
        route_match: &RouteMatch,
        mut routed: Routed,
    ) -> Known<Routed> {
        let message = routed.request.message()?;
        routed.location = redirect::location(
            action,
            route_match,
            &message,
            self.substitutions,
            (&routed.request, &Facts::OfTool),
        );
        routed.status = redirect::status(action);
        if let Some(PathRewriteSpecifier::PrefixRewrite(prefix)) = &action.path_rewrite_specifier
            && !prefix.is_empty()
        {
            let matched = path::matched_part(route_match, message.path_without_query());
            let rest = message.path.get(matched.len()..).unwrap_or_default();
            routed
                .request
                .set("x-envoy-original-path", message.path.clone());
            routed.request.set(":path", format!("{prefix}{rest}"));
        }
        routed.response.add(":status", routed.status.to_string());
        Ok(self.answered(routed))
    }

    fn answer(
        &self,
        action: &DirectResponseAction,
        route_match: &RouteMatch,
        mut routed: Routed,
    ) -> Known<Routed> {
        // Its location is the URL of the request: a redirect that changes nothing.
        let message = routed.request.message()?;
        routed.location = redirect::location(
            &RedirectAction::default(),
            route_match,
            &message,
            self.substitutions,
            (&routed.request, &Facts::OfTool),
        );
        routed.status = action.status;
        routed.response.add(":status", action.status.to_string());
        let body = action
            .body
            .as_ref()
            .and_then(|body| body.specifier.as_ref());
        let length = match body {
            _ if action.body_format.is_some() => Err("body_format makes the body"),
            None => Ok(0),
            Some(Specifier::InlineString(text)) => Ok(text.len()),
            Some(Specifier::InlineBytes(bytes)) => Ok(bytes.len()),
            Some(Specifier::Filename(_) | Specifier::EnvironmentVariable(_)) => {
                Err("the body is not in the route configuration")
            }
        };
        match length {
            Ok(0) => {}
            Ok(length) => {
                routed.response.add("content-length", length.to_string());
                routed.response.add("content-type", "text/plain".to_owned());
            }
            Err(reason) => {
                for name in ["content-length", "content-type"] {
                    routed.response.lose(name, Undecided::new(reason));
                }
            }
        }
        Ok(self.answered(routed))
    }

    /// What redirects and direct responses have in common.
    fn answered(&self, mut routed: Routed) -> Routed {
        routed.taker = Taker::Answer {
            virtual_host: self.virtual_host,
            route: self.index,
        };
        for mutation in self.mutations(None, MutationOf::Response) {
            let (request, response) = (&routed.request, &mut routed.response);
            mutation::of_response(mutation, request, response, &Facts::OfTool);
        }
        routed
    }

    fn mutations(
        &self,
        weighted: Option<&'a ClusterWeight>,
        of: MutationOf,
    ) -> Vec<mutation::Mutation<'a>> {
        of_levels(of, Some(self.table), Some(self.host), self.route, weighted)
    }

    fn virtual_cluster(&self, request: &Lines) -> Known<String> {
        for cluster in &self.host.virtual_clusters {
            let mut accepted = true;
            for matcher in &cluster.headers {
                let values = as_matched(request.values(&matcher.name)?, self.profile);
                if !header::accepts(matcher, values, self.regexes) {
                    accepted = false;
                    break;
                }
            }
            if accepted {
                return Ok(cluster.name.clone());
            }
        }
        let has_some = !self.host.virtual_clusters.is_empty();
        Ok(if has_some { "other" } else { "" }.to_owned())
    }
}

fn cluster<'a>(
    action: &'a RouteAction,
    lines: &Lines,
    message: &Message,
    input: &Input,
) -> Known<Cluster<'a>> {
    let name = match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => Ok(name.clone()),
        Some(ClusterSpecifier::ClusterHeader(header)) => lines.text(header),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            return choose(weighted, lines, message, input);
        }
        _ => Err(Undecided::new(
            "the route's cluster specifier plugin is not decided",
        )),
    };
    Ok(Cluster {
        name,
        weighted: None,
    })
}

fn choose<'a>(
    weighted: &'a WeightedCluster,
    lines: &Lines,
    message: &Message,
    input: &Input,
) -> Known<Cluster<'a>> {
    // Which of a connection's ends it would take, the test file does not say.
    let hash = Err("a choice of weighted clusters by hash policy is not decided");
    let choice = weighted_cluster::select(weighted, message, hash, input.random_value)
        .map_err(Undecided::new)?
        .ok_or_else(|| Undecided::new("the weights are all zero"))?;
    let entry = weighted
        .clusters
        .get(choice.entry)
        .ok_or_else(|| Undecided::new("the weighted cluster is not there"))?;
    let name = if entry.name.is_empty() {
        lines.text(&entry.cluster_header)
    } else {
        Ok(entry.name.clone())
    };
    Ok(Cluster {
        name,
        weighted: Some((choice.entry, entry)),
    })
}

/// Writes authority and path as they are sent upstream, and what Envoy remembers of the old ones.
fn rewrite(
    action: &RouteAction,
    route_match: &RouteMatch,
    substitutions: &Substitutions,
    lines: &mut Lines,
) {
    let rewriting = Rewriting {
        action,
        route_match,
        substitutions,
        facts: &Facts::OfTool,
    };
    let rewritten = match route::undecided_action(action) {
        Some(reason) => Err(Undecided::new(reason)),
        None => finalize(rewriting, lines),
    };
    if let Err(reason) = rewritten {
        for name in [
            ":authority",
            ":path",
            "x-envoy-original-host",
            "x-envoy-original-path",
            "x-forwarded-host",
        ] {
            lines.lose(name, reason.clone());
        }
    }
}

fn timeout(action: &RouteAction) -> u128 {
    let Some(timeout) = &action.timeout else {
        return DEFAULT_TIMEOUT_NANOSECONDS;
    };
    let seconds = u128::try_from(timeout.seconds).unwrap_or(0);
    let nanoseconds = u128::try_from(timeout.nanos).unwrap_or(0);
    seconds * 1_000_000_000 + nanoseconds
}
