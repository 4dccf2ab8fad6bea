//! The HTTP filters that change headers (`header_mutation`), and what route configurations say to
//! them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use envoy_types::pb::envoy::config::{
    common::mutation_rules::v3::{HeaderMutation as Change, header_mutation::Action},
    core::v3::HeaderValueOption,
    route::v3::{
        FilterConfig, RouteAction, RouteConfiguration,
        route::Action as Act,
        route_action::{ClusterSpecifier, hash_policy::PolicySpecifier},
    },
};
use envoy_types::pb::envoy::extensions::filters::{
    http::header_mutation::v3::{HeaderMutation, HeaderMutationPerRoute, Mutations},
    network::http_connection_manager::v3::{HttpConnectionManager, http_filter::ConfigType},
};
use envoy_types::pb::google::protobuf::Any;
use prost::Message;

use crate::header_filters::content_type;
use crate::http_filter::Level;
use crate::schema::type_name;

const FILTER_CONFIG: &str = "envoy.config.route.v3.FilterConfig";
pub(crate) const FILTER: &str = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation";
pub(crate) const MUTATIONS: &str = "envoy.extensions.filters.http.header_mutation.v3.Mutations";
pub(crate) const PER_ROUTE: &str =
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute";

/// A filter of a connection manager that changes headers.
#[derive(Debug, Clone, PartialEq)]
pub struct HeaderMutationFilter {
    /// `HttpFilter.name`, by which route configurations speak to it.
    pub name: String,
    /// `HttpFilter.disabled`: it runs where a route configuration enables it.
    pub disabled: bool,
    /// Its own configuration.
    pub config: HeaderMutation,
}

/// What one level of a route configuration says to such a filter.
#[derive(Debug, Clone, PartialEq)]
pub struct PerLevel {
    /// `FilterConfig.disabled`. Any entry that does not say so enables the filter.
    pub disabled: bool,
    /// What it changes besides.
    pub mutations: Option<Mutations>,
}

/// What a route configuration says to such filters, by level and by the filter's name.
pub type PerLevels = BTreeMap<Level, BTreeMap<String, PerLevel>>;

/// One change to headers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HeaderChange<'a> {
    /// A value is added, or put in the place of others.
    Put(&'a HeaderValueOption),
    /// All values are taken away.
    Remove(&'a String),
}

impl HeaderChange<'_> {
    /// The header that it names, in lower case.
    pub fn name(&self) -> String {
        match self {
            Self::Put(option) => option
                .header
                .as_ref()
                .map_or_else(String::new, |header| header.key.to_ascii_lowercase()),
            Self::Remove(name) => name.to_ascii_lowercase(),
        }
    }
}

/// The changes that are decided.
fn changes(list: &[Change]) -> impl Iterator<Item = HeaderChange<'_>> {
    list.iter().filter_map(|change| match &change.action {
        Some(Action::Append(option)) => Some(HeaderChange::Put(option)),
        Some(Action::Remove(name)) => Some(HeaderChange::Remove(name)),
        _ => None,
    })
}

/// The changes to a request's headers, in order.
pub fn of_request(mutations: &Mutations) -> impl Iterator<Item = HeaderChange<'_>> {
    changes(&mutations.request_mutations)
}

/// The changes to a response's headers, in order.
pub fn of_response(mutations: &Mutations) -> impl Iterator<Item = HeaderChange<'_>> {
    changes(&mutations.response_mutations)
}

/// The filters of a connection manager that change headers, in order.
pub(crate) fn filters(manager: &HttpConnectionManager) -> Vec<HeaderMutationFilter> {
    let filters = manager.http_filters.iter().filter_map(|filter| {
        let Some(ConfigType::TypedConfig(any)) = &filter.config_type else {
            return None;
        };
        // The walk over the resource has found the bytes whole.
        let is_one = type_name(&any.type_url) == FILTER;
        is_one.then(|| HeaderMutationFilter {
            name: filter.name.clone(),
            disabled: filter.disabled,
            config: HeaderMutation::decode(any.value.as_slice()).unwrap_or_default(),
        })
    });
    filters.collect()
}

