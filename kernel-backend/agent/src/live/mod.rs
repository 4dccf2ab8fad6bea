//! The policy that decides now: compiled off the hot path, swapped at once, with what balancers
//! remember carried over.

mod area;
mod explain;
mod held;
pub mod state;

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use twinmesh_compile::{CapacityError, Compiled, Kept, Left, Numbers, compile_on};
use twinmesh_engine::update::keep_order;
use twinmesh_engine::{Answer, EngineError, Outcome, Request};
use twinmesh_model::layout::work;
use twinmesh_xds::Snapshot;

use crate::plan::Plan;
use state::{Memory, ProcessMemory, Sets, Words};

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
    sets: Box<dyn Sets>,
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
    /// The one before: the kernel may have decided by it just before the other came.
    before: ArcSwapOption<Current>,
    /// Read while deciding, written while a policy takes the place of another: so nothing that a
    /// balancer does is lost between the two.
    gate: RwLock<()>,
    queue: Mutex<()>,
    publishing: Mutex<Publishing>,
    memory: Box<dyn Memory>,
}

struct Publishing {
    kept: Kept,
    numbers: Numbers,
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
        Self::new(Box::new(ProcessMemory::default()))
    }
}

impl Live {
    /// No policy yet. `memory` holds the balancers' state.
    pub fn new(memory: Box<dyn Memory>) -> Self {
        let publishing = Publishing {
            kept: Kept::default(),
            numbers: Numbers::new(memory.active().len() as u64),
            generation: 0,
        };
        Self {
            inner: Arc::new(Inner {
                current: ArcSwapOption::empty(),
                before: ArcSwapOption::empty(),
                gate: RwLock::new(()),
                queue: Mutex::new(()),
                publishing: Mutex::new(publishing),
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
        let mut compiled = compile_on(&snapshot, &mut publishing.numbers)?;
        let plan = Plan::new(&snapshot);
        let generation = publishing.generation + 1;
        let memory = &self.inner.memory;
        memory
            .prepare(&compiled, generation)
            .map_err(PublishError::Memory)?;
        let mut kept = publishing.kept.clone();

        let gate = self.inner.gate.write();
        let gate = gate.unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = &before {
            let words = self.words(before);
            kept.carry(
                &before.compiled,
                |word| words.get(word as u64),
                &mut compiled,
            );
        }
        let active = memory.active().len();
        let sets = compiled.state.get(active..).unwrap_or_default();
        let sets = memory
            .place(&compiled, sets, generation)
            .map_err(PublishError::Memory)?;
        let policy = Arc::new(Current {
            compiled,
            plan,
            generation,
            since: SystemTime::now(),
            sets,
        });
        self.inner.before.store(before);
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
                state: self.words(&policy),
                queue: &self.inner.queue,
            });
            Ok::<_, EngineError>(area.left())
        });
        let left = left.map_err(|error| EngineError {
            engine: "agent",
            ..error
        })?;
        drop(gate);
        let hold = self.hold(&left);
        Ok(decided(policy, request, &left, random, hold))
    }

    /// What the kernel decided for a request: `left` is what the model left there, and the
    /// endpoint's active count has gone up already. `None` where the policy that decided is no
    /// longer here.
    pub fn decided_elsewhere(
        &self,
        request: &Request,
        generation: u64,
        left: &Left,
        random: u64,
    ) -> Option<Decided> {
        let policy = self.by_generation(generation)?;
        let hold = self.hold(left);
        Some(decided(policy, request, left, random, hold))
    }

    /// The policy of a generation, if it decides or did so until just now.
    pub fn by_generation(&self, generation: u64) -> Option<Arc<Current>> {
        let known = [&self.inner.current, &self.inner.before];
        known
            .into_iter()
            .filter_map(|policy| policy.load_full())
            .find(|policy| policy.generation == generation)
    }

    fn words<'a>(&'a self, policy: &'a Current) -> Words<'a> {
        Words {
            active: self.inner.memory.active(),
            sets: policy.sets.words(),
        }
    }

    fn hold(&self, left: &Left) -> Option<Hold> {
        let number = left.get((work::ENDPOINT - work::OUTCOME) as usize)?;
        Some(Hold {
            live: self.clone(),
            number: number.checked_sub(1)?,
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
                    let count = self.words(&policy).get(word);
                    list.push((cluster.name.clone(), address, count));
                }
            }
        }
        list
    }
}

fn decided(
    policy: Arc<Current>,
    request: &Request,
    left: &Left,
    random: u64,
    hold: Option<Hold>,
) -> Decided {
    let mut answer = policy
        .compiled
        .answer(request, left, Some(&mut |_| Vec::new()));
    if let Some(held) = &mut answer.held {
        held.generation = policy.generation;
    }
    Decided {
        answer,
        policy,
        hold,
        random,
    }
}
