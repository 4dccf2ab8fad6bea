//! The agent uses those of the kernel's paths that carry known bytes when it starts.

mod common;

use common::cgroup::Cgroup;
use common::process::{AGENT, Process, ended};
use common::{Backend, kernel, simple};
use serde_json::json;

/// The probe's port of the path to the agent, and of the choice at connect(2).
const REDIRECT: u16 = 7777;
const CONNECT_TIME: u16 = 7778;

/// An agent in this cgroup, with a listener that is bound somewhere.
async fn start(cgroup: &Cgroup, backend: &Backend, more: &[&str]) -> Process {
    let command = [&cgroup.enter()[..], &[AGENT]].concat();
    let more = [&["--cgroup", cgroup.path()][..], more].concat();
    let directory = tempfile::tempdir().expect("a directory");
    Process::start_in(directory, &command, &simple(&[backend.address]), &more).await
}

/// A request to the listener's own socket; what the agent says when it has ended.
async fn served(process: Process) -> String {
    let reply = process.connect().await.get("/", "1").await;
    assert_eq!(reply.head.header("x-backend"), Some("one"));
    process.terminate();
    let (output, _) = process.end().await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stderr).expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_paths_are_used_where_all_carry() {
    if !kernel::is_here() {
        return;
    }
    let (cgroup, backend) = (Cgroup::new(), Backend::echo("one").await);
    let process = start(&cgroup, &backend, &["--kernel", "required"]).await;
    assert_eq!(
        process.json("/ready").await["kernel"],
        json!({"redirect": true, "splice": true, "connect_time": true})
    );
    let log = served(process).await;
    assert!(!log.contains("does not work here"), "{log}");
    let more = ["--kernel", "required", "--balance-requests"];
    let process = start(&cgroup, &backend, &more).await;
    assert_eq!(
        process.json("/ready").await["kernel"],
        json!({"redirect": true, "splice": true, "connect_time": false})
    );
    served(process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_does_not_carry_is_left_out_and_said() {
    if !kernel::is_here() {
        return;
    }
    let (cgroup, backend) = (Cgroup::new(), Backend::echo("one").await);
    let _denied = cgroup.deny(CONNECT_TIME);
    let process = start(&cgroup, &backend, &["--kernel", "required"]).await;
    assert_eq!(
        process.json("/ready").await["kernel"],
        json!({"redirect": true, "splice": true, "connect_time": false})
    );
    let log = served(process).await;
    let said = log
        .lines()
        .filter(|line| line.contains("`connect_time` does not work here"));
    let said: Vec<&str> = said.collect();
    assert_eq!(said.len(), 1, "{log}");
    assert!(said[0].contains("requests are spliced"), "{log}");
    assert!(said[0].contains("Operation not permitted"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_taken_where_connections_do_not_come_to_the_agent() {
    if !kernel::is_here() {
        return;
    }
    let (cgroup, backend) = (Cgroup::new(), Backend::echo("one").await);
    let _denied = cgroup.deny(REDIRECT);
    let process = start(&cgroup, &backend, &["--kernel", "auto"]).await;
    assert_eq!(
        process.json("/ready").await["kernel"],
        json!({"redirect": false, "splice": false, "connect_time": false})
    );
    let log = served(process).await;
    let said = log
        .lines()
        .filter(|line| line.contains("`redirect` does not work here"));
    let said: Vec<&str> = said.collect();
    assert_eq!(said.len(), 1, "{log}");
    assert!(said[0].contains("all goes through the proxy"), "{log}");
    assert!(said[0].contains("Operation not permitted"), "{log}");

    let directory = tempfile::tempdir().expect("a directory");
    let snapshot = directory.path().join("snapshot.json");
    std::fs::write(&snapshot, simple(&[backend.address]).to_string()).expect("written");
    let agent = [&cgroup.enter()[..], &[AGENT, "run", "--kernel", "required"]].concat();
    let more = ["--admin", "127.0.0.1:0", "--cgroup", cgroup.path()];
    let snapshot = ["--snapshot", snapshot.to_str().expect("text")];
    let (code, text) = ended(&[&agent[..], &more, &snapshot].concat()).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("--kernel required: the path `redirect`"),
        "{text}"
    );
}
