//! The generator: connections that send, and check what comes back.

mod connection;
pub mod expected;
pub mod fault;
mod head;
mod plan;
pub mod report;
mod response;
pub mod share;
pub mod variety;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use expected::Expected;
use report::{Report, Tally};
use variety::Variety;

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// After so many requests.
    Requests(u64),
    /// After a time.
    Elapsed(Duration),
}

/// A run.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where to.
    pub address: SocketAddr,
    /// The host header.
    pub authority: String,
    /// The path, without a query.
    pub path: String,
    /// Connections at a time.
    pub connections: usize,
    /// When it ends.
    pub until: Until,
    /// Which backends may answer.
    pub expected: Expected,
    /// Bytes of each response's body, where they are not drawn.
    pub bytes: u64,
    /// Whether requests are drawn from the variety.
    pub mix: bool,
    /// What is drawn, if it is.
    pub variety: Variety,
    /// What is drawn follows from it.
    pub seed: u64,
    /// How long a connection may go without an answer.
    pub timeout: Duration,
}

/// What the connections of a run share.
#[derive(Debug)]
struct Run {
    load: Load,
    tickets: AtomicU64,
    end: Option<Instant>,
    /// The ids' upper half, so that two runs' differ.
    epoch: u64,
}

impl Run {
    /// A number for one more request; `None`: the run is over.
    fn ticket(&self) -> Option<u64> {
        if self.end.is_some_and(|end| Instant::now() >= end) {
            return None;
        }
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        match self.load.until {
            Until::Requests(most) if ticket >= most => None,
            _ => Some(ticket),
        }
    }

    fn id(&self, ticket: u64) -> u64 {
        self.epoch << 40 | (ticket + 1)
    }
}

/// Runs a load. Has to be called within a tokio runtime.
pub async fn run(load: Load) -> Report {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let started = Instant::now();
    let run = Arc::new(Run {
        tickets: AtomicU64::new(0),
        end: match load.until {
            Until::Elapsed(time) => Some(started + time),
            Until::Requests(_) => None,
        },
        epoch: crate::pattern::mix(now.as_nanos() as u64) >> 40,
        load,
    });
    let tasks: Vec<_> = (0..run.load.connections as u64)
        .map(|number| tokio::spawn(connection::keep(Arc::clone(&run), number)))
        .collect();
    let mut tally = Tally::default();
    for task in tasks {
        match task.await {
            Ok(of_one) => tally.add(of_one),
            Err(error) => tally.panicked(&error.to_string()),
        }
    }
    Report::new(&run.load, tally, started.elapsed())
}
