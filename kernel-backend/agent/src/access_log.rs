//! One JSON line a request, written by a thread of its own: what decides never waits for a disk.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use twinmesh_engine::{Decision, Outcome, Request};

use crate::live::Decided;
use crate::proxy::ConnectionInfo;

/// Records that wait to be written.
const WAITING: usize = 16 * 1024;

/// Which way a request was carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathTaken {
    /// Through the userspace proxy.
    #[default]
    Proxy,
    /// From socket to socket in the kernel.
    Splice,
    /// Straight to the endpoint that was chosen when the connection was made.
    Connect,
}

/// A request, as it is logged. No header but the authority is in it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Record {
    /// When it came, in microseconds since 1970.
    pub time_us: u64,
    /// From its head to the end of the response; written as `duration_us`.
    #[serde(rename = "duration_us", serialize_with = "microseconds")]
    pub duration: Duration,
    /// The connection's peer.
    pub source: Option<SocketAddr>,
    /// What the connection asked for.
    pub destination: Option<SocketAddr>,
    /// The names that the decision has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// Name of the filter chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_chain: Option<String>,
    /// Name of the route configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route_config: Option<String>,
    /// Name of the virtual host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_host: Option<String>,
    /// The route's name, or `#i`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The method; absent for a TCP connection, like path and authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The target, with its query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// The response's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Bytes of the request's body, or from the client of a TCP connection.
    pub request_bytes: u64,
    /// Bytes of the response's body, or to the client.
    pub response_bytes: u64,
    /// What was decided.
    pub outcome: Outcome,
    /// The response was whole.
    pub complete: bool,
    /// Why it went otherwise than asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Which way it was carried.
    pub path_taken: PathTaken,
    /// The request's one random number.
    pub random: u64,
    /// Which policy decided, counted from 1; 0: none.
    pub generation: u64,
}

fn microseconds<S: serde::Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(value.as_micros()).unwrap_or(u64::MAX))
}

impl Record {
    /// A request that came just now.
    pub fn new(info: &ConnectionInfo, request: &Request) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_micros();
        Self {
            time_us: u64::try_from(now).unwrap_or(u64::MAX),
            source: Some(info.source),
            destination: Some(info.destination),
            listener: request.listener.clone(),
            method: Some(request.method.clone()),
            path: Some(request.path.clone()),
            authority: request.authority.clone(),
            complete: true,
            ..Self::default()
        }
    }

    /// It is a connection, without requests that are seen.
    pub fn connection(&mut self) {
        self.method = None;
        self.path = None;
        self.authority = None;
    }

    /// Takes over what was decided.
    pub fn decided(&mut self, decided: &Decided) {
        self.named(&decided.answer.decision);
        self.random = decided.random;
        self.generation = decided.policy.generation;
    }

    /// Takes over the names of a decision.
    pub fn named(&mut self, decision: &Decision) {
        self.listener.clone_from(&decision.listener);
        self.filter_chain.clone_from(&decision.filter_chain);
        self.route_config.clone_from(&decision.route_config);
        self.virtual_host.clone_from(&decision.virtual_host);
        self.route.clone_from(&decision.route);
        self.cluster.clone_from(&decision.cluster);
        self.endpoint.clone_from(&decision.endpoint);
        self.outcome = decision.outcome;
        self.reason.clone_from(&decision.reason);
    }
}

enum Line {
    Record(Box<Record>),
    /// Everything before it is to be on its way when this is answered.
    Flush(SyncSender<()>),
}

/// Where access log lines go. A clone is the same one.
#[derive(Clone, Default)]
pub struct AccessLog {
    sender: Option<SyncSender<Line>>,
    lost: Arc<AtomicU64>,
}

impl std::fmt::Debug for AccessLog {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("AccessLog")
    }
}

impl AccessLog {
    /// To a file, appended to, or `-`: standard output.
    ///
    /// # Errors
    /// The file cannot be opened, or there is no thread.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            return Self::to(Box::new(io::stdout()));
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Self::to(Box::new(file))
    }

    /// To a writer.
    ///
    /// # Errors
    /// There is no thread.
    pub fn to(writer: Box<dyn Write + Send>) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        // It ends when every log is gone.
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                write(
                    &receiver,
                    BufWriter::with_capacity(64 * 1024, writer),
                    &counted,
                )
            })?;
        Ok(Self {
            sender: Some(sender),
            lost,
        })
    }

    /// Waits until what was handed over is written, or the time is over; whether it is. Blocks.
    pub fn flush(&self, limit: Duration) -> bool {
        let Some(sender) = &self.sender else {
            return true;
        };
        let (done, flushed) = sync_channel(1);
        sender.send(Line::Flush(done)).is_ok() && flushed.recv_timeout(limit).is_ok()
    }

    /// Hands a record over; where the writer is behind, it is lost, and counted.
    pub fn write(&self, record: Box<Record>) {
        if let Some(sender) = &self.sender
            && let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
                sender.try_send(Line::Record(record))
        {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Whether lines go anywhere.
    pub fn is_open(&self) -> bool {
        self.sender.is_some()
    }

    /// How many lines were lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

/// Writes until all senders are gone. After a failed write the lines are counted as lost, and
/// writing goes on with the next.
fn write(
    receiver: &Receiver<Line>,
    mut writer: BufWriter<Box<dyn Write + Send>>,
    lost: &AtomicU64,
) {
    let mut text = Vec::with_capacity(1024);
    let mut told = false;
    let mut failed = |error: &io::Error, lines: u64, lost: &AtomicU64| {
        lost.fetch_add(lines, Relaxed);
        if !told {
            tracing::error!("access log lines are lost: {error}");
            told = true;
        }
    };
    while let Ok(first) = receiver.recv() {
        let mut next = Some(first);
        let mut flushed = Vec::new();
        let mut lines = 0;
        while let Some(line) = next {
            match line {
                Line::Flush(done) => flushed.push(done),
                Line::Record(record) => {
                    text.clear();
                    let written = serde_json::to_writer(&mut text, &record)
                        .map_err(io::Error::from)
                        .and_then(|()| {
                            text.push(b'\n');
                            writer.write_all(&text)
                        });
                    match written {
                        Ok(()) => lines += 1,
                        Err(error) => failed(&error, 1, lost),
                    }
                }
            }
            next = receiver.try_recv().ok();
        }
        if let Err(error) = writer.flush() {
            failed(&error, lines, lost);
        }
        for done in flushed {
            // Nobody waits any more.
            let _ = done.try_send(());
        }
    }
}
