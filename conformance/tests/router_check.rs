//! `router-check` as a command.

mod common;

use std::path::Path;

use common::{Outcome, twinmesh_in};

fn check(arguments: &[&str]) -> Outcome {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/router_check");
    let mut all = vec!["router-check"];
    all.extend(arguments);
    twinmesh_in(&folder, &all)
}

#[test]
fn an_empty_test_file_is_no_snapshot() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tests = folder.path().join("tests.yaml");
    std::fs::write(&tests, "").expect("the tests");
    let tests = tests.to_str().expect("a path");
    let run = check(&["-c", "routes.yaml", "-t", tests]);
    assert_eq!(run.code, Some(2));
    let expected = "expected JSON or YAML, found no text: the file is empty";
    assert_eq!(run.stderr, format!("error: {tests}: {expected}\n"));
    let output = check(&[
        "-c",
        "routes.yaml",
        "-t",
        "pass.json",
        "-o",
        "nowhere/o.json",
    ]);
    assert_eq!(output.code, Some(2));
    let expected = "error: nowhere/o.json: cannot be written: there is no folder nowhere\n";
    assert_eq!(output.stderr, expected);
}

#[test]
fn all_pass() {
    let run = check(&["-c", "routes.yaml", "-t", "pass.json", "--details"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert_eq!(
        run.stdout,
        "cluster and rewrites\nvirtual cluster\nweighted\nruntime\ngrpc\nredirect\nanswer\n\
         header mutations\nrequires TLS\n\
         Missing test for host: shop, route name: split, weighted cluster: two\n\
         Missing test for host: shop, route name: never, route: prefix: \"/never\"\n\
         Missing test for host: metadata, route name: #0, route: prefix: \"/\"\n\
         9 of 9 tests passed, 0 failed, 0 undecided\n\
         Current route coverage: 70%\n"
    );
    let quiet = check(&[
        "-c",
        "routes.yaml",
        "-t",
        "pass.json",
        "-d",
        "--only-show-failures",
    ]);
    assert!(!quiet.stdout.contains("weighted\n"), "{}", quiet.stdout);
}

#[test]
fn failures_and_what_is_undecided() {
    let run = check(&["-c", "routes.yaml", "-t", "fail.yaml", "--details"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    for line in [
        "expected: [other], actual: [shop], test type: cluster_name",
        "expected: [x-who: you], actual: [x-who: me], test type: request_header_matches.string_match.exact",
        "expected: [x-who: me], actual: NOT [x-who: me], test type: request_header_matches.string_match.exact",
        "expected: [has(x-none):true], actual: [has(x-none):false], test type: request_header_matches.present_match",
        "actual: [x-who: me], test type: request_header_matches.range_match",
        "expected: [302], actual: [301], test type: code_redirect",
        "undecided: a route table cannot tell what %UPSTREAM_HOST% comes to, test type: response_header_matches.present_match",
        "undecided: route #0 of virtual host metadata: its metadata matchers are not decided, test type: route",
        "0 of 4 tests passed, 2 failed, 2 undecided",
    ] {
        assert!(
            run.stdout.lines().any(|other| other == line),
            "{line} in {}",
            run.stdout
        );
    }
}

#[test]
fn coverage_can_be_asked_for() {
    let arguments = ["-c", "routes.yaml", "-t", "pass.json"];
    let run = check(&[&arguments[..], &["-f", "70.5"]].concat());
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr
            .contains("Failed to meet coverage requirement: 70.5%"),
        "{}",
        run.stderr
    );
    let run = check(&[&arguments[..], &["--fail-under", "70"]].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let run = check(&[&arguments[..], &["--covall"]].concat());
    assert!(
        run.stdout
            .contains("Not checked for host: shop, route name: grpc: virtual_cluster_name"),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout
            .contains("Missing test for host: shop, route: prefix: \"/never\"\n"),
        "{}",
        run.stdout
    );
}

#[test]
fn results_are_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("results.json");
    let path = file.to_str().expect("UTF-8");
    let run = check(&["-c", "routes.yaml", "-t", "fail.yaml", "-o", path]);
    assert_eq!(run.code, Some(1));
    let text = std::fs::read_to_string(&file).expect("the results");
    let results: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let first = &results["test_results"][0];
    assert_eq!(first["test_passed"], false);
    assert_eq!(first["failures"][0]["actual"], "shop");
}

#[test]
fn wrong_inputs_end_with_2() {
    for (arguments, message) in [
        (["-c", "nowhere.yaml", "-t", "pass.json"], "nowhere.yaml"),
        (
            ["-c", "routes.yaml", "-t", "nowhere.json"],
            "nowhere.json: cannot be read",
        ),
        (["-c", "pass.json", "-t", "pass.json"], "pass.json"),
        (
            ["-c", "routes.yaml", "-t", "routes.yaml"],
            "has no such field",
        ),
        (
            ["-c", "routes.yaml", "-t", "bad.yaml"],
            "bad.yaml:5:19: tests[0].input.random_value",
        ),
    ] {
        let run = check(&arguments);
        assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains(message), "{message} in {}", run.stderr);
    }
}
