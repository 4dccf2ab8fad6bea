//! The steps of a trace in words, each with the xDS resource and field that decided.

use envoy_types::pb::envoy::config::route::v3::{Route, VirtualHost};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use twinmesh_engine::{Chain, Did, Request, Step, endpoint};
use twinmesh_spec::{Judged, reading::Seen};
use twinmesh_xds::{FilterChain, Snapshot, Terminal};

use super::{action::action, filter, matcher, mutation, transport_socket, tree};

/// One step in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// What was decided: `listener`, `virtual host`, `route`, …
    pub topic: &'static str,
    /// The resource, or the part of one, that was chosen.
    pub choice: String,
    /// The field that decided, and why.
    pub because: String,
}

/// Turns the steps of one trace into words, one after the other: a step's index counts inside what
/// the steps before chose.
#[derive(Debug, Clone)]
pub struct Narrator<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) request: &'a Request,
    pub(super) listener: Option<usize>,
    pub(super) chain: Option<Chain>,
    pub(super) route_configuration: Option<usize>,
    pub(super) virtual_host: Option<usize>,
    pub(super) route: Option<usize>,
    pub(super) cluster: Option<usize>,
    pub(super) entry: Option<usize>,
    pub(super) overridden: bool,
    pub(super) judged: Vec<Judged>,
    pub(super) seen: Option<Seen>,
}

impl<'a> Narrator<'a> {
    /// Starts before the first step.
    pub fn new(snapshot: &'a Snapshot, request: &'a Request) -> Self {
        Self {
            snapshot,
            request,
            listener: None,
            chain: None,
            route_configuration: None,
            virtual_host: None,
            route: None,
            cluster: None,
            entry: None,
            overridden: false,
            judged: Vec::new(),
            seen: None,
        }
    }

    /// With what RBAC filters went by.
    #[must_use]
    pub fn with_judged(self, judged: Vec<Judged>) -> Self {
        Self { judged, ..self }
    }

    /// The step in words.
    pub fn tell(&mut self, step: &Step) -> Sentence {
        match step {
            Step::Listener(index) => {
                self.listener = Some(*index);
                self.tell_listener(*index)
            }
            Step::FilterChainMatcher(action) => self.tell_filter_chain_matcher(*action),
            Step::FilterChain(chain) => {
                self.chain = Some(*chain);
                let at = self.listener.zip(self.chain);
                self.seen = Seen::new(self.snapshot, self.request, at);
                self.tell_filter_chain(*chain)
            }
            Step::BadRequest(reason) => Sentence {
                topic: "request head",
                choice: "refused".to_owned(),
                because: filter::bad_request(*reason, self.request),
            },
            Step::RouteConfiguration(index) => {
                self.route_configuration = Some(*index);
                if self.chain.is_none() {
                    self.seen = Seen::new(self.snapshot, self.request, None);
                }
                self.tell_route_configuration(*index)
            }
            Step::VirtualHost {
                virtual_host,
                domain,
            } => {
                self.virtual_host = Some(*virtual_host);
                self.tell_virtual_host(*virtual_host, *domain)
            }
            Step::RouteNotMatched { route, failed } => Sentence {
                topic: "not matched",
                choice: self.route_name(*route),
                because: match self
                    .route_at(*route)
                    .and_then(|route| route.r#match.as_ref())
                {
                    Some(route_match) => {
                        matcher::failed(route_match, *failed, self.request, self.seen())
                    }
                    None => "it has no match".to_owned(),
                },
            },
            Step::Route(index) => {
                self.route = Some(*index);
                Sentence {
                    topic: "route",
                    choice: self.route_name(*index),
                    because: self.route_at(*index).map_or_else(String::new, |route| {
                        let matched = route.r#match.as_ref();
                        let matched = matched.map_or_else(String::new, matcher::route_match);
                        format!("match: {matched}; action: {}", action(route))
                    }),
                }
            }
            Step::WeightedCluster {
                entry,
                value,
                from,
                to,
            } => {
                self.entry = Some(*entry);
                self.tell_weighted_cluster(*entry, *value, *from, *to)
            }
            Step::Filter { filter, did } => self.tell_filter(*filter, *did),
            Step::NetworkFilter {
                filter,
                policy,
                closes,
            } => self.tell_network_filter(*filter, *policy, *closes),
            Step::Cluster(index) => {
                self.cluster = Some(*index);
                self.tell_cluster(*index)
            }
            Step::Priority {
                priority,
                value,
                degraded,
                panic,
            } => {
                let mut because = format!("the number {value} of 1..=100 falls into its load");
                if *degraded {
                    because.push_str(", of its degraded endpoints");
                }
                if *panic {
                    because.push_str("; it is in panic (common_lb_config.healthy_panic_threshold), so that every endpoint of it may be used");
                }
                Sentence {
                    topic: "priority",
                    choice: priority.to_string(),
                    because,
                }
            }
            Step::OverrideHost(source) => {
                self.overridden = true;
                Sentence {
                    topic: "override host",
                    choice: self.override_header(*source),
                    because: "it names an endpoint of the cluster; neither health nor priority are asked (load_balancing_policy)".to_owned(),
                }
            }
            Step::Endpoint { locality, endpoint } => self.tell_endpoint(*locality, *endpoint),
            Step::Mutation { of, level } => {
                let at = self.place();
                mutation::tell(*of, *level, at, self.entry)
            }
            Step::Mirror { level, policy } => {
                let at = self.place();
                mutation::tell_mirror(*level, *policy, at)
            }
            Step::Unsupported => Sentence {
                topic: "not decided",
                choice: "here this build stops".to_owned(),
                because: "`reason` of the decision says why".to_owned(),
            },
        }
    }

    fn tell_listener(&self, index: usize) -> Sentence {
        let name = self
            .snapshot
            .listeners
            .get(index)
            .map_or(String::new(), |listener| quoted(&listener.name));
        let because = match (&self.request.listener, self.request.destination) {
            (Some(_), _) => "the request names it".to_owned(),
            (None, Some(destination)) => {
                let address = self
                    .snapshot
                    .listeners
                    .get(index)
                    .and_then(|listener| listener.config.address.as_ref())
                    .and_then(endpoint::text);
                match address {
                    Some(address) => {
                        format!("its address {address} takes the connection to {destination}")
                    }
                    None => format!("it takes the connection to {destination}"),
                }
            }
            (None, None) => "it is the only one that the request fits".to_owned(),
        };
        Sentence {
            topic: "listener",
            choice: name,
            because,
        }
    }

    pub(super) fn filter_chain(&self, chain: Chain) -> Option<&'a FilterChain> {
        let listener = self.snapshot.listeners.get(self.listener?)?;
        match chain {
            Chain::Index(index) => listener.filter_chains.get(index),
            Chain::Default => listener.default_filter_chain.as_ref(),
        }
    }

