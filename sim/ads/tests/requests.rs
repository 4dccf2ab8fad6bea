//! What requests say: versions, nonces, names, errors, on one stream and on the next.

mod common;

use std::time::Duration;

use common::*;
use envoy_types::pb::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
            Resource, ResourceError, ResourceName,
        },
    },
    google::{protobuf::Any, rpc::Status},
};
use prost::Message as _;
use twinmesh_ads::Kind;
use twinmesh_ads::state::{Machine, Note, Protocol, RESOURCE_TIMEOUT, Request, Response, Step};

const START: Duration = Duration::ZERO;

fn machine(protocol: Protocol) -> Machine {
    let node = Node {
        id: "me".to_owned(),
        ..Node::default()
    };
    Machine::new(protocol, node, RESOURCE_TIMEOUT)
}

fn sotw(kind: Kind, version: &str, nonce: &str, resources: Vec<Any>) -> Response {
    Response::StateOfTheWorld(DiscoveryResponse {
        version_info: version.to_owned(),
        resources,
        type_url: kind.type_url().to_owned(),
        nonce: nonce.to_owned(),
        ..DiscoveryResponse::default()
    })
}

fn delta(kind: Kind, nonce: &str, resources: &[(&str, &str, Any)], removed: &[&str]) -> Response {
    let resources = resources.iter().map(|(name, version, any)| Resource {
        name: (*name).to_owned(),
        version: (*version).to_owned(),
        resource: Some(any.clone()),
        ..Resource::default()
    });
    Response::Delta(DeltaDiscoveryResponse {
        system_version_info: format!("s{nonce}"),
        resources: resources.collect(),
        type_url: kind.type_url().to_owned(),
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        nonce: nonce.to_owned(),
        ..DeltaDiscoveryResponse::default()
    })
}

/// A request in words: type, version, nonce, names, and `!` for a NACK; `*` for one with the node.
fn words(step: &Step) -> Vec<String> {
    let service = |type_url: &str| Kind::of_type_url(type_url).expect("a type").service();
    let requests = step.requests.iter();
    requests
        .map(|request| match request {
            Request::StateOfTheWorld(DiscoveryRequest {
                version_info,
                node,
                resource_names,
                type_url,
                response_nonce,
                error_detail,
                ..
            }) => format!(
                "{}{}{} v={version_info} n={response_nonce} {}",
                if node.is_some() { "*" } else { "" },
                if error_detail.is_some() { "!" } else { "" },
                service(type_url),
                resource_names.join(",")
            ),
            Request::Delta(DeltaDiscoveryRequest {
                node,
                type_url,
                resource_names_subscribe,
                resource_names_unsubscribe,
                initial_resource_versions,
                response_nonce,
                error_detail,
                ..
            }) => {
                let mut initial: Vec<String> = initial_resource_versions
                    .iter()
                    .map(|(name, version)| format!("{name}={version}"))
                    .collect();
                initial.sort();
                format!(
                    "{}{}{} n={response_nonce} +{} -{} has {}",
                    if node.is_some() { "*" } else { "" },
                    if error_detail.is_some() { "!" } else { "" },
                    service(type_url),
                    resource_names_subscribe.join(","),
                    resource_names_unsubscribe.join(","),
                    initial.join(",")
                )
            }
        })
        .collect()
}

/// A machine that holds one of each.
fn filled_sotw() -> Machine {
    let mut machine = machine(Protocol::StateOfTheWorld);
    machine.connected("one", START);
    for response in [
        sotw(Kind::Cluster, "c1", "1", vec![cluster("c", "s")]),
        sotw(Kind::LoadAssignment, "e1", "2", vec![endpoints("s", 1, 0)]),
        sotw(Kind::Listener, "l1", "3", vec![listener("l", 1, "r")]),
        sotw(
            Kind::RouteConfiguration,
            "r1",
            "4",
            vec![routes("r", "c", &["*"])],
        ),
    ] {
        machine.received(response, START);
    }
    machine
}

