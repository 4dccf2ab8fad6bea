//! What only the kernel's way has: how connections are taken, what is spliced and what is not, and
//! the hazards of sockets that are tied together.

mod common;

use std::mem::{offset_of, size_of};
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use common::wire::Wire;
use common::{Backend, Running, bootstrap, cluster, http_listener, manager, simple, soon, start};
use serde_json::json;
use tokio::net::TcpStream;
use twinmesh_agent::datapath::Splice;
use twinmesh_kernel_backend::datapath::shape::{Client, handed, mode};

/// The kernel's part; `None` where this machine has none and need not.
fn splice(running: &Running) -> Option<Arc<Splice>> {
    let datapath = running.agent.datapath.as_ref();
    datapath.map(|datapath| Arc::clone(&datapath.splice))
}

fn counted(running: &Running, why: u64) -> u64 {
    splice(running).map_or(0, |splice| splice.datapath.maps().handed()[why as usize])
}

/// Requests that were spliced.
fn spliced(running: &Running) -> u64 {
    splice(running).map_or(0, |splice| {
        let totals = splice.collect(&running.agent.live);
        totals.iter().map(|(_, total)| total.requests).sum()
    })
}

/// The agent has given back what it had: the next request is the kernel's.
async fn settled(running: &Running) {
    if let Some(splice) = splice(running) {
        common::until("connections are given back", || {
            let fill = splice.fill();
            fill[1].1 == 0 && fill[3].1 > 0
        })
        .await;
    }
}

