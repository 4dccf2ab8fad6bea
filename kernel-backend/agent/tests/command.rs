//! The command itself: its snapshot file, its admin endpoints, its end.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::process::{AGENT, Process};
use common::wire::Wire;
use common::{Backend, LIMIT, simple, soon};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::Notify;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_requests_end_and_closes_what_is_idle() {
    let (gate, there) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (held, told) = (Arc::clone(&gate), Arc::clone(&there));
    let backend = Backend::new(move |stream, _| {
        let (held, told) = (Arc::clone(&held), Arc::clone(&told));
        async move {
            let mut wire = Wire::new(stream);
            while let Some(head) = wire.head().await {
                if head.start.contains("/slow") {
                    told.notify_one();
                    held.notified().await;
                }
                wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await;
            }
        }
    })
    .await;
    let process = Process::start(&simple(&[backend.address]), &["--drain-seconds", "60"]).await;
    let mut idle = process.connect().await;
    assert_eq!(idle.get("/", "1").await.body, b"ok");
    let mut busy = process.connect().await;
    busy.send(b"GET /slow HTTP/1.1\r\nHost: web\r\n\r\n").await;
    let address = busy.stream.peer_addr().expect("an address");
    soon("the request is there", there.notified()).await;
    process.terminate();
    assert!(soon("the idle one ends", idle.ended()).await);
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    soon("nobody accepts any more", refused).await;
    gate.notify_one();
    let reply = busy.reply().await;
    assert_eq!(reply.body, b"ok");
    assert_eq!(reply.head.header("connection"), Some("close"));
    assert!(busy.ended().await);
    let (output, directory) = process.end().await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let log = std::fs::read_to_string(directory.path().join("access.jsonl")).expect("a log");
    assert_eq!(log.lines().count(), 2, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_end_by_the_deadline_is_cut_off() {
    let backend = Backend::new(|stream, _| async move {
        Wire::new(stream).rest().await;
    })
    .await;
    let process = Process::start(&simple(&[backend.address]), &["--drain-seconds", "0"]).await;
    let mut busy = process.connect().await;
    busy.send(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").await;
    common::until("the request is there", || backend.connections() == 1).await;
    process.terminate();
    assert!(busy.head().await.is_none());
    let (output, directory) = process.end().await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let log = std::fs::read_to_string(directory.path().join("access.jsonl")).expect("a log");
    let line: Value = serde_json::from_str(log.trim()).expect("a line");
    assert_eq!(line["complete"], false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_snapshot_is_refused_and_the_policy_before_goes_on() {
    let (one, two) = (Backend::echo("one").await, Backend::echo("two").await);
    let process = Process::start(&simple(&[one.address]), &[]).await;
    let mut client = process.connect().await;
    assert_eq!(
        client.get("/", "1").await.head.header("x-backend"),
        Some("one")
    );
    let mut config = simple(&[two.address]);
    config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
        ["route_config"]["virtual_hosts"][0]["domains"] = json!([]);
    for (text, said) in [
        ("{\"static_resources\": ", "not valid JSON"),
        (config.to_string().as_str(), "domains"),
    ] {
        process.write(text);
        let refused = async {
            loop {
                let ready = process.json("/ready").await;
                let refused = ready["last_update_refused"].as_str().unwrap_or_default();
                if refused.contains(said) {
                    assert!(refused.contains("snapshot.json"), "{refused}");
                    assert_eq!(ready["generation"], 1);
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        soon("it is refused", refused).await;
        assert_eq!(
            client.get("/", "2").await.head.header("x-backend"),
            Some("one")
        );
    }
    let metrics = process.admin("GET", "/metrics", "").await.text();
    assert!(
        metrics.contains("twinmesh_policy_updates_refused_total 2\n"),
        "{metrics}"
    );
    process.write(&simple(&[two.address]).to_string());
    let followed = async {
        while process.json("/ready").await["generation"] != 2 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    soon("the good one is taken", followed).await;
    assert_eq!(
        process.json("/ready").await["last_update_refused"],
        Value::Null
    );
    assert_eq!(
        client.get("/", "3").await.head.header("x-backend"),
        Some("two")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_tells_what_is_in_force_and_changes_nothing() {
    let (one, two) = (Backend::echo("one").await, Backend::echo("two").await);
    let config = simple(&[one.address, two.address]);
    let process = Process::start(&config, &["--log", "warn"]).await;
    let dump = process.admin("GET", "/config_dump", "").await;
    let read = twinmesh_xds::read_bytes("dump.json", &dump.body, &Default::default());
    assert_eq!(
        read.expect("it is read back").clusters,
        common::snapshot(&config).clusters
    );
    let question = json!({"id": "q", "authority": "web", "path": "/x?y"}).to_string();
    for _ in 0..3 {
        let answer = process.admin("POST", "/explain", &question).await;
        assert_eq!(answer.head.status(), 200);
        let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(
            answer["decision"]["endpoint"],
            one.address.to_string(),
            "no turn is taken"
        );
        assert_eq!(answer["steps"][0]["step"], "listener");
    }
    let answer = process.admin("POST", "/explain", "{\"path\": 1}").await;
    assert_eq!(answer.head.status(), 400);
    let mut client = process.connect().await;
    assert_eq!(
        client.get("/", "1").await.head.header("x-backend"),
        Some("one")
    );
    assert_eq!(process.admin("GET", "/logging", "").await.text(), "warn\n");
    assert_eq!(
        process.admin("POST", "/logging", "debug").await.text(),
        "debug\n"
    );
    assert_eq!(
        process
            .admin("POST", "/logging", "no=such=level")
            .await
            .head
            .status(),
        400
    );
    let metrics = process.admin("GET", "/metrics", "").await.text();
    let expected = format!(
        "twinmesh_decisions_total{{listener=\"web\",route_config=\"web\",virtual_host=\"all\",route=\"#0\",cluster=\"backend\",endpoint=\"{}\",outcome=\"forward\",path=\"proxy\"}} 1\n",
        one.address
    );
    assert!(metrics.contains(&expected), "{metrics}");
    assert!(
        metrics.contains("twinmesh_policy_generation 1\n"),
        "{metrics}"
    );
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_kernel_there_are_no_maps() {
    let backend = Backend::echo("one").await;
    let process = Process::start(&simple(&[backend.address]), &["--kernel", "off"]).await;
    let reply = process.admin("GET", "/maps", "").await;
    assert_eq!(reply.head.status(), 404);
    let body: Value = serde_json::from_slice(&reply.body).expect("JSON");
    let why = body["error"].as_str().expect("a message");
    assert!(why.contains("nothing is routed in the kernel"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_of_all_decisions_is_made_again() {
    let backend = Backend::echo("one").await;
    let more = ["--shadow", "100", "--shadow-cases", "cases"];
    let process = Process::start(&simple(&[backend.address]), &more).await;
    let mut client = process.connect().await;
    for number in 0..20 {
        let reply = client.get("/", &number.to_string()).await;
        assert_eq!(reply.head.status(), 200);
    }
    let compared = async {
        loop {
            let metrics = process.admin("GET", "/metrics", "").await.text();
            if metrics.contains("twinmesh_shadow_compared_total 20\n") {
                return metrics;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let metrics = soon("all are compared", compared).await;
    for line in [
        "twinmesh_shadow_differing_total 0\n",
        "twinmesh_shadow_skipped_total{reason=\"queue_full\"} 0\n",
        "twinmesh_shadow_skipped_total{reason=\"head_cut\"} 0\n",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    let mut cases = std::fs::read_dir(process.path("cases")).expect("it is made");
    assert!(cases.next().is_none(), "nothing differs");
}

async fn fails(directory: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let run = Command::new(AGENT)
        .current_dir(directory)
        .args(arguments)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIMIT, run)
        .await
        .expect("it ends")
        .expect("it runs");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_calls_are_told_what_is_wrong() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = directory.path();
    std::fs::write(
        at.join("bad.json"),
        "{\"static_resources\": {\"clusters\": [{\"name\": 1}]}}",
    )
    .expect("written");
    std::fs::write(at.join("good.json"), simple(&[]).to_string()).expect("written");
    for (arguments, code, said) in [
        (&["run"][..], 2, "--snapshot"),
        (
            &["run", "--snapshot", "nowhere.json"],
            2,
            "nowhere.json: cannot be read",
        ),
        (&["run", "--snapshot", "bad.json"], 2, "bad.json:1:"),
        (&["run", "--bootstrap", "b.json"], 2, "b.json"),
        (
            &["run", "--snapshot", "good.json", "--admin", "0.0.0.0:1"],
            2,
            "loopback",
        ),
        (
            &["run", "--snapshot", "good.json", "--log", "a=b=c"],
            2,
            "--log",
        ),
        (
            &["run", "--snapshot", "good.json", "--shadow", "101"],
            2,
            "expected a number from 0 to 100, found `101`",
        ),
        (
            &["run", "--snapshot", "good.json", "--shadow-cases", "cases"],
            2,
            "expected --shadow above 0",
        ),
        (
            &[
                "run",
                "--snapshot",
                "good.json",
                "--access-log",
                "no/such/file",
            ],
            1,
            "no/such/file",
        ),
    ] {
        let (found, text) = fails(at, arguments).await;
        assert_eq!(found, Some(code), "{arguments:?}: {text}");
        assert!(text.contains(said), "{arguments:?}: {text}");
        assert!(!text.contains("panicked"), "{text}");
    }
}
