//! Policies that come and go under traffic; decisions that the simulator makes again.

mod common;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use common::{Backend, bootstrap, cluster, counts, http_listener, manager, simple, soon, start};
use serde_json::{Value, json};
use twinmesh_engine::{Engine as _, Request};
use twinmesh_sim::Sim;

fn split(first: u32, one: &[SocketAddr], two: &[SocketAddr]) -> Value {
    let routes = json!([
        {"name": "pinned", "match": {"prefix": "/", "headers": [{"name": "x-user", "string_match": {"exact": "jason"}}]}, "route": {"cluster": "two"}},
        {"name": "split", "match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [
            {"name": "one", "weight": first}, {"name": "two", "weight": 100 - first}]}}},
    ]);
    bootstrap(
        &[http_listener("web", &manager(&routes))],
        &[
            cluster("one", "ROUND_ROBIN", one),
            cluster("two", "LEAST_REQUEST", two),
        ],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulator_decides_the_logged_requests_alike() {
    let names = ["a", "b", "c", "d", "e"];
    let mut backends = Vec::new();
    for name in names {
        backends.push(Backend::echo(name).await);
    }
    let addresses: Vec<SocketAddr> = backends.iter().map(|backend| backend.address).collect();
    let (one, two) = addresses.split_at(3);
    let config = split(90, one, two);
    let running = start(&config).await;
    let mut client = running.connect("web").await;
    let mut answered = Vec::new();
    for number in 0..400 {
        let user = if number % 7 == 0 {
            "X-User: jason\r\n"
        } else {
            ""
        };
        let request =
            format!("GET /{number} HTTP/1.1\r\nHost: web\r\nX-Id: {number}\r\n{user}\r\n");
        client.send(request.as_bytes()).await;
        let reply = client.reply().await;
        assert_eq!(reply.head.header("x-id"), Some(number.to_string().as_str()));
        answered.push(reply.head.header("x-backend").expect("a name").to_owned());
        // One at a time, so that least request is the same for both.
        running.idle().await;
    }
    let mut log = running.log(400).await;
    // Lines of spliced requests and of proxied ones come from two threads.
    log.sort_by_key(|line| {
        let path = line["path"].as_str().expect("a path");
        path.trim_start_matches('/')
            .parse::<u64>()
            .expect("a number")
    });
    let policy = running.agent.live.current().expect("a policy");
    let mut sim = Sim::default();
    sim.load(policy.snapshot()).expect("it loads");
    for (number, line) in log.iter().enumerate() {
        assert_eq!(line["path"], format!("/{number}"));
        let mut headers = vec![("x-id".to_owned(), number.to_string())];
        if number % 7 == 0 {
            headers.push(("x-user".to_owned(), "jason".to_owned()));
        }
        let request: Request = serde_json::from_value(json!({
            "id": "r", "authority": line["authority"], "path": line["path"], "headers": headers,
            "source": line["source"], "destination": line["destination"], "listener": "web",
        }))
        .expect("a request");
        let random = line["random"].as_u64().expect("a number");
        let answer = sim.decide(&request, random, 0, false).expect("it decides");
        if let Some(held) = answer.held {
            sim.release(held).expect("it releases");
        }
        let decision = serde_json::to_value(&answer.decision).expect("JSON");
        for field in [
            "outcome",
            "listener",
            "route_config",
            "virtual_host",
            "route",
            "cluster",
            "endpoint",
        ] {
            assert_eq!(line[field], decision[field], "{number} {field}");
        }
        let endpoint = decision["endpoint"].as_str().expect("an address");
        let index = addresses
            .iter()
            .position(|address| address.to_string() == endpoint);
        assert_eq!(answered[number], names[index.expect("one of ours")]);
    }
    let clusters = counts(
        log.iter()
            .filter(|line| line["route"] == "split")
            .map(|line| line["cluster"].as_str().expect("a name").to_owned()),
    );
    assert!(clusters["one"] > 200 && clusters["two"] > 5, "{clusters:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_policies_under_load_fail_no_request_and_lose_no_count() {
    let mut backends = Vec::new();
    for name in ["a", "b", "c", "d"] {
        backends.push(Backend::echo(name).await);
    }
    let all: Vec<SocketAddr> = backends.iter().map(|backend| backend.address).collect();
    let running = Arc::new(start(&split(90, &all[..2], &all[2..])).await);
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let mut clients = Vec::new();
    for client in 0..8 {
        let (running, stop, done) = (Arc::clone(&running), Arc::clone(&stop), Arc::clone(&done));
        clients.push(tokio::spawn(async move {
            let mut wire = running.connect("web").await;
            let mut number = 0;
            while !stop.load(SeqCst) {
                let id = format!("{client}-{number}");
                let reply = wire.get("/", &id).await;
                assert_eq!(reply.head.status(), 200, "{}", reply.text());
                assert_eq!(reply.head.header("x-id"), Some(id.as_str()));
                done.fetch_add(1, SeqCst);
                number += 1;
            }
        }));
    }
    for round in 0..50_u32 {
        let before = done.load(SeqCst);
        // Endpoints that come, go, and change their order and cluster.
        let (one, two): (Vec<_>, Vec<_>) = match round % 4 {
            0 => (vec![all[0]], vec![all[3], all[2]]),
            1 => (vec![all[1], all[0]], vec![all[2]]),
            2 => (vec![all[2], all[3]], vec![all[0], all[1], all[2]]),
            _ => (all[..2].to_vec(), all[2..].to_vec()),
        };
        running.update(&split(round + 20, &one, &two)).await;
        common::until("requests go on", || done.load(SeqCst) > before + 8).await;
    }
    stop.store(true, SeqCst);
    for client in clients {
        client.await.expect("no request failed");
    }
    running.idle().await;
    let total = usize::try_from(done.load(SeqCst)).expect("a count");
    let log = running.log(total).await;
    assert_eq!(log.len(), total);
    assert!(
        log.iter()
            .all(|line| line["complete"] == true && line["status"] == 200)
    );
    let generations = counts(log.iter().map(|line| line["generation"].to_string()));
    assert!(generations.len() > 40, "{generations:?}");
    assert_eq!(running.generation(), 51);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_follow_their_endpoint_through_policies() {
    // Holds each request until it is told to answer.
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let held = Arc::clone(&gate);
    let backend = Backend::new(move |stream, _| {
        let held = Arc::clone(&held);
        async move {
            let mut wire = common::wire::Wire::new(stream);
            while wire.head().await.is_some() {
                held.acquire().await.expect("open").forget();
                wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await;
            }
        }
    })
    .await;
    let other = Backend::echo("other").await;
    let eds = |endpoints: &[SocketAddr]| {
        let routes =
            json!([{"match": {"prefix": "/"}, "route": {"cluster": "backend", "timeout": "0s"}}]);
        let mut config = bootstrap(&[http_listener("web", &manager(&routes))], &[]);
        // From EDS, so that the cluster's message stays the same.
        let assignment = cluster("backend", "LEAST_REQUEST", endpoints)["load_assignment"].clone();
        config["static_resources"]["clusters"] = json!([{
            "name": "backend", "type": "EDS", "lb_policy": "LEAST_REQUEST", "connect_timeout": "5s",
            "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        }]);
        let mut snapshot = common::snapshot(&config).as_ref().clone();
        snapshot.clusters[0].load_assignment = common::snapshot(&simple(endpoints)).clusters[0]
            .load_assignment
            .clone();
        snapshot.clusters[0].unsupported = None;
        let _ = assignment;
        Arc::new(snapshot)
    };
    let running = common::start_with(eds(&[backend.address]), None).await;
    let publish = async |endpoints: &[SocketAddr]| {
        let generation = running.generation();
        running
            .policies
            .send(Some(eds(endpoints)))
            .expect("it runs");
        common::until("the policy", || running.generation() > generation).await;
    };
    let active = || -> HashMap<String, u64> {
        let list = running.agent.live.active();
        list.into_iter()
            .map(|(_, endpoint, count)| (endpoint, count))
            .collect()
    };
    let (here, there) = (backend.address.to_string(), other.address.to_string());
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = running.connect("web").await;
        client.send(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n").await;
        clients.push(client);
    }
    common::until("three are active", || active()[&here] == 3).await;
    // Another place in the list: the counts move with the endpoint.
    publish(&[other.address, backend.address]).await;
    assert_eq!((active()[&here], active()[&there]), (3, 0));
    gate.add_permits(1);
    common::until("one has ended", || active()[&here] == 2).await;
    // Gone and back: it returns without any, and what it held then is never taken off.
    publish(&[other.address]).await;
    publish(&[other.address, backend.address]).await;
    assert_eq!((active()[&here], active()[&there]), (0, 0));
    gate.add_permits(2);
    for mut client in clients {
        assert_eq!(soon("a response", client.reply()).await.head.status(), 200);
    }
    running.log(3).await;
    assert_eq!((active()[&here], active()[&there]), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_come_and_go_with_policies() {
    let backend = Backend::echo("one").await;
    let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}]);
    let clusters = [cluster("backend", "ROUND_ROBIN", &[backend.address])];
    let (first, second) = (
        http_listener("first", &manager(&routes)),
        http_listener("second", &manager(&routes)),
    );
    let running = start(&bootstrap(std::slice::from_ref(&first), &clusters)).await;
    let mut client = running.connect("first").await;
    assert_eq!(client.get("/", "1").await.head.status(), 200);
    let address = running.address("first");
    running
        .update(&bootstrap(&[first, second.clone()], &clusters))
        .await;
    common::until("both are bound", || running.agent.bound.list().len() == 2).await;
    assert_eq!(running.address("first"), address, "it stays as it is");
    assert_eq!(client.get("/", "2").await.head.status(), 200);
    let mut other = running.connect("second").await;
    assert_eq!(other.get("/", "3").await.head.status(), 200);
    running.update(&bootstrap(&[second], &clusters)).await;
    assert!(soon("the idle connection ends", client.ended()).await);
    let refused = async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon("nobody listens any more", refused).await;
    assert_eq!(other.get("/", "4").await.head.status(), 200);
}
