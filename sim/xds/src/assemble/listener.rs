//! Listeners, their filter chains, and the route configurations that stand in them.

use std::collections::HashMap;

use envoy_types::pb::envoy::{
    config::{
        core::v3::{Address, address, socket_address::PortSpecifier},
        listener::v3::{FilterChain as FilterChainConfig, Listener as ListenerConfig},
        route::v3::RouteConfiguration as RouteConfigurationConfig,
    },
    extensions::filters::network::{
        http_connection_manager::v3::{
            HttpConnectionManager, http_connection_manager::RouteSpecifier,
        },
        tcp_proxy::v3::TcpProxy,
    },
};
use envoy_types::pb::google::protobuf::BoolValue;

use super::{Assembly, decode};
use crate::{
    classify::{
        LOCAL_RATE_LIMIT, MANAGER, ORIGINAL_DST, PROXY_PROTOCOL, ROUTER, TCP_PROXY, content_type,
    },
    error::ReadError,
    filter_chain_matcher, header_mutation,
    http_filter::{FilterKind, filters},
    matcher_tree,
    network_rbac::{self, NETWORK_RBAC, NetworkRbac},
    report::{Effect, Finding, FindingKind},
    snapshot::{FilterChain, Listener, RouteConfiguration, Snapshot, Terminal},
    source::Source,
    validate,
    view::View,
    walk::{Scope, Walker},
};

