//! The HTTP filters of a connection manager: in order, once the route is chosen, before it acts.
//!
//! The most specific level of the route that speaks to a filter says whether it runs, and the most
//! specific that has a configuration for it how (measured). A request without a route is looked at
//! by the filters' own configurations.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::route::v3::{RouteAction, VirtualHost, route::Action};
use envoy_types::pb::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use twinmesh_engine::{
    Chain, Did, Outcome, Step,
    update::{keeps_filters, keeps_routes},
};
use twinmesh_xds::Snapshot;
use twinmesh_xds::http_filter::{FilterKind, HttpFilter, Level, PerFilter};

use crate::client_address;
use crate::cors;
use crate::fault::{self, Fault};
use crate::health_check;
use crate::local_rate_limit::{self, Buckets};
use crate::message::Message;
use crate::rate_limit;
use crate::rbac;
use crate::run::Run;

/// The filters that a request meets, and where they stand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filters<'a> {
    pub(crate) manager: &'a HttpConnectionManager,
    pub(crate) filters: &'a [HttpFilter],
    pub(crate) place: (usize, Chain),
}

/// The route that took a request, by its indices.
#[derive(Debug, Clone, Copy)]
pub struct At {
    /// Index into `Snapshot::route_configurations`.
    pub configuration: usize,
    /// Index into `RouteConfiguration.virtual_hosts`.
    pub host: usize,
    /// Index into `VirtualHost.routes`.
    pub route: usize,
    /// Index into `WeightedCluster.clusters`, where one was chosen.
    pub entry: Option<usize>,
}

/// A filter by listener, filter chain, and its index in the connection manager.
pub(crate) type Place = (usize, Option<usize>, usize);

/// What filters remember.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    /// The ends of the faults that are active.
    pub(crate) faults: BTreeMap<Place, Vec<u64>>,
    /// The token buckets.
    pub(crate) buckets: BTreeMap<Owner, Buckets>,
}

/// Whose configuration counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// The filter's own.
    Filter(Place),
    /// A level's of a route configuration, by its index; for the filter of this name.
    Level(usize, Level, String),
}

impl Memory {
    /// What filters still know with the snapshot that follows: those of listeners that go on.
    pub(crate) fn after_update(self, before: &Snapshot, after: &Snapshot) -> Self {
        let mut next = Self::default();
        for (index, listener) in after.listeners.iter().enumerate() {
            let Some(old) = keeps_filters(before, listener) else {
                continue;
            };
            for (&(at, chain, filter), ends) in &self.faults {
                if at == old {
                    next.faults.insert((index, chain, filter), ends.clone());
                }
            }
        }
        for (owner, buckets) in self.buckets {
            next.buckets
                .extend(owner.after(before, after).map(|it| (it, buckets)));
        }
        next
    }
}

impl Owner {
    /// The same one in the snapshot that follows, where it goes on.
    fn after(self, before: &Snapshot, after: &Snapshot) -> Option<Self> {
        match self {
            Self::Filter((old, chain, filter)) => {
                let mut listeners = after.listeners.iter();
                let same = |it| keeps_filters(before, it) == Some(old);
                let index = listeners.position(same)?;
                Some(Self::Filter((index, chain, filter)))
            }
            Self::Level(old, level, name) => {
                let mut all = 0..after.route_configurations.len();
                let index = all.find(|it| keeps_routes(before, after, *it) == Some(old))?;
                Some(Self::Level(index, level, name))
            }
        }
    }
}

