//! A decision told step by step, against a copy of the balancers' state: nothing changes.

use twinmesh_engine::{Answer, EngineError, Request, Step};
use twinmesh_model::Machine as _;
use twinmesh_sim::Memory;

use super::Live;

impl Live {
    /// How a request would be decided now, with its whole trace.
    ///
    /// # Errors
    /// As [`Self::decide`].
    pub fn explain(&self, request: &Request, random: u64) -> Result<Answer, EngineError> {
        let copied = {
            let _gate = self.gate();
            self.current().map(|policy| {
                let mut memory = Memory::new(&policy.compiled);
                let words = self.words(&policy);
                for index in 0..policy.compiled.state.len() as u64 {
                    memory.set_state(index, words.get(index));
                }
                (policy, memory)
            })
        };
        let Some((policy, mut memory)) = copied else {
            return Err(EngineError {
                engine: "agent",
                message: "no policy is loaded".to_owned(),
            });
        };
        let prepared = policy.compiled.prepare(request, random, 1, &mut memory);
        prepared.map_err(|error| EngineError {
            engine: "agent",
            ..error
        })?;
        twinmesh_model::decide(&mut memory);
        let mut managed = None;
        let compiled = &policy.compiled;
        while let Some(next) = compiled.managed(request, managed.as_ref(), &memory.left()) {
            if next.is_decoded() {
                break;
            }
            let prepared = compiled.prepare_managed(&next, random, 2, &mut memory);
            prepared.map_err(|error| EngineError {
                engine: "agent",
                ..error
            })?;
            twinmesh_model::decide(&mut memory);
            managed = Some(next);
        }
        let left = memory.left();
        let mut not_matched =
            |end: u64| -> Vec<Step> { twinmesh_sim::not_matched(&mut memory, end) };
        Ok(policy
            .compiled
            .answer_managed(request, managed.as_ref(), &left, Some(&mut not_matched)))
    }
}
