//! The parts, tied together: policy to the live tables, the live tables to the proxy.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use twinmesh_ads::BootstrapError;
use twinmesh_xds::{ReadError, Snapshot};

use crate::access_log::AccessLog;
use crate::admin;
use crate::datapath::start::{KernelOptions, Loaded, Running};
use crate::datapath::{Splice, listen};
use crate::live::{Live, PublishError};
use crate::logging::Levels;
use crate::metrics::Metrics;
use crate::policy::ads::AdsOptions;
use crate::policy::{PolicySource, ads, file};
use crate::proxy::{Bound, Proxy, Resolve};
use crate::record::Recorder;
use crate::shadow::{self, Shadow};

/// How long the last access log lines, and the shadow's last comparisons, may take.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Where policy comes from.
#[derive(Debug)]
pub enum PolicyOptions {
    /// A snapshot file.
    File(PathBuf),
    /// A management server.
    Ads(AdsOptions),
}

/// How the agent runs.
#[derive(Debug)]
pub struct Options {
    /// Where policy comes from.
    pub policy: PolicyOptions,
    /// Where access log lines go.
    pub access_log: Option<PathBuf>,
    /// Where traffic and decisions are recorded.
    pub record: Option<PathBuf>,
    /// What is decided again, by the shadow; nothing where the share is 0.
    pub shadow: shadow::Options,
    /// The admin endpoints' address.
    pub admin: Option<SocketAddr>,
    /// How long requests have to end when the agent does.
    pub drain: Duration,
    /// The log's levels.
    pub levels: Option<Levels>,
    /// What the kernel is to do.
    pub kernel: KernelOptions,
}

