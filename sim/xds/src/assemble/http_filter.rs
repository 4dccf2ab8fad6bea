//! The HTTP filters of the snapshot: those that do nothing are dropped, and those that cannot be
//! decided where they stand make their filter chain undecided.

use std::collections::BTreeSet;

use super::Assembly;
use crate::{
    error::ReadError,
    header_mutation::{changed_by_others, hashed_header},
    http_filter::{Level, PerFilters, acts, level_undecided, sees_changed},
    path::Path,
    snapshot::{FilterChain, Listener, RouteConfiguration, Snapshot, Terminal},
    view::View,
};

impl Assembly<'_> {
    /// Compiles the regexes below a message, wherever they stand; the first that is over the cap,
    /// with why.
    pub(super) fn compile_within(
        &mut self,
        view: &View<'_>,
    ) -> Result<Option<(Path, String)>, ReadError> {
        let mut patterns = Vec::new();
        view.regexes(&mut patterns);
        let mut over = None;
        for (path, pattern) in patterns {
            let too_large = self
                .regexes
                .compile(pattern)
                .map_err(|error| self.source.invalid(&path, error.to_string()))?;
            if let Some(too_large) = too_large {
                over.get_or_insert((path, too_large.to_string()));
            }
        }
        Ok(over)
    }

    /// Looks at the filters of all connection managers.
    pub(super) fn http_filters(&mut self, snapshot: &mut Snapshot) {
        let mut configurations = std::mem::take(&mut snapshot.route_configurations);
        for listener in &mut snapshot.listeners {
            let resource = format!("listener {:?}", listener.name);
            let chains = listener.filter_chains.iter_mut().enumerate();
            for (index, chain) in chains {
                let place = format!("filter_chains[{index}]");
                self.filters_of(chain, &configurations, &resource, &place);
            }
            if let Some(chain) = &mut listener.default_filter_chain {
                self.filters_of(chain, &configurations, &resource, "default_filter_chain");
            }
        }
        for chain in snapshot
            .listeners
            .iter()
            .flat_map(Listener::all_filter_chains)
        {
            self.levels_of(chain, &mut configurations);
        }
        snapshot.route_configurations = configurations;
    }

    /// Marks what in a chain's route configuration is undecided by what it says to filters.
    fn levels_of(&mut self, chain: &FilterChain, configurations: &mut [RouteConfiguration]) {
        let Terminal::Http {
            manager,
            route_configuration: Some(used),
        } = &chain.terminal
        else {
            return;
        };
        let Some(used) = configurations.get_mut(*used) else {
            return;
        };
        let mut found = Vec::new();
        for (level, said) in &used.per_filters {
            for (name, said) in said {
                let reason = level_undecided(manager, &chain.http_filters, name, said);
                found.extend(reason.map(|reason| (*level, reason)));
            }
        }
        let resource = format!("route configuration {:?}", used.name);
        for (level, reason) in found {
            let (place, slot) = match level {
                Level::RouteConfiguration => (String::new(), Some(&mut used.unsupported)),
                Level::VirtualHost(host) => {
                    let slot = used.virtual_hosts.get_mut(host);
                    let slot = slot.map(|host| &mut host.unsupported);
                    (format!("virtual_hosts[{host}]."), slot)
                }
                Level::Route(host, route) | Level::Entry(host, route, _) => {
                    let place = format!("{}.", used.route_path(host, route));
                    let host = used.virtual_hosts.get_mut(host);
                    (place, host.and_then(|host| host.routes.get_mut(route)))
                }
            };
            let path = format!("{place}typed_per_filter_config");
            if let Some(slot) = slot.filter(|slot| slot.is_none()) {
                *slot = Some(self.unsupported(&resource, path, reason));
            }
        }
    }

    fn filters_of(
        &mut self,
        chain: &mut FilterChain,
        configurations: &[RouteConfiguration],
        resource: &str,
        place: &str,
    ) {
        let Terminal::Http {
            manager,
            route_configuration,
        } = &chain.terminal
        else {
            return;
        };
        let used = route_configuration.and_then(|index| configurations.get(index));
        let said: Option<&PerFilters> = used.map(|used| &used.per_filters);
        chain.http_filters.retain(|filter| acts(filter, said));
        let last = chain.config.filters.len().saturating_sub(1);
        let list = format!("{place}.filters[{last}].typed_config.http_filters");
        let others = changed_by_others(manager);
        let changes = !chain.header_mutations.is_empty() || !others.is_empty();
        if changes && chain.unsupported.is_none() {
            let levels = used.map(|used| &used.header_mutations);
            let config = used.map(|used| &used.config);
            let hashed = hashed_header(&chain.header_mutations, others, levels, config);
            if let Some((host, route, name)) = hashed {
                let reason = format!(
                    "a filter changes the header {name:?}, which virtual_hosts[{host}].routes[{route}] hashes"
                );
                chain.unsupported = Some(self.unsupported(resource, list.clone(), reason));
            }
        }
        let Some(first) = chain.http_filters.first() else {
            return;
        };
        let names: BTreeSet<&str> = chain
            .http_filters
            .iter()
            .map(|it| it.name.as_str())
            .collect();
        let reason = if let Some((index, changing)) = sees_changed(manager, &chain.http_filters) {
            Some((
                index,
                format!("the filter {changing} may change what it sees"),
            ))
        } else if names.len() < chain.http_filters.len() {
            let reason = "filters of one name are not told apart by the route configuration";
            Some((first.index, reason.to_owned()))
        } else {
            None
        };
        if let Some((index, reason)) = reason
            && chain.unsupported.is_none()
        {
            let found = self.unsupported(resource, format!("{list}[{index}]"), reason);
            chain.unsupported = Some(found);
        }
    }
}
