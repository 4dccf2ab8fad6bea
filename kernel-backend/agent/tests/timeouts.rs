//! Requests that take too long, also where the kernel has them: the client gets one answer, and the
//! endpoint's connection is not used again.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use common::wire::Wire;
use common::{Backend, Running, bootstrap, cluster, http_listener, manager, soon, start};
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// Requests to `/timed` have a route timeout, those to `/idle` an idle timeout.
fn config(endpoint: std::net::SocketAddr) -> Value {
    let routes = json!([
        {"match": {"prefix": "/timed"}, "route": {"cluster": "backend", "timeout": "0.2s"}},
        {"match": {"prefix": "/idle"},
         "route": {"cluster": "backend", "timeout": "0s", "idle_timeout": "0.2s"}},
        {"match": {"prefix": "/"}, "route": {"cluster": "backend", "timeout": "0s"}},
    ]);
    bootstrap(
        &[http_listener("web", &manager(&routes))],
        &[cluster("backend", "LEAST_REQUEST", &[endpoint])],
    )
}

/// Whether the kernel takes part; then the next request of each connection is its own, once it has
/// an idle connection to the endpoint.
async fn settled(running: &Running) -> bool {
    let Some(datapath) = &running.agent.datapath else {
        return false;
    };
    let splice = Arc::clone(&datapath.splice);
    common::until("connections are given back", || {
        let fill = splice.fill();
        fill[1].1 == 0 && fill[3].1 > 0
    })
    .await;
    true
}

/// An agent with an idle connection to the endpoint, a client, and whether the kernel takes part.
async fn warm(backend: &Backend) -> (Running, Wire, bool) {
    let running = start(&config(backend.address)).await;
    let mut client = running.connect("web").await;
    assert_eq!(client.get("/", "0").await.head.status(), 200);
    let kernel = settled(&running).await;
    (running, client, kernel)
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Answers `/`; what it does with other requests is up to the test. Counts connections that ended.
async fn backend<F, T>(other: F) -> (Backend, Arc<AtomicU64>)
where
    F: Fn(Wire, String) -> T + Clone + Send + Sync + 'static,
    T: Future<Output = Wire> + Send + 'static,
{
    let ended = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&ended);
    let backend = Backend::new(move |stream: TcpStream, _| {
        let (other, counted) = (other.clone(), Arc::clone(&counted));
        async move {
            let mut wire = Wire::new(stream);
            while let Some(head) = wire.head().await {
                let target = head.start.split(' ').nth(1).unwrap_or_default();
                if target == "/" {
                    wire.body(&head).await;
                    wire.send(OK).await;
                } else {
                    wire = other(wire, target.to_owned()).await;
                }
            }
            counted.fetch_add(1, SeqCst);
        }
    })
    .await;
    (backend, ended)
}

