//! What is known of a request when its first endpoint is chosen, as far as its way on depends on it.

#![allow(deprecated)] // Envoy decides by what it has deprecated

use envoy_types::pb::envoy::config::cluster::v3::Cluster as ClusterConfig;
use envoy_types::pb::envoy::config::core::v3::{HeaderValueOption, RoutingPriority};
use envoy_types::pb::envoy::config::route::v3::{
    RetryPolicy, Route, RouteAction, RouteConfiguration, VirtualHost,
    route_action::{ClusterSpecifier, InternalRedirectAction},
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::upstreams::http::v3::{
    HttpProtocolOptions,
    http_protocol_options::{UpstreamProtocolOptions, explicit_http_config::ProtocolConfig},
};
use envoy_types::pb::google::protobuf::Duration;
use prost::Message as _;
use twinmesh_engine::{MutationOf, Request};
use twinmesh_xds::Profile;

use super::breakers;
use super::internal::{self, Told};
use super::outliers;
use super::retry::Retry;
use super::timeouts::Timeouts;
use crate::connect;
use crate::criteria::Criteria;
use crate::lines::Lines;
use crate::message::Message;
use crate::mutation::of_levels;
use crate::override_host::Named;

const PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const DEFAULT_CONNECT_TIMEOUT_US: u64 = 5_000_000;

/// What a request that is forwarded came through.
#[derive(Debug)]
pub(crate) struct Forwarded<'a> {
    pub(crate) manager: Option<&'a HttpConnectionManager>,
    pub(crate) table: Option<&'a RouteConfiguration>,
    pub(crate) virtual_host: Option<&'a VirtualHost>,
    pub(crate) route: &'a Route,
    pub(crate) action: &'a RouteAction,
    /// The request as it goes to an endpoint.
    pub(crate) lines: Lines,
    pub(crate) message: Message,
    pub(crate) hash: Result<Option<u64>, &'static str>,
    /// The endpoints that its headers name and that were not tried.
    pub(crate) named: Vec<Named>,
    /// What it asks of the endpoint.
    pub(crate) criteria: Criteria,
    pub(crate) cluster: &'a ClusterConfig,
}

/// What becomes of a request that is forwarded.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) cluster: String,
    pub(super) action: RouteAction,
    pub(super) lines: Lines,
    pub(super) message: Message,
    pub(super) hash: Result<Option<u64>, &'static str>,
    /// The endpoints that its headers name and that were not tried.
    pub(super) named: Vec<Named>,
    pub(super) criteria: Criteria,
    pub(super) timeouts: Timeouts,
    pub(super) retry: Retry,
    /// The cluster's endpoints are spoken to by HTTP/2.
    pub(super) http2: bool,
    /// `RouteAction.priority` is HIGH.
    pub(super) high: bool,
}

impl Plan {
    /// The plan; the error is why it is not decided.
    pub(super) fn new(forwarded: &Forwarded<'_>, request: &Request) -> Result<Self, String> {
        if forwarded.message.profile == Profile::Grpc {
            return Err("attempts of gRPC's calls are not decided".to_owned());
        }
        if connect::is_tunnel(forwarded.action, &forwarded.message) {
            return Err("attempts of CONNECT requests are not decided".to_owned());
        }
        let nothing = HttpConnectionManager::default();
        let manager = forwarded.manager.unwrap_or(&nothing);
        let virtual_host = forwarded.virtual_host;
        let action = forwarded.action;
        no_header_is_written(forwarded)?;
        no_redirect_is_followed(action)?;
        fits_the_buffer(forwarded)?;
        let told = internal::told(manager, request, &forwarded.message)?;
        let told = if told.is_internal {
            told
        } else {
            Told::default()
        };
        if action.hedge_policy.is_some() || virtual_host.is_some_and(|it| it.hedge_policy.is_some())
        {
            return Err("hedged requests are not decided".to_owned());
        }
        let typed = action.retry_policy_typed_config.is_some()
            || virtual_host.is_some_and(|it| it.retry_policy_typed_config.is_some());
        if typed {
            return Err("retry policies by extension are not decided".to_owned());
        }
        let undecided = breakers::undecided(forwarded.cluster)
            .or_else(|| outliers::undecided(forwarded.cluster));
        if let Some(reason) = undecided {
            return Err(reason.to_owned());
        }
        let policy = action
            .retry_policy
            .as_ref()
            .or(virtual_host.and_then(|host| host.retry_policy.as_ref()));
        no_asked_header_is_changed(forwarded, policy)?;
        Ok(Self {
            cluster: forwarded.cluster.name.clone(),
            action: action.clone(),
            lines: forwarded.lines.clone(),
            message: forwarded.message.clone(),
            hash: forwarded.hash,
            named: forwarded.named.clone(),
            criteria: forwarded.criteria.clone(),
            timeouts: Timeouts::new(manager, action, policy, &forwarded.message, &told),
            retry: Retry::new(policy, &forwarded.message, &told)?,
            http2: speaks_http2(forwarded.cluster)?,
            high: action.priority == RoutingPriority::High as i32,
        })
    }
}

/// `Cluster.connect_timeout`, in microseconds.
pub(super) fn connect_timeout_us(cluster: &ClusterConfig) -> u64 {
    microseconds(cluster.connect_timeout.as_ref()).unwrap_or(DEFAULT_CONNECT_TIMEOUT_US)
}

