//! `diff` of the small mesh and changed copies of it, word for word, and its exit codes.

mod common;

use common::{Outcome, TRAFFIC, shop, twinmesh_in};
use rstest::rstest;
use serde_json::Value;

/// Endpoints that take their time.
const SCRIPT: &str = r#"[[endpoint]]
address = "*"
rule = [{ answers = [{ latency_us = 400_000 }] }]
"#;

/// Compares the small mesh with a copy in which texts are replaced.
fn diff(changes: &[(&str, &str)], arguments: &[&str]) -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let before = std::fs::read_to_string(shop()).expect("the snapshot");
    let mut after = before.clone();
    for (from, to) in changes {
        assert!(after.contains(from), "{from}");
        after = after.replacen(from, to, 1);
    }
    std::fs::write(folder.path().join("a.yaml"), before).expect("the snapshot");
    std::fs::write(folder.path().join("b.yaml"), after).expect("the snapshot");
    std::fs::write(folder.path().join("t.jsonl"), TRAFFIC).expect("the traffic");
    std::fs::write(folder.path().join("e.toml"), SCRIPT).expect("the script");
    let all = ["diff", "a.yaml", "b.yaml"];
    twinmesh_in(folder.path(), &[&all, arguments].concat())
}

const RATINGS_GONE: (&str, &str) = (
    "  - name: ratings
    type: STATIC
    lb_policy: LEAST_REQUEST
    load_assignment:
      cluster_name: ratings
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 10.3.0.1, port_value: 9080 } } }
        - endpoint: { address: { socket_address: { address: 10.3.0.2, port_value: 9080 } } }
",
    "",
);

const MOVED: (&str, &str) = (
    "              - name: debug
                match:
                  prefix: /reviews
                  query_parameters:
                  - name: debug
                    present_match: true
                route: { cluster: reviews-v1 }
              - name: ratings
                match: { path: /ratings }
                route: { cluster: ratings }
              - name: canary
                match: { prefix: /reviews/canary }
                route:
                  weighted_clusters:
                    clusters:
                    - { name: reviews-v1, weight: 90 }
                    - { name: reviews-v2, weight: 10 }
              - match: { prefix: /reviews }
                route: { cluster: reviews-v1 }
",
    "              - name: debug
                match:
                  prefix: /reviews
                  query_parameters:
                  - name: debug
                    present_match: true
                route: { cluster: reviews-v1 }
              - name: ratings
                match: { path: /ratings }
                route: { cluster: ratings }
              - match: { prefix: /reviews }
                route: { cluster: reviews-v1 }
              - name: canary
                match: { prefix: /reviews/canary }
                route:
                  weighted_clusters:
                    clusters:
                    - { name: reviews-v1, weight: 90 }
                    - { name: reviews-v2, weight: 10 }
",
);

#[rstest]
#[case::prefix("prefix", &[("match: { prefix: /old }", "match: { prefix: /older }")])]
#[case::weights("weights", &[("name: reviews-v1, weight: 90", "name: reviews-v1, weight: 80"), ("name: reviews-v2, weight: 10", "name: reviews-v2, weight: 20")])]
#[case::domain("domain", &[("\"*.reviews.test\"", "\"*.review.test\"")])]
#[case::endpoint("endpoint", &[("address: 10.1.0.3", "address: 10.1.0.4")])]
#[case::redirect("redirect", &[("path_redirect: /reviews", "path_redirect: /ratings")])]
#[case::cluster_gone("cluster_gone", &[("route: { cluster: ratings }", "route: { cluster: reviews-v1 }"), RATINGS_GONE])]
#[case::moved("moved", &[MOVED])]
#[case::without_effect("without_effect", &[("status: 200", "status: 204"), ("stat_prefix: shop", "stat_prefix: store")])]
fn reports(#[case] name: &str, #[case] changes: &[(&str, &str)]) {
    let run = diff(changes, &[]);
    assert!(matches!(run.code, Some(0 | 1)), "{}", run.stderr);
    let text = format!("exit code {}\n{}", run.code.unwrap_or(-1), run.stdout);
    insta::assert_snapshot!(format!("diff_{name}"), text);
}

#[test]
fn equal_snapshots_are_decided_alike() {
    let run = diff(&[], &[]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("requests are decided alike"),
        "{}",
        run.stdout
    );
}

