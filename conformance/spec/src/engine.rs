//! The engine: what is loaded, and what its balancers remember.

use std::sync::Arc;

use twinmesh_engine::{Answer, Engine, EngineError, Held, Request, Strictness};
use twinmesh_xds::Snapshot;

use crate::balancer::Balancers;
use crate::listener;
use crate::regex::Regexes;
use crate::run::Run;

const NAME: &str = "spec";

/// The engine `spec`.
#[derive(Debug, Default)]
pub struct Spec {
    loaded: Option<Loaded>,
    generation: u64,
}

#[derive(Debug)]
struct Loaded {
    snapshot: Arc<Snapshot>,
    regexes: Regexes,
    balancers: Balancers,
}

impl Spec {
    /// An engine without a snapshot.
    pub fn new() -> Self {
        Self::default()
    }
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
        self.loaded = Some(Loaded {
            snapshot: Arc::clone(snapshot),
            regexes,
            balancers: Balancers::default(),
        });
        Ok(())
    }

    fn update(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), EngineError> {
        let Some(loaded) = &mut self.loaded else {
            return self.load(snapshot);
        };
        loaded.regexes = Regexes::of(snapshot).map_err(error)?;
        let balancers = std::mem::take(&mut loaded.balancers);
        loaded.balancers = balancers.after_update(&loaded.snapshot, snapshot);
        loaded.snapshot = Arc::clone(snapshot);
        Ok(())
    }

    fn decide(
        &mut self,
        request: &Request,
        random: u64,
        _now_us: u64,
        trace: bool,
    ) -> Result<Answer, EngineError> {
        let Some(loaded) = &mut self.loaded else {
            return Err(error("no snapshot is loaded".to_owned()));
        };
        let snapshot = Arc::clone(&loaded.snapshot);
        let entry = listener::select(&snapshot, request).map_err(|e| error(e.to_string()))?;
        let mut run = Run {
            snapshot: &snapshot,
            regexes: &loaded.regexes,
            balancers: &mut loaded.balancers,
            request,
            random,
            generation: self.generation,
            traces: trace,
            answer: Answer::default(),
        };
        run.answer.decision.id.clone_from(&request.id);
        run.answer.decision.engine = Some(NAME.to_owned());
        run.enter(entry);
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
}

fn error(message: String) -> EngineError {
    EngineError {
        engine: NAME,
        message,
    }
}
