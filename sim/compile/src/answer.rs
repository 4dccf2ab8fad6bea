//! From what the model left back to names: the decision and its trace.

use envoy_types::pb::envoy::config::route::v3::{Route, route::Action};
use twinmesh_engine::{
    Answer, BadRequest, Chain, Decision, Did, Domain, Held, Outcome, Request, Step, Trace,
};
use twinmesh_model::layout::{
    bad_request, cluster, domain, filter_step, high, level, listener, low, outcome, unsupported,
    work,
};
use twinmesh_xds::RouteConfiguration;

use crate::Compiled;
use crate::delay;
use crate::endpoint_name::{endpoint_name, locality_name};
use crate::filter_chain_matcher::named_step;
use crate::headers::{not_found, undecide};
use crate::managed::Managed;
use crate::network_rbac::{chooses_first, network_step};
use crate::redirect;
use crate::refused::bad_request_of;
use crate::seen::Seen;

/// The words that a decision leaves, from [`work::OUTCOME`] on.
pub type Left = [u64; work::LEFT as usize];

/// What HTTP filters left, where they run, and the request's number.
#[derive(Debug, Clone, Default)]
pub struct Filtered {
    /// Their steps, as in [`filter_step`].
    pub steps: Vec<u64>,
    /// By how many microseconds they delayed the request.
    pub delayed_us: u64,
    /// The request's random number.
    pub random: u64,
}

/// What the model left, by name.
pub(crate) struct Record<'a> {
    pub(crate) left: &'a Left,
}

impl Record<'_> {
    pub(crate) fn word(&self, index: u64) -> u64 {
        self.left
            .get((index - work::OUTCOME) as usize)
            .copied()
            .unwrap_or(0)
    }
}

impl Compiled {
    pub(crate) fn policy_word(&self, offset: u64) -> u64 {
        self.policy.get((offset / 8) as usize).copied().unwrap_or(0)
    }

    /// The index that a record carries in its third word.
    pub(crate) fn index(&self, record: u64) -> Option<usize> {
        (record != 0).then(|| low(self.policy_word(record + listener::INDEX)) as usize)
    }

    /// The decision and, if asked for, the trace; `not_matched` gives the steps of the routes
    /// before the one with this index (or of all, where none matched).
    pub fn answer(
        &self,
        request: &Request,
        left: &Left,
        not_matched: Option<&mut dyn FnMut(u64) -> Vec<Step>>,
    ) -> Answer {
        self.answer_managed(request, None, left, not_matched)
    }

    /// As [`Self::answer`], of a request that was decided as [`Self::managed`] gave it; `came` is
    /// the request as it came. Nothing is said of bodies, of headers that the route changes, nor of
    /// copies of the request.
    pub fn answer_managed(
        &self,
        came: &Request,
        managed: Option<&Managed>,
        left: &Left,
        not_matched: Option<&mut dyn FnMut(u64) -> Vec<Step>>,
    ) -> Answer {
        let nothing = Filtered::default();
        let mut answer = self.answer_filtered(came, managed, left, &nothing, not_matched);
        let decision = &mut answer.decision;
        decision.body = None;
        (decision.request_headers, decision.response_headers) = (None, None);
        decision.mirrors = Vec::new();
        let is_told = |step: &Step| !matches!(step, Step::Mutation { .. } | Step::Mirror { .. });
        answer.trace.steps.retain(is_told);
        answer
    }

