//! Which clusters' headers that name endpoints are what the client sent: others are undecided.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, VirtualHost, route::Action};

use super::{
    Assembly,
    rewrite::{names_changed, weighted_clusters},
};
use crate::{
    header_mutation::{changed_by_others, of_request},
    managed_header::arrives_as_sent,
    snapshot::{Snapshot, Terminal},
};

impl Assembly<'_> {
    /// A balancer looks at the request's headers as they are sent: after mutations by filters and routes.
    pub(super) fn leave_override_headers(&mut self, snapshot: &mut Snapshot) {
        let asked = snapshot.clusters.iter();
        if asked.clone().all(|it| it.override_headers.is_none()) {
            return;
        }
        let changed = changed(snapshot);
        for cluster in &mut snapshot.clusters {
            let mut headers = cluster.override_headers.iter().flatten();
            let managed = |name: &str| !arrives_as_sent(name);
            let Some(name) = headers.find(|it| managed(it) || changed.contains(*it)) else {
                continue;
            };
            if cluster.unsupported.is_none() {
                let who = match managed(name) {
                    true => "the connection manager",
                    false => "a route or a filter",
                };
                let reason = format!("{who} may change the header {name:?}, which names endpoints");
                let resource = format!("cluster {:?}", cluster.name);
                let found = self.unsupported(&resource, "load_balancing_policy".to_owned(), reason);
                cluster.unsupported = Some(found);
            }
        }
    }
}

/// The names, in lower case, of all headers of requests that something in the snapshot changes.
fn changed(snapshot: &Snapshot) -> BTreeSet<String> {
    let configurations = snapshot.route_configurations.iter();
    let mut names = BTreeSet::new();
    for configuration in configurations {
        for host in &configuration.config.virtual_hosts {
            names.extend(of_host(host, &configuration.config));
        }
        let levels = configuration.header_mutations.values();
        let mutations = levels.flat_map(|level| level.values());
        let mutations = mutations.filter_map(|level| level.mutations.as_ref());
        names.extend(mutations.flat_map(of_request).map(|it| it.name()));
    }
    for chain in snapshot.all_filter_chains() {
        if let Terminal::Http { manager, .. } = &chain.terminal {
            names.extend(changed_by_others(manager));
        }
    }
    let chains = snapshot.all_filter_chains();
    let filters = chains.flat_map(|chain| &chain.header_mutations);
    let mutations = filters.filter_map(|filter| filter.config.mutations.as_ref());
    names.extend(mutations.flat_map(of_request).map(|it| it.name()));
    names
}

fn of_host<'a>(
    host: &'a VirtualHost,
    config: &'a RouteConfiguration,
) -> impl Iterator<Item = String> + 'a {
    host.routes.iter().flat_map(move |route| {
        let (weighted, appends) = match &route.action {
            Some(Action::Route(action)) => {
                (weighted_clusters(action), action.append_x_forwarded_host)
            }
            _ => (&[][..], false),
        };
        let changed = names_changed(weighted, route, host, config);
        changed
            .chain(appends.then_some("x-forwarded-host"))
            .map(str::to_ascii_lowercase)
    })
}
