//! A small mesh, and a client and a server that talk about it.
#![allow(dead_code, reason = "each test binary uses some of it")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use twinmesh_ads::{Backoff, Bootstrap, Client, Kind, Options, Policy, Status};
use twinmesh_control_plane::{ControlPlane, Event, Served, What};
use twinmesh_xds::{ReadOptions, Snapshot, read_bytes};

/// What a test waits for comes or never does; this ends the waiting for what never does.
const NEVER: Duration = Duration::from_secs(120);

/// A listener that takes its routes by RDS.
pub fn listener(name: &str, port: u16, routes: &str) -> String {
    format!(
        r#"{{"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "{name}",
        "address": {{"socket_address": {{"address": "127.0.0.1", "port_value": {port}}}}},
        "filter_chains": [{{"filters": [{{"name": "http", "typed_config": {{
          "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
          "stat_prefix": "http", "rds": {{"route_config_name": "{routes}", "config_source": {{"ads": {{}}, "resource_api_version": "V3"}}}},
          "http_filters": [{{"name": "router", "typed_config": {{"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}}}]}}}}]}}]}}"#
    )
}

/// A route configuration that sends everything to one cluster.
pub fn routes(name: &str, cluster: &str) -> String {
    format!(
        r#"{{"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "{name}",
        "virtual_hosts": [{{"name": "all", "domains": ["*"],
          "routes": [{{"match": {{"prefix": "/"}}, "route": {{"cluster": "{cluster}"}}}}]}}]}}"#
    )
}

/// A cluster of type EDS.
pub fn cluster(name: &str) -> String {
    format!(
        r#"{{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "{name}", "type": "EDS",
        "eds_cluster_config": {{"eds_config": {{"ads": {{}}, "resource_api_version": "V3"}}}}}}"#
    )
}

/// Its one endpoint.
pub fn endpoints(name: &str, port: u16) -> String {
    format!(
        r#"{{"@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", "cluster_name": "{name}",
        "endpoints": [{{"lb_endpoints": [{{"endpoint": {{"address": {{"socket_address": {{"address": "127.0.0.1", "port_value": {port}}}}}}}}}]}}]}}"#
    )
}

/// The text of a snapshot: one DiscoveryResponse for each type.
pub fn text(resources: &[String]) -> String {
    let mut responses = Vec::new();
    for kind in Kind::ALL {
        let url = kind.type_url();
        let own: Vec<&str> = resources
            .iter()
            .filter(|resource| resource.contains(&format!(r#""@type": "{url}""#)))
            .filter(|resource| resource.starts_with(&format!(r#"{{"@type": "{url}""#)))
            .map(String::as_str)
            .collect();
        responses.push(format!(
            r#"{{"version_info": "1", "type_url": "{url}", "resources": [{}]}}"#,
            own.join(", ")
        ));
    }
    responses.join("\n")
}

pub fn snapshot(resources: &[String]) -> Snapshot {
    let text = text(resources);
    read_bytes("mesh.json", text.as_bytes(), &ReadOptions::default())
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

pub fn served(resources: &[String], version: &str) -> Served {
    Served::of(&snapshot(resources), Some(version))
}

/// Two listeners with their routes, two clusters with their endpoints; `port` is an endpoint's.
pub fn mesh(port: u16) -> Vec<String> {
    vec![
        listener("l1", 8001, "r1"),
        listener("l2", 8002, "r2"),
        routes("r1", "c1"),
        routes("r2", "c2"),
        cluster("c1"),
        cluster("c2"),
        endpoints("c1", port),
        endpoints("c2", 9002),
    ]
}

pub const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub async fn server() -> ControlPlane {
    ControlPlane::start(LOOPBACK, None)
        .await
        .expect("it listens")
}

pub fn bootstrap(servers: &[SocketAddr]) -> Bootstrap {
    let servers: Vec<String> = servers
        .iter()
        .map(|address| {
            format!(r#"{{"server_uri": "{address}", "channel_creds": [{{"type": "insecure"}}]}}"#)
        })
        .collect();
    let text = format!(
        r#"{{"xds_servers": [{}], "node": {{"id": "test"}}}}"#,
        servers.join(", ")
    );
    Bootstrap::parse("test", text.as_bytes()).expect("it is a bootstrap")
}

pub fn options(delta: bool) -> Options {
    Options {
        delta,
        backoff: Backoff {
            base: Duration::from_millis(20),
            factor: 1.0,
            maximum: Duration::from_millis(20),
        },
        random: Some(Box::new(|| 0.5)),
        ..Options::default()
    }
}

/// A client, and what it has told.
pub struct Agent {
    pub client: Client,
    pub status: Arc<Status>,
    policies: watch::Receiver<Option<Arc<Policy>>>,
}

impl Agent {
    pub fn start(bootstrap: Bootstrap, options: Options) -> Agent {
        let client = Client::start(bootstrap, options);
        Agent {
            status: client.status(),
            policies: client.policies(),
            client,
        }
    }

    pub fn of(server: &ControlPlane, delta: bool) -> Agent {
        Agent::start(bootstrap(&[server.address()]), options(delta))
    }

    /// The policy in force.
    pub fn now(&self) -> Option<Arc<Policy>> {
        self.policies.borrow().clone()
    }

    /// Waits for a policy that is as `check` wants it.
    pub async fn policy(&mut self, check: impl Fn(&Policy) -> bool) -> Arc<Policy> {
        let wanted = self
            .policies
            .wait_for(|policy| policy.as_ref().is_some_and(|policy| check(policy)));
        let found = tokio::time::timeout(NEVER, wanted).await;
        let found = found
            .unwrap_or_else(|_| panic!("no such policy comes; {:?}", self.status))
            .expect("the client runs")
            .clone();
        found.expect("a policy")
    }

    /// Waits for a policy with these route configurations, listeners and clusters, each with its
    /// endpoints' ports.
    pub async fn policy_of(&mut self, expected: &[&str]) -> Arc<Policy> {
        let expected: Vec<String> = expected.iter().map(|one| (*one).to_owned()).collect();
        self.policy(|policy| outline(policy) == expected).await
    }
}

/// The names in a policy: listeners with their route configurations, these with the clusters that
/// they send to, clusters with their endpoints' ports.
pub fn outline(policy: &Policy) -> Vec<String> {
    use envoy_types::pb::envoy::config::{
        core::v3::{address::Address, socket_address::PortSpecifier},
        endpoint::v3::lb_endpoint::HostIdentifier,
        route::v3::{route::Action, route_action::ClusterSpecifier},
    };
    let snapshot = &policy.snapshot;
    let mut lines = Vec::new();
    for listener in &snapshot.listeners {
        let found = match &listener.filter_chains[0].terminal {
            twinmesh_xds::Terminal::Http {
                route_configuration: Some(index),
                ..
            } => snapshot.route_configurations[*index].name.as_str(),
            _ => "nothing",
        };
        lines.push(format!("{} -> {found}", listener.name));
    }
    for configuration in &snapshot.route_configurations {
        let route = &configuration.config.virtual_hosts[0].routes[0];
        let Some(Action::Route(action)) = &route.action else {
            panic!("{route:?}");
        };
        let Some(ClusterSpecifier::Cluster(cluster)) = &action.cluster_specifier else {
            panic!("{action:?}");
        };
        lines.push(format!("{} -> {cluster}", configuration.name));
    }
    for cluster in &snapshot.clusters {
        let Some(assignment) = &cluster.load_assignment else {
            lines.push(format!("{} -> no assignment", cluster.name));
            continue;
        };
        let endpoints = assignment
            .endpoints
            .iter()
            .flat_map(|one| &one.lb_endpoints);
        let ports = endpoints.map(|endpoint| {
            let Some(HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier else {
                panic!("{endpoint:?}");
            };
            match endpoint
                .address
                .as_ref()
                .and_then(|one| one.address.as_ref())
            {
                Some(Address::SocketAddress(socket)) => match socket.port_specifier {
                    Some(PortSpecifier::PortValue(port)) => port.to_string(),
                    _ => panic!("{socket:?}"),
                },
                other => panic!("{other:?}"),
            }
        });
        let ports: Vec<String> = ports.collect();
        lines.push(format!("{} -> {}", cluster.name, ports.join(",")));
    }
    lines
}

/// What [`mesh`] looks like.
pub fn outline_of_mesh(port: u16) -> Vec<String> {
    vec![
        "l1 -> r1".to_owned(),
        "l2 -> r2".to_owned(),
        "r1 -> c1".to_owned(),
        "r2 -> c2".to_owned(),
        format!("c1 -> {port}"),
        "c2 -> 9002".to_owned(),
    ]
}

/// Waits for what must happen on the server.
pub async fn wait(
    server: &ControlPlane,
    what: &str,
    check: impl FnMut(&[Event]) -> bool,
) -> Vec<Event> {
    match tokio::time::timeout(NEVER, server.wait(check)).await {
        Ok(events) => events,
        Err(_) => panic!("{what} does not happen:\n{}", lines(&server.events())),
    }
}

/// How often something happened to a type.
pub fn count(events: &[Event], what: What, service: &str) -> usize {
    events
        .iter()
        .filter(|event| event.event == what && event.r#type == service)
        .count()
}

pub fn lines(events: &[Event]) -> String {
    let lines = events.iter().map(|event| format!("{event:?}\n"));
    lines.collect()
}

/// Waits until every response is answered, and checks that each was answered once.
pub async fn all_answered(server: &ControlPlane) -> Vec<Event> {
    let nonces = |events: &[Event], of: &[What]| {
        let mut nonces: Vec<(u64, String)> = events
            .iter()
            .filter(|event| of.contains(&event.event))
            .map(|event| (event.stream, event.nonce.clone()))
            .collect();
        nonces.sort();
        nonces
    };
    let events = wait(server, "an answer to each response", |events| {
        let sent = nonces(events, &[What::Sent]);
        let answers = nonces(events, &[What::Ack, What::Nack]);
        sent.len() <= answers.len()
    })
    .await;
    assert_eq!(
        nonces(&events, &[What::Sent]),
        nonces(&events, &[What::Ack, What::Nack]),
        "{}",
        lines(&events)
    );
    events
}
