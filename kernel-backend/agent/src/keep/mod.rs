//! What outlives the agent, so that its end cuts nothing that the kernel carries, and what the next
//! agent finds: pinned programs and maps, sockets with a holder, and a ledger of the agent's own
//! doings in a folder.

pub mod detach;
mod endpoints;
pub mod holder;
pub mod keeper;
pub mod ledger;
mod wire;

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use twinmesh_compile::Numbers;
use twinmesh_kernel_backend::datapath::{Pins, Sizes};

use keeper::Keeper;
use ledger::Ledger;

/// Where the kernel's part lies by default.
pub const PINS: &str = "/sys/fs/bpf/twinmesh";
/// Where the rest lies by default.
pub const FOLDER: &str = "/run/twinmesh";

/// What is to be kept, and where.
#[derive(Debug, Clone)]
pub struct KeepOptions {
    /// The holder's socket, the ledger and the endpoints' numbers.
    pub folder: PathBuf,
    /// Maps, programs and links, on a BPF file system.
    pub pins: PathBuf,
}

impl Default for KeepOptions {
    fn default() -> Self {
        Self {
            folder: FOLDER.into(),
            pins: PINS.into(),
        }
    }
}

/// The folder is this process's, until it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes a folder, which is made where it is not there.
///
/// # Errors
/// Another agent has it, or it cannot be made.
pub fn lock(folder: &Path) -> Result<Lock, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed)?;
    let path = folder.join("agent.pid");
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(failed)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        // Only the message suffers.
        let _ = file.read_to_string(&mut pid);
        return Err(format!(
            "{}: an agent runs there already (process {})",
            folder.display(),
            pid.trim()
        ));
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(failed)?;
    Ok(Lock { _file: file })
}

/// A socket that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    /// Where the agent takes connections; whether of IPv6.
    Listener(bool),
    /// The agent's end of a client's connection: index of its record, and which use of it.
    Client(u64, u64),
    /// The agent's end of a connection to an endpoint: the same.
    Upstream(u64, u64),
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(v6) => write!(formatter, "listener {}", if *v6 { 6 } else { 4 }),
            Self::Client(index, uses) => write!(formatter, "client {index} {uses}"),
            Self::Upstream(index, uses) => write!(formatter, "upstream {index} {uses}"),
        }
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("expected the name of a socket, found {text:?}");
        let fields: Vec<&str> = text.split(' ').collect();
        let number = |text: &str| text.parse().map_err(|_| unknown());
        match *fields.as_slice() {
            ["listener", "4"] => Ok(Self::Listener(false)),
            ["listener", "6"] => Ok(Self::Listener(true)),
            ["client", index, uses] => Ok(Self::Client(number(index)?, number(uses)?)),
            ["upstream", index, uses] => Ok(Self::Upstream(number(index)?, number(uses)?)),
            _ => Err(unknown()),
        }
    }
}

/// What an agent keeps.
#[derive(Debug)]
pub struct Keep {
    /// Maps, programs and links.
    pub pins: Pins,
    /// Sockets.
    pub keeper: Keeper,
    /// The agent's own doings.
    pub ledger: Arc<Ledger>,
    folder: PathBuf,
    endpoints: endpoints::File,
    _lock: Lock,
}

/// What an earlier agent left.
#[derive(Debug, Default)]
pub struct Found {
    /// The numbers that endpoints have; `None`: there is nothing that could be adopted.
    pub numbers: Option<Numbers>,
    /// Sockets.
    pub sockets: Vec<(Name, OwnedFd)>,
    /// Sockets of other versions, and their pins.
    pub others: Others,
}

/// What agents of other versions left.
#[derive(Debug, Default)]
pub struct Others {
    /// Sockets.
    pub sockets: Vec<OwnedFd>,
    /// Names of the sockets.
    pub names: Vec<String>,
    /// Folders with pins.
    pub pins: Vec<PathBuf>,
}

impl Keep {
    /// Opens what is kept, starts a holder where none is there, and says what an earlier agent left.
    ///
    /// # Errors
    /// Another agent runs, there is no BPF file system, or no holder.
    pub fn open(options: &KeepOptions, sizes: Sizes) -> Result<(Self, Found), String> {
        let lock = lock(&options.folder)?;
        let pins = Pins::new(&options.pins, sizes)?;
        let folder = options.folder.clone();
        let (keeper, held) = Keeper::open(&folder.join(holder::SOCKET), pins.id())?;
        let mut found = Found {
            others: Others {
                pins: pins
                    .others()
                    .map_err(|error| format!("{}: {error}", options.pins.display()))?,
                ..Others::default()
            },
            ..Found::default()
        };
        for (version, name, socket) in held {
            match name.parse() {
                Ok(name) if version == pins.id() => found.sockets.push((name, socket)),
                _ => {
                    found.others.names.push(format!("{version} {name}"));
                    found.others.sockets.push(socket);
                }
            }
        }
        let mut endpoints = endpoints::File::new(&folder, pins.id());
        if pins.are_whole() {
            found.numbers = match endpoints.read(u64::from(sizes.endpoints)) {
                Ok(numbers) => numbers,
                Err(why) => {
                    tracing::error!("what an earlier agent left is not adopted: {why}");
                    None
                }
            };
        }
        if found.numbers.is_none() {
            // Their records are gone, and nobody could say what they wait for.
            for (name, _) in found.sockets.drain(..) {
                keeper.release(name);
            }
        }
        let ledger = Ledger::open(&folder, sizes, found.numbers.is_some())
            .map_err(|error| format!("{}: the ledger: {error}", folder.display()))?;
        let keep = Self {
            pins,
            keeper,
            ledger: Arc::new(ledger),
            folder,
            endpoints,
            _lock: lock,
        };
        Ok((keep, found))
    }

    /// Keeps the numbers that endpoints have.
    ///
    /// # Errors
    /// The file cannot be written: no later agent can adopt what is there.
    pub fn save(&self, numbers: &Numbers) -> Result<(), String> {
        self.endpoints.write(numbers)
    }

    /// Keeps nothing any more: this agent ends for good.
    ///
    /// # Errors
    /// What cannot be removed.
    pub fn remove(&self) -> Result<(), String> {
        self.keeper.clear();
        let removed = self
            .pins
            .remove()
            .map_err(|error| format!("{}: {error}", self.pins.root().display()));
        endpoints::File::remove(&self.folder)?;
        Ledger::remove(&self.folder)?;
        removed
    }
}
