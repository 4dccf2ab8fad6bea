//! Clusters, their load assignments and balancers.

use std::net::Ipv6Addr;

use super::{
    Judged, METADATA,
    Rule::{Decided, Inert, Judge, ReadOver, Unsupported},
    STATISTICS, TIMING, Table, Verdict, filter, unless_set, upstream,
};
use crate::view::View;

pub(super) const TABLES: &[Table] = &[
    Table {
        message: crate::form::CLUSTER,
        fields: &[
            ("transport_socket_matches", TLS),
            ("transport_socket_matcher", TLS),
            ("name", Decided),
            ("alt_stat_name", STATISTICS),
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
            ("lb_policy", Judge(balancer)),
            ("load_assignment", Decided),
            (
                "health_checks",
                ReadOver("endpoints are as healthy as the snapshot says"),
            ),
            ("max_requests_per_connection", Inert),
            (
                "circuit_breakers",
                ReadOver(
                    "requests are decided as if its thresholds above 0 are not reached, but where endpoints follow a script (--endpoints)",
                ),
            ),
            ("upstream_http_protocol_options", PROTOCOL),
            ("common_http_protocol_options", PROTOCOL),
            ("http_protocol_options", PROTOCOL),
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
            ("lb_subset_config", Judge(subsets)),
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
        message: "envoy.config.cluster.v3.Cluster.LeastRequestLbConfig",
        fields: &[
            ("choice_count", Decided),
            ("active_request_bias", Decided),
            ("slow_start_config", Judge(slow_start)),
        ],
    },
    Table {
        message: "envoy.config.cluster.v3.Cluster.SlowStartConfig",
        fields: SLOW_START,
    },
    Table {
        message: "envoy.extensions.load_balancing_policies.common.v3.SlowStartConfig",
        fields: SLOW_START,
    },
    Table {
        message: "envoy.config.cluster.v3.Cluster.RingHashLbConfig",
        fields: &[
            ("minimum_ring_size", Decided),
            ("hash_function", Decided),
            ("maximum_ring_size", Decided),
        ],
    },
    Table {
        message: "envoy.config.cluster.v3.Cluster.MaglevLbConfig",
        fields: &[("table_size", Decided)],
    },
    Table {
        message: "envoy.config.cluster.v3.Cluster.RoundRobinLbConfig",
        fields: &[("slow_start_config", Judge(slow_start))],
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
            ("consistent_hashing_lb_config", Judge(consistent_hashing)),
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
    Table {
        message: "envoy.config.cluster.v3.LoadBalancingPolicy",
        fields: &[("policies", Judge(policy))],
    },
    Table {
        message: "envoy.config.cluster.v3.LoadBalancingPolicy.Policy",
        fields: &[("typed_extension_config", Decided)],
    },
    Table {
        message: "envoy.config.core.v3.TypedExtensionConfig",
        fields: &[("name", Inert), ("typed_config", Decided)],
    },
    Table {
        message: ROUND_ROBIN,
        fields: &[
            ("slow_start_config", Judge(slow_start)),
            ("locality_lb_config", Decided),
        ],
    },
    Table {
        message: LEAST_REQUEST,
        fields: &[
            ("choice_count", Decided),
            ("active_request_bias", Decided),
            ("slow_start_config", Judge(slow_start)),
            ("locality_lb_config", Decided),
            ("enable_full_scan", Decided),
            ("selection_method", Decided),
        ],
    },
    Table {
        message: RING_HASH,
        fields: &[
            ("hash_function", Decided),
            ("minimum_ring_size", Decided),
            ("maximum_ring_size", Decided),
            ("use_hostname_for_hashing", Decided),
            ("hash_balance_factor", Decided),
            ("consistent_hashing_lb_config", Judge(consistent_hashing)),
            ("locality_weighted_lb_config", Decided),
        ],
    },
    Table {
        message: MAGLEV,
        fields: &[
            ("table_size", Decided),
            ("consistent_hashing_lb_config", Judge(consistent_hashing)),
            ("locality_weighted_lb_config", Decided),
        ],
    },
    Table {
        message: RANDOM,
        fields: &[("locality_lb_config", Decided)],
    },
    Table {
        message: SUBSET,
        fields: &[
            ("fallback_policy", Decided),
            ("default_subset", Decided),
            ("subset_selectors", Decided),
            ("allow_redundant_keys", Decided),
            ("locality_weight_aware", Decided),
            ("scale_locality_weight", Decided),
            ("panic_mode_any", Decided),
            ("list_as_any", Decided),
            ("metadata_fallback_policy", Decided),
            ("subset_lb_policy", Judge(within_subsets)),
        ],
    },
    Table {
        message: OVERRIDE_HOST,
        fields: &[
            ("override_host_sources", Decided),
            (
                "selected_host_key",
                Unsupported(
                    "what it writes into dynamic metadata may be read, which is not decided",
                ),
            ),
            ("fallback_policy", Decided),
        ],
    },
    Table {
        message: "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost.OverrideHostSource",
        fields: &[
            ("header", Judge(override_header)),
            (
                "metadata",
                ReadOver("no filter that is decided writes dynamic metadata: it names no endpoint"),
            ),
        ],
    },
    Table {
        message: WRR_LOCALITY,
        fields: &[("endpoint_picking_policy", Decided)],
    },
    Table {
        message: CLIENT_SIDE_WEIGHTED,
        fields: &[
            ("enable_oob_load_report", NO_REPORTS),
            ("oob_reporting_period", NO_REPORTS),
            ("blackout_period", NO_REPORTS),
            ("weight_expiration_period", NO_REPORTS),
            ("weight_update_period", NO_REPORTS),
            ("error_utilization_penalty", NO_REPORTS),
            ("metric_names_for_computing_utilization", NO_REPORTS),
            ("oob_reporting_config", NO_REPORTS),
            (
                "slow_start_config",
                Unsupported("slow start beside reported weights is not decided"),
            ),
        ],
    },
    Table {
        message: "envoy.extensions.load_balancing_policies.subset.v3.Subset.LbSubsetSelector",
        fields: SELECTOR,
    },
    Table {
        message: "envoy.config.cluster.v3.Cluster.LbSubsetConfig",
        fields: &[
            ("fallback_policy", Decided),
            ("default_subset", Decided),
            ("subset_selectors", Decided),
            ("locality_weight_aware", Decided),
            ("scale_locality_weight", Decided),
            ("panic_mode_any", Decided),
            ("list_as_any", Decided),
            ("metadata_fallback_policy", Decided),
        ],
    },
    Table {
        message: "envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetSelector",
        fields: SELECTOR,
    },
    Table {
        message: "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig",
        fields: &[
            ("zone_aware_lb_config", Decided),
            ("locality_weighted_lb_config", Decided),
        ],
    },
    Table {
        message: "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig",
        fields: &[
            ("routing_enabled", Decided),
            ("min_cluster_size", Decided),
            ("fail_traffic_on_panic", Decided),
            ("force_locality_direct_routing", Decided),
            // Where they count, the cluster is undecided.
            ("force_local_zone", Inert),
            ("locality_basis", Inert),
        ],
    },
    Table {
        message: crate::form::LOAD_ASSIGNMENT,
        fields: &[
            ("cluster_name", Decided),
            ("endpoints", Decided),
            (
                "named_endpoints",
                Unsupported("endpoints by name are not decided"),
            ),
            ("policy", Decided),
        ],
    },
    Table {
        message: "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy",
        fields: &[
            ("drop_overloads", Decided),
            ("overprovisioning_factor", Decided),
            ("endpoint_stale_after", TIMING),
            ("weighted_priority_health", Decided),
        ],
    },
    Table {
        message: "envoy.config.endpoint.v3.ClusterLoadAssignment.Policy.DropOverload",
        fields: &[("category", Inert), ("drop_percentage", Decided)],
    },
    Table {
        message: "envoy.config.endpoint.v3.LocalityLbEndpoints",
        fields: &[
            ("locality", Decided),
            ("metadata", METADATA),
            ("lb_endpoints", Decided),
            (
                "load_balancer_endpoints",
                Unsupported("endpoints in a list of their own are not decided"),
            ),
            (
                "leds_cluster_locality_config",
                Unsupported("endpoints that come by LEDS are not in the snapshot"),
            ),
            ("load_balancing_weight", Decided),
            ("priority", Decided),
            ("proximity", Inert),
        ],
    },
    Table {
        message: "envoy.config.endpoint.v3.LbEndpoint",
        fields: &[
            ("endpoint", Decided),
            (
                "endpoint_name",
                Unsupported("endpoints by name are not decided"),
            ),
            ("health_status", Decided),
            ("metadata", Decided),
            ("load_balancing_weight", Decided),
        ],
    },
    Table {
        message: "envoy.config.endpoint.v3.Endpoint",
        fields: &[
            ("address", Decided),
            ("health_check_config", Inert),
            ("hostname", Inert),
            ("additional_addresses", Inert),
            ("observability_name", Inert),
        ],
    },
];

pub(crate) const ROUND_ROBIN: &str =
    "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin";
pub(crate) const LEAST_REQUEST: &str =
    "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest";

pub(crate) const RING_HASH: &str = "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash";
pub(crate) const MAGLEV: &str = "envoy.extensions.load_balancing_policies.maglev.v3.Maglev";
pub(crate) const RANDOM: &str = "envoy.extensions.load_balancing_policies.random.v3.Random";
pub(crate) const SUBSET: &str = "envoy.extensions.load_balancing_policies.subset.v3.Subset";
pub(crate) const WRR_LOCALITY: &str =
    "envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality";

pub(crate) const OVERRIDE_HOST: &str =
    "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost";
pub(crate) const CLIENT_SIDE_WEIGHTED: &str = "envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin";

const NO_REPORTS: super::Rule =
    ReadOver("endpoints are weighed as if none reported its load, which is not known here");

/// The balancers that are decided.
const BALANCERS: [&str; 9] = [
    ROUND_ROBIN,
    LEAST_REQUEST,
    RING_HASH,
    MAGLEV,
    RANDOM,
    SUBSET,
    OVERRIDE_HOST,
    WRR_LOCALITY,
    CLIENT_SIDE_WEIGHTED,
];

const SLOW_START: &[(&str, super::Rule)] = &[
    ("slow_start_window", Decided),
    ("aggression", Decided),
    ("min_weight_percent", Decided),
];

const SELECTOR: &[(&str, super::Rule)] = &[
    ("keys", Decided),
    ("single_host_per_subset", Decided),
    ("fallback_policy", Decided),
    ("fallback_keys_subset", Decided),
];

/// Whether Envoy has a balancer whose configuration is of this type: it has those that are part of
/// its API.
pub(crate) fn is_known_balancer(type_name: &str) -> bool {
    type_name.starts_with("envoy.extensions.load_balancing_policies.")
}

const TLS: super::Rule =
    ReadOver("how the endpoint is spoken to does not influence which one it is");
const PROTOCOL: super::Rule = ReadOver(upstream::PROTOCOL);
const ORIGINAL_DESTINATION: &str = "an original destination other than the connection's own";

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

/// `Cluster.lb_policy`, which is not looked at beside `load_balancing_policy`.
fn balancer(judged: &Judged<'_>) -> Verdict {
    if judged.parent.has("load_balancing_policy") {
        return Verdict::Inert;
    }
    match judged.number() {
        0..=3 | 5..=7 => Verdict::Decided,
        _ => Verdict::Unsupported("the balancer of this number is not decided".into()),
    }
}

/// The type of a policy's configuration, also of one in a TypedStruct.
fn kind(policy: &View<'_>) -> String {
    let extension = policy.child("typed_extension_config");
    let any = extension.and_then(|extension| extension.any("typed_config"));
    any.map(|any| filter::content_type(&any))
        .unwrap_or_default()
}

/// Of a list the first policy that Envoy has is taken.
fn policy(judged: &Judged<'_>) -> Verdict {
    let policies = judged.parent.children("policies");
    let taken = policies
        .iter()
        .position(|policy| is_known_balancer(&kind(policy)));
    if taken.unwrap_or(0) != judged.index {
        return Verdict::Inert;
    }
    let kind = judged.child.map(kind).unwrap_or_default();
    let any = judged
        .child
        .and_then(|policy| policy.child("typed_extension_config"))
        .and_then(|extension| extension.any("typed_config"));
    let is_plain = any.is_some_and(|any| any.type_name() == kind);
    if is_plain && BALANCERS.iter().any(|name| kind == *name) {
        Verdict::Decided
    } else {
        Verdict::Unsupported(format!("the balancer {kind} is not decided").into())
    }
}

/// The policy that chooses within a subset.
fn within_subsets(judged: &Judged<'_>) -> Verdict {
    if judged.child.is_some_and(has_subsets) {
        Verdict::Unsupported("subsets of subsets are not decided".into())
    } else {
        Verdict::Decided
    }
}

/// Whether the policy that Envoy takes of a list has subsets, or leaves the choice to one that has.
fn has_subsets(list: &View<'_>) -> bool {
    let policies = list.children("policies");
    let Some(taken) = policies
        .iter()
        .find(|policy| is_known_balancer(&kind(policy)))
    else {
        return false;
    };
    let extension = taken.child("typed_extension_config");
    let any = extension.and_then(|extension| extension.any("typed_config"));
    match kind(taken).as_str() {
        SUBSET => true,
        OVERRIDE_HOST => any
            .and_then(|any| any.content()?.child("fallback_policy"))
            .is_some_and(|fallback| has_subsets(&fallback)),
        _ => false,
    }
}

/// A header that names endpoints.
fn override_header(judged: &Judged<'_>) -> Verdict {
    let name = judged.text().to_ascii_lowercase();
    if name.starts_with(':') || name == "host" {
        Verdict::Unsupported(
            "an endpoint that the request's own address names is not decided".into(),
        )
    } else {
        Verdict::Decided
    }
}

/// Each subset would have a slow start of its own.
fn slow_start(judged: &Judged<'_>) -> Verdict {
    if judged.context.in_subsets {
        Verdict::Unsupported("slow start within subsets is not decided".into())
    } else {
        Verdict::Decided
    }
}

/// Without selectors there are no subsets.
fn subsets(judged: &Judged<'_>) -> Verdict {
    match judged.child {
        Some(config) if config.has("subset_selectors") => Verdict::Decided,
        _ => Verdict::Inert,
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

/// Only the hash balancers read it.
fn consistent_hashing(judged: &Judged<'_>) -> Verdict {
    match judged.child {
        Some(config) if judged.context.by_hash => {
            if config.has("hash_policy") {
                Verdict::Unsupported("a cluster's own hash policies are not decided".into())
            } else {
                Verdict::Inert
            }
        }
        _ => Verdict::Inert,
    }
}
