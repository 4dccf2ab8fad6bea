//! What gRPC's xDS client makes of the resources that it gets (gRFCs A27, A28, A48, A52, A63): it
//! reads few of their fields, refuses some, and leaves routes out. A snapshot is narrowed to what it
//! reads, in Envoy's own fields, so that every engine decides by what is left. What differs and is
//! not decided becomes unsupported.

#![expect(deprecated, reason = "snapshots hold what Envoy has deprecated")]

use envoy_types::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use envoy_types::pb::envoy::config::{
    cluster::v3::cluster::{ClusterDiscoveryType, CommonLbConfig, DiscoveryType},
    core::v3::HealthStatus,
    endpoint::v3::{ClusterLoadAssignment, LocalityLbEndpoints, cluster_load_assignment::Policy},
    route::v3::{
        HeaderMatcher, Route, RouteAction, RouteConfiguration as RouteConfigurationConfig,
        RouteMatch, VirtualHost, header_matcher::HeaderMatchSpecifier, route::Action,
        route_action::ClusterSpecifier, route_match::PathSpecifier,
    },
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use envoy_types::pb::envoy::r#type::v3::{FractionalPercent, Percent};
use envoy_types::pb::google::protobuf::UInt32Value;

use super::{Profile, leave_route};
use crate::report::{Effect, Finding, FindingKind};
use crate::snapshot::{Balancer, Cluster, Snapshot};

/// The most endpoints that least request draws.
const MOST_CHOICES: u32 = 10;
/// With it one healthy endpoint of a priority is enough for all requests.
const NO_SPILL_OVER: u32 = 1_000_000;
/// Headers that gRPC itself writes or does not show to its matchers alike in all languages.
const ITS_OWN: [&str; 8] = [
    "host",
    "te",
    "user-agent",
    "accept-encoding",
    "connection",
    "content-length",
    "transfer-encoding",
    "lb-cost-bin",
];

/// Narrows a snapshot to what the client reads.
pub(super) fn narrow(snapshot: &mut Snapshot) {
    listeners(snapshot);
    for index in 0..snapshot.route_configurations.len() {
        route_configuration(snapshot, index);
    }
    // It is in no cluster of its own.
    snapshot.local_cluster = None;
    for index in 0..snapshot.clusters.len() {
        cluster(snapshot, index);
    }
}

fn read_over(snapshot: &mut Snapshot, resource: &str, path: String, message: String) {
    snapshot.report.findings.push(Finding {
        resource: resource.to_owned(),
        path,
        kind: FindingKind::NotDecided,
        effect: Effect::ReadOver,
        message,
    });
}

/// The client asks by the name of a service; which route configuration that leads to is for the
/// request to say.
fn listeners(snapshot: &mut Snapshot) {
    for index in 0..snapshot.listeners.len() {
        let name = snapshot.listeners.get(index).map(|it| it.name.clone());
        let reason = "listeners of gRPC are not decided: name the route configuration";
        let resource = format!("listener {:?}", name.unwrap_or_default());
        let unsupported = snapshot.leave(resource, String::new(), reason.to_owned());
        if let Some(listener) = snapshot.listeners.get_mut(index) {
            listener.unsupported.get_or_insert(unsupported);
        }
    }
}

fn route_configuration(snapshot: &mut Snapshot, index: usize) {
    let Some(found) = snapshot.route_configurations.get(index) else {
        return;
    };
    let resource = format!("route configuration {:?}", found.name);
    if let Some((path, reason)) = refused(&found.config) {
        let unsupported = snapshot.leave(resource, path, reason);
        if let Some(found) = snapshot.route_configurations.get_mut(index) {
            found.unsupported.get_or_insert(unsupported);
        }
        return;
    }
    leave_route(snapshot, index, &mut |route| {
        undecided(route).map(|(field, reason)| (field.to_owned(), reason.to_owned()))
    });
    let mut said = Vec::new();
    let Some(found) = snapshot.route_configurations.get_mut(index) else {
        return;
    };
    let places: Vec<Vec<String>> = found
        .config
        .virtual_hosts
        .iter()
        .enumerate()
        .map(|(host, config)| {
            let routes = 0..config.routes.len();
            routes.map(|route| found.route_path(host, route)).collect()
        })
        .collect();
    let trees: Vec<usize> = found
        .config
        .virtual_hosts
        .iter()
        .enumerate()
        .filter_map(|(host, config)| config.matcher.is_some().then_some(host))
        .collect();
    let old = std::mem::take(&mut found.config);
    let hosts = old.virtual_hosts.into_iter().zip(places);
    found.config = RouteConfigurationConfig {
        name: old.name,
        virtual_hosts: hosts
            .map(|(host, places)| virtual_host(host, &places, &mut said))
            .collect(),
        ..RouteConfigurationConfig::default()
    };
    found.per_filters.clear();
    for (path, message) in said {
        read_over(snapshot, &resource, path, message);
    }
    for host in trees {
        let reason = "gRPC does not know matcher trees";
        let path = format!("virtual_hosts[{host}].matcher");
        let unsupported = snapshot.leave(resource.clone(), path, reason.to_owned());
        let found = snapshot.route_configurations.get_mut(index);
        if let Some(mark) = found.and_then(|found| found.virtual_hosts.get_mut(host)) {
            mark.unsupported.get_or_insert(unsupported);
        }
    }
}

/// For what the client refuses the route configuration as a whole.
fn refused(config: &RouteConfigurationConfig) -> Option<(String, String)> {
    let hosts = config.virtual_hosts.iter().enumerate();
    let mut routes = hosts.flat_map(|(host, config)| {
        let routes = config.routes.iter().enumerate();
        routes.map(move |(index, route)| (format!("virtual_hosts[{host}].routes[{index}]"), route))
    });
    routes.find_map(|(path, route)| {
        let matched = route.r#match.as_ref()?;
        if !matched.query_parameters.is_empty() {
            return None;
        }
        let known = matches!(
            matched.path_specifier,
            Some(PathSpecifier::Prefix(_) | PathSpecifier::Path(_) | PathSpecifier::SafeRegex(_))
        );
        if !known {
            let reason = "gRPC refuses a path that is no prefix, path or safe_regex";
            return Some((format!("{path}.match"), reason.to_owned()));
        }
        let says_nothing = |it: &HeaderMatcher| it.header_match_specifier.is_none();
        let header = matched.headers.iter().position(says_nothing);
        header.map(|header| {
            let reason = "gRPC refuses a header matcher that does not say what it matches";
            (format!("{path}.match.headers[{header}]"), reason.to_owned())
        })
    })
}

/// The field for which a route is not decided, and why.
fn undecided(route: &Route) -> Option<(&'static str, &'static str)> {
    let matched = route.r#match.as_ref()?;
    if is_left_out(route) {
        return None;
    }
    if matched.case_sensitive.as_ref().is_some_and(|it| !it.value) {
        return Some((
            "match.case_sensitive",
            "some versions of gRPC refuse paths of any case",
        ));
    }
    if is_a_share(matched) {
        return Some((
            "match.runtime_fraction",
            "gRPC draws a random number of its own for a share of the calls",
        ));
    }
    if matched.headers.iter().any(is_its_own) {
        return Some((
            "match.headers",
            "what gRPC's matchers see of a header that gRPC writes is not decided",
        ));
    }
    match &route.action {
        Some(Action::Route(action)) => match &action.cluster_specifier {
            Some(ClusterSpecifier::Cluster(_) | ClusterSpecifier::WeightedClusters(_)) => None,
            _ => Some((
                "route",
                "gRPC does not decide this way which cluster a call goes to",
            )),
        },
        _ => Some((
            "action",
            "what becomes of gRPC's calls of a route that does not forward is not decided",
        )),
    }
}

/// Whether the route takes some of the calls that it could, and not all.
fn is_a_share(matched: &RouteMatch) -> bool {
    let fraction = matched.runtime_fraction.as_ref();
    let fraction = fraction.map(|it| it.default_value.unwrap_or_default());
    fraction.is_some_and(|it| it.numerator != 0 && it.numerator < denominator(it))
}

/// Whether a matcher looks at a header of gRPC's own.
fn is_its_own(matcher: &HeaderMatcher) -> bool {
    let name = matcher.name.as_str();
    let lower = name.to_ascii_lowercase();
    name.starts_with(':') || lower.starts_with("grpc-") || lower != name || ITS_OWN.contains(&name)
}

fn denominator(fraction: FractionalPercent) -> u32 {
    use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
    match DenominatorType::try_from(fraction.denominator) {
        Ok(DenominatorType::TenThousand) => 10_000,
        Ok(DenominatorType::Million) => 1_000_000,
        _ => 100,
    }
}

/// Whether the client goes on as if there were no such route.
fn is_left_out(route: &Route) -> bool {
    let by_query = route
        .r#match
        .as_ref()
        .is_some_and(|it| !it.query_parameters.is_empty());
    let by_header = matches!(
        &route.action,
        Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::ClusterHeader(_)),
            ..
        }))
    );
    by_query || by_header
}

