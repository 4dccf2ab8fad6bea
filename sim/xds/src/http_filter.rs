//! The HTTP filters that may answer or delay a request, and what route configurations say to them.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::{
    config::{
        rbac::v3::rbac::Action,
        route::v3::{
            FilterConfig, RouteConfiguration as RouteConfigurationConfig, route::Action as Act,
            route_action::ClusterSpecifier,
        },
    },
    extensions::filters::{
        http::{
            cors::v3::CorsPolicy,
            fault::v3::HttpFault,
            health_check::v3::HealthCheck,
            local_ratelimit::v3::LocalRateLimit,
            rbac::v3::{Rbac, RbacPerRoute},
        },
        network::http_connection_manager::v3::{HttpConnectionManager, http_filter::ConfigType},
    },
};
use envoy_types::pb::google::protobuf::Any;
use prost::Message;

use crate::header_filters::content_type;
use crate::header_mutation;
use crate::schema::type_name;

const FILTER_CONFIG: &str = "envoy.config.route.v3.FilterConfig";
const RBAC: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";
const RBAC_PER_ROUTE: &str = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute";
const FAULT: &str = "envoy.extensions.filters.http.fault.v3.HTTPFault";
const LOCAL_RATE_LIMIT: &str = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
const CORS: &str = "envoy.extensions.filters.http.cors.v3.Cors";
const CORS_POLICY: &str = "envoy.extensions.filters.http.cors.v3.CorsPolicy";
const HEALTH_CHECK: &str = "envoy.extensions.filters.http.health_check.v3.HealthCheck";
const ROUTER: &str = crate::classify::ROUTER;

/// Whether a filter of this type is decided as it is configured.
pub(crate) fn is_decided(type_name: &str) -> bool {
    [RBAC, FAULT, LOCAL_RATE_LIMIT, CORS, HEALTH_CHECK].contains(&type_name)
}

/// Whether this is what a route says to a filter that is decided.
pub(crate) fn is_decided_per_route(type_name: &str) -> bool {
    [RBAC_PER_ROUTE, FAULT, LOCAL_RATE_LIMIT, CORS_POLICY].contains(&type_name)
}

/// A filter of a connection manager that may do something to requests.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpFilter {
    /// Index in `HttpConnectionManager.http_filters`.
    pub index: usize,
    /// `HttpFilter.name`, by which route configurations speak to it.
    pub name: String,
    /// `HttpFilter.disabled`: it runs where a route configuration enables it.
    pub disabled: bool,
    /// What it does.
    pub config: FilterKind,
}

/// What a filter does.
#[derive(Debug, Clone, PartialEq)]
pub enum FilterKind {
    /// `envoy.extensions.filters.http.rbac.v3`.
    Rbac(Box<Rbac>),
    /// `envoy.extensions.filters.http.fault.v3`.
    Fault(Box<HttpFault>),
    /// `envoy.extensions.filters.http.local_ratelimit.v3`.
    LocalRateLimit(Box<LocalRateLimit>),
    /// `envoy.extensions.filters.http.cors.v3`: the policy of a level; the filter itself has none.
    Cors(Option<Box<CorsPolicy>>),
    /// `envoy.extensions.filters.http.health_check.v3`.
    HealthCheck(Box<HealthCheck>),
    /// Of a filter: it is disabled, and not decided where a route enables it. Of a level: it is of
    /// another type.
    Undecided,
}

/// What one level of a route configuration says to a filter.
#[derive(Debug, Clone, PartialEq)]
pub struct PerFilter {
    /// `FilterConfig.disabled`. Any entry that does not say so enables the filter.
    pub disabled: bool,
    /// The configuration that takes the filter's own place; `None` leaves that to the levels above.
    pub config: Option<FilterKind>,
}

/// A level of a route configuration. Of two that speak to one filter the more specific counts,
/// which is the greater one here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The route configuration.
    RouteConfiguration,
    /// A virtual host, by its index.
    VirtualHost(usize),
    /// A route, by the virtual host's index and its own.
    Route(usize, usize),
    /// An entry of a route's weighted clusters.
    Entry(usize, usize, usize),
}

