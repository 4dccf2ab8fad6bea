//! Routes: timeouts, upgrades, the bodies of direct responses.

use std::time::Duration;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, route::Action, route_match::PathSpecifier,
};
use twinmesh_xds::RouteConfiguration;

use super::{HEADERS, MIRROR, RETRY, Warnings, timeout};

/// `RouteAction.timeout` by default.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What the proxy takes from a route.
#[derive(Debug, Clone, Default)]
pub struct RoutePlan {
    /// `RouteAction.timeout`: from the end of the request to the end of the response; `None`: no
    /// limit.
    pub timeout: Option<Duration>,
    /// `RouteAction.idle_timeout`, where it is set: the inner `None` says no limit.
    pub idle_timeout: Option<Option<Duration>>,
    /// `RouteAction.upgrade_configs`: the type in lower case, and whether it is enabled.
    pub upgrades: Vec<(String, bool)>,
    /// `connect_config.allow_post`: what a POST request sends is for a connection to the endpoint.
    pub ends_posts: bool,
    /// What the route answers itself.
    pub answer: RouteAnswer,
}

/// What a route answers itself.
#[derive(Debug, Clone, Default)]
pub enum RouteAnswer {
    /// Nothing, or a redirect, which the decision has whole.
    #[default]
    None,
    /// `Route.direct_response`'s body.
    Direct(Bytes),
    /// The body cannot be had; why.
    Missing(String),
}

impl RoutePlan {
    /// Whether the route says of an upgrade (its type in lower case) that it is enabled or not.
    pub fn upgrade(&self, kind: &str) -> Option<bool> {
        let mut configs = self.upgrades.iter();
        configs
            .find(|(configured, _)| configured == kind)
            .map(|(_, enabled)| *enabled)
    }
}

/// Whether CONNECT requests may match a route.
pub(super) fn has_connect_matcher(configuration: &RouteConfiguration) -> bool {
    let routes = configuration.config.virtual_hosts.iter();
    let mut routes = routes.flat_map(|host| &host.routes);
    routes.any(|route| {
        let path = route.r#match.as_ref();
        let path = path.and_then(|matched| matched.path_specifier.as_ref());
        matches!(path, Some(PathSpecifier::ConnectMatcher(_)))
    })
}

pub(super) fn configuration(
    configuration: &RouteConfiguration,
    warnings: &mut Warnings,
) -> Vec<Vec<RoutePlan>> {
    let resource = format!("route configuration {:?}", configuration.name);
    warnings.enter(resource.clone(), String::new());
    let config = &configuration.config;
    warnings.note(
        !config.internal_only_headers.is_empty(),
        "internal_only_headers",
        "endpoints get them of requests from outside, too",
    );
    warnings.note(
        !config.request_headers_to_add.is_empty() || !config.request_headers_to_remove.is_empty(),
        "request_headers_to_add/remove",
        HEADERS,
    );
    warnings.note(
        !config.response_headers_to_add.is_empty() || !config.response_headers_to_remove.is_empty(),
        "response_headers_to_add/remove",
        HEADERS,
    );
    warnings.note(
        !config.request_mirror_policies.is_empty(),
        "request_mirror_policies",
        MIRROR,
    );
    let hosts = config.virtual_hosts.iter().enumerate();
    hosts
        .map(|(host_index, host)| {
            warnings.enter(resource.clone(), format!("virtual_hosts[{host_index}]."));
            warnings.note(
                !host.request_headers_to_add.is_empty()
                    || !host.request_headers_to_remove.is_empty(),
                "request_headers_to_add/remove",
                HEADERS,
            );
            warnings.note(
                !host.response_headers_to_add.is_empty()
                    || !host.response_headers_to_remove.is_empty(),
                "response_headers_to_add/remove",
                HEADERS,
            );
            warnings.note(
                !host.request_mirror_policies.is_empty(),
                "request_mirror_policies",
                MIRROR,
            );
            warnings.note(host.retry_policy.is_some(), "retry_policy", RETRY);
            warnings.note(
                host.hedge_policy.is_some(),
                "hedge_policy",
                "requests are not hedged",
            );
            warnings.note(
                !host.rate_limits.is_empty(),
                "rate_limits",
                "are not applied",
            );
            warnings.note(
                host.include_request_attempt_count || host.include_attempt_count_in_response,
                "include_request_attempt_count",
                "x-envoy-attempt-count is not added",
            );
            let routes = host.routes.iter().enumerate();
            routes
                .map(|(index, route)| {
                    let root = format!("{}.", configuration.route_path(host_index, index));
                    warnings.enter(resource.clone(), root);
                    plan(route, warnings)
                })
                .collect()
        })
        .collect()
}

