//! Runs the binary, and builds cases to run it on.

#![allow(dead_code, reason = "each test file uses its part of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a run came to.
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `twinmesh` in the folder.
pub fn twinmesh_in(folder: &Path, arguments: &[&str]) -> Outcome {
    let output = command(folder, arguments)
        .output()
        .expect("the binary runs");
    let outcome = Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    };
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    outcome
}

/// The binary with its arguments, in the folder, without what the environment would add.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinmesh"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_remove("TWINMESH_REQUIRE_KERNEL")
        .env_remove("TWINMESH_REQUIRE_ENVOY")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null());
    command
}

/// The small mesh of the tests.
pub fn shop() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/shop.yaml")
}

/// A folder with the small mesh as `shop.yaml`, and [`TRAFFIC`] for it as `t.jsonl`.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::copy(shop(), folder.path().join("shop.yaml")).expect("the snapshot");
    std::fs::write(folder.path().join("t.jsonl"), TRAFFIC).expect("the traffic");
    folder
}

/// Requests that reach every route of the small mesh.
pub const TRAFFIC: &str = r#"{"id":"r0","authority":"reviews.test","path":"/reviews/1","destination":"10.0.0.1:8080"}
{"id":"r1","authority":"reviews.test","path":"/reviews/1","headers":[["end-user","jason"]],"destination":"10.0.0.1:8080"}
{"id":"r2","authority":"reviews.test","path":"/reviews/2","destination":"10.0.0.1:8080"}
{"id":"r3","authority":"a.reviews.test","path":"/reviews?debug=1","destination":"10.0.0.1:8080"}
{"id":"r4","authority":"reviews.test","path":"/old","destination":"10.0.0.1:8080"}
{"id":"r5","authority":"reviews.test","path":"/nowhere","destination":"10.0.0.1:8080"}
{"id":"r6","authority":"elsewhere.test","path":"/","destination":"10.0.0.1:8080"}
{"id":"r7","authority":"down.test","path":"/","destination":"10.0.0.1:8080"}
{"id":"r8","authority":"reviews.test","path":"/reviews/3","destination":"10.0.0.1:8080"}
{"id":"r9","authority":"reviews.test","path":"/","destination":"10.0.0.9:8080"}
{"id":"r10","authority":"reviews.test","path":"/reviews/4","destination":"10.0.0.1:8080"}
{"id":"r11","authority":"reviews.test","path":"/reviews/5","destination":"10.0.0.1:8080"}
"#;

/// A folder with the case `shop`: what is recorded is what `spec` decides.
pub struct Case {
    pub parent: tempfile::TempDir,
    pub folder: PathBuf,
}

impl Case {
    /// The case, compared as `comparison` (TOML) says.
    pub fn new(comparison: &str) -> Self {
        Self::with_traffic(TRAFFIC, comparison)
    }

    /// The case with traffic of its own.
    pub fn with_traffic(traffic: &str, comparison: &str) -> Self {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let folder = parent.path().join("shop");
        std::fs::create_dir(&folder).expect("a folder in it");
        std::fs::copy(shop(), folder.join("config_dump.yaml")).expect("the snapshot");
        std::fs::write(folder.join("requests.traffic.jsonl"), traffic).expect("the traffic");
        std::fs::write(folder.join("case.toml"), comparison).expect("the settings");
        let run = twinmesh_in(
            &folder,
            &[
                "replay",
                "--snapshot",
                "config_dump.yaml",
                "--traffic",
                "requests.traffic.jsonl",
                "--engine",
                "spec",
            ],
        );
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let case = Self { parent, folder };
        case.write_recorded(&run.stdout);
        case
    }

    /// What is recorded.
    pub fn recorded(&self) -> String {
        std::fs::read_to_string(self.folder.join("recorded.decisions.jsonl")).expect("recorded")
    }

    /// Records something else.
    pub fn write_recorded(&self, lines: &str) {
        std::fs::write(self.folder.join("recorded.decisions.jsonl"), lines).expect("recorded");
    }

    /// Changes one line of what is recorded.
    pub fn tamper(&self, id: &str, from: &str, to: &str) {
        let marker = format!("\"id\":\"{id}\"");
        let mut changed = false;
        let lines: String = self
            .recorded()
            .lines()
            .map(|line| {
                let line = if line.contains(&marker) {
                    let other = line.replace(from, to);
                    changed |= other != line;
                    other
                } else {
                    line.to_owned()
                };
                line + "\n"
            })
            .collect();
        assert!(changed, "{id} has no {from}: {}", self.recorded());
        self.write_recorded(&lines);
    }

    /// Runs `conform` on it, through `spec`.
    pub fn conform(&self, more: &[&str]) -> Outcome {
        let mut arguments = vec!["conform", "shop", "--engines", "spec"];
        arguments.extend(more);
        twinmesh_in(self.parent.path(), &arguments)
    }
}
