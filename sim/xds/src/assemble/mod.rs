//! From resources to a snapshot: each is walked over, validated and decoded, and what belongs
//! together is put together.

mod balancer;
mod cluster;
mod hash_key;
mod http_filter;
mod listener;
mod override_host;
mod rewrite;
mod route;
mod runtime;
mod threshold;

pub(crate) use balancer::{balancing, first_known};
pub(crate) use route::clusters_of;

use std::collections::{HashMap, HashSet};

use prost::Message;

use crate::{
    error::ReadError,
    form::{Remark, Resources},
    regexes::Regexes,
    report::{Effect, Finding, FindingKind, Report},
    snapshot::{RouteConfiguration, Snapshot, Unsupported},
    source::Source,
    validate,
    view::View,
    walk::Walker,
};

/// What all resources of one snapshot share.
struct Assembly<'s> {
    source: &'s Source<'s>,
    report: Report,
    regexes: Regexes,
    /// Some cluster has subsets.
    subsets: bool,
    /// Some listener may have a local rate limit filter.
    rate_limits: bool,
    /// Some listener may take PROXY headers.
    proxied: bool,
    /// An Envoy wrote the form.
    dumped: bool,
}

/// Puts a snapshot together. `validate_wrappers`: the form itself is one that Envoy reads, not one
/// that it writes.
pub(crate) fn assemble(
    mut resources: Resources<'_>,
    validate_wrappers: bool,
    source: &Source<'_>,
) -> Result<Snapshot, ReadError> {
    let mut assembly = Assembly {
        source,
        report: Report::default(),
        regexes: Regexes::default(),
        subsets: resources.clusters.iter().any(cluster::has_subsets),
        rate_limits: listener::has_rate_limits(&resources.listeners),
        proxied: listener::may_be_proxied(&resources.listeners),
        dumped: !validate_wrappers,
    };
    let mut of_wrappers = None;
    for wrapper in &resources.wrappers {
        let name = wrapper.message.name.rsplit('.').next().unwrap_or_default();
        let walker = Walker::new(
            source,
            &mut assembly.report,
            name.to_owned(),
            validate_wrappers,
        );
        let found = walker.wrapper(wrapper)?;
        of_wrappers = of_wrappers.or(found);
    }
    for remark in std::mem::take(&mut resources.remarks) {
        assembly.remark(remark);
    }
    // Of two listeners of one name in a bootstrap, Envoy takes one without a word.
    if !resources.is_bootstrap {
        validate::names::check(&resources.listeners, "name", source)?;
    }
    validate::names::check(&resources.clusters, "name", source)?;
    if !resources.dumped_endpoints {
        validate::names::check(&resources.route_configurations, "name", source)?;
        validate::names::check(&resources.load_assignments, "cluster_name", source)?;
    }

    let mut snapshot = Snapshot {
        node_locality: resources.node_locality.clone(),
        local_cluster: resources.local_cluster.clone(),
        warming_clusters: std::mem::take(&mut resources.warming_clusters),
        ..Snapshot::default()
    };
    for view in &resources.route_configurations {
        let configuration = assembly.route_configuration(view)?;
        snapshot.route_configurations.push(configuration);
    }
    leave_namesakes(&mut assembly, &mut snapshot.route_configurations);
    let mut listeners = assembly.listeners(&resources.listeners, &snapshot.route_configurations)?;
    let paths = resources.listeners.iter().map(|view| &view.path);
    validate::listener::check_addresses(listeners.configs().zip(paths), source)?;
    listeners.refuse_to_choose(&mut assembly);
    listeners.say_unreachable(&mut assembly);
    for view in &resources.static_route_configurations {
        if !listeners.holds(view, source)? {
            let configuration = assembly.route_configuration(view)?;
            snapshot.route_configurations.push(configuration);
        }
    }
    listeners.put_into(&mut snapshot);
    assembly.http_filters(&mut snapshot);
    let held = Held {
        load_assignments: &resources.load_assignments,
        dumped: resources.dumped_endpoints,
    };
    snapshot.clusters = assembly.clusters(&resources.clusters, &held)?;
    assembly.leave_zones(&mut snapshot);
    assembly.leave_thresholds(&mut snapshot);
    assembly.leave_override_headers(&mut snapshot);
    assembly.leave_runtime(&resources, &mut snapshot);
    leave_all(&mut snapshot, of_wrappers);
    if resources.clusters_known && !resources.more_clusters {
        if resources.is_bootstrap {
            validate::route::clusters_exist(&snapshot, &resources.listeners, source)?;
        }
    } else {
        let reason = if resources.clusters_known {
            "the cluster comes by CDS and is not in the snapshot"
        } else {
            "the snapshot holds no clusters"
        };
        add_missing_clusters(&mut snapshot, reason, &mut assembly.report.findings);
    }
    if snapshot.listeners.is_empty()
        && snapshot.route_configurations.is_empty()
        && snapshot.clusters.is_empty()
    {
        assembly.report.findings.push(Finding {
            resource: "snapshot".to_owned(),
            path: String::new(),
            kind: FindingKind::NotDecided,
            effect: Effect::ReadOver,
            message: "no listener, route configuration or cluster: there is nothing to decide"
                .to_owned(),
        });
    }
    snapshot.regexes = assembly.regexes.into_map();
    snapshot.report = assembly.report;
    Ok(snapshot)
}