/// What a route configuration says to them.
pub(crate) fn per_levels(config: &RouteConfiguration) -> PerLevels {
    let mut found = PerLevels::new();
    let mut add = |level, map: &HashMap<String, Any>| {
        if !map.is_empty() {
            let said = map.iter().map(|(name, any)| (name.clone(), per_level(any)));
            found.insert(level, said.collect());
        }
    };
    add(Level::RouteConfiguration, &config.typed_per_filter_config);
    for (at, host) in config.virtual_hosts.iter().enumerate() {
        add(Level::VirtualHost(at), &host.typed_per_filter_config);
        for (index, route) in host.routes.iter().enumerate() {
            add(Level::Route(at, index), &route.typed_per_filter_config);
            for (entry, cluster) in entries(route.action.as_ref()).iter().enumerate() {
                let level = Level::Entry(at, index, entry);
                add(level, &cluster.typed_per_filter_config);
            }
        }
    }
    found
}

fn entries(
    action: Option<&Act>,
) -> &[envoy_types::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight] {
    match action {
        Some(Act::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::WeightedClusters(weighted)),
            ..
        })) => &weighted.clusters,
        _ => &[],
    }
}

fn per_level(any: &Any) -> PerLevel {
    let mutations = |any: &Any| {
        let is_one = type_name(&any.type_url) == PER_ROUTE;
        let config = HeaderMutationPerRoute::decode(any.value.as_slice());
        config.ok().filter(|_| is_one)?.mutations
    };
    if type_name(&any.type_url) != FILTER_CONFIG {
        return PerLevel {
            disabled: false,
            mutations: mutations(any),
        };
    }
    let wrapper = FilterConfig::decode(any.value.as_slice()).unwrap_or_default();
    PerLevel {
        disabled: wrapper.disabled,
        mutations: match &wrapper.config {
            Some(config) if !wrapper.disabled => mutations(config),
            _ => None,
        },
    }
}

/// What runs of a filter for a request at these levels, the most specific first: all its
/// configurations, in the order in which they act; nothing where it does not run.
pub fn effective<'a>(
    filter: &'a HeaderMutationFilter,
    said: &'a PerLevels,
    levels: &[Level],
) -> Vec<&'a Mutations> {
    let of_level = |level: &Level| said.get(level)?.get(&filter.name);
    let mut own: Vec<&PerLevel> = levels.iter().filter_map(of_level).collect();
    if own.first().map_or(filter.disabled, |most| most.disabled) {
        return Vec::new();
    }
    if filter.config.most_specific_header_mutations_wins {
        own.reverse();
    }
    let of_levels = own.into_iter().filter_map(|level| level.mutations.as_ref());
    filter.config.mutations.iter().chain(of_levels).collect()
}

/// Filters that change headers of requests, which no decision but a hash of these may tell of.
const CHANGED: [(&str, &[&str]); 3] = [
    (
        "envoy.extensions.filters.http.compressor.v3.Compressor",
        &["accept-encoding"],
    ),
    (
        "envoy.extensions.filters.http.decompressor.v3.Decompressor",
        &["accept-encoding"],
    ),
    (
        "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb",
        &["accept", "content-type", "te"],
    ),
];

/// The headers of requests that a connection manager's filters may change, but for those whose mutations are
/// decided.
pub(crate) fn changed_by_others(manager: &HttpConnectionManager) -> BTreeSet<String> {
    let types = manager.http_filters.iter().filter_map(|filter| {
        let Some(ConfigType::TypedConfig(any)) = &filter.config_type else {
            return None;
        };
        Some(content_type(any))
    });
    types
        .flat_map(|kind| CHANGED.iter().filter(move |(name, _)| *name == kind))
        .flat_map(|(_, headers)| headers.iter().map(|header| (*header).to_owned()))
        .collect()
}

