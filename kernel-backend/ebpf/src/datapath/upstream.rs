//! An endpoint answers: the response is framed, and goes into the client's socket; or through the
//! agent, where the client does not read as fast, or the framing is not plain.

use aya_ebpf::bindings::sk_msg_md;
use aya_ebpf::helpers::generated::{
    bpf_get_prandom_u32, bpf_ktime_get_ns, bpf_msg_apply_bytes, bpf_msg_cork_bytes,
    bpf_msg_redirect_hash, bpf_probe_read_kernel,
};
use aya_ebpf::programs::SkMsgContext;
use twinmesh_model::layout::{framing, high, input, work};
use twinmesh_model::{Machine, chunk, response};

use crate::atomic;
use crate::client::{INGRESS, MOST_BYTES, PASS};
use crate::copy;
use crate::count;
use crate::datapath_shape::{Client, Config, Upstream, flag, kind, mode, phase, state};
use crate::free_list;
use crate::maps::{CLIENT, CLIENTS, EVENTS, POOL, UPSTREAM, UPSTREAMS, state_word};
use crate::memory::{POLICY, Shell};
use crate::order;
use crate::shape::{HEAD_BYTES, Work};
use crate::socket::{config, known, peek};
use crate::work_area;

/// Bytes of chunked coding that one run looks at.
const STEPS: u64 = 64;
/// The queue cannot be told from this kernel's structures.
const UNKNOWN: u64 = u64::MAX;

/// An endpoint sends.
#[inline(always)]
pub fn message(context: &SkMsgContext) -> u32 {
    let message = context.msg;
    // SAFETY: the context's fields, the socket's own storage, a record inside its map.
    unsafe {
        let Some(socket) = known((*message).__bindgen_anon_3.sk) else {
            return PASS;
        };
        let Some(upstream) = UPSTREAM.get_ptr_mut((*socket).index) else {
            return PASS;
        };
        if (*socket).kind != kind::UPSTREAM || (*upstream).uses != (*socket).word {
            return PASS;
        }
        let size = u64::from((*message).size);
        if (&raw const (*upstream).state).read_volatile() != state::BUSY {
            return to_agent(message, upstream, size);
        }
        let index = (&raw const (*upstream).client).read_volatile();
        if index == 0 {
            return relay(message, upstream, size);
        }
        let Some(client) = CLIENT.get_ptr_mut((index - 1) as u32) else {
            return relay(message, upstream, size);
        };
        // With the next request waiting in the agent, only the agent can answer both in order.
        if (*client).uses != (*upstream).client_uses
            || (&raw const (*client).mode).read_volatile() != mode::SPLICE
        {
            return relay(message, upstream, size);
        }
        answer(message, upstream, client, size)
    }
}

/// The next bytes go to the agent, over the connection itself.
///
/// # Safety
/// The record lies inside its map.
#[inline(always)]
unsafe fn to_agent(message: *mut sk_msg_md, upstream: *mut Upstream, size: u64) -> u32 {
    // SAFETY: as the caller says.
    unsafe {
        bpf_msg_apply_bytes(message, size as u32);
        let mut cookie = (&raw const (*upstream).cookie).read_volatile();
        bpf_msg_redirect_hash(
            message,
            (&raw const UPSTREAMS).cast_mut().cast(),
            (&raw mut cookie).cast(),
            0,
        ) as u32
    }
}

/// The rest of this response goes through the agent, which goes on with the framing from here.
///
/// # Safety
/// The record lies inside its map.
#[inline(always)]
unsafe fn relay(message: *mut sk_msg_md, upstream: *mut Upstream, size: u64) -> u32 {
    // SAFETY: as the caller says.
    unsafe {
        (&raw mut (*upstream).state).write_volatile(state::RELAY);
        to_agent(message, upstream, size)
    }
}

/// Bytes of redirected data that the client has not read.
///
/// # Safety
/// The record lies inside its map.
#[inline(always)]
unsafe fn queued(client: *const Client, config: &Config) -> u64 {
    if config.psock_queued == 0 || config.sk_user_data == 0 {
        return UNKNOWN;
    }
    // SAFETY: as the caller says.
    unsafe {
        let socket = (*client).socket;
        if peek::<u64>(socket.wrapping_add(config.sk_cookie)) != (*client).cookie {
            return 0;
        }
        let psock = peek::<u64>(socket.wrapping_add(config.sk_user_data)) & !7;
        if psock == 0 {
            return 0;
        }
        u64::from(peek::<u32>(psock.wrapping_add(config.psock_queued)))
    }
}

