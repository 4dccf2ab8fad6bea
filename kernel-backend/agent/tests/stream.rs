//! Bodies as streams: bounded in memory, and broken off on either side.

mod common;

use std::sync::Arc;

use common::wire::Wire;
use common::{Backend, bootstrap, cluster, http_listener, manager, soon, start};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Notify;

/// More than all sockets' buffers take.
const SLOW: usize = 24 * 1024 * 1024;

/// Least request counts what is active.
fn config(endpoint: std::net::SocketAddr) -> Value {
    let routes =
        json!([{"match": {"prefix": "/"}, "route": {"cluster": "backend", "timeout": "0s"}}]);
    bootstrap(
        &[http_listener("web", &manager(&routes))],
        &[cluster("backend", "LEAST_REQUEST", &[endpoint])],
    )
}

/// The block at this place of a body that never repeats within a MiB.
fn block(index: usize) -> [u8; 4096] {
    let mut block = [0; 4096];
    for (place, word) in block.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&((index * 512 + place) as u64).to_le_bytes());
    }
    block
}

/// Reads so many bytes and gives their digest.
async fn digest(wire: &mut Wire, length: usize) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut left = length;
    let ahead = std::mem::take(&mut wire.ahead);
    hash.update(&ahead);
    left -= ahead.len();
    let mut buffer = vec![0; 64 * 1024];
    while left > 0 {
        let want = left.min(buffer.len());
        let read = soon("bytes", wire.stream.read(&mut buffer[..want]))
            .await
            .expect("bytes");
        assert_ne!(read, 0, "{left} bytes are missing");
        hash.update(&buffer[..read]);
        left -= read;
    }
    hash.finalize().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_holds_the_endpoint_back() {
    let stuck = Arc::new(Notify::new());
    let told = Arc::clone(&stuck);
    let backend = Backend::new(move |stream, _| {
        let told = Arc::clone(&told);
        async move {
            let mut wire = Wire::new(stream);
            wire.head().await.expect("a request");
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SLOW}\r\n\r\n").as_bytes())
                .await;
            let mut all: Vec<u8> = (0..SLOW / 4096).flat_map(block).collect();
            let mut waits = 0;
            while !all.is_empty() {
                // Full for a while: the sockets' buffers are, and nobody in between hoards.
                let pause = std::time::Duration::from_millis(300);
                match tokio::time::timeout(pause, wire.stream.writable()).await {
                    Err(_) => {
                        waits += 1;
                        if waits == 1 {
                            told.notify_one();
                        }
                    }
                    Ok(_) => {
                        if let Ok(written) = wire.stream.try_write(&all) {
                            all.drain(..written);
                        }
                    }
                }
            }
            assert!(waits > 0, "the client's pause was never felt");
        }
    })
    .await;
    let running = start(&config(backend.address)).await;
    let mut client = running.connect("web").await;
    client.send(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").await;
    soon("a full pipe", stuck.notified()).await;
    assert_eq!(running.active(), 1);
    assert_eq!(client.head().await.expect("a response").status(), 200);
    let mut hash = Sha256::new();
    for index in 0..SLOW / 4096 {
        hash.update(block(index));
    }
    let expected: [u8; 32] = hash.finalize().into();
    assert_eq!(digest(&mut client, SLOW).await, expected);
    running.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_dies_midway_breaks_the_response_off() {
    for response in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf \r\n5\r\nof it\r\n",
    ] {
        let backend = Backend::canned(response, true).await;
        let running = start(&config(backend.address)).await;
        let mut client = running.connect("web").await;
        client.send(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").await;
        assert_eq!(client.head().await.expect("a head").status(), 200);
        let rest = String::from_utf8(client.rest().await).expect("text");
        assert!(rest.contains("half"), "{rest:?}");
        assert!(
            !rest.contains("\r\n0\r\n"),
            "it must not look whole: {rest:?}"
        );
        running.idle().await;
        let log = running.log(1).await;
        assert_eq!(log[0]["complete"], false);
        assert_eq!(log[0]["response_bytes"], 10);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_vanishes_gives_its_share_back() {
    let seen = Arc::new(Notify::new());
    let gone = Arc::new(Notify::new());
    let (told, left) = (Arc::clone(&seen), Arc::clone(&gone));
    let backend = Backend::new(move |stream, _| {
        let (told, left) = (Arc::clone(&told), Arc::clone(&left));
        async move {
            let mut wire = Wire::new(stream);
            let head = wire.head().await.expect("a request");
            if head.start.contains("/body") {
                wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nstart")
                    .await;
            }
            told.notify_one();
            wire.rest().await;
            left.notify_one();
        }
    })
    .await;
    let running = start(&config(backend.address)).await;
    for (number, request) in [
        // Waiting for the head.
        "GET /head HTTP/1.1\r\nHost: web\r\n\r\n",
        // In the middle of the response.
        "GET /body HTTP/1.1\r\nHost: web\r\n\r\n",
        // In the middle of the request.
        "POST /upload HTTP/1.1\r\nHost: web\r\nContent-Length: 1000\r\n\r\nstart",
    ]
    .iter()
    .enumerate()
    {
        let mut client = running.connect("web").await;
        client.send(request.as_bytes()).await;
        soon("the request", seen.notified()).await;
        assert_eq!(running.active(), 1, "{request}");
        drop(client);
        soon("the endpoint hears of it", gone.notified()).await;
        running.idle().await;
        let log = running.log(number + 1).await;
        assert_eq!(log[number]["complete"], false, "{request}");
    }
    assert_eq!(running.agent.proxy.idle_upstreams(), 0);
}
