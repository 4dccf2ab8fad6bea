//! What has been accepted, what waits for what, and which resources are in force together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use envoy_types::pb::envoy::config::{
    cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType},
    core::v3::{ConfigSource, config_source::ConfigSourceSpecifier},
    endpoint::v3::ClusterLoadAssignment,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use prost::Message as _;
use twinmesh_xds::{Cluster, Listener, ReadOptions, Snapshot, Terminal, read_resources};

use super::decode::Change;
use crate::kind::{Kind, PerKind};
use crate::resource::{Resource, ResourceName, ResourceSet};

/// A listener or cluster with the names of the resources that it needs.
#[derive(Debug, Clone, PartialEq)]
struct Needy {
    resource: Arc<Resource>,
    needs: Vec<String>,
}

/// Resources in the order of a policy, and the snapshot that they make.
#[derive(Debug, Default)]
struct Reading {
    resources: Vec<Arc<Resource>>,
    snapshot: Arc<Snapshot>,
}

/// All that is known of the server's resources.
#[derive(Debug, Default)]
pub(super) struct World {
    /// What the server sent last of each name, and was acknowledged.
    accepted: PerKind<BTreeMap<String, Arc<Resource>>>,
    /// Version of the last accepted response; `None` before the first.
    pub(super) versions: PerKind<Option<String>>,
    /// Held, though the server has said that it is no longer there.
    gone: PerKind<BTreeSet<String>>,
    /// Named by others, and counted as absent.
    absent: PerKind<BTreeSet<String>>,
    /// What accepted listeners and clusters need.
    needs: PerKind<BTreeMap<String, Vec<String>>>,
    /// The listeners and clusters in force, which may be of an older version.
    active: PerKind<BTreeMap<String, Needy>>,
    reading: Reading,
    /// The last set that was given out, without its snapshot.
    published: Option<Published>,
}

#[derive(Debug, PartialEq)]
struct Published {
    resources: Vec<Arc<Resource>>,
    versions: PerKind<String>,
    absent: Vec<ResourceName>,
    warming: Vec<ResourceName>,
}

/// What became of a change that was accepted.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    /// The server says that they are gone, but others still need them: they stay in force, as
    /// Envoy has it.
    pub(super) kept: Vec<String>,
    /// Nobody asked for them.
    pub(super) unasked: Vec<String>,
    /// The server says that they are not there, and nothing is held for them.
    pub(super) absent: Vec<String>,
}

impl World {
    /// The names to subscribe to, of a type without wildcard.
    pub(super) fn wanted(&self, kind: Kind) -> BTreeSet<String> {
        let Some(parent) = parent(kind) else {
            return BTreeSet::new();
        };
        let accepted = self.needs[parent].values().flatten();
        let active = self.active[parent].values().flat_map(|needy| &needy.needs);
        accepted.chain(active).cloned().collect()
    }

    /// Whether a resource of this name is held.
    pub(super) fn holds(&self, kind: Kind, name: &str) -> bool {
        self.accepted[kind].contains_key(name)
    }

    /// Whether a resource is counted as absent.
    pub(super) fn is_absent(&self, kind: Kind, name: &str) -> bool {
        self.absent[kind].contains(name)
    }

    /// What the server need not send again: names and versions.
    pub(super) fn held_versions(&self, kind: Kind) -> impl Iterator<Item = (&str, &str)> {
        let gone = &self.gone[kind];
        self.accepted[kind]
            .values()
            .filter(|resource| !gone.contains(&resource.name))
            .map(|resource| (resource.name.as_str(), resource.version.as_str()))
    }

    /// Counts a resource as absent until it comes.
    pub(super) fn set_absent(&mut self, kind: Kind, name: &str) {
        self.absent[kind].insert(name.to_owned());
    }

    /// Whether some accepted cluster waits for its endpoints.
    pub(super) fn clusters_warm(&self) -> bool {
        self.needs[Kind::Cluster]
            .values()
            .all(|needs| self.is_ready(Kind::LoadAssignment, needs))
    }

