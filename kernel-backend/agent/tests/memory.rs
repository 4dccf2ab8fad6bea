//! A large body in a process of its own, whose memory is looked at.

mod common;

use common::wire::Wire;
use common::{Backend, simple, soon, start};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const LARGE: usize = 100 * 1024 * 1024;

/// Peak of the process's memory, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.expect("a number").parse().expect("a number")
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

async fn send_large(wire: &mut Wire) -> [u8; 32] {
    let mut hash = Sha256::new();
    for index in 0..LARGE / 4096 {
        let block = block(index);
        hash.update(block);
        wire.stream.write_all(&block).await.expect("it is taken");
    }
    hash.finalize().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_pass_each_way_in_little_memory() {
    let backend = Backend::new(|stream, _| async move {
        let mut wire = Wire::new(stream);
        while let Some(head) = wire.head().await {
            if head.start.starts_with("POST") {
                let sum = digest(&mut wire, LARGE).await;
                wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\n")
                    .await;
                wire.send(&sum).await;
            } else {
                wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes())
                    .await;
                send_large(&mut wire).await;
            }
        }
    })
    .await;
    let running = start(&simple(&[backend.address])).await;
    let mut client = running.connect("web").await;
    // Whatever is needed at all is there after one small round.
    let before = peak();
    client
        .send(format!("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes())
        .await;
    let sent = send_large(&mut client).await;
    let reply = client.reply().await;
    assert_eq!(reply.body, sent);
    client.send(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").await;
    let head = client.head().await.expect("a response");
    assert_eq!(head.status(), 200);
    let sum = digest(&mut client, LARGE).await;
    assert_eq!(sum, sent);
    let grown = peak() - before;
    assert!(grown < 24 * 1024, "the process grew by {grown} KiB");
    running.idle().await;
    let log = running.log(2).await;
    assert_eq!(log[0]["request_bytes"], LARGE);
    assert_eq!(log[1]["response_bytes"], LARGE);
}
