//! The choice of a generation inside of the program, while policies are replaced as fast as that
//! goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use twinmesh_compile::{Compiled, Left, compile};
use twinmesh_engine::{Engine, Request};
use twinmesh_model::layout::work;

use super::{InKernel, Kernel};
use crate::backend::{Host, replace};
use crate::shape::{DECIDED, STALE};

/// A snapshot whose one virtual host has this many routes; the last takes every request, when a
/// regex before it has looked at the whole path, which takes a while.
fn compiled(routes: usize) -> Compiled {
    let folder = std::env::temp_dir().join(format!("twinmesh-{}-{routes}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the snapshot");
    let file = folder.join("bootstrap.json");
    let mut list = String::new();
    for index in 2..routes {
        list +=
            &format!(r#"{{"match":{{"path":"/a/{index}"}},"redirect":{{"host_redirect":"a"}}}},"#);
    }
    let text = format!(
        r#"{{"static_resources":{{"listeners":[{{"name":"web","address":{{"socket_address":{{"address":"127.0.0.1","port_value":80}}}},"filter_chains":[{{"filters":[{{"name":"envoy.filters.network.http_connection_manager","typed_config":{{"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","stat_prefix":"web","http_filters":[{{"name":"envoy.filters.http.router","typed_config":{{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}}}],"route_config":{{"name":"web","virtual_hosts":[{{"name":"web","domains":["*"],"routes":[{list}{{"match":{{"safe_regex":{{"regex":"/(a|b)*c"}}}},"redirect":{{"host_redirect":"c"}}}},{{"match":{{"prefix":"/"}},"redirect":{{"host_redirect":"b"}}}}]}}]}}}}}}]}}]}}]}}}}"#
    );
    std::fs::write(&file, text).expect("the snapshot is written");
    let snapshot = twinmesh_xds::read(&file, &twinmesh_xds::ReadOptions::default());
    std::fs::remove_dir_all(&folder).expect("the folder goes");
    compile(&Arc::new(
        snapshot.unwrap_or_else(|error| panic!("{error}")),
    ))
    .expect("it compiles")
}

fn request() -> Request {
    let path = "ab".repeat(2000);
    let line = format!(
        r#"{{"id":"r","destination":"127.0.0.1:80","method":"GET","authority":"a","path":"/{path}"}}"#
    );
    serde_json::from_str(&line).expect("a line of traffic")
}

/// What a policy leaves, by the policy alone.
fn expected(kernel: &mut Kernel, compiled: &Compiled) -> Left {
    kernel.load(&compiled.snapshot).expect("it loads");
    kernel.decide(&request(), 1, 0, false).expect("it decides");
    kernel.backend.host().areas().request(0).left()
}

/// Decides by whatever is current until told to stop; how often by each policy, or what was left
/// that neither leaves.
fn decide(
    host: &InKernel,
    compiled: &Compiled,
    expected: &[Left; 2],
    stop: &AtomicBool,
) -> Result<[usize; 2], String> {
    let mut seen = [0; 2];
    let mut place = host.areas().request(1);
    let request = request();
    while !stop.load(Ordering::Relaxed) {
        let sequence = place.sequence();
        compiled
            .prepare(&request, 1, sequence, &mut place)
            .expect("it is laid out");
        place.set_generation(0);
        match host.run(1).expect("the program runs") {
            DECIDED => {}
            STALE => continue,
            other => panic!("the program returned {other}"),
        }
        let left = place.left();
        match expected.iter().position(|one| *one == left) {
            Some(0) => seen[0] += 1,
            Some(_) => seen[1] += 1,
            None => return Err(format!("neither policy leaves {left:?}, but {expected:?}")),
        }
    }
    Ok(seen)
}

#[test]
fn the_program_reads_one_generation_only() {
    let mut kernel = match Kernel::new() {
        Ok(kernel) => kernel,
        Err(why)
            if std::env::var_os("TWINMESH_REQUIRE_KERNEL").is_some_and(|value| value != "0") =>
        {
            panic!("the kernel engine must run: {why}")
        }
        Err(why) => return println!("the engine kernel does not run here: {why}"),
    };
    let policies = [compiled(2), compiled(12)];
    let expected = [
        expected(&mut kernel, &policies[0]),
        expected(&mut kernel, &policies[1]),
    ];
    let route = (work::CHOSEN_ROUTE - work::OUTCOME) as usize;
    assert_eq!(
        (expected[0][route], expected[1][route]),
        (2, 12),
        "the policies do not differ"
    );
    let host = Arc::clone(kernel.backend.host());
    let stop = AtomicBool::new(false);
    let (seen, swaps) = std::thread::scope(|scope| {
        // The request names nothing that stands elsewhere in the other policy.
        let thread = scope.spawn(|| decide(&host, &policies[0], &expected, &stop));
        let start = Instant::now();
        let mut generation = 2;
        while start.elapsed() < Duration::from_secs(2) && !thread.is_finished() {
            generation += 1;
            // Each slot gets the one, then the other.
            let policy = &policies[(generation / 2 % 2) as usize];
            replace(&*host, generation, &policy.policy, &policy.state, false)
                .expect("it is replaced");
        }
        stop.store(true, Ordering::Relaxed);
        (thread.join().expect("the thread ends"), generation - 2)
    });
    let seen = seen.unwrap_or_else(|why| panic!("{why}"));
    assert!(
        seen.iter().all(|count| *count > 0),
        "the swaps were not seen: {seen:?}"
    );
    println!("{seen:?} decisions over {swaps} swaps");
}
