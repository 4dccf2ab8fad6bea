//! The BPF programs: maps, and one program that decides by the model.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod memory;
mod seams;

use aya_ebpf::{
    bindings::TC_ACT_OK,
    macros::{classifier, map},
    maps::Array,
    programs::TcContext,
};

use memory::{Policy, Shell, Work};

#[map]
static WORK: Array<Work> = Array::with_max_entries(1, 1024);

#[map]
static POLICY: Array<Policy> = Array::with_max_entries(1, 0);

/// Decides the request that stands in [`WORK`] and leaves the answer there.
#[classifier]
pub fn decide(_context: TcContext) -> i32 {
    let (Some(work), Some(policy)) = (WORK.get_ptr_mut(0), POLICY.get_ptr(0)) else {
        return -1;
    };
    let mut shell = Shell { work, policy };
    twinmesh_model::decide(&mut shell);
    TC_ACT_OK as i32
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: the model has no reachable panic; were there one, the program would not load.
    unsafe { core::hint::unreachable_unchecked() }
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
