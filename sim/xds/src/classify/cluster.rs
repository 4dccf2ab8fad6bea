//! Clusters.

use std::net::Ipv6Addr;

use super::{
    Judged, METADATA,
    Rule::{Decided, Inert, Judge, ReadOver, Unsupported},
    STATISTICS, TIMING, Table, Verdict, balancer, subset, unless_set, upstream,
};

pub(super) const TABLES: &[Table] = &[
    Table {
        message: crate::form::CLUSTER,
        fields: &[
            ("transport_socket_matches", TLS),
            ("transport_socket_matcher", TLS),
            ("name", Decided),
            ("alt_stat_name", Decided),
            ("stats_matcher", STATISTICS),
            ("type", Decided),
            (
                "cluster_type",
                Unsupported("cluster types by extension are not decided"),
            ),
            ("eds_cluster_config", Decided),
            ("connect_timeout", TIMING),
            ("per_connection_buffer_limit_bytes", Inert),
            ("per_connection_buffer_high_watermark_timeout", TIMING),
            ("lb_policy", Judge(balancer::balancer)),
            ("load_assignment", Decided),
            (
                "health_checks",
                ReadOver("endpoints are as healthy as the snapshot says"),
            ),
            ("max_requests_per_connection", Inert),
            ("circuit_breakers", Judge(circuit_breakers)),
            ("upstream_http_protocol_options", PROTOCOL),
            ("common_http_protocol_options", PROTOCOL),
            ("http_protocol_options", Judge(upstream::http_1)),
            ("http2_protocol_options", PROTOCOL),
            ("typed_extension_protocol_options", Judge(upstream::judge)),
            ("dns_refresh_rate", TIMING),
            ("dns_jitter", TIMING),
            ("dns_failure_refresh_rate", TIMING),
            ("respect_dns_ttl", TIMING),
            ("dns_lookup_family", Judge(dns_lookup_family)),
            ("dns_resolvers", Inert),
            ("use_tcp_for_dns_lookups", Inert),
            ("dns_resolution_config", Inert),
            ("typed_dns_resolver_config", Inert),
            ("wait_for_warm_on_init", Inert),
            (
                "outlier_detection",
                ReadOver(
                    "endpoints are decided as if none is ejected, but where endpoints follow a script (--endpoints)",
                ),
            ),
            ("cleanup_interval", TIMING),
            ("upstream_bind_config", Inert),
            ("lb_subset_config", Judge(subset::subsets)),
            ("ring_hash_lb_config", Decided),
            ("maglev_lb_config", Decided),
            ("original_dst_lb_config", Decided),
            ("least_request_lb_config", Decided),
            ("round_robin_lb_config", Decided),
            ("common_lb_config", Decided),
            ("transport_socket", TLS),
            ("metadata", METADATA),
            ("protocol_selection", PROTOCOL),
            ("upstream_connection_options", Inert),
            ("close_connections_on_host_health_failure", Inert),
            ("ignore_health_on_host_removal", Inert),
            (
                "filters",
                ReadOver("upstream filters run after the endpoint is chosen"),
            ),
            ("load_balancing_policy", Decided),
            ("lrs_server", STATISTICS),
            ("lrs_report_endpoint_metrics", STATISTICS),
            ("track_timeout_budgets", STATISTICS),
            (
                "upstream_config",
                ReadOver("how requests reach the endpoint does not influence which one it is"),
            ),
            ("track_cluster_stats", STATISTICS),
            ("preconnect_policy", Judge(preconnect)),
            ("connection_pool_per_downstream_connection", Inert),
            ("queuing_policies", Inert),
        ],
    },
    Table {
        message: "envoy.config.cluster.v3.Cluster.EdsClusterConfig",
        fields: &[("eds_config", Inert), ("service_name", Decided)],
    },
    Table {
        message: "envoy.config.cluster.v3.Cluster.OriginalDstLbConfig",
        fields: &[
            (
                "use_http_header",
                Judge(|judged| unless_set(judged, ORIGINAL_DESTINATION)),
            ),
            ("http_header_name", Inert),
            ("upstream_port_override", Unsupported(ORIGINAL_DESTINATION)),
            ("metadata_key", Unsupported(ORIGINAL_DESTINATION)),
        ],
    },
    Table {
        message: "envoy.config.cluster.v3.Cluster.CommonLbConfig",
        fields: &[
            ("healthy_panic_threshold", Decided),
            ("zone_aware_lb_config", Decided),
            ("locality_weighted_lb_config", Decided),
            ("update_merge_window", TIMING),
            ("ignore_new_hosts_until_first_hc", Inert),
            ("close_connections_on_host_set_change", Inert),
            (
                "consistent_hashing_lb_config",
                Judge(balancer::consistent_hashing),
            ),
            (
                "override_host_status",
                ReadOver("endpoints are not chosen by session"),
            ),
        ],
    },
    Table {
        message: "envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig",
        fields: &[
            ("routing_enabled", Decided),
            ("min_cluster_size", Decided),
            ("fail_traffic_on_panic", Decided),
        ],
    },
];

const TLS: super::Rule =
    ReadOver("how the endpoint is spoken to does not influence which one it is");

const PROTOCOL: super::Rule = ReadOver(upstream::PROTOCOL);

const ORIGINAL_DESTINATION: &str = "an original destination other than the connection's own";

/// Thresholds of 0 are decided, and may come with any change.
fn circuit_breakers(_: &Judged<'_>) -> Verdict {
    Verdict::ReadOver(
        "requests are decided as if its thresholds above 0 are not reached, but where endpoints follow a script (--endpoints)"
            .into(),
    )
}

/// Which of a name's addresses count; also an address in the place of a name has to be of the family.
fn dns_lookup_family(judged: &Judged<'_>) -> Verdict {
    const V4_ONLY: u64 = 1;
    const DNS: [u64; 2] = [1, 2];
    let cluster = judged.parent;
    if cluster.number("dns_lookup_family") != V4_ONLY || !DNS.contains(&cluster.number("type")) {
        return Verdict::Inert;
    }
    let groups = cluster.child("load_assignment");
    let groups = groups.map_or(Vec::new(), |it| it.children("endpoints"));
    let endpoints = groups.iter().flat_map(|it| it.children("lb_endpoints"));
    let mut addresses = endpoints.filter_map(|it| {
        let address = it.child("endpoint")?.child("address")?;
        Some(address.child("socket_address")?.text("address"))
    });
    match addresses.any(|it| it.parse::<Ipv6Addr>().is_ok()) {
        true => {
            Verdict::Unsupported("an IPv6 address is no endpoint of a cluster of V4_ONLY".into())
        }
        false => Verdict::Inert,
    }
}

/// Connections that are opened beforehand take picks of the balancer.
fn preconnect(judged: &Judged<'_>) -> Verdict {
    match judged.child {
        Some(config) if config.has("predictive_preconnect_ratio") => {
            Verdict::Unsupported("connections opened beforehand shift the balancer".into())
        }
        _ => Verdict::Inert,
    }
}