    /// Takes a change, if everything that was accepted and the change can be in force together.
    ///
    /// # Errors
    /// Why the change is refused, naming resource and field; nothing has changed then.
    pub(super) fn accept(&mut self, change: Change) -> Result<Accepted, String> {
        let kind = change.kind;
        let mut result = Accepted::default();
        let mut held = self.accepted[kind].clone();
        let wanted = self.wanted(kind);
        for name in &change.removed {
            if kind.is_wildcard() {
                held.remove(name);
            } else if wanted.contains(name) {
                if held.contains_key(name) {
                    result.kept.push(name.clone());
                } else {
                    result.absent.push(name.clone());
                }
            }
        }
        if change.whole {
            let named: BTreeSet<&str> = (change.put.iter())
                .map(|resource| resource.name.as_str())
                .chain(change.kept.iter().map(String::as_str))
                .collect();
            held.retain(|name, _| named.contains(name.as_str()));
        }
        let mut arrived = BTreeSet::new();
        for resource in change.put {
            if !kind.is_wildcard() && !wanted.contains(&resource.name) {
                result.unasked.push(resource.name);
                continue;
            }
            arrived.insert(resource.name.clone());
            match held.get(&resource.name) {
                Some(old) if **old == resource => {}
                _ => {
                    held.insert(resource.name.clone(), Arc::new(resource));
                }
            }
        }
        let source = format!("{kind} version {:?}", change.version);
        self.commit(kind, held, &source)?;
        // A name that is both removed and sent is there.
        result.kept.retain(|name| !arrived.contains(name));
        result.absent.retain(|name| !arrived.contains(name));
        for name in &arrived {
            self.gone[kind].remove(name);
            self.absent[kind].remove(name);
        }
        self.gone[kind].extend(result.kept.iter().cloned());
        self.absent[kind].extend(result.absent.iter().cloned());
        self.versions[kind] = Some(change.version);
        Ok(result)
    }

    /// Reads the resources with `held` for one type; keeps them if they can be read.
    fn commit(
        &mut self,
        kind: Kind,
        held: BTreeMap<String, Arc<Resource>>,
        source: &str,
    ) -> Result<(), String> {
        let same_values = held.len() == self.accepted[kind].len()
            && held
                .iter()
                .zip(&self.accepted[kind])
                .all(|((name, new), (old_name, old))| name == old_name && new.value == old.value);
        if same_values {
            self.accepted[kind] = held;
            return Ok(());
        }
        let before = std::mem::replace(&mut self.accepted[kind], held);
        let resources: Vec<Arc<Resource>> = self
            .accepted
            .iter()
            .flat_map(|(_, held)| held.values().cloned())
            .collect();
        match read(source, &resources)
            .and_then(|snapshot| self.check_in_use(kind, source, snapshot))
        {
            Ok(snapshot) => {
                match kind {
                    Kind::Listener => {
                        self.needs[kind] = (snapshot.listeners.iter())
                            .map(|listener| (listener.name.clone(), listener_needs(listener)))
                            .collect();
                    }
                    Kind::Cluster => {
                        self.needs[kind] = (snapshot.clusters.iter())
                            .map(|cluster| (cluster.name.clone(), cluster_needs(cluster)))
                            .collect();
                    }
                    Kind::LoadAssignment | Kind::RouteConfiguration => {}
                }
                self.reading = Reading {
                    resources,
                    snapshot: Arc::new(snapshot),
                };
                Ok(())
            }
            Err(error) => {
                self.accepted[kind] = before;
                Err(error)
            }
        }
    }

    /// Endpoints are validated with the cluster that takes them. That can be one in force whose
    /// newest version, which is warming, takes others.
    fn check_in_use(
        &self,
        kind: Kind,
        source: &str,
        read_so_far: Snapshot,
    ) -> Result<Snapshot, String> {
        let newest = &self.accepted[Kind::Cluster];
        let active = self.active[Kind::Cluster].iter();
        let mut older = active
            .filter(|(name, needy)| newest.get(*name) != Some(&needy.resource))
            .map(|(_, needy)| needy.resource.clone())
            .peekable();
        if kind == Kind::LoadAssignment && older.peek().is_some() {
            let held = self.accepted[kind].values().cloned();
            read(source, &older.chain(held).collect::<Vec<_>>())?;
        }
        Ok(read_so_far)
    }

    /// Puts in force what is ready, and gives out the set of all that is in force if it is another
    /// one than before.
    ///
    /// # Errors
    /// What is ready cannot be in force together with the older versions of what is not.
    pub(super) fn settle(&mut self) -> Result<Option<ResourceSet>, String> {
        let mut warming = Vec::new();
        for parent in [Kind::Cluster, Kind::Listener] {
            self.activate(parent, &mut warming);
        }
        for kind in [Kind::LoadAssignment, Kind::RouteConfiguration] {
            let wanted = self.wanted(kind);
            self.accepted[kind].retain(|name, _| wanted.contains(name));
            self.gone[kind].retain(|name| wanted.contains(name));
            self.absent[kind].retain(|name| wanted.contains(name));
        }
        let complete = [Kind::Cluster, Kind::Listener]
            .into_iter()
            .all(|kind| self.versions[kind].is_some());
        // The first policy is a whole one: what would be put in place of the last good one must
        // not lack a part that is on its way.
        if self.published.is_none() && (!complete || !warming.is_empty()) {
            return Ok(None);
        }
        let mut versions = PerKind::<String>::default();
        for (kind, version) in self.versions.iter() {
            versions[kind] = version.clone().unwrap_or_default();
        }
        let (resources, absent) = self.in_force();
        let next = Published {
            resources,
            versions,
            absent,
            warming,
        };
        if self.published.as_ref() == Some(&next) {
            return Ok(None);
        }
        let same = self.reading.resources.len() == next.resources.len()
            && (self.reading.resources.iter().zip(&next.resources)).all(|(old, new)| {
                (old.kind, &old.name, &old.value) == (new.kind, &new.name, &new.value)
            });
        let snapshot = if same {
            self.reading.snapshot.clone()
        } else {
            Arc::new(read("the resources in force", &next.resources)?)
        };
        let set = ResourceSet {
            snapshot,
            versions: next.versions.clone(),
            resources: next.resources.clone(),
            absent: next.absent.clone(),
            warming: next.warming.clone(),
        };
        self.published = Some(next);
        Ok(Some(set))
    }

