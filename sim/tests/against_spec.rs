//! The compiled tables against the plain reading, over every recorded case at hand.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use twinmesh_engine::{Engine, Outcome};
use twinmesh_sim::Sim;
use twinmesh_spec::Spec;

fn cases(root: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(root) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.join("case.toml").is_file() {
            found.push(path);
        } else if path.is_dir() {
            cases(&path, found);
        }
    }
}

/// Replays a case through both engines; how many requests, and how many the simulator left
/// undecided that the plain reading decides.
fn replay(case: &Path, differences: &mut Vec<String>) -> (usize, usize) {
    let options = twinmesh_xds::ReadOptions::default();
    let snapshot = match twinmesh_xds::read(&case.join("config_dump.json"), &options) {
        Ok(snapshot) => Arc::new(snapshot),
        Err(error) => panic!("{}: {error}", case.display()),
    };
    let requests = twinmesh_engine::format::traffic::read(&case.join("requests.traffic.jsonl"))
        .expect("the traffic reads");
    let mut spec = Spec::new();
    let mut sim = Sim::default();
    spec.load(&snapshot).expect("spec loads");
    sim.load(&snapshot).expect("sim loads");
    let mut undecided = 0;
    let mut random = 1;
    let mut now = 0;
    for request in &requests {
        now = request.time_us.unwrap_or(now);
        random = twinmesh_model::random::draw(random, 1);
        let random = request.random.unwrap_or(random);
        let mut one = spec
            .decide(request, random, now, true)
            .expect("spec decides");
        let mut two = sim.decide(request, random, now, true).expect("sim decides");
        for answer in [&mut one, &mut two] {
            answer.decision.engine = None;
            answer.decision.reason = None;
        }
        if two.decision.outcome == Outcome::Unsupported {
            undecided += usize::from(one.decision.outcome != Outcome::Unsupported);
        } else if one.decision != two.decision
            || one.trace != two.trace
            || one.held.is_some() != two.held.is_some()
        {
            let name = case
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            differences.push(format!(
                "{name} {}:\n  spec {:?}\n  sim  {:?}\n  spec {:?}\n  sim  {:?}\n",
                request.id, one.decision, two.decision, one.trace.steps, two.trace.steps
            ));
        }
    }
    (requests.len(), undecided)
}

#[test]
fn every_recorded_case_agrees() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    cases(&root.join("fixtures"), &mut found);
    let corpus = root.join("../shared/corpus/recorded");
    if corpus.is_dir() {
        cases(&corpus, &mut found);
    } else {
        println!("the recorded corpus is not here: only the fixtures are replayed");
    }
    found.sort();
    let mut differences = Vec::new();
    let (mut requests, mut undecided) = (0, 0);
    for case in &found {
        let (count, unsupported) = replay(case, &mut differences);
        requests += count;
        undecided += unsupported;
    }
    println!(
        "{} cases, {requests} requests, {undecided} undecided by sim alone",
        found.len()
    );
    let shown: Vec<&String> = differences.iter().take(12).collect();
    assert!(
        differences.is_empty(),
        "{} differences; the first: {shown:#?}",
        differences.len()
    );
}
