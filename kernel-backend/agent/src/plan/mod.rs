//! What the proxy takes from a snapshot beside decisions: timeouts, limits, bodies; and what the
//! snapshot asks for that the proxy does not do, found once, when the policy is published.

mod cluster;
mod listener;
mod route;

use std::fmt;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::TransportSocket;
use envoy_types::pb::google::protobuf;
use twinmesh_engine::{Chain, Step, Trace};
use twinmesh_xds::Snapshot;

pub use cluster::{ClusterPlan, Transport};
pub use listener::{ChainKind, ChainPlan, Inspect, ListenerPlan, ManagerPlan, TcpPlan};
pub use route::{RouteAnswer, RoutePlan};

/// Something that the snapshot asks for and the proxy does not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Name of the xDS resource, with its type: `cluster "reviews"`.
    pub resource: String,
    /// Field path inside the resource.
    pub path: String,
    /// What follows.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}: {}: {}",
            self.resource, self.path, self.message
        )
    }
}

/// What the proxy takes from a snapshot.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// One for each of `Snapshot::listeners`.
    pub listeners: Vec<ListenerPlan>,
    /// One for each of `Snapshot::clusters`.
    pub clusters: Vec<ClusterPlan>,
    /// By route configuration, virtual host and route.
    pub routes: Vec<Vec<Vec<RoutePlan>>>,
    /// Some route has a `connect_matcher`: its tunnels are decided, and not carried.
    pub connect: bool,
    /// What is asked for and not done.
    pub warnings: Vec<Warning>,
}

/// Where the decision's steps lead in the plan.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place<'a> {
    /// The listener.
    pub listener: Option<&'a ListenerPlan>,
    /// Its filter chain.
    pub chain: Option<&'a ChainPlan>,
    /// The route.
    pub route: Option<&'a RoutePlan>,
    /// The cluster.
    pub cluster: Option<&'a ClusterPlan>,
    /// The endpoint's place: locality and index.
    pub endpoint: Option<(usize, usize)>,
}

impl Plan {
    /// Looks a snapshot through.
    pub fn new(snapshot: &Snapshot) -> Self {
        let mut warnings = Warnings::default();
        let listeners = snapshot
            .listeners
            .iter()
            .map(|listener| ListenerPlan::new(listener, &mut warnings))
            .collect();
        let routes = snapshot
            .route_configurations
            .iter()
            .map(|configuration| route::configuration(configuration, &mut warnings))
            .collect();
        let clusters = snapshot
            .clusters
            .iter()
            .map(|cluster| ClusterPlan::new(cluster, &mut warnings))
            .collect();
        Self {
            listeners,
            clusters,
            routes,
            connect: snapshot
                .route_configurations
                .iter()
                .any(route::has_connect_matcher),
            warnings: warnings.list,
        }
    }

    /// Follows a decision's steps.
    pub fn place(&self, trace: &Trace) -> Place<'_> {
        let mut place = Place::default();
        let (mut configuration, mut host) = (usize::MAX, usize::MAX);
        for step in &trace.steps {
            match step {
                Step::Listener(index) => place.listener = self.listeners.get(*index),
                Step::FilterChain(chain) => {
                    place.chain = place.listener.and_then(|listener| match chain {
                        Chain::Index(index) => listener.chains.get(*index),
                        Chain::Default => listener.default_chain.as_ref(),
                    });
                }
                Step::RouteConfiguration(index) => configuration = *index,
                Step::VirtualHost { virtual_host, .. } => host = *virtual_host,
                Step::Route(index) => {
                    let hosts = self.routes.get(configuration);
                    let routes = hosts.and_then(|hosts| hosts.get(host));
                    place.route = routes.and_then(|routes| routes.get(*index));
                }
                Step::Cluster(index) => place.cluster = self.clusters.get(*index),
                Step::Endpoint { locality, endpoint } => {
                    place.endpoint = Some((*locality, *endpoint));
                }
                _ => {}
            }
        }
        place
    }
}

#[derive(Default)]
struct Warnings {
    resource: String,
    root: String,
    list: Vec<Warning>,
}

impl Warnings {
    fn enter(&mut self, resource: String, root: String) {
        self.resource = resource;
        self.root = root;
    }

    /// Where `set`, the field at `path` below the root asks for something that is not done.
    fn note(&mut self, set: bool, path: &str, message: &str) {
        if set {
            self.list.push(Warning {
                resource: self.resource.clone(),
                path: format!("{}{path}", self.root),
                message: message.to_owned(),
            });
        }
    }
}

/// A duration of a message; negative ones count as 0.
fn duration(value: &protobuf::Duration) -> Duration {
    let seconds = u64::try_from(value.seconds).unwrap_or(0);
    let nanos = u32::try_from(value.nanos).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::from(nanos))
}

/// A timeout: the default where it is not set, none where it is 0.
fn timeout(value: Option<&protobuf::Duration>, default: Option<Duration>) -> Option<Duration> {
    match value {
        None => default,
        Some(value) => Some(duration(value)).filter(|value| !value.is_zero()),
    }
}

/// Whether a transport socket leaves bytes as they are.
fn is_plain(socket: Option<&TransportSocket>) -> bool {
    use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType;
    let Some(socket) = socket else {
        return true;
    };
    match &socket.config_type {
        Some(ConfigType::TypedConfig(any)) => any.type_url.ends_with(".RawBuffer"),
        _ => socket.name == "envoy.transport_sockets.raw_buffer" || socket.name == "raw_buffer",
    }
}

const HEADERS: &str = "header mutations are not applied";
const MIRROR: &str = "requests are not mirrored";
const RETRY: &str = "requests are not retried, but once where a kept-alive connection had died";
