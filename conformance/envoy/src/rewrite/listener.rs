//! Listeners: unbound at their own addresses, and the entries that are bound to loopback.

use std::path::Path;

use envoy_types::pb::envoy::config::core::v3::{address::Address, socket_address::Protocol};
use envoy_types::pb::envoy::config::listener::v3::Listener as ListenerConfig;
use serde_json::{Value, json};
use twinmesh_xds::{FilterChain, Listener, Terminal};

use super::routes::Routes;
use super::secured::Secured;
use super::{MARK, json as steps};

const MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
const FILE_LOG: &str = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog";
const PROXY_PROTOCOL: &str =
    "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol";
const DIRECT_RESPONSE: &str =
    "type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config";

/// Listener filters whose work the PROXY header does.
const ADDRESSES: [&str; 2] = ["ProxyProtocol", "OriginalDst"];

/// The access logs of a run, all in one file.
pub struct Log {
    file: Value,
    generation: usize,
}

impl Log {
    /// To this file, of the snapshot of this number.
    pub fn new(file: &Path, generation: usize) -> Self {
        Self {
            file: json!(file),
            generation,
        }
    }

    /// A log that says, beside what was decided, where it was decided: indices in the snapshot.
    fn entry(&self, kind: &str, names: &[(&str, Option<usize>)]) -> Value {
        let mut format = json!({
            "kind": kind,
            "generation": self.generation.to_string(),
            "from": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
            "virtual_host": format!("%METADATA(VIRTUAL_HOST:{MARK}:index)%"),
            "route": format!("%METADATA(ROUTE:{MARK}:index)%"),
            "cluster": "%UPSTREAM_CLUSTER_RAW%",
            "endpoint": "%UPSTREAM_HOST%",
            "status": "%RESPONSE_CODE%",
            "details": "%RESPONSE_CODE_DETAILS%",
            "closed": "%CONNECTION_TERMINATION_DETAILS%",
            "flags": "%RESPONSE_FLAGS%",
        });
        if kind == "listener" {
            steps::set(&mut format, "chain", json!("%FILTER_CHAIN_NAME%"));
        }
        for (name, index) in names {
            if let Some(index) = index {
                steps::set(&mut format, name, json!(index.to_string()));
            }
        }
        json!([{"name": MARK, "typed_config": {
            "@type": FILE_LOG,
            "path": self.file,
            "log_format": {"json_format": format},
        }}])
    }
}

/// Whether connections can be made to it: not to a UDP listener, nor to what has no address.
pub fn is_tcp(config: &ListenerConfig) -> bool {
    if config.api_listener.is_some() || config.udp_listener_config.is_some() {
        return false;
    }
    let address = config.address.as_ref().and_then(|it| it.address.as_ref());
    matches!(address, Some(Address::SocketAddress(socket)) if socket.protocol != Protocol::Udp as i32)
}

/// The listener at its own address, which it does not bind.
pub fn listener(
    mut config: Value,
    index: usize,
    of: &Listener,
    routes: &Routes,
    log: &Log,
    secured: &Secured,
) -> Value {
    steps::remove(
        &mut config,
        &[
            "connection_balance_config",
            "deprecated_v1",
            "enable_mptcp",
            "enable_reuse_port",
            "freebind",
            "reuse_port",
            "socket_options",
            "tcp_fast_open_queue_length",
            "transparent",
        ],
    );
    let name = format!("listener-{}-{index}", log.generation);
    steps::set(&mut config, "stat_prefix", json!(name));
    steps::set(&mut config, "name", json!(name));
    steps::set(&mut config, "bind_to_port", Value::Bool(false));
    let place = [("listener", Some(index))];
    steps::set(&mut config, "access_log", log.entry("listener", &place));
    for additional in steps::elements(&mut config, "additional_addresses") {
        steps::remove(additional, &["socket_options"]);
    }
    keep(&mut config, "listener_filters", |filter| {
        let name = steps::type_name(filter.get("typed_config").unwrap_or(&Value::Null));
        !ADDRESSES.contains(&name.rsplit('.').next().unwrap_or_default())
    });
    for (place, chain) in of.filter_chains.iter().enumerate() {
        if let Some(config) = config.pointer_mut(&format!("/filter_chains/{place}")) {
            let place = (index, Some(place));
            filter_chain(config, place, chain, routes, log);
            secured.put(config, place);
        }
    }
    if let (Some(chain), Some(config)) = (
        &of.default_filter_chain,
        config.get_mut("default_filter_chain"),
    ) {
        filter_chain(config, (index, None), chain, routes, log);
        secured.put(config, (index, None));
    }
    config
}

