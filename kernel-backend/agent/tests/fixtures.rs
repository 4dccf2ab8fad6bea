//! Every recorded case as live traffic, through the proxy and, as `kernel_fixtures`, through the
//! kernel: what arrives where is what the simulator decides for the random numbers that the access
//! log gives.

mod common;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use common::taken::Taken;
use common::wire::{Head, Wire};
use common::{Backend, Buffer, LIMIT};
use rstest::rstest;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use twinmesh_agent::access_log::AccessLog;
use twinmesh_agent::live::Live;
use twinmesh_agent::metrics::Metrics;
use twinmesh_agent::proxy::{ConnectionInfo, Proxy};
use twinmesh_engine::format::traffic;
use twinmesh_engine::{Decision, Engine as _, Outcome, Request};
use twinmesh_sim::Sim;
use twinmesh_xds::{ReadOptions, Snapshot};

const UNKNOWN: &str = "0.0.0.0:0";

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .join(name)
}

/// Where requests can go: the endpoints of the snapshot, and destinations themselves.
fn endpoints(snapshot: &Snapshot, requests: &[Request]) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = snapshot
        .clusters
        .iter()
        .flat_map(|cluster| twinmesh_engine::update::places(cluster.load_assignment.as_ref()))
        .filter_map(|(_, _, _, endpoint)| twinmesh_engine::endpoint::address(endpoint))
        .filter_map(|address| address.parse().ok())
        .chain(requests.iter().filter_map(|request| request.destination))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Says who it is, and what it was asked; with the kernel it is where the policy says.
async fn named(address: SocketAddr) -> Backend {
    let at = if common::kernel::takes_part() {
        address
    } else {
        (Ipv4Addr::LOCALHOST, 0).into()
    };
    Backend::at(at, move |stream, _| async move {
        let mut wire = Wire::new(stream);
        while let Some(head) = wire.head().await {
            wire.body(&head).await;
            let path = head.start.split(' ').nth(1).unwrap_or_default();
            let host = head.header("host").unwrap_or_default();
            let response = format!(
                "HTTP/1.1 200 OK\r\nX-Backend: {address}\r\nX-Path: {path}\r\nX-Host: {host}\r\nContent-Length: 0\r\n\r\n"
            );
            if !wire.try_send(response.as_bytes()).await {
                return;
            }
        }
    })
    .await
}

/// How requests come to the agent.
enum Way {
    /// Straight to the proxy, with the addresses said beside.
    Proxy(Box<Replay>),
    /// The kernel takes their connections.
    Kernel(Box<Taken>),
}

impl Way {
    async fn new(snapshot: &Arc<Snapshot>, requests: &[Request]) -> Self {
        let mut backends = Vec::new();
        for address in endpoints(snapshot, requests) {
            backends.push((address, named(address).await));
        }
        if common::kernel::takes_part() {
            let backends = backends.into_iter().map(|(_, backend)| backend);
            Self::Kernel(Box::new(Taken::new(snapshot, backends.collect()).await))
        } else {
            Self::Proxy(Box::new(Replay::new(snapshot, backends)))
        }
    }

    async fn send(&mut self, request: &Request, bytes: &[u8]) -> (Option<Head>, Option<Value>) {
        match self {
            Self::Proxy(replay) => replay.send(request, bytes).await,
            Self::Kernel(taken) => taken.send(request, bytes).await,
        }
    }

    fn active(&self) -> u64 {
        match self {
            Self::Proxy(replay) => replay.live.active().iter().map(|(.., count)| count).sum(),
            Self::Kernel(taken) => taken.active(),
        }
    }
}

struct Replay {
    live: Live,
    proxy: Proxy,
    access_log: AccessLog,
    log: Buffer,
    seen: usize,
    _backends: Vec<(SocketAddr, Backend)>,
}

impl Replay {
    fn new(snapshot: &Arc<Snapshot>, backends: Vec<(SocketAddr, Backend)>) -> Self {
        let places = backends.iter();
        let places: HashMap<SocketAddr, SocketAddr> = places
            .map(|(address, backend)| (*address, backend.address))
            .collect();
        let live = Live::default();
        live.publish(Arc::clone(snapshot)).expect("it fits");
        let log = Buffer::default();
        let access_log = AccessLog::to(Box::new(log.clone())).expect("a thread");
        let resolve = move |address: SocketAddr| places.get(&address).copied().unwrap_or(address);
        let proxy = Proxy::with_resolve(
            live.clone(),
            Arc::new(Metrics::new()),
            access_log.clone(),
            Some(Box::new(resolve)),
            None,
        );
        Self {
            live,
            proxy,
            access_log,
            log,
            seen: 0,
            _backends: backends,
        }
    }

