//! Decisions that are not `spec`'s: found, counted, logged, and saved as cases that are read again.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::{Buffer, LIMIT, bootstrap, cluster, http_listener, manager, snapshot};
use serde_json::{Value, json};
use twinmesh::case::Case;
use twinmesh::comparison::{Field, Verdict};
use twinmesh::judge::Question;
use twinmesh_agent::live::Live;
use twinmesh_agent::shadow::{ALL, Made, Options, Shadow, Skipped};
use twinmesh_engine::{Engine, Request, Strictness};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;

fn config() -> Value {
    let address = |port| format!("127.0.0.1:{port}").parse().expect("an address");
    let routes = json!([
        {"name": "first", "match": {"path": "/first"}, "route": {"cluster": "one"}},
        {"name": "rest", "match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [
            {"name": "one", "weight": 50}, {"name": "two", "weight": 50}]}}},
    ]);
    bootstrap(
        &[http_listener("web", &manager(&routes))],
        &[
            cluster("one", "ROUND_ROBIN", &[address(1), address(2), address(3)]),
            cluster("two", "ROUND_ROBIN", &[address(4), address(5)]),
        ],
    )
}

fn request() -> Request {
    serde_json::from_value(json!({
        "id": "r", "authority": "web", "path": "/x", "listener": "web",
        "headers": [["cookie", "secret"]],
    }))
    .expect("a request")
}

/// A decision as it was made: for cluster `one`, by its number.
fn made(live: &Live) -> Made {
    let random = 7;
    let decided = live.decide(&request(), random).expect("it decides");
    assert_eq!(decided.answer.decision.cluster.as_deref(), Some("one"));
    Made {
        request: request(),
        random,
        answer: decided.answer,
        snapshot: decided.policy.snapshot().clone(),
        generation: decided.policy.generation,
    }
}

/// The same by another route.
fn by_another_route(mut made: Made) -> Made {
    made.answer.decision.route = Some("first".to_owned());
    made
}

/// The same to an endpoint of another cluster.
fn to_another_cluster(mut made: Made) -> Made {
    made.answer.decision.endpoint = Some("127.0.0.1:5".to_owned());
    let held = made.answer.held.as_mut().expect("it holds an endpoint");
    held.cluster = 1;
    held.endpoint = 1;
    made
}

/// As if it had been counted for another part of the split.
fn by_another_entry(mut made: Made) -> Made {
    for step in &mut made.answer.trace.steps {
        if let twinmesh_engine::Step::WeightedCluster { to, .. } = step {
            *to += 1;
        }
    }
    made
}

fn cases(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("it is there");
    let folders = entries.map(|entry| entry.expect("an entry").path());
    folders
        .filter(|folder| folder.join("case.toml").exists())
        .collect()
}

/// The fields in which an engine diverges from a case of one request.
fn replayed(case: &Case, engine: &mut dyn Engine) -> BTreeSet<&'static str> {
    let question = Question {
        snapshot: case.snapshot.clone(),
        requests: &case.requests,
        recorded: case.recorded.as_deref(),
        comparison: &case.comparison,
        schedule: None,
        endpoints: None,
        seed: 0,
    };
    let run = question.put(engine, false).expect("it runs");
    let verdicts = question
        .judge(&run, Strictness::Exact, None)
        .expect("the case is consistent");
    match &verdicts[..] {
        [Verdict::Agrees] => BTreeSet::new(),
        [Verdict::Diverges(divergence)] => divergence.fields.iter().map(Field::name).collect(),
        other => panic!("{other:?}"),
    }
}

fn start(folder: &Path) -> Shadow {
    Shadow::start(Options {
        share: ALL,
        cases: Some(folder.to_owned()),
    })
    .expect("there is a thread")
}

