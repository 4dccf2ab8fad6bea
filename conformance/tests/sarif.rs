//! `--sarif`: valid by the published schema, and pointing at lines.

mod common;

use std::path::Path;
use std::process::Command;

use common::{Case, twinmesh_in};
use rstest::rstest;
use serde_json::Value;

/// The schema of SARIF 2.1.0 as the crate `serde-sarif` ships it.
fn schema() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    // What other platforms need may never have been downloaded.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--offline",
            "--filter-platform",
            &platform,
            "--manifest-path",
        ])
        .arg(manifest)
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let package = packages
        .iter()
        .find(|package| package["name"] == "serde-sarif")
        .expect("a dependency");
    let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
    let file = manifest.with_file_name("src").join("schema.json");
    let text = std::fs::read_to_string(file).expect("the schema");
    let mut schema = serde_json::from_str(&text).expect("JSON");
    drop_pattern_of_languages(&mut schema);
    schema
}

/// The published pattern of languages has a bracket too many, and is no regular expression; no log
/// here names a language.
fn drop_pattern_of_languages(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.get("pattern").is_some_and(|pattern| {
                let pattern = pattern.as_str().unwrap_or_default();
                pattern.starts_with("^[a-zA-Z]{2}|")
            }) {
                members.remove("pattern");
            }
            members.values_mut().for_each(drop_pattern_of_languages);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_pattern_of_languages),
        _ => {}
    }
}

/// Reads a log and holds it to the schema.
fn log(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).expect("a log");
    let log: Value = serde_json::from_str(&text).expect("JSON");
    let validator = jsonschema::validator_for(&schema()).expect("a schema");
    let errors: Vec<String> = validator
        .iter_errors(&log)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert_eq!(errors, Vec::<String>::new(), "{text}");
    assert_eq!(log["version"], "2.1.0");
    // Every result names a rule that is described, by name and by index.
    let rules = log["runs"][0]["tool"]["driver"]["rules"]
        .as_array()
        .expect("rules");
    for result in log["runs"][0]["results"].as_array().expect("results") {
        let index =
            usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("small");
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(rules[index]["help"]["text"].as_str().expect("help").len() > 20);
    }
    log
}

#[test]
fn the_schema_refuses_what_is_no_log() {
    let validator = jsonschema::validator_for(&schema()).expect("a schema");
    assert!(!validator.is_valid(&serde_json::json!({"version": "2.1.0", "runs": [{}]})));
}

