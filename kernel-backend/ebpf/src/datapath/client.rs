//! A client sends: the head is decided, and the request goes into the chosen endpoint's socket, or
//! to the agent.

use aya_ebpf::bindings::sk_msg_md;
use aya_ebpf::helpers::generated::{
    bpf_ktime_get_ns, bpf_msg_apply_bytes, bpf_msg_cork_bytes, bpf_msg_redirect_hash,
    bpf_probe_read_kernel,
};
use aya_ebpf::programs::SkMsgContext;
use twinmesh_model::Machine;
use twinmesh_model::layout::{
    Span, bad_request, cluster, filter_chain, framing, header, high, input, low, outcome, route,
    work,
};

use crate::atomic;
use crate::copy::{self, bounded};
use crate::datapath_shape::{
    Client, KEPT_HEAD_BYTES, MOST_BODY_BYTES, Pool, TRIES, Upstream, handed, kind, mode, phase,
    state,
};
use crate::ending;
use crate::free_list;
use crate::generation::choose;
use crate::input::lay_out;
use crate::maps::{CLIENT, CLIENTS, ENDPOINT, HANDED, ORDER, POOL, UPSTREAM, UPSTREAMS};
use crate::memory::{CONTROL, POLICY, Shell};
use crate::order;
use crate::shape::{HEAD_BYTES, SLOTS, Work};
use crate::socket::{config, known, peek};
use crate::work_area;

/// `SK_PASS`.
pub const PASS: u32 = 1;
/// `BPF_F_INGRESS`.
pub const INGRESS: u64 = 1;
/// Bytes that one run takes.
pub const MOST_BYTES: u64 = 65536;

/// A client sends.
#[inline(always)]
pub fn message(context: &SkMsgContext) -> u32 {
    let message = context.msg;
    // SAFETY: the context's fields, the socket's own storage, a record inside its map.
    unsafe {
        let Some(socket) = known((*message).__bindgen_anon_3.sk) else {
            return PASS;
        };
        let Some(client) = CLIENT.get_ptr_mut((*socket).index) else {
            return PASS;
        };
        if (*socket).kind != kind::CLIENT || (*client).uses != (*socket).word {
            return PASS;
        }
        let size = u64::from((*message).size);
        let is_rest = (*client).rest != 0;
        (*client).rest = 0;
        // Whose the next request will be does not matter to one that is on its way.
        if (*client).body != 0 {
            return body(message, client, size);
        }
        if (&raw const (*client).mode).read_volatile() != mode::SPLICE {
            return to_agent(message, client, size);
        }
        head(message, client, size, is_rest)
    }
}

/// The next bytes go to the agent, over the connection itself.
///
/// # Safety
/// The record lies inside its map.
#[inline(always)]
unsafe fn to_agent(message: *mut sk_msg_md, client: *mut Client, size: u64) -> u32 {
    // SAFETY: as the caller says.
    unsafe {
        bpf_msg_apply_bytes(message, size as u32);
        let mut cookie = (*client).cookie;
        // Never "pass": the socket may remember where an earlier message was redirected to.
        bpf_msg_redirect_hash(
            message,
            (&raw const CLIENTS).cast_mut().cast(),
            (&raw mut cookie).cast(),
            0,
        ) as u32
    }
}

/// This request and those after it go to the agent, until that gives the connection back.
///
/// # Safety
/// The record lies inside its map.
#[inline(always)]
unsafe fn hand(message: *mut sk_msg_md, client: *mut Client, size: u64, why: u64) -> u32 {
    if why == handed::PIPELINED {
        // SAFETY: as the caller says.
        unsafe { (*client).pipelines = 1 };
    }
    if let Some(count) = HANDED.get_ptr_mut(why as u32) {
        // SAFETY: the look-up gave an address inside the map.
        unsafe { atomic::fetch_add(count, 1) };
    }
    // SAFETY: as the caller says.
    unsafe {
        (&raw mut (*client).mode).write_volatile(mode::AGENT);
        to_agent(message, client, size)
    }
}

