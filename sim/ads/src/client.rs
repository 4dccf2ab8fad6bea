//! The client: a state machine on a stream, a stream on a channel, and a next one when it ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until};

use crate::backoff::Backoff;
use crate::bootstrap::{Bootstrap, Server};
use crate::resource::{Policy, Source};
use crate::state::{Machine, Note, Protocol, RESOURCE_TIMEOUT, Request, Response, Step};
use crate::status::Status;
use crate::store::{self, StoreError};
use crate::transport::{self, Arrival};

/// Requests that wait for the server to read them. A server that lets more pile up is left.
const OUTGOING: usize = 4096;

/// Uniform in [0, 1).
pub type Random = Box<dyn FnMut() -> f64 + Send>;

/// How a client behaves.
pub struct Options {
    /// Delta ADS, not state of the world.
    pub delta: bool,
    /// Where the last good policy is kept; `None`: nowhere.
    pub last_good: Option<PathBuf>,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// How long a resource may take to come before it counts as absent, and how long a first
    /// policy may before the last good one is used.
    pub resource_timeout: Duration,
    /// Jitter's source; `None`: the thread's random numbers.
    pub random: Option<Random>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            delta: false,
            last_good: None,
            backoff: Backoff::default(),
            resource_timeout: RESOURCE_TIMEOUT,
            random: None,
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Options")
            .field("delta", &self.delta)
            .field("last_good", &self.last_good)
            .field("backoff", &self.backoff)
            .field("resource_timeout", &self.resource_timeout)
            .finish_non_exhaustive()
    }
}

/// A running client; dropping it ends its stream.
#[derive(Debug)]
pub struct Client {
    policies: watch::Receiver<Option<Arc<Policy>>>,
    status: Arc<Status>,
    task: AbortHandle,
}