fn filled_delta() -> Machine {
    let mut machine = machine(Protocol::Delta);
    machine.connected("one", START);
    for response in [
        delta(Kind::Cluster, "1", &[("c", "c1", cluster("c", "s"))], &[]),
        delta(
            Kind::LoadAssignment,
            "2",
            &[("s", "e1", endpoints("s", 1, 0))],
            &[],
        ),
        delta(
            Kind::Listener,
            "3",
            &[("l", "l1", listener("l", 1, "r"))],
            &[],
        ),
        delta(
            Kind::RouteConfiguration,
            "4",
            &[("r", "r1", routes("r", "c", &["*"]))],
            &[],
        ),
    ] {
        machine.received(response, START);
    }
    machine
}

#[test]
fn the_state_of_the_world_step_by_step() {
    let mut machine = machine(Protocol::StateOfTheWorld);
    assert_eq!(words(&machine.connected("one", START)), ["*CDS v= n= "]);
    let step = machine.received(
        sotw(Kind::Cluster, "c1", "1", vec![cluster("c", "s")]),
        START,
    );
    assert_eq!(words(&step), ["CDS v=c1 n=1 ", "EDS v= n= s"]);
    // Listeners come once the clusters are warm.
    let step = machine.received(
        sotw(Kind::LoadAssignment, "e1", "2", vec![endpoints("s", 1, 0)]),
        START,
    );
    assert_eq!(words(&step), ["EDS v=e1 n=2 s", "LDS v= n= "]);
    let step = machine.received(
        sotw(Kind::Listener, "l1", "3", vec![listener("l", 1, "r")]),
        START,
    );
    assert_eq!(words(&step), ["LDS v=l1 n=3 ", "RDS v= n= r"]);
    assert!(step.policy.is_none());
    let bad = sotw(
        Kind::RouteConfiguration,
        "bad",
        "4",
        vec![routes("r", "c", &[])],
    );
    let step = machine.received(bad, START);
    assert_eq!(words(&step), ["!RDS v= n=4 r"]);
    let good = sotw(
        Kind::RouteConfiguration,
        "r1",
        "5",
        vec![routes("r", "c", &["*"])],
    );
    let step = machine.received(good, START);
    assert_eq!(words(&step), ["RDS v=r1 n=5 r"]);
    let policy = step.policy.expect("a policy");
    assert_eq!(
        outline(&policy).into_iter().collect::<Vec<_>>(),
        ["c s 1", "l r c"]
    );
    // A refusal names the version that stays.
    let bad = sotw(
        Kind::RouteConfiguration,
        "bad",
        "6",
        vec![routes("r", "c", &[])],
    );
    let step = machine.received(bad, START);
    assert_eq!(words(&step), ["!RDS v=r1 n=6 r"]);
    let Some(Request::StateOfTheWorld(request)) = step.requests.first() else {
        panic!("{step:?}");
    };
    let error = request.error_detail.as_ref().expect("an error");
    assert_eq!(error.code, 3);
    assert_eq!(
        error.message,
        "RDS version \"bad\": RouteConfiguration[\"r\"].virtual_hosts[0].domains: Envoy refuses \
         this: at least 1 of domains are needed, there are 0"
    );
    // Nobody needs endpoints any more: that is said, not left out.
    let step = machine.received(sotw(Kind::Cluster, "c2", "7", vec![]), START);
    assert_eq!(words(&step), ["CDS v=c2 n=7 ", "EDS v=e1 n=2 "]);
}

#[test]
fn a_second_stream_says_what_is_held_and_one_to_another_server_does_not() {
    let mut machine = filled_sotw();
    machine.disconnected();
    assert_eq!(
        words(&machine.connected("one", START)),
        [
            "*CDS v=c1 n= ",
            "EDS v=e1 n= s",
            "LDS v=l1 n= ",
            "RDS v=r1 n= r"
        ]
    );
    assert_eq!(machine.deadline(), None);
    machine.disconnected();
    assert_eq!(
        words(&machine.connected("two", START)),
        ["*CDS v= n= ", "EDS v= n= s", "LDS v= n= ", "RDS v= n= r"]
    );
    let bad = sotw(Kind::Cluster, "x", "1", vec![cluster("", "s")]);
    assert_eq!(words(&machine.received(bad, START)), ["!CDS v= n=1 "]);
    let good = sotw(Kind::Cluster, "x", "2", vec![cluster("c", "s")]);
    assert_eq!(words(&machine.received(good, START)), ["CDS v=x n=2 "]);
}