/// How a run ends.
mod run {
    /// The response goes on.
    pub const ON: u64 = 0;
    /// It ends with these bytes.
    pub const LAST: u64 = 1;
    /// It goes to the agent.
    pub const RELAY: u64 = 2;
    /// It waits for more.
    pub const WAIT: u64 = 3;
}

/// Some of a response.
///
/// # Safety
/// The records lie inside their maps.
#[inline(always)]
unsafe fn answer(
    message: *mut sk_msg_md,
    upstream: *mut Upstream,
    client: *mut Client,
    size: u64,
) -> u32 {
    // SAFETY: as the caller says.
    unsafe {
        let Some(config) = config() else {
            return relay(message, upstream, size);
        };
        let (before, left) = ((*upstream).phase, (*upstream).left);
        let is_rest = (*upstream).rest != 0;
        (*upstream).rest = 0;
        let corked = (*upstream).corked != 0;
        (*upstream).corked = 0;
        let most = if corked { u64::MAX } else { MOST_BYTES };
        let (how, bytes) = frame(message, upstream, size, most);
        if how == run::WAIT && is_rest {
            return relay(message, upstream, size);
        }
        if how == run::WAIT {
            (*upstream).corked = 1;
            bpf_msg_cork_bytes(message, size as u32 + 1);
            return PASS;
        }
        let waiting = queued(client, config);
        let too_much = if waiting == UNKNOWN {
            (*upstream).bytes.wrapping_add(bytes) > config.queue_limit
        } else {
            waiting.wrapping_add(bytes) > config.queue_limit
        };
        if how == run::RELAY || too_much || bytes == 0 || corked && bytes != size {
            (*upstream).phase = before;
            (*upstream).left = left;
            return relay(message, upstream, size);
        }
        bpf_msg_apply_bytes(message, bytes as u32);
        let mut cookie = (*client).cookie;
        let verdict = bpf_msg_redirect_hash(
            message,
            (&raw const CLIENTS).cast_mut().cast(),
            (&raw mut cookie).cast(),
            INGRESS,
        ) as u32;
        if verdict != PASS {
            // The client is gone; the agent sees bytes that nobody waits for.
            (*upstream).phase = before;
            (*upstream).left = left;
            return relay(message, upstream, size);
        }
        (*upstream).bytes = (*upstream).bytes.wrapping_add(bytes);
        (*upstream).rest = size.wrapping_sub(bytes);
        if how == run::LAST {
            end(upstream, client, config);
        }
        PASS
    }
}

/// How far this run goes, and the framing after it.
///
/// # Safety
/// The record lies inside its map.
#[inline(always)]
unsafe fn frame(
    message: *mut sk_msg_md,
    upstream: *mut Upstream,
    size: u64,
    most: u64,
) -> (u64, u64) {
    // SAFETY: as the caller says.
    unsafe {
        if (*upstream).phase == phase::HEAD {
            return head(message, upstream, size, most);
        }
        if (*upstream).phase == phase::LENGTH {
            return length(upstream, size, 0, most);
        }
        if (*upstream).phase == phase::CHUNKED {
            let there = copy::pull(message, if size < MOST_BYTES { size } else { MOST_BYTES });
            (&raw mut (*upstream).bytes_at).write_volatile((*message).__bindgen_anon_1.data as u64);
            return chunks(upstream, there, 0);
        }
        (run::RELAY, 0)
    }
}

/// A body of known length, after `from` bytes of head.
///
/// # Safety
/// The record lies inside its map.
#[inline(always)]
unsafe fn length(upstream: *mut Upstream, size: u64, from: u64, most: u64) -> (u64, u64) {
    // SAFETY: as the caller says.
    unsafe {
        let left = (*upstream).left;
        let mut bytes = size.wrapping_sub(from);
        if bytes > left {
            bytes = left;
        }
        if bytes > most {
            bytes = most;
        }
        (*upstream).left = left.wrapping_sub(bytes);
        let how = if left == bytes { run::LAST } else { run::ON };
        (how, from.wrapping_add(bytes))
    }
}

