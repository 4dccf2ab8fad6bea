//! The live tables from many threads, while policies come.

mod common;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use common::{bootstrap, cluster, http_listener, manager, snapshot};
use serde_json::{Value, json};
use twinmesh_agent::live::Live;
use twinmesh_engine::{Engine as _, Request};
use twinmesh_sim::Sim;

fn endpoint(number: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], number))
}

fn config(policy: &str, weights: &[u32], name: &str) -> Value {
    let endpoints: Vec<SocketAddr> = (1..).map(endpoint).take(weights.len()).collect();
    let mut cluster = cluster("backend", policy, &endpoints);
    let list = &mut cluster["load_assignment"]["endpoints"][0]["lb_endpoints"];
    for (endpoint, weight) in list.as_array_mut().expect("a list").iter_mut().zip(weights) {
        endpoint["load_balancing_weight"] = json!(weight);
    }
    // The route's name differs from policy to policy, the cluster does not.
    let routes = json!([{"name": name, "match": {"prefix": "/"}, "route": {"cluster": "backend"}}]);
    bootstrap(&[http_listener("web", &manager(&routes))], &[cluster])
}

fn request() -> Request {
    serde_json::from_value(json!({"id": "r", "authority": "web", "listener": "web"}))
        .expect("a request")
}

fn picks(live: &Live, count: usize) -> HashMap<String, u64> {
    common::counts((0..count).map(|_| {
        let decided = live.decide(&request(), 7).expect("it decides");
        decided.answer.decision.endpoint.expect("an endpoint")
    }))
}

#[test]
fn weighted_queues_and_counts_stay_whole_under_threads_and_policies() {
    for policy in ["ROUND_ROBIN", "LEAST_REQUEST"] {
        let live = Live::default();
        live.publish(snapshot(&config(policy, &[1, 2, 3], "0")))
            .expect("it fits");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (live, stop) = (&live, &stop);
                scope.spawn(move || {
                    let mut held = Vec::new();
                    let mut random = thread;
                    while !stop.load(SeqCst) {
                        random = random
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        let decided = live.decide(&request(), random).expect("it decides");
                        assert!(decided.answer.decision.endpoint.is_some());
                        held.push(decided.hold.expect("it holds an endpoint"));
                        if held.len() > 16 {
                            held.drain(..9);
                        }
                    }
                });
            }
            for name in 1..60 {
                live.publish(snapshot(&config(policy, &[1, 2, 3], &name.to_string())))
                    .expect("it fits");
            }
            stop.store(true, SeqCst);
        });
        assert!(
            live.active().iter().all(|(.., count)| *count == 0),
            "{:?}",
            live.active()
        );
        // Those that had many requests when they were queued last come late at first.
        picks(&live, 600);
        // Each endpoint is in the queue once, with its weight.
        let counts = picks(&live, 600);
        for (number, expected) in [(1, 100_i64), (2, 200), (3, 300)] {
            let found = counts[&endpoint(number).to_string()];
            let off = i64::try_from(found).expect("small") - expected;
            assert!(off.abs() <= 3, "{policy}: {counts:?}");
        }
    }
}

#[test]
fn balancers_go_on_from_policy_to_policy_as_in_the_simulator() {
    for (policy, weights) in [
        ("ROUND_ROBIN", &[1, 1, 1][..]),
        ("ROUND_ROBIN", &[5, 1, 2]),
        ("LEAST_REQUEST", &[3, 1, 2]),
        ("LEAST_REQUEST", &[1, 1, 1]),
    ] {
        let live = Live::default();
        let mut sim = Sim::default();
        live.publish(snapshot(&config(policy, weights, "0")))
            .expect("it fits");
        sim.load(&snapshot(&config(policy, weights, "0")))
            .expect("it loads");
        for round in 1..20_u64 {
            for random in 0..7 {
                let random = round * 1000 + random;
                let decided = live.decide(&request(), random).expect("it decides");
                let answer = sim
                    .decide(&request(), random, 0, false)
                    .expect("it decides");
                assert_eq!(
                    decided.answer.decision.endpoint, answer.decision.endpoint,
                    "{policy} {weights:?} {round}"
                );
                sim.release(answer.held.expect("it holds one"))
                    .expect("it releases");
            }
            let next = snapshot(&config(policy, weights, &round.to_string()));
            live.publish(next.clone()).expect("it fits");
            sim.update(&next, 0).expect("it updates");
        }
    }
}

#[test]
fn explaining_changes_nothing() {
    let live = Live::default();
    live.publish(snapshot(&config("ROUND_ROBIN", &[1, 1, 1], "0")))
        .expect("it fits");
    let first = live.decide(&request(), 1).expect("it decides");
    for _ in 0..5 {
        let answer = live.explain(&request(), 1).expect("it explains");
        assert_eq!(answer.decision.endpoint, Some(endpoint(2).to_string()));
        assert!(!answer.trace.steps.is_empty());
    }
    assert_eq!(
        first.answer.decision.endpoint,
        Some(endpoint(1).to_string())
    );
    let second = live.decide(&request(), 1).expect("it decides");
    assert_eq!(
        second.answer.decision.endpoint,
        Some(endpoint(2).to_string())
    );
    assert_eq!(
        live.active().iter().map(|(.., count)| count).sum::<u64>(),
        2
    );
}

#[test]
fn without_a_policy_nothing_is_decided_and_it_says_so() {
    let live = Live::default();
    let error = live.decide(&request(), 1).expect_err("there is no policy");
    assert_eq!(error.to_string(), "engine agent: no policy is loaded");
    assert!(live.explain(&request(), 1).is_err());
    assert!(live.active().is_empty());
}
