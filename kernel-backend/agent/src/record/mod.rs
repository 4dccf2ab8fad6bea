//! The recorder: what a live agent decided, as a case that `twinmesh conform` replays through every
//! engine.
//!
//! While traffic is recorded, decisions and the ends of requests are numbered in the order in which
//! they change what balancers know, under one lock that the kernel's programs take too. The numbers
//! are the case's times: a replay changes the balancers in the same order, and finds the same.

pub(crate) mod case;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use twinmesh_engine::{Decision, Request};
use twinmesh_xds::Snapshot;

/// Requests that are kept; the recording ends with them.
const MOST: usize = 2_000_000;

/// The order's words, shared with the kernel's programs.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// 1 while somebody decides or ends a request.
    pub lock: &'a AtomicU64,
    /// The next number.
    pub next: &'a AtomicU64,
}

impl Order<'_> {
    /// Runs what changes the balancers' state, alone; its number.
    pub fn alone<T>(self, change: impl FnOnce() -> T) -> (T, u64) {
        let mut tries = 0_u32;
        while self.lock.compare_exchange(0, 1, SeqCst, SeqCst).is_err() {
            tries += 1;
            // Whoever has it may have been preempted.
            if tries.is_multiple_of(64) {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        let changed = change();
        let number = self.next.fetch_add(1, SeqCst);
        self.lock.store(0, SeqCst);
        (changed, number)
    }
}

/// Something that was decided or has ended.
#[derive(Debug)]
pub enum Note {
    /// A policy decides from now on.
    Policy(Arc<Snapshot>),
    /// A request was decided.
    Decided {
        /// Its number.
        number: u64,
        /// What was decided.
        request: Box<Request>,
        /// The decision.
        decision: Box<Decision>,
        /// It holds an endpoint until it ends.
        holds: bool,
    },
    /// A request has ended.
    Ended {
        /// Its number.
        number: u64,
        /// The end's.
        end: u64,
    },
    /// A change whose place in the order is not certain.
    Uncertain,
    /// The recording is over; so many changes in the kernel have no place, or were not told.
    Finish {
        /// See above.
        missing: u64,
    },
}

/// A recording under way. Dropped, it is written.
#[derive(Debug)]
pub struct Recorder {
    sender: Mutex<Sender<Note>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Recorder {
    /// Starts recording into a folder, which is made; it must not hold a case yet.
    ///
    /// # Errors
    /// The folder cannot be made or has a case, or there is no thread.
    pub fn start(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        if folder.join(case::SETTINGS).exists() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("it holds a case already ({})", case::SETTINGS),
            ));
        }
        let (sender, receiver) = channel();
        let folder = folder.to_owned();
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || run(&receiver, folder))?;
        Ok(Self {
            sender: Mutex::new(sender),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Notes something.
    pub fn note(&self, note: Note) {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        // The thread ends before the recorder only where it has said why.
        let _ = sender.send(note);
    }

    /// Writes what was recorded; `missing` changes in the kernel have no place in the order, or were
    /// not told. Blocks.
    pub fn finish(&self, missing: u64) {
        self.note(Note::Finish { missing });
        let thread = self.thread.lock();
        if let Some(thread) = thread.unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.finish(0);
    }
}

/// A request of the recording.
#[derive(Debug)]
struct Recorded {
    request: Request,
    decision: Decision,
    holds: bool,
    end: Option<u64>,
}

#[derive(Debug)]
struct Recording {
    folder: PathBuf,
    snapshot: Option<Arc<Snapshot>>,
    requests: BTreeMap<u64, Recorded>,
    /// Ends that came before the decision that they end.
    early: BTreeMap<u64, u64>,
    uncertain: u64,
    ended: Option<String>,
}

fn run(receiver: &Receiver<Note>, folder: PathBuf) {
    let mut recording = Recording {
        folder,
        snapshot: None,
        requests: BTreeMap::new(),
        early: BTreeMap::new(),
        uncertain: 0,
        ended: None,
    };
    while let Ok(note) = receiver.recv() {
        match note {
            Note::Finish { missing } => {
                recording.uncertain += missing;
                break;
            }
            note => recording.take(note),
        }
    }
    match case::write(&recording) {
        Ok(()) => tracing::info!(
            requests = recording.requests.len(),
            "recorded into {}",
            recording.folder.display()
        ),
        Err(error) => tracing::error!(
            "the recording could not be written to {}: {error}",
            recording.folder.display()
        ),
    }
}

impl Recording {
    fn take(&mut self, note: Note) {
        match note {
            Note::Policy(snapshot) if self.snapshot.is_none() => self.snapshot = Some(snapshot),
            Note::Policy(_) => self.end("the policy has changed"),
            Note::Decided {
                number,
                request,
                decision,
                holds,
            } => {
                if self.ended.is_some() {
                    return;
                }
                if self.requests.len() == MOST {
                    self.end("it has as many requests as are kept");
                    return;
                }
                let end = self.early.remove(&number);
                let recorded = Recorded {
                    request: *request,
                    decision: *decision,
                    holds,
                    end,
                };
                self.requests.insert(number, recorded);
            }
            Note::Ended { number, end } => match self.requests.get_mut(&number) {
                Some(recorded) => recorded.end = Some(end),
                None if self.ended.is_none() => {
                    self.early.insert(number, end);
                }
                None => {}
            },
            Note::Uncertain => self.uncertain += 1,
            Note::Finish { .. } => {}
        }
    }

    fn end(&mut self, why: &str) {
        if self.ended.is_none() {
            tracing::warn!("what comes from now on is not recorded: {why}");
            self.ended = Some(why.to_owned());
        }
    }
}
