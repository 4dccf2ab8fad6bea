//! Live decisions, made again by `spec`: they are the same, whichever way the requests took.

mod common;

use std::time::Duration;

use common::wire::Wire;
use common::{
    Backend, Running, bootstrap, cluster, http_listener, kernel, manager, snapshot, start_shadowed,
    tcp_listener, until,
};
use serde_json::{Value, json};
use twinmesh_agent::shadow::{ALL, Options, Shadow, Skipped};

/// What was looked at and what came of it.
struct Seen {
    compared: u64,
    differing: u64,
    skipped: [u64; Skipped::ALL.len()],
}

impl Seen {
    fn of(running: &Running) -> Self {
        if let Some(datapath) = &running.agent.datapath {
            datapath.read_events();
        }
        let shadow = running.agent.live.shadow().expect("there is one");
        assert!(shadow.flush(common::LIMIT), "all are compared");
        let counts = shadow.counts();
        Self {
            compared: counts.compared(),
            differing: counts.differing(),
            skipped: Skipped::ALL.map(|why| counts.skipped(why)),
        }
    }

    fn skipped(&self, why: Skipped) -> u64 {
        self.skipped[why as usize]
    }

    fn all(&self) -> u64 {
        self.compared + self.skipped.iter().sum::<u64>()
    }
}

/// Requests that the kernel spliced.
fn spliced(running: &Running) -> u64 {
    let Some(datapath) = &running.agent.datapath else {
        return 0;
    };
    let totals = datapath.splice.collect(&running.agent.live);
    totals.iter().map(|(_, total)| total.requests).sum()
}

fn weighted(name: &str, policy: &str, backends: &[Backend]) -> Value {
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let mut cluster = cluster(name, policy, &addresses);
    let endpoints = &mut cluster["load_assignment"]["endpoints"][0]["lb_endpoints"];
    for (endpoint, weight) in endpoints
        .as_array_mut()
        .expect("a list")
        .iter_mut()
        .zip(1..)
    {
        endpoint["load_balancing_weight"] = json!(weight);
    }
    endpoints[3]["health_status"] = json!("UNHEALTHY");
    cluster
}

/// Every balancer, and every kind of answer.
fn config(backends: &[Backend]) -> Value {
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let routes = json!([
        {"match": {"path": "/gone"}, "direct_response": {"status": 410}},
        {"match": {"path": "/moved"}, "redirect": {"path_redirect": "/x"}},
        {"match": {"path": "/empty"}, "route": {"cluster": "empty"}},
        {"name": "two", "match": {"prefix": "/", "headers": [{"name": "x-v", "string_match": {"exact": "2"}}]},
         "route": {"cluster": "least"}},
        {"match": {"path": "/weights"}, "route": {"weighted_clusters": {"clusters": [
            {"name": "round weights", "weight": 50}, {"name": "least weights", "weight": 50}]}}},
        {"match": {"prefix": "/x"}, "route": {"weighted_clusters": {"clusters": [
            {"name": "round", "weight": 80}, {"name": "least", "weight": 20}]}}},
    ]);
    bootstrap(
        &[
            http_listener("web", &manager(&routes)),
            tcp_listener("tcp", "round"),
        ],
        &[
            cluster("round", "ROUND_ROBIN", &addresses),
            cluster("least", "LEAST_REQUEST", &addresses),
            weighted("round weights", "ROUND_ROBIN", backends),
            weighted("least weights", "LEAST_REQUEST", backends),
            cluster("empty", "ROUND_ROBIN", &[]),
        ],
    )
}

async fn backends() -> Vec<Backend> {
    let mut backends = Vec::new();
    for name in ["one", "two", "three", "four"] {
        backends.push(Backend::echo(name).await);
    }
    backends
}

fn shadow(share: u64) -> Shadow {
    let cases = None;
    Shadow::start(Options { share, cases }).expect("there is a thread")
}

