//! What `generate` and `coverage` tell of filters that close connections and answer requests.

mod common;

use std::path::Path;

use common::twinmesh_in;
use rstest::rstest;
use serde_json::Value;

fn data() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/filters.yaml");
    std::fs::copy(file, folder.path().join("filters.yaml")).expect("the snapshot");
    folder
}

/// The goals of the coverage report, each with its state and reason.
fn coverage(folder: &Path, traffic: &str) -> Vec<Value> {
    std::fs::write(folder.join("t.jsonl"), traffic).expect("the traffic");
    let call = [
        "coverage",
        "--snapshot",
        "filters.yaml",
        "--traffic",
        "t.jsonl",
        "--json",
    ];
    let run = twinmesh_in(folder, &call);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let document: Value = serde_json::from_str(&run.stdout).expect("JSON");
    document["goals"].as_array().expect("a list").clone()
}

fn generated(folder: &Path, options: &[&str]) -> (String, String) {
    let call = ["generate", "--snapshot", "filters.yaml"];
    let run = twinmesh_in(folder, &[&call[..], options].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    (run.stdout, run.stderr)
}

#[test]
fn every_side_of_every_policy_is_reached() {
    let folder = data();
    let (traffic, told) = generated(folder.path(), &[]);
    let goals = coverage(folder.path(), &traffic);
    let of = |kinds: &[&str]| -> Vec<&Value> {
        let is_of = |goal: &&Value| kinds.iter().any(|kind| goal["kind"] == *kind);
        goals.iter().filter(is_of).collect()
    };
    assert_eq!(of(&["policies"]).len(), 2 + 8 + 4 + 2, "{goals:#?}");
    assert_eq!(of(&["answers"]).len(), 2, "{goals:#?}");
    for goal in of(&["policies", "answers"]) {
        let what = goal["what"].as_str().expect("a text");
        let path = goal["path"].as_str().expect("a text");
        let expected = match path.contains("[\"peer\"]") && what.starts_with("matches") {
            true => "undecided",
            false => "reached",
        };
        assert_eq!(goal["state"], expected, "{goal:#}\n{told}");
    }
    // Filters let requests on to all others, and to this one by the listener without RBAC.
    for goal in of(&["routes", "weighted_clusters"]) {
        assert_eq!(goal["state"], "reached", "{goal:#}\n{told}");
    }
}

#[test]
fn the_report_has_the_policies() {
    let folder = data();
    let (_, told) = generated(folder.path(), &["--no-boundaries"]);
    insta::assert_snapshot!("filters_report", told);
}

#[rstest]
// Answered by RBAC, and let on.
#[case("/admin", "guarded", "", "admin", "answered")]
#[case("/admin", "faulty", "", "admin", "reached")]
#[case("/admin-open", "guarded", "", "open", "reached")]
// By what the route says to the filter.
#[case("/team", "guarded", "", "team", "answered")]
#[case(
    "/team",
    "guarded",
    r#","headers":[["x-team","red"]]"#,
    "team",
    "reached"
)]
#[case(
    "/plain",
    "guarded",
    r#","headers":[["x-color","black"]]"#,
    "plain",
    "answered"
)]
fn a_route_is_reached_where_filters_let_on(
    #[case] path: &str,
    #[case] listener: &str,
    #[case] headers: &str,
    #[case] route: &str,
    #[case] expected: &str,
) {
    let folder = data();
    let request = format!(
        r#"{{"id":"r","authority":"a.test","path":"{path}","listener":"{listener}","source":"10.0.0.9:1","random":2{headers}}}"#
    );
    let goals = coverage(folder.path(), &request);
    let name = format!("{route:?} of \"all\"");
    let goal = goals.iter().find(|goal| goal["what"] == name);
    let goal = goal.expect("there is such a route");
    assert_eq!(goal["state"], expected, "{goal:#}");
    let reason = goal["reason"].as_str().unwrap_or_default();
    assert_eq!(reason.contains("http_filters["), expected == "answered");
}

#[test]
fn sides_of_one_request() {
    let folder = data();
    let request = r#"{"id":"r","method":"POST","authority":"a.test","path":"/","listener":"guarded","source":"10.0.0.9:1","headers":[["x-danger","yes"]]}"#;
    let goals = coverage(folder.path(), request);
    let reached = goals
        .iter()
        .filter(|goal| goal["kind"] == "policies" && goal["state"] == "reached");
    let told: Vec<String> = reached
        .map(|goal| {
            let path = goal["path"].as_str().expect("a text");
            let what = goal["what"].as_str().expect("a text");
            let policy = path.rsplit("policies").next().expect("a name");
            format!("{policy} {what}")
        })
        .collect();
    // The policies are asked in the order of their names, and none behind the one that matches.
    let expected = [
        "[\"inside\"] matches (policy of \"connections\")",
        "[\"admin\"] does not match (policy of \"rbac\")",
        "[\"blocked\"] does not match (policy of \"rbac\")",
        "[\"danger\"] matches (policy of \"rbac\")",
    ];
    assert_eq!(told, expected);
}