/// Why the agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The first snapshot is refused.
    #[error(transparent)]
    Snapshot(#[from] Box<ReadError>),
    /// The first snapshot does not fit.
    #[error(transparent)]
    Policy(#[from] PublishError),
    /// The bootstrap file is refused.
    #[error(transparent)]
    Bootstrap(Box<BootstrapError>),
    /// Something else failed.
    #[error("{0}")]
    Failed(String),
}

/// What observes decisions.
#[derive(Debug, Default)]
pub struct Observers {
    /// Records them.
    pub recorder: Option<Recorder>,
    /// Makes a share of them again.
    pub shadow: Option<Shadow>,
}

/// An agent that runs.
pub struct Agent {
    /// The policy that decides.
    pub live: Live,
    /// The proxy.
    pub proxy: Proxy,
    /// The sockets of the snapshot's listeners.
    pub bound: Bound,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The access log.
    pub access_log: AccessLog,
    /// The kernel's part, where it has one.
    pub datapath: Option<Running>,
    following: Option<JoinHandle<()>>,
}

impl Agent {
    /// Starts following a source of policies. The first policy, if the source has one already, is
    /// in force and its listeners are bound when this returns. Has to be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// The first policy does not fit.
    pub async fn start(
        source: PolicySource,
        metrics: Arc<Metrics>,
        access_log: AccessLog,
        resolve: Option<Box<Resolve>>,
    ) -> Result<Self, PublishError> {
        Self::with_kernel(source, metrics, access_log, resolve, None, None).await
    }

    /// The same; where there are programs, they take part from the first policy on.
    ///
    /// # Errors
    /// The first policy does not fit, or the programs cannot be attached.
    pub async fn with_kernel(
        source: PolicySource,
        metrics: Arc<Metrics>,
        access_log: AccessLog,
        resolve: Option<Box<Resolve>>,
        loaded: Option<Loaded>,
        recorder: Option<Recorder>,
    ) -> Result<Self, PublishError> {
        let observers = Observers {
            recorder,
            shadow: None,
        };
        Self::observed(source, metrics, access_log, resolve, loaded, observers).await
    }

    /// The same, with all that may observe its decisions.
    ///
    /// # Errors
    /// As [`Self::with_kernel`].
    pub async fn observed(
        mut source: PolicySource,
        metrics: Arc<Metrics>,
        access_log: AccessLog,
        resolve: Option<Box<Resolve>>,
        mut loaded: Option<Loaded>,
        observers: Observers,
    ) -> Result<Self, PublishError> {
        let splice = loaded.as_ref().map(|loaded| Arc::clone(&loaded.splice));
        let live = match &mut loaded {
            Some(loaded) => loaded.live().map_err(PublishError::Memory)?,
            None => Live::default(),
        };
        if let Some(recorder) = observers.recorder {
            live.record(recorder);
        }
        if let Some(shadow) = observers.shadow {
            live.set_shadow(shadow);
        }
        if let Some(splice) = &splice {
            splice.follow(live.clone(), Arc::clone(&metrics), access_log.clone());
        }
        let proxy = Proxy::with_resolve(
            live.clone(),
            Arc::clone(&metrics),
            access_log.clone(),
            resolve,
            splice.clone(),
        );
        let bound = Bound::new(&proxy, splice.is_some());
        let first = source.borrow_and_update().clone();
        if let Some(snapshot) = first {
            publish(&live, &bound, &metrics, splice.as_ref(), snapshot).await?;
        }
        let datapath = match loaded {
            Some(loaded) => Some(
                loaded
                    .start(&proxy, &live, &access_log)
                    .map_err(PublishError::Memory)?,
            ),
            None => None,
        };
        let following = tokio::spawn({
            let (live, bound, metrics) = (live.clone(), bound.clone(), Arc::clone(&metrics));
            let splice = splice.clone();
            async move {
                while source.changed().await.is_ok() {
                    let Some(snapshot) = source.borrow_and_update().clone() else {
                        continue;
                    };
                    let published =
                        publish(&live, &bound, &metrics, splice.as_ref(), snapshot).await;
                    if let Err(error) = published {
                        metrics.refused_update(&error.to_string());
                    }
                }
            }
        });
        Ok(Self {
            live,
            proxy,
            bound,
            metrics,
            access_log,
            datapath,
            following: Some(following),
        })
    }

    /// Takes no more policies and connections; requests under way have `deadline` to end. Whether
    /// all did.
    pub async fn stop(mut self, deadline: Duration) -> bool {
        if let Some(following) = self.following.take() {
            following.abort();
        }
        let Some(datapath) = self.datapath.take() else {
            return self.proxy.drain(deadline).await;
        };
        let splice = Arc::clone(&datapath.splice);
        datapath.stop();
        let whole = self.proxy.drain_with(deadline, &splice.tasks).await;
        if let Some(keep) = splice.keep.clone() {
            let removed = tokio::task::spawn_blocking(move || keep.remove()).await;
            if let Ok(Err(why)) = removed {
                tracing::error!("{why}; `twinmesh-agent detach` removes what is left");
            }
        }
        whole
    }

    /// Ends, and leaves what the kernel carries to the next agent. What only this process carries has
    /// `deadline` to end, and so have requests under way. Whether all did.
    pub async fn hand_over(mut self, deadline: Duration) -> bool {
        if let Some(following) = self.following.take() {
            following.abort();
        }
        let handing = async {
            match self.datapath.take() {
                Some(datapath) => datapath.hand_over(deadline).await,
                None => true,
            }
        };
        let (handed, drained) = tokio::join!(handing, self.proxy.drain(deadline));
        handed && drained
    }
}

/// Lets a snapshot decide and binds its listeners.
async fn publish(
    live: &Live,
    bound: &Bound,
    metrics: &Metrics,
    splice: Option<&Arc<Splice>>,
    snapshot: Arc<Snapshot>,
) -> Result<(), PublishError> {
    let compiling = live.clone();
    let following = splice.cloned();
    let splice = splice.cloned();
    let published = tokio::task::spawn_blocking(move || {
        if let Some(splice) = splice {
            // The policy before the last is about to be forgotten, and its numbers with it.
            splice.collect(&compiling);
        }
        compiling.publish(snapshot)
    })
    .await;
    let policy = match published {
        Ok(published) => published?.policy,
        Err(error) => return Err(PublishError::Memory(error.to_string())),
    };
    for warning in &policy.plan.warnings {
        tracing::warn!("{warning}");
    }
    for undecided in policy.compiled.undecided() {
        tracing::warn!("{undecided}");
    }
    if let Some(splice) = following {
        listen::follow(&splice, live);
    }
    metrics.updated(policy.plan.warnings.len());
    let list = bound.follow(&policy);
    let listening: Vec<String> = list
        .iter()
        .filter_map(|socket| Some(socket.local.as_ref().ok()?.to_string()))
        .collect();
    tracing::info!(
        generation = policy.generation,
        "the policy is in force; listening on {}",
        listening.join(", ")
    );
    Ok(())
}

/// Runs until SIGTERM or SIGINT, then drains; or until SIGUSR1, then leaves all to the next agent.
///
/// # Errors
/// Why it does not start, or could not go on.
pub async fn until_signal(options: Options) -> Result<(), Error> {
    let failed = |what: &str, error: std::io::Error| Error::Failed(format!("{what}: {error}"));
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|error| failed("SIGTERM", error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| failed("SIGINT", error))?;
    let mut hand_over =
        signal(SignalKind::user_defined1()).map_err(|error| failed("SIGUSR1", error))?;
    let metrics = Arc::new(Metrics::new());
    let (source, ads) = match &options.policy {
        PolicyOptions::File(path) => (file::watch(path, Arc::clone(&metrics))?, None),
        PolicyOptions::Ads(options) => {
            let ads = ads::start(options).map_err(|error| Error::Bootstrap(Box::new(error)))?;
            (ads.source, Some(ads.status))
        }
    };
    let access_log = open_log(&options)?;
    let listener = match options.admin {
        Some(address) => Some(
            tokio::net::TcpListener::bind(address)
                .await
                .map_err(|error| failed(&format!("--admin {address}"), error))?,
        ),
        None => None,
    };
    let recorder =
        match &options.record {
            Some(folder) => Some(Recorder::start(folder).map_err(|error| {
                Error::Failed(format!("--record {}: {error}", folder.display()))
            })?),
            None => None,
        };
    let shadow = (options.shadow.share != 0)
        .then(|| Shadow::start(options.shadow))
        .transpose()
        .map_err(|error| failed("--shadow, --shadow-cases", error))?;
    let loaded = options.kernel.load().map_err(Error::Failed)?;
    let observers = Observers { recorder, shadow };
    let agent =
        Agent::observed(source, metrics, access_log.clone(), None, loaded, observers).await?;
    if let Some(listener) = listener {
        let router = admin::router(&agent, options.levels.clone(), ads);
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!("the admin endpoints ended: {error}");
            }
        });
    }
    let keeps = agent
        .datapath
        .as_ref()
        .is_some_and(|running| running.splice.keep.is_some());
    let (name, hands_over) = loop {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hand_over.recv() => "SIGUSR1",
        };
        let hands_over = name == "SIGUSR1";
        if hands_over && !keeps {
            tracing::error!(
                "SIGUSR1: nothing can be handed over without --keep; the agent goes on"
            );
            continue;
        }
        break (name, hands_over);
    };
    let what = if hands_over {
        "handing over"
    } else {
        "draining"
    };
    tracing::info!("{name}: {what}, for at most {:?}", options.drain);
    let live = agent.live.clone();
    let splice = agent
        .datapath
        .as_ref()
        .map(|running| Arc::clone(&running.splice));
    let whole = if hands_over {
        agent.hand_over(options.drain).await
    } else {
        agent.stop(options.drain).await
    };
    // An error would be a panic in there.
    let _ = tokio::task::spawn_blocking(move || {
        let maps = splice.as_ref().map(|splice| splice.datapath.maps());
        let missing = maps.map_or(0, |maps| maps.uncertain() + maps.lost());
        if let Some(recorder) = live.recorder() {
            recorder.finish(missing);
        }
        if let Some(shadow) = live.shadow()
            && !shadow.flush(LAST_LINES)
        {
            tracing::warn!("the last decisions are not compared: the shadow takes too long");
        }
    })
    .await;
    tracing::info!(
        whole,
        "{}",
        if hands_over { "handed over" } else { "drained" }
    );
    let written = tokio::task::spawn_blocking(move || access_log.flush(LAST_LINES)).await;
    if !written.unwrap_or(false) {
        return Err(Error::Failed(
            "the last access log lines could not be written in time".to_owned(),
        ));
    }
    Ok(())
}

fn open_log(options: &Options) -> Result<AccessLog, Error> {
    let Some(path) = &options.access_log else {
        return Ok(AccessLog::default());
    };
    AccessLog::open(path)
        .map_err(|error| Error::Failed(format!("--access-log {}: {error}", path.display())))
}
