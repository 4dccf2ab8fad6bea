//! Which field of the snapshot a decision turns on: the way from a step of a trace to the place in
//! the snapshot's file that a report points at.

use std::fmt;
use std::path::PathBuf;

use envoy_types::pb::envoy::config::route::v3::{
    Route, RouteMatch, route::Action, route_action::ClusterSpecifier, route_match::PathSpecifier,
};
use twinmesh_engine::{
    Chain, Decision, Failed, Level, MirrorLevel, MutationOf, Request, Step, Trace,
};
use twinmesh_xds::{FilterChain, Snapshot, Target};

use crate::comparison::{Field, Fields, compare_traces};
use crate::words;

/// A place in a snapshot's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The file.
    pub file: PathBuf,
    /// Line and column, both from 1, columns in characters; `None` where the file has no lines, or
    /// does not hold the resource.
    pub position: Option<(u64, u64)>,
    /// The resource and the field in it.
    pub target: Target,
}

impl fmt::Display for Site {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.file.display())?;
        if let Some((line, column)) = self.position {
            write!(formatter, ":{line}:{column}")?;
        }
        write!(formatter, ": {}", self.target.resource)?;
        if !self.target.path.is_empty() {
            write!(formatter, ": {}", self.target.path)?;
        }
        Ok(())
    }
}

/// The field on which a divergence turns: where the traces part, what the reference decided by
/// there; where they do not, or there is only one, the first step that is not as `other` has it. The
/// nearest first; none where no listener takes the request.
pub fn of_divergence(
    snapshot: &Snapshot,
    request: &Request,
    (reference, found): (Option<&Trace>, Option<&Trace>),
    fields: Fields,
    other: Option<&Decision>,
) -> Vec<Target> {
    if let (Some(reference), Some(found)) = (reference, found)
        && let Some(parting) = compare_traces(reference, found)
    {
        let trace = if parting < reference.steps.len() {
            reference
        } else {
            found
        };
        return of_step(snapshot, request, trace, parting);
    }
    let Some(trace) = found.or(reference) else {
        return Vec::new();
    };
    let mut walk = Walk::new(snapshot, request);
    trace.steps.iter().for_each(|step| walk.take(step));
    // The outcome follows from what comes first of all others.
    let mut wanted = fields.iter().filter(|field| *field != Field::Outcome);
    let wanted = wanted.next();
    let at = parting(&walk, trace, wanted, other);
    let mut targets = of_step(snapshot, request, trace, at);
    let by_action = matches!(
        wanted,
        Some(
            Field::Cluster
                | Field::Status
                | Field::Body
                | Field::Location
                | Field::Path
                | Field::Authority
        )
    );
    if by_action && let Some(Step::Route(index)) = trace.steps.get(at) {
        targets = walk.action(*index).into_iter().chain(targets).collect();
    }
    targets
}

/// The first step that is not as in a decision which differs in this field before all others.
fn parting(
    walk: &Walk<'_>,
    trace: &Trace,
    wanted: Option<Field>,
    other: Option<&Decision>,
) -> usize {
    let steps = &trace.steps;
    let last = steps.len().saturating_sub(1);
    let Some(wanted) = wanted else {
        return last;
    };
    if wanted == Field::Route
        && let Some(name) = other.and_then(|it| it.route.as_deref())
        && let Some(passed) = steps.iter().position(|step| walk.passes_by(step, name))
    {
        return passed;
    }
    let by_route = matches!(
        wanted,
        Field::RequestHeaders | Field::ResponseHeaders | Field::Mirrors
    );
    let found = steps.iter().rposition(|step| decides(step, wanted));
    let found = found.or_else(|| {
        let route = steps
            .iter()
            .rposition(|step| matches!(step, Step::Route(_)));
        route.filter(|_| by_route)
    });
    // Where the way ended before: its last step, and none of the routes that it passed by.
    let end = || {
        steps
            .iter()
            .rposition(|step| !matches!(step, Step::RouteNotMatched { .. }))
    };
    found.or_else(end).unwrap_or(last)
}

