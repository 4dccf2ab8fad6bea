//! The readers of the JSON Lines formats: what they take, and where they say an error stands.

use std::path::{Path, PathBuf};

use rstest::rstest;
use twinmesh_engine::format::{decisions, traffic};
use twinmesh_engine::{Decision, Request};

fn written(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("t.jsonl");
    std::fs::write(&file, content).expect("a file in it");
    (folder, file)
}

fn traffic_error(content: &[u8]) -> String {
    let error = traffic::parse(Path::new("t.jsonl"), content).expect_err("an error");
    error.to_string()
}

#[test]
fn defaults_are_filled_in() {
    let requests = traffic::parse(
        Path::new("t.jsonl"),
        b"{\"id\":\"a\"}\n{\"id\":\"b\",\"time_us\":7,\"sni\":null}\n{\"id\":\"c\"}",
    )
    .expect("three requests");
    let [first, second, third] = requests.as_slice() else {
        panic!("expected three requests, found {requests:?}")
    };
    assert_eq!(
        (
            first.method.as_str(),
            first.scheme.as_str(),
            first.path.as_str()
        ),
        ("GET", "http", "/")
    );
    assert_eq!(
        [first.time_us, second.time_us, third.time_us],
        [Some(0), Some(7), Some(7)]
    );
    assert_eq!((&first.authority, first.duration_us), (&None, 0));
}

#[rstest]
#[case::unknown_field(
    "{\"id\":\"a\"}\n{\"id\":\"b\",\"pth\":\"/\"}\n",
    "t.jsonl:2:15: ",
    "unknown field `pth`"
)]
#[case::no_id("{}\n", "t.jsonl:1:2: ", "missing field `id`")]
#[case::id_twice(
    "{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"a\"}\n",
    "t.jsonl:3: field `id`: ",
    "`a` is used on line 1 already"
)]
#[case::field_twice(
    "{\"id\":\"a\",\"id\":\"b\"}\n",
    "t.jsonl:1:14: ",
    "duplicate field `id`"
)]
#[case::port_too_large(
    "{\"id\":\"a\",\"source\":\"10.0.0.1:70000\"}\n",
    "t.jsonl:1:36: field `source`: ",
    "`70000` is no port from 0 to 65535"
)]
#[case::no_port(
    "{\"id\":\"a\",\"destination\":\"10.0.0.1\"}\n",
    "t.jsonl:1:35: field `destination`: ",
    "has no port"
)]
#[case::not_an_address(
    "{\"id\":\"a\",\"destination\":\"a.test:80\"}\n",
    "t.jsonl:1:36: field `destination`: ",
    "`a.test` is no IP address"
)]
#[case::random_too_large(
    "{\"id\":\"a\",\"random\":18446744073709551616}\n",
    "t.jsonl:1:39: field `random`: ",
    "expected u64"
)]
#[case::negative_duration(
    "{\"id\":\"a\",\"duration_us\":-1}\n",
    "t.jsonl:1:26: field `duration_us`: ",
    "expected u64"
)]
#[case::backwards(
    "{\"id\":\"a\",\"time_us\":5}\n{\"id\":\"b\",\"time_us\":4}\n",
    "t.jsonl:2: field `time_us`: ",
    "4 is before 5"
)]
#[case::endless(
    "{\"id\":\"a\",\"time_us\":1,\"duration_us\":18446744073709551615}\n",
    "t.jsonl:1: field `duration_us`: ",
    "2^64-1"
)]
#[case::host_header(
    "{\"id\":\"a\",\"headers\":[[\"x\",\"y\"],[\"Host\",\"a\"]]}\n",
    "t.jsonl:1: field `headers[1]`: ",
    "`authority`"
)]
#[case::pseudo_header(
    "{\"id\":\"a\",\"headers\":[[\":path\",\"a\"]]}\n",
    "t.jsonl:1: field `headers[0]`: ",
    "pseudo header"
)]
#[case::header_of_one(
    "{\"id\":\"a\",\"headers\":[[\"x\"]]}\n",
    "t.jsonl:1:26: field `headers[0]`: ",
    "tuple of size 2"
)]
#[case::smuggled(
    "{\"id\":\"a\",\"headers\":[[\"x\",\"a\\r\\ny: b\"]]}\n",
    "t.jsonl:1: field `headers[0]`: ",
    "line break"
)]
#[case::truncated(
    "{\"id\":\"a\"}\n{\"id\":\"b\",\"pa",
    "t.jsonl:2:13: ",
    "the line ends before"
)]
#[case::empty_line("{\"id\":\"a\"}\n\n{\"id\":\"b\"}\n", "t.jsonl:2: ", "empty line")]
#[case::two_objects(
    "{\"id\":\"a\"} {\"id\":\"b\"}\n",
    "t.jsonl:1:12: ",
    "trailing characters"
)]
#[case::array(
    "{\"id\":\"a\"}\n [\"x\",\"GET\",\"http\",\"a\",\"/\"]\n",
    "t.jsonl:2:2: ",
    "expected one JSON object on each line, found an array"
)]
#[case::byte_order_mark("\u{feff}{\"id\":\"a\"}\n", "t.jsonl:1:1: ", "byte order mark")]
#[case::not_an_object("[1]\n", "t.jsonl:1:", "")]
fn traffic_errors_name_their_place(
    #[case] content: &str,
    #[case] place: &str,
    #[case] message: &str,
) {
    let error = traffic_error(content.as_bytes());
    assert!(error.starts_with(place), "{error}");
    assert!(error.contains(message), "{error}");
}

