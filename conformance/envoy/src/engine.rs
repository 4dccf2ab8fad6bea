//! The engine: one Envoy for each run over a snapshot.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use twinmesh_engine::{Answer, Decision, Engine, EngineError, Held, Request, Strictness, Trace};
use twinmesh_xds::Snapshot;

use crate::backend::Backend;
use crate::client::Client;
use crate::decide::{NAME, Names, decide, undecided};
use crate::error::EnvoyError;
use crate::find::{Binary, NotFound, find};
use crate::log::Log;
use crate::plan::{Entry, Plan, Planner};
use crate::process::{Folder, Process};
use crate::rewrite::rewrite;

/// How long lines of the access log are waited for.
const LOG: Duration = Duration::from_secs(5);
/// How long the end of an Envoy that does not answer is waited for.
const DEATH: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

/// A real Envoy as an engine. It is sent all requests of a run at once, as the run begins.
#[derive(Debug)]
pub struct Envoy {
    binary: Binary,
    snapshot: Option<Arc<Snapshot>>,
    /// Whether an event has changed the snapshot that requests were sent under.
    is_changed: bool,
    decided: HashMap<String, Decision>,
}

impl Envoy {
    /// The one that [`find`] finds.
    ///
    /// # Errors
    /// There is none.
    pub fn new() -> Result<Self, NotFound> {
        find().map(Self::with)
    }

    /// With this binary.
    pub fn with(binary: Binary) -> Self {
        Self {
            binary,
            snapshot: None,
            is_changed: false,
            decided: HashMap::new(),
        }
    }

    /// The binary.
    pub fn binary(&self) -> &Binary {
        &self.binary
    }

    /// Starts Envoy, sends the requests and keeps the decisions; returns what the requests took.
    fn send(&mut self, requests: &[Request]) -> Result<Duration, EnvoyError> {
        let Some(snapshot) = self.snapshot.clone() else {
            return Err(EnvoyError::Unexpected("no snapshot is loaded".to_owned()));
        };
        let planner = Planner::new(&snapshot);
        let plans: Vec<Plan> = requests.iter().map(|it| planner.plan(it)).collect();
        let entries: BTreeSet<Entry> = plans
            .iter()
            .filter_map(|plan| match plan {
                Plan::Send { way, .. } => Some(way.entry),
                Plan::Cannot(_) => None,
            })
            .collect();
        let backend = Backend::start()?;
        let folder = Folder::new()?;
        let rewritten = rewrite(&snapshot, &entries, backend.port, &folder.access_log())?;
        let mut process = Process::start(&self.binary, &rewritten.bootstrap, folder)?;
        let listed: HashMap<String, u16> = process.ports()?.into_iter().collect();
        let ports = entries
            .iter()
            .filter_map(|entry| Some((*entry, *listed.get(&entry.name())?)));
        let client = Client::new(ports.collect(), requests, &plans);
        let started = Instant::now();
        let sent = client.send();
        let elapsed = started.elapsed();
        let (answers, broken) = match sent {
            Ok(answers) => (answers, None),
            Err((at, error)) => (Vec::new(), Some((at, error))),
        };
        // A dead Envoy explains more than the connections that it broke.
        let last = broken
            .as_ref()
            .map_or(requests.len().saturating_sub(1), |(at, _)| *at);
        if broken.is_some() || process.get("/ready").is_err() {
            has_ended(&mut process, requests, last)?;
        }
        if let Some((_, error)) = broken {
            return Err(error);
        }
        let awaited = || {
            let sent = answers.iter().filter(|it| it.failure.is_none());
            sent.filter_map(|it| it.sent.as_ref())
        };
        let log = read_log(&process, |log| awaited().all(|sent| log.of(sent).is_some()))?;
        let names = Names {
            snapshot: &snapshot,
            places: &rewritten.places,
            replaced: &rewritten.replaced,
        };
        for ((request, plan), answer) in requests.iter().zip(&plans).zip(&answers) {
            let decision = match plan {
                Plan::Cannot(reason) => undecided(request, reason.clone()),
                Plan::Send { .. } => {
                    let entry = answer.sent.as_ref().and_then(|sent| log.of(sent));
                    decide(&names, request, answer, entry)
                }
            };
            self.decided.insert(request.id.clone(), decision);
        }
        Ok(elapsed)
    }
}

/// Fails where Envoy has ended, if it was at the request at this index or before.
fn has_ended(process: &mut Process, requests: &[Request], at: usize) -> Result<(), EnvoyError> {
    let end = Instant::now() + DEATH;
    // The kernel closes its connections before its parent can wait for it.
    while Instant::now() < end {
        if let Some(status) = process.ended() {
            return Err(EnvoyError::Ended {
                status,
                id: requests.get(at).map(|it| it.id.clone()).unwrap_or_default(),
                number: at + 1,
                count: requests.len(),
                message: process.complaint(),
            });
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// The access log, when it is complete or nothing more can be expected of it.
fn read_log(process: &Process, is_complete: impl Fn(&Log) -> bool) -> Result<Log, EnvoyError> {
    let end = Instant::now() + LOG;
    loop {
        let log = Log::read(&process.access_log())?;
        if is_complete(&log) || Instant::now() > end {
            return Ok(log);
        }
        std::thread::sleep(PAUSE);
    }
}

impl Engine for Envoy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn strictness(&self) -> Strictness {
        Strictness::Live
    }

    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), EngineError> {
        self.snapshot = Some(Arc::clone(snapshot));
        self.is_changed = false;
        self.decided.clear();
        Ok(())
    }

    fn foresee(&mut self, requests: &[Request]) -> Result<Duration, EngineError> {
        self.decided.clear();
        self.send(requests).map_err(|error| EngineError {
            engine: NAME,
            message: error.to_string(),
        })
    }

    fn update(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), EngineError> {
        self.snapshot = Some(Arc::clone(snapshot));
        self.is_changed = true;
        Ok(())
    }

    fn decide(
        &mut self,
        request: &Request,
        _random: u64,
        _now_us: u64,
        _trace: bool,
    ) -> Result<Answer, EngineError> {
        let decision = if self.is_changed {
            undecided(request, "events do not reach a live Envoy")
        } else {
            if !self.decided.contains_key(&request.id) {
                self.foresee(std::slice::from_ref(request))?;
            }
            let kept = self.decided.remove(&request.id);
            kept.unwrap_or_else(|| undecided(request, "Envoy was not asked"))
        };
        Ok(Answer {
            decision,
            trace: Trace::default(),
            held: None,
            delayed_us: 0,
        })
    }

    fn release(&mut self, _held: Held) -> Result<(), EngineError> {
        Ok(())
    }
}