    /// As [`Self::answer_managed`], of a machine that runs HTTP filters.
    pub fn answer_filtered(
        &self,
        came: &Request,
        managed: Option<&Managed>,
        left: &Left,
        filtered: &Filtered,
        not_matched: Option<&mut dyn FnMut(u64) -> Vec<Step>>,
    ) -> Answer {
        let request = managed.map_or(came, |managed| &managed.request);
        let record = Record { left };
        let code = record.word(work::OUTCOME);
        let mut answer = Answer::default();
        answer.decision.id.clone_from(&request.id);
        answer.decision.outcome = outcome_of(code);
        let mut steps = Vec::new();
        let decision = &mut answer.decision;
        if let Some(index) = self.index(record.word(work::CHOSEN_LISTENER)) {
            steps.push(Step::Listener(index));
            steps.extend(filtered.steps.iter().copied().find_map(named_step));
            let chosen = self.snapshot.listeners.get(index);
            decision.listener = chosen.map(|listener| listener.name.clone());
            if let Some(chain) = self.index(record.word(work::CHOSEN_FILTER_CHAIN)) {
                let default = chain == u32::MAX as usize;
                steps.push(Step::FilterChain(if default {
                    Chain::Default
                } else {
                    Chain::Index(chain)
                }));
                let config = chosen.and_then(|listener| {
                    if default {
                        listener.default_filter_chain.as_ref()
                    } else {
                        listener.filter_chains.get(chain)
                    }
                });
                decision.filter_chain = config
                    .map(|chain| chain.config.name.clone())
                    .filter(|name| !name.is_empty());
            }
        }
        if code == outcome::NO_FILTER_CHAIN
            && matches!(steps.last(), Some(Step::FilterChainMatcher(_)))
        {
            let why = "the listener has no filter chain of the name that its matcher leads to";
            decision.reason = Some(why.to_owned());
        }
        let by_proxy = self.chain_of(&record).is_some_and(chooses_first);
        let (of_connection, of_requests): (Vec<u64>, Vec<u64>) = (filtered
            .steps
            .iter()
            .filter(|step| named_step(**step).is_none()))
        .partition(|step| network_step(**step).is_some());
        let mut of_connection = of_connection.into_iter().filter_map(network_step);
        if !by_proxy {
            steps.extend(of_connection.by_ref());
        }
        let seen = self.seen(request, &record);
        let reason = record.word(work::REASON);
        if code == outcome::BAD_REQUEST {
            let why = if managed.is_some_and(|managed| managed.refused)
                && reason == bad_request::INVALID_HOST
            {
                BadRequest::Connection
            } else {
                bad_request_of(reason)
            };
            steps.push(Step::BadRequest(why));
            let by_codec = reason <= bad_request::BY_CODEC;
            decision.status = Some(if by_codec {
                status_of(reason)
            } else {
                seen.status(status_of(reason))
            });
            decision.reason = Some(format!("the request head is refused: {why}"));
        }
        let mut not_matched = not_matched;
        self.routing(&seen, &record, decision, &mut steps, &mut not_matched);
        if let Some(entry) = record.word(work::ENTRY).checked_sub(1) {
            steps.push(Step::WeightedCluster {
                entry: entry as usize,
                value: record.word(work::VALUE),
                from: record.word(work::INTERVAL_FROM),
                to: record.word(work::INTERVAL_TO),
            });
        }
        steps.extend(of_requests.into_iter().map(filter_step));
        answer.delayed_us = filtered.delayed_us;
        if code == outcome::FILTER_REPLY {
            let status = low(record.word(work::REASON)) as u32;
            decision.status = Some(seen.status(status));
            let name = self.filter_name(&record);
            decision.reason = Some(format!("the HTTP filter {name:?} answers"));
        }
        let all = (came, request, &seen);
        if let Some(held) = self.upstream(all, &record, filtered, decision, &mut steps) {
            answer.held = Some(held);
        }
        if self.asked_network_filters(came, &record, decision) {
            steps.extend(of_connection);
        }
        let taken = self.taken(all, &record, filtered);
        if let Some(taken) = &taken
            && taken.answer(code, reason, decision, &mut steps).is_err()
        {
            undecide(decision, &mut steps);
        }
        if code == outcome::UNSUPPORTED
            && !self.managed_reply(request, &record, decision, &mut steps)
            && !self.upgrade_reply(
                managed,
                taken.as_ref(),
                (&record, &seen),
                decision,
                &mut steps,
            )
        {
            steps.push(Step::Unsupported);
            let of_upgrade = self.upgrade_undecided(came, managed, &record);
            decision.reason = Some(of_upgrade.unwrap_or_else(|| self.reason(reason)));
        }
        if decision.outcome == Outcome::Redirect
            && decision.route.is_none()
            && self.changes_headers(&record)
        {
            decision.outcome = Outcome::Unsupported;
            decision.location = None;
            decision.response_headers = None;
            let why = "a header_mutation filter may change where it redirects to";
            decision.reason = Some(why.to_owned());
            steps.push(Step::Unsupported);
        }
        if answer.delayed_us != 0 && decision.outcome != Outcome::Unsupported {
            let route = taken.as_ref().map(|taken| taken.route());
            let manager = self.manager_of(&record);
            let met = manager.and_then(|it| delay::meets(answer.delayed_us / 1000, it, route));
            if let Some(timeout) = met {
                decision.outcome = Outcome::Unsupported;
                decision.reason = Some(format!("HTTP filters delay it for as long as {timeout}"));
                steps.push(Step::Unsupported);
            }
        }
        if answer.delayed_us != 0 {
            let delay = format!("HTTP filters delay it by {} ms", answer.delayed_us / 1000);
            decision.reason = Some(match decision.reason.take() {
                Some(reason) => format!("{reason}; {delay}"),
                None => delay,
            });
        }
        if not_matched.is_some() {
            answer.trace = Trace { steps };
        }
        answer
    }

