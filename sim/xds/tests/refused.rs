//! What is refused, and in which words. One snapshot holds all of them, to be read as a list.

mod common;

use common::{
    bound, clusters, heavy_endpoints, heavy_localities, listener, listeners, manager, read_text,
    routes,
};
use twinmesh_xds::{ReadOptions, read_bytes};

fn weights(entries: &str) -> String {
    routes(&format!(
        "- match: {{prefix: /}}\n  route:\n    weighted_clusters:\n      clusters:\n{entries}"
    ))
}

fn matched(matched: &str) -> String {
    routes(&format!("- match: {matched}\n  route: {{cluster: c}}"))
}

fn tcp_proxy(fields: &str) -> String {
    let more = format!("        cluster: c\n        {fields}\n");
    listeners(&listener(&["{}"]).replacen("        cluster: c\n", &more, 1))
}

const ROUTER: &str = "- name: first\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}\n";

fn cases() -> Vec<(&'static str, &'static str, String)> {
    let yaml = "f.yaml";
    let json = "f.json";
    let mut cases: Vec<(&str, &str, String)> = vec![
        ("empty", json, String::new()),
        ("blank", yaml, "\n\n".into()),
        ("none of the forms", json, "{\"a\": 1, \"b\": 2}".into()),
        ("array without elements", json, "\n[]".into()),
        ("dump after a response", json, "{\"version_info\": \"1\", \"resources\": []}\n {\"configs\": []}".into()),
        ("a number", json, "[1]".into()),
        ("a word", yaml, "hello".into()),
        ("truncated", json, "{\"configs\": [{\"@type\":".into()),
        ("truncated string", json, "{\"configs\": \"ab".into()),
        ("trailing comma", json, "{\"configs\": [],}".into()),
        ("no comma", json, "{\"configs\": []\n \"a\": 1}".into()),
        ("bad escape", json, "{\"configs\": \"\\q\"}".into()),
        ("lone surrogate", json, "{\"configs\": \"\\ud800\"}".into()),
        ("deep", json, format!("{{\"configs\": {}", "[".repeat(5000))),
        ("deep YAML", yaml, format!("a: {}", "[".repeat(5000))),
        ("duplicate key", json, "{\"configs\": [],\n  \"configs\": []}".into()),
        ("duplicate key in YAML", yaml, "virtual_hosts: []\nname: a\nname: b\n".into()),
        ("not an alias", yaml, "virtual_hosts: *nothing\n".into()),
        ("a tab", yaml, "virtual_hosts:\n\t- name: a\n".into()),
        ("both spellings", json, "{\"virtual_hosts\": [], \"virtualHosts\": []}".into()),
        ("dump in another type", json, "{\"configs\": [{\"@type\": \"type.googleapis.com/envoy.admin.v3.RoutesConfigDump\", \"dynamic_route_configs\": 7}]}".into()),
        ("another resource", json, "{\"configs\": [{\"@type\": \"type.googleapis.com/envoy.admin.v3.RoutesConfigDump\",\n \"dynamic_route_configs\": [{\"route_config\": {\"@type\": \"type.googleapis.com/envoy.config.cluster.v3.Cluster\", \"name\": \"c\"}}]}]}".into()),
        ("xDS v2", json, "{\"configs\": [{\"@type\": \"type.googleapis.com/envoy.admin.v2alpha.RoutesConfigDump\"}]}".into()),
        ("no type", json, "{\"configs\": [{\"a\": 1}]}".into()),
        ("mixed response", json, "{\"resources\": [{\"@type\": \"type.googleapis.com/envoy.config.cluster.v3.Cluster\", \"name\": \"c\"}, {\"@type\": \"type.googleapis.com/envoy.config.listener.v3.Listener\"}]}".into()),
        ("stream of dumps", json, "{\"configs\": []} {\"configs\": []}".into()),
        ("unknown field", yaml, matched("{prefixx: /}")),
        ("unknown field in an Any", yaml, listeners(&manager("strip_any_hostport: true", ""))),
        ("string for a number", yaml, clusters("- name: c\n  connect_timeout: soon")),
        ("number for a string", yaml, matched("{prefix: 80}")),
        ("bool for a string", yaml, matched("{prefix: /, headers: [{name: a, string_match: {exact: true}}]}")),
        ("unknown enum value", yaml, clusters("- name: c\n  lb_policy: ROUNDROBIN")),
        ("enum number", yaml, clusters("- name: c\n  lb_policy: 99")),
        ("port out of range", yaml, clusters("- name: c\n  load_assignment:\n    cluster_name: c\n    endpoints:\n    - lb_endpoints:\n      - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 70000}}}")),
        ("negative port", yaml, clusters("- name: c\n  load_assignment:\n    cluster_name: c\n    endpoints:\n    - lb_endpoints:\n      - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: -1}}}")),
        ("host name in a STATIC cluster", yaml, clusters("- name: c\n  load_assignment:\n    cluster_name: c\n    endpoints:\n    - lb_endpoints:\n      - endpoint: {address: {socket_address: {address: backend, port_value: 80}}}")),
        ("two of a oneof", yaml, matched("{prefix: /, path: /}")),
        ("no match", yaml, routes("- route: {cluster: c}")),
        ("no path matcher", yaml, matched("{}")),
        ("no action", yaml, routes("- match: {prefix: /}")),
        ("empty cluster name", yaml, routes("- match: {prefix: /}\n  route: {cluster: \"\"}")),
        ("no cluster", yaml, routes("- match: {prefix: /}\n  route: {timeout: 1s}")),
        ("empty virtual host name", yaml, "virtual_hosts:\n- domains: [a]\n".into()),
        ("no domains", yaml, "virtual_hosts:\n- name: a\n".into()),
        ("duplicate domain", yaml, "virtual_hosts:\n- {name: a, domains: [x.test, y.test]}\n- {name: b, domains: [Y.test]}\n".into()),
        ("second wildcard", yaml, "virtual_hosts:\n- {name: a, domains: [\"*\"]}\n- {name: b, domains: [\"*\"]}\n".into()),
        ("weights of 0", yaml, weights("      - {name: a, weight: 0}\n      - {name: b, weight: 0}")),
        ("weights over the limit", yaml, weights("      - {name: a, weight: 4294967295}\n      - {name: b, weight: 1}")),
        ("one upgrade twice", yaml, routes("- match: {prefix: /}\n  route: {cluster: c, upgrade_configs: [{upgrade_type: a}, {upgrade_type: A}]}")),
        ("a tunnel that is none", yaml, routes("- match: {prefix: /}\n  route: {cluster: c, upgrade_configs: [{upgrade_type: a, connect_config: {}}]}")),
        ("no weight", yaml, weights("      - {name: a}")),
        ("no clusters", yaml, routes("- match: {prefix: /}\n  route: {weighted_clusters: {clusters: []}}")),
        ("bad path regex", yaml, matched("{safe_regex: {regex: \"/a(\"}}")),
        ("bad header regex", yaml, matched("{prefix: /, headers: [{name: a, string_match: {safe_regex: {regex: \"a**\"}}}]}")),
        ("bad query regex", yaml, matched("{prefix: /, query_parameters: [{name: a, string_match: {safe_regex: {regex: \"x{1001}\"}}}]}")),
        ("empty regex", yaml, matched("{safe_regex: {regex: \"\"}}")),
        ("path_separated_prefix with a slash at the end", yaml, matched("{path_separated_prefix: /a/}")),
        ("bad header name", yaml, matched("{prefix: /, headers: [{name: \"a\\nb\", present_match: true}]}")),
        ("empty header name", yaml, matched("{prefix: /, headers: [{present_match: true}]}")),
        ("bad status", yaml, routes("- match: {prefix: /}\n  direct_response: {status: 99}")),
        ("body format of an unknown command", yaml, routes("- match: {prefix: /}\n  direct_response: {status: 200, body_format: {text_format_source: {inline_string: '%NOPE%'}}}")),
        ("body format of an unknown command in JSON", yaml, routes("- match: {prefix: /}\n  direct_response: {status: 200, body_format: {json_format: {a: ['%NOPE%']}}}")),
        ("body too large", yaml, routes(&format!("- match: {{prefix: /}}\n  direct_response: {{status: 200, body: {{inline_string: {}}}}}", "x".repeat(4097)))),
        ("no such plugin", yaml, routes("- match: {prefix: /}\n  route: {cluster_specifier_plugin: p}")),
        ("duration with nothing behind the point", yaml, clusters("- name: c\n  connect_timeout: 5.s")),
        ("threshold that is no number", yaml, clusters("- name: c\n  common_lb_config: {healthy_panic_threshold: {value: NaN}}")),
        ("no address", yaml, listeners("- name: l\n  filter_chains: [{}]")),
        ("no chains", yaml, listeners("- name: l\n  address: {socket_address: {address: 127.0.0.1, port_value: 80}}")),
        ("bad listener address", yaml, listeners("- name: l\n  address: {socket_address: {address: localhost, port_value: 80}}\n  filter_chains: [{}]")),
        ("same address twice", yaml, listeners(&(bound("a", "{address: 127.0.0.1, port_value: 80}", "") + &bound("b", "{address: 127.0.0.1, port_value: 80}", "bind_to_port: false")))),
        ("same IPv6 address twice", yaml, listeners(&(bound("a", "{address: \"::\", port_value: 80, ipv4_compat: true}", "") + &bound("b", "{address: \"0:0::0\", port_value: 80}", "")))),
        ("same additional address", yaml, listeners(&(bound("a", "{address: 127.0.0.1, port_value: 81}", "additional_addresses: [{address: {socket_address: {address: 127.0.0.1, port_value: 80}}}]") + &bound("b", "{address: 127.0.0.1, port_value: 80}", "")))),
        ("same address without names", yaml, listeners(&(bound("\"\"", "{address: 127.0.0.1, port_value: 80}", "") + &bound("\"\"", "{address: 127.0.0.1, port_value: 80}", "")))),
        ("same chain twice", yaml, listeners(&listener(&["{server_names: [a.test, b.test]}", "{server_names: [B.test]}"]))),
        ("chains without a match", yaml, listeners(&listener(&["{}", "{}"]))),
        ("same network twice", yaml, listeners(&listener(&["{prefix_ranges: [{address_prefix: 10.0.0.1, prefix_len: 8}]}", "{prefix_ranges: [{address_prefix: 10.0.0.2, prefix_len: 8}]}"]))),
        ("bad network", yaml, listeners(&listener(&["{prefix_ranges: [{address_prefix: ten, prefix_len: 8}]}"]))),
        ("bad prefix length", yaml, listeners(&listener(&["{prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 129}]}"]))),
        ("bad server name", yaml, listeners(&listener(&["{server_names: [\"a.*.test\"]}"]))),
        ("address suffix", yaml, listeners(&listener(&["{address_suffix: a}"]))),
        ("destination port 0", yaml, listeners(&listener(&["{destination_port: 0}"]))),
        ("no stat_prefix", yaml, listeners(&manager("stat_prefix: \"\"", "").replacen("        stat_prefix: http\n", "", 1))),
        ("two ways to strip ports", yaml, listeners(&manager("strip_any_host_port: true\nstrip_matching_host_port: true", ""))),
        ("cluster that is not there", yaml, listeners(&manager("", "").replace("direct_response: {status: 200}", "route: {cluster: nowhere}"))),
        ("two clusters of one name", yaml, clusters("- name: c\n- name: c")),
        ("no cluster name", yaml, clusters("- lb_policy: ROUND_ROBIN")),
        ("EDS without its config", yaml, clusters("- name: c\n  type: EDS")),
        ("hashed host names in an EDS cluster", yaml, clusters("- name: c\n  type: EDS\n  eds_cluster_config: {eds_config: {ads: {}}}\n  common_lb_config: {consistent_hashing_lb_config: {use_hostname_for_hashing: true}}")),
        ("eds_cluster_config without EDS", yaml, clusters("- name: c\n  eds_cluster_config: {eds_config: {ads: {}}}")),
        ("CLUSTER_PROVIDED", yaml, clusters("- name: c\n  lb_policy: CLUSTER_PROVIDED")),
        ("ORIGINAL_DST", yaml, clusters("- name: c\n  type: ORIGINAL_DST")),
        ("no policy", yaml, clusters("- name: c\n  lb_policy: LOAD_BALANCING_POLICY_CONFIG")),
        ("choice_count 1", yaml, clusters("- name: c\n  lb_policy: LEAST_REQUEST\n  least_request_lb_config: {choice_count: 1}")),
        ("two logical endpoints", yaml, clusters("- name: c\n  type: LOGICAL_DNS\n  load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: []}]}")),
        ("priority over 128", yaml, clusters("- name: c\n  load_assignment: {cluster_name: c, endpoints: [{priority: 129}]}")),
        ("endpoint without an address", yaml, clusters("- name: c\n  load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{}]}]}")),
        ("port twice in a chain", yaml, listeners(&listener(&["{source_ports: [1, 1]}"]))),
        ("empty server name beside none", yaml, listeners(&listener(&["{server_names: [\"\"]}", "{}"]))),
        ("endpoint weight 0", yaml, clusters("- name: c\n  load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{load_balancing_weight: 0, endpoint: {address: {pipe: {path: /p}}}}]}]}")),
        ("endpoint weights that MAGLEV cannot add up", yaml, heavy_endpoints("lb_policy: MAGLEV")),
        ("locality weights that RING_HASH cannot add up", yaml, heavy_localities("lb_policy: RING_HASH")),
        ("ignore_case beside a header's regex", yaml, matched("{prefix: /, headers: [{name: a, string_match: {safe_regex: {regex: a}, ignore_case: true}}]}")),
        ("ignore_case beside a parameter's regex", yaml, matched("{prefix: /, query_parameters: [{name: a, string_match: {safe_regex: {regex: a}, ignore_case: true}}]}")),
        ("added pseudo header", yaml, routes("- match: {prefix: /}\n  route: {cluster: c}\n  request_headers_to_add: [{header: {key: a, value: x}}, {header: {key: \":path\", value: /}}]")),
        ("added host", yaml, format!("response_headers_to_add: [{{header: {{key: Host, value: x}}}}]\n{}", routes("- match: {prefix: /}\n  redirect: {}"))),
        ("removed pseudo header", yaml, weights("      - {name: a, weight: 1, response_headers_to_remove: [\":status\"]}")),
        ("removed host", yaml, "virtual_hosts:\n- {name: a, domains: [a], request_headers_to_remove: [b, HOST]}\n".into()),
        ("negative timeout", yaml, routes("- match: {prefix: /}\n  route: {cluster: c, timeout: -0.5s}")),
        ("timeout over 63 bits of nanoseconds", yaml, routes("- match: {prefix: /}\n  route: {cluster: c, idle_timeout: 9223372036s}")),
        ("negative stream duration", yaml, routes("- match: {prefix: /}\n  route: {cluster: c, max_stream_duration: {max_stream_duration: -1s}}")),
        ("negative timeout of a connection manager", yaml, listeners(&manager("request_timeout: -1s", ""))),
        ("negative ttl of a cookie", yaml, routes("- match: {prefix: /}\n  route: {cluster: c, hash_policy: [{cookie: {name: a, ttl: -1s}}]}")),
        ("negative common timeout", yaml, listeners(&manager("common_http_protocol_options: {idle_timeout: -1s}", ""))),
        ("negative slow start", yaml, clusters("- name: c\n  round_robin_lb_config: {slow_start_config: {slow_start_window: -1s}}")),
        ("negative window of updates", yaml, clusters("- name: c\n  common_lb_config: {update_merge_window: -1s}")),
        ("negative timeout of a TCP proxy", yaml, tcp_proxy("idle_timeout: -1s")),
        ("late connections without early data", yaml, tcp_proxy("upstream_connect_mode: ON_DOWNSTREAM_DATA")),
        ("one upgrade of a connection manager twice", yaml, listeners(&manager("upgrade_configs: [{upgrade_type: a}, {upgrade_type: A}]", ""))),
        ("bad network inside", yaml, listeners(&manager("internal_address_config: {cidr_ranges: [{address_prefix: x, prefix_len: 8}]}", ""))),
        ("ipv4_compat of an IPv4 address", yaml, listeners(&bound("a", "{address: 127.0.0.1, port_value: 80, ipv4_compat: true}", ""))),
        ("ipv4_compat of an IPv6 address", yaml, listeners(&bound("a", "{address: \"::1\", port_value: 80, ipv4_compat: true}", ""))),
        ("access log by its name", yaml, listeners(&manager("access_log: [{name: envoy.access_loggers.file}]", ""))),
        ("health check that keeps nothing", yaml, listeners(&manager("", "- name: h\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck, pass_through_mode: false, cache_time: 1s}\n"))),
        ("HTTP filter by its name", yaml, listeners(&manager("", "- name: envoy.filters.http.rbac\n"))),
        ("network filter by its name", yaml, listeners(&listener(&["{}"]).replacen("    filters:\n", "    filters:\n    - name: envoy.filters.network.rbac\n", 1))),
        ("listener filter by its name", yaml, listeners(&bound("a", "{address: 127.0.0.1, port_value: 80}", "listener_filters: [{name: envoy.filters.listener.tls_inspector}]"))),
        ("no version of the PROXY protocol", yaml, listeners(&bound("a", "{address: 127.0.0.1, port_value: 80}", "listener_filters: [{name: p, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol, disallowed_versions: [V1, V2]}}]"))),
        ("mirror policy without a cluster", yaml, routes("- match: {prefix: /}\n  route: {cluster: c, request_mirror_policies: [{}]}")),
        ("mirror policy with two clusters", yaml, "virtual_hosts:\n- {name: a, domains: [a], request_mirror_policies: [{cluster: c, cluster_header: x}]}\n".into()),
        ("route that mirrors to no cluster", yaml, listeners(&manager("", "").replace("direct_response: {status: 200}", "route: {cluster: c, request_mirror_policies: [{cluster: c}, {cluster: nowhere}]}")) + "  clusters: [{name: c}]\n"),
        ("virtual host that mirrors to no cluster", yaml, listeners(&manager("", "").replace("domains: [", "request_mirror_policies: [{cluster: nowhere}], domains: [").replace("], domains", "]\n            domains"))),
        ("two routers", yaml, listeners(&manager("", ROUTER))),
        ("filter after the router", yaml, listeners(&(manager("", "") + "        - name: f\n          typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}\n"))),
        ("disabled router", yaml, listeners(&manager("", "").replace("- name: router", "- name: router\n          disabled: true"))),
        ("fallback keys of another policy", yaml, clusters("- name: c\n  lb_subset_config: {subset_selectors: [{keys: [a, b], fallback_keys_subset: [a]}]}")),
        ("no fallback keys", yaml, clusters("- name: c\n  lb_subset_config: {subset_selectors: [{keys: [a, b], fallback_policy: KEYS_SUBSET}]}")),
        ("fallback keys that the selector lacks", yaml, clusters("- name: c\n  lb_subset_config: {subset_selectors: [{keys: [a, b], fallback_policy: KEYS_SUBSET, fallback_keys_subset: [c]}]}")),
        ("all keys as fallback", yaml, clusters("- name: c\n  lb_subset_config: {subset_selectors: [{keys: [a, b], fallback_policy: KEYS_SUBSET, fallback_keys_subset: [b, a]}]}")),
        ("subsets aware of no locality weights", yaml, clusters("- name: c\n  lb_subset_config: {subset_selectors: [{keys: [a]}], locality_weight_aware: true}")),
        ("subsets of an ORIGINAL_DST cluster", yaml, clusters("- name: c\n  type: ORIGINAL_DST\n  lb_policy: CLUSTER_PROVIDED\n  lb_subset_config: {subset_selectors: [{keys: [a]}]}")),
        ("subsets beside an extension", yaml, clusters("- name: c\n  lb_subset_config: {}\n  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}")),
        ("locality weights beside an extension", yaml, clusters("- name: c\n  common_lb_config: {locality_weighted_lb_config: {}}\n  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}")),
        ("hashing beside an extension", yaml, clusters("- name: c\n  common_lb_config: {consistent_hashing_lb_config: {}}\n  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}")),
        ("subsets without a policy", yaml, clusters("- name: c\n  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.subset.v3.Subset, subset_selectors: [{keys: [a]}]}}}]}")),
        ("fallback keys of an extension", yaml, clusters("- name: c\n  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.subset.v3.Subset, subset_selectors: [{keys: [a], fallback_policy: KEYS_SUBSET}], subset_lb_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}}}}]}")),
        ("wrr_locality over another policy", yaml, clusters("- name: c\n  load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality, endpoint_picking_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}}}]}}}}]}")),
        ("two categories of overload", yaml, clusters("- name: c\n  load_assignment: {cluster_name: c, policy: {drop_overloads: [{category: a}, {category: b}]}}")),
        ("more than all dropped", yaml, clusters("- name: c\n  load_assignment: {cluster_name: c, policy: {drop_overloads: [{category: a, drop_percentage: {numerator: 101}}]}}")),
        ("no policies", yaml, clusters("- name: c\n  load_balancing_policy: {policies: []}")),
        ("policy without an extension", yaml, clusters("- name: c\n  load_balancing_policy: {policies: [{}]}")),
        ("two runtime layers of one name", yaml, "layered_runtime:\n  layers:\n  - {name: a, static_layer: {}}\n  - {name: a, admin_layer: {}}\nstatic_resources: {}\n".into()),
        ("two admin layers", yaml, "layered_runtime:\n  layers:\n  - {name: a, admin_layer: {}}\n  - {name: b, admin_layer: {}}\nstatic_resources: {}\n".into()),
        ("local cluster that is not there", yaml, clusters("- name: c") + "cluster_manager: {local_cluster_name: d}\n"),
        ("local cluster that is not static", yaml, "cluster_manager: {local_cluster_name: d}\ndynamic_resources: {cds_config: {ads: {}}}\n".into()),
        ("router's upstream filters without a codec", yaml, listeners(&manager("", "").replace("http.router.v3.Router\n", "http.router.v3.Router\n            upstream_http_filters: [{name: h, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation}}]\n"))),
        ("cluster's upstream filters without a codec", yaml, clusters("- name: c\n  typed_extension_protocol_options: {x: {\"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}, http_filters: [{name: h, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation}}]}}")),
        ("cluster's upstream filters that end by discovery", yaml, clusters("- name: c\n  typed_extension_protocol_options: {x: {\"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}, http_filters: [{name: d, config_discovery: {config_source: {ads: {}}, type_urls: [a]}}]}}")),
        ("upstream filter after the codec", yaml, listeners(&manager("", "").replace("http.router.v3.Router\n", "http.router.v3.Router\n            upstream_http_filters: [{name: u, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec}}, {name: h, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation}}]\n"))),
        ("disabled upstream codec", yaml, clusters("- name: c\n  typed_extension_protocol_options: {x: {\"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}, http_filters: [{name: u, disabled: true, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec}}]}}")),
        ("router among the upstream filters", yaml, listeners(&manager("", "").replace("http.router.v3.Router\n", "http.router.v3.Router\n            upstream_http_filters: [{name: r, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}, {name: u, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec}}]\n"))),
        ("upstream filter that is none", yaml, clusters("- name: c\n  typed_extension_protocol_options: {x: {\"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}, http_filters: [{name: f, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}}, {name: u, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec}}]}}")),
        ("upstream filter by its name", yaml, listeners(&manager("", "").replace("http.router.v3.Router\n", "http.router.v3.Router\n            upstream_http_filters: [{name: x}, {name: u, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec}}]\n"))),
        ("upstream codec of a connection manager", yaml, listeners(&manager("", "- {name: u, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec}}\n"))),
        ("header_to_metadata without a header", yaml, listeners(&manager("", "- name: m\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config, request_rules: [{on_header_present: {key: k}}]}\n"))),
        ("header_to_metadata of both", yaml, listeners(&manager("", "- name: m\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config, response_rules: [{header: a, cookie: b, on_header_present: {key: k}}]}\n"))),
        ("header_to_metadata that does nothing", yaml, listeners(&manager("", "- name: m\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config, request_rules: [{header: a, on_header_present: {key: k}}, {header: a, remove: true}]}\n"))),
        ("header_to_metadata that removes a cookie", yaml, listeners(&manager("", "- name: m\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config, request_rules: [{cookie: a, remove: true, on_header_present: {key: k}}]}\n"))),
        ("header_to_metadata of a missing header without a value", yaml, listeners(&manager("", "- name: m\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config, request_rules: [{header: a, on_header_missing: {key: k}}]}\n"))),
        ("header_to_metadata of two values", yaml, listeners(&manager("", "- name: m\n  typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config, request_rules: [{header: a, on_header_present: {key: k, value: v, regex_value_rewrite: {pattern: {regex: a}, substitution: b}}}]}\n"))),
        ("header_to_metadata of a route without rules", yaml, routes("- match: {prefix: /}\n  route: {cluster: c}\n  typed_per_filter_config: {m: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config}}")),
        ("access log of an unknown command", yaml, listeners(&manager("access_log: [{name: a, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /p, format: '%NOPE%'}}]", ""))),
        ("access log of a header's command", yaml, listeners(&manager("access_log: [{name: a, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /p, log_format: {text_format_source: {inline_string: '%PER_REQUEST_STATE(a)%'}}}}]", ""))),
        ("access log of an unknown command in JSON", yaml, listeners(&manager("access_log: [{name: a, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /p, log_format: {json_format: {a: {b: [x, '%NOPE%']}}}}}]", ""))),
        ("access log of a TCP proxy", yaml, tcp_proxy("access_log: [{name: a, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog, log_format: {text_format: '100%'}}}]")),
        ("access log of a listener", yaml, listeners(&bound("a", "{address: 127.0.0.1, port_value: 80}", "access_log: [{name: a, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /p, typed_json_format: {a: '%NOPE%'}}}]"))),
        ("access log of a router", yaml, listeners(&manager("", "").replace("http.router.v3.Router\n", "http.router.v3.Router\n            upstream_log: [{name: a, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /p, format: '%NOPE%'}}]\n"))),
        ("access log of OpenTelemetry", yaml, listeners(&manager("access_log: [{name: a, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig, attributes: {values: [{key: a, value: {string_value: '%NOPE%'}}]}}}]", ""))),
        ("access log of numbers", yaml, listeners(&manager("access_log: [{name: a, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config, counters: [{stat: {name: s, tags: [{name: t, value_format: '%NOPE%'}]}, value_fixed: 1}]}}]", ""))),
        ("access logger that is none", yaml, listeners(&manager("access_log: [{name: a, typed_config: {\"@type\": type.googleapis.com/google.protobuf.StringValue, value: x}}]", ""))),
        ("format of Envoy's own replies", yaml, listeners(&manager("local_reply_config: {body_format: {text_format: '%NOPE%'}}", ""))),
        ("body format of a header's command", yaml, routes("- match: {prefix: /}\n  direct_response: {status: 200, body_format: {text_format: '%PER_REQUEST_STATE(a)%'}}")),
        ("transport socket of a listener that is none", yaml, listeners(&listener(&["{}"]).replacen("    filters:\n", "    transport_socket: {name: t, typed_config: {\"@type\": type.googleapis.com/google.protobuf.StringValue, value: x}}\n    filters:\n", 1))),
        ("transport socket of clusters in a listener", yaml, listeners(&listener(&["{}"]).replacen("    filters:\n", "    transport_socket: {name: t, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext}}\n    filters:\n", 1))),
        ("transport socket by its name", yaml, listeners(&listener(&["{}"]).replacen("    filters:\n", "    transport_socket: {name: envoy.transport_sockets.raw_buffer}\n    filters:\n", 1))),
        ("transport socket within another", yaml, clusters("- name: c\n  transport_socket: {name: t, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tcp_stats.v3.Config, transport_socket: {name: t, typed_config: {\"@type\": type.googleapis.com/google.protobuf.StringValue, value: x}}}}")),
        ("transport socket of a match", yaml, clusters("- name: c\n  transport_socket_matches: [{name: m, transport_socket: {name: t, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext}}}]")),
        ("tracing provider that is none", yaml, listeners(&manager("tracing: {provider: {name: t, typed_config: {\"@type\": type.googleapis.com/google.protobuf.StringValue, value: x}}}", ""))),
        ("tracing provider of a bootstrap that is none", yaml, "tracing: {http: {name: t, typed_config: {\"@type\": type.googleapis.com/google.protobuf.StringValue, value: x}}}\nstatic_resources: {}\n".into()),
        ("tracing provider by its name", yaml, listeners(&manager("tracing: {provider: {name: envoy.tracers.zipkin}}", ""))),
        ("lone percent sign in a header", yaml, routes("- match: {prefix: /}\n  route: {cluster: c}\n  request_headers_to_add: [{header: {key: a, value: \"%REQ(b)% 100%\"}}]")),
    ];
    let template = "path_match_policy: {name: t, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: \"/{a}\"}}";
    for (name, action) in [
        (
            "prefix rewrite of a template",
            "route: {cluster: c, prefix_rewrite: /}",
        ),
        (
            "redirect's prefix rewrite of a template",
            "redirect: {prefix_rewrite: /}",
        ),
    ] {
        let text = routes(&format!("- match: {{{template}}}\n  {action}"));
        cases.push((name, yaml, text));
    }
    cases.sort_by_key(|(name, _, _)| *name);
    cases
}

#[test]
fn every_refusal_says_where_and_why() {
    let mut list = String::new();
    for (name, file, text) in cases() {
        let error = match read_text(file, &text) {
            Ok(_) => panic!("{name} is read:\n{text}"),
            Err(error) => error,
        };
        list.push_str(&format!("{name}\n  {error}\n"));
    }
    insta::assert_snapshot!(list);
}

#[test]
fn binary_that_is_none_of_the_forms() {
    let mut list = String::new();
    let cases: [(&str, &[u8]); 5] = [
        ("zeros", &[0; 40]),
        ("gzip", &[0x1f, 0x8b, 8, 0, 0, 0]),
        ("JSON in Latin-1", b"{\"configs\": [\n \"\xe9\"]}"),
        ("ELF", b"\x7fELF\x02\x01\x01\0\0\0"),
        ("cut off", &[0x0a, 0x02, b'1', b'2', 0x12, 0x70, 0x0a]),
    ];
    for (name, bytes) in cases {
        match read_bytes("f.pb", bytes, &ReadOptions::default()) {
            Ok(_) => panic!("{name} is read"),
            Err(error) => list.push_str(&format!("{name}\n  {error}\n")),
        }
    }
    insta::assert_snapshot!(list);
}
