//! Where `ORIGINAL_DST` clusters send connections to, in the tables as in the plain reading. Measured: nowhere
//! where the listener has only its own address.

use std::sync::Arc;

use rstest::rstest;
use serde_json::{Value, json};
use twinmesh_engine::{Engine, Outcome, Request};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::{ReadOptions, Snapshot};

const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters";

/// A listener at port 80 of an address with these fields, which a listener with `use_original_dst` may hand on
/// to.
fn snapshot(tcp: bool, address: &str, more: &Value) -> Arc<Snapshot> {
    let proxy = json!({"@type": format!("{FILTERS}.network.tcp_proxy.v3.TcpProxy"),
        "stat_prefix": "s", "cluster": "c"});
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "c"}});
    let manager = json!({
        "@type": format!("{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "s",
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "r", "typed_config":
            {"@type": format!("{FILTERS}.http.router.v3.Router")}}],
    });
    let config = if tcp { &proxy } else { &manager };
    let listener = |name: &str, address: &str, port: u16| {
        json!({"name": name,
        "address": {"socket_address": {"address": address, "port_value": port}},
        "filter_chains": [{"filters": [{"name": "last", "typed_config": config}]}]})
    };
    let mut taking = listener("l", address, 80);
    for (field, value) in more.as_object().into_iter().flatten() {
        taking[field] = value.clone();
    }
    let mut catching = listener("all", "0.0.0.0", 15001);
    catching["use_original_dst"] = json!(true);
    let cluster = json!({"name": "c", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"});
    let text =
        json!({"static_resources": {"listeners": [taking, catching], "clusters": [cluster]}});
    let text = text.to_string();
    let read = twinmesh_xds::read_bytes("t.json", text.as_bytes(), &ReadOptions::default());
    Arc::new(read.unwrap_or_else(|error| panic!("{error}")))
}

fn filter(name: &str, message: &str) -> Value {
    let kind = format!("{FILTERS}.listener.{name}.v3.{message}");
    json!({"listener_filters": [{"name": "f", "typed_config": {"@type": kind}}]})
}

#[rstest]
#[case::nothing_restores("127.0.0.1", json!({}), "l", "127.0.0.1:80", false)]
#[case::nothing_restores_another("0.0.0.0", json!({}), "l", "10.0.0.1:81", false)]
#[case::direct(
    "127.0.0.1",
    filter("original_dst", "OriginalDst"),
    "l",
    "127.0.0.1:80",
    false
)]
#[case::direct_to_any(
    "0.0.0.0",
    filter("original_dst", "OriginalDst"),
    "l",
    "10.0.0.1:80",
    false
)]
#[case::redirected(
    "127.0.0.1",
    filter("original_dst", "OriginalDst"),
    "l",
    "127.0.0.2:80",
    true
)]
#[case::no_header(
    "127.0.0.1",
    filter("proxy_protocol", "ProxyProtocol"),
    "l",
    "127.0.0.1:80",
    false
)]
#[case::header(
    "127.0.0.1",
    filter("proxy_protocol", "ProxyProtocol"),
    "l",
    "127.0.0.1:81",
    true
)]
#[case::itself("127.0.0.1", json!({}), "all", "10.0.0.1:15001", false)]
#[case::by_itself("127.0.0.1", json!({}), "all", "10.0.0.1:81", true)]
#[case::handed_on("127.0.0.1", json!({}), "all", "127.0.0.1:80", true)]
#[case::without_a_socket("127.0.0.1", json!({"bind_to_port": false}), "l", "127.0.0.1:80", true)]
#[case::in_the_old_place(
    "127.0.0.1", json!({"deprecated_v1": {"bind_to_port": false}}), "l", "127.0.0.1:80", true)]
fn only_where_it_is_restored(
    #[case] address: &str,
    #[case] more: Value,
    #[case] named: &str,
    #[case] destination: &str,
    #[case] is_restored: bool,
    #[values(false, true)] tcp: bool,
) {
    let line = json!({"id": "r", "listener": named, "destination": destination, "authority": "h",
        "path": "/"});
    let request: Request = serde_json::from_value(line).expect("a line of traffic");
    let engines: [&mut dyn Engine; 2] = [&mut Spec::default(), &mut Sim::default()];
    for engine in engines {
        engine
            .load(&snapshot(tcp, address, &more))
            .expect("it loads");
        let answer = engine.decide(&request, 1, 0, false).expect("it decides");
        let found = answer.decision;
        let outcome = match is_restored {
            true => Outcome::Forward,
            false => Outcome::NoHealthyUpstream,
        };
        assert_eq!(found.outcome, outcome);
        let endpoint = is_restored.then_some(destination);
        assert_eq!(found.endpoint.as_deref(), endpoint);
        assert_eq!(found.status, (!is_restored && !tcp).then_some(503));
    }
}
