//! `conform` as a command: arguments, reports, exit codes, reproducers.

mod common;

use std::path::Path;

use common::{Case, twinmesh_in};
use rstest::rstest;

#[test]
fn cases_are_found_below_folders() {
    let case = Case::new("");
    let nested = case.parent.path().join("more/nested");
    std::fs::create_dir_all(&nested).expect("folders");
    for file in std::fs::read_dir(&case.folder).expect("the case").flatten() {
        std::fs::copy(file.path(), nested.join(file.file_name())).expect("a copy");
    }
    let run = twinmesh_in(case.parent.path(), &["conform", ".", "--engines", "spec"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("| ./more/nested "), "{}", run.stdout);
    assert!(run.stdout.contains("| ./shop "), "{}", run.stdout);
    assert!(run.stdout.contains("| all 2 cases "), "{}", run.stdout);
    assert!(
        run.stdout.contains("2 cases, 24 decisions compared"),
        "{}",
        run.stdout
    );
}

#[rstest]
#[case::no_folder(&["conform", "nowhere"], "nowhere: no such folder")]
#[case::a_file(&["conform", "shop/case.toml"], "expected a case folder")]
#[case::no_case(&["conform", "empty"], "holds no case")]
#[case::no_argument(&["conform"], "required arguments")]
#[case::unknown_engine(&["conform", "shop", "--engines", "spce"], "no engine is called `spce`: expected one of spec, sim, bpf-vm, kernel, envoy")]
#[case::unknown_required(&["conform", "shop", "--require-engines", "krenel"], "no engine is called `krenel`")]
#[case::left_out(&["conform", "shop", "--engines", "spec", "--require-engines", "kernel"], "engine kernel must run and does not: --engines leaves it out")]
#[case::shard_zero(&["conform", "shop", "--shard", "0/2"], "expected i/n with i from 1 to n")]
#[case::shard_over(&["conform", "shop", "--shard", "3/2"], "expected i/n with i from 1 to n")]
#[case::seed(&["conform", "shop", "--seed", "x"], "--seed")]
#[case::unknown_flag(&["conform", "shop", "--sed", "1"], "--sed")]
#[case::full_disk(&["conform", "shop", "--engines", "spec", "--junit", "/dev/full"], "/dev/full: cannot be written")]
#[case::no_junit_folder(&["conform", "shop", "--engines", "spec", "--junit", "nowhere/j.xml"], "nowhere/j.xml: cannot be written")]
fn wrong_calls_end_with_2(#[case] arguments: &[&str], #[case] message: &str) {
    let case = Case::new("");
    std::fs::create_dir(case.parent.path().join("empty")).expect("a folder");
    let run = twinmesh_in(case.parent.path(), arguments);
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains(message), "{}", run.stderr);
}

