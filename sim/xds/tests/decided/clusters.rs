//! Balancers, and the endpoints that they choose from.

use rstest::rstest;
use twinmesh_xds::{Balancer, Hashing, Maglev, RingHash};

use crate::common::{
    clusters, heavy_endpoints, heavy_localities, listener, listeners, manager, read_ok,
};

const HASHING: Hashing = Hashing {
    by_hostname: false,
    locality_weighted: false,
    balance_factor: 0,
};
const RING: Balancer = Balancer::RingHash(RingHash {
    minimum: 1024,
    maximum: 8 << 20,
    murmur: false,
    hashing: HASHING,
});
const LEAST: Balancer = Balancer::LeastRequest {
    choice_count: 2,
    active_request_bias: 1.0,
    full_scan: false,
};

#[rstest]
#[case::default("", Balancer::RoundRobin, None)]
#[case::least("  lb_policy: LEAST_REQUEST", LEAST, None)]
#[case::any_case("  lb_policy: Least_Request", LEAST, None)]
#[case::choices("  lb_policy: LEAST_REQUEST\n  least_request_lb_config: {choice_count: 5, active_request_bias: {default_value: 0.5, runtime_key: k}}", Balancer::LeastRequest { choice_count: 5, active_request_bias: 0.5, full_scan: false }, None)]
#[case::original(
    "  lb_policy: CLUSTER_PROVIDED\n  type: ORIGINAL_DST",
    Balancer::OriginalDestination,
    None
)]
#[case::ring("  lb_policy: RING_HASH", RING, None)]
#[case::ring_sizes(
    "  type: STRICT_DNS\n  lb_policy: RING_HASH\n  ring_hash_lb_config: {minimum_ring_size: 2, maximum_ring_size: 4, hash_function: MURMUR_HASH_2}\n  common_lb_config: {consistent_hashing_lb_config: {use_hostname_for_hashing: true}}",
    Balancer::RingHash(RingHash { minimum: 2, maximum: 4, murmur: true, hashing: Hashing { by_hostname: true, locality_weighted: false, balance_factor: 0 } }),
    None
)]
#[case::bounded(
    "  lb_policy: RING_HASH\n  common_lb_config: {consistent_hashing_lb_config: {hash_balance_factor: 150}}",
    Balancer::RingHash(RingHash { minimum: 1024, maximum: 8388608, murmur: false, hashing: Hashing { by_hostname: false, locality_weighted: false, balance_factor: 150 } }),
    None
)]
#[case::not_hashed(
    "  common_lb_config: {consistent_hashing_lb_config: {hash_balance_factor: 150}}",
    Balancer::RoundRobin,
    None
)]
#[case::random("  lb_policy: RANDOM", Balancer::Random, None)]
#[case::table(
    "  lb_policy: MAGLEV\n  maglev_lb_config: {table_size: 7}\n  common_lb_config: {locality_weighted_lb_config: {}}",
    Balancer::Maglev(Maglev { table_size: 7, hashing: Hashing { by_hostname: false, locality_weighted: true, balance_factor: 0 } }),
    None
)]
#[case::ring_extension(
    "  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash, use_hostname_for_hashing: true, consistent_hashing_lb_config: {}, locality_weighted_lb_config: {}}}}]}",
    Balancer::RingHash(RingHash { minimum: 1024, maximum: 8388608, murmur: false, hashing: Hashing { by_hostname: false, locality_weighted: true, balance_factor: 0 } }),
    None
)]
#[case::own_policies(
    "  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.maglev.v3.Maglev, consistent_hashing_lb_config: {hash_policy: [{header: {header_name: a}}]}}}}]}",
    Balancer::Maglev(Maglev { table_size: 65537, hashing: HASHING }),
    Some("load_balancing_policy.policies[0].typed_extension_config.typed_config.consistent_hashing_lb_config")
)]
#[case::hash_policy_of_the_cluster(
    "  lb_policy: RING_HASH\n  typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {\"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}, hash_policy: [{header: {header_name: a}}]}}",
    RING,
    Some("typed_extension_protocol_options[0]")
)]
#[case::hash_policy_that_nothing_asks_for(
    "  typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {\"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}, hash_policy: [{header: {header_name: a}}]}}",
    Balancer::RoundRobin,
    None
)]
#[case::upstream_filters(
    "  typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {\"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}, http_filters: [{name: f, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC}}, {name: c, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec}}]}}",
    Balancer::RoundRobin,
    Some("typed_extension_protocol_options[0]")
)]
#[case::upstream_codec(
    "  typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {\"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}, http_filters: [{name: c, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec}}]}}",
    Balancer::RoundRobin,
    None
)]
#[case::slow(
    "  round_robin_lb_config: {slow_start_config: {slow_start_window: 1s, aggression: {default_value: 2, runtime_key: k}, min_weight_percent: {value: 5}}}",
    Balancer::RoundRobin,
    None
)]
#[case::slow_within_subsets(
    "  lb_subset_config: {subset_selectors: [{keys: [v]}]}\n  round_robin_lb_config: {slow_start_config: {slow_start_window: 1s}}",
    Balancer::RoundRobin,
    Some("round_robin_lb_config.slow_start_config")
)]
#[case::extension("  lb_policy: RANDOM\n  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest, choice_count: 3}}}]}", Balancer::LeastRequest { choice_count: 3, active_request_bias: 1.0, full_scan: false }, None)]
#[case::maglev(
    "  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.maglev.v3.Maglev}}}]}",
    Balancer::Maglev(Maglev { table_size: 65537, hashing: HASHING }),
    None
)]
#[case::full_scan(
    "  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest, selection_method: FULL_SCAN}}}]}",
    Balancer::LeastRequest { choice_count: 2, active_request_bias: 1.0, full_scan: true },
    None
)]
#[case::behind_an_unknown_one(
    "  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/google.protobuf.Struct, value: {}}}}, {typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}",
    Balancer::Random,
    None
)]
#[case::in_a_typed_struct(
    "  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}",
    Balancer::RoundRobin,
    Some("load_balancing_policy.policies[0]")
)]
#[case::behind_an_undecided_one(
    "  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided}}}, {typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}",
    Balancer::RoundRobin,
    Some("load_balancing_policy.policies[0]")
)]
#[case::wrr_locality(
    "  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality, endpoint_picking_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin}}}]}}}}]}",
    Balancer::RoundRobin,
    None
)]
#[case::override_host(
    "  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost, override_host_sources: [{header: x}], fallback_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}}}}]}",
    Balancer::Random,
    None
)]
#[case::override_host_by_metadata(
    "  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost, override_host_sources: [{metadata: {key: m, path: [{key: k}]}}], fallback_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}}}}]}",
    Balancer::Random,
    None
)]
#[case::override_host_by_authority(
    "  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost, override_host_sources: [{header: \":authority\"}], fallback_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}}}}]}",
    Balancer::Random,
    Some(
        "load_balancing_policy.policies[0].typed_extension_config.typed_config.override_host_sources[0].header"
    )
)]
#[case::override_host_by_a_managed_header(
    "  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost, override_host_sources: [{header: X-Request-Id}], fallback_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}}}}]}",
    Balancer::Random,
    Some("load_balancing_policy")
)]
#[case::override_host_by_a_header_that_must_be_a_url(
    "  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost, override_host_sources: [{header: referer}], fallback_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}}}}]}",
    Balancer::Random,
    Some("load_balancing_policy")
)]
#[case::override_host_that_tells(
    "  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost, override_host_sources: [{header: x}], selected_host_key: {key: m, path: [{key: k}]}, fallback_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}}}}]}",
    Balancer::Random,
    Some(
        "load_balancing_policy.policies[0].typed_extension_config.typed_config.selected_host_key"
    )
)]
#[case::subsets_behind_override_host_within_subsets(
    "  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.subset.v3.Subset, subset_selectors: [{keys: [a]}], subset_lb_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost, override_host_sources: [{header: x}], fallback_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.subset.v3.Subset, subset_selectors: [{keys: [a]}], subset_lb_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin}}}]}}}}]}}}}]}}}}]}",
    Balancer::RoundRobin,
    Some("load_balancing_policy.policies[0].typed_extension_config.typed_config.subset_lb_policy")
)]
#[case::subset_extension(
    "  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.subset.v3.Subset, subset_selectors: [{keys: [a]}], subset_lb_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}}}}]}",
    Balancer::Random,
    None
)]
#[case::subsets_of_subsets(
    "  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.subset.v3.Subset, subset_lb_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.subset.v3.Subset, subset_lb_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}}}}]}}}}]}",
    Balancer::Random,
    Some("load_balancing_policy.policies[0].typed_extension_config.typed_config.subset_lb_policy")
)]
#[case::one_locality(
    "  common_lb_config: {locality_weighted_lb_config: {}, healthy_panic_threshold: {value: 0}}",
    Balancer::RoundRobin,
    None
)]
#[case::subsets(
    "  lb_subset_config: {subset_selectors: [{keys: [a]}]}",
    Balancer::RoundRobin,
    None
)]
#[case::no_subsets(
    "  lb_subset_config: {fallback_policy: ANY_ENDPOINT}",
    Balancer::RoundRobin,
    None
)]
#[case::eds(
    "  type: EDS\n  eds_cluster_config: {service_name: s, eds_config: {ads: {}}}",
    Balancer::RoundRobin,
    Some("eds_cluster_config")
)]
#[case::unresolved(
    "  type: STRICT_DNS\n  load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: backend, port_value: 80}}}}]}]}",
    Balancer::RoundRobin,
    Some("load_assignment")
)]
#[case::resolved(
    "  type: STRICT_DNS\n  load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: \"::1\", port_value: 80}}}}]}]}",
    Balancer::RoundRobin,
    None
)]
#[case::named_health_checks(
    "  health_checks: [{name: a, timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}, {name: b, timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /, use_alpn_protocol: true}}]",
    Balancer::RoundRobin,
    None
)]
#[case::urls_as_targets(
    "  typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {\"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {send_fully_qualified_url: true}}}}",
    Balancer::RoundRobin,
    Some("typed_extension_protocol_options[0]")
)]
#[case::old_urls_as_targets(
    "  http_protocol_options: {send_fully_qualified_url: true}",
    Balancer::RoundRobin,
    Some("http_protocol_options")
)]
#[case::of_the_other_family(
    "  type: LOGICAL_DNS\n  dns_lookup_family: V4_ONLY\n  load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: \"::1\", port_value: 80}}}}]}]}",
    Balancer::RoundRobin,
    Some("dns_lookup_family")
)]
#[case::of_the_family(
    "  type: LOGICAL_DNS\n  dns_lookup_family: V4_ONLY\n  load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: \"127.0.0.1\", port_value: 80}}}}]}]}",
    Balancer::RoundRobin,
    None
)]
#[case::drops(
    "  load_assignment: {cluster_name: c, policy: {drop_overloads: [{category: a, drop_percentage: {numerator: 1}}]}}",
    Balancer::RoundRobin,
    None
)]
#[case::localities(
    "  common_lb_config: {locality_weighted_lb_config: {}}\n  load_assignment: {cluster_name: c, endpoints: [{locality: {zone: a}, lb_endpoints: [{endpoint: {address: {pipe: {path: /a}}}}]}, {locality: {zone: b}, lb_endpoints: [{endpoint: {address: {pipe: {path: /b}}}}]}]}",
    Balancer::RoundRobin,
    None
)]
fn balancers(#[case] fields: &str, #[case] balancer: Balancer, #[case] unsupported: Option<&str>) {
    let snapshot = read_ok("f.yaml", &clusters(&format!("- name: c\n{fields}")));
    let cluster = &snapshot.clusters[0];
    assert_eq!(cluster.balancer, balancer);
    let found = cluster
        .unsupported
        .as_ref()
        .map(|found| found.path.as_str());
    assert_eq!(found, unsupported);
}

