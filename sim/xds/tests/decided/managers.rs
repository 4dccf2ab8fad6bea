//! Connection managers, and what stands around them.

use rstest::rstest;
use twinmesh_xds::Terminal;

use crate::common::{listener, listeners, manager, read_ok};

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
#[case::codec("codec_type: HTTP1", "", None)]
#[case::another_codec("codec_type: HTTP2", "", Some("codec_type"))]
#[case::written("via: x\nappend_x_forwarded_port: true", "", None)]
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
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, stat_prefix: s, descriptors: [{entries: [{key: a, value: b}], token_bucket: {max_tokens: 1, fill_interval: 1s}}], rate_limits: [{actions: [{generic_key: {descriptor_value: b}}, {request_headers: {header_name: x, descriptor_key: x}}, {header_value_match: {descriptor_value: b, headers: [{name: x}]}}, {remote_address: {}}, {masked_remote_address: {v4_prefix_mask_len: 8}}]}]}\n",
    None
)]
#[case::local_rate_limit_of_any_value(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, stat_prefix: s, descriptors: [{entries: [{key: a, value: b}, {key: a}], token_bucket: {max_tokens: 1, fill_interval: 1s}}]}\n",
    Some("http_filters[0].typed_config.descriptors[0].entries[1]")
)]
#[case::local_rate_limit_by_cluster(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, stat_prefix: s, descriptors: [{entries: [{key: a, value: b}], token_bucket: {max_tokens: 1, fill_interval: 1s}}], rate_limits: [{actions: [{source_cluster: {}}]}]}\n",
    Some("http_filters[0].typed_config.rate_limits[0].actions[0].source_cluster")
)]
#[case::local_rate_limit_by_format(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, stat_prefix: s, descriptors: [{entries: [{key: a, value: b}], token_bucket: {max_tokens: 1, fill_interval: 1s}}], rate_limits: [{actions: [{generic_key: {descriptor_value: \"%REQ(x)%\"}}]}]}\n",
    Some("http_filters[0].typed_config.rate_limits[0].actions[0].generic_key.descriptor_value")
)]
#[case::local_rate_limit_of_a_stage(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, stat_prefix: s, descriptors: [{entries: [{key: a, value: b}], token_bucket: {max_tokens: 1, fill_interval: 1s}}], rate_limits: [{stage: 1, actions: [{remote_address: {}}]}]}\n",
    Some("http_filters[0].typed_config.rate_limits[0]")
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
#[case::metadata_of_headers(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config, request_rules: [{header: a, on_header_present: {key: b}, remove: false}]}\n",
    None
)]
#[case::metadata_in_place_of_headers(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config, request_rules: [{header: a, on_header_present: {key: b}, remove: true}]}\n",
    Some("http_filters[0]")
)]
#[case::recommended_code(
    "proxy_status_config: {set_recommended_response_code: true}",
    "",
    Some("proxy_status_config.set_recommended_response_code")
)]
#[case::proxy_status(
    "proxy_status_config: {remove_details: true, literal_proxy_name: p}",
    "",
    None
)]
#[case::passed_over(
    "http_protocol_options: {ignore_http_11_upgrade: [{exact: websocket}]}",
    "",
    Some("http_protocol_options.ignore_http_11_upgrade[0]")
)]
#[case::scheme_by_port(
    "forward_proto_config: {https_destination_ports: [443]}",
    "",
    Some("forward_proto_config")
)]
#[case::scheme_by_no_port("forward_proto_config: {}", "", None)]
#[case::grpc_bridge(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.grpc_http1_bridge.v3.Config, ignore_query_parameters: true}\n",
    None
)]
#[case::grpc_bridge_that_upgrades(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.grpc_http1_bridge.v3.Config, upgrade_protobuf_to_grpc: true}\n",
    Some("http_filters[0]")
)]
#[case::connect_bridge(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.connect_grpc_bridge.v3.FilterConfig}\n",
    Some("http_filters[0]")
)]
#[case::buffer(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 5}\n",
    Some("http_filters[0]")
)]
#[case::buffer_in_files(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.file_system_buffer.v3.FileSystemBufferFilterConfig, request: {behavior: {fully_buffer: {}}}}\n",
    Some("http_filters[0]")
)]
#[case::buffer_in_files_that_streams(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.file_system_buffer.v3.FileSystemBufferFilterConfig, request: {behavior: {bypass: {}}}, response: {}}\n",
    None
)]
#[case::header_mutation_in_a_struct(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation, value: {}}\n",
    Some("http_filters[0]")
)]
#[case::cors_in_a_struct(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors, value: {}}\n",
    Some("http_filters[0]")
)]
#[case::behind_a_struct(
    "",
    "- name: f\n  typed_config: {\"@type\": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor, value: {}}\n- name: g\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, rules: {}}\n",
    Some("http_filters[1]")
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

