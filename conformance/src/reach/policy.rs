//! The policies of RBAC filters, wherever they stand.

use envoy_types::pb::envoy::config::rbac::v3::{
    Action as TreeAction, Permission, Policy, Principal, Rbac as Rules, permission::Rule,
    principal::Identifier, rbac::Action,
};
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac;
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use twinmesh_xds::http_filter::{FilterKind, Level};
use twinmesh_xds::network_rbac::Judge;
use twinmesh_xds::{FilterChain, Snapshot, Terminal};

use super::goal::{Filter, PolicyOf, RouteAt};
use super::name::quoted;
use crate::matcher_tree;

/// By what a filter of RBAC decides.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Judging<'a> {
    /// Rules, whose policies are counted in the order of their names.
    Rules(&'a Rules),
    /// A matcher tree, whose actions are counted depth first.
    Matcher(&'a Matcher),
}

/// A policy, or an action of a matcher tree.
#[derive(Debug, Clone)]
pub(crate) struct Found<'a> {
    /// Its name.
    pub(crate) name: String,
    /// Its path below the filter's configuration.
    pub(crate) path: String,
    /// `None`: it is an action.
    pub(crate) policy: Option<&'a Policy>,
    /// The action lets on.
    pub(crate) allows: bool,
}

impl<'a> Judging<'a> {
    /// By what an HTTP filter decides; `None` where it lets everything on.
    pub(crate) fn of(rbac: &'a Rbac) -> Option<Self> {
        match (&rbac.matcher, &rbac.rules) {
            (Some(matcher), _) => Some(Self::Matcher(matcher)),
            (None, Some(rules)) if rules.action != Action::Log as i32 => Some(Self::Rules(rules)),
            _ => None,
        }
    }

    /// How many policies, or actions, there are.
    pub(crate) fn count(self) -> usize {
        match self {
            Self::Rules(rules) => rules.policies.len(),
            Self::Matcher(_) => self.policies().len(),
        }
    }

    /// Its policies, or actions, in the order in which they are counted.
    pub(crate) fn policies(self) -> Vec<Found<'a>> {
        match self {
            Self::Rules(rules) => {
                let mut policies: Vec<_> = rules.policies.iter().collect();
                policies.sort_by_key(|(name, _)| name.as_str());
                let policies = policies.into_iter();
                policies
                    .map(|(name, policy)| Found {
                        name: name.clone(),
                        path: format!("rules.policies[{name:?}]"),
                        policy: Some(policy),
                        allows: rules.action == Action::Allow as i32,
                    })
                    .collect()
            }
            Self::Matcher(matcher) => {
                let mut all = Vec::new();
                matcher_tree::walk(matcher, &mut |way, action| {
                    let Some(action) = action else {
                        return;
                    };
                    let action: TreeAction = matcher_tree::decoded(action).unwrap_or_default();
                    all.push(Found {
                        name: action.name,
                        path: format!("matcher.{}", matcher_tree::path(way)),
                        policy: None,
                        allows: action.action != Action::Deny as i32,
                    });
                });
                all
            }
        }
    }
}

/// By what a filter, or what a level says to one, decides.
pub(crate) fn judging(snapshot: &Snapshot, of: PolicyOf) -> Option<Judging<'_>> {
    match of {
        PolicyOf::Http(at) => {
            let filters = &filter_chain(snapshot, at)?.http_filters;
            let filter = filters.iter().find(|it| it.index == at.filter)?;
            match &filter.config {
                FilterKind::Rbac(rbac) => Judging::of(rbac),
                _ => None,
            }
        }
        PolicyOf::Network(at) => {
            let filters = &filter_chain(snapshot, at)?.network_rbac;
            let filter = filters.iter().find(|it| it.index == at.filter)?;
            Some(match &filter.judge {
                Judge::Rules(rules) => Judging::Rules(rules),
                Judge::Matcher(matcher) => Judging::Matcher(matcher),
            })
        }
        PolicyOf::Level {
            configuration,
            level,
            name,
        } => {
            let found = snapshot.route_configurations.get(configuration)?;
            let (_, said) = found.per_filters.get(&level)?.iter().nth(name)?;
            match said.config.as_ref()? {
                FilterKind::Rbac(rbac) if !said.disabled => Judging::of(rbac),
                _ => None,
            }
        }
    }
}

/// The filter chain that a filter stands in.
pub(crate) fn filter_chain(snapshot: &Snapshot, at: Filter) -> Option<&FilterChain> {
    let listener = snapshot.listeners.get(at.listener)?;
    match at.chain {
        Some(index) => listener.filter_chains.get(index),
        None => listener.default_filter_chain.as_ref(),
    }
}

/// The route configuration behind a filter.
pub(crate) fn table(snapshot: &Snapshot, at: Filter) -> Option<usize> {
    match filter_chain(snapshot, at)?.terminal {
        Terminal::Http {
            route_configuration,
            ..
        } => route_configuration,
        _ => None,
    }
}

/// Whether the route, or what it stands in, speaks to the HTTP filter.
pub(crate) fn is_spoken_to(snapshot: &Snapshot, at: Filter, route: RouteAt) -> bool {
    let filters = filter_chain(snapshot, at).map_or(&[][..], |chain| &chain.http_filters);
    let name = filters.iter().find(|it| it.index == at.filter);
    let name = name.map_or("", |filter| filter.name.as_str());
    let found = snapshot.route_configurations.get(route.configuration);
    let levels = [
        Level::RouteConfiguration,
        Level::VirtualHost(route.virtual_host),
        Level::Route(route.virtual_host, route.route),
    ];
    let mut said = levels
        .iter()
        .filter_map(|level| found?.per_filters.get(level));
    said.any(|said| said.contains_key(name))
}

