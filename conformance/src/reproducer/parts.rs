//! The parts of a snapshot that shrinking leaves out, kind by kind, the large ones first.

use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use twinmesh_xds::{FilterChain, Snapshot, Terminal};

/// A kind of part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `Listener`.
    Listener,
    /// `Listener.filter_chains`.
    FilterChain,
    /// `Listener.default_filter_chain`.
    DefaultFilterChain,
    /// `RouteConfiguration`, where no connection manager uses it.
    RouteConfiguration,
    /// `Cluster`.
    Cluster,
    /// `RouteConfiguration.virtual_hosts`.
    VirtualHost,
    /// `VirtualHost.routes`.
    Route,
    /// `VirtualHost.domains`.
    Domain,
    /// `ClusterLoadAssignment.endpoints`.
    Locality,
    /// `LocalityLbEndpoints.lb_endpoints`.
    Endpoint,
    /// `RouteMatch.headers`.
    Header,
    /// `RouteMatch.query_parameters`.
    QueryParameter,
}

impl Part {
    /// Every kind, in the order in which they are left out.
    pub const ALL: [Self; 12] = [
        Self::Listener,
        Self::FilterChain,
        Self::DefaultFilterChain,
        Self::RouteConfiguration,
        Self::VirtualHost,
        Self::Cluster,
        Self::Route,
        Self::Domain,
        Self::Locality,
        Self::Endpoint,
        Self::Header,
        Self::QueryParameter,
    ];

    /// Those without which another server's recorded decision stands: it took the first route
    /// that matches, from the virtual host that fits best, and those are kept. What a route
    /// matches and which endpoints there are must stay as they were.
    pub const BESIDE_A_RECORDING: [Self; 7] = [
        Self::Listener,
        Self::FilterChain,
        Self::DefaultFilterChain,
        Self::RouteConfiguration,
        Self::VirtualHost,
        Self::Cluster,
        Self::Route,
    ];
}

/// How many parts of this kind there are.
pub fn count(snapshot: &Snapshot, part: Part) -> usize {
    let mut count = 0;
    retain(&mut snapshot.clone(), part, &mut || {
        count += 1;
        true
    });
    count
}