#[test]
fn divergences_stand_at_the_field_that_decided() {
    let case = Case::new("");
    // Two requests of one route to another cluster, and one of another route.
    case.tamper("r0", "reviews-v1", "ratings");
    case.tamper("r2", "reviews-v1", "ratings");
    case.tamper("r1", "reviews-v2", "ratings");
    let run = case.conform(&["--sarif", "log.sarif", "--no-reproducers"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    let log = log(&case.parent.path().join("log.sarif"));
    let results = log["runs"][0]["results"].as_array().expect("results");
    assert_eq!(results.len(), 2, "{log:#}");
    for (result, line, ids) in [
        (&results[0], 44, "2 requests: r0, r2"),
        (&results[1], 25, "1 request: r1"),
    ] {
        assert_eq!(result["ruleId"], "divergence/cluster");
        assert_eq!(result["level"], "error");
        let text = result["message"]["text"].as_str().expect("a text");
        assert!(
            text.contains(ids) && text.contains("recorded has ratings"),
            "{text}"
        );
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "shop/config_dump.yaml");
        assert_eq!(place["region"]["startLine"], line, "{result:#}");
    }
    let related = &results[1]["relatedLocations"][0]["physicalLocation"];
    assert_eq!(
        related["artifactLocation"]["uri"],
        "shop/requests.traffic.jsonl"
    );
    assert_eq!(related["region"]["startLine"], 2);
    assert_eq!(
        log["runs"][0]["invocations"][0]["executionSuccessful"],
        true
    );
}

/// The recording of a request, and the line where the divergence stands: of the route that an engine
/// takes, of the matcher by which it does not take the recorded one, of the virtual host without it.
#[rstest]
#[case::no_route(
    "r1",
    r#","outcome":"no_route","virtual_host":"reviews","status":404"#,
    21
)]
#[case::a_route_of_another_name(
    "r5",
    r#","outcome":"forward","virtual_host":"reviews","route":"gone","cluster":"ratings""#,
    17
)]
#[case::a_route_that_is_passed_by(
    "r0",
    r#","outcome":"forward","virtual_host":"reviews","route":"jason","cluster":"reviews-v2""#,
    23
)]
fn other_outcomes_stand_where_the_ways_part(
    #[case] id: &str,
    #[case] recorded: &str,
    #[case] line: u64,
) {
    let case = Case::new("");
    let lines: String = case
        .recorded()
        .lines()
        .map(|line| {
            if line.contains(&format!("\"id\":\"{id}\"")) {
                let chain = r#""listener":"shop","filter_chain":"plain","route_config":"shop""#;
                format!("{{\"id\":\"{id}\",{chain}{recorded}}}\n")
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    case.write_recorded(&lines);
    let more = [
        "--sarif",
        "log.sarif",
        "--junit",
        "junit.xml",
        "--no-reproducers",
    ];
    let run = case.conform(&more);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    let log = log(&case.parent.path().join("log.sarif"));
    let results = log["runs"][0]["results"].as_array().expect("results");
    assert_eq!(results.len(), 1, "{log:#}");
    let place = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(place["region"]["startLine"], line, "{log:#}");
    let junit = std::fs::read_to_string(case.parent.path().join("junit.xml")).expect("a report");
    let first = format!("first at shop/config_dump.yaml:{line}:");
    assert!(junit.contains(&first), "{junit}");
}

#[test]
fn what_the_recording_has_otherwise_is_told_once_for_all_engines() {
    let case = Case::new("");
    case.tamper("r1", "reviews-v2", "ratings");
    let fingerprint = |engines: &str, message: &str| {
        let more = [
            "--engines",
            engines,
            "--sarif",
            "log.sarif",
            "--junit",
            "junit.xml",
        ];
        let call = ["conform", "shop", "--no-reproducers"];
        let run = twinmesh_in(case.parent.path(), &[&call[..], &more[..]].concat());
        assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
        let log = log(&case.parent.path().join("log.sarif"));
        let results = log["runs"][0]["results"].as_array().expect("results");
        assert_eq!(results.len(), 1, "{log:#}");
        let text = results[0]["message"]["text"].as_str().expect("a text");
        assert!(text.contains(message), "{text}");
        results[0]["partialFingerprints"].clone()
    };
    let several = fingerprint(
        "spec,sim,bpf-vm",
        "engines spec, sim and bpf-vm differ in cluster for 1 request: r1. \
         For r1, recorded has ratings, spec, sim and bpf-vm have reviews-v2.",
    );
    let junit = std::fs::read_to_string(case.parent.path().join("junit.xml")).expect("a report");
    assert_eq!(junit.matches("request r1 (line 2)").count(), 1, "{junit}");
    assert!(
        junit.contains("decided alike by spec, sim and bpf-vm"),
        "{junit}"
    );
    assert_eq!(
        junit
            .matches("requests diverge, as with spec, first at")
            .count(),
        2
    );
    // The alert stays the same where fewer engines run.
    let one = fingerprint("spec", "engine spec differs in cluster for 1 request: r1.");
    assert_eq!(several, one);
}

#[test]
fn fingerprints_stay_when_lines_move() {
    let case = Case::new("");
    case.tamper("r1", "reviews-v2", "ratings");
    let of = |name: &str| {
        let run = case.conform(&["--sarif", name, "--no-reproducers"]);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        let log = log(&case.parent.path().join(name));
        let results = log["runs"][0]["results"].as_array().expect("results");
        // Unnamed routes have another name once one stands before them: more diverges then.
        let result = results
            .iter()
            .find(|result| {
                result["message"]["text"]
                    .to_string()
                    .contains("request: r1.")
            })
            .expect("the result");
        (
            result["partialFingerprints"].clone(),
            result["locations"][0]["physicalLocation"]["region"]["startLine"].clone(),
        )
    };
    let before = of("before.sarif");
    let snapshot = std::fs::read_to_string(common::shop()).expect("the mesh");
    let route =
        "              - { name: first, match: { path: /first }, route: { cluster: down } }\n";
    let moved = snapshot.replace(
        "              - name: jason\n",
        &format!("{route}              - name: jason\n"),
    );
    std::fs::write(
        case.folder.join("config_dump.yaml"),
        format!("# moved\n{moved}"),
    )
    .expect("it");
    let after = of("after.sarif");
    assert_eq!(before.0, after.0);
    assert_ne!(before.1, after.1);
}

#[test]
fn what_cannot_be_compared_is_a_notification() {
    let case = Case::new("");
    std::fs::write(
        case.folder.join("config_dump.yaml"),
        "static_resources: 3\n",
    )
    .expect("it");
    let run = case.conform(&["--sarif", "log.sarif"]);
    assert_eq!(run.code, Some(2));
    let log = log(&case.parent.path().join("log.sarif"));
    let invocation = &log["runs"][0]["invocations"][0];
    assert_eq!(invocation["executionSuccessful"], false);
    let notification = &invocation["toolExecutionNotifications"][0];
    let text = notification["message"]["text"].as_str().expect("a text");
    assert!(text.contains("config_dump.yaml:1:19"), "{text}");
}

#[test]
fn junit_says_the_place_too() {
    let case = Case::new("");
    case.tamper("r1", "reviews-v2", "ratings");
    let run = case.conform(&["--junit", "junit.xml", "--no-reproducers"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let junit = std::fs::read_to_string(case.parent.path().join("junit.xml")).expect("a report");
    assert!(
        junit.contains("1 of 12 requests diverge, first at shop/config_dump.yaml:25:35: "),
        "{junit}"
    );
}

#[test]
fn findings_of_check_stand_at_their_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/undecided.yaml");
    let snapshot = std::fs::read_to_string(source).expect("the snapshot");
    let snapshot = snapshot
        .replace(
            "route: {cluster: small}",
            "route: {cluster: small, retry_policy: {retry_on: 5xx}}",
        )
        .replace(
            "{path: /large}",
            "{path: /large, filter_state: [{key: k, string_match: {exact: v}}]}",
        );
    std::fs::write(folder.path().join("snapshot.yaml"), snapshot).expect("a copy");
    let run = twinmesh_in(
        folder.path(),
        &["check", "snapshot.yaml", "--sarif", "log.sarif", "--json"],
    );
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let found = report["findings"].as_array().expect("findings");
    let by_tables = report["table_findings"].as_array().expect("findings");
    let log = log(&folder.path().join("log.sarif"));
    let results = log["runs"][0]["results"].as_array().expect("results");
    assert_eq!(results.len(), found.len() + by_tables.len());
    assert!(!found.is_empty());
    let text = std::fs::read_to_string(folder.path().join("snapshot.yaml")).expect("it");
    let mut fingerprints = std::collections::BTreeSet::new();
    for (result, finding) in results.iter().zip(found) {
        let warns = finding["effect"] == "unsupported";
        assert_eq!(result["level"], if warns { "warning" } else { "note" });
        fingerprints.insert(result["partialFingerprints"].to_string());
        // The last name of the path stands on the line, or is too short to say.
        let path = finding["path"].as_str().expect("a path");
        let region = &result["locations"][0]["physicalLocation"]["region"];
        let line = usize::try_from(region["startLine"].as_u64().expect("a line")).expect("small");
        let name = path.rsplit('.').next().unwrap_or_default();
        let name = name.split('[').next().unwrap_or_default();
        let around: Vec<&str> = text.lines().skip(line.saturating_sub(2)).take(2).collect();
        assert!(
            around.join("\n").contains(name),
            "{path} at {line}: {around:?}"
        );
    }
    assert_eq!(fingerprints.len(), found.len());
}

#[rstest]
#[case::refused("static_resources:\n  clusters:\n  - name: \"\"\n", Some(3))]
#[case::no_yaml("a: [\n", Some(2))]
#[case::empty("", None)]
fn a_snapshot_that_is_refused_is_one_result(#[case] content: &str, #[case] line: Option<u64>) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("s.yaml"), content).expect("a snapshot");
    let run = twinmesh_in(folder.path(), &["check", "s.yaml", "--sarif", "log.sarif"]);
    assert_eq!(run.code, Some(2), "{}", run.stdout);
    let log = log(&folder.path().join("log.sarif"));
    let results = log["runs"][0]["results"].as_array().expect("results");
    assert_eq!(results.len(), 1);
    assert_eq!(results[0]["ruleId"], "snapshot/refused");
    assert_eq!(results[0]["level"], "error");
    let place = &results[0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "s.yaml");
    assert_eq!(place["region"]["startLine"].as_u64(), line, "{log:#}");
}
