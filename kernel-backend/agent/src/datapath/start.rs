//! From options to programs that run: loaded first, attached when the first policy is in force.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use twinmesh_kernel_backend::datapath::maps::address;
use twinmesh_kernel_backend::datapath::shape::{Address, Config, flag};
use twinmesh_kernel_backend::datapath::{Attached, Datapath, Sizes, cgroup};

use super::{Splice, events, listen};
use crate::access_log::AccessLog;
use crate::live::Live;
use crate::proxy::{Proxy, Resolve};

/// Bytes that may lie unread in a client's queue of redirected data.
const QUEUE_LIMIT: u64 = 256 * 1024;
/// Every response leaves an event.
const ALL: u64 = 1 << 32;
/// How often records of dead connections are looked through.
const SWEEP: Duration = Duration::from_secs(1);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// Whether the kernel takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KernelMode {
    /// Where it can.
    Auto,
    /// Or the agent does not start.
    Required,
    /// Not.
    Off,
}

/// What the kernel is to do.
#[derive(Debug, Clone)]
pub struct KernelOptions {
    /// Whether it takes part.
    pub mode: KernelMode,
    /// The cgroup whose connections are taken; by default the root.
    pub cgroup: Option<PathBuf>,
    /// Where the agent takes them.
    pub redirect: Vec<SocketAddr>,
    /// Whether an endpoint is chosen at connect(2) where nothing else decides.
    pub connect_time: bool,
    /// How much the maps hold.
    pub sizes: Sizes,
}

/// Programs that are loaded.
pub struct Loaded {
    /// What they share with the agent.
    pub splice: Arc<Splice>,
    datapath: Arc<Datapath>,
    cgroup: PathBuf,
    root: PathBuf,
    redirect: Vec<SocketAddr>,
    connect_time: bool,
}

/// Programs that are attached, and what runs beside them.
pub struct Running {
    /// What they share with the agent.
    pub splice: Arc<Splice>,
    /// Where the agent takes connections.
    pub redirect: Vec<SocketAddr>,
    attached: Attached,
    events: Option<events::Reader>,
    tasks: Vec<JoinHandle<()>>,
}

impl KernelOptions {
    /// Loads the programs, where they are wanted and this machine can run them.
    ///
    /// # Errors
    /// They are required, and this machine cannot.
    pub fn load(&self) -> Result<Option<Loaded>, String> {
        if self.mode == KernelMode::Off {
            return Ok(None);
        }
        match self.try_load(None) {
            Ok(loaded) => Ok(Some(loaded)),
            Err(why) if self.mode == KernelMode::Auto => {
                tracing::warn!(
                    "nothing is routed in the kernel, all goes through the proxy: {why}"
                );
                Ok(None)
            }
            Err(why) => Err(format!("--kernel required: {why}")),
        }
    }

    /// Loads the programs.
    ///
    /// # Errors
    /// Why this machine cannot run them.
    pub fn try_load(&self, resolve: Option<Box<Resolve>>) -> Result<Loaded, String> {
        let root = cgroup::root()?;
        let of_clients = self.cgroup.clone().unwrap_or_else(|| root.clone());
        let datapath = Datapath::load(self.sizes).map_err(|why| why.to_string())?;
        let datapath = Arc::new(datapath);
        Ok(Loaded {
            splice: Splice::new(Arc::clone(&datapath), resolve),
            datapath,
            cgroup: of_clients,
            root,
            redirect: self.redirect.clone(),
            connect_time: self.connect_time,
        })
    }
}

fn bind(at: SocketAddr) -> std::io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(
        Domain::for_address(at),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

impl Loaded {
    /// Attaches the programs and takes connections from now on.
    ///
    /// # Errors
    /// An address cannot be bound, or the programs cannot be attached.
    pub fn start(
        self,
        proxy: &Proxy,
        live: &Live,
        access_log: &AccessLog,
    ) -> Result<Running, String> {
        let connect_time = if self.connect_time {
            flag::CONNECT_TIME
        } else {
            0
        };
        let mut config = Config {
            flags: flag::REDIRECT | flag::SPLICE | connect_time,
            queue_limit: QUEUE_LIMIT,
            ..Config::default()
        };
        let mut events = None;
        if live.recorder().is_some() {
            config.flags |= flag::ORDER;
            config.flags &= !flag::CONNECT_TIME;
        }
        if (access_log.is_open() || live.recorder().is_some())
            && let Some(ring) = self.datapath.maps().take_events()
        {
            let reader = events::read(ring, live.clone(), access_log.clone());
            events = Some(reader.map_err(|error| format!("the events' thread: {error}"))?);
            config.flags |= flag::EVENTS;
            config.event_share = ALL;
        }
        let mut tasks = Vec::new();
        let mut redirect = Vec::new();
        for at in &self.redirect {
            let bound = bind(*at).and_then(|listener| Ok((listener.local_addr()?, listener)));
            let (local, listener) = match bound {
                Ok(bound) => bound,
                // A machine without IPv6 has no connections over it either.
                Err(error) if at.is_ipv6() && self.redirect.len() > 1 => {
                    tracing::warn!("--redirect {at}: {error}; IPv6 connections are not taken");
                    continue;
                }
                Err(error) => return Err(format!("--redirect {at}: {error}")),
            };
            let family: &mut Address = if local.is_ipv4() {
                &mut config.agent_v4
            } else {
                &mut config.agent_v6
            };
            *family = address(local);
            redirect.push(local);
            tasks.push(tokio::spawn(listen::accept(
                Arc::clone(&self.splice),
                proxy.clone(),
                live.clone(),
                listener,
            )));
        }
        let splice = Arc::clone(&self.splice);
        tasks.push(tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                let splice = Arc::clone(&splice);
                // An error would be a panic in there.
                let _ = tokio::task::spawn_blocking(move || splice.sweep()).await;
            }
        }));
        let attached = self
            .datapath
            .attach(&self.cgroup, &self.root)
            .map_err(|why| why.to_string())?;
        self.datapath.maps().set_config(&config);
        let at: Vec<String> = redirect.iter().map(ToString::to_string).collect();
        tracing::info!(
            "the kernel takes the connections of {}; the agent is at {}",
            self.cgroup.display(),
            at.join(", ")
        );
        Ok(Running {
            splice: self.splice,
            redirect,
            attached,
            events,
            tasks,
        })
    }
}

impl Running {
    /// Waits until the events that there are have been read.
    pub fn read_events(&self) {
        if let Some(events) = &self.events {
            events.catch_up();
        }
    }

    /// Takes no more connections. Those that there are go on, through the agent.
    pub fn stop(self) {
        self.splice.datapath.maps().set_config(&Config::default());
        drop(self.attached);
        drop(self.events);
        for task in self.tasks {
            task.abort();
        }
    }
}
