//! An agent in the test's own process, endpoints and clients on raw sockets: nothing of what is
//! tested checks itself.

#![allow(dead_code, missing_docs)]

pub mod cgroup;
pub mod kernel;
pub mod lifecycle;
pub mod node;
pub mod place;
pub mod process;
pub mod taken;
pub mod wire;

use std::collections::HashMap;
use std::future::Future;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use twinmesh_agent::access_log::AccessLog;
use twinmesh_agent::datapath::start::{KernelOptions, Loaded};
use twinmesh_agent::metrics::Metrics;
use twinmesh_agent::proxy::Resolve;
use twinmesh_agent::record::Recorder;
use twinmesh_agent::run::{Agent, Observers};
use twinmesh_agent::shadow::Shadow;
use twinmesh_kernel_backend::datapath::Sizes;
use twinmesh_xds::{ReadOptions, Snapshot};
use wire::Wire;

/// How long anything that should happen may take. Only a failure ever waits for it.
pub const LIMIT: Duration = Duration::from_secs(60);

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: nothing happened within {LIMIT:?}"),
    }
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    soon(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub const MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

pub fn manager(routes: &Value) -> Value {
    json!({
        "@type": MANAGER,
        "stat_prefix": "web",
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        "route_config": {"name": "web", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    })
}

/// One listener of this name, at an address of its own.
pub fn listener(name: &str, filter: &str, config: &Value) -> Value {
    let address = kernel::listener_address(name);
    json!({
        "name": name,
        "address": {"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}},
        "filter_chains": [{"filters": [{"name": filter, "typed_config": config}]}],
    })
}

pub fn http_listener(name: &str, manager: &Value) -> Value {
    listener(
        name,
        "envoy.filters.network.http_connection_manager",
        manager,
    )
}

pub fn tcp_listener(name: &str, cluster: &str) -> Value {
    let config = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tcp", "cluster": cluster,
    });
    listener(name, "envoy.filters.network.tcp_proxy", &config)
}

pub fn cluster(name: &str, policy: &str, endpoints: &[SocketAddr]) -> Value {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|address| {
            json!({"endpoint": {"address": {"socket_address": {
                "address": address.ip().to_string(), "port_value": address.port()}}}})
        })
        .collect();
    json!({
        "name": name, "type": "STATIC", "lb_policy": policy, "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    })
}

pub fn bootstrap(listeners: &[Value], clusters: &[Value]) -> Value {
    json!({"static_resources": {"listeners": listeners, "clusters": clusters}})
}

pub fn snapshot(bootstrap: &Value) -> Arc<Snapshot> {
    let text = bootstrap.to_string();
    match twinmesh_xds::read_bytes("test.json", text.as_bytes(), &ReadOptions::default()) {
        Ok(snapshot) => Arc::new(snapshot),
        Err(error) => panic!("the test's snapshot: {error}\n{bootstrap:#}"),
    }
}

/// All requests to one cluster.
pub fn simple(endpoints: &[SocketAddr]) -> Value {
    let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}]);
    bootstrap(
        &[http_listener("web", &manager(&routes))],
        &[cluster("backend", "ROUND_ROBIN", endpoints)],
    )
}

