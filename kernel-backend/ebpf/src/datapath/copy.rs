//! Bytes of a message into a work area.

use core::arch::asm;

use aya_ebpf::bindings::sk_msg_md;
use aya_ebpf::helpers::generated::{bpf_msg_pull_data, bpf_probe_read_kernel};
use twinmesh_model::layout::{input, work};

use crate::shape::{HEAD_BYTES, Work};

/// `1..=LIMIT` of any number, in a way that the compiler cannot see through: every verifier learns
/// from it that the number is neither zero nor too large. `LIMIT` is a power of two.
#[inline(always)]
pub fn bounded<const LIMIT: u64>(number: u64) -> u64 {
    let mut value = number.wrapping_sub(1);
    // SAFETY: arithmetic on one register.
    unsafe {
        asm!("{0} &= {1}", "{0} += 1", inout(reg) value, const LIMIT - 1, options(pure, nomem, nostack));
    }
    value
}

/// How many bytes of the message lie in one piece, after as many as wanted were pulled together.
/// Low: bytes; high half 0.
#[inline(always)]
pub fn pull(message: *mut sk_msg_md, wanted: u64) -> u64 {
    // SAFETY: the fields are the context's.
    unsafe {
        let data = (*message).__bindgen_anon_1.data as u64;
        let end = (*message).__bindgen_anon_2.data_end as u64;
        let there = end.wrapping_sub(data);
        if there >= wanted {
            return wanted;
        }
        if bpf_msg_pull_data(message, 0, wanted as u32, 0) != 0 {
            return 0;
        }
        let data = (*message).__bindgen_anon_1.data as u64;
        let end = (*message).__bindgen_anon_2.data_end as u64;
        let there = end.wrapping_sub(data);
        if there < wanted { there } else { wanted }
    }
}

/// Copies the message's first bytes, as many as a head may have, to where the model reads a head.
/// How many; 0 where they cannot be had.
#[inline(always)]
pub fn head(message: *mut sk_msg_md, area: *mut Work) -> u64 {
    // SAFETY: the fields are the context's.
    let size = u64::from(unsafe { (*message).size });
    let wanted = if size < HEAD_BYTES { size } else { HEAD_BYTES };
    let there = pull(message, wanted);
    if there == 0 || there > HEAD_BYTES {
        return 0;
    }
    let length = bounded::<HEAD_BYTES>(there);
    // SAFETY: the area has room for a head from there on, and the helper checks what it reads.
    let failed = unsafe {
        bpf_probe_read_kernel(
            (&raw mut (*area).input)
                .cast::<u8>()
                .add(input::HEAD as usize)
                .cast(),
            length as u32,
            (*message).__bindgen_anon_1.data as *const _,
        )
    };
    if failed != 0 {
        return 0;
    }
    // SAFETY: the word lies inside the map value.
    unsafe {
        (&raw mut (*area).words)
            .cast::<u64>()
            .add(work::HEAD_LENGTH as usize)
            .write(length);
    }
    length
}
