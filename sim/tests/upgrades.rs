//! Requests that ask for an upgrade, CONNECT among them, as a real Envoy took them.

use std::path::Path;
use std::sync::Arc;

use twinmesh_engine::{Decision, Engine, Outcome, Request};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;

fn decisions(case: &str, engine: &mut dyn Engine) -> (usize, usize, String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(case);
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).expect(name);
    let dump = text("config_dump.json");
    let options = twinmesh_xds::ReadOptions::default();
    let snapshot = twinmesh_xds::read_bytes("config_dump.json", dump.as_bytes(), &options);
    engine
        .load(&Arc::new(snapshot.expect("it reads")))
        .expect("it loads");
    let (traffic, recorded) = (
        text("requests.traffic.jsonl"),
        text("recorded.decisions.jsonl"),
    );
    let (mut decided, mut undecided, mut different) = (0, 0, String::new());
    for (request, recorded) in traffic.lines().zip(recorded.lines()) {
        let request: Request = serde_json::from_str(request).expect("a request");
        let recorded: Decision = serde_json::from_str(recorded).expect("a decision");
        let found = engine
            .decide(&request, 0, 0, false)
            .expect("it answers")
            .decision;
        if found.outcome == Outcome::Unsupported {
            undecided += 1;
            continue;
        }
        decided += 1;
        let of = |it: &Decision| {
            let names = (
                it.route_config.clone(),
                it.virtual_host.clone(),
                it.route.clone(),
            );
            (it.outcome, it.status, names, it.cluster.clone())
        };
        if of(&found) != of(&recorded) {
            different += &format!(
                "{request:?}\n  {:?}, recorded {:?}\n",
                of(&found),
                of(&recorded)
            );
        }
    }
    (decided, undecided, different)
}

#[rstest::rstest]
#[case::by_configuration("upgrades", 0, 0)]
// Of matchers of connection or upgrade, sim leaves what asks for an upgrade undecided.
#[case::by_matchers("upgrade-matchers", 0, 32)]
#[case::connect("connect", 33, 38)]
fn as_recorded(#[case] case: &str, #[case] by_spec: usize, #[case] by_sim: usize) {
    let engines: [(Box<dyn Engine>, usize); 2] = [
        (Box::new(Spec::default()), by_spec),
        (Box::new(Sim::default()), by_sim),
    ];
    for (mut engine, expected) in engines {
        let (decided, undecided, different) = decisions(case, engine.as_mut());
        let name = engine.name();
        assert!(different.is_empty(), "{name}:\n{different}");
        assert_eq!(undecided, expected, "{name}, beside {decided}");
    }
}

/// A route whose weighted cluster and whose own mutations change the response.
const CHANGING: &str = r#"{"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{
    "match": {"prefix": "/"}, "response_headers_to_add": [{"header": {"key": "x-a", "value": "of %PROTOCOL%"}}],
    "route": {"weighted_clusters": {"clusters": [{"name": "c", "weight": 1,
        "response_headers_to_add": [{"header": {"key": "x-b", "value": "%REQ(x-b)%"}}]}]}}}]}]}"#;

#[test]
fn a_refused_upgrade_gets_the_headers_of_a_route_that_forwards() {
    let options = twinmesh_xds::ReadOptions::default();
    let snapshot = twinmesh_xds::read_bytes("r.json", CHANGING.as_bytes(), &options);
    let snapshot = Arc::new(snapshot.expect("it reads"));
    let request = r#"{"id": "r", "authority": "a", "path": "/", "route_config": "r",
        "headers": [["connection", "upgrade"], ["upgrade", "websocket"], ["x-b", "1"]]}"#;
    let request: Request = serde_json::from_str(request).expect("a request");
    let engines: [Box<dyn Engine>; 2] = [Box::new(Spec::default()), Box::new(Sim::default())];
    for mut engine in engines {
        engine.load(&snapshot).expect("it loads");
        let found = engine.decide(&request, 0, 0, true).expect("it answers");
        let name = engine.name();
        let decision = found.decision;
        assert_eq!(decision.outcome, Outcome::BadRequest, "{name}");
        assert_eq!(decision.status, Some(403), "{name}");
        let headers = decision.response_headers.expect("the route names headers");
        for (header, expected) in [("x-a", "of HTTP/1.1"), ("x-b", "1")] {
            let values = headers.get(header).expect("it is named");
            assert_eq!(
                values.as_deref(),
                Some(&[expected.to_owned()][..]),
                "{name}"
            );
        }
    }
}