#[test]
fn binary_input_is_an_error_with_its_place() {
    let error = traffic_error(b"{\"id\":\"a\"}\n\x0a\x05\xff\xfe\n");
    assert!(error.starts_with("t.jsonl:2"), "{error}");
}

#[test]
fn unreadable_files_are_named() {
    let error = traffic::read(Path::new("/nonexistent/t.jsonl")).expect_err("an error");
    assert!(
        error
            .to_string()
            .starts_with("/nonexistent/t.jsonl: cannot be read"),
        "{error}"
    );
}

#[rstest]
#[case::missing(
    "{\"id\":\"a\",\"outcome\":\"no_route\"}\n",
    ": expected 2 decisions, one for each request, found 1: the first that is missing is `b`"
)]
#[case::extra(
    "{\"id\":\"a\",\"outcome\":\"no_route\"}\n{\"id\":\"b\",\"outcome\":\"no_route\"}\n{\"id\":\"c\",\"outcome\":\"no_route\"}\n",
    ":3: field `id`: `c` is no request"
)]
#[case::reversed(
    "{\"id\":\"b\",\"outcome\":\"no_route\"}\n{\"id\":\"a\",\"outcome\":\"no_route\"}\n",
    ":1: field `id`: expected `a`"
)]
fn decisions_must_fit_their_requests(#[case] content: &str, #[case] expected: &str) {
    let requests = traffic::parse(Path::new("t.jsonl"), b"{\"id\":\"a\"}\n{\"id\":\"b\"}\n")
        .expect("two requests");
    let (_folder, file) = written(content.as_bytes());
    let read = decisions::read(&file).expect("decisions");
    let error = decisions::fits(&file, &read, &requests).expect_err("an error");
    assert!(error.to_string().contains(expected), "{error}");
}

#[rstest]
#[case("{\"id\":\"a\",\"outcome\":\"maybe\"}\n", "unknown variant `maybe`")]
#[case("{\"id\":\"a\"}\n", "missing field `outcome`")]
#[case(
    "{\"id\":\"a\",\"outcome\":\"forward\",\"host\":\"x\"}\n",
    "unknown field `host`"
)]
#[case(
    "{\"id\":\"a\",\"outcome\":\"no_route\"}\n{\"id\":\"a\",\"outcome\":\"no_route\"}\n",
    "used on line 1 already"
)]
fn decision_errors(#[case] content: &str, #[case] message: &str) {
    let (_folder, file) = written(content.as_bytes());
    let error = decisions::read(&file).expect_err("an error").to_string();
    assert!(error.contains(message), "{error}");
}

/// Whatever was recorded can be read, and written again without a loss.
#[test]
fn the_recorded_corpus_is_read_and_written_again() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/recorded");
    if !corpus.is_dir() {
        println!("absent: {}", corpus.display());
        return;
    }
    let mut cases = 0;
    for set in std::fs::read_dir(&corpus).expect("sets").flatten() {
        for case in std::fs::read_dir(set.path()).expect("cases").flatten() {
            let requests =
                traffic::read(&case.path().join("requests.traffic.jsonl")).expect("traffic");
            let file = case.path().join("recorded.decisions.jsonl");
            let recorded = decisions::read(&file).expect("decisions");
            decisions::fits(&file, &recorded, &requests).expect("one for each");
            let mut again = Vec::new();
            traffic::write(&requests, &mut again).expect("written");
            let read: Vec<Request> =
                traffic::parse(Path::new("again"), &again).expect("read again");
            assert_eq!(read, requests);
            for decision in recorded {
                let mut line = Vec::new();
                decisions::write(&decision, &mut line).expect("written");
                let read: Decision = serde_json::from_slice(&line).expect("read again");
                assert_eq!(read, decision);
            }
            cases += 1;
        }
    }
    assert!(cases >= 160, "{cases} cases");
}
