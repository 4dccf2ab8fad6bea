//! The engine `kmesh` in `conform`, and the command that groups its differences by quirk.

mod common;

use common::{Case, twinmesh_in};
use serde_json::Value;

/// Runs `twinmesh kmesh` on the small mesh.
fn report(case: &Case) -> (Option<i32>, Value) {
    let run = twinmesh_in(
        &case.folder,
        &[
            "kmesh",
            "--snapshot",
            "config_dump.yaml",
            "--traffic",
            "requests.traffic.jsonl",
            "--json",
        ],
    );
    assert!(!run.stdout.is_empty(), "{}", run.stderr);
    (run.code, serde_json::from_str(&run.stdout).expect("JSON"))
}

/// The quirks of the request.
fn quirks<'a>(report: &'a Value, id: &str) -> Vec<&'a str> {
    let differing = report["differing"].as_array().expect("a list");
    let found = differing.iter().find(|one| one["id"] == id);
    let quirks = found.map(|one| one["quirks"].as_array().expect("a list"));
    let quirks = quirks.into_iter().flatten();
    quirks.filter_map(Value::as_str).collect()
}

#[test]
fn each_difference_names_its_quirk() {
    let case = Case::new("");
    let (code, report) = report(&case);
    assert_eq!(code, Some(1));
    // `debug` is the first route without headers: it is tried last, and `ratings`, an exact path,
    // matches everything before.
    assert_eq!(quirks(&report, "r0"), ["path-kinds"]);
    // The route by header comes first for both.
    assert_eq!(quirks(&report, "r1"), [""; 0]);
    // No route fits for Envoy.
    assert_eq!(quirks(&report, "r5"), ["path-kinds"]);
    // `elsewhere.test` is no host for either.
    assert_eq!(quirks(&report, "r6"), [""; 0]);
    for one in report["differing"].as_array().expect("a list") {
        assert!(
            !one["quirks"].as_array().expect("a list").is_empty(),
            "{one}"
        );
    }
    let counted = report["quirks"].as_array().expect("a list");
    assert!(
        counted.iter().any(|one| one["quirk"] == "path-kinds"),
        "{report:#}"
    );
}

#[test]
fn what_goes_the_same_way_is_no_difference() {
    let traffic = "{\"id\":\"a\",\"authority\":\"reviews.test\",\"path\":\"/reviews\",\"headers\":[[\"end-user\",\"jason\"]],\"destination\":\"10.0.0.1:8080\"}\n";
    let case = Case::with_traffic(traffic, "");
    let (code, report) = report(&case);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(report["requests"], 1);
    assert_eq!(report["elsewhere"], 0);
}

#[test]
fn a_kept_alive_connection_goes_where_it_went() {
    let line = |id: &str, header: &str| {
        format!(
            "{{\"id\":\"{id}\",\"authority\":\"reviews.test\",\"path\":\"/reviews\",\"headers\":[[\"{header}\",\"jason\"]],\"destination\":\"10.0.0.1:8080\",\"connection\":\"c\"}}\n"
        )
    };
    let traffic = line("a", "end-user") + &line("b", "other");
    let case = Case::with_traffic(&traffic, "");
    let (code, report) = report(&case);
    assert_eq!(code, Some(1), "{report:#}");
    assert_eq!(quirks(&report, "b"), ["kept-alive"]);
    assert_eq!(report["differing"][0]["kmesh"]["cluster"], "reviews-v2");
    assert_eq!(report["differing"][0]["envoy"]["cluster"], "reviews-v1");
}

#[test]
fn conform_runs_it_only_by_name_and_counts_its_divergences() {
    let case = Case::new("");
    let run = twinmesh_in(
        case.parent.path(),
        &[
            "conform",
            "shop",
            "--engines",
            "spec,kmesh",
            "--no-reproducers",
        ],
    );
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("reason of kmesh: quirks: path-kinds: "),
        "{}",
        run.stdout
    );
    let run = twinmesh_in(case.parent.path(), &["conform", "shop", "--json"]);
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let results = report["results"].as_array().expect("results");
    assert!(
        results.iter().all(|result| result["engine"] != "kmesh"),
        "{report:#}"
    );
}

#[test]
fn words_for_people() {
    let case = Case::new("");
    let run = twinmesh_in(
        &case.folder,
        &[
            "kmesh",
            "--snapshot",
            "config_dump.yaml",
            "--traffic",
            "requests.traffic.jsonl",
            "--show",
            "1",
        ],
    );
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(
        run.stdout
            .contains("a path that is not a prefix matches every request"),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains("    Kmesh: forward, "),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains("    Envoy: forward, "),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("12 requests: "), "{}", run.stdout);
}
