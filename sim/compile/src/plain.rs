//! What asks for nothing but forwarding: the bytes of the request go upstream as they are, in plain
//! HTTP/1.1, and the response's come back. Whatever is not known to need nothing else is not plain.

use std::collections::HashSet;

use envoy_types::pb::envoy::config::cluster::v3::Cluster as ClusterConfig;
use envoy_types::pb::envoy::config::core::v3::{TransportSocket, transport_socket::ConfigType};
use envoy_types::pb::envoy::config::listener::v3::{
    FilterChain as FilterChainConfig, FilterChainMatch,
};
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost, WeightedCluster,
    route::Action, route_action::ClusterSpecifier, route_match::PathSpecifier,
    weighted_cluster::ClusterWeight,
};
use envoy_types::pb::envoy::extensions::filters::network::{
    http_connection_manager::v3::HttpConnectionManager,
    tcp_proxy::v3::{TcpProxy, tcp_proxy::ClusterSpecifier as TcpSpecifier},
};
use envoy_types::pb::envoy::extensions::upstreams::http::v3::{
    HttpProtocolOptions,
    http_protocol_options::{UpstreamProtocolOptions, explicit_http_config::ProtocolConfig},
};
use envoy_types::pb::google::protobuf::Any;
use prost::Message;
use twinmesh_xds::{FilterChain, Listener, Snapshot, Terminal};

use crate::filter_chain::left_alone;
use crate::managed_header;

/// The name of the extension that says which protocol an upstream speaks.
const PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// The transport socket that changes nothing.
const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";

/// A route configuration: nothing of it but its virtual hosts has a say in what is sent.
pub fn route_configuration(config: &RouteConfiguration) -> bool {
    config.request_headers_to_add.is_empty()
        && config.request_headers_to_remove.is_empty()
        && config.response_headers_to_add.is_empty()
        && config.response_headers_to_remove.is_empty()
        && config.internal_only_headers.is_empty()
        && config.request_mirror_policies.is_empty()
        && config.typed_per_filter_config.is_empty()
}

/// A virtual host, beside its routes.
pub fn virtual_host(config: &VirtualHost) -> bool {
    let rest = VirtualHost {
        name: String::new(),
        domains: Vec::new(),
        routes: Vec::new(),
        virtual_clusters: Vec::new(),
        include_request_attempt_count: false,
        retry_policy: None,
        metadata: None,
        ..config.clone()
    };
    rest == VirtualHost::default()
}

/// A route, beside its match.
pub fn route(config: &Route) -> bool {
    let Some(Action::Route(action)) = &config.action else {
        return false;
    };
    let rest = Route {
        name: String::new(),
        r#match: None,
        action: None,
        metadata: None,
        decorator: None,
        tracing: None,
        stat_prefix: String::new(),
        ..config.clone()
    };
    let rest_of_action = RouteAction {
        cluster_specifier: None,
        cluster_not_found_response_code: 0,
        timeout: None,
        idle_timeout: None,
        max_stream_duration: None,
        retry_policy: None,
        upgrade_configs: Vec::new(),
        hash_policy: Vec::new(),
        priority: 0,
        ..action.clone()
    };
    let weighted = match &action.cluster_specifier {
        Some(ClusterSpecifier::WeightedClusters(weighted)) => weighted_clusters(weighted),
        Some(ClusterSpecifier::Cluster(_)) => true,
        _ => false,
    };
    rest == Route::default() && rest_of_action == RouteAction::default() && weighted
}

fn weighted_clusters(config: &WeightedCluster) -> bool {
    config.clusters.iter().all(|cluster| {
        let rest = ClusterWeight {
            name: String::new(),
            weight: None,
            ..cluster.clone()
        };
        rest == ClusterWeight::default()
    })
}

/// Its name is free: the type of its configuration says what it does.
fn is_raw(socket: Option<&TransportSocket>) -> bool {
    socket.is_none_or(|socket| match &socket.config_type {
        Some(ConfigType::TypedConfig(any)) => any.type_url.rsplit('/').next() == Some(RAW_BUFFER),
        None => false,
    })
}

/// A cluster: its endpoints are spoken to in HTTP/1.1 without TLS.
#[expect(deprecated, reason = "the old ways to ask for HTTP/2 still count")]
pub fn cluster(config: &ClusterConfig) -> bool {
    let matches = &config.transport_socket_matches;
    is_raw(config.transport_socket.as_ref())
        && matches
            .iter()
            .all(|it| is_raw(it.transport_socket.as_ref()))
        && config.transport_socket_matcher.is_none()
        && config.http2_protocol_options.is_none()
        && config.upstream_http_protocol_options.is_none()
        && config.max_requests_per_connection.is_none()
        && config.common_http_protocol_options.is_none()
        && config.upstream_bind_config.is_none()
        && config.upstream_config.is_none()
        && config.filters.is_empty()
        && config
            .typed_extension_protocol_options
            .iter()
            .all(|(name, options)| protocol_options(name, options))
}