/// Whether a step decides a field of the decision.
fn decides(step: &Step, field: Field) -> bool {
    match field {
        Field::Listener => matches!(step, Step::Listener(_)),
        Field::FilterChain => matches!(step, Step::FilterChain(_)),
        Field::RouteConfig => matches!(step, Step::RouteConfiguration(_)),
        Field::VirtualHost => matches!(step, Step::VirtualHost { .. }),
        Field::Route
        | Field::Status
        | Field::Body
        | Field::Location
        | Field::Path
        | Field::Authority => matches!(step, Step::Route(_)),
        Field::Cluster => matches!(step, Step::WeightedCluster { .. } | Step::Cluster(_)),
        Field::Endpoint | Field::Priority | Field::Locality => {
            matches!(step, Step::Endpoint { .. } | Step::Cluster(_))
        }
        Field::Attempts | Field::ResponseFlags | Field::DurationUs | Field::Tries => {
            matches!(step, Step::Route(_))
        }
        Field::RequestHeaders => {
            let of = MutationOf::Request;
            matches!(step, Step::Mutation { of: found, .. } if *found == of)
        }
        Field::ResponseHeaders => {
            let of = MutationOf::Response;
            matches!(step, Step::Mutation { of: found, .. } if *found == of)
        }
        Field::Mirrors => matches!(step, Step::Mirror { .. }),
        Field::Outcome | Field::Engine | Field::Reason => false,
    }
}

/// The field that a step decided by, and what stands around it where that is not in the file.
pub fn of_step(snapshot: &Snapshot, request: &Request, trace: &Trace, at: usize) -> Vec<Target> {
    let mut walk = Walk::new(snapshot, request);
    let mut targets = Vec::new();
    for step in trace.steps.iter().take(at.saturating_add(1)) {
        walk.take(step);
        // What no field of the snapshot decides stands where the step before it does.
        let found = walk.targets(step);
        if !found.is_empty() {
            targets = found;
        }
    }
    targets
}

/// What the steps so far chose.
struct Walk<'a> {
    snapshot: &'a Snapshot,
    request: &'a Request,
    listener: Option<usize>,
    chain: Option<Chain>,
    configuration: Option<usize>,
    host: Option<usize>,
    route: Option<usize>,
    cluster: Option<usize>,
}

impl<'a> Walk<'a> {
    fn new(snapshot: &'a Snapshot, request: &'a Request) -> Self {
        Self {
            snapshot,
            request,
            listener: None,
            chain: None,
            configuration: None,
            host: None,
            route: None,
            cluster: None,
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Listener(index) => self.listener = Some(*index),
            Step::FilterChain(chain) => self.chain = Some(*chain),
            Step::RouteConfiguration(index) => self.configuration = Some(*index),
            Step::VirtualHost { virtual_host, .. } => self.host = Some(*virtual_host),
            Step::Route(index) => self.route = Some(*index),
            Step::Cluster(index) => self.cluster = Some(*index),
            _ => {}
        }
    }

    /// Whether the step is that this route of the virtual host did not match.
    fn passes_by(&self, step: &Step, name: &str) -> bool {
        let Step::RouteNotMatched { route, .. } = step else {
            return false;
        };
        let own = self.route_at(*route).map(|route| route.name.as_str());
        match own.filter(|name| !name.is_empty()) {
            Some(own) => own == name,
            None => name.strip_prefix('#') == Some(route.to_string().as_str()),
        }
    }

