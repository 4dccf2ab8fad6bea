//! The command: what it prints, and what it refuses.

mod common;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use common::*;

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinmesh-control-plane"));
    command.args(["--listen", "127.0.0.1:0"]);
    command
}

/// Ends its process, also where the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn it_names_its_address_and_prints_what_happens() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mesh.json");
    std::fs::write(&file, text(&mesh(9001))).expect("it is written");
    let mut running = command()
        .arg(&file)
        .stdout(Stdio::piped())
        .spawn()
        .map(Running)
        .expect("it starts");
    let stdout = running.0.stdout.take().expect("its output");
    let mut lines = BufReader::new(stdout).lines().map(|line| {
        let line = line.expect("a line");
        serde_json::from_str::<serde_json::Value>(&line)
            .unwrap_or_else(|error| panic!("{error}: {line}"))
    });
    let first = lines.next().expect("a first line");
    let address: SocketAddr = first["listening"]
        .as_str()
        .and_then(|address| address.parse().ok())
        .unwrap_or_else(|| panic!("{first}"));
    let mut agent = Agent::start(bootstrap(&[address]), options(false));
    agent
        .policy(|policy| outline(policy) == outline_of_mesh(9001))
        .await;
    let found = tokio::task::spawn_blocking(move || {
        lines.find(|line| line["event"] == "ack" && line["type"] == "RDS")
    });
    let found = found.await.expect("it is read").expect("an ACK");
    assert_eq!(found["client"], "test");
    assert_eq!(found["stream"], 1);
    assert_eq!(found["names"], serde_json::json!(["r1", "r2"]));
}

#[test]
fn what_it_cannot_serve_it_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("bad.toml"), "steps = 7").expect("it is written");
    std::fs::write(
        path("bad.yaml"),
        "static_resources: {clusters: [{name: 7}]}",
    )
    .expect("it is written");
    std::fs::create_dir(path("empty")).expect("a folder");
    for (arguments, expected) in [
        (vec![path("missing.yaml")], "missing.yaml: cannot be read"),
        (
            vec![path("bad.yaml")],
            "bad.yaml:1:38: static_resources.clusters[0].name: expected",
        ),
        (
            vec![path("empty")],
            "empty: expected a file ending in .json, .yaml, .yml or .pb, found none",
        ),
        (
            vec!["--script".to_owned(), path("bad.toml")],
            "bad.toml: steps: ",
        ),
        (
            vec![
                path("bad.yaml"),
                "--certificate".to_owned(),
                path("c.pem"),
                "--key".to_owned(),
                path("k.pem"),
            ],
            "c.pem: cannot be read",
        ),
        (vec![], "required arguments"),
    ] {
        let output = command().args(&arguments).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(expected), "{arguments:?}: {text}");
    }
}