fn protocol_options(name: &str, options: &Any) -> bool {
    if name != PROTOCOL_OPTIONS && !options.type_url.ends_with(PROTOCOL_OPTIONS) {
        return false;
    }
    let Ok(options) = HttpProtocolOptions::decode(options.value.as_slice()) else {
        return false;
    };
    let http_1 = match &options.upstream_protocol_options {
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => matches!(
            explicit.protocol_config,
            Some(ProtocolConfig::HttpProtocolOptions(_))
        ),
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(_)) => true,
        _ => false,
    };
    http_1
        && options.http_filters.is_empty()
        && options.request_mirror_policies.is_empty()
        && options.upstream_http_protocol_options.is_none()
        && options
            .common_http_protocol_options
            .is_none_or(|common| common.max_requests_per_connection.is_none())
}

/// A filter chain, beside the routes that it leads to.
pub fn filter_chain(chain: &FilterChain) -> bool {
    let terminal = match &chain.terminal {
        Terminal::Http { manager, .. } => keeps_host(manager),
        _ => true,
    };
    is_raw(chain.config.transport_socket.as_ref())
        && chain.unsupported.is_none()
        && chain.network_rbac.is_empty()
        && chain.http_filters.is_empty()
        && terminal
}

/// A connection manager that strips the host passes on what is left of it.
fn keeps_host(manager: &HttpConnectionManager) -> bool {
    manager.strip_port_mode.is_none()
        && !manager.strip_matching_host_port
        && !manager.strip_trailing_host_dot
}

/// Whether each request on a listener's connections is decided by itself: all its chains are HTTP,
/// and some are plain.
pub fn by_request(listener: &Listener) -> bool {
    let mut chains = listener.all_filter_chains();
    let http = |chain: &FilterChain| matches!(chain.terminal, Terminal::Http { .. });
    listener.unsupported.is_none()
        && listener.config.filter_chain_matcher.is_none()
        && chains.clone().all(http)
        && chains.any(filter_chain)
}

/// Whether nothing but the destination decides where a listener's connections go, and they are
/// plainly forwarded. `plain` are the names of the clusters that are plain.
pub fn connect_time(listener: &Listener, snapshot: &Snapshot, plain: &HashSet<String>) -> bool {
    let chain = match (
        listener.filter_chains.as_slice(),
        &listener.default_filter_chain,
    ) {
        ([only], None) if takes_all(&only.config) => only,
        ([], Some(only)) => only,
        _ => return false,
    };
    let by_matcher = listener.config.filter_chain_matcher.is_some();
    if listener.unsupported.is_some() || by_matcher || !filter_chain(chain) {
        return false;
    }
    match &chain.terminal {
        Terminal::Tcp(proxy) => tcp_clusters(proxy, plain),
        Terminal::Http {
            route_configuration: Some(index),
            manager,
        } => {
            // Nobody looks at the requests, so none of them may have to be changed.
            let managed = managed_header::may_matter(chain, snapshot);
            if left_alone(managed, manager).is_some() {
                return false;
            }
            let Some(held) = snapshot.route_configurations.get(*index) else {
                return false;
            };
            let ([host], [marks]) = (
                held.config.virtual_hosts.as_slice(),
                held.virtual_hosts.as_slice(),
            ) else {
                return false;
            };
            let Some(first) = host.routes.first() else {
                return false;
            };
            held.unsupported.is_none()
                && route_configuration(&held.config)
                && marks.unsupported.is_none()
                && marks.routes.first().is_some_and(Option::is_none)
                && host.domains.iter().any(|domain| domain == "*")
                && virtual_host(host)
                && matches_all(first)
                && route(first)
                && clusters(first, plain)
        }
        _ => false,
    }
}

fn takes_all(chain: &FilterChainConfig) -> bool {
    let matched = chain.filter_chain_match.as_ref();
    matched.is_none_or(|matched| *matched == FilterChainMatch::default())
}

fn matches_all(route: &Route) -> bool {
    let Some(matched) = &route.r#match else {
        return false;
    };
    let rest = RouteMatch {
        path_specifier: None,
        case_sensitive: None,
        ..matched.clone()
    };
    matches!(&matched.path_specifier, Some(PathSpecifier::Prefix(prefix)) if prefix == "/" || prefix.is_empty())
        && rest == RouteMatch::default()
}

fn clusters(route: &Route, plain: &HashSet<String>) -> bool {
    let Some(Action::Route(action)) = &route.action else {
        return false;
    };
    match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => plain.contains(name),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            weighted.random_value_specifier.is_none()
                && weighted.clusters.iter().all(|it| plain.contains(&it.name))
        }
        _ => false,
    }
}

fn tcp_clusters(proxy: &TcpProxy, plain: &HashSet<String>) -> bool {
    match &proxy.cluster_specifier {
        Some(TcpSpecifier::Cluster(name)) => plain.contains(name),
        Some(TcpSpecifier::WeightedClusters(weighted)) => {
            weighted.clusters.iter().all(|it| plain.contains(&it.name))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_socket_is_told_by_its_type() {
        const TLS: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
        assert!(is_raw(None));
        for (name, kind, expected) in [
            ("any", RAW_BUFFER, true),
            ("envoy.transport_sockets.raw_buffer", TLS, false),
            ("envoy.transport_sockets.tls", TLS, false),
        ] {
            let any = Any {
                type_url: format!("type.googleapis.com/{kind}"),
                ..Any::default()
            };
            let socket = TransportSocket {
                name: name.to_owned(),
                config_type: Some(ConfigType::TypedConfig(any)),
            };
            assert_eq!(is_raw(Some(&socket)), expected, "{name} {kind}");
        }
    }
}
