//! What both engines do alike: keep policies by generation, lay requests out, read answers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use twinmesh_compile::{Compiled, Filtered, Kept, Managed, compile};
use twinmesh_engine::{Answer, EngineError, Held, Outcome, Request, Step};
use twinmesh_xds::{Profile, Snapshot};

use crate::areas::Areas;
use crate::capacity::Capacity;
use crate::shape::{DECIDED, STALE};

/// A loaded object: maps, and a program that decides over them.
pub trait Host: Sized {
    /// The engine's name.
    const NAME: &'static str;

    /// Loads the object.
    ///
    /// # Errors
    /// Why it cannot be loaded.
    fn open(capacity: Capacity) -> Result<Self, String>;

    /// The maps' values.
    fn areas(&self) -> &Areas;

    /// Decides the request of a worker. What the program returned.
    ///
    /// # Errors
    /// The program did not run.
    fn run(&self, worker: u32) -> Result<u32, String>;

    /// Waits until every program that is running now has ended.
    ///
    /// # Errors
    /// There is no way to wait.
    fn wait(&self) -> Result<(), String>;
}

/// A snapshot that decides.
#[derive(Debug)]
pub struct Current<H> {
    host: Arc<H>,
    compiled: Compiled,
    generation: u64,
    /// What is held goes by this: it outlives an update.
    held_generation: u64,
}

/// What decides now; shared by all that decide.
pub type Shared<H> = Arc<Mutex<Option<Arc<Current<H>>>>>;

