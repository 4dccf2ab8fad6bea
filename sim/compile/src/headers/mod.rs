//! Headers as the endpoint and the client get them, and which clusters get a copy: text that the
//! model does not make, since no choice hangs on it.

mod body;
mod entries;
mod filter;
mod format;
mod mirror;
mod mutation;
mod reply;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use envoy_types::pb::envoy::config::endpoint::v3::LbEndpoint;
use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteAction, RouteConfiguration, VirtualHost,
    redirect_action::PathRewriteSpecifier,
    route::Action,
    route_action::{ClusterSpecifier, HostRewriteSpecifier},
    weighted_cluster::ClusterWeight,
};
use envoy_types::pb::envoy::extensions::filters::http::header_mutation::v3::Mutations as FilterMutations;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use twinmesh_engine::{Decision, HeaderValues, Level, MutationOf, Request, Step};
use twinmesh_model::layout::{low, work};
use twinmesh_xds::header_mutation::{self, HeaderChange};
use twinmesh_xds::{Terminal, http_filter::Level as Place};

use crate::Compiled;
use crate::answer::{Filtered, Record};
use crate::codec::asks_for_upgrade;
use crate::connect;
use crate::endpoint_name::hostname;
use crate::listener::inspects_tls;
use crate::rewrite::of_weighted_cluster;
use crate::seen::Seen;

pub use entries::Entries;
use format::Asked;
use mutation::Mutations;
pub(crate) use reply::{not_found, undecide};

/// The connection manager of a route configuration that is entered by name.
static BARE: LazyLock<HttpConnectionManager> = LazyLock::new(HttpConnectionManager::default);

/// A request that a route took, and what it came through.
pub(crate) struct Taken<'a> {
    compiled: &'a Compiled,
    /// As it came.
    came: &'a Request,
    /// As it was decided.
    request: &'a Request,
    seen: &'a Seen,
    /// The request's number.
    random: u64,
    /// A fault delayed it.
    is_delayed: bool,
    table: &'a RouteConfiguration,
    host: &'a VirtualHost,
    route: &'a Route,
    entry: Option<u64>,
    chain: Option<&'a twinmesh_xds::FilterChain>,
    listener: Option<&'a twinmesh_xds::Listener>,
    manager: &'a HttpConnectionManager,
    drops_underscores: bool,
    /// Index of the cluster, where there is one.
    cluster: Option<usize>,
    /// Name and message of the endpoint.
    endpoint: Option<(String, Option<&'a LbEndpoint>)>,
    /// What each filter that changes headers does to the request, in order.
    filters: Vec<Vec<&'a FilterMutations>>,
}

impl Compiled {
    /// The request that the model decided, where a route took it.
    pub(crate) fn taken<'a>(
        &'a self,
        (came, request, seen): (&'a Request, &'a Request, &'a Seen),
        record: &Record<'_>,
        filtered: &Filtered,
    ) -> Option<Taken<'a>> {
        let configuration = self.index(record.word(work::CHOSEN_ROUTE_CONFIGURATION))?;
        let configured = self.snapshot.route_configurations.get(configuration)?;
        let table = &configured.config;
        let host_record = record.word(work::CHOSEN_VIRTUAL_HOST);
        let at = self.index(host_record)?;
        let host = table.virtual_hosts.get(at)?;
        let first = low(self.policy_word(host_record + 8));
        let position = record.word(work::CHOSEN_ROUTE).checked_sub(first + 1)?;
        let route = host.routes.get(position as usize)?;
        let chain_record = record.word(work::CHOSEN_FILTER_CHAIN);
        let listener = self.index(record.word(work::CHOSEN_LISTENER));
        let listener = listener.and_then(|index| self.snapshot.listeners.get(index));
        let chain = listener.and_then(|listener| match self.index(chain_record)? {
            index if index == u32::MAX as usize => listener.default_filter_chain.as_ref(),
            index => listener.filter_chains.get(index),
        });
        let cluster = self.index(record.word(work::CHOSEN_CLUSTER));
        let entry = record.word(work::ENTRY).checked_sub(1);
        let position = position as usize;
        let of_entry = entry.map(|entry| Place::Entry(at, position, entry as usize));
        let levels: Vec<Place> = of_entry
            .into_iter()
            .chain([
                Place::Route(at, position),
                Place::VirtualHost(at),
                Place::RouteConfiguration,
            ])
            .collect();
        let filters = chain.map_or(&[][..], |chain| &chain.header_mutations);
        let filters = filters
            .iter()
            .map(|filter| header_mutation::effective(filter, &configured.header_mutations, &levels))
            .collect();
        Some(Taken {
            compiled: self,
            came,
            request,
            seen,
            random: filtered.random,
            is_delayed: filtered.delayed_us != 0,
            table,
            host,
            route,
            entry,
            chain,
            listener,
            manager: self.manager_of(record).unwrap_or(&BARE),
            drops_underscores: seen.drops_underscores,
            cluster: cluster.filter(|index| *index < self.snapshot.clusters.len()),
            endpoint: None,
            filters,
        })
    }
}

