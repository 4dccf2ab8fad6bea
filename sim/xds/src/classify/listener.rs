//! Listeners, filter chains and network filters.

use super::{
    ACCESS_LOG, Judged, METADATA,
    Rule::{Decided, Inert, Judge, Part, ReadOver, Unsupported},
    STATISTICS, TIMING, TRACING, Table, Verdict, filter, inspector, transport_socket, unless_set,
};
use crate::network_rbac::NETWORK_RBAC;

pub(super) const TABLES: &[Table] = &[
    Table {
        message: crate::form::LISTENER,
        fields: &[
            ("name", Decided),
            ("address", Decided),
            ("additional_addresses", Decided),
            ("stat_prefix", STATISTICS),
            ("stats_matcher", STATISTICS),
            ("filter_chains", Part),
            (
                "fcds_config",
                Unsupported("filter chains that come by discovery are not in the snapshot"),
            ),
            ("filter_chain_matcher", Decided),
            ("use_original_dst", Decided),
            ("default_filter_chain", Part),
            ("per_connection_buffer_limit_bytes", Inert),
            ("per_connection_buffer_high_watermark_timeout", TIMING),
            ("metadata", METADATA),
            ("deprecated_v1", Decided),
            ("drain_type", Inert),
            ("listener_filters", Judge(listener_filter)),
            ("listener_filters_timeout", TIMING),
            ("continue_on_listener_filters_timeout", Inert),
            ("transparent", Inert),
            ("freebind", Inert),
            ("socket_options", Inert),
            ("tcp_fast_open_queue_length", Inert),
            ("traffic_direction", Inert),
            (
                "udp_listener_config",
                Unsupported("UDP listeners are not decided"),
            ),
            (
                "api_listener",
                Unsupported("an API listener takes no connections"),
            ),
            (
                "connection_balance_config",
                ReadOver("all connections are decided as by one worker"),
            ),
            ("reuse_port", Inert),
            ("enable_reuse_port", Inert),
            ("access_log", ACCESS_LOG),
            ("tcp_backlog_size", Inert),
            ("max_connections_to_accept_per_socket_event", Inert),
            ("bind_to_port", Decided),
            ("internal_listener", Judge(internal_listener)),
            ("enable_mptcp", Inert),
            ("ignore_global_conn_limit", Inert),
            ("bypass_overload_manager", Inert),
            ("tcp_keepalive", Inert),
        ],
    },
    Table {
        message: "envoy.config.listener.v3.Listener.DeprecatedV1",
        fields: &[("bind_to_port", Decided)],
    },
    Table {
        message: "envoy.config.listener.v3.AdditionalAddress",
        fields: &[
            ("address", Decided),
            ("socket_options", Inert),
            ("tcp_keepalive", Inert),
        ],
    },
    Table {
        message: "envoy.config.core.v3.Address",
        fields: &[
            ("socket_address", Decided),
            ("pipe", Decided),
            (
                "envoy_internal_address",
                ReadOver(
                    "a decision ends at the internal listener: what becomes of the connection in it \
                     says a request that names it",
                ),
            ),
        ],
    },
    Table {
        message: "envoy.config.core.v3.Pipe",
        fields: &[("path", Decided), ("mode", Inert)],
    },
    Table {
        message: "envoy.config.core.v3.SocketAddress",
        fields: &[
            (
                "protocol",
                Judge(|judged| unless_set(judged, "UDP is not decided")),
            ),
            ("address", Decided),
            ("port_value", Decided),
            ("named_port", Unsupported("ports by name need a resolver")),
            (
                "resolver_name",
                Unsupported("addresses of a custom resolver are not in the snapshot"),
            ),
            ("ipv4_compat", Decided),
            (
                "network_namespace_filepath",
                Unsupported("network namespaces are not decided"),
            ),
        ],
    },
    Table {
        message: "envoy.config.listener.v3.FilterChain",
        fields: &[
            ("filter_chain_match", Decided),
            ("filters", Judge(network_filter)),
            (
                "use_proxy_proto",
                ReadOver("a request's source and destination are already the connection's own"),
            ),
            ("metadata", METADATA),
            ("transport_socket", Judge(transport_socket::downstream)),
            ("transport_socket_connect_timeout", TIMING),
            ("name", Decided),
        ],
    },
    Table {
        message: "envoy.config.listener.v3.FilterChainMatch",
        fields: &[
            ("destination_port", ADDRESS),
            ("prefix_ranges", ADDRESS),
            (
                "address_suffix",
                Unsupported("address suffixes are not decided"),
            ),
            (
                "suffix_len",
                Unsupported("address suffixes are not decided"),
            ),
            ("direct_source_prefix_ranges", Judge(direct_source)),
            ("source_type", ADDRESS),
            ("source_prefix_ranges", ADDRESS),
            ("source_ports", ADDRESS),
            ("server_names", Decided),
            ("transport_protocol", Decided),
            ("application_protocols", Decided),
        ],
    },
    Table {
        message: "envoy.config.core.v3.CidrRange",
        fields: &[("address_prefix", Decided), ("prefix_len", Decided)],
    },
    Table {
        message: "envoy.config.listener.v3.Filter",
        fields: &[
            ("name", Inert),
            ("typed_config", Decided),
            ("config_discovery", Decided),
        ],
    },
    Table {
        message: "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        fields: &[
            ("codec_type", Judge(codec_type)),
            ("stat_prefix", STATISTICS),
            ("rds", Decided),
            ("route_config", Part),
            (
                "scoped_routes",
                Unsupported("scoped routes are not decided"),
            ),
            ("http_filters", filter::HTTP_FILTERS),
            (
                "add_user_agent",
                Judge(|judged| {
                    unless_set(judged, "it writes the user agent before a route is chosen")
                }),
            ),
            ("tracing", TRACING),
            ("common_http_protocol_options", Decided),
            ("http1_safe_max_connection_duration", TIMING),
            ("http_protocol_options", Decided),
            ("http2_protocol_options", Inert),
            ("http3_protocol_options", Inert),
            ("server_name", Inert),
            ("server_header_transformation", Inert),
            ("scheme_header_transformation", Decided),
            ("max_request_headers_kb", Decided),
            ("stream_idle_timeout", TIMING),
            ("stream_flush_timeout", TIMING),
            ("request_timeout", TIMING),
            ("request_headers_timeout", TIMING),
            ("drain_timeout", TIMING),
            ("drain_timeout_jitter", TIMING),
            ("delayed_close_timeout", TIMING),
            ("access_log", ACCESS_LOG),
            ("access_log_flush_interval", TIMING),
            ("flush_access_log_on_new_request", Inert),
            ("access_log_options", ACCESS_LOG),
            // What these write are headers that no decided matcher reads: see header.rs.
            ("use_remote_address", Inert),
            ("xff_num_trusted_hops", Inert),
            (
                "original_ip_detection_extensions",
                Unsupported("an extension finds the client's address, and may refuse requests"),
            ),
            (
                "early_header_mutation_extensions",
                Unsupported("headers are changed before a route is chosen"),
            ),
            ("internal_address_config", Inert),
            ("skip_xff_append", Inert),
            ("via", Decided),
            ("generate_request_id", Inert),
            ("preserve_external_request_id", Inert),
            ("always_set_request_id_in_response", Inert),
            ("forward_client_cert_details", Inert),
            ("set_current_client_cert_details", Inert),
            ("forward_client_cert_matcher", Inert),
            ("proxy_100_continue", Inert),
            ("represent_ipv4_remote_address_as_ipv4_mapped_ipv6", Inert),
            ("upgrade_configs", Decided),
            ("normalize_path", Decided),
            ("merge_slashes", Decided),
            ("path_with_escaped_slashes_action", Decided),
            ("request_id_extension", Inert),
            ("local_reply_config", Judge(local_reply)),
            ("strip_matching_host_port", Decided),
            ("strip_any_host_port", Decided),
            ("record_route_resolution_stats", STATISTICS),
            ("stream_error_on_invalid_http_message", Inert),
            (
                "path_normalization_options",
                Unsupported("path normalisation by rules is not decided"),
            ),
            ("strip_trailing_host_dot", Decided),
            ("proxy_status_config", Decided),
            (
                "typed_header_validation_config",
                Unsupported("an extension validates headers"),
            ),
            ("append_x_forwarded_port", Decided),
            ("append_local_overload", Inert),
            ("add_proxy_protocol_connection_state", Inert),
            ("forward_proto_config", Judge(forward_proto)),
        ],
    },
    Table {
        message: "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.ProxyStatusConfig",
        fields: &[
            ("remove_details", Inert),
            ("remove_connection_termination_details", Inert),
            ("remove_response_flags", Inert),
            (
                "set_recommended_response_code",
                Judge(|judged| unless_set(judged, "it changes the status of Envoy's own replies")),
            ),
            ("use_node_id", Inert),
            ("literal_proxy_name", Inert),
        ],
    },
    Table {
        message: "envoy.extensions.filters.network.http_connection_manager.v3.Rds",
        fields: &[("config_source", Inert), ("route_config_name", Decided)],
    },
    Table {
        message: "envoy.config.core.v3.SchemeHeaderTransformation",
        fields: &[
            (
                "scheme_to_overwrite",
                Unsupported("the scheme is overwritten before a route is chosen"),
            ),
            // What it writes formats alone can say: they do not know it then.
            ("match_upstream", Inert),
        ],
    },
    Table {
        message: "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig",
        fields: &[
            ("upgrade_type", Decided),
            ("enabled", Decided),
            (
                "filters",
                ReadOver(
                    "requests that ask for an upgrade with filters of its own are not decided",
                ),
            ),
        ],
    },
    Table {
        message: "envoy.config.core.v3.HttpProtocolOptions",
        fields: &[
            ("idle_timeout", TIMING),
            ("max_connection_duration", TIMING),
            ("max_connection_duration_jitter", TIMING),
            ("max_headers_count", Decided),
            ("max_response_headers_kb", Inert),
            ("max_stream_duration", TIMING),
            ("headers_with_underscores_action", Decided),
            (
                "max_requests_per_connection",
                ReadOver("connections are not closed here"),
            ),
        ],
    },
    Table {
        message: "envoy.config.core.v3.Http1ProtocolOptions",
        fields: &[
            (
                "allow_absolute_url",
                Judge(|judged| match judged.number() {
                    0 => Verdict::Unsupported("absolute URLs are not taken apart".into()),
                    _ => Verdict::Decided,
                }),
            ),
            ("accept_http_10", Inert),
            ("default_host_for_http_10", Inert),
            ("header_key_format", Inert),
            ("enable_trailers", Inert),
            (
                "allow_chunked_length",
                Judge(|judged| {
                    unless_set(
                        judged,
                        "Content-Length beside Transfer-Encoding is accepted",
                    )
                }),
            ),
            ("override_stream_error_on_invalid_http_message", Inert),
            ("send_fully_qualified_url", Inert),
            (
                "use_balsa_parser",
                Judge(|judged| match judged.number() {
                    0 => Verdict::Unsupported(
                        "another parser than Envoy's own default reads requests".into(),
                    ),
                    _ => Verdict::Inert,
                }),
            ),
            (
                "allow_custom_methods",
                Judge(|judged| unless_set(judged, "methods that Envoy does not know are accepted")),
            ),
            (
                "ignore_http_11_upgrade",
                Unsupported("what some requests ask for by Upgrade is passed over"),
            ),
        ],
    },
    Table {
        message: "envoy.type.v3.HashPolicy",
        fields: &[
            ("source_ip", Decided),
            (
                "filter_state",
                ReadOver("a connection whose hash takes the filter state is not decided"),
            ),
        ],
    },
    Table {
        message: "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        fields: &[
            ("stat_prefix", STATISTICS),
            ("cluster", Decided),
            ("weighted_clusters", Decided),
            (
                "on_demand",
                ReadOver("clusters that come on demand are not in the snapshot"),
            ),
            ("metadata_match", Decided),
            ("idle_timeout", TIMING),
            ("downstream_idle_timeout", TIMING),
            ("upstream_idle_timeout", TIMING),
            ("access_log", ACCESS_LOG),
            ("max_connect_attempts", super::RETRIES),
            ("backoff_options", super::RETRIES),
            ("hash_policy", Decided),
            (
                "tunneling_config",
                ReadOver("how bytes reach the endpoint does not influence which one it is"),
            ),
            ("max_downstream_connection_duration", TIMING),
            (
                "max_downstream_connection_duration_jitter_percentage",
                TIMING,
            ),
            ("access_log_flush_interval", TIMING),
            ("flush_access_log_on_connected", Inert),
            ("access_log_options", ACCESS_LOG),
            ("proxy_protocol_tlvs", Inert),
            ("proxy_protocol_tlv_merge_policy", Inert),
            ("upstream_connect_mode", Decided),
            ("max_early_data_bytes", Inert),
            ("check_drain_close", Inert),
        ],
    },
    Table {
        message: "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster",
        fields: &[("clusters", Decided)],
    },
    Table {
        message: "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight",
        fields: &[
            ("name", Decided),
            ("weight", Decided),
            ("metadata_match", Decided),
        ],
    },
];

