//! What a decision reads beside the head: the connection's ends, as the compiler's `prepare` lays
//! them out in userspace.

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use twinmesh_model::Machine;
use twinmesh_model::layout::{connection, input, work};

use crate::datapath_shape::Address;
use crate::memory::Shell;
use crate::shape::Work;
use crate::socket::is_v4;

#[inline(always)]
fn put64(area: *mut Work, offset: u64, value: u64) {
    // SAFETY: the offset is a constant inside the input, and a multiple of eight.
    unsafe {
        (&raw mut (*area).input)
            .cast::<u8>()
            .add(offset as usize)
            .cast::<u64>()
            .write(value);
    }
}

#[inline(always)]
fn put_address(area: *mut Work, offset: u64, address: &Address) {
    let half = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    put64(area, offset, half(address.ip[0], address.ip[1]));
    put64(area, offset + 8, half(address.ip[2], address.ip[3]));
    put64(
        area,
        offset + 16,
        u64::from((address.port as u16).swap_bytes()),
    );
}

/// Whether Envoy counts an address as the machine's own: of the loopback network only these two.
#[inline(always)]
fn is_localhost(address: &Address) -> bool {
    let first = address.ip[0] | address.ip[1];
    if is_v4(address) {
        address.ip[3] == 0x7f00_0001_u32.to_be()
    } else {
        first | address.ip[2] == 0 && address.ip[3] == 1_u32.to_be()
    }
}

/// Lays out everything but the head. The random number.
#[inline(always)]
pub fn lay_out(shell: &mut Shell, source: &Address, destination: &Address) -> u64 {
    let area = shell.work;
    put64(area, input::SLASH, u64::from(b'/'));
    put64(area, input::HTTP, u64::from_le_bytes(*b"http\0\0\0\0"));
    put64(area, input::HTTPS, u64::from_le_bytes(*b"https\0\0\0"));
    put64(area, input::HTTP_1_1, u64::from_le_bytes(*b"http/1.1"));
    put_address(area, input::DESTINATION_ADDRESS, destination);
    put_address(area, input::SOURCE_ADDRESS, source);
    let mut bits = if is_v4(destination) {
        connection::DESTINATION_V4
    } else {
        connection::DESTINATION_V6
    };
    bits |= if is_v4(source) {
        connection::SOURCE_V4
    } else {
        connection::SOURCE_V6
    };
    if is_localhost(source) || source.ip == destination.ip {
        bits |= connection::LOCAL;
    }
    // SAFETY: the helper takes nothing.
    let random = unsafe {
        u64::from(bpf_get_prandom_u32() as u32) | u64::from(bpf_get_prandom_u32() as u32) << 32
    };
    shell.set_word(work::LISTENER, 0);
    shell.set_word(work::ROUTE_CONFIGURATION, 0);
    shell.set_word(work::RANDOM, random);
    shell.set_word(work::CONNECTION, bits);
    shell.set_word(work::SERVER_NAME_LENGTH, 0);
    shell.set_word(work::APPLICATION_PROTOCOLS_LENGTH, 0);
    random
}
