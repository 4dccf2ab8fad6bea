//! What is decided, read over and unsupported, and where in the snapshot that stands.

mod common;

use common::{
    bound, clusters, heavy_endpoints, heavy_localities, listener, listeners, manager, read_ok,
    routes,
};
use rstest::rstest;
use twinmesh_xds::{Balancer, Effect, Hashing, Maglev, RingHash, Snapshot, Terminal};

/// Paths of what is unsupported and of what is read over.
fn findings(snapshot: &Snapshot, effect: Effect) -> Vec<&str> {
    let findings = snapshot.report.findings.iter();
    findings
        .filter(|finding| finding.effect == effect && finding.resource != "clusters")
        .map(|finding| finding.path.as_str())
        .collect()
}

fn first_route(snapshot: &Snapshot) -> Option<&str> {
    let host = snapshot
        .route_configurations
        .first()?
        .virtual_hosts
        .first()?;
    Some(host.routes.first()?.as_ref()?.path.as_str())
}

#[rstest]
#[case::prefix("{prefix: /}", None)]
#[case::path("{path: /a, case_sensitive: false}", None)]
#[case::separated("{path_separated_prefix: /a}", None)]
#[case::regex("{safe_regex: {google_re2: {}, regex: \"/a.*\"}}", None)]
#[case::header(
    "{prefix: /, headers: [{name: a, string_match: {exact: b, ignore_case: true}, invert_match: true, treat_missing_header_as_empty: true}]}",
    None
)]
#[case::old_header(
    "{prefix: /, headers: [{name: a, exact_match: b}, {name: c, safe_regex_match: {regex: d}}, {name: e, contains_match: f}]}",
    None
)]
#[case::range(
    "{prefix: /, headers: [{name: a, range_match: {start: 1, end: 2}}]}",
    None
)]
#[case::pseudo(
    "{prefix: /, headers: [{name: \":method\", string_match: {exact: GET}}]}",
    None
)]
#[case::query(
    "{prefix: /, query_parameters: [{name: a, present_match: true}]}",
    None
)]
#[case::always(
    "{prefix: /, runtime_fraction: {default_value: {numerator: 100}}}",
    None
)]
#[case::never("{prefix: /, runtime_fraction: {default_value: {numerator: 0}}}", None)]
#[case::sometimes(
    "{prefix: /, runtime_fraction: {default_value: {numerator: 100, denominator: TEN_THOUSAND}}}",
    None
)]
#[case::forwarded(
    "{prefix: /, headers: [{name: X-Forwarded-Proto, string_match: {exact: https}}]}",
    None
)]
#[case::internal(
    "{prefix: /, headers: [{name: x-envoy-internal, present_match: true}]}",
    Some("headers[0].name")
)]
#[case::custom(
    "{prefix: /, headers: [{name: a, string_match: {custom: {name: x, typed_config: {\"@type\": type.googleapis.com/google.protobuf.StringValue, value: text}}}}]}",
    Some("headers[0].string_match.custom")
)]
#[case::grpc("{prefix: /, grpc: {}}", None)]
#[case::filter_state(
    "{prefix: /, filter_state: [{key: k, string_match: {exact: v}}]}",
    Some("filter_state[0]")
)]
#[case::tls_context("{prefix: /, tls_context: {presented: true}}", None)]
#[case::template(
    "{path_match_policy: {name: t, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: \"/{a}/*\"}}}",
    None
)]
#[case::star_in_text(
    "{path_match_policy: {name: t, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: \"/a*b\"}}}",
    Some("path_match_policy")
)]
#[case::connect("{connect_matcher: {}}", Some("connect_matcher"))]
#[case::cookies("{prefix: /, cookies: [{name: a, string_match: {exact: b}}]}", None)]
#[case::metadata(
    "{prefix: /, dynamic_metadata: [{filter: f, path: [{key: k}], value: {present_match: true}}]}",
    None
)]
fn matchers(#[case] matched: &str, #[case] unsupported: Option<&str>) {
    let snapshot = read_ok(
        "f.yaml",
        &routes(&format!("- match: {matched}\n  route: {{cluster: c}}")),
    );
    let expected = unsupported.map(|field| format!("virtual_hosts[0].routes[0].match.{field}"));
    assert_eq!(first_route(&snapshot), expected.as_deref());
    assert_eq!(
        findings(&snapshot, Effect::Unsupported),
        expected.iter().map(String::as_str).collect::<Vec<_>>()
    );
}

