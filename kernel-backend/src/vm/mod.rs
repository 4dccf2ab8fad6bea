//! The engine `bpf-vm`: the object in a userspace VM, without privileges.
//!
//! The VM is [`interpreter`]'s and runs the instructions as they are. What the kernel's maps answer
//! comes from [`Areas`]. It verifies nothing; that is the kernel's part.

mod interpreter;
mod join;
mod memory;
mod operation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::mem::size_of;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aya_obj::Object as Parsed;
use twinmesh_engine::{Answer, Engine, EngineError, Held, Request, Strictness};
use twinmesh_xds::Snapshot;

use self::interpreter::{FIRST_MAP, Surroundings};
use self::memory::Memory;
use self::operation::{Operation, decode};
use crate::areas::{Areas, sizes};
use crate::backend::{Backend, Host};
use crate::capacity::Capacity;
use crate::region::Region;
use crate::shape::{Control, WORKERS, Work};
use crate::{Object, Unavailable, elf};

/// Words of `struct __sk_buff`, and the one whose lower half is the mark.
const CONTEXT_WORDS: usize = 24;
const MARK: usize = 1;

/// Bytes of an entry and how many there are, in the order of [`sizes`].
fn entries(capacity: Capacity) -> [(u64, u64); 4] {
    let slots = crate::shape::SLOTS;
    [
        (size_of::<Work>() as u64, WORKERS),
        (capacity.policy_bytes, slots),
        (8, slots * capacity.state_words),
        (size_of::<Control>() as u64, 1),
    ]
}

/// The program `decide` with all that it calls; its maps are their places in [`sizes`].
fn link(object: &[u8]) -> Result<Vec<Operation>, String> {
    let mut parsed = Parsed::parse(object).map_err(|error| error.to_string())?;
    let sections: HashSet<usize> = parsed
        .functions
        .keys()
        .map(|(section, _)| *section)
        .collect();
    let maps = std::mem::take(&mut parsed.maps);
    let mut places = Vec::new();
    for (name, map) in &maps {
        let place = sizes(Capacity::LEAST)
            .iter()
            .position(|(known, _)| known == name);
        let place =
            place.ok_or_else(|| format!("has a map `{name}`, which the VM does not know"))?;
        places.push((name.as_str(), place as i32, map));
    }
    parsed
        .relocate_maps(places.into_iter(), &sections)
        .map_err(|error| error.to_string())?;
    parsed
        .relocate_calls(&sections)
        .map_err(|error| error.to_string())?;
    let program = parsed
        .programs
        .get("decide")
        .ok_or("has no program `decide`")?;
    let function = parsed
        .functions
        .get(&program.function_key())
        .ok_or("has no code for the program `decide`")?;
    decode(&function.instructions)
}

/// The program for a capacity. Kept for the process's life: there are few capacities.
fn program(capacity: Capacity) -> Result<Arc<[Operation]>, String> {
    static PROGRAMS: Mutex<BTreeMap<u64, Arc<[Operation]>>> = Mutex::new(BTreeMap::new());
    let mut programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(program) = programs.get(&capacity.policy_bytes) {
        return Ok(Arc::clone(program));
    }
    let object = Object::get().map_err(|unavailable| unavailable.to_string())?;
    let program = elf::with_policy_bytes(object.bytes(), capacity.policy_bytes)
        .and_then(|bytes| link(&bytes))
        .map_err(|why| format!("{} {why}", object.origin))?;
    let program: Arc<[Operation]> = program.into();
    programs.insert(capacity.policy_bytes, Arc::clone(&program));
    Ok(program)
}

/// The object in the VM.
#[derive(Debug)]
struct InVm {
    program: Arc<[Operation]>,
    areas: Areas,
    stack: Box<[AtomicU64]>,
    context: [AtomicU64; CONTEXT_WORDS],
}

impl Host for InVm {
    const NAME: &'static str = "bpf-vm";

    fn open(capacity: Capacity) -> Result<Self, String> {
        let regions = sizes(capacity).map(|(_, words)| Region::owned(words));
        Ok(Self {
            program: program(capacity)?,
            areas: Areas::new(capacity, regions),
            stack: interpreter::stack(),
            context: Default::default(),
        })
    }

    fn areas(&self) -> &Areas {
        &self.areas
    }

    fn run(&self, worker: u32) -> Result<u32, String> {
        if let Some(mark) = self.context.get(MARK) {
            mark.store(u64::from(worker), Ordering::Relaxed);
        }
        let [work, policy, state, control] = self.areas.regions.each_ref().map(Region::words);
        let entries = entries(self.areas.capacity);
        let lookup = |map: u64, key: u64| {
            let known = usize::try_from(map).ok().and_then(|map| entries.get(map));
            match known {
                Some((size, count)) if key < *count => Memory::address(FIRST_MAP + map, key * size),
                _ => 0,
            }
        };
        let around = Surroundings {
            memory: Memory::new([&self.context, &self.stack, work, policy, state, control]),
            lookup,
        };
        interpreter::run(&self.program, &around)
            .map(|returned| returned as u32)
            .map_err(|failed| format!("the VM stopped: {failed}"))
    }

    fn wait(&self) -> Result<(), String> {
        // Nothing runs: a VM belongs to one thread, and this one is here.
        Ok(())
    }
}

/// The engine `bpf-vm`.
#[derive(Debug)]
pub struct BpfVm {
    backend: Backend<InVm>,
}

impl BpfVm {
    /// Loads the object into the VM.
    ///
    /// # Errors
    /// Why it does not run here, and what to do.
    pub fn new() -> Result<Self, Unavailable> {
        if cfg!(not(target_pointer_width = "64")) || cfg!(target_endian = "big") {
            return Err(Unavailable(
                "the BPF object runs on 64-bit little-endian machines only".to_owned(),
            ));
        }
        Ok(Self {
            backend: Backend::new().map_err(Unavailable)?,
        })
    }
}

impl Engine for BpfVm {
    fn name(&self) -> &'static str {
        InVm::NAME
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
