//! Atomic instructions, which the compiler's own functions do not exist for here.

use core::arch::asm;

/// Adds to a word; what it was before.
///
/// # Safety
/// The address lies inside a map value.
#[inline(always)]
pub unsafe fn fetch_add(address: *mut u64, amount: u64) -> u64 {
    let mut value = amount;
    // SAFETY: as the caller says.
    unsafe {
        asm!(
            "{value} = atomic_fetch_add((u64 *)({address} + 0), {value})",
            value = inout(reg) value,
            address = in(reg) address,
        );
    }
    value
}
