//! Whether `diff` names the change that moves requests, and says of none that it has no effect where
//! that is not known.

mod common;

use common::{Outcome, shop, twinmesh_in};
use rstest::rstest;
use serde_json::Value;

type Texts<'a> = &'a [(&'a str, &'a str)];

fn replaced(text: &str, changes: Texts<'_>) -> String {
    let mut text = text.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    text
}

/// Compares the small mesh in which texts are replaced with one in which more are.
fn diff(before: Texts<'_>, after: Texts<'_>, arguments: &[&str]) -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shop = std::fs::read_to_string(shop()).expect("the snapshot");
    let before = replaced(&shop, before);
    let after = replaced(&before, after);
    std::fs::write(folder.path().join("a.yaml"), before).expect("the snapshot");
    std::fs::write(folder.path().join("b.yaml"), after).expect("the snapshot");
    std::fs::write(folder.path().join("none.jsonl"), "\n").expect("the traffic");
    let all = ["diff", "a.yaml", "b.yaml"];
    twinmesh_in(folder.path(), &[&all, arguments].concat())
}

fn document(run: &Outcome) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stderr))
}

fn paths(entries: &Value) -> Vec<&str> {
    let entries = entries.as_array().expect("a list").iter();
    entries.filter_map(|it| it["path"].as_str()).collect()
}

const ROUTER: &str = "          http_filters:
          - name: envoy.filters.http.router
";
const PREFIX: &str = "          stat_prefix: shop
";
const CANARY: &str = "    - name: down
              domains";

/// RBAC that denies a path.
const RBAC: &str = r#"          http_filters:
          - name: rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules:
                action: DENY
                policies:
                  admin:
                    permissions: [{ url_path: { path: { prefix: /reviews/admin } } }]
                    principals: [{ header: { name: x-who, string_match: { exact: eve } } }]
          - name: envoy.filters.http.router
"#;

/// RBAC that says nothing by itself.
const SILENT: &str = r#"          http_filters:
          - name: rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
          - name: envoy.filters.http.router
"#;

const FAULT: &str = r#"          http_filters:
          - name: fault
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
              abort: { http_status: 503, percentage: { numerator: 100 } }
          - name: envoy.filters.http.router
"#;

/// Two filters that answer, in either order.
const TWO: [&str; 2] = [
    r#"          http_filters:
          - name: first
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
              abort: { http_status: 503, percentage: { numerator: 100 } }
          - name: second
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
              abort: { http_status: 504, percentage: { numerator: 100 } }
          - name: envoy.filters.http.router
"#,
    r#"          http_filters:
          - name: second
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
              abort: { http_status: 504, percentage: { numerator: 100 } }
          - name: first
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
              abort: { http_status: 503, percentage: { numerator: 100 } }
          - name: envoy.filters.http.router
"#,
];

const DENY_HERE: &str = r#"    - name: down
              typed_per_filter_config:
                rbac:
                  "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute
                  rbac:
                    rules:
                      action: DENY
                      policies:
                        all: { permissions: [{ any: true }], principals: [{ any: true }] }
              domains"#;

const HASHED: (&str, &str) = (
    "                route: { cluster: ratings }",
    "                route: { cluster: ratings, hash_policy: [{ header: { header_name: x } }] }",
);

macro_rules! manager {
    ($field:literal) => {
        (
            PREFIX,
            concat!("          stat_prefix: shop\n          ", $field, "\n"),
        )
    };
}

const MANAGER: &str = "filter_chains[0].filters[0].typed_config";

#[rstest]
#[case::rbac(&[], &[(ROUTER, RBAC)], ".http_filters[0]", "outcome")]
#[case::fault(&[], &[(ROUTER, FAULT)], ".http_filters[0]", "outcome")]
#[case::order_of_filters(&[(ROUTER, TWO[0])], &[(TWO[0], TWO[1])], ".http_filters[0]", "status")]
#[case::normalize_path(&[], &[manager!("normalize_path: true")], ".normalize_path", "path")]
#[case::merge_slashes(&[], &[manager!("merge_slashes: true")], ".merge_slashes", "path")]
#[case::escaped_slashes(&[], &[manager!("path_with_escaped_slashes_action: REJECT_REQUEST")], ".path_with_escaped_slashes_action", "outcome")]
#[case::strip_port(&[], &[manager!("strip_any_host_port: true")], ".strip_any_host_port", "authority")]
#[case::strip_own_port(&[], &[manager!("strip_matching_host_port: true")], ".strip_matching_host_port", "authority")]
#[case::strip_dot(&[], &[manager!("strip_trailing_host_dot: true")], ".strip_trailing_host_dot", "authority")]
#[case::upgrades(&[], &[manager!("upgrade_configs: [{ upgrade_type: websocket }]")], ".upgrade_configs", "outcome")]
#[case::underscores(&[("name: end-user", "name: end_user")], &[manager!("common_http_protocol_options: { headers_with_underscores_action: DROP_HEADER }")], ".common_http_protocol_options", "cluster")]
fn a_change_of_the_connection_manager_is_the_cause(
    #[case] before: Texts<'_>,
    #[case] after: Texts<'_>,
    #[case] field: &str,
    #[case] differs: &str,
) {
    is_the_cause(before, after, &format!("{MANAGER}{field}"), differs);
}