#[rstest]
#[case::cluster(
    "route: {cluster: c, timeout: 3s, idle_timeout: {seconds: 1}}",
    None,
    None
)]
#[case::longest_timeout("route: {cluster: c, timeout: 9223372035.999s}", None, None)]
#[case::weighted(
    "route: {weighted_clusters: {header_name: x, clusters: [{name: a, weight: 1}]}}",
    None,
    None
)]
#[case::redirect(
    "redirect: {host_redirect: h, prefix_rewrite: /a, strip_query: true}",
    None,
    None
)]
#[case::direct("direct_response: {status: 200, body: {inline_string: x}}", None, None)]
#[case::body_of_bytes(
    "direct_response: {status: 200, body: {inline_bytes: /wA=}}",
    None,
    Some("direct_response.body")
)]
#[case::body_format(
    "direct_response: {status: 200, body_format: {json_format: {a: [{b: '%LOCAL_REPLY_BODY%'}]}}}",
    None,
    None
)]
#[case::body_format_of_time(
    "direct_response: {status: 200, body_format: {json_format: {a: [{b: '%START_TIME%'}]}}}",
    None,
    Some("direct_response.body_format")
)]
#[case::body_format_in_a_file(
    "direct_response: {status: 200, body_format: {text_format_source: {filename: /nowhere}}}",
    None,
    Some("direct_response.body_format")
)]
#[case::body_in_a_file(
    "direct_response: {status: 200, body: {filename: /nowhere}}",
    None,
    Some("direct_response.body")
)]
#[case::body_in_the_environment(
    "direct_response: {status: 200, body: {environment_variable: NOWHERE}}",
    None,
    Some("direct_response.body")
)]
#[case::retries(
    "route: {cluster: c, retry_policy: {retry_on: 5xx}}",
    None,
    Some("route.retry_policy")
)]
#[case::mirror(
    "route: {cluster: c, request_mirror_policies: [{cluster: d}, {cluster: e}]}",
    None,
    None
)]
#[case::hash(
    "route: {cluster: c, hash_policy: [{header: {header_name: a}}]}",
    None,
    None
)]
#[case::hash_of_filter_state(
    "route: {cluster: c, hash_policy: [{filter_state: {key: a}}]}",
    None,
    Some("route.hash_policy[0].filter_state")
)]
#[case::hash_of_rewritten(
    "route: {cluster: c, hash_policy: [{header: {header_name: a, regex_rewrite: {pattern: {regex: a}, substitution: b}}}]}",
    None,
    Some("route.hash_policy[0].header.regex_rewrite")
)]
#[case::headers("route: {cluster: c}\n  request_headers_to_remove: [a]", None, None)]
#[case::commands(
    "route: {cluster: c}\n  request_headers_to_add: [{header: {key: a, value: \"%REQ(b):3% 100%% %START_TIME(%s)%\"}}]",
    None,
    Some("request_headers_to_add[0].header.value")
)]
#[case::prefix_rewrite("route: {cluster: c, prefix_rewrite: /}", None, None)]
#[case::regex_rewrite(
    "route: {cluster: c, regex_rewrite: {pattern: {regex: a}, substitution: b}}",
    None,
    None
)]
#[case::path_format("route: {cluster: c, path_rewrite: /a}", None, None)]
#[case::host_rewrite("route: {cluster: c, host_rewrite_literal: h}", None, None)]
#[case::host_regex(
    "route: {cluster: c, host_rewrite_path_regex: {pattern: {regex: a}, substitution: b}}",
    None,
    None
)]
#[case::host_format(
    "route: {cluster: c, host_rewrite: \"%REQ(x)%.h\", path_rewrite: \"%PATH(NQ)%/a\"}",
    None,
    None
)]
#[case::undecided_host_format(
    "route: {cluster: c, host_rewrite: \"%HOSTNAME%\"}",
    Some("route.host_rewrite"),
    None
)]
#[case::changed_hash(
    "route: {cluster: c, prefix_rewrite: /b, hash_policy: [{header: {header_name: \":path\"}}]}",
    Some("route.hash_policy"),
    None
)]
#[case::host_header("route: {cluster: c, host_rewrite_header: x}", None, None)]
#[case::written_host_header(
    "route: {cluster: c, host_rewrite_header: x-envoy-y}",
    Some("route.host_rewrite_header"),
    None
)]
#[case::changed_host_header(
    "route: {cluster: c, host_rewrite_header: x}\n  request_headers_to_remove: [X]",
    None,
    None
)]
#[case::auto_host("route: {cluster: c, auto_host_rewrite: true}", None, None)]
#[case::weighted_host(
    "route: {weighted_clusters: {clusters: [{name: a, weight: 1, host_rewrite_literal: h}]}}",
    None,
    None
)]
#[case::hashed(
    "route: {weighted_clusters: {use_hash_policy: true, clusters: [{name: a, weight: 1}]}}",
    None,
    None
)]
#[case::runtime(
    "route: {weighted_clusters: {runtime_key_prefix: p, clusters: [{name: a, weight: 1}]}}",
    Some("route.weighted_clusters.runtime_key_prefix"),
    None
)]
#[case::regex_redirect(
    "redirect: {regex_rewrite: {pattern: {regex: a}, substitution: b}}",
    None,
    None
)]
#[case::forwards_nothing("non_forwarding_action: {}", Some("non_forwarding_action"), None)]
#[case::cors(
    "route: {cluster: c}\n  typed_per_filter_config: {f: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy}}",
    None,
    None
)]
#[case::disabled(
    "route: {cluster: c}\n  typed_per_filter_config: {f: {\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}",
    None,
    None
)]
#[case::enabled(
    "route: {cluster: c}\n  typed_per_filter_config: {f: {\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {}}}",
    None,
    None
)]
#[case::delay(
    "route: {cluster: c}\n  typed_per_filter_config: {f: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, delay: {fixed_delay: 1s, percentage: {numerator: 1}}}}",
    None,
    None
)]
#[case::abort(
    "route: {cluster: c}\n  typed_per_filter_config: {f: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, abort: {http_status: 503, percentage: {numerator: 1}}}}",
    None,
    None
)]
#[case::fault_of_the_runtime(
    "route: {cluster: c}\n  typed_per_filter_config: {f: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, abort_percent_runtime: k}}",
    Some("typed_per_filter_config[0].value.abort_percent_runtime"),
    None
)]
fn actions(
    #[case] action: &str,
    #[case] unsupported: Option<&str>,
    #[case] read_over: Option<&str>,
) {
    let snapshot = read_ok(
        "f.yaml",
        &routes(&format!("- match: {{prefix: /}}\n  {action}")),
    );
    let path = |field: &str| format!("virtual_hosts[0].routes[0].{field}");
    let unsupported = unsupported.map(path);
    let read_over = read_over.map(path);
    assert_eq!(first_route(&snapshot), unsupported.as_deref());
    let found = findings(&snapshot, Effect::ReadOver);
    assert_eq!(found, read_over.iter().collect::<Vec<_>>());
}

