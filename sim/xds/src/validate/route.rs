//! Route configurations.

use std::collections::{HashMap, HashSet};

use envoy_types::pb::envoy::config::{
    core::v3::data_source::Specifier,
    route::v3::{
        DirectResponseAction, Route, RouteAction, RouteConfiguration, VirtualHost, WeightedCluster,
        route::Action, route_action::ClusterSpecifier,
    },
};

use crate::{
    assemble::clusters_of,
    error::ReadError,
    path::{Path, Segment},
    snapshot::Snapshot,
    source::Source,
    validate::{attempts, rewrite},
    view::View,
};

/// The largest total weight.
const MAX_WEIGHT: u64 = u32::MAX as u64;

/// `max_direct_response_body_size_bytes` where it is not set.
const MAX_BODY: u32 = 4096;

/// `places` are the paths of the routes of each virtual host.
pub(crate) fn check(
    config: &RouteConfiguration,
    path: &Path,
    places: &[Vec<Path>],
    source: &Source<'_>,
) -> Result<(), ReadError> {
    check_domains(&config.virtual_hosts, path, source)?;
    let mut path = path.clone();
    for (index, host) in config.virtual_hosts.iter().enumerate() {
        path.push(Segment::Field("virtual_hosts"));
        path.push(Segment::Index(index));
        if let Some(policy) = &host.retry_policy {
            attempts::retries(policy, &path.field("retry_policy"), source)?;
        }
        let places = places.get(index).map_or(&[][..], Vec::as_slice);
        for (route, place) in host.routes.iter().zip(places) {
            check_route(route, config, place, source)?;
        }
        path.pop();
        path.pop();
    }
    Ok(())
}

/// A domain stands once in a route configuration, whatever its case.
fn check_domains(hosts: &[VirtualHost], path: &Path, source: &Source<'_>) -> Result<(), ReadError> {
    let mut seen: HashMap<String, (usize, usize)> = HashMap::new();
    for (host_index, host) in hosts.iter().enumerate() {
        for (index, domain) in host.domains.iter().enumerate() {
            let Some(first) = seen.insert(domain.to_ascii_lowercase(), (host_index, index)) else {
                continue;
            };
            let path_of = |(host, domain)| path.item("virtual_hosts", host).item("domains", domain);
            let problem = if domain == "*" {
                "a second domain \"*\"".to_owned()
            } else {
                format!("a second domain {domain:?}")
            };
            return Err(source.invalid(
                &path_of((host_index, index)),
                format!("{problem}; the first is {}", path_of(first)),
            ));
        }
    }
    Ok(())
}

fn check_route(
    route: &Route,
    config: &RouteConfiguration,
    path: &Path,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    rewrite::check(route, path, source)?;
    if let Some(Action::Route(action)) = &route.action
        && let Some(policy) = &action.retry_policy
    {
        attempts::retries(policy, &path.field("route").field("retry_policy"), source)?;
    }
    if let Some(Action::Route(action)) = &route.action {
        check_upgrades(action, &path.field("route"), source)?;
    }
    match &route.action {
        Some(Action::Route(action)) => match &action.cluster_specifier {
            Some(ClusterSpecifier::WeightedClusters(weighted)) => check_weights(
                weighted,
                &path.field("route").field("weighted_clusters"),
                source,
            ),
            Some(ClusterSpecifier::ClusterSpecifierPlugin(name)) => {
                let is_known = config.cluster_specifier_plugins.iter().any(|plugin| {
                    plugin
                        .extension
                        .as_ref()
                        .is_some_and(|extension| extension.name == *name)
                });
                if is_known {
                    return Ok(());
                }
                Err(source.invalid(
                    &path.field("route").field("cluster_specifier_plugin"),
                    format!("the route configuration has no cluster specifier plugin {name:?}"),
                ))
            }
            _ => Ok(()),
        },
        Some(Action::DirectResponse(response)) => {
            check_body(response, config, &path.field("direct_response"), source)
        }
        _ => Ok(()),
    }
}

/// A type stands once, whatever its case, and only CONNECT ends tunnels.
fn check_upgrades(action: &RouteAction, path: &Path, source: &Source<'_>) -> Result<(), ReadError> {
    let mut seen = HashSet::new();
    for (index, config) in action.upgrade_configs.iter().enumerate() {
        let kind = config.upgrade_type.to_ascii_lowercase();
        let path = path.item("upgrade_configs", index);
        let is_connect = ["connect", "connect-udp"].contains(&kind.as_str());
        if config.connect_config.is_some() && !is_connect {
            let problem = format!(
                "an upgrade of the type {:?}; only one of CONNECT has it",
                config.upgrade_type
            );
            return Err(source.invalid(&path.field("connect_config"), problem));
        }
        if !seen.insert(kind) {
            let problem = format!("a second upgrade of the type {:?}", config.upgrade_type);
            return Err(source.invalid(&path.field("upgrade_type"), problem));
        }
    }
    Ok(())
}

