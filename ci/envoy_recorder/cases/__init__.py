"""The generated cases: each module has NAME, NOTES, config() and traffic()."""

from envoy_recorder.cases import (
    bookinfo, canary, canary_pinned, filter_chains, filter_chains_tls, header_matchers,
    header_view, host_precedence, least_request, original_destination, path_kinds,
    path_normalization, priorities,
    query_parameters, redirect_direct_response, rewrites, weighted_round_robin)

MODULES = (
    bookinfo, canary, canary_pinned, filter_chains, filter_chains_tls, header_matchers,
    header_view, host_precedence, least_request, original_destination, path_kinds,
    path_normalization, priorities,
    query_parameters, redirect_direct_response, rewrites, weighted_round_robin)
CASES = {module.NAME: module for module in MODULES}
