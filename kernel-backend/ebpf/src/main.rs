//! The BPF programs: maps, and one program that decides by the model.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![feature(core_intrinsics)]
#![allow(internal_features)]

mod atomic;
mod generation;
mod memory;
mod seams;
mod shape;

use aya_ebpf::{macros::classifier, programs::TcContext};

use generation::choose;
use memory::{CONTROL, POLICY, Shell, WORK};
use shape::{DECIDED, NO_MAP, SLOTS, STALE};

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

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: the model has no reachable panic; were there one, the program would not load.
    unsafe { core::hint::unreachable_unchecked() }
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
