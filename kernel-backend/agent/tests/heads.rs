//! Thousands of request heads with a real Envoy's verdicts: no head that Envoy refuses reaches an
//! endpoint, and what does is what Envoy made of it.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use common::wire::Wire;
use common::{Backend, bootstrap, cluster, http_listener, manager, start};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Verdict {
    id: String,
    #[serde(default)]
    head: Option<String>,
    #[serde(default)]
    parts: Vec<(String, usize)>,
    #[serde(default)]
    listener: Option<String>,
    outcome: String,
    #[serde(default)]
    status: Option<u16>,
    /// 2: what follows the head is the start of another request.
    #[serde(default)]
    requests: u64,
    #[serde(default)]
    route: Option<String>,
    #[serde(default)]
    method: Value,
    #[serde(default)]
    path: Value,
    #[serde(default)]
    authority: Value,
}

impl Verdict {
    /// The head's bytes: code points 0 to 255.
    fn bytes(&self) -> Vec<u8> {
        let text = match &self.head {
            Some(head) => head.clone(),
            None => self
                .parts
                .iter()
                .map(|(text, count)| text.repeat(*count))
                .collect(),
        };
        text.chars()
            .map(|char| u8::try_from(u32::from(char)).expect("Latin-1"))
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_head_that_envoy_refuses_reaches_an_endpoint() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/heads/heads.jsonl");
    let text = std::fs::read_to_string(file).expect("the recorded heads");
    let arrived = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&arrived);
    // Says what arrived, as soon as the head did.
    let backend = Backend::new(move |stream, _| {
        let counted = Arc::clone(&counted);
        async move {
            let mut wire = Wire::new(stream);
            let Some(head) = wire.head().await else {
                return;
            };
            counted.fetch_add(1, SeqCst);
            let method = head.start.split(' ').next().unwrap_or_default();
            let path = head.start.split(' ').nth(1).unwrap_or_default();
            let host = head.header("host").unwrap_or_default();
            let response = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nX-Method: {method}\r\nX-Path: {path}\r\nX-Host: {host}\r\nContent-Length: 0\r\n\r\n"
            );
            wire.try_send(response.as_bytes()).await;
        }
    })
    .await;
    let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}]);
    let running = start(&bootstrap(
        &[http_listener("web", &manager(&routes))],
        &[cluster("backend", "ROUND_ROBIN", &[backend.address])],
    ))
    .await;
    let (mut forwarded, mut refused) = (0, BTreeMap::new());
    let mut statuses = 0;
    let mut wrong = Vec::new();
    for line in text.lines() {
        let verdict: Verdict = serde_json::from_str(line).expect("a verdict");
        if verdict.listener.is_some() || verdict.outcome == "incomplete" {
            continue;
        }
        let mut client = running.connect("web").await;
        client.try_send(&verdict.bytes()).await;
        let head = loop {
            match client.head().await {
                Some(head) if head.start.starts_with("HTTP/1.1 1") => {}
                head => break head,
            }
        };
        let status = head.as_ref().map(common::wire::Head::status);
        let sent = verdict.head.as_deref().unwrap_or_default();
        let whole = sent.ends_with("\r\n\r\n") && sent.matches(" HTTP/1.1\r\n").count() == 2;
        if verdict.requests == 2 && whole && status == Some(200) {
            let second = client.head().await;
            forwarded += u64::from(second.is_some_and(|head| head.status() == 200));
        }
        let accepted = verdict.outcome == "accepted" && verdict.route.is_some();
        match (&head, status) {
            (Some(head), Some(200)) if accepted => {
                forwarded += 1;
                for (name, expected) in [
                    ("x-method", &verdict.method),
                    ("x-path", &verdict.path),
                    ("x-host", &verdict.authority),
                ] {
                    // Long ones are told by their length.
                    let found = head.header(name).unwrap_or_default();
                    let same = match expected {
                        Value::Object(long) => long["length"] == found.len(),
                        Value::String(text) => text == found,
                        _ => found.is_empty(),
                    };
                    if !same {
                        wrong.push(format!(
                            "{}: {name}: expected {expected}, found {found:?}",
                            verdict.id
                        ));
                    }
                }
            }
            (_, Some(200)) => {
                wrong.push(format!(
                    "{}: Envoy: {}, forwarded",
                    verdict.id, verdict.outcome
                ));
            }
            (_, status) if accepted => {
                *refused.entry(format!("{status:?}")).or_insert(0_u64) += 1;
            }
            (_, status) => {
                statuses += u64::from(status == verdict.status);
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(arrived.load(SeqCst), forwarded, "nothing arrives unasked");
    println!(
        "forwarded {forwarded}, accepted by Envoy and not forwarded {refused:?}, refused with Envoy's status {statuses}"
    );
    // Most of what Envoy takes is taken.
    let refused: u64 = refused.values().sum();
    assert!(
        forwarded > refused,
        "{forwarded} forwarded, {refused} refused"
    );
    running.idle().await;
}
