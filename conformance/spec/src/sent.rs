//! What the endpoint and the client get: headers after the route's mutations, path and host after
//! its rewrites, and which clusters get a copy.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use envoy_types::pb::envoy::config::endpoint::v3::LbEndpoint;
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, Route, RouteAction, RouteMatch, route::Action,
    route_action::ClusterSpecifier, weighted_cluster::ClusterWeight,
};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use twinmesh_engine::{Chain, Level, MutationOf, Outcome, Step};
use twinmesh_xds::header_mutation::{self, HeaderChange};
use twinmesh_xds::http_filter::Level as Place;
use twinmesh_xds::{FilterChain, Terminal};

use crate::body;
use crate::client_address;
use crate::connect;
use crate::format::{self, Facts, Progress, Told};
use crate::header_values::{self, trimmed};
use crate::lines::{Known, Lines, Undecided};
use crate::listener::canonical;
use crate::message::Message;
use crate::mirror;
use crate::mutation::{self, Mutation};
use crate::rewrite::{self, Rewriting};
use crate::run::Run;

/// The connection manager of a route configuration that is entered by name.
static BARE: LazyLock<HttpConnectionManager> = LazyLock::new(HttpConnectionManager::default);

/// How a request stands that the router has taken, before it has an endpoint.
const TAKEN: Progress = Progress {
    attempts: 1,
    code: 0,
    details: "",
    flags: "-",
};

/// A response that the client gets.
pub(crate) struct Response<'r> {
    /// Before gRPC puts its own inside a 200.
    pub(crate) status: u32,
    /// Envoy makes it.
    pub(crate) is_local: bool,
    pub(crate) headers: &'r [(String, String)],
    /// How Envoy calls it; `None`: that is not known.
    pub(crate) progress: Option<Progress>,
}

