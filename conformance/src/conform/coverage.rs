//! Which routes of a case its requests reached.

use std::collections::BTreeMap;
use std::sync::Arc;

use twinmesh_engine::{Did, Engine, Step};
use twinmesh_xds::Snapshot;

use crate::failure::Failure;
use crate::judge::Question;

/// The routes of a case's snapshot, with how many requests took each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Whose traces were counted.
    pub engine: &'static str,
    /// Every virtual host, in the order of the snapshot.
    pub hosts: Vec<HostCoverage>,
    /// Requests decided by a snapshot that replaced the case's.
    pub elsewhere: usize,
}

/// The routes of a virtual host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostCoverage {
    /// Name of the route configuration.
    pub configuration: String,
    /// Name of the virtual host.
    pub name: String,
    /// How many requests it took.
    pub requests: u64,
    /// Its routes, in order.
    pub routes: Vec<RouteCoverage>,
}

/// What came to a route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteCoverage {
    /// Its name, or `#i`.
    pub name: String,
    /// How many requests it took that got to its action.
    pub requests: u64,
    /// How many an HTTP filter answered before.
    pub answered: u64,
}

impl Coverage {
    /// How many routes took a request to their action, and how many there are.
    pub fn reached(&self) -> (usize, usize) {
        let routes = || self.hosts.iter().flat_map(|host| &host.routes);
        (
            routes().filter(|route| route.requests > 0).count(),
            routes().count(),
        )
    }
}

/// Counts by an engine's traces, over all requests of the question.
pub fn count(question: &Question<'_>, engine: &mut dyn Engine) -> Result<Coverage, Failure> {
    let mut hosts: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    let mut routes: BTreeMap<(usize, usize, usize), RouteCoverage> = BTreeMap::new();
    let mut elsewhere = 0;
    let replaced_at = question.schedule.and_then(|schedule| {
        let times = schedule.replacements().map(|(time, _)| time);
        times.min()
    });
    let mut now = 0;
    let name = engine.name();
    question.watch(engine, true, &mut |decided| {
        now = decided.request.time_us.unwrap_or(now).max(now);
        if replaced_at.is_some_and(|time| time <= now) {
            elsewhere += 1;
            return;
        }
        let (mut configuration, mut host) = (None, None);
        let is_answered = decided.answer.trace.steps.iter().any(|step| {
            matches!(
                step,
                Step::Filter {
                    did: Did::Answer(_),
                    ..
                }
            )
        });
        for step in &decided.answer.trace.steps {
            match step {
                Step::RouteConfiguration(index) => configuration = Some(*index),
                Step::VirtualHost { virtual_host, .. } => {
                    host = configuration.map(|configuration| (configuration, *virtual_host));
                    if let Some(host) = host {
                        *hosts.entry(host).or_default() += 1;
                    }
                }
                Step::Route(route) => {
                    if let Some((configuration, host)) = host {
                        let route = routes.entry((configuration, host, *route)).or_default();
                        if is_answered {
                            route.answered += 1;
                        } else {
                            route.requests += 1;
                        }
                    }
                }
                _ => {}
            }
        }
    })?;
    Ok(Coverage {
        engine: name,
        hosts: named(&question.snapshot, &hosts, &routes),
        elsewhere,
    })
}

fn named(
    snapshot: &Arc<Snapshot>,
    hosts: &BTreeMap<(usize, usize), u64>,
    routes: &BTreeMap<(usize, usize, usize), RouteCoverage>,
) -> Vec<HostCoverage> {
    let mut named = Vec::new();
    for (at, configuration) in snapshot.route_configurations.iter().enumerate() {
        for (place, host) in configuration.config.virtual_hosts.iter().enumerate() {
            let of_routes = host.routes.iter().enumerate().map(|(index, route)| {
                let name = if route.name.is_empty() {
                    format!("#{index}")
                } else {
                    route.name.clone()
                };
                let found = routes.get(&(at, place, index)).cloned();
                RouteCoverage {
                    name,
                    ..found.unwrap_or_default()
                }
            });
            named.push(HostCoverage {
                configuration: configuration.name.clone(),
                name: host.name.clone(),
                requests: hosts.get(&(at, place)).copied().unwrap_or(0),
                routes: of_routes.collect(),
            });
        }
    }
    named
}
