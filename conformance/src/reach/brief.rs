//! The engine `sim`, whose traces leave out the routes that did not match.

use std::sync::Arc;

use twinmesh_engine::{Answer, Engine, EngineError, Held, Request, Strictness};
use twinmesh_sim::Sim;
use twinmesh_xds::Snapshot;

/// `sim` with brief traces, so that large tables are traced as fast as they are decided.
#[derive(Debug, Default)]
pub struct Brief(Sim);

impl Engine for Brief {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn strictness(&self) -> Strictness {
        self.0.strictness()
    }

    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), EngineError> {
        self.0.load(snapshot)
    }

    fn update(&mut self, snapshot: &Arc<Snapshot>, now_us: u64) -> Result<(), EngineError> {
        self.0.update(snapshot, now_us)
    }

    fn decide(
        &mut self,
        request: &Request,
        random: u64,
        now_us: u64,
        trace: bool,
    ) -> Result<Answer, EngineError> {
        if trace {
            self.0.decide_briefly(request, random, now_us)
        } else {
            self.0.decide(request, random, now_us, false)
        }
    }

    fn release(&mut self, held: Held) -> Result<(), EngineError> {
        self.0.release(held)
    }
}
