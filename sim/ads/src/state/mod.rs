//! The ADS protocol as a state machine: responses and the time go in, requests and policies come
//! out. It does no IO and reads no clock.
//!
//! Listeners and clusters are subscribed to as a whole, route configurations and load assignments
//! by the names that listeners and clusters give. As in Envoy, clusters and their endpoints come
//! first: listeners are asked for once the clusters are warm. A response is accepted or refused as
//! a whole: it is accepted if everything accepted so far, with it, can be read. A listener whose
//! route configuration, or a cluster whose load assignment, has not come is *warming*: its version
//! before stays in force.

mod decode;
mod note;
mod stream;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use envoy_types::pb::envoy::{
    config::core::v3::Node,
    service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    },
};

pub use note::Note;

use crate::kind::{Kind, PerKind};
use crate::resource::ResourceSet;
use decode::Change;
use stream::Stream;
use world::World;

/// How long a resource may take to come before it counts as absent: xDS's 15 seconds.
pub const RESOURCE_TIMEOUT: Duration = Duration::from_secs(15);

/// One of the two variants of ADS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `StreamAggregatedResources`.
    StateOfTheWorld,
    /// `DeltaAggregatedResources`.
    Delta,
}

/// A request to be sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// In the state of the world protocol.
    StateOfTheWorld(DiscoveryRequest),
    /// In the delta protocol.
    Delta(DeltaDiscoveryRequest),
}

/// A response that came.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// In the state of the world protocol.
    StateOfTheWorld(DiscoveryResponse),
    /// In the delta protocol.
    Delta(DeltaDiscoveryResponse),
}

impl Response {
    fn type_url(&self) -> &str {
        match self {
            Response::StateOfTheWorld(response) => &response.type_url,
            Response::Delta(response) => &response.type_url,
        }
    }

    fn nonce(&self) -> &str {
        match self {
            Response::StateOfTheWorld(response) => &response.nonce,
            Response::Delta(response) => &response.nonce,
        }
    }

    fn version(&self) -> &str {
        match self {
            Response::StateOfTheWorld(response) => &response.version_info,
            Response::Delta(response) => &response.system_version_info,
        }
    }
}

/// What follows from an event.
#[derive(Debug, Default)]
pub struct Step {
    /// To be sent, in this order.
    pub requests: Vec<Request>,
    /// The new set of resources in force, if it is another one.
    pub policy: Option<ResourceSet>,
    /// What happened.
    pub notes: Vec<Note>,
}

/// The state machine. Times are since any moment that stays the same.
#[derive(Debug)]
pub struct Machine {
    protocol: Protocol,
    node: Node,
    timeout: Duration,
    world: World,
    stream: Option<Stream>,
    /// The server that the held versions come from.
    server: Option<String>,
    /// Clusters are warm, or were once, or have had their time.
    listeners_due: bool,
    /// When what was asked for counts as absent.
    deadlines: BTreeMap<(Kind, Option<String>), Duration>,
    /// Types without an answer in time, so that it is said once a stream.
    unanswered: PerKind<bool>,
}

impl Machine {
    /// A machine that knows nothing. `timeout`: how long a resource may take to come before it
    /// counts as absent, usually [`RESOURCE_TIMEOUT`].
    pub fn new(protocol: Protocol, node: Node, timeout: Duration) -> Machine {
        Machine {
            protocol,
            node,
            timeout,
            world: World::default(),
            stream: None,
            server: None,
            listeners_due: false,
            deadlines: BTreeMap::new(),
            unanswered: PerKind::default(),
        }
    }

    /// The protocol that it speaks.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// A stream to a server begins; `server` tells servers apart. What is held is not asked for
    /// again: its versions are in the requests.
    pub fn connected(&mut self, server: &str, now: Duration) -> Step {
        let same = self.server.as_deref() == Some(server);
        self.stream = Some(Stream::new(self.protocol, self.node.clone(), same));
        self.server = Some(server.to_owned());
        self.deadlines.clear();
        self.unanswered = PerKind::default();
        let mut step = Step::default();
        self.proceed(now, &mut step);
        step
    }

    /// The stream has ended: what comes from it later is not taken, and nothing is timed.
    pub fn disconnected(&mut self) {
        self.stream = None;
        self.deadlines.clear();
    }

