//! What the reader leaves to be decided and the tables do not hold: nothing is cut off without a
//! line here, and what it stands in becomes undecided, so that no request is decided otherwise.

use std::fmt;

use twinmesh_xds::{Cluster, FilterChain, Snapshot, Unsupported};

use crate::compiler::Compiler;

/// Something that is decided by `spec` and not by the engines that read the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecided {
    /// What becomes undecided as a whole; `None` where it depends on the request.
    pub part: Option<Part>,
    /// Name of the xDS resource it stands in, with its type, as in [`twinmesh_xds::Finding`].
    pub resource: String,
    /// Field path inside the resource.
    pub path: String,
    /// One sentence: what does not fit.
    pub reason: String,
    /// Which requests have the outcome `unsupported` for it.
    pub requests: &'static str,
}

/// A part of a snapshot, by its indices there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Index into `Snapshot::listeners`.
    Listener(usize),
    /// Index into `Snapshot::route_configurations`.
    RouteConfiguration(usize),
    /// Indices of the route configuration and the virtual host.
    VirtualHost(usize, usize),
    /// Indices of the route configuration, the virtual host and the route.
    Route(usize, usize, usize),
    /// Index into `Snapshot::clusters`.
    Cluster(usize),
}

impl fmt::Display for Undecided {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}: {}: {}; {} are unsupported in the compiled tables",
            self.resource, self.path, self.reason, self.requests
        )
    }
}

impl Compiler<'_> {
    /// A route is undecided; `path` is the field in it.
    pub fn route_undecided(
        &mut self,
        route: (usize, usize, usize),
        path: &str,
        reason: String,
    ) -> Unsupported {
        let (configuration, host, index) = route;
        let (resource, root) = configuration_place(self.snapshot, configuration);
        self.note(Undecided {
            part: Some(Part::Route(configuration, host, index)),
            resource,
            path: format!("{root}{}.{path}", route_path(self.snapshot, route)),
            reason,
            requests: "requests that the route's other matchers take",
        })
    }

    /// A route configuration is undecided; `path` is the field in it.
    pub fn configuration_undecided(
        &mut self,
        configuration: usize,
        path: &str,
        reason: String,
    ) -> Unsupported {
        let (resource, root) = configuration_place(self.snapshot, configuration);
        self.note(Undecided {
            part: Some(Part::RouteConfiguration(configuration)),
            resource,
            path: format!("{root}{path}"),
            reason,
            requests: "requests to the route configuration",
        })
    }

    /// A cluster is undecided; `path` is the field in it.
    pub fn cluster_undecided(
        &mut self,
        index: usize,
        cluster: &Cluster,
        path: &str,
        reason: String,
    ) -> Unsupported {
        self.note(Undecided {
            part: Some(Part::Cluster(index)),
            resource: format!("cluster {:?}", cluster.name),
            path: path.to_owned(),
            reason,
            requests: "requests that choose the cluster",
        })
    }

    /// What of a route only userspace decides; `path` is the field in it.
    pub fn route_in_userspace(&mut self, route: (usize, usize, usize), path: &str, reason: &str) {
        let (configuration, host, index) = route;
        let (resource, root) = configuration_place(self.snapshot, configuration);
        self.userspace.push(Undecided {
            part: Some(Part::Route(configuration, host, index)),
            resource,
            path: format!("{root}{}.{path}", route_path(self.snapshot, route)),
            reason: reason.to_owned(),
            requests: "requests that the route takes",
        });
    }

    /// A virtual host is undecided; `path` is the field in it.
    pub fn virtual_host_undecided(
        &mut self,
        (configuration, host): (usize, usize),
        path: &str,
        reason: String,
    ) -> Unsupported {
        let (resource, root) = configuration_place(self.snapshot, configuration);
        self.note(Undecided {
            part: Some(Part::VirtualHost(configuration, host)),
            resource,
            path: format!("{root}virtual_hosts[{host}].{path}"),
            reason,
            requests: "requests to the virtual host",
        })
    }

    /// What of a virtual host only userspace decides; `path` is the field in it.
    pub fn virtual_host_in_userspace(
        &mut self,
        (configuration, host): (usize, usize),
        path: &str,
        reason: &str,
    ) {
        let (resource, root) = configuration_place(self.snapshot, configuration);
        self.userspace.push(Undecided {
            part: Some(Part::VirtualHost(configuration, host)),
            resource,
            path: format!("{root}virtual_hosts[{host}].{path}"),
            reason: reason.to_owned(),
            requests: "requests to the virtual host",
        });
    }

    /// A cluster whose endpoints only userspace chooses; `path` is the field that says so.
    pub fn cluster_in_userspace(
        &mut self,
        index: usize,
        cluster: &Cluster,
        path: &str,
        reason: &str,
    ) {
        self.userspace.push(Undecided {
            part: Some(Part::Cluster(index)),
            resource: format!("cluster {:?}", cluster.name),
            path: path.to_owned(),
            reason: reason.to_owned(),
            requests: "requests that choose the cluster",
        });
    }

    /// The matcher tree of a listener is undecided.
    pub fn filter_chain_matcher_undecided(
        &mut self,
        listener: usize,
        reason: String,
    ) -> Unsupported {
        let undecided = self.listener_place(listener, reason);
        self.note(undecided)
    }

    /// The matcher tree of a listener, by which only userspace chooses.
    pub fn filter_chain_matcher_in_userspace(&mut self, listener: usize) {
        let reason = "a matcher tree chooses the filter chain, which is done in userspace only";
        let undecided = self.listener_place(listener, reason.to_owned());
        self.userspace.push(undecided);
    }

    fn listener_place(&self, index: usize, reason: String) -> Undecided {
        let listener = self.snapshot.listeners.get(index);
        let name = listener.map_or("", |listener| listener.name.as_str());
        Undecided {
            part: Some(Part::Listener(index)),
            resource: format!("listener {name:?}"),
            path: "filter_chain_matcher".to_owned(),
            reason,
            requests: "requests to the listener",
        }
    }

    /// A filter of a connection manager is undecided.
    pub fn filter_undecided(
        &mut self,
        place: (usize, Option<usize>),
        chain: &FilterChain,
        filter: usize,
        reason: String,
    ) -> Unsupported {
        let undecided = self.filter_place(place, chain, filter, reason);
        self.note(undecided)
    }

    /// A filter of a connection manager only userspace runs.
    pub fn filter_in_userspace(
        &mut self,
        place: (usize, Option<usize>),
        chain: &FilterChain,
        filter: usize,
    ) {
        let reason = "a filter that may answer or delay requests is run in userspace only";
        let undecided = self.filter_place(place, chain, filter, reason.to_owned());
        self.userspace.push(undecided);
    }

    /// Headers that a connection manager writes or takes off are looked at, so that userspace changes each
    /// request.
    pub fn headers_in_userspace(
        &mut self,
        (listener, chain): (usize, Option<usize>),
        of: &FilterChain,
    ) {
        let listener = self.snapshot.listeners.get(listener);
        let name = listener.map_or("", |listener| listener.name.as_str());
        let path = manager_path(chain, of);
        self.userspace.push(Undecided {
            part: None,
            resource: format!("listener {name:?}"),
            path: path.trim_end_matches('.').to_owned(),
            reason: "headers that the connection manager writes or takes off are looked at, and only userspace changes them".to_owned(),
            requests: "requests to the filter chain",
        });
    }

    /// A network filter is undecided.
    pub fn network_filter_undecided(
        &mut self,
        place: (usize, Option<usize>),
        filter: usize,
        reason: String,
    ) -> Unsupported {
        let undecided = self.network_filter_place(place, filter, reason);
        self.note(undecided)
    }

    /// A network filter that only userspace runs.
    pub fn network_filter_in_userspace(&mut self, place: (usize, Option<usize>), filter: usize) {
        let reason = "a filter that may close connections is run in userspace only";
        let undecided = self.network_filter_place(place, filter, reason.to_owned());
        self.userspace.push(undecided);
    }

    fn network_filter_place(
        &self,
        (listener, chain): (usize, Option<usize>),
        filter: usize,
        reason: String,
    ) -> Undecided {
        let listener = self.snapshot.listeners.get(listener);
        let name = listener.map_or("", |listener| listener.name.as_str());
        let chain = match chain {
            Some(index) => format!("filter_chains[{index}]"),
            None => "default_filter_chain".to_owned(),
        };
        Undecided {
            part: None,
            resource: format!("listener {name:?}"),
            path: format!("{chain}.filters[{filter}]"),
            reason,
            requests: "requests to the filter chain",
        }
    }

    fn filter_place(
        &self,
        (listener, position): (usize, Option<usize>),
        chain: &FilterChain,
        filter: usize,
        reason: String,
    ) -> Undecided {
        let listener = self.snapshot.listeners.get(listener);
        let name = listener.map_or("", |listener| listener.name.as_str());
        Undecided {
            part: None,
            resource: format!("listener {name:?}"),
            path: format!("{}http_filters[{filter}]", manager_path(position, chain)),
            reason,
            requests: "requests to the filter chain",
        }
    }

    /// What a level of a route configuration says to a filter is undecided; `level` is its field
    /// path.
    pub fn per_filter_undecided(
        &mut self,
        configuration: usize,
        level: &str,
        name: &str,
        reason: String,
    ) -> Unsupported {
        let (resource, root) = configuration_place(self.snapshot, configuration);
        self.note(Undecided {
            part: None,
            resource,
            path: format!("{root}{level}typed_per_filter_config[{name:?}]"),
            reason,
            requests: "requests that the filter looks at there",
        })
    }

    fn note(&mut self, undecided: Undecided) -> Unsupported {
        let unsupported = Unsupported {
            path: undecided.path.clone(),
            reason: undecided.reason.clone(),
        };
        self.undecided.push(undecided);
        unsupported
    }
}

