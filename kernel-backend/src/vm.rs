//! The engine `bpf-vm`: the object in a userspace VM, without privileges.
//!
//! The VM runs the instructions as they are but for two things: it has no atomic instruction, so
//! `g_tick` is replaced by a call of a function here; and map look-ups are answered from
//! [`Areas`]. It verifies nothing; that is the kernel's part.

use std::any::Any;
use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::mem::{offset_of, size_of};
use std::ptr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use aya_obj::generated::bpf_insn;
use aya_obj::{Function, Object as Parsed};
use rbpf::EbpfVmMbuff;
use twinmesh_engine::{Answer, Engine, EngineError, Held, Request, Strictness};
use twinmesh_xds::Snapshot;

use crate::areas::{Areas, sizes};
use crate::backend::{Backend, Host};
use crate::capacity::Capacity;
use crate::region::Region;
use crate::shape::{Control, WORKERS, Work};
use crate::{Object, Unavailable, elf};

const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// The kernel's number of `bpf_map_lookup_elem`.
const MAP_LOOKUP: u32 = 1;
/// A number that no helper of the kernel has, for [`tick`].
const TICK: u32 = 0x7ff0;
/// The VM's jumps are 16 bits wide.
const MOST_INSTRUCTIONS: usize = 32_000;
/// Bytes of `struct __sk_buff`, and where the mark stands in it.
const CONTEXT: usize = 192;
const MARK: usize = 8;

thread_local! {
    /// The areas of the VM that runs on this thread.
    static RUNNING: Cell<*const Areas> = const { Cell::new(ptr::null()) };
}

/// The areas of the VM that called a helper.
fn running<T>(with: impl FnOnce(&Areas) -> T) -> Option<T> {
    let areas = RUNNING.get();
    // SAFETY: set only while a VM runs, to areas that it borrows.
    unsafe { areas.as_ref() }.map(with)
}

/// `bpf_map_lookup_elem`: the address of an array's entry, or 0. The map is its place in [`sizes`].
fn lookup(map: u64, key: u64, _: u64, _: u64, _: u64) -> u64 {
    // SAFETY: the compiler passes the address of the key's four bytes on the VM's stack.
    let key =
        u64::from(unsafe { ptr::with_exposed_provenance::<u32>(key as usize).read_unaligned() });
    let entry = |areas: &Areas| {
        let region = areas.regions.get(map as usize)?.addresses();
        let (size, count) = entries(areas.capacity).get(map as usize).copied()?;
        (key < count).then_some(region.start + key * size)
    };
    running(entry).flatten().unwrap_or(0)
}

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

/// What `g_tick` does: adds one to a word of the chosen generation's state and gives what it was.
fn tick(work: u64, index: u64, _: u64, _: u64, _: u64) -> u64 {
    let state = ptr::with_exposed_provenance::<u64>(work as usize + offset_of!(Work, state));
    // SAFETY: the program passes the address that a look-up in `WORK` gave.
    let first = unsafe { state.read() };
    let add = |areas: &Areas| {
        let word = areas.regions[2]
            .words()
            .get(first.wrapping_add(index) as u32 as usize);
        word.map_or(0, |word| word.fetch_add(1, Ordering::Relaxed))
    };
    running(add).unwrap_or(0)
}

/// The program with all that it calls, ready to run.
struct Program {
    bytes: Vec<u8>,
    /// The functions: their first instructions, ascending, and the bytes of stack they use.
    stack: Vec<(usize, u16)>,
}

fn instruction(code: u8, immediate: i32) -> bpf_insn {
    let mut instruction =
        aya_obj::copy_instructions(&[code, 0, 0, 0, 0, 0, 0, 0]).unwrap_or_default();
    let mut first = instruction.remove(0);
    first.imm = immediate;
    first
}

/// `g_tick`'s body becomes a call of [`tick`]; what is left of it is never reached.
fn replace_tick(function: &mut Function) {
    for (index, place) in function.instructions.iter_mut().enumerate() {
        *place = if index == 0 {
            instruction(CALL, TICK as i32)
        } else {
            instruction(EXIT, 0)
        };
    }
}