fn virtual_host(
    old: VirtualHost,
    places: &[String],
    said: &mut Vec<(String, String)>,
) -> VirtualHost {
    VirtualHost {
        name: old.name,
        domains: old.domains,
        routes: old
            .routes
            .into_iter()
            .zip(places)
            .map(|(old, place)| route(old, place, said))
            .collect(),
        matcher: old.matcher,
        ..VirtualHost::default()
    }
}

/// The route with what the client reads of it. Matchers that are not decided take every call, so that
/// those that the others take are not decided.
fn route(old: Route, place: &str, said: &mut Vec<(String, String)>) -> Route {
    let mut say = |message: &str| said.push((place.to_owned(), message.to_owned()));
    let left_out = is_left_out(&old);
    if left_out {
        say("gRPC leaves out a route with query_parameters or cluster_header: it takes no call");
    }
    let before = old.clone();
    let mut matched = old.r#match.unwrap_or_default();
    if is_a_share(&matched) {
        matched.runtime_fraction = None;
    }
    matched.headers.retain(|matcher| !is_its_own(matcher));
    let mut kept = RouteMatch {
        path_specifier: matched.path_specifier,
        case_sensitive: matched.case_sensitive,
        runtime_fraction: matched.runtime_fraction,
        headers: matched.headers.into_iter().map(header).collect(),
        ..RouteMatch::default()
    };
    if left_out {
        // What takes nothing, in Envoy's words.
        kept.runtime_fraction = Some(RuntimeFractionalPercent {
            default_value: Some(FractionalPercent::default()),
            ..RuntimeFractionalPercent::default()
        });
    }
    let action = match old.action {
        Some(Action::Route(action)) => Some(Action::Route(RouteAction {
            cluster_specifier: match action.cluster_specifier {
                Some(ClusterSpecifier::WeightedClusters(mut weighted)) => {
                    weighted.random_value_specifier = None;
                    for entry in &mut weighted.clusters {
                        let weight = entry.weight;
                        let name = std::mem::take(&mut entry.name);
                        *entry = Default::default();
                        (entry.name, entry.weight) = (name, weight);
                    }
                    Some(ClusterSpecifier::WeightedClusters(weighted))
                }
                other => other,
            },
            ..RouteAction::default()
        })),
        other => other,
    };
    let kept = Route {
        name: old.name,
        r#match: Some(kept),
        action,
        ..Route::default()
    };
    if kept != before && !left_out {
        say("gRPC reads a route's path, headers and clusters alone, not all that stands here");
    }
    kept
}