    /// Sends bytes on a connection of their own; the response's head, where there is one, and the
    /// log line, where there is one.
    async fn send(&mut self, request: &Request, bytes: &[u8]) -> (Option<Head>, Option<Value>) {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), socket.accept());
        let (stream, _) = accepted.expect("a connection");
        let mut client = Wire::new(client.expect("a connection"));
        let info = ConnectionInfo {
            source: request
                .source
                .unwrap_or(UNKNOWN.parse().expect("an address")),
            destination: request.destination.expect("the case's requests have one"),
            listener: request.listener.as_deref().map(Arc::from),
        };
        let serving = tokio::spawn({
            let proxy = self.proxy.clone();
            async move {
                proxy
                    .serve_connection(stream, Bytes::new(), info, None)
                    .await
            }
        });
        client.try_send(bytes).await;
        let head = client.head().await;
        drop(client);
        serving.await.expect("no panic");
        (head, self.line())
    }

    /// The log line that came since.
    fn line(&mut self) -> Option<Value> {
        assert!(self.access_log.flush(LIMIT));
        let text = self.log.text();
        let lines: Vec<&str> = text.lines().collect();
        let new = lines.get(self.seen..).unwrap_or_default();
        assert!(new.len() <= 1, "{new:?}");
        self.seen = lines.len();
        new.first()
            .map(|line| serde_json::from_str(line).expect("a JSON line"))
    }
}

/// The body that a request announces.
fn body(request: &Request) -> Vec<u8> {
    let header = |name: &str| {
        let mut headers = request.headers.iter();
        let found = headers.find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    };
    if header("transfer-encoding").is_some() {
        return b"0\r\n\r\n".to_vec();
    }
    let length = header("content-length").and_then(|length| length.parse().ok());
    vec![b'b'; length.unwrap_or(0)]
}

/// What Envoy decided, by id.
fn recorded(directory: &Path) -> HashMap<String, Value> {
    let text = std::fs::read_to_string(directory.join("recorded.decisions.jsonl"));
    let lines = text.expect("the recorded decisions");
    let lines = lines
        .lines()
        .map(|line| -> Value { serde_json::from_str(line).expect("a decision") });
    lines
        .map(|line| (line["id"].as_str().expect("an id").to_owned(), line))
        .collect()
}

/// Whether what came is what was decided.
fn compare(request: &Request, decision: &Decision, head: Option<&Head>) -> Result<(), String> {
    let status = head.map(Head::status);
    let expect = |what: &str, found: Option<&str>, expected: Option<&str>| {
        if found == expected {
            Ok(())
        } else {
            Err(format!("{what}: expected {expected:?}, found {found:?}"))
        }
    };
    let header = |name: &str| head.and_then(|head| head.header(name));
    match decision.outcome {
        Outcome::Forward => {
            expect(
                "endpoint",
                header("x-backend"),
                decision.endpoint.as_deref(),
            )?;
            let path = decision.path.as_deref().unwrap_or(&request.path);
            expect("path", header("x-path"), Some(path))?;
            let host = decision
                .authority
                .as_deref()
                .or(request.authority.as_deref());
            expect("authority", header("x-host"), host)
        }
        Outcome::NoListener | Outcome::NoFilterChain => {
            expect("response", status.map(|_| "one"), None)
        }
        Outcome::Unsupported => expect("backend", header("x-backend"), None),
        _ => {
            expect("location", header("location"), decision.location.as_deref())?;
            let expected = decision
                .status
                .and_then(|status| u16::try_from(status).ok());
            if status == expected {
                Ok(())
            } else {
                Err(format!("status: expected {expected:?}, found {status:?}"))
            }
        }
    }
}