/// What a route configuration says to filters, by level and by the filter's name.
pub type PerFilters = BTreeMap<Level, BTreeMap<String, PerFilter>>;

impl FilterKind {
    /// Whether it does anything to some request.
    pub fn acts(&self) -> bool {
        match self {
            Self::Rbac(rbac) => {
                let rules = rbac.rules.as_ref();
                rbac.matcher.is_some()
                    || rules.is_some_and(|rules| rules.action != Action::Log as i32)
            }
            Self::Fault(fault) => fault.delay.is_some() || fault.abort.is_some(),
            Self::LocalRateLimit(limit) => {
                let share = limit.filter_enabled.as_ref();
                let share = share.and_then(|it| it.default_value.as_ref());
                let limits = limit.token_bucket.is_some() || !limit.descriptors.is_empty();
                limits && share.is_some_and(|it| it.numerator != 0)
            }
            Self::Cors(policy) => policy.is_some(),
            Self::HealthCheck(check) => check.pass_through_mode.is_none_or(|passes| !passes.value),
            Self::Undecided => true,
        }
    }

    /// Whether both are configurations of one filter.
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// The filters of a connection manager, in order: those that are decided, and those that a route
/// may enable. The others are inert, or the chain is undecided.
pub(crate) fn filters(manager: &HttpConnectionManager) -> Vec<HttpFilter> {
    let filters = manager.http_filters.iter().enumerate();
    let filters = filters.filter_map(|(index, filter)| {
        let Some(ConfigType::TypedConfig(any)) = &filter.config_type else {
            return None;
        };
        if [ROUTER, header_mutation::FILTER].contains(&type_name(&any.type_url)) {
            return None;
        }
        let config = match kind(any) {
            Some(config) => config,
            None if filter.disabled => FilterKind::Undecided,
            None => return None,
        };
        Some(HttpFilter {
            index,
            name: filter.name.clone(),
            disabled: filter.disabled,
            config,
        })
    });
    filters.collect()
}

/// The configuration of a filter that is decided.
fn kind(any: &Any) -> Option<FilterKind> {
    // The walk over the resource has found the bytes whole.
    let bytes = any.value.as_slice();
    match type_name(&any.type_url) {
        RBAC => Some(FilterKind::Rbac(Box::new(Rbac::decode(bytes).ok()?))),
        RBAC_PER_ROUTE => {
            // Without a configuration the filter does nothing here.
            let rbac = RbacPerRoute::decode(bytes).ok()?.rbac.unwrap_or_default();
            Some(FilterKind::Rbac(Box::new(rbac)))
        }
        FAULT => Some(FilterKind::Fault(Box::new(HttpFault::decode(bytes).ok()?))),
        LOCAL_RATE_LIMIT => {
            let limit = LocalRateLimit::decode(bytes).ok()?;
            Some(FilterKind::LocalRateLimit(Box::new(limit)))
        }
        CORS => Some(FilterKind::Cors(None)),
        CORS_POLICY => {
            let policy = CorsPolicy::decode(bytes).ok()?;
            Some(FilterKind::Cors(Some(Box::new(policy))))
        }
        HEALTH_CHECK => {
            let check = HealthCheck::decode(bytes).ok()?;
            Some(FilterKind::HealthCheck(Box::new(check)))
        }
        _ => None,
    }
}

fn per_filter(any: &Any) -> PerFilter {
    let of_any = |any: &Any| Some(kind(any).unwrap_or(FilterKind::Undecided));
    if type_name(&any.type_url) != FILTER_CONFIG {
        return PerFilter {
            disabled: false,
            config: of_any(any),
        };
    }
    let wrapper = FilterConfig::decode(any.value.as_slice()).unwrap_or_default();
    let config = wrapper.config.filter(|config| !config.type_url.is_empty());
    PerFilter {
        disabled: wrapper.disabled,
        config: match &config {
            Some(config) if !wrapper.disabled => of_any(config),
            _ => None,
        },
    }
}

/// Why what a level says to a connection manager's filter of this name leaves its requests undecided.
pub(crate) fn level_undecided(
    manager: &HttpConnectionManager,
    acting: &[HttpFilter],
    name: &str,
    said: &PerFilter,
) -> Option<String> {
    let is_router = manager.http_filters.iter().any(|filter| {
        filter.name == name
            && matches!(&filter.config_type, Some(ConfigType::TypedConfig(any))
                if content_type(any) == ROUTER)
    });
    if is_router && said.disabled {
        return Some(format!(
            "the router {name} is disabled, and requests are left without an answer"
        ));
    }
    let config = said.config.as_ref().filter(|_| !said.disabled)?;
    let mut filters = acting.iter().filter(|filter| filter.name == name);
    // CORS alone goes on to the levels above.
    let is_other = filters.any(|filter| {
        !matches!(filter.config, FilterKind::Cors(_)) && !config.is_like(&filter.config)
    });
    is_other.then(|| format!("what it says to the filter {name} is the configuration of another"))
}

/// What a route configuration says to filters.
pub(crate) fn per_filters(config: &RouteConfigurationConfig) -> PerFilters {
    let mut found = PerFilters::new();
    let mut add = |level, map: &std::collections::HashMap<String, Any>| {
        if !map.is_empty() {
            let said = map
                .iter()
                .map(|(name, any)| (name.clone(), per_filter(any)));
            found.insert(level, said.collect());
        }
    };
    add(Level::RouteConfiguration, &config.typed_per_filter_config);
    for (host_index, host) in config.virtual_hosts.iter().enumerate() {
        let level = Level::VirtualHost(host_index);
        add(level, &host.typed_per_filter_config);
        for (index, route) in host.routes.iter().enumerate() {
            let level = Level::Route(host_index, index);
            add(level, &route.typed_per_filter_config);
            let Some(Act::Route(action)) = &route.action else {
                continue;
            };
            if let Some(ClusterSpecifier::WeightedClusters(weighted)) = &action.cluster_specifier {
                for (entry, cluster) in weighted.clusters.iter().enumerate() {
                    let level = Level::Entry(host_index, index, entry);
                    add(level, &cluster.typed_per_filter_config);
                }
            }
        }
    }
    found
}

/// Filters that may change headers, which those behind them would see changed.
const CHANGE_HEADERS: [&str; 9] = [
    "envoy.extensions.filters.http.buffer.v3.Buffer",
    "envoy.extensions.filters.http.compressor.v3.Compressor",
    "envoy.extensions.filters.http.connect_grpc_bridge.v3.FilterConfig",
    "envoy.extensions.filters.http.decompressor.v3.Decompressor",
    "envoy.extensions.filters.http.file_system_buffer.v3.FileSystemBufferFilterConfig",
    "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config",
    "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    "envoy.extensions.filters.http.header_to_metadata.v3.Config",
];

/// The first filter that acts behind one that may change what it sees: its index in the manager's
/// list, and the other's name.
pub(crate) fn sees_changed<'m>(
    manager: &'m HttpConnectionManager,
    acting: &[HttpFilter],
) -> Option<(usize, &'m str)> {
    let mut filters = manager.http_filters.iter().enumerate();
    let (first, changing) = filters.find(|(_, filter)| {
        matches!(&filter.config_type, Some(ConfigType::TypedConfig(any))
            if CHANGE_HEADERS.contains(&content_type(any).as_str()))
    })?;
    let behind = acting.iter().find(|filter| filter.index > first)?;
    Some((behind.index, changing.name.as_str()))
}

/// Whether a filter acts on some request of a route configuration that says this to filters.
pub(crate) fn acts(filter: &HttpFilter, said: Option<&PerFilters>) -> bool {
    let said = said.into_iter().flat_map(BTreeMap::values);
    let mut said = said.filter_map(|level| level.get(&filter.name));
    if filter.config.acts() && !filter.disabled {
        return true;
    }
    said.any(|said| {
        let own = said.config.as_ref();
        let own = own.filter(|config| config.is_like(&filter.config));
        !said.disabled && own.unwrap_or(&filter.config).acts()
    })
}
