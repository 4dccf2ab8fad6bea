//! An agent that is killed before a client has the last bytes of a response.

mod common;

use common::lifecycle::Place;
use common::wire::Wire;
use common::{Backend, kernel, simple, soon};

/// Bytes of the responses below: more than are queued for a client, so that the agent relays the
/// rest of them.
const LARGE: usize = 600_000;

/// An endpoint whose responses are so much longer than [`LARGE`] as the target says.
async fn large_responses() -> Backend {
    Backend::new(|stream, _| async move {
        let mut wire = Wire::new(stream);
        while let Some(head) = wire.head().await {
            let more = head.start.split(['/', ' ']).nth(2);
            let more = more.and_then(|more| more.parse::<usize>().ok());
            let body = vec![b'x'; more.map_or(5, |more| LARGE + more)];
            let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            if !wire.try_send(response.as_bytes()).await || !wire.try_send(&body).await {
                return;
            }
        }
    })
    .await
}

/// Runs a test in a network in which few sent bytes wait for their reader.
fn in_a_narrow_network<T: Future<Output = ()> + 'static>(test: fn() -> T) {
    // A namespace belongs to threads: the runtime's and the agents inherit it.
    let thread = std::thread::spawn(move || {
        common::place::own_network().expect("a network");
        let written = std::fs::write("/proc/sys/net/ipv4/tcp_wmem", "4096 8192 8192");
        written.expect("set");
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn killed_before_a_client_has_the_last_bytes_of_a_relayed_response() {
    if kernel::is_here() {
        in_a_narrow_network(killed_before_the_last_bytes);
    }
}

async fn killed_before_the_last_bytes() {
    let backend = large_responses().await;
    let place = Place::new(simple(&[backend.address]));
    let agent = place.start(&[]).await;
    // The last piece that is relayed is of any size: with some of these it does not fit.
    let mut waiting = Vec::new();
    for more in [0, 16_384, 32_768, 49_152] {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("set");
        let connected = soon("connect", socket.connect(place.destination())).await;
        let mut client = Wire::new(connected.expect("the connection is taken"));
        let relayed = agent.metric("kernel_relayed").await;
        let spliced = agent.metric("kernel_requests").await;
        while agent.metric("kernel_requests").await < spliced + 2 {
            assert_eq!(client.get("/", "warm").await.text(), "xxxxx");
        }
        let request = format!("GET /{more} HTTP/1.1\r\nHost: web\r\n\r\n");
        client.send(request.as_bytes()).await;
        let head = client.head().await.expect("a response");
        assert_eq!(head.status(), 200);
        let mut left = LARGE + more;
        // For the agent the request is over once it has nothing more to read.
        while agent.metric("active_requests").await != 0 {
            let step = if left > 200_000 { 20_000 } else { 512 };
            left -= client.at_most(step).await.len();
        }
        assert_eq!(agent.metric("kernel_relayed").await, relayed + 1);
        waiting.push((client, left));
    }
    agent.kill().await;

    let agent = place.start(&[]).await;
    assert!(agent.metric("kernel_cut_off").await > 0);
    for (client, left) in &mut waiting {
        // All of it, or an end: nobody waits for bytes that went with the agent.
        assert!(client.at_most(*left).await.len() <= *left);
    }
    drop(waiting);
    agent.until("active_requests", |count| count == 0).await;
}