/// What a filter chain asks of a connection's addresses.
const ADDRESS: super::Rule = Judge(address);

fn address(judged: &Judged<'_>) -> Verdict {
    match judged.context.without_addresses && !judged.context.by_tree {
        true => Verdict::Unsupported(
            "connections to a pipe or an internal listener have no address to match".into(),
        ),
        false => Verdict::Decided,
    }
}

fn direct_source(judged: &Judged<'_>) -> Verdict {
    match address(judged) {
        Verdict::Decided if !judged.context.by_tree => super::direct_peer(judged),
        verdict => verdict,
    }
}

/// Mappers may change the status of what Envoy answers itself.
fn codec_type(judged: &Judged<'_>) -> Verdict {
    const HTTP2: u64 = 2;
    const HTTP3: u64 = 3;
    match judged.number() {
        HTTP2 => Verdict::Unsupported("it speaks HTTP/2 alone, and requests are HTTP/1".into()),
        HTTP3 => Verdict::Unsupported("it speaks HTTP/3 alone, and requests are HTTP/1".into()),
        _ => Verdict::Decided,
    }
}

fn local_reply(judged: &Judged<'_>) -> Verdict {
    match judged.child {
        Some(config) if config.has("mappers") => {
            Verdict::Unsupported("the status of Envoy's own replies may be mapped".into())
        }
        Some(config) if config.has("body_format") => Verdict::ReadOver(
            "it writes the bodies of Envoy's own replies anew, which are then not decided".into(),
        ),
        _ => Verdict::Inert,
    }
}

