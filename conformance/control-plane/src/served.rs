//! What is served: the resources of snapshots, with versions.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use envoy_types::pb::{
    envoy::config::cluster::v3::{
        Cluster as ClusterConfig,
        cluster::{ClusterDiscoveryType, DiscoveryType},
    },
    google::protobuf::Any,
};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use twinmesh_ads::{Kind, PerKind};
use twinmesh_xds::{ReadError, ReadOptions, Snapshot};

/// Endings of the files of a folder that are snapshots; others are left aside.
const ENDINGS: [&str; 4] = ["json", "yaml", "yml", "pb"];

/// Why something cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServedError {
    /// A snapshot cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A folder cannot be read.
    #[error("{}: cannot be read: {source}", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A folder holds no snapshot.
    #[error(
        "{}: expected a file ending in .json, .yaml, .yml or .pb, found none", .path.display()
    )]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// Two files of a folder hold one resource.
    #[error("{}: expected {kind} resources of different names, found a second {name:?}", .path.display())]
    Twice {
        /// The second file.
        path: PathBuf,
        /// The resource's type.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// What should be removed is not there.
    #[error("{kind} resource {name:?} cannot be removed: there is none of this name")]
    NotThere {
        /// The resource's type.
        kind: Kind,
        /// Its name.
        name: String,
    },
}

/// A resource with its version.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Of the resource: of its content, unless it was set.
    pub version: String,
    /// The resource.
    pub any: Any,
}

/// All resources of one type.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Set {
    /// Of the set: of its content, unless it was set.
    pub version: String,
    /// By name.
    pub entries: BTreeMap<String, Entry>,
}

/// All resources that are served.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Served {
    sets: PerKind<Set>,
}

impl Served {
    /// Reads a snapshot, or all snapshots of a folder together. A set's version is `version`, or
    /// one that follows from the set's content.
    ///
    /// # Errors
    /// A file is no snapshot, the folder holds none, or two hold the same resource.
    pub fn read(path: &Path, version: Option<&str>) -> Result<Served, ServedError> {
        let mut served = Served::default();
        for file in files(path)? {
            let snapshot = twinmesh_xds::read(&file, &ReadOptions::default())?;
            for (kind, name, value) in resources(&snapshot) {
                let set = &mut served.sets[kind];
                if set.entries.contains_key(&name) {
                    return Err(ServedError::Twice {
                        path: file,
                        kind,
                        name,
                    });
                }
                set.entries.insert(name, entry(kind, value));
            }
        }
        served.set_versions(version);
        Ok(served)
    }

    /// Serves the resources of a snapshot.
    pub fn of(snapshot: &Snapshot, version: Option<&str>) -> Served {
        let mut served = Served::default();
        for (kind, name, value) in resources(snapshot) {
            served.sets[kind].entries.insert(name, entry(kind, value));
        }
        served.set_versions(version);
        served
    }

    /// The resources of one type.
    pub fn set(&self, kind: Kind) -> &Set {
        &self.sets[kind]
    }

    /// Puts in a resource as it is, also one that no client should take.
    pub fn put(&mut self, kind: Kind, name: &str, any: Any) {
        let version = digest(&any.value);
        let entry = Entry { version, any };
        self.sets[kind].entries.insert(name.to_owned(), entry);
        self.sets[kind].version = set_version(&self.sets[kind]);
    }

    /// Takes a resource away.
    ///
    /// # Errors
    /// There is none.
    pub fn remove(&mut self, kind: Kind, name: &str) -> Result<(), ServedError> {
        if self.sets[kind].entries.remove(name).is_none() {
            return Err(ServedError::NotThere {
                kind,
                name: name.to_owned(),
            });
        }
        self.sets[kind].version = set_version(&self.sets[kind]);
        Ok(())
    }

    /// Gives every set and every resource this version: news that is none.
    pub fn touch(&mut self, version: &str) {
        for kind in Kind::ALL {
            let set = &mut self.sets[kind];
            set.version = version.to_owned();
            for entry in set.entries.values_mut() {
                entry.version = version.to_owned();
            }
        }
    }

    /// Gives every set this version; without one, the version of its content.
    pub fn set_versions(&mut self, version: Option<&str>) {
        for kind in Kind::ALL {
            let set = &mut self.sets[kind];
            set.version = match version {
                Some(version) => version.to_owned(),
                None => set_version(set),
            };
        }
    }
}

/// The files of a path, in the order of their names.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, ServedError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |source| ServedError::Folder {
        path: path.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for file in std::fs::read_dir(path).map_err(failed)? {
        let file = file.map_err(failed)?.path();
        let ending = file.extension().and_then(|ending| ending.to_str());
        if ending.is_some_and(|ending| ENDINGS.contains(&ending)) && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(ServedError::Empty {
            path: path.to_owned(),
        });
    }
    files.sort();
    Ok(files)
}

/// The resources that a snapshot is made of. Route configurations that stand in listeners stay
/// there, and so do the endpoints of clusters that are not of type EDS.
fn resources(snapshot: &Snapshot) -> Vec<(Kind, String, Vec<u8>)> {
    let mut found = Vec::new();
    for cluster in &snapshot.clusters {
        let bare = ClusterConfig {
            name: cluster.name.clone(),
            ..ClusterConfig::default()
        };
        // Routes name it, but the snapshot says nothing about it.
        if cluster.config == bare && cluster.load_assignment.is_none() {
            continue;
        }
        found.push((
            Kind::Cluster,
            cluster.name.clone(),
            cluster.config.encode_to_vec(),
        ));
        let eds = ClusterDiscoveryType::Type(DiscoveryType::Eds as i32);
        if cluster.config.cluster_discovery_type == Some(eds)
            && let Some(assignment) = &cluster.load_assignment
        {
            let service = (cluster.config.eds_cluster_config.as_ref())
                .map(|eds| eds.service_name.as_str())
                .filter(|name| !name.is_empty());
            let name = service.unwrap_or(&cluster.name).to_owned();
            let already = |(kind, other, _): &(Kind, String, Vec<u8>)| {
                *kind == Kind::LoadAssignment && *other == name
            };
            if !found.iter().any(already) {
                found.push((Kind::LoadAssignment, name, assignment.encode_to_vec()));
            }
        }
    }
    for listener in &snapshot.listeners {
        let mut config = listener.config.clone();
        // By xDS a listener has to have one.
        config.name.clone_from(&listener.name);
        found.push((
            Kind::Listener,
            listener.name.clone(),
            config.encode_to_vec(),
        ));
    }
    let inline = snapshot.inline_route_configurations();
    for (index, configuration) in snapshot.route_configurations.iter().enumerate() {
        if !inline.contains(&index) {
            found.push((
                Kind::RouteConfiguration,
                configuration.name.clone(),
                configuration.config.encode_to_vec(),
            ));
        }
    }
    found
}

fn entry(kind: Kind, value: Vec<u8>) -> Entry {
    Entry {
        version: digest(&value),
        any: Any {
            type_url: kind.type_url().to_owned(),
            value,
        },
    }
}

fn set_version(set: &Set) -> String {
    let mut all = String::new();
    for (name, entry) in &set.entries {
        let _ = write!(all, "{name:?}{}", entry.version);
    }
    digest(all.as_bytes())
}

fn digest(content: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(content).iter().take(8) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