#[rstest]
#[case::endpoints(heavy_endpoints("lb_policy: ROUND_ROBIN"))]
#[case::endpoints_of_least_request(heavy_endpoints("lb_policy: LEAST_REQUEST"))]
#[case::localities(heavy_localities("lb_policy: ROUND_ROBIN"))]
#[case::localities_of_least_request(heavy_localities("lb_policy: LEAST_REQUEST"))]
fn weights_that_pass_32_bits_together_are_taken(#[case] text: String) {
    let snapshot = read_ok("f.yaml", &text);
    assert_eq!(snapshot.clusters[0].unsupported, None);
}

/// Measured: without connection pools there is no healthy upstream; a TCP proxy's connection is closed, and so
/// are requests whose connections go ahead of them.
#[rstest]
#[case(
    "circuit_breakers: {thresholds: [{max_connection_pools: 0}]}",
    Some("circuit_breakers"),
    true
)]
#[case(
    "circuit_breakers: {thresholds: [{max_connection_pools: 1}]}",
    None,
    true
)]
#[case("circuit_breakers: {thresholds: [{max_connections: 0}]}", None, false)]
#[case(
    "circuit_breakers: {per_host_thresholds: [{max_connections: 0}]}",
    None,
    false
)]
#[case(
    "circuit_breakers: {thresholds: [{max_pending_requests: 0}]}",
    None,
    false
)]
#[case(
    "circuit_breakers: {thresholds: [{max_pending_requests: 0, priority: HIGH}]}",
    None,
    true
)]
#[case("circuit_breakers: {thresholds: [{max_requests: 0}]}", None, true)]
#[case(
    "circuit_breakers: {thresholds: [{max_pending_requests: 0}]}\n    preconnect_policy: {per_upstream_preconnect_ratio: 2}",
    Some("preconnect_policy"),
    false
)]
fn thresholds_of_0(
    #[case] fields: &str,
    #[case] of_cluster: Option<&str>,
    #[case] takes_connections: bool,
) {
    let text = listeners(&listener(&["{}"]));
    let snapshot = read_ok(
        "f.yaml",
        &format!("{text}\n  clusters:\n  - name: c\n    {fields}\n"),
    );
    let found = snapshot.clusters[0].unsupported.as_ref();
    assert_eq!(found.map(|it| it.path.as_str()), of_cluster);
    let chain = &snapshot.listeners[0].filter_chains[0];
    let path = chain.unsupported.as_ref().map(|it| it.path.as_str());
    let expected = (!takes_connections).then_some("filter_chains[0].filters[0]");
    assert_eq!(path, expected);
}

