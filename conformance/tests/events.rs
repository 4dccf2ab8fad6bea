//! Every engine that runs here decides alike while endpoints change: generated events, over
//! clusters of every balancer.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use twinmesh::engines;
use twinmesh_engine::format::{events::Schedule, traffic};
use twinmesh_engine::{Engine, Held, Outcome, Replay, Trace, random};
use twinmesh_xds::{ReadOptions, Snapshot};

/// Runs, each with clusters, events and traffic of its own.
const RUNS: u64 = 10;
const REQUESTS: u64 = 320;
const CLUSTERS: [&str; 8] = [
    "equal",
    "weighted",
    "least",
    "least-weighted",
    "located",
    "located-weighted",
    "parted",
    "parted-located-weighted",
];
/// What requests ask of the clusters with subsets.
const PARTS: [Option<&str>; 4] = [None, Some("a"), Some("b"), Some("c")];

/// The path of requests to a cluster, or to a part of it.
fn path(cluster: &str, part: Option<&str>) -> String {
    format!("/{cluster}{}", part.unwrap_or_default())
}

/// Whether only userspace decides it.
fn in_userspace(cluster: &str) -> bool {
    cluster.contains("located") || cluster.contains("parted")
}

/// Numbers drawn one after the other.
struct Draws {
    seed: u64,
    drawn: u64,
}

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.drawn += 1;
        random::draw(self.seed, self.drawn) % bound
    }
}

/// Endpoints of all clusters, drawn: one to six a cluster, in one or two priorities.
fn endpoints(draws: &mut Draws, name: &str) -> Value {
    let count = 1 + draws.below(6);
    let priorities = 1 + draws.below(2);
    let groups: Vec<Value> = (0..count)
        .map(|index| {
            let address =
                json!({"socket_address": {"address": "10.0.0.1", "port_value": 1 + index}});
            let weight = if name.contains("weighted") {
                1 + draws.below(4)
            } else {
                1
            };
            let health = [
                "HEALTHY",
                "HEALTHY",
                "HEALTHY",
                "DEGRADED",
                "UNHEALTHY",
                "DRAINING",
            ];
            let mut group = json!({
                "priority": if index == 0 { 0 } else { draws.below(priorities) },
                "locality": {"zone": format!("z{}", draws.below(2))},
                "lb_endpoints": [{
                    "endpoint": {"address": address},
                    "load_balancing_weight": weight,
                    "health_status": health[draws.below(6) as usize],
                }],
            });
            if name.contains("located") && draws.below(4) > 0 {
                group["load_balancing_weight"] = json!(1 + draws.below(3));
            }
            if name.contains("parted") && draws.below(4) > 0 {
                let label = ["a", "b"][draws.below(2) as usize];
                let metadata = json!({"filter_metadata": {"envoy.lb": {"v": label}}});
                group["lb_endpoints"][0]["metadata"] = metadata;
            }
            group
        })
        .collect();
    json!(groups)
}

fn snapshot(draws: &mut Draws) -> Snapshot {
    let route = |name: &str, part: Option<&str>| {
        let mut route = json!({"cluster": name});
        if let Some(part) = part {
            route["metadata_match"] = json!({"filter_metadata": {"envoy.lb": {"v": part}}});
        }
        json!({"match": {"path": path(name, part)}, "route": route})
    };
    let routes: Vec<Value> = CLUSTERS
        .iter()
        .flat_map(|name| PARTS.map(|part| route(name, part)))
        .collect();
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "s",
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        "route_config": {"name": "rc", "virtual_hosts": [{"name": "h", "domains": ["*"], "routes":
            routes}]},
    });
    // Their order is drawn, so that indices change over an update.
    let mut names = CLUSTERS.to_vec();
    names.rotate_left(draws.below(CLUSTERS.len() as u64) as usize);
    let clusters = |endpoints: &mut dyn FnMut(&str) -> Value| -> Vec<Value> {
        let cluster = |name: &&str| {
            let policy = if name.starts_with("least") {
                "LEAST_REQUEST"
            } else {
                "ROUND_ROBIN"
            };
            let mut cluster = json!({"name": name, "type": "STATIC", "lb_policy": policy,
                "load_assignment": {"cluster_name": name, "endpoints": endpoints(name)}});
            if name.contains("located") {
                cluster["common_lb_config"] = json!({"locality_weighted_lb_config": {}});
            }
            if name.contains("parted") {
                cluster["lb_subset_config"] = json!({
                    "subset_selectors": [{"keys": ["v"]}], "fallback_policy": "ANY_ENDPOINT",
                    "locality_weight_aware": name.contains("located"), "scale_locality_weight": true,
                });
            }
            cluster
        };
        names.iter().map(cluster).collect()
    };
    let read = |listeners: Value, clusters: Vec<Value>| {
        let text =
            json!({"static_resources": {"listeners": listeners, "clusters": clusters}}).to_string();
        let read = twinmesh_xds::read_bytes("t.json", text.as_bytes(), &ReadOptions::default());
        read.unwrap_or_else(|error| panic!("{error}"))
    };
    let listeners = json!([{
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}},
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
    }]);
    // The messages of the clusters stay the same, as with EDS.
    let mut snapshot = read(listeners, clusters(&mut |_| json!([])));
    let drawn = read(json!([]), clusters(&mut |name| endpoints(draws, name)));
    for (to, from) in snapshot.clusters.iter_mut().zip(drawn.clusters) {
        to.load_assignment = from.load_assignment;
    }
    snapshot
}

