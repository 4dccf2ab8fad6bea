//! What `explain` says, word for word.

mod common;

use std::path::Path;

use common::{TRAFFIC, shop, twinmesh_in};
use rstest::rstest;

fn explain(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(shop(), folder.path().join("shop.yaml")).expect("the snapshot");
    std::fs::write(folder.path().join("t.jsonl"), TRAFFIC).expect("the traffic");
    let mut all = vec!["explain", "--snapshot", "shop.yaml"];
    all.extend(arguments);
    let run = twinmesh_in(folder.path(), &all);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    // What an engine gives as its reason is in its own words.
    let lines = run.stdout.lines();
    let lines: Vec<&str> = lines
        .filter(|line| !line.trim_start().starts_with("reason: "))
        .collect();
    lines.join("\n")
}

#[rstest]
#[case::jason("jason", &["--authority", "reviews.test", "--path", "/reviews/1", "-H", "end-user: jason", "--destination", "10.0.0.1:8080"])]
#[case::curtis("curtis", &["--authority", "reviews.test", "--path", "/reviews/1", "-H", "end-user: curtis", "--destination", "10.0.0.1:8080"])]
#[case::canary("canary", &["--authority", "a.reviews.test", "--path", "/reviews/canary?x=1", "--destination", "10.0.0.1:8080", "--random", "95"])]
#[case::redirect("redirect", &["--authority", "reviews.test", "--path", "/old", "--destination", "10.0.0.1:8080"])]
#[case::no_route("no_route", &["--authority", "reviews.test", "--path", "/rating", "--destination", "10.0.0.1:8080"])]
#[case::no_virtual_host("no_virtual_host", &["--authority", "elsewhere.test", "--destination", "10.0.0.1:8080"])]
#[case::no_listener("no_listener", &["--authority", "reviews.test", "--destination", "10.0.0.9:8080"])]
#[case::port("port", &["--authority", "a.reviews.test:8080", "--destination", "10.0.0.1:8080"])]
#[case::down("down", &["--authority", "down.test", "--destination", "10.0.0.1:8080"])]
#[case::bad_request("bad_request", &["--authority", "reviews.test", "--path", "reviews", "--destination", "10.0.0.1:8080"])]
#[case::named("named", &["--authority", "reviews.test", "--path", "/ratings", "--route-config", "shop"])]
#[case::from_traffic("from_traffic", &["--traffic", "t.jsonl", "--id", "r2"])]
#[case::few_routes("few_routes", &["--authority", "reviews.test", "--path", "/old", "--destination", "10.0.0.1:8080", "--routes", "2"])]
fn explanations(#[case] name: &str, #[case] arguments: &[&str]) {
    insta::assert_snapshot!(name, explain(arguments));
}

const CHANGED: &str = r#"
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 10.0.0.1, port_value: 80}}
    filter_chains:
    - filters:
      - name: m
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: s
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            request_mirror_policies: [{cluster: d}]
            response_headers_to_remove: [x-gone]
            virtual_hosts:
            - name: v
              domains: ["*"]
              request_headers_to_add:
              - {header: {key: x-path, value: "%REQ(:path)%"}, append_action: ADD_IF_ABSENT}
              - {header: {key: x-when, value: "%START_TIME%"}}
              routes:
              - match: {prefix: /}
                route: {cluster: c, path_rewrite: "/new%PATH(NQ)%"}
  clusters:
  - name: c
    type: STATIC
    load_assignment:
      cluster_name: c
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 10.1.0.1, port_value: 80}}}}]}]
  - {name: d, type: STATIC, load_assignment: {cluster_name: d}}
"#;

