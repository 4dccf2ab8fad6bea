//! The model's memory in the kernel: map values, read at masked offsets.

use core::arch::asm;
use core::intrinsics::is_val_statically_known;

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use twinmesh_model::layout::{header, work};

use crate::shape::{Control, INPUT_BYTES, POLICY_MASKS, Policy, SLOTS, WORKERS, Work};

/// `BPF_F_MMAPABLE`: the loader reads and writes the values without a system call.
const MMAPABLE: usize = 1024;

#[btf_map]
pub static WORK: Array<Work, { WORKERS as usize }, MMAPABLE> = Array::new();

#[btf_map]
pub static POLICY: Array<Policy, { SLOTS as usize }, MMAPABLE> = Array::new();

/// The balancers' state, one slot's words after the other's; the loader sets how many.
#[btf_map]
pub static STATE: Array<u64, 65536, MMAPABLE> = Array::new();

#[btf_map]
pub static CONTROL: Array<Control, 1, MMAPABLE> = Array::new();

/// `value & MASK`, in a way that the compiler cannot see through: where it thinks a mask
/// redundant it drops it, and the verifier needs it.
#[inline(always)]
fn mask<const MASK: u64>(value: u64) -> u64 {
    let mut masked = value;
    // SAFETY: one arithmetic instruction on one register.
    unsafe { asm!("{0} &= {1}", inout(reg) masked, const MASK, options(pure, nomem, nostack)) };
    masked
}

/// As [`mask`], but a number that is known at compile time and below `SIZE` stays what it is: it
/// becomes part of the instruction that reads or writes.
#[inline(always)]
fn bound<const MASK: u64, const SIZE: u64>(value: u64) -> u64 {
    if is_val_statically_known(value) && value < SIZE {
        value & MASK
    } else {
        mask::<MASK>(value)
    }
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
    /// The address of a byte of input; eight bytes from it on lie inside the value.
    #[inline(always)]
    fn input_at(&self, offset: u64) -> *const u8 {
        // SAFETY: masked, the offset lies inside the array, and so does the padding after it.
        unsafe {
            (&raw const (*self.work).input)
                .cast::<u8>()
                .add(mask::<{ INPUT_BYTES - 1 }>(offset) as usize)
        }
    }

    /// See [`twinmesh_model::Machine::input64`]. The compiler would read eight single bytes, as the
    /// offset is any; the machine reads them at once.
    #[inline(always)]
    pub fn read_input64(&self, offset: u64) -> u64 {
        let address = self.input_at(offset);
        let value: u64;
        // SAFETY: one read of eight bytes inside the value.
        unsafe {
            asm!("{0} = *(u64 *)({1} + 0)", out(reg) value, in(reg) address, options(pure, readonly, nostack));
        }
        value
    }

    /// See [`twinmesh_model::Machine::input8`].
    #[inline(always)]
    pub fn read_input8(&self, offset: u64) -> u8 {
        // SAFETY: the address lies inside the value.
        unsafe { self.input_at(offset).read() }
    }

    /// Reads at a masked offset.
    ///
    /// # Safety
    /// The mask keeps the value that is read inside the policy, and its offset a multiple of its
    /// size.
    #[inline(always)]
    unsafe fn read_policy<T: Copy, const MASK: u64>(&self, offset: u64) -> T {
        // SAFETY: as the caller says.
        unsafe {
            self.policy
                .cast::<u8>()
                .add(bound::<MASK, { header::BYTES }>(offset) as usize)
                .cast::<T>()
                .read()
        }
    }

    /// See [`twinmesh_model::Machine::policy64`].
    #[inline(always)]
    pub fn read_policy64(&self, offset: u64) -> u64 {
        // SAFETY: masked, the offset is a multiple of eight below the policy's size.
        unsafe { self.read_policy::<u64, { POLICY_MASKS[0] }>(offset) }
    }

    /// See [`twinmesh_model::Machine::policy16`].
    #[inline(always)]
    pub fn read_policy16(&self, offset: u64) -> u16 {
        // SAFETY: masked, the offset is a multiple of two below the policy's size.
        unsafe { self.read_policy::<u16, { POLICY_MASKS[1] }>(offset) }
    }

    /// See [`twinmesh_model::Machine::policy8`].
    #[inline(always)]
    pub fn read_policy8(&self, offset: u64) -> u8 {
        // SAFETY: masked, the offset lies below the policy's size.
        unsafe { self.read_policy::<u8, { POLICY_MASKS[2] }>(offset) }
    }

    /// The address of a word of the work area.
    #[inline(always)]
    pub fn word_at(&self, index: u64) -> *mut u64 {
        // SAFETY: masked, the index lies inside the array.
        unsafe {
            self.work
                .cast::<u64>()
                .add(bound::<{ work::WORDS - 1 }, { work::WORDS }>(index) as usize)
        }
    }

    /// Writes a word of the work area. Zeros are written one by one: the compiler would make one
    /// call of many of them, and what it calls goes byte by byte.
    #[inline(always)]
    pub fn write_word(&self, index: u64, value: u64) {
        let address = self.word_at(index);
        // SAFETY: the address lies inside the map value.
        unsafe {
            if is_val_statically_known(value) && value == 0 {
                address.write_volatile(0);
            } else {
                address.write(value);
            }
        }
    }

    /// A word of the chosen generation's state; `None` where the index is outside.
    #[inline(always)]
    pub fn state_at(&self, index: u64) -> Option<*mut u64> {
        // SAFETY: the fields lie inside the map value.
        let (first, active) = unsafe {
            (
                (&raw const (*self.work).state).read(),
                (&raw const (*self.work).active).read(),
            )
        };
        let at = if index < active {
            index
        } else {
            first.wrapping_add(index)
        };
        STATE.get_ptr_mut(at as u32)
    }
}
