//! Connections are taken at connect(2): to an endpoint, where nothing but the connection decides
//! which, else to the agent. The application is told that it is connected to what it asked for.

use aya_ebpf::bindings::{bpf_sock, bpf_sock_addr};
use aya_ebpf::helpers::generated::bpf_get_netns_cookie;
use aya_ebpf::programs::{SockAddrContext, SockContext, SockoptContext};
use twinmesh_model::Machine;
use twinmesh_model::layout::{high, input, listener, outcome, work};

use crate::atomic;
use crate::count;
use crate::datapath_shape::{Address, Config, Socket, flag, kind};
use crate::generation::choose;
use crate::input::lay_out;
use crate::maps::{CLIENT, ENDPOINT, state_word};
use crate::memory::{CONTROL, POLICY, Shell};
use crate::shape::{SLOTS, Work};
use crate::socket::{config, is_v4, known, known_from_now, v4 as v4_address};
use crate::work_area;

const TCP: u32 = 6;
const INET: u32 = 2;
const INET6: u32 = 10;
const SOL_IP: i32 = 0;
const SOL_IPV6: i32 = 41;
/// `SO_ORIGINAL_DST` and `IP6T_SO_ORIGINAL_DST`.
const ORIGINAL_DESTINATION: i32 = 80;
/// A larger option than this does not fit the program's buffer, and must be said to stay as it is.
const OPTION_BYTES: i32 = 4096;

/// What a request reads like where nothing of it is looked at.
const ANY_HEAD: [u64; 4] = [
    u64::from_le_bytes(*b"GET / HT"),
    u64::from_le_bytes(*b"TP/1.1\r\n"),
    u64::from_le_bytes(*b"host: a\r"),
    u64::from_le_bytes(*b"\n\r\n\0\0\0\0\0"),
];
const ANY_HEAD_BYTES: u64 = 27;

/// What becomes of a connection.
enum Target {
    /// It goes where it wants.
    Own,
    /// To the agent; its requests are decided one by one, or not.
    Agent(bool),
    /// To an endpoint, counted by the state word at a place.
    Endpoint(Address, u64),
}

/// An IPv4 socket connects.
#[inline(always)]
pub fn v4(context: &SockAddrContext) {
    let to = context.sock_addr;
    // SAFETY: the context's fields.
    let destination = unsafe {
        v4_address(
            (*to).user_ip4,
            u32::from(((*to).user_port as u16).swap_bytes()),
        )
    };
    let Some(address) = redirect(to, destination, INET) else {
        return;
    };
    // SAFETY: the context's fields, whole.
    unsafe {
        (&raw mut (*to).user_ip4).write_volatile(address.ip[3]);
        (&raw mut (*to).user_port).write_volatile(u32::from((address.port as u16).swap_bytes()));
    }
}

/// An IPv6 socket connects.
#[inline(always)]
pub fn v6(context: &SockAddrContext) {
    let to = context.sock_addr;
    // SAFETY: the context's fields, word by word.
    let destination = unsafe {
        let ip = (&raw const (*to).user_ip6).cast::<u32>();
        Address {
            ip: [
                ip.read_volatile(),
                ip.add(1).read_volatile(),
                ip.add(2).read_volatile(),
                ip.add(3).read_volatile(),
            ],
            port: u32::from(((*to).user_port as u16).swap_bytes()),
        }
    };
    let Some(address) = redirect(to, destination, INET6) else {
        return;
    };
    // SAFETY: as above.
    unsafe {
        let ip = (&raw mut (*to).user_ip6).cast::<u32>();
        ip.write_volatile(address.ip[0]);
        ip.add(1).write_volatile(address.ip[1]);
        ip.add(2).write_volatile(address.ip[2]);
        ip.add(3).write_volatile(address.ip[3]);
        (&raw mut (*to).user_port).write_volatile(u32::from((address.port as u16).swap_bytes()));
    }
}

