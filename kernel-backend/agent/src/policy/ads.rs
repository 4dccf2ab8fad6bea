//! Policy over ADS, from the management server that a gRPC xDS bootstrap file names.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use twinmesh_ads::{Bootstrap, BootstrapError, Client, Options, Status};

use super::PolicySource;

/// How policy is taken.
#[derive(Debug, Clone)]
pub struct AdsOptions {
    /// The bootstrap file; without one `$GRPC_XDS_BOOTSTRAP` names it, or
    /// `$GRPC_XDS_BOOTSTRAP_CONFIG` is its content.
    pub bootstrap: Option<PathBuf>,
    /// Delta ADS, not state of the world.
    pub delta: bool,
    /// Where the last good policy is kept for a start without a server.
    pub last_good: Option<PathBuf>,
}

/// Policy over ADS.
pub struct Ads {
    /// The policies.
    pub source: PolicySource,
    /// What the protocol came to.
    pub status: Arc<Status>,
}

/// Starts taking policy. Has to be called within a tokio runtime.
///
/// # Errors
/// The bootstrap file is not there, or not as gRPC's format wants it.
pub fn start(options: &AdsOptions) -> Result<Ads, BootstrapError> {
    let bootstrap = Bootstrap::load(options.bootstrap.as_deref())?;
    let client = Client::start(
        bootstrap,
        Options {
            delta: options.delta,
            last_good: options.last_good.clone(),
            ..Options::default()
        },
    );
    let status = client.status();
    let mut policies = client.policies();
    let first = policies.borrow_and_update().clone();
    let (sender, source) = watch::channel(first.map(|policy| Arc::clone(&policy.snapshot)));
    tokio::spawn(async move {
        // The client's stream lasts as long as it does.
        let _client = client;
        while policies.changed().await.is_ok() {
            let policy = policies.borrow_and_update().clone();
            let Some(policy) = policy else {
                continue;
            };
            tracing::info!(source = ?policy.source, "a policy has come");
            for name in &policy.absent {
                tracing::warn!(
                    "{name:?} is referred to, and the management server does not have it"
                );
            }
            if sender.send(Some(Arc::clone(&policy.snapshot))).is_err() {
                return;
            }
        }
    });
    Ok(Ads { source, status })
}