/// Leaves out the parts of a kind for which `keep`, asked for each in order, says no; returns
/// whether any has gone.
pub fn retain(snapshot: &mut Snapshot, part: Part, keep: &mut dyn FnMut() -> bool) -> bool {
    let mut gone = 0;
    let mut keep = || {
        let kept = keep();
        gone += usize::from(!kept);
        kept
    };
    let keep: &mut dyn FnMut() -> bool = &mut keep;
    let mut restored = 0;
    match part {
        Part::Listener => snapshot.listeners.retain(|_| keep()),
        Part::FilterChain => {
            for listener in &mut snapshot.listeners {
                let kept: Vec<bool> = listener.filter_chains.iter().map(|_| keep()).collect();
                retain_by(&mut listener.filter_chains, &kept);
                retain_by(&mut listener.config.filter_chains, &kept);
            }
        }
        Part::DefaultFilterChain => {
            for listener in &mut snapshot.listeners {
                if listener.default_filter_chain.is_some() && !keep() {
                    listener.default_filter_chain = None;
                    listener.config.default_filter_chain = None;
                }
            }
        }
        Part::RouteConfiguration => retain_route_configurations(snapshot, keep),
        Part::Cluster => snapshot.clusters.retain(|_| keep()),
        Part::VirtualHost => {
            for configuration in &mut snapshot.route_configurations {
                let kept: Vec<bool> = configuration.virtual_hosts.iter().map(|_| keep()).collect();
                retain_by(&mut configuration.virtual_hosts, &kept);
                retain_by(&mut configuration.config.virtual_hosts, &kept);
            }
        }
        Part::Route => {
            for configuration in &mut snapshot.route_configurations {
                let parallel = configuration.virtual_hosts.iter_mut();
                for (beside, virtual_host) in parallel.zip(&mut configuration.config.virtual_hosts)
                {
                    // Those of a matcher tree go with it.
                    if virtual_host.matcher.is_some() {
                        continue;
                    }
                    let kept: Vec<bool> = virtual_host.routes.iter().map(|_| keep()).collect();
                    retain_by(&mut beside.routes, &kept);
                    retain_by(&mut virtual_host.routes, &kept);
                }
            }
        }
        Part::Domain => {
            for configuration in &mut snapshot.route_configurations {
                for virtual_host in &mut configuration.config.virtual_hosts {
                    // Envoy refuses a virtual host without any.
                    let first = virtual_host.domains.first().cloned();
                    virtual_host.domains.retain(|_| keep());
                    if virtual_host.domains.is_empty() {
                        restored += first.iter().len();
                        virtual_host.domains.extend(first);
                    }
                }
            }
        }
        Part::Locality => {
            for cluster in &mut snapshot.clusters {
                if let Some(assignment) = &mut cluster.load_assignment {
                    assignment.endpoints.retain(|_| keep());
                }
            }
        }
        Part::Endpoint => {
            for cluster in &mut snapshot.clusters {
                for locality in cluster
                    .load_assignment
                    .iter_mut()
                    .flat_map(|it| &mut it.endpoints)
                {
                    locality.lb_endpoints.retain(|_| keep());
                }
            }
        }
        Part::Header | Part::QueryParameter => {
            for configuration in &mut snapshot.route_configurations {
                let routes = configuration
                    .config
                    .virtual_hosts
                    .iter_mut()
                    .filter(|virtual_host| virtual_host.matcher.is_none())
                    .flat_map(|virtual_host| &mut virtual_host.routes);
                for route_match in routes.filter_map(|route| route.r#match.as_mut()) {
                    if part == Part::Header {
                        route_match.headers.retain(|_| keep());
                    } else {
                        route_match.query_parameters.retain(|_| keep());
                    }
                }
            }
        }
    }
    mirror(snapshot);
    gone > restored
}

fn retain_by<T>(items: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    items.retain(|_| kept.next().copied().unwrap_or(true));
}

fn retain_route_configurations(snapshot: &mut Snapshot, keep: &mut dyn FnMut() -> bool) {
    let used: Vec<usize> = chains(snapshot)
        .filter_map(|chain| match chain.terminal {
            Terminal::Http {
                route_configuration,
                ..
            } => route_configuration,
            _ => None,
        })
        .collect();
    let kept: Vec<bool> = (0..snapshot.route_configurations.len())
        .map(|index| used.contains(&index) || keep())
        .collect();
    retain_by(&mut snapshot.route_configurations, &kept);
    for chain in chains(snapshot) {
        if let Terminal::Http {
            route_configuration: Some(index),
            ..
        } = &mut chain.terminal
        {
            let before = kept.iter().take(*index);
            *index = before.filter(|kept| **kept).count();
        }
    }
}

fn chains(snapshot: &mut Snapshot) -> impl Iterator<Item = &mut FilterChain> {
    snapshot.listeners.iter_mut().flat_map(|listener| {
        listener
            .filter_chains
            .iter_mut()
            .chain(listener.default_filter_chain.as_mut())
    })
}

/// Makes the copies that a snapshot holds twice follow the ones that were changed: the inline
/// route configuration of a connection manager, the inline endpoints of a static cluster.
pub fn mirror(snapshot: &mut Snapshot) {
    let configurations: Vec<_> = snapshot
        .route_configurations
        .iter()
        .map(|configuration| configuration.config.clone())
        .collect();
    for chain in chains(snapshot) {
        if let Terminal::Http {
            manager,
            route_configuration: Some(index),
        } = &mut chain.terminal
            && let Some(RouteSpecifier::RouteConfig(inline)) = &mut manager.route_specifier
            && let Some(configuration) = configurations.get(*index)
        {
            inline.clone_from(configuration);
        }
    }
    for cluster in &mut snapshot.clusters {
        if cluster.config.load_assignment.is_some() {
            cluster
                .config
                .load_assignment
                .clone_from(&cluster.load_assignment);
        }
    }
}