    /// Whether filters of the chain that the request came to change headers.
    fn changes_headers(&self, record: &Record<'_>) -> bool {
        let chain = self.chain_of(record);
        chain.is_some_and(|chain| !chain.header_mutations.is_empty())
    }

    /// The name of the filter that answered.
    fn filter_name(&self, record: &Record<'_>) -> &str {
        let index = high(record.word(work::REASON)) as usize;
        let manager = self.manager_of(record);
        let filter = manager.and_then(|manager| manager.http_filters.get(index));
        filter.map_or("", |filter| filter.name.as_str())
    }

    /// Route configuration, virtual host and route.
    fn routing(
        &self,
        seen: &Seen,
        record: &Record<'_>,
        decision: &mut Decision,
        steps: &mut Vec<Step>,
        not_matched: &mut Option<&mut dyn FnMut(u64) -> Vec<Step>>,
    ) {
        let Some(index) = self.index(record.word(work::CHOSEN_ROUTE_CONFIGURATION)) else {
            return;
        };
        let Some(configuration) = self.snapshot.route_configurations.get(index) else {
            return;
        };
        decision.route_config = Some(configuration.name.clone()).filter(|name| !name.is_empty());
        let code = record.word(work::OUTCOME);
        if code == outcome::BAD_REQUEST {
            return;
        }
        steps.push(Step::RouteConfiguration(index));
        if code == outcome::NO_VIRTUAL_HOST || code == outcome::NO_ROUTE {
            decision.status = Some(seen.status(404));
        }
        let host = record.word(work::CHOSEN_VIRTUAL_HOST);
        let Some(position) = self.index(host) else {
            return;
        };
        let Some(config) = configuration.config.virtual_hosts.get(position) else {
            return;
        };
        steps.push(Step::VirtualHost {
            virtual_host: position,
            domain: domain_of(record.word(work::DOMAIN)),
        });
        decision.virtual_host = Some(config.name.clone());
        let first = low(self.policy_word(host + 8));
        let marked = |marks: &RouteConfiguration| {
            marks
                .virtual_hosts
                .get(position)
                .is_some_and(|host| host.unsupported.is_some())
        };
        let Some(number) = record.word(work::CHOSEN_ROUTE).checked_sub(1) else {
            if code == outcome::REDIRECT {
                decision.status = Some(seen.status(301));
                decision.location = Some(format!("https://{}{}", seen.authority, seen.path));
                decision.reason = Some("the virtual host requires TLS".to_owned());
            }
            // Where there is no route, filters may answer, or leave it undecided.
            if [
                outcome::NO_ROUTE,
                outcome::FILTER_REPLY,
                outcome::UNSUPPORTED,
            ]
            .contains(&code)
                && !marked(configuration)
                && let Some(not_matched) = not_matched
            {
                steps.extend(not_matched(first + config.routes.len() as u64));
            }
            return;
        };
        if let Some(not_matched) = not_matched {
            steps.extend(not_matched(number));
        }
        let position = (number - first) as usize;
        steps.push(Step::Route(position));
        let Some(route) = config.routes.get(position) else {
            return;
        };
        decision.route = Some(if route.name.is_empty() {
            format!("#{position}")
        } else {
            route.name.clone()
        });
        local_reply(seen, route, code, decision);
    }

