//! The BPF programs: maps, and one program that decides by the model.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![feature(core_intrinsics)]
#![allow(internal_features)]

mod memory;
mod seams;
mod shape;

use aya_ebpf::{macros::classifier, programs::TcContext};

use memory::{CONTROL, POLICY, Shell, WORK};
use shape::{Control, DECIDED, NO_MAP, SLOTS, STALE, Work};
use twinmesh_model::layout::work::SEQUENCE;

/// Decides the request that stands in [`WORK`] and leaves the answer there. Which one, the
/// packet's mark says.
#[classifier]
pub fn decide(context: TcContext) -> i32 {
    // SAFETY: the kernel gives a valid context.
    let worker = unsafe { (*context.skb.skb).mark };
    let (Some(work), Some(control)) = (WORK.get_ptr_mut(worker), CONTROL.get_ptr(0)) else {
        return NO_MAP as i32;
    };
    let slot = choose(work, control);
    if slot >= SLOTS {
        return STALE as i32;
    }
    let Some(policy) = POLICY.get_ptr(slot as u32) else {
        return NO_MAP as i32;
    };
    let mut shell = Shell { work, policy };
    twinmesh_model::decide(&mut shell);
    DECIDED as i32
}

/// The slot of the generation to decide by, [`SLOTS`] where it is not there. It is chosen once, and
/// everything that the decision reads comes from it; the loader writes a slot only after it took
/// the slot's generation away and every program that saw it has ended.
#[inline(always)]
fn choose(work: *mut Work, control: *const Control) -> u64 {
    // SAFETY: all fields lie inside the map values; volatile, as the loader writes meanwhile.
    unsafe {
        let given = (&raw const (*work).generation).read_volatile();
        let current = (&raw const (*control).current).read_volatile();
        let generation = if given == 0 { current } else { given };
        let slot = generation & (SLOTS - 1);
        let generations = (&raw const (*control).generations).cast::<u64>();
        if generation == 0 || generations.add(slot as usize).read_volatile() != generation {
            return SLOTS;
        }
        (&raw mut (*work).generation).write(generation);
        (&raw mut (*work).state).write(slot * (&raw const (*control).state_words).read());
        // A request that is decided again, as in a test run that repeats, finds no old slots.
        let sequence = (&raw mut (*work).words)
            .cast::<u64>()
            .add(SEQUENCE as usize);
        sequence.write(sequence.read().wrapping_add(1) & 0xff_ffff_ffff);
        slot
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: the model has no reachable panic; were there one, the program would not load.
    unsafe { core::hint::unreachable_unchecked() }
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