    /// The action of the listener's matcher tree, and the way down to it.
    fn tell_filter_chain_matcher(&self, action: usize) -> Sentence {
        let listener = self.listener.and_then(|at| self.snapshot.listeners.get(at));
        let matcher = listener.and_then(|it| it.config.filter_chain_matcher.as_ref());
        let way = matcher.and_then(|matcher| tree::way(matcher, action));
        let (way, name) = way.unwrap_or_default();
        let place = listener.and_then(|it| it.matcher_places.get(action));
        let place = place.map_or("filter_chain_matcher", String::as_str);
        Sentence {
            topic: "chain matcher",
            choice: quoted(&name),
            because: match way.is_empty() {
                true => place.to_owned(),
                false => format!("{}; {place}", way.join("; ")),
            },
        }
    }

    fn tell_filter_chain(&self, chain: Chain) -> Sentence {
        let field = match chain {
            Chain::Index(index) => format!("filter_chains[{index}]"),
            Chain::Default => "default_filter_chain".to_owned(),
        };
        let found = self.filter_chain(chain);
        let choice = match found.map(|found| found.config.name.as_str()) {
            Some(name) if !name.is_empty() => format!("{field} {}", quoted(name)),
            _ => field,
        };
        let listener = self.listener.and_then(|at| self.snapshot.listeners.get(at));
        let by_tree = listener.is_some_and(|it| it.config.filter_chain_matcher.is_some());
        let how = match (chain, found) {
            (Chain::Default, _) if by_tree => "filter_chain_matcher leads nowhere".to_owned(),
            (Chain::Index(_), _) if by_tree => "filter_chain_matcher names it".to_owned(),
            (Chain::Default, _) => "no filter_chain_match takes the connection".to_owned(),
            (Chain::Index(_), Some(found)) => match &found.config.filter_chain_match {
                Some(criteria) => super::chain::criteria(criteria),
                None => "it has no filter_chain_match".to_owned(),
            },
            (Chain::Index(_), None) => String::new(),
        };
        let terminal = match found.map(|found| &found.terminal) {
            Some(Terminal::Http { .. }) => "; its last filter is an http_connection_manager",
            Some(Terminal::Tcp(_)) => "; its last filter is a tcp_proxy",
            _ => "",
        };
        let fits_not = found.and_then(|found| transport_socket::does_not_fit(found, self.request));
        let fits_not = fits_not.map_or_else(String::new, |it| format!("; {it}"));
        Sentence {
            topic: "filter chain",
            choice,
            because: format!("{how}{terminal}{fits_not}"),
        }
    }

