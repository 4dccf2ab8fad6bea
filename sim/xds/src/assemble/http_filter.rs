//! The HTTP filters of the snapshot: those that do nothing are dropped, and those that cannot be
//! decided where they stand make their filter chain undecided.

use std::collections::BTreeSet;

use super::Assembly;
use crate::{
    error::ReadError,
    header_mutation::hashed_header,
    http_filter::{PerFilters, acts, sees_changed},
    path::Path,
    snapshot::{FilterChain, RouteConfiguration, Snapshot, Terminal},
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
        let configurations = std::mem::take(&mut snapshot.route_configurations);
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
        snapshot.route_configurations = configurations;
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
        if !chain.header_mutations.is_empty() && chain.unsupported.is_none() {
            let levels = used.map(|used| &used.header_mutations);
            let config = used.map(|used| &used.config);
            let hashed = hashed_header(&chain.header_mutations, levels, config);
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