/// It tells the scheme by the port of a destination that a listener filter has found out.
fn forward_proto(judged: &Judged<'_>) -> Verdict {
    const PORTS: [&str; 2] = ["https_destination_ports", "http_destination_ports"];
    match judged.child {
        Some(config) if PORTS.iter().any(|name| config.has(name)) => {
            Verdict::Unsupported("the destination's port says what a request's scheme is".into())
        }
        _ => Verdict::Inert,
    }
}

/// Requests name an internal listener, which has no address.
fn internal_listener(judged: &Judged<'_>) -> Verdict {
    let hands_on = judged.parent.child("use_original_dst");
    match hands_on.is_some_and(|it| it.number("value") != 0) {
        true => Verdict::Unsupported(
            "what an internal listener hands on by its original destination is not decided".into(),
        ),
        false => Verdict::Decided,
    }
}

/// Listener filters find out what filter chains match on; a request says that outright.
fn listener_filter(judged: &Judged<'_>) -> Verdict {
    const KNOWN: [&str; 5] = [
        inspector::HTTP_INSPECTOR,
        ORIGINAL_DST,
        "envoy.extensions.filters.listener.original_src.v3.OriginalSrc",
        PROXY_PROTOCOL,
        inspector::TLS_INSPECTOR,
    ];
    const LIMIT: &str = "envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit";
    let Some(listener_filter) = judged.child else {
        return Verdict::Decided;
    };
    let name = listener_filter.text("name");
    let any = listener_filter.any("typed_config");
    let kind = any.as_ref().map(filter::content_type).unwrap_or_default();
    let content = any.as_ref().and_then(|any| any.content());
    if kind == PROXY_PROTOCOL && content.is_some_and(|it| !it.children("rules").is_empty()) {
        return Verdict::Unsupported(
            format!("the listener filter {name} writes metadata, which routes may match").into(),
        );
    }
    if any
        .as_ref()
        .is_some_and(|any| filter::writes_for_balancers(judged, any))
    {
        return Verdict::Unsupported(
            format!("the listener filter {name} may choose a cluster's subset").into(),
        );
    }
    if KNOWN.contains(&kind.as_str()) {
        return if listener_filter.has("filter_disabled") {
            inspector::judge(judged.parent, judged.index, &kind, name)
        } else {
            Verdict::Inert
        };
    }
    if kind == LIMIT {
        return Verdict::Caution("connections are decided as if its limit is not reached".into());
    }
    Verdict::Unsupported(
        format!("the listener filter {name} may close connections or change what chains match")
            .into(),
    )
}