/// An empty `exact_match` compares; a missing header is never taken as empty.
fn header(old: HeaderMatcher) -> HeaderMatcher {
    let specifier = match old.header_match_specifier {
        Some(HeaderMatchSpecifier::ExactMatch(text)) => {
            Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
                ignore_case: false,
                match_pattern: Some(MatchPattern::Exact(text)),
            }))
        }
        other => other,
    };
    HeaderMatcher {
        header_match_specifier: specifier,
        treat_missing_header_as_empty: false,
        ..old
    }
}

fn cluster(snapshot: &mut Snapshot, index: usize) {
    let Some(found) = snapshot.clusters.get_mut(index) else {
        return;
    };
    let resource = format!("cluster {:?}", found.name);
    let mut said = Vec::new();
    let why = why_not(found);
    narrow_cluster(found, &mut said);
    for message in said {
        read_over(snapshot, &resource, String::new(), message.to_owned());
    }
    if let Some((path, reason)) = why {
        let unsupported = snapshot.leave(resource, path.to_owned(), reason.to_owned());
        if let Some(found) = snapshot.clusters.get_mut(index) {
            found.unsupported.get_or_insert(unsupported);
        }
    }
}

/// The field for which the client's choice of an endpoint is not decided, and why.
fn why_not(cluster: &Cluster) -> Option<(&'static str, &'static str)> {
    let config = &cluster.config;
    let is_eds = matches!(
        config.cluster_discovery_type,
        Some(ClusterDiscoveryType::Type(kind)) if kind == DiscoveryType::Eds as i32
    );
    if !is_eds {
        return Some(("type", "of gRPC's clusters those of type EDS are decided"));
    }
    if config.load_balancing_policy.is_some() {
        let reason = "which load_balancing_policy gRPC takes is not decided";
        return Some(("load_balancing_policy", reason));
    }
    match cluster.balancer {
        Balancer::RoundRobin
        | Balancer::LeastRequest {
            full_scan: false, ..
        } => {}
        _ => {
            let reason = "of gRPC's balancers ROUND_ROBIN and LEAST_REQUEST are decided";
            return Some(("lb_policy", reason));
        }
    }
    let breakers = config.circuit_breakers.as_ref();
    let mut thresholds = breakers.iter().flat_map(|it| &it.thresholds);
    if thresholds.any(|it| it.max_requests.as_ref().is_some_and(|most| most.value == 0)) {
        let reason =
            "what gRPC makes of a circuit breaker that lets no call through is not decided";
        return Some(("circuit_breakers", reason));
    }
    let assignment = cluster.load_assignment.as_ref()?;
    let policy = assignment.policy.as_ref();
    if policy.is_some_and(|policy| !policy.drop_overloads.is_empty()) {
        let reason = "gRPC draws random numbers of its own for what it drops";
        return Some(("load_assignment.policy.drop_overloads", reason));
    }
    let weighed = assignment.endpoints.iter().filter(|it| is_weighed(it));
    let mut priorities: Vec<u32> = weighed.map(|it| it.priority).collect();
    priorities.sort_unstable();
    let several = priorities
        .windows(2)
        .any(|pair| pair.first() == pair.last());
    several.then_some((
        "load_assignment.endpoints",
        "gRPC draws a locality of the priority, by weight",
    ))
}