fn current<H>(shared: &Shared<H>) -> Option<Arc<Current<H>>> {
    shared
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// An error of this engine.
pub fn error<H: Host>(message: impl ToString) -> EngineError {
    EngineError {
        engine: H::NAME,
        message: message.to_string(),
    }
}

/// One that decides requests, one at a time, in a place of its own in the maps.
#[derive(Debug)]
pub struct Worker<H> {
    shared: Shared<H>,
    worker: u32,
}

impl<H: Host> Worker<H> {
    /// One with its own place.
    pub fn new(shared: &Shared<H>, worker: u32) -> Self {
        Self {
            shared: Arc::clone(shared),
            worker,
        }
    }

    fn current(&self) -> Result<Arc<Current<H>>, EngineError> {
        current(&self.shared).ok_or_else(|| error::<H>("no snapshot is loaded"))
    }

    /// Lays a request out, or what the connection manager made of it.
    fn prepare(
        &self,
        current: &Current<H>,
        request: &Request,
        random: u64,
        managed: Option<&Managed>,
    ) -> Result<(), EngineError> {
        let mut place = current.host.areas().request(self.worker);
        let sequence = place.sequence();
        let compiled = &current.compiled;
        let prepared = match managed {
            Some(managed) => compiled.prepare_managed(managed, random, sequence, &mut place),
            None => compiled.prepare(request, random, sequence, &mut place),
        };
        place.set_generation(current.generation);
        prepared.map_err(|refused| EngineError {
            engine: H::NAME,
            ..refused
        })
    }

    /// See [`twinmesh_engine::Engine::decide`].
    pub fn decide(
        &mut self,
        request: &Request,
        random: u64,
        trace: bool,
    ) -> Result<Answer, EngineError> {
        let mut current = self.current()?;
        if current.compiled.snapshot.profile == Profile::Grpc {
            return Ok(not_by::<H>(request, trace));
        }
        let mut managed = None;
        loop {
            self.prepare(&current, request, random, managed.as_ref())?;
            match current.host.run(self.worker).map_err(error::<H>)? {
                DECIDED => match self.managed(&current, request, managed.as_ref()) {
                    Some(next) => {
                        managed = Some(next);
                        continue;
                    }
                    None => {
                        let request = (request, random);
                        return Ok(self.answer(&current, request, managed.as_ref(), trace));
                    }
                },
                // What another snapshot makes of it may be something else.
                STALE => managed = None,
                other => {
                    return Err(error::<H>(format!(
                        "the program returned {other}, which it never should"
                    )));
                }
            }
            // Two snapshots were loaded since: what decided then is gone.
            let next = self.current()?;
            if next.generation == current.generation {
                return Err(error::<H>(
                    "the program does not find the policy that is loaded",
                ));
            }
            current = next;
        }
    }

    /// The request as the connection manager leaves it, where it is to be decided again.
    fn managed(
        &self,
        current: &Current<H>,
        request: &Request,
        before: Option<&Managed>,
    ) -> Option<Managed> {
        let areas = current.host.areas();
        let left = areas.decided(self.worker, current.generation).left();
        let managed = current.compiled.managed(request, before, &left);
        managed.filter(|managed| !managed.upgrades())
    }

    fn answer(
        &self,
        current: &Current<H>,
        (request, random): (&Request, u64),
        managed: Option<&Managed>,
        trace: bool,
    ) -> Answer {
        let mut place = current
            .host
            .areas()
            .decided(self.worker, current.generation);
        let left = place.left();
        let mut not_matched = |end: u64| twinmesh_sim::not_matched(&mut place, end);
        let not_matched: Option<&mut dyn FnMut(u64) -> Vec<Step>> =
            if trace { Some(&mut not_matched) } else { None };
        let compiled = &current.compiled;
        let filtered = Filtered {
            random,
            ..Filtered::default()
        };
        let mut answer = compiled.answer_filtered(request, managed, &left, &filtered, not_matched);
        compiled.refuse(request, managed, &left, &mut answer.decision);
        answer.decision.engine = Some(H::NAME.to_owned());
        if let Some(held) = &mut answer.held {
            held.generation = current.held_generation;
        }
        answer
    }

    /// Lays a request out and gives the host to run it on, as often as one likes.
    pub fn repeat(&mut self, request: &Request, random: u64) -> Result<Arc<H>, EngineError> {
        let current = self.current()?;
        self.prepare(&current, request, random, None)?;
        Ok(Arc::clone(&current.host))
    }
}

/// An engine over a host.
#[derive(Debug)]
pub struct Backend<H> {
    /// What decides now.
    pub shared: Shared<H>,
    /// The engine's own place.
    pub worker: Worker<H>,
    host: Arc<H>,
    kept: Kept,
    generation: u64,
    held_generation: u64,
}

impl<H: Host> Backend<H> {
    /// Loads the object at its least capacity.
    ///
    /// # Errors
    /// Why it cannot be loaded.
    pub fn new() -> Result<Self, String> {
        let host = Arc::new(H::open(Capacity::LEAST)?);
        let shared = Shared::default();
        Ok(Self {
            worker: Worker::new(&shared, 0),
            shared,
            host,
            kept: Kept::default(),
            generation: 0,
            held_generation: 0,
        })
    }

    /// The host that the next snapshot is loaded into, if it fits.
    pub fn host(&self) -> &Arc<H> {
        &self.host
    }

    /// See [`twinmesh_engine::Engine::load`].
    ///
    /// The snapshot goes into the slot of the one before the last; that one's generation is
    /// withdrawn first, and programs that began with it are waited for. One that does not fit goes
    /// into maps and a program of its own. In both cases a decision reads one generation from its
    /// first word to its last.
    pub fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), EngineError> {
        let compiled = compile(snapshot).map_err(error::<H>)?;
        self.publish(compiled, self.held_generation + 1)?;
        self.kept = Kept::default();
        Ok(())
    }

    /// See [`twinmesh_engine::Engine::update`]. What others decide while the state is carried over
    /// is not counted.
    pub fn update(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), EngineError> {
        let Some(before) = current(&self.shared) else {
            return self.load(snapshot);
        };
        let mut compiled = compile(snapshot).map_err(error::<H>)?;
        let words = before.host.areas().state(before.generation);
        let state = |word: usize| words.get(word).map_or(0, |word| word.load(Relaxed));
        let mut kept = self.kept.clone();
        kept.carry(&before.compiled, state, &mut compiled);
        // What was left to userspace was not counted here.
        for name in kept.elsewhere() {
            compiled.leave_to_userspace(name);
        }
        self.publish(compiled, self.held_generation)?;
        self.kept = kept;
        Ok(())
    }

    fn publish(&mut self, compiled: Compiled, held_generation: u64) -> Result<(), EngineError> {
        let needed = Capacity::of(&compiled).map_err(error::<H>)?;
        let generation = self.generation + 1;
        let areas = self.host.areas();
        // Others decide only where they hold what decides.
        let alone = Arc::strong_count(&self.shared) == 2;
        if !areas.capacity.holds(needed) {
            self.host = Arc::new(H::open(needed.and(areas.capacity)).map_err(error::<H>)?);
        }
        replace(
            &*self.host,
            generation,
            &compiled.policy,
            &compiled.state,
            alone,
        )
        .map_err(error::<H>)?;
        self.generation = generation;
        self.held_generation = held_generation;
        let next = Arc::new(Current {
            host: Arc::clone(&self.host),
            compiled,
            generation,
            held_generation,
        });
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
        Ok(())
    }

    /// See [`twinmesh_engine::Engine::release`].
    pub fn release(&self, held: Held) {
        if let Some(current) = current(&self.shared)
            && held.generation == current.held_generation
            && let Some(word) = current.compiled.active_word(held)
            && let Some(active) = current
                .host
                .areas()
                .state(current.generation)
                .get(word as usize)
        {
            release(active);
        }
    }
}

/// The programs decide as Envoy does.
fn not_by<H: Host>(request: &Request, trace: bool) -> Answer {
    let mut answer = Answer::default();
    answer.decision.id.clone_from(&request.id);
    answer.decision.outcome = Outcome::Unsupported;
    answer.decision.engine = Some(H::NAME.to_owned());
    let reason = "gRPC's rules are decided in userspace only";
    answer.decision.reason = Some(reason.to_owned());
    if trace {
        answer.trace.steps.push(Step::Unsupported);
    }
    answer
}

/// Puts a policy in the place of the one before the last. With `alone` nothing else decides.
///
/// # Errors
/// There is no way to wait for what decides by the policy before the last; it is withdrawn.
pub fn replace<H: Host>(
    host: &H,
    generation: u64,
    policy: &[u64],
    state: &[u64],
    alone: bool,
) -> Result<(), String> {
    host.areas().withdraw(generation);
    if !alone {
        host.wait()?;
    }
    host.areas().write(generation, policy, state);
    host.areas().publish(generation);
    Ok(())
}

/// Takes one away, down to 0; the program adds to it meanwhile.
fn release(active: &AtomicU64) {
    let mut count = active.load(Relaxed);
    while let Some(less) = count.checked_sub(1) {
        match active.compare_exchange_weak(count, less, Relaxed, Relaxed) {
            Ok(_) => return,
            Err(now) => count = now,
        }
    }
}