pub(crate) const ORIGINAL_DST: &str =
    "envoy.extensions.filters.listener.original_dst.v3.OriginalDst";
pub(crate) const PROXY_PROTOCOL: &str =
    "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol";
pub(crate) const MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
pub(crate) const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

/// A network filter: the terminal one, or one before it.
fn network_filter(judged: &Judged<'_>) -> Verdict {
    let Some(network_filter) = judged.child else {
        return Verdict::Decided;
    };
    let is_last = judged.parent.children("filters").len() == judged.index + 1;
    let name = network_filter.text("name");
    let Some(any) = network_filter.any("typed_config") else {
        return Verdict::Decided;
    };
    let kind = filter::content_type(&any);
    if kind == MANAGER || kind == TCP_PROXY {
        return if is_last {
            Verdict::Decided
        } else {
            Verdict::Unsupported(format!("the filter {name} is not the last of its chain").into())
        };
    }
    if is_last {
        return Verdict::Unsupported(
            format!("the chain ends in the filter {name}, which is not decided").into(),
        );
    }
    if filter::is_istio_inert(&kind) {
        return Verdict::Inert;
    }
    let limits = [
        "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
        "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit",
    ];
    if limits.contains(&kind.as_str()) {
        return Verdict::Caution("connections are decided as if its limit is not reached".into());
    }
    let watchers = [
        "envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy",
        "envoy.extensions.filters.network.tcp_bandwidth_limit.v3.TcpBandwidthLimit",
        "envoy.extensions.filters.network.zookeeper_proxy.v3.ZooKeeperProxy",
    ];
    if watchers.contains(&kind.as_str()) {
        return Verdict::ReadOver(format!("the filter {name} only watches the bytes").into());
    }
    // In a TypedStruct it has no fields that could be looked at.
    if any.type_name() == NETWORK_RBAC {
        return Verdict::Decided;
    }
    if kind.ends_with(".wasm.v3.Wasm") && filter::is_reporting_wasm(&any) {
        return Verdict::ReadOver(format!("the filter {name} reports").into());
    }
    Verdict::Unsupported(
        format!("the filter {name} may close connections or send them elsewhere").into(),
    )
}
