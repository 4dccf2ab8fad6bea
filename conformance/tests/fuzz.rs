//! `twinmesh fuzz`: what it says where all agree, and what it makes of an engine that does not.

use std::process::{Command, Output};
use std::sync::Arc;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;
use twinmesh::case::Case;
use twinmesh::comparison::Field;
use twinmesh::fuzz::{Bench, Engines, shrink, write};
use twinmesh::known::{Entry, Known};
use twinmesh_engine::{Answer, Decision, Engine, EngineError, Held, Outcome, Request, Strictness};
use twinmesh_generate::{bootstrap, tapes, traffic};
use twinmesh_sim::Sim;
use twinmesh_xds::Snapshot;

fn fuzz(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinmesh"));
    let output = command.arg("fuzz").args(arguments).output();
    output.expect("it starts")
}

fn report(arguments: &[&str]) -> Value {
    let output = fuzz(arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    report["seconds"].take();
    report
}

const CALL: [&str; 7] = [
    "--engines",
    "spec,sim",
    "--requests",
    "40",
    "--json",
    "--seed",
    "7",
];

#[test]
fn a_run_is_the_same_for_the_same_numbers() {
    let whole = report(&[&CALL[..], &["--snapshots", "6", "--jobs", "1"]].concat());
    assert_eq!(whole["snapshots"], 6);
    assert_eq!(whole["reference"], "spec");
    let decisions = |report: &Value| report["engines"][0]["decisions"].as_u64().expect("a count");
    assert!(decisions(&whole) >= 6 * 20 / 2, "{whole}");
    let again = report(&[&CALL[..], &["--snapshots", "6", "--jobs", "2"]].concat());
    assert_eq!(whole, again);
    // A part of it, by its numbers; the reader may refuse all snapshots of a part.
    let part = |first: &str, snapshots: &str| {
        let range = ["--first", first, "--snapshots", snapshots];
        let report = report(&[&CALL[..], &range].concat());
        report["engines"][0]["decisions"].as_u64().unwrap_or(0)
    };
    assert_eq!(part("0", "4") + part("4", "2"), decisions(&whole));
}

#[test]
fn a_call_that_compares_nothing_is_refused() {
    for (arguments, said) in [
        (
            &["--snapshots", "1", "--engines", "spec"][..],
            "none to compare it with",
        ),
        (
            &["--snapshots", "1", "--engines", "spec,simm"],
            "no engine is called `simm`",
        ),
        (&["--engines", "spec,sim"], "--time"),
        (&["--time", "soon"], "soon"),
    ] {
        let output = fuzz(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains(said), "{arguments:?}: {errors}");
    }
}

/// What an engine is asked.
struct Call<'a> {
    request: &'a Request,
    random: u64,
    now_us: u64,
    trace: bool,
}

impl Call<'_> {
    fn is_post(&self) -> bool {
        self.request.method == "POST"
    }

    fn put(&self, sim: &mut Sim) -> Result<Answer, EngineError> {
        sim.decide(self.request, self.random, self.now_us, self.trace)
    }

    fn undecided(&self, reason: &str) -> Answer {
        let decision = Decision {
            id: self.request.id.clone(),
            outcome: Outcome::Unsupported,
            reason: Some(reason.to_owned()),
            ..Decision::default()
        };
        Answer {
            decision,
            ..Answer::default()
        }
    }
}

/// An engine that has a `sim`, and makes of it what it likes.
struct Wrapped<F> {
    name: &'static str,
    strictness: Strictness,
    is_of_kernel: bool,
    sim: Sim,
    decide: F,
}

impl<F> Engine for Wrapped<F>
where
    F: FnMut(&mut Sim, &Call<'_>) -> Result<Answer, EngineError>,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn strictness(&self) -> Strictness {
        self.strictness
    }

    fn is_of_kernel(&self) -> bool {
        self.is_of_kernel
    }

    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), EngineError> {
        self.sim.load(snapshot)
    }

    fn update(&mut self, snapshot: &Arc<Snapshot>, now_us: u64) -> Result<(), EngineError> {
        self.sim.update(snapshot, now_us)
    }

    fn decide(
        &mut self,
        request: &Request,
        random: u64,
        now_us: u64,
        trace: bool,
    ) -> Result<Answer, EngineError> {
        let call = Call {
            request,
            random,
            now_us,
            trace,
        };
        (self.decide)(&mut self.sim, &call)
    }

    fn release(&mut self, held: Held) -> Result<(), EngineError> {
        self.sim.release(held)
    }
}

