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
    let mut at = unsafe { bpf_get_smp_processor_id() } as u64;
    let mut tries = 0;
    while tries < TRIES {
        let work = WORK.get_ptr_mut((at & (WORK_AREAS - 1)) as u32)?;
        // SAFETY: the field lies inside the map value.
        unsafe {
            let busy = &raw mut (*work).busy;
            if busy.read_volatile() == 0 && compare_exchange(busy, 0, 1) == 0 {
                return Some(work);
            }
        }
        at = at.wrapping_add(17);
        tries += 1;
    }
    None
}

/// Gives an area back.
#[inline(always)]
pub fn give(work: *mut Work) {
    // SAFETY: the field lies inside the map value.
    unsafe { (&raw mut (*work).busy).write_volatile(0) }
}