    /// Cluster and endpoint; what the request holds. The request stands there as it came, as it
    /// was decided, and as routes see it.
    fn upstream(
        &self,
        (came, request, seen): (&Request, &Request, &Seen),
        record: &Record<'_>,
        filtered: &Filtered,
        decision: &mut Decision,
        steps: &mut Vec<Step>,
    ) -> Option<Held> {
        let index = self.index(record.word(work::CHOSEN_CLUSTER))?;
        let code = record.word(work::OUTCOME);
        let Some(cluster) = self.snapshot.clusters.get(index) else {
            decision.cluster = if index as u64 == cluster::NAMED {
                self.named_cluster(request, seen, record)
            } else {
                let missing = index - self.snapshot.clusters.len();
                self.missing.get(missing).cloned()
            };
            return None;
        };
        decision.cluster = Some(cluster.name.clone());
        steps.push(Step::Cluster(index));
        if code == outcome::FORWARD_TO_DESTINATION {
            let routed = record.word(work::CHOSEN_ROUTE) != 0;
            let listener = self.index(record.word(work::CHOSEN_LISTENER));
            match self.original_destination(request, listener) {
                Some(address) => {
                    let name = address.to_string();
                    decision.endpoint = Some(name.clone());
                    decision.priority = Some(0);
                    if let Some(taken) = self.taken((came, request, seen), record, filtered)
                        && taken
                            .with_endpoint(&name, None)
                            .forward(decision, steps)
                            .is_err()
                    {
                        undecide(decision, steps);
                    }
                }
                None => {
                    decision.outcome = Outcome::NoHealthyUpstream;
                    decision.status = routed.then(|| seen.status(503));
                    let taken = self.taken((came, request, seen), record, filtered);
                    if let Some(taken) = taken
                        && taken
                            .answer(outcome::NO_HEALTHY_UPSTREAM, 0, decision, steps)
                            .is_err()
                    {
                        undecide(decision, steps);
                    }
                }
            }
            return None;
        }
        let value = record.word(work::PRIORITY_VALUE);
        let level_word = record.word(work::LEVEL);
        let routed = record.word(work::CHOSEN_ROUTE) != 0;
        if code == outcome::OVERFLOW {
            decision.status = routed.then(|| seen.status(503));
            return None;
        }
        if code == outcome::NO_HEALTHY_UPSTREAM && routed {
            decision.status = Some(seen.status(503));
        }
        if value != 0 {
            steps.push(Step::Priority {
                priority: (level_word & 0xffff) as u32,
                value: value as u32,
                degraded: level_word & level::DEGRADED != 0,
                panic: level_word & level::PANIC != 0,
            });
        }
        // Otherwise a header names the endpoint.
        if value == 0
            && cluster.override_headers.is_some()
            && let Some(source) = (level_word as usize).checked_sub(1)
        {
            steps.push(Step::OverrideHost(source));
        }
        // A network filter may have stopped what has an endpoint.
        let chosen = [outcome::FORWARD, outcome::CLOSED, outcome::UNSUPPORTED];
        if !chosen.contains(&code) {
            return None;
        }
        let number = record.word(work::ENDPOINT).checked_sub(1)?;
        let (_, locality, position) = (*self.endpoints.get(number as usize)?)?;
        steps.push(Step::Endpoint {
            locality,
            endpoint: position,
        });
        let group = cluster.load_assignment.as_ref()?.endpoints.get(locality)?;
        decision.priority = Some(group.priority);
        decision.locality = group.locality.as_ref().and_then(locality_name);
        let endpoint = group.lb_endpoints.get(position);
        decision.endpoint = endpoint.and_then(endpoint_name);
        let name = decision.endpoint.clone().unwrap_or_default();
        if let Some(taken) = self.taken((came, request, seen), record, filtered)
            && taken
                .with_endpoint(&name, endpoint)
                .forward(decision, steps)
                .is_err()
        {
            undecide(decision, steps);
        }
        Some(Held {
            cluster: index,
            locality,
            endpoint: position,
            generation: 0,
        })
    }

