//! Every engine that runs here decides as `spec` does, and by the same steps, over generated
//! snapshots and traffic.
//!
//! `PROPTEST_CASES` sets the number of snapshots (256), `PROPTEST_RNG_SEED` the seed (2). A
//! divergence is shrunk and written as a case folder that `twinmesh conform --trace` replays. What
//! was reached is printed (`cargo test … -- --nocapture`), and has a floor for every rule.
//! `TWINMESH_REQUIRE_KERNEL=1` makes it a failure that the kernel's engine does not run;
//! `TWINMESH_ENGINES=sim,bpf-vm` compares these only.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use twinmesh::engines;
use twinmesh::fuzz::{Bench, shrink, write};
use twinmesh_generate::reached::{RULES, USERSPACE_RULES};
use twinmesh_generate::{bootstrap, tapes};
use twinmesh_xds::Profile;

/// Requests of a snapshot, at most.
const REQUESTS: usize = 60;
/// Snapshots of a run that nobody says the length of: with fewer, how often rare rules are reached varies
/// more than the floors allow.
const SNAPSHOTS: u32 = 600;
/// Snapshots from which on every rule has to be reached.
const FLOORS: u32 = 100;
/// Kinds of divergences after which a run ends.
const KINDS: usize = 16;

fn require_kernel() -> bool {
    std::env::var("TWINMESH_REQUIRE_KERNEL").is_ok_and(|value| value == "1")
}

/// The reference, and those of the others that run here.
fn engines() -> Vec<String> {
    let chosen = std::env::var("TWINMESH_ENGINES").ok();
    let is_chosen = |name: &str| {
        let chosen = chosen.as_ref();
        chosen.is_none_or(|chosen| chosen.split(',').any(|chosen| chosen == name))
    };
    let others = engines::NAMES
        .iter()
        .filter(|name| ![engines::REFERENCE, engines::LIVE].contains(name) && is_chosen(name));
    let others = others.filter(|name| match engines::make(name) {
        Ok(_) => true,
        Err(why) => {
            assert!(!require_kernel(), "{name} does not run here: {why}");
            eprintln!("{name} does not run here, and is not compared: {why}");
            false
        }
    });
    std::iter::once(&engines::REFERENCE)
        .chain(others)
        .map(|name| (*name).to_owned())
        .collect()
}

#[test]
fn engines_decide_as_the_reference_does() {
    agree(Profile::default());
}

/// Over all snapshots: half of them reach some rules too seldom.
#[test]
fn engines_decide_as_the_reference_does_by_envoys_older_rules() {
    agree(Profile::Envoy138);
}

/// Compares the engines by a profile's rules.
fn agree(profile: Profile) {
    let mut config = Config::default();
    if matches!(config.rng_seed, RngSeed::Random) {
        config.rng_seed = RngSeed::Fixed(2);
    }
    if std::env::var("PROPTEST_CASES").is_err() {
        config.cases = SNAPSHOTS;
    }
    let cases = config.cases;
    let mut runner = TestRunner::new(config);
    let strategy = (bootstrap(), tapes(REQUESTS));
    let bench = Bench::new(&engines()).expect("an engine beside the reference runs here");
    let mut bench = bench.with_profile(profile);
    let names: Vec<&str> = bench.others().collect();
    let mut counts = Vec::new();
    let mut refused = 0;
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut report = String::new();
    for _ in 0..cases {
        let mut tree = strategy
            .new_tree(&mut runner)
            .expect("the strategies reject little");
        let looked = bench.look(&tree.current(), true, &mut counts);
        let Some(divergences) = looked.expect("the engines go on") else {
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
            let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("agreement");
            let folder = write(&parent, &input, &divergence, "shrunk", profile);
            let folder = folder.expect("it can be written");
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
        for rule in RULES.iter().chain(USERSPACE_RULES) {
            println!("  {:6} {rule}", counts.reached.count(rule));
        }
    }
    assert!(kinds.is_empty(), "{kinds:#?}\n\n{report}");
    assert!(
        refused * 5 <= cases,
        "{refused} of {cases} snapshots are refused, over a fifth"
    );
    for (name, counts) in names.iter().zip(&counts) {
        let undecided = counts.limits + counts.undecided;
        // The kernel's programs leave much to userspace.
        let (most, least, userspace, rare) = match *name {
            "sim" => ((1, 5), (1, 3), USERSPACE_RULES, 400),
            _ => ((2, 3), (1, 8), &[][..], 800),
        };
        assert!(
            undecided * most.1 <= counts.requests * most.0,
            "{name} leaves {undecided} of {} requests undecided, over {}/{}",
            counts.requests,
            most.0,
            most.1
        );
        if cases < FLOORS {
            continue;
        }
        let chose = counts.reached.count(RULES[0]);
        assert!(
            chose * least.1 >= counts.requests * least.0,
            "{name}: {chose} of {} requests get to the choice of a cluster, under {}/{}",
            counts.requests,
            least.0,
            least.1
        );
        for rule in RULES.iter().chain(userspace) {
            let reached = counts.reached.count(rule);
            // Few virtual hosts have a domain for the port that CONNECT always says.
            let rare = match rule.starts_with("CONNECT") {
                true => 5 * rare,
                false => rare,
            };
            assert!(
                reached * rare >= counts.requests,
                "{name}: {reached} of {} requests reach `{rule}`, under one of {rare}",
                counts.requests
            );
        }
    }
}
