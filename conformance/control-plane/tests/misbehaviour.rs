//! The server misbehaves on purpose: the last good policy stays, what is bad is refused with its
//! field, and afterwards all goes on.

mod common;

use std::time::Duration;

use common::*;
use rstest::rstest;
use twinmesh_ads::Kind;
use twinmesh_control_plane::{Behaviour, Command, ControlPlane, Nonce, Poison, What};

/// A server and an agent that has its first policy.
async fn pair(delta: bool) -> (ControlPlane, Agent) {
    let server = server().await;
    server.serve(served(&mesh(9001), "v1"));
    let mut agent = Agent::of(&server, delta);
    let policy = agent.policy(|_| true).await;
    assert_eq!(outline(&policy), outline_of_mesh(9001));
    (server, agent)
}

/// All is well again, and a change comes through.
async fn goes_on(server: &ControlPlane, agent: &mut Agent) {
    server.behave(Behaviour::default());
    server.serve(served(&mesh(9999), "well again"));
    agent
        .policy(|policy| outline(policy) == outline_of_mesh(9999) && policy.warming.is_empty())
        .await;
}

#[rstest]
#[case(Poison::Garbage, "not a valid")]
#[case(Poison::Constraint, "Envoy refuses this")]
#[case(Poison::OtherType, "found \"envoy.config.core.v3.Node\"")]
#[case(Poison::Twice, "of different names")]
#[case(Poison::Nameless, "expected a name")]
#[tokio::test]
async fn a_bad_resource_of_any_type_is_refused_with_its_place(
    #[case] poison: Poison,
    #[case] expected: &str,
    #[values(false, true)] delta: bool,
    #[values(
        Kind::Cluster,
        Kind::LoadAssignment,
        Kind::Listener,
        Kind::RouteConfiguration
    )]
    kind: Kind,
) {
    let (server, mut agent) = pair(delta).await;
    let before = agent.now().expect("a policy");
    server.behave(Behaviour {
        poison: [(kind, poison)].into(),
        ..Behaviour::default()
    });
    let events = wait(&server, "a NACK", |events| {
        count(events, What::Nack, kind.service()) == 1
    })
    .await;
    let nack = events.iter().find(|event| event.event == What::Nack);
    let error = &nack.expect("a NACK").error;
    assert!(error.contains(expected), "{error}");
    let place = match poison {
        Poison::Constraint => match kind {
            Kind::Cluster => "Cluster[\"c1\"].lb_policy",
            Kind::LoadAssignment => "ClusterLoadAssignment[\"c1\"].endpoints[0].priority",
            Kind::Listener => "Listener[\"l1\"]",
            Kind::RouteConfiguration => "RouteConfiguration[\"r1\"].virtual_hosts[0].name",
        },
        _ => "DiscoveryResponse.resources",
    };
    assert!(error.contains(place), "{error}");
    assert_eq!(agent.status.nacks(kind), 1);
    assert_eq!(agent.status.last_nack().as_ref(), Some(error));
    let after = agent.now().expect("a policy");
    assert_eq!(after.resources, before.resources);
    goes_on(&server, &mut agent).await;
}

#[rstest]
#[tokio::test]
async fn responses_without_a_nonce_are_left_aside(#[values(false, true)] delta: bool) {
    let (server, mut agent) = pair(delta).await;
    server.behave(Behaviour {
        nonce: Nonce::Empty,
        ..Behaviour::default()
    });
    server.serve(served(&mesh(9002), "v2"));
    let events = wait(&server, "a response without nonce", |events| {
        events
            .iter()
            .any(|event| event.event == What::Sent && event.nonce.is_empty())
    })
    .await;
    assert_eq!(
        events
            .iter()
            .filter(|event| event.event == What::Nack)
            .count(),
        0
    );
    assert_eq!(
        outline(&agent.now().expect("a policy")),
        outline_of_mesh(9001)
    );
    // State of the world: what the server sent last has no nonce, so it takes no answers until
    // the client comes anew.
    server.behave(Behaviour::default());
    server.command(Command::Close);
    goes_on(&server, &mut agent).await;
    assert!(agent.status.ignored() > 0);
}

