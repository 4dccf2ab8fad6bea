//! Every engine that runs here decides as `spec` does, and by the same steps, over generated
//! snapshots and traffic.
//!
//! `PROPTEST_CASES` sets the number of snapshots (256), `PROPTEST_RNG_SEED` the seed (1). A
//! divergence is shrunk and written as a case folder that `twinmesh conform --trace` replays. What
//! was reached is printed (`cargo test … -- --nocapture`), and has a floor for every rule.
//! `TWINMESH_REQUIRE_KERNEL=1` makes it a failure that the kernel's engine does not run;
//! `TWINMESH_ENGINES=sim,bpf-vm` compares these only.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::Value;
use twinmesh::case::{self, Comparison, Settings};
use twinmesh::comparison::{Field, Verdict, compare_traces};
use twinmesh::engines;
use twinmesh::judge::Question;
use twinmesh_engine::{Engine, Outcome, Request};
use twinmesh_generate::reached::{RULES, Reached};
use twinmesh_generate::{bootstrap, read, tapes, traffic};
use twinmesh_xds::Snapshot;

/// Requests of a snapshot, at most.
const REQUESTS: usize = 60;
/// Candidates looked at while shrinking.
const SHRINKING: usize = 400;
/// Snapshots from which on every rule has to be reached.
const FLOORS: u32 = 100;
/// Kinds of divergences after which a run ends.
const KINDS: usize = 16;

type Input = (Value, Vec<Vec<u16>>);

/// How two engines part.
#[derive(Debug, Clone)]
struct Divergence {
    engine: &'static str,
    /// What stays while it is shrunk.
    kind: String,
    expected: String,
    found: String,
    request: String,
}

#[derive(Debug, Default)]
struct Counts {
    requests: usize,
    /// Undecided by the engine, decided by the reference.
    limits: usize,
    /// Undecided by both.
    undecided: usize,
    outcomes: BTreeMap<Outcome, usize>,
    reached: Reached,
    /// Of the engine; with `spec: ` before it, of the reference.
    reasons: BTreeMap<String, usize>,
}

fn require_kernel() -> bool {
    std::env::var("TWINMESH_REQUIRE_KERNEL").is_ok_and(|value| value == "1")
}

fn make_engines() -> Vec<Box<dyn Engine>> {
    let chosen = std::env::var("TWINMESH_ENGINES").ok();
    let is_chosen = |name: &str| {
        let chosen = chosen.as_ref();
        chosen.is_none_or(|chosen| chosen.split(',').any(|chosen| chosen == name))
    };
    let others = engines::NAMES
        .iter()
        .filter(|name| **name != engines::REFERENCE && is_chosen(name));
    others
        .filter_map(|name| match engines::make(name) {
            Ok(engine) => Some(engine),
            Err(why) => {
                assert!(!require_kernel(), "{name} does not run here: {why}");
                eprintln!("{name} does not run here, and is not compared: {why}");
                None
            }
        })
        .collect()
}

