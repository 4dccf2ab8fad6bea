//! Random responses, streams and waits: after each, the policy and the subscriptions are those of
//! a plain model, and each response is answered once.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::*;
use envoy_types::pb::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
            Resource as Wrapper,
        },
    },
    google::{protobuf::Any, rpc::Status},
};
use proptest::prelude::*;
use twinmesh_ads::Kind;
use twinmesh_ads::state::{Machine, Protocol, Request, Response, Step};

const TIMEOUT: u64 = 15;

/// A resource: the number of its name, and its one property: whom it names, or a port.
type Content = BTreeMap<u8, u8>;

#[derive(Debug, Clone)]
enum Event {
    /// A response: what it holds, what it removes (delta), whose content Envoy refuses, and
    /// whether bytes that are no message are among it.
    Response {
        kind: Kind,
        put: Content,
        removed: BTreeSet<u8>,
        bad: Option<u8>,
        garbage: bool,
    },
    /// The stream ends, and one to this server begins.
    Connect(u8),
    /// So many seconds pass.
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let kind = prop::sample::select(Kind::ALL.to_vec());
    let put = prop::collection::btree_map(0_u8..3, 0_u8..3, 0..4);
    let removed = prop::collection::btree_set(0_u8..3, 0..2);
    let bad = prop::option::weighted(0.15, 0_u8..3);
    let garbage = prop::bool::weighted(0.1);
    let response =
        (kind, put, removed, bad, garbage).prop_map(|(kind, put, removed, bad, garbage)| {
            Event::Response {
                kind,
                put,
                removed,
                bad,
                garbage,
            }
        });
    prop_oneof![
        12 => response,
        1 => (0_u8..2).prop_map(Event::Connect),
        2 => (1_u64..10).prop_map(Event::Wait),
    ]
}

fn name(kind: Kind, number: u8) -> String {
    let letter = match kind {
        Kind::Cluster => 'c',
        Kind::LoadAssignment => 's',
        Kind::Listener => 'l',
        Kind::RouteConfiguration => 'r',
    };
    format!("{letter}{number}")
}

fn resource(kind: Kind, number: u8, value: u8, bad: bool) -> Any {
    let own = name(kind, number);
    match kind {
        // A type of balancer that does not exist, and a filter chain that nothing ends, are not
        // what Envoy refuses alike in both protocols: a name that is too little is.
        Kind::Cluster if bad => cluster("", &name(child(kind), value)),
        Kind::Listener if bad => listener("", u32::from(number) + 1, &name(child(kind), value)),
        Kind::Cluster => cluster(&own, &name(child(kind), value)),
        Kind::Listener => listener(&own, u32::from(number) + 1, &name(child(kind), value)),
        Kind::LoadAssignment => endpoints(&own, u32::from(value) + 1, if bad { 129 } else { 0 }),
        Kind::RouteConfiguration => {
            let target = name(Kind::Cluster, value);
            routes(&own, &target, if bad { &[] } else { &["*"] })
        }
    }
}

/// What is subscribed to, accepted and in force, by the rules alone.
#[derive(Debug, Default)]
struct Model {
    delta: bool,
    accepted: BTreeMap<Kind, Content>,
    answered: BTreeSet<Kind>,
    asked: BTreeSet<Kind>,
    active: BTreeMap<Kind, Content>,
    absent: BTreeSet<(Kind, u8)>,
    deadlines: BTreeMap<(Kind, Option<u8>), u64>,
    overdue: BTreeSet<Kind>,
    listeners_due: bool,
    policy: Option<BTreeSet<String>>,
}

impl Model {
    fn of(&self, kind: Kind) -> Content {
        self.accepted.get(&kind).cloned().unwrap_or_default()
    }

    fn wanted(&self, kind: Kind) -> BTreeSet<u8> {
        let parent = match kind {
            Kind::LoadAssignment => Kind::Cluster,
            Kind::RouteConfiguration => Kind::Listener,
            _ => return BTreeSet::new(),
        };
        let active = self.active.get(&parent).cloned().unwrap_or_default();
        self.of(parent)
            .into_values()
            .chain(active.into_values())
            .collect()
    }