#[test]
fn delta_step_by_step_and_over_streams() {
    let mut machine = filled_delta();
    let step = machine.received(
        delta(
            Kind::Cluster,
            "5",
            &[("d", "d1", cluster("d", "t"))],
            &["c"],
        ),
        START,
    );
    assert_eq!(words(&step), ["CDS n=5 + - has ", "EDS n= +t -s has "]);
    let named = delta(
        Kind::Cluster,
        "6",
        &[("other", "1", cluster("d", "t"))],
        &[],
    );
    let step = machine.received(named, START);
    assert_eq!(words(&step), ["!CDS n=6 + - has "]);
    machine.disconnected();
    assert_eq!(
        words(&machine.connected("one", START)),
        [
            "*CDS n= + - has d=d1",
            "EDS n= +t - has ",
            "LDS n= + - has l=l1",
            "RDS n= +r - has r=r1"
        ]
    );
    machine.disconnected();
    // By the names, another server tells what it does not have; its versions are its own.
    assert_eq!(
        words(&machine.connected("two", START))[0],
        "*CDS n= + - has d="
    );
}

#[test]
fn what_a_server_removed_is_kept_while_it_is_named_and_asked_for_anew() {
    let mut machine = filled_delta();
    let step = machine.received(delta(Kind::RouteConfiguration, "5", &[], &["r"]), START);
    assert!(step.notes.contains(&Note::KeptRemoved {
        kind: Kind::RouteConfiguration,
        name: "r".to_owned()
    }));
    let policy = step.policy.expect("a new version");
    assert!(outline(&policy).contains("l r c"));
    machine.disconnected();
    assert_eq!(
        words(&machine.connected("one", START))[3],
        "RDS n= +r - has "
    );
}

#[test]
fn a_name_that_is_both_removed_and_sent_is_there() {
    let mut machine = filled_delta();
    let step = machine.received(
        delta(
            Kind::RouteConfiguration,
            "5",
            &[("r", "r2", routes("r", "d", &["*"]))],
            &["r"],
        ),
        START,
    );
    assert!(outline(&step.policy.expect("a policy")).contains("l r d"));
    machine.disconnected();
    assert_eq!(
        words(&machine.connected("one", START))[3],
        "RDS n= +r - has r=r2"
    );
}

#[test]
fn time_runs_from_the_request_and_only_on_a_stream() {
    let mut machine = machine(Protocol::StateOfTheWorld);
    let at = Duration::from_secs;
    machine.connected("one", at(100));
    assert_eq!(machine.deadline(), Some(at(115)));
    let step = machine.elapsed(at(115));
    assert_eq!(
        step.notes,
        [Note::Unanswered {
            kind: Kind::Cluster
        }]
    );
    // Listeners do not wait for clusters for ever.
    assert_eq!(words(&step), ["LDS v= n= "]);
    assert!(step.policy.is_none());
    machine.received(
        sotw(Kind::Cluster, "1", "1", vec![cluster("c", "s")]),
        at(120),
    );
    machine.received(sotw(Kind::Listener, "1", "2", vec![]), at(120));
    assert_eq!(machine.deadline(), Some(at(135)));
    machine.disconnected();
    assert_eq!(machine.deadline(), None);
    machine.connected("one", at(200));
    assert_eq!(machine.deadline(), Some(at(215)));
    let step = machine.elapsed(at(215));
    let policy = step.policy.expect("a policy without endpoints");
    assert_eq!(outline(&policy).into_iter().collect::<Vec<_>>(), ["c s -"]);
    assert_eq!(policy.absent.len(), 1);
}