/// Decides as `sim` does, but for POST requests that are forwarded.
fn liar(lie: fn(&mut Answer)) -> Box<dyn Engine> {
    Box::new(Wrapped {
        name: "liar",
        strictness: Strictness::Exact,
        is_of_kernel: false,
        sim: Sim::default(),
        decide: move |sim: &mut Sim, call: &Call<'_>| {
            let mut answer = call.put(sim)?;
            if call.is_post() && answer.decision.cluster.is_some() {
                lie(&mut answer);
            }
            Ok(answer)
        },
    })
}

fn bench(lie: fn(&mut Answer)) -> Bench {
    let make =
        move || -> Result<Engines, String> { Ok((Box::new(Sim::default()), vec![liar(lie)])) };
    Bench::with(Box::new(make)).expect("they are made")
}

fn tree(number: u8) -> impl ValueTree<Value = (Value, Vec<Vec<u16>>)> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[number; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let tree = (bootstrap(), tapes(40)).new_tree(&mut runner);
    tree.expect("nothing is rejected")
}

#[test]
fn a_divergence_is_shrunk_and_kept_as_a_case() {
    let mut bench = bench(|answer| answer.decision.cluster = Some("elsewhere".to_owned()));
    let mut found = (0..20).filter_map(|number| {
        let tree = tree(number);
        let looked = bench.look(&tree.current(), false, &mut Vec::new());
        let first = looked.expect("nothing panics")?.into_iter().next()?;
        Some((tree, first))
    });
    let (mut tree, first) = found.next().expect("some POST is forwarded");
    drop(found);
    assert_eq!(first.engine, "liar");
    assert!(first.kind.contains("in cluster"), "{}", first.kind);
    let (input, divergence) = shrink(&mut bench, &mut tree, &first);
    assert!(divergence.is_like(&first), "{divergence:?}");
    let requests = traffic::requests(&input.0, &input.1);
    assert_eq!(requests.len(), 1, "one shows it");
    let parent = tempfile::tempdir().expect("a folder");
    let folder = write(
        parent.path(),
        &input,
        &divergence,
        "here",
        twinmesh_xds::Profile::default(),
    )
    .expect("written");
    let case = Case::read(&folder, "case", false).expect("a whole case");
    assert_eq!(case.requests, requests);
}

#[test]
fn a_divergence_that_is_known_is_counted_only() {
    let entry = |field| Entry {
        engine: "liar".to_owned(),
        fields: vec![field],
        says: None,
        snapshot: None,
        reason: "it lies".to_owned(),
        source: "here".to_owned(),
    };
    let counted = |field| {
        let mut known = Known::default();
        known.entries.push(entry(field));
        let lying = bench(|answer| answer.decision.cluster = Some("elsewhere".to_owned()));
        let mut lying = lying.knowing(known);
        let (mut found, mut known) = (0, 0);
        for number in 0..20 {
            let mut counts = Vec::new();
            let looked = lying.look(&tree(number).current(), false, &mut counts);
            found += looked.expect("nothing panics").map_or(0, |it| it.len());
            known += counts.iter().map(|counts| counts.known).sum::<usize>();
        }
        (found, known)
    };
    let (found, known) = counted(Field::Cluster);
    assert_eq!(found, 0);
    assert!(known > 1, "{known}");
    let (found, known) = counted(Field::Endpoint);
    assert!(found > 1, "{found}");
    assert_eq!(known, 0);
}

/// Leaves POST requests to others, and decides as `sim` does unless it `lies`. `goes_on`: its balancers go on
/// over what it leaves.
fn limited(goes_on: bool, lies: bool) -> Box<dyn Engine> {
    Box::new(Wrapped {
        name: "limited",
        strictness: Strictness::ExactWithinLimits,
        is_of_kernel: false,
        sim: Sim::default(),
        decide: move |sim: &mut Sim, call: &Call<'_>| {
            if call.is_post() {
                if goes_on {
                    call.put(sim)?;
                }
                return Ok(call.undecided("it is a POST"));
            }
            let mut answer = call.put(sim)?;
            if lies && answer.decision.endpoint.is_some() {
                answer.decision.endpoint = Some("10.0.0.1:1".to_owned());
            }
            Ok(answer)
        },
    })
}