/// A bare route configuration does not say which clusters there are.
#[test]
fn a_named_cluster_needs_to_be_known() {
    let snapshot = read_ok(
        "f.yaml",
        &routes("- match: {prefix: /}\n  route: {cluster_header: x}"),
    );
    assert_eq!(first_route(&snapshot), Some(""));
}

#[test]
fn what_is_unsupported_stays_in_its_scope() {
    let snapshot = read_ok(
        "f.yaml",
        "virtual_hosts:\n\
         - {name: a, domains: [a], cors: {}, routes: [{match: {prefix: /}, redirect: {}}]}\n\
         - {name: b, domains: [b], routes: [{match: {prefix: /}, redirect: {}}, {match: {prefix: /, filter_state: [{key: k, string_match: {exact: v}}]}, redirect: {}}]}\n",
    );
    let configuration = &snapshot.route_configurations[0];
    assert_eq!(configuration.unsupported, None);
    let hosts = &configuration.virtual_hosts;
    let path = hosts[0]
        .unsupported
        .as_ref()
        .map(|found| found.path.as_str());
    assert_eq!(path, Some("virtual_hosts[0].cors"));
    assert_eq!(hosts[0].routes, [None]);
    assert_eq!(hosts[1].unsupported, None);
    assert!(hosts[1].routes[0].is_none() && hosts[1].routes[1].is_some());
}

#[test]
fn a_route_configuration_alone_has_no_missing_clusters() {
    let snapshot = read_ok(
        "f.yaml",
        &routes("- match: {prefix: /}\n  route: {cluster: c}"),
    );
    assert!(snapshot.listeners.is_empty());
    let cluster = snapshot
        .cluster("c")
        .expect("the cluster that the route names");
    let reason = cluster
        .unsupported
        .as_ref()
        .map(|found| found.reason.as_str());
    assert_eq!(reason, Some("the snapshot holds no clusters"));
}