#[rstest]
#[case::host_of_a_filter(&[(ROUTER, SILENT)], &[(CANARY, DENY_HERE)], "virtual_hosts[1].typed_per_filter_config", "outcome")]
#[case::prefix_that_is_rewritten(&[("match: { prefix: /old }\n                redirect: { path_redirect: /reviews }", "match: { prefix: /old }\n                route: { cluster: ratings, prefix_rewrite: /young }")], &[("prefix: /old", "prefix: /ol")], "virtual_hosts[0].routes[5].match.prefix", "path")]
#[case::headers(&[], &[("route: { cluster: ratings }", "route: { cluster: ratings }\n                request_headers_to_add: [{ header: { key: x-n, value: \"1\" } }]")], "virtual_hosts[0].routes[2].request_headers_to_add", "request_headers")]
#[case::body(&[("route: { cluster: ratings }", "direct_response: { status: 503, body: { inline_string: down } }")], &[("inline_string: down", "inline_string: up")], "virtual_hosts[0].routes[2].direct_response.body.inline_string", "body")]
#[case::mirrors(&[], &[("route: { cluster: ratings }", "route: { cluster: ratings, request_mirror_policies: [{ cluster: down }] }")], "virtual_hosts[0].routes[2].route.request_mirror_policies", "mirrors")]
#[case::hash(&[HASHED, ("lb_policy: LEAST_REQUEST", "lb_policy: RING_HASH")], &[("header_name: x }", "header_name: w }")], "virtual_hosts[0].routes[2].route.hash_policy[0].header.header_name", "endpoint")]
#[case::header_that_is_there(&[("route: { cluster: ratings }", "route: { cluster: ratings }\n                request_headers_to_add: [{ header: { key: x-n, value: \"1\" }, append_action: ADD_IF_ABSENT }]")], &[("append_action: ADD_IF_ABSENT", "append_action: OVERWRITE_IF_EXISTS_OR_ADD")], "virtual_hosts[0].routes[2].request_headers_to_add[0].append_action", "request_headers")]
#[case::locality(&[], &[("region: r1", "region: r2")], "load_assignment.endpoints[0].locality.region", "endpoints")]
#[case::host_by_header(&[], &[("route: { cluster: ratings }", "route: { cluster: ratings, host_rewrite_header: x-host }")], "virtual_hosts[0].routes[2].route.host_rewrite_header", "authority")]
#[case::port(&[], &[("port_value: 8080", "port_value: 8081")], "address.socket_address.port_value", "outcome")]
#[case::address(&[], &[("address: 10.0.0.1, port", "address: 10.0.0.2, port")], "address.socket_address.address", "outcome")]
#[case::name_of_an_endpoint(&[("    type: STATIC
    lb_policy: LEAST_REQUEST", "    type: STRICT_DNS"), ("address: 10.3.0.1", "address: one.test")], &[("address: one.test", "address: other.test")], "load_assignment.endpoints[0].lb_endpoints[0]", "endpoints")]
#[case::before_a_name_that_is_looked_up(&[("    type: STATIC
    lb_policy: LEAST_REQUEST", "    type: STRICT_DNS"), ("address: 10.3.0.1", "address: one.test")], &[("route: { cluster: ratings }", "route: { cluster: ratings, prefix_rewrite: /zz }")], "virtual_hosts[0].routes[2].route.prefix_rewrite", "path")]
fn a_change_is_the_cause(
    #[case] before: Texts<'_>,
    #[case] after: Texts<'_>,
    #[case] path: &str,
    #[case] differs: &str,
) {
    is_the_cause(before, after, path, differs);
}

