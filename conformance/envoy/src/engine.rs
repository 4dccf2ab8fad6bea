//! The engine: an Envoy that is given the snapshot of each run.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use twinmesh_engine::{Answer, Decision, Engine, EngineError, Held, Request, Strictness, Trace};
use twinmesh_xds::{Profile, Snapshot};

use crate::client::Client;
use crate::decide::{NAME, Names, decide, undecided};
use crate::error::EnvoyError;
use crate::find::{Binary, NotFound, find};
use crate::log::Log;
use crate::override_host::OverrideHosts;
use crate::plan::{Entry, Plan, Planner, Way};
use crate::process::Process;
use crate::rewrite::Rewritten;
use crate::server::Server;

/// How long the lines of answered requests are waited for in the access log.
const LOG: Duration = Duration::from_secs(5);
/// And those of connections that have ended.
const LOG_OF_ENDED: Duration = Duration::from_millis(100);
/// How long the end of an Envoy that does not answer is waited for.
const DEATH: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

/// A real Envoy as an engine. It is sent all requests of a run at once, as the run begins.
pub struct Envoy {
    binary: Binary,
    /// The one that runs; none before the first run, and after one that failed.
    server: Option<Server>,
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
            server: None,
            snapshot: None,
            is_changed: false,
            decided: HashMap::new(),
        }
    }

    /// The binary.
    pub fn binary(&self) -> &Binary {
        &self.binary
    }

    /// An Envoy that has this snapshot.
    fn server(
        &mut self,
        snapshot: &Snapshot,
        entries: &BTreeSet<Entry>,
        mostly_tls: bool,
    ) -> Result<(Server, Rewritten), EnvoyError> {
        let profile = snapshot.profile;
        let mut server = match self.server.take().filter(|server| server.is_of(profile)) {
            Some(server) => server,
            None => Server::start(&self.binary, profile)?,
        };
        match server.replace(snapshot, entries, mostly_tls) {
            Ok(rewritten) => Ok((server, rewritten)),
            Err(EnvoyError::Refused { .. }) => {
                Server::of(&self.binary, snapshot, entries, mostly_tls)
            }
            Err(other) => Err(other),
        }
    }

    /// Gives Envoy the snapshot, sends the requests and keeps the decisions; returns what the
    /// requests took.
    fn send(&mut self, requests: &[Request]) -> Result<Duration, EnvoyError> {
        let Some(snapshot) = self.snapshot.clone() else {
            return Err(EnvoyError::Unexpected("no snapshot is loaded".to_owned()));
        };
        let override_hosts = OverrideHosts::new(&snapshot);
        let planner = Planner::new(&snapshot, &override_hosts);
        let plans: Vec<Plan> = requests.iter().map(|it| planner.plan(it)).collect();
        let ways = plans.iter().filter_map(|plan| match plan {
            Plan::Send { way, .. } => Some(way),
            Plan::Cannot(_) => None,
        });
        let (over_tls, plain): (Vec<&Way>, Vec<&Way>) = ways.partition(|way| way.tls.is_some());
        let mostly_tls = over_tls.len() > plain.len();
        let entries = over_tls.iter().chain(&plain).map(|way| way.entry);
        let entries: BTreeSet<Entry> = entries.collect();
        let (mut server, rewritten) = self.server(&snapshot, &entries, mostly_tls)?;
        let addresses = server.addresses(&entries)?;
        let (places, port) = (&rewritten.places, rewritten.backend);
        let translated = override_hosts.translated(requests, &snapshot, places, port);
        let client = Client::new(addresses, &translated, &plans, &mut server.opened);
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
        if broken.is_some() || server.process.get("/ready").is_err() {
            has_ended(&mut server.process, requests, last)?;
        }
        if let Some((_, error)) = broken {
            return Err(error);
        }
        let awaited = |is_answered: bool| {
            let sent = answers.iter().filter(|it| it.failure.is_none());
            let sent = sent.filter(move |it| it.response.is_some() || !is_answered);
            sent.filter_map(|it| it.sent.as_ref())
        };
        let is_logged =
            |log: &Log, is_answered| awaited(is_answered).all(|sent| log.of(sent).is_some());
        read_log(&server.process, LOG, |log| is_logged(log, true))?;
        // Of a connection that ends without an answer there may be nothing to be logged.
        let log = read_log(&server.process, LOG_OF_ENDED, |log| is_logged(log, false))?;
        let mut entries = awaited(false).filter_map(|sent| log.of(sent));
        if entries.any(|entry| entry.generation != Some(server.generation)) {
            return Err(EnvoyError::Unexpected(
                "Envoy still decides by the snapshot before".to_owned(),
            ));
        }
        let names = Names {
            snapshot: &snapshot,
            places: &rewritten.places,
            replaced: &rewritten.replaced,
            secured: &rewritten.secured,
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
        self.server = Some(server).filter(Server::takes_more);
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
fn read_log(
    process: &Process,
    patience: Duration,
    is_complete: impl Fn(&Log) -> bool,
) -> Result<Log, EnvoyError> {
    let end = Instant::now() + patience;
    loop {
        let log = Log::read(&String::from_utf8_lossy(&process.access_log()))?;
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
        if snapshot.profile == Profile::Grpc {
            return Err(EngineError {
                engine: NAME,
                message: "an Envoy does not decide as gRPC's client does: leave one of the engine \
                          `envoy` and the profile `grpc` out"
                    .to_owned(),
            });
        }
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

    fn update(&mut self, snapshot: &Arc<Snapshot>, _now_us: u64) -> Result<(), EngineError> {
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