/// Whether some listener may have a local rate limit filter: it names its configuration.
pub(super) fn has_rate_limits(listeners: &[View<'_>]) -> bool {
    let name = LOCAL_RATE_LIMIT.as_bytes();
    let mut listeners = listeners.iter();
    listeners.any(|it| it.bytes.windows(name.len()).any(|window| window == name))
}

/// Whether some listener may take PROXY headers.
pub(super) fn may_be_proxied(listeners: &[View<'_>]) -> bool {
    let mut listeners = listeners.iter();
    listeners.any(|it| has_listener_filter(it, PROXY_PROTOCOL))
}

/// Whether one of `Listener.listener_filters` is configured by this message.
fn has_listener_filter(listener: &View<'_>, message: &str) -> bool {
    let filters = listener.children("listener_filters");
    let mut configs = filters.iter().filter_map(|it| it.any("typed_config"));
    configs.any(|config| content_type(&config) == message)
}

/// Whether connections come to an address and a port.
fn has_socket(config: &ListenerConfig) -> bool {
    let address = config.address.as_ref().and_then(|it| it.address.as_ref());
    matches!(address, Some(address::Address::SocketAddress(_)))
}

/// Listeners, and the route configurations that were written inline in them.
pub(super) struct Listeners {
    listeners: Vec<Listener>,
    /// [`Terminal::Http`] counts these from [`INLINE`] on until they have their place.
    inline: Vec<RouteConfiguration>,
    by_name: HashMap<String, Vec<usize>>,
}

/// More route configurations than a snapshot can have.
const INLINE: usize = usize::MAX / 2;

impl Listeners {
    /// Whether a route configuration that a dump lists is one of those that stand in listeners.
    pub(super) fn holds(&self, view: &View<'_>, source: &Source<'_>) -> Result<bool, ReadError> {
        let Some(places) = self.by_name.get(view.text("name")) else {
            return Ok(false);
        };
        let config: RouteConfigurationConfig = decode(view, source)?;
        Ok(places
            .iter()
            .filter_map(|place| self.inline.get(*place))
            .any(|inline| inline.config == config))
    }

    /// The listeners as they were read, in the order of the source.
    pub(super) fn configs(&self) -> impl Iterator<Item = &ListenerConfig> {
        self.listeners.iter().map(|listener| &listener.config)
    }

    /// Makes listeners of one name undecided: only one of them is in force, and the text does not
    /// say which.
    pub(super) fn refuse_to_choose(&mut self, assembly: &mut Assembly<'_>) {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for listener in &self.listeners {
            *counts.entry(listener.config.name.clone()).or_default() += 1;
        }
        for listener in &mut self.listeners {
            let name = &listener.config.name;
            if name.is_empty() || counts.get(name) == Some(&1) {
                continue;
            }
            let resource = format!("listener {name:?}");
            let reason = "there are several listeners of this name".to_owned();
            let found = assembly.unsupported(&resource, "name".to_owned(), reason);
            listener.unsupported.get_or_insert(found);
        }
    }

    /// Says which listeners no connection reaches: those without a socket of their own
    /// (`Listener.bind_to_port`), where no other hands connections on (`Listener.use_original_dst`).
    pub(super) fn say_unreachable(&self, assembly: &mut Assembly<'_>) {
        let is_true = |flag: &Option<BoolValue>| flag.as_ref().is_some_and(|flag| flag.value);
        let is_false = |flag: &Option<BoolValue>| flag.as_ref().is_some_and(|flag| !flag.value);
        let mut listeners = self.listeners.iter();
        if listeners.any(|it| is_true(&it.config.use_original_dst)) {
            return;
        }
        for listener in &self.listeners {
            let config = &listener.config;
            #[allow(deprecated)]
            let old = config.deprecated_v1.as_ref();
            let path = match old {
                _ if is_false(&config.bind_to_port) => "bind_to_port",
                Some(old) if is_false(&old.bind_to_port) => "deprecated_v1.bind_to_port",
                _ => continue,
            };
            assembly.report.findings.push(Finding {
                resource: format!("listener {:?}", listener.name),
                path: path.to_owned(),
                kind: FindingKind::NotDecided,
                effect: Effect::Caution,
                message:
                    "it has no socket of its own, and no listener with use_original_dst hands \
                          connections on to it: Envoy takes none for it. Requests that name it or \
                          its address are decided all the same"
                        .to_owned(),
            });
        }
    }

    /// Appends the inline route configurations to the snapshot's, and adds the listeners.
    pub(super) fn put_into(mut self, snapshot: &mut Snapshot) {
        let first = snapshot.route_configurations.len();
        for listener in &mut self.listeners {
            let chains = listener
                .filter_chains
                .iter_mut()
                .chain(&mut listener.default_filter_chain);
            for chain in chains {
                if let Terminal::Http {
                    route_configuration: Some(index),
                    ..
                } = &mut chain.terminal
                    && *index >= INLINE
                {
                    *index = *index - INLINE + first;
                }
            }
        }
        snapshot.route_configurations.extend(self.inline);
        snapshot.listeners = self.listeners;
    }
}

/// A filter chain, with what the walk over it found.
struct Chain<'c, 'a> {
    config: &'c FilterChainConfig,
    view: View<'a>,
    scope: Scope,
    resource: &'c str,
    /// Length of the path to the listener.
    root: usize,
}

impl Assembly<'_> {
    pub(super) fn listeners(
        &mut self,
        views: &[View<'_>],
        named: &[RouteConfiguration],
    ) -> Result<Listeners, ReadError> {
        let named: HashMap<&str, usize> = named
            .iter()
            .enumerate()
            .map(|(index, configuration)| (configuration.name.as_str(), index))
            .collect();
        let mut listeners = Listeners {
            listeners: Vec::with_capacity(views.len()),
            inline: Vec::new(),
            by_name: HashMap::new(),
        };
        for view in views {
            let listener = self.listener(view, &named, &mut listeners.inline)?;
            listeners.listeners.push(listener);
        }
        for (index, configuration) in listeners.inline.iter().enumerate() {
            listeners
                .by_name
                .entry(configuration.name.clone())
                .or_default()
                .push(index);
        }
        Ok(listeners)
    }

    fn listener(
        &mut self,
        view: &View<'_>,
        named: &HashMap<&str, usize>,
        inline: &mut Vec<RouteConfiguration>,
    ) -> Result<Listener, ReadError> {
        let config: ListenerConfig = decode(view, self.source)?;
        let name = if config.name.is_empty() {
            config
                .address
                .as_ref()
                .map(address_text)
                .unwrap_or_default()
        } else {
            config.name.clone()
        };
        let resource = format!("listener {name:?}");
        let mut walker = Walker::new(self.source, &mut self.report, resource.clone(), true);
        walker.context.subsets = self.subsets;
        walker.context.dumped = self.dumped;
        walker.context.rate_limits = self.rate_limits;
        let has = |kind| has_listener_filter(view, kind);
        walker.context.proxied = has(PROXY_PROTOCOL);
        walker.context.without_addresses =
            !has_socket(&config) && !has(PROXY_PROTOCOL) && !has(ORIGINAL_DST);
        walker.context.by_tree = config.filter_chain_matcher.is_some();
        let mut scope = walker.resource(view)?;
        validate::listener::check(&config, &view.path, self.source)?;
        validate::listener::check_configured(view, "listener_filters", self.source)?;
        let mut listener = Listener {
            name,
            ..Listener::default()
        };
        self.filter_chain_matcher(view, &resource, &mut listener, &mut scope)?;
        let scopes = scope.parts_of("filter_chains");
        let views = view.children("filter_chains");
        for ((config, view_of_chain), scope) in config.filter_chains.iter().zip(views).zip(scopes) {
            let chain = Chain {
                config,
                view: view_of_chain,
                scope,
                resource: &resource,
                root: view.path.len(),
            };
            listener
                .filter_chains
                .push(self.filter_chain(chain, named, inline)?);
        }
        let scope_of_default = scope.parts_of("default_filter_chain").pop();
        if let (Some(config), Some(view_of_chain), Some(scope)) = (
            &config.default_filter_chain,
            view.child("default_filter_chain"),
            scope_of_default,
        ) {
            let chain = Chain {
                config,
                view: view_of_chain,
                scope,
                resource: &resource,
                root: view.path.len(),
            };
            listener.default_filter_chain = Some(self.filter_chain(chain, named, inline)?);
        }
        listener.unsupported = scope.unsupported;
        if config.filter_chain_matcher.is_none() {
            // Whether another chain takes a connection hangs on what each asks for.
            let mut of_chains = listener
                .filter_chains
                .iter()
                .filter_map(|chain| chain.unsupported.as_ref());
            let asked = of_chains.find(|found| found.path.contains("].filter_chain_match."));
            listener.unsupported = listener.unsupported.or_else(|| asked.cloned());
        }
        listener.config = config;
        Ok(listener)
    }

    fn filter_chain(
        &mut self,
        mut from: Chain<'_, '_>,
        named: &HashMap<&str, usize>,
        inline: &mut Vec<RouteConfiguration>,
    ) -> Result<FilterChain, ReadError> {
        let routes = from.scope.parts_of("route_config").pop();
        validate::listener::check_configured(&from.view, "filters", self.source)?;
        let mut chain = FilterChain {
            config: from.config.clone(),
            terminal: Terminal::Unknown,
            network_rbac: Vec::new(),
            http_filters: Vec::new(),
            header_mutations: Vec::new(),
            unsupported: from.scope.unsupported.take(),
        };
        self.network_filters(&mut chain, &from)?;
        let terminal = from
            .view
            .children("filters")
            .pop()
            .and_then(|filter| filter.any("typed_config"))
            .and_then(|any| any.content());
        let Some(terminal) = terminal else {
            if chain.unsupported.is_none() {
                let path = from.view.path.field("filters").from(from.root);
                let reason = "the chain has no filter that ends it".to_owned();
                chain.unsupported = Some(self.unsupported(from.resource, path, reason));
            }
            return Ok(chain);
        };
        match terminal.message.name.as_str() {
            TCP_PROXY => {
                let proxy: TcpProxy = decode(&terminal, self.source)?;
                chain.terminal = Terminal::Tcp(Box::new(proxy));
            }
            MANAGER => {
                let mut manager: HttpConnectionManager = decode(&terminal, self.source)?;
                validate::listener::check_manager(&manager, &terminal.path, self.source)?;
                validate::listener::check_filters(&terminal, self.source)?;
                chain.http_filters = filters(&manager);
                chain.header_mutations = header_mutation::filters(&manager);
                self.compile_filters(&terminal, &mut chain, &from)?;
                let route_configuration = match &mut manager.route_specifier {
                    Some(RouteSpecifier::RouteConfig(config)) => {
                        let mut routes = routes.unwrap_or_default();
                        let view = terminal.child("route_config").unwrap_or(View {
                            message: terminal.message,
                            bytes: &[],
                            path: terminal.path.field("route_config"),
                        });
                        let mut config = config.clone();
                        matcher_tree::list_routes(&mut config, &view, self.source)?;
                        let place = (from.resource, from.root);
                        self.compile_per_filters(&config, &view, &mut routes, place)?;
                        let configuration =
                            self.finish_routes(config, routes, from.resource, &view, from.root)?;
                        inline.push(configuration);
                        Some(INLINE + inline.len() - 1)
                    }
                    Some(RouteSpecifier::Rds(rds)) => {
                        let found = named.get(rds.route_config_name.as_str()).copied();
                        if found.is_none() {
                            let path = terminal.path.field("rds").field("route_config_name");
                            let reason = format!(
                                "the route configuration {:?} is not in the snapshot",
                                rds.route_config_name
                            );
                            let path = path.from(from.root);
                            let missing = self.unsupported(from.resource, path, reason);
                            chain.unsupported.get_or_insert(missing);
                        }
                        found
                    }
                    _ => None,
                };
                if !ends_in_router(&terminal) && chain.unsupported.is_none() {
                    let path = terminal.path.field("http_filters").from(from.root);
                    let reason = "the connection manager has no router".to_owned();
                    chain.unsupported = Some(self.unsupported(from.resource, path, reason));
                }
                if manager.internal_address_config.is_some()
                    && checks_headers(&terminal)
                    && chain.unsupported.is_none()
                {
                    let path = terminal.path.field("http_filters").from(from.root);
                    let reason = "the router's strict_check_headers refuses requests from inside whose x-envoy headers are malformed".to_owned();
                    chain.unsupported = Some(self.unsupported(from.resource, path, reason));
                }
                chain.terminal = Terminal::Http {
                    manager: Box::new(manager),
                    route_configuration,
                };
            }
            // The walk has said that it is not decided.
            _ => {}
        }
        Ok(chain)
    }
}

impl Assembly<'_> {
    /// What is to be known of a listener's matcher tree; what is not decided in it makes the listener
    /// undecided.
    fn filter_chain_matcher(
        &mut self,
        view: &View<'_>,
        resource: &str,
        listener: &mut Listener,
        scope: &mut Scope,
    ) -> Result<(), ReadError> {
        let root = view.path.len();
        let tree = filter_chain_matcher::check(view, self.source)?;
        let places = tree.places.iter().map(|place| place.from(root));
        listener.matcher_places = places.collect();
        let over = match view.child("filter_chain_matcher") {
            Some(matcher) => self.compile_within(&matcher)?,
            None => None,
        };
        let undecided = tree.undecided.map(|(path, why)| (path, why.to_owned()));
        if let Some((path, why)) = undecided.or(over)
            && scope.unsupported.is_none()
        {
            scope.unsupported = Some(self.unsupported(resource, path.from(root), why));
        }
        Ok(())
    }

    /// The network RBAC filters of a chain, and the regexes of their rules; one over the cap makes the
    /// chain undecided.
    fn network_filters(
        &mut self,
        chain: &mut FilterChain,
        from: &Chain<'_, '_>,
    ) -> Result<(), ReadError> {
        for (index, filter) in from.view.children("filters").iter().enumerate() {
            let any = filter.any("typed_config");
            let any = any.filter(|any| any.type_name() == NETWORK_RBAC);
            let Some(config) = any.and_then(|any| any.content()) else {
                continue;
            };
            network_rbac::check(&config, self.source)?;
            if let Some((path, reason)) = self.compile_within(&config)?
                && chain.unsupported.is_none()
            {
                let found = self.unsupported(from.resource, path.from(from.root), reason);
                chain.unsupported = Some(found);
            }
            let found = NetworkRbac::new(index, filter.text("name"), &config);
            chain.network_rbac.extend(found);
        }
        Ok(())
    }

    /// Compiles the regexes of the connection manager's filters; one over the cap makes the chain
    /// undecided.
    fn compile_filters(
        &mut self,
        manager: &View<'_>,
        chain: &mut FilterChain,
        from: &Chain<'_, '_>,
    ) -> Result<(), ReadError> {
        let views = manager.children("http_filters");
        let decided = chain.http_filters.clone();
        for filter in decided
            .iter()
            .filter(|it| it.config != FilterKind::Undecided)
        {
            let Some(view) = views
                .get(filter.index)
                .and_then(|it| it.child("typed_config"))
            else {
                continue;
            };
            if let Some((path, reason)) = self.compile_within(&view)?
                && chain.unsupported.is_none()
            {
                let found = self.unsupported(from.resource, path.from(from.root), reason);
                chain.unsupported = Some(found);
            }
        }
        Ok(())
    }
}