#[test]
fn differences_are_counted_told_and_saved() {
    let log = Buffer::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .init();
    let folder = tempfile::tempdir().expect("a folder");
    let live = Live::default();
    live.publish(snapshot(&config())).expect("it fits");
    let shadow = start(folder.path());
    for _ in 0..5 {
        // In every turn another endpoint: what differs is told by what decides, not by whose turn
        // it is.
        shadow.compare(|| made(&live));
        shadow.compare(|| by_another_route(made(&live)));
        shadow.compare(|| to_another_cluster(made(&live)));
        shadow.compare(|| by_another_entry(made(&live)));
    }
    assert!(shadow.flush(LIMIT));
    assert_eq!(
        (shadow.counts().compared(), shadow.counts().differing()),
        (20, 15)
    );
    let text = log.text();
    let told: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("the live decision differs from spec's"))
        .collect();
    assert_eq!(told.len(), 3, "{text}");
    for line in told {
        for part in [
            "count=1",
            "live_trace=[{",
            "spec_trace=[{",
            "weighted_cluster",
            "case=",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }

    let mut found = Vec::new();
    for folder in cases(folder.path()) {
        let case = Case::read(&folder, "case", true).expect("the case is readable");
        assert_ne!(case.requests[0].headers[0].1, "secret");
        let fields = replayed(&case, &mut Spec::new());
        assert_eq!(fields, replayed(&case, &mut Sim::default()));
        found.push(fields.into_iter().collect::<Vec<_>>());
    }
    found.sort_unstable();
    // Another step of an equal decision is nothing that a decisions file has.
    assert_eq!(found, [vec![], vec!["endpoint"], vec!["route"]]);

    // A cause that has a case gets no other, also not from the agent's next run; and there are no
    // more than a hundred.
    let again = start(folder.path());
    again.compare(|| by_another_route(made(&live)));
    assert!(again.flush(LIMIT));
    assert_eq!(
        (again.counts().differing(), cases(folder.path()).len()),
        (1, 3)
    );
    for number in 0..96 {
        std::fs::create_dir(folder.path().join(number.to_string())).expect("made");
    }
    let full = start(folder.path());
    for name in ["a", "b"] {
        let mut made = by_another_route(made(&live));
        made.answer.decision.route = Some(name.to_owned());
        full.compare(|| made);
    }
    assert!(full.flush(LIMIT));
    assert_eq!(
        (full.counts().differing(), cases(folder.path()).len()),
        (2, 4)
    );
}

#[test]
fn no_recorded_request_is_decided_otherwise() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let folders = twinmesh::case::find(&[fixtures]).expect("there are cases");
    let live = Live::default();
    live.set_shadow(start(tempfile::tempdir().expect("a folder").path()));
    let shadow = live.shadow().expect("there is one");
    let mut decided = 0;
    for folder in folders {
        let name = folder.display().to_string();
        let case = Case::read(&folder, &name, false).expect("the case is readable");
        live.publish(case.snapshot).expect("it fits");
        for (request, random) in case.requests.iter().zip(0_u64..) {
            let random = request.random.unwrap_or(random << 32 | random);
            // One that names no listener where there are several is an error, not a decision.
            decided += u64::from(live.decide(request, random).is_ok());
            assert!(shadow.flush(LIMIT));
        }
        assert_eq!(shadow.counts().differing(), 0, "{name}");
    }
    let counts = shadow.counts();
    let unsupported = counts.skipped(Skipped::Unsupported);
    assert_eq!(counts.compared() + unsupported, decided);
    assert!(counts.compared() > 3000, "{}", counts.compared());
}

/// Hands over more decisions than may wait: each is made while those before it wait.
fn pile_up(shadow: &Shadow, made: &Made, left: usize) {
    shadow.compare(|| {
        if left > 0 {
            pile_up(shadow, made, left - 1);
        }
        made.clone()
    });
}

#[test]
fn what_is_too_late_is_skipped() {
    let live = Live::default();
    live.publish(snapshot(&config())).expect("it fits");
    let shadow = start(tempfile::tempdir().expect("a folder").path());
    let first = made(&live);
    pile_up(&shadow, &first, 1024);
    assert!(shadow.flush(LIMIT));
    assert_eq!(shadow.counts().compared(), 1024);
    assert_eq!(shadow.counts().skipped(Skipped::QueueFull), 1);
    for _ in 0..3 {
        live.publish(snapshot(&config())).expect("it fits");
        shadow.compare(|| made(&live));
    }
    shadow.compare(|| first);
    assert!(shadow.flush(LIMIT));
    assert_eq!(shadow.counts().compared(), 1027);
    assert_eq!(shadow.counts().skipped(Skipped::PolicyGone), 1);
    assert_eq!(shadow.counts().differing(), 0);
}
