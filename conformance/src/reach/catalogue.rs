//! All goals of a snapshot.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::listener::v3::FilterChainMatch;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteMatch, route::Action, route_action::ClusterSpecifier,
    route_match::TlsContextMatchOptions,
};
use twinmesh_spec::reading::{is_never_taken, undecided_match};
use twinmesh_xds::http_filter::{FilterKind, HttpFilter, Level};
use twinmesh_xds::network_rbac::Judge;
use twinmesh_xds::{FilterChain, Snapshot, Terminal, Unsupported};

use super::goal::{Filter, PolicyOf};
use super::policy::{Judging, asks_for_peer, judging, on_level, takes_all};
use super::{Goal, Part, RouteAt};

/// Why nobody can say whether such a policy matches.
const PEER: &str = "who the peer of a TLS connection is, is not decided";

/// Why nobody can say here whether a goal is reached.
pub type Undecided = String;

/// All goals of a snapshot, and of which of them nothing can be said here.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// In the order of the snapshot.
    pub goals: Vec<Goal>,
    /// Those that this build does not decide, each with the reason.
    pub undecided: BTreeMap<Goal, Undecided>,
}

impl Catalogue {
    /// That of the snapshot.
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut catalogue = Self::default();
        catalogue.listeners(snapshot);
        for configuration in 0..snapshot.route_configurations.len() {
            catalogue.route_configuration(snapshot, configuration);
        }
        for (index, cluster) in snapshot.clusters.iter().enumerate() {
            catalogue.add(Goal::Cluster(index), None);
            let assignment = cluster.load_assignment.iter();
            let localities = assignment.flat_map(|assignment| &assignment.endpoints);
            for (locality, endpoints) in localities.enumerate() {
                for endpoint in 0..endpoints.lb_endpoints.len() {
                    let goal = Goal::Endpoint {
                        cluster: index,
                        locality,
                        endpoint,
                    };
                    catalogue.add(goal, reason(cluster.unsupported.as_ref()));
                }
            }
        }
        catalogue
    }

    fn add(&mut self, goal: Goal, undecided: Option<Undecided>) {
        self.goals.push(goal);
        if let Some(reason) = undecided {
            self.undecided.insert(goal, reason);
        }
    }

    fn listeners(&mut self, snapshot: &Snapshot) {
        for (listener, resource) in snapshot.listeners.iter().enumerate() {
            let undecided = reason(resource.unsupported.as_ref());
            let by_tree = resource.config.filter_chain_matcher.is_some();
            self.add(Goal::Listener(listener), None);
            for (chain, resource) in resource.filter_chains.iter().enumerate() {
                let goal = Goal::FilterChain {
                    listener,
                    chain: Some(chain),
                };
                self.add(goal, undecided.clone());
                self.filters(
                    snapshot,
                    (listener, Some(chain)),
                    resource,
                    undecided.as_ref(),
                );
                // Beside a matcher tree they are not asked.
                let asked = resource.config.filter_chain_match.as_ref();
                let asked = asked.filter(|_| !by_tree);
                for criterion in asked.map(criteria).unwrap_or_default() {
                    let goal = Goal::Criterion {
                        listener,
                        chain,
                        criterion,
                    };
                    self.add(goal, undecided.clone());
                }
            }
            if let Some(chain) = &resource.default_filter_chain {
                let goal = Goal::FilterChain {
                    listener,
                    chain: None,
                };
                self.add(goal, undecided.clone());
                self.filters(snapshot, (listener, None), chain, undecided.as_ref());
            }
        }
    }

    /// The filters of a filter chain that may close its connections or answer its requests.
    fn filters(
        &mut self,
        snapshot: &Snapshot,
        (listener, chain): (usize, Option<usize>),
        resource: &FilterChain,
        of_listener: Option<&Undecided>,
    ) {
        let undecided = reason(resource.unsupported.as_ref());
        let undecided = of_listener.cloned().or(undecided);
        let at = |filter| Filter {
            listener,
            chain,
            filter,
        };
        for filter in &resource.network_rbac {
            let judging = match &filter.judge {
                Judge::Rules(rules) => Judging::Rules(rules),
                Judge::Matcher(matcher) => Judging::Matcher(matcher),
            };
            let of = PolicyOf::Network(at(filter.index));
            self.policies(of, judging, undecided.as_ref());
        }
        for filter in &resource.http_filters {
            let at = at(filter.index);
            match &filter.config {
                FilterKind::Rbac(rbac) => {
                    if let Some(judging) = Judging::of(rbac) {
                        self.policies(PolicyOf::Http(at), judging, undecided.as_ref());
                    }
                }
                FilterKind::Undecided => {}
                _ => {
                    if may_answer(snapshot, resource, filter) {
                        self.add(Goal::Answer(at), undecided.clone());
                    }
                }
            }
        }
    }

    fn policies(&mut self, of: PolicyOf, judging: Judging<'_>, undecided: Option<&Undecided>) {
        for (policy, found) in judging.policies().into_iter().enumerate() {
            let asks_for_peer = found.policy.is_some_and(asks_for_peer);
            let peer = asks_for_peer.then(|| PEER.to_owned());
            let side = |matches| Goal::Policy {
                of,
                policy,
                matches,
            };
            self.add(side(true), undecided.cloned().or(peer));
            // What matches everything has one side.
            if !found.policy.is_some_and(takes_all) {
                self.add(side(false), undecided.cloned());
            }
        }
    }

    /// The policies that a level of a route configuration has for filters in front of it.
    fn on_level(
        &mut self,
        snapshot: &Snapshot,
        configuration: usize,
        level: Level,
        undecided: Option<&Undecided>,
    ) {
        for of in on_level(snapshot, configuration, level) {
            if let Some(judging) = judging(snapshot, of) {
                self.policies(of, judging, undecided);
            }
        }
    }

    fn route_configuration(&mut self, snapshot: &Snapshot, configuration: usize) {
        let Some(resource) = snapshot.route_configurations.get(configuration) else {
            return;
        };
        let all = reason(resource.unsupported.as_ref());
        self.on_level(
            snapshot,
            configuration,
            Level::RouteConfiguration,
            all.as_ref(),
        );
        for (virtual_host, host) in resource.config.virtual_hosts.iter().enumerate() {
            for domain in 0..host.domains.len() {
                let goal = Goal::Domain {
                    configuration,
                    virtual_host,
                    domain,
                };
                self.add(goal, all.clone());
            }
            let marks = resource.virtual_hosts.get(virtual_host);
            let of_host = marks.and_then(|marks| reason(marks.unsupported.as_ref()));
            let of_host = all.clone().or(of_host);
            let level = Level::VirtualHost(virtual_host);
            self.on_level(snapshot, configuration, level, of_host.as_ref());
            for (route, config) in host.routes.iter().enumerate() {
                let mark = marks.and_then(|marks| marks.routes.get(route)?.as_ref());
                let at = RouteAt {
                    configuration,
                    virtual_host,
                    route,
                };
                self.route(at, config, mark, of_host.as_ref());
                let undecided = of_host.clone().or_else(|| reason(mark));
                let level = Level::Route(virtual_host, route);
                self.on_level(snapshot, configuration, level, undecided.as_ref());
                for entry in entries(config) {
                    let level = Level::Entry(virtual_host, route, entry);
                    self.on_level(snapshot, configuration, level, undecided.as_ref());
                }
            }
        }
    }

    fn route(
        &mut self,
        at: RouteAt,
        config: &Route,
        mark: Option<&Unsupported>,
        of_host: Option<&Undecided>,
    ) {
        let in_match = match_undecided(config, mark);
        let undecided = of_host.cloned().or(in_match);
        self.add(Goal::Route(at), undecided.clone());
        for part in config.r#match.iter().flat_map(parts) {
            self.add(Goal::Accepts(at, part), undecided.clone());
            if !always_accepts(config.r#match.as_ref(), part) {
                self.add(Goal::Refuses(at, part), undecided.clone());
            }
        }
        for entry in entries(config) {
            let undecided = undecided.clone().or_else(|| reason(mark));
            self.add(Goal::Weight(at, entry), undecided);
        }
    }
}

