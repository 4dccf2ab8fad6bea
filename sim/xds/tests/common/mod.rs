//! Small configurations to build tests on.
#![allow(dead_code, reason = "each test binary uses some of it")]

use twinmesh_xds::{ReadError, ReadOptions, Snapshot, read_bytes};

pub fn read_text(name: &str, text: &str) -> Result<Snapshot, ReadError> {
    read_bytes(name, text.as_bytes(), &ReadOptions::default())
}

pub fn read_ok(name: &str, text: &str) -> Snapshot {
    match read_text(name, text) {
        Ok(snapshot) => snapshot,
        Err(error) => panic!("{error}\n{text}"),
    }
}

/// A RouteConfiguration in YAML, with these routes in one virtual host; each line of `routes` is
/// indented to its place.
pub fn routes(routes: &str) -> String {
    format!(
        "name: rc\nvirtual_hosts:\n- name: host\n  domains: [\"*\"]\n  routes:\n{}",
        indent(routes, 2)
    )
}

/// A bootstrap in YAML with these clusters.
pub fn clusters(clusters: &str) -> String {
    format!("static_resources:\n  clusters:\n{}", indent(clusters, 2))
}

/// A cluster with these fields and localities.
fn weighted(fields: &str, endpoints: &str) -> String {
    clusters(&format!(
        "- name: c\n  {fields}\n  load_assignment: {{cluster_name: c, endpoints: [{endpoints}]}}"
    ))
}

/// A cluster with these fields and a locality whose weights pass 32 bits.
pub fn heavy_endpoints(fields: &str) -> String {
    let endpoint = "{load_balancing_weight: 4294967295, endpoint: {address: {pipe: {path: /p}}}}";
    weighted(
        fields,
        &format!("{{lb_endpoints: [{endpoint}, {endpoint}]}}"),
    )
}

/// A cluster with these fields and a priority whose localities' weights pass 32 bits.
pub fn heavy_localities(fields: &str) -> String {
    let locality = |zone: &str| {
        format!(
            "{{locality: {{zone: {zone}}}, load_balancing_weight: 4294967295, \
             lb_endpoints: [{{endpoint: {{address: {{pipe: {{path: /{zone}}}}}}}}}]}}"
        )
    };
    weighted(fields, &format!("{}, {}", locality("a"), locality("b")))
}

/// A bootstrap in YAML with these listeners.
pub fn listeners(listeners: &str) -> String {
    format!("static_resources:\n  listeners:\n{}", indent(listeners, 2))
}

/// A filter chain that ends in a TCP proxy.
pub fn tcp_chain(matched: &str) -> String {
    format!(
        "  - filter_chain_match: {matched}\n    filters:\n    - name: tcp\n      typed_config:\n        \
         \"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy\n        \
         stat_prefix: tcp\n        cluster: c\n"
    )
}

/// A listener with these filter chains.
pub fn listener(chains: &[&str]) -> String {
    let chains: String = chains.iter().map(|matched| tcp_chain(matched)).collect();
    format!(
        "- name: l\n  address: {{socket_address: {{address: 127.0.0.1, port_value: 80}}}}\n  \
         filter_chains:\n{chains}"
    )
}

/// A listener of this name, socket address and further fields, with one filter chain.
pub fn bound(name: &str, socket: &str, fields: &str) -> String {
    let chain = tcp_chain("{}");
    format!(
        "- name: {name}\n  address: {{socket_address: {socket}}}\n  {fields}\n  filter_chains:\n{chain}"
    )
}

/// A listener with a connection manager that has these extra fields and HTTP filters.
pub fn manager(fields: &str, filters: &str) -> String {
    let manager = format!(
        "\"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n\
         stat_prefix: http\n{fields}\nroute_config:\n  name: rc\n  virtual_hosts:\n  - name: host\n    domains: [\"*\"]\n    \
         routes:\n    - match: {{prefix: /}}\n      direct_response: {{status: 200}}\nhttp_filters:\n{filters}\
         - name: router\n  typed_config:\n    \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router\n"
    );
    format!(
        "- name: l\n  address: {{socket_address: {{address: 127.0.0.1, port_value: 80}}}}\n  filter_chains:\n  \
         - filters:\n    - name: http\n      typed_config:\n{}",
        indent(&manager, 8)
    )
}

fn indent(text: &str, spaces: usize) -> String {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| format!("{}{line}\n", " ".repeat(spaces)))
        .collect()
}
