//! How many of each resource there are, and how many of them are decided in full.

use std::collections::HashSet;

use serde::Serialize;
use twinmesh_compile::Part;
use twinmesh_xds::Snapshot;

use crate::output::Style;

/// How many of each resource there are, and how many of them are decided in full.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Resources {
    pub listeners: Decided,
    pub filter_chains: Decided,
    pub route_configurations: Decided,
    pub virtual_hosts: Decided,
    pub routes: Decided,
    pub clusters: Decided,
    pub endpoints: usize,
    pub regexes: Decided,
}

/// Of one kind of resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Decided {
    pub total: usize,
    pub decided: usize,
}

impl Resources {
    /// Counts them. What `left` names is undecided, besides what the reader says of the snapshot.
    pub fn of(snapshot: &Snapshot, left: &HashSet<Part>) -> Self {
        let mut resources = Self::default();
        for (index, listener) in snapshot.listeners.iter().enumerate() {
            let fits = !left.contains(&Part::Listener(index));
            let whole = listener.unsupported.is_none() && fits;
            resources.listeners.add(whole);
            for chain in listener.all_filter_chains() {
                resources
                    .filter_chains
                    .add(whole && chain.unsupported.is_none());
            }
        }
        for (index, configuration) in snapshot.route_configurations.iter().enumerate() {
            let whole = configuration.unsupported.is_none()
                && !left.contains(&Part::RouteConfiguration(index));
            resources.route_configurations.add(whole);
            for (host, virtual_host) in configuration.virtual_hosts.iter().enumerate() {
                let whole = whole
                    && virtual_host.unsupported.is_none()
                    && !left.contains(&Part::VirtualHost(index, host));
                resources.virtual_hosts.add(whole);
                for (position, route) in virtual_host.routes.iter().enumerate() {
                    let fits = !left.contains(&Part::Route(index, host, position));
                    resources.routes.add(whole && route.is_none() && fits);
                }
            }
        }
        for (index, cluster) in snapshot.clusters.iter().enumerate() {
            let fits = !left.contains(&Part::Cluster(index));
            resources
                .clusters
                .add(cluster.unsupported.is_none() && fits);
            let assignment = cluster.load_assignment.iter();
            resources.endpoints += assignment
                .flat_map(|assignment| &assignment.endpoints)
                .map(|locality| locality.lb_endpoints.len())
                .sum::<usize>();
        }
        for regex in snapshot.regexes.values() {
            resources.regexes.add(regex.is_ok());
        }
        resources
    }

    /// By name, but for the endpoints.
    pub fn by_name(&self) -> [(&'static str, &Decided); 7] {
        [
            ("listeners", &self.listeners),
            ("filter chains", &self.filter_chains),
            ("route configurations", &self.route_configurations),
            ("virtual hosts", &self.virtual_hosts),
            ("routes", &self.routes),
            ("clusters", &self.clusters),
            ("regexes", &self.regexes),
        ]
    }
}

impl Decided {
    /// A line of a table.
    pub fn line(&self, name: &str, style: Style) -> String {
        let text = format!("  {name:<21} {:>7} / {}", self.decided, self.total);
        if self.decided < self.total {
            style.yellow(&text)
        } else {
            text
        }
    }

    fn add(&mut self, decided: bool) {
        self.total += 1;
        self.decided += usize::from(decided);
    }
}