    /// Whether a response is to be accepted (`Some(true)`), refused, or left unanswered.
    fn receive(&mut self, event: &Event) -> Option<bool> {
        let Event::Response {
            kind,
            put,
            removed,
            bad,
            garbage,
        } = event
        else {
            panic!("{event:?}");
        };
        if !self.asked.contains(kind) {
            return None;
        }
        let wanted = self.wanted(*kind);
        let wildcard = kind.is_wildcard();
        let counts = |number: &u8| wildcard || wanted.contains(number);
        self.deadlines.remove(&(*kind, None));
        if *garbage || bad.is_some_and(|bad| put.contains_key(&bad) && counts(&bad)) {
            return Some(false);
        }
        let mut held = self.of(*kind);
        if self.delta {
            for number in removed {
                if wildcard {
                    held.remove(number);
                } else if wanted.contains(number) && !held.contains_key(number) {
                    self.absent.insert((*kind, *number));
                }
            }
        } else if wildcard {
            held.clear();
        }
        for (number, value) in put.iter().filter(|(number, _)| counts(number)) {
            held.insert(*number, *value);
            self.absent.remove(&(*kind, *number));
        }
        self.accepted.insert(*kind, held);
        self.answered.insert(*kind);
        Some(true)
    }

    fn is_there(&self, kind: Kind, number: u8) -> bool {
        self.of(kind).contains_key(&number) || self.absent.contains(&(kind, number))
    }

    fn settle(&mut self, now: u64) {
        let mut warming = false;
        for kind in [Kind::Cluster, Kind::Listener] {
            let mut active = self.active.get(&kind).cloned().unwrap_or_default();
            let accepted = self.of(kind);
            active.retain(|number, _| accepted.contains_key(number));
            for (number, value) in accepted {
                if self.is_there(child(kind), value) {
                    active.insert(number, value);
                } else {
                    warming = true;
                }
            }
            self.active.insert(kind, active);
        }
        for kind in [Kind::LoadAssignment, Kind::RouteConfiguration] {
            let wanted = self.wanted(kind);
            let mut held = self.of(kind);
            held.retain(|number, _| wanted.contains(number));
            self.accepted.insert(kind, held);
            self.absent
                .retain(|(other, number)| *other != kind || wanted.contains(number));
        }
        let complete = [Kind::Cluster, Kind::Listener]
            .iter()
            .all(|kind| self.answered.contains(kind));
        if complete && (self.policy.is_some() || !warming) {
            self.policy = Some(self.outline());
        }
        let warm = self
            .of(Kind::Cluster)
            .into_values()
            .all(|service| self.is_there(Kind::LoadAssignment, service));
        self.listeners_due |= self.answered.contains(&Kind::Cluster) && warm;
        self.ask(now);
    }

    fn ask(&mut self, now: u64) {
        for kind in Kind::ALL {
            if kind.is_wildcard() {
                if kind == Kind::Cluster || self.listeners_due {
                    self.asked.insert(kind);
                    if !self.answered.contains(&kind) && !self.overdue.contains(&kind) {
                        self.deadlines.entry((kind, None)).or_insert(now + TIMEOUT);
                    }
                }
                continue;
            }
            let wanted = self.wanted(kind);
            if !wanted.is_empty() {
                self.asked.insert(kind);
            }
            for number in 0..3 {
                if wanted.contains(&number) && !self.is_there(kind, number) {
                    self.deadlines
                        .entry((kind, Some(number)))
                        .or_insert(now + TIMEOUT);
                } else {
                    self.deadlines.remove(&(kind, Some(number)));
                }
            }
        }
    }

    fn elapse(&mut self, now: u64) {
        let due: Vec<(Kind, Option<u8>)> = self
            .deadlines
            .iter()
            .filter(|(_, deadline)| **deadline <= now)
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            self.deadlines.remove(&key);
            match key {
                (kind, Some(number)) => {
                    self.absent.insert((kind, number));
                }
                (kind, None) => {
                    self.overdue.insert(kind);
                    self.listeners_due = true;
                }
            }
        }
    }

    fn outline(&self) -> BTreeSet<String> {
        let mut lines = BTreeSet::new();
        for (kind, active) in &self.active {
            let child = child(*kind);
            for (number, value) in active {
                let end = match (self.of(child).get(value), child) {
                    (None, _) => "-".to_owned(),
                    (Some(port), Kind::LoadAssignment) => (port + 1).to_string(),
                    (Some(target), _) => name(Kind::Cluster, *target),
                };
                lines.insert(format!(
                    "{} {} {end}",
                    name(*kind, *number),
                    name(child, *value)
                ));
            }
        }
        lines
    }
}

/// What a server has been asked for on a stream.
#[derive(Debug, Default)]
struct Asked {
    node: bool,
    names: BTreeMap<Kind, BTreeSet<String>>,
    answers: Vec<(Kind, String, Option<Status>)>,
}

