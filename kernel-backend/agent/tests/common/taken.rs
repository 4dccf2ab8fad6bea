//! Recorded requests as connections that the kernel takes: between the addresses of the recording, in
//! a [place](super::place) where they all are this machine's.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Address;
use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use serde_json::Value;
use tokio::net::TcpSocket;
use twinmesh_agent::datapath::Splice;
use twinmesh_engine::{Decision, Outcome, Request};
use twinmesh_xds::{Snapshot, Terminal};

use super::wire::{Head, Wire};
use super::{Backend, Running, soon};

/// An agent, and clients of whom each sends one request.
pub struct Taken {
    running: Running,
    recorded: Arc<Snapshot>,
    seen: usize,
    /// Endpoints to which there are idle connections.
    warm: BTreeSet<SocketAddr>,
    /// Requests that had to be spliced, and those that were.
    pub due: usize,
    pub spliced: usize,
    _backends: Vec<Backend>,
}

impl Taken {
    pub async fn new(snapshot: &Arc<Snapshot>, backends: Vec<Backend>) -> Self {
        let running = super::start_with(Arc::clone(snapshot), None).await;
        Self {
            running,
            recorded: Arc::clone(snapshot),
            seen: 0,
            warm: BTreeSet::new(),
            due: 0,
            spliced: 0,
            _backends: backends,
        }
    }

    pub fn splice(&self) -> &Arc<Splice> {
        let datapath = self.running.agent.datapath.as_ref();
        &datapath.expect("the kernel takes part").splice
    }

    pub fn active(&self) -> u64 {
        self.running.active()
    }

    /// The recording names the listener of some connections, whose destination Envoy learnt from a
    /// PROXY header: here it has to be the listener's own address.
    async fn listen(&self, request: &Request) {
        let (Some(name), Some(destination)) = (&request.listener, request.destination) else {
            return;
        };
        let mut snapshot = Snapshot::clone(&self.recorded);
        let mut listeners = snapshot.listeners.iter_mut();
        let listener = listeners.find(|listener| listener.name == *name);
        let listener = &mut listener.expect("the case's listener").config;
        if listener
            .use_original_dst
            .as_ref()
            .is_some_and(|uses| uses.value)
        {
            // It takes whatever no other does.
            return;
        }
        listener.listener_filters.clear();
        let address = listener.address.as_mut();
        move_to(address.expect("the listener's address"), destination);
        let generation = self.running.generation();
        let sent = self.running.policies.send(Some(Arc::new(snapshot)));
        sent.expect("the agent runs");
        super::until("the policy", || self.running.generation() > generation).await;
    }

    /// All connections of clients have ended, and all to endpoints are the kernel's.
    async fn settled(&self) {
        let splice = self.splice();
        let mut looks = 0;
        super::until("connections are given back", || {
            looks += 1;
            if looks % 20 == 0 {
                // Records of connections that died are taken back now and then only.
                splice.sweep();
            }
            let [clients, _, upstreams, idle] = splice.fill().map(|(_, count)| count);
            clients == 0 && upstreams == idle
        })
        .await;
    }

    /// Sends bytes on a connection of their own; the response's head, where there is one, and the
    /// log line, where there is one.
    pub async fn send(&mut self, request: &Request, bytes: &[u8]) -> (Option<Head>, Option<Value>) {
        self.listen(request).await;
        let destination = request.destination.expect("the case's requests have one");
        let socket = match destination {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        };
        let socket = socket.expect("a socket");
        if let Some(source) = request.source {
            socket.bind(source).expect("the source is free");
        }
        let connecting = soon("a connection", socket.connect(destination)).await;
        let mut client = Wire::new(connecting.expect("it is taken"));
        client.try_send(bytes).await;
        let head = client.head().await;
        if let Some(head) = &head
            && request.method != "HEAD"
            && head.header("content-length").is_some()
        {
            client.body(head).await;
        }
        drop(client);
        self.settled().await;
        // hyper's own refusals have no log line.
        let due = head
            .as_ref()
            .is_some_and(|head| !matches!(head.status(), 400 | 431));
        let lines = self.running.log(self.seen + usize::from(due)).await;
        let new = lines.get(self.seen..).unwrap_or_default();
        assert!(new.len() <= 1, "{}: {new:?}", request.id);
        self.seen = lines.len();
        (head, new.first().cloned())
    }

    /// Whether the listener passes the host on as it came.
    fn keeps_host(&self, decision: &Decision) -> bool {
        let mut listeners = self.recorded.listeners.iter();
        let listener =
            listeners.find(|listener| Some(&listener.name) == decision.listener.as_ref());
        let chains = listener.map_or(&[][..], |listener| &listener.filter_chains);
        chains.iter().all(|chain| match &chain.terminal {
            Terminal::Http { manager, .. } => {
                manager.strip_port_mode.is_none()
                    && !manager.strip_matching_host_port
                    && !manager.strip_trailing_host_dot
            }
            _ => false,
        })
    }

    /// Whether the virtual host is one of those that ask for TLS, which the kernel leaves to userspace.
    fn requires_tls(&self, decision: &Decision) -> bool {
        let tables = self.recorded.route_configurations.iter();
        let mut tables = tables.filter(|it| Some(&it.name) == decision.route_config.as_ref());
        tables.any(|table| {
            let hosts = &table.config.virtual_hosts;
            let mut hosts = hosts.iter();
            hosts.any(|it| Some(&it.name) == decision.virtual_host.as_ref() && it.require_tls != 0)
        })
    }

    /// Counts a request that is through, by how it had to go and how it went.
    pub fn count(
        &mut self,
        request: &Request,
        decision: &Decision,
        line: &Value,
    ) -> Option<String> {
        let was = line["path_taken"] == "splice";
        self.spliced += usize::from(was);
        let endpoint = decision.endpoint.as_ref().and_then(|at| at.parse().ok());
        let (Outcome::Forward, Some(endpoint)) = (decision.outcome, endpoint) else {
            return was.then(|| format!("{}: spliced, and not forwarded: {line}", request.id));
        };
        let is_warm = !self.warm.insert(endpoint);
        // Only a route's cluster gets requests: that of a TCP proxy gets connections.
        let is_plain = decision.route.is_some()
            && is_plain(request)
            && self.keeps_host(decision)
            && !self.requires_tls(decision);
        let has = is_warm && is_plain;
        self.due += usize::from(has);
        (has && !was).then(|| {
            let handed = self.splice().datapath.maps().handed();
            format!(
                "{}: not spliced; handed over so far, by reason: {handed:?}: {line}",
                request.id
            )
        })
    }
}

/// Whether nothing of it keeps it from being spliced: docs/datapath.md.
fn is_plain(request: &Request) -> bool {
    let mut headers = request.headers.iter();
    request.path.starts_with('/')
        && headers.all(|(name, _)| {
            // An Upgrade that no Connection names asks for nothing.
            let others = ["connection", "expect", "transfer-encoding"];
            !others.iter().any(|other| name.eq_ignore_ascii_case(other))
        })
}

fn move_to(address: &mut Address, to: SocketAddr) {
    let Some(AddressKind::SocketAddress(socket)) = &mut address.address else {
        panic!("the listener is at {address:?}, expected an address and a port");
    };
    socket.address = to.ip().to_string();
    socket.port_specifier = Some(PortSpecifier::PortValue(to.port().into()));
}