#[rstest]
#[case("", "strict_check_headers: [x-envoy-max-retries]", false)]
#[case(
    "internal_address_config: {}",
    "strict_check_headers: [x-envoy-max-retries]",
    true
)]
#[case(INSIDE, "strict_check_headers: [x-envoy-max-retries]", true)]
#[case(INSIDE, "dynamic_stats: true", false)]
fn routers_that_check_headers(
    #[case] fields: &str,
    #[case] router: &str,
    #[case] unsupported: bool,
) {
    let text = manager(fields, "");
    let text = format!("{text}            {router}\n");
    let snapshot = read_ok("f.yaml", &listeners(&text));
    let chain = &snapshot.listeners[0].filter_chains[0];
    let found = chain.unsupported.as_ref().map(|it| it.path.as_str());
    let expected = "filter_chains[0].filters[0].typed_config.http_filters";
    assert_eq!(found, unsupported.then_some(expected));
}

const INSIDE: &str =
    "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}";

#[rstest]
#[case(
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    Some("upstream_http_filters[0]")
)]
#[case(
    "envoy.extensions.filters.http.rbac.v3.RBAC",
    Some("upstream_http_filters[0]")
)]
#[case("io.istio.http.peer_metadata.Config", None)]
fn routers_with_upstream_filters(#[case] filter: &str, #[case] unsupported: Option<&str>) {
    let codec = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec";
    let text = format!(
        "{}            upstream_http_filters: [{{name: f, typed_config: {{\"@type\": type.googleapis.com/{filter}}}}}, \
         {{name: c, typed_config: {{\"@type\": type.googleapis.com/{codec}}}}}]\n",
        manager("", "")
    );
    let snapshot = read_ok("f.yaml", &listeners(&text));
    let chain = &snapshot.listeners[0].filter_chains[0];
    let found = chain.unsupported.as_ref().map(|it| it.path.as_str());
    let expected = unsupported.map(|field| {
        format!("filter_chains[0].filters[0].typed_config.http_filters[0].typed_config.{field}")
    });
    assert_eq!(found, expected.as_deref());
}

const RBAC: &str =
    "{\"@type\": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute}";
const FAULT: &str =
    "{\"@type\": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}";
const BUFFER: &str = "{\"@type\": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute, disabled: true}";
const OFF: &str =
    "{\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}";
const ON: &str = "{\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {}}";

#[rstest]
#[case::router("router", OFF, true)]
#[case::router_that_is_on("router", ON, false)]
#[case::its_own("f", FAULT, false)]
#[case::another("f", RBAC, true)]
#[case::another_that_does_nothing("f", BUFFER, true)]
#[case::off("f", OFF, false)]
#[case::on("f", ON, false)]
#[case::of_nobody("g", RBAC, false)]
fn what_routes_say_to_filters(#[case] name: &str, #[case] config: &str, #[case] unsupported: bool) {
    let filter = "- name: f\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, \
                  abort: {http_status: 500, percentage: {numerator: 100}}}\n";
    let of_route = format!(
        "direct_response: {{status: 200}}\n              typed_per_filter_config: {{{name}: {config}}}"
    );
    let text = manager("", filter).replacen("direct_response: {status: 200}", &of_route, 1);
    let snapshot = read_ok("f.yaml", &listeners(&text));
    assert!(snapshot.listeners[0].filter_chains[0].unsupported.is_none());
    let route = &snapshot.route_configurations[0].virtual_hosts[0].routes[0];
    let found = route.as_ref().map(|it| it.path.as_str());
    let expected = "virtual_hosts[0].routes[0].typed_per_filter_config";
    assert_eq!(found, unsupported.then_some(expected));
}

/// A hash takes a header as filters leave it.
#[rstest]
#[case("compressor.v3.Compressor", "accept-encoding", true)]
#[case("compressor.v3.Compressor", "content-type", false)]
#[case("decompressor.v3.Decompressor", "Accept-Encoding", true)]
#[case("grpc_web.v3.GrpcWeb", "content-type", true)]
#[case("grpc_stats.v3.FilterConfig", "content-type", false)]
fn filters_that_change_what_a_hash_takes(
    #[case] kind: &str,
    #[case] header: &str,
    #[case] unsupported: bool,
) {
    let library = match kind.contains("compressor") {
        true => {
            "{name: l, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip}}"
        }
        false => "",
    };
    let field = match kind {
        "compressor.v3.Compressor" => format!(", compressor_library: {library}"),
        "decompressor.v3.Decompressor" => format!(", decompressor_library: {library}"),
        _ => String::new(),
    };
    let filter = format!(
        "- name: f\n  typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.http.{kind}{field}}}\n"
    );
    let route = format!(
        "route: {{cluster_header: x, hash_policy: [{{header: {{header_name: {header}}}}}]}}"
    );
    let text = manager("", &filter).replacen("direct_response: {status: 200}", &route, 1);
    let snapshot = read_ok("f.yaml", &listeners(&text));
    let found = &snapshot.listeners[0].filter_chains[0].unsupported;
    assert_eq!(found.is_some(), unsupported, "{found:?}");
}
