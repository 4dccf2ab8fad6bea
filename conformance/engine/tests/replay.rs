//! The driver: virtual time, what is held, random numbers, events.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use envoy_types::pb::envoy::config::cluster::v3::Cluster as ClusterConfig;
use envoy_types::pb::envoy::config::core::v3::{
    Address, Locality, SocketAddress, address, socket_address::PortSpecifier,
};
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use twinmesh_engine::format::{events::Schedule, traffic};
use twinmesh_engine::{
    Answer, Engine, EngineError, Held, Replay, Request, Strictness, endpoint, random,
};
use twinmesh_xds::{Cluster, Snapshot};

/// Writes down what it is told; holds the last endpoint of the cluster that the path names.
#[derive(Default)]
struct Recorder {
    snapshot: Arc<Snapshot>,
    log: Vec<String>,
}

impl Engine for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn strictness(&self) -> Strictness {
        Strictness::Exact
    }

    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), EngineError> {
        self.snapshot = Arc::clone(snapshot);
        self.log.push("load".to_owned());
        Ok(())
    }

    fn update(&mut self, snapshot: &Arc<Snapshot>, _now_us: u64) -> Result<(), EngineError> {
        self.snapshot = Arc::clone(snapshot);
        self.log.push("update".to_owned());
        Ok(())
    }

    fn decide(
        &mut self,
        request: &Request,
        random: u64,
        now_us: u64,
        _trace: bool,
    ) -> Result<Answer, EngineError> {
        self.log.push(format!("{} at {now_us}", request.id));
        if request.method == "RANDOM" {
            self.log.push(random.to_string());
        }
        let cluster = self
            .snapshot
            .clusters
            .iter()
            .position(|cluster| request.path == format!("/{}", cluster.name));
        let held = cluster.map(|cluster| Held {
            cluster,
            locality: 0,
            endpoint: endpoints(&self.snapshot, cluster).len() - 1,
            generation: 1,
        });
        Ok(Answer {
            held,
            ..Answer::default()
        })
    }

    fn release(&mut self, held: Held) -> Result<(), EngineError> {
        let name = if held.endpoint == Held::GONE {
            "gone".to_owned()
        } else {
            let endpoints = endpoints(&self.snapshot, held.cluster);
            endpoint::address(&endpoints[held.endpoint]).expect("an address")
        };
        self.log.push(format!("release {name}"));
        Ok(())
    }
}

fn endpoints(snapshot: &Snapshot, cluster: usize) -> &[LbEndpoint] {
    let assignment = snapshot.clusters[cluster].load_assignment.as_ref();
    &assignment.expect("endpoints").endpoints[0].lb_endpoints
}

fn cluster(name: &str, ports: &[u32]) -> Cluster {
    let lb_endpoints = ports.iter().map(|port| LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(Address {
                address: Some(address::Address::SocketAddress(SocketAddress {
                    address: "10.0.0.1".to_owned(),
                    port_specifier: Some(PortSpecifier::PortValue(*port)),
                    ..SocketAddress::default()
                })),
            }),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    });
    Cluster {
        name: name.to_owned(),
        config: ClusterConfig {
            name: name.to_owned(),
            ..ClusterConfig::default()
        },
        load_assignment: Some(ClusterLoadAssignment {
            endpoints: vec![LocalityLbEndpoints {
                lb_endpoints: lb_endpoints.collect(),
                ..LocalityLbEndpoints::default()
            }],
            ..ClusterLoadAssignment::default()
        }),
        ..Cluster::default()
    }
}

fn snapshot(clusters: Vec<Cluster>) -> Arc<Snapshot> {
    Arc::new(Snapshot {
        clusters,
        ..Snapshot::default()
    })
}

fn requests(lines: &str) -> Vec<Request> {
    traffic::parse(Path::new("t.jsonl"), lines.as_bytes()).expect("traffic")
}

fn run(snapshot: &Arc<Snapshot>, lines: &str, schedule: Option<&Schedule>) -> Vec<String> {
    let mut engine = Recorder::default();
    let replay = Replay {
        seed: 3,
        trace: false,
        schedule,
        endpoints: None,
    };
    let mut each = |_: twinmesh_engine::Decided<'_>| ControlFlow::Continue(());
    replay
        .run(&mut engine, snapshot, &requests(lines), &mut each)
        .expect("a whole run");
    engine.log
}