#[test]
fn what_the_server_says_is_not_there_is_not_awaited() {
    let mut machine = filled_sotw();
    machine.received(
        sotw(Kind::Listener, "l2", "5", vec![listener("l", 1, "q")]),
        START,
    );
    let step = machine.received(
        Response::StateOfTheWorld(DiscoveryResponse {
            version_info: "r2".to_owned(),
            type_url: Kind::RouteConfiguration.type_url().to_owned(),
            nonce: "6".to_owned(),
            resource_errors: vec![ResourceError {
                resource_name: Some(ResourceName {
                    name: "q".to_owned(),
                    ..ResourceName::default()
                }),
                error_detail: Some(Status {
                    message: "no such thing".to_owned(),
                    ..Status::default()
                }),
            }],
            ..DiscoveryResponse::default()
        }),
        START,
    );
    assert!(outline(&step.policy.expect("a policy")).contains("l q -"));
}

#[test]
fn wrapped_resources_and_heartbeats() {
    let mut machine = filled_sotw();
    let wrapped = |resource: Option<Any>| Any {
        type_url: "type.googleapis.com/envoy.service.discovery.v3.Resource".to_owned(),
        value: Resource {
            name: "c".to_owned(),
            resource,
            ..Resource::default()
        }
        .encode_to_vec(),
    };
    // A heartbeat keeps what is held; the response's other resources are the rest of the world.
    let heartbeat = sotw(
        Kind::Cluster,
        "c2",
        "5",
        vec![wrapped(None), cluster("d", "s")],
    );
    let step = machine.received(heartbeat, START);
    let lines = outline(&step.policy.expect("a policy"));
    assert!(
        lines.contains("c s 1") && lines.contains("d s 1"),
        "{lines:?}"
    );
    let changed = sotw(
        Kind::Cluster,
        "c3",
        "6",
        vec![wrapped(Some(cluster("c", "t")))],
    );
    let step = machine.received(changed, START);
    assert_eq!(words(&step)[0], "CDS v=c3 n=6 ");
    let lines = outline(&step.policy.expect("a policy"));
    assert_eq!(lines.into_iter().collect::<Vec<_>>(), ["c s 1", "l r c"]);
}

#[test]
fn what_is_ready_and_cannot_be_in_force_with_the_older_rest_waits() {
    let mut machine = filled_sotw();
    // One listener leaves its address, but waits for routes; another takes the address.
    let listeners = vec![listener("l", 2, "q"), listener("m", 1, "r")];
    let step = machine.received(sotw(Kind::Listener, "l2", "5", listeners), START);
    assert_eq!(words(&step), ["LDS v=l2 n=5 ", "RDS v=r1 n=4 q,r"]);
    assert!(step.policy.is_none());
    assert!(
        step.notes
            .iter()
            .any(|note| matches!(note, Note::Inconsistent { .. })),
        "{:?}",
        step.notes
    );
    let routes = vec![routes("q", "c", &["*"])];
    let step = machine.received(sotw(Kind::RouteConfiguration, "r2", "6", routes), START);
    let lines = outline(&step.policy.expect("a policy"));
    assert_eq!(
        lines.into_iter().collect::<Vec<_>>(),
        ["c s 1", "l q c", "m r c"]
    );
}

#[test]
fn endpoints_of_a_cluster_in_force_are_validated_while_its_newest_version_warms() {
    let mut machine = filled_sotw();
    machine.received(
        sotw(Kind::Cluster, "c2", "5", vec![cluster("c", "t")]),
        START,
    );
    let bad = sotw(
        Kind::LoadAssignment,
        "bad",
        "6",
        vec![endpoints("s", 1, 129)],
    );
    assert_eq!(words(&machine.received(bad, START)), ["!EDS v=e1 n=6 s,t"]);
}

#[test]
fn a_response_after_its_stream_is_left_aside() {
    let mut machine = filled_sotw();
    machine.disconnected();
    let step = machine.received(sotw(Kind::Cluster, "c2", "5", vec![]), START);
    assert!(step.requests.is_empty() && step.policy.is_none());
    assert!(matches!(step.notes.as_slice(), [Note::Ignored { .. }]));
}