/// The first route whose `hash_policy` takes a header that some filter changes in requests, or one of
/// `others`: the virtual host's index and its own, with the header's name.
pub(crate) fn hashed_header(
    filters: &[HeaderMutationFilter],
    others: BTreeSet<String>,
    said: Option<&PerLevels>,
    config: Option<&RouteConfiguration>,
) -> Option<(usize, usize, String)> {
    let own = filters.iter().filter_map(|it| it.config.mutations.as_ref());
    let levels = said.into_iter().flat_map(BTreeMap::values);
    let of_levels = levels
        .flat_map(BTreeMap::values)
        .filter_map(|level| level.mutations.as_ref());
    let changed: BTreeSet<String> = own
        .chain(of_levels)
        .flat_map(of_request)
        .map(|change| change.name())
        .chain(others)
        .collect();
    let hosts = config.map_or(&[][..], |config| &config.virtual_hosts);
    for (at, host) in hosts.iter().enumerate() {
        for (index, route) in host.routes.iter().enumerate() {
            let Some(Act::Route(action)) = &route.action else {
                continue;
            };
            for policy in &action.hash_policy {
                let name = match &policy.policy_specifier {
                    Some(PolicySpecifier::Header(header)) => header.header_name.as_str(),
                    Some(PolicySpecifier::Cookie(_)) => "cookie",
                    _ => continue,
                };
                if changed.contains(&name.to_ascii_lowercase()) {
                    return Some((at, index, name.to_owned()));
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::HeaderValue;
    use envoy_types::pb::envoy::config::route::v3::{
        Route, VirtualHost,
        route_action::{HashPolicy, hash_policy::Header},
    };

    use super::*;

    fn puts(name: &str) -> Mutations {
        let header = HeaderValue {
            key: name.to_owned(),
            ..HeaderValue::default()
        };
        let option = HeaderValueOption {
            header: Some(header),
            ..HeaderValueOption::default()
        };
        Mutations {
            request_mutations: vec![Change {
                action: Some(Action::Append(option)),
            }],
            ..Mutations::default()
        }
    }

    fn filter(wins: bool, disabled: bool) -> HeaderMutationFilter {
        HeaderMutationFilter {
            name: "f".to_owned(),
            disabled,
            config: HeaderMutation {
                mutations: Some(puts("own")),
                most_specific_header_mutations_wins: wins,
            },
        }
    }

    fn said(levels: &[(Level, bool, &str)]) -> PerLevels {
        let levels = levels.iter().map(|&(level, disabled, name)| {
            let said = PerLevel {
                disabled,
                mutations: (!name.is_empty()).then(|| puts(name)),
            };
            (level, BTreeMap::from([("f".to_owned(), said)]))
        });
        levels.collect()
    }

    const LEVELS: [Level; 3] = [
        Level::Route(0, 0),
        Level::VirtualHost(0),
        Level::RouteConfiguration,
    ];

    #[test]
    fn every_level_acts_and_the_most_specific_says_whether() {
        let [route, host, table] = LEVELS;
        let all = [
            (route, false, "route"),
            (host, false, ""),
            (table, false, "table"),
        ];
        for (filter, levels, expected) in [
            (
                filter(false, false),
                &all[..],
                &["own", "route", "table"][..],
            ),
            (
                filter(true, false),
                &all[..],
                &["own", "table", "route"][..],
            ),
            (
                filter(false, true),
                &all[..],
                &["own", "route", "table"][..],
            ),
            (filter(false, true), &[][..], &[][..]),
            (
                filter(false, false),
                &[(route, true, ""), (host, false, "host")][..],
                &[][..],
            ),
            (
                filter(false, false),
                &[(Level::Route(0, 1), true, "")][..],
                &["own"][..],
            ),
        ] {
            let said = said(levels);
            let found = effective(&filter, &said, &LEVELS);
            let names: Vec<String> = found
                .into_iter()
                .flat_map(of_request)
                .map(|it| it.name())
                .collect();
            assert_eq!(names, expected, "{levels:?}");
        }
    }

    #[test]
    fn headers_that_routes_hash_are_found() {
        let policy = HashPolicy {
            policy_specifier: Some(PolicySpecifier::Header(Header {
                header_name: "Own".to_owned(),
                ..Header::default()
            })),
            ..HashPolicy::default()
        };
        let action = RouteAction {
            hash_policy: vec![policy],
            ..RouteAction::default()
        };
        let route = Route {
            action: Some(Act::Route(action)),
            ..Route::default()
        };
        let host = VirtualHost {
            routes: vec![Route::default(), route],
            ..VirtualHost::default()
        };
        let config = RouteConfiguration {
            virtual_hosts: vec![host],
            ..RouteConfiguration::default()
        };
        let none = BTreeSet::new;
        let found = hashed_header(&[filter(false, false)], none(), None, Some(&config));
        assert_eq!(found, Some((0, 1, "Own".to_owned())));
        assert_eq!(hashed_header(&[], none(), None, Some(&config)), None);
        let others = BTreeSet::from(["own".to_owned()]);
        let found = hashed_header(&[], others, None, Some(&config));
        assert_eq!(found, Some((0, 1, "Own".to_owned())));
    }
}
