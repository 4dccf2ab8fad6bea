//! What `explain` says of what did not decide: the other routes, domains and filter chains, what the
//! connection manager changed, the policies of filters.

mod common;

use common::{Outcome, twinmesh_in};
use rstest::rstest;

const RBAC: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";

/// A connection manager with these fields and filters, in front of three virtual hosts.
fn snapshot(manager: &str, filters: &str) -> String {
    format!(
        r#"
static_resources:
  listeners:
  - name: l
    address: {{socket_address: {{address: 10.0.0.1, port_value: 80}}}}
    filter_chains:
    - filters:
      - name: m
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: s
          {manager}
          http_filters:
          {filters}
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            name: r
            virtual_hosts:
            - name: api
              domains: [api.test]
              routes:
              - {{name: own, match: {{prefix: /}}, route: {{cluster: c}}}}
            - name: ported
              domains: ["ported.test:80"]
              routes:
              - {{match: {{prefix: /}}, route: {{cluster: c}}}}
            - name: any
              domains: ["*"]
              routes:
              - {{name: header, match: {{prefix: /x, headers: [{{name: a_b}}, {{name: c}}]}}, route: {{cluster: c}}}}
              - {{name: a, match: {{prefix: /a}}, route: {{cluster: c}}}}
              - {{name: all, match: {{prefix: /}}, redirect: {{https_redirect: true}}}}
              - {{match: {{path: /a/b}}, route: {{cluster: c}}}}
              - {{name: never, match: {{prefix: /, runtime_fraction: {{default_value: {{numerator: 0}}}}}}, route: {{cluster: c}}}}
  clusters:
  - name: c
    type: STATIC
    load_assignment:
      cluster_name: c
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 10.1.0.1, port_value: 80}}}}}}}}]}}]
"#
    )
}

fn explain(snapshot: &str, arguments: &[&str]) -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("s.yaml"), snapshot).expect("the snapshot");
    let mut all = vec!["explain", "--snapshot", "s.yaml"];
    all.extend(arguments);
    twinmesh_in(folder.path(), &all)
}

/// The lines, without what stands before them.
fn told(snapshot: &str, arguments: &[&str]) -> Vec<String> {
    let run = explain(snapshot, arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let lines = run.stdout.lines();
    let lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect()
}

#[track_caller]
fn assert_told(told: &[String], parts: &[&str]) {
    let all = told.join("\n");
    let parts = parts.join("\n");
    assert!(all.contains(&parts), "{parts}\nin\n{all}");
}

#[test]
fn routes_behind_the_one_that_takes_the_request() {
    let snapshot = snapshot("", "");
    let lines = told(&snapshot, &["--authority", "h", "--path", "/a/b"]);
    let later = [
        "route routes[1] \"a\"",
        "match: a path that starts with \"/a\"; action: route.cluster \"c\"",
        "comes later routes[2] \"all\"",
        "would match, but comes later; match: a path that starts with \"/\"; action: redirect: https_redirect",
        "routes[3]",
        "would match, but comes later; match: the path \"/a/b\"; action: route.cluster \"c\"",
        "cluster \"c\"",
    ];
    assert_told(&lines, &later);
    let few = told(
        &snapshot,
        &["--authority", "h", "--path", "/a/b", "--routes", "1"],
    );
    assert_told(
        &few,
        &["and 1 other route that would match, but come later"],
    );
}

#[rstest]
#[case::shadowed("#3", "/a/b", "routes[3] of virtual host \"any\"", &["it would match, but routes[1] \"a\" comes before it and takes the request; its match: the path \"/a/b\"; the other's: a path that starts with \"/a\""])]
#[case::takes("a", "/a", "routes[1] \"a\" of virtual host \"any\"", &["it takes the request; match: a path that starts with \"/a\""])]
#[case::all_that_failed("header", "/a", "routes[0] \"header\" of virtual host \"any\"", &[
    "match.headers[0] expects header a_b present; the request has none",
    "match.headers[1] expects header c present; the request has none",
    "match.prefix expects a path that starts with \"/x\"; the request has \"/a\"",
])]
#[case::fraction("never", "/a", "routes[4] \"never\" of virtual host \"any\"", &["match.runtime_fraction does not take its random number"])]
#[case::other_host("own", "/a", "routes[0] \"own\" of virtual host \"api\"", &["its virtual host has not the host \"h\": \"any\" has, by a domain that fits better; its domains are api.test"])]
fn one_route_that_is_asked_about(
    #[case] route: &str,
    #[case] path: &str,
    #[case] choice: &str,
    #[case] because: &[&str],
    #[values("spec", "sim")] engine: &str,
) {
    let arguments = [
        "--authority",
        "h",
        "--path",
        path,
        "--route",
        route,
        "--engine",
        engine,
    ];
    let lines = told(&snapshot("", ""), &arguments);
    let mut expected = vec![format!("asked about {choice}")];
    expected.extend(because.iter().map(|line| (*line).to_owned()));
    assert_eq!(lines[lines.len() - expected.len()..], expected);
}

