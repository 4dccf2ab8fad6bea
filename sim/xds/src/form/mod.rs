//! The forms in which a snapshot comes: which one a file is, and which resources it holds.

mod bootstrap;
mod config_dump;
mod detect;
mod discovery;

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::core::v3::Locality;

use crate::{error::ReadError, path::Path, profile::Profile, source::Source, view::View};

pub(crate) use detect::{Form, Input, as_text, detect, detect_binary, document, unreadable};

/// The resources of a snapshot, as bytes of their messages.
#[derive(Default)]
pub(crate) struct Resources<'a> {
    pub(crate) listeners: Vec<View<'a>>,
    /// Route configurations that RDS names.
    pub(crate) route_configurations: Vec<View<'a>>,
    /// Route configurations that a dump lists beside the connection managers that hold them.
    pub(crate) static_route_configurations: Vec<View<'a>>,
    pub(crate) clusters: Vec<View<'a>>,
    pub(crate) load_assignments: Vec<View<'a>>,
    /// Endpoints are as an Envoy wrote them, not as one reads them.
    pub(crate) dumped_endpoints: bool,
    /// The form says which clusters there are; where not, no cluster is missing.
    pub(crate) clusters_known: bool,
    /// Clusters beside these come by CDS, which the form does not hold.
    pub(crate) more_clusters: bool,
    /// The cluster that Envoy itself belongs to (`ClusterManager.local_cluster_name`).
    pub(crate) local_cluster: Option<String>,
    /// `Node.locality`, where the form has a node.
    pub(crate) node_locality: Option<Locality>,
    /// It is a bootstrap: routes that stand in listeners may name only clusters that there are.
    pub(crate) is_bootstrap: bool,
    /// Everything that stands in the file and is no resource, to be looked through for what is
    /// not known.
    pub(crate) wrappers: Vec<View<'a>>,
    /// Whose rules are to decide.
    pub(crate) profile: Profile,
    /// Clusters that are not in use yet.
    pub(crate) warming_clusters: BTreeSet<String>,
    /// What the form itself makes worth saying.
    pub(crate) remarks: Vec<Remark>,
    /// The values that the bootstrap's static runtime layers set.
    pub(crate) runtime: Vec<RuntimeKey>,
}

/// A value of the runtime.
pub(crate) struct RuntimeKey {
    /// Its name, those of the structs around it included, with dots between.
    pub(crate) key: String,
    /// Where the layer stands.
    pub(crate) path: Path,
    /// It is 0.
    pub(crate) is_zero: bool,
    /// It is `true` or `false`.
    pub(crate) flag: Option<bool>,
}

/// Something in the form that is not in force, or that stands elsewhere.
pub(crate) struct Remark {
    pub(crate) resource: String,
    pub(crate) path: Path,
    pub(crate) message: String,
}

/// The messages of resources.
pub(crate) const BOOTSTRAP: &str = "envoy.config.bootstrap.v3.Bootstrap";
pub(crate) const LISTENER: &str = "envoy.config.listener.v3.Listener";
pub(crate) const ROUTE_CONFIGURATION: &str = "envoy.config.route.v3.RouteConfiguration";
pub(crate) const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
pub(crate) const LOAD_ASSIGNMENT: &str = "envoy.config.endpoint.v3.ClusterLoadAssignment";

/// Whether a message is one of the resources that a snapshot is made of.
pub(crate) fn is_resource(name: &str) -> bool {
    [LISTENER, ROUTE_CONFIGURATION, CLUSTER, LOAD_ASSIGNMENT].contains(&name)
}

/// Sorts out the resources of an input.
pub(crate) fn collect<'a>(
    input: &'a Input,
    source: &Source<'_>,
) -> Result<Resources<'a>, ReadError> {
    let mut resources = Resources::default();
    let views: Vec<View<'a>> = input.views();
    match input.form {
        Form::ConfigDump => {
            for view in &views {
                config_dump::collect(view, source, &mut resources)?;
            }
        }
        Form::Bootstrap => {
            for view in &views {
                bootstrap::collect(view, &mut resources);
            }
        }
        Form::DiscoveryResponse => discovery::collect(&views, source, &mut resources)?,
        Form::RouteConfiguration => resources.route_configurations = views,
    }
    Ok(resources)
}
