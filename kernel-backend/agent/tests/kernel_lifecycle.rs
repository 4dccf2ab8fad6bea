//! The agent's ends: killed, followed by another, ended for good. What the kernel carries goes on,
//! and nothing is left behind.

mod common;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::{ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use common::wire::Wire;
use common::{Backend, kernel, simple, soon};
use futures_util::future::FutureExt as _;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use twinmesh_kernel_backend::datapath::{cgroup, pins};

const AGENT: &str = env!("CARGO_BIN_EXE_twinmesh-agent");

/// Where agents of one test keep what outlives them.
struct Place {
    folder: tempfile::TempDir,
    mounted: PathBuf,
    pins: PathBuf,
    config: Value,
}

impl Place {
    fn new(config: Value) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        std::fs::write(folder.path().join("snapshot.json"), config.to_string()).expect("written");
        let mounted = folder.path().join("bpf");
        std::fs::create_dir(&mounted).expect("made");
        pins::mount(&mounted).expect("a BPF file system can be mounted");
        Self {
            pins: mounted.join("twinmesh"),
            mounted,
            folder,
            config,
        }
    }

    fn kept(&self) -> PathBuf {
        self.folder.path().join("kept")
    }

    fn arguments(&self) -> [String; 4] {
        let text = |path: PathBuf| path.to_str().expect("text").to_owned();
        [
            "--keep-folder".to_owned(),
            text(self.kept()),
            "--pins".to_owned(),
            text(self.pins.clone()),
        ]
    }

    async fn start(&self, more: &[&str]) -> Agent {
        self.start_with(&["--keep"], more).await
    }

    async fn start_with(&self, keep: &[&str], more: &[&str]) -> Agent {
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let admin = port.local_addr().expect("an address");
        drop(port);
        let own = cgroup::own().expect("cgroup2 is mounted");
        let snapshot = self.folder.path().join("snapshot.json");
        let child = Command::new(AGENT)
            .args(["run", "--kernel", "required", "--workers", "2"])
            .args(["--balance-requests", "--admin", &admin.to_string()])
            .arg("--snapshot")
            .arg(snapshot)
            .arg("--cgroup")
            .arg(own)
            .args(keep)
            .args(self.arguments())
            .args(more)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut agent = Agent { child, admin };
        soon("the agent is ready", async {
            loop {
                if let Some(status) = agent.child.try_wait().expect("a child") {
                    panic!("{status}: {}", agent.errors().await);
                }
                if let Some(reply) = agent.admin("/ready").await
                    && reply.0 == 200
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        agent
    }

    async fn detach(&self) -> Output {
        let command = Command::new(AGENT)
            .arg("detach")
            .args(self.arguments())
            .output();
        soon("detach", command).await.expect("it runs")
    }

    fn destination(&self) -> SocketAddr {
        let address = &self.config["static_resources"]["listeners"][0]["address"];
        let address = &address["socket_address"];
        let ip = address["address"].as_str().expect("an address");
        let port = address["port_value"].as_u64().expect("a port");
        format!("{ip}:{port}").parse().expect("an address")
    }

    async fn connect(&self) -> Wire {
        let stream = soon("connect", TcpStream::connect(self.destination())).await;
        Wire::new(stream.expect("the connection is taken"))
    }

    fn pinned(&self) -> usize {
        std::fs::read_dir(&self.pins).map_or(0, Iterator::count)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // An agent that is still there has been told to end.
        for _ in 0..500 {
            let detached = std::process::Command::new(AGENT)
                .arg("detach")
                .args(self.arguments())
                .output();
            if detached.is_ok_and(|output| output.status.success()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let mounted = std::ffi::CString::new(self.mounted.as_os_str().as_encoded_bytes());
        // SAFETY: a text that ends in a zero.
        unsafe { libc::umount2(mounted.expect("no zero").as_ptr(), libc::MNT_DETACH) };
    }
}

struct Agent {
    child: Child,
    admin: SocketAddr,
}

impl Agent {
    async fn errors(&mut self) -> String {
        use tokio::io::AsyncReadExt as _;
        let mut text = String::new();
        if let Some(errors) = &mut self.child.stderr {
            // What it wrote before it ended.
            let _ = errors.read_to_string(&mut text).await;
        }
        text
    }

    async fn admin(&self, path: &str) -> Option<(u16, String)> {
        let mut wire = Wire::new(TcpStream::connect(self.admin).await.ok()?);
        let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n");
        wire.send(request.as_bytes()).await;
        let reply = wire.reply().await;
        Some((reply.head.status(), reply.text()))
    }

    /// The sum of a metric over its labels.
    async fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.admin("/metrics").await.expect("it answers");
        let name = format!("twinmesh_{name}");
        let lines = text.lines().filter_map(|line| line.strip_prefix(&name));
        let lines = lines.map(|rest| rest.strip_prefix("_total").unwrap_or(rest));
        let values = lines.filter(|rest| rest.starts_with(['{', ' ']));
        values
            .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>() as u64
    }

    async fn until(&self, name: &str, holds: impl Fn(u64) -> bool) {
        soon(name, async {
            while !holds(self.metric(name).await) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id().expect("it runs")).expect("a pid");
        // SAFETY: the process is a child of ours that has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    async fn kill(mut self) {
        self.signal(libc::SIGKILL);
        self.child.wait().await.expect("a child");
    }

    async fn end(mut self, signal: i32) -> (ExitStatus, String) {
        self.signal(signal);
        let ended = soon("the agent's end", self.child.wait()).await;
        (ended.expect("a child"), self.errors().await)
    }
}

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
