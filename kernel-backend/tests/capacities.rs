//! The capacities that the project promises: 10,000 clusters, 100,000 endpoints, 10,000 virtual
//! hosts, 1,000 listeners. Every engine loads them and decides sampled requests as `spec` does.

#[allow(dead_code, reason = "each test uses a part")]
mod common;

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::address::Address as AddressKind;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use serde_json::{Value, json};
use twinmesh_engine::{Engine, Outcome, Request};
use twinmesh_spec::Spec;
use twinmesh_xds::Snapshot;

fn address(host: usize, port: usize) -> Value {
    let [_, high, middle, low] = (host as u32).to_be_bytes();
    json!({"socket_address": {"address": format!("10.{high}.{middle}.{low}"), "port_value": port}})
}

fn cluster(name: &str, policy: &str) -> Value {
    json!({"name": name, "type": "STATIC", "lb_policy": policy,
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(0, 80)}}]}]}})
}

/// Gives each cluster so many endpoints. (Not as text: that takes longer to read than all else.)
fn multiply(snapshot: Arc<Snapshot>, endpoints: usize) -> Arc<Snapshot> {
    let mut snapshot = Arc::unwrap_or_clone(snapshot);
    let mut next = 0_u32;
    for cluster in &mut snapshot.clusters {
        let assignment = cluster.load_assignment.as_mut().expect("it is static");
        let list = &mut assignment.endpoints[0].lb_endpoints;
        let first = list[0].clone();
        list.resize(endpoints, first);
        for endpoint in list {
            next += 1;
            let Some(HostIdentifier::Endpoint(endpoint)) = &mut endpoint.host_identifier else {
                panic!("it has an address");
            };
            let address = endpoint.address.as_mut().and_then(|it| it.address.as_mut());
            let Some(AddressKind::SocketAddress(socket)) = address else {
                panic!("it has an address");
            };
            let [_, high, middle, low] = next.to_be_bytes();
            socket.address = format!("10.{high}.{middle}.{low}");
        }
    }
    Arc::new(snapshot)
}

fn listener(index: usize, configuration: &Value) -> Value {
    json!({
        "name": format!("listener-{index}"),
        "address": address(index + 1, 8080),
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "s",
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
            "route_config": configuration,
        }}]}],
    })
}

/// A virtual host of one route, to one cluster.
fn host(index: usize, cluster: &str) -> Value {
    json!({"name": format!("host-{index}"), "domains": [format!("host-{index}.test")],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]})
}

fn snapshot(listeners: &[Value], clusters: &[Value]) -> Arc<Snapshot> {
    common::snapshot(
        &json!({"static_resources": {"listeners": listeners, "clusters": clusters}}).to_string(),
    )
}

fn request(listener: usize, host: usize) -> Request {
    let [_, high, middle, low] = (listener as u32 + 1).to_be_bytes();
    let line = json!({"id": format!("{listener}-{host}"), "authority": format!("host-{host}.test"),
        "destination": format!("10.{high}.{middle}.{low}:8080")});
    serde_json::from_value(line).expect("a line of traffic")
}

/// Decides the requests by all engines; each must go to an endpoint, the same in all. How many
/// different endpoints there were.
fn agree(snapshot: &Arc<Snapshot>, requests: &[Request]) -> usize {
    let mut engines: Vec<Box<dyn Engine>> = vec![Box::new(Spec::default())];
    engines.extend(common::engines());
    for engine in &mut engines {
        engine
            .load(snapshot)
            .unwrap_or_else(|error| panic!("{}: {error}", engine.name()));
    }
    let mut endpoints = std::collections::BTreeSet::new();
    for (index, request) in requests.iter().enumerate() {
        let random = common::random(request, index);
        let mut expected = None;
        for engine in &mut engines {
            let answer = engine
                .decide(request, random, 0, true)
                .unwrap_or_else(|error| panic!("{error}"));
            let mut answer = common::plain(answer);
            answer.decision.reason = None;
            assert_eq!(answer.decision.outcome, Outcome::Forward, "{answer:?}");
            endpoints.insert(answer.decision.endpoint.clone());
            match &expected {
                None => expected = Some(answer),
                Some(expected) => assert_eq!(expected, &answer, "{}", engine.name()),
            }
        }
    }
    endpoints.len()
}

/// Numbers below a bound: the first, the last, and some between.
fn sample(bound: usize, count: usize) -> Vec<usize> {
    (0..count)
        .map(|index| index * (bound - 1) / (count - 1))
        .collect()
}

#[test]
fn ten_thousand_clusters_and_virtual_hosts_with_a_hundred_thousand_endpoints() {
    const COUNT: usize = 10_000;
    let names: Vec<String> = (0..COUNT).map(|index| format!("cluster-{index}")).collect();
    let hosts: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(index, cluster)| host(index, cluster))
        .collect();
    let policies = ["ROUND_ROBIN", "LEAST_REQUEST"];
    let clusters: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(index, name)| cluster(name, policies[index % 2]))
        .collect();
    let configuration = json!({"name": "rc", "virtual_hosts": hosts});
    let snapshot = multiply(snapshot(&[listener(0, &configuration)], &clusters), 10);
    let requests: Vec<Request> = sample(COUNT, 50)
        .into_iter()
        .flat_map(|host| [request(0, host), request(0, host)])
        .collect();
    assert!(agree(&snapshot, &requests) > 75);
}

#[test]
fn a_hundred_thousand_endpoints_in_one_cluster() {
    const COUNT: usize = 100_000;
    let policies = ["ROUND_ROBIN", "LEAST_REQUEST"];
    let hosts = [host(0, policies[0]), host(1, policies[1])];
    let clusters = policies.map(|policy| cluster(policy, policy));
    let configuration = json!({"name": "rc", "virtual_hosts": hosts});
    let snapshot = multiply(snapshot(&[listener(0, &configuration)], &clusters), COUNT);
    let requests: Vec<Request> = (0..40).map(|index| request(0, index % 2)).collect();
    assert!(agree(&snapshot, &requests) >= 39);
}

#[test]
fn a_thousand_listeners() {
    const COUNT: usize = 1_000;
    let clusters = ["a", "b"].map(|name| cluster(name, "ROUND_ROBIN"));
    let listeners: Vec<Value> = (0..COUNT)
        .map(|index| {
            let hosts = [host(index, ["a", "b"][index % 2])];
            let name = format!("rc-{index}");
            listener(index, &json!({"name": name, "virtual_hosts": hosts}))
        })
        .collect();
    let snapshot = multiply(snapshot(&listeners, &clusters), 3);
    let requests: Vec<Request> = sample(COUNT, 60)
        .into_iter()
        .map(|index| request(index, index))
        .collect();
    assert_eq!(agree(&snapshot, &requests), 6);
}
