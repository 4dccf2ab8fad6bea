//! The engine: Kmesh's rules beside Envoy's, request by request.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use twinmesh_engine::{
    Answer, Decision, Engine, EngineError, Held, Outcome, Request, Strictness, Trace,
};
use twinmesh_spec::Spec;
use twinmesh_xds::Snapshot;

use crate::cluster::Clusters;
use crate::quirk::Quirk;
use crate::quirks::kept_alive::Connections;
use crate::run;

const NAME: &str = "kmesh";

/// A request with what Kmesh and what Envoy make of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The request's id.
    pub id: String,
    /// Kmesh's decision.
    pub kmesh: Decision,
    /// Envoy's, by `spec`.
    pub envoy: Decision,
    /// What makes them differ; empty where they do not.
    pub quirks: Vec<Quirk>,
}

impl Explained {
    /// Whether the request goes elsewhere, or is sent otherwise. What nobody decides does not.
    pub fn differs(&self) -> bool {
        self.kmesh.outcome != Outcome::Unsupported && differs(&self.kmesh, &self.envoy)
    }
}

/// What an engine made by [`Kmesh::explaining`] has decided so far, in order.
pub type Log = Rc<RefCell<Vec<Explained>>>;

/// The engine `kmesh`.
#[derive(Debug, Default)]
pub struct Kmesh {
    spec: Spec,
    loaded: Option<Loaded>,
    log: Option<Log>,
}

#[derive(Debug)]
struct Loaded {
    snapshot: Arc<Snapshot>,
    clusters: Clusters,
    connections: Connections,
}

impl Kmesh {
    /// An engine that also writes down what Envoy decides, and the quirks between them.
    pub fn explaining() -> (Self, Log) {
        let log = Log::default();
        let engine = Self {
            log: Some(Rc::clone(&log)),
            ..Self::default()
        };
        (engine, log)
    }
}

impl Engine for Kmesh {
    fn name(&self) -> &'static str {
        NAME
    }

    fn strictness(&self) -> Strictness {
        Strictness::ExactWithinLimits
    }

    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), EngineError> {
        self.spec.load(snapshot)?;
        self.loaded = Some(Loaded {
            snapshot: Arc::clone(snapshot),
            clusters: Clusters::of(snapshot),
            connections: Connections::default(),
        });
        Ok(())
    }

    fn update(&mut self, snapshot: &Arc<Snapshot>, now_us: u64) -> Result<(), EngineError> {
        self.spec.update(snapshot, now_us)?;
        let before = self.loaded.take();
        let (clusters, connections) = before.map_or_else(Default::default, |loaded| {
            (loaded.clusters, loaded.connections)
        });
        self.loaded = Some(Loaded {
            snapshot: Arc::clone(snapshot),
            clusters: clusters.after(snapshot),
            connections,
        });
        Ok(())
    }

    fn decide(
        &mut self,
        request: &Request,
        random: u64,
        now_us: u64,
        trace: bool,
    ) -> Result<Answer, EngineError> {
        let envoy = self.spec.decide(request, random, now_us, true)?;
        let loaded = self.loaded.as_mut().ok_or_else(|| EngineError {
            engine: NAME,
            message: "no snapshot is loaded".to_owned(),
        })?;
        let (mut decision, steps, quirks) = loaded.decide(request, random, &envoy);
        decision.engine = Some(NAME.to_owned());
        if let Some(log) = &self.log {
            log.borrow_mut().push(Explained {
                id: request.id.clone(),
                kmesh: decision.clone(),
                envoy: envoy.decision.clone(),
                quirks,
            });
        }
        Ok(Answer {
            decision,
            trace: if trace { steps } else { Trace::default() },
            // Envoy's balancers count active requests, and go on beside Kmesh's.
            held: envoy.held,
            delayed_us: 0,
        })
    }

    fn release(&mut self, held: Held) -> Result<(), EngineError> {
        self.spec.release(held)
    }
}

impl Loaded {
    fn decide(
        &mut self,
        request: &Request,
        random: u64,
        envoy: &Answer,
    ) -> (Decision, Trace, Vec<Quirk>) {
        if let Some(reason) = undecided(request, &envoy.decision) {
            let decision = Decision {
                id: request.id.clone(),
                outcome: Outcome::Unsupported,
                reason: Some(reason),
                ..Decision::default()
            };
            return (decision, Trace::default(), Vec::new());
        }
        let (mut decision, trace, mut quirks) = match self.connections.decided(request) {
            Some(decision) => (decision, Trace::default(), vec![Quirk::KeptAlive]),
            None => {
                let done = run::decide(&self.snapshot, &mut self.clusters, request, random, envoy);
                (done.decision, done.trace, done.quirks)
            }
        };
        self.connections.note(request, &decision);
        if !differs(&decision, &envoy.decision) {
            quirks.clear();
        }
        decision.reason = Some(reason(&decision, &envoy.decision, &quirks));
        (decision, trace, quirks)
    }
}

/// Why nothing is said of a request.
fn undecided(request: &Request, envoy: &Decision) -> Option<String> {
    match envoy.outcome {
        Outcome::Unsupported => {
            let reason = envoy.reason.as_deref().unwrap_or("no reason is given");
            return Some(format!("what Envoy does is not decided: {reason}"));
        }
        Outcome::BadRequest => {
            return Some("how Kmesh takes a head that Envoy refuses is not known".to_owned());
        }
        _ => {}
    }
    if request.destination.is_some_and(|to| to.is_ipv6()) {
        return Some("Kmesh leaves IPv6 alone".to_owned());
    }
    request
        .is_tls()
        .then(|| "Kmesh does not look into TLS".to_owned())
}

/// Whether two decisions differ in anything but in who made them, and why, and in bodies, headers
/// that the route changes and copies of the request, which are not looked at.
fn differs(one: &Decision, other: &Decision) -> bool {
    let bare = |decision: &Decision| Decision {
        body: None,
        request_headers: None,
        response_headers: None,
        mirrors: Vec::new(),
        engine: None,
        reason: None,
        ..decision.clone()
    };
    bare(one) != bare(other)
}

fn reason(kmesh: &Decision, envoy: &Decision, quirks: &[Quirk]) -> String {
    if !differs(kmesh, envoy) {
        return "as Envoy".to_owned();
    }
    let names: Vec<&str> = quirks.iter().map(|quirk| quirk.name()).collect();
    let about: Vec<&str> = quirks.iter().map(|quirk| quirk.about()).collect();
    if names.is_empty() {
        return "otherwise than Envoy, by no quirk that is known".to_owned();
    }
    format!("quirks: {}: {}", names.join(", "), about.join("; "))
}
