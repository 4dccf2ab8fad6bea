//! The agent's side of the holder: sockets are given and taken back by a thread of its own, in
//! order, so that nothing that carries traffic waits for another process.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::{Name, wire};

/// How long a holder may take to start or to answer.
const LIMIT: Duration = Duration::from_secs(5);
/// How often a holder that starts is asked.
const LOOK: Duration = Duration::from_millis(5);

enum Order {
    Put(Name, Arc<dyn AsFd + Send + Sync>),
    Release(Name),
    ReleaseOther(String),
    Clear(mpsc::Sender<()>),
}

/// Gives sockets to the holder.
#[derive(Debug)]
pub struct Keeper {
    orders: mpsc::Sender<Order>,
    lost: Arc<AtomicBool>,
    held: Arc<AtomicU64>,
}

/// What is held: version, name, socket.
pub type Held = Vec<(String, String, OwnedFd)>;

impl Keeper {
    /// Connects to the holder at a socket, or starts one, and says what it holds.
    ///
    /// # Errors
    /// There is none, and none can be started.
    pub fn open(path: &Path, version: &str) -> Result<(Self, Held), String> {
        let failed = |error: io::Error| format!("the holder at {}: {error}", path.display());
        raise_open_files();
        let connection = match wire::to_holder(path) {
            Ok(connection) => connection,
            Err(_) => start(path).map_err(failed)?,
        };
        let held = list(&connection).map_err(failed)?;
        let (orders, taken) = mpsc::channel();
        let keeper = Self {
            orders,
            lost: Arc::default(),
            held: Arc::new((held.len() as u64).into()),
        };
        let (lost, count, version) = (
            Arc::clone(&keeper.lost),
            Arc::clone(&keeper.held),
            version.to_owned(),
        );
        let names = held
            .iter()
            .map(|(version, name, _)| format!("{version} {name}"));
        let mut names: HashSet<String> = names.collect();
        let thread = std::thread::Builder::new().name("keeper".to_owned());
        thread
            .spawn(move || {
                if let Err(error) = obey(&connection, &version, &taken, &mut names, &count) {
                    lost.store(true, Ordering::SeqCst);
                    tracing::error!(
                        "the holder is gone ({error}): sockets that come from now on end with the agent"
                    );
                }
            })
            .map_err(failed)?;
        Ok((keeper, held))
    }

    fn order(&self, order: Order) {
        // Where the thread has ended, it has said so.
        let _ = self.orders.send(order);
    }

    /// Has a socket held.
    pub fn put(&self, name: Name, socket: Arc<dyn AsFd + Send + Sync>) {
        self.order(Order::Put(name, socket));
    }

    /// Has a socket held no longer.
    pub fn release(&self, name: Name) {
        self.order(Order::Release(name));
    }

    /// Has a socket of another version held no longer.
    pub fn release_other(&self, version_and_name: String) {
        self.order(Order::ReleaseOther(version_and_name));
    }

    /// Has nothing held any more, and waits until it is so.
    pub fn clear(&self) {
        let (done, is_done) = mpsc::channel();
        self.order(Order::Clear(done));
        // Where the thread has ended, nothing of this agent is held.
        let _ = is_done.recv_timeout(LIMIT);
    }

    /// Whether there is a holder.
    pub fn is_there(&self) -> bool {
        !self.lost.load(Ordering::SeqCst)
    }

    /// How many sockets are held.
    pub fn count(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

fn obey(
    connection: &OwnedFd,
    version: &str,
    orders: &mpsc::Receiver<Order>,
    names: &mut HashSet<String>,
    count: &AtomicU64,
) -> io::Result<()> {
    while let Ok(order) = orders.recv() {
        let released = match order {
            Order::Put(name, socket) => {
                let name = format!("{version} {name}");
                wire::send(connection, &format!("put {name}"), Some((*socket).as_fd()))?;
                names.insert(name);
                None
            }
            Order::Release(name) => Some(format!("{version} {name}")),
            Order::ReleaseOther(name) => Some(name),
            Order::Clear(done) => {
                wire::send(connection, "clear", None)?;
                wire::receive(connection)?;
                names.clear();
                // Whoever asked may have stopped waiting.
                let _ = done.send(());
                None
            }
        };
        if let Some(name) = released
            && names.remove(&name)
        {
            wire::send(connection, &format!("release {name}"), None)?;
        }
        count.store(names.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// What a holder holds.
///
/// # Errors
/// It does not answer.
pub fn list(connection: &OwnedFd) -> io::Result<Held> {
    wire::send(connection, "list", None)?;
    let mut all = Vec::new();
    loop {
        let Some((text, socket)) = wire::receive(connection)? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let mut words = text.splitn(3, ' ');
        match (words.next(), words.next(), words.next(), socket) {
            (Some("held"), Some(version), Some(name), Some(socket)) => {
                all.push((version.to_owned(), name.to_owned(), socket));
            }
            _ => return Ok(all),
        }
    }
}

/// Tells the holder to release everything and end; whether there was one.
///
/// # Errors
/// It does not answer.
pub fn quit(path: &Path) -> io::Result<bool> {
    let Ok(connection) = wire::to_holder(path) else {
        return Ok(false);
    };
    wire::send(&connection, "quit", None)?;
    wire::receive(&connection)?;
    Ok(true)
}

/// Starts a holder that outlives this process.
fn start(path: &Path) -> io::Result<OwnedFd> {
    use std::os::unix::process::CommandExt;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("hold")
        .arg("--socket")
        .arg(path)
        .arg("--with-agent")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // What ends the agent's group from a terminal does not end it.
        .process_group(0)
        .spawn()?;
    let started = Instant::now();
    loop {
        match wire::to_holder(path) {
            Ok(connection) => return Ok(connection),
            Err(error) => {
                if let Some(status) = child.try_wait()? {
                    return Err(io::Error::other(format!("it ended by itself: {status}")));
                }
                if started.elapsed() > LIMIT {
                    child.kill()?;
                    child.wait()?;
                    return Err(error);
                }
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// Each connection takes two descriptors: as many as the hard limit allows.
pub fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // The limit then stays as it is.
    let _ = setrlimit(Resource::Nofile, limit);
}
