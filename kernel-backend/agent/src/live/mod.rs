//! The policy that decides now: compiled off the hot path, swapped at once, with what balancers
//! remember carried over.

mod area;
mod explain;
mod held;
pub mod state;

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use twinmesh_compile::{CapacityError, Compiled, Kept, compile};
use twinmesh_engine::update::keep_order;
use twinmesh_engine::{Answer, EngineError, Outcome, Request};
use twinmesh_model::layout::work;
use twinmesh_xds::Snapshot;

use crate::plan::Plan;
use held::{Cell, Cells};
use state::{Memory, ProcessMemory, State};

pub use held::Hold;

/// A policy, as it is compiled.
pub struct Current {
    /// The tables, with the snapshot that they were compiled from.
    pub compiled: Compiled,
    /// What the proxy takes from the snapshot beside decisions.
    pub plan: Plan,
    /// Counts the policies that were published, from 1.
    pub generation: u64,
    /// When it was published.
    pub since: SystemTime,
    state: Box<dyn State>,
    cells: Cells,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Current")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl Current {
    /// The snapshot.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.compiled.snapshot
    }

    /// The balancers' state; only the newest policy's is true.
    pub fn state(&self) -> &dyn State {
        &*self.state
    }
}

/// What was made of a request.
#[derive(Debug)]
pub struct Decided {
    /// The model's answer. Its trace has the steps by index, those of routes that did not match
    /// left out.
    pub answer: Answer,
    /// The policy that decided.
    pub policy: Arc<Current>,
    /// The request's share in its endpoint's active count, to be dropped when the request ends.
    pub hold: Option<Hold>,
    /// The request's one random number.
    pub random: u64,
}

/// A policy took effect.
#[derive(Debug)]
pub struct Published {
    /// The policy.
    pub policy: Arc<Current>,
}

/// A snapshot is not published; the policy before stays.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It is larger than the tables.
    #[error(transparent)]
    Capacity(#[from] CapacityError),
    /// There is no memory for it.
    #[error("the policy's memory: {0}")]
    Memory(String),
}

struct Inner {
    current: ArcSwapOption<Current>,
    /// Read while deciding and giving back, written while a policy takes the place of another: so
    /// no count is lost between the two.
    gate: RwLock<()>,
    queue: Mutex<()>,
    publishing: Mutex<Publishing>,
    memory: Box<dyn Memory>,
}

#[derive(Default)]
struct Publishing {
    kept: Kept,
    generation: u64,
}

/// The policy that decides now. A clone is the same one.
#[derive(Clone)]
pub struct Live {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Live")
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new(Box::new(ProcessMemory))
    }
}

impl Live {
    /// No policy yet. `memory` holds the balancers' state.
    pub fn new(memory: Box<dyn Memory>) -> Self {
        Self {
            inner: Arc::new(Inner {
                current: ArcSwapOption::empty(),
                gate: RwLock::new(()),
                queue: Mutex::new(()),
                publishing: Mutex::default(),
                memory,
            }),
        }
    }

    /// The policy that decides now.
    pub fn current(&self) -> Option<Arc<Current>> {
        self.inner.current.load_full()
    }