/// Compares one engine with the reference over one sequence of requests.
fn compare(
    reference: &mut dyn Engine,
    engine: &mut dyn Engine,
    bootstrap: &Value,
    snapshot: &Arc<Snapshot>,
    requests: &[Request],
    counts: &mut Counts,
) -> Option<Divergence> {
    let name = engine.name();
    let failed = |what: String| Divergence {
        engine: name,
        kind: "fails".to_owned(),
        expected: "an answer".to_owned(),
        found: what,
        request: String::new(),
    };
    let mut requests = requests.to_vec();
    loop {
        let comparison = Comparison::default();
        let question = Question {
            snapshot: Arc::clone(snapshot),
            requests: &requests,
            recorded: None,
            comparison: &comparison,
            schedule: None,
            seed: 1,
        };
        let runs = question
            .put(reference, true)
            .and_then(|one| Ok((one, question.put(engine, true)?)));
        let (expected, found) = match runs {
            Ok(runs) => runs,
            Err(failure) => return Some(failed(failure.to_string())),
        };
        // Where only the reference decides, only its balancers go on: what follows can be
        // compared without that request alone.
        let is_limit = |index: usize| {
            found.decisions[index].outcome == Outcome::Unsupported
                && expected.decisions[index].outcome != Outcome::Unsupported
        };
        let limits: Vec<bool> = (0..requests.len()).map(is_limit).collect();
        let limit_count = limits.iter().filter(|limit| **limit).count();
        if limit_count > 0 {
            counts.requests += limit_count;
            counts.limits += limit_count;
            for (decision, _) in found
                .decisions
                .iter()
                .zip(&limits)
                .filter(|(_, limit)| **limit)
            {
                let reason = decision.reason.clone().unwrap_or_default();
                *counts.reasons.entry(reason).or_default() += 1;
            }
            let mut limits = limits.into_iter();
            requests.retain(|_| !limits.next().unwrap_or(false));
            continue;
        }
        for (index, decision) in expected.decisions.iter().enumerate() {
            let trace = &expected.traces[index];
            counts.requests += 1;
            if decision.outcome == Outcome::Unsupported {
                counts.undecided += 1;
                // Without the place in the snapshot.
                let reason = decision.reason.as_deref().unwrap_or_default();
                let reason = reason.rsplit(": ").next().unwrap_or_default();
                *counts.reasons.entry(format!("spec: {reason}")).or_default() += 1;
            }
            let request = &requests[index];
            counts.reached.note(bootstrap, request, decision, trace);
            *counts.outcomes.entry(decision.outcome).or_default() += 1;
        }
        let verdicts = match question.judge(&found, engine.strictness(), Some(&expected)) {
            Ok(verdicts) => verdicts,
            Err(error) => return Some(failed(error.to_string())),
        };
        let index = verdicts
            .iter()
            .position(|verdict| matches!(verdict, Verdict::Diverges(_)))?;
        let (one, other) = (&expected.decisions[index], &found.decisions[index]);
        let fields: Vec<&str> = Field::ALL
            .into_iter()
            .filter(|field| !matches!(field, Field::Engine | Field::Reason))
            .filter(|field| field.value(one) != field.value(other))
            .map(Field::name)
            .collect();
        let (one_trace, other_trace) = (&expected.traces[index], &found.traces[index]);
        let step = compare_traces(one_trace, other_trace).unwrap_or(usize::MAX);
        let step_name = |step: Option<&twinmesh_engine::Step>| {
            let step = step.map_or("nothing".to_owned(), |step| format!("{step:?}"));
            step.split([' ', '(']).next().unwrap_or_default().to_owned()
        };
        return Some(Divergence {
            engine: name,
            kind: format!(
                "{:?} for {:?}, {} for {}, in {}",
                other.outcome,
                one.outcome,
                step_name(other_trace.steps.get(step)),
                step_name(one_trace.steps.get(step)),
                fields.join(" ")
            ),
            expected: format!("{one:?}\n    {one_trace:?}"),
            found: format!("{other:?}\n    {other_trace:?}"),
            request: format!("{:?}", requests[index]),
        });
    }
}

struct Bench {
    reference: Box<dyn Engine>,
    others: Vec<Box<dyn Engine>>,
}

impl Bench {
    fn new() -> Self {
        let reference = engines::make(engines::REFERENCE).expect("the reference runs everywhere");
        let others = make_engines();
        Self { reference, others }
    }

    /// The divergences of one input, one an engine at most; `None` where the reader refuses it.
    fn look(&mut self, input: &Input, counts: &mut Vec<Counts>) -> Option<Vec<Divergence>> {
        let snapshot = Arc::new(read(&input.0).ok()?);
        let requests = traffic::requests(&input.0, &input.1);
        counts.resize_with(self.others.len(), Counts::default);
        let mut divergences = Vec::new();
        let mut panicked = false;
        for (engine, counts) in self.others.iter_mut().zip(counts) {
            let name = engine.name();
            let compared = catch_unwind(AssertUnwindSafe(|| {
                compare(
                    self.reference.as_mut(),
                    engine.as_mut(),
                    &input.0,
                    &snapshot,
                    &requests,
                    counts,
                )
            }));
            divergences.extend(compared.unwrap_or_else(|panic| {
                panicked = true;
                let message = panic.downcast_ref::<String>().map(String::as_str);
                Some(Divergence {
                    engine: name,
                    kind: "panics".to_owned(),
                    expected: "no panic".to_owned(),
                    found: message.unwrap_or_default().to_owned(),
                    request: String::new(),
                })
            }));
        }
        if panicked {
            *self = Self::new();
        }
        Some(divergences)
    }

