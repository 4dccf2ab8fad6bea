//! The policy that decides now: compiled off the hot path, swapped at once, with what balancers
//! remember carried over.

mod area;
mod explain;
mod held;
mod shadowed;
pub mod state;

use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use twinmesh_compile::{CapacityError, Compiled, Kept, Left, Managed, Numbers, compile_on};
use twinmesh_engine::update::keep_order;
use twinmesh_engine::{Answer, EngineError, Outcome, Request};
use twinmesh_model::layout::work;
use twinmesh_xds::Snapshot;

use crate::plan::Plan;
use crate::record::{Note, Recorder};
use crate::shadow::Shadow;
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
    recorder: OnceLock<Recorder>,
    shadow: OnceLock<Shadow>,
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
        let numbers = Numbers::new(memory.active().len() as u64);
        Self::resume(memory, numbers, 0)
    }

    /// The same, after another process: the endpoints keep the numbers that they had there, and
    /// generations go on after its last.
    pub fn resume(memory: Box<dyn Memory>, numbers: Numbers, generation: u64) -> Self {
        let publishing = Publishing {
            kept: Kept::default(),
            numbers,
            generation,
        };
        Self {
            inner: Arc::new(Inner {
                current: ArcSwapOption::empty(),
                before: ArcSwapOption::empty(),
                gate: RwLock::new(()),
                queue: Mutex::new(()),
                recorder: OnceLock::new(),
                shadow: OnceLock::new(),
                publishing: Mutex::new(publishing),
                memory,
            }),
        }
    }

    /// Records what is decided from now on; once, and before the first policy.
    pub fn record(&self, recorder: Recorder) {
        // A second one would have nothing to record.
        let _ = self.inner.recorder.set(recorder);
    }

    /// The recorder, where there is one.
    pub fn recorder(&self) -> Option<&Recorder> {
        self.inner.recorder.get()
    }

    fn note(&self, note: Note) {
        if let Some(recorder) = self.recorder() {
            recorder.note(note);
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
            .prepare(&compiled, &publishing.numbers, generation)
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
        self.note(Note::Policy(Arc::clone(policy.snapshot())));
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
        let decided = self.run(request, random, true, |machine| {
            twinmesh_model::decide(machine)
        })?;
        self.shadowed(request, &decided);
        Ok(decided)
    }

    /// Decides listener and filter chain of a connection only: no balancer moves. The outcome is
    /// `unsupported`, without a reason, where both are found.
    ///
    /// # Errors
    /// As [`Self::decide`].
    pub fn decide_connection(&self, request: &Request) -> Result<Decided, EngineError> {
        let mut found = false;
        let mut decided = self.run(request, 0, false, |machine| {
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
        recorded: bool,
        mut model: impl FnMut(&mut area::Decision<'_>),
    ) -> Result<Decided, EngineError> {
        let gate = self.gate();
        let Some(policy) = self.current() else {
            return Err(EngineError {
                engine: "agent",
                message: "no policy is loaded".to_owned(),
            });
        };
        let recorded = recorded && self.recorder().is_some();
        let left = area::with(|area| {
            let sequence = area.next_sequence();
            policy.compiled.prepare(request, random, sequence, area)?;
            let mut once = |area: &mut area::Area| {
                model(&mut area::Decision {
                    area,
                    policy: &policy.compiled.policy,
                    state: self.words(&policy),
                    queue: &self.inner.queue,
                    hash_rewrites: &policy.compiled.hash_rewrites,
                });
            };
            let mut decide = || {
                once(area);
                let compiled = &policy.compiled;
                let mut managed = None;
                while let Some(next) = compiled.managed(request, managed.as_ref(), &area.left()) {
                    // The proxy sends the head as it came.
                    if next.is_decoded() {
                        break;
                    }
                    let sequence = area.next_sequence();
                    compiled.prepare_managed(&next, random, sequence, area)?;
                    once(area);
                    managed = Some(next);
                }
                Ok(managed)
            };
            let (managed, place) = if recorded {
                let (managed, place) = self.inner.memory.order().alone(decide);
                (managed, Some(place))
            } else {
                (decide(), None)
            };
            Ok::<_, EngineError>((area.left(), managed?, place))
        });
        let (left, managed, place) = left.map_err(|error| EngineError {
            engine: "agent",
            ..error
        })?;
        drop(gate);
        let hold = self.hold(&left, place);
        let asked = (request, managed.as_ref());
        let decided = decided(policy, asked, &left, random, hold);
        if let Some(place) = place {
            self.decided(place, request, &decided);
        }
        Ok(decided)
    }

    fn decided(&self, number: u64, request: &Request, decided: &Decided) {
        if self.recorder().is_none() {
            return;
        }
        let mut request = Box::new(request.clone());
        request.random = Some(decided.random);
        self.note(Note::Decided {
            number,
            request,
            decision: Box::new(decided.answer.decision.clone()),
            holds: decided.answer.held.is_some(),
        });
    }

    /// Notes what the kernel decided and has ended, for the recorder. `end`: its number, if it is
    /// certain.
    pub fn spliced(&self, request: &Request, number: u64, generation: u64, left: &Left, end: u64) {
        if self.recorder().is_none() {
            return;
        }
        if let Some(policy) = self.by_generation(generation) {
            let random = request.random.unwrap_or_default();
            let decided = decided(policy, (request, None), left, random, None);
            self.decided(number, request, &decided);
            self.note(Note::Ended { number, end });
        }
    }

    /// Something changed what balancers know, and its place in the order is not certain.
    pub fn uncertain(&self) {
        self.note(Note::Uncertain);
    }

    /// Takes one off an endpoint's active requests, by its number; the end's number, where the order
    /// is kept.
    pub fn end(&self, endpoint: u64) -> u64 {
        let Some(word) = self.inner.memory.active().get(endpoint as usize) else {
            return 0;
        };
        let give_back = || word.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        if self.recorder().is_none() {
            give_back();
            return 0;
        }
        self.inner.memory.order().alone(give_back).1
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
        number: u64,
    ) -> Option<Decided> {
        let policy = self.by_generation(generation)?;
        let place = self.recorder().is_some().then_some(number);
        let hold = self.hold(left, place);
        let decided = decided(policy, (request, None), left, random, hold);
        if let Some(place) = place {
            self.decided(place, request, &decided);
        }
        self.shadowed(request, &decided);
        Some(decided)
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

    fn hold(&self, left: &Left, place: Option<u64>) -> Option<Hold> {
        let number = left.get((work::ENDPOINT - work::OUTCOME) as usize)?;
        Some(Hold::new(self, number.checked_sub(1)?, place))
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

/// The answer to a request; beside it stands what was decided in its place.
fn decided(
    policy: Arc<Current>,
    (request, managed): (&Request, Option<&Managed>),
    left: &Left,
    random: u64,
    hold: Option<Hold>,
) -> Decided {
    let mut answer =
        policy
            .compiled
            .answer_managed(request, managed, left, Some(&mut |_| Vec::new()));
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