/// Into an endpoint's socket. Whether it is there.
///
/// # Safety
/// The record lies inside its map.
#[inline(always)]
unsafe fn to_upstream(message: *mut sk_msg_md, upstream: *mut Upstream, bytes: u64) -> bool {
    // SAFETY: as the caller says.
    unsafe {
        bpf_msg_apply_bytes(message, bytes as u32);
        let mut cookie = (&raw const (*upstream).cookie).read_volatile();
        bpf_msg_redirect_hash(
            message,
            (&raw const UPSTREAMS).cast_mut().cast(),
            (&raw mut cookie).cast(),
            INGRESS,
        ) as u32
            == PASS
    }
}

/// More of a request's body.
///
/// # Safety
/// The record lies inside its map.
#[inline(always)]
unsafe fn body(message: *mut sk_msg_md, client: *mut Client, size: u64) -> u32 {
    // SAFETY: as the caller says.
    unsafe {
        let left = (*client).body;
        let bytes = if size < left { size } else { left };
        let index = (&raw const (*client).upstream).read_volatile();
        if index != 0
            && let Some(upstream) = UPSTREAM.get_ptr_mut((index - 1) as u32)
            && to_upstream(message, upstream, bytes)
        {
            (*client).body = left - bytes;
            (*client).rest = size - bytes;
            return PASS;
        }
        // The upstream connection has died; the agent sees it die too, and ends this one. What is left
        // of the body stays: by that the agent knows that these bytes are no request.
        hand(message, client, size, handed::POOL)
    }
}

/// Whether the agent has read all that went to it, and the client all that it wrote: only then do
/// redirected bytes come in order.
///
/// # Safety
/// The record lies inside its map.
#[inline(always)]
unsafe fn is_quiet(client: *const Client) -> bool {
    // SAFETY: as the caller says.
    unsafe {
        let Some(config) = config() else {
            return false;
        };
        if config.write_seq == 0 {
            // Not known on this kernel: the agent never gives a connection back, and nothing was
            // sent before the connection was tracked.
            return (*client).agent_read == 0;
        }
        let written = peek::<u32>((*client).socket.wrapping_add(config.write_seq));
        let read = peek::<u32>((*client).socket.wrapping_add(config.copied_seq));
        written.wrapping_sub((*client).first_write)
            == (&raw const (*client).agent_read).read_volatile() as u32
            && read.wrapping_sub((*client).first_read)
                == (&raw const (*client).agent_written).read_volatile() as u32
    }
}

/// A new request.
///
/// # Safety
/// The record lies inside its map.
#[inline(always)]
unsafe fn head(message: *mut sk_msg_md, client: *mut Client, size: u64, is_rest: bool) -> u32 {
    // SAFETY: as the caller says.
    unsafe {
        if is_rest || (&raw const (*client).upstream).read_volatile() != 0 {
            return hand(message, client, size, handed::PIPELINED);
        }
        if !is_quiet(client) {
            return hand(message, client, size, handed::UNREAD);
        }
        let Some(area) = work_area::take() else {
            return hand(message, client, size, handed::BUSY);
        };
        let verdict = decide(message, client, area, size);
        work_area::give(area);
        if verdict >= HAND {
            return hand(message, client, size, verdict as u64 - HAND as u64);
        }
        verdict
    }
}

/// The value of `busy` of a work area whose user has the lock of the order.
const ORDERED: u64 = 2;

/// From here on a verdict is the reason why the request goes to the agent.
const HAND: u32 = 16;

#[inline(always)]
const fn hand_for(why: u64) -> u32 {
    HAND + why as u32
}