    fn targets(&self, step: &Step) -> Vec<Target> {
        let one = |target: Option<Target>| target.into_iter().collect();
        match step {
            Step::Listener(_) => one(self.in_listener("address")),
            Step::FilterChainMatcher(action) => {
                let listener = self.listener.and_then(|at| self.snapshot.listeners.get(at));
                let place = listener.and_then(|it| it.matcher_places.get(*action));
                one(place.and_then(|place| self.in_listener(place)))
            }
            Step::FilterChain(_) => {
                let field = self.chain_field();
                one(field.and_then(|field| self.in_listener(&field)))
            }
            Step::RouteConfiguration(_) => one(self.in_configuration("")),
            Step::VirtualHost {
                virtual_host,
                domain,
            } => {
                let host = self.host_config(*virtual_host);
                let authority = self.request.authority.as_deref().unwrap_or("");
                let place = host.and_then(|host| words::domain(host, *domain, authority));
                let place = place.map_or(String::new(), |(index, _)| format!("[{index}]"));
                one(self.in_configuration(&format!("virtual_hosts[{virtual_host}].domains{place}")))
            }
            Step::RouteNotMatched { route, failed } => {
                let matched = self
                    .route_at(*route)
                    .and_then(|route| route.r#match.as_ref());
                let field = match failed {
                    Failed::RuntimeFraction => "runtime_fraction".to_owned(),
                    Failed::Grpc => "grpc".to_owned(),
                    Failed::Cookie(index) => format!("cookies[{index}]"),
                    Failed::TlsContext => "tls_context".to_owned(),
                    Failed::DynamicMetadata(index) => format!("dynamic_metadata[{index}]"),
                    Failed::Header(index) => format!("headers[{index}]"),
                    Failed::QueryParameter(index) => format!("query_parameters[{index}]"),
                    Failed::Path => path_field(matched).to_owned(),
                };
                one(self.in_route(*route, &format!("match.{field}")))
            }
            Step::Route(index) => {
                let matched = self
                    .route_at(*index)
                    .and_then(|route| route.r#match.as_ref());
                one(self.in_route(*index, &format!("match.{}", path_field(matched))))
            }
            Step::WeightedCluster { entry, .. } => one(match self.route {
                Some(route) => {
                    self.in_route(route, &format!("route.weighted_clusters.clusters[{entry}]"))
                }
                None => self.in_filter(&format!("weighted_clusters.clusters[{entry}]")),
            }),
            Step::Cluster(_) => one(match self.route {
                Some(route) => self.in_route(route, cluster_field(self.route_at(route))),
                None => self.in_filter("cluster"),
            }),
            Step::NetworkFilter { filter, .. } => one(self.in_network_filter(*filter)),
            Step::Filter { filter, .. } => one(self.in_filter(&format!("http_filters[{filter}]"))),
            Step::Priority { .. } => self.in_assignment(""),
            Step::OverrideHost(_) => {
                let clusters = &self.snapshot.clusters;
                let cluster = self.cluster.and_then(|at| clusters.get(at));
                one(cluster.map(|cluster| Target {
                    resource: format!("cluster {:?}", cluster.name),
                    path: "load_balancing_policy".to_owned(),
                }))
            }
            Step::Endpoint { locality, endpoint } => {
                self.in_assignment(&format!("endpoints[{locality}].lb_endpoints[{endpoint}]"))
            }
            Step::Mutation { of, level } => self.in_level(*of, *level),
            Step::Mirror { level, policy } => one(self.in_mirrors(*level, *policy)),
            Step::BadRequest(_) | Step::Unsupported => Vec::new(),
        }
    }

    /// The mutations of a level.
    fn in_level(&self, of: MutationOf, level: Level) -> Vec<Target> {
        let part = match of {
            MutationOf::Request => "request",
            MutationOf::Response => "response",
        };
        let fields = [
            format!("{part}_headers_to_remove"),
            format!("{part}_headers_to_add"),
        ];
        let targets = fields.into_iter().filter_map(|field| match level {
            Level::WeightedCluster => {
                self.in_route(self.route?, &format!("route.weighted_clusters.{field}"))
            }
            Level::Route => self.in_route(self.route?, &field),
            Level::VirtualHost => {
                self.in_configuration(&format!("virtual_hosts[{}].{field}", self.host?))
            }
            Level::RouteConfiguration => self.in_configuration(&field),
        });
        targets.collect()
    }

    /// A mirror policy.
    fn in_mirrors(&self, level: MirrorLevel, policy: usize) -> Option<Target> {
        let field = format!("request_mirror_policies[{policy}]");
        match level {
            // The cluster's extension has no field of its own name.
            MirrorLevel::Cluster => None,
            MirrorLevel::Route => self.in_route(self.route?, &format!("route.{field}")),
            MirrorLevel::VirtualHost => {
                self.in_configuration(&format!("virtual_hosts[{}].{field}", self.host?))
            }
            MirrorLevel::RouteConfiguration => self.in_configuration(&field),
        }
    }

    /// What the route does.
    fn action(&self, index: usize) -> Option<Target> {
        let field = match self.route_at(index)?.action.as_ref()? {
            Action::Route(_) => "route",
            Action::Redirect(_) => "redirect",
            Action::DirectResponse(_) => "direct_response",
            _ => return None,
        };
        self.in_route(index, field)
    }

    fn in_listener(&self, path: &str) -> Option<Target> {
        let listener = self.snapshot.listeners.get(self.listener?)?;
        Some(Target {
            resource: format!("listener {:?}", listener.name),
            path: path.to_owned(),
        })
    }

    fn chain_field(&self) -> Option<String> {
        Some(match self.chain? {
            Chain::Index(index) => format!("filter_chains[{index}]"),
            Chain::Default => "default_filter_chain".to_owned(),
        })
    }

    fn filter_chain(&self) -> Option<&'a FilterChain> {
        let listener = self.snapshot.listeners.get(self.listener?)?;
        match self.chain? {
            Chain::Index(index) => listener.filter_chains.get(index),
            Chain::Default => listener.default_filter_chain.as_ref(),
        }
    }

    /// A field of the chain's terminal filter.
    fn in_filter(&self, path: &str) -> Option<Target> {
        let filter = self.filter_chain()?.config.filters.len().checked_sub(1)?;
        let chain = self.chain_field()?;
        self.in_listener(&format!("{chain}.filters[{filter}].typed_config.{path}"))
    }

    /// The rules of a network filter of the chain.
    fn in_network_filter(&self, filter: usize) -> Option<Target> {
        let chain = self.chain_field()?;
        self.in_listener(&format!("{chain}.filters[{filter}].typed_config.rules"))
    }

    fn in_configuration(&self, path: &str) -> Option<Target> {
        let index = self.configuration?;
        let chain = self.filter_chain();
        if chain.is_some_and(|it| it.inline_route_configuration() == Some(index)) {
            let point = if path.is_empty() { "" } else { "." };
            return self.in_filter(&format!("route_config{point}{path}"));
        }
        let configuration = self.snapshot.route_configurations.get(index)?;
        Some(Target {
            resource: format!("route configuration {:?}", configuration.name),
            path: path.to_owned(),
        })
    }

    fn in_route(&self, route: usize, path: &str) -> Option<Target> {
        let host = self.host?;
        let configuration = self
            .snapshot
            .route_configurations
            .get(self.configuration?)?;
        let route = configuration.route_path(host, route);
        self.in_configuration(&format!("{route}.{path}"))
    }

    /// In EDS's load assignment, or else in the cluster itself.
    fn in_assignment(&self, path: &str) -> Vec<Target> {
        let Some(cluster) = self.cluster.and_then(|at| self.snapshot.clusters.get(at)) else {
            return Vec::new();
        };
        let service = cluster.config.eds_cluster_config.as_ref();
        let service = service.map(|eds| eds.service_name.as_str());
        let assigned = service.filter(|name| !name.is_empty());
        let point = if path.is_empty() { "" } else { "." };
        vec![
            Target {
                resource: format!("load assignment {:?}", assigned.unwrap_or(&cluster.name)),
                path: path.to_owned(),
            },
            Target {
                resource: format!("cluster {:?}", cluster.name),
                path: format!("load_assignment{point}{path}"),
            },
        ]
    }

    fn host_config(
        &self,
        index: usize,
    ) -> Option<&'a envoy_types::pb::envoy::config::route::v3::VirtualHost> {
        let configuration = self
            .snapshot
            .route_configurations
            .get(self.configuration?)?;
        configuration.config.virtual_hosts.get(index)
    }

