//! An Envoy that takes one snapshot after another, and the server that stands in for its
//! endpoints.
//!
//! Resources are discovered from files: clusters first, then listeners, which name what they
//! belong to by a number that no other snapshot of this Envoy has.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use twinmesh_xds::{Profile, Snapshot};

use crate::backend::Backend;
use crate::error::EnvoyError;
use crate::find::Binary;
use crate::headers::of_requests;
use crate::plan::Entry;
use crate::process::{Folder, Process};
use crate::rewrite::{Rewritten, empty, rewrite};

/// Snapshots that one Envoy takes: what it keeps of each is little, but not nothing.
const MOST: usize = 1000;
/// 10,000 routes take a few seconds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(2);

/// The ends of the names of statistics that count what Envoy refused.
const REFUSALS: [&str; 2] = ["ds.update_rejected", "ds.update_failure"];

/// A type of resources that Envoy discovers.
struct Resources {
    /// In the bootstrap.
    config: &'static str,
    file: &'static str,
    type_url: &'static str,
    /// Before the names of its statistics.
    statistics: &'static str,
}

const CLUSTERS: Resources = Resources {
    config: "cds_config",
    file: "clusters.json",
    type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    statistics: "cluster_manager.cds",
};

const LISTENERS: Resources = Resources {
    config: "lds_config",
    file: "listeners.json",
    type_url: "type.googleapis.com/envoy.config.listener.v3.Listener",
    statistics: "listener_manager.lds",
};

/// A running Envoy and its endpoints.
pub struct Server {
    /// Envoy.
    pub process: Process,
    backend: Backend,
    /// Where it finds resources; `None` where it has those of its bootstrap only.
    discovers: Option<PathBuf>,
    /// Counts its snapshots.
    pub generation: usize,
    /// Counts the connections to it.
    pub opened: u32,
    /// Whose rules decide.
    profile: Profile,
}

