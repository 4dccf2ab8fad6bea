//! What `twinmesh generate` says its traffic reaches, it reaches, by the reference's own word; what
//! it calls proved unreachable nothing reaches.
//!
//! `REACH_CASES` sets the number of generated snapshots (48).

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use twinmesh::coverage;
use twinmesh::generate::{Generated, generate};
use twinmesh::reach::{Goal, Observer, RouteAt};
use twinmesh_engine::{Answer, Engine, Outcome, Request, Step};
use twinmesh_generate::{bootstrap, read, tapes, traffic};
use twinmesh_spec::Spec;
use twinmesh_xds::Snapshot;

fn cases() -> u32 {
    let cases = std::env::var("REACH_CASES").ok();
    cases.and_then(|cases| cases.parse().ok()).unwrap_or(48)
}

fn snapshots(seed: u64, mut each: impl FnMut(&serde_json::Value, &Arc<Snapshot>, &[Vec<u16>])) {
    let config = Config {
        rng_seed: RngSeed::Fixed(seed),
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let strategy = (bootstrap(), tapes(400));
    let mut done = 0;
    while done < cases() {
        let tree = strategy.new_tree(&mut runner).expect("an input");
        let (bootstrap, tapes) = tree.current();
        let Ok(snapshot) = read(&bootstrap) else {
            continue;
        };
        each(&bootstrap, &Arc::new(snapshot), &tapes);
        done += 1;
    }
}

fn decide(engine: &mut Spec, request: &Request) -> Option<Answer> {
    let random = request.random.unwrap_or(0);
    engine.decide(request, random, 0, true).ok()
}

fn taken(answer: &Answer) -> Option<RouteAt> {
    let (mut configuration, mut virtual_host, mut route) = (None, None, None);
    for step in &answer.trace.steps {
        match step {
            Step::RouteConfiguration(index) => configuration = Some(*index),
            Step::VirtualHost {
                virtual_host: index,
                ..
            } => virtual_host = Some(*index),
            Step::Route(index) => route = Some(*index),
            _ => {}
        }
    }
    Some(RouteAt {
        configuration: configuration?,
        virtual_host: virtual_host?,
        route: route?,
    })
}

/// What the reference sees one request reach, asked for each by itself, behind those that come with it.
fn seen_by_reference(
    snapshot: &Arc<Snapshot>,
    before: &[Request],
    request: &Request,
) -> BTreeSet<Goal> {
    let matchers = Observer::matchers(snapshot).expect("the patterns are RE2's");
    let mut engine = Spec::new();
    engine.load(snapshot).expect("it loads");
    for earlier in before {
        decide(&mut engine, earlier).expect("it decides");
    }
    let answer = decide(&mut engine, request).expect("it decides");
    let mut observer = Observer::new(snapshot, &matchers);
    observer.observe(request, &answer);
    observer.reached().clone()
}

fn check_claims(snapshot: &Arc<Snapshot>, generated: &Generated) -> usize {
    let mut claims = 0;
    let requests = &generated.requests;
    for (index, (request, goals)) in requests.iter().zip(&generated.goals).enumerate() {
        let at_once = |it: &&Request| it.time_us.is_some() && it.time_us == request.time_us;
        let earlier = requests.iter().take(index).rev();
        let mut earlier: Vec<Request> = earlier.take_while(at_once).cloned().collect();
        earlier.reverse();
        let seen = seen_by_reference(snapshot, &earlier, request);
        for goal in goals {
            claims += 1;
            assert!(
                seen.contains(goal),
                "{:?} does not reach {goal:?}, but {seen:?}",
                request
            );
        }
    }
    claims
}

#[test]
fn every_request_reaches_what_it_was_made_for() {
    let (mut claims, mut requests) = (0, 0);
    snapshots(1, |_, snapshot, _| {
        let generated = generate(snapshot, true).expect("it generates");
        claims += check_claims(snapshot, &generated);
        requests += generated.requests.len();
    });
    assert!(claims > 1_000, "{claims} claims of {requests} requests");
}

#[test]
fn the_coverage_of_the_traffic_is_what_was_said() {
    snapshots(2, |_, snapshot, _| {
        let generated = generate(snapshot, true).expect("it generates");
        for engine in ["sim", "spec"] {
            let files = [generated.requests.clone()];
            let coverage = coverage::measure(snapshot, &files, engine, 0).expect("it measures");
            let own: BTreeSet<Goal> = if engine == "sim" {
                coverage.reached.clone()
            } else {
                // The reference decides more than the tables do.
                generated
                    .reached
                    .intersection(&coverage.reached)
                    .copied()
                    .collect()
            };
            assert_eq!(own, generated.reached, "by {engine}");
            let all: BTreeSet<Goal> = generated.catalogue.goals.iter().copied().collect();
            let unknown: Vec<_> = generated.reached.difference(&all).collect();
            let route = unknown.first().and_then(|goal| match goal {
                Goal::Refuses(at, _) | Goal::Accepts(at, _) | Goal::Route(at) => {
                    let table = &snapshot.route_configurations[at.configuration].config;
                    Some(&table.virtual_hosts[at.virtual_host].routes[at.route])
                }
                _ => None,
            });
            assert!(unknown.is_empty(), "{unknown:?} are no goals: {route:?}");
        }
    });
}

#[test]
fn without_boundaries_the_same_goals_are_reached_by_fewer_requests() {
    let (mut fewer, mut all) = (0, 0);
    snapshots(3, |_, snapshot, _| {
        let with = generate(snapshot, true).expect("it generates");
        let without = generate(snapshot, false).expect("it generates");
        let kept = |goal: &&Goal| !matches!(goal, Goal::Endpoint { .. });
        let of = |generated: &Generated| -> BTreeSet<Goal> {
            generated
                .goals
                .iter()
                .flatten()
                .filter(kept)
                .copied()
                .collect()
        };
        assert_eq!(of(&with), of(&without));
        fewer += without.requests.len();
        all += with.requests.len();
    });
    assert!(fewer < all, "{fewer} of {all}");
}

#[test]
fn nothing_reaches_what_is_proved_unreachable() {
    let (mut proved, mut open, mut missed) = (0, 0, 0);
    snapshots(4, |bootstrap, snapshot, tapes| {
        let generated = generate(snapshot, true).expect("it generates");
        let mut engine = Spec::new();
        engine.load(snapshot).expect("it loads");
        let mut reached = BTreeSet::new();
        for request in traffic::requests(bootstrap, tapes) {
            let answer = decide(&mut engine, &request);
            let answer = answer.filter(|it| it.decision.outcome != Outcome::Unsupported);
            reached.extend(answer.as_ref().and_then(taken));
        }
        for unreached in &generated.unreached {
            if unreached.why.is_proved() {
                proved += 1;
                assert!(
                    !reached.contains(&unreached.route),
                    "{unreached:?} of {bootstrap}"
                );
            } else {
                open += 1;
                missed += usize::from(reached.contains(&unreached.route));
            }
        }
    });
    eprintln!("{proved} proved, {open} open, of which other traffic reaches {missed}");
    assert!(proved > 20, "{proved} proved, {open} open");
    assert!(missed * 7 <= open.max(7), "{missed} of {open} are reached");
}
