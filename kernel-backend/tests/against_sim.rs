//! The BPF object, in the VM and in the kernel, against the model in userspace.

#[allow(dead_code, reason = "each test uses a part")]
mod common;

use std::fmt::Write;
use std::sync::Arc;

use twinmesh_engine::{Engine, Outcome};
use twinmesh_kernel_backend::BpfVm;

/// The requests that are not left to userspace, where sim alone decides: its balancers go on by
/// those.
fn decided_by_the_object(case: &common::Case) -> common::Case {
    let mut vm = BpfVm::new().expect("the virtual machine runs everywhere");
    vm.load(&case.snapshot)
        .unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let requests = case.requests.iter().enumerate().filter(|(index, request)| {
        let answer = vm.decide(request, common::random(request, *index), 0, false);
        let decision = answer.expect("it answers").decision;
        let reason = decision.reason.unwrap_or_default();
        let elsewhere = [
            "in userspace only",
            "CONNECT requests are decided in userspace",
            "which this engine does not run",
        ];
        decision.outcome != Outcome::Unsupported
            || !elsewhere.iter().any(|words| reason.contains(words))
    });
    common::Case {
        name: case.name.clone(),
        snapshot: Arc::clone(&case.snapshot),
        requests: requests.map(|(_, request)| request.clone()).collect(),
    }
}

/// Replays a case through all engines; every third request ends before the next begins. How many
/// requests the object left undecided for a head that is too long for it.
fn replay(case: &common::Case, engines: &mut [Box<dyn Engine>], differences: &mut String) -> usize {
    for engine in engines.iter_mut() {
        engine
            .load(&case.snapshot)
            .unwrap_or_else(|error| panic!("{}: {error}", case.name));
    }
    let mut too_long = 0;
    for (index, request) in case.requests.iter().enumerate() {
        let random = common::random(request, index);
        let answers: Vec<_> = engines
            .iter_mut()
            .map(|engine| {
                let answer = engine
                    .decide(request, random, 0, true)
                    .unwrap_or_else(|error| panic!("{}: {error}", case.name));
                if index % 3 == 0
                    && let Some(held) = answer.held
                {
                    engine.release(held).expect("the request ends");
                }
                common::plain(answer)
            })
            .collect();
        let Some((sim, others)) = answers.split_first() else {
            continue;
        };
        for (other, engine) in others.iter().zip(engines.iter().skip(1)) {
            if request.head().len() > 8192 {
                assert_eq!(other.decision.outcome, Outcome::Unsupported);
                too_long += 1;
            } else if sim != other {
                let _ = writeln!(
                    differences,
                    "{} {}:\n  sim {sim:?}\n  {} {other:?}",
                    case.name,
                    request.id,
                    engine.name()
                );
            }
        }
    }
    too_long
}

#[test]
fn the_object_decides_as_the_model_does() {
    let mut engines = common::engines();
    let mut differences = String::new();
    let (mut requests, mut too_long) = (0, 0);
    let cases = common::cases();
    let mut left = 0;
    for whole in &cases {
        let case = &decided_by_the_object(whole);
        left += whole.requests.len() - case.requests.len();
        requests += case.requests.len();
        too_long += replay(case, &mut engines, &mut differences);
    }
    let names: Vec<_> = engines.iter().map(|engine| engine.name()).collect();
    println!(
        "{} cases, {requests} requests through {names:?}, {too_long} heads too long, {left} requests are userspace's",
        cases.len()
    );
    assert!(
        requests > left,
        "{left} requests are left to userspace, of {requests}"
    );
    let shown: String = differences.chars().take(4000).collect();
    assert!(differences.is_empty(), "{shown}");
}