#[test]
fn a_regex_over_the_cap_makes_its_route_undecided() {
    let snapshot = read_ok(
        "f.yaml",
        &routes("- match: {safe_regex: {regex: \".*a.{12}\"}}\n  redirect: {}"),
    );
    assert_eq!(
        first_route(&snapshot),
        Some("virtual_hosts[0].routes[0].match.safe_regex.regex")
    );
    assert!(snapshot.regexes.values().all(Result::is_err));
}

#[test]
fn headers_that_are_stripped_before_routing_are_not_matched() {
    let snapshot = read_ok(
        "f.yaml",
        "internal_only_headers: [X-User]\nvirtual_hosts:\n- name: a\n  domains: [a]\n  routes:\n  \
         - {match: {prefix: /, headers: [{name: x-user, present_match: true}]}, redirect: {}}\n",
    );
    assert!(first_route(&snapshot).is_some());
}

#[rstest]
#[case::nothing("", "", None)]
#[case::strips(
    "strip_any_host_port: true\nstrip_trailing_host_dot: true\nnormalize_path: true",
    "",
    None
)]
#[case::local_reply_body("local_reply_config: {body_format: {text_format: x}}", "", None)]
#[case::local_reply(
    "local_reply_config: {mappers: [{filter: {response_flag_filter: {}}, status_code: 200}]}",
    "",
    Some("local_reply_config")
)]
#[case::scheme(
    "scheme_header_transformation: {scheme_to_overwrite: https}",
    "",
    Some("scheme_header_transformation.scheme_to_overwrite")
)]
#[case::early(
    "early_header_mutation_extensions: [{name: x, typed_config: {\"@type\": type.googleapis.com/google.protobuf.StringValue, value: text}}]",
    "",
    Some("early_header_mutation_extensions[0]")
)]
#[case::cors(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}\n",
    None
)]
#[case::idle_rbac(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC}\n",
    None
)]
#[case::rbac(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, rules: {}}\n",
    None
)]
#[case::rbac_by_metadata(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, rules: {policies: {p: {permissions: [{metadata: {filter: f, path: [{key: k}], value: {present_match: true}}}], principals: [{any: true}]}}}}\n",
    Some("http_filters[0].typed_config.rules.policies[0].value.permissions[0].metadata")
)]
#[case::header_mutation(
    "",
    "- name: m\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation, mutations: {request_mutations: [{append: {header: {key: a, value: b}}}, {remove: c}], response_mutations: [{append: {header: {key: a, value: '%START_TIME%'}}}]}}\n",
    None
)]
#[case::header_mutation_by_matcher(
    "",
    "- name: m\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation, mutations: {request_mutations: [{remove_on_match: {key_matcher: {exact: a}}}]}}\n",
    Some("http_filters[0].typed_config.mutations.request_mutations[0].remove_on_match")
)]
#[case::header_mutation_of_the_path(
    "",
    "- name: m\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation, mutations: {request_mutations: [{remove: ':path'}]}}\n",
    Some("http_filters[0].typed_config.mutations.request_mutations[0].remove")
)]
#[case::header_mutation_of_the_query(
    "",
    "- name: m\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation, mutations: {query_parameter_mutations: [{remove: a}]}}\n",
    Some("http_filters[0].typed_config.mutations.query_parameter_mutations[0]")
)]
#[case::behind_a_mutation(
    "",
    "- name: m\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation}\n- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, rules: {}}\n",
    Some("http_filters[1]")
)]
#[case::disabled(
    "",
    "- name: f\n  disabled: true\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, rules: {}}\n",
    None
)]
#[case::local_rate_limit(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, stat_prefix: s, token_bucket: {max_tokens: 1, fill_interval: 1s}}\n",
    None
)]
#[case::local_rate_limit_by_descriptors(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, stat_prefix: s, descriptors: [{entries: [{key: a, value: b}], token_bucket: {max_tokens: 1, fill_interval: 1s}}]}\n",
    Some("http_filters[0].typed_config.descriptors[0]")
)]
#[case::istio(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/stats.PluginConfig, any: {thing: 1}}\n",
    None
)]
#[case::typed_struct(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/udpa.type.v1.TypedStruct, type_url: type.googleapis.com/stats.PluginConfig, value: {a: [1, null]}}\n",
    None
)]
#[case::unknown(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/acme.Filter}\n",
    Some("http_filters[0]")
)]
#[case::ext_authz(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz}\n",
    Some("http_filters[0]")
)]
fn managers(#[case] fields: &str, #[case] filters: &str, #[case] unsupported: Option<&str>) {
    let snapshot = read_ok("f.yaml", &listeners(&manager(fields, filters)));
    let chain = &snapshot.listeners[0].filter_chains[0];
    let expected =
        unsupported.map(|field| format!("filter_chains[0].filters[0].typed_config.{field}"));
    let found = chain.unsupported.as_ref().map(|found| found.path.as_str());
    assert_eq!(found, expected.as_deref());
    assert!(snapshot.listeners[0].unsupported.is_none());
    assert!(matches!(
        chain.terminal,
        Terminal::Http {
            route_configuration: Some(0),
            ..
        }
    ));
}

