//! Snapshots with a listener, and runs through both engines.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use twinmesh_engine::format::endpoints::Script;
use twinmesh_engine::{Answer, Engine, Replay, Request};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::{ReadOptions, Snapshot};

/// Endpoints `10.0.0.FIRST` and on, in one priority.
pub fn group(first: usize, count: usize, priority: u32) -> Value {
    let endpoints: Vec<Value> = (first..first + count)
        .map(|number| {
            let address = json!({"address": format!("10.0.0.{number}"), "port_value": 80});
            json!({"endpoint": {"address": {"socket_address": address}}})
        })
        .collect();
    json!({"priority": priority, "lb_endpoints": endpoints})
}

/// A cluster; `more` are further fields.
pub fn cluster(name: &str, groups: &[Value], more: &Value) -> Value {
    let mut cluster = json!({
        "name": name, "type": "STATIC", "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": groups},
    });
    merge(&mut cluster, more);
    cluster
}

/// A route from a path to a cluster; `more` are further fields of the action.
pub fn route(path: &str, cluster: &str, more: &Value) -> Value {
    let mut action = json!({"cluster": cluster});
    merge(&mut action, more);
    json!({"match": {"path": path}, "route": action})
}

/// Puts all fields of one object into another.
pub fn merge(object: &mut Value, more: &Value) {
    for (field, value) in more.as_object().into_iter().flatten() {
        object[field] = value.clone();
    }
}

/// A listener with these routes, and clusters; `host` and `manager` are further fields of the
/// virtual host and the connection manager.
pub fn snapshot(
    routes: &[Value],
    clusters: &[Value],
    host: &Value,
    manager: &Value,
) -> Arc<Snapshot> {
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let mut virtual_host = json!({"name": "host", "domains": ["*"], "routes": routes});
    merge(&mut virtual_host, host);
    let mut config = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "s",
        "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
        "route_config": {"name": "rc", "virtual_hosts": [virtual_host]},
    });
    merge(&mut config, manager);
    let text = json!({"static_resources": {
        "listeners": [{
            "name": "web",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 80}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": config}]}],
        }],
        "clusters": clusters,
    }})
    .to_string();
    let read = twinmesh_xds::read_bytes("test.json", text.as_bytes(), &ReadOptions::default());
    Arc::new(read.unwrap_or_else(|error| panic!("{error}\n{text}")))
}

/// A request that arrives at a time.
pub fn request(index: usize, path: &str, headers: &[(&str, &str)], time_us: u64) -> Request {
    let line = json!({
        "id": format!("r{index}"), "authority": "h.test", "path": path, "headers": headers,
        "source": "127.0.0.1:5000", "destination": "127.0.0.1:80", "time_us": time_us,
    });
    serde_json::from_value(line).expect("a request")
}

pub fn script(text: &str) -> Script {
    Script::parse(Path::new("test.endpoints.toml"), text).unwrap_or_else(|error| panic!("{error}"))
}

/// What an engine makes of the requests.
pub fn run(
    engine: &mut dyn Engine,
    snapshot: &Arc<Snapshot>,
    requests: &[Request],
    script: &Script,
) -> Vec<Answer> {
    let replay = Replay {
        seed: 3,
        trace: true,
        schedule: None,
        endpoints: Some(script),
    };
    let mut answers = Vec::new();
    let mut each = |decided: twinmesh_engine::Decided<'_>| {
        answers.push(decided.answer);
        ControlFlow::Continue(())
    };
    let run = replay.run(engine, snapshot, requests, &mut each);
    run.expect("a whole run");
    assert_eq!(answers.len(), requests.len());
    answers
}

/// What both engines make of the requests, which is the same.
pub fn both(snapshot: &Arc<Snapshot>, requests: &[Request], script: &Script) -> Vec<Answer> {
    let expected = run(&mut Spec::new(), snapshot, requests, script);
    let found = run(&mut Sim::default(), snapshot, requests, script);
    for ((mut one, mut other), request) in expected.iter().cloned().zip(found).zip(requests) {
        for answer in [&mut one, &mut other] {
            (answer.decision.engine, answer.decision.reason) = (None, None);
        }
        assert_eq!(one, other, "{request:?}");
    }
    expected
}