impl Client {
    /// Starts asking the servers of a bootstrap for their policy, and goes on until it is dropped.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(bootstrap: Bootstrap, options: Options) -> Client {
        let (sender, policies) = watch::channel(None);
        let status = Arc::new(Status::default());
        let protocol = if options.delta {
            Protocol::Delta
        } else {
            Protocol::StateOfTheWorld
        };
        let machine = Machine::new(protocol, bootstrap.node.clone(), options.resource_timeout);
        let keeper = keep(options.last_good.clone(), policies.clone(), status.clone());
        let running = Running {
            machine,
            bootstrap,
            options,
            status: status.clone(),
            sender,
            start: Instant::now(),
            last_good_due: true,
            answered: false,
        };
        let task = tokio::spawn(async move {
            tokio::join!(running.run(), keeper);
        });
        Client {
            policies,
            status,
            task: task.abort_handle(),
        }
    }

    /// The policy in force: `None` until there is one. A refused one is never seen here; where
    /// several come before the receiver looks, it sees the last.
    pub fn policies(&self) -> watch::Receiver<Option<Arc<Policy>>> {
        self.policies.clone()
    }

    /// The counters.
    pub fn status(&self) -> Arc<Status> {
        self.status.clone()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Running {
    machine: Machine,
    bootstrap: Bootstrap,
    options: Options,
    status: Arc<Status>,
    sender: watch::Sender<Option<Arc<Policy>>>,
    start: Instant,
    /// The last good policy was not looked for yet.
    last_good_due: bool,
    /// Some server has answered.
    answered: bool,
}

/// Why a stream ended.
#[derive(Default)]
struct End {
    /// When the server took the stream.
    opened: Option<Instant>,
    /// There was at least one response.
    answered: bool,
    reason: String,
}

impl End {
    fn unreachable(reason: String) -> End {
        End {
            reason,
            ..End::default()
        }
    }

    /// Whether the server is one to come back to before the next one is asked: it has answered, or
    /// had nothing new to say for a while.
    fn was_good(&self, patience: Duration) -> bool {
        self.answered
            || self
                .opened
                .is_some_and(|opened| opened.elapsed() >= patience)
    }
}

impl Running {
    async fn run(mut self) {
        let mut failures = 0_u32;
        let servers = self.bootstrap.servers.clone();
        loop {
            for server in &servers {
                let end = self.stream(server, servers.len() > 1).await;
                self.machine.disconnected();
                self.status.set_disconnected(&end.reason);
                tracing::warn!(server = server.uri, "no ADS stream: {}", end.reason);
                if end.answered {
                    failures = 0;
                }
                if end.was_good(self.options.resource_timeout) {
                    break;
                }
            }
            self.use_last_good().await;
            failures = failures.saturating_add(1);
            let random = match &mut self.options.random {
                Some(random) => random(),
                None => rand::random(),
            };
            let wait = self.options.backoff.wait(failures, random);
            tracing::info!("next attempt in {} ms", wait.as_millis());
            sleep(wait).await;
        }
    }

    /// One stream, from the channel to its end.
    async fn stream(&mut self, server: &Server, others: bool) -> End {
        let channel = match transport::connect(server).await {
            Ok(channel) => channel,
            Err(reason) => return End::unreachable(reason),
        };
        let (outgoing, requests) = mpsc::channel(OUTGOING);
        let arrivals = transport::open(channel, self.machine.protocol(), requests);
        let mut end = End::unreachable(String::new());
        end.reason = match self
            .talk(server, others, outgoing, arrivals, &mut end)
            .await
        {
            Ok(never) => match never {},
            Err(reason) => reason,
        };
        end
    }

    async fn talk(
        &mut self,
        server: &Server,
        others: bool,
        outgoing: mpsc::Sender<Request>,
        arrivals: impl Stream<Item = Result<Arrival, tonic::Status>>,
        end: &mut End,
    ) -> Result<std::convert::Infallible, String> {
        let mut arrivals = std::pin::pin!(arrivals);
        let uri = server.uri.clone();
        let time = self.start.elapsed();
        self.step(&outgoing, move |machine| machine.connected(&uri, time))
            .await?;
        // A server that says nothing is left for another one, while there is no policy to lose.
        let patience = Instant::now() + self.options.resource_timeout;
        loop {
            let impatient = others && !end.answered && !self.answered;
            let deadline = self.machine.deadline().map(|time| self.start + time);
            let last_good = self.start + self.options.resource_timeout;
            tokio::select! {
                arrival = arrivals.next() => match arrival {
                    Some(Ok(Arrival::Opened)) => {
                        end.opened = Some(Instant::now());
                        self.status.set_connected(&server.uri);
                        tracing::info!(server = server.uri, "ADS stream opened");
                    }
                    Some(Ok(Arrival::Response(response))) => {
                        end.answered = true;
                        self.answered = true;
                        self.receive(&outgoing, *response).await?;
                    }
                    Some(Err(status)) => return Err(describe(&status)),
                    None => return Err("the server has ended the stream".to_owned()),
                },
                () = until(deadline) => {
                    let time = self.start.elapsed();
                    self.step(&outgoing, move |machine| machine.elapsed(time)).await?;
                }
                () = sleep_until(last_good), if self.last_good_due => self.use_last_good().await,
                () = sleep_until(patience), if impatient => {
                    end.opened = None;
                    let timeout = self.options.resource_timeout;
                    return Err(format!("the server has answered nothing within {timeout:?}"));
                }
            }
        }
    }

    async fn receive(
        &mut self,
        outgoing: &mpsc::Sender<Request>,
        response: Response,
    ) -> Result<(), String> {
        let time = self.start.elapsed();
        self.step(outgoing, move |machine| machine.received(response, time))
            .await
    }

    /// Runs the machine where it may take its time: large snapshots take a second to read.
    async fn step(
        &mut self,
        outgoing: &mpsc::Sender<Request>,
        run: impl FnOnce(&mut Machine) -> Step + Send + 'static,
    ) -> Result<(), String> {
        let fresh = Machine::new(
            self.machine.protocol(),
            self.bootstrap.node.clone(),
            self.options.resource_timeout,
        );
        let mut machine = std::mem::replace(&mut self.machine, fresh);
        let result = spawn_blocking(move || {
            let step = run(&mut machine);
            (machine, step)
        });
        let (machine, step) = result
            .await
            .map_err(|error| format!("internal error, starting anew: {error}"))?;
        self.machine = machine;
        for note in &step.notes {
            self.take_note(note);
        }
        if let Some(set) = step.policy {
            let policy = Policy::new(set, store::now(), Source::Server);
            self.status.add_update(policy.received);
            self.last_good_due = false;
            self.sender.send_replace(Some(Arc::new(policy)));
        }
        for request in step.requests {
            outgoing.try_send(request).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => {
                    format!("the server has left {OUTGOING} requests unread")
                }
                mpsc::error::TrySendError::Closed(_) => {
                    "the server takes no more requests".to_owned()
                }
            })?;
        }
        Ok(())
    }

    fn take_note(&self, note: &Note) {
        match note {
            Note::Acknowledged { kind, .. } => {
                self.status.add_ack(*kind);
                tracing::debug!("{note}");
                return;
            }
            Note::Refused { kind, message, .. } => self.status.add_nack(*kind, message),
            Note::Ignored { .. } => self.status.add_ignored(),
            Note::Absent { .. } => self.status.add_absent(),
            _ => {}
        }
        tracing::warn!("{note}");
    }

    /// Uses the last good policy, once, if there is no policy yet.
    async fn use_last_good(&mut self) {
        let has_policy = self.sender.borrow().is_some();
        if has_policy || !std::mem::take(&mut self.last_good_due) {
            return;
        }
        let Some(path) = self.options.last_good.clone() else {
            return;
        };
        match spawn_blocking(move || store::read(&path)).await {
            Ok(Ok(policy)) => {
                tracing::warn!("no server has answered: the last good policy is used");
                self.sender.send_replace(Some(Arc::new(policy)));
            }
            Ok(Err(error @ StoreError::None { .. })) => tracing::info!("{error}"),
            Ok(Err(error)) => tracing::error!("{error}"),
            Err(error) => tracing::error!("the last good policy is not used: {error}"),
        }
    }
}

/// Keeps each policy that comes from a server; the last of them where they come faster than the
/// disk is.
async fn keep(
    path: Option<PathBuf>,
    mut policies: watch::Receiver<Option<Arc<Policy>>>,
    status: Arc<Status>,
) {
    let Some(path) = path else { return };
    while policies.changed().await.is_ok() {
        let policy = policies.borrow_and_update().clone();
        let Some(policy) = policy.filter(|policy| policy.source == Source::Server) else {
            continue;
        };
        let path = path.clone();
        let result = match spawn_blocking(move || store::write(&path, &policy)).await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = result {
            status.add_store_failure();
            tracing::error!("{error}");
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn describe(status: &tonic::Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    if let Some(source) = std::error::Error::source(status) {
        text.push_str(": ");
        text.push_str(&transport::chain(source));
    }
    text
}
