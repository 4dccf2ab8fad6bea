//! Counters of a client, for metrics and the admin interface.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::kind::{Kind, PerKind};

/// Counters since the client's start; every one may be read at any time.
#[derive(Debug, Default)]
pub struct Status {
    acks: PerKind<AtomicU64>,
    nacks: PerKind<AtomicU64>,
    ignored: AtomicU64,
    absent: AtomicU64,
    updates: AtomicU64,
    connections: AtomicU64,
    failures: AtomicU64,
    store_failures: AtomicU64,
    connected: AtomicBool,
    last_update: AtomicU64,
    words: Mutex<Words>,
}

/// What is said in words.
#[derive(Debug, Default, Clone)]
struct Words {
    server: Option<String>,
    last_nack: Option<String>,
    last_failure: Option<String>,
}

impl Status {
    /// Responses of this type that were accepted.
    pub fn acks(&self, kind: Kind) -> u64 {
        self.acks[kind].load(Ordering::Relaxed)
    }

    /// Responses of this type that were refused.
    pub fn nacks(&self, kind: Kind) -> u64 {
        self.nacks[kind].load(Ordering::Relaxed)
    }

    /// Responses that were neither: of a type that was not asked for, or without nonce.
    pub fn ignored(&self) -> u64 {
        self.ignored.load(Ordering::Relaxed)
    }

    /// Resources that came to count as absent.
    pub fn absent(&self) -> u64 {
        self.absent.load(Ordering::Relaxed)
    }

    /// Policies given out that came from a server.
    pub fn updates(&self) -> u64 {
        self.updates.load(Ordering::Relaxed)
    }

    /// Streams after the first that a server answered on.
    pub fn reconnects(&self) -> u64 {
        self.connections.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// Attempts at a stream that failed, and streams that ended.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Policies that could not be kept on disk.
    pub fn store_failures(&self) -> u64 {
        self.store_failures.load(Ordering::Relaxed)
    }

    /// Whether there is a stream to a server.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// When the last policy came from a server, to the millisecond; `None` before the first.
    pub fn last_update(&self) -> Option<SystemTime> {
        match self.last_update.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(UNIX_EPOCH + Duration::from_millis(millis)),
        }
    }

    /// `server_uri` of the stream that there is, or of the last one.
    pub fn server(&self) -> Option<String> {
        self.words().server
    }

    /// Why the last response that was refused was.
    pub fn last_nack(&self) -> Option<String> {
        self.words().last_nack
    }

    /// Why the last stream, or the last attempt at one, ended.
    pub fn last_failure(&self) -> Option<String> {
        self.words().last_failure
    }

    fn words(&self) -> Words {
        match self.words.lock() {
            Ok(words) => words.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    fn say(&self, change: impl FnOnce(&mut Words)) {
        match self.words.lock() {
            Ok(mut words) => change(&mut words),
            Err(poisoned) => change(&mut poisoned.into_inner()),
        }
    }

    pub(crate) fn add_ack(&self, kind: Kind) {
        self.acks[kind].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_nack(&self, kind: Kind, message: &str) {
        self.nacks[kind].fetch_add(1, Ordering::Relaxed);
        self.say(|words| words.last_nack = Some(message.to_owned()));
    }

    pub(crate) fn add_ignored(&self) {
        self.ignored.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_absent(&self) {
        self.absent.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_store_failure(&self) {
        self.store_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_update(&self, received: SystemTime) {
        self.updates.fetch_add(1, Ordering::Relaxed);
        let since = received.duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        self.last_update.store(millis, Ordering::Relaxed);
    }

    pub(crate) fn set_connected(&self, server: &str) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.connected.store(true, Ordering::Relaxed);
        self.say(|words| words.server = Some(server.to_owned()));
    }

    pub(crate) fn set_disconnected(&self, reason: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.connected.store(false, Ordering::Relaxed);
        self.say(|words| words.last_failure = Some(reason.to_owned()));
    }
}