/// The endpoints that a form holds beside its clusters.
struct Held<'h, 'a> {
    load_assignments: &'h [View<'a>],
    /// An Envoy wrote them.
    dumped: bool,
}

impl Assembly<'_> {
    fn remark(&mut self, remark: Remark) {
        self.report.findings.push(Finding {
            resource: remark.resource,
            path: remark.path.to_string(),
            kind: FindingKind::NotDecided,
            effect: Effect::Caution,
            message: remark.message,
        });
    }

    /// Reports that something is not decided, and gives what says so in the snapshot.
    fn unsupported(&mut self, resource: &str, path: String, reason: String) -> Unsupported {
        self.report.findings.push(Finding {
            resource: resource.to_owned(),
            path: path.clone(),
            kind: FindingKind::NotDecided,
            effect: Effect::Unsupported,
            message: reason.clone(),
        });
        Unsupported { path, reason }
    }
}

/// The typed message of a view.
fn decode<T: Message + Default>(view: &View<'_>, source: &Source<'_>) -> Result<T, ReadError> {
    T::decode(view.bytes)
        .map_err(|error| source.wire(&view.path, &view.message.name, error.to_string()))
}

/// An Envoy that gets route configurations from several sources may have several of one name, and its dump does
/// not say which listener has which.
fn leave_namesakes(assembly: &mut Assembly<'_>, configurations: &mut [RouteConfiguration]) {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for configuration in configurations.iter() {
        *counts.entry(configuration.name.clone()).or_default() += 1;
    }
    for configuration in configurations {
        let name = &configuration.name;
        if name.is_empty() || counts.get(name) == Some(&1) {
            continue;
        }
        let resource = format!("route configuration {name:?}");
        let reason = "there are several route configurations of this name".to_owned();
        let found = assembly.unsupported(&resource, "name".to_owned(), reason);
        configuration.unsupported.get_or_insert(found);
    }
}

/// Marks all requests as undecided that a bootstrap says something about which is.
fn leave_all(snapshot: &mut Snapshot, of_wrapper: Option<Unsupported>) {
    let Some(found) = of_wrapper else {
        return;
    };
    let found = Unsupported {
        path: String::new(),
        reason: format!("of the bootstrap, {found}"),
    };
    for listener in &mut snapshot.listeners {
        listener.unsupported.get_or_insert_with(|| found.clone());
    }
    for configuration in &mut snapshot.route_configurations {
        configuration
            .unsupported
            .get_or_insert_with(|| found.clone());
    }
}

/// A form that does not say which clusters there are must not make them look absent.
fn add_missing_clusters(snapshot: &mut Snapshot, reason: &str, findings: &mut Vec<Finding>) {
    let mut known: HashSet<String> = snapshot
        .clusters
        .iter()
        .map(|cluster| cluster.name.clone())
        .collect();
    let mut missing = Vec::new();
    for name in route::referred_clusters(snapshot) {
        if known.insert(name.to_owned()) {
            missing.push(cluster::absent(name, reason));
        }
    }
    route::leave_named_clusters(snapshot, reason);
    if missing.is_empty() {
        return;
    }
    findings.push(Finding {
        resource: "clusters".to_owned(),
        path: String::new(),
        kind: FindingKind::NotDecided,
        effect: Effect::Unsupported,
        message: format!(
            "{reason}: {} clusters that routes name are decided up to their endpoint",
            missing.len()
        ),
    });
    snapshot.clusters.extend(missing);
}