/// Whether a filter answers some request by its own configuration or by one that a route has for it.
fn may_answer(snapshot: &Snapshot, chain: &FilterChain, filter: &HttpFilter) -> bool {
    let answers = |config: &FilterKind| match config {
        // A delay alone answers nothing.
        FilterKind::Fault(fault) => fault.abort.is_some(),
        config => config.acts(),
    };
    let table = match chain.terminal {
        Terminal::Http {
            route_configuration,
            ..
        } => route_configuration,
        _ => None,
    };
    let table = table.and_then(|index| snapshot.route_configurations.get(index));
    let said = table.into_iter().flat_map(|it| it.per_filters.values());
    let said = said.filter_map(|level| level.get(&filter.name));
    let is_enabled = !filter.disabled || said.clone().any(|said| !said.disabled);
    let own = said.filter_map(|said| said.config.as_ref());
    is_enabled
        && (answers(&filter.config) || own.filter(|it| it.is_like(&filter.config)).any(answers))
}

fn reason(unsupported: Option<&Unsupported>) -> Option<Undecided> {
    unsupported.map(ToString::to_string)
}

/// Why it is not known which requests the route takes.
pub(crate) fn match_undecided(route: &Route, mark: Option<&Unsupported>) -> Option<Undecided> {
    let in_match = |mark: &&Unsupported| {
        mark.path
            .split('.')
            .any(|part| part == "match" || part.starts_with("match["))
    };
    let by_reader = mark.filter(in_match).map(ToString::to_string);
    by_reader.or_else(|| undecided_match(route).map(str::to_owned))
}