/// How much stack the functions use: the lowest address below the frame's end that is read, written
/// or computed in each.
fn stack_usage(program: &[bpf_insn]) -> Vec<(usize, u16)> {
    let mut starts: Vec<usize> = vec![0];
    for (index, instruction) in program.iter().enumerate() {
        if instruction.code == CALL && instruction.src_reg() == 1 {
            starts.push((index as i64 + 1 + i64::from(instruction.imm)) as usize);
        }
    }
    starts.sort_unstable();
    starts.dedup();
    let ends = starts.iter().skip(1).copied().chain([program.len()]);
    let depth = |part: &[bpf_insn]| {
        let mut deepest = 0;
        let mut copied = None;
        for instruction in part {
            let (class, to, from) = (
                instruction.code & 7,
                instruction.dst_reg(),
                instruction.src_reg(),
            );
            let below = match class {
                1 if from == 10 => -i32::from(instruction.off),
                2 | 3 if to == 10 => -i32::from(instruction.off),
                7 if instruction.code == 0x07 && copied == Some(to) => -instruction.imm,
                _ => 0,
            };
            deepest = deepest.max(below);
            copied = (instruction.code == 0xbf && from == 10).then_some(to);
        }
        // Whole words, as the kernel rounds them.
        (deepest.clamp(0, 512) as u16).next_multiple_of(8)
    };
    starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| (start, depth(program.get(start..end).unwrap_or_default())))
        .collect()
}

fn link(object: &[u8]) -> Result<Program, String> {
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
    let tick = parsed
        .functions
        .values_mut()
        .find(|function| function.name == "g_tick");
    replace_tick(tick.ok_or("has no function `g_tick`")?);
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
    let instructions = &function.instructions;
    if instructions.len() > MOST_INSTRUCTIONS {
        return Err(format!(
            "has {} instructions; the VM can jump over {MOST_INSTRUCTIONS}",
            instructions.len()
        ));
    }
    let mut bytes = Vec::with_capacity(instructions.len() * 8);
    for instruction in instructions {
        bytes.extend([
            instruction.code,
            instruction.src_reg() << 4 | instruction.dst_reg(),
        ]);
        bytes.extend(instruction.off.to_le_bytes());
        bytes.extend(instruction.imm.to_le_bytes());
    }
    Ok(Program {
        bytes,
        stack: stack_usage(instructions),
    })
}

/// The program for a capacity. Kept for the process's life: there are few capacities, and the VM
/// borrows the program for as long as it lives.
fn program(capacity: Capacity) -> Result<&'static Program, String> {
    static PROGRAMS: Mutex<BTreeMap<u64, &'static Program>> = Mutex::new(BTreeMap::new());
    let mut programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(program) = programs.get(&capacity.policy_bytes) {
        return Ok(program);
    }
    let object = Object::get().map_err(|unavailable| unavailable.to_string())?;
    let program = elf::with_policy_bytes(object.bytes(), capacity.policy_bytes)
        .and_then(|bytes| link(&bytes))
        .map_err(|why| format!("{} {why}", object.origin))?;
    let program: &'static Program = Box::leak(Box::new(program));
    programs.insert(capacity.policy_bytes, program);
    Ok(program)
}

/// The stack that the function around an instruction uses. The VM asks for functions' starts, and,
/// as it takes calls of helpers for calls of functions, for places inside of functions too.
fn stack_of(_program: &[u8], place: usize, usage: &mut dyn Any) -> u16 {
    // What comes is a reference to the box that was handed over.
    let usage = usage
        .downcast_ref::<Box<dyn Any>>()
        .and_then(|inner| inner.downcast_ref::<&'static [(usize, u16)]>());
    usage
        .and_then(|usage| usage.iter().rev().find(|(start, _)| *start <= place))
        .map_or(512, |(_, bytes)| *bytes)
}

/// The object in the VM.
struct InVm {
    vm: EbpfVmMbuff<'static>,
    areas: Areas,
}

impl std::fmt::Debug for InVm {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("InVm")
            .field("areas", &self.areas)
            .finish_non_exhaustive()
    }
}

impl Host for InVm {
    const NAME: &'static str = "bpf-vm";

    fn open(capacity: Capacity) -> Result<Self, String> {
        let program = program(capacity)?;
        let refused = |error: std::io::Error| format!("the VM refuses the program: {error}");
        let mut vm = EbpfVmMbuff::new(None).map_err(refused)?;
        vm.set_stack_usage_calculator(stack_of, Box::new(program.stack.as_slice()))
            .map_err(refused)?;
        vm.set_program(&program.bytes).map_err(refused)?;
        vm.register_helper(MAP_LOOKUP, lookup).map_err(refused)?;
        vm.register_helper(TICK, tick).map_err(refused)?;
        let regions = sizes(capacity).map(|(_, words)| Region::owned(words));
        for region in &regions {
            vm.register_allowed_memory(region.addresses());
        }
        Ok(Self {
            vm,
            areas: Areas::new(capacity, regions),
        })
    }

    fn areas(&self) -> &Areas {
        &self.areas
    }

    fn run(&self, worker: u32) -> Result<u32, String> {
        let mut context = [0; CONTEXT];
        if let Some(mark) = context
            .get_mut(MARK..)
            .and_then(|rest| rest.first_chunk_mut())
        {
            *mark = worker.to_le_bytes();
        }
        let before = RUNNING.replace(&raw const self.areas);
        let result = self.vm.execute_program(&[], &context);
        RUNNING.set(before);
        result
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
