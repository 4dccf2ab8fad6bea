//! Connections are tracked when they are established, before either end can send: a client's that
//! was redirected to the agent, and the far end of the agent's own to an endpoint on this node.

use aya_ebpf::bindings::bpf_sock_ops;
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use aya_ebpf::programs::SockOpsContext;

use crate::datapath_shape::{Accepted, Address, flag, kind, mode};
use crate::free_list;
use crate::maps::{ACCEPTED, CLIENT, CLIENTS, EXPECTED, FREE, UPSTREAM, UPSTREAMS};
use crate::socket::{config, known, known_from_now, v4};
use crate::zero_copy;

/// `BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB`.
const CONNECTED: u32 = 4;
/// `BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB`.
const ACCEPTING: u32 = 5;
const INET: u32 = 2;

/// A connection has got somewhere.
#[inline(always)]
pub fn stage(context: &SockOpsContext) {
    match context.op() {
        CONNECTED => client(context.ops),
        ACCEPTING => upstream(context.ops),
        _ => {}
    }
}

/// The socket's own address.
#[inline(always)]
fn local(ops: *mut bpf_sock_ops) -> Address {
    // SAFETY: the context's fields, word by word.
    unsafe {
        let port = (*ops).local_port;
        if (*ops).family == INET {
            return v4((*ops).local_ip4, port);
        }
        let ip = (&raw const (*ops).local_ip6).cast::<u32>();
        Address {
            ip: [
                ip.read_volatile(),
                ip.add(1).read_volatile(),
                ip.add(2).read_volatile(),
                ip.add(3).read_volatile(),
            ],
            port,
        }
    }
}

/// The peer's address.
#[inline(always)]
fn remote(ops: *mut bpf_sock_ops) -> Address {
    // SAFETY: as above; the port is in network order.
    unsafe {
        let port = (*ops).remote_port.swap_bytes();
        if (*ops).family == INET {
            return v4((*ops).remote_ip4, port);
        }
        let ip = (&raw const (*ops).remote_ip6).cast::<u32>();
        Address {
            ip: [
                ip.read_volatile(),
                ip.add(1).read_volatile(),
                ip.add(2).read_volatile(),
                ip.add(3).read_volatile(),
            ],
            port,
        }
    }
}

/// The socket, and the address of its `struct sock`.
#[inline(always)]
fn socket(ops: *mut bpf_sock_ops) -> *mut aya_ebpf::bindings::bpf_sock {
    // SAFETY: the context's field.
    unsafe { (*ops).__bindgen_anon_2.sk }
}

/// A client's connection to the agent is there.
#[inline(always)]
fn client(ops: *mut bpf_sock_ops) {
    let Some(known) = known(socket(ops)) else {
        return;
    };
    // SAFETY: the socket's own storage, the context's fields, and records inside their maps.
    unsafe {
        if (*known).kind != kind::REDIRECTED {
            return;
        }
        let source = local(ops);
        let mut accepted = Accepted {
            destination: (*known).destination,
            client: 0,
            uses: 0,
        };
        let splices =
            (*known).index != 0 && config().is_some_and(|config| config.flags & flag::SPLICE != 0);
        if splices && let Some(index) = free_record() {
            let Some(client) = CLIENT.get_ptr_mut(index as u32) else {
                return;
            };
            let cookie = bpf_get_socket_cookie(ops.cast());
            let uses = (*client).uses.wrapping_add(1);
            (*client).uses = uses;
            (*client).cookie = cookie;
            // The verifier lets nobody count with a socket's address but out of a map.
            let address = &raw mut (*client).socket;
            address.write_volatile(socket(ops) as u64);
            let untracked = zero_copy::is_set(address.read_volatile());
            (*client).source = source;
            (*client).destination = (*known).destination;
            (*client).mode = mode::SPLICE;
            (*client).upstream = 0;
            (*client).body = 0;
            (*client).rest = 0;
            (*client).pipelines = 0;
            (*client).first_write = (*ops).snd_nxt;
            (*client).first_read = (*ops).rcv_nxt;
            (*client).agent_read = 0;
            (*client).agent_written = 0;
            (*client).closed = 0;
            (*client).spliced = 0;
            (*client).handed = 0;
            (*client).head_length = 0;
            (*client).replayable = 0;
            (*client).decision.active = 0;
            if !untracked && CLIENTS.update(cookie, &mut *ops, 0).is_ok() {
                (*known).kind = kind::CLIENT;
                (*known).index = index as u32;
                (*known).word = uses;
                accepted.client = index as u32 + 1;
                accepted.uses = uses;
            } else {
                give_back(index);
            }
        }
        if accepted.client == 0 {
            // It may have zero copy from here on.
            (*known).index = 0;
        }
        let _ = ACCEPTED.insert(source, accepted, 0);
    }
}

#[inline(always)]
fn free_record() -> Option<u64> {
    let first = FREE.get_ptr_mut(0)?;
    // SAFETY: all addresses lie inside map values.
    let index = unsafe {
        free_list::take(first, |index| {
            CLIENT
                .get_ptr_mut(index as u32)
                .map(|client| &raw mut (*client).next)
        })
    };
    index.checked_sub(1)
}

#[inline(always)]
fn give_back(index: u64) {
    if let (Some(first), Some(client)) = (FREE.get_ptr_mut(0), CLIENT.get_ptr_mut(index as u32)) {
        // SAFETY: both addresses lie inside map values.
        unsafe { free_list::put(first, &raw mut (*client).next, index) };
    }
}

/// An endpoint has accepted a connection; the agent's are expected.
#[inline(always)]
fn upstream(ops: *mut bpf_sock_ops) {
    let remote = remote(ops);
    // SAFETY: the map's value, the socket's own storage, a record inside its map.
    unsafe {
        let Some(index) = EXPECTED.get(remote).copied() else {
            return;
        };
        let Some(upstream) = UPSTREAM.get_ptr_mut(index as u32) else {
            return;
        };
        let address = &raw mut (*upstream).bytes_at;
        address.write_volatile(socket(ops) as u64);
        if zero_copy::is_set(address.read_volatile()) {
            return;
        }
        let Some(known) = known_from_now(socket(ops)) else {
            return;
        };
        let cookie = bpf_get_socket_cookie(ops.cast());
        (*known).kind = kind::UPSTREAM;
        (*known).index = index as u32;
        (*known).word = (*upstream).uses;
        if UPSTREAMS.update(cookie, &mut *ops, 0).is_ok() {
            (&raw mut (*upstream).cookie).write_volatile(cookie);
        } else {
            (*known).kind = 0;
        }
    }
}