/// An agent with one backend, a connection to it in the kernel's pool, and a client.
async fn warm(backend: &Backend) -> (Running, Wire) {
    let running = start(&simple(&[backend.address])).await;
    let mut client = running.connect("web").await;
    assert_eq!(client.get("/first", "0").await.head.status(), 200);
    settled(&running).await;
    (running, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_may_come_in_any_two_pieces() {
    let backend = Backend::echo("one").await;
    let (running, mut client) = warm(&backend).await;
    let head = b"GET /pieces?a=b HTTP/1.1\r\nHost: web\r\nX-Id: 7\r\nX-Other: some thing\r\n\r\n";
    for cut in 1..head.len() {
        let (first, second) = head.split_at(cut);
        client.send(first).await;
        client.send(second).await;
        let reply = client.reply().await;
        assert_eq!(reply.head.header("x-id"), Some("7"), "cut at {cut}");
        settled(&running).await;
        assert!(reply.text().contains("/pieces?a=b"), "cut at {cut}");
    }
    if splice(&running).is_some() {
        assert_eq!(spliced(&running), head.len() as u64 - 1);
    }
    assert_eq!(backend.connections(), 1);
    running.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_on_its_way_to_the_agent_stays_whole_when_the_connection_is_given_back() {
    let backend = Backend::echo("one").await;
    let (running, mut client) = warm(&backend).await;
    let Some(splice) = splice(&running) else {
        return;
    };
    let maps = splice.datapath.maps();
    let found = (0..u64::from(maps.sizes.clients))
        .find_map(|index| splice.client(index, maps.client(index).get(offset_of!(Client, uses))));
    let found = found.expect("the client is tracked");
    // The agent still has the connection when a request begins,
    let turn = found.record().word(offset_of!(Client, mode));
    turn.store(mode::AGENT, SeqCst);
    client
        .send(b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 12\r\n\r\nONE")
        .await;
    common::until("the agent has the head", || running.active() == 1).await;
    // and has given it back before it saw that.
    turn.store(mode::SPLICE, SeqCst);
    client.send(b" AND TWO.").await;
    assert_eq!(client.reply().await.text(), "ONE AND TWO.");
    settled(&running).await;
    let before = spliced(&running);
    assert_eq!(client.get("/after", "1").await.head.status(), 200);
    assert_eq!(client.get("/after", "2").await.head.status(), 200);
    running.idle().await;
    assert!(
        spliced(&running) > before,
        "the kernel has the connection again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_speaks_something_else_is_answered_at_once() {
    let backend = Backend::echo("one").await;
    let (running, _client) = warm(&backend).await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"EHLO web\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"GET / HTTP/1.1\r\nHost web\r\n\r\n",
    ] {
        let mut other = running.connect("web").await;
        other.send(bytes).await;
        // A refusal or the connection's end, but no silence.
        let answer = soon("an answer", other.rest()).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 4"),
            "{bytes:?}: {text}"
        );
    }
    running.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_application_sees_the_destination_that_it_asked_for() {
    let backend = Backend::echo("one").await;
    let running = start(&simple(&[backend.address])).await;
    if splice(&running).is_none() {
        return;
    }
    let destination = running.address("web");
    let stream = TcpStream::connect(destination).await.expect("it is taken");
    assert_eq!(stream.peer_addr().expect("connected"), destination);
    let original = socket2::SockRef::from(&stream).original_dst_v4();
    let original = original.expect("SO_ORIGINAL_DST").as_socket();
    assert_eq!(original, Some(destination));
    // A socket that was not taken has none.
    let direct = TcpStream::connect(backend.address)
        .await
        .expect("it is there");
    assert!(socket2::SockRef::from(&direct).original_dst_v4().is_err());
    assert_eq!(direct.peer_addr().expect("connected"), backend.address);
    // A request for another option is answered as ever, however large its buffer.
    let mut value = vec![0_u8; 8192];
    let mut length = value.len() as libc::socklen_t;
    // SAFETY: the buffer is as long as is said.
    let answered = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_CONGESTION,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    assert_eq!(answered, 0);
    assert!(length > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ipv6_and_mapped_connections_are_taken_too() {
    let backend = Backend::echo("one").await;
    let mut bootstrap = simple(&[backend.address]);
    let listeners = &mut bootstrap["static_resources"]["listeners"];
    let mut six = listeners[0].clone();
    six["name"] = json!("six");
    six["address"]["socket_address"] =
        json!({"address": "::1", "port_value": 20_000 + std::process::id() % 10_000});
    listeners.as_array_mut().expect("a list").push(six);
    let running = start(&bootstrap).await;
    if splice(&running).is_none() {
        return;
    }
    let four = running.address("web");
    let SocketAddr::V4(v4) = four else {
        panic!("{four} is IPv4")
    };
    let mapped = SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port());
    for address in [running.address("six"), mapped] {
        let socket = tokio::net::TcpSocket::new_v6().expect("a socket");
        let stream = socket.connect(address).await.expect("it is taken");
        assert_eq!(stream.peer_addr().expect("connected"), address);
        if address.ip() == Ipv6Addr::LOCALHOST {
            let original = socket2::SockRef::from(&stream).original_dst_v6();
            assert_eq!(original.expect("the option").as_socket(), Some(address));
        }
        let mut client = Wire::new(stream);
        for number in 0..5 {
            let reply = client.get("/", &number.to_string()).await;
            assert_eq!(reply.head.status(), 200, "{address}");
            settled(&running).await;
        }
    }
    // The first request of all makes the connection that the others are spliced into.
    assert_eq!(spliced(&running), 9);
    running.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_survives_an_upstream_connection_that_dies() {
    let served = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&served);
    // Each connection answers two requests, and dies upon the third.
    let backend = Backend::new(move |stream, _| {
        let served = Arc::clone(&counted);
        async move {
            let mut wire = Wire::new(stream);
            for number in 0..3 {
                let Some(head) = wire.head().await else {
                    return;
                };
                wire.body(&head).await;
                if number < 2 {
                    served.fetch_add(1, SeqCst);
                    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                        .await;
                }
            }
        }
    })
    .await;
    let (running, mut client) = warm(&backend).await;
    for number in 1..30 {
        let reply = client.get("/", &number.to_string()).await;
        assert_eq!(reply.text(), "ok", "request {number}");
    }
    assert_eq!(served.load(SeqCst), 30);
    if let Some(splice) = splice(&running) {
        assert!(splice.counts.replayed.load(SeqCst) > 0);
    }
    running.idle().await;
    // One with a body may have been acted on: the client is told.
    let mut refused = 0;
    for _ in 0..6 {
        let mut other = running.connect("web").await;
        other
            .send(b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\nab")
            .await;
        let head = soon("an answer", other.head()).await.expect("an answer");
        refused += u64::from(head.status() == 503);
        assert!(matches!(head.status(), 200 | 503), "{}", head.start);
    }
    assert!(refused > 0, "every third request meets a dying connection");
    running.idle().await;
}

/// A body that would be a request.
const DISGUISED: &[u8] = b"GET /disguised HTTP/1.1\r\nHost: web\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_of_a_body_whose_endpoint_has_gone_is_no_request() {
    let disguised = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&disguised);
    // Uploads end each connection before their bodies have come.
    let backend = Backend::new(move |stream, _| {
        let disguised = Arc::clone(&counted);
        async move {
            let mut wire = Wire::new(stream);
            while let Some(head) = wire.head().await {
                if head.start.starts_with("POST") {
                    return;
                }
                let is_disguised = head.start.contains("/disguised");
                disguised.fetch_add(u64::from(is_disguised), SeqCst);
                wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await;
            }
        }
    })
    .await;
    let (running, _first) = warm(&backend).await;
    for _ in 0..20 {
        let mut client = running.connect("web").await;
        while client.get("/", "warm").await.head.status() != 200 {}
        settled(&running).await;
        let length = 300 * DISGUISED.len();
        let head =
            format!("POST /upload HTTP/1.1\r\nHost: web\r\nContent-Length: {length}\r\n\r\n");
        client.send(head.as_bytes()).await;
        for _ in 0..300 {
            if !client.try_send(DISGUISED).await {
                break;
            }
            tokio::task::yield_now().await;
        }
        // Where all of it is taken, the answer comes; else the connection ends.
        if let Some(head) = soon("an answer", client.head()).await {
            assert_eq!(head.status(), 503, "{}", head.start);
        }
    }
    assert_eq!(disguised.load(SeqCst), 0);
    running.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_goes_on_where_it_began_while_the_agent_drains() {
    let backend = Backend::echo("one").await;
    let (running, mut client) = warm(&backend).await;
    let length = 2 * DISGUISED.len();
    let head = format!("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: {length}\r\n\r\n");
    client.send(&[head.as_bytes(), DISGUISED].concat()).await;
    soon("the request is under way", async {
        while running.active() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // Its listener goes, and with it the connection, once this request is through.
    running.update(&bootstrap(&[], &[])).await;
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    client.send(DISGUISED).await;
    let reply = client.reply().await;
    assert_eq!(reply.head.status(), 200);
    assert_eq!(reply.body, DISGUISED.repeat(2));
    running.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_whose_requests_are_spliced_is_not_idle() {
    let backend = Backend::echo("one").await;
    let mut config = simple(&[backend.address]);
    let manager = &mut config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0];
    manager["typed_config"]["common_http_protocol_options"] = json!({"idle_timeout": "0.5s"});
    let running = start(&config).await;
    let mut client = running.connect("web").await;
    for number in 0..20 {
        let reply = client.get("/", &number.to_string()).await;
        assert_eq!(reply.head.status(), 200, "request {number}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(client.ended().await, "it ends once it is idle");
    running.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_follows_a_response_that_broke_off() {
    let backend = Backend::new(|stream, _| async move {
        let mut wire = Wire::new(stream);
        while let Some(head) = wire.head().await {
            let body = wire.body(&head).await;
            if head.start.contains("/half") {
                wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf \r\n")
                    .await;
                // The request behind it has its response ready by then.
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                return;
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            wire.send(&[head.as_bytes(), &body].concat()).await;
        }
    })
    .await;
    let (running, mut client) = warm(&backend).await;
    client
        .send(
            b"GET /half HTTP/1.1\r\nHost: web\r\n\r\n\
              POST /behind HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        )
        .await;
    let got = String::from_utf8(client.rest().await).expect("text");
    assert_eq!(got.matches("HTTP/1.1").count(), 1, "{got}");
    assert!(got.ends_with("half \r\n"), "{got}");
    running.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_half_closes_gets_its_whole_response() {
    let backend = Backend::new(|stream, _| async move {
        let mut wire = Wire::new(stream);
        while let Some(head) = wire.head().await {
            wire.body(&head).await;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n")
                .await;
            wire.send(&vec![b'x'; 300_000]).await;
        }
    })
    .await;
    let (running, mut client) = warm(&backend).await;
    for _ in 0..3 {
        client.send(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").await;
        client.shutdown();
        let head = client.head().await.expect("a response");
        let body = client.body(&head).await;
        assert_eq!(body.len(), 300_000);
        assert!(client.ended().await);
        client = running.connect("web").await;
    }
    running.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_relayed_and_queues_little() {
    const SIZE: usize = 20 << 20;
    let backend = Backend::new(|stream, _| async move {
        let mut wire = Wire::new(stream);
        while let Some(head) = wire.head().await {
            wire.body(&head).await;
            let size = if head.start.contains("/first") {
                2
            } else {
                SIZE
            };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
            if !wire.try_send(head.as_bytes()).await || !wire.try_send(&vec![b'y'; size]).await {
                return;
            }
        }
    })
    .await;
    let (running, mut client) = warm(&backend).await;
    client
        .send(b"GET /large HTTP/1.1\r\nHost: web\r\n\r\n")
        .await;
    if let Some(splice) = splice(&running) {
        common::until("the response is relayed", || {
            splice.counts.relayed.load(SeqCst) == 1
        })
        .await;
    }
    let head = client.head().await.expect("a response");
    let body = client.body(&head).await;
    assert!(body.len() == SIZE && body.iter().all(|&byte| byte == b'y'));
    // And the connection is spliced again.
    settled(&running).await;
    let before = spliced(&running);
    for _ in 0..10 {
        assert_eq!(client.get("/first", "1").await.head.status(), 200);
        settled(&running).await;
    }
    if splice(&running).is_some() {
        assert_eq!(spliced(&running), before + 10);
    }
    running.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxied_request_goes_back_to_the_kernel_after_it() {
    let backend = Backend::echo("one").await;
    let routes = json!([
        {"match": {"path": "/gone"}, "direct_response": {"status": 410}},
        {"match": {"prefix": "/"}, "route": {"cluster": "backend"}},
    ]);
    let running = start(&bootstrap(
        &[http_listener("web", &manager(&routes))],
        &[cluster("backend", "LEAST_REQUEST", &[backend.address])],
    ))
    .await;
    let mut client = running.connect("web").await;
    assert_eq!(client.get("/", "first").await.head.status(), 200);
    for number in 0..20 {
        settled(&running).await;
        assert_eq!(
            client.get("/", &number.to_string()).await.head.status(),
            200
        );
        settled(&running).await;
        assert_eq!(client.get("/gone", "x").await.head.status(), 410);
        settled(&running).await;
        client
            .send(b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
            .await;
        assert_eq!(client.reply().await.body, b"abc");
    }
    settled(&running).await;
    if splice(&running).is_some() {
        let handed = splice(&running).map(|splice| splice.datapath.maps().handed());
        assert_eq!(spliced(&running), 20, "handed over by reason: {handed:?}");
        assert_eq!(counted(&running, handed::OUTCOME), 20);
        assert_eq!(counted(&running, handed::FRAMING), 20);
    }
    assert_eq!(backend.connections(), 1);
    running.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_given_back() {
    let backend = Backend::echo("one").await;
    let (running, client) = warm(&backend).await;
    drop(client);
    for round in 0..40 {
        let mut clients = Vec::new();
        for _ in 0..50 {
            clients.push(running.connect("web").await);
        }
        for client in &mut clients {
            assert_eq!(client.get("/", "1").await.head.status(), 200, "{round}");
        }
    }
    // More connections than there are records have come and gone.
    let Some(splice) = splice(&running) else {
        return;
    };
    common::until("no client is known any more", || splice.fill()[0].1 == 0).await;
    assert!(size_of::<Client>() < 2048 && offset_of!(Client, uses) % 8 == 0);
    running.idle().await;
}