#[rstest]
fn headers_and_copies(#[values("spec", "sim")] engine: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("s.yaml"), CHANGED).expect("the snapshot");
    let arguments = [
        "explain",
        "--snapshot",
        "s.yaml",
        "--authority",
        "h.test",
        "--path",
        "/a?b",
        "--engine",
        engine,
    ];
    let run = twinmesh_in(folder.path(), &arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for part in [
        "request headers     virtual host\n",
        "virtual_host.request_headers_to_add[0] x-path: \"%REQ(:path)%\" (ADD_IF_ABSENT)",
        "mirror              \"d\"\n",
        "route_configuration.request_mirror_policies[0]",
        "route_configuration.response_headers_to_remove[0] x-gone",
        "path: /new/a?b",
        r#"request_headers: {"x-path":["/a?b"],"x-when":null}"#,
        r#"response_headers: {"x-gone":[]}"#,
        "mirrors: d",
    ] {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
}

/// The second source of the cluster `sources` is no header, and of the third only the first value counts.
#[rstest]
#[case::first(&["x-host: 127.0.20.9:1, 127.0.20.3:9080", "x-other: 127.0.20.2:9080"], Some(("x-host", 3)))]
#[case::third(&["x-host: 127.0.20.9:1", "x-other: 127.0.20.2:9080", "x-other: 127.0.20.3:9080"], Some(("x-other", 2)))]
#[case::none(&["x-host: 127.0.20.9:1", "x-another: 127.0.20.2:9080"], None)]
fn override_hosts(
    #[case] headers: &[&str],
    #[case] expected: Option<(&str, usize)>,
    #[values("spec", "sim")] engine: &str,
) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/override-host");
    let mut arguments = vec![
        "explain",
        "--snapshot",
        "config_dump.json",
        "--engine",
        engine,
    ];
    arguments.extend(["--authority", "sources.test", "--listener", "web"]);
    arguments.extend(headers.iter().flat_map(|header| ["-H", header]));
    let run = twinmesh_in(&folder, &arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let Some((header, number)) = expected else {
        assert!(!run.stdout.contains("override host"), "{}", run.stdout);
        assert!(
            run.stdout.contains("\npriority            0\n"),
            "{}",
            run.stdout
        );
        return;
    };
    let blank = " ".repeat(20);
    let part = format!(
        "\noverride host       header \"{header}\"\n\
         {blank}it names an endpoint of the cluster; neither health nor priority are asked \
         (load_balancing_policy)\n\
         endpoint            127.0.20.{number}:9080\n\
         {blank}endpoints[0].lb_endpoints[{}]: the one that the header names\n",
        number - 1
    );
    assert!(run.stdout.contains(&part), "{part}{}", run.stdout);
}

#[rstest]
#[case::by_address("filter-chains", "r0002")]
#[case::by_server_name("filter-chains-tls", "r0003")]
fn filter_chains(#[case] case: &str, #[case] id: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(case);
    let run = twinmesh_in(
        &folder,
        &[
            "explain",
            "--snapshot",
            "config_dump.json",
            "--traffic",
            "requests.traffic.jsonl",
            "--id",
            id,
        ],
    );
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    insta::assert_snapshot!(format!("{case}-{id}"), run.stdout);
}

const DUMP: &str = r#"{"configs": [
  {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
   "dynamic_active_clusters": [{"cluster": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "reviews-v1"}},
    {"cluster": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "other"}}],
   "dynamic_warming_clusters": [{"cluster": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "warming"}}]},
  {"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump",
   "dynamic_route_configs": [{"route_config": {"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "rc",
    "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
     {"match": {"prefix": "/warming"}, "route": {"cluster": "warming"}},
     {"match": {"prefix": "/"}, "route": {"cluster": "reviews-v2"}}]}]}}]}]}"#;

#[rstest]
#[case("/warming", r#"cluster "warming" is warming: Envoy uses it once it has its endpoints (dynamic_warming_clusters)"#, None)]
#[case(
    "/",
    r#"no cluster is called "reviews-v2"; the nearest are"#,
    Some(r#""reviews-v1""#)
)]
fn a_cluster_that_is_not_there(
    #[case] path: &str,
    #[case] heading: &str,
    #[case] nearest: Option<&str>,
) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("dump.json"), DUMP).expect("the snapshot");
    let run = twinmesh_in(
        folder.path(),
        &[
            "explain",
            "--snapshot",
            "dump.json",
            "--authority",
            "a.test",
            "--path",
            path,
        ],
    );
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let mut lines = run
        .stdout
        .lines()
        .skip_while(|line| !line.contains(heading));
    assert!(lines.next().is_some(), "{}", run.stdout);
    let next = lines.next().map(str::trim);
    assert!(nearest.is_none_or(|it| next == Some(it)), "{}", run.stdout);
}

#[test]
fn colours_change_nothing_but_colours() {
    let arguments = [
        "--authority",
        "reviews.test",
        "--destination",
        "10.0.0.1:8080",
    ];
    let plain = explain(&arguments);
    let mut coloured = arguments.to_vec();
    coloured.extend(["--color", "always"]);
    let coloured = explain(&coloured);
    assert!(coloured.contains('\u{1b}'), "{coloured}");
    let stripped = ["\u{1b}[1m", "\u{1b}[2m", "\u{1b}[0m"]
        .iter()
        .fold(coloured, |text, code| text.replace(code, ""));
    let trimmed: Vec<&str> = stripped.lines().map(str::trim_end).collect();
    let expected: Vec<&str> = plain.lines().collect();
    assert_eq!(trimmed, expected);
}