/// What a filter does with a request.
pub(crate) enum Verdict {
    Pass,
    /// It leaves the request alone, and has not looked at all of it.
    Ignore,
    Answer(u32),
    Undecided(&'static str),
}

impl<'a> Run<'a> {
    /// Whether the request gets past the filters; otherwise it has ended there. `cluster` is the
    /// name that the route chose.
    pub(crate) fn at_filters(&mut self, message: &Message, cluster: Option<&str>) -> bool {
        let Some(met) = self.filters else {
            return true;
        };
        for filter in met.filters {
            let Some((config, level)) = effective(self.snapshot, filter, self.at) else {
                continue;
            };
            let (listener, chain) = met.place;
            let chain = match chain {
                Chain::Index(index) => Some(index),
                Chain::Default => None,
            };
            let verdict = match config {
                FilterKind::Undecided => {
                    Verdict::Undecided("a filter that the route enables is not decided")
                }
                FilterKind::LocalRateLimit(config) => {
                    let owner = match (level, self.at) {
                        (Some(level), Some(at)) => {
                            Owner::Level(at.configuration, level, filter.name.clone())
                        }
                        _ => Owner::Filter((listener, chain, filter.index)),
                    };
                    let asked = rate_limit::Asked {
                        message,
                        client: self.asked(message, met).client,
                        cluster,
                        regexes: self.regexes,
                    };
                    let limits = rate_limit::applicable(config, self.forwarding_route());
                    let descriptors = || rate_limit::descriptors(&limits, asked);
                    let buckets = self.memory.buckets.entry(owner).or_default();
                    let (random, now) = (self.random, self.now_us);
                    local_rate_limit::verdict(
                        config,
                        filter.index,
                        buckets,
                        descriptors,
                        random,
                        now,
                    )
                }
                FilterKind::Cors(_) => {
                    let policies = self.cors_policies(filter);
                    let (random, regexes) = (self.random, self.regexes);
                    cors::verdict(&policies, filter.index, message, random, regexes)
                }
                FilterKind::HealthCheck(config) => {
                    health_check::verdict(config, message, self.snapshot, self.regexes)
                }
                FilterKind::Rbac(rbac) => {
                    let asked = self.asked(message, met);
                    if self.traces {
                        let judged = rbac::judged(rbac, &asked, filter, level);
                        self.judged.push(judged);
                    }
                    rbac::verdict(rbac, &asked)
                }
                FilterKind::Fault(config) => self.at_fault(
                    Fault {
                        config,
                        index: filter.index,
                        place: (listener, chain, filter.index),
                        hides_nodes: met.manager.use_remote_address.is_some_and(|own| own.value),
                    },
                    message,
                    cluster,
                ),
            };
            let is_cors = matches!(config, FilterKind::Cors(_));
            let filter = filter.index;
            match verdict {
                Verdict::Ignore => {}
                Verdict::Pass => self.step(Step::Filter {
                    filter,
                    did: Did::Pass,
                }),
                Verdict::Answer(status) => {
                    self.step(Step::Filter {
                        filter,
                        did: Did::Answer(status),
                    });
                    let config = met.manager.http_filters.get(filter);
                    let name = config.map_or("", |config| config.name.as_str());
                    let why = format!("the HTTP filter {name:?} answers");
                    self.filter_status = status;
                    self.is_preflight = is_cors;
                    self.decision().status = Some(message.local_reply_status(status));
                    self.end(Outcome::DirectResponse, why);
                    return false;
                }
                Verdict::Undecided(why) => {
                    self.undecided(why);
                    return false;
                }
            }
        }
        true
    }

    /// The virtual host and the action of a route that forwards.
    fn forwarding_route(&self) -> Option<(&'a VirtualHost, &'a RouteAction)> {
        let at = self.at?;
        let configuration = self.snapshot.route_configurations.get(at.configuration)?;
        let host = configuration.config.virtual_hosts.get(at.host)?;
        match &host.routes.get(at.route)?.action {
            Some(Action::Route(action)) => Some((host, action)),
            _ => None,
        }
    }

    /// The CORS policies of a route that forwards, the most specific first.
    fn cors_policies(&self, filter: &HttpFilter) -> Vec<&'a CorsPolicy> {
        let snapshot = self.snapshot;
        let route = self.at.and_then(|at| {
            let configuration = snapshot.route_configurations.get(at.configuration)?;
            let host = configuration.config.virtual_hosts.get(at.host)?;
            host.routes.get(at.route)
        });
        if !route.is_some_and(|route| matches!(route.action, Some(Action::Route(_)))) {
            return Vec::new();
        }
        let said = said(self.snapshot, filter, self.at).into_iter();
        said.filter_map(|(_, said)| match said.config.as_ref()? {
            FilterKind::Cors(policy) => policy.as_deref(),
            _ => None,
        })
        .collect()
    }