    /// When [`Machine::elapsed`] has something to do.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadlines.values().min().copied()
    }

    /// Counts as absent what has not come in time.
    pub fn elapsed(&mut self, now: Duration) -> Step {
        let mut step = Step::default();
        let due: Vec<(Kind, Option<String>)> = self
            .deadlines
            .iter()
            .filter(|(_, deadline)| **deadline <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.deadlines.remove(&key);
            let (kind, name) = key;
            let Some(name) = name else {
                self.unanswered[kind] = true;
                self.listeners_due = true;
                step.notes.push(Note::Unanswered { kind });
                continue;
            };
            self.world.set_absent(kind, &name);
            step.notes.push(Note::Absent {
                kind,
                name,
                reason: format!("it did not come within {:?}", self.timeout),
            });
        }
        self.proceed(now, &mut step);
        step
    }

    /// A response has come on the stream. It is answered exactly once, unless nothing was
    /// subscribed to that it could be about, or it has no nonce by which to answer it.
    pub fn received(&mut self, response: Response, now: Duration) -> Step {
        let mut step = Step::default();
        let type_url = response.type_url().to_owned();
        let ignored = |reason| Note::Ignored {
            type_url: type_url.clone(),
            reason,
        };
        let Some(stream) = &self.stream else {
            step.notes.push(ignored("its stream has ended"));
            return step;
        };
        let Some(kind) = Kind::of_type_url(response.type_url()) else {
            step.notes
                .push(ignored("this type was not subscribed to and is not known"));
            return step;
        };
        if !stream.is_subscribed(kind) {
            step.notes.push(ignored("this type was not subscribed to"));
            return step;
        }
        let nonce = response.nonce().to_owned();
        let version = response.version().to_owned();
        if nonce.is_empty() {
            step.notes.push(ignored(
                "it has no nonce, so it can be neither ACKed nor NACKed",
            ));
            return step;
        }
        self.deadlines.remove(&(kind, None));
        let result = decode(kind, self.protocol, response)
            .and_then(|change| self.accept(change, &mut step.notes));
        let error = match result {
            Ok(()) => {
                step.notes.push(Note::Acknowledged { kind, version });
                None
            }
            Err(message) => {
                step.notes.push(Note::Refused {
                    kind,
                    version,
                    message: message.clone(),
                });
                Some(message)
            }
        };
        if let Some(stream) = &mut self.stream {
            step.requests
                .push(stream.answer(kind, nonce, error, &self.world));
        }
        self.proceed(now, &mut step);
        step
    }

    fn accept(&mut self, change: Change, notes: &mut Vec<Note>) -> Result<(), String> {
        let kind = change.kind;
        let failed = change.failed.clone();
        let accepted = self.world.accept(change)?;
        for name in accepted.kept {
            notes.push(Note::KeptRemoved { kind, name });
        }
        for name in accepted.unasked {
            notes.push(Note::Unasked { kind, name });
        }
        for name in accepted.absent {
            notes.push(Note::Absent {
                kind,
                name,
                reason: "the management server says that it is not there".to_owned(),
            });
        }
        for (name, detail) in failed {
            if self.world.wanted(kind).contains(&name) && !self.world.holds(kind, &name) {
                self.world.set_absent(kind, &name);
            }
            notes.push(Note::Absent {
                kind,
                name,
                reason: format!("the management server says: {detail}"),
            });
        }
        Ok(())
    }

    /// Puts in force what is ready, subscribes to what is named now, and times what is missing.
    fn proceed(&mut self, now: Duration, step: &mut Step) {
        match self.world.settle() {
            Ok(Some(policy)) => step.policy = Some(policy),
            Ok(None) => {}
            Err(message) => step.notes.push(Note::Inconsistent { message }),
        }
        let clusters_known = self.world.versions[Kind::Cluster].is_some();
        self.listeners_due |= clusters_known && self.world.clusters_warm();
        for kind in Kind::ALL {
            let Some(stream) = &mut self.stream else {
                return;
            };
            if kind == Kind::Listener && !self.listeners_due {
                continue;
            }
            let wanted = self.world.wanted(kind);
            let request = stream.subscribe(kind, wanted.clone(), &self.world);
            step.requests.extend(request);
            self.time(kind, wanted, now);
        }
    }

    fn time(&mut self, kind: Kind, wanted: BTreeSet<String>, now: Duration) {
        let end = now.saturating_add(self.timeout);
        if kind.is_wildcard() {
            if self.world.versions[kind].is_none() && !self.unanswered[kind] {
                self.deadlines.entry((kind, None)).or_insert(end);
            }
            return;
        }
        let missing: BTreeSet<String> = wanted
            .into_iter()
            .filter(|name| !self.world.holds(kind, name) && !self.world.is_absent(kind, name))
            .collect();
        self.deadlines.retain(|(timed, name), _| {
            *timed != kind || name.as_ref().is_some_and(|name| missing.contains(name))
        });
        for name in missing {
            self.deadlines.entry((kind, Some(name))).or_insert(end);
        }
    }
}

fn decode(kind: Kind, protocol: Protocol, response: Response) -> Result<Change, String> {
    match (protocol, response) {
        (Protocol::StateOfTheWorld, Response::StateOfTheWorld(response)) => {
            decode::state_of_the_world(kind, response)
        }
        (Protocol::Delta, Response::Delta(response)) => decode::delta(kind, response),
        _ => Err("a response of the other protocol came".to_owned()),
    }
}