/// The client's choice in Envoy's words: the first priority with a healthy endpoint gets all calls,
/// and there is no panic.
fn narrow_cluster(cluster: &mut Cluster, said: &mut Vec<&'static str>) {
    cluster.locality_weighted = false;
    cluster.subsets = None;
    if let Balancer::LeastRequest { choice_count, .. } = &mut cluster.balancer {
        *choice_count = (*choice_count).min(MOST_CHOICES);
    }
    let config = &mut cluster.config;
    if config.circuit_breakers.take().is_some() {
        said.push("gRPC's circuit breaker is taken as never reached");
    }
    config.common_lb_config = Some(CommonLbConfig {
        healthy_panic_threshold: Some(Percent { value: 0.0 }),
        ..CommonLbConfig::default()
    });
    config.lb_subset_config = None;
    if let Some(assignment) = &mut cluster.load_assignment {
        narrow_endpoints(assignment, said);
    }
}

/// Whether the client takes the locality.
fn is_weighed(locality: &LocalityLbEndpoints) -> bool {
    let weight = locality.load_balancing_weight.as_ref();
    weight.is_some_and(|weight| weight.value != 0)
}

fn narrow_endpoints(assignment: &mut ClusterLoadAssignment, said: &mut Vec<&'static str>) {
    let all = assignment.endpoints.len();
    assignment.endpoints.retain(is_weighed);
    if assignment.endpoints.len() != all {
        said.push("gRPC leaves out a locality without load_balancing_weight");
    }
    let drops = assignment.policy.take().map(|policy| policy.drop_overloads);
    assignment.policy = Some(Policy {
        overprovisioning_factor: Some(UInt32Value {
            value: NO_SPILL_OVER,
        }),
        drop_overloads: drops.unwrap_or_default(),
        ..Policy::default()
    });
    for endpoint in assignment
        .endpoints
        .iter_mut()
        .flat_map(|locality| &mut locality.lb_endpoints)
    {
        endpoint.load_balancing_weight = None;
        let health = HealthStatus::try_from(endpoint.health_status);
        let health = health.unwrap_or(HealthStatus::Unhealthy);
        endpoint.health_status = Profile::Grpc.health(health) as i32;
    }
}