    fn gate(&self) -> RwLockReadGuard<'_, ()> {
        let gate = self.inner.gate.read();
        gate.unwrap_or_else(PoisonError::into_inner)
    }

    /// Compiles a snapshot and lets it decide from now on. What balancers remember goes on as
    /// [`twinmesh_engine::Engine::update`] says. Takes its time: not for a thread that serves.
    ///
    /// # Errors
    /// The snapshot does not fit; the one before goes on.
    pub fn publish(&self, snapshot: Arc<Snapshot>) -> Result<Published, PublishError> {
        let publishing = self.inner.publishing.lock();
        let mut publishing = publishing.unwrap_or_else(PoisonError::into_inner);
        let before = self.current();
        let snapshot = match &before {
            Some(before) => keep_order(&before.compiled.snapshot, snapshot),
            None => snapshot,
        };
        let mut compiled = compile(&snapshot)?;
        let plan = Plan::new(&snapshot);
        let generation = publishing.generation + 1;
        let memory = &self.inner.memory;
        memory
            .prepare(&compiled, generation)
            .map_err(PublishError::Memory)?;
        let carried = before
            .as_ref()
            .map(|before| before.cells.carry(&before.compiled, &compiled));
        let mut kept = publishing.kept.clone();

        let gate = self.inner.gate.write();
        let gate = gate.unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = &before {
            let words = before.state.words();
            kept.carry(
                &before.compiled,
                |word| state::get(words, word as u64),
                &mut compiled,
            );
        }
        let state = memory
            .place(&compiled, generation)
            .map_err(PublishError::Memory)?;
        let cells = match carried {
            Some(carried) => carried.apply(),
            None => Cells::first(&compiled),
        };
        let policy = Arc::new(Current {
            compiled,
            plan,
            generation,
            since: SystemTime::now(),
            state,
            cells,
        });
        self.inner.current.store(Some(Arc::clone(&policy)));
        drop(gate);

        publishing.kept = kept;
        publishing.generation = generation;
        Ok(Published { policy })
    }

    /// Decides a request.
    ///
    /// # Errors
    /// No policy is loaded, or the request does not fit it (it names a listener that is not there
    /// once for all).
    pub fn decide(&self, request: &Request, random: u64) -> Result<Decided, EngineError> {
        self.run(request, random, |machine| twinmesh_model::decide(machine))
    }

    /// Decides listener and filter chain of a connection only: no balancer moves. The outcome is
    /// `unsupported`, without a reason, where both are found.
    ///
    /// # Errors
    /// As [`Self::decide`].
    pub fn decide_connection(&self, request: &Request) -> Result<Decided, EngineError> {
        let mut found = false;
        let mut decided = self.run(request, 0, |machine| {
            use twinmesh_model::Machine as _;
            for index in 0..work::LEFT {
                machine.set_word(work::OUTCOME + index, 0);
            }
            found = machine.connection() != 0;
        })?;
        if found {
            decided.answer.decision.outcome = Outcome::Unsupported;
            decided.answer.decision.reason = None;
        }
        Ok(decided)
    }

    fn run(
        &self,
        request: &Request,
        random: u64,
        model: impl FnOnce(&mut area::Decision<'_>),
    ) -> Result<Decided, EngineError> {
        let gate = self.gate();
        let Some(policy) = self.current() else {
            return Err(EngineError {
                engine: "agent",
                message: "no policy is loaded".to_owned(),
            });
        };
        let left = area::with(|area| {
            let sequence = area.next_sequence();
            policy.compiled.prepare(request, random, sequence, area)?;
            model(&mut area::Decision {
                area,
                policy: &policy.compiled.policy,
                state: policy.state.words(),
                queue: &self.inner.queue,
            });
            Ok::<_, EngineError>(area.left())
        });
        let left = left.map_err(|error| EngineError {
            engine: "agent",
            ..error
        })?;
        // Its own share is noted before a policy can move it.
        let number = left
            .get((work::ENDPOINT - work::OUTCOME) as usize)
            .copied()
            .unwrap_or(0);
        let cell = number
            .checked_sub(1)
            .and_then(|word| policy.cells.get(word));
        let hold = cell.map(|cell| Hold {
            live: self.clone(),
            cell: Arc::clone(cell),
        });
        drop(gate);
        let mut answer = policy
            .compiled
            .answer(request, &left, Some(&mut |_| Vec::new()));
        if let Some(held) = &mut answer.held {
            held.generation = policy.generation;
        }
        Ok(Decided {
            answer,
            policy,
            hold,
            random,
        })
    }

    /// Adopts a share in an endpoint's active count that was taken elsewhere (in the kernel) by
    /// the policy that is given: `word` is what `Compiled::active_word` says. `None` where the
    /// policy has no such endpoint.
    pub fn adopt(&self, policy: &Current, word: u64) -> Option<Hold> {
        Some(Hold {
            live: self.clone(),
            cell: Arc::clone(policy.cells.get(word)?),
        })
    }

    /// Active requests by endpoint: cluster, endpoint, count; of the policy that decides now.
    pub fn active(&self) -> Vec<(String, String, u64)> {
        let _gate = self.gate();
        let Some(policy) = self.current() else {
            return Vec::new();
        };
        let mut list = Vec::new();
        for (index, cluster) in policy.snapshot().clusters.iter().enumerate() {
            let assignment = cluster.load_assignment.as_ref();
            for (locality, endpoint, _, config) in twinmesh_engine::update::places(assignment) {
                let word = policy.compiled.active_word(twinmesh_engine::Held {
                    cluster: index,
                    locality,
                    endpoint,
                    generation: 0,
                });
                if let (Some(word), Some(address)) =
                    (word, twinmesh_engine::endpoint::address(config))
                {
                    let count = state::get(policy.state.words(), word);
                    list.push((cluster.name.clone(), address, count));
                }
            }
        }
        list
    }

    fn give_back(&self, cell: &Cell) {
        let _gate = self.gate();
        if let (Some(word), Some(policy)) = (cell.word(), self.current()) {
            state::release(policy.state.words(), word);
        }
    }
}