/// The matchers of a route whose sides are told apart, in Envoy's order.
pub(crate) fn parts(route_match: &RouteMatch) -> Vec<Part> {
    if is_never_taken(route_match) {
        return Vec::new();
    }
    let grpc = route_match.grpc.iter().map(|_| Part::Grpc);
    let headers = (0..route_match.headers.len()).map(Part::Header);
    let parameters = (0..route_match.query_parameters.len()).map(Part::QueryParameter);
    let path = route_match.path_specifier.iter().map(|_| Part::Path);
    let cookies = (0..route_match.cookies.len()).map(Part::Cookie);
    let asks = |it: &&TlsContextMatchOptions| it.presented.is_some() || it.validated.is_some();
    let tls_context = route_match.tls_context.as_ref().filter(asks);
    grpc.chain(headers)
        .chain(parameters)
        .chain(cookies)
        .chain(tls_context.map(|_| Part::TlsContext))
        .chain(path)
        .collect()
}

/// Every path starts with a slash: a matcher that asks for no more has one side only.
pub(crate) fn always_accepts(route_match: Option<&RouteMatch>, part: Part) -> bool {
    part == Part::Path && route_match.is_some_and(super::refusals::takes_any_path)
}

/// The entries of the route's weighted clusters that have a weight.
pub(crate) fn entries(route: &Route) -> Vec<usize> {
    let Some(Action::Route(action)) = &route.action else {
        return Vec::new();
    };
    let Some(ClusterSpecifier::WeightedClusters(weighted)) = &action.cluster_specifier else {
        return Vec::new();
    };
    let clusters = weighted.clusters.iter().enumerate();
    clusters
        .filter(|(_, cluster)| cluster.weight.as_ref().is_some_and(|it| it.value > 0))
        .map(|(index, _)| index)
        .collect()
}

/// The criteria that a filter chain asks by, in Envoy's order.
pub(crate) fn criteria(asked: &FilterChainMatch) -> Vec<&'static str> {
    let asks = [
        ("destination_port", asked.destination_port.is_some()),
        ("prefix_ranges", !asked.prefix_ranges.is_empty()),
        ("server_names", !asked.server_names.is_empty()),
        ("transport_protocol", !asked.transport_protocol.is_empty()),
        (
            "application_protocols",
            !asked.application_protocols.is_empty(),
        ),
        (
            "direct_source_prefix_ranges",
            !asked.direct_source_prefix_ranges.is_empty(),
        ),
        ("source_type", asked.source_type != 0),
        (
            "source_prefix_ranges",
            !asked.source_prefix_ranges.is_empty(),
        ),
        ("source_ports", !asked.source_ports.is_empty()),
    ];
    let asks = asks.into_iter().filter(|(_, asks)| *asks);
    asks.map(|(name, _)| name).collect()
}
