//! Shadow mode: a share of the live decisions is made again by the engine `spec`, which shares no
//! code with the model, by a thread of its own. What decides never waits for it: where the thread is
//! behind, decisions are skipped, and counted.

mod compare;
mod report;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use twinmesh_engine::{Answer, Engine as _, Request};
use twinmesh_spec::Spec;
use twinmesh_xds::Snapshot;

use compare::Verdict;
use report::Report;

/// All decisions.
pub const ALL: u64 = 1 << 32;
/// Decisions that wait to be compared.
const WAITING: usize = 1024;
/// Policies that `spec` is ready to decide by.
const POLICIES: usize = 3;

/// What is compared, and where differences go.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Of how many decisions out of 2^32.
    pub share: u64,
    /// Where differences are saved as cases.
    pub cases: Option<PathBuf>,
}

/// The share out of 2^32 that is so many percent.
pub fn share_of(percent: f64) -> u64 {
    if percent <= 0.0 {
        return 0;
    }
    // However small it is, it is not nothing.
    ((percent / 100.0 * ALL as f64) as u64).clamp(1, ALL)
}

/// Why a decision is not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// As many wait as may.
    QueueFull,
    /// The request's head is longer than what the kernel keeps of it.
    HeadCut,
    /// The head is no text that a request can be read from.
    HeadUnreadable,
    /// The policy that decided is no longer here.
    PolicyGone,
    /// The live decision is `unsupported`.
    Unsupported,
    /// `spec` does not take the policy or the request.
    Refused,
}

impl Skipped {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::QueueFull,
        Self::HeadCut,
        Self::HeadUnreadable,
        Self::PolicyGone,
        Self::Unsupported,
        Self::Refused,
    ];

    /// As metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::HeadCut => "head_cut",
            Self::HeadUnreadable => "head_unreadable",
            Self::PolicyGone => "policy_gone",
            Self::Unsupported => "unsupported",
            Self::Refused => "refused",
        }
    }
}

/// What became of the decisions that were looked at.
#[derive(Debug, Default)]
pub struct Counts {
    compared: AtomicU64,
    differing: AtomicU64,
    skipped: [AtomicU64; Skipped::ALL.len()],
}

impl Counts {
    /// Decisions that were compared.
    pub fn compared(&self) -> u64 {
        self.compared.load(Relaxed)
    }

    /// Those of them that differ.
    pub fn differing(&self) -> u64 {
        self.differing.load(Relaxed)
    }

    /// Decisions that were to be compared and were not.
    pub fn skipped(&self, why: Skipped) -> u64 {
        let count = self.skipped.get(why as usize);
        count.map_or(0, |count| count.load(Relaxed))
    }

    fn skip(&self, why: Skipped) {
        if let Some(count) = self.skipped.get(why as usize) {
            count.fetch_add(1, Relaxed);
        }
    }
}

/// A decision that is to be made again.
#[derive(Debug, Clone)]
pub struct Made {
    /// The request.
    pub request: Request,
    /// Its one random number.
    pub random: u64,
    /// What was decided, with the steps (those of routes that did not match left out).
    pub answer: Answer,
    /// The policy by which it was.
    pub snapshot: Arc<Snapshot>,
    /// Its generation.
    pub generation: u64,
}

enum Message {
    Made(Box<Made>),
    /// Answered once everything before it has been compared.
    Flush(SyncSender<()>),
}

/// The shadow. Its thread ends with it.
#[derive(Debug)]
pub struct Shadow {
    share: u64,
    counts: Arc<Counts>,
    waiting: Arc<AtomicUsize>,
    sender: Sender<Message>,
}

impl Shadow {
    /// Starts the thread.
    ///
    /// # Errors
    /// The folder for cases cannot be made, or there is no thread.
    pub fn start(options: Options) -> io::Result<Self> {
        let report = Report::new(options.cases)?;
        let (sender, receiver) = channel();
        let counts = Arc::new(Counts::default());
        let waiting = Arc::new(AtomicUsize::new(0));
        let thread = Thread {
            specs: VecDeque::new(),
            counts: Arc::clone(&counts),
            waiting: Arc::clone(&waiting),
            report,
        };
        std::thread::Builder::new()
            .name("shadow".to_owned())
            .spawn(move || thread.run(&receiver))?;
        Ok(Self {
            share: options.share,
            counts,
            waiting,
            sender,
        })
    }