#[test]
fn what_an_engine_leaves_to_others_hides_nothing_of_the_rest() {
    let looked = |goes_on, lies| {
        let make = move || -> Result<Engines, String> {
            Ok((Box::new(Sim::default()), vec![limited(goes_on, lies)]))
        };
        let mut bench = Bench::with(Box::new(make)).expect("they are made");
        let (mut found, mut counts) = (0, Vec::new());
        for number in 0..20 {
            let looked = bench.look(&tree(number).current(), false, &mut counts);
            found += looked.expect("nothing panics").map_or(0, |it| it.len());
        }
        let [counts] = counts.as_slice() else {
            panic!("one engine is compared");
        };
        let posts = counts.reasons.get("it is a POST").copied();
        (found, posts, counts.requests)
    };
    // Whether or not its balancers stood still, what it decides of the others is right.
    let (found, posts, requests) = looked(false, false);
    assert_eq!(found, 0);
    assert!(posts > Some(20), "{posts:?}");
    let (found, again, others) = looked(true, false);
    assert_eq!((found, others), (0, requests));
    // As many or nearly so: what the reference leaves, too, counts only where one chose an endpoint.
    assert!(again > Some(20), "{again:?}");
    for goes_on in [false, true] {
        let (found, ..) = looked(goes_on, true);
        assert!(found > 5, "{found}");
    }
}

#[test]
fn an_engine_that_panics_is_a_divergence_and_made_anew() {
    let mut bench = bench(|_| panic!("as engines must not"));
    let mut panics = 0;
    for number in 0..20 {
        let looked = bench.look(&tree(number).current(), false, &mut Vec::new());
        let found = looked.expect("it goes on").unwrap_or_default();
        panics += found
            .iter()
            .filter(|found| found.kind == "panics" && found.found == "as engines must not")
            .count();
    }
    assert!(panics > 1, "each one is told");
}

/// Decides as `sim` does, but for POST requests, which it leaves undecided for this reason. `chose`: its
/// balancers went on before.
fn undecided(reason: &'static str, chose: bool) -> Box<dyn Engine> {
    Box::new(Wrapped {
        name: "undecided",
        strictness: Strictness::ExactWithinLimits,
        is_of_kernel: true,
        sim: Sim::default(),
        decide: move |sim: &mut Sim, call: &Call<'_>| {
            if call.is_post() {
                if chose {
                    call.put(sim)?;
                }
                return Ok(call.undecided(reason));
            }
            call.put(sim)
        },
    })
}

#[test]
fn what_is_undecided_for_different_reasons_moves_the_balancers_of_one_only() {
    let found = |reason| {
        let make = move || Ok((undecided("one", true), vec![undecided(reason, false)]));
        let mut bench = Bench::with(Box::new(make)).expect("they are made");
        let looked = (0..20).map(|number| {
            let looked = bench.look(&tree(number).current(), false, &mut Vec::new());
            looked
                .expect("nothing panics")
                .map_or(0, |found| found.len())
        });
        looked.sum::<usize>()
    };
    assert_eq!(found("another"), 0);
    assert!(found("one") > 0, "balancers that part are told");
}

#[test]
fn a_reason_at_several_places_is_one() {
    let mut counts = Vec::new();
    for place in [
        "virtual_hosts[0].routes[3] is odd",
        "virtual_hosts[1].routes[12] is odd",
    ] {
        let make = move || Ok((undecided(place, true), vec![undecided(place, true)]));
        let mut bench = Bench::with(Box::new(make)).expect("they are made");
        for number in 0..20 {
            let looked = bench.look(&tree(number).current(), false, &mut counts);
            looked.expect("nothing panics");
        }
    }
    let reasons = counts.remove(0).reasons;
    let odd: Vec<&String> = reasons.keys().filter(|it| it.contains("is odd")).collect();
    assert_eq!(odd, ["reference: virtual_hosts[].routes[] is odd"]);
}
