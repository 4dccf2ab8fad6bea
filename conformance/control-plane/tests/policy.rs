//! The agent's client takes policy from the server: the well-behaved case, in both protocols.

mod common;

use std::time::Duration;

use common::*;
use rstest::rstest;
use twinmesh_ads::{Kind, Options, Source};
use twinmesh_control_plane::{Behaviour, Command, What};

#[rstest]
#[tokio::test]
async fn all_of_it_comes_in_order_and_each_response_is_acknowledged_once(
    #[values(false, true)] delta: bool,
) {
    let server = server().await;
    server.serve(served(&mesh(9001), "v1"));
    let mut agent = Agent::of(&server, delta);
    let policy = agent.policy(|_| true).await;
    assert_eq!(outline(&policy), outline_of_mesh(9001));
    assert_eq!(policy.source, Source::Server);
    assert_eq!(policy.versions[Kind::RouteConfiguration], "v1");
    assert_eq!(policy.resources.len(), 8);
    let events = all_answered(&server).await;
    assert!(
        events
            .iter()
            .all(|event| event.event == What::Open || event.client == "test")
    );
    let asked: Vec<&str> = events
        .iter()
        .filter(|event| event.event == What::Subscribe)
        .map(|event| event.r#type.as_str())
        .collect();
    assert_eq!(asked, ["CDS", "EDS", "LDS", "RDS"]);
    for kind in Kind::ALL {
        assert_eq!(count(&events, What::Ack, kind.service()), 1);
        assert_eq!(agent.status.acks(kind), 1);
        assert_eq!(agent.status.nacks(kind), 0);
    }
    assert!(agent.status.is_connected());
    assert_eq!(agent.status.updates(), 1);
    assert_eq!(agent.status.last_update(), Some(policy.received));
}

#[rstest]
#[tokio::test]
async fn changes_additions_and_removals(#[values(false, true)] delta: bool) {
    let server = server().await;
    server.serve(served(&mesh(9001), "v1"));
    let mut agent = Agent::of(&server, delta);
    agent
        .policy(|policy| outline(policy) == outline_of_mesh(9001))
        .await;
    server.serve(served(&mesh(9009), "v2"));
    agent
        .policy(|policy| outline(policy) == outline_of_mesh(9009))
        .await;
    // Other routes and endpoints, by the names of new listeners and clusters.
    server.serve(served(
        &[
            listener("l1", 8001, "r3"),
            routes("r3", "c3"),
            cluster("c3"),
            endpoints("c3", 9003),
        ],
        "v3",
    ));
    agent
        .policy_of(&["l1 -> r3", "r3 -> c3", "c3 -> 9003"])
        .await;
    server.serve(served(&[], "v4"));
    let policy = agent.policy_of(&[]).await;
    assert!(policy.resources.is_empty());
    server.serve(served(&mesh(9001), "v5"));
    agent
        .policy(|policy| outline(policy) == outline_of_mesh(9001))
        .await;
    all_answered(&server).await;
}

#[rstest]
#[tokio::test]
async fn nothing_new_is_no_new_policy(#[values(false, true)] delta: bool) {
    let server = server().await;
    server.serve(served(&mesh(9001), "v1"));
    let mut agent = Agent::of(&server, delta);
    agent.policy(|_| true).await;
    for kind in Kind::ALL {
        server.command(Command::Repeat(kind, 3));
    }
    wait(&server, "the answers", |events| {
        Kind::ALL
            .iter()
            .all(|kind| count(events, What::Ack, kind.service()) == 4)
    })
    .await;
    assert_eq!(agent.status.updates(), 1);
}

#[rstest]
#[tokio::test]
async fn a_part_on_its_way_is_awaited_for_the_first_policy(#[values(false, true)] delta: bool) {
    let server = server().await;
    server.serve(served(&mesh(9001), "v1"));
    server.behave(Behaviour {
        silent: [Kind::RouteConfiguration].into(),
        ..Behaviour::default()
    });
    let mut agent = Agent::of(&server, delta);
    wait(&server, "a request for routes", |events| {
        count(events, What::Subscribe, "RDS") == 1
    })
    .await;
    assert!(agent.now().is_none());
    server.behave(Behaviour::default());
    agent
        .policy(|policy| outline(policy) == outline_of_mesh(9001))
        .await;
}

#[rstest]
#[tokio::test]
async fn what_is_warming_keeps_its_version_before(#[values(false, true)] delta: bool) {
    let server = server().await;
    server.serve(served(&mesh(9001), "v1"));
    let mut agent = Agent::of(&server, delta);
    agent.policy(|_| true).await;
    server.behave(Behaviour {
        silent: [Kind::RouteConfiguration, Kind::LoadAssignment].into(),
        ..Behaviour::default()
    });
    let mut changed = mesh(9001);
    changed[0] = listener("l1", 8001, "r3");
    changed.extend([routes("r3", "c3"), cluster("c3"), endpoints("c3", 9003)]);
    server.serve(served(&changed, "v2"));
    let policy = agent.policy(|policy| policy.warming.len() == 2).await;
    assert_eq!(outline(&policy), outline_of_mesh(9001));
    let warming: Vec<&str> = policy.warming.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(warming, ["c3", "l1"]);
    server.behave(Behaviour::default());
    agent
        .policy_of(&[
            "l1 -> r3",
            "l2 -> r2",
            "r2 -> c2",
            "r3 -> c3",
            "c1 -> 9001",
            "c2 -> 9002",
            "c3 -> 9003",
        ])
        .await;
}

#[rstest]
#[tokio::test]
async fn what_never_comes_counts_as_absent_and_that_is_said(#[values(false, true)] delta: bool) {
    let server = server().await;
    server.serve(served(&mesh(9001), "v1"));
    server.behave(Behaviour {
        silent: [Kind::RouteConfiguration, Kind::LoadAssignment].into(),
        ..Behaviour::default()
    });
    let options = Options {
        resource_timeout: Duration::from_millis(50),
        ..options(delta)
    };
    let mut agent = Agent::start(bootstrap(&[server.address()]), options);
    let policy = agent.policy(|_| true).await;
    let absent: Vec<String> = policy
        .absent
        .iter()
        .map(|one| format!("{} {}", one.kind, one.name))
        .collect();
    assert_eq!(absent, ["EDS c1", "EDS c2", "RDS r1", "RDS r2"]);
    assert_eq!(
        outline(&policy),
        ["l1 -> nothing", "l2 -> nothing", "c1 -> ", "c2 -> "]
    );
    assert_eq!(agent.status.absent(), 4);
    server.behave(Behaviour::default());
    agent
        .policy(|policy| outline(policy) == outline_of_mesh(9001))
        .await;
}

#[tokio::test]
async fn a_route_configuration_that_is_removed_while_it_is_named_stays() {
    let server = server().await;
    server.serve(served(&mesh(9001), "v1"));
    let mut agent = Agent::of(&server, true);
    agent.policy(|_| true).await;
    let without: Vec<String> = mesh(9009)
        .into_iter()
        .filter(|resource| !resource.contains(r#""name": "r1""#))
        .collect();
    server.serve(served(&without, "v2"));
    wait(&server, "the removal", |events| {
        let mut removals = events.iter().filter(|event| event.removed == ["r1"]);
        removals.any(|event| event.event == What::Sent)
    })
    .await;
    all_answered(&server).await;
    agent
        .policy(|policy| outline(policy) == outline_of_mesh(9009))
        .await;
}