    /// The chosen listener's filter chains that do not take the connection, those that went along
    /// the longest last, each with the field by which it is out.
    pub fn filter_chains_not_taken(&self) -> Vec<Sentence> {
        let listener = self.listener.and_then(|at| self.snapshot.listeners.get(at));
        let Some(listener) = listener else {
            return Vec::new();
        };
        let out = twinmesh_spec::not_taken(listener, self.request);
        out.into_iter()
            .map(|out| {
                let chain = listener.filter_chains.get(out.filter_chain);
                let config = chain.map(|chain| &chain.config);
                let name = config.map_or("", |config| config.name.as_str());
                let asked = config.and_then(|config| config.filter_chain_match.clone());
                let field = format!("filter_chains[{}]", out.filter_chain);
                Sentence {
                    topic: "not matched",
                    choice: if name.is_empty() {
                        field
                    } else {
                        format!("{field} {}", quoted(name))
                    },
                    because: super::chain::not_taken(
                        &asked.unwrap_or_default(),
                        out.criterion,
                        listener,
                        self.request,
                    ),
                }
            })
            .collect()
    }

    fn tell_route_configuration(&self, index: usize) -> Sentence {
        let name = self
            .snapshot
            .route_configurations
            .get(index)
            .map_or("", |configuration| &configuration.name);
        let because = if self.request.route_config.is_some() {
            "the request names it".to_owned()
        } else {
            let terminal = self.chain.and_then(|chain| self.filter_chain(chain));
            let specifier = match terminal.map(|chain| &chain.terminal) {
                Some(Terminal::Http { manager, .. }) => manager.route_specifier.as_ref(),
                _ => None,
            };
            match specifier {
                Some(RouteSpecifier::Rds(rds)) => format!(
                    "http_connection_manager.rds.route_config_name {:?}",
                    rds.route_config_name
                ),
                Some(RouteSpecifier::RouteConfig(_)) => {
                    "http_connection_manager.route_config".to_owned()
                }
                Some(RouteSpecifier::ScopedRoutes(_)) => {
                    "http_connection_manager.scoped_routes".to_owned()
                }
                None => "the only one there is".to_owned(),
            }
        };
        Sentence {
            topic: "route configuration",
            choice: quoted(name),
            because,
        }
    }

    fn tell_filter(&self, index: usize, did: Did) -> Sentence {
        let chain = self.chain.and_then(|chain| self.filter_chain(chain));
        let name = match chain.map(|chain| &chain.terminal) {
            Some(Terminal::Http { manager, .. }) => manager.http_filters.get(index),
            _ => None,
        };
        let name = name.map_or("", |filter| &filter.name);
        let judged = self.judged.iter().find(|judged| judged.filter == index);
        filter::http(index, name, did, judged)
    }

    fn tell_network_filter(&self, index: usize, policy: Option<usize>, closes: bool) -> Sentence {
        let chain = self.chain.and_then(|chain| self.filter_chain(chain));
        let mut filters = chain.into_iter().flat_map(|chain| &chain.network_rbac);
        let filter = filters.find(|filter| filter.index == index);
        let policies = filter.map_or(&[][..], |filter| &filter.policies);
        let why = match policy.and_then(|place| policies.get(place)) {
            Some(policy) => format!("its policy {} matches", quoted(policy)),
            None => "none of its policies matches".to_owned(),
        };
        let did = if closes { "is closed" } else { "goes on" };
        let name = filter.map_or("", |filter| &filter.name);
        Sentence {
            topic: "network filter",
            choice: format!("filters[{index}] {}", quoted(name)),
            because: format!("{why}, and the connection {did}"),
        }
    }

    pub(super) fn virtual_host_at(&self, index: usize) -> Option<&'a VirtualHost> {
        self.snapshot
            .route_configurations
            .get(self.route_configuration?)?
            .config
            .virtual_hosts
            .get(index)
    }

    /// The route at an index of the virtual host chosen.
    pub fn route_at(&self, index: usize) -> Option<&'a Route> {
        self.virtual_host_at(self.virtual_host?)?.routes.get(index)
    }

    /// The route configuration, the virtual host and the route that the request is at.
    fn place(&self) -> mutation::At<'a> {
        let table = self
            .route_configuration
            .and_then(|index| self.snapshot.route_configurations.get(index));
        let host = self
            .virtual_host
            .and_then(|index| self.virtual_host_at(index));
        let route = self.route.and_then(|index| self.route_at(index));
        (table.map(|table| &table.config), host, route)
    }

    /// The route at an index of the virtual host chosen, as it is called.
    pub fn route_name(&self, index: usize) -> String {
        match self.route_at(index).map(|route| route.name.as_str()) {
            Some(name) if !name.is_empty() => format!("routes[{index}] {}", quoted(name)),
            _ => format!("routes[{index}]"),
        }
    }
}

pub(super) fn quoted(name: &str) -> String {
    if name.is_empty() {
        "(unnamed)".to_owned()
    } else {
        format!("{name:?}")
    }
}