#[test]
fn tunnels_are_requests_to_thresholds() {
    let tunnel = "        cluster: c\n        tunneling_config: {hostname: h}\n";
    let text = listeners(&listener(&["{}"]).replacen("        cluster: c\n", tunnel, 1));
    let breakers = "circuit_breakers: {thresholds: [{max_requests: 0}]}";
    let snapshot = read_ok(
        "f.yaml",
        &format!("{text}\n  clusters:\n  - name: c\n    {breakers}\n"),
    );
    assert!(snapshot.listeners[0].filter_chains[0].unsupported.is_some());
}

/// A header names endpoints as it is sent: after the route and filters have changed it.
#[rstest]
#[case("x-forwarded-host", "append_x_forwarded_host: true", true)]
#[case("x-forwarded-host", "append_x_forwarded_host: false", false)]
#[case("x", "append_x_forwarded_host: true", false)]
fn a_header_that_names_endpoints_may_be_changed_before(
    #[case] header: &str,
    #[case] option: &str,
    #[case] unsupported: bool,
) {
    let route = format!("route: {{cluster: c, host_rewrite_literal: h, {option}}}");
    let manager = manager("", "").replacen("direct_response: {status: 200}", &route, 1);
    let policy = |name: &str, more: &str| {
        format!(
            "{{policies: [{{typed_extension_config: {{name: x, typed_config: {{\"@type\": \
             type.googleapis.com/envoy.extensions.load_balancing_policies.{name}{more}}}}}}}]}}"
        )
    };
    let fallback = policy("random.v3.Random", "");
    let sources =
        format!(", override_host_sources: [{{header: {header}}}], fallback_policy: {fallback}");
    let policy = policy("override_host.v3.OverrideHost", &sources);
    let text = format!(
        "{}  clusters:\n  - name: c\n    load_balancing_policy: {policy}\n",
        listeners(&manager)
    );
    let snapshot = read_ok("f.yaml", &text);
    let found = &snapshot.clusters[0].unsupported;
    assert_eq!(found.is_some(), unsupported, "{found:?}");
}
