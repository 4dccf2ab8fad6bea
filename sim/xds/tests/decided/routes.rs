//! Matchers and actions of routes.

use rstest::rstest;
use twinmesh_xds::Effect;

use crate::common::{read_ok, routes};
use crate::{findings, first_route};

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
    "{path_match_policy: {name: t, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: \"/a**\"}}}",
    Some("path_match_policy")
)]
#[case::connect("{connect_matcher: {}}", None)]
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
    None
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
#[case::appended_hash(
    "route: {cluster: c, host_rewrite_literal: h, append_x_forwarded_host: true, hash_policy: [{header: {header_name: X-Forwarded-Host}}]}",
    Some("route.hash_policy"),
    None
)]
#[case::bounded_hash(
    "route: {cluster: c, max_stream_duration: {grpc_timeout_header_max: 1s}, hash_policy: [{header: {header_name: grpc-timeout}}]}",
    Some("route.hash_policy"),
    None
)]
#[case::not_appended_hash(
    "route: {cluster: c, host_rewrite_literal: h, hash_policy: [{header: {header_name: x-forwarded-host}}]}",
    None,
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

#[rstest]
#[case("X-User", None)]
#[case("X-Forwarded-Proto", Some("internal_only_headers[0]"))]
#[case(":path", Some("internal_only_headers[0]"))]
#[case("Upgrade", Some("internal_only_headers[0]"))]
fn headers_that_are_taken_off_before_routing(
    #[case] name: &str,
    #[case] unsupported: Option<&str>,
) {
    let text = format!(
        "internal_only_headers: [{name:?}]\nvirtual_hosts:\n- name: a\n  domains: [a]\n  routes:\n  \
         - {{match: {{prefix: /, headers: [{{name: x-user, present_match: true}}]}}, redirect: {{}}}}\n",
    );
    let snapshot = read_ok("f.yaml", &text);
    let configuration = &snapshot.route_configurations[0];
    let found = configuration.unsupported.as_ref();
    assert_eq!(found.map(|it| it.path.as_str()), unsupported);
    assert_eq!(first_route(&snapshot), None);
}
