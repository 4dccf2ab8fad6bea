//! Connections that are carried as they are: TCP proxies, upgrades, CONNECT; and connections that
//! are handed over.

mod common;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::wire::Wire;
use common::{Backend, bootstrap, cluster, http_listener, manager, soon, start, tcp_listener};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use twinmesh_agent::live::{Decided, Live};
use twinmesh_agent::proxy::{ConnectionInfo, Hooks, OriginalDestination};
use twinmesh_engine::Request;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_speaks_first_is_heard() {
    let backend = Backend::new(|stream, _| async move {
        let mut wire = Wire::new(stream);
        wire.send(b"220 ready\r\n").await;
        assert_eq!(wire.exactly(6).await, b"EHLO\r\n");
        wire.send(b"250 ok\r\n").await;
        // The client's end is half of the end only.
        assert_eq!(wire.rest().await, b"QUIT\r\n");
        wire.send(b"221 bye\r\n").await;
    })
    .await;
    let running = start(&bootstrap(
        &[tcp_listener("mail", "backend")],
        &[cluster("backend", "LEAST_REQUEST", &[backend.address])],
    ))
    .await;
    let mut client = running.connect("mail").await;
    assert_eq!(client.exactly(11).await, b"220 ready\r\n");
    assert_eq!(running.active(), 1);
    client.send(b"EHLO\r\n").await;
    assert_eq!(client.exactly(8).await, b"250 ok\r\n");
    client.send(b"QUIT\r\n").await;
    client.stream.shutdown().await.expect("half-closed");
    assert_eq!(client.rest().await, b"221 bye\r\n");
    running.idle().await;
    let log = running.log(1).await;
    assert_eq!(log[0]["request_bytes"], 12);
    assert_eq!(log[0]["response_bytes"], 28);
    assert_eq!(log[0]["cluster"], "backend");
    assert_eq!(log[0].get("method"), None);
    assert_eq!(log[0]["complete"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_a_tcp_proxy_without_an_endpoint_end() {
    let running = start(&bootstrap(
        &[tcp_listener("mail", "backend")],
        &[cluster("backend", "ROUND_ROBIN", &[])],
    ))
    .await;
    let mut client = running.connect("mail").await;
    assert!(client.ended().await);
    let log = running.log(1).await;
    assert_eq!(log[0]["outcome"], "no_healthy_upstream");
}

/// Switches protocols and echoes.
async fn websocket() -> Backend {
    Backend::new(|stream, _| async move {
        let mut wire = Wire::new(stream);
        let head = wire.head().await.expect("a request");
        assert_eq!(head.header("upgrade"), Some("websocket"));
        assert_eq!(head.header("connection"), Some("Upgrade"));
        if head.start.contains("/refuse") {
            wire.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno").await;
            return;
        }
        wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")
            .await;
        loop {
            let bytes = wire.exactly(4).await;
            if bytes == b"quit" {
                return;
            }
            wire.send(&bytes).await;
        }
    })
    .await
}

const UPGRADE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrades_are_tunnelled_where_they_are_configured() {
    let backend = websocket().await;
    let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}]);
    let mut manager = manager(&routes);
    manager["upgrade_configs"] = json!([{"upgrade_type": "websocket"}]);
    let running = start(&bootstrap(
        &[http_listener("web", &manager)],
        &[cluster("backend", "LEAST_REQUEST", &[backend.address])],
    ))
    .await;
    let mut client = running.connect("web").await;
    client.send(UPGRADE).await;
    let head = client.head().await.expect("a response");
    assert_eq!(head.status(), 101);
    assert_eq!(head.header("upgrade"), Some("websocket"));
    assert_eq!(client.exactly(5).await, b"first");
    for _ in 0..3 {
        client.send(b"ping").await;
        assert_eq!(client.exactly(4).await, b"ping");
    }
    assert_eq!(running.active(), 1);
    client.send(b"quit").await;
    assert!(client.ended().await);
    drop(client);
    running.idle().await;
    let log = running.log(1).await;
    assert_eq!(
        (&log[0]["status"], &log[0]["complete"]),
        (&json!(101), &json!(true))
    );
    assert_eq!(log[0]["request_bytes"], 16);
    assert_eq!(log[0]["response_bytes"], 17);

    let mut client = running.connect("web").await;
    client
        .send(b"GET /refuse HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    let reply = client.reply().await;
    assert_eq!((reply.head.status(), reply.text().as_str()), (400, "no"));
    running.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrades_and_connect_are_refused_where_they_are_not_configured() {
    let backend = websocket().await;
    let routes = json!([{"match": {"path": "/"}, "route": {"cluster": "backend"}}]);
    let running = start(&bootstrap(
        &[http_listener("web", &manager(&routes))],
        &[cluster("backend", "ROUND_ROBIN", &[backend.address])],
    ))
    .await;
    let mut client = running.connect("web").await;
    client.send(UPGRADE).await;
    assert_eq!(client.reply().await.head.status(), 403);
    // Without a route there is nothing to refuse.
    let mut client = running.connect("web").await;
    client
        .send(
            b"GET /none HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .await;
    assert_eq!(client.reply().await.head.status(), 404);
    let mut client = running.connect("web").await;
    client
        .send(b"CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n")
        .await;
    // No route without a connect_matcher takes it.
    assert_eq!(client.reply().await.head.status(), 404);
    assert!(client.ended().await);
    assert_eq!(backend.connections(), 0);
    running.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tunnels_that_envoy_would_open_are_refused() {
    let backend = Backend::echo("backend").await;
    let ends = json!([{"upgrade_type": "CONNECT", "connect_config": {"allow_post": true}}]);
    let routes = json!([
        {"match": {"connect_matcher": {}}, "route": {"cluster": "backend", "upgrade_configs": ends}},
        {"match": {"prefix": "/"}, "route": {"cluster": "backend", "upgrade_configs": ends}}]);
    let running = start(&bootstrap(
        &[http_listener("web", &manager(&routes))],
        &[cluster("backend", "ROUND_ROBIN", &[backend.address])],
    ))
    .await;
    for head in [
        "CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 4\r\n\r\nping",
    ] {
        let mut client = running.connect("web").await;
        client.send(head.as_bytes()).await;
        assert_eq!(client.reply().await.head.status(), 503, "{head}");
    }
    assert_eq!(backend.connections(), 0);
    let mut client = running.connect("web").await;
    assert_eq!(client.get("/", "1").await.head.status(), 200);
    running.idle().await;
}

/// A say in everything, and a count of it.
struct Say {
    live: Live,
    told: Mutex<Vec<String>>,
    gate: Notify,
    written: AtomicU64,
}

impl Hooks for Say {
    fn decision(&self, request: &Request) -> Option<Decided> {
        self.told
            .lock()
            .expect("not poisoned")
            .push(request.path.clone());
        // As somebody else decided already: by the number that picks the second cluster.
        Some(self.live.decide(request, 1).expect("a policy"))
    }

    fn ready_to_respond(&self) -> BoxFuture<'_, ()> {
        self.gate.notified().boxed()
    }

    fn response_written(&self) {
        self.written.fetch_add(1, SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_handed_over_goes_by_its_hooks() {
    let (one, two) = (Backend::echo("one").await, Backend::echo("two").await);
    let routes = json!([{"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [
        {"name": "one", "weight": 1}, {"name": "two", "weight": 1}]}}}]);
    let mut listener = http_listener("web", &manager(&routes));
    listener["address"]["socket_address"] = json!({"address": "192.0.2.7", "port_value": 80});
    listener["bind_to_port"] = json!(false);
    let running = start(&bootstrap(
        &[listener],
        &[
            cluster("one", "ROUND_ROBIN", &[one.address]),
            cluster("two", "ROUND_ROBIN", &[two.address]),
        ],
    ))
    .await;
    let say = Arc::new(Say {
        live: running.agent.live.clone(),
        told: Mutex::default(),
        gate: Notify::new(),
        written: AtomicU64::new(0),
    });
    let accepting = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = accepting.local_addr().expect("an address");
    let (client, accepted) = tokio::join!(TcpStream::connect(address), accepting.accept());
    let (stream, source) = accepted.expect("a connection");
    let info = ConnectionInfo {
        source,
        destination: "192.0.2.7:80".parse().expect("an address"),
        listener: None,
    };
    let hooks: Arc<dyn Hooks> = Arc::clone(&say) as Arc<dyn Hooks>;
    // The first request's start was read ahead.
    running.agent.proxy.spawn_connection(
        stream,
        Bytes::from_static(b"GET /1 HTTP/1.1\r\nHo"),
        info,
        Some(hooks),
    );
    let mut client = Wire::new(client.expect("a connection"));
    client.send(b"st: web\r\nX-Id: 1\r\n\r\n").await;
    for number in 1..=3_u64 {
        if number > 1 {
            let request = format!("GET /{number} HTTP/1.1\r\nHost: web\r\nX-Id: {number}\r\n\r\n");
            client.send(request.as_bytes()).await;
        }
        assert_eq!(say.written.load(SeqCst), number - 1);
        assert!(client.ahead.is_empty());
        say.gate.notify_one();
        let reply = client.reply().await;
        assert_eq!(reply.head.header("x-id"), Some(number.to_string().as_str()));
        assert_eq!(reply.head.header("x-backend"), Some("two"));
        common::until("told of the response", || {
            say.written.load(SeqCst) == number
        })
        .await;
    }
    assert_eq!(*say.told.lock().expect("not poisoned"), ["/1", "/2", "/3"]);
    running.idle().await;
    let log = running.log(3).await;
    assert!(
        log.iter()
            .all(|line| line["random"] == 1 && line["destination"] == "192.0.2.7:80")
    );
}

struct Known(SocketAddr);

impl OriginalDestination for Known {
    fn of(&self, _peer: SocketAddr, _local: SocketAddr) -> Option<SocketAddr> {
        (self.0.port() != 0).then_some(self.0)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirected_connections_go_by_their_original_destination() {
    let backend = Backend::echo("one").await;
    let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}]);
    let mut listener = http_listener("web", &manager(&routes));
    listener["address"]["socket_address"] = json!({"address": "192.0.2.7", "port_value": 80});
    listener["bind_to_port"] = json!(false);
    let running = start(&bootstrap(
        &[listener],
        &[cluster("backend", "ROUND_ROBIN", &[backend.address])],
    ))
    .await;
    for (destination, served) in [
        ("192.0.2.7:80", true),
        ("192.0.2.8:80", false),
        ("192.0.2.7:0", false),
    ] {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        let known = Known(destination.parse().expect("an address"));
        running
            .agent
            .bound
            .accept_redirected(socket, Arc::new(known));
        let stream = TcpStream::connect(address).await.expect("a connection");
        let mut client = Wire::new(stream);
        client
            .try_send(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
            .await;
        let head = soon("an end", client.head()).await;
        assert_eq!(
            head.map(|head| head.status()),
            served.then_some(200),
            "{destination}"
        );
    }
}