impl Asked {
    fn take(&mut self, request: &Request) {
        match request {
            Request::StateOfTheWorld(request) => {
                let DiscoveryRequest {
                    type_url,
                    response_nonce,
                    error_detail,
                    resource_names,
                    node,
                    ..
                } = request;
                let kind = self.first(type_url, node);
                self.answer(kind, response_nonce, error_detail);
                self.names
                    .insert(kind, resource_names.iter().cloned().collect());
            }
            Request::Delta(request) => {
                let DeltaDiscoveryRequest {
                    type_url,
                    response_nonce,
                    error_detail,
                    node,
                    ..
                } = request;
                let kind = self.first(type_url, node);
                if !response_nonce.is_empty() {
                    self.answer(kind, response_nonce, error_detail);
                }
                let names = self.names.entry(kind).or_default();
                for name in &request.resource_names_subscribe {
                    assert!(names.insert(name.clone()), "{name} is asked for twice");
                }
                for name in &request.resource_names_unsubscribe {
                    assert!(names.remove(name), "{name} was not asked for");
                }
            }
        }
    }

    fn first(&mut self, type_url: &str, node: &Option<Node>) -> Kind {
        assert_eq!(
            node.is_some(),
            !self.node,
            "the node is in the first request alone"
        );
        self.node = true;
        Kind::of_type_url(type_url).expect("a known type")
    }

    fn answer(&mut self, kind: Kind, nonce: &str, error: &Option<Status>) {
        if nonce.is_empty() {
            return;
        }
        let answer = (kind, nonce.to_owned(), error.clone());
        // A later request of the same nonce changes the subscription; it is no second answer.
        if let Some(known) = self.answers.iter().find(|(_, other, _)| other == nonce) {
            assert_eq!(known.0, kind);
            assert!(error.is_none(), "{nonce} is answered twice");
            return;
        }
        self.answers.push(answer);
    }
}

struct Run {
    protocol: Protocol,
    machine: Machine,
    model: Model,
    asked: Asked,
    policy: Option<BTreeSet<String>>,
    now: u64,
    nonce: u32,
}

impl Run {
    fn new(protocol: Protocol) -> Run {
        let timeout = Duration::from_secs(TIMEOUT);
        let mut run = Run {
            protocol,
            machine: Machine::new(protocol, Node::default(), timeout),
            model: Model {
                delta: protocol == Protocol::Delta,
                ..Model::default()
            },
            asked: Asked::default(),
            policy: None,
            now: 0,
            nonce: 0,
        };
        run.connect(0);
        run
    }

    fn time(&self) -> Duration {
        Duration::from_secs(self.now)
    }

    fn connect(&mut self, server: u8) {
        self.machine.disconnected();
        assert_eq!(self.machine.deadline(), None);
        self.asked = Asked::default();
        self.model.asked.clear();
        self.model.deadlines.clear();
        self.model.overdue.clear();
        let step = self.machine.connected(&server.to_string(), self.time());
        self.model.settle(self.now);
        self.check(step);
    }

    fn step(&mut self, event: &Event) {
        match event {
            Event::Connect(server) => self.connect(*server),
            Event::Wait(seconds) => {
                self.now += seconds;
                let step = self.machine.elapsed(self.time());
                self.model.elapse(self.now);
                self.model.settle(self.now);
                self.check(step);
            }
            Event::Response { kind, .. } => {
                self.nonce += 1;
                let nonce = self.nonce.to_string();
                let before = self.asked.answers.len();
                let step = self
                    .machine
                    .received(self.response(event, &nonce), self.time());
                let expected = self.model.receive(event);
                if expected.is_some() {
                    self.model.settle(self.now);
                }
                self.check(step);
                let answers = self.asked.answers.get(before..).expect("answers");
                match expected {
                    None => assert!(answers.is_empty(), "{answers:?}"),
                    Some(accepted) => {
                        let [(answered, found, error)] = answers else {
                            panic!("{answers:?}");
                        };
                        assert_eq!((answered, found), (kind, &nonce));
                        assert_eq!(error.is_none(), accepted, "{error:?}");
                        if let Some(error) = error {
                            assert!(!error.message.is_empty());
                        }
                    }
                }
            }
        }
    }