    /// A reason in words.
    pub fn reason(&self, number: u64) -> String {
        match number {
            unsupported::HEAD_TOO_LARGE => "the request head is larger than this engine takes".to_owned(),
            unsupported::TOO_MANY_VALUES => {
                "the request has more headers, parameters or candidate routes than this engine looks at".to_owned()
            }
            unsupported::PATH_NOT_NORMAL => "the connection manager changes the request, and it is not known how".to_owned(),
            unsupported::TARGET_FORM => "the form of the request's target is not decided".to_owned(),
            unsupported::HEADER_REWRITTEN => {
                "Envoy rewrites a header of this request before routing, which is not decided".to_owned()
            }
            unsupported::FILTERS => {
                "the filter chain has filters that may answer or close connections, which this engine does not run".to_owned()
            }
            unsupported::CLIENT_ADDRESS => {
                "a filter or a filter chain looks at the source, which the request does not say".to_owned()
            }
            unsupported::DESTINATION => {
                "a filter or a filter chain looks at the destination, which the request does not say".to_owned()
            }
            unsupported::PEER => {
                "a filter looks at who a TLS connection's peer is, which is not decided".to_owned()
            }
            unsupported::INTERNAL_HEADER => {
                "an HTTP filter looks at a header that is taken from requests from outside, which is not decided".to_owned()
            }
            unsupported::ACTIVE_FAULTS => "more faults are active than this engine counts".to_owned(),
            unsupported::USERSPACE => {
                "what the route or the cluster asks for is decided in userspace only".to_owned()
            }
            unsupported::HASH_OF_COOKIE => {
                "the hash takes a cookie that Envoy would make up, which is not decided".to_owned()
            }
            unsupported::HASH_OF_SOURCE => {
                "the hash takes the client's address, which the request does not say plainly".to_owned()
            }
            unsupported::FILTER_CHAIN_MATCHER => {
                "a matcher tree chooses the filter chain, which is done in userspace only".to_owned()
            }
            unsupported::UPGRADE => "the filters of an upgrade are not decided".to_owned(),
            unsupported::SLOW_START => "slow start is decided over virtual time only".to_owned(),
            unsupported::HASH => "the hash takes something that is not decided".to_owned(),
            _ => number
                .checked_sub(unsupported::FIRST_OF_SNAPSHOT)
                .and_then(|index| self.reasons.get(index as usize))
                .map_or_else(|| format!("reason {number}"), ToString::to_string),
        }
    }
}

/// A step of a filter.
fn filter_step(step: u64) -> Step {
    let did = match step >> 16 & 0xffff {
        filter_step::DELAYED => Did::Delay(step >> 32),
        filter_step::ANSWERED => Did::Answer((step >> 32) as u32),
        _ => Did::Pass,
    };
    Step::Filter {
        filter: (step & 0xffff) as usize,
        did,
    }
}

/// What a redirect, a direct response or a missing cluster answers.
fn local_reply(seen: &Seen, route: &Route, code: u64, decision: &mut Decision) {
    match (&route.action, code) {
        (Some(Action::Redirect(action)), outcome::REDIRECT) => {
            decision.status = Some(seen.status(redirect::status(action)));
        }
        (Some(Action::DirectResponse(action)), outcome::DIRECT_RESPONSE) => {
            decision.status = Some(seen.status(action.status))
        }
        (Some(Action::Route(action)), outcome::NO_CLUSTER) => {
            decision.status = Some(seen.status(not_found(action)));
        }
        _ => {}
    }
}

fn outcome_of(code: u64) -> Outcome {
    match code {
        outcome::FORWARD | outcome::FORWARD_TO_DESTINATION => Outcome::Forward,
        outcome::REDIRECT => Outcome::Redirect,
        outcome::DIRECT_RESPONSE | outcome::FILTER_REPLY | outcome::CLOSED => {
            Outcome::DirectResponse
        }
        outcome::NO_LISTENER => Outcome::NoListener,
        outcome::NO_FILTER_CHAIN => Outcome::NoFilterChain,
        outcome::NO_VIRTUAL_HOST => Outcome::NoVirtualHost,
        outcome::NO_ROUTE => Outcome::NoRoute,
        outcome::NO_CLUSTER => Outcome::NoCluster,
        outcome::NO_HEALTHY_UPSTREAM => Outcome::NoHealthyUpstream,
        outcome::BAD_REQUEST => Outcome::BadRequest,
        outcome::OVERFLOW => Outcome::Overflow,
        _ => Outcome::Unsupported,
    }
}

fn domain_of(code: u64) -> Domain {
    match code {
        domain::EXACT => Domain::Exact,
        domain::SUFFIX => Domain::Suffix,
        domain::PREFIX => Domain::Prefix,
        _ => Domain::Any,
    }
}

/// The HTTP status of a refusal.
fn status_of(code: u64) -> u32 {
    match code {
        bad_request::TOO_LARGE => 431,
        bad_request::TRANSFER_ENCODING => 501,
        bad_request::VERSION => 426,
        bad_request::SCHEME => 403,
        bad_request::NOT_A_PATH => 404,
        _ => 400,
    }
}
