//! The four types of resources that a policy is made of.

use std::fmt;
use std::ops::{Index, IndexMut};

/// A type of resource, in the order in which a change makes before it breaks: clusters, their
/// endpoints, listeners, their route configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `envoy.config.cluster.v3.Cluster`, by CDS.
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`, by EDS.
    LoadAssignment,
    /// `envoy.config.listener.v3.Listener`, by LDS.
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration`, by RDS.
    RouteConfiguration,
}

impl Kind {
    /// All of them, in the order of the enum.
    pub const ALL: [Kind; 4] = [
        Kind::Cluster,
        Kind::LoadAssignment,
        Kind::Listener,
        Kind::RouteConfiguration,
    ];

    /// The type URL in requests and responses.
    pub fn type_url(self) -> &'static str {
        match self {
            Kind::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Kind::LoadAssignment => {
                "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
            }
            Kind::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Kind::RouteConfiguration => {
                "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
            }
        }
    }

    /// The type of a type URL; only what follows its last slash counts.
    pub fn of_type_url(type_url: &str) -> Option<Kind> {
        let name = message_name(type_url);
        Kind::ALL
            .into_iter()
            .find(|kind| message_name(kind.type_url()) == name)
    }

    /// The discovery service of this type: `CDS`, `EDS`, `LDS` or `RDS`.
    pub fn service(self) -> &'static str {
        match self {
            Kind::Cluster => "CDS",
            Kind::LoadAssignment => "EDS",
            Kind::Listener => "LDS",
            Kind::RouteConfiguration => "RDS",
        }
    }

    /// Whether all resources of this type are subscribed to (LDS, CDS), or only those that others
    /// name (RDS, EDS).
    pub fn is_wildcard(self) -> bool {
        matches!(self, Kind::Cluster | Kind::Listener)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.service())
    }
}

/// The message's name in a type URL.
pub(crate) fn message_name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
}

/// One value for each type of resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PerKind<T>([T; 4]);

impl<T> PerKind<T> {
    /// The types with their values, in the order of [`Kind::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Kind, &T)> {
        Kind::ALL.into_iter().zip(&self.0)
    }
}

impl<T> Index<Kind> for PerKind<T> {
    type Output = T;

    fn index(&self, kind: Kind) -> &T {
        let [clusters, load_assignments, listeners, route_configurations] = &self.0;
        match kind {
            Kind::Cluster => clusters,
            Kind::LoadAssignment => load_assignments,
            Kind::Listener => listeners,
            Kind::RouteConfiguration => route_configurations,
        }
    }
}

impl<T> IndexMut<Kind> for PerKind<T> {
    fn index_mut(&mut self, kind: Kind) -> &mut T {
        let [clusters, load_assignments, listeners, route_configurations] = &mut self.0;
        match kind {
            Kind::Cluster => clusters,
            Kind::LoadAssignment => load_assignments,
            Kind::Listener => listeners,
            Kind::RouteConfiguration => route_configurations,
        }
    }
}
