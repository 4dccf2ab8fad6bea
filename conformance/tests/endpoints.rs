//! Endpoint scripts on the command line, over the recorded case that has one.

mod common;

use std::path::{Path, PathBuf};

use common::twinmesh_in;
use serde_json::Value;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/attempts")
}

fn decisions(folder: &Path, more: &[&str]) -> Vec<Value> {
    let mut arguments = vec![
        "replay",
        "--snapshot",
        "config_dump.json",
        "--traffic",
        "requests.traffic.jsonl",
    ];
    arguments.extend(more);
    let run = twinmesh_in(folder, &arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let lines = run.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("a decision"))
        .collect()
}

#[test]
fn replay_plays_a_script_only_where_it_is_given() {
    let with = decisions(&fixture(), &["--endpoints", "requests.endpoints.toml"]);
    let retried = with.iter().find(|it| it["route"] == "5xx-out");
    let retried = retried.expect("the route is asked");
    assert_eq!(retried["attempts"], 3);
    assert_eq!(retried["response_flags"], "URX");
    assert_eq!(retried["tries"].as_array().map(Vec::len), Some(3));
    for decision in decisions(&fixture(), &[]) {
        assert_eq!(decision.get("attempts"), None);
        assert_eq!(decision.get("status"), None);
    }
}

#[test]
fn engines_that_follow_no_request_leave_it_undecided() {
    let found = decisions(
        &fixture(),
        &[
            "--endpoints",
            "requests.endpoints.toml",
            "--engine",
            "bpf-vm",
        ],
    );
    assert!(found.iter().all(|it| it["outcome"] == "unsupported"));
}

#[test]
fn explain_tells_the_attempts() {
    let run = twinmesh_in(
        &fixture(),
        &[
            "explain",
            "--snapshot",
            "config_dump.json",
            "--destination",
            "127.0.0.1:18480",
            "--authority",
            "outside.test",
            "--path",
            "/closed-connect",
            "--endpoints",
            "requests.endpoints.toml",
        ],
    );
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let refused = run.stdout.matches("the connection is refused").count();
    assert!(refused >= 3, "{}", run.stdout);
    assert!(
        run.stdout.contains("127.0.20.99:9080, 0 to 0 µs"),
        "{}",
        run.stdout
    );
}

#[test]
fn conform_plays_the_script_of_a_case() {
    let run = twinmesh_in(
        &fixture(),
        &["conform", ".", "--engines", "spec,sim,bpf-vm", "--json"],
    );
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let results = report["results"].as_array().expect("results");
    let count = |engine: &str, what: &str| {
        let mut results = results.iter();
        let found = results.find(|it| it["engine"] == engine).expect("it ran");
        found[what].as_u64().expect("a number")
    };
    assert_eq!(
        (count("spec", "agreements"), count("sim", "agreements")),
        (82, 82)
    );
    assert_eq!(count("bpf-vm", "unsupported"), 82);
}

#[test]
fn conform_takes_another_script_for_engines_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("other.toml");
    let script = "[[endpoint]]\naddress = \"*\"\nrule = [{ answers = [{ status = 418 }] }]\n";
    std::fs::write(&file, script).expect("the script");
    let file = file.display().to_string();
    let run = twinmesh_in(
        &fixture(),
        &[
            "conform",
            ".",
            "--engines",
            "spec,sim",
            "--endpoints",
            &file,
        ],
    );
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
}

#[test]
fn a_wrong_script_is_refused_with_its_place() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("wrong.toml");
    std::fs::write(&file, "[[endpoint]]\naddress = \"10.0.0.1\"\n").expect("the script");
    let file = file.display().to_string();
    let run = twinmesh_in(
        &fixture(),
        &[
            "conform",
            ".",
            "--engines",
            "spec,sim",
            "--endpoints",
            &file,
        ],
    );
    assert_eq!(run.code, Some(2));
    assert!(
        run.stderr
            .contains("wrong.toml:2:11: field `endpoint[0].address`"),
        "{}",
        run.stderr
    );
}