/// The field path of a route in its route configuration.
fn route_path(snapshot: &Snapshot, (configuration, host, route): (usize, usize, usize)) -> String {
    let found = snapshot.route_configurations.get(configuration);
    found.map_or_else(String::new, |it| it.route_path(host, route))
}

/// The field path of a filter chain's connection manager, with a point behind it.
fn manager_path(chain: Option<usize>, config: &FilterChain) -> String {
    let filter = config.config.filters.len().saturating_sub(1);
    match chain {
        Some(index) => format!("filter_chains[{index}].filters[{filter}].typed_config."),
        None => format!("default_filter_chain.filters[{filter}].typed_config."),
    }
}

/// The resource that a route configuration stands in, and the field path up to it.
fn configuration_place(snapshot: &Snapshot, index: usize) -> (String, String) {
    let holds = |chain: &FilterChain| chain.inline_route_configuration() == Some(index);
    for listener in &snapshot.listeners {
        let chains = listener.filter_chains.iter().enumerate();
        let mut chains = chains.map(|(index, chain)| (Some(index), chain)).chain(
            listener
                .default_filter_chain
                .iter()
                .map(|chain| (None, chain)),
        );
        if let Some((chain, config)) = chains.find(|(_, chain)| holds(chain)) {
            return (
                format!("listener {:?}", listener.name),
                format!("{}route_config.", manager_path(chain, config)),
            );
        }
    }
    let name = snapshot
        .route_configurations
        .get(index)
        .map_or("", |configuration| configuration.name.as_str());
    (format!("route configuration {name:?}"), String::new())
}
