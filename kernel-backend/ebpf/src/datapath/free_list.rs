//! Lists of free records that programs on all CPUs and the agent take from and put back into: a
//! stack by index, its first word with a count of changes above, so that a record that was taken
//! and put back meanwhile is noticed.

use core::arch::asm;

/// Times that are tried against others.
const TRIES: u64 = 16;

/// Puts `new` where `old` is; what was there before.
///
/// # Safety
/// The address lies inside a map value.
#[inline(always)]
pub unsafe fn compare_exchange(address: *mut u64, old: u64, new: u64) -> u64 {
    let mut value = old;
    // SAFETY: as the caller says.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({address} + 0, r0, {new})",
            inout("r0") value,
            new = in(reg) new,
            address = in(reg) address,
        );
    }
    value
}

/// Takes the first. Its index plus one, or 0 where there is none.
///
/// # Safety
/// `first` lies inside a map value, and so do the addresses that `next` gives.
#[inline(always)]
pub unsafe fn take(first: *mut u64, next: impl Fn(u64) -> Option<*mut u64>) -> u64 {
    let mut tries = 0;
    while tries < TRIES {
        tries += 1;
        // SAFETY: as the caller says; others write meanwhile.
        unsafe {
            let old = first.read_volatile();
            let index = old & 0xffff_ffff;
            if index == 0 {
                return 0;
            }
            let Some(next) = next(index - 1) else {
                return 0;
            };
            let new = next.read_volatile() & 0xffff_ffff | ((old >> 32).wrapping_add(1)) << 32;
            if compare_exchange(first, old, new) == old {
                return index;
            }
        }
    }
    0
}

/// Puts one in. Whether that was done.
///
/// # Safety
/// Both addresses lie inside map values, and `next` belongs to the record `index`, which is in no
/// list.
#[inline(always)]
pub unsafe fn put(first: *mut u64, next: *mut u64, index: u64) -> bool {
    let mut tries = 0;
    while tries < TRIES {
        tries += 1;
        // SAFETY: as the caller says; others write meanwhile.
        unsafe {
            let old = first.read_volatile();
            next.write_volatile(old & 0xffff_ffff);
            let new = index.wrapping_add(1) & 0xffff_ffff | ((old >> 32).wrapping_add(1)) << 32;
            if compare_exchange(first, old, new) == old {
                return true;
            }
        }
    }
    false
}
