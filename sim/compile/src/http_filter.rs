//! Compiles the HTTP filters of connection managers, and what route configurations say to them.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use twinmesh_model::http_filter::FILTERS;
use twinmesh_model::layout::{header, http_filter, http_filters, pair, per_filter};
use twinmesh_xds::http_filter::{FilterKind, HttpFilter, Level, PerFilter};
use twinmesh_xds::{FilterChain, RouteConfiguration, Snapshot, Terminal, Unsupported};

use crate::compiler::Compiler;
use crate::kept::{FilterState, Owner};
use crate::listener::inspects_tls;
use crate::network_rbac::waits_for_data;

/// Whose rules or trees are compiled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Of {
    /// An HTTP filter's, or a virtual host's.
    #[default]
    Requests,
    /// A network filter's, which knows no requests.
    Connections,
    /// A listener's, which knows what its listener filters found out.
    Listeners,
}

/// What the filters of a snapshot share while they are compiled.
#[derive(Debug, Default)]
pub struct Filters {
    /// The numbers of their names.
    names: BTreeMap<String, u64>,
    /// The levels of route configurations that say something to filters: which configuration and
    /// level, and the place and entry by which the model finds them.
    places: Vec<(usize, Level, u64, u64)>,
    /// Whose rules or trees are compiled.
    pub of: Of,
    /// Where the records of the filter chains stand whose listener's tree is compiled, by name.
    pub chains: BTreeMap<String, u64>,
    /// Some rule looks at the client's address.
    pub sees_client: bool,
    /// Some rule looks at the server name.
    pub sees_server_name: bool,
    /// Where the state of filters stands.
    pub states: Vec<FilterState>,
    /// The numbers of the routes, by route configuration, virtual host and route.
    pub routes: Vec<((usize, usize, usize), u64)>,
}

impl Filters {
    /// The names of a snapshot's filters.
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut filters = Self::default();
        let chains = snapshot.all_filter_chains();
        for filter in chains.flat_map(|chain| &chain.http_filters) {
            let next = filters.names.len() as u64;
            filters.names.entry(filter.name.clone()).or_insert(next);
        }
        filters
    }
}

/// Why a configuration is not decided.
pub type Left = String;

fn number(kind: &FilterKind) -> u64 {
    match kind {
        FilterKind::Rbac(_) => http_filter::RBAC,
        FilterKind::Fault(_) => http_filter::FAULT,
        FilterKind::LocalRateLimit(_) => http_filter::LOCAL_RATE_LIMIT,
        FilterKind::Cors(_) => http_filter::CORS,
        FilterKind::HealthCheck(_) => http_filter::HEALTH_CHECK,
        FilterKind::Undecided => http_filter::OTHER,
    }
}

