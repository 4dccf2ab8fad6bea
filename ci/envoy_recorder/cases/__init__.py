"""The generated cases: each module has NAME, NOTES, config() and traffic()."""

from envoy_recorder.cases import (
    attempts, bookinfo, canary, canary_pinned, circuit_breakers, cluster_header, connect, cors,
    direct_response_bodies, faults,
    filter_chain_matcher, filter_chains, filter_chains_tls, format_rewrites, hash_balancers, hash_policies,
    header_matchers, header_mutation_filters, header_mutations, header_view, host_precedence, least_request,
    load_balancing, local_rate_limits, locality_weights, managed_headers, matcher_tree, mirrors, network_rbac,
    original_destination, override_host, override_host_retries, path_kinds, path_normalization, priorities,
    profile_138, query_parameters, random_endpoints, rate_limit_descriptors, rbac, rbac_matcher,
    redirect_direct_response, require_tls, rewrites, route_matchers, runtime_fraction, slow_start, subsets,
    tcp_weighted_clusters, upgrade_matchers,
    upgrades, uri_templates, weighted_round_robin,
    zone_aware)

MODULES = (
    attempts, bookinfo, canary, canary_pinned, circuit_breakers, cluster_header, connect, cors,
    direct_response_bodies, faults,
    filter_chain_matcher, filter_chains, filter_chains_tls, format_rewrites, hash_balancers, hash_policies,
    header_matchers, header_mutation_filters, header_mutations, header_view, host_precedence, least_request,
    load_balancing, local_rate_limits, locality_weights, managed_headers, matcher_tree, mirrors, network_rbac,
    original_destination, override_host, override_host_retries, path_kinds, path_normalization, priorities,
    profile_138, query_parameters, random_endpoints, rate_limit_descriptors, rbac, rbac_matcher,
    redirect_direct_response, require_tls, rewrites, route_matchers, runtime_fraction, slow_start, subsets,
    tcp_weighted_clusters, upgrade_matchers,
    upgrades, uri_templates, weighted_round_robin,
    zone_aware)
CASES = {module.NAME: module for module in MODULES}
