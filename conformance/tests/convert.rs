//! `convert` as a command, over recordings: tcpdump's on loopback, access logs of Envoy 1.40, a
//! HAR.

mod common;

use std::path::{Path, PathBuf};

use common::{Outcome, twinmesh_in};
use proptest::prelude::*;
use rstest::rstest;
use twinmesh::convert::fields::parse_mapping;
use twinmesh::convert::form::{self, Form};
use twinmesh_engine::format::traffic;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/convert")
}

fn convert(arguments: &[&str]) -> Outcome {
    let mut all = vec!["convert"];
    all.extend(arguments);
    twinmesh_in(&data(), &all)
}

#[rstest]
#[case("istio.log")]
#[case("json.log")]
#[case("browser.har")]
fn byte_order_marks_are_named(#[case] file: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let marked = folder.path().join(file);
    let content = std::fs::read_to_string(data().join(file)).expect("a recording");
    std::fs::write(&marked, format!("\u{feff}{content}")).expect("a file");
    let run = convert(&[marked.to_str().expect("a path")]);
    assert_eq!(run.code, Some(2));
    let message = "found a byte order mark at its start; save the file without it\n";
    assert!(run.stderr.ends_with(message), "{}", run.stderr);
}

/// With `TWINMESH_UPDATE` set, writes the golden files anew.
#[rstest]
#[case("browser.har", "har", &[])]
#[case("json.log", "envoy-json", &[])]
#[case("envoy.log", "envoy-text", &[])]
#[case("istio.log", "istio-text", &[])]
#[case("loopback.pcap", "pcap", &[])]
#[case("cooked.pcap", "pcap", &[])]
#[case("cut.pcap", "pcap", &["--skip-bad"])]
#[case("websocket.pcap", "pcap", &[])]
fn recordings(#[case] file: &str, #[case] format: &str, #[case] more: &[&str]) {
    let mut arguments = vec![file];
    arguments.extend(more);
    let run = convert(&arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let detected = format!("{file}: read as {format}, by its content");
    assert!(run.stderr.contains(&detected), "{}", run.stderr);
    for (ending, text) in [("traffic.jsonl", &run.stdout), ("notes", &run.stderr)] {
        let golden = data().join(format!("{file}.{ending}"));
        if std::env::var_os("TWINMESH_UPDATE").is_some() {
            std::fs::write(&golden, text).expect("the golden file");
        }
        let expected = std::fs::read_to_string(&golden).expect("the golden file");
        assert_eq!(*text, expected, "{}", golden.display());
    }
    let requests = traffic::parse(&golden_name(file), run.stdout.as_bytes());
    assert!(!requests.expect("a traffic file").is_empty());
}

fn golden_name(file: &str) -> PathBuf {
    PathBuf::from(format!("{file}.traffic.jsonl"))
}

#[test]
fn pcapng_holds_the_same_as_pcap() {
    let pcap = convert(&["loopback.pcap"]);
    let pcapng = convert(&["loopback.pcapng"]);
    assert_eq!(pcap.stdout, pcapng.stdout);
    assert!(!pcap.stdout.is_empty());
}

#[test]
fn secrets_are_kept_only_on_demand() {
    for file in ["browser.har", "loopback.pcap"] {
        let without = convert(&[file]);
        assert!(!without.stdout.contains("secret"), "{}", without.stdout);
        let said = "authorization or cookie headers are left out; --keep-secrets keeps them";
        assert!(without.stderr.contains(said), "{}", without.stderr);
        let with = convert(&[file, "--keep-secrets"]);
        assert!(with.stdout.contains("Bearer secret"), "{}", with.stdout);
    }
}

#[test]
fn what_cannot_be_read_is_refused_or_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let good = std::fs::read_to_string(data().join("envoy.log")).expect("the log");
    let good = good.lines().next().expect("a line");
    let log = format!("{good}\nno line of a log\n{good}\n");
    std::fs::write(folder.path().join("a.log"), log).expect("the log");
    let refused = twinmesh_in(folder.path(), &["convert", "a.log", "-o", "out"]);
    assert_eq!(refused.code, Some(2));
    assert!(
        refused
            .stderr
            .contains("error: a.log:2: expected the time in brackets"),
        "{}",
        refused.stderr
    );
    assert!(!folder.path().join("out").exists());
    let named = twinmesh_in(
        folder.path(),
        &["convert", "a.log", "-o", "out", "--skip-bad"],
    );
    assert_eq!(named.code, Some(0), "{}", named.stderr);
    assert!(
        named.stderr.contains("a.log: 1 left out"),
        "{}",
        named.stderr
    );
    let out = std::fs::read_to_string(folder.path().join("out")).expect("the traffic");
    assert_eq!(out.lines().count(), 2);
}

#[test]
fn keys_of_other_formats_are_mapped() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let line = r#"{"verb":"PUT","req":{"uri":"/x"},"vhost":"h.test","tenant":"t","ts":5,"took":2}"#;
    std::fs::write(folder.path().join("own.log"), line).expect("the log");
    let run = twinmesh_in(
        folder.path(),
        &[
            "convert",
            "own.log",
            "--from",
            "envoy-json",
            "--map",
            "verb=method",
            "--map",
            "req.uri=path",
            "--map",
            "vhost=authority",
            "--map",
            "tenant=header:x-tenant",
            "--map",
            "ts=time",
            "--map",
            "took=duration_ms",
        ],
    );
    assert_eq!(
        run.stdout,
        "{\"id\":\"line-1\",\"method\":\"PUT\",\"authority\":\"h.test\",\"path\":\"/x\",\
         \"headers\":[[\"x-tenant\",\"t\"]],\"time_us\":0,\"duration_us\":2000}\n",
        "{}",
        run.stderr
    );
}

#[rstest]
#[case(&["nowhere.log"], "nowhere.log: cannot be read")]
#[case(&["browser.har", "--map", "x=y"], "no field is called `y`")]
#[case(&["browser.har", "--from", "pcap"], "expected a pcap or pcapng file")]
#[case(&["loopback.pcap", "--from", "har"], "not valid JSON")]
#[case(&["../shop.yaml"], "it is neither HAR")]
fn wrong_calls(#[case] arguments: &[&str], #[case] message: &str) {
    let run = convert(arguments);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains(message), "{}", run.stderr);
    assert_eq!(run.stdout, "");
}

const FORMS: [Form; 5] = [
    Form::Har,
    Form::EnvoyJson,
    Form::EnvoyText,
    Form::IstioText,
    Form::Pcap,
];

fn read_all(bytes: &[u8]) {
    let map = [parse_mapping("a.b=path").expect("a mapping")];
    let _ = form::detect(bytes);
    for form in FORMS {
        let _ = form::read(form, bytes, &map);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        read_all(&bytes);
    }

    #[test]
    fn no_damaged_recording_makes_a_reader_panic(
        file in prop::sample::select(vec![
            "browser.har", "json.log", "envoy.log", "istio.log", "loopback.pcap", "loopback.pcapng", "cooked.pcap",
        ]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..30),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = std::fs::read(data().join(file)).expect("the recording");
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cut {
            bytes.truncate(length.index(bytes.len()));
        }
        read_all(&bytes);
    }
}
