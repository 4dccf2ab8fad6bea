//! What the route that took the request does with it: redirects, answers, or chooses a cluster.

use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteMatch,
    route::Action,
    route_action::{ClusterNotFoundResponseCode, ClusterSpecifier},
    weighted_cluster::cluster_weight::HostRewriteSpecifier,
};
use twinmesh_engine::{Outcome, Step};

use crate::connect;
use crate::criteria::Criteria;
use crate::hash_policy;
use crate::message::Message;
use crate::redirect;
use crate::rewrite;
use crate::run::Run;
use crate::sent;
use crate::stream::Forwarded;
use crate::upstream::{Drops, Picked};
use crate::weighted_cluster::{self, Choice};

/// The route that took the request.
struct Matched<'a> {
    route_match: &'a RouteMatch,
    message: &'a Message,
}

impl<'a> Run<'a> {
    pub(crate) fn at_action(&mut self, route: &'a Route, message: &Message) {
        let nothing = RouteMatch::default();
        let matched = Matched {
            route_match: route.r#match.as_ref().unwrap_or(&nothing),
            message,
        };
        let forwards = matches!(route.action, Some(Action::Route(_)));
        if !forwards && !self.gets_to_action(route, message, (None, None)) {
            return;
        }
        let by_route = sent::local(0, "direct_response", "-");
        match &route.action {
            Some(Action::Redirect(action)) => {
                match self.redirected(action, matched.route_match, message) {
                    Ok(()) => {
                        let status = redirect::status(action);
                        self.reply(Outcome::Redirect, status, message, "the route redirects");
                    }
                    Err(why) => {
                        self.decision().location = None;
                        self.undecided(sent::reason(&why));
                    }
                }
            }
            Some(Action::DirectResponse(action)) => {
                self.body(action, message);
                self.answered(message, None, action.status, by_route);
                self.reply(
                    Outcome::DirectResponse,
                    action.status,
                    message,
                    "the route answers by itself",
                );
            }
            Some(Action::Route(action)) => self.at_route_action(route, action, &matched),
            _ => self.undecided("the route's action is not decided"),
        }
    }

    fn at_route_action(
        &mut self,
        route: &'a Route,
        action: &'a RouteAction,
        matched: &Matched<'_>,
    ) {
        let message = matched.message;
        let policies = &action.hash_policy;
        self.hash = hash_policy::hash(policies, message, self.client(), self.substitutions);
        if connect::hashes_stripped_port(action, message, self.request) {
            self.hash = Err("CONNECT requests hashed by a host without its port are not decided");
        }
        self.criteria = Criteria::new(action.metadata_match.as_ref());
        let mut host_rewrite = None;
        let name = match &action.cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) => Some(name.clone()),
            Some(ClusterSpecifier::ClusterHeader(header)) => message.first_value(header),
            Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                let choice = weighted_cluster::select(weighted, message, self.hash, self.random);
                let choice = match choice {
                    Ok(Some(choice)) => choice,
                    Ok(None) => {
                        self.undecided("the weights are all zero");
                        return;
                    }
                    Err(reason) => {
                        self.undecided(reason);
                        return;
                    }
                };
                self.weighted(choice);
                if let Some(at) = &mut self.at {
                    at.entry = Some(choice.entry);
                }
                let Some(entry) = weighted.clusters.get(choice.entry) else {
                    return;
                };
                self.criteria = self.criteria.with(entry.metadata_match.as_ref());
                if let Some(HostRewriteSpecifier::HostRewriteLiteral(literal)) =
                    &entry.host_rewrite_specifier
                {
                    host_rewrite = Some(literal.as_str());
                }
                if entry.name.is_empty() {
                    message.first_value(&entry.cluster_header)
                } else {
                    Some(entry.name.clone())
                }
            }
            _ => {
                self.undecided("the cluster specifier is not decided");
                return;
            }
        };
        let index = name.as_deref().and_then(|name| self.cluster_index(name));
        if !self.gets_to_action(route, message, (name.as_deref(), index)) {
            return;
        }
        self.decision().cluster.clone_from(&name);
        let Some(index) = index else {
            let status =
                match ClusterNotFoundResponseCode::try_from(action.cluster_not_found_response_code)
                {
                    Ok(ClusterNotFoundResponseCode::NotFound) => 404,
                    Ok(ClusterNotFoundResponseCode::InternalServerError) => 500,
                    Ok(ClusterNotFoundResponseCode::ServiceUnavailable) | Err(_) => 503,
                };
            let called = sent::local(0, "cluster_not_found", "NC");
            self.answered(message, None, status, called);
            self.reply(
                Outcome::NoCluster,
                status,
                message,
                "there is no such cluster",
            );
            return;
        };
        let lines = self.finalize(action, matched.route_match, host_rewrite, message, index);
        let snapshot = self.snapshot;
        self.forwarded = snapshot.clusters.get(index).map(|cluster| Forwarded {
            lines: lines.clone().unwrap_or_default(),
            manager: self.manager,
            table: self.table,
            virtual_host: self.virtual_host,
            route,
            action,
            message: message.clone(),
            hash: self.hash,
            named: Vec::new(),
            criteria: self.criteria.clone(),
            cluster: &cluster.config,
        });
        match self.at_cluster(index, Drops::Heeded) {
            Picked::Undecided => {}
            Picked::Dropped => {
                self.answered(message, Some(index), 503, None);
                self.reply(
                    Outcome::Overflow,
                    503,
                    message,
                    "the cluster's drop_overloads dropped it",
                );
            }
            Picked::Nothing => {
                let called = sent::local(1, "no_healthy_upstream", "UH");
                match &lines {
                    Ok(lines) => self.answered_to(message, Some(index), lines, 503, called),
                    Err(why) => {
                        self.undecided(sent::reason(why));
                        return;
                    }
                }
                self.reply(
                    Outcome::NoHealthyUpstream,
                    503,
                    message,
                    "the cluster has no endpoint that may be used",
                );
            }
            Picked::Endpoint { hostname } => {
                if let Ok(lines) = &lines
                    && let Some(reason) = self.undecided_tunnel(action, message, index, lines)
                {
                    self.undecided(reason);
                    return;
                }
                let sent = lines.and_then(|mut lines| {
                    rewrite::by_endpoint(action, &hostname, &mut lines)?;
                    self.sent(action, message, index, &lines)
                });
                match sent {
                    Ok(()) => self.end(Outcome::Forward, "the route forwards"),
                    Err(why) => self.undecided(sent::reason(&why)),
                }
            }
        }
    }

    pub(crate) fn weighted(&mut self, choice: Choice) {
        self.step(Step::WeightedCluster {
            entry: choice.entry,
            value: choice.value,
            from: choice.from,
            to: choice.to,
        });
    }
}
