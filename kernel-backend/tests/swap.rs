//! Snapshots that replace one another while requests are being decided.

#[allow(dead_code, reason = "each test uses a part")]
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use twinmesh_engine::{Engine, Outcome, Request};
use twinmesh_kernel_backend::{BpfVm, Capacity, Decider};
use twinmesh_xds::Snapshot;

/// A snapshot in which everything that a decision names begins with `name`, behind a number of
/// routes that do not match, so that the tables of two of them do not look alike.
fn named(name: &str, routes: usize) -> Arc<Snapshot> {
    let mut all: Vec<String> = (0..routes)
        .map(|index| format!(r#"{{"name":"{name}-no-{index}","match":{{"path":"/{name}/{index}"}},"route":{{"cluster":"{name}-cluster-0"}}}}"#))
        .collect();
    let weighted: Vec<String> = (0..3)
        .map(|index| {
            format!(
                r#"{{"name":"{name}-cluster-{index}","weight":{}}}"#,
                index + 1
            )
        })
        .collect();
    all.push(format!(
        r#"{{"name":"{name}-route","match":{{"prefix":"/"}},"route":{{"weighted_clusters":{{"clusters":[{}]}}}}}}"#,
        weighted.join(",")
    ));
    let clusters: Vec<String> = (0..3)
        .map(|index| {
            format!(
                r#"{{"name":"{name}-cluster-{index}","type":"STATIC","load_assignment":{{"cluster_name":"{name}-cluster-{index}","endpoints":[{{"lb_endpoints":[{{"endpoint":{{"hostname":"{name}-host","address":{{"socket_address":{{"address":"10.0.0.{}","port_value":80}}}}}}}}]}}]}}}}"#,
                index + 1
            )
        })
        .collect();
    common::snapshot(&format!(
        r#"{{"static_resources":{{"listeners":[{{"name":"{name}-listener","address":{{"socket_address":{{"address":"127.0.0.1","port_value":8080}}}},"filter_chains":[{{"name":"{name}-chain","filters":[{{"name":"envoy.filters.network.http_connection_manager","typed_config":{{"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","stat_prefix":"s","http_filters":[{{"name":"envoy.filters.http.router","typed_config":{{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}}}],"route_config":{{"name":"{name}-routes","virtual_hosts":[{{"name":"{name}-host","domains":["*"],"routes":[{}]}}]}}}}}}]}}]}}],"clusters":[{}]}}}}"#,
        all.join(","),
        clusters.join(",")
    ))
}

fn request() -> Request {
    let line = r#"{"id":"r","destination":"127.0.0.1:8080","method":"GET","authority":"a.example","path":"/x"}"#;
    serde_json::from_str(line).expect("a line of traffic")
}

/// Decides until told to stop. How many decisions there were by `old` and by `new`, or the first
/// that is neither.
fn decide(mut decider: Decider, stop: &AtomicBool) -> Result<[usize; 2], String> {
    let request = request();
    let mut seen = [0; 2];
    let mut random = 1;
    while !stop.load(Ordering::Relaxed) {
        random = twinmesh_model::random::draw(random, 1);
        let answer = decider
            .decide(&request, random, true)
            .map_err(|error| error.to_string())?;
        let decision = &answer.decision;
        let names = [
            &decision.listener,
            &decision.filter_chain,
            &decision.route_config,
            &decision.virtual_host,
            &decision.route,
            &decision.cluster,
        ];
        let by = ["old-", "new-"].map(|prefix| {
            names
                .iter()
                .all(|name| name.as_ref().is_some_and(|name| name.starts_with(prefix)))
        });
        let whole = decision.outcome == Outcome::Forward
            && decision.endpoint.is_some()
            && answer.held.is_some();
        match by {
            [true, false] if whole => seen[0] += 1,
            [false, true] if whole => seen[1] += 1,
            _ => return Err(format!("neither old nor new: {answer:?}")),
        }
    }
    Ok(seen)
}

#[test]
fn a_decision_is_by_the_old_snapshot_or_by_the_new_one() {
    let Some(mut kernel) = common::kernel() else {
        return;
    };
    // The third is larger than the least capacity, so that programs and maps are replaced too.
    let snapshots = [
        named("old", 3),
        named("new", 40),
        named("old", 400),
        named("new", 9000),
    ];
    kernel
        .load(&snapshots[0])
        .expect("the first snapshot loads");
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = std::iter::from_fn(|| kernel.decider())
        .map(|decider| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || decide(decider, &stop))
        })
        .collect();
    assert!(!threads.is_empty(), "no decider");
    let mut answers = 0;
    for round in 0..120 {
        // The largest comes in the middle; what follows lies in the larger maps.
        let snapshot = if round == 60 {
            &snapshots[3]
        } else {
            &snapshots[round % 3]
        };
        kernel
            .load(snapshot)
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
        kernel
            .decide(&request(), round as u64, 0, false)
            .expect("the engine decides too");
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        let [old, new] = thread
            .join()
            .expect("the thread ends")
            .unwrap_or_else(|why| panic!("{why}"));
        assert!(
            old > 0 && new > 0,
            "the swaps were not seen: {old} old, {new} new"
        );
        answers += old + new;
    }
    println!("{answers} answers over 120 swaps");
}

#[test]
fn a_snapshot_over_the_capacity_gets_larger_maps() {
    let large = twinmesh_compile::compile(&named("new", 9000)).expect("it compiles");
    assert!(
        large.sizes.policy_bytes > Capacity::LEAST.policy_bytes,
        "it is not over the least capacity"
    );
    let mut engines = common::engines();
    for engine in &mut engines {
        for (name, routes) in [("old", 3), ("new", 9000), ("old", 3)] {
            engine.load(&named(name, routes)).expect("it loads");
            let answer = engine.decide(&request(), 1, 0, true).expect("it decides");
            assert_eq!(
                answer.decision.route,
                Some(format!("{name}-route")),
                "{}",
                engine.name()
            );
        }
    }
}

#[test]
fn what_an_older_snapshot_holds_is_not_given_back_to_a_newer() {
    let mut vm = BpfVm::new().expect("the VM runs everywhere");
    vm.load(&named("old", 1)).expect("it loads");
    let held = vm
        .decide(&request(), 1, 0, false)
        .expect("it decides")
        .held
        .expect("it holds an endpoint");
    vm.load(&named("new", 1)).expect("it loads");
    let newer = vm
        .decide(&request(), 1, 0, false)
        .expect("it decides")
        .held
        .expect("it holds an endpoint");
    assert_ne!(held.generation, newer.generation);
    vm.release(held).expect("nothing happens");
    vm.release(newer).expect("it is given back");
}
