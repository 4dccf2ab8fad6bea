//! From options to programs that run: loaded first, attached when the first policy is in force.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use twinmesh_kernel_backend::datapath::maps::address;
use twinmesh_kernel_backend::datapath::probe::probe;
use twinmesh_kernel_backend::datapath::shape::{Address, Config, flag};
use twinmesh_kernel_backend::datapath::{Attached, Datapath, Sizes, cgroup, pins};

use super::adopt::{self, Adopted};
use super::memory::KernelMemory;
use super::paths::Paths;
use super::{Splice, events, listen, timeouts};
use crate::access_log::AccessLog;
use crate::keep::{self, Found, Keep, KeepOptions, Name};
use crate::live::Live;
use crate::proxy::{Proxy, Resolve};
use crate::shadow::{ALL, Shadow};

/// Bytes that may lie unread in a client's queue of redirected data.
const QUEUE_LIMIT: u64 = 256 * 1024;
/// How often records of dead connections are looked through.
const SWEEP: Duration = Duration::from_secs(1);
/// How often a policy is looked for.
const LOOK: Duration = Duration::from_millis(10);
/// How long the connections of another version's datapath may go on.
const OTHERS: Duration = Duration::from_secs(30);
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
    /// Whether what the kernel carries outlives the agent.
    pub keep: bool,
    /// Where it is kept, or may have been.
    pub kept: KeepOptions,
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
    found: Found,
    adopted: Adopted,
    paths: Paths,
}

/// Programs that are attached, and what runs beside them.
pub struct Running {
    /// What they share with the agent.
    pub splice: Arc<Splice>,
    /// Where the agent takes connections.
    pub redirect: Vec<SocketAddr>,
    /// What the programs do: bits of [`flag`].
    pub flags: u64,
    attached: Attached,
    events: Option<events::Reader>,
    tasks: Vec<JoinHandle<()>>,
}