    /// What rules may look at.
    fn asked<'m>(&self, message: &'m Message, met: Filters<'a>) -> rbac::Asked<'m>
    where
        'a: 'm,
    {
        let of_connection = self.asked_of_connection(met.place.0);
        asked(met.manager, message, of_connection)
    }

    /// Faults are of the filter, whichever configuration counts.
    fn at_fault(&mut self, fault: Fault<'_>, message: &Message, cluster: Option<&str>) -> Verdict {
        let active = self.memory.faults.entry(fault.place).or_default();
        let now = self.now_us;
        active.retain(|end| *end > now);
        let count = active.len();
        let met = fault::meets(fault, message, cluster, self.random, count, self.regexes);
        let met = match met {
            Ok(met) => met,
            Err(why) => return Verdict::Undecided(why),
        };
        if let Some(milliseconds) = met.delay {
            self.step(Step::Filter {
                filter: fault.index,
                did: Did::Delay(milliseconds),
            });
            let delay = milliseconds.saturating_mul(1000);
            self.answer.delayed_us = self.answer.delayed_us.saturating_add(delay);
            self.begun_faults.push(fault.place);
        }
        match met.status {
            Some(status) => Verdict::Answer(status),
            None => Verdict::Ignore,
        }
    }

    /// Adds to the reason by how much filters delayed the request.
    pub(crate) fn tell_delay(&mut self) {
        let delay = self.answer.delayed_us / 1000;
        if let Some(reason) = &mut self.answer.decision.reason
            && delay != 0
        {
            reason.push_str(&format!("; HTTP filters delay it by {delay} ms"));
        }
    }

    /// Notes how long the faults of the request are active: until it ends.
    pub(crate) fn end_faults(&mut self) {
        let held = match self.answer.decision.outcome {
            Outcome::Forward => self.request.duration_us,
            _ => 0,
        };
        let end = self.now_us.saturating_add(self.answer.delayed_us);
        let end = end.saturating_add(held);
        for place in std::mem::take(&mut self.begun_faults) {
            self.memory.faults.entry(place).or_default().push(end);
        }
    }
}

/// What rules may look at of a request on the connection.
pub(crate) fn asked<'m>(
    manager: &HttpConnectionManager,
    message: &'m Message,
    of_connection: rbac::Asked<'m>,
) -> rbac::Asked<'m> {
    let source = of_connection.source;
    let is_said = client_address::said(manager, message).is_some();
    rbac::Asked {
        message: Some(message),
        client: client_address::client(manager, message, source),
        // A header says no port.
        client_port: match is_said {
            true => Some(0),
            false => of_connection.source_port,
        },
        ..of_connection
    }
}

/// The configuration by which a filter runs, and the level that has it, where that is not the
/// filter's own; `None` where it does not run.
pub(crate) fn effective<'a>(
    snapshot: &'a Snapshot,
    filter: &'a HttpFilter,
    at: Option<At>,
) -> Option<(&'a FilterKind, Option<Level>)> {
    let said = said(snapshot, filter, at);
    let is_off = said
        .first()
        .map_or(filter.disabled, |(_, said)| said.disabled);
    if is_off {
        return None;
    }
    let mut own = said.iter().filter_map(|(level, said)| {
        let config = said.config.as_ref()?;
        config
            .is_like(&filter.config)
            .then_some((config, Some(*level)))
    });
    Some(own.next().unwrap_or((&filter.config, None)))
}

/// What the levels of the route say to a filter, the most specific first.
fn said<'a>(
    snapshot: &'a Snapshot,
    filter: &HttpFilter,
    at: Option<At>,
) -> Vec<(Level, &'a PerFilter)> {
    let found = at.and_then(|at| Some((at, snapshot.route_configurations.get(at.configuration)?)));
    let Some((at, configuration)) = found else {
        return Vec::new();
    };
    let entry = at.entry.map(|entry| Level::Entry(at.host, at.route, entry));
    let levels = entry.into_iter().chain([
        Level::Route(at.host, at.route),
        Level::VirtualHost(at.host),
        Level::RouteConfiguration,
    ]);
    let of_level = |level| {
        let said = configuration.per_filters.get(&level)?.get(&filter.name)?;
        Some((level, said))
    };
    levels.filter_map(of_level).collect()
}
