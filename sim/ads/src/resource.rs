//! Resources as they came, and the policy that they make together.

use std::sync::Arc;
use std::time::SystemTime;

use twinmesh_xds::{RawResource, Snapshot};

use crate::kind::{Kind, PerKind};

/// A resource as it came from the management server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its type.
    pub kind: Kind,
    /// Its name; of a ClusterLoadAssignment, `cluster_name`.
    pub name: String,
    /// Delta: `Resource.version`. State of the world: `version_info` of the response that brought
    /// it. Empty for one that nobody sent (see [`Policy::absent`]).
    pub version: String,
    /// The binary message.
    pub value: Vec<u8>,
}

impl Resource {
    /// The resource as the reader of snapshots takes it.
    pub fn raw(&self) -> RawResource<'_> {
        RawResource {
            type_url: self.kind.type_url(),
            name: &self.name,
            value: &self.value,
        }
    }
}

/// Names a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceName {
    /// Its type.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// Resources that are consistent with each other, read into a snapshot.
#[derive(Debug, Clone)]
pub struct ResourceSet {
    /// The snapshot that the resources make.
    pub snapshot: Arc<Snapshot>,
    /// State of the world: `version_info`; delta: `system_version_info`; both of the last response
    /// of this type that was accepted. Empty where none was.
    pub versions: PerKind<String>,
    /// The resources, by type and name.
    pub resources: Vec<Arc<Resource>>,
    /// Resources that others name and that did not come in time. A listener's route configuration
    /// is then missing in the snapshot; a cluster's load assignment is one without endpoints.
    pub absent: Vec<ResourceName>,
    /// Listeners and clusters whose newest version waits for another resource: the version before
    /// it is in the snapshot, or none.
    pub warming: Vec<ResourceName>,
}

/// Where a policy comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A management server.
    Server,
    /// The last good policy on disk.
    LastGood,
}

/// A policy, to be put in force as a whole.
#[derive(Debug, Clone)]
pub struct Policy {
    /// What decides.
    pub snapshot: Arc<Snapshot>,
    /// As [`ResourceSet::versions`].
    pub versions: PerKind<String>,
    /// As [`ResourceSet::resources`].
    pub resources: Vec<Arc<Resource>>,
    /// As [`ResourceSet::absent`].
    pub absent: Vec<ResourceName>,
    /// As [`ResourceSet::warming`].
    pub warming: Vec<ResourceName>,
    /// When its last part came from the management server.
    pub received: SystemTime,
    /// Where it comes from.
    pub source: Source,
}

impl Policy {
    /// The policy that a set of resources is from now on.
    pub(crate) fn new(set: ResourceSet, received: SystemTime, source: Source) -> Policy {
        Policy {
            snapshot: set.snapshot,
            versions: set.versions,
            resources: set.resources,
            absent: set.absent,
            warming: set.warming,
            received,
            source,
        }
    }
}