/// A chunked body, after `from` bytes of head; `size` bytes lie at [`Upstream::bytes_at`].
///
/// # Safety
/// The record lies inside its map.
#[inline(always)]
unsafe fn chunks(upstream: *mut Upstream, size: u64, from: u64) -> (u64, u64) {
    let at = walk_chunks(upstream, size, from);
    // SAFETY: as the caller says.
    let state = unsafe { (*upstream).left };
    if chunk::bad(state) || at == 0 {
        return (run::RELAY, 0);
    }
    (
        if chunk::ended(state) {
            run::LAST
        } else {
            run::ON
        },
        at,
    )
}

/// Follows the chunked coding from `from` on; how far it came.
#[inline(always)]
fn walk_chunks(upstream: *mut Upstream, size: u64, from: u64) -> u64 {
    let mut at = from;
    let mut steps = 0;
    while steps < STEPS {
        steps += 1;
        if at >= size {
            break;
        }
        let next = g_chunk(upstream, size, at);
        if next == at {
            break;
        }
        at = next;
    }
    at
}

/// One step of the chunked coding: some data, or a byte of the framing. Where it is then; the same
/// place where the coding ends or is at fault.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn g_chunk(upstream: *mut Upstream, size: u64, at: u64) -> u64 {
    if upstream.is_null() {
        return at;
    }
    // SAFETY: the record lies inside its map.
    unsafe {
        let state = (&raw const (*upstream).left).read_volatile();
        if chunk::ended(state) || chunk::bad(state) {
            return at;
        }
        let data = chunk::data(state);
        let (state, next) = if data != 0 {
            let there = size.wrapping_sub(at);
            let skipped = if data < there { data } else { there };
            (chunk::skip(state, skipped), at.wrapping_add(skipped))
        } else {
            let byte = peek::<u8>((*upstream).bytes_at.wrapping_add(at));
            (chunk::step(state, u64::from(byte)), at.wrapping_add(1))
        };
        (&raw mut (*upstream).left).write_volatile(state);
        next
    }
}

/// The head of a response, and what of the body comes with it.
///
/// # Safety
/// The record lies inside its map.
#[inline(always)]
unsafe fn head(
    message: *mut sk_msg_md,
    upstream: *mut Upstream,
    size: u64,
    most: u64,
) -> (u64, u64) {
    let Some(area) = work_area::take() else {
        return (run::RELAY, 0);
    };
    // SAFETY: as the caller says; the area is taken.
    let found = unsafe { parse(message, upstream, area, size, most) };
    work_area::give(area);
    found
}

/// See [`head`].
///
/// # Safety
/// The record lies inside its map; the area is taken.
#[inline(always)]
unsafe fn parse(
    message: *mut sk_msg_md,
    upstream: *mut Upstream,
    area: *mut Work,
    size: u64,
    most: u64,
) -> (u64, u64) {
    // SAFETY: as the caller says.
    unsafe {
        let Some(policy) = POLICY.get_ptr(0) else {
            return (run::RELAY, 0);
        };
        let there = copy::head(message, area);
        if there == 0 {
            return (run::RELAY, 0);
        }
        let mut shell = Shell { work: area, policy };
        let read = response::head(&mut shell);
        if read == response::INCOMPLETE && size < HEAD_BYTES {
            return (run::WAIT, 0);
        }
        if read != response::WHOLE {
            return (run::RELAY, 0);
        }
        let body = response::body_of(&shell, (*upstream).head_request != 0);
        let closes = shell.word(work::FRAMING) & framing::MAY_CLOSE != 0;
        if high(body) != 0 || closes || body == response::body::UNTIL_CLOSE {
            return (run::RELAY, 0);
        }
        let end = shell.word(work::HEAD_END).wrapping_sub(input::HEAD);
        let status = shell.word(work::STATUS);
        if status < 200 {
            // More of this response follows.
            return (run::ON, end);
        }
        (*upstream).status = status;
        if body == response::body::CHUNKED {
            (*upstream).phase = phase::CHUNKED;
            (*upstream).left = chunk::START;
            let pulled = copy::pull(message, if size < MOST_BYTES { size } else { MOST_BYTES });
            (&raw mut (*upstream).bytes_at).write_volatile((*message).__bindgen_anon_1.data as u64);
            if pulled <= end {
                return (run::ON, end);
            }
            return chunks(upstream, pulled, end);
        }
        (*upstream).phase = phase::LENGTH;
        (*upstream).left = if body == response::body::LENGTH {
            shell.word(work::CONTENT_LENGTH)
        } else {
            0
        };
        length(upstream, size, end, most)
    }
}

