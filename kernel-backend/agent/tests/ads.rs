//! Policy over ADS: the agent takes it from a control plane, follows it, and keeps what it has when
//! a change is refused.

mod common;

use common::{Backend, bootstrap, cluster, http_listener, manager, snapshot, soon};
use serde_json::{Value, json};
use twinmesh_agent::policy::ads::{AdsOptions, start};
use twinmesh_control_plane::{ControlPlane, Served, What};

/// All requests to one of the clusters, which are both there.
fn policy(chosen: &str, one: &Backend, two: &Backend) -> Value {
    let routes = json!([{"match": {"prefix": "/"}, "route": {"cluster": chosen}}]);
    bootstrap(
        &[http_listener("web", &manager(&routes))],
        &[
            cluster("one", "ROUND_ROBIN", &[one.address]),
            cluster("two", "ROUND_ROBIN", &[two.address]),
        ],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policy_comes_from_a_control_plane_and_changes_with_it() {
    for delta in [false, true] {
        let (one, two) = (Backend::echo("one").await, Backend::echo("two").await);
        let server = ControlPlane::start(([127, 0, 0, 1], 0).into(), None).await;
        let server = server.expect("a port");
        let serve = |chosen: &str, version: &str| {
            let snapshot = snapshot(&policy(chosen, &one, &two));
            server.serve(Served::of(&snapshot, Some(version)));
        };
        serve("one", "1");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("bootstrap.json");
        let text = json!({
            "xds_servers": [{"server_uri": server.address().to_string(), "channel_creds": [{"type": "insecure"}]}],
            "node": {"id": "agent"},
        });
        std::fs::write(&file, text.to_string()).expect("the folder takes it");
        let last_good = folder.path().join("last-good.json");
        let options = AdsOptions {
            bootstrap: Some(file),
            delta,
            last_good: Some(last_good.clone()),
        };
        let mut ads = start(&options).expect("the bootstrap file is right");
        soon("a policy", ads.source.wait_for(Option::is_some))
            .await
            .expect("the client runs");
        let running = common::start_from(ads.source).await;
        let mut client = running.connect("web").await;
        let reply = client.get("/", "1").await;
        assert_eq!(reply.head.header("x-backend"), Some("one"));

        let generation = running.generation();
        serve("two", "2");
        // The change comes in several responses, each of which may be a policy.
        soon("the change", async {
            while client.get("/", "2").await.head.header("x-backend") != Some("two") {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        assert!(running.generation() > generation);
        common::until("the last good policy", || last_good.is_file()).await;

        // A change that Envoy would refuse is answered by a NACK, and changes nothing. Each type of
        // resource is taken or refused for itself, so what changes is in the clusters alone: they
        // would have the other's endpoint.
        let mut worse = (*snapshot(&policy("two", &two, &one))).clone();
        for cluster in &mut worse.clusters {
            if let Some(timeout) = &mut cluster.config.connect_timeout {
                timeout.seconds = -5;
            }
        }
        server.serve(Served::of(&worse, Some("3")));
        soon(
            "a NACK",
            server.wait(|events| events.iter().any(|event| event.event == What::Nack)),
        )
        .await;
        let reply = client.get("/", "3").await;
        assert_eq!(reply.head.header("x-backend"), Some("two"));
        running.idle().await;
    }
}