fn events(
    first: &Snapshot,
    lines: &str,
    next: Option<Snapshot>,
) -> Result<Schedule, twinmesh_engine::FormatError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("e.jsonl");
    std::fs::write(&file, lines).expect("a file in it");
    let mut read = |path: &Path| {
        assert_eq!(path, folder.path().join("next.json"));
        next.clone().ok_or_else(|| "no such file".to_owned())
    };
    Schedule::read(&file, first, &mut read).map_err(|error| twinmesh_engine::FormatError {
        file: PathBuf::from("e.jsonl"),
        ..error
    })
}

#[test]
fn endpoints_are_released_by_their_end_before_the_next_arrival() {
    let snapshot = snapshot(vec![cluster("a", &[1]), cluster("b", &[2])]);
    let log = run(
        &snapshot,
        r#"{"id":"r0","path":"/a","time_us":0,"duration_us":10}
{"id":"r1","path":"/b","time_us":1,"duration_us":4}
{"id":"r2","path":"/none","time_us":5}
{"id":"r3","path":"/b","time_us":9}
{"id":"r4","path":"/none"}
{"id":"r5","path":"/none","time_us":10}
"#,
        None,
    );
    assert_eq!(
        log,
        [
            "load",
            "r0 at 0",
            "r1 at 1",
            "release 10.0.0.1:2",
            "r2 at 5",
            "r3 at 9",
            "release 10.0.0.1:2",
            "r4 at 9",
            "release 10.0.0.1:1",
            "r5 at 10",
        ]
    );
}

#[test]
fn random_numbers_depend_on_the_index_only() {
    let snapshot = snapshot(Vec::new());
    let one = run(
        &snapshot,
        "{\"id\":\"a\",\"random\":5,\"method\":\"RANDOM\"}\n{\"id\":\"b\",\"method\":\"RANDOM\"}\n",
        None,
    );
    let other = run(
        &snapshot,
        "{\"id\":\"a\"}\n{\"id\":\"b\",\"method\":\"RANDOM\"}\n",
        None,
    );
    assert_eq!(one[2], "5");
    assert_eq!(one.last(), Some(&random::draw(3, 1).to_string()));
    assert_eq!(one.last(), other.last());
}

#[test]
fn what_is_held_follows_its_endpoint_through_an_update() {
    let snapshot = snapshot(vec![cluster("a", &[1, 2]), cluster("b", &[3])]);
    let lines = r#"{"time_us":5,"endpoint":{"cluster":"a","address":"10.0.0.1:2","health_status":"DRAINING"}}
{"time_us":5,"remove_endpoint":{"cluster":"a","address":"10.0.0.1:1"}}
{"time_us":6,"remove_endpoint":{"cluster":"b","address":"10.0.0.1:3"}}
"#;
    let schedule = events(&snapshot, lines, None).expect("events");
    let log = run(
        &snapshot,
        r#"{"id":"r0","path":"/a","duration_us":20}
{"id":"r1","path":"/b","duration_us":30}
{"id":"r2","path":"/a","duration_us":5}
{"id":"r3","path":"/none","time_us":100}
"#,
        Some(&schedule),
    );
    assert_eq!(
        log,
        [
            "load",
            "r0 at 0",
            "r1 at 0",
            "r2 at 0",
            "release 10.0.0.1:2",
            "update",
            "update",
            "release 10.0.0.1:2",
            "release gone",
            "r3 at 100",
        ]
    );
}

