//! The engine `kernel`: the object in the kernel, run by `BPF_PROG_TEST_RUN`.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aya::maps::Map;
use aya::programs::{ProgramError, SchedClassifier};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use twinmesh_engine::{Answer, Engine, EngineError, Held, Request, Strictness};
use twinmesh_xds::Snapshot;

use crate::areas::{Areas, sizes};
use crate::backend::{Backend, Host, Worker, error};
use crate::capacity::Capacity;
use crate::machine::{causes, check_machine, load_error, test_run, wait_for_programs};
use crate::region::Region;
use crate::shape::{DECIDED, SLOTS, WORKERS};
use crate::{Object, Unavailable, elf};

/// The program's name in the object.
const PROGRAM: &str = "decide";
/// The object in the kernel.
#[derive(Debug)]
struct InKernel {
    ebpf: Ebpf,
    areas: Areas,
}

impl InKernel {
    fn program(&self) -> Result<&SchedClassifier, String> {
        let program = self
            .ebpf
            .program(PROGRAM)
            .ok_or("the object has no program `decide`")?;
        program
            .try_into()
            .map_err(|wrong: ProgramError| causes(&wrong))
    }

    fn test_run(&self, worker: u32, repeat: u32) -> Result<(u32, Duration), String> {
        test_run(self.program()?, worker, repeat)
    }
}

impl Host for InKernel {
    const NAME: &'static str = "kernel";

    fn open(capacity: Capacity) -> Result<Self, String> {
        let object = Object::get().map_err(|unavailable| unavailable.to_string())?;
        let bytes = elf::with_policy_bytes(object.bytes(), capacity.policy_bytes)
            .map_err(|why| format!("{} {why}", object.origin))?;
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .verifier_log_level(VerifierLogLevel::STATS)
            .map_max_entries("STATE", (SLOTS * capacity.state_words) as u32)
            .load(&bytes)
            .map_err(|failed| format!("cannot load {}: {}", object.origin, causes(&failed)))?;
        let program = ebpf
            .program_mut(PROGRAM)
            .ok_or_else(|| format!("{} has no program `{PROGRAM}`", object.origin))?;
        let program: &mut SchedClassifier = program
            .try_into()
            .map_err(|wrong: ProgramError| causes(&wrong))?;
        program
            .load()
            .map_err(|failed| load_error(PROGRAM, &failed))?;
        let regions = sizes(capacity).map(|(name, words)| {
            let Some(Map::Array(map)) = ebpf.map(name) else {
                return Err(format!("{} has no array map `{name}`", object.origin));
            };
            Region::mapped(map.fd().as_fd(), words)
                .map_err(|failed| format!("cannot map `{name}` into memory: {failed}"))
        });
        let [work, policy, state, control] = regions;
        let areas = Areas::new(capacity, [work?, policy?, state?, control?]);
        Ok(Self { ebpf, areas })
    }

    fn areas(&self) -> &Areas {
        &self.areas
    }

    fn run(&self, worker: u32) -> Result<u32, String> {
        Ok(self.test_run(worker, 1)?.0)
    }

    fn wait(&self) -> Result<(), String> {
        wait_for_programs()
    }
}

/// The engine `kernel`.
#[derive(Debug)]
pub struct Kernel {
    backend: Backend<InKernel>,
    workers: Arc<AtomicU32>,
}

/// What the verifier and the JIT made of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The program's name.
    pub program: String,
    /// Instructions that the verifier walked; kernels before 5.16 do not say.
    pub instructions: Option<u32>,
    /// Bytes of machine code.
    pub jited_bytes: u32,
}

impl Kernel {
    /// Loads the object into this machine's kernel and runs it once.
    ///
    /// # Errors
    /// Why it does not run here, and what to do.
    pub fn new() -> Result<Self, Unavailable> {
        check_machine()?;
        let backend = Backend::<InKernel>::new().map_err(Unavailable)?;
        backend.host().run(0).map_err(Unavailable)?;
        Ok(Self {
            backend,
            workers: Arc::new(AtomicU32::new(1)),
        })
    }

    /// One that decides beside this engine, from any thread, by the snapshot that the engine has
    /// loaded last; `None` where there are as many as the maps have room for.
    pub fn decider(&self) -> Option<Decider> {
        (1..WORKERS as u32)
            .find(|worker| self.workers.fetch_or(1 << worker, Ordering::SeqCst) & 1 << worker == 0)
            .map(|worker| Decider {
                worker: Worker::new(&self.backend.shared, worker),
                index: worker,
                workers: Arc::clone(&self.workers),
            })
    }

    /// What the verifier and the JIT made of the program.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn verified(&self) -> Result<Verified, EngineError> {
        let program = self.backend.host().program().map_err(error::<InKernel>)?;
        let info = program
            .info()
            .map_err(|failed| error::<InKernel>(causes(&failed)))?;
        Ok(Verified {
            program: PROGRAM.to_owned(),
            instructions: info.verified_instruction_count(),
            jited_bytes: info.size_jitted(),
        })
    }

    /// Decides one request many times inside one system call. The time of one decision.
    ///
    /// # Errors
    /// The program did not run or did not decide.
    pub fn bench(
        &mut self,
        request: &Request,
        random: u64,
        repeat: u32,
    ) -> Result<Duration, EngineError> {
        let host = self.backend.worker.repeat(request, random)?;
        match host.test_run(0, repeat).map_err(error::<InKernel>)? {
            (DECIDED, each) => Ok(each),
            (other, _) => Err(error::<InKernel>(format!(
                "the program returned {other} instead of deciding"
            ))),
        }
    }
}

impl Engine for Kernel {
    fn name(&self) -> &'static str {
        InKernel::NAME
    }

    fn strictness(&self) -> Strictness {
        Strictness::ExactWithinLimits
    }

    fn is_of_kernel(&self) -> bool {
        true
    }

    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), EngineError> {
        self.backend.load(snapshot)
    }

    fn update(&mut self, snapshot: &Arc<Snapshot>, _now_us: u64) -> Result<(), EngineError> {
        self.backend.update(snapshot)
    }

    fn decide(
        &mut self,
        request: &Request,
        random: u64,
        _now_us: u64,
        trace: bool,
    ) -> Result<Answer, EngineError> {
        self.backend.worker.decide(request, random, trace)
    }

    fn release(&mut self, held: Held) -> Result<(), EngineError> {
        self.backend.release(held);
        Ok(())
    }
}

/// Decides requests beside a [`Kernel`], at the same time.
#[derive(Debug)]
pub struct Decider {
    worker: Worker<InKernel>,
    index: u32,
    workers: Arc<AtomicU32>,
}

impl Decider {
    /// See [`Engine::decide`].
    ///
    /// # Errors
    /// As there.
    pub fn decide(
        &mut self,
        request: &Request,
        random: u64,
        trace: bool,
    ) -> Result<Answer, EngineError> {
        self.worker.decide(request, random, trace)
    }
}

impl Drop for Decider {
    fn drop(&mut self) {
        self.workers.fetch_and(!(1 << self.index), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
