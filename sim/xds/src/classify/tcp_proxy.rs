//! TCP proxies.

use super::{
    ACCESS_LOG,
    Rule::{Decided, Inert, ReadOver},
    STATISTICS, TIMING, Table,
};

pub(super) const TABLES: &[Table] = &[
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

pub(crate) const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
