//! One request through all rules, in Envoy's order, up to the cluster.

use std::net::Ipv4Addr;

use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteConfiguration as RouteConfigurationConfig, VirtualHost as VirtualHostConfig,
    virtual_host::TlsRequirementType,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use twinmesh_engine::{Answer, BadRequest, Chain, Decision, Outcome, Request, Step};
use twinmesh_xds::{
    Listener, Profile, RouteConfiguration, Snapshot, Terminal, Unsupported, VirtualHost,
};

use crate::balancer::Chooser;
use crate::client_address::is_internal;
use crate::connect;
use crate::connection::Connection;
use crate::criteria::Criteria;
use crate::engine::Loaded;
use crate::filter_chain;
use crate::filter_chain_matcher::{self, Chosen};
use crate::grpc;
use crate::hash_policy::Client;
use crate::head::{self, Refused};
use crate::http_filter::{At, Filters, Memory, Place};
use crate::listener::{Entry, canonical};
use crate::managed_header;
use crate::message::Message;
use crate::network_rbac;
use crate::override_host::Named;
use crate::path_normalization::{self, Normalized};
use crate::rbac::Judged;
use crate::redirect;
use crate::regex::Regexes;
use crate::route;
use crate::stream::Forwarded;
use crate::substitution::Substitutions;
use crate::upgrade::{self, Upgrade};
use crate::virtual_host;

/// One request on its way.
pub(crate) struct Run<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) regexes: &'a Regexes,
    pub(crate) substitutions: &'a Substitutions,
    pub(crate) chooser: Chooser<'a>,
    pub(crate) request: &'a Request,
    pub(crate) random: u64,
    pub(crate) generation: u64,
    pub(crate) traces: bool,
    /// What `hash_policy` makes of the request; the error is why it is not decided.
    pub(crate) hash: Result<Option<u64>, &'static str>,
    /// What `metadata_match` asks of the endpoint.
    pub(crate) criteria: Criteria,
    /// The endpoints that its headers name and that were not tried; `None` before they are asked.
    pub(crate) named: Option<Vec<Named>>,
    /// One of them is the endpoint.
    pub(crate) is_named: bool,
    /// The connection manager takes the client's address from x-forwarded-for.
    pub(crate) trusts_forwarded_for: bool,
    /// The virtual time, in microseconds.
    pub(crate) now_us: u64,
    /// What HTTP filters remember.
    pub(crate) memory: &'a mut Memory,
    /// The HTTP filters that may do something to the request.
    pub(crate) filters: Option<Filters<'a>>,
    /// The route that took the request.
    pub(crate) at: Option<At>,
    /// The status that an HTTP filter answered with.
    pub(crate) filter_status: u32,
    /// The CORS filter answered, which writes its responses itself: no route changes them.
    pub(crate) is_preflight: bool,
    /// The faults that the request has begun.
    pub(crate) begun_faults: Vec<Place>,
    /// What RBAC filters went by, where the run has a trace.
    pub(crate) judged: Vec<Judged>,
    /// The server name that the connection asks for, as far as the listener reads it.
    pub(crate) server_name: String,
    /// The connection manager, the route configuration and the virtual host that the request is at.
    pub(crate) manager: Option<&'a HttpConnectionManager>,
    pub(crate) table: Option<&'a RouteConfigurationConfig>,
    /// The filter chain, and its listener's index.
    pub(crate) chain: Option<(usize, Chain)>,
    pub(crate) virtual_host: Option<&'a VirtualHostConfig>,
    /// What its way on depends on, once it has a cluster.
    pub(crate) forwarded: Option<Forwarded<'a>>,
    pub(crate) answer: Answer,
}

