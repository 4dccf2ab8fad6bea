//! Endpoint scripts: what is read, and what is refused with a place.

use std::path::Path;

use rstest::rstest;
use twinmesh_engine::Request;
use twinmesh_engine::format::endpoints::{OutageKind, Script, Turns};

fn parse(text: &str) -> Result<Script, String> {
    Script::parse(Path::new("s.toml"), text).map_err(|error| error.to_string())
}

fn request(path: &str) -> Request {
    let line = serde_json::json!({"id": "r", "path": path, "headers": [["X-User", " jason "]]});
    serde_json::from_value(line).expect("a request")
}

const SCRIPT: &str = r#"
[[endpoint]]
address = "[2001:DB8::1]:80"
outage = [{ from_us = 10, to_us = 20, kind = "refused" }, { from_us = 30, kind = "silent" }]

[[endpoint.rule]]
path = "/a"
answers = [{ status = 503, times = 2 }, { status = 201 }]

[[endpoint]]
address = "*"

[[endpoint.rule]]
from_us = 5
to_us = 7
answers = [{ status = 404 }]

[[endpoint.rule]]
path_prefix = "/b"
headers = [["x-user", "jason"]]
answers = [{ status = 500, latency_us = 9 }]
"#;

#[test]
fn the_first_rule_that_fits_answers_in_turns() {
    let script = parse(SCRIPT).expect("a script");
    let mut turns = Turns::default();
    let mut status = |endpoint: &str, path: &str, now| {
        script
            .reply(&mut turns, endpoint, &request(path), now)
            .status
    };
    let own: Vec<u32> = (0..4)
        .map(|_| status("[2001:db8::1]:80", "/a?q", 0))
        .collect();
    assert_eq!(own, [503, 503, 201, 503]);
    assert_eq!(status("1.1.1.1:80", "/a", 4), 200, "no rule");
    assert_eq!(status("1.1.1.1:80", "/a", 5), 404);
    assert_eq!(status("1.1.1.1:80", "/a", 7), 200);
    assert_eq!(
        status("[2001:db8::1]:80", "/bc", 7),
        500,
        "of all endpoints"
    );
}

#[rstest]
#[case(9, None)]
#[case(10, Some(OutageKind::Refused))]
#[case(20, None)]
#[case(u64::MAX, Some(OutageKind::Silent))]
fn outages(#[case] now: u64, #[case] expected: Option<OutageKind>) {
    let script = parse(SCRIPT).expect("a script");
    assert_eq!(script.outage("[2001:db8::1]:80", now), expected);
    assert_eq!(script.outage("1.1.1.1:80", now), None);
}

#[test]
fn what_is_written_is_read_again() {
    let script = parse(SCRIPT).expect("a script");
    let text = toml::to_string(&script).expect("TOML");
    assert_eq!(parse(&text), Ok(script));
}

#[rstest]
#[case(
    "[[endpoint]]\naddress = \"10.0.0.1\"",
    "s.toml:2:11: field `endpoint[0].address`",
    "expected `ip:port`"
)]
#[case(
    "[[endpoint]]\naddress = \"*\"\nrules = []",
    "s.toml:3:1",
    "unknown field `rules`"
)]
#[case("[[endpoint]]\nrule = []", "s.toml:1:1", "missing field `address`")]
#[case(
    "[[endpoint]]\naddress = \"*\"\nrule = [{ answers = [] }]",
    "field `endpoint[0].rule[0].answers`",
    "at least one answer"
)]
#[case(
    "[[endpoint]]\naddress = \"*\"\nrule = [{ answers = [{ status = 101 }] }]",
    "s.toml:3:33: field `endpoint[0].rule[0].answers[0].status`",
    "200 to 599"
)]
#[case(
    "[[endpoint]]\naddress = \"*\"\nrule = [{ answers = [{ times = 0 }] }]",
    "field `endpoint[0].rule[0].answers[0].times`",
    "at least 1"
)]
#[case(
    "[[endpoint]]\naddress = \"*\"\noutage = [{ kind = \"gone\" }]",
    "field `endpoint[0].outage[0].kind`",
    "unknown variant `gone`"
)]
#[case(
    "[[endpoint]]\naddress = \"*\"\noutage = [{ from_us = 5, to_us = 5, kind = \"silent\" }]",
    "field `endpoint[0].outage[0].to_us`",
    "more than 5"
)]
#[case("[[endpoint]\n", "s.toml:1:", "")]
fn errors_say_where(#[case] text: &str, #[case] place: &str, #[case] message: &str) {
    let error = parse(text).expect_err("it is wrong");
    assert!(error.contains(place), "{error}");
    assert!(error.contains(message), "{error}");
}