#[test]
fn captured_traffic_alone_is_asked() {
    let change = ("match: { prefix: /old }", "match: { prefix: /older }");
    let run = diff(&[change], &["--traffic", "t.jsonl", "--json"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let document: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(document["requests"], 12);
    assert_eq!(document["different"], 1);
    let group = &document["groups"][0];
    assert_eq!(group["example"]["id"], "r4");
    assert_eq!(
        group["causes"][0]["path"],
        "virtual_hosts[0].routes[5].match.prefix"
    );
    assert_eq!(group["causes"][0]["before"], "/old");
    assert_eq!(group["causes"][0]["after"], "/older");
    assert_eq!(group["first"]["outcome"], "redirect");
    assert_eq!(group["second"]["outcome"], "no_route");
}

#[test]
fn a_shorter_timeout_alters_what_becomes_of_slow_requests() {
    let change = (
        "- match: { prefix: /reviews }
                route: { cluster: reviews-v1 }",
        "- match: { prefix: /reviews }
                route: { cluster: reviews-v1, timeout: 0.1s }",
    );
    let traffic = ["--traffic", "t.jsonl", "--json"];
    let run = diff(&[change], &traffic);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let run = diff(
        &[change],
        &[&traffic[..], &["--endpoints", "e.toml"]].concat(),
    );
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let document: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(document["different"], 5);
    let groups = document["groups"].as_array().expect("an array");
    assert_eq!(groups.len(), 1, "{document}");
    let group = &groups[0];
    let fields = serde_json::json!(["duration_us", "response_flags", "status"]);
    assert_eq!(group["fields"], fields);
    assert_eq!(
        group["causes"][0]["path"],
        "virtual_hosts[0].routes[4].route.timeout"
    );
    assert_eq!(group["first"]["status"], 200);
    assert_eq!(group["second"]["status"], 504);
    assert_eq!(group["second"]["response_flags"], "UT");
}

#[test]
fn a_script_wants_the_traffic_that_it_is_for() {
    let run = diff(&[], &["--endpoints", "e.toml"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("--traffic"), "{}", run.stderr);
}

#[test]
fn a_snapshot_that_is_not_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(shop(), folder.path().join("a.yaml")).expect("the snapshot");
    let run = twinmesh_in(folder.path(), &["diff", "a.yaml", "b.yaml"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("b.yaml"), "{}", run.stderr);
}

/// A filter that answers all but the first of the requests that come within an hour.
const LIMIT: (&str, &str) = (
    "          http_filters:\n",
    "          http_filters:
          - name: limit
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
              stat_prefix: limit
              token_bucket: { max_tokens: 1, tokens_per_fill: 1, fill_interval: 3600s }
              filter_enabled: { default_value: { numerator: 100 } }
              filter_enforced: { default_value: { numerator: 100 } }
",
);

/// The small mesh behind the filter, and with another answer at a route of it.
fn limited() -> [String; 2] {
    let shop = std::fs::read_to_string(shop()).expect("the snapshot");
    let before = shop.replacen(LIMIT.0, LIMIT.1, 1);
    let after = before.replacen(
        "route: { cluster: reviews-v2 }",
        "direct_response: { status: 204 }",
        1,
    );
    assert_ne!(before, after);
    [before, after]
}

#[test]
fn generated_requests_find_all_tokens() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in ["a.yaml", "b.yaml"].into_iter().zip(limited()) {
        std::fs::write(folder.path().join(name), text).expect("the snapshot");
    }
    let run = twinmesh_in(folder.path(), &["diff", "a.yaml", "b.yaml", "--json"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    let document: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let group = &document["groups"][0];
    assert_eq!(group["first"]["outcome"], "forward", "{}", run.stdout);
    assert_eq!(group["second"]["status"], 204, "{}", run.stdout);
}

#[rstest]
#[case::an_hour_apart(vec![vec![0, 3_600_000_000], vec![3_600_000_000]], 3)]
#[case::at_once(vec![vec![0, 0, 1]], 1)]
fn token_buckets_fill_between_the_requests(#[case] files: Vec<Vec<u64>>, #[case] moved: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [before, after] = limited();
    std::fs::write(folder.path().join("a.yaml"), before).expect("the snapshot");
    std::fs::write(folder.path().join("b.yaml"), after).expect("the snapshot");
    let mut call = vec!["diff".to_owned(), "a.yaml".to_owned(), "b.yaml".to_owned()];
    for (index, times) in files.iter().enumerate() {
        let lines: String = times
            .iter()
            .enumerate()
            .map(|(number, time)| {
                format!(
                    "{{\"id\":\"{index}.{number}\",\"authority\":\"reviews.test\",\"path\":\"/reviews/1\",\"headers\":[[\"end-user\",\"jason\"]],\
                     \"destination\":\"10.0.0.1:8080\",\"time_us\":{time}}}\n"
                )
            })
            .collect();
        let name = format!("{index}.jsonl");
        std::fs::write(folder.path().join(&name), lines).expect("the traffic");
        call.extend(["--traffic".to_owned(), name]);
    }
    call.push("--json".to_owned());
    let call: Vec<&str> = call.iter().map(String::as_str).collect();
    let run = twinmesh_in(folder.path(), &call);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    let document: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let groups = document["groups"].as_array().expect("groups");
    let all = groups.iter().filter_map(|group| group["requests"].as_u64());
    assert_eq!(all.sum::<u64>(), moved, "{}", run.stdout);
}