/// Whole milliseconds, in microseconds: what Envoy's timers take of a duration.
pub(crate) fn microseconds(duration: Option<&Duration>) -> Option<u64> {
    let duration = duration?;
    let seconds = u64::try_from(duration.seconds).unwrap_or(0);
    let milliseconds = u64::try_from(duration.nanos).unwrap_or(0) / 1_000_000;
    Some(
        seconds
            .saturating_mul(1000)
            .saturating_add(milliseconds)
            .saturating_mul(1000),
    )
}

/// A redirect that an endpoint answers with is followed instead.
fn no_redirect_is_followed(action: &RouteAction) -> Result<(), String> {
    let follows = InternalRedirectAction::HandleInternalRedirect as i32;
    match action.internal_redirect_policy.is_some() || action.internal_redirect_action == follows {
        true => Err("internal redirects are not decided".to_owned()),
        false => Ok(()),
    }
}

/// A request whose body is over a limit is not kept for a retry.
fn fits_the_buffer(forwarded: &Forwarded<'_>) -> Result<(), String> {
    let (route, host) = (forwarded.route, forwarded.virtual_host);
    let limits = [
        route.request_body_buffer_limit.map(|it| it.value),
        route
            .per_request_buffer_limit_bytes
            .map(|it| it.value.into()),
        host.and_then(|it| it.request_body_buffer_limit)
            .map(|it| it.value),
        host.and_then(|it| it.per_request_buffer_limit_bytes)
            .map(|it| it.value.into()),
    ];
    let Some(limit) = limits.into_iter().flatten().min() else {
        return Ok(());
    };
    let message = &forwarded.message;
    let mut lengths = message.values("content-length").into_iter();
    let fits = lengths.all(|length| length.parse::<u64>().is_ok_and(|length| length <= limit));
    match fits && message.values("transfer-encoding").is_empty() {
        true => Ok(()),
        false => Err("bodies over a route's buffer limit are not decided".to_owned()),
    }
}

/// Headers that the route configuration writes are read by the router where they are its own.
fn no_header_is_written(forwarded: &Forwarded<'_>) -> Result<(), String> {
    let of_table = forwarded.table.map(|it| &it.request_headers_to_add);
    let of_host = forwarded.virtual_host.map(|it| &it.request_headers_to_add);
    let all: Vec<&HeaderValueOption> = [
        of_table,
        of_host,
        Some(&forwarded.route.request_headers_to_add),
    ]
    .into_iter()
    .flatten()
    .flatten()
    .collect();
    let mut names = all.iter().filter_map(|option| option.header.as_ref());
    match names.find(|header| header.key.to_ascii_lowercase().starts_with("x-envoy-")) {
        Some(header) => Err(format!(
            "the route configuration writes {}, which the router may read",
            header.key
        )),
        None => Ok(()),
    }
}

/// Which requests may be retried is asked of their headers as they are sent.
fn no_asked_header_is_changed(
    forwarded: &Forwarded<'_>,
    policy: Option<&RetryPolicy>,
) -> Result<(), String> {
    let asked = policy.map_or(&[][..], |policy| &policy.retriable_request_headers);
    let (table, host) = (forwarded.table, forwarded.virtual_host);
    let mutations = of_levels(MutationOf::Request, table, host, forwarded.route, None);
    let of_entries = match &forwarded.action.cluster_specifier {
        Some(ClusterSpecifier::WeightedClusters(weighted)) => weighted.clusters.as_slice(),
        _ => &[],
    };
    let of_entries = of_entries.iter().flat_map(|entry| {
        let mut all = of_levels(
            MutationOf::Request,
            None,
            None,
            forwarded.route,
            Some(entry),
        );
        all.truncate(1);
        all
    });
    let changed: Vec<String> = mutations
        .into_iter()
        .chain(of_entries)
        .flat_map(|mutation| mutation.names().collect::<Vec<_>>())
        .collect();
    let mut asked = asked.iter().map(|it| it.name.to_ascii_lowercase());
    match asked.find(|name| changed.contains(name)) {
        Some(name) => Err(format!(
            "the route changes {name}, which retriable_request_headers asks for"
        )),
        None => Ok(()),
    }
}

/// Whether the cluster's endpoints are spoken to by HTTP/2.
fn speaks_http2(cluster: &ClusterConfig) -> Result<bool, String> {
    let Some(any) = cluster
        .typed_extension_protocol_options
        .get(PROTOCOL_OPTIONS)
    else {
        return Ok(cluster.http2_protocol_options.is_some());
    };
    let options = HttpProtocolOptions::decode(any.value.as_slice())
        .map_err(|_| format!("{PROTOCOL_OPTIONS} cannot be read"))?;
    if options.retry_policy.is_some() {
        return Err("the cluster's own retry_policy is not decided".to_owned());
    }
    if options.outlier_detection.is_some() {
        return Err("what counts as an error of an endpoint is not decided".to_owned());
    }
    match options.upstream_protocol_options {
        // Requests come by HTTP/1.1 here.
        None | Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(_)) => Ok(false),
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => {
            match explicit.protocol_config {
                None | Some(ProtocolConfig::HttpProtocolOptions(_)) => Ok(false),
                Some(ProtocolConfig::Http2ProtocolOptions(_)) => Ok(true),
                Some(ProtocolConfig::Http3ProtocolOptions(_)) => {
                    Err("HTTP/3 to endpoints is not decided".to_owned())
                }
            }
        }
        Some(UpstreamProtocolOptions::AutoConfig(_)) => {
            Err("a protocol that endpoints choose is not decided".to_owned())
        }
    }
}