    fn response(&self, event: &Event, nonce: &str) -> Response {
        let Event::Response {
            kind,
            put,
            removed,
            bad,
            garbage,
        } = event
        else {
            panic!("{event:?}");
        };
        let type_url = kind.type_url().to_owned();
        let mut resources: Vec<(String, Any)> = put
            .iter()
            .map(|(number, value)| {
                let resource = resource(*kind, *number, *value, *bad == Some(*number));
                (name(*kind, *number), resource)
            })
            .collect();
        if *garbage {
            let value = vec![0xff; 3];
            let any = Any {
                type_url: type_url.clone(),
                value,
            };
            resources.push(("garbage".to_owned(), any));
        }
        match self.protocol {
            Protocol::StateOfTheWorld => Response::StateOfTheWorld(DiscoveryResponse {
                version_info: format!("v{nonce}"),
                resources: resources.into_iter().map(|(_, any)| any).collect(),
                type_url,
                nonce: nonce.to_owned(),
                ..DiscoveryResponse::default()
            }),
            Protocol::Delta => Response::Delta(DeltaDiscoveryResponse {
                system_version_info: format!("v{nonce}"),
                resources: resources
                    .into_iter()
                    .map(|(name, any)| Wrapper {
                        name,
                        version: nonce.to_owned(),
                        resource: Some(any),
                        ..Wrapper::default()
                    })
                    .collect(),
                removed_resources: removed.iter().map(|number| name(*kind, *number)).collect(),
                type_url,
                nonce: nonce.to_owned(),
                ..DeltaDiscoveryResponse::default()
            }),
        }
    }

    fn check(&mut self, step: Step) {
        for request in &step.requests {
            self.asked.take(request);
        }
        if let Some(set) = step.policy {
            self.policy = Some(outline(&set));
        }
        assert_eq!(self.policy, self.model.policy);
        let asked: BTreeSet<Kind> = self.asked.names.keys().copied().collect();
        assert_eq!(asked, self.model.asked);
        for kind in [Kind::LoadAssignment, Kind::RouteConfiguration] {
            let wanted = self.model.wanted(kind);
            let wanted: BTreeSet<String> =
                wanted.iter().map(|number| name(kind, *number)).collect();
            let names = self.asked.names.get(&kind).cloned().unwrap_or_default();
            assert_eq!(names, wanted);
        }
        let deadline = self.model.deadlines.values().min().copied();
        assert_eq!(self.machine.deadline(), deadline.map(Duration::from_secs));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn state_of_the_world_is_as_the_model(events in prop::collection::vec(event(), 1..60)) {
        let mut run = Run::new(Protocol::StateOfTheWorld);
        for event in &events {
            run.step(event);
        }
    }

    #[test]
    fn delta_is_as_the_model(events in prop::collection::vec(event(), 1..60)) {
        let mut run = Run::new(Protocol::Delta);
        for event in &events {
            run.step(event);
        }
    }

    /// Responses made of any bytes are refused or taken, and answered once.
    #[test]
    fn arbitrary_bytes(
        resources in prop::collection::vec(
            (prop::sample::select(Kind::ALL.to_vec()), prop::collection::vec(any::<u8>(), 0..40)), 0..4),
        kind in prop::sample::select(Kind::ALL.to_vec()),
    ) {
        let mut run = Run::new(Protocol::StateOfTheWorld);
        let response = DiscoveryResponse {
            resources: resources
                .into_iter()
                .map(|(kind, value)| Any { type_url: kind.type_url().to_owned(), value })
                .collect(),
            type_url: kind.type_url().to_owned(),
            nonce: "n".to_owned(),
            ..DiscoveryResponse::default()
        };
        let step = run.machine.received(Response::StateOfTheWorld(response), Duration::ZERO);
        let answers = step.requests.iter().filter(|request| match request {
            Request::StateOfTheWorld(request) => request.response_nonce == "n",
            Request::Delta(_) => false,
        });
        // Nothing but clusters was asked for yet.
        prop_assert_eq!(answers.count() > 0, kind == Kind::Cluster);
    }
}

/// The events reach what the model is about; a model of nothing would agree with anything.
#[test]
fn random_events_reach_policies_refusals_and_absence() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut policies, mut refusals, mut absences) = (0, 0, 0);
    for _ in 0..200 {
        let events = prop::collection::vec(event(), 60)
            .new_tree(&mut runner)
            .expect("events");
        let mut run = Run::new(Protocol::Delta);
        for event in &events.current() {
            run.step(event);
            absences += run.model.absent.len();
        }
        policies += usize::from(run.policy.is_some());
        refusals += run
            .asked
            .answers
            .iter()
            .filter(|(_, _, error)| error.is_some())
            .count();
    }
    assert!(
        policies > 50 && refusals > 50 && absences > 50,
        "{policies} {refusals} {absences}"
    );
}
