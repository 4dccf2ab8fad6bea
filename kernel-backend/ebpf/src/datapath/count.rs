//! Requests are counted where they end, by what was decided, and how long they took.

use twinmesh_model::Machine;
use twinmesh_model::layout::work;

use crate::atomic::fetch_add;
use crate::datapath_shape::{Count, CountKey, FIRST_RANGE, RANGES};
use crate::maps::{COUNTS, NOTHING};
use crate::memory::Shell;
use crate::shape::Work;

/// `BPF_NOEXIST`.
const NEW: u64 = 1;

/// What a request is counted by; `word` gives the words that its decision left.
#[inline(always)]
pub fn key(generation: u64, word: impl Fn(u64) -> u64, status: u64) -> CountKey {
    CountKey {
        generation,
        listener: word(work::CHOSEN_LISTENER) as u32,
        filter_chain: word(work::CHOSEN_FILTER_CHAIN) as u32,
        route_configuration: word(work::CHOSEN_ROUTE_CONFIGURATION) as u32,
        virtual_host: word(work::CHOSEN_VIRTUAL_HOST) as u32,
        route: word(work::CHOSEN_ROUTE) as u32,
        cluster: word(work::CHOSEN_CLUSTER) as u32,
        endpoint: word(work::ENDPOINT) as u32,
        status: status as u32,
    }
}

/// Counts a connection whose endpoint was chosen by what stands in a work area. A function of its
/// own, for its stack: connect(2)'s programs have none to spare.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn g_count_connection(area: *mut Work) -> u64 {
    if area.is_null() {
        return 0;
    }
    let shell = Shell {
        work: area,
        policy: core::ptr::null(),
    };
    // SAFETY: the field lies inside the map value.
    let generation = unsafe { (&raw const (*area).generation).read() };
    add(key(generation, |index| shell.word(index), 0), 0, 0);
    1
}

/// Counts one.
#[inline(always)]
pub fn add(key: CountKey, bytes: u64, duration_us: u64) {
    let found = match COUNTS.get_ptr_mut(key) {
        Some(found) => Some(found),
        None => {
            if let Some(nothing) = NOTHING.get_ptr(0) {
                // SAFETY: the value lives as long as the map.
                let _ = COUNTS.insert(key, unsafe { &*nothing }, NEW);
            }
            COUNTS.get_ptr_mut(key)
        }
    };
    let Some(found) = found else {
        crate::maps::count_lost();
        return;
    };
    // SAFETY: the look-up gave an address inside the map; the range is below how many there are.
    unsafe {
        fetch_add(&raw mut (*found).requests, 1);
        fetch_add(&raw mut (*found).bytes, bytes);
        fetch_add(&raw mut (*found).duration_us, duration_us);
        add_range(found, duration_us);
    }
}

/// Counts a duration in its range.
///
/// # Safety
/// The address lies inside the map.
#[inline(always)]
unsafe fn add_range(count: *mut Count, duration_us: u64) {
    let mut range = 0;
    let mut rest = duration_us >> FIRST_RANGE;
    while range < RANGES - 1 {
        if rest == 0 {
            break;
        }
        rest >>= 1;
        range += 1;
    }
    // SAFETY: the loop ends below the number of ranges.
    unsafe {
        fetch_add(
            (&raw mut (*count).ranges).cast::<u64>().add(range as usize),
            1,
        );
    }
}