#[rstest]
#[case::bookinfo("bookinfo-user-pinned")]
#[case::canary("canary-90-10")]
#[case::canary_pinned("canary-90-10-pinned")]
#[case::filter_chains("filter-chains")]
#[case::filter_chains_tls("filter-chains-tls")]
#[case::header_matchers("header-matchers")]
#[case::header_view("header-view")]
#[case::host_precedence("host-precedence")]
#[case::least_request("least-request")]
#[case::original_destination("original-destination")]
#[case::path_kinds("path-kinds")]
#[case::priorities("priorities")]
#[case::query_parameters("query-parameters")]
#[case::redirects("redirect-direct-response")]
#[case::weighted_round_robin("weighted-round-robin")]
fn live_traffic_goes_where_the_simulator_says(#[case] name: &'static str) {
    common::place::run(move || replayed(name));
}

async fn replayed(name: &str) {
    let directory = case(name);
    let read = twinmesh_xds::read(&directory.join("config_dump.json"), &ReadOptions::default());
    let snapshot = Arc::new(read.expect("the case's snapshot"));
    let requests = traffic::read(&directory.join("requests.traffic.jsonl")).expect("its traffic");
    let mut way = Way::new(&snapshot, &requests).await;
    let mut sim = Sim::default();
    sim.load(&snapshot).expect("it loads");
    let recorded = recorded(&directory);
    let mut differences = Vec::new();
    let mut compared = 0;
    for request in &requests {
        if request.is_tls() {
            // A ClientHello: no byte of it may reach an endpoint.
            let (head, line) = way
                .send(request, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
                .await;
            assert!(
                head.is_none() && line.is_none(),
                "{}: {head:?} {line:?}",
                request.id
            );
            continue;
        }
        let mut bytes = request.head();
        bytes.extend(body(request));
        let (head, line) = way.send(request, &bytes).await;
        let Some(line) = line else {
            // Refused before there was a request: by the parser, or for want of a filter chain.
            let answer = sim.decide(request, 0, 0, false).expect("it decides");
            let outcome = answer.decision.outcome;
            if !matches!(
                outcome,
                Outcome::BadRequest
                    | Outcome::NoListener
                    | Outcome::NoFilterChain
                    | Outcome::Unsupported
            ) {
                differences.push(format!(
                    "{}: {outcome:?}, but the proxy refused it: {head:?}",
                    request.id
                ));
                if let Some(held) = answer.held {
                    sim.release(held).expect("it releases");
                }
            }
            continue;
        };
        let by_codec = "Envoy rewrites a header of this request before routing";
        let reason = line["reason"].as_str().unwrap_or_default();
        if line["outcome"] == "unsupported" && reason.starts_with(by_codec) {
            // The agent sends heads as they came, and so takes none that the codec would change.
            continue;
        }
        let random = line["random"].as_u64().expect("a number");
        let answer = sim.decide(request, random, 0, false).expect("it decides");
        if let Some(held) = answer.held {
            sim.release(held).expect("it releases");
        }
        compared += 1;
        if let Way::Kernel(taken) = &mut way {
            differences.extend(taken.count(request, &answer.decision, &line));
        }
        let undecided = answer.decision.outcome == Outcome::Unsupported;
        if undecided && line["outcome"] == "forward" {
            // The agent acts on Connection before it decides: as Envoy was recorded to.
            let envoy = &recorded[&request.id];
            for field in ["route_config", "virtual_host", "route", "cluster"] {
                if line[field] != envoy[field] {
                    differences.push(format!(
                        "{}: {field}: Envoy: {envoy}, the agent: {line}",
                        request.id
                    ));
                }
            }
            continue;
        }
        if let Err(difference) = compare(request, &answer.decision, head.as_ref()) {
            differences.push(format!(
                "{}: {difference}\n  {:?}\n  {:?}\n  {line}",
                request.id,
                String::from_utf8_lossy(&request.head()),
                answer.decision
            ));
        }
    }
    assert_eq!(way.active(), 0);
    assert!(
        differences.is_empty(),
        "{} of {compared}:\n{}",
        differences.len(),
        differences.join("\n")
    );
    assert!(compared > 0, "nothing was compared");
    if let Way::Kernel(taken) = way {
        println!("{} of {compared} were spliced", taken.spliced);
        assert_eq!(taken.spliced, taken.due);
        // Of that one all are TLS, which goes to nobody.
        assert_eq!(taken.due > 0, name != "filter-chains-tls");
    }
}
