//! The command: its exit codes and what it prints.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

const COMMAND: &str = env!("CARGO_BIN_EXE_twinmesh-load");

/// A backend, ended when dropped.
struct Backend(Child, String);

impl Backend {
    fn start(more: &[&str]) -> Self {
        let mut child = Command::new(COMMAND)
            .args(["backend", "--listen", "127.0.0.1:0", "--name", "v1"])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self(child, line.trim().to_owned())
    }

    fn url(&self) -> String {
        format!("http://{}/a", self.1)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(COMMAND)
        .arg("run")
        .args(arguments)
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn right_responses_are_code_0() {
    let backend = Backend::start(&[]);
    let (code, out, _) = run(&["--url", &backend.url(), "--requests", "300", "--json"]);
    assert_eq!(code, 0, "{out}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["answered"], 300);
    assert_eq!(report["backends"]["v1"], 300);
    assert!(report["latency_us"]["p99"].as_u64() >= report["latency_us"]["p50"].as_u64());
}

#[test]
fn a_mix_runs_for_its_time() {
    let backend = Backend::start(&["--workers", "2"]);
    let (code, out, _) = run(&[
        "--url",
        &backend.url(),
        "--seconds",
        "1",
        "--mix",
        "split,bodies",
    ]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("backend v1: "), "{out}");
}

#[test]
fn a_wrong_response_is_code_1() {
    let backend = Backend::start(&["--wrong", "byte"]);
    let (code, out, _) = run(&["--url", &backend.url(), "--requests", "50", "--losses"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("fault byte: 5"), "{out}");
}

#[test]
fn a_wrong_call_is_code_2() {
    for (arguments, says) in [
        (vec!["--url", "x", "--requests", "1"], "http://"),
        (
            vec!["--url", "http://name/", "--requests", "1"],
            "no IP address",
        ),
        (
            vec!["--url", "http://127.0.0.1:1/?a", "--requests", "1"],
            "without '?'",
        ),
        (vec!["--url", "http://127.0.0.1:1/"], "--requests"),
        (
            vec![
                "--url",
                "http://127.0.0.1:1/",
                "--requests",
                "1",
                "--header",
                "x",
            ],
            "BACKEND",
        ),
        (
            vec![
                "--url",
                "http://127.0.0.1:1/",
                "--requests",
                "1",
                "--mix",
                "nothing",
            ],
            "pipelining",
        ),
    ] {
        let (code, _, error) = run(&arguments);
        assert_eq!(code, 2, "{arguments:?}: {error}");
        assert!(error.contains(says), "{arguments:?}: {error}");
    }
}
