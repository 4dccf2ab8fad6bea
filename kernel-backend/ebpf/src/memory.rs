//! The model's memory in the kernel: map values, read at masked offsets.

use core::arch::asm;

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use twinmesh_model::layout::{input, work};

/// Bytes of head that fit.
pub const HEAD_BYTES: u64 = 8192;
/// Bytes of input that are addressed: the next power of two.
const INPUT_BYTES: u64 = 16384;
/// Bytes of policy.
const POLICY_BYTES: u64 = 1 << 22;
/// Words of balancer state.
const STATE_WORDS: u32 = 1 << 20;

/// One request: the model's work area and its input.
#[repr(C)]
pub struct Work {
    words: [u64; work::WORDS as usize],
    input: [u8; INPUT_BYTES as usize + input::PADDING as usize],
}

/// The compiled policy.
#[repr(C)]
pub struct Policy {
    bytes: [u8; POLICY_BYTES as usize + 8],
}

#[map]
static STATE: Array<u64> = Array::with_max_entries(STATE_WORDS, 1024);

/// `value & MASK`, in a way that the compiler cannot see through: where it thinks a mask
/// redundant it drops it, and the verifier needs it.
#[inline(always)]
fn mask<const MASK: u64>(value: u64) -> u64 {
    let mut masked = value;
    // SAFETY: one arithmetic instruction on one register.
    unsafe { asm!("{0} &= {1}", inout(reg) masked, const MASK, options(pure, nomem, nostack)) };
    masked
}

/// The kernel's [`twinmesh_model::Machine`].
#[derive(Clone, Copy)]
pub struct Shell {
    /// The request's map value.
    pub work: *mut Work,
    /// The policy's map value.
    pub policy: *const Policy,
}

impl Shell {
    /// See [`twinmesh_model::Machine::input64`].
    #[inline(always)]
    pub fn read_input<T: Copy>(&self, offset: u64) -> T {
        // SAFETY: masked, the offset and eight bytes after it lie inside the value.
        unsafe {
            (&raw const (*self.work).input)
                .cast::<u8>()
                .add(mask::<{ INPUT_BYTES - 1 }>(offset) as usize)
                .cast::<T>()
                .read_unaligned()
        }
    }

    /// See [`twinmesh_model::Machine::policy64`].
    #[inline(always)]
    pub fn read_policy<T: Copy>(&self, offset: u64) -> T {
        // SAFETY: masked, the offset and eight bytes after it lie inside the value.
        unsafe {
            self.policy
                .cast::<u8>()
                .add(mask::<{ POLICY_BYTES - 1 }>(offset) as usize)
                .cast::<T>()
                .read_unaligned()
        }
    }

    /// The address of a word of the work area.
    #[inline(always)]
    pub fn word_at(&self, index: u64) -> *mut u64 {
        // SAFETY: masked, the index lies inside the array.
        unsafe { self.work.cast::<u64>().add(mask::<{ work::WORDS - 1 }>(index) as usize) }
    }

    /// A word of state; null where the index is outside.
    #[inline(always)]
    pub fn state_at(index: u64) -> Option<*mut u64> {
        STATE.get_ptr_mut(index as u32)
    }
}
