//! `/maps`: it finds no differences where there are none, whatever goes on, and those that there are.

mod common;

use std::mem::{offset_of, size_of};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use aya::maps::{Array, Map, MapData, loaded_maps};
use common::wire::Wire;
use common::{
    Backend, Running, bootstrap, cluster, http_listener, manager, simple, soon, start, until,
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use twinmesh_agent::admin;
use twinmesh_agent::datapath::Splice;
use twinmesh_kernel_backend::datapath::shape::{
    Address, Client, Config, Endpoint, Upstream, state,
};

/// The kernel's part; `None` where this machine has none and need not.
fn splice(running: &Running) -> Option<Arc<Splice>> {
    let datapath = running.agent.datapath.as_ref();
    datapath.map(|datapath| Arc::clone(&datapath.splice))
}

/// The admin endpoints' address.
async fn serve(running: &Running) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = admin::router(&running.agent, None, None);
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn maps(admin: SocketAddr) -> Value {
    let stream = TcpStream::connect(admin).await.expect("it listens");
    let reply = Wire::new(stream).get("/maps", "0").await;
    assert_eq!(reply.head.status(), 200, "{}", reply.text());
    serde_json::from_slice(&reply.body).expect("JSON")
}

fn config(one: &[SocketAddr], two: &[SocketAddr]) -> Value {
    let routes = json!([
        {"match": {"path": "/least"}, "route": {"cluster": "two"}},
        {"match": {"prefix": "/"}, "route": {"cluster": "one"}},
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
async fn nothing_differs_under_and_after_traffic() {
    let mut backends = Vec::new();
    for name in ["a", "b", "c"] {
        backends.push(Backend::echo(name).await);
    }
    let all: Vec<SocketAddr> = backends.iter().map(|backend| backend.address).collect();
    let running = start(&config(&all[..2], &all[1..])).await;
    if splice(&running).is_none() {
        return;
    }
    let admin = serve(&running).await;
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let mut tasks = Vec::new();
    for client in 0..4 {
        let mut wire = running.connect("web").await;
        let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
        tasks.push(tokio::spawn(async move {
            for turn in 0.. {
                if stop.load(SeqCst) {
                    break;
                }
                let path = if (turn + client) % 3 == 0 { "/least" } else { "/x" };
                if turn % 10 == 9 {
                    // This one is the proxy's.
                    let chunked = format!(
                        "POST {path} HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
                    );
                    wire.send(chunked.as_bytes()).await;
                    assert_eq!(wire.reply().await.head.status(), 200);
                } else {
                    assert_eq!(wire.get(path, "1").await.head.status(), 200);
                }
                done.fetch_add(1, SeqCst);
            }
            wire
        }));
    }
    for round in 0..20 {
        if round % 5 == 4 {
            running.update(&config(&all[round % 2..], &all[..2])).await;
        }
        let before = done.load(SeqCst);
        let seen = maps(admin).await;
        assert_eq!(seen["differences"], json!([]), "{round}: {seen:#}");
        until("requests go on", || done.load(SeqCst) > before).await;
    }
    stop.store(true, SeqCst);
    let mut wires = Vec::new();
    for task in tasks {
        wires.push(task.await.expect("no request failed"));
    }
    running.idle().await;
    let seen = maps(admin).await;
    assert_eq!(seen["differences"], json!([]), "{seen:#}");
    assert_eq!(seen["generation"]["kernel"], 5);
    assert_eq!(seen["generation"]["agent"], 5);
    assert_eq!(seen["clients"]["used"], 4, "{seen:#}");
    assert_eq!(seen["lost_events"], 0);
    let programs = seen["programs"].as_array().expect("a list");
    let attached = programs.iter().filter(|program| program["links"] == 1);
    assert_eq!(attached.count(), 8, "{programs:?}");
    assert_eq!(seen["endpoints"]["active"], json!([]));
    let listed = seen["endpoints"]["listed"].as_array().expect("a list");
    let addresses = |cluster: &str| -> Vec<&str> {
        let of = listed.iter().filter(|one| one["cluster"] == cluster);
        of.filter_map(|one| one["address"].as_str()).collect()
    };
    let expected: Vec<String> = all.iter().map(ToString::to_string).collect();
    let mut one = addresses("one");
    one.sort_unstable();
    let mut expected_of_one: Vec<&str> = expected[1..].iter().map(String::as_str).collect();
    expected_of_one.sort_unstable();
    assert_eq!(one, expected_of_one);
    assert_eq!(addresses("two").len(), 2);
    let policy = running.agent.live.current().expect("there is one");
    assert_eq!(seen["policy"]["bytes"], policy.compiled.policy.len() * 8);
    drop(wires);
    until("the records are given back", || {
        let splice = splice(&running).expect("it is there");
        splice.sweep();
        splice.datapath.maps().count_free_clients()
            == u64::from(splice.datapath.maps().sizes.clients)
    })
    .await;
    let seen = maps(admin).await;
    assert_eq!(seen["differences"], json!([]), "{seen:#}");
    assert_eq!(seen["clients"]["used"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_under_way_are_told_by_who_has_them() {
    let (gate, there) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(0)));
    let (held, counted) = (Arc::clone(&gate), Arc::clone(&there));
    let backend = Backend::new(move |stream, _| {
        let (held, counted) = (Arc::clone(&held), Arc::clone(&counted));
        async move {
            let mut wire = Wire::new(stream);
            while let Some(head) = wire.head().await {
                wire.body(&head).await;
                counted.fetch_add(1, SeqCst);
                held.acquire().await.expect("it is open").forget();
                if !wire
                    .try_send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await
                {
                    return;
                }
            }
        }
    })
    .await;
    let running = start(&simple(&[backend.address])).await;
    let Some(splice) = splice(&running) else {
        return;
    };
    let admin = serve(&running).await;
    let mut client = running.connect("web").await;
    // The first goes through the proxy, the second through the kernel.
    let request = b"GET / HTTP/1.1\r\nHost: web\r\n\r\n";
    for (turn, (spliced, proxied)) in [(0, 1), (1, 0)].into_iter().enumerate() {
        until("connections are given back", || {
            let fill = splice.fill();
            fill[1].1 == 0 && (turn == 0 || fill[3].1 > 0)
        })
        .await;
        client.send(request).await;
        until("the endpoint has it", || {
            there.load(SeqCst) == turn as u64 + 1
        })
        .await;
        let seen = maps(admin).await;
        assert_eq!(seen["differences"], json!([]), "{seen:#}");
        let expected =
            json!([{"endpoint": 0, "active": 1, "spliced": spliced, "proxied": proxied}]);
        assert_eq!(seen["endpoints"]["active"], expected, "{seen:#}");
        gate.add_permits(1);
        assert_eq!(soon("an answer", client.reply()).await.head.status(), 200);
    }
    running.idle().await;
}

/// What this agent's programs are told, by another way into the map than the agent's. Other agents
/// have such maps too; this one's holds its address.
fn told_to(running: &Running) -> Array<MapData, [u64; size_of::<Config>() / 8]> {
    let datapath = running.agent.datapath.as_ref().expect("it is there");
    let port = u64::from(datapath.redirect[0].port());
    let named = loaded_maps()
        .filter_map(Result::ok)
        .filter(|map| map.name_as_str() == Some("CONFIG"));
    for map in named {
        let Ok(data) = MapData::from_id(map.id()) else {
            continue;
        };
        let map = Map::from_map_data(data).expect("it is a map");
        let Ok(array) = Array::try_from(map) else {
            continue;
        };
        let words: [u64; size_of::<Config>() / 8] = array.get(&0, 0).expect("it has a value");
        let at = offset_of!(Config, agent_v4) + offset_of!(Address, port);
        if words[at / 8] >> (at % 8 * 8) & 0xffff_ffff == port {
            return array;
        }
    }
    panic!("the agent's programs have no map CONFIG");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_changed_in_a_map_is_found() {
    let backend = Backend::echo("one").await;
    let running = start(&simple(&[backend.address])).await;
    let Some(splice) = splice(&running) else {
        return;
    };
    let admin = serve(&running).await;
    let mut client = running.connect("web").await;
    assert_eq!(client.get("/", "0").await.head.status(), 200);
    until("connections are given back", || {
        let fill = splice.fill();
        fill[1].1 == 0 && fill[3].1 > 0
    })
    .await;
    running.idle().await;
    let seen = maps(admin).await;
    assert_eq!(seen["differences"], json!([]), "{seen:#}");
    let slot = seen["pools"]["list"][0]["idle"][0]
        .as_u64()
        .expect("one is idle");
    let maps_of = splice.datapath.maps();
    let index = (0..u64::from(maps_of.sizes.clients))
        .find(|index| maps_of.client(*index).get(offset_of!(Client, uses)) != 0)
        .expect("one is in use");
    let policy = &maps_of.policy(1)[3];
    let active = &maps_of.active()[0];
    let gone = &maps_of.active()[9];
    let uses = maps_of.client(index).word(offset_of!(Client, uses));
    let waits = maps_of.client(index).word(offset_of!(Client, upstream));
    let of = maps_of.upstream(slot).word(offset_of!(Upstream, state));
    let pool = maps_of.upstream(slot).word(offset_of!(Upstream, pool));
    let changes = [
        (
            policy,
            77,
            "1 of ",
            "of the policy are others in the kernel, from byte 24 on",
        ),
        (
            active,
            2,
            "endpoint 0: 2 requests are active",
            "0 of the kernel's clients and 0",
        ),
        (active, u64::MAX, "endpoint 0: -1 requests are active", ""),
        (gone, 1, "endpoint 9: 1 requests are active", ""),
        (uses, 5, "client ", "expected use 1 of its record, found 5"),
        (
            waits,
            slot + 1,
            "client ",
            "which does not have its request",
        ),
        (
            of,
            state::BUSY,
            "upstream ",
            "is busy, and no client waits for it",
        ),
        (
            of,
            state::AGENT,
            "upstream ",
            "was given to the kernel, and is agent there",
        ),
        (pool, 9, "pool 0 ", "of pool 9"),
    ];
    for (word, value, start, end) in changes {
        let before = word.swap(value, SeqCst);
        let seen = maps(admin).await;
        word.store(before, SeqCst);
        let list = seen["differences"].as_array().expect("a list");
        let mut list = list.iter().filter_map(Value::as_str);
        assert!(
            list.any(|one| one.starts_with(start) && one.contains(end)),
            "{start} {end}: {:#}",
            seen["differences"]
        );
    }
    assert_eq!(maps(admin).await["differences"], json!([]));

    let there = maps_of.endpoint(0);
    maps_of.set_endpoint(0, Endpoint { pool: 0, ..there });
    let expected = format!(
        "endpoint 0: expected {0} in pool 0, found {0} in no pool",
        backend.address
    );
    assert_eq!(maps(admin).await["differences"], json!([expected]));
    maps_of.set_endpoint(0, there);

    let mut told = told_to(&running);
    let words = told.get(&0, 0).expect("it is there");
    let mut others = words;
    // The share of responses that leave an event.
    others[offset_of!(Config, event_share) / 8] = 1;
    told.set(0, others, 0).expect("it is set");
    let seen = maps(admin).await;
    told.set(0, words, 0).expect("it is set");
    let list = seen["differences"].as_array().expect("a list");
    assert_eq!(list.len(), 1, "{list:?}");
    let text = list[0].as_str().expect("words");
    assert!(text.starts_with("expected the configuration"), "{text}");
    assert!(text.contains("\"event_share\":1,"), "{text}");

    // Nobody has it any more, and it is in no list.
    assert_eq!(maps_of.take_idle(0), Some(slot));
    of.store(state::IDLE, SeqCst);
    let expected = format!("upstream {slot} is idle, and in no pool's list");
    assert_eq!(maps(admin).await["differences"], json!([expected]));
    maps_of.put_idle(slot);

    maps_of.retire();
    let seen = maps(admin).await;
    let list = seen["differences"].as_array().expect("a list");
    assert_eq!(list.len(), 1, "{list:?}");
    let words = list[0].as_str().expect("words");
    assert!(words.contains("generation 1, the kernel by 0"), "{words}");
}
