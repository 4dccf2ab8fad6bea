//! While traffic is recorded, decisions and the ends of requests get numbers in the order in which
//! they change what balancers know; so that a replay finds the same.

use aya_ebpf::helpers::generated::bpf_ringbuf_query;

use crate::atomic::fetch_add;
use crate::datapath_shape::{Config, Order, flag};
use crate::free_list::compare_exchange;
use crate::maps::{EVENTS, ORDER};

/// Bytes of events that may be unread: the rest of the ring is for requests under way.
const MOST_UNREAD: u64 = 4 << 20;
/// Times that the lock is tried.
const TRIES: u64 = 256;

/// The order, if it is kept.
#[inline(always)]
pub fn kept(config: &Config) -> Option<*mut Order> {
    if config.flags & flag::ORDER == 0 {
        return None;
    }
    ORDER.get_ptr_mut(0)
}

/// Whether the agent is behind with reading events: then requests are its own to decide.
#[inline(always)]
pub fn is_behind() -> bool {
    // SAFETY: the map's address stands for the map; 0 asks for the bytes that are not read.
    let unread = unsafe { bpf_ringbuf_query((&raw const EVENTS).cast_mut().cast(), 0) };
    unread > MOST_UNREAD
}

/// Takes the lock; whether that was possible.
///
/// # Safety
/// The address lies inside the map.
#[inline(always)]
pub unsafe fn enter(order: *mut Order) -> bool {
    g_enter(order) != 0
}

/// See [`enter`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn g_enter(order: *mut Order) -> u64 {
    if order.is_null() {
        return 0;
    }
    let mut tries = 0;
    while tries < TRIES {
        tries += 1;
        // SAFETY: the address lies inside the map.
        unsafe {
            let lock = &raw mut (*order).lock;
            if lock.read_volatile() == 0 && compare_exchange(lock, 0, 1) == 0 {
                return 1;
            }
        }
    }
    0
}

/// The next number; gives the lock back.
///
/// # Safety
/// As [`enter`], which gave the lock.
#[inline(always)]
pub unsafe fn leave(order: *mut Order) -> u64 {
    // SAFETY: as the caller says.
    unsafe {
        let number = fetch_add(&raw mut (*order).next, 1);
        (&raw mut (*order).lock).write_volatile(0);
        number
    }
}