impl KernelOptions {
    /// Loads the programs, where they are wanted and this machine can run them; known bytes are
    /// sent through each path first, and only those are used through which they come.
    ///
    /// # Errors
    /// They are required, and this machine cannot.
    pub fn load(&self) -> Result<Option<Loaded>, String> {
        let pins = &self.kept.pins;
        if (!self.keep || self.mode == KernelMode::Off) && pins::has_links(pins) {
            return Err(format!(
                "the programs of an earlier agent are attached ({}), and take connections that nobody carries: \
                 `twinmesh-agent detach` removes them, `run --keep` goes on with them",
                pins.display()
            ));
        }
        if self.mode == KernelMode::Off {
            return Ok(None);
        }
        let probed = self.probed();
        if self.keep
            && probed.is_err()
            && let Err(why) = keep::detach::detach(&self.kept)
        {
            tracing::error!("what an earlier agent left stays: {why}");
        }
        match probed {
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

    fn probed(&self) -> Result<Loaded, String> {
        let (own, root) = (cgroup::own()?, cgroup::root()?);
        // The programs are loaded twice, so that nothing of what is tried is left in those that stay;
        // at one time, as that takes long, but not while large maps may take the memory of all.
        let (probed, loaded) = std::thread::scope(|scope| {
            let mut probing = None;
            let loaded = self.load_noting(None, || {
                probing = Some(scope.spawn(|| probe(&own, &root)));
            });
            (probing.map(|probing| probing.join()), loaded)
        });
        let loaded = loaded?;
        let probed = probed.and_then(Result::ok).ok_or("the probe panicked")?;
        let paths = Paths::of(&probed)?;
        paths.tell();
        Ok(Loaded { paths, ..loaded })
    }

    /// Loads the programs, and tries nothing.
    ///
    /// # Errors
    /// Why this machine cannot run them.
    pub fn try_load(&self, resolve: Option<Box<Resolve>>) -> Result<Loaded, String> {
        self.load_noting(resolve, || ())
    }

    fn load_noting(
        &self,
        resolve: Option<Box<Resolve>>,
        made: impl FnOnce(),
    ) -> Result<Loaded, String> {
        let root = cgroup::root()?;
        let of_clients = self.cgroup.clone().unwrap_or_else(|| root.clone());
        let (datapath, keep, found) = if self.keep {
            let (keep, found) = Keep::open(&self.kept, self.sizes)?;
            let adopts = found.numbers.is_some();
            let loaded = Datapath::load_pinned(self.sizes, &keep.pins, adopts, made);
            (loaded, Some(Arc::new(keep)), found)
        } else {
            let loaded = Datapath::load_noting(self.sizes, made);
            (loaded, None, Found::default())
        };
        let datapath = Arc::new(datapath.map_err(|why| why.to_string())?);
        Ok(Loaded {
            splice: Splice::new(Arc::clone(&datapath), resolve, keep),
            datapath,
            cgroup: of_clients,
            root,
            redirect: self.redirect.clone(),
            connect_time: self.connect_time,
            found,
            adopted: Adopted::default(),
            paths: Paths::ALL,
        })
    }
}

/// Until a policy is in force.
async fn policy(live: &Live) {
    while live.current().is_none() {
        tokio::time::sleep(LOOK).await;
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
    /// What decides, over the maps' memory; what an earlier agent left there is adopted. Called
    /// within a tokio runtime, and before any policy is published.
    ///
    /// # Errors
    /// A socket that was held cannot be used.
    pub fn live(&mut self) -> Result<Live, String> {
        let memory = Box::new(KernelMemory::new(Arc::clone(&self.splice)));
        let Some(numbers) = self.found.numbers.take() else {
            return Ok(Live::new(memory));
        };
        let generation = self.datapath.maps().generation();
        let live = Live::resume(memory, numbers, generation);
        let others = std::mem::take(&mut self.found.others);
        let found = std::mem::take(&mut self.found);
        self.found.others = others;
        let adopted = self.splice.adopt(found);
        self.adopted = adopted.map_err(|error| format!("adopting a socket: {error}"))?;
        let Adopted {
            listeners,
            clients,
            upstreams,
            cut_off,
        } = &self.adopted;
        tracing::info!(
            listeners = listeners.len(),
            clients = clients.len(),
            upstreams = upstreams.len(),
            cut_off = cut_off.len(),
            "an earlier agent's connections are adopted; those that it was in the middle of are cut off"
        );
        Ok(live)
    }

    /// A listener that was adopted, or a new one.
    fn listener(&mut self, at: SocketAddr) -> std::io::Result<(SocketAddr, TcpListener)> {
        let adopted = &mut self.adopted.listeners;
        let found = adopted.iter().position(|listener| {
            let local = listener.local_addr();
            local.is_ok_and(|local| {
                local.ip() == at.ip() && (at.port() == 0 || at.port() == local.port())
            })
        });
        let listener = match found {
            Some(found) => {
                let listener = adopted.swap_remove(found);
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)?
            }
            None => bind(at)?,
        };
        let local = listener.local_addr()?;
        if let Some(keep) = &self.splice.keep {
            let socket = Arc::new(listener.as_fd().try_clone_to_owned()?);
            keep.keeper.put(Name::Listener(local.is_ipv6()), socket);
        }
        Ok((local, listener))
    }

    /// Goes on with what was adopted, once there is a policy.
    fn go_on(&mut self, proxy: &Proxy, live: &Live, drain: Duration) -> JoinHandle<()> {
        let adopted = std::mem::take(&mut self.adopted);
        let others = std::mem::take(&mut self.found.others);
        let (splice, proxy, live) = (Arc::clone(&self.splice), proxy.clone(), live.clone());
        tokio::spawn(async move {
            for client in &adopted.cut_off {
                splice.cut_off(client).await;
            }
            policy(&live).await;
            splice.go_on(adopted.upstreams);
            for client in adopted.clients {
                listen::go_on(&splice, &proxy, &live, client);
            }
            if let Some(keep) = splice.keep.clone() {
                adopt::end_others(others, keep, drain).await;
            }
        })
    }

    /// Attaches the programs and takes connections from now on.
    ///
    /// # Errors
    /// An address cannot be bound, or the programs cannot be attached.
    pub fn start(
        mut self,
        proxy: &Proxy,
        live: &Live,
        access_log: &AccessLog,
    ) -> Result<Running, String> {
        let mut config = Config {
            flags: self.paths.flags(),
            queue_limit: QUEUE_LIMIT,
            ..Config::default()
        };
        if !self.connect_time {
            config.flags &= !flag::CONNECT_TIME;
        }
        let mut events = None;
        if live.recorder().is_some() {
            config.flags |= flag::ORDER;
            config.flags &= !flag::CONNECT_TIME;
        }
        let all = access_log.is_open() || live.recorder().is_some();
        let share = live.shadow().map(Shadow::share);
        if (all || share.is_some())
            && let Some(ring) = self.datapath.maps().take_events()
        {
            let reader = events::read(ring, live.clone(), access_log.clone(), !all);
            events = Some(reader.map_err(|error| format!("the events' thread: {error}"))?);
            config.flags |= flag::EVENTS;
            config.event_share = share.filter(|_| !all).unwrap_or(ALL);
        }
        let mut tasks = Vec::new();
        let mut redirect = Vec::new();
        let addresses = self.redirect.clone();
        for at in &addresses {
            let (local, listener) = match self.listener(*at) {
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
            let (splice, proxy, live) = (Arc::clone(&self.splice), proxy.clone(), live.clone());
            tasks.push(tokio::spawn(async move {
                policy(&live).await;
                listen::accept(splice, proxy, live, listener).await;
            }));
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
        tasks.push(tokio::spawn(timeouts::look(Arc::clone(&self.splice))));
        let attached = self
            .datapath
            .attach(&self.cgroup, &self.root)
            .map_err(|why| why.to_string())?;
        self.datapath.maps().set_config(&config);
        adopt::detach_others(&self.found.others);
        tasks.push(self.go_on(proxy, live, OTHERS));
        let at: Vec<String> = redirect.iter().map(ToString::to_string).collect();
        tracing::info!(
            "the kernel takes the connections of {}; the agent is at {}",
            self.cgroup.display(),
            at.join(", ")
        );
        Ok(Running {
            splice: self.splice,
            redirect,
            flags: config.flags,
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

    /// Leaves everything to the next agent: programs stay attached, and connections that come wait
    /// for it. Whether this agent was in the middle of nothing at the deadline.
    pub async fn hand_over(self, deadline: Duration) -> bool {
        for task in &self.tasks {
            task.abort();
        }
        self.splice.hand_over(deadline).await
    }

    /// Takes no more connections. Those that there are go on, through the agent.
    pub fn stop(self) {
        self.splice.datapath.maps().set_config(&Config::default());
        self.splice.drain.cancel();
        if let Err(error) = self.attached.detach() {
            tracing::error!("a pinned link stays: {error}; `twinmesh-agent detach` removes it");
        }
        drop(self.events);
        for task in self.tasks {
            task.abort();
        }
    }
}
