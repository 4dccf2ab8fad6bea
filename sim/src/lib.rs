//! The engine `sim`: the model in userspace, over virtual time.

mod again;
pub mod bounded;
mod memory;
mod outliers;
mod pools;
mod slow_start;
mod streams;
pub mod tables;

use std::sync::Arc;

use twinmesh_compile::{Compiled, Kept, Left, Managed, attempts::Plan, compile};
use twinmesh_engine::{
    Answer, Engine, EngineError, Failed, Held, Request, Step, Streams, Strictness,
};
use twinmesh_model::layout::{Span, high, low, matcher, of, unsupported, virtual_host, work};
use twinmesh_model::{Machine, fault, route};
use twinmesh_xds::Snapshot;

pub use memory::Memory;

const NAME: &str = "sim";

/// The engine `sim`.
#[derive(Debug, Default)]
pub struct Sim {
    loaded: Option<(Compiled, Memory)>,
    kept: Kept,
    generation: u64,
    /// Counts the tables that were compiled.
    tables: u64,
    sequence: u64,
    under: streams::Under,
}

fn error(message: impl ToString) -> EngineError {
    EngineError {
        engine: NAME,
        message: message.to_string(),
    }
}

/// The steps of the routes before the one that was found.
type Refusals<'a> = dyn FnMut(&mut Memory, u64) -> Vec<Step> + 'a;

impl Sim {
    /// Decides one request and traces it, but for the routes that did not match: telling those
    /// costs time in their number.
    ///
    /// # Errors
    /// As [`Engine::decide`].
    pub fn decide_briefly(
        &mut self,
        request: &Request,
        random: u64,
        now_us: u64,
    ) -> Result<Answer, EngineError> {
        self.run(request, random, now_us, Some(&mut |_, _| Vec::new()))
    }

    /// `refusals` tells, where there is a trace, the routes before the one given.
    fn run(
        &mut self,
        request: &Request,
        random: u64,
        now_us: u64,
        refusals: Option<&mut Refusals<'_>>,
    ) -> Result<Answer, EngineError> {
        let drawn = (random, now_us);
        self.decided(
            request,
            drawn,
            refusals,
            |compiled, managed, left, answer| {
                compiled.refuse(request, managed, left, &mut answer.decision);
            },
        )
        .map(|(answer, ())| answer)
    }

    /// As [`Self::run`], with what a request that is forwarded has before it.
    fn run_planned(
        &mut self,
        request: &Request,
        (random, now_us): (u64, u64),
        refusals: Option<&mut Refusals<'_>>,
    ) -> Result<(Answer, Option<Result<Plan, String>>), EngineError> {
        self.decided(
            request,
            (random, now_us),
            refusals,
            |compiled, managed, left, _| compiled.plan(request, managed, left),
        )
    }

    /// The answer, and what else is made of what the model left.
    fn decided<T>(
        &mut self,
        request: &Request,
        (random, now_us): (u64, u64),
        refusals: Option<&mut Refusals<'_>>,
        more: impl FnOnce(&Compiled, Option<&Managed>, &Left, &mut Answer) -> T,
    ) -> Result<(Answer, T), EngineError> {
        let Some((compiled, memory)) = &mut self.loaded else {
            return Err(error("no snapshot is loaded"));
        };
        self.sequence += 1;
        memory.set_word(work::NOW, now_us);
        memory.set_word(work::DURATION, request.duration_us);
        let called = compiled.called(request);
        let mut managed = called.as_ref().map(|called| called.managed.clone());
        match &managed {
            Some(managed) => compiled.prepare_managed(managed, random, self.sequence, memory)?,
            None => compiled.prepare(request, random, self.sequence, memory)?,
        }
        twinmesh_model::decide(memory);
        let mut left = memory.left();
        while let Some(next) = compiled.managed(request, managed.as_ref(), &left) {
            self.sequence += 1;
            compiled.prepare_managed(&next, random, self.sequence, memory)?;
            twinmesh_model::decide(memory);
            left = memory.left();
            managed = Some(next);
        }
        fault::end(memory);
        let filtered = memory.filtered();
        let managed = managed.as_ref();
        let mut answer = match refusals {
            Some(refusals) => {
                let mut not_matched = |end: u64| refusals(memory, end);
                compiled.answer_filtered(request, managed, &left, &filtered, Some(&mut not_matched))
            }
            None => compiled.answer_filtered(request, managed, &left, &filtered, None),
        };
        if let Some(called) = &called {
            called.finish(&mut answer);
        }
        answer.decision.engine = Some(NAME.to_owned());
        if let Some(held) = &mut answer.held {
            held.generation = self.generation;
        }
        let more = more(compiled, managed, &left, &mut answer);
        Ok((answer, more))
    }
}