/// It is not known what becomes of a request.
#[derive(Debug)]
pub(crate) struct NotKnown;

impl<'a> Taken<'a> {
    /// With the endpoint of this name.
    pub(crate) fn with_endpoint(self, name: &str, endpoint: Option<&'a LbEndpoint>) -> Self {
        Self {
            endpoint: Some((name.to_owned(), endpoint)),
            ..self
        }
    }

    fn weighted(&self) -> Option<&'a ClusterWeight> {
        let Some(Action::Route(action)) = &self.route.action else {
            return None;
        };
        let Some(ClusterSpecifier::WeightedClusters(weighted)) = &action.cluster_specifier else {
            return None;
        };
        weighted.clusters.get(self.entry? as usize)
    }

    /// The mutations that change something, in the order in which they do.
    fn mutations(&self, of: MutationOf) -> Vec<Mutations<'a>> {
        let (table, host, route) = (self.table, self.host, self.route);
        let weighted = self.weighted();
        let lists = match of {
            MutationOf::Request => [
                weighted.map(|it| (&it.request_headers_to_add, &it.request_headers_to_remove)),
                Some((
                    &route.request_headers_to_add,
                    &route.request_headers_to_remove,
                )),
                Some((
                    &host.request_headers_to_add,
                    &host.request_headers_to_remove,
                )),
                Some((
                    &table.request_headers_to_add,
                    &table.request_headers_to_remove,
                )),
            ],
            MutationOf::Response => [
                weighted.map(|it| (&it.response_headers_to_add, &it.response_headers_to_remove)),
                Some((
                    &route.response_headers_to_add,
                    &route.response_headers_to_remove,
                )),
                Some((
                    &host.response_headers_to_add,
                    &host.response_headers_to_remove,
                )),
                Some((
                    &table.response_headers_to_add,
                    &table.response_headers_to_remove,
                )),
            ],
        };
        let levels = [
            Level::WeightedCluster,
            Level::Route,
            Level::VirtualHost,
            Level::RouteConfiguration,
        ];
        let mut order = [0, 1, 2, 3];
        if table.most_specific_header_mutations_wins {
            order = [0, 3, 2, 1];
        }
        let all = order.into_iter().filter_map(|place: usize| {
            let (add, remove) = (*lists.get(place)?)?;
            Some(Mutations {
                level: *levels.get(place)?,
                add,
                remove,
            })
        });
        all.filter(|mutations| !mutations.is_empty()).collect()
    }

    /// What formats may ask for.
    fn asked(
        &'a self,
        state: Option<(u32, u32, &'static str, &'static str)>,
        with_endpoint: bool,
        with_cluster: bool,
    ) -> Asked<'a> {
        let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        let peer = self.request.source.map(canonical);
        let peer = peer.filter(|peer| !peer.ip().is_unspecified());
        let forwarded = self.listener.and_then(|_| self.forwarded_for());
        let cluster = self.cluster.filter(|_| with_cluster);
        let cluster = cluster.and_then(|index| self.compiled.snapshot.clusters.get(index));
        let inspected = self.request.is_tls()
            && self
                .listener
                .is_some_and(|listener| inspects_tls(&listener.config));
        let sni = self.request.sni.as_deref().filter(|_| inspected);
        Asked {
            peer,
            client: match forwarded {
                Some(ip) => Some(SocketAddr::new(ip, 0)),
                None => peer,
            },
            destination: self.request.destination.map(canonical),
            is_tls: self.request.is_tls(),
            server_name: sni.unwrap_or_default().to_ascii_lowercase(),
            filter_chain: match self.chain {
                Some(chain) if matches!(chain.terminal, Terminal::Http { .. }) => {
                    &chain.config.name
                }
                _ => "",
            },
            route: Some(self.route),
            host: Some(self.host),
            cluster: cluster.map(|cluster| &cluster.config),
            endpoint: self.endpoint.clone().filter(|_| with_endpoint),
            state,
            is_delayed: self.is_delayed,
            reply: None,
        }
    }

    /// The route that took the request.
    pub(crate) fn route(&self) -> &'a Route {
        self.route
    }

    /// The client that x-forwarded-for names, where it counts.
    fn forwarded_for(&self) -> Option<IpAddr> {
        let hops = self.manager.xff_num_trusted_hops as usize;
        let skipped = if self.manager.use_remote_address.is_some_and(|it| it.value) {
            hops.checked_sub(1)?
        } else {
            hops
        };
        let lines = self.request.headers.iter();
        let lines = lines.filter(|(name, _)| name.eq_ignore_ascii_case("x-forwarded-for"));
        let lines: Vec<&str> = lines
            .map(|(_, value)| value.trim_matches([' ', '\t']))
            .collect();
        let list = match lines.as_slice() {
            [one] => (*one).to_owned(),
            lines => {
                let filled = lines.iter().copied().filter(|line| !line.is_empty());
                filled.collect::<Vec<&str>>().join(",")
            }
        };
        let mut kept = list.as_str();
        for _ in 0..skipped {
            kept = kept.get(..kept.rfind(',')?)?;
        }
        let last = match kept.rfind(',') {
            // A comma at the end makes the whole an address, which it is not.
            Some(at) if at + 1 < kept.len() => kept.get(at + 1..)?,
            _ => kept,
        };
        last.trim_ascii().parse().ok()
    }

    /// Whether something asks for headers.
    fn asks_for_headers(&self) -> bool {
        let of_action = match &self.route.action {
            Some(Action::Route(action)) => {
                let by_host = matches!(
                    &action.host_rewrite_specifier,
                    Some(
                        HostRewriteSpecifier::HostRewriteHeader(_)
                            | HostRewriteSpecifier::HostRewrite(_)
                    )
                );
                by_host || !action.path_rewrite.is_empty()
            }
            Some(Action::Redirect(action)) => matches!(
                &action.path_rewrite_specifier,
                Some(PathRewriteSpecifier::PathRewrite(_))
            ),
            Some(Action::DirectResponse(action)) => action.body_format.is_some(),
            _ => false,
        };
        of_action
            || self.filters.iter().any(|filter| !filter.is_empty())
            || self.names_mirrors_by_header()
            || [MutationOf::Request, MutationOf::Response]
                .into_iter()
                .any(|of| !self.mutations(of).is_empty())
    }

    /// The request as the router gets it.
    fn entries(&self) -> Entries {
        let mut entries = self.entries_that_came();
        self.filter_request(&mut entries);
        entries
    }

    /// The request before any filter has changed it.
    fn entries_that_came(&self) -> Entries {
        if !self.asks_for_headers() {
            return Entries::of_seen(&self.request.method, self.seen);
        }
        Entries::of_request(
            self.request,
            self.seen,
            self.manager,
            self.drops_underscores,
        )
    }

    /// The request as it goes to an endpoint.
    fn finalized(&self, action: &RouteAction) -> Result<Entries, NotKnown> {
        let mut entries = self.entries();
        let of_stream = action.max_stream_duration.as_ref();
        let bounded = of_stream.is_some_and(|it| it.grpc_timeout_header_max.is_some());
        #[expect(deprecated, reason = "Envoy reads it still")]
        if bounded || action.max_grpc_timeout.is_some() {
            // The router writes it anew, before the mutations.
            entries.forget("grpc-timeout");
        }
        let asked = self.asked(Some((1, 0, "", "-")), false, true);
        let mut weighted = self
            .entry
            .and_then(|entry| of_weighted_cluster(action, entry));
        let mut rewrite = |entries: &mut Entries| {
            if let Some(host) = weighted.take() {
                entries.write(":authority", host.to_owned());
            }
        };
        for mutations in self.mutations(MutationOf::Request) {
            // The entry's own mutations see the host that came, the others the one that it writes.
            if mutations.level != Level::WeightedCluster {
                rewrite(&mut entries);
            }
            mutations.change_request(&mut entries, &asked);
        }
        rewrite(&mut entries);
        let host = self.host_of_route(action, &entries, &asked)?;
        if let Some(host) = host.filter(|host| !host.is_empty()) {
            rehost(action, host, &mut entries);
        }
        if let Some(path) = self.path_of_route(action, &entries, &asked)? {
            entries.keep_original("x-envoy-original-path", self.seen.path.clone());
            entries.write(":path", path);
        }
        Ok(entries)
    }

    /// The host that the route asks for before an endpoint is chosen.
    fn host_of_route(
        &self,
        action: &RouteAction,
        entries: &Entries,
        asked: &Asked<'_>,
    ) -> Result<Option<String>, NotKnown> {
        let Some(specifier) = &action.host_rewrite_specifier else {
            return Ok(None);
        };
        Ok(match specifier {
            HostRewriteSpecifier::HostRewriteLiteral(host) => Some(host.clone()),
            HostRewriteSpecifier::HostRewriteHeader(name) => entries.first(name).ok_or(NotKnown)?,
            HostRewriteSpecifier::HostRewritePathRegex(rule) => {
                let path = self.seen.path.split('?').next().unwrap_or_default();
                Some(self.compiled.substitutions.apply(rule, path))
            }
            HostRewriteSpecifier::HostRewrite(format) if format.is_empty() => None,
            HostRewriteSpecifier::HostRewrite(format) => {
                let made = format::value(format, "-", entries, None, asked);
                Some(made.ok_or(NotKnown)?)
            }
            HostRewriteSpecifier::AutoHostRewrite(_) => None,
        })
    }

    /// The path that the route makes.
    fn path_of_route(
        &self,
        action: &RouteAction,
        entries: &Entries,
        asked: &Asked<'_>,
    ) -> Result<Option<String>, NotKnown> {
        if action.path_rewrite.is_empty() {
            return Ok(self.compiled.path(action, self.route, self.seen));
        }
        let made = format::value(&action.path_rewrite, "", entries, None, asked);
        let made = made.ok_or(NotKnown)?;
        let query = self.seen.path.find('?');
        let query = query.and_then(|at| self.seen.path.get(at..));
        Ok((!made.is_empty()).then(|| made + query.unwrap_or_default()))
    }

    /// Writes down what the endpoint gets, what the client gets where the endpoint answers with an
    /// empty 200, and who gets a copy.
    ///
    /// # Errors
    /// It is not known what path or host come to.
    pub(crate) fn forward(
        &self,
        decision: &mut Decision,
        steps: &mut Vec<Step>,
    ) -> Result<(), NotKnown> {
        let Some(Action::Route(action)) = &self.route.action else {
            return Ok(());
        };
        let mut entries = self.finalized(action)?;
        let endpoint = self.endpoint.as_ref().and_then(|(_, endpoint)| *endpoint);
        let cluster = self.cluster;
        let cluster = cluster.and_then(|index| self.compiled.snapshot.clusters.get(index));
        let name = cluster.zip(endpoint);
        let name = name.map_or("", |(cluster, endpoint)| {
            hostname(&cluster.config, endpoint)
        });
        if let Some(HostRewriteSpecifier::AutoHostRewrite(auto)) = &action.host_rewrite_specifier
            && auto.value
            && !name.is_empty()
        {
            rehost(action, name.to_owned(), &mut entries);
        }
        let ends = connect::ends(action, self.request.method.trim_matches([' ', '\t']));
        let is_tunnel = ends || self.seen.connect;
        if is_tunnel && self.has_mirrors(action) {
            return Err(NotKnown);
        }
        // Where Envoy ends the tunnel the endpoint gets no head.
        if !ends {
            self.sent(action, &entries, decision)?;
        }
        let headers = self.tell(MutationOf::Request, &entries, steps);
        decision.request_headers = headers.filter(|_| !ends);
        self.mirror(action, &entries, decision, steps)?;
        if self.changes_response() {
            let response = Entries::of_response(200, false, self.manager);
            // What Envoy says of a response to an upgrade hangs on what the endpoint makes of it.
            let upgrades = is_tunnel || asks_for_upgrade(self.came);
            let state = (!upgrades).then_some((1, 200, "via_upstream", "-"));
            self.respond(&entries, response, state, true, decision, steps);
        }
        Ok(())
    }

    /// Writes down the path and the host that the endpoint gets.
    fn sent(
        &self,
        action: &RouteAction,
        entries: &Entries,
        decision: &mut Decision,
    ) -> Result<(), NotKnown> {
        let mut authority = entries.pseudo(":authority");
        let mut path = entries.pseudo(":path");
        if self.seen.connect {
            if entries.first(":path").ok_or(NotKnown)?.is_some() {
                return Err(NotKnown);
            }
            // A port that was stripped comes back, unless the route writes another host: what an entry of weighted
            // clusters writes gets it, too.
            let stripped = connect::authority_of(self.came) != Some(self.seen.authority.as_str());
            let by_entry = stripped && action.host_rewrite_specifier.is_none();
            if authority == self.seen.authority || by_entry {
                authority = connect::restored(&authority, self.came).ok_or(NotKnown)?;
            }
            path.clone_from(&authority);
        }
        decision.path = (path != self.came.path).then_some(path);
        let is_same = self.came.authority.as_deref() == Some(authority.as_str());
        decision.authority = (!is_same).then_some(authority);
        Ok(())
    }

    /// Whether the client gets anything else than what is answered.
    fn changes_response(&self) -> bool {
        let of = MutationOf::Response;
        !self.mutations(of).is_empty() || !self.changes(of).is_empty()
    }

    /// Writes down what the client gets, of a response that nothing has changed yet.
    fn respond(
        &self,
        request: &Entries,
        mut response: Entries,
        state: Option<(u32, u32, &'static str, &'static str)>,
        with_cluster: bool,
        decision: &mut Decision,
        steps: &mut Vec<Step>,
    ) -> Entries {
        if !self.changes_response() {
            return response;
        }
        let asked = self.asked(state, true, with_cluster);
        for mutations in self.mutations(MutationOf::Response) {
            mutations.change_response(request, &mut response, &asked);
        }
        self.filter_response(request, &mut response, asked);
        decision.response_headers = self.tell(MutationOf::Response, &response, steps);
        response
    }

    /// The headers that mutations name, with their values; a step for each level.
    fn tell(
        &self,
        of: MutationOf,
        entries: &Entries,
        steps: &mut Vec<Step>,
    ) -> Option<HeaderValues> {
        let mutations = self.mutations(of);
        let mut named = BTreeSet::new();
        for level in &mutations {
            steps.push(Step::Mutation {
                of,
                level: level.level,
            });
            named.extend(level.names());
        }
        let changes = self.changes(of);
        named.extend(changes.iter().map(HeaderChange::name));
        let values = named.into_iter().map(|name| {
            let kept = ["x-envoy-original-host", "x-envoy-original-path"];
            let speaks_to_the_router = of == MutationOf::Request
                && name.starts_with("x-envoy-")
                && !kept.contains(&name.as_str());
            // The router takes such a header off, or writes it anew.
            let lines = match speaks_to_the_router {
                true => None,
                false => entries.values(&name),
            };
            let trim = |line: String| line.trim_matches([' ', '\t']).to_owned();
            (
                name,
                lines.map(|lines| lines.into_iter().map(trim).collect()),
            )
        });
        (!mutations.is_empty() || !changes.is_empty()).then(|| values.collect())
    }
}

/// Writes the host anew, and what Envoy keeps of the old one.
fn rehost(action: &RouteAction, host: String, entries: &mut Entries) {
    let old = entries.pseudo(":authority");
    if action.append_x_forwarded_host {
        entries.push("x-forwarded-host", old.clone());
    }
    entries.keep_original("x-envoy-original-host", old);
    entries.write(":authority", host);
}