fn filter_chain(
    config: &mut Value,
    (listener, chain): (usize, Option<usize>),
    of: &FilterChain,
    routes: &Routes,
    log: &Log,
) {
    steps::remove(config, &["transport_socket", "tls_context"]);
    keep(config, "filters", |_| true);
    let Some(filter) = config
        .get_mut("filters")
        .and_then(Value::as_array_mut)
        .and_then(|filters| filters.last_mut())
        .and_then(|filter| filter.get_mut("typed_config"))
    else {
        return;
    };
    // The default chain comes after all others.
    let place = [("listener", Some(listener)), ("filter_chain", chain)];
    match &of.terminal {
        Terminal::Http {
            route_configuration,
            ..
        } => {
            let [one, two] = place;
            let place = [one, two, ("route_config", *route_configuration)];
            steps::set(filter, "access_log", log.entry("http", &place));
            steps::set(filter, "route_config", routes.table(*route_configuration));
            steps::remove(
                filter,
                &["rds", "scoped_routes", "tracing", "access_log_options"],
            );
            keep(filter, "http_filters", |_| true);
        }
        Terminal::Tcp(_) => {
            steps::set(filter, "access_log", log.entry("tcp", &place));
            steps::remove(filter, &["access_log_options"]);
        }
        Terminal::Unknown => {}
    }
}

/// Keeps the filters that an Envoy can have built in and that satisfy the condition.
fn keep(config: &mut Value, key: &str, wanted: impl Fn(&Value) -> bool) {
    if let Some(filters) = config.get_mut(key).and_then(Value::as_array_mut) {
        filters.retain(|filter| {
            let known = filter.get("typed_config").is_none_or(steps::is_envoys);
            known && wanted(filter)
        });
    }
}

/// The copy of a listener that is bound (its address is set apart), and told the connection's addresses.
pub fn entered(mut config: Value, name: &str) -> Value {
    steps::remove(&mut config, &["additional_addresses", "bind_to_port"]);
    steps::set(&mut config, "name", json!(name));
    let mut filters = vec![proxy_protocol()];
    filters.extend(steps::take_array(&mut config, "listener_filters"));
    steps::set(&mut config, "listener_filters", Value::Array(filters));
    config
}

fn proxy_protocol() -> Value {
    json!({"name": "proxy_protocol", "typed_config": {"@type": PROXY_PROTOCOL}})
}

/// The entry that hands each connection on to the listener at its destination, and closes those
/// that none takes.
pub fn front(name: &str, log: &Log) -> Value {
    json!({
        "name": name,
        "use_original_dst": true,
        "access_log": log.entry("front", &[]),
        "listener_filters": [proxy_protocol()],
        "filter_chains": [{"filters": [{
            "name": "nothing",
            "typed_config": {"@type": DIRECT_RESPONSE},
        }]}],
    })
}

/// An entry to a route configuration alone.
pub fn bare(name: &str, index: usize, routes: &Routes, log: &Log) -> Value {
    let mut table = routes.table(Some(index));
    // No connection manager says who comes from inside.
    steps::remove(&mut table, &["internal_only_headers"]);
    json!({
        "name": name,
        "filter_chains": [{"filters": [{
            "name": "manager",
            "typed_config": {
                "@type": MANAGER,
                "stat_prefix": name,
                "access_log": log.entry("http", &[("route_config", Some(index))]),
                "route_config": table,
                "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
            },
        }]}],
    })
}
