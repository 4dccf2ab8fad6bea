//! Listeners, their addresses and listener filters.

use super::{
    ACCESS_LOG, Judged, METADATA,
    Rule::{Decided, Inert, Judge, Part, ReadOver, Unsupported},
    STATISTICS, TIMING, Table, Verdict, filter, inspector, unless_set,
};

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
];

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