fn ends_in_router(manager: &View<'_>) -> bool {
    manager
        .children("http_filters")
        .pop()
        .and_then(|filter| filter.any("typed_config"))
        .is_some_and(|any| any.type_name() == ROUTER)
}

/// Whether the router looks at `x-envoy-` headers, which the connection manager leaves to requests from inside
/// only.
fn checks_headers(manager: &View<'_>) -> bool {
    let router = manager.children("http_filters").pop();
    let router = router.and_then(|filter| filter.any("typed_config"));
    let router = router.and_then(|any| any.content());
    router.is_some_and(|router| !router.texts("strict_check_headers").is_empty())
}

/// An address as `ip:port`, with brackets around an IPv6 address, or a pipe's path.
fn address_text(address: &Address) -> String {
    match &address.address {
        Some(address::Address::SocketAddress(socket)) => {
            let port = match &socket.port_specifier {
                Some(PortSpecifier::PortValue(port)) => port.to_string(),
                Some(PortSpecifier::NamedPort(name)) => name.clone(),
                None => "0".to_owned(),
            };
            if socket.address.contains(':') {
                format!("[{}]:{port}", socket.address)
            } else {
                format!("{}:{port}", socket.address)
            }
        }
        Some(address::Address::Pipe(pipe)) => pipe.path.clone(),
        _ => String::new(),
    }
}