/// Whether a client has read all that was redirected to it.
#[inline(always)]
pub fn is_drained(client: *const Client) -> bool {
    let Some(config) = config() else {
        return true;
    };
    // SAFETY: the record lies inside its map.
    unsafe {
        let socket = (*client).socket;
        if config.psock_queue == 0
            || (*client).closed != 0
            || peek::<u64>(socket.wrapping_add(config.sk_cookie)) != (*client).cookie
        {
            return true;
        }
        let psock = peek::<u64>(socket.wrapping_add(config.sk_user_data)) & !7;
        if psock == 0 {
            return true;
        }
        let queue = psock.wrapping_add(config.psock_queue);
        peek::<u64>(queue) == queue
    }
}

/// The response has ended: the client may send, and the upstream connection is idle.
///
/// # Safety
/// The records lie inside their maps.
#[inline(always)]
unsafe fn end(upstream: *mut Upstream, client: *mut Client, config: &Config) {
    // SAFETY: as the caller says.
    unsafe {
        let order = order::kept(config);
        let alone = match order {
            Some(order) => order::enter(order),
            None => false,
        };
        let counted = &raw mut (*client).decision.active;
        let active = counted.read_volatile();
        // The agent may be giving it back just now.
        if active != 0
            && free_list::compare_exchange(counted, active, 0) == active
            && let Some(word) = state_word(active - 1)
        {
            atomic::fetch_add(word, u64::MAX);
        }
        let number = match order {
            Some(order) if alone => order::leave(order),
            Some(order) => {
                // An end cannot wait for long.
                atomic::fetch_add(&raw mut (*order).uncertain, 1);
                atomic::fetch_add(&raw mut (*order).next, 1)
            }
            None => 0,
        };
        let now = bpf_ktime_get_ns();
        tally(upstream, client, now);
        if config.flags & flag::EVENTS != 0 && u64::from(bpf_get_prandom_u32()) < config.event_share
        {
            event(upstream, client, now, number);
        }
        (*upstream).spliced = (*upstream).spliced.wrapping_add(1);
        (&raw mut (*upstream).client).write_volatile(0);
        let unsent = (*client).body != 0;
        (*client).body = 0;
        (&raw mut (*client).upstream).write_volatile(0);
        let of = &raw mut (*upstream).state;
        if unsent {
            // It answered before it had the whole request.
            of.write_volatile(state::CLOSE);
            return;
        }
        of.write_volatile(state::IDLE);
        if let Some(pool) = POOL.get_ptr_mut((*upstream).pool as u32)
            && free_list::put(
                &raw mut (*pool).idle,
                &raw mut (*upstream).next,
                (*upstream).index,
            )
        {
            return;
        }
        of.write_volatile(state::CLOSE);
    }
}

/// Counts a response that has ended.
///
/// # Safety
/// The records lie inside their maps.
#[inline(always)]
unsafe fn tally(upstream: *const Upstream, client: *const Client, now: u64) {
    // SAFETY: as the caller says.
    unsafe {
        let left = (&raw const (*client).decision.left).cast::<u64>();
        let word = |index: u64| left.add((index - work::OUTCOME) as usize).read();
        let key = count::key((*client).decision.generation, word, (*upstream).status);
        let duration = now.wrapping_sub((*client).decision.time_ns);
        count::add(key, (*upstream).bytes, duration / 1000);
    }
}

/// Tells the agent of a response that has ended.
///
/// # Safety
/// The records lie inside their maps.
#[inline(always)]
unsafe fn event(upstream: *const Upstream, client: *const Client, now: u64, number: u64) {
    let Some(mut entry) = EVENTS.reserve_untyped::<crate::datapath_shape::Event>(0) else {
        crate::maps::count_lost();
        return;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: as the caller says; the entry has room for an event.
    unsafe {
        (*event).client = (*client).index;
        (*event).source = (*client).source;
        (*event).destination = (*client).destination;
        bpf_probe_read_kernel(
            (&raw mut (*event).decision).cast(),
            size_of::<crate::datapath_shape::Decision>() as u32,
            (&raw const (*client).decision).cast(),
        );
        (*event).end_number = number;
        (*event).end_ns = now;
        (*event).status = (*upstream).status;
        (*event).bytes = (*upstream).bytes;
        (*event).head_length = (*client).head_length;
        bpf_probe_read_kernel(
            (&raw mut (*event).head).cast(),
            crate::datapath_shape::KEPT_HEAD_BYTES as u32,
            (&raw const (*client).head).cast(),
        );
    }
    entry.submit(0);
}
