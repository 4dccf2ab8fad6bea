//! Scripts and files that change.

mod common;

use std::path::Path;

use common::*;
use rstest::rstest;
use twinmesh_control_plane::{Script, What, follow};

fn write(folder: &Path, name: &str, content: &str) {
    std::fs::write(folder.join(name), content).expect("it is written");
}

const SCRIPT: &str = r#"
snapshot = "v1.json"
version = "v1"

[[steps]]
after = { ack = "RDS", version = "v1" }
snapshot = "v2.json"
version = "v2"
remove = [{ type = "LDS", name = "l2" }, { type = "CDS", name = "c2" }]

[[steps]]
after = { ack = "LDS", version = "v2" }
behaviour = { poison = { RDS = "constraint" }, delay_seconds = { CDS = 0.01 } }

[[steps]]
after = { nack = "RDS" }
behaviour = {}
snapshot = "v1.json"
version = "v3"

[[steps]]
after = { ack = "RDS", version = "v3" }
close = true

[[steps]]
after = { seconds = 0.01 }
flood = { count = 20, milliseconds = 0 }
"#;

const JSON: &str = r#"{"snapshot": "v1.json", "version": "v1", "steps": [
  {"after": {"ack": "RDS", "version": "v1"}, "snapshot": "v2.json", "version": "v2",
   "remove": [{"type": "LDS", "name": "l2"}, {"type": "CDS", "name": "c2"}]},
  {"after": {"ack": "LDS", "version": "v2"},
   "behaviour": {"poison": {"RDS": "constraint"}, "delay_seconds": {"CDS": 0.01}}},
  {"after": {"nack": "RDS"}, "behaviour": {}, "snapshot": "v1.json", "version": "v3"},
  {"after": {"ack": "RDS", "version": "v3"}, "close": true},
  {"after": {"seconds": 0.01}, "flood": {"count": 20, "milliseconds": 0}}]}"#;

#[rstest]
#[tokio::test]
async fn a_script_is_followed_step_by_step(
    #[values(("s.toml", SCRIPT), ("s.json", JSON))] script: (&str, &str),
    #[values(false, true)] delta: bool,
) {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "v1.json", &text(&mesh(9001)));
    write(folder.path(), "v2.json", &text(&mesh(9009)));
    write(folder.path(), script.0, script.1);
    let script =
        Script::read(&folder.path().join(script.0)).unwrap_or_else(|error| panic!("{error}"));
    let server = server().await;
    let mut agent = Agent::of(&server, delta);
    // In delta only what changes is sent, so each step changes something of each type it awaits.
    let following = script.follow(&server);
    let looking = async {
        agent
            .policy(|policy| {
                policy
                    .versions
                    .iter()
                    .all(|(_, version)| version == "flood-19")
            })
            .await
    };
    let (followed, policy) = tokio::join!(following, looking);
    followed.expect("it is followed");
    assert_eq!(outline(&policy), outline_of_mesh(9001));
    let events = server.events();
    let nacks: Vec<&str> = events
        .iter()
        .filter(|event| event.event == What::Nack)
        .map(|event| event.error.as_str())
        .collect();
    assert_eq!(nacks.len(), 1, "{}", lines(&events));
    assert!(
        nacks[0].contains("RouteConfiguration[\"r1\"].virtual_hosts[0].name"),
        "{nacks:?}"
    );
    assert_eq!(
        events
            .iter()
            .filter(|event| event.event == What::Open)
            .count(),
        2
    );
}

#[rstest]
#[case(
    "s.toml",
    "snapshot = 7",
    "invalid type: integer `7`, expected path string"
)]
#[case(
    "s.toml",
    "snapshot = \"missing.json\"",
    "missing.json: cannot be read"
)]
#[case("s.toml", "steps = [{ remvoe = [] }]", "unknown field `remvoe`")]
#[case(
    "s.toml",
    "[[steps]]\nafter = { ack = \"SDS\" }",
    "unknown variant `SDS`"
)]
#[case(
    "s.toml",
    "[[steps]]\nafter = { seconds = -1 }",
    "steps[0].after.seconds: expected a number of seconds, found -1"
)]
#[case(
    "s.json",
    "{\"steps\": [{\"close\": 1}]}",
    "steps[0].close: invalid type: integer `1`"
)]
#[case("s.json", "{} x", "trailing characters")]
fn a_script_that_is_wrong_is_refused_with_its_field(
    #[case] name: &str,
    #[case] content: &str,
    #[case] expected: &str,
) {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), name, content);
    let error = Script::read(&folder.path().join(name)).expect_err("it is refused");
    let error = error.to_string();
    assert!(error.contains(expected), "{error}");
    assert!(error.contains(name), "{error}");
}

#[tokio::test]
async fn files_of_a_folder_are_served_together_and_again_when_they_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let mesh_of = |port| mesh(port);
    let (listeners, others): (Vec<String>, Vec<String>) = mesh_of(9001)
        .into_iter()
        .partition(|resource| resource.contains("HttpConnectionManager"));
    write(folder.path(), "listeners.json", &text(&listeners));
    write(folder.path(), "others.json", &text(&others));
    write(folder.path(), "notes.txt", "no snapshot");
    let server = server().await;
    let mut agent = Agent::of(&server, false);
    let serving = follow(folder.path(), &server);
    let looking = async {
        agent
            .policy(|policy| outline(policy) == outline_of_mesh(9001))
            .await;
        // What cannot be read is not served.
        write(folder.path(), "others.json", "{");
        write(
            folder.path(),
            "more.json",
            &text(&[cluster("c3"), endpoints("c3", 9003)]),
        );
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        assert_eq!(
            outline(&agent.now().expect("a policy")),
            outline_of_mesh(9001)
        );
        write(folder.path(), "others.json", &text(&others));
        agent
            .policy(|policy| policy.snapshot.clusters.len() == 3)
            .await;
    };
    tokio::select! {
        ended = serving => panic!("{ended:?}"),
        () = looking => {}
    }
}

#[tokio::test]
async fn two_files_with_one_resource_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "a.json", &text(&[cluster("c1")]));
    write(folder.path(), "b.json", &text(&[cluster("c1")]));
    let server = server().await;
    let error = follow(folder.path(), &server)
        .await
        .expect_err("it is refused");
    assert!(
        error
            .to_string()
            .contains("b.json: expected CDS resources of different names"),
        "{error}"
    );
}
