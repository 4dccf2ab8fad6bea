//! What a live agent recorded is decided alike by the simulator: every field of every request,
//! balancers' picks too, whichever way the requests took.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use common::{Backend, Running, bootstrap, cluster, http_listener, manager, snapshot};
use serde_json::json;
use twinmesh_agent::record::Recorder;
use twinmesh_engine::replay::Replay;
use twinmesh_engine::{Decided, Decision, Request, format};
use twinmesh_sim::Sim;

/// The fields that a decision has, without who decided and the words for it, and without the body of
/// a direct response, which is not recorded.
fn fields(decision: &Decision) -> Decision {
    Decision {
        engine: None,
        reason: None,
        body: None,
        ..decision.clone()
    }
}

/// Replays a recording; how often each outcome was found.
fn replayed(folder: &Path) -> (Vec<Request>, BTreeMap<String, usize>) {
    let traffic = format::traffic::read(&folder.join("requests.traffic.jsonl"));
    let requests = traffic.expect("the traffic is readable");
    let recorded = format::decisions::read(&folder.join("recorded.decisions.jsonl"));
    let recorded = recorded.expect("the decisions are readable");
    let options = twinmesh_xds::ReadOptions::default();
    let dump = twinmesh_xds::read(&folder.join("config_dump.json"), &options);
    let dump = Arc::new(dump.expect("the snapshot is readable"));
    let mut outcomes = BTreeMap::new();
    let mut next = recorded.iter();
    let mut sim = Sim::default();
    let run = Replay::default().run(&mut sim, &dump, &requests, &mut |decided: Decided<'_>| {
        let recorded = next.next().expect("as many decisions as requests");
        assert_eq!(fields(&decided.answer.decision), fields(recorded));
        *outcomes
            .entry(format!("{:?}", recorded.outcome))
            .or_default() += 1;
        std::ops::ControlFlow::Continue(())
    });
    run.expect("the simulator decides");
    assert!(next.next().is_none());
    (requests, outcomes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_engine_decides_as_the_live_agent_did() {
    let mut backends = Vec::new();
    for name in ["one", "two", "three", "four"] {
        backends.push(Backend::echo(name).await);
    }
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let routes = json!([
        {"match": {"path": "/gone"}, "direct_response": {"status": 410}},
        {"match": {"prefix": "/", "headers": [{"name": "x-v", "string_match": {"exact": "2"}}]}, "route": {"cluster": "least"}},
        {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [
            {"name": "round", "weight": 80}, {"name": "least", "weight": 20}]}}},
    ]);
    let config = bootstrap(
        &[http_listener("web", &manager(&routes))],
        &[
            cluster("round", "ROUND_ROBIN", &addresses),
            cluster("least", "LEAST_REQUEST", &addresses),
        ],
    );
    let folder = tempfile::tempdir().expect("a folder");
    let into = folder.path().join("case");
    let recorder = Recorder::start(&into).expect("the folder takes it");
    let running: Running = common::start_recorded(snapshot(&config), recorder).await;
    let mut tasks = Vec::new();
    for number in 0..8 {
        let mut client = running.connect("web").await;
        tasks.push(tokio::spawn(async move {
            for turn in 0..100 {
                let id = format!("{number}-{turn}");
                let request = match turn % 7 {
                    0 => format!("GET /gone HTTP/1.1\r\nHost: web\r\nX-Id: {id}\r\n\r\n"),
                    1 | 2 => format!(
                        "GET /x HTTP/1.1\r\nHost: web\r\nX-V: 2\r\nAuthorization: secret\r\nX-Id: {id}\r\n\r\n"
                    ),
                    3 => format!(
                        "POST /x HTTP/1.1\r\nHost: web\r\nX-Id: {id}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
                    ),
                    _ => format!(
                        "POST /x HTTP/1.1\r\nHost: web\r\nX-Id: {id}\r\nContent-Length: 3\r\n\r\nabc"
                    ),
                };
                client.send(request.as_bytes()).await;
                let reply = client.reply().await;
                let expected = if turn % 7 == 0 { 410 } else { 200 };
                assert_eq!(reply.head.status(), expected, "{id}");
            }
        }));
    }
    for task in tasks {
        task.await.expect("the client's requests go well");
    }
    running.idle().await;
    common::finish_recording(&running);
    let (requests, outcomes) = replayed(&into);
    assert_eq!(outcomes["Forward"] + outcomes["DirectResponse"], 800);
    assert_eq!(requests.len(), 800);
    let secret = requests
        .iter()
        .flat_map(|request| &request.headers)
        .any(|(_, value)| value == "secret");
    assert!(!secret, "authorization is not in the recording as it was");
    let settings = std::fs::read_to_string(into.join("case.toml")).expect("there is a case.toml");
    assert!(settings.contains("requests = 800"), "{settings}");
    assert!(Recorder::start(&into).is_err(), "a case is not overwritten");
}
