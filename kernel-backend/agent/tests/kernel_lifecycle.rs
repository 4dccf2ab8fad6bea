//! The agent's ends: killed, followed by another, ended for good. What the kernel carries goes on,
//! and nothing is left behind.

mod common;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use common::lifecycle::{AGENT, Agent, Place};
use common::wire::Wire;
use common::{Backend, kernel, simple, soon};
use futures_util::future::FutureExt as _;
use tokio::net::TcpStream;
use tokio::process::Command;

/// A request that the kernel leaves to the agent.
const CHUNKED: &[u8] =
    b"POST /chunked HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

async fn get(client: &mut Wire, id: &str) {
    let reply = client.get("/", id).await;
    assert_eq!(reply.head.status(), 200);
    assert_eq!(reply.head.header("x-id"), Some(id));
}

/// Clients whose requests the kernel splices.
async fn warm(place: &Place, agent: &Agent, count: usize) -> Vec<Wire> {
    let mut clients = Vec::new();
    for index in 0..count {
        let mut client = place.connect().await;
        get(&mut client, &format!("first {index}")).await;
        clients.push(client);
    }
    let before = agent.metric("kernel_requests").await;
    soon("requests are spliced", async {
        while agent.metric("kernel_requests").await < before + 2 * count as u64 {
            for client in &mut clients {
                get(client, "warm").await;
            }
        }
    })
    .await;
    clients
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_outlive_an_agent_that_is_killed() {
    if !kernel::is_here() {
        return;
    }
    let backend = Backend::echo("one").await;
    let place = Place::new(simple(&[backend.address]));
    let agent = place.start(&[]).await;
    let mut clients = warm(&place, &agent, 8).await;
    assert!(agent.metric("kernel_held_sockets").await >= 9);
    agent.kill().await;

    // Nobody but the kernel is there.
    for (index, client) in clients.iter_mut().enumerate() {
        get(client, &format!("alone {index}")).await;
    }
    let mut late = place.connect().await;
    get(&mut late, "late").await;
    clients[0].send(CHUNKED).await;
    let connections = backend.connections();

    let agent = place.start(&[]).await;
    let reply = clients[0].reply().await;
    assert_eq!((reply.head.status(), reply.text().as_str()), (200, "hello"));
    for (index, client) in clients.iter_mut().enumerate() {
        get(client, &format!("adopted {index}")).await;
    }
    get(&mut late, "late, too").await;
    assert_eq!(
        backend.connections(),
        connections,
        "the connections to the endpoint are adopted too"
    );
    assert!(agent.metric("kernel_adopted").await >= 9);
    assert_eq!(agent.metric("kernel_cut_off").await, 0);
    agent.until("active_requests", |count| count == 0).await;
    let before = agent.metric("kernel_requests").await;
    get(&mut clients[1], "spliced").await;
    get(&mut clients[1], "spliced").await;
    agent.until("kernel_requests", |now| now > before).await;

    drop(clients);
    drop(late);
    let (status, errors) = agent.end(libc::SIGTERM).await;
    assert!(status.success(), "{errors}");
    assert_eq!(place.pinned(), 0, "no pin is left");
    let left: Vec<_> = std::fs::read_dir(place.kept())
        .expect("it is there")
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| name != "agent.pid")
        .collect();
    soon("the holder ends", async {
        while place.kept().join("holder.sock").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(
        left.iter().all(|name| name == "holder.sock"),
        "left behind: {left:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_killed_agent_was_in_the_middle_of_ends_in_an_error() {
    if !kernel::is_here() {
        return;
    }
    let backend = Backend::echo("one").await;
    let place = Place::new(simple(&[backend.address]));
    let agent = place.start(&[]).await;
    let mut clients = warm(&place, &agent, 2).await;
    let held = agent.metric("kernel_held_sockets").await;
    let mut half = place.connect().await;
    half.send(b"POST /half HTTP/1.1\r\nHost: web\r\nContent-Length: 1000000\r\n\r\n")
        .await;
    half.send(&[b'x'; 5000]).await;
    agent.until("active_requests", |count| count == 1).await;
    agent.until("kernel_held_sockets", |now| now > held).await;
    agent.kill().await;

    let agent = place.start(&[]).await;
    assert_eq!(agent.metric("kernel_cut_off").await, 1);
    let answer = half.rest().await;
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    for client in &mut clients {
        get(client, "goes on").await;
    }
    // What the first agent counted for the request is given back.
    agent.until("active_requests", |count| count == 0).await;
}

/// How long a client waits for an answer: longer than an agent takes to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(50);

/// Clients that ask all the time, of which every third request goes through the proxy.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<u64>>,
}

impl Load {
    fn start(destination: SocketAddr, clients: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let tasks = (0..clients).map(|client| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            tokio::spawn(async move {
                let mut wire: Option<Wire> = None;
                let (mut errors, mut request) = (0, 0_u64);
                while !stop.load(SeqCst) {
                    request += 1;
                    let mut connection = match wire.take() {
                        Some(wire) => wire,
                        None => match TcpStream::connect(destination).await {
                            Ok(stream) => Wire::new(stream),
                            Err(_) => {
                                errors += 1;
                                continue;
                            }
                        },
                    };
                    let id = format!("{client}-{request}");
                    let chunked = request % 3 == 0;
                    let text = if chunked {
                        format!("POST / HTTP/1.1\r\nHost: web\r\nX-Id: {id}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{id}\r\n0\r\n\r\n", id.len())
                    } else {
                        format!("GET /{id} HTTP/1.1\r\nHost: web\r\nX-Id: {id}\r\n\r\n")
                    };
                    let answer = async {
                        if !connection.try_send(text.as_bytes()).await {
                            return None;
                        }
                        let head = connection.head().await?;
                        let body = connection.body(&head).await;
                        Some((head, body))
                    };
                    // What breaks off panics in there.
                    let answer = AssertUnwindSafe(answer).catch_unwind();
                    let answer = tokio::time::timeout(PATIENCE, answer).await;
                    let answer = answer.unwrap_or_else(|_| panic!("{id} waits for ever"));
                    // No whole answer is an error; another's answer would be a disaster.
                    let Ok(Some((head, body))) = answer else {
                        errors += 1;
                        continue;
                    };
                    assert_eq!(head.status(), 200, "{}", head.text);
                    assert_eq!(head.header("x-id"), Some(id.as_str()));
                    let body = String::from_utf8_lossy(&body);
                    assert!(body.contains(&id), "{id}: {body}");
                    answered.fetch_add(1, SeqCst);
                    wire = Some(connection);
                }
                errors
            })
        });
        Self {
            tasks: tasks.collect(),
            stop,
            answered,
        }
    }

    async fn more(&self, count: u64) {
        let enough = self.answered.load(SeqCst) + count;
        soon("answers", async {
            while self.answered.load(SeqCst) < enough {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Requests that ended without an answer.
    async fn end(self) -> u64 {
        self.stop.store(true, SeqCst);
        let mut errors = 0;
        for task in self.tasks {
            errors += soon("a client's end", task)
                .await
                .expect("no answer was wrong or never came");
        }
        errors
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_hands_over_without_a_failed_request() {
    if !kernel::is_here() {
        return;
    }
    let backend = Backend::echo("one").await;
    let place = Place::new(simple(&[backend.address]));
    let mut agent = place.start(&[]).await;
    let load = Load::start(place.destination(), 8);
    for _ in 0..3 {
        load.more(500).await;
        let (status, errors) = agent.end(libc::SIGUSR1).await;
        assert!(status.success(), "{errors}");
        agent = place.start(&[]).await;
        assert_eq!(agent.metric("kernel_cut_off").await, 0);
        assert!(agent.metric("kernel_adopted").await > 8);
    }
    load.more(500).await;
    assert_eq!(load.end().await, 0, "no request failed");
    agent.until("active_requests", |count| count == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load_again_and_again_nothing_is_mixed_and_all_is_given_back() {
    if !kernel::is_here() {
        return;
    }
    let backend = Backend::echo("one").await;
    let place = Place::new(simple(&[backend.address]));
    let mut agent = place.start(&[]).await;
    let load = Load::start(place.destination(), 8);
    for _ in 0..5 {
        load.more(300).await;
        agent.kill().await;
        agent = place.start(&[]).await;
    }
    load.more(300).await;
    let errors = load.end().await;
    // At each kill a client has at most the one request that the agent was in the middle of.
    assert!(errors <= 5 * 8, "{errors} requests failed");
    agent.until("active_requests", |count| count == 0).await;
    agent
        .until("kernel_held_sockets", |count| count <= 2 + 64)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn detach_removes_what_a_killed_agent_left() {
    if !kernel::is_here() {
        return;
    }
    let backend = Backend::echo("one").await;
    let place = Place::new(simple(&[backend.address]));
    let agent = place.start(&[]).await;
    let mut clients = warm(&place, &agent, 2).await;
    let refused = place.detach().await;
    assert!(!refused.status.success());
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    let pid = agent.child.id().expect("it runs").to_string();
    assert!(message.contains(&pid), "{message}");
    get(&mut clients[0], "goes on").await;
    agent.kill().await;

    // An agent that does not go on with them does not start beside them.
    let mut other = Command::new(AGENT);
    other.args(["run", "--snapshot"]);
    other.arg(place.folder.path().join("snapshot.json"));
    other
        .args(["--admin", "127.0.0.1:0"])
        .args(place.arguments());
    let output = soon("the refusal", other.output()).await.expect("it runs");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(message.contains("detach"), "{message}");

    let removed = place.detach().await;
    assert!(removed.status.success(), "{removed:?}");
    let said = String::from_utf8_lossy(&removed.stdout).into_owned();
    assert!(said.contains("bpf/twinmesh/"), "{said}");
    assert!(said.contains("holder"), "{said}");
    assert_eq!(place.pinned(), 0);
    for client in &mut clients {
        assert!(client.ended().await, "the held connections have ended");
    }
    let again = place.detach().await;
    assert_eq!(String::from_utf8_lossy(&again.stdout), "nothing was left\n");
    // The next agent begins afresh.
    let agent = place.start(&[]).await;
    warm(&place, &agent, 1).await;
    assert_eq!(agent.metric("kernel_adopted").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_versions_connections_go_on_beside_the_new_ones() {
    if !kernel::is_here() {
        return;
    }
    let backend = Backend::echo("one").await;
    let place = Place::new(simple(&[backend.address]));
    let agent = place.start(&[]).await;
    let mut old = warm(&place, &agent, 2).await;
    agent.kill().await;
    // Maps of another size are another version's.
    let agent = place.start(&["--kernel-policy", "32"]).await;
    assert_eq!(place.pinned(), 2);
    assert_eq!(agent.metric("kernel_adopted").await, 0);
    for client in &mut old {
        get(client, "goes on").await;
    }
    let mut new = warm(&place, &agent, 2).await;
    for client in &mut new {
        get(client, "new").await;
    }
    let (status, errors) = agent.end(libc::SIGTERM).await;
    assert!(status.success(), "{errors}");
    assert!(errors.contains("another version"), "{errors}");
    assert_eq!(
        place.pinned(),
        1,
        "the other version's are detach's to remove"
    );
    assert!(place.detach().await.status.success());
    assert_eq!(place.pinned(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_keep_their_counts_where_the_policy_changed_meanwhile() {
    if !kernel::is_here() {
        return;
    }
    let (first, second) = (Backend::echo("first").await, Backend::echo("second").await);
    let place = Place::new(simple(&[first.address]));
    let agent = place.start(&[]).await;
    let mut clients = warm(&place, &agent, 4).await;
    agent.kill().await;
    // The endpoint that was there comes last now, and another takes the first place.
    let address = kernel::listener_address("web");
    assert_eq!(address, place.destination());
    let config = simple(&[second.address, first.address]);
    std::fs::write(
        place.folder.path().join("snapshot.json"),
        config.to_string(),
    )
    .expect("written");
    let agent = place.start(&[]).await;
    let mut seen = Vec::new();
    for round in 0..20 {
        for client in &mut clients {
            let reply = client.get("/", &round.to_string()).await;
            seen.extend(reply.head.header("x-backend").map(str::to_owned));
        }
    }
    let of = |name: &str| seen.iter().filter(|backend| *backend == name).count();
    assert_eq!(
        (of("first"), of("second")),
        (40, 40),
        "round robin over both"
    );
    agent.until("active_requests", |count| count == 0).await;
}