/// What speaks to RBAC filters on a level of a route configuration, where one by that name is in front.
pub(crate) fn on_level(snapshot: &Snapshot, configuration: usize, level: Level) -> Vec<PolicyOf> {
    let found = snapshot.route_configurations.get(configuration);
    let said = found.and_then(|found| found.per_filters.get(&level));
    let names = said.into_iter().flat_map(|said| said.keys()).enumerate();
    names
        .filter(|(_, name)| is_in_front(snapshot, configuration, name))
        .map(|(name, _)| PolicyOf::Level {
            configuration,
            level,
            name,
        })
        .collect()
}

/// Whether a filter chain that leads to the route configuration has an RBAC filter of this name.
fn is_in_front(snapshot: &Snapshot, configuration: usize, name: &str) -> bool {
    snapshot.all_filter_chains().any(|chain| {
        let leads = matches!(&chain.terminal, Terminal::Http { route_configuration, .. }
            if *route_configuration == Some(configuration));
        let mut filters = chain.http_filters.iter();
        leads && filters.any(|it| it.name == name && matches!(it.config, FilterKind::Rbac(_)))
    })
}

/// Whether the policy matches everything that it is asked about.
pub(crate) fn takes_all(policy: &Policy) -> bool {
    policy.permissions.iter().any(is_any) && policy.principals.iter().any(is_anybody)
}

fn is_any(permission: &Permission) -> bool {
    match &permission.rule {
        Some(Rule::Any(any)) => *any,
        Some(Rule::AndRules(set)) => set.rules.iter().all(is_any),
        Some(Rule::OrRules(set)) => set.rules.iter().any(is_any),
        _ => false,
    }
}

fn is_anybody(principal: &Principal) -> bool {
    match &principal.identifier {
        Some(Identifier::Any(any)) => *any,
        Some(Identifier::AndIds(set)) => set.ids.iter().all(is_anybody),
        Some(Identifier::OrIds(set)) => set.ids.iter().any(is_anybody),
        _ => false,
    }
}

/// Whether it takes a peer's certificate to match the policy.
pub(crate) fn asks_for_peer(policy: &Policy) -> bool {
    !policy.principals.is_empty() && policy.principals.iter().all(of_peer)
}

fn of_peer(principal: &Principal) -> bool {
    match &principal.identifier {
        Some(Identifier::Authenticated(_)) => true,
        Some(Identifier::AndIds(set)) => set.ids.iter().any(of_peer),
        Some(Identifier::OrIds(set)) => !set.ids.is_empty() && set.ids.iter().all(of_peer),
        _ => false,
    }
}

/// The path of a filter's configuration in its listener, and the filter's name.
pub(crate) fn filter_path(snapshot: &Snapshot, at: Filter, is_http: bool) -> (String, String) {
    let chain = filter_chain(snapshot, at);
    let base = match at.chain {
        Some(index) => format!("filter_chains[{index}]"),
        None => "default_filter_chain".to_owned(),
    };
    let filters = chain.map_or(&[][..], |chain| &chain.config.filters);
    if !is_http {
        let name = filters.get(at.filter).map_or("", |it| it.name.as_str());
        return (format!("{base}.filters[{}]", at.filter), quoted(name));
    }
    let manager = filters.len().saturating_sub(1);
    let name = match chain.map(|chain| &chain.terminal) {
        Some(Terminal::Http { manager, .. }) => manager.http_filters.get(at.filter),
        _ => None,
    };
    let name = name.map_or("", |it| it.name.as_str());
    let path = format!(
        "{base}.filters[{manager}].typed_config.http_filters[{}]",
        at.filter
    );
    (path, quoted(name))
}

/// The path of what a level of a route configuration says to a filter, and the filter's name.
pub(crate) fn level_path(
    snapshot: &Snapshot,
    configuration: usize,
    level: Level,
    name: usize,
) -> (String, String) {
    let Some(found) = snapshot.route_configurations.get(configuration) else {
        return Default::default();
    };
    let said = found.per_filters.get(&level);
    let name = said.and_then(|said| said.keys().nth(name));
    let name = name.map_or("", String::as_str);
    let hosts = &found.config.virtual_hosts;
    let route = |host: usize, route: usize| hosts.get(host)?.routes.get(route);
    let (base, all) = match level {
        Level::RouteConfiguration => (String::new(), Some(&found.config.typed_per_filter_config)),
        Level::VirtualHost(host) => (
            format!("virtual_hosts[{host}]."),
            hosts.get(host).map(|it| &it.typed_per_filter_config),
        ),
        Level::Route(host, index) => (
            format!("{}.", found.route_path(host, index)),
            route(host, index).map(|it| &it.typed_per_filter_config),
        ),
        Level::Entry(host, index, entry) => (
            format!(
                "{}.route.weighted_clusters.clusters[{entry}].",
                found.route_path(host, index)
            ),
            None,
        ),
    };
    let any: Option<&Any> = all.and_then(|all| all.get(name));
    let wrapped = any.is_some_and(|it| it.type_url.ends_with(".FilterConfig"));
    let wrapper = if wrapped { ".config" } else { "" };
    (
        format!("{base}typed_per_filter_config[{name:?}]{wrapper}.rbac"),
        quoted(name),
    )
}