/// Decides a request and splices it. The program's verdict, or a reason above [`HAND`].
///
/// # Safety
/// The record lies inside its map.
#[inline(always)]
unsafe fn decide(message: *mut sk_msg_md, client: *mut Client, area: *mut Work, size: u64) -> u32 {
    // SAFETY: as the caller says; the area is taken.
    unsafe {
        let Some(control) = CONTROL.get_ptr(0) else {
            return hand_for(handed::BUSY);
        };
        (&raw mut (*area).generation).write(0);
        let slot = choose(area, control);
        if slot >= SLOTS {
            return hand_for(handed::BUSY);
        }
        let Some(policy) = POLICY.get_ptr(slot as u32) else {
            return hand_for(handed::BUSY);
        };
        let length = copy::head(message, area);
        if length == 0 {
            return hand_for(handed::HEAD);
        }
        if let Some(order) = config().and_then(order::kept) {
            // Nothing that is not wholly recorded may be decided here: not what has a head that is
            // longer than is kept, nor what would find no room in the ring when it ends.
            if length > KEPT_HEAD_BYTES || order::is_behind() || !order::enter(order) {
                return hand_for(handed::BUSY);
            }
            // In memory: as a variable the verifier would look at the decision for each value.
            (&raw mut (*area).busy).write_volatile(ORDERED);
        }
        let mut shell = Shell { work: area, policy };
        let source = (*client).source;
        let destination = (*client).destination;
        let random = lay_out(&mut shell, &source, &destination);
        twinmesh_model::decide(&mut shell);
        let mut place = 0;
        if (&raw const (*area).busy).read_volatile() == ORDERED
            && let Some(order) = ORDER.get_ptr_mut(0)
        {
            place = order::leave(order);
        }
        let code = shell.word(work::OUTCOME);
        if code != outcome::FORWARD {
            let refused = code == outcome::BAD_REQUEST || code == outcome::UNSUPPORTED;
            let incomplete =
                code == outcome::BAD_REQUEST && shell.word(work::REASON) == bad_request::INCOMPLETE;
            if refused && size < HEAD_BYTES && ending::is_to_come(area, length, incomplete) {
                // Wait for more; nothing was decided.
                bpf_msg_cork_bytes(message, size as u32 + 1);
                return PASS;
            }
            return hand_for(if refused {
                handed::HEAD
            } else {
                handed::OUTCOME
            });
        }
        let number = shell.word(work::ENDPOINT).wrapping_sub(1);
        note(client, &shell, random, number, place);
        let why = splice(message, client, &mut shell, size, number);
        if why != handed::COUNT {
            // The decision goes along.
            let count = (&raw const (*client).handed).read_volatile();
            (&raw mut (*client).handed).write_volatile(count | 1);
            return hand_for(why);
        }
        PASS
    }
}

/// Keeps the decision.
///
/// # Safety
/// The record lies inside its map.
#[inline(always)]
unsafe fn note(client: *mut Client, shell: &Shell, random: u64, number: u64, place: u64) {
    // SAFETY: as the caller says.
    unsafe {
        let decision = &raw mut (*client).decision;
        (*decision).number = place;
        (*decision).generation = (&raw const (*shell.work).generation).read();
        (*decision).random = random;
        (*decision).time_ns = bpf_ktime_get_ns();
        (*decision).active = number.wrapping_add(1);
        let left = (&raw mut (*decision).left).cast::<u64>();
        let mut index = 0;
        while index < work::LEFT {
            left.add(index as usize)
                .write_volatile(shell.word(work::OUTCOME + index));
            index += 1;
        }
    }
}

/// Whether everything that has a say in a request asks for no more than forwarding.
#[inline(always)]
fn is_plain(shell: &Shell) -> bool {
    let chain = shell.word(work::CHOSEN_FILTER_CHAIN);
    let kind = shell.policy64(chain.wrapping_add(filter_chain::KIND));
    let number = shell.word(work::CHOSEN_ROUTE).wrapping_sub(1);
    let routes = low(shell.policy64(header::ROUTES));
    let record = routes.wrapping_add(number.wrapping_mul(twinmesh_model::layout::RECORD));
    let chosen = shell.word(work::CHOSEN_CLUSTER);
    high(kind) & filter_chain::PLAIN != 0
        && shell.policy64(record.wrapping_add(route::FORWARDING)) & route::PLAIN != 0
        && shell.policy64(chosen.wrapping_add(cluster::FORWARDING)) & cluster::PLAIN != 0
}