#[test]
fn a_route_that_is_nowhere() {
    let snapshot = snapshot("", "");
    let run = explain(&snapshot, &["--authority", "h", "--route", "#9"]);
    let message = "error: --route: no route `#9` is in the virtual host \"any\"; there are `header`, \
                   `a`, `all`, `#3`, `never`\n";
    assert_eq!((run.code, run.stderr.as_str()), (Some(2), message));
    let run = explain(
        &snapshot,
        &["--authority", "h", "--path", "a", "--route", "a"],
    );
    assert_eq!(run.code, Some(2));
    assert!(
        run.stderr.contains("its outcome is bad_request"),
        "{}",
        run.stderr
    );
}

#[rstest]
#[case::without(
    "api.test:80",
    "domains[0] \"*\" takes any host (\"api.test:80\"); without its port, \"api\" would take it by domains[0] \"api.test\"; its port counts, unless ignore_port_in_host_matching, strip_matching_host_port or strip_any_host_port is set"
)]
#[case::with(
    "ported.test",
    "domains[0] \"*\" takes any host (\"ported.test\"); with a port, \"ported\" would take it by domains[0] \"ported.test:80\""
)]
#[case::neither("other.test:80", "domains[0] \"*\" takes any host (\"other.test:80\")")]
fn hosts_but_for_their_port(#[case] host: &str, #[case] expected: &str) {
    let lines = told(&snapshot("", ""), &["--authority", host]);
    assert_told(&lines, &["virtual host \"any\"", expected]);
    assert!(lines.iter().any(|line| line == expected));
}

#[test]
fn a_port_that_does_not_count() {
    let ignores = snapshot("", "").replace(
        "name: r\n",
        "name: r\n            ignore_port_in_host_matching: true\n",
    );
    let lines = told(&ignores, &["--authority", "api.test:80"]);
    let because = "domains[0] \"api.test\" is the host (\"api.test\", without its port: ignore_port_in_host_matching)";
    assert_told(&lines, &["virtual host \"api\"", because]);
}

#[test]
fn what_the_connection_manager_changes() {
    let manager = [
        "normalize_path: true",
        "merge_slashes: true",
        "strip_any_host_port: true",
        "common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}",
    ]
    .join("\n          ");
    let arguments = [
        "--authority",
        "api.test:81",
        "--path",
        "/y/..//a",
        "-H",
        "a_b: 1",
    ];
    let snapshot = snapshot(&manager, "");
    assert_told(
        &told(&snapshot, &arguments),
        &[
            "connection manager common_http_protocol_options.headers_with_underscores_action",
            "it drops the header \"a_b: 1\"",
            "connection manager strip_any_host_port",
            "the host \"api.test:81\" becomes \"api.test\"",
            "connection manager normalize_path",
            "the path \"/y/..//a\" becomes \"//a\"",
            "connection manager merge_slashes",
            "the path \"//a\" becomes \"/a\"",
            "route configuration \"r\"",
            "http_connection_manager.route_config",
            "virtual host \"api\"",
            "domains[0] \"api.test\" is the host (\"api.test\")",
        ],
    );
    let arguments = [
        "--authority",
        "h",
        "--path",
        "//x",
        "-H",
        "a_b: 1",
        "--route",
        "header",
    ];
    assert_told(
        &told(&snapshot, &arguments),
        &[
            "match.headers[0] expects header a_b present; the request has \"1\", but the connection \
             manager takes it off (common_http_protocol_options.headers_with_underscores_action)",
        ],
    );
}

#[rstest]
#[case::denied("DENY", "p", "/a", "it answers with 403: its policy \"p\" matches")]
#[case::not_denied(
    "DENY",
    "p",
    "/b",
    "it lets the request on: none of its policies matches"
)]
#[case::allowed("ALLOW", "p", "/a", "it lets the request on: its policy \"p\" matches")]
#[case::not_allowed(
    "ALLOW",
    "p",
    "/b",
    "it answers with 403: none of its policies matches"
)]
fn policies_of_rbac(
    #[case] action: &str,
    #[case] policy: &str,
    #[case] path: &str,
    #[case] expected: &str,
    #[values("spec", "sim")] engine: &str,
) {
    let rules = format!(
        "- {{name: rbac, typed_config: {{\"@type\": {RBAC}, rules: {{action: {action}, policies: {{\
         b: {{permissions: [{{url_path: {{path: {{exact: /no}}}}}}], principals: [{{any: true}}]}}, \
         {policy}: {{permissions: [{{url_path: {{path: {{prefix: /a}}}}}}], principals: [{{any: true}}]}}}}}}}}}}"
    );
    let arguments = [
        "--authority",
        "api.test",
        "--path",
        path,
        "--engine",
        engine,
    ];
    let lines = told(&snapshot("", &rules), &arguments);
    assert_told(&lines, &["HTTP filter http_filters[0] \"rbac\"", expected]);
}

