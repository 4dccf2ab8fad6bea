//! Slow start over virtual time, as Envoy 1.40 did with EDS from a watched file.

use std::sync::Arc;

use rstest::rstest;
use serde_json::{Value, json};
use twinmesh_engine::{Engine, Held, Request};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;
use twinmesh_xds::{ReadOptions, Snapshot};

/// Picks of Envoy 1.40 while the last endpoint of a cluster was in slow start, and the others no
/// Runs of Envoy 1.40: the last endpoint of a cluster came when the others were in slow start no longer.
/// `times_ms`: when each request came, after that endpoint; `picks`: the endpoints by number;
/// `picks_before`: how many picks Envoy's queue began with.
const MEASURED: &str = include_str!("data/slow-start.jsonl");

fn read(bootstrap: &Value) -> Snapshot {
    let text = bootstrap.to_string();
    let read = twinmesh_xds::read_bytes("test.json", text.as_bytes(), &ReadOptions::default());
    read.unwrap_or_else(|error| panic!("{error}"))
}

/// A route to the cluster `c` with these fields, and endpoints that come beside it.
fn snapshot(more: &Value, endpoints: &[Value]) -> Arc<Snapshot> {
    let with = |endpoints: &[Value]| {
        let mut cluster = json!({"name": "c", "type": "STATIC", "connect_timeout": "1s",
            "load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": endpoints}]}});
        for (field, value) in more.as_object().into_iter().flatten() {
            cluster[field] = value.clone();
        }
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "s",
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
            "route_config": {"name": "rc", "virtual_hosts": [{"name": "h", "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}]},
        });
        let listener = json!({"name": "l",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]});
        read(&json!({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    };
    let mut snapshot = with(&[]);
    snapshot.clusters[0].load_assignment = with(endpoints).clusters[0].load_assignment.clone();
    Arc::new(snapshot)
}

fn endpoint(name: usize, weight: u32, health: &str) -> Value {
    let address = json!({"address": "127.0.0.1", "port_value": 9000 + name});
    json!({"endpoint": {"address": {"socket_address": address}}, "load_balancing_weight": weight,
        "health_status": health})
}

fn plain(weights: &[u32]) -> Vec<Value> {
    let endpoints = weights.iter().enumerate();
    endpoints
        .map(|(index, weight)| endpoint(index + 1, *weight, "HEALTHY"))
        .collect()
}

fn slowly(window_ms: u64, aggression: f64, least: f64) -> Value {
    let window = format!("{}.{:03}s", window_ms / 1000, window_ms % 1000);
    json!({"slow_start_config": {"slow_start_window": window,
        "aggression": {"default_value": aggression, "runtime_key": "a"},
        "min_weight_percent": {"value": least}}})
}

fn round_robin(window_ms: u64) -> Value {
    json!({"round_robin_lb_config": slowly(window_ms, 1.0, 10.0)})
}

fn both(snapshot: &Arc<Snapshot>) -> [Box<dyn Engine>; 2] {
    let engines: [Box<dyn Engine>; 2] = [Box::<Spec>::default(), Box::<Sim>::default()];
    engines.map(|mut engine| {
        engine.load(snapshot).expect("it loads");
        engine
    })
}

/// The last digit of the endpoint that a request goes to, and what it holds.
fn held(engine: &mut dyn Engine, now_ms: u64) -> (char, Held) {
    let request: Request = serde_json::from_value(json!({
        "id": "r", "authority": "a", "path": "/", "destination": "127.0.0.1:8080"}))
    .expect("a line of traffic");
    let answer = engine.decide(&request, 1, now_ms * 1000, false);
    let answer = answer.expect("it decides");
    let endpoint = answer.decision.endpoint.expect("it is forwarded");
    let held = answer.held.expect("an endpoint is held");
    (endpoint.chars().last().unwrap_or('-'), held)
}

fn pick(engine: &mut dyn Engine, now_ms: u64) -> char {
    let (picked, held) = held(engine, now_ms);
    engine.release(held).expect("it is released");
    picked
}

fn picks(engine: &mut dyn Engine, now_ms: u64, count: usize) -> String {
    (0..count).map(|_| pick(engine, now_ms)).collect()
}

fn update(engine: &mut dyn Engine, snapshot: &Arc<Snapshot>, now_ms: u64) {
    engine.update(snapshot, now_ms * 1000).expect("it updates");
}

#[test]
fn picks_are_envoys() {
    assert!(MEASURED.lines().count() >= 5);
    for line in MEASURED.lines() {
        let run: Value = serde_json::from_str(line).expect("a run");
        let number = |field: &str| run[field].as_u64().expect("a number");
        let numbers = |field: &str| -> Vec<u64> {
            let list = run[field].as_array().expect("a list").iter();
            list.map(|it| it.as_u64().expect("a number")).collect()
        };
        let window_ms = number("window_ms");
        let share = |field: &str| run[field].as_f64().expect("a share");
        let slowly = slowly(window_ms, share("aggression"), share("min_weight_percent"));
        let field = match run["balancer"].as_str() {
            Some("LEAST_REQUEST") => "least_request_lb_config",
            _ => "round_robin_lb_config",
        };
        let config = json!({"lb_policy": run["balancer"], field: slowly});
        let weights: Vec<u32> = numbers("weights").iter().map(|it| *it as u32).collect();
        let endpoints = plain(&weights);
        let before = snapshot(&config, &endpoints[..endpoints.len() - 1]);
        let after = snapshot(&config, &endpoints);
        for mut engine in both(&before) {
            let engine = &mut *engine;
            let came = window_ms + 1;
            update(engine, &after, came);
            picks(engine, came, number("picks_before") as usize);
            let times = numbers("times_ms");
            let found: String = times.iter().map(|ms| pick(engine, came + ms)).collect();
            assert_eq!(found, run["picks"], "{} {line}", engine.name());
        }
    }
}

/// An endpoint that was picked enters the queue with the weight that it has by then, so that the one
/// that comes in last goes out first.
#[test]
fn endpoints_of_one_weight_are_queued_until_the_priority_changes() {
    for mut engine in both(&snapshot(&round_robin(1000), &plain(&[1, 1]))) {
        let engine = &mut *engine;
        assert_eq!(picks(engine, 0, 4), "1212");
        let found: String = [200, 300, 400, 500]
            .iter()
            .map(|ms| pick(engine, *ms))
            .collect();
        assert_eq!(found, "1221");
        assert_eq!(picks(engine, 5000, 4).len(), 4);
        // Nobody is in slow start: what turns there were while there was no queue go on.
        update(
            engine,
            &snapshot(&round_robin(1000), &plain(&[1, 1, 1])),
            6_000,
        );
        update(
            engine,
            &snapshot(&round_robin(1000), &plain(&[1, 1])),
            9_000,
        );
        assert_eq!(picks(engine, 9_000, 3), "121");
    }
}

/// Up to the end of the window, in whole milliseconds, a priority that changes is queued; then the
/// turns without a queue go on.
#[rstest]
#[case::at_the_end(1000, "1")]
#[case::over(1001, "2")]
fn a_change_queues_while_somebody_starts(#[case] now_ms: u64, #[case] after: &str) {
    let slow = round_robin(1000);
    let with = |last| {
        let mut endpoints = plain(&[1, 1, 1]);
        endpoints[2] = endpoint(3, 1, last);
        snapshot(&slow, &endpoints)
    };
    for mut engine in both(&with("DEGRADED")) {
        let engine = &mut *engine;
        update(engine, &with("UNHEALTHY"), now_ms);
        assert_eq!(picks(engine, now_ms, 1), "1");
        update(engine, &with("DEGRADED"), 5000);
        assert_eq!(picks(engine, 5000, 1), after);
    }
}

#[test]
fn only_what_is_another_endpoint_begins_anew() {
    let slow = round_robin(1000);
    let weighed = plain(&[2, 2]);
    for mut engine in both(&snapshot(&slow, &plain(&[1, 1]))) {
        let engine = &mut *engine;
        update(engine, &snapshot(&slow, &weighed), 5_000);
        assert_eq!(picks(engine, 5_000, 4), "1212");
        // It has gone, and comes again.
        update(engine, &snapshot(&slow, &weighed[..1]), 6_000);
        update(engine, &snapshot(&slow, &weighed), 6_000);
        assert_eq!(picks(engine, 6_000, 11), "11111111121");
        // Another cluster of the name: all come.
        update(engine, &snapshot(&round_robin(999), &weighed), 8_000);
        assert_eq!(picks(engine, 8_000, 4), "1212");
    }
}

#[test]
fn active_requests_count_beside_the_time() {
    let config = json!({"lb_policy": "LEAST_REQUEST",
        "least_request_lb_config": slowly(3_600_000, 1.0, 50.0)});
    for mut engine in both(&snapshot(&config, &plain(&[1, 1]))) {
        let engine = &mut *engine;
        let (first, busy) = held(engine, 0);
        assert_eq!(first, '1');
        let (second, _) = held(engine, 0);
        assert_eq!(second, '2');
        // Both have been given the weight of one that had none; now the first is released.
        engine.release(busy).expect("it is released");
        assert_eq!(picks(engine, 0, 6), "121211");
    }
}
