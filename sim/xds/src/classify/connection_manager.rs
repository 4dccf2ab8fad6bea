//! HTTP connection managers.

use super::{
    ACCESS_LOG, HEEDED, Judged,
    Rule::{Decided, Inert, Judge, Part, ReadOver, Unsupported},
    STATISTICS, TIMING, TRACING, Table, Verdict, filter, unless_set,
};

pub(super) const TABLES: &[Table] = &[
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
            ("stream_idle_timeout", HEEDED),
            ("stream_flush_timeout", TIMING),
            ("request_timeout", HEEDED),
            ("request_headers_timeout", TIMING),
            ("drain_timeout", TIMING),
            ("drain_timeout_jitter", TIMING),
            ("delayed_close_timeout", TIMING),
            ("access_log", ACCESS_LOG),
            ("access_log_flush_interval", TIMING),
            ("flush_access_log_on_new_request", Inert),
            ("access_log_options", ACCESS_LOG),
            ("use_remote_address", Decided),
            ("xff_num_trusted_hops", Decided),
            (
                "original_ip_detection_extensions",
                Unsupported("an extension finds the client's address, and may refuse requests"),
            ),
            (
                "early_header_mutation_extensions",
                Unsupported("headers are changed before a route is chosen"),
            ),
            ("internal_address_config", Decided),
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
        message: "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.InternalAddressConfig",
        // What comes over a pipe says no address here.
        fields: &[("unix_sockets", Inert), ("cidr_ranges", Decided)],
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
            ("match_upstream", Decided),
        ],
    },
    Table {
        message: "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig",
        fields: &[
            ("upgrade_type", Decided),
            ("enabled", Decided),
            (
                "filters",
                // Of those requests a decision tells that it is not decided.
                Judge(|_| {
                    Verdict::ReadOver(
                        "requests that ask for an upgrade with filters of its own are not decided"
                            .into(),
                    )
                }),
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
            ("max_stream_duration", HEEDED),
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
];

pub(crate) const MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

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
