//! Spliced responses that have ended, one by one: read from the kernel's ring by a thread of its
//! own, and handed to the access log.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aya::maps::{MapData, RingBuf};
use twinmesh_engine::Request;
use twinmesh_kernel_backend::datapath::maps::socket_address;
use twinmesh_kernel_backend::datapath::shape::{Decision, Event, KEPT_HEAD_BYTES};

use crate::access_log::{AccessLog, PathTaken, Record};
use crate::live::Live;
use crate::shadow::{Shadow, Skipped};

/// How long the thread sleeps at most before it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(200);
/// Headers that are looked at.
const HEADERS: usize = 256;

/// The thread that reads events; dropped, it ends once it has read what is there.
pub struct Reader {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Reader {
    /// Waits until the events that there are now have been read.
    pub fn catch_up(&self) {
        // The round under way may have begun before the last of them came.
        let enough = self.rounds.load(Ordering::SeqCst) + 2;
        while self.rounds.load(Ordering::SeqCst) < enough
            && self
                .thread
                .as_ref()
                .is_some_and(|thread| !thread.is_finished())
        {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say where it panicked.
            let _ = thread.join();
        }
    }
}

/// Reads events until it is dropped. `sampled`: there are events of the shadow's share only.
///
/// # Errors
/// There is no thread.
pub fn read(
    ring: RingBuf<MapData>,
    live: Live,
    log: AccessLog,
    sampled: bool,
) -> std::io::Result<Reader> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let rounds = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&rounds);
    let thread = std::thread::Builder::new()
        .name("events".to_owned())
        .spawn(move || run(ring, &live, &log, sampled, &stopped, &counted))?;
    Ok(Reader {
        stop,
        rounds,
        thread: Some(thread),
    })
}

fn run(
    mut ring: RingBuf<MapData>,
    live: &Live,
    log: &AccessLog,
    sampled: bool,
    stop: &AtomicBool,
    rounds: &AtomicU64,
) {
    let boot = boot_time();
    loop {
        let last = stop.load(Ordering::SeqCst);
        while let Some(item) = ring.next() {
            if let Some(event) = event(&item) {
                let decision = &event.decision;
                live.spliced(
                    &request(&event),
                    decision.number,
                    decision.generation,
                    &decision.left,
                    event.end_number,
                );
                if log.is_open() {
                    log.write(Box::new(record(&event, live, boot)));
                }
                if sampled || live.shadow().is_some_and(Shadow::takes) {
                    shadowed(&event, live);
                }
            }
        }
        rounds.fetch_add(1, Ordering::SeqCst);
        if last {
            return;
        }
        wait(&ring);
    }
}

/// Waits until there is something to read, or for a while.
fn wait(ring: &RingBuf<MapData>) {
    let mut poll = libc::pollfd {
        fd: ring.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one structure, which lives as long as the call.
    unsafe { libc::poll(&raw mut poll, 1, LOOK.as_millis() as i32) };
}

fn event(bytes: &[u8]) -> Option<Event> {
    if bytes.len() < size_of::<Event>() {
        return None;
    }
    // SAFETY: the kernel wrote a whole event there, and any bytes are one; it need not be aligned.
    Some(unsafe { bytes.as_ptr().cast::<Event>().read_unaligned() })
}

/// The clock of the kernel's events.
pub fn now() -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call fills one structure.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

/// When that clock was at 0, as far from 1970.
fn boot_time() -> Duration {
    let since_boot = now();
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.unwrap_or_default().saturating_sub(since_boot)
}

/// The request of an event, from the bytes of its head that are there.
pub fn request(event: &Event) -> Request {
    let length = event.head_length.min(KEPT_HEAD_BYTES) as usize;
    let head = event.head.get(..length).unwrap_or_default();
    let (source, destination) = (event.source, event.destination);
    request_of(
        head,
        socket_address(source),
        socket_address(destination),
        event.decision.random,
    )
}

/// Has the shadow make the event's decision again.
fn shadowed(event: &Event, live: &Live) {
    let decision = &event.decision;
    let length = event.head_length.min(KEPT_HEAD_BYTES) as usize;
    let request = whole_request(
        event.head.get(..length).unwrap_or_default(),
        event.head_length,
        socket_address(event.source),
        socket_address(event.destination),
        decision.random,
    );
    live.shadowed_in_kernel(
        request,
        decision.generation,
        &decision.left,
        decision.random,
    );
}

/// The request of a head of so many bytes.
///
/// # Errors
/// It is not all there, or a request does not say all that it says.
pub fn whole_request(
    head: &[u8],
    length: u64,
    source: SocketAddr,
    destination: SocketAddr,
    random: u64,
) -> Result<Request, Skipped> {
    if length > head.len() as u64 {
        return Err(Skipped::HeadCut);
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let whole = httparse::Request::new(&mut headers)
        .parse(head)
        .is_ok_and(|parsed| parsed.is_complete());
    if !whole || std::str::from_utf8(head).is_err() {
        return Err(Skipped::HeadUnreadable);
    }
    Ok(request_of(head, source, destination, random))
}

/// The request that a head is of; of one that is cut off, what came before.
pub fn request_of(
    head: &[u8],
    source: SocketAddr,
    destination: SocketAddr,
    random: u64,
) -> Request {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let _ = parsed.parse(head);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut authority = None;
    let mut list = Vec::new();
    for header in parsed
        .headers
        .iter()
        .filter(|header| !header.name.is_empty())
    {
        if header.name.eq_ignore_ascii_case("host") && authority.is_none() {
            authority = Some(text(header.value));
        } else {
            list.push((header.name.to_owned(), text(header.value)));
        }
    }
    Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        authority,
        path: parsed.path.unwrap_or_default().to_owned(),
        headers: list,
        source: Some(source),
        destination: Some(destination),
        random: Some(random),
        ..Request::default()
    }
}

fn record(event: &Event, live: &Live, boot: Duration) -> Record {
    let decision = &event.decision;
    let mut record = named(&request(event), decision, live);
    let time = boot + Duration::from_nanos(decision.time_ns);
    record.time_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    record.duration = Duration::from_nanos(event.end_ns.saturating_sub(decision.time_ns));
    record.status = u16::try_from(event.status)
        .ok()
        .filter(|&status| status != 0);
    record.response_bytes = event.bytes;
    record
}

/// The record of a request that the kernel decided and that ends now.
pub fn record_of(request: &Request, decision: &Decision, live: &Live) -> Record {
    let mut record = named(request, decision, live);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let time = boot_time() + Duration::from_nanos(decision.time_ns);
    record.time_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    record.duration = now.unwrap_or_default().saturating_sub(time);
    record
}

/// A record with the request's and the decision's names.
fn named(request: &Request, decision: &Decision, live: &Live) -> Record {
    let mut record = Record {
        source: request.source,
        destination: request.destination,
        method: Some(request.method.clone()),
        path: Some(request.path.clone()),
        authority: request.authority.clone(),
        complete: true,
        path_taken: PathTaken::Splice,
        random: decision.random,
        generation: decision.generation,
        ..Record::default()
    };
    if let Some(policy) = live.by_generation(decision.generation) {
        let answer = policy.compiled.answer(request, &decision.left, None);
        record.named(&answer.decision);
    } else {
        record.reason = Some("the policy that decided is no longer here".to_owned());
    }
    record
}