#[test]
fn an_endpoint_of_another_locality_is_another_one() {
    let first = snapshot(vec![cluster("a", &[1]), cluster("b", &[2])]);
    let mut next = Snapshot::clone(&first);
    let assignment = next.clusters[0].load_assignment.as_mut();
    assignment.expect("endpoints").endpoints[0].locality = Some(Locality {
        zone: "z".to_owned(),
        ..Locality::default()
    });
    let assignment = next.clusters[1].load_assignment.as_mut();
    assignment.expect("endpoints").endpoints[0].priority = 1;
    let line = "{\"time_us\":5,\"snapshot\":\"next.json\"}\n";
    let schedule = events(&first, line, Some(next)).expect("events");
    let log = run(
        &first,
        r#"{"id":"r0","path":"/a","duration_us":20}
{"id":"r1","path":"/b","duration_us":20}
{"id":"r2","path":"/none","time_us":100}
"#,
        Some(&schedule),
    );
    assert_eq!(
        log[3..],
        ["update", "release gone", "release 10.0.0.1:2", "r2 at 100"]
    );
}

#[test]
fn a_replaced_cluster_is_not_told_of_what_its_forerunner_held() {
    let first = snapshot(vec![cluster("a", &[1]), cluster("b", &[2])]);
    let mut changed = cluster("a", &[1]);
    changed.config.lb_policy = 1;
    let next = Snapshot {
        clusters: vec![cluster("b", &[9, 2]), changed],
        ..Snapshot::default()
    };
    let schedule = events(
        &first,
        "{\"time_us\":5,\"snapshot\":\"next.json\"}\n",
        Some(next),
    )
    .expect("events");
    let log = run(
        &first,
        r#"{"id":"r0","path":"/a","duration_us":20}
{"id":"r1","path":"/b","duration_us":20}
{"id":"r2","path":"/none","time_us":100}
"#,
        Some(&schedule),
    );
    assert_eq!(
        log,
        [
            "load",
            "r0 at 0",
            "r1 at 0",
            "update",
            "release 10.0.0.1:2",
            "r2 at 100"
        ]
    );
}

#[rstest::rstest]
#[case::no_change(r#"{"time_us":1}"#, "e.jsonl:1: expected exactly one of")]
#[case::two_changes(
    r#"{"time_us":1,"snapshot":"x","remove_endpoint":{"cluster":"a","address":"10.0.0.1:1"}}"#,
    "e.jsonl:1: expected exactly one of"
)]
#[case::no_time(r#"{"snapshot":"x"}"#, "missing field `time_us`")]
#[case::unknown(r#"{"time_us":1,"weight":1}"#, "unknown field `weight`")]
#[case::no_cluster(
    r#"{"time_us":1,"remove_endpoint":{"cluster":"c","address":"10.0.0.1:1"}}"#,
    "e.jsonl:1: field `remove_endpoint.cluster`: the snapshot of that time has no cluster `c`"
)]
#[case::no_endpoint(
    r#"{"time_us":1,"endpoint":{"cluster":"a","address":"10.0.0.1:2","health_status":"HEALTHY"}}"#,
    "e.jsonl:1: field `endpoint.address`: cluster `a` has no endpoint `10.0.0.1:2`"
)]
#[case::no_health(
    r#"{"time_us":1,"endpoint":{"cluster":"a","address":"10.0.0.1:1","health_status":"healthy"}}"#,
    "field `endpoint.health_status`: expected UNKNOWN, HEALTHY"
)]
#[case::removed_twice(
    "{\"time_us\":1,\"remove_endpoint\":{\"cluster\":\"a\",\"address\":\"10.0.0.1:1\"}}\n{\"time_us\":1,\"remove_endpoint\":{\"cluster\":\"a\",\"address\":\"10.0.0.1:1\"}}",
    "e.jsonl:2: field `remove_endpoint.address`"
)]
#[case::backwards(
    "{\"time_us\":2,\"remove_endpoint\":{\"cluster\":\"a\",\"address\":\"10.0.0.1:1\"}}\n{\"time_us\":1,\"snapshot\":\"x\"}",
    "e.jsonl:2: field `time_us`: 1 is before 2"
)]
#[case::no_snapshot(
    r#"{"time_us":1,"snapshot":"next.json"}"#,
    "e.jsonl:1: field `snapshot`: no such file"
)]
fn event_errors(#[case] lines: &str, #[case] expected: &str) {
    let first = snapshot(vec![cluster("a", &[1])]);
    let error = events(&first, lines, None)
        .expect_err("an error")
        .to_string();
    assert!(error.contains(expected), "{error}");
}