fn is_the_cause(before: Texts<'_>, after: Texts<'_>, path: &str, differs: &str) {
    let run = diff(before, after, &["--json"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    let document = document(&run);
    let groups = document["groups"].as_array().expect("groups");
    let group = groups
        .iter()
        .find(|group| paths(&group["causes"]).contains(&path))
        .unwrap_or_else(|| panic!("{path} is no cause: {document:#}"));
    assert_eq!(group["proved"], true, "{document:#}");
    let fields = group["fields"].as_array().expect("fields");
    assert!(fields.iter().any(|it| it == differs), "{fields:?}");
    let idle = paths(&document["changes_without_effect"]);
    assert!(idle.is_empty(), "{idle:?}");
}

#[test]
fn of_several_changes_on_the_way_the_one_that_moves_is_named() {
    let after = [
        manager!(
            "server_name: x\n          strip_any_host_port: true\n          merge_slashes: true"
        ),
        (
            "route: { cluster: ratings }",
            "route: { cluster: ratings, prefix_rewrite: /zz, timeout: 3s }",
        ),
    ];
    let run = diff(&[], &after, &["--json"]);
    let document = document(&run);
    let groups = document["groups"].as_array().expect("groups");
    assert!(groups.iter().all(|it| it["proved"] == true), "{document:#}");
    let mut causes: Vec<&str> = groups.iter().flat_map(|it| paths(&it["causes"])).collect();
    causes.sort_unstable();
    causes.dedup();
    let expected = [
        format!("{MANAGER}.merge_slashes"),
        format!("{MANAGER}.strip_any_host_port"),
        "virtual_hosts[0].routes[2].route.prefix_rewrite".to_owned(),
    ];
    assert_eq!(causes, expected, "{document:#}");
    let untold = paths(&document["changes_not_told"]);
    let expected = [
        format!("{MANAGER}.server_name"),
        "virtual_hosts[0].routes[2].route.timeout".to_owned(),
    ];
    assert_eq!(untold, expected);
}

#[test]
fn a_change_that_no_request_is_known_to_try_is_said_to_be_so() {
    let after = (
        "route: { cluster: ratings }",
        "route: { cluster: ratings, metadata_match: { filter_metadata: { envoy.lb: { v: 1 } } } }",
    );
    let run = diff(&[], &[after], &["--json"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let found = document(&run);
    let path = "virtual_hosts[0].routes[2].route.metadata_match";
    assert_eq!(paths(&found["changes_not_tried"]), [path], "{found:#}");
}

/// Endpoints of ratings that the snapshot does not hold.
const BY_EDS: (&str, &str) = (
    "    type: STATIC
    lb_policy: LEAST_REQUEST
    load_assignment:
      cluster_name: ratings
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 10.3.0.1, port_value: 9080 } } }
        - endpoint: { address: { socket_address: { address: 10.3.0.2, port_value: 9080 } } }
",
    "    type: EDS
    eds_cluster_config: { eds_config: { ads: {} } }
",
);

#[test]
fn endpoints_that_are_in_neither_snapshot_are_not_compared() {
    let idle = (
        "port_value: 8080 } }",
        "port_value: 8080 } }\n    stat_prefix: other",
    );
    let run = diff(&[BY_EDS], &[idle], &["--json"]);
    assert_eq!(run.code, Some(3), "{}{}", run.stdout, run.stderr);
    let found = document(&run);
    assert!(found["undecided"].as_u64() > Some(0), "{found:#}");
    let run = diff(&[BY_EDS], &[idle], &["--allow-undecided"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let run = diff(&[BY_EDS], &[], &[]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    // All that comes before the endpoint is.
    let rewrite = (
        "route: { cluster: ratings }",
        "route: { cluster: ratings, prefix_rewrite: /zz }",
    );
    let run = diff(&[BY_EDS], &[rewrite], &["--json"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    let found = document(&run);
    assert_eq!(found["groups"][0]["proved"], true, "{found:#}");
    let decision = &found["groups"][0]["first"];
    assert_eq!(decision["cluster"], "ratings");
    assert_eq!(decision["endpoint"], Value::Null);
}

/// Whom a request comes from has a say in what filters and `require_tls` make of it.
#[rstest]
#[case("use_remote_address: true")]
#[case("xff_num_trusted_hops: 1")]
#[case("internal_address_config: { cidr_ranges: [{ address_prefix: 10.0.0.0, prefix_len: 8 }] }")]
fn who_the_client_is_taken_to_be_is_told_of(#[case] option: &str) {
    let with = format!("{PREFIX}          {option}\n");
    let run = diff(&[], &[(PREFIX, &with)], &["--json"]);
    let found = document(&run);
    let (name, _) = option.split_once(':').expect("a field");
    let groups = found["groups"].as_array().expect("groups").iter();
    let moved = groups.flat_map(|group| paths(&group["causes"]));
    let paths: Vec<&str> = moved.chain(paths(&found["changes_not_tried"])).collect();
    assert!(paths.iter().any(|path| path.ends_with(name)), "{found:#}");
}

/// The load of a cluster goes by the zone that Envoy itself is in.
#[test]
fn the_zone_of_the_node_moves_requests() {
    let clusters = ["me", "c"].map(|name| {
        let groups = ["a", "b"].map(|zone| {
            let port = if zone == "a" { 1 } else { 2 };
            format!(
                "{{locality: {{zone: {zone}}}, lb_endpoints: [{{endpoint: {{address: {{socket_address: \
                 {{address: 10.0.0.1, port_value: {port}}}}}}}}}]}}"
            )
        });
        format!(
            "  - {{name: {name}, type: STATIC, common_lb_config: {{zone_aware_lb_config: {{min_cluster_size: 1}}}}, \
             load_assignment: {{cluster_name: {name}, endpoints: [{}]}}}}\n",
            groups.join(", ")
        )
    });
    let of_zone = |zone: &str| {
        format!(
            "node: {{id: it, cluster: me, locality: {{zone: {zone}}}}}\n\
             cluster_manager: {{local_cluster_name: me}}\nstatic_resources:\n  listeners:\n  - name: l\n    \
             address: {{socket_address: {{address: 10.0.0.2, port_value: 80}}}}\n    filter_chains:\n    - filters:\n      \
             - {{name: t, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, \
             stat_prefix: t, cluster: c}}}}\n  clusters:\n{}",
            clusters.concat()
        )
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    for zone in ["a", "b"] {
        let place = folder.path().join(format!("{zone}.yaml"));
        std::fs::write(place, of_zone(zone)).expect("the snapshot");
    }
    let run = twinmesh_in(folder.path(), &["diff", "a.yaml", "b.yaml", "--json"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    let found = document(&run);
    assert_eq!(
        paths(&found["groups"][0]["causes"]),
        ["node.locality.zone"],
        "{found:#}"
    );
}

/// A value of the runtime is no change of a resource, and what it has a say over is not decided.
#[test]
fn what_only_the_bootstrap_says_is_not_taken_for_alike() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shop = std::fs::read_to_string(shop()).expect("the snapshot");
    for (name, value) in [("a", 100), ("b", 0)] {
        let runtime = format!(
            "layered_runtime: {{layers: [{{name: l, static_layer: {{upstream.healthy_panic_threshold: {value}}}}}]}}\n"
        );
        let place = folder.path().join(format!("{name}.yaml"));
        std::fs::write(place, runtime + &shop).expect("the snapshot");
    }
    let run = twinmesh_in(folder.path(), &["diff", "a.yaml", "b.yaml"]);
    assert_eq!(run.code, Some(3), "{}{}", run.stdout, run.stderr);
    let run = twinmesh_in(folder.path(), &["diff", "a.yaml", "a.yaml"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
}

/// What only says a default in full, or is said of no endpoint, moves nothing.
#[rstest]
#[case::default_in_full("policy: { overprovisioning_factor: 140 }", 0)]
#[case::another("policy: { overprovisioning_factor: 120 }", 1)]
fn a_policy_of_endpoints(#[case] policy: &str, #[case] code: i32) {
    let said = format!("cluster_name: ratings\n      {policy}");
    let run = diff(&[], &[("cluster_name: ratings", &said)], &[]);
    assert_eq!(run.code, Some(code), "{}{}", run.stdout, run.stderr);
}

#[test]
fn a_change_behind_what_is_not_decided_is_not_without_effect() {
    let unknown = r#"          http_filters:
          - name: lua
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
              default_source_code: { inline_string: "function envoy_on_request(h) end" }
          - name: envoy.filters.http.router
"#;
    let after = [manager!("merge_slashes: true")];
    let run = diff(&[(ROUTER, unknown)], &after, &["--json"]);
    assert_eq!(run.code, Some(3), "{}{}", run.stdout, run.stderr);
    let found = document(&run);
    assert!(found["undecided"].as_u64() > Some(0), "{found:#}");
    let path = format!("{MANAGER}.merge_slashes");
    assert_eq!(paths(&found["changes_not_known"]), [path], "{found:#}");
}

#[test]
fn traffic_without_requests_is_refused() {
    let run = diff(&[], &[], &["--traffic", "none.jsonl"]);
    assert_eq!(run.code, Some(2), "{}", run.stdout);
    assert!(run.stderr.contains("holds no request"), "{}", run.stderr);
}