fn names(reply: &common::wire::Head) -> Vec<String> {
    let names = reply.headers.iter();
    names.map(|(name, _)| name.to_lowercase()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_never_answers_costs_its_connection_only() {
    let (backend, ended) = backend(|mut wire, _| async move {
        wire.rest().await;
        wire
    })
    .await;
    let (running, mut client, kernel) = warm(&backend).await;
    for (round, (method, path, text)) in [
        ("GET", "/timed", "upstream request timeout"),
        ("GET", "/idle", "stream timeout"),
        ("HEAD", "/timed", ""),
        ("DELETE", "/timed", "upstream request timeout"),
    ]
    .into_iter()
    .enumerate()
    {
        client
            .send(format!("{method} {path} HTTP/1.1\r\nHost: web\r\n\r\n").as_bytes())
            .await;
        let head = client.head().await.expect("an answer");
        assert_eq!(head.status(), 504, "{method} {path}");
        assert_eq!(names(&head), ["content-type", "content-length", "date"]);
        assert_eq!(head.header("content-type"), Some("text/plain"));
        let body = client.exactly(text.len()).await;
        assert_eq!(String::from_utf8_lossy(&body), text, "{method} {path}");
        common::until("the endpoint's connection ends", || {
            ended.load(SeqCst) == round as u64 + 1
        })
        .await;
        running.idle().await;
        // The client's goes on.
        assert_eq!(client.get("/", "1").await.text(), "ok");
        assert!(client.ahead.is_empty(), "{:?}", client.ahead);
        settled(&running).await;
    }
    assert_eq!(backend.connections(), 5);
    let log = running.log(9).await;
    let late: Vec<&Value> = log.iter().filter(|line| line["status"] == 504).collect();
    assert_eq!(late.len(), 4, "{log:?}");
    for line in late {
        assert_eq!(line["complete"], true);
        let reason = line["reason"].as_str().expect("a reason");
        assert!(reason.ends_with("timeout ran out"), "{reason}");
        let path = if kernel { "splice" } else { "proxy" };
        assert_eq!(line["path_taken"], path, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_stops_in_its_middle_breaks_off() {
    let (backend, ended) = backend(|mut wire, _| async move {
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            .await;
        wire.rest().await;
        wire
    })
    .await;
    let (running, mut client, kernel) = warm(&backend).await;
    for (round, path) in ["/timed", "/idle"].into_iter().enumerate() {
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: web\r\n\r\n").as_bytes())
            .await;
        assert_eq!(client.head().await.expect("a head").status(), 200);
        assert_eq!(client.rest().await, b"half", "the response breaks off");
        common::until("the endpoint's connection ends", || {
            ended.load(SeqCst) == round as u64 + 1
        })
        .await;
        running.idle().await;
        client = running.connect("web").await;
        assert_eq!(client.get("/", "1").await.text(), "ok");
        settled(&running).await;
    }
    let log = running.log(5).await;
    let broken: Vec<&Value> = log
        .iter()
        .filter(|line| line["complete"] == false)
        .collect();
    assert_eq!(broken.len(), 2, "{log:?}");
    for line in broken {
        let reason = line["reason"].as_str().expect("a reason");
        assert!(reason.ends_with("timeout ran out"), "{reason}");
        let path = if kernel { "splice" } else { "proxy" };
        assert_eq!(line["path_taken"], path, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_s_timeout_waits_for_the_request_s_end() {
    let (backend, _) = backend(|mut wire, _| async move {
        // The body's other half comes once the client has been answered, which is never.
        wire.rest().await;
        wire
    })
    .await;
    let (running, mut client, kernel) = warm(&backend).await;
    client
        .send(b"POST /timed HTTP/1.1\r\nHost: web\r\nContent-Length: 8\r\n\r\nhalf")
        .await;
    // Longer than the timeout, and nothing comes.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut byte = [0];
    let nothing = client.stream.try_read(&mut byte);
    assert!(
        nothing.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
        "the request is not whole"
    );
    client.send(b"half").await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.head.status(), reply.text().as_str()),
        (504, "upstream request timeout")
    );
    assert_eq!(client.get("/", "1").await.text(), "ok");
    // Nor does it ever run where nothing moves, but another timer does.
    settled(&running).await;
    client
        .send(b"POST /idle HTTP/1.1\r\nHost: web\r\nContent-Length: 8\r\n\r\nhalf")
        .await;
    let reply = client.reply().await;
    assert_eq!(
        (reply.head.status(), reply.text().as_str()),
        (408, "stream timeout")
    );
    assert!(client.ended().await);
    running.idle().await;
    let log = running.log(4).await;
    let spliced = log.iter().filter(|line| line["path_taken"] == "splice");
    assert!(!kernel || spliced.count() >= 2, "{log:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relayed_response_that_stops_breaks_off() {
    const SENT: usize = 4 << 20;
    let (backend, _) = backend(|mut wire, _| async move {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 2 * SENT);
        if wire.try_send(head.as_bytes()).await && wire.try_send(&vec![b'y'; SENT]).await {
            wire.rest().await;
        }
        wire
    })
    .await;
    let (running, mut client, _) = warm(&backend).await;
    client
        .send(b"GET /idle HTTP/1.1\r\nHost: web\r\n\r\n")
        .await;
    if let Some(datapath) = &running.agent.datapath {
        common::until("the response is relayed", || {
            datapath.splice.counts.relayed.load(SeqCst) == 1
        })
        .await;
    }
    let body = client.rest().await;
    assert!(body.len() < 2 * SENT);
    running.idle().await;
    let log = running.log(2).await;
    assert_eq!(log[1]["complete"], false, "{log:?}");
    let mut other = running.connect("web").await;
    assert_eq!(other.get("/", "1").await.text(), "ok");
}

/// Endpoints answer just when timers run out, in one piece or two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_gets_one_answer_whatever_comes_first() {
    const CLIENTS: u64 = 24;
    const ROUNDS: u64 = 12;
    let count = Arc::new(AtomicU64::new(0));
    let (backend, _) = backend(move |mut wire, target| {
        let number = count.fetch_add(1, SeqCst);
        async move {
            // Around the timeout and the looks after it.
            tokio::time::sleep(Duration::from_millis(180 + number * 7 % 130)).await;
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                target.len()
            );
            if number.is_multiple_of(2) {
                wire.try_send(format!("{head}{target}").as_bytes()).await;
            } else if wire.try_send(head.as_bytes()).await {
                tokio::task::yield_now().await;
                wire.try_send(target.as_bytes()).await;
            }
            wire
        }
    })
    .await;
    let (running, _client, _) = warm(&backend).await;
    let running = Arc::new(running);
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let running = Arc::clone(&running);
        clients.spawn(async move {
            let mut wire = running.connect("web").await;
            let (mut whole, mut late, mut broken) = (0, 0, 0);
            for round in 0..ROUNDS {
                let path = format!("/timed/{client}/{round}");
                let request = format!("GET {path} HTTP/1.1\r\nHost: web\r\n\r\n");
                wire.send(request.as_bytes()).await;
                let head = soon("a head", wire.head()).await;
                match head.as_ref().map(common::wire::Head::status) {
                    Some(504) => {
                        let body = wire.body(&head.expect("just seen")).await;
                        assert_eq!(body, b"upstream request timeout", "{path}");
                        late += 1;
                    }
                    Some(200) => {
                        // All of it, or its beginning and the end of the connection.
                        let length = path.len();
                        let body = wire.at_most(length).await;
                        assert!(path.as_bytes().starts_with(&body), "{path}: {body:?}");
                        if body.len() == length {
                            whole += 1;
                        } else {
                            broken += 1;
                            wire = running.connect("web").await;
                        }
                    }
                    None => {
                        broken += 1;
                        wire = running.connect("web").await;
                    }
                    Some(status) => panic!("{path}: {status}"),
                }
                assert!(wire.ahead.is_empty(), "{path}: {:?}", wire.ahead);
            }
            (whole, late, broken)
        });
    }
    let (mut whole, mut late, mut broken) = (0, 0, 0);
    while let Some(counts) = clients.join_next().await {
        let counts: (usize, usize, usize) = counts.expect("the client's task ends well");
        whole += counts.0;
        late += counts.1;
        broken += counts.2;
    }
    running.idle().await;
    let all = (CLIENTS * ROUNDS) as usize;
    assert_eq!(whole + late + broken, all);
    if let Some(datapath) = &running.agent.datapath {
        datapath.read_events();
    }
    let log = running.log(all + 1).await;
    assert_eq!(log.len(), all + 1, "a line for each request, and no more");
    let answered = log.iter().filter(|line| line["status"] == 504).count();
    assert_eq!(answered, late);
    let complete = log.iter().filter(|line| line["complete"] == false).count();
    assert_eq!(complete, broken, "whole {whole}, late {late}");
}