impl Compiler<'_> {
    /// Notes where the levels of a route configuration stand that say something to filters.
    /// `hosts`: the record of each virtual host, and the number of its first route.
    pub fn place_per_filters(
        &mut self,
        index: usize,
        configuration: &RouteConfiguration,
        record: u64,
        hosts: &[(u64, u64)],
    ) {
        if self.filters.names.is_empty() {
            return;
        }
        for (host, (config, (_, first))) in configuration
            .config
            .virtual_hosts
            .iter()
            .zip(hosts)
            .enumerate()
        {
            let numbers = (*first..).take(config.routes.len()).enumerate();
            let routes = numbers.map(|(route, number)| ((index, host, route), number));
            self.filters.routes.extend(routes);
        }
        for level in configuration.per_filters.keys() {
            let host = |host: &usize| hosts.get(*host).copied();
            let route = |at: &usize, route: &usize| Some(host(at)?.1 + *route as u64);
            let place = match level {
                Level::RouteConfiguration => Some((record, 0)),
                Level::VirtualHost(at) => host(at).map(|(record, _)| (record, 0)),
                Level::Route(at, position) => route(at, position).map(|number| (number, 0)),
                Level::Entry(at, position, entry) => {
                    route(at, position).map(|number| (number, *entry as u64))
                }
            };
            if let Some((place, entry)) = place {
                self.filters.places.push((index, *level, place, entry));
            }
        }
    }

    /// Writes what route configurations say to filters.
    pub fn write_per_filters(&mut self) {
        let snapshot = self.snapshot;
        let mut records = Vec::new();
        for (index, level, place, entry) in std::mem::take(&mut self.filters.places) {
            let said = snapshot
                .route_configurations
                .get(index)
                .and_then(|configuration| configuration.per_filters.get(&level));
            for (name, said) in said.into_iter().flatten() {
                let Some(&filter) = self.filters.names.get(name) else {
                    continue;
                };
                let kind = said.config.as_ref().map_or(0, number);
                let config = self.per_filter(said, index, level, name);
                let depth = match level {
                    Level::RouteConfiguration => per_filter::ROUTE_CONFIGURATION,
                    Level::VirtualHost(_) => per_filter::VIRTUAL_HOST,
                    Level::Route(..) => per_filter::ROUTE,
                    Level::Entry(..) => per_filter::ENTRY,
                };
                records.push([pair(place, depth), pair(filter, entry), config, kind]);
            }
        }
        records.sort_unstable();
        let offset = self.arena.words(records.as_flattened());
        let table = pair(offset, records.len() as u64);
        self.arena.set(header::PER_FILTERS, table);
    }

    fn per_filter(&mut self, said: &PerFilter, index: usize, level: Level, name: &str) -> u64 {
        if said.disabled {
            return pair(0, http_filter::DISABLED);
        }
        let Some(config) = &said.config else {
            return 0;
        };
        let owner = Owner::Level(index, level, name.to_owned());
        match self.filter_config(config, owner, Some(index)) {
            Ok(offset) => offset,
            Err(reason) => {
                let found = self.snapshot.route_configurations.get(index);
                let path = |host, route| {
                    found.map_or_else(String::new, |found| found.route_path(host, route))
                };
                let level = match level {
                    Level::RouteConfiguration => String::new(),
                    Level::VirtualHost(host) => format!("virtual_hosts[{host}]."),
                    Level::Route(host, route) => format!("{}.", path(host, route)),
                    Level::Entry(host, route, entry) => format!(
                        "{}.route.weighted_clusters.clusters[{entry}].",
                        path(host, route)
                    ),
                };
                let found = self.per_filter_undecided(index, &level, name, reason);
                pair(self.reason(&found), http_filter::UNDECIDED)
            }
        }
    }

    /// The offset of a configuration, or 0 for one that does nothing. `routes`: the route configuration
    /// whose requests get there.
    fn filter_config(
        &mut self,
        config: &FilterKind,
        owner: Owner,
        routes: Option<usize>,
    ) -> Result<u64, Left> {
        if !config.acts() {
            return Ok(0);
        }
        match config {
            FilterKind::Rbac(rbac) => self.rbac(rbac),
            FilterKind::Fault(fault) => self.fault(fault),
            FilterKind::LocalRateLimit(limit) => self.local_rate_limit(limit, owner, routes),
            FilterKind::Cors(policy) => match (policy, owner) {
                (Some(policy), Owner::Level(configuration, level, name)) => {
                    let whole = self.cors_of_level(policy, configuration, level, &name);
                    self.cors(&whole)
                }
                _ => Ok(0),
            },
            FilterKind::HealthCheck(check) => self.health_check(check),
            FilterKind::Undecided => Err("it is enabled here, and is not decided".to_owned()),
        }
    }

    /// The network filters of a chain and the HTTP filters of its connection manager; the offset of the whole. `place` is the listener's index, and the
    /// chain's in it.
    ///
    /// # Errors
    /// They do not fit.
    pub fn http_filters(
        &mut self,
        place: (usize, Option<usize>),
        chain: &FilterChain,
    ) -> Result<u64, Unsupported> {
        let none = HttpConnectionManager::default();
        let (manager, configuration) = match &chain.terminal {
            Terminal::Http {
                manager,
                route_configuration,
            } => (&**manager, *route_configuration),
            _ => (&none, None),
        };
        let mut records = Vec::with_capacity(chain.http_filters.len());
        for filter in &chain.http_filters {
            if records.len() as u64 == FILTERS {
                let reason = format!("at most {FILTERS} filters of a connection manager fit");
                return Err(self.filter_undecided(place, chain, filter.index, reason));
            }
            self.filter_in_userspace(place, chain, filter.index);
            let owner = Owner::Filter(place.0, place.1, filter.index);
            let found = self.filter_config(&filter.config, owner.clone(), configuration);
            let mut config = match found {
                Ok(offset) => offset,
                Err(reason) => {
                    let found = self.filter_undecided(place, chain, filter.index, reason);
                    pair(self.reason(&found), http_filter::UNDECIDED)
                }
            };
            if filter.disabled {
                config |= pair(0, http_filter::DISABLED);
            }
            let name = self.filters.names.get(&filter.name).copied().unwrap_or(0);
            let words = self.filter_words(filter, configuration);
            let state = self.filter_state(owner, words);
            let kind = pair(number(&filter.config), filter.index as u64);
            records.push([kind, config, name, pair(state as u64, words as u64)]);
        }
        let network = self.network_rbac(place, chain);
        let listener = self.snapshot.listeners.get(place.0);
        let mut flags = 0;
        if let Terminal::Tcp(proxy) = &chain.terminal
            && waits_for_data(proxy)
        {
            flags |= http_filters::WAITS_FOR_DATA;
        }
        if manager.use_remote_address.is_some_and(|own| own.value) {
            flags |= http_filters::REMOTE_ADDRESS;
        }
        if listener.is_some_and(|listener| inspects_tls(&listener.config)) {
            flags |= http_filters::INSPECTS_TLS;
        }
        let over = |compiler: &mut Self, reason: String| {
            let first = chain.http_filters.first().map_or(0, |first| first.index);
            compiler.filter_undecided(place, chain, first, reason)
        };
        let forwarded_for = match self.filters.sees_client {
            true => self.names.header("x-forwarded-for"),
            false => Ok(0),
        };
        let forwarded_for = forwarded_for.map_err(|it| over(self, it.of_a_part()))?;
        let server_name = match self.filters.sees_server_name {
            true => self.names.server_name().map(|slot| slot + 1),
            false => Ok(0),
        };
        let server_name = server_name.map_err(|it| over(self, it.of_a_part()))?;
        let hops = u64::from(manager.xff_num_trusted_hops);
        let offset = self.arena.words(&[
            pair(records.len() as u64, server_name),
            pair(hops, flags),
            forwarded_for,
            network,
        ]);
        self.arena.words(records.as_flattened());
        debug_assert_eq!(http_filters::FILTERS, 32);
        Ok(offset)
    }

    /// The first of so many words of state, all zero.
    pub fn filter_state(&mut self, owner: Owner, words: usize) -> usize {
        let state = self.state.len();
        self.state.extend(std::iter::repeat_n(0, words));
        self.filters.states.push(FilterState {
            owner,
            state,
            words,
        });
        state
    }

    /// How many words of state a filter has.
    fn filter_words(&self, filter: &HttpFilter, configuration: Option<usize>) -> usize {
        let said = configuration
            .and_then(|index| self.snapshot.route_configurations.get(index))
            .into_iter()
            .flat_map(|configuration| configuration.per_filters.values())
            .filter_map(|level| level.get(&filter.name)?.config.as_ref());
        let faults = said
            .chain([&filter.config])
            .filter_map(|config| match config {
                FilterKind::Fault(fault) => Some(&**fault),
                _ => None,
            });
        crate::fault::words(faults)
    }
}