    /// Puts the listeners or clusters in force of which everything is there.
    fn activate(&mut self, parent: Kind, warming: &mut Vec<ResourceName>) {
        let child = match parent {
            Kind::Cluster => Kind::LoadAssignment,
            _ => Kind::RouteConfiguration,
        };
        let mut active = std::mem::take(&mut self.active[parent]);
        active.retain(|name, _| self.accepted[parent].contains_key(name));
        for (name, resource) in &self.accepted[parent] {
            let needs = self.needs[parent].get(name).cloned().unwrap_or_default();
            if self.is_ready(child, &needs) {
                let resource = resource.clone();
                active.insert(name.clone(), Needy { resource, needs });
            } else {
                warming.push(ResourceName {
                    kind: parent,
                    name: name.clone(),
                });
            }
        }
        self.active[parent] = active;
    }

    fn is_ready(&self, kind: Kind, needs: &[String]) -> bool {
        needs
            .iter()
            .all(|name| self.holds(kind, name) || self.is_absent(kind, name))
    }

    /// The resources in force, and the names of those that are absent.
    fn in_force(&self) -> (Vec<Arc<Resource>>, Vec<ResourceName>) {
        let mut resources = Vec::new();
        let mut absent = Vec::new();
        for kind in Kind::ALL {
            let Some(parent) = parent(kind) else {
                let active = self.active[kind].values();
                resources.extend(active.map(|needy| needy.resource.clone()));
                continue;
            };
            let names: BTreeSet<&String> = self.active[parent]
                .values()
                .flat_map(|needy| &needy.needs)
                .collect();
            for name in names {
                if let Some(resource) = self.accepted[kind].get(name) {
                    resources.push(resource.clone());
                    continue;
                }
                absent.push(ResourceName {
                    kind,
                    name: name.clone(),
                });
                if kind == Kind::LoadAssignment {
                    resources.push(Arc::new(without_endpoints(name)));
                }
            }
        }
        (resources, absent)
    }
}

/// Whose resources name those of this type.
fn parent(kind: Kind) -> Option<Kind> {
    match kind {
        Kind::LoadAssignment => Some(Kind::Cluster),
        Kind::RouteConfiguration => Some(Kind::Listener),
        Kind::Cluster | Kind::Listener => None,
    }
}

fn read(source: &str, resources: &[Arc<Resource>]) -> Result<Snapshot, String> {
    let raw = resources.iter().map(|resource| resource.raw());
    read_resources(source, raw, &ReadOptions::default()).map_err(|error| error.to_string())
}

/// A cluster whose endpoints do not come starts without any, as Envoy's does.
fn without_endpoints(name: &str) -> Resource {
    let assignment = ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        ..ClusterLoadAssignment::default()
    };
    Resource {
        kind: Kind::LoadAssignment,
        name: name.to_owned(),
        version: String::new(),
        value: assignment.encode_to_vec(),
    }
}

/// The route configurations that a listener takes by RDS over this stream.
fn listener_needs(listener: &Listener) -> Vec<String> {
    let mut names = BTreeSet::new();
    for chain in listener.all_filter_chains() {
        if let Terminal::Http { manager, .. } = &chain.terminal
            && let Some(RouteSpecifier::Rds(rds)) = &manager.route_specifier
            && by_ads(rds.config_source.as_ref())
        {
            names.insert(rds.route_config_name.clone());
        }
    }
    names.into_iter().collect()
}

/// The load assignment that a cluster takes by EDS over this stream.
fn cluster_needs(cluster: &Cluster) -> Vec<String> {
    let kind = ClusterDiscoveryType::Type(DiscoveryType::Eds as i32);
    if cluster.config.cluster_discovery_type != Some(kind) {
        return Vec::new();
    }
    match &cluster.config.eds_cluster_config {
        Some(eds) if by_ads(eds.eds_config.as_ref()) => {
            vec![if eds.service_name.is_empty() {
                cluster.name.clone()
            } else {
                eds.service_name.clone()
            }]
        }
        _ => Vec::new(),
    }
}

fn by_ads(source: Option<&ConfigSource>) -> bool {
    matches!(
        source.and_then(|source| source.config_source_specifier.as_ref()),
        Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_))
    )
}
