//! Maps that are full: what they have no room for goes through the proxy, and nothing is lost.

mod common;

use std::collections::BTreeSet;

use common::{Backend, Running, kernel, simple, start_sized, until};
use rstest::rstest;
use twinmesh_kernel_backend::datapath::Sizes;

const CLIENTS: usize = 12;
const ROUNDS: usize = 25;
const NAMES: [&str; 3] = ["one", "two", "three"];

const ROOM: Sizes = Sizes {
    endpoints: 64,
    clients: 64,
    upstreams: 64,
    pools: 64,
    policy: twinmesh_kernel_backend::Capacity::LEAST,
};

/// More connections than there is room for, whose requests come at the same time.
async fn load(running: &Running) {
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        // Each is accepted before the next comes.
        let mut client = running.connect("web").await;
        assert_eq!(
            client.get("/", "first").await.head.status(),
            200,
            "{number}"
        );
        clients.push(client);
    }
    let mut tasks = Vec::new();
    for (number, mut client) in clients.into_iter().enumerate() {
        tasks.push(tokio::spawn(async move {
            let mut answered = BTreeSet::new();
            for round in 0..ROUNDS {
                let id = format!("{number}-{round}");
                let reply = client.get("/", &id).await;
                assert_eq!(reply.head.status(), 200, "{id}");
                assert_eq!(reply.head.header("x-id"), Some(id.as_str()));
                answered.insert(reply.head.header("x-backend").map(str::to_owned));
            }
            answered
        }));
    }
    let mut answered = BTreeSet::new();
    for task in tasks {
        answered.extend(task.await.expect("all are answered"));
    }
    assert_eq!(answered.len(), NAMES.len(), "{answered:?}");
}

#[rstest]
#[case::clients(Sizes { clients: 4, ..ROOM })]
#[case::upstreams(Sizes { upstreams: 2, ..ROOM })]
#[case::pools(Sizes { pools: 1, ..ROOM })]
#[case::all(Sizes { clients: 4, upstreams: 1, pools: 1, ..ROOM })]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_room_goes_through_the_proxy(#[case] sizes: Sizes) {
    if !kernel::is_here() {
        return;
    }
    let mut backends = Vec::new();
    for name in NAMES {
        backends.push(Backend::echo(name).await);
    }
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let running = start_sized(&simple(&addresses), sizes).await;
    let datapath = running.agent.datapath.as_ref().expect("it takes part");
    let splice = datapath.splice.clone();
    // What ends makes room again.
    for _ in 0..2 {
        load(&running).await;
        until("the clients' records are free", || {
            splice.sweep();
            splice.fill()[0].1 == 0
        })
        .await;
    }
    running.idle().await;
    datapath.read_events();
    let expected = 2 * CLIENTS * (ROUNDS + 1);
    let log = running.log(expected).await;
    assert_eq!(log.len(), expected);
    assert!(log.iter().all(|line| line["complete"] != false), "{log:?}");
    let of = |path: &str| log.iter().filter(|line| line["path_taken"] == path).count();
    assert!(
        of("splice") > 0 && of("proxy") > 0,
        "{} and {}",
        of("splice"),
        of("proxy")
    );
}