#[test]
fn what_is_left_undecided_is_told_and_fails_where_that_is_asked_for() {
    let case = Case::new("");
    let traffic = case.folder.join("requests.traffic.jsonl");
    let text = std::fs::read_to_string(&traffic).expect("the traffic");
    // An empty x-forwarded-proto is decided by no engine.
    let request = "{\"id\":\"odd\",\"authority\":\"shop.example\",\"path\":\"/\",\"headers\":[[\"x-forwarded-proto\",\"\"]]}\n";
    std::fs::write(&traffic, format!("{text}{request}")).expect("a file");
    std::fs::remove_file(case.folder.join("recorded.decisions.jsonl")).ok();
    let call = [
        "conform",
        "shop",
        "--engines",
        "spec,sim",
        "--no-reproducers",
    ];
    let with = |more: &[&str]| twinmesh_in(case.parent.path(), &[&call[..], more].concat());
    let plain = with(&[]);
    assert_eq!(plain.code, Some(0), "{}{}", plain.stdout, plain.stderr);
    assert!(
        !plain.stdout.contains("leaves undecided"),
        "{}",
        plain.stdout
    );
    let told = with(&["--reasons"]);
    assert_eq!(told.code, Some(0), "{}{}", told.stdout, told.stderr);
    assert!(
        told.stdout.contains("sim leaves undecided\n         1  "),
        "{}",
        told.stdout
    );
    assert!(
        told.stdout.contains("(the first: odd of shop)"),
        "{}",
        told.stdout
    );
    let failed = with(&["--fail-unsupported"]);
    assert_eq!(failed.code, Some(1), "{}{}", failed.stdout, failed.stderr);
    assert!(
        failed.stdout.contains("(the first: odd of shop)"),
        "{}",
        failed.stdout
    );
    let json = with(&["--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    let reasons = &json["results"][1]["unsupported_reasons"];
    assert_eq!(reasons[0]["first"], "odd", "{json}");
    assert_eq!(reasons[0]["requests"], 1, "{json}");
}

#[test]
fn an_engine_that_must_run_by_the_environment_is_required() {
    let case = Case::new("");
    let mut command = common::command(
        case.parent.path(),
        &["conform", "shop", "--engines", "spec"],
    );
    let output = command
        .env("TWINMESH_REQUIRE_KERNEL", "1")
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("engine kernel must run and does not"),
        "{stderr}"
    );
}

#[test]
fn every_shard_has_its_part_and_all_have_all() {
    let case = Case::new("");
    for copy in ["b", "c", "d", "e"] {
        let folder = case.parent.path().join(copy);
        std::fs::create_dir(&folder).expect("a folder");
        for file in std::fs::read_dir(&case.folder).expect("the case").flatten() {
            std::fs::copy(file.path(), folder.join(file.file_name())).expect("a copy");
        }
    }
    let mut seen = Vec::new();
    for shard in ["1/2", "2/2"] {
        let run = twinmesh_in(
            case.parent.path(),
            &[
                "conform",
                ".",
                "--engines",
                "spec",
                "--shard",
                shard,
                "--json",
            ],
        );
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
        let results = report["results"].as_array().expect("results");
        seen.extend(
            results
                .iter()
                .map(|result| result["case"].as_str().map(str::to_owned)),
        );
    }
    seen.sort();
    let expected = ["./b", "./c", "./d", "./e", "./shop"];
    assert_eq!(seen, expected.map(|name| Some(name.to_owned())));
}

#[test]
fn a_shard_without_cases_says_so() {
    let case = Case::new("");
    let run = case.conform(&["--engines", "spec", "--shard", "2/2"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let expected = "shard 2/2 is empty: there is 1 case";
    assert!(run.stderr.contains(expected), "{}", run.stderr);
}

#[test]
fn a_case_that_cannot_be_read_does_not_hide_the_others() {
    let case = Case::new("");
    let broken = case.parent.path().join("broken");
    std::fs::create_dir(&broken).expect("a folder");
    std::fs::write(broken.join("case.toml"), "").expect("settings");
    std::fs::write(broken.join("requests.traffic.jsonl"), "{\"id\":\"a\"}\n").expect("traffic");
    let run = twinmesh_in(case.parent.path(), &["conform", ".", "--engines", "spec"]);
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("12 agreements"), "{}", run.stdout);
    assert!(
        run.stderr
            .contains("1 of 2 cases could not be compared in full")
            && run
                .stderr
                .contains("broken/config_dump.json: expected the case's snapshot here"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_case_without_requests_is_an_error() {
    let case = Case::new("");
    for file in ["requests.traffic.jsonl", "recorded.decisions.jsonl"] {
        std::fs::write(case.folder.join(file), "").expect("an empty file");
    }
    let run = case.conform(&[]);
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("holds no request"), "{}", run.stderr);
}

#[test]
fn one_engine_alone_without_a_recording_compares_nothing() {
    let case = Case::new("");
    std::fs::remove_file(case.folder.join("recorded.decisions.jsonl")).expect("removed");
    let run = case.conform(&[]);
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    assert!(
        run.stderr.contains("nothing to compare with"),
        "{}",
        run.stderr
    );
}

#[test]
fn the_reference_agrees_with_nothing_where_nothing_was_recorded() {
    let case = Case::new("");
    std::fs::remove_file(case.folder.join("recorded.decisions.jsonl")).expect("removed");
    let run = twinmesh_in(
        case.parent.path(),
        &[
            "conform",
            "shop",
            "--engines",
            "spec,sim",
            "--trace",
            "--json",
        ],
    );
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    let [spec, sim] = report["results"].as_array().expect("results").as_slice() else {
        panic!("two results: {report}");
    };
    assert_eq!(spec["agreements"], 0);
    assert_eq!(spec["compared_with"], serde_json::json!([]));
    assert_eq!(sim["agreements"], 12);
    assert_eq!(sim["compared_with"], serde_json::json!(["spec"]));
}

#[test]
fn events_of_a_case_are_applied() {
    let case = Case::new("");
    let event =
        r#"{"time_us":0,"remove_endpoint":{"cluster":"reviews-v2","address":"10.2.0.1:9080"}}"#;
    std::fs::write(
        case.folder.join("requests.events.jsonl"),
        format!("{event}\n"),
    )
    .expect("events");
    let run = case.conform(&["--reproducers", "found"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("request `r1`"), "{}", run.stdout);
    assert!(run.stdout.contains("no_healthy_upstream"), "{}", run.stdout);
    assert!(
        run.stdout.contains("11 agreements, 1 divergence"),
        "{}",
        run.stdout
    );
    let again = twinmesh_in(
        case.parent.path(),
        &["conform", "found", "--engines", "spec", "--no-reproducers"],
    );
    assert_eq!(again.code, Some(1), "{}{}", again.stdout, again.stderr);
    std::fs::write(
        case.folder.join("requests.events.jsonl"),
        event.replace("9080", "9081"),
    )
    .expect("events");
    let run = case.conform(&[]);
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    assert!(
        run.stderr
            .contains("requests.events.jsonl:1: field `remove_endpoint.address`"),
        "{}",
        run.stderr
    );
}

#[test]
fn none_of_the_divergences_is_printed_where_none_is_asked_for() {
    let case = Case::new("");
    case.tamper("r1", "10.2.0.1:9080", "10.2.0.77:9080");
    let run = case.conform(&["--reproducers", "found", "--show", "0"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    assert!(!run.stdout.contains("request `r1`"), "{}", run.stdout);
    for line in [
        "shop spec: 1 divergence\n",
        "  reproducer: found/shop-spec-r1",
    ] {
        assert!(run.stdout.contains(line), "{}", run.stdout);
    }
}

#[test]
fn a_divergence_of_the_recording_is_told_once() {
    let case = Case::new("");
    case.tamper("r1", "10.2.0.1:9080", "10.2.0.77:9080");
    case.tamper("r2", "10.1.0.2:9080", "10.1.0.77:9080");
    let call = ["conform", "shop", "--engines", "spec,sim,bpf-vm"];
    let more = ["--show", "1", "--reproducers", "found"];
    let run = twinmesh_in(case.parent.path(), &[&call[..], &more].concat());
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    let told = "divergence: shop spec, sim and bpf-vm: request `r1` (line 2)\n";
    assert!(run.stdout.contains(told), "{}", run.stdout);
    assert_eq!(
        run.stdout.matches("request `r1`").count(),
        1,
        "{}",
        run.stdout
    );
    let left = "shop spec, sim and bpf-vm: 1 more divergence each\n";
    assert!(run.stdout.contains(left), "{}", run.stdout);
    assert_eq!(
        run.stdout.matches("reproducer: ").count(),
        1,
        "{}",
        run.stdout
    );
    let found = std::fs::read_dir(case.parent.path().join("found")).expect("reproducers");
    assert_eq!(found.count(), 1);
}

#[test]
fn the_table_is_printed_where_the_junit_report_is_not_taken() {
    let case = Case::new("");
    let run = case.conform(&["--junit", "/dev/full"]);
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("12 agreements"), "{}", run.stdout);
    let message = "error: /dev/full: cannot be written: No space left on device (os error 28)\n";
    assert_eq!(run.stderr, message);
}

#[rstest]
fn a_report_without_a_folder_is_refused_before_the_run(
    #[values("--junit", "--sarif", "--html")] report: &str,
) {
    let run = Case::new("").conform(&[report, "nowhere/report"]);
    assert_eq!(run.code, Some(2));
    assert_eq!(run.stdout, "");
    assert_eq!(
        run.stderr,
        "error: nowhere/report: cannot be written: there is no folder nowhere\n"
    );
}

/// The endpoints of a step are those of its time.
#[test]
fn a_divergence_is_told_with_the_snapshot_of_its_time() {
    let case = Case::new("");
    let event =
        r#"{"time_us":0,"remove_endpoint":{"cluster":"reviews-v1","address":"10.1.0.1:9080"}}"#;
    std::fs::write(
        case.folder.join("requests.events.jsonl"),
        format!("{event}\n"),
    )
    .expect("events");
    let run = case.conform(&["--no-reproducers", "--show", "1"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("request `r0`"), "{}", run.stdout);
    let told = run
        .stdout
        .lines()
        .find(|line| line.starts_with("    endpoint "));
    let told = told.expect("the step that picks the endpoint");
    assert!(told.contains("10.1.0.2:9080"), "{}", run.stdout);
}

#[test]
fn fail_fast_says_what_it_left_out() {
    let case = Case::new("");
    let last = case.parent.path().join("z");
    std::fs::create_dir(&last).expect("a folder");
    for file in std::fs::read_dir(&case.folder).expect("the case").flatten() {
        std::fs::copy(file.path(), last.join(file.file_name())).expect("a copy");
    }
    case.tamper(
        "r1",
        "\"cluster\":\"reviews-v2\"",
        "\"cluster\":\"reviews-v1\"",
    );
    let run = twinmesh_in(
        case.parent.path(),
        &[
            "conform",
            ".",
            "--engines",
            "spec",
            "--fail-fast",
            "--no-reproducers",
        ],
    );
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("--fail-fast left out 1 case"),
        "{}",
        run.stdout
    );
}

#[test]
fn the_reports_for_programs_tell_the_same() {
    let case = Case::new("");
    case.tamper(
        "r1",
        "\"cluster\":\"reviews-v2\"",
        "\"cluster\":\"reviews-v1\"",
    );
    let run = case.conform(&["--json", "--junit", "report.xml", "--no-reproducers"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(report["agree"], false);
    let result = &report["results"][0];
    assert_eq!(result["requests"], 12);
    assert_eq!(result["agreements"], 11);
    assert_eq!(result["divergences"], 1);
    assert_eq!(result["unsupported"], 0);
    assert_eq!(result["compared_with"][0], "recorded");
    let divergence = &result["first_divergences"][0];
    assert_eq!(divergence["id"], "r1");
    assert_eq!(divergence["line"], 2);
    assert_eq!(divergence["fields"], serde_json::json!(["cluster"]));
    assert_eq!(
        divergence["decisions"][0]["decision"]["cluster"],
        "reviews-v1"
    );
    assert_eq!(
        divergence["decisions"][1]["decision"]["cluster"],
        "reviews-v2"
    );
    let junit = std::fs::read_to_string(case.parent.path().join("report.xml")).expect("a report");
    assert!(junit.contains("failures=\"1\""), "{junit}");
    assert!(junit.contains("1 of 12 requests diverge"), "{junit}");
    assert!(junit.contains("request r1 (line 2): cluster"), "{junit}");
}

#[test]
fn colours_are_used_where_they_are_asked_for_only() {
    let case = Case::new("");
    for (more, coloured) in [
        (["--color", "always"], true),
        (["--color", "never"], false),
        (["--color", "auto"], false),
    ] {
        let run = case.conform(&more);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert_eq!(run.stdout.contains('\u{1b}'), coloured, "{}", run.stdout);
    }
}

/// The reproducer of a tampered recording has the one request, and what its decision needs.
#[test]
fn a_reproducer_is_small_and_diverges() {
    let case = Case::new("");
    case.tamper(
        "r1",
        "\"cluster\":\"reviews-v2\"",
        "\"cluster\":\"reviews-v1\"",
    );
    case.tamper("r1", "10.2.0.1", "10.1.0.1");
    case.tamper(
        "r1",
        "\"priority\":0",
        "\"priority\":0,\"locality\":\"r1/z1/\"",
    );
    let run = case.conform(&["--reproducers", "found"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    let folder = case.parent.path().join("found/shop-spec-r1");
    assert!(
        run.stdout.contains("reproducer: found/shop-spec-r1"),
        "{}",
        run.stdout
    );
    let traffic = std::fs::read_to_string(folder.join("requests.traffic.jsonl")).expect("traffic");
    assert_eq!(traffic.lines().count(), 1, "{traffic}");
    let snapshot = std::fs::read_to_string(folder.join("config_dump.json")).expect("a snapshot");
    for (gone, kept) in [("down.test", "end-user"), ("\"ratings\"", "reviews-v2")] {
        assert!(!snapshot.contains(gone), "{snapshot}");
        assert!(snapshot.contains(kept), "{snapshot}");
    }
    let again = twinmesh_in(
        case.parent.path(),
        &["conform", "found", "--engines", "spec", "--no-reproducers"],
    );
    assert_eq!(again.code, Some(1), "{}{}", again.stdout, again.stderr);
    assert!(
        again
            .stdout
            .contains("1 case, 1 decision compared: 0 agreements, 1 divergence")
    );
}

/// A recording of another snapshot names what this one lacks.
#[test]
fn a_recording_that_names_what_is_not_there_has_a_reproducer() {
    let case = Case::new("");
    case.tamper("r1", "10.2.0.1:9080", "10.2.0.77:9080");
    let run = case.conform(&["--reproducers", "found"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("reproducer: found/shop-spec-r1"),
        "{}",
        run.stdout
    );
    let folder = case.parent.path().join("found/shop-spec-r1");
    let snapshot = std::fs::read_to_string(folder.join("config_dump.json")).expect("a snapshot");
    for (gone, kept) in [("down.test", "end-user"), ("\"ratings\"", "reviews-v2")] {
        assert!(!snapshot.contains(gone), "{snapshot}");
        assert!(snapshot.contains(kept), "{snapshot}");
    }
    let again = twinmesh_in(
        case.parent.path(),
        &["conform", "found", "--engines", "spec", "--no-reproducers"],
    );
    assert_eq!(again.code, Some(1), "{}{}", again.stdout, again.stderr);
}

/// Where a sequence diverges, the reproducer keeps the requests that it takes.
#[test]
fn a_reproducer_keeps_the_requests_that_matter() {
    let case = Case::new("");
    // r8 is the fourth pick of its cluster, the first endpoint again.
    case.tamper("r8", "10.1.0.1", "10.1.0.2");
    let run = case.conform(&["--reproducers", "found"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    let again = twinmesh_in(
        case.parent.path(),
        &["conform", "found", "--engines", "spec", "--no-reproducers"],
    );
    assert_eq!(again.code, Some(1), "{}{}", again.stdout, again.stderr);
}

#[test]
fn the_recorded_corpus_never_diverges() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/recorded");
    if !corpus.is_dir() {
        println!("absent: {}", corpus.display());
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let corpus = corpus.to_str().expect("a path in UTF-8");
    let run = twinmesh_in(
        folder.path(),
        &["conform", corpus, "--engines", "spec", "--json"],
    );
    let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    let results = report["results"].as_array().expect("results");
    let diverging: Vec<&serde_json::Value> = results
        .iter()
        .filter(|result| result["divergences"] != 0)
        .collect();
    assert!(diverging.is_empty(), "{diverging:#?}");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let sum = |field: &str| -> u64 {
        results
            .iter()
            .filter_map(|result| result[field].as_u64())
            .sum()
    };
    assert_eq!(sum("requests"), 12_875);
    assert!(
        sum("agreements") > 9_000,
        "{} agreements",
        sum("agreements")
    );
}

#[test]
fn strict_refuses_what_is_not_decided() {
    let case = Case::new("");
    let snapshot = std::fs::read_to_string(case.folder.join("config_dump.yaml")).expect("yaml");
    let traced = snapshot.replace(
        "          stat_prefix: shop\n",
        "          stat_prefix: shop\n          generate_request_id: false\n          access_log:\n          - name: stdout\n            typed_config: {\"@type\": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog}\n",
    );
    assert_ne!(snapshot, traced);
    std::fs::write(case.folder.join("config_dump.yaml"), traced).expect("yaml");
    let run = case.conform(&[]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let run = case.conform(&["--strict"]);
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    assert!(
        run.stderr.contains("refused, as strict asks"),
        "{}",
        run.stderr
    );
}