#[rstest]
#[case::one_nonce_for_all(Behaviour { nonce: Nonce::Repeated, ..Behaviour::default() })]
#[case::routes_first(Behaviour { reverse: true, ..Behaviour::default() })]
#[case::everything_twice(Behaviour { duplicate: true, ..Behaviour::default() })]
#[case::late_clusters(Behaviour {
    delay: [(Kind::Cluster, Duration::from_millis(30)), (Kind::Listener, Duration::from_millis(10))].into(),
    ..Behaviour::default()
})]
#[tokio::test]
async fn what_is_only_odd_is_taken(
    #[case] behaviour: Behaviour,
    #[values(false, true)] delta: bool,
) {
    let server = server().await;
    server.behave(behaviour);
    server.serve(served(&mesh(9001), "v1"));
    let mut agent = Agent::of(&server, delta);
    agent
        .policy(|policy| outline(policy) == outline_of_mesh(9001))
        .await;
    let mut other = mesh(9002);
    other[0] = listener("l1", 8001, "r3");
    other.extend([routes("r3", "c3"), cluster("c3"), endpoints("c3", 9003)]);
    server.serve(served(&other, "v2"));
    agent
        .policy_of(&[
            "l1 -> r3",
            "l2 -> r2",
            "r2 -> c2",
            "r3 -> c3",
            "c1 -> 9002",
            "c2 -> 9002",
            "c3 -> 9003",
        ])
        .await;
    goes_on(&server, &mut agent).await;
    all_answered(&server).await;
}

#[rstest]
#[tokio::test]
async fn what_nobody_asked_for_is_left_aside(
    #[values(false, true)] delta: bool,
    #[values(Kind::LoadAssignment, Kind::RouteConfiguration)] early: Kind,
) {
    let server = server().await;
    server.behave(Behaviour {
        early: Some(early),
        ..Behaviour::default()
    });
    server.serve(served(&mesh(9001), "v1"));
    let mut agent = Agent::of(&server, delta);
    agent
        .policy(|policy| outline(policy) == outline_of_mesh(9001))
        .await;
    assert_eq!(agent.status.ignored(), 1);
    let secret = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
    server.command(Command::Unsolicited(secret.to_owned()));
    goes_on(&server, &mut agent).await;
    while agent.status.ignored() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(agent.status.ignored(), 2);
    let events = server.events();
    assert_eq!(
        events
            .iter()
            .filter(|event| event.event == What::Nack)
            .count(),
        0
    );
}

#[rstest]
#[tokio::test]
async fn streams_that_break_off_after_two_responses(#[values(false, true)] delta: bool) {
    let server = server().await;
    server.behave(Behaviour {
        close_after: Some(2),
        ..Behaviour::default()
    });
    server.serve(served(&mesh(9001), "v1"));
    // What one stream brings is not asked for again on the next: a few streams bring it all.
    let mut agent = Agent::of(&server, delta);
    agent
        .policy(|policy| outline(policy) == outline_of_mesh(9001))
        .await;
    assert!(agent.status.reconnects() >= 1);
    goes_on(&server, &mut agent).await;
}

#[rstest]
#[tokio::test]
async fn news_without_end(#[values(false, true)] delta: bool) {
    let (server, mut agent) = pair(delta).await;
    for index in 0..1000 {
        let mut next = (*server.served()).clone();
        next.touch(&format!("flood-{index}"));
        server.serve(next);
        tokio::task::yield_now().await;
    }
    agent
        .policy(|policy| {
            policy
                .versions
                .iter()
                .all(|(_, version)| version == "flood-999")
        })
        .await;
    goes_on(&server, &mut agent).await;
    all_answered(&server).await;
}

#[rstest]
#[tokio::test]
async fn a_type_that_is_never_answered_holds_no_other_up(#[values(false, true)] delta: bool) {
    let (server, mut agent) = pair(delta).await;
    server.behave(Behaviour {
        silent: [Kind::Cluster].into(),
        ..Behaviour::default()
    });
    let mut other = mesh(9001);
    other[2] = routes("r1", "c2");
    server.serve(served(&other, "v2"));
    let policy = agent
        .policy(|policy| policy.versions[Kind::RouteConfiguration] == "v2")
        .await;
    assert_eq!(outline(&policy)[2], "r1 -> c2");
    assert_eq!(policy.versions[Kind::Cluster], "v1");
    goes_on(&server, &mut agent).await;
}
