//! What a machine refuses the agent: it says so and serves through the proxy or, where the kernel is
//! required, ends.

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use common::cgroup::Cgroup;
use common::process::{AGENT, Process, ended};
use common::{Backend, kernel, simple};
use serde_json::json;

/// Runs the agent by a command that takes something from it.
async fn check(command: &[&str], more: &[&str], said: &[&str]) {
    let backend = Backend::echo("one").await;
    let config = simple(&[backend.address]);
    let directory = tempfile::tempdir().expect("a directory");
    // Whoever it runs as.
    open(directory.path());
    let auto = [&["--kernel", "auto"][..], more].concat();
    let process = Process::start_in(directory, command, &config, &auto).await;
    assert_eq!(
        process.json("/ready").await["kernel"],
        json!({"redirect": false, "splice": false, "connect_time": false})
    );
    let mut client = process.connect().await;
    for id in ["1", "2", "3"] {
        let reply = client.get("/", id).await;
        assert_eq!(reply.head.header("x-backend"), Some("one"));
        assert_eq!(reply.head.header("x-id"), Some(id));
    }
    process.terminate();
    let (output, directory) = process.end().await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let log = String::from_utf8(output.stderr).expect("text");
    let lines = log
        .lines()
        .filter(|line| line.contains("all goes through the proxy"));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), 1, "{log}");
    for part in said {
        assert!(lines[0].contains(part), "{part:?} in {log}");
    }
    let lines = std::fs::read_to_string(directory.path().join("access.jsonl")).expect("a log");
    assert_eq!(lines.lines().count(), 3, "{lines}");

    let snapshot = directory.path().join("snapshot.json");
    let required = ["run", "--kernel", "required", "--admin", "127.0.0.1:0"];
    let snapshot = ["--snapshot", snapshot.to_str().expect("text")];
    let all = [command, &required, &snapshot, more].concat();
    let (mut code, mut text) = ended(&all).await;
    // Where the maps take all memory, a thread that touches a page at that moment has the kernel end
    // the process, instead of refusing it the maps.
    for _ in 0..5 {
        if code.is_none() {
            (code, text) = ended(&all).await;
        }
    }
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("--kernel required: "), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    for part in said {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

fn open(directory: &Path) {
    let all = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(directory, all).expect("it is ours");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_privileges_all_goes_through_the_proxy() {
    if !kernel::is_here() {
        return;
    }
    // The build's folder need not be nobody's to enter.
    let directory = tempfile::tempdir().expect("a directory");
    open(directory.path());
    let agent = directory.path().join("twinmesh-agent");
    std::fs::copy(AGENT, &agent).expect("copied");
    let agent = agent.to_str().expect("text");
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    check(
        &[&nobody[..], &[agent]].concat(),
        &[],
        &["needs CAP_BPF", "run it as root"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_memory_for_the_maps_all_goes_through_the_proxy() {
    if !kernel::is_here() {
        return;
    }
    // The policy's maps alone take two times as many MiB as this says.
    let more = ["--kernel-policy", "256"];
    let cgroup = Cgroup::with_memory(192 << 20);
    let command = [&cgroup.enter()[..], &[AGENT]].concat();
    check(&command, &more, &["Cannot allocate memory"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_to_map_the_maps_all_goes_through_the_proxy() {
    if !kernel::is_here() {
        return;
    }
    let limited = ["prlimit", "--as=536870912", AGENT];
    check(
        &limited,
        &["--kernel-policy", "256"],
        &["Cannot allocate memory"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_cgroup2_all_goes_through_the_proxy() {
    if !kernel::is_here() {
        return;
    }
    let script = r#"
        awk '$3 == "cgroup2" { print $2 }' /proc/self/mounts | xargs -r -n 1 umount -l &&
        exec "$0" "$@""#;
    let command = ["unshare", "--mount", "sh", "-c", script, AGENT];
    check(&command, &[], &["no cgroup2 file system is mounted"]).await;
}
