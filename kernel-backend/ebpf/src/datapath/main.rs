//! The BPF programs of the datapath: they take connections and route requests by the model.
//!
//! A connection is taken at connect(2) ([`connect`]), its ends are tracked when it is established
//! ([`establish`]), its requests are decided at sendmsg(2) ([`client`]), and responses find their
//! way back ([`upstream`]).

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![feature(core_intrinsics)]
#![allow(internal_features)]

#[path = "../atomic.rs"]
mod atomic;
mod client;
mod connect;
mod copy;
mod count;
#[path = "shape.rs"]
#[allow(dead_code, reason = "shared with the agent, which uses all of it")]
mod datapath_shape;
mod ending;
mod establish;
mod free_list;
#[path = "../generation.rs"]
mod generation;
mod input;
mod maps;
#[path = "../memory.rs"]
mod memory;
mod order;
#[path = "../seams.rs"]
mod seams;
#[path = "../shape.rs"]
#[allow(
    dead_code,
    reason = "shared with the program of the test runs, which uses all of it"
)]
mod shape;
mod socket;
mod upstream;
mod work_area;
mod zero_copy;

use aya_ebpf::{
    macros::{cgroup_sock, cgroup_sock_addr, cgroup_sockopt, classifier, sk_msg, sock_ops},
    programs::{
        SkMsgContext, SockAddrContext, SockContext, SockOpsContext, SockoptContext, TcContext,
    },
};

/// connect(2) of an IPv4 socket.
#[cgroup_sock_addr(connect4)]
pub fn connect4(context: SockAddrContext) -> i32 {
    connect::v4(&context);
    1
}

/// connect(2) of an IPv6 socket.
#[cgroup_sock_addr(connect6)]
pub fn connect6(context: SockAddrContext) -> i32 {
    connect::v6(&context);
    1
}

/// getpeername(2) of an IPv4 socket.
#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(context: SockAddrContext) -> i32 {
    connect::peer_v4(&context);
    1
}

/// getpeername(2) of an IPv6 socket.
#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(context: SockAddrContext) -> i32 {
    connect::peer_v6(&context);
    1
}

/// getsockopt(2).
#[cgroup_sockopt(getsockopt)]
pub fn getsockopt(context: SockoptContext) -> i32 {
    connect::original_destination(&context);
    1
}

/// setsockopt(2).
#[cgroup_sockopt(setsockopt)]
pub fn setsockopt(context: SockoptContext) -> i32 {
    zero_copy::set_option(&context);
    1
}

/// The last close of a socket.
#[cgroup_sock(sock_release)]
pub fn sock_release(context: SockContext) -> i32 {
    connect::released(&context);
    1
}

/// A connection's stages.
#[sock_ops]
pub fn stage(context: SockOpsContext) -> u32 {
    establish::stage(&context);
    1
}

/// sendmsg(2) of a tracked client.
#[sk_msg]
pub fn client_message(context: SkMsgContext) -> u32 {
    client::message(&context)
}

/// sendmsg(2) of a tracked upstream connection's far end.
#[sk_msg]
pub fn upstream_message(context: SkMsgContext) -> u32 {
    upstream::message(&context)
}

/// Asked by the agent, by a test run: has a client, by the packet's mark, read all that was
/// redirected to it?
#[classifier]
pub fn drained(context: TcContext) -> i32 {
    // SAFETY: the kernel gives a valid context.
    let index = unsafe { (*context.skb.skb).mark };
    match maps::CLIENT.get_ptr(index) {
        Some(client) => i32::from(upstream::is_drained(client)),
        None => 1,
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: the model has no reachable panic; were there one, the program would not load.
    unsafe { core::hint::unreachable_unchecked() }
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