async fn send(client: &mut Wire, turn: usize) {
    let (start, more) = match turn % 8 {
        0 => ("GET /gone", ""),
        1 => ("GET /moved?a=b", ""),
        2 => ("GET /nowhere", ""),
        3 => ("GET /empty", ""),
        4 => ("GET /y", "X-V: 2\r\nCookie: a=b\r\n"),
        5 => ("POST /weights", "Transfer-Encoding: chunked\r\n"),
        6 => ("GET /weights", ""),
        _ => ("GET /x?q", "Accept: */*\r\n"),
    };
    let body = if turn % 8 == 5 {
        "1\r\na\r\n0\r\n\r\n"
    } else {
        ""
    };
    let request = format!("{start} HTTP/1.1\r\nHost: web\r\nX-Id: {turn}\r\n{more}\r\n{body}");
    client.send(request.as_bytes()).await;
    let reply = client.reply().await;
    let expected = [410, 301, 404, 503, 200, 200, 200, 200][turn % 8];
    assert_eq!(reply.head.status(), expected, "{turn}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spec_decides_live_requests_alike() {
    let backends = backends().await;
    for logged in [false, true] {
        let running = start_shadowed(snapshot(&config(&backends)), shadow(ALL), logged).await;
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let mut client = running.connect("web").await;
            tasks.push(tokio::spawn(async move {
                for turn in 0..120 {
                    send(&mut client, turn).await;
                }
            }));
        }
        let mut tcp = running.connect("tcp").await;
        assert_eq!(tcp.get("/", "0").await.head.status(), 200);
        for task in tasks {
            task.await.expect("the client's requests go well");
        }
        drop(tcp);
        running.idle().await;
        let mut seen = Seen::of(&running);
        until("all are looked at", || {
            seen = Seen::of(&running);
            seen.all() >= 481
        })
        .await;
        assert_eq!(
            (seen.compared, seen.differing),
            (481, 0),
            "{:?}",
            seen.skipped
        );
        assert_eq!(spliced(&running) > 0, kernel::takes_part());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_is_taken_and_the_rest_is_left_alone() {
    let backends = backends().await;
    let running = start_shadowed(snapshot(&config(&backends)), shadow(ALL / 4), false).await;
    let mut client = running.connect("web").await;
    for _ in 0..800 {
        send(&mut client, 7).await;
    }
    running.idle().await;
    let seen = Seen::of(&running);
    assert_eq!((seen.all(), seen.differing), (seen.compared, 0));
    // Eight standard deviations to either side.
    assert!((100..300).contains(&seen.compared), "{}", seen.compared);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_made_again_is_skipped() {
    let backends = backends().await;
    let mut config = config(&backends);
    config["static_resources"]["clusters"][1]["load_balancing_policy"] = json!({"policies": [
        {"typed_extension_config": {"name": "x", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.\
                cluster_provided.v3.ClusterProvided"}}}]});
    let running = start_shadowed(snapshot(&config), shadow(ALL), false).await;
    let mut client = running.connect("web").await;
    let request = "GET / HTTP/1.1\r\nHost: web\r\nX-V: 2\r\n\r\n";
    client.send(request.as_bytes()).await;
    assert_eq!(client.reply().await.head.status(), 503);
    until("it is looked at", || Seen::of(&running).all() == 1).await;
    assert_eq!(Seen::of(&running).skipped(Skipped::Unsupported), 1);
    let long = "l".repeat(2000);
    let mut sent = 1;
    let mut client = running.connect("web").await;
    for (header, why) in [
        (format!("X-Long: {long}").into_bytes(), Skipped::HeadCut),
        (b"X-Bytes: \xff".to_vec(), Skipped::HeadUnreadable),
    ] {
        // The kernel has only part of the head, or what is no text; the proxy has all of it as text.
        let before = spliced(&running);
        loop {
            let mut request = b"GET /weights HTTP/1.1\r\nHost: web\r\n".to_vec();
            request.extend_from_slice(&header);
            request.extend_from_slice(b"\r\n\r\n");
            client.send(&request).await;
            assert_eq!(client.reply().await.head.status(), 200);
            sent += 1;
            if !kernel::takes_part() || spliced(&running) > before + 4 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        until("all are looked at", || Seen::of(&running).all() == sent).await;
        let seen = Seen::of(&running);
        assert_eq!(seen.differing, 0);
        assert_eq!(seen.skipped(why), spliced(&running) - before);
    }
}
