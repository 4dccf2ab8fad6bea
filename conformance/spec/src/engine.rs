//! The engine: what is loaded, and what its balancers remember.

use std::sync::Arc;

use twinmesh_engine::{Answer, Engine, EngineError, Held, Request, Streams, Strictness};
use twinmesh_xds::{Profile, Snapshot};

use crate::balancer::{Balancers, Chooser};
use crate::criteria::Criteria;
use crate::http_filter::Memory;
use crate::listener;
use crate::rbac::Judged;
use crate::regex::Regexes;
use crate::run::Run;
use crate::stream::Following;
use crate::substitution::Substitutions;

const NAME: &str = "spec";

/// The engine `spec`.
#[derive(Debug, Default)]
pub struct Spec {
    pub(crate) loaded: Option<Loaded>,
    pub(crate) generation: u64,
    pub(crate) following: Following,
}

#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) regexes: Regexes,
    pub(crate) substitutions: Substitutions,
    pub(crate) balancers: Balancers,
    pub(crate) filters: Memory,
}

impl Spec {
    /// An engine without a snapshot.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decides a request of which somebody else chose the endpoint: where a balancer could choose
    /// `chosen`, whatever it remembers, that is the endpoint, else the first that it could. Nothing
    /// is remembered.
    ///
    /// # Errors
    /// As [`Engine::decide`].
    pub fn decide_chosen(
        &self,
        request: &Request,
        random: u64,
        chosen: Option<Held>,
    ) -> Result<Answer, EngineError> {
        let (answer, _) = self.elsewhere(request, random, chosen)?;
        Ok(answer)
    }

    /// The policies by which RBAC filters let a request on or answer it, as if it were the first.
    ///
    /// # Errors
    /// As [`Engine::decide`].
    pub fn judged(&self, request: &Request, random: u64) -> Result<Vec<Judged>, EngineError> {
        let (_, judged) = self.elsewhere(request, random, None)?;
        Ok(judged)
    }

    fn elsewhere(
        &self,
        request: &Request,
        random: u64,
        chosen: Option<Held>,
    ) -> Result<(Answer, Vec<Judged>), EngineError> {
        let loaded = self.loaded.as_ref().ok_or_else(nothing_loaded)?;
        let chooser = Chooser::Elsewhere(chosen);
        let (snapshot, regexes) = (&loaded.snapshot, &loaded.regexes);
        let mut memory = Memory::default();
        let run = start(
            snapshot,
            regexes,
            &loaded.substitutions,
            chooser,
            &mut memory,
            request,
            (random, 0),
            self.generation,
            true,
        )?;
        Ok((run.answer, run.judged))
    }
}

/// One request through all rules.
#[expect(clippy::too_many_arguments, reason = "a run has all of them")]
pub(crate) fn start<'a>(
    snapshot: &'a Snapshot,
    regexes: &'a Regexes,
    substitutions: &'a Substitutions,
    chooser: Chooser<'a>,
    memory: &'a mut Memory,
    request: &'a Request,
    (random, now_us): (u64, u64),
    generation: u64,
    traces: bool,
) -> Result<Run<'a>, EngineError> {
    let entry = listener::select(snapshot, request).map_err(|e| error(e.to_string()))?;
    let mut run = Run {
        snapshot,
        regexes,
        substitutions,
        chooser,
        request,
        random,
        generation,
        traces,
        hash: Ok(None),
        criteria: Criteria::default(),
        named: None,
        is_named: false,
        trusts_forwarded_for: true,
        now_us,
        memory,
        filters: None,
        at: None,
        filter_status: 0,
        is_preflight: false,
        begun_faults: Vec::new(),
        judged: Vec::new(),
        server_name: String::new(),
        manager: None,
        table: None,
        chain: None,
        virtual_host: None,
        forwarded: None,
        answer: Answer::default(),
    };
    run.answer.decision.id.clone_from(&request.id);
    run.answer.decision.engine = Some(NAME.to_owned());
    run.enter(entry);
    run.heed_timeouts();
    run.end_faults();
    run.tell_delay();
    if snapshot.profile == Profile::Grpc {
        // A call that fails has a status of gRPC's, and none of HTTP's.
        run.answer.decision.status = None;
    }
    Ok(run)
}

impl Engine for Spec {
    fn name(&self) -> &'static str {
        NAME
    }

    fn strictness(&self) -> Strictness {
        Strictness::Exact
    }

    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), EngineError> {
        let regexes = Regexes::of(snapshot).map_err(error)?;
        self.generation += 1;
        self.following = Following::default();
        self.loaded = Some(Loaded {
            snapshot: Arc::clone(snapshot),
            regexes,
            substitutions: Substitutions::of(snapshot),
            balancers: Balancers::of(snapshot, 0),
            filters: Memory::default(),
        });
        Ok(())
    }

    fn update(&mut self, snapshot: &Arc<Snapshot>, now_us: u64) -> Result<(), EngineError> {
        let Some(loaded) = &mut self.loaded else {
            return self.load(snapshot);
        };
        loaded.regexes = Regexes::of(snapshot).map_err(error)?;
        loaded.substitutions = Substitutions::of(snapshot);
        let balancers = std::mem::take(&mut loaded.balancers);
        loaded.balancers = balancers.after_update(&loaded.snapshot, snapshot, now_us);
        let filters = std::mem::take(&mut loaded.filters);
        loaded.filters = filters.after_update(&loaded.snapshot, snapshot);
        self.following.update(&loaded.snapshot, snapshot);
        loaded.snapshot = Arc::clone(snapshot);
        Ok(())
    }

    fn decide(
        &mut self,
        request: &Request,
        random: u64,
        now_us: u64,
        trace: bool,
    ) -> Result<Answer, EngineError> {
        let loaded = self.loaded.as_mut().ok_or_else(nothing_loaded)?;
        let (snapshot, regexes) = (&loaded.snapshot, &loaded.regexes);
        let chooser = Chooser::Balancers(&mut loaded.balancers);
        let mut run = start(
            snapshot,
            regexes,
            &loaded.substitutions,
            chooser,
            &mut loaded.filters,
            request,
            (random, now_us),
            self.generation,
            trace,
        )?;
        run.at_breakers();
        Ok(run.answer)
    }

    fn release(&mut self, held: Held) -> Result<(), EngineError> {
        if let Some(loaded) = &mut self.loaded
            && held.generation == self.generation
        {
            loaded.balancers.release(held);
        }
        Ok(())
    }

    fn streams(&mut self) -> Option<&mut dyn Streams> {
        Some(self)
    }
}

pub(crate) fn nothing_loaded() -> EngineError {
    error("no snapshot is loaded".to_owned())
}

fn error(message: String) -> EngineError {
    EngineError {
        engine: NAME,
        message,
    }
}