    fn route_at(&self, index: usize) -> Option<&'a Route> {
        self.host_config(self.host?)?.routes.get(index)
    }
}

/// The field by which a match looks at the path.
fn path_field(matched: Option<&RouteMatch>) -> &'static str {
    match matched.and_then(|matched| matched.path_specifier.as_ref()) {
        Some(PathSpecifier::Prefix(_)) => "prefix",
        Some(PathSpecifier::Path(_)) => "path",
        Some(PathSpecifier::SafeRegex(_)) => "safe_regex",
        Some(PathSpecifier::ConnectMatcher(_)) => "connect_matcher",
        Some(PathSpecifier::PathSeparatedPrefix(_)) => "path_separated_prefix",
        Some(PathSpecifier::PathMatchPolicy(_)) => "path_match_policy",
        None => "",
    }
}

/// The field by which a route names its cluster.
fn cluster_field(route: Option<&Route>) -> &'static str {
    let specifier = match route.and_then(|route| route.action.as_ref()) {
        Some(Action::Route(action)) => action.cluster_specifier.as_ref(),
        _ => None,
    };
    match specifier {
        Some(ClusterSpecifier::Cluster(_)) => "route.cluster",
        Some(ClusterSpecifier::ClusterHeader(_)) => "route.cluster_header",
        Some(ClusterSpecifier::WeightedClusters(_)) => "route.weighted_clusters",
        _ => "route",
    }
}
