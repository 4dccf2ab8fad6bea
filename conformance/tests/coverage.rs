//! `coverage` on the small mesh, word for word, its JSON and its exit codes.

mod common;

use std::path::Path;

use common::{Outcome, TRAFFIC, shop, twinmesh_in};
use rstest::rstest;
use serde_json::Value;

fn coverage(arguments: &[&str]) -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    in_folder(folder.path(), TRAFFIC, arguments)
}

fn in_folder(folder: &Path, traffic: &str, arguments: &[&str]) -> Outcome {
    std::fs::copy(shop(), folder.join("shop.yaml")).expect("the snapshot");
    std::fs::write(folder.join("t.jsonl"), traffic).expect("the traffic");
    let all = [
        "coverage",
        "--snapshot",
        "shop.yaml",
        "--traffic",
        "t.jsonl",
    ];
    twinmesh_in(folder, &[&all, arguments].concat())
}

#[test]
fn everything_by_name() {
    let run = coverage(&[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    insta::assert_snapshot!("coverage_all", run.stdout);
}

#[test]
fn only_what_is_missing() {
    let run = coverage(&["--only-missing"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    insta::assert_snapshot!("coverage_missing", run.stdout);
}

#[rstest]
#[case("0", Some(0))]
#[case("30", Some(0))]
#[case("99.5", Some(1))]
#[case("101", Some(2))]
#[case("much", Some(2))]
fn a_floor(#[case] percent: &str, #[case] expected: Option<i32>) {
    let run = coverage(&["--fail-under", percent]);
    assert_eq!(run.code, expected, "{}{}", run.stdout, run.stderr);
}

#[test]
fn a_floor_that_is_missed_is_told_with_what_was_reached() {
    let run = coverage(&["--json"]);
    let document: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let percent = document["percent"].as_f64().expect("a number");
    // So near that the digits of the report do not tell the two apart.
    let floor = (percent * 1000.0).ceil() / 1000.0;
    let run = coverage(&["--fail-under", &floor.to_string()]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    let told = run.stderr.split(" %: less than the ").next();
    let told = told.and_then(|it| it.rsplit(' ').next()).expect("a number");
    let told: f64 = told.parse().expect("a number");
    assert!(told < floor, "{}", run.stderr);
    let wanted = format!("the {floor} % of --fail-under");
    assert!(run.stderr.contains(&wanted), "{}", run.stderr);
}

#[test]
fn a_floor_says_nothing_where_there_is_nothing_to_reach() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("a.json"), r#"{"configs": []}"#).expect("the snapshot");
    let traffic = r#"{"id":"r","authority":"a.test","destination":"10.0.0.1:80"}"#;
    std::fs::write(folder.path().join("t.jsonl"), traffic).expect("the traffic");
    let call = ["coverage", "--snapshot", "a.json", "--traffic", "t.jsonl"];
    let run = twinmesh_in(folder.path(), &call);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let run = twinmesh_in(
        folder.path(),
        &[&call[..], &["--fail-under", "50"]].concat(),
    );
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("nothing to reach"), "{}", run.stderr);
}

#[test]
fn json_has_every_goal_with_its_state() {
    let run = coverage(&["--json"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let document: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let goals = document["goals"].as_array().expect("a list");
    let state = |kind: &str, path: &str| {
        let found = goals
            .iter()
            .find(|goal| goal["kind"] == kind && goal["path"] == path);
        found.map(|goal| goal["state"].as_str().expect("a text").to_owned())
    };
    let route = |index: usize| format!("virtual_hosts[0].routes[{index}]");
    assert_eq!(state("routes", &route(0)).as_deref(), Some("reached"));
    assert_eq!(state("routes", &route(3)).as_deref(), Some("missing"));
    let counts = document["kinds"].as_array().expect("a list");
    let total: u64 = counts
        .iter()
        .filter_map(|count| count["total"].as_u64())
        .sum();
    assert_eq!(total, goals.len() as u64);
}

#[test]
fn generated_traffic_reaches_what_generate_says() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(shop(), folder.path().join("shop.yaml")).expect("the snapshot");
    let made = twinmesh_in(folder.path(), &["generate", "--snapshot", "shop.yaml"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let run = in_folder(folder.path(), &made.stdout, &["--json", "--only-missing"]);
    let document: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let goals = document["goals"].as_array().expect("a list");
    let missing: Vec<&str> = goals
        .iter()
        .filter(|goal| goal["kind"] == "routes")
        .filter_map(|goal| goal["what"].as_str())
        .collect();
    assert_eq!(missing, [r#""never" of "down""#]);
}

#[test]
fn a_request_that_starts_nowhere_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = in_folder(folder.path(), r#"{"id":"a","listener":"other"}"#, &[]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("t.jsonl"), "{}", run.stderr);
    assert!(run.stdout.is_empty());
}

#[test]
fn a_filter_that_leaves_all_undecided_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shop = std::fs::read_to_string(shop()).expect("the snapshot");
    let filters = "http_filters:\n          - name: script\n            typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua, \
                   default_source_code: {inline_string: \"function envoy_on_request(h) end\"}}\n";
    let changed = shop.replacen("http_filters:\n", filters, 1);
    assert_ne!(changed, shop);
    std::fs::write(folder.path().join("s.yaml"), changed).expect("the snapshot");
    std::fs::write(folder.path().join("t.jsonl"), TRAFFIC).expect("the traffic");
    let call = ["coverage", "--snapshot", "s.yaml", "--traffic", "t.jsonl"];
    let run = twinmesh_in(folder.path(), &call);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for expected in [
        "filter chains of which no request is decided: 1",
        "http_filters[0]: the filter script runs a script on requests",
        "are reached only by requests that start at the route configuration",
    ] {
        assert!(run.stdout.contains(expected), "{expected}: {}", run.stdout);
    }
    let run = twinmesh_in(folder.path(), &[&call[..], &["--json"]].concat());
    let document: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let chains = document["undecided_filter_chains"].as_array();
    let reason = chains.and_then(|chains| chains[0]["reason"].as_str());
    assert_eq!(reason, Some("the filter script runs a script on requests"));
}