/// A tree leads to an action by the client's port, or to none.
#[rstest]
#[case(
    "10.0.0.9:1",
    "it answers with 403: its matcher leads to the action \"refused\""
)]
#[case("10.0.0.9:2", "it answers with 403: its matcher leads to no action")]
fn actions_of_rbac(#[case] source: &str, #[case] expected: &str) {
    let input = "{name: i, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.SourcePortInput}}";
    let action = "{name: a, typed_config: {\"@type\": type.googleapis.com/envoy.config.rbac.v3.Action, name: refused, action: DENY}}";
    let tree = format!(
        "- {{name: rbac, typed_config: {{\"@type\": {RBAC}, matcher: {{matcher_tree: {{input: {input}, \
         exact_match_map: {{map: {{\"1\": {{action: {action}}}}}}}}}}}}}}}"
    );
    let arguments = ["--authority", "api.test", "--source", source];
    let lines = told(&snapshot("", &tree), &arguments);
    assert_told(&lines, &["HTTP filter http_filters[0] \"rbac\"", expected]);
}

#[test]
fn filter_chains_have_the_criterion_by_which_they_are_out() {
    let matching = snapshot("", "").replace(
        "    - filters:",
        "    - name: tls\n      filter_chain_match: {server_names: [a.test], application_protocols: [h2]}\n      filters:",
    );
    let because =
        "server_names a.test: the connection's is not read, as the listener has no TLS inspector";
    let lines = told(&matching, &["--authority", "h", "--sni", "a.test"]);
    assert_told(&lines, &[&format!("filter_chains[0] \"tls\": {because}")]);
    let inspector = "    listener_filters: [{name: t, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}]\n    filter_chains:";
    let matching = matching.replace("    filter_chains:", inspector);
    for (sni, because) in [
        (
            "a.test",
            "application_protocols h2: the connection's is none",
        ),
        ("b.test", "server_names a.test: the connection's is b.test"),
    ] {
        let lines = told(&matching, &["--authority", "h", "--sni", sni]);
        let because = format!("filter_chains[0] \"tls\": {because}");
        let heading = "nothing no filter chain takes the connection; the nearest are";
        assert_told(&lines, &[heading, &because, "decision no_filter_chain"]);
    }
}

/// A client is outside: nobody is inside without `internal_address_config`.
#[test]
fn headers_of_insiders_are_taken_off() {
    let snapshot = snapshot("", "").replace(
        "name: r\n",
        "name: r\n            internal_only_headers: [C]\n",
    );
    let arguments = ["-H", "c: 1", "--source", "192.0.2.1:1", "--route", "header"];
    let lines = told(&snapshot, &[&["--authority", "h"], &arguments[..]].concat());
    let failed = "match.headers[1] expects header c present; the request has \"1\", but the \
                  connection manager takes it off (internal_only_headers)";
    assert_told(&lines, &[failed]);
}

#[rstest]
#[case::clear("tls", "", "its transport_socket is TLS, and the request says no TLS")]
#[case::over_tls("tls", "--tls", "")]
#[case::no_certificate(
    "mutual",
    "--tls",
    "its transport_socket requires a client certificate"
)]
#[case::certificate("mutual", "--tls --client-certificate presented", "")]
#[case::no_socket("none", "", "")]
#[case::no_socket_over_tls(
    "none",
    "--sni a.test",
    "it has no transport_socket, and the connection is TLS"
)]
fn a_connection_that_does_not_fit_its_filter_chain(
    #[case] socket: &str,
    #[case] arguments: &str,
    #[case] said: &str,
) {
    const TLS: &str =
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
    let requires = socket == "mutual";
    let socket = match socket {
        "none" => String::new(),
        _ => format!(
            "transport_socket: {{name: s, typed_config: {{\"@type\": {TLS}, require_client_certificate: {requires}}}}}"
        ),
    };
    let snapshot =
        snapshot("", "").replace("    - filters:", &format!("    - {socket}\n      filters:"));
    let snapshot = match socket.is_empty() {
        true => snapshot.replace("    - \n      filters:", "    - filters:"),
        false => snapshot,
    };
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let asked = [
        &["--authority", "api.test", "--path", "/"],
        arguments.as_slice(),
    ]
    .concat();
    let explained = explain(&snapshot, &asked);
    assert!(
        explained.stdout.contains("cluster: c"),
        "{}",
        explained.stdout
    );
    match said {
        "" => assert!(
            !explained.stdout.contains("transport_socket"),
            "{}",
            explained.stdout
        ),
        said => assert!(explained.stdout.contains(said), "{}", explained.stdout),
    }
}