/// Takes an idle upstream connection of a pool: its index plus one, or 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn g_take_idle(pool: *mut Pool) -> u64 {
    if pool.is_null() {
        return 0;
    }
    // SAFETY: all addresses lie inside map values.
    unsafe {
        free_list::take(&raw mut (*pool).idle, |index| {
            UPSTREAM
                .get_ptr_mut(index as u32)
                .map(|upstream| &raw mut (*upstream).next)
        })
    }
}

/// Puts a decided request into the endpoint's socket. [`handed::COUNT`], or why that is not done.
///
/// # Safety
/// The record lies inside its map.
#[inline(always)]
unsafe fn splice(
    message: *mut sk_msg_md,
    client: *mut Client,
    shell: &mut Shell,
    size: u64,
    number: u64,
) -> u64 {
    // SAFETY: as the caller says.
    unsafe {
        if !is_plain(shell) {
            return handed::ROUTE;
        }
        let bits = shell.word(work::FRAMING);
        let length = if bits & framing::CONTENT_LENGTH != 0 {
            shell.word(work::CONTENT_LENGTH)
        } else {
            0
        };
        let others =
            framing::TRANSFER_ENCODING | framing::MAY_CLOSE | framing::ABSOLUTE | framing::EXPECT;
        if bits & others != 0 || length > MOST_BODY_BYTES {
            return handed::FRAMING;
        }
        let head = shell.word(work::HEAD_END).wrapping_sub(input::HEAD);
        let total = head.wrapping_add(length);
        let bytes = if size < total { size } else { total };
        if bytes != size {
            // More than this request: only the agent can answer all of it in order.
            return handed::PIPELINED;
        }
        let method = Span(shell.word(work::METHOD));
        let start = shell.input64(method.offset());
        let head_request = start & 0xff_ffff_ffff == u64::from_le_bytes(*b"HEAD \0\0\0");
        let get = start & 0xffff_ffff == u64::from_le_bytes(*b"GET \0\0\0\0");
        let whole = head <= KEPT_HEAD_BYTES;
        let kept = bounded::<KEPT_HEAD_BYTES>(if whole { head } else { KEPT_HEAD_BYTES });
        bpf_probe_read_kernel(
            (&raw mut (*client).head).cast(),
            kept as u32,
            (&raw const (*shell.work).input)
                .cast::<u8>()
                .add(input::HEAD as usize)
                .cast(),
        );
        (*client).head_length = head;
        (*client).replayable = u64::from(length == 0 && whole && (head_request || get));
        let Some(endpoint) = ENDPOINT.get_ptr(number as u32) else {
            return handed::POOL;
        };
        let pool = (*endpoint).pool;
        if pool == 0 {
            return handed::POOL;
        }
        let Some(pool) = POOL.get_ptr_mut((pool - 1) as u32) else {
            return handed::POOL;
        };
        let mut tries = 0;
        while tries < TRIES {
            tries += 1;
            let taken = g_take_idle(pool);
            if taken == 0 {
                break;
            }
            let Some(upstream) = UPSTREAM.get_ptr_mut((taken - 1) as u32) else {
                break;
            };
            let of = &raw mut (*upstream).state;
            if free_list::compare_exchange(of, state::IDLE, state::BUSY) != state::IDLE {
                of.write_volatile(state::GONE);
                continue;
            }
            (*upstream).client_uses = (*client).uses;
            (*upstream).phase = phase::HEAD;
            (*upstream).left = 0;
            (*upstream).head_request = u64::from(head_request);
            (*upstream).closes = 0;
            (*upstream).status = 0;
            (*upstream).bytes = 0;
            (&raw mut (*upstream).client).write_volatile((*client).index.wrapping_add(1));
            (*client).body = total.wrapping_sub(bytes);
            (&raw mut (*client).upstream).write_volatile(taken);
            if to_upstream(message, upstream, bytes) {
                (*client).spliced = (*client).spliced.wrapping_add(1);
                (*client).rest = size.wrapping_sub(bytes);
                return handed::COUNT;
            }
            (&raw mut (*client).upstream).write_volatile(0);
            (*client).body = 0;
            (&raw mut (*upstream).client).write_volatile(0);
            of.write_volatile(state::GONE);
        }
        atomic::fetch_add(&raw mut (*pool).empty, 1);
        handed::POOL
    }
}