    /// Of how many decisions out of 2^32.
    pub fn share(&self) -> u64 {
        self.share
    }

    /// What became of them.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether the decision at hand is one of the share. Not by the request's own random number:
    /// that decides too.
    pub fn takes(&self) -> bool {
        u64::from(rand::random::<u32>()) < self.share
    }

    /// A decision of the share is not compared.
    pub fn skip(&self, why: Skipped) {
        self.counts.skip(why);
    }

    /// Has a decision made again; never waits.
    pub fn compare(&self, made: impl FnOnce() -> Made) {
        if self.waiting.fetch_add(1, Relaxed) >= WAITING {
            self.waiting.fetch_sub(1, Relaxed);
            return self.skip(Skipped::QueueFull);
        }
        // The thread ends after this.
        let _ = self.sender.send(Message::Made(Box::new(made())));
    }

    /// Waits until what was handed over has been compared, or the time is over; whether it has.
    /// Blocks.
    pub fn flush(&self, limit: Duration) -> bool {
        let (done, flushed) = sync_channel(1);
        let sent = self.sender.send(Message::Flush(done));
        sent.is_ok() && flushed.recv_timeout(limit).is_ok()
    }
}

struct Thread {
    /// By generation; `None` where `spec` does not take the policy.
    specs: VecDeque<(u64, Option<Spec>)>,
    counts: Arc<Counts>,
    waiting: Arc<AtomicUsize>,
    report: Report,
}

impl Thread {
    fn run(mut self, receiver: &Receiver<Message>) {
        while let Ok(message) = receiver.recv() {
            match message {
                Message::Made(made) => {
                    self.waiting.fetch_sub(1, Relaxed);
                    self.compare(&made);
                }
                // Nobody waits any more where this fails.
                Message::Flush(done) => drop(done.try_send(())),
            }
        }
    }

    fn compare(&mut self, made: &Made) {
        if !self.ready(made) {
            return self.counts.skip(Skipped::PolicyGone);
        }
        let spec = self.specs.iter().find(|(of, _)| *of == made.generation);
        let again = spec.and_then(|(_, spec)| spec.as_ref()).map(|spec| {
            let held = made.answer.held;
            spec.decide_chosen(&made.request, made.random, held)
        });
        let Some(Ok(again)) = again else {
            if let Some(Err(error)) = again {
                tracing::debug!("not compared: {error}");
            }
            return self.counts.skip(Skipped::Refused);
        };
        let verdict = compare::compare(&made.answer, &again);
        if let Verdict::Unsupported = verdict {
            return self.counts.skip(Skipped::Unsupported);
        }
        self.counts.compared.fetch_add(1, Relaxed);
        if let Verdict::Differs(fields) = verdict {
            self.counts.differing.fetch_add(1, Relaxed);
            self.report.tell(made, &again, &fields, Instant::now());
        }
    }

    /// Makes `spec` ready for the policy, where it is not; whether the policy is one of the last.
    fn ready(&mut self, made: &Made) -> bool {
        if self.specs.iter().any(|(of, _)| *of == made.generation) {
            return true;
        }
        let oldest = self.specs.iter().map(|(of, _)| *of).min();
        if self.specs.len() == POLICIES && oldest.is_some_and(|oldest| made.generation < oldest) {
            return false;
        }
        let mut spec = Spec::new();
        let loaded = spec.load(&made.snapshot);
        if let Err(error) = &loaded {
            tracing::warn!(
                generation = made.generation,
                "no decision by this policy is compared: {error}"
            );
        }
        self.specs
            .push_back((made.generation, loaded.is_ok().then_some(spec)));
        if self.specs.len() > POLICIES {
            self.specs.retain(|(of, _)| Some(*of) != oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0.0, 0)]
    #[case(100.0, ALL)]
    #[case(50.0, ALL / 2)]
    #[case(0.1, 4_294_967)]
    #[case(1e-9, 1)]
    fn shares(#[case] percent: f64, #[case] share: u64) {
        assert_eq!(share_of(percent), share);
    }
}