/// Where to connect instead; `None`: as the application says.
#[inline(always)]
fn redirect(to: *mut bpf_sock_addr, destination: Address, family: u32) -> Option<Address> {
    let config = config()?;
    // SAFETY: the context's fields.
    let (protocol, socket) = unsafe { ((*to).protocol, (*to).__bindgen_anon_1.sk) };
    if config.flags & flag::REDIRECT == 0 || protocol != TCP {
        return None;
    }
    let before = known(socket);
    if let Some(before) = before {
        // SAFETY: the socket's own storage.
        unsafe {
            if (*before).kind == kind::AGENT {
                return None;
            }
            release(before);
            (*before).kind = 0;
        }
    }
    // SAFETY: the helper takes the context.
    if config.netns_cookie != 0 && unsafe { bpf_get_netns_cookie(to.cast()) } != config.netns_cookie
    {
        return None;
    }
    let target = match work_area::take() {
        Some(area) => {
            let target = target(area, &destination, config);
            work_area::give(area);
            target
        }
        None => Target::Agent(false),
    };
    let (kind, address, word, tracked) = match target {
        Target::Own => return None,
        Target::Endpoint(address, place) if family == INET6 || is_v4(&address) => {
            (kind::CONNECTED, address, place + 1, false)
        }
        Target::Endpoint(_, place) => {
            // An IPv4 socket cannot reach it.
            if let Some(word) = state_word(place) {
                // SAFETY: the look-up gave an address inside the map.
                unsafe { atomic::fetch_add(word, u64::MAX) };
            }
            (kind::REDIRECTED, config.agent_v4, 0, false)
        }
        Target::Agent(tracked) if is_v4(&destination) => {
            (kind::REDIRECTED, config.agent_v4, 0, tracked)
        }
        Target::Agent(tracked) => (kind::REDIRECTED, config.agent_v6, 0, tracked),
    };
    if address.port == 0 {
        return None;
    }
    let Some(socket) = known_from_now(socket) else {
        // Without memory of it the agent would not know where it goes.
        if word != 0
            && let Some(word) = state_word(word - 1)
        {
            // SAFETY: the look-up gave an address inside the map.
            unsafe { atomic::fetch_add(word, u64::MAX) };
        }
        return None;
    };
    // SAFETY: the socket's own storage.
    unsafe {
        (*socket).kind = kind;
        (*socket).index = u32::from(tracked);
        (*socket).word = word;
        (*socket).destination = destination;
        (*socket).family = family;
    }
    Some(address)
}

/// Who gets a connection, by the policy.
#[inline(always)]
fn target(area: *mut Work, destination: &Address, config: &Config) -> Target {
    let Some(control) = CONTROL.get_ptr(0) else {
        return Target::Own;
    };
    // SAFETY: the field lies inside the map value.
    unsafe { (&raw mut (*area).generation).write(0) };
    let slot = choose(area, control);
    if slot >= SLOTS {
        return Target::Own;
    }
    let Some(policy) = POLICY.get_ptr(slot as u32) else {
        return Target::Own;
    };
    let mut shell = Shell { work: area, policy };
    // The own address is not known yet.
    lay_out(&mut shell, &v4_address(0, 0), destination);
    let found = shell.listener();
    if found == 0 {
        return Target::Own;
    }
    let flags = high(shell.policy64(found.wrapping_add(listener::INDEX)));
    let by_request = flags & listener::BY_REQUEST != 0;
    if flags & listener::CONNECT_TIME == 0 || config.flags & flag::CONNECT_TIME == 0 {
        return Target::Agent(by_request);
    }
    let mut index = 0;
    while index < 4 {
        // SAFETY: the head's place is a multiple of eight, and there is room.
        unsafe {
            (&raw mut (*area).input)
                .cast::<u8>()
                .add((input::HEAD + index * 8) as usize)
                .cast::<u64>()
                .write(match index {
                    0 => ANY_HEAD[0],
                    1 => ANY_HEAD[1],
                    2 => ANY_HEAD[2],
                    _ => ANY_HEAD[3],
                });
        }
        index += 1;
    }
    shell.set_word(work::HEAD_LENGTH, ANY_HEAD_BYTES);
    twinmesh_model::decide(&mut shell);
    if shell.word(work::OUTCOME) != outcome::FORWARD {
        return Target::Agent(by_request);
    }
    let number = shell.word(work::ENDPOINT).wrapping_sub(1);
    match ENDPOINT.get_ptr(number as u32) {
        // SAFETY: the look-up gave an address inside the map.
        Some(endpoint) if unsafe { (*endpoint).family } != 0 => {
            count::g_count_connection(area);
            Target::Endpoint(unsafe { (*endpoint).address }, number)
        }
        _ => {
            if let Some(word) = state_word(number) {
                // SAFETY: the look-up gave an address inside the map.
                unsafe { atomic::fetch_add(word, u64::MAX) };
            }
            Target::Agent(by_request)
        }
    }
}