    fn diverges(&mut self, input: &Input, kind: &str) -> Option<Divergence> {
        let found = self.look(input, &mut Vec::new())?;
        found.into_iter().find(|divergence| divergence.kind == kind)
    }
}

fn shrink(
    bench: &mut Bench,
    tree: &mut impl ValueTree<Value = Input>,
    first: &Divergence,
) -> (Input, Divergence) {
    let mut best = (tree.current(), first.clone());
    let mut looked = 0;
    let mut on = tree.simplify();
    while on && looked < SHRINKING {
        looked += 1;
        let input = tree.current();
        on = match bench.diverges(&input, &first.kind) {
            Some(divergence) => {
                best = (input, divergence);
                tree.simplify()
            }
            None => tree.complicate(),
        };
    }
    best
}

fn write(input: &Input, divergence: &Divergence) -> PathBuf {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("agreement");
    let folder = case::free_folder(&parent, divergence.engine).expect("a folder can be made");
    let content = case::Content {
        snapshot: &read(&input.0).expect("it was read before"),
        requests: &traffic::requests(&input.0, &input.1),
        recorded: None,
        schedule: None,
    };
    let settings = Settings {
        requests: Some(content.requests.len()),
        notes: vec![divergence.kind.clone()],
        ..Settings::default()
    };
    case::write(&folder, &content, &settings).expect("a case can be written");
    folder
}

#[test]
fn engines_decide_as_the_reference_does() {
    let mut config = Config::default();
    if matches!(config.rng_seed, RngSeed::Random) {
        config.rng_seed = RngSeed::Fixed(1);
    }
    let cases = config.cases;
    let mut runner = TestRunner::new(config);
    let strategy = (bootstrap(), tapes(REQUESTS));
    let mut bench = Bench::new();
    let names: Vec<&str> = bench.others.iter().map(|engine| engine.name()).collect();
    let mut counts = Vec::new();
    let mut refused = 0;
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut report = String::new();
    for _ in 0..cases {
        let mut tree = strategy
            .new_tree(&mut runner)
            .expect("the strategies reject little");
        let Some(divergences) = bench.look(&tree.current(), &mut counts) else {
            refused += 1;
            continue;
        };
        for divergence in divergences {
            let times = kinds.entry(divergence.kind.clone()).or_default();
            *times += 1;
            if *times > 1 {
                continue;
            }
            let (input, divergence) = shrink(&mut bench, &mut tree, &divergence);
            let folder = write(&input, &divergence);
            report += &format!(
                "{} {}\n  request  {}\n  expected {}\n  found    {}\n  twinmesh conform --trace {}\n\n",
                divergence.engine,
                divergence.kind,
                divergence.request,
                divergence.expected,
                divergence.found,
                folder.display()
            );
        }
        if kinds.len() >= KINDS {
            break;
        }
    }
    println!("{cases} snapshots, {refused} of them refused by the reader");
    for (name, counts) in names.iter().zip(&counts) {
        println!(
            "{name}: {} requests, {} over its limits, {} undecided; by the reference {:?}",
            counts.requests, counts.limits, counts.undecided, counts.outcomes
        );
        for (reason, times) in &counts.reasons {
            println!("  {times:6} undecided: {reason}");
        }
    }
    if let Some(counts) = counts.first() {
        println!("what the decisions that were compared went through:");
        for rule in RULES {
            println!("  {:6} {rule}", counts.reached.count(rule));
        }
    }
    assert!(kinds.is_empty(), "{kinds:#?}\n\n{report}");
    assert!(!counts.is_empty(), "no engine but the reference runs here");
    assert!(
        refused * 5 <= cases,
        "over a fifth of the snapshots is refused"
    );
    for (name, counts) in names.iter().zip(&counts) {
        let undecided = counts.limits + counts.undecided;
        assert!(
            undecided * 5 <= counts.requests,
            "{name} leaves {undecided} of {} requests undecided, over a fifth",
            counts.requests
        );
        if cases < FLOORS {
            continue;
        }
        let chose = counts.reached.count(RULES[0]);
        assert!(
            chose * 5 >= counts.requests * 2,
            "{name}: {chose} of {} requests get to the choice of a cluster, under two fifths",
            counts.requests
        );
        for rule in RULES {
            let reached = counts.reached.count(rule);
            assert!(
                reached * 400 >= counts.requests,
                "{name}: {reached} of {} requests reach `{rule}`, under one of 400",
                counts.requests
            );
        }
    }
}
