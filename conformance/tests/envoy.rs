//! The engine `envoy`: a real Envoy where one is found (with TWINMESH_REQUIRE_ENVOY=1 there must
//! be one), and what is said where there is none, where it refuses a snapshot, and where it dies.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::{Case, Outcome, command};
use serde_json::Value;

/// The real one; `None` where there is none and none is asked for.
fn envoy() -> Option<PathBuf> {
    match twinmesh_envoy::find::find() {
        Ok(binary) => Some(binary.path),
        Err(missing) => {
            let required = std::env::var("TWINMESH_REQUIRE_ENVOY");
            assert!(
                !required.is_ok_and(|value| !value.is_empty() && value != "0"),
                "{missing}"
            );
            println!("not tested: {missing}");
            None
        }
    }
}

fn conform(folder: &Path, envoy: &Path, arguments: &[&str]) -> Outcome {
    let mut all = vec!["conform", "--no-reproducers"];
    all.extend(arguments);
    let output = command(folder, &all)
        .env("ENVOY", envoy)
        .output()
        .expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Outcome {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

#[test]
fn a_live_envoy_agrees_with_spec_and_with_what_was_recorded() {
    let Some(envoy) = envoy() else { return };
    let run = conform(
        &fixtures(),
        &envoy,
        &[".", "--engines", "spec,envoy", "--json"],
    );
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let results = report["results"].as_array().expect("results");
    let live = results.iter().filter(|result| result["engine"] == "envoy");
    let number = |result: &Value, field: &str| result[field].as_u64().expect("a number");
    let (mut cases, mut agreements, mut tests) = (0, 0, 0);
    for result in live {
        assert_eq!(
            result["compared_with"],
            serde_json::json!(["recorded", "spec"])
        );
        cases += 1;
        agreements += number(result, "agreements");
        tests += result["tests"].as_array().expect("tests").len();
        // It is sent all that is not for endpoints that follow a script, and spec decides most of it.
        let left_out = ["./attempts", "./override-host-retries"];
        if !left_out.iter().any(|it| result["case"] == *it) {
            let unsupported = number(result, "unsupported");
            assert!(unsupported * 2 < number(result, "requests"), "{result}");
        }
        // Of a header that a route removes spec does not decide what it names.
        if result["case"] == "./override-host" {
            assert_eq!(number(result, "unsupported"), 6, "{result}");
        }
    }
    assert!(cases >= 15 && agreements > 2_500, "{cases} {agreements}");
    // The split of canary-90-10, and the endpoints of least-request.
    assert!(tests >= 2, "{tests}");
}

#[test]
fn a_live_envoy_agrees_with_spec_on_generated_snapshots() {
    let Some(envoy) = envoy() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = "fuzz --engines spec,envoy --snapshots 12 --jobs 1 --json";
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let output = command(folder.path(), &arguments)
        .env("ENVOY", envoy)
        .output()
        .expect("the binary runs");
    let report = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{report}");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let engine = &report["engines"][0];
    let number = |field: &str| engine[field].as_u64().expect("a number");
    let decided = number("decisions") - number("over_limits") - number("undecided");
    assert!(decided * 3 > number("decisions"), "{engine}");
}

/// Only outcome and status of what was recorded are compared: an Envoy's balancers start anywhere.
const COARSE: &str = r#"
[comparison]
exact = ["outcome", "status"]
ignored = ["listener", "filter_chain", "route_config", "virtual_host", "route", "cluster", "endpoint", "priority", "locality", "location", "path", "authority", "engine", "reason"]
"#;

#[test]
fn a_decision_that_a_live_envoy_does_not_make_diverges() {
    let Some(envoy) = envoy() else { return };
    let case = Case::new(COARSE);
    let run = conform(
        case.parent.path(),
        &envoy,
        &["shop", "--engines", "spec,envoy"],
    );
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    case.tamper("r5", "\"status\":404", "\"status\":403");
    let run = conform(case.parent.path(), &envoy, &["shop", "--engines", "envoy"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("r5"), "{}", run.stdout);
    let squeezed = run.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(squeezed.contains("* status 403 404"), "{}", run.stdout);
}

#[test]
fn without_an_envoy_the_other_engines_are_reported_and_the_run_is_not_whole() {
    let case = Case::new("");
    let run = conform(
        case.parent.path(),
        Path::new("/nowhere/envoy"),
        &["shop", "--engines", "spec,sim,envoy"],
    );
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    for part in [
        "| spec ",
        "| sim ",
        "envoy did not run: $ENVOY names no usable Envoy: /nowhere/envoy",
    ] {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
    let said = "engine envoy must run and does not";
    assert!(run.stderr.contains(said), "{}", run.stderr);
}

/// Envoy refuses the case with this snapshot, in these words of its own and not by taking too long.
fn said_of(case: &Case, envoy: &Path, snapshot: &str, words: &str) {
    std::fs::write(case.folder.join("config_dump.yaml"), snapshot).expect("the snapshot");
    let run = conform(
        case.parent.path(),
        envoy,
        &["shop", "--engines", "spec,envoy"],
    );
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    for part in [
        "| spec ",
        " failed |",
        "Envoy refuses the snapshot: ",
        words,
    ] {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
    let late = "did not take the snapshot within";
    assert!(!run.stdout.contains(late), "{}", run.stdout);
}

#[test]
fn what_envoy_refuses_is_said_in_its_words() {
    let Some(envoy) = envoy() else { return };
    let case = Case::new("");
    let snapshot = case.folder.join("config_dump.yaml");
    let text = std::fs::read_to_string(&snapshot).expect("the snapshot");
    let at = "virtual_hosts:";
    let (before, after) = text.split_once(at).expect("it has virtual hosts");
    let column = before.len() - before.rfind('\n').map_or(0, |end| end + 1);
    let indented = " ".repeat(column);
    let header = "response_headers_to_add: [{header: {key: x, value: \"%CEL(no such)%\"}}]";
    let refused = format!("{before}{header}\n{indented}{at}{after}");
    said_of(&case, &envoy, &refused, "no such");
}

/// A message of a type that Envoy does not know keeps it from reading any of what it discovers.
#[test]
fn what_envoy_cannot_read_is_said_in_its_words_at_once() {
    let Some(envoy) = envoy() else { return };
    let case = Case::new("");
    let snapshot = case.folder.join("config_dump.yaml");
    let text = std::fs::read_to_string(&snapshot).expect("the snapshot");
    let policy = "path_match_policy: { name: x, typed_config: \
                  { \"@type\": type.googleapis.com/no.such.Type } }";
    let unread = text.replace("{ prefix: /never }", &format!("{{ {policy} }}"));
    assert_ne!(unread, text);
    said_of(
        &case,
        &envoy,
        &unread,
        "could not find @type 'type.googleapis.com/no.such.Type'",
    );
}

#[test]
fn an_envoy_that_dies_is_told_from_one_that_answers() {
    let Some(envoy) = envoy() else { return };
    // Each request on a connection of its own, so that many are left when the first is logged.
    let traffic: String = (0..4_000)
        .map(|index| {
            format!(
                "{{\"id\":\"r{index}\",\"authority\":\"reviews.test\",\"path\":\"/old\",\"destination\":\"10.0.0.1:8080\",\"source\":\"10.9.{}.{}:1\"}}\n",
                index / 250,
                index % 250 + 1
            )
        })
        .collect();
    let case = Case::with_traffic(&traffic, "");
    let script = case.parent.path().join("mortal");
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && exec '{envoy}' --version\n\
         '{envoy}' \"$@\" &\nown=$!\nlog=$(dirname \"$2\")/access\n\
         while [ ! -s \"$log\" ]; do kill -0 $own || exit 1; sleep 0.01; done\n\
         echo '[t][1][critical][main] the end of it' >&2\nkill -KILL $own\nwait $own\nexit 3\n",
        envoy = envoy.display()
    );
    std::fs::write(&script, text).expect("the script");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&script, executable).expect("its mode");
    let run = conform(
        case.parent.path(),
        &script,
        &["shop", "--engines", "spec,envoy"],
    );
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    for part in [
        "| spec ",
        " failed |",
        "Envoy ended by itself (exit status: 3)",
        "of 4000",
        "the end of it",
    ] {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
}

/// An entry for the divergence that the tampered recording makes.
const KNOWN: &str = r#"
[[known]]
engine = "spec"
fields = ["status"]
says = "no route"
reason = "tampered with"
source = "this test"
"#;

#[test]
fn a_known_divergence_is_counted_apart_and_an_unused_one_is_noticed() {
    let case = Case::new("");
    case.tamper("r5", "\"status\":404", "\"status\":403");
    let file = case.parent.path().join("known.toml");
    let reason = case.recorded();
    let line = reason
        .lines()
        .find(|line| line.contains("\"id\":\"r5\""))
        .expect("r5");
    let decision: Value = serde_json::from_str(line).expect("a decision");
    let says = decision["reason"].as_str().expect("a reason");
    let entry = KNOWN.replace("\"no route\"", &format!("{says:?}"));
    std::fs::write(&file, &entry).expect("the list");
    let run = case.conform(&["--known", "known.toml", "--all-known"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    for part in [
        "0 divergences",
        "11 agreements, 0 divergences, 0 unsupported, 1 known divergence\n",
        "spec: 1 known divergence: tampered with (this test)",
    ] {
        assert!(run.stdout.contains(part), "{part}: {}", run.stdout);
    }
    let other = entry
        .replace("status", "location")
        .replace("tampered with", "elsewhere");
    std::fs::write(&file, format!("{entry}{other}")).expect("the list");
    let run = case.conform(&["--known", "known.toml"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    let run = case.conform(&["--known", "known.toml", "--all-known"]);
    assert_eq!(run.code, Some(2), "{}{}", run.stdout, run.stderr);
    assert!(
        run.stderr.contains("known[1], of spec: elsewhere"),
        "{}",
        run.stderr
    );
    // Without the list it is a divergence.
    let run = case.conform(&["--no-reproducers"]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
}