impl Server {
    /// One without resources, that decides by a profile's rules.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(binary: &Binary, profile: Profile) -> Result<Self, EnvoyError> {
        let backend = Backend::start()?;
        let folder = Folder::new()?;
        let at = folder.path();
        let mut bootstrap = empty(profile);
        let mut dynamic = json!({});
        for resources in [CLUSTERS, LISTENERS] {
            publish(&at, &resources, 0, &[])?;
            if let Some(members) = dynamic.as_object_mut() {
                let source = json!({"path_config_source": {"path": at.join(resources.file)}});
                members.insert(resources.config.to_owned(), source);
            }
        }
        if let Some(members) = bootstrap.as_object_mut() {
            members.insert("dynamic_resources".to_owned(), dynamic);
        }
        Ok(Self {
            process: Process::start(binary, &bootstrap, folder)?,
            backend,
            discovers: Some(at),
            generation: 0,
            opened: 0,
            profile,
        })
    }

    /// One that has a snapshot from its start, and never another: of what it refuses it says more
    /// than one that discovers it.
    ///
    /// # Errors
    /// It does not start, or refuses the snapshot.
    pub fn of(
        binary: &Binary,
        snapshot: &Snapshot,
        entries: &BTreeSet<Entry>,
        mostly_tls: bool,
    ) -> Result<(Self, Rewritten), EnvoyError> {
        let backend = Backend::start()?;
        backend.tell_of(of_requests(snapshot));
        let folder = Folder::new()?;
        let log = folder.access_log();
        let rewritten = rewrite(snapshot, entries, mostly_tls, backend.port, &log, 0)?;
        let server = Self {
            process: Process::start(binary, &rewritten.bootstrap(), folder)?,
            backend,
            discovers: None,
            generation: 0,
            opened: 0,
            profile: snapshot.profile,
        };
        Ok((server, rewritten))
    }

    /// Whether it decides by a profile's rules.
    pub fn is_of(&self, profile: Profile) -> bool {
        self.profile == profile
    }

    /// Whether it can take another snapshot.
    pub fn takes_more(&self) -> bool {
        self.discovers.is_some() && self.generation < MOST
    }

    /// Replaces all resources by a snapshot's.
    ///
    /// # Errors
    /// Envoy refuses some of them, and has some of them.
    pub fn replace(
        &mut self,
        snapshot: &Snapshot,
        entries: &BTreeSet<Entry>,
        mostly_tls: bool,
    ) -> Result<Rewritten, EnvoyError> {
        let Some(at) = self.discovers.clone() else {
            return Err(EnvoyError::Unexpected(
                "this Envoy has the resources of its bootstrap only".to_owned(),
            ));
        };
        self.generation += 1;
        self.backend.tell_of(of_requests(snapshot));
        self.process.skip_access_log();
        let log = self.process.access_log_path();
        let rewritten = rewrite(
            snapshot,
            entries,
            mostly_tls,
            self.backend.port,
            &log,
            self.generation,
        )?;
        publish(&at, &CLUSTERS, self.generation, &rewritten.clusters)?;
        self.await_discovery(&CLUSTERS)?;
        publish(&at, &LISTENERS, self.generation, &rewritten.listeners)?;
        self.await_discovery(&LISTENERS)?;
        self.await_counter("listener_manager.total_listeners_warming", "0")?;
        Ok(rewritten)
    }

    /// The address of each entry.
    ///
    /// # Errors
    /// Envoy does not say.
    pub fn addresses(
        &self,
        entries: &BTreeSet<Entry>,
    ) -> Result<HashMap<Entry, SocketAddr>, EnvoyError> {
        let listed: HashMap<String, SocketAddr> = self.process.listeners()?.into_iter().collect();
        let addresses = entries
            .iter()
            .filter_map(|entry| Some((*entry, *listed.get(&entry.name(self.generation))?)));
        Ok(addresses.collect())
    }

    fn await_discovery(&mut self, resources: &Resources) -> Result<(), EnvoyError> {
        let version = format!("{}.version_text", resources.statistics);
        self.await_counter(&version, &format!("\"{}\"", self.generation))
    }

    /// Waits until a statistic has a value; nothing may be refused meanwhile: rejected, or, where
    /// Envoy does not know a message's type, not even read (`update_failure`).
    fn await_counter(&mut self, name: &str, value: &str) -> Result<(), EnvoyError> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if self.process.ended().is_some() {
                return Err(self.refused());
            }
            let filter = format!("({name}|[cl]ds.update_(rejected|failure))$");
            let text = self.process.get(&format!("/stats?filter={filter}"))?;
            let mut is_so = false;
            for (found, number) in text.lines().filter_map(|line| line.split_once(": ")) {
                let is_refusal = REFUSALS.iter().any(|it| found.ends_with(it));
                if is_refusal && number != "0" {
                    return Err(self.refused());
                }
                is_so |= found == name && number == value;
            }
            if is_so {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        Err(EnvoyError::Unexpected(format!(
            "Envoy did not take the snapshot within {} s: {name} is not {value}",
            PATIENCE.as_secs()
        )))
    }

    fn refused(&self) -> EnvoyError {
        EnvoyError::Refused {
            message: self.process.complaint(),
        }
    }
}

/// Writes all resources of a type where Envoy watches for them: whole, or not at all.
fn publish(
    at: &Path,
    resources: &Resources,
    generation: usize,
    all: &[Value],
) -> Result<(), EnvoyError> {
    let typed = all.iter().map(|resource| {
        let mut resource = resource.clone();
        if let Some(members) = resource.as_object_mut() {
            members.insert("@type".to_owned(), json!(resources.type_url));
        }
        resource
    });
    let response = json!({
        "version_info": generation.to_string(),
        "type_url": resources.type_url,
        "resources": typed.collect::<Vec<_>>(),
    });
    let (new, file) = (at.join("new"), at.join(resources.file));
    fs::write(&new, response.to_string())
        .and_then(|()| fs::rename(&new, &file))
        .map_err(EnvoyError::io(format!(
            "Envoy's resources, {}",
            file.display()
        )))
}