impl<'a> Run<'a> {
    fn http(&self) -> &'a HttpConnectionManager {
        self.manager.unwrap_or(&BARE)
    }

    /// The route that took the request.
    pub(crate) fn taken(&self) -> Option<&'a Route> {
        self.virtual_host?.routes.get(self.at?.route)
    }

    /// The entry of weighted clusters that was chosen.
    fn entry(&self) -> Option<&'a ClusterWeight> {
        let Some(Action::Route(action)) = &self.taken()?.action else {
            return None;
        };
        match &action.cluster_specifier {
            Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                weighted.clusters.get(self.at?.entry?)
            }
            _ => None,
        }
    }

    fn mutations(&self, of: MutationOf) -> Vec<Mutation<'a>> {
        let Some(route) = self.taken() else {
            return Vec::new();
        };
        mutation::of_levels(of, self.table, self.virtual_host, route, self.entry())
    }

    /// What formats may ask for.
    fn told(
        &self,
        message: &Message,
        cluster: Option<usize>,
        progress: Option<Progress>,
    ) -> Told<'a> {
        let source = self.request.source.map(canonical);
        let source = source.filter(|source| !source.ip().is_unspecified());
        let manager = self.manager;
        let said = manager.and_then(|manager| client_address::said(manager, message));
        let cluster = cluster.and_then(|index| self.snapshot.clusters.get(index));
        Told {
            source,
            client: format::client_address(said, source),
            destination: self.request.destination.map(canonical),
            is_tls: self.request.is_tls(),
            server_name: "",
            filter_chain: self.chain_name(),
            route: self.taken(),
            virtual_host: self.virtual_host,
            cluster: cluster.map(|cluster| &cluster.config),
            endpoint: None,
            progress,
            is_delayed: self.answer.delayed_us != 0,
            body: None,
        }
    }

    fn chain_name(&self) -> &'a str {
        self.chain_config()
            .filter(|chain| matches!(chain.terminal, Terminal::Http { .. }))
            .map_or("", |chain| chain.config.name.as_str())
    }

    fn chain_config(&self) -> Option<&'a FilterChain> {
        let (listener, chain) = self.chain?;
        let listener = self.snapshot.listeners.get(listener)?;
        match chain {
            Chain::Index(index) => listener.filter_chains.get(index),
            Chain::Default => listener.default_filter_chain.as_ref(),
        }
    }

    /// Leaves a redirect that no route made undecided behind filters that change headers: they may
    /// change where it goes.
    pub(crate) fn may_go_elsewhere(&mut self) {
        let filters = self.chain_config().map(|chain| &chain.header_mutations);
        let decision = self.decision();
        if decision.outcome == Outcome::Redirect
            && decision.route.is_none()
            && filters.is_some_and(|filters| !filters.is_empty())
        {
            decision.location = None;
            decision.response_headers = None;
            self.undecided("a header_mutation filter may change where it redirects to");
        }
    }

    fn facts<'t>(&'t self, told: Told<'t>) -> Facts<'t> {
        Facts::Of(Box::new(Told {
            server_name: &self.server_name,
            ..told
        }))
    }

    /// The request as the router gets it, once filters have changed it.
    fn lines(&self, message: &Message, cluster: Option<usize>) -> Lines {
        let mut lines = Lines::of_message(message, self.http());
        let changes = self.filter_changes(MutationOf::Request);
        if !changes.is_empty() {
            let progress = Progress {
                attempts: 0,
                ..TAKEN
            };
            let facts = self.facts(self.told(message, cluster, Some(progress)));
            for change in changes {
                mutation::of_request(single(change), &mut lines, &facts);
            }
        }
        lines
    }

    /// What filters do to headers, in order: a response comes by them the other way round. Each
    /// change sees those before it.
    fn filter_changes(&self, of: MutationOf) -> Vec<HeaderChange<'a>> {
        let snapshot = self.snapshot;
        let found = self.at.zip(self.chain).and_then(|(at, (listener, chain))| {
            let listener = snapshot.listeners.get(listener)?;
            let chain = match chain {
                Chain::Index(index) => listener.filter_chains.get(index),
                Chain::Default => listener.default_filter_chain.as_ref(),
            };
            let table = snapshot.route_configurations.get(at.configuration)?;
            Some((at, &chain?.header_mutations, &table.header_mutations))
        });
        let Some((at, filters, said)) = found else {
            return Vec::new();
        };
        let mut levels = vec![
            Place::Route(at.host, at.route),
            Place::VirtualHost(at.host),
            Place::RouteConfiguration,
        ];
        if let Some(entry) = at.entry {
            levels.insert(0, Place::Entry(at.host, at.route, entry));
        }
        let mut all: Vec<_> = filters
            .iter()
            .map(|filter| header_mutation::effective(filter, said, &levels))
            .collect();
        if of == MutationOf::Response {
            all.reverse();
        }
        let mut changes = Vec::new();
        for mutations in all.into_iter().flatten() {
            match of {
                MutationOf::Request => changes.extend(header_mutation::of_request(mutations)),
                MutationOf::Response => changes.extend(header_mutation::of_response(mutations)),
            }
        }
        changes
    }

    /// The headers that mutations of the route and of filters name.
    fn named(&self, of: MutationOf) -> BTreeSet<String> {
        let mut named = names(&self.mutations(of));
        named.extend(self.filter_changes(of).iter().map(HeaderChange::name));
        named
    }

    /// Writes down that a filter has answered, or that an upgrade was refused, before the filters
    /// behind have seen the request.
    pub(crate) fn answered_by_filter(&mut self, message: &Message, cluster: Option<usize>) {
        let forwards = matches!(
            self.taken().map(|route| &route.action),
            Some(Some(Action::Route(_)))
        );
        if forwards && !self.is_preflight {
            let lines = Lines::of_message(message, self.http());
            self.answered_to(message, cluster, &lines, self.filter_status, None);
            return;
        }
        // The route's own mutations do not act, and what filters see is not known.
        let changes = self.filter_changes(MutationOf::Response);
        let values = changes.iter().map(|change| (change.name(), None));
        self.decision().response_headers = (!changes.is_empty()).then(|| values.collect());
    }

    /// The request as it goes to an endpoint that is not chosen yet.
    ///
    /// # Errors
    /// It is not known what its path or its host comes to.
    pub(crate) fn finalize(
        &self,
        action: &RouteAction,
        route_match: &RouteMatch,
        of_weighted_cluster: Option<&str>,
        message: &Message,
        cluster: usize,
    ) -> Known<Lines> {
        let mut lines = self.lines(message, Some(cluster));
        if rewrite::writes_grpc_timeout(action) {
            let reason = "the router writes grpc-timeout anew";
            lines.lose("grpc-timeout", Undecided::new(reason));
        }
        let facts = self.facts(self.told(message, Some(cluster), Some(TAKEN)));
        let mutations = self.mutations(MutationOf::Request);
        rewrite::by_mutations(mutations, of_weighted_cluster, &mut lines, &facts);
        let rewriting = Rewriting {
            action,
            route_match,
            substitutions: self.substitutions,
            facts: &facts,
        };
        rewrite::finalize(rewriting, &mut lines)?;
        Ok(lines)
    }

    /// Writes down what the endpoint that was chosen gets, what the client gets where it answers
    /// with an empty 200, and who gets a copy.
    ///
    /// # Errors
    /// It is not known what path or host come to.
    pub(crate) fn sent(
        &mut self,
        action: &'a RouteAction,
        message: &Message,
        cluster: usize,
        lines: &Lines,
    ) -> Known<()> {
        let mut authority = lines.text(":authority")?;
        let of_entry = action.host_rewrite_specifier.is_none()
            && crate::host::port_start(&message.authority).is_none();
        if message.is_connect() && (authority == message.authority || of_entry) {
            // A port that the connection manager strips comes back, unless the route rewrites the host;
            // to the one that a weighted cluster writes, too.
            authority = connect::with_port(authority, self.request);
        }
        let path = match message.is_connect() {
            true => authority.clone(),
            false => lines.text(":path")?,
        };
        let request = self.request;
        self.tell(MutationOf::Request);
        // Where Envoy ends the tunnel the endpoint gets no head.
        if !connect::is_terminated(action, message) {
            let decision = self.decision();
            decision.path = (path != request.path).then_some(path);
            let is_same = request.authority.as_deref() == Some(authority.as_str());
            decision.authority = (!is_same).then_some(authority);
            let named = self.named(MutationOf::Request);
            self.decision().request_headers = header_values::of_request(&named, lines);
        }
        self.mirror(action, cluster, lines)?;
        let progress = Progress {
            code: 200,
            details: "via_upstream",
            ..TAKEN
        };
        let response = Response {
            status: 200,
            is_local: false,
            headers: &[],
            // What Envoy says of a response to an upgrade hangs on what the endpoint makes of it.
            progress: (message.upgrade.is_none() && !connect::is_terminated(action, message))
                .then_some(progress),
        };
        self.respond(message, Some(cluster), lines, &response);
        Ok(())
    }

    /// Why it is not decided what the endpoint of a tunnel gets.
    pub(crate) fn undecided_tunnel(
        &self,
        action: &'a RouteAction,
        message: &Message,
        cluster: usize,
        lines: &Lines,
    ) -> Option<&'static str> {
        if !connect::is_tunnel(action, message) {
            return None;
        }
        let config = &self.snapshot.clusters.get(cluster)?.config;
        let (_, policies) = mirror::policies(self.table, self.virtual_host, action, config);
        if !policies.is_empty() {
            return Some("mirrors of CONNECT requests are not decided");
        }
        let is_sent = message.is_connect() && !connect::is_terminated(action, message);
        let has_path = lines.has(":path").unwrap_or(true);
        (is_sent && has_path).then_some("CONNECT requests that get a path are not decided")
    }

    fn mirror(&mut self, action: &'a RouteAction, cluster: usize, lines: &Lines) -> Known<()> {
        let Some(config) = self.snapshot.clusters.get(cluster) else {
            return Ok(());
        };
        let (level, policies) =
            mirror::policies(self.table, self.virtual_host, action, &config.config);
        for (index, policy) in policies.iter().enumerate() {
            if !mirror::takes(policy, self.random) {
                continue;
            }
            let name = if policy.cluster.is_empty() {
                lines.text(&policy.cluster_header)?
            } else {
                policy.cluster.clone()
            };
            if self.cluster_index(&name).is_some() {
                self.step(Step::Mirror {
                    level,
                    policy: index,
                });
                self.decision().mirrors.push(name);
            }
        }
        Ok(())
    }

    /// Writes down what the client gets: a response that the route's mutations have changed.
    pub(crate) fn respond(
        &mut self,
        message: &Message,
        cluster: Option<usize>,
        request: &Lines,
        response: &Response<'_>,
    ) {
        let lines = self.response(message, cluster, request, response);
        let Some(lines) = lines else {
            return;
        };
        self.tell(MutationOf::Response);
        let named = self.named(MutationOf::Response);
        self.decision().response_headers = header_values::of_response(&named, &lines);
    }

    /// The lines of a response, where mutations change it.
    fn response(
        &self,
        message: &Message,
        cluster: Option<usize>,
        request: &Lines,
        response: &Response<'_>,
    ) -> Option<Lines> {
        let mutations = self.mutations(MutationOf::Response);
        let changes = self.filter_changes(MutationOf::Response);
        if !mutations.iter().any(Mutation::acts) && changes.is_empty() {
            return None;
        }
        let Response {
            status,
            is_local,
            headers,
            progress,
        } = *response;
        let mut lines = Lines::of_response(status, is_local, headers, self.http());
        let mut told = self.told(message, cluster, progress);
        let decision = &self.answer.decision;
        if let Some(address) = decision.endpoint.as_deref() {
            told.endpoint = Some((address, self.chosen()));
        }
        if let Some(location) = &decision.location {
            lines.set("location", location.clone());
        }
        // Filters know the status, but where gRPC has another one.
        let is_known = !(is_local && message.is_grpc());
        let seen = progress.filter(|_| is_known);
        let by_filters = Told {
            progress: seen.map(|progress| Progress {
                code: status,
                ..progress
            }),
            ..told.clone()
        };
        let facts = self.facts(told);
        for mutation in mutations {
            mutation::of_response(mutation, request, &mut lines, &facts);
        }
        if seen.is_none() {
            lines.lose(":status", Undecided::new("its status is not known"));
        }
        let facts = self.facts(by_filters);
        for change in changes {
            mutation::of_response(single(change), request, &mut lines, &facts);
        }
        Some(lines)
    }

    /// The endpoint that was chosen.
    fn chosen(&self) -> Option<&'a LbEndpoint> {
        let held = self.answer.held?;
        let cluster = self.snapshot.clusters.get(held.cluster)?;
        let assignment = cluster.load_assignment.as_ref()?;
        let locality = assignment.endpoints.get(held.locality)?;
        locality.lb_endpoints.get(held.endpoint)
    }

    /// Writes down what the client gets that Envoy answers itself, before the request is changed.
    pub(crate) fn answered(
        &mut self,
        message: &Message,
        cluster: Option<usize>,
        status: u32,
        progress: Option<Progress>,
    ) {
        let lines = self.lines(message, cluster);
        self.answered_to(message, cluster, &lines, status, progress);
    }

    /// The same, of a request that has been changed.
    pub(crate) fn answered_to(
        &mut self,
        message: &Message,
        cluster: Option<usize>,
        request: &Lines,
        status: u32,
        progress: Option<Progress>,
    ) {
        let response = Response {
            status,
            is_local: true,
            headers: &[],
            progress,
        };
        self.respond(message, cluster, request, &response);
    }

    /// Writes down the body of a direct response, where it is known: none goes to HEAD, and gRPC gets
    /// it as a message.
    pub(crate) fn body(&mut self, action: &DirectResponseAction, message: &Message) {
        let local = self.http().local_reply_config.as_ref();
        // A grpc_web filter makes a gRPC request of it, whose answers are messages.
        let is_web = twinmesh_xds::header_filters(self.http()).change_any
            && message
                .values("content-type")
                .iter()
                .any(|kind| kind.starts_with("application/grpc-web"));
        let rewritten = is_web || local.is_some_and(|local| local.body_format.is_some());
        self.decision().body = if message.method == "HEAD" || message.is_grpc() {
            Some(String::new())
        } else if rewritten {
            None
        } else {
            let lines = self.lines(message, None);
            let progress = Progress {
                attempts: 0,
                ..TAKEN
            };
            let told = self.told(message, None, Some(progress));
            let told = Told {
                server_name: &self.server_name,
                ..told
            };
            body::of(action, &lines, told).ok()
        };
    }

    /// Writes down a redirect: where to, and what the client gets.
    ///
    /// # Errors
    /// It is not known where to.
    pub(crate) fn redirected(
        &mut self,
        action: &envoy_types::pb::envoy::config::route::v3::RedirectAction,
        route_match: &RouteMatch,
        message: &Message,
    ) -> Known<()> {
        let mut lines = self.lines(message, None);
        let progress = Progress {
            attempts: 0,
            ..TAKEN
        };
        let facts = self.facts(self.told(message, None, Some(progress)));
        let told = (&lines, &facts);
        let location =
            crate::redirect::location(action, route_match, message, self.substitutions, told)?;
        let rewritten =
            crate::redirect::rewritten_path(action, route_match, message, self.substitutions);
        drop(facts);
        if let Some(path) = rewritten {
            lines.remember("x-envoy-original-path", message.path.clone());
            lines.set(":path", path);
        }
        self.decision().location = Some(trimmed(location));
        let progress = Progress {
            details: "direct_response",
            ..progress
        };
        let response = Response {
            status: crate::redirect::status(action),
            is_local: true,
            headers: &[],
            progress: Some(progress),
        };
        let Some(answer) = self.response(message, None, &lines, &response) else {
            return Ok(());
        };
        self.respond(message, None, &lines, &response);
        self.decision().location = answer.first("location")?.map(trimmed);
        Ok(())
    }

    /// Tells of the mutations of each level.
    fn tell(&mut self, of: MutationOf) {
        for mutation in self.mutations(of) {
            if mutation.acts() {
                self.step(Step::Mutation {
                    of,
                    level: mutation.level,
                });
            }
        }
    }
}

/// How Envoy calls an answer of its own.
pub(crate) fn local(attempts: u32, details: &'static str, flags: &'static str) -> Option<Progress> {
    Some(Progress {
        attempts,
        code: 0,
        details,
        flags,
    })
}

/// One change of a filter's.
fn single(change: HeaderChange<'_>) -> Mutation<'_> {
    let (add, remove) = match change {
        HeaderChange::Put(option) => (std::slice::from_ref(option), &[][..]),
        HeaderChange::Remove(name) => (&[][..], std::slice::from_ref(name)),
    };
    Mutation {
        level: Level::Route,
        add,
        remove,
    }
}

fn names(mutations: &[Mutation<'_>]) -> BTreeSet<String> {
    mutations.iter().flat_map(Mutation::names).collect()
}

/// Why a route's text is not known.
pub(crate) fn reason(undecided: &Undecided) -> String {
    format!("the route's rewrite is not decided: {undecided}")
}
