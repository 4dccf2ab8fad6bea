//! What is known of a socket.

use core::ptr;

use aya_ebpf::bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock};
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_sk_storage_get};

use crate::datapath_shape::{Address, Config, Socket};
use crate::maps::{CONFIG, SOCKETS};

#[inline(always)]
fn storage(socket: *mut bpf_sock, flags: u64) -> Option<*mut Socket> {
    // SAFETY: the map's address stands for the map; the socket comes from the context.
    let found = unsafe {
        bpf_sk_storage_get(
            (&raw const SOCKETS).cast_mut().cast(),
            socket.cast(),
            ptr::null_mut(),
            flags,
        )
    };
    let found = found.cast::<Socket>();
    if found.is_null() { None } else { Some(found) }
}

/// What is known of a socket, if anything.
#[inline(always)]
pub fn known(socket: *mut bpf_sock) -> Option<*mut Socket> {
    if socket.is_null() {
        return None;
    }
    storage(socket, 0)
}

/// As [`known`]; from now on there is something.
#[inline(always)]
pub fn known_from_now(socket: *mut bpf_sock) -> Option<*mut Socket> {
    if socket.is_null() {
        return None;
    }
    storage(socket, u64::from(BPF_SK_STORAGE_GET_F_CREATE))
}

/// What the agent says.
#[inline(always)]
pub fn config() -> Option<&'static Config> {
    // SAFETY: the value lives as long as the map; the agent writes whole words.
    CONFIG.get_ptr(0).map(|config| unsafe { &*config })
}

/// An IPv4 address.
#[inline(always)]
pub const fn v4(ip: u32, port: u32) -> Address {
    Address {
        ip: [0, 0, 0xffff_u32.to_be(), ip],
        port,
    }
}

/// Whether an address is IPv4.
#[inline(always)]
pub const fn is_v4(address: &Address) -> bool {
    address.ip[0] == 0 && address.ip[1] == 0 && address.ip[2] == 0xffff_u32.to_be()
}

/// Reads a word of kernel memory; 0 where it cannot be read.
#[inline(always)]
pub fn peek<T: Copy + Default>(address: u64) -> T {
    let mut value = T::default();
    // SAFETY: the helper checks what it reads; the value is as long as is said.
    let failed = unsafe {
        bpf_probe_read_kernel(
            (&raw mut value).cast(),
            size_of::<T>() as u32,
            address as *const _,
        )
    };
    if failed == 0 { value } else { T::default() }
}