impl<'a> Run<'a> {
    /// A request that has a cluster, and chooses another endpoint of it.
    pub(crate) fn again(
        loaded: &'a mut Loaded,
        request: &'a Request,
        (random, now_us): (u64, u64),
        generation: u64,
        (hash, criteria): (Result<Option<u64>, &'static str>, Criteria),
        named: Vec<Named>,
    ) -> Self {
        Self {
            snapshot: &loaded.snapshot,
            regexes: &loaded.regexes,
            substitutions: &loaded.substitutions,
            chooser: Chooser::Balancers(&mut loaded.balancers),
            request,
            random,
            generation,
            traces: false,
            hash,
            criteria,
            named: Some(named),
            is_named: false,
            trusts_forwarded_for: true,
            now_us,
            memory: &mut loaded.filters,
            filters: None,
            at: None,
            filter_status: 0,
            is_preflight: false,
            begun_faults: Vec::new(),
            judged: Vec::new(),
            server_name: String::new(),
            manager: None,
            table: None,
            chain: None,
            virtual_host: None,
            forwarded: None,
            answer: Answer::default(),
        }
    }

    pub(crate) fn decision(&mut self) -> &mut Decision {
        &mut self.answer.decision
    }

    pub(crate) fn step(&mut self, step: Step) {
        if self.traces {
            self.answer.trace.steps.push(step);
        }
    }

    pub(crate) fn end(&mut self, outcome: Outcome, reason: impl Into<String>) {
        let decision = self.decision();
        decision.outcome = outcome;
        decision.reason = Some(reason.into());
    }

    /// Ends in a reply that Envoy makes itself.
    pub(crate) fn reply(&mut self, outcome: Outcome, status: u32, message: &Message, reason: &str) {
        self.decision().status = Some(message.local_reply_status(status));
        self.end(outcome, reason);
    }

    pub(crate) fn client(&self) -> Client {
        let address = self.request.source.map(|source| canonical(source).ip());
        Client {
            address: address.filter(|address| *address != Ipv4Addr::UNSPECIFIED),
            trusts_forwarded_for: self.trusts_forwarded_for,
        }
    }

    pub(crate) fn undecided(&mut self, reason: impl Into<String>) {
        self.step(Step::Unsupported);
        self.end(Outcome::Unsupported, reason);
    }

    /// Ends where the reader found something that is not decided; otherwise `false`.
    pub(crate) fn is_unsupported(&mut self, unsupported: Option<&Unsupported>) -> bool {
        let Some(unsupported) = unsupported else {
            return false;
        };
        self.undecided(unsupported.to_string());
        true
    }

    pub(crate) fn enter(&mut self, entry: Entry) {
        match entry {
            Entry::Nowhere => self.end(Outcome::NoListener, "no listener takes the connection"),
            Entry::Listener(index) => {
                self.at_listener(index);
                self.may_go_elsewhere();
            }
            Entry::RouteConfiguration(index) => {
                let manager = HttpConnectionManager::default();
                if let Some(message) = self.at_head(&manager, Some(index), None) {
                    self.at_route_configuration(index, &message);
                }
            }
        }
    }

    fn at_listener(&mut self, index: usize) {
        let snapshot = self.snapshot;
        let Some(listener) = snapshot.listeners.get(index) else {
            return;
        };
        self.step(Step::Listener(index));
        self.decision().listener = Some(listener.name.clone());
        if self.is_unsupported(listener.unsupported.as_ref()) {
            return;
        }
        let connection = Connection::new(self.request, listener);
        let Some(chain) = self.filter_chain(listener, &connection) else {
            return;
        };
        self.step(Step::FilterChain(chain));
        let filter_chain = match chain {
            Chain::Index(index) => listener.filter_chains.get(index),
            Chain::Default => listener.default_filter_chain.as_ref(),
        };
        let Some(filter_chain) = filter_chain else {
            return;
        };
        self.decision().filter_chain = named(&filter_chain.config.name);
        if self.is_unsupported(filter_chain.unsupported.as_ref()) {
            return;
        }
        self.server_name.clone_from(&connection.server_name);
        match &filter_chain.terminal {
            Terminal::Http {
                manager,
                route_configuration,
            } => {
                if !self.at_network_filters(index, filter_chain) {
                    return;
                }
                if !filter_chain.http_filters.is_empty() {
                    self.filters = Some(Filters {
                        manager,
                        filters: &filter_chain.http_filters,
                        place: (index, chain),
                    });
                }
                self.chain = Some((index, chain));
                self.manager = Some(manager);
                let own = manager.use_remote_address.is_some_and(|own| own.value);
                self.trusts_forwarded_for = !own || manager.xff_num_trusted_hops > 0;
                let port = connection.destination.port();
                let Some(message) = self.at_head(manager, *route_configuration, Some(port)) else {
                    return;
                };
                let Some(message) = self.at_path(manager, *route_configuration, message) else {
                    return;
                };
                let Some(message) = self.at_headers(manager, *route_configuration, port, message)
                else {
                    return;
                };
                match route_configuration {
                    Some(index) => self.at_route_configuration(*index, &message),
                    None => self.undecided("the snapshot does not hold the route configuration"),
                }
            }
            Terminal::Tcp(proxy) => {
                let waits = network_rbac::waits_for_data(proxy);
                if waits && !self.at_network_filters(index, filter_chain) {
                    return;
                }
                self.at_tcp_proxy(proxy);
                if !waits && self.decision().outcome == Outcome::Forward {
                    self.at_network_filters(index, filter_chain);
                }
            }
            Terminal::Unknown => {
                self.undecided("the filter chain has no terminal filter that is decided");
            }
        }
    }

    /// The filter chain that takes the connection; otherwise it has ended.
    fn filter_chain(&mut self, listener: &Listener, connection: &Connection) -> Option<Chain> {
        let mut why = "no filter chain matches, and there is no default".to_owned();
        let chain = match &listener.config.filter_chain_matcher {
            None => match filter_chain::select(listener, connection) {
                Ok(chain) => chain,
                Err(reason) => {
                    self.undecided(reason);
                    return None;
                }
            },
            Some(matcher) => {
                match filter_chain_matcher::choose(listener, matcher, connection, self.regexes) {
                    Ok(Chosen::Named(action, chain)) => {
                        self.step(Step::FilterChainMatcher(action));
                        why = "the matcher names a filter chain that there is not".to_owned();
                        chain
                    }
                    Ok(Chosen::Default(chain)) => chain,
                    Err(reason) => {
                        self.undecided(reason);
                        return None;
                    }
                }
            }
        };
        if chain.is_none() {
            self.end(Outcome::NoFilterChain, why);
        }
        chain
    }

    fn at_head(
        &mut self,
        manager: &HttpConnectionManager,
        route_configuration: Option<usize>,
        port: Option<u16>,
    ) -> Option<Message> {
        let read = match self.snapshot.profile {
            Profile::Grpc => grpc::read(self.request),
            _ => head::read(self.request, manager, port),
        };
        match read {
            Ok(message) => Some(Message {
                profile: self.snapshot.profile,
                ..message
            }),
            Err(Refused::Undecided(reason)) => {
                self.undecided(reason);
                None
            }
            Err(Refused::Bad {
                why,
                status,
                by_connection_manager,
            }) => {
                self.step(Step::BadRequest(why));
                if by_connection_manager {
                    self.name_route_configuration(route_configuration);
                }
                self.decision().status = Some(status);
                self.end(Outcome::BadRequest, format!("the head is refused: {why}"));
                None
            }
        }
    }

    /// The message with its path normalised.
    fn at_path(
        &mut self,
        manager: &HttpConnectionManager,
        route_configuration: Option<usize>,
        message: Message,
    ) -> Option<Message> {
        if message.is_connect() {
            return Some(message);
        }
        match path_normalization::normalize(manager, &message.path) {
            Normalized::Path(path) => Some(Message { path, ..message }),
            // gRPC is not redirected.
            Normalized::Redirect(location) if !message.is_grpc() => {
                self.name_route_configuration(route_configuration);
                self.decision().location = Some(location);
                let why = "the connection manager redirects to the path without escaped slashes";
                self.reply(Outcome::Redirect, 307, &message, why);
                None
            }
            Normalized::Redirect(_) | Normalized::Refused => {
                self.step(Step::BadRequest(BadRequest::Target));
                self.name_route_configuration(route_configuration);
                let why = "the connection manager refuses the path";
                self.reply(Outcome::BadRequest, 400, &message, why);
                None
            }
        }
    }

    /// The message with the headers that the connection manager writes, and without those that it takes off.
    fn at_headers(
        &mut self,
        manager: &HttpConnectionManager,
        route_configuration: Option<usize>,
        port: u16,
        message: Message,
    ) -> Option<Message> {
        let table =
            route_configuration.and_then(|index| self.snapshot.route_configurations.get(index));
        let internal = table.map_or(&[][..], |table| &table.config.internal_only_headers);
        match managed_header::apply(manager, internal, (self.request, port), message) {
            Ok(message) => Some(message),
            Err(reason) => {
                self.undecided(reason);
                None
            }
        }
    }

    fn name_route_configuration(&mut self, index: Option<usize>) {
        let found = index.and_then(|index| self.snapshot.route_configurations.get(index));
        self.decision().route_config = found.and_then(|found| named(&found.name));
    }

    fn at_route_configuration(&mut self, index: usize, message: &Message) {
        let snapshot = self.snapshot;
        let Some(route_configuration) = snapshot.route_configurations.get(index) else {
            return;
        };
        self.step(Step::RouteConfiguration(index));
        self.name_route_configuration(Some(index));
        if self.is_unsupported(route_configuration.unsupported.as_ref()) {
            return;
        }
        self.table = Some(&route_configuration.config);
        let selected = virtual_host::select(&route_configuration.config, &message.authority);
        let Some((host, domain)) = selected else {
            if !self.at_filters(message, None) {
                return;
            }
            self.reply(
                Outcome::NoVirtualHost,
                404,
                message,
                "no virtual host has a domain that covers the authority",
            );
            return;
        };
        self.step(Step::VirtualHost {
            virtual_host: host,
            domain,
        });
        self.at_virtual_host(route_configuration, (index, host), message);
    }

    /// `at` are the indices of the route configuration and the virtual host.
    fn at_virtual_host(
        &mut self,
        route_configuration: &'a RouteConfiguration,
        at: (usize, usize),
        message: &Message,
    ) {
        let (_, index) = at;
        let Some(config) = route_configuration.config.virtual_hosts.get(index) else {
            return;
        };
        self.decision().virtual_host = named(&config.name);
        let marks = route_configuration.virtual_hosts.get(index);
        if self.is_unsupported(marks.and_then(|marks| marks.unsupported.as_ref())) {
            return;
        }
        if message.forwarded_proto.is_empty() {
            // Of a request that says so no virtual host looks at its routes, nor at TLS.
            self.no_route(message);
            return;
        }
        match self.requires_tls(config, message) {
            Ok(false) => {}
            Ok(true) => {
                // There is no route, so that no level of the table speaks to the filters.
                if self.upgrades(None, message) && self.at_filters(message, None) {
                    self.decision().location = Some(redirect::to_tls(message));
                    let why = "the virtual host requires TLS";
                    self.reply(Outcome::Redirect, 301, message, why);
                }
                return;
            }
            Err(reason) => {
                self.undecided(reason);
                return;
            }
        }
        self.at_routes(config, marks, at, message);
    }

    /// Ends where the virtual host has no route for the request.
    fn no_route(&mut self, message: &Message) {
        if self.at_filters(message, None) {
            let why = "no route of the virtual host matches";
            self.reply(Outcome::NoRoute, 404, message, why);
        }
    }

    /// Whether the virtual host redirects the request to TLS; the error is why that is not decided.
    fn requires_tls(&self, host: &VirtualHostConfig, message: &Message) -> Result<bool, String> {
        if message.forwarded_proto == "https" {
            return Ok(false);
        }
        match TlsRequirementType::try_from(host.require_tls) {
            Ok(TlsRequirementType::All) => Ok(true),
            Ok(TlsRequirementType::ExternalOnly) => match self.manager {
                Some(manager) => Ok(!is_internal(manager, self.request, message)?),
                None => Ok(true),
            },
            Ok(TlsRequirementType::None) | Err(_) => Ok(false),
        }
    }

    fn at_routes(
        &mut self,
        virtual_host: &'a VirtualHostConfig,
        marks: Option<&VirtualHost>,
        (configuration, host): (usize, usize),
        message: &Message,
    ) {
        self.virtual_host = Some(virtual_host);
        let found = route::select(virtual_host, message, self.regexes, self.random);
        for (route, failed) in found.failed {
            self.step(Step::RouteNotMatched { route, failed });
        }
        let taken = found
            .route
            .and_then(|index| Some((index, virtual_host.routes.get(index)?)));
        let Some((index, route)) = taken else {
            self.no_route(message);
            return;
        };
        self.step(Step::Route(index));
        self.decision().route = Some(route::name(route, index));
        self.at = Some(At {
            configuration,
            host,
            route: index,
            entry: None,
        });
        let mark = marks.and_then(|marks| marks.routes.get(index)?.as_ref());
        if self.is_unsupported(mark) {
            return;
        }
        if let Some(reason) = route::undecided(route) {
            self.undecided(reason);
            return;
        }
        self.at_action(route, message);
    }
}

impl<'a> Run<'a> {
    /// Whether nothing answers before the action of the route; `chosen` is the cluster that the route
    /// chose, by name and index.
    pub(crate) fn gets_to_action(
        &mut self,
        route: &Route,
        message: &Message,
        chosen: (Option<&str>, Option<usize>),
    ) -> bool {
        let (name, index) = chosen;
        if self.upgrades(Some(route), message) && self.at_filters(message, name) {
            return true;
        }
        let outcome = self.decision().outcome;
        if matches!(outcome, Outcome::DirectResponse | Outcome::BadRequest) {
            self.answered_by_filter(message, index);
        }
        false
    }

    /// Whether the request asks for no upgrade, or for one that it may. The redirect of a virtual
    /// host has no route.
    fn upgrades(&mut self, route: Option<&Route>, message: &Message) -> bool {
        let Some(to) = &message.upgrade else {
            return true;
        };
        match upgrade::may(to, route, self.manager) {
            Upgrade::Allowed => match connect::undecided(route, message) {
                None => return true,
                Some(reason) => self.undecided(reason),
            },
            Upgrade::Filtered => self.undecided("the filters of an upgrade are not decided"),
            Upgrade::Refused => {
                self.step(Step::BadRequest(BadRequest::Upgrade));
                self.filter_status = 403;
                let why = "it asks for an upgrade that is not allowed";
                self.reply(Outcome::BadRequest, 403, message, why);
            }
        }
        false
    }
}

/// A name, where there is one.
fn named(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.to_owned())
}