fn plan(route: &Route, warnings: &mut Warnings) -> RoutePlan {
    warnings.note(
        !route.request_headers_to_add.is_empty() || !route.request_headers_to_remove.is_empty(),
        "request_headers_to_add/remove",
        HEADERS,
    );
    warnings.note(
        !route.response_headers_to_add.is_empty() || !route.response_headers_to_remove.is_empty(),
        "response_headers_to_add/remove",
        HEADERS,
    );
    match &route.action {
        Some(Action::Route(action)) => forward(action, warnings),
        Some(Action::DirectResponse(action)) => {
            warnings.note(
                action.body_format.is_some(),
                "direct_response.body_format",
                "is not applied",
            );
            let answer = match action.body.as_ref().map(body) {
                None => RouteAnswer::Direct(Bytes::new()),
                Some(Ok(body)) => RouteAnswer::Direct(body),
                Some(Err(why)) => {
                    warnings.note(true, "direct_response.body", &why);
                    RouteAnswer::Missing(why)
                }
            };
            RoutePlan {
                answer,
                ..RoutePlan::default()
            }
        }
        _ => RoutePlan::default(),
    }
}

fn forward(action: &RouteAction, warnings: &mut Warnings) -> RoutePlan {
    warnings.note(action.retry_policy.is_some(), "route.retry_policy", RETRY);
    warnings.note(
        action.retry_policy_typed_config.is_some(),
        "route.retry_policy_typed_config",
        RETRY,
    );
    warnings.note(
        action.hedge_policy.is_some(),
        "route.hedge_policy",
        "requests are not hedged",
    );
    warnings.note(
        !action.request_mirror_policies.is_empty(),
        "route.request_mirror_policies",
        MIRROR,
    );
    warnings.note(
        !action.rate_limits.is_empty(),
        "route.rate_limits",
        "are not applied",
    );
    warnings.note(
        action.internal_redirect_policy.is_some(),
        "route.internal_redirect_policy",
        "redirects of the endpoint go to the client",
    );
    warnings.note(
        action.max_stream_duration.is_some(),
        "route.max_stream_duration",
        "is not applied",
    );
    warnings.note(
        action.append_x_forwarded_host,
        "route.append_x_forwarded_host",
        "x-forwarded-host is not added",
    );
    let upgrades = action.upgrade_configs.iter().map(|config| {
        let enabled = config.enabled.as_ref().is_none_or(|value| value.value);
        (config.upgrade_type.to_ascii_lowercase(), enabled)
    });
    let mut ends = action
        .upgrade_configs
        .iter()
        .filter_map(|config| config.connect_config.as_ref());
    RoutePlan {
        timeout: timeout(action.timeout.as_ref(), Some(TIMEOUT)),
        idle_timeout: action
            .idle_timeout
            .as_ref()
            .map(|value| timeout(Some(value), None)),
        upgrades: upgrades.collect(),
        ends_posts: ends.next().is_some_and(|config| config.allow_post),
        answer: RouteAnswer::None,
    }
}

fn body(source: &DataSource) -> Result<Bytes, String> {
    match &source.specifier {
        None => Ok(Bytes::new()),
        Some(Specifier::InlineBytes(bytes)) => Ok(Bytes::copy_from_slice(bytes)),
        Some(Specifier::InlineString(text)) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Some(Specifier::Filename(file)) => std::fs::read(file)
            .map(Bytes::from)
            .map_err(|error| format!("{file} cannot be read: {error}; the route answers 503")),
        Some(Specifier::EnvironmentVariable(name)) => {
            std::env::var(name).map(Bytes::from).map_err(|error| {
                format!("the environment variable {name}: {error}; the route answers 503")
            })
        }
    }
}