#[derive(Clone, Default)]
pub struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    pub fn text(&self) -> String {
        let bytes = self.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("text")
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .expect("not poisoned")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An agent that runs.
pub struct Running {
    pub agent: Agent,
    pub policies: watch::Sender<Option<Arc<Snapshot>>>,
    log: Buffer,
}

pub async fn start(bootstrap: &Value) -> Running {
    start_with(snapshot(bootstrap), None).await
}

pub async fn start_with(snapshot: Arc<Snapshot>, resolve: Option<Box<Resolve>>) -> Running {
    let (policies, source) = watch::channel(Some(snapshot));
    start_source(policies, source, resolve, Observers::default(), true).await
}

/// An agent that records from its first request on.
pub async fn start_recorded(snapshot: Arc<Snapshot>, recorder: Recorder) -> Running {
    let observers = Observers {
        recorder: Some(recorder),
        shadow: None,
    };
    let (policies, source) = watch::channel(Some(snapshot));
    start_source(policies, source, None, observers, true).await
}

/// An agent whose decisions are made again; `logged`: it has an access log.
pub async fn start_shadowed(snapshot: Arc<Snapshot>, shadow: Shadow, logged: bool) -> Running {
    let observers = Observers {
        recorder: None,
        shadow: Some(shadow),
    };
    let (policies, source) = watch::channel(Some(snapshot));
    start_source(policies, source, None, observers, logged).await
}

/// Ends the kernel's part, so that all of its events have been read, and the recording.
pub fn finish_recording(running: &Running) {
    // As the agent's own end does.
    let missing = running.agent.datapath.as_ref().map_or(0, |datapath| {
        datapath.read_events();
        datapath.splice.datapath.maps().lost()
    });
    let recorder = running.agent.live.recorder().expect("it records");
    recorder.finish(missing);
}

/// An agent whose policy comes from elsewhere.
pub async fn start_from(source: watch::Receiver<Option<Arc<Snapshot>>>) -> Running {
    let (policies, _) = watch::channel(None);
    start_source(policies, source, None, Observers::default(), true).await
}

async fn start_source(
    policies: watch::Sender<Option<Arc<Snapshot>>>,
    source: watch::Receiver<Option<Arc<Snapshot>>>,
    resolve: Option<Box<Resolve>>,
    observers: Observers,
    logged: bool,
) -> Running {
    let (loaded, resolve) = if kernel::takes_part() {
        // The policy's endpoints are resolved in both places alike.
        let resolve: Option<Arc<Resolve>> = resolve.map(Arc::from);
        let again = |resolve: &Arc<Resolve>| -> Box<Resolve> {
            let resolve = Arc::clone(resolve);
            Box::new(move |address| resolve(address))
        };
        let loaded = kernel::load(resolve.as_ref().map(again));
        (loaded, resolve.as_ref().map(again))
    } else {
        (None, resolve)
    };
    start_loaded(policies, source, resolve, loaded, observers, logged).await
}

/// An agent whose kernel has room for so much.
pub async fn start_sized(bootstrap: &Value, sizes: Sizes) -> Running {
    let options = KernelOptions {
        sizes,
        ..kernel::options()
    };
    let (policies, source) = watch::channel(Some(snapshot(bootstrap)));
    let loaded = kernel::load_with(options, None);
    start_loaded(policies, source, None, loaded, Observers::default(), true).await
}

async fn start_loaded(
    policies: watch::Sender<Option<Arc<Snapshot>>>,
    source: watch::Receiver<Option<Arc<Snapshot>>>,
    resolve: Option<Box<Resolve>>,
    loaded: Option<Loaded>,
    observers: Observers,
    logged: bool,
) -> Running {
    // The log of a failed test tells why.
    let _ = tracing_subscriber::fmt()
        .with_test_writer()
        .with_max_level(tracing::Level::WARN)
        .try_init();
    let log = Buffer::default();
    let access_log = if logged {
        AccessLog::to(Box::new(log.clone())).expect("a thread")
    } else {
        AccessLog::default()
    };
    let metrics = Arc::new(Metrics::new());
    let agent = Agent::observed(source, metrics, access_log, resolve, loaded, observers).await;
    let agent = agent.expect("the policy fits");
    Running {
        agent,
        policies,
        log,
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Another agent of the same test may have the same listeners.
        if let Some(datapath) = self.agent.datapath.take() {
            datapath.stop();
        }
    }
}

impl Running {
    /// Where a listener is.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let list = self.agent.bound.list();
        let socket = list.iter().find(|socket| socket.listener == listener);
        let socket = socket.unwrap_or_else(|| panic!("{listener} in {list:?}"));
        match &socket.local {
            Ok(local) => *local,
            Err(_) if kernel::takes_part() => socket.wanted,
            Err(error) => panic!("{listener} is not bound: {error}"),
        }
    }

    pub async fn connect(&self, listener: &str) -> Wire {
        let stream = TcpStream::connect(self.address(listener)).await;
        Wire::new(stream.expect("the listener accepts"))
    }

    /// Publishes a policy and waits until it decides.
    pub async fn update(&self, bootstrap: &Value) {
        let generation = self.generation();
        self.policies
            .send(Some(snapshot(bootstrap)))
            .expect("the agent runs");
        until("the policy", || self.generation() > generation).await;
    }

    pub fn generation(&self) -> u64 {
        self.agent
            .live
            .current()
            .map_or(0, |policy| policy.generation)
    }

    pub fn active(&self) -> u64 {
        self.agent
            .live
            .active()
            .iter()
            .map(|(.., count)| count)
            .sum()
    }

    /// No request is active any more.
    pub async fn idle(&self) {
        until("active counts at 0", || self.active() == 0).await;
    }

    /// The access log so far, once it has so many lines.
    pub async fn log(&self, lines: usize) -> Vec<Value> {
        let mut parsed = Vec::new();
        soon("access log lines", async {
            loop {
                assert!(self.agent.access_log.flush(LIMIT), "the log is written");
                let text = self.log.text();
                parsed = text
                    .lines()
                    .map(|line| serde_json::from_str(line).expect("a JSON line"))
                    .collect();
                if parsed.len() >= lines {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        parsed
    }
}

/// An endpoint: what it does with each connection is up to the test.
pub struct Backend {
    pub address: SocketAddr,
    pub connections: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Backend {
    pub async fn new<F, T>(serve: F) -> Self
    where
        F: Fn(TcpStream, u64) -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        Self::at((Ipv4Addr::LOCALHOST, 0).into(), serve).await
    }

    /// At an address of the test's choice.
    pub async fn at<F, T>(address: SocketAddr, serve: F) -> Self
    where
        F: Fn(TcpStream, u64) -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.expect("it is free");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = counted.fetch_add(1, SeqCst);
                tasks.spawn(serve(stream, number));
            }
        });
        Self {
            address,
            connections,
            task,
        }
    }

    /// Answers each request with its name, the request's id, and the request's head as body
    /// unless the request has one, which is echoed.
    pub async fn echo(name: &'static str) -> Self {
        Self::new(move |stream, _| async move {
            let mut wire = Wire::new(stream);
            while let Some(head) = wire.head().await {
                if head.header("expect").is_some() {
                    wire.send(b"HTTP/1.1 100 Continue\r\n\r\n").await;
                }
                let body = wire.body(&head).await;
                let body = if body.is_empty() {
                    head.text.clone().into_bytes()
                } else {
                    body
                };
                let id = head.header("x-id").unwrap_or_default();
                let response = format!(
                    "HTTP/1.1 200 OK\r\nX-Backend: {name}\r\nX-Id: {id}\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                if !wire.try_send(response.as_bytes()).await || !wire.try_send(&body).await {
                    return;
                }
            }
        })
        .await
    }

    /// Answers every connection's first request with these bytes, and closes it or keeps it open.
    pub async fn canned(response: &'static [u8], close: bool) -> Self {
        Self::new(move |stream, _| async move {
            let mut wire = Wire::new(stream);
            while let Some(head) = wire.head().await {
                wire.body(&head).await;
                wire.send(response).await;
                if close {
                    return;
                }
            }
        })
        .await
    }

    pub fn connections(&self) -> u64 {
        self.connections.load(SeqCst)
    }
}

pub fn counts(names: impl IntoIterator<Item = String>) -> HashMap<String, u64> {
    let mut counts = HashMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}