#[rstest]
#[case::not_validated("nowhere", "nowhere", "validate_clusters: false")]
#[case::inherited("c", "nowhere", "")]
fn mirrors_that_no_route_uses_are_not_looked_for(
    #[case] of_route: &str,
    #[case] of_all: &str,
    #[case] validates: &str,
) {
    let action =
        format!("route: {{cluster: c, request_mirror_policies: [{{cluster: {of_route}}}]}}");
    let configuration = format!(
        "name: rc\n          {validates}\n          \
         request_mirror_policies: [{{cluster: {of_all}}}]"
    );
    let text = listeners(
        &manager("", "")
            .replace("direct_response: {status: 200}", &action)
            .replace("name: rc", &configuration),
    );
    let snapshot = read_ok("f.yaml", &format!("{text}  clusters: [{{name: c}}]\n"));
    assert!(snapshot.listeners[0].filter_chains[0].unsupported.is_none());
}

#[test]
fn a_route_configuration_that_is_not_there_makes_its_chain_undecided() {
    let text = listeners(&manager("", ""));
    let start = text
        .find("          route_config:")
        .expect("the inline one");
    let end = text.find("          http_filters:").expect("the filters");
    let text = format!(
        "{}          rds: {{route_config_name: gone, config_source: {{ads: {{}}}}}}\n{}",
        &text[..start],
        &text[end..]
    );
    let snapshot = read_ok("f.yaml", &text);
    let chain = &snapshot.listeners[0].filter_chains[0];
    assert!(chain.unsupported.is_some());
}

#[test]
fn different_chains_are_taken() {
    let text = listeners(&listener(&[
        "{server_names: [a.test]}",
        "{server_names: [\"*.test\"], transport_protocol: tls}",
        "{prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}], source_ports: [1, 2]}",
        "{prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}], source_ports: [3]}",
        "{}",
    ]));
    let snapshot = read_ok("f.yaml", &format!("{text}  clusters: [{{name: c}}]\n"));
    assert_eq!(snapshot.listeners[0].filter_chains.len(), 5);
}

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
#[case::slow(
    "  round_robin_lb_config: {slow_start_config: {slow_start_window: 1s}}",
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
    "  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost, override_host_sources: [{header: x}], fallback_policy: {policies: [{}]}}}}, {typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}",
    Balancer::RoundRobin,
    Some("load_balancing_policy.policies[0]")
)]
#[case::wrr_locality(
    "  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality, endpoint_picking_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin}}}]}}}}]}",
    Balancer::RoundRobin,
    Some("load_balancing_policy.policies[0]")
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

#[test]
fn addresses_that_differ_are_taken() {
    let all = [
        bound(
            "exact",
            "{address: 127.0.0.1, port_value: 80}",
            "additional_addresses: [{address: {socket_address: {address: 127.0.0.1, port_value: 80}}}]",
        ),
        bound("any", "{address: 0.0.0.0, port_value: 80}", ""),
        bound(
            "any-v6",
            "{address: \"::\", port_value: 80, ipv4_compat: true}",
            "",
        ),
        bound(
            "mapped",
            "{address: \"::ffff:127.0.0.1\", port_value: 80}",
            "",
        ),
        bound("chosen", "{address: 127.0.0.1, port_value: 0}", ""),
        bound("chosen-too", "{address: 127.0.0.1, port_value: 0}", ""),
        bound(
            "other-network",
            "{address: 127.0.0.1, port_value: 80, network_namespace_filepath: /a}",
            "",
        ),
    ];
    let snapshot = read_ok("f.yaml", &listeners(&all.concat()));
    assert_eq!(snapshot.listeners.len(), all.len());
}

#[test]
fn listeners_of_one_name_are_not_chosen_from() {
    let text = listeners(&format!("{}{}", listener(&["{}"]), listener(&["{}"])));
    let snapshot = read_ok("f.yaml", &text);
    assert!(
        snapshot
            .listeners
            .iter()
            .all(|one| one.unsupported.is_some())
    );
}