/// A connection that is counted is so no longer.
///
/// # Safety
/// The storage is the socket's own.
#[inline(always)]
unsafe fn release(socket: *mut Socket) {
    // SAFETY: as the caller says.
    unsafe {
        if (*socket).kind == kind::CONNECTED && (*socket).word != 0 {
            if let Some(word) = state_word((*socket).word - 1) {
                atomic::fetch_add(word, u64::MAX);
            }
            (*socket).word = 0;
        }
    }
}

/// The last close of a socket.
#[inline(always)]
pub fn released(context: &SockContext) {
    let Some(socket) = known(context.sock) else {
        return;
    };
    // SAFETY: the socket's own storage, and a record inside its map.
    unsafe {
        release(socket);
        if (*socket).kind == kind::CLIENT
            && let Some(client) = CLIENT.get_ptr_mut((*socket).index)
            && (*client).uses == (*socket).word
        {
            (&raw mut (*client).closed).write_volatile(1);
        }
    }
}

/// What a redirected socket asked for.
#[inline(always)]
fn asked_for(socket: *mut bpf_sock) -> Option<(Address, u32)> {
    let socket = known(socket)?;
    // SAFETY: the socket's own storage.
    unsafe {
        match (*socket).kind {
            kind::REDIRECTED | kind::CONNECTED | kind::CLIENT => {
                Some(((*socket).destination, (*socket).family))
            }
            _ => None,
        }
    }
}

/// An IPv4 socket asks for its peer.
#[inline(always)]
pub fn peer_v4(context: &SockAddrContext) {
    let to = context.sock_addr;
    // SAFETY: the context's fields, whole.
    unsafe {
        if let Some((address, _)) = asked_for((*to).__bindgen_anon_1.sk) {
            (&raw mut (*to).user_ip4).write_volatile(address.ip[3]);
            (&raw mut (*to).user_port)
                .write_volatile(u32::from((address.port as u16).swap_bytes()));
        }
    }
}

/// An IPv6 socket asks for its peer.
#[inline(always)]
pub fn peer_v6(context: &SockAddrContext) {
    let to = context.sock_addr;
    // SAFETY: the context's fields, word by word.
    unsafe {
        if let Some((address, _)) = asked_for((*to).__bindgen_anon_1.sk) {
            let ip = (&raw mut (*to).user_ip6).cast::<u32>();
            ip.write_volatile(address.ip[0]);
            ip.add(1).write_volatile(address.ip[1]);
            ip.add(2).write_volatile(address.ip[2]);
            ip.add(3).write_volatile(address.ip[3]);
            (&raw mut (*to).user_port)
                .write_volatile(u32::from((address.port as u16).swap_bytes()));
        }
    }
}

/// An application asks for `SO_ORIGINAL_DST`, as it would behind a redirect by netfilter.
#[inline(always)]
pub fn original_destination(context: &SockoptContext) {
    let option = context.sockopt;
    // SAFETY: the context's fields; what is written lies before the buffer's end.
    unsafe {
        let (level, name) = ((*option).level, (*option).optname);
        if name != ORIGINAL_DESTINATION || (level != SOL_IP && level != SOL_IPV6) {
            if (*option).optlen > OPTION_BYTES {
                (&raw mut (*option).optlen).write_volatile(0);
            }
            return;
        }
        let Some((address, _)) = asked_for((*option).__bindgen_anon_1.sk) else {
            return;
        };
        if is_v4(&address) != (level == SOL_IP) {
            return;
        }
        let port = u32::from((address.port as u16).swap_bytes());
        let value = (*option).__bindgen_anon_2.optval as usize;
        let end = (*option).__bindgen_anon_3.optval_end as usize;
        if level == SOL_IP {
            if value + 16 > end {
                return;
            }
            let words = value as *mut u32;
            words.write_volatile(INET | port << 16);
            words.add(1).write_volatile(address.ip[3]);
            words.add(2).write_volatile(0);
            words.add(3).write_volatile(0);
            (&raw mut (*option).optlen).write_volatile(16);
        } else {
            if value + 28 > end {
                return;
            }
            let words = value as *mut u32;
            words.write_volatile(INET6 | port << 16);
            words.add(1).write_volatile(0);
            words.add(2).write_volatile(address.ip[0]);
            words.add(3).write_volatile(address.ip[1]);
            words.add(4).write_volatile(address.ip[2]);
            words.add(5).write_volatile(address.ip[3]);
            words.add(6).write_volatile(0);
            (&raw mut (*option).optlen).write_volatile(28);
        }
        (&raw mut (*option).retval).write_volatile(0);
    }
}