impl Engine for Sim {
    fn name(&self) -> &'static str {
        NAME
    }

    fn strictness(&self) -> Strictness {
        Strictness::ExactWithinLimits
    }

    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), EngineError> {
        let compiled = compile(snapshot).map_err(error)?;
        let memory = Memory::new(&compiled);
        self.generation += 1;
        self.kept = Kept::default();
        self.under = streams::Under::default();
        self.tables += 1;
        self.loaded = Some((compiled, memory));
        Ok(())
    }

    fn update(&mut self, snapshot: &Arc<Snapshot>, now_us: u64) -> Result<(), EngineError> {
        let Some((before, memory)) = &mut self.loaded else {
            return self.load(snapshot);
        };
        let mut compiled = compile(snapshot).map_err(error)?;
        let state = |word: usize| memory.state(word as u64);
        self.kept.carry(before, state, &mut compiled);
        self.under.update(&before.snapshot, snapshot);
        let slow_starts = std::mem::take(&mut memory.slow_starts);
        let state = |word: u64| compiled.state.get(word as usize).copied().unwrap_or(0);
        let slow_starts = slow_starts.follow(before, &compiled, state, now_us);
        let mut memory = Memory::new(&compiled);
        memory.slow_starts = slow_starts;
        self.tables += 1;
        self.loaded = Some((compiled, memory));
        Ok(())
    }

    fn decide(
        &mut self,
        request: &Request,
        random: u64,
        now_us: u64,
        trace: bool,
    ) -> Result<Answer, EngineError> {
        if trace {
            self.run(request, random, now_us, Some(&mut not_matched))
        } else {
            self.run(request, random, now_us, None)
        }
    }

    fn release(&mut self, held: Held) -> Result<(), EngineError> {
        if held.generation == self.generation
            && let Some((compiled, memory)) = &mut self.loaded
            && let Some(word) = compiled.active_word(held)
        {
            let active = memory.state(word);
            memory.set_state(word, active.saturating_sub(1));
        }
        Ok(())
    }

    fn streams(&mut self) -> Option<&mut dyn Streams> {
        Some(self)
    }
}

/// Why each route of the virtual host before `end` does not take the request that the memory still
/// holds.
pub fn not_matched<M: Machine>(memory: &mut M, end: u64) -> Vec<Step> {
    let host = memory.word(work::CHOSEN_VIRTUAL_HOST);
    let first = low(memory.policy64(host + virtual_host::ROUTES));
    let (mut from, mut to) = (first, end);
    if low(memory.policy64(host + virtual_host::REASON)) == unsupported::USERSPACE {
        let looked = memory.word(work::LOOKED);
        (from, to) = (low(looked), high(looked).min(end));
    }
    (from..to)
        .filter_map(|number| {
            let failed = route::first_failed(memory, number);
            if failed == 0 {
                return None;
            }
            let index = memory.policy64(failed + matcher::INDEX);
            let position = (index & 0xffff_ffff) as usize;
            let failed = match index >> 32 {
                of::HEADER => Failed::Header(position),
                of::QUERY_PARAMETER => Failed::QueryParameter(position),
                of::FRACTION => Failed::RuntimeFraction,
                of::GRPC => Failed::Grpc,
                of::COOKIE => Failed::Cookie(position),
                of::TLS_CONTEXT => Failed::TlsContext,
                of::DYNAMIC_METADATA => Failed::DynamicMetadata(position),
                _ => Failed::Path,
            };
            Some(Step::RouteNotMatched {
                route: (number - first) as usize,
                failed,
            })
        })
        .collect()
}

/// A stretch of input, for tests of the parser.
pub fn span(memory: &Memory, word: u64) -> Span {
    Span(memory.word(word))
}