fn remove(snapshot: &mut Snapshot, cluster: &str, address: &str) {
    let clusters = snapshot.clusters.iter_mut();
    for one in clusters.filter(|one| one.name == cluster) {
        for group in one
            .load_assignment
            .iter_mut()
            .flat_map(|it| &mut it.endpoints)
        {
            group.lb_endpoints.retain(|endpoint| {
                twinmesh_engine::endpoint::address(endpoint).as_deref() != Some(address)
            });
        }
    }
}

/// The lines of an events file, and the snapshots that it names.
fn events(draws: &mut Draws, first: &Snapshot) -> (String, Vec<Snapshot>) {
    let mut lines = String::new();
    let mut snapshots = Vec::new();
    let mut now = first.clone();
    for index in 0..30 {
        let time = (index + 1) * 5;
        let places: Vec<(String, String)> = now
            .clusters
            .iter()
            .flat_map(|cluster| {
                twinmesh_engine::update::places(cluster.load_assignment.as_ref())
                    .filter_map(|(.., endpoint)| twinmesh_engine::endpoint::address(endpoint))
                    .map(|address| (cluster.name.clone(), address))
            })
            .collect();
        let place = places.get(draws.below(places.len().max(1) as u64) as usize);
        let event = match (draws.below(8), place) {
            (0, _) | (_, None) => {
                now = snapshot(draws);
                snapshots.push(now.clone());
                json!({"time_us": time, "snapshot": snapshots.len().to_string()})
            }
            (1, Some((cluster, address))) => {
                remove(&mut now, cluster, address);
                json!({"time_us": time, "remove_endpoint": {"cluster": cluster, "address": address}})
            }
            (_, Some((cluster, address))) => {
                let health = ["HEALTHY", "UNHEALTHY", "DEGRADED", "DRAINING"];
                let health = health[draws.below(4) as usize];
                json!({"time_us": time, "endpoint": {"cluster": cluster, "address": address, "health_status": health}})
            }
        };
        lines += &format!("{event}\n");
    }
    (lines, snapshots)
}

type Decided = (
    Outcome,
    Option<String>,
    Trace,
    Option<(usize, usize, usize)>,
);

fn replay(
    engine: &mut dyn Engine,
    snapshot: &Arc<Snapshot>,
    lines: &str,
    schedule: &Schedule,
) -> Vec<Decided> {
    let requests = traffic::parse(Path::new("t.jsonl"), lines.as_bytes()).expect("traffic");
    let replay = Replay {
        seed: 1,
        trace: true,
        schedule: Some(schedule),
        endpoints: None,
    };
    let mut all = Vec::new();
    let run = replay.run(engine, snapshot, &requests, &mut |decided| {
        let answer = decided.answer;
        let place = |held: Held| (held.cluster, held.locality, held.endpoint);
        all.push((
            answer.decision.outcome,
            answer.decision.endpoint,
            answer.trace,
            answer.held.map(place),
        ));
        ControlFlow::Continue(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
    all
}

#[test]
fn every_engine_decides_alike_under_events() {
    let mut all = Vec::new();
    // No event reaches a live server.
    for name in engines::NAMES.into_iter().filter(|it| *it != engines::LIVE) {
        match engines::make(name) {
            Ok(engine) => all.push(engine),
            Err(why) if std::env::var("TWINMESH_REQUIRE_KERNEL").is_ok_and(|it| it != "0") => {
                panic!("{name} must run: {why}")
            }
            Err(why) => println!("{name} does not run here: {why}"),
        }
    }
    assert!(all.len() >= 3);
    let mut forwarded = 0;
    for run in 0..RUNS {
        let mut draws = Draws {
            seed: run,
            drawn: 0,
        };
        let first = snapshot(&mut draws);
        let (lines, snapshots) = events(&mut draws, &first);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("e.jsonl");
        std::fs::write(&file, &lines).expect("the events");
        let mut read = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str());
            let number = name.and_then(|name| name.parse::<usize>().ok());
            Ok(snapshots[number.expect("a number") - 1].clone())
        };
        let schedule = Schedule::read(&file, &first, &mut read)
            .unwrap_or_else(|error| panic!("{error}\n{lines}"));
        let traffic: String = (0..REQUESTS)
            .map(|index| {
                let cluster = CLUSTERS[draws.below(CLUSTERS.len() as u64) as usize];
                let part = PARTS[draws.below(PARTS.len() as u64) as usize];
                let line = json!({"id": index.to_string(), "authority": "a", "path": path(cluster, part),
                    "time_us": index, "duration_us": draws.below(40), "destination": "127.0.0.1:8080"});
                format!("{line}\n")
            })
            .collect();
        let first = Arc::new(first);
        let mut expected = None;
        for engine in &mut all {
            let decided = replay(engine.as_mut(), &first, &traffic, &schedule);
            match &expected {
                None => {
                    let to = decided.iter().filter(|one| one.0 == Outcome::Forward);
                    forwarded += to.count();
                    expected = Some(decided);
                }
                Some(expected) => {
                    let pairs = expected.iter().zip(&decided).enumerate();
                    for (index, (one, other)) in pairs {
                        let path: Value =
                            serde_json::from_str(traffic.lines().nth(index).expect("a line"))
                                .expect("JSON");
                        let path = path["path"].as_str().expect("a path");
                        if other.0 == Outcome::Unsupported
                            && engine.name() != "sim"
                            && in_userspace(path)
                        {
                            continue;
                        }
                        assert_eq!(
                            one,
                            other,
                            "{} run {run} request {index}\n{lines}",
                            engine.name()
                        );
                    }
                }
            }
        }
    }
    assert!(forwarded > 500, "{forwarded}");
}
