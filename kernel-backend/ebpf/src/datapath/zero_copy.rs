//! MSG_ZEROCOPY: what a tracked socket sends is copied, and nothing tells its owner when the pages are
//! its own again. So such a socket has no SO_ZEROCOPY: it cannot be set, and a socket that has it is
//! not tracked.

use aya_ebpf::helpers::generated::bpf_set_retval;
use aya_ebpf::programs::SockoptContext;

use crate::datapath_shape::kind;
use crate::socket::{config, known, peek};

const SOL_SOCKET: i32 = 1;
const SO_ZEROCOPY: i32 = 60;
/// What the kernel itself says where a socket has no zero copy.
const EOPNOTSUPP: i32 = 95;

/// An application sets an option.
#[inline(always)]
pub fn set_option(context: &SockoptContext) {
    let option = context.sockopt;
    // SAFETY: the context's fields; the storage is the socket's own.
    unsafe {
        let wanted = (*option).level == SOL_SOCKET && (*option).optname == SO_ZEROCOPY;
        if wanted
            && is_on(option)
            && let Some(socket) = known((*option).__bindgen_anon_1.sk)
        {
            // One that is still connecting may be tracked before the option is set.
            let tracked = match (*socket).kind {
                kind::CLIENT | kind::UPSTREAM => true,
                kind::REDIRECTED => (*socket).index != 0,
                _ => false,
            };
            if tracked {
                bpf_set_retval(-EOPNOTSUPP);
                return;
            }
        }
        // The kernel takes the application's own bytes, however many they are.
        (&raw mut (*option).optlen).write_volatile(0);
    }
}

/// Whether the option is to be switched on; what is no number is the kernel's to refuse.
///
/// # Safety
/// The context is the kernel's.
#[inline(always)]
unsafe fn is_on(option: *mut aya_ebpf::bindings::bpf_sockopt) -> bool {
    // SAFETY: the context's fields; what is read lies before the buffer's end.
    unsafe {
        let value = (*option).__bindgen_anon_2.optval as usize;
        let end = (*option).__bindgen_anon_3.optval_end as usize;
        value + 4 <= end && (value as *const u32).read_volatile() == 1
    }
}

/// Whether a socket has SO_ZEROCOPY; one that was accepted has it from its listening socket. `socket`:
/// the address of its `struct sock`, out of a map.
#[inline(always)]
pub fn is_set(socket: u64) -> bool {
    let Some(config) = config() else {
        return false;
    };
    if config.zero_copy == 0 {
        return false;
    }
    peek::<u64>(socket.wrapping_add(config.sk_flags)) & config.zero_copy != 0
}