fn check_weights(
    weighted: &WeightedCluster,
    path: &Path,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    let mut total = 0_u64;
    for (index, entry) in weighted.clusters.iter().enumerate() {
        let place = || path.item("clusters", index);
        match (entry.name.is_empty(), entry.cluster_header.is_empty()) {
            (true, true) => {
                return Err(source.invalid(&place(), "one of name and cluster_header is required"));
            }
            (false, false) => {
                return Err(
                    source.invalid(&place(), "only one of name and cluster_header may stand")
                );
            }
            _ => {}
        }
        let Some(weight) = &entry.weight else {
            return Err(source.invalid(&place(), "weight is required"));
        };
        total += u64::from(weight.value);
    }
    let clusters = path.field("clusters");
    if total == 0 {
        return Err(source.invalid(&clusters, "the sum of the weights must be more than 0"));
    }
    if total > MAX_WEIGHT {
        return Err(source.invalid(
            &clusters,
            format!("the sum of the weights may be at most {MAX_WEIGHT}, it is {total}"),
        ));
    }
    Ok(())
}

fn check_body(
    response: &DirectResponseAction,
    config: &RouteConfiguration,
    path: &Path,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    let specifier = response
        .body
        .as_ref()
        .and_then(|body| body.specifier.as_ref());
    let (field, length) = match specifier {
        Some(Specifier::InlineString(text)) => ("inline_string", text.len()),
        Some(Specifier::InlineBytes(bytes)) => ("inline_bytes", bytes.len()),
        _ => return Ok(()),
    };
    let most = match &config.max_direct_response_body_size_bytes {
        Some(most) => most.value,
        None => MAX_BODY,
    };
    if length as u64 <= u64::from(most) {
        return Ok(());
    }
    Err(source.invalid(
        &path.field("body").field(field),
        format!("the body may have at most {most} bytes, it has {length}"),
    ))
}

/// A route configuration that stands in a listener may name only clusters that there are, unless
/// `validate_clusters` is false.
pub(crate) fn clusters_exist(
    snapshot: &Snapshot,
    listeners: &[View<'_>],
    source: &Source<'_>,
) -> Result<(), ReadError> {
    let known: HashSet<&str> = snapshot
        .clusters
        .iter()
        .map(|cluster| cluster.name.as_str())
        .collect();
    for (listener, view) in snapshot.listeners.iter().zip(listeners) {
        let chains = listener
            .filter_chains
            .iter()
            .zip(view.children("filter_chains"))
            .chain(
                listener
                    .default_filter_chain
                    .iter()
                    .zip(view.child("default_filter_chain")),
            );
        for (chain, view) in chains {
            let index = chain.inline_route_configuration();
            let Some(configuration) = index.and_then(|it| snapshot.route_configurations.get(it))
            else {
                continue;
            };
            let validates = configuration
                .config
                .validate_clusters
                .is_none_or(|flag| flag.value);
            if !validates {
                continue;
            }
            let Some(filter) = view.children("filters").pop() else {
                continue;
            };
            let path = filter.path.field("typed_config").field("route_config");
            all_known(&configuration.config, &known, &path, source)?;
        }
    }
    Ok(())
}

fn all_known(
    config: &RouteConfiguration,
    known: &HashSet<&str>,
    path: &Path,
    source: &Source<'_>,
) -> Result<(), ReadError> {
    for (host_index, host) in config.virtual_hosts.iter().enumerate() {
        for (index, route) in host.routes.iter().enumerate() {
            let host_path = || path.item("virtual_hosts", host_index);
            let path = || match host.matcher {
                Some(_) => host_path().field("matcher"),
                None => host_path().item("routes", index),
            };
            let action = match &route.action {
                Some(Action::Route(action)) => Some(action),
                _ => None,
            };
            for cluster in action.into_iter().flat_map(clusters_of) {
                if !known.contains(cluster) {
                    let path = path().field("route");
                    return Err(source.invalid(&path, format!("there is no cluster {cluster:?}")));
                }
            }
            // Also a route that does not forward inherits the policies of what it stands in.
            let own = action.map_or(&[][..], |action| &action.request_mirror_policies);
            let policies = [
                own,
                &host.request_mirror_policies,
                &config.request_mirror_policies,
            ];
            let policies = policies.into_iter().find(|policies| !policies.is_empty());
            for policy in policies.unwrap_or_default() {
                let cluster = policy.cluster.as_str();
                if !cluster.is_empty() && !known.contains(cluster) {
                    let problem =
                        format!("it mirrors to {cluster:?}, and there is no such cluster");
                    return Err(source.invalid(&path(), problem));
                }
            }
        }
    }
    Ok(())
}
