//! What Envoy answers by itself, where a route took the request: a redirect, a direct response, a
//! filter's answer, or that nobody can be asked.

use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, RedirectAction, RouteAction, redirect_action::PathRewriteSpecifier,
    route::Action, route_action::ClusterNotFoundResponseCode,
};
use twinmesh_engine::{Decision, MutationOf, Outcome, Step};
use twinmesh_model::layout::{high, low, outcome, pair};
use twinmesh_xds::header_filters;
use twinmesh_xds::http_filter::FilterKind;

use super::entries::Entries;
use super::{NotKnown, Taken, body, format};
use crate::redirect;
use crate::rewrite::{prefix_length, substituted};

impl Taken<'_> {
    /// Writes down what the client gets that Envoy answers itself: the model's outcome says what.
    ///
    /// # Errors
    /// It is not known where a redirect goes, or what a request would have come to.
    pub(crate) fn answer(
        &self,
        code: u64,
        reason: u64,
        decision: &mut Decision,
        steps: &mut Vec<Step>,
    ) -> Result<(), NotKnown> {
        let (status, state, with_cluster) = match (&self.route.action, code) {
            (Some(Action::Redirect(action)), outcome::REDIRECT) => {
                return self.redirect(action, decision, steps);
            }
            (Some(Action::DirectResponse(action)), outcome::DIRECT_RESPONSE) => {
                decision.body = self.body(action);
                (action.status, Some((0, 0, "direct_response", "-")), false)
            }
            (Some(Action::Route(_)), outcome::FILTER_REPLY) if !self.is_cors(high(reason)) => {
                if self.changes_response() {
                    // Whatever changes headers before it leaves it undecided.
                    let request = self.entries_that_came();
                    let response = Entries::of_response(low(reason) as u32, true, self.manager);
                    self.respond(&request, response, None, true, decision, steps);
                }
                return Ok(());
            }
            (_, outcome::FILTER_REPLY) => {
                let names = self.changes(MutationOf::Response);
                let values = names.iter().map(|change| (change.name(), None));
                decision.response_headers = (!names.is_empty()).then(|| values.collect());
                return Ok(());
            }
            (Some(Action::Route(action)), outcome::NO_CLUSTER) => {
                let state = Some((0, 0, "cluster_not_found", "NC"));
                (not_found(action), state, false)
            }
            (Some(Action::Route(_)), outcome::OVERFLOW) => (503, None, true),
            (Some(Action::Route(action)), outcome::NO_HEALTHY_UPSTREAM) => {
                let request = self.finalized(action)?;
                let response = Entries::of_response(503, true, self.manager);
                let state = Some((1, 0, "no_healthy_upstream", "UH"));
                self.respond(&request, response, state, true, decision, steps);
                return Ok(());
            }
            _ => return Ok(()),
        };
        if self.changes_response() {
            let response = Entries::of_response(status, true, self.manager);
            let request = self.entries();
            self.respond(&request, response, state, with_cluster, decision, steps);
        }
        Ok(())
    }

    /// Writes down what the client gets whose upgrade is refused: as where a filter answers.
    ///
    /// # Errors
    /// As of [`Self::answer`].
    pub(crate) fn refuse_upgrade(
        &self,
        status: u32,
        decision: &mut Decision,
        steps: &mut Vec<Step>,
    ) -> Result<(), NotKnown> {
        let by_no_filter = u64::from(u32::MAX);
        let reason = pair(u64::from(status), by_no_filter);
        self.answer(outcome::FILTER_REPLY, reason, decision, steps)
    }

    /// Whether the filter of this index in the connection manager is one whose answers no route
    /// changes: it writes them itself.
    fn is_cors(&self, index: u64) -> bool {
        let filters = self.chain.map_or(&[][..], |chain| &chain.http_filters);
        let mut filters = filters.iter().filter(|it| it.index as u64 == index);
        filters.any(|filter| matches!(filter.config, FilterKind::Cors(_)))
    }

    /// The body of a direct response, where it is known: none goes to HEAD, and gRPC gets it as a
    /// message.
    fn body(&self, action: &DirectResponseAction) -> Option<String> {
        let method = self.request.method.trim_matches([' ', '\t']);
        if method == "HEAD" || self.seen.grpc {
            return Some(String::new());
        }
        let local = self.manager.local_reply_config.as_ref();
        if local.is_some_and(|local| local.body_format.is_some()) || self.may_be_grpc_web() {
            return None;
        }
        let asked = self.asked(Some((0, 0, "", "-")), false, false);
        body::body(action, &self.entries(), asked).ok()
    }

    /// Whether a filter may take the request for gRPC, whose answers are messages: `grpc_web` does.
    fn may_be_grpc_web(&self) -> bool {
        let mut lines = self.request.headers.iter();
        header_filters(self.manager).change_any
            && lines.any(|(name, value)| {
                let value = value.trim_matches([' ', '\t']);
                name.eq_ignore_ascii_case("content-type")
                    && value.starts_with("application/grpc-web")
            })
    }

    fn redirect(
        &self,
        action: &RedirectAction,
        decision: &mut Decision,
        steps: &mut Vec<Step>,
    ) -> Result<(), NotKnown> {
        let mut request = self.entries();
        let asked = self.asked(Some((0, 0, "", "-")), false, false);
        let made = match &action.path_rewrite_specifier {
            Some(PathRewriteSpecifier::PathRewrite(format)) => {
                let made = format::value(format, "", &request, None, &asked);
                Some(made.ok_or(NotKnown)?)
            }
            _ => None,
        };
        let substitutions = &self.compiled.substitutions;
        let location = redirect::location(
            self.seen,
            self.route,
            action,
            substitutions,
            made.as_deref(),
        );
        let path = match &action.path_rewrite_specifier {
            Some(PathRewriteSpecifier::PrefixRewrite(prefix)) if !prefix.is_empty() => {
                let rest = self.seen.path.get(prefix_length(self.route, self.seen)..);
                Some(prefix.clone() + rest.unwrap_or_default())
            }
            Some(PathRewriteSpecifier::RegexRewrite(rule)) => {
                Some(substituted(substitutions, rule, self.seen))
            }
            _ => None,
        };
        if let Some(path) = path {
            request.keep_original("x-envoy-original-path", self.seen.path.clone());
            request.write(":path", path);
        }
        let status = redirect::status(action);
        let mut response = Entries::of_response(status, true, self.manager);
        response.write("location", location);
        let state = Some((0, 0, "direct_response", "-"));
        let response = self.respond(&request, response, state, false, decision, steps);
        let location = response.first("location").ok_or(NotKnown)?;
        decision.location = location.map(|it| it.trim_matches([' ', '\t']).to_owned());
        Ok(())
    }
}

/// Leaves a decision undecided for want of a rewrite.
pub(crate) fn undecide(decision: &mut Decision, steps: &mut Vec<Step>) {
    decision.outcome = Outcome::Unsupported;
    decision.reason = Some("the route's rewrite is not decided for this request".to_owned());
    decision.location = None;
    steps.push(Step::Unsupported);
}

/// `cluster_not_found_response_code`.
pub(crate) fn not_found(action: &RouteAction) -> u32 {
    match ClusterNotFoundResponseCode::try_from(action.cluster_not_found_response_code) {
        Ok(ClusterNotFoundResponseCode::NotFound) => 404,
        Ok(ClusterNotFoundResponseCode::InternalServerError) => 500,
        _ => 503,
    }
}
