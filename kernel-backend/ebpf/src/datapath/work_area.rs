//! Work areas: the programs can be preempted, so none belongs to a CPU; who needs one takes it.

use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;

use crate::datapath_shape::WORK_AREAS;
use crate::free_list::compare_exchange;
use crate::memory::WORK;
use crate::shape::Work;

/// Areas that are tried.
const TRIES: u64 = 16;

/// A free work area, marked as taken.
#[inline(always)]
pub fn take() -> Option<*mut Work> {
    // SAFETY: the helper takes nothing.
    let first = unsafe { bpf_get_smp_processor_id() };
    let taken = g_take_area(u64::from(first as u32));
    WORK.get_ptr_mut(taken.wrapping_sub(1) as u32)
}

/// Takes an area: its index plus one, or 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn g_take_area(first: u64) -> u64 {
    let mut tries = 0;
    while tries < TRIES {
        let index = first.wrapping_add(tries.wrapping_mul(17)) & (WORK_AREAS - 1);
        let Some(work) = WORK.get_ptr_mut(index as u32) else {
            return 0;
        };
        // SAFETY: the field lies inside the map value.
        unsafe {
            let busy = &raw mut (*work).busy;
            if busy.read_volatile() == 0 && compare_exchange(busy, 0, 1) == 0 {
                return index.wrapping_add(1);
            }
        }
        tries += 1;
    }
    0
}

/// Gives an area back.
#[inline(always)]
pub fn give(work: *mut Work) {
    // SAFETY: the field lies inside the map value.
    unsafe { (&raw mut (*work).busy).write_volatile(0) }
}
