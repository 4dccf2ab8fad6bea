//! Prometheus metrics: what was decided, how long it took, and how old the policy is.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use twinmesh_ads::Status;
use twinmesh_engine::Outcome;

use crate::access_log::{AccessLog, PathTaken, Record};
use crate::datapath::Splice;
use crate::live::Live;

mod ads;
mod kernel;
mod shadow;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    listener: String,
    route_config: String,
    virtual_host: String,
    route: String,
    cluster: String,
    endpoint: String,
    outcome: &'static str,
    path: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LatencyLabels {
    cluster: String,
    path: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabels {
    cluster: String,
    endpoint: String,
}

/// The agent's metrics.
#[derive(Debug)]
pub struct Metrics {
    decisions: Family<DecisionLabels, Counter>,
    broken: Family<LatencyLabels, Counter>,
    latency: Family<LatencyLabels, Histogram, fn() -> Histogram>,
    refused_connections: Counter,
    updates: Counter,
    refused_updates: Counter,
    warnings: Gauge,
    last_refused: Mutex<Option<String>>,
}

fn buckets() -> Histogram {
    // 50 µs to about 100 s.
    Histogram::new(exponential_buckets(0.000_05, 2.0, 22))
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Forward => "forward",
        Outcome::Redirect => "redirect",
        Outcome::DirectResponse => "direct_response",
        Outcome::NoListener => "no_listener",
        Outcome::NoFilterChain => "no_filter_chain",
        Outcome::NoVirtualHost => "no_virtual_host",
        Outcome::NoRoute => "no_route",
        Outcome::NoCluster => "no_cluster",
        Outcome::NoHealthyUpstream => "no_healthy_upstream",
        Outcome::Overflow => "overflow",
        Outcome::BadRequest => "bad_request",
        Outcome::Unsupported => "unsupported",
    }
}

fn path(path: PathTaken) -> &'static str {
    match path {
        PathTaken::Proxy => "proxy",
        PathTaken::Splice => "splice",
        PathTaken::Connect => "connect",
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        Self {
            decisions: Family::default(),
            broken: Family::default(),
            latency: Family::new_with_constructor(buckets),
            refused_connections: Counter::default(),
            updates: Counter::default(),
            refused_updates: Counter::default(),
            warnings: Gauge::default(),
            last_refused: Mutex::default(),
        }
    }

    /// A request has ended.
    pub fn observe(&self, record: &Record) {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let labels = DecisionLabels {
            listener: text(&record.listener),
            route_config: text(&record.route_config),
            virtual_host: text(&record.virtual_host),
            route: text(&record.route),
            cluster: text(&record.cluster),
            endpoint: text(&record.endpoint),
            outcome: outcome(record.outcome),
            path: path(record.path_taken),
        };
        self.decisions.get_or_create(&labels).inc();
        let labels = LatencyLabels {
            cluster: labels.cluster,
            path: labels.path,
        };
        self.latency
            .get_or_create(&labels)
            .observe(record.duration.as_secs_f64());
        if !record.complete {
            self.broken.get_or_create(&labels).inc();
        }
    }

    /// A connection was closed without being served.
    pub fn refused_connection(&self) {
        self.refused_connections.inc();
    }

    /// A policy took effect, which asks for so many things that are not done.
    pub fn updated(&self, warnings: usize) {
        self.updates.inc();
        *self.last_refused() = None;
        self.warnings
            .set(i64::try_from(warnings).unwrap_or(i64::MAX));
    }

    /// A policy was refused; the one before goes on.
    pub fn refused_update(&self, reason: &str) {
        tracing::error!("refused, the policy before goes on: {reason}");
        self.refused_updates.inc();
        *self.last_refused() = Some(reason.to_owned());
    }

    /// Why the last update was refused; nothing once another one took effect.
    pub fn last_refused(&self) -> MutexGuard<'_, Option<String>> {
        let last = self.last_refused.lock();
        last.unwrap_or_else(PoisonError::into_inner)
    }

    /// All of it in OpenMetrics' text form.
    ///
    /// # Errors
    /// Formatting failed.
    pub fn encode(
        &self,
        live: &Live,
        access_log: &AccessLog,
        splice: Option<&Splice>,
        ads: Option<&Status>,
    ) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("twinmesh");
        if let Some(splice) = splice {
            kernel::register(&mut registry, splice, live);
        }
        if let Some(shadow) = live.shadow() {
            shadow::register(&mut registry, shadow.counts());
        }
        if let Some(ads) = ads {
            ads::register(&mut registry, ads);
        }
        registry.register(
            "decisions",
            "Requests and TCP connections by decision, as the proxy carried them",
            self.decisions.clone(),
        );
        registry.register(
            "incomplete",
            "Requests and TCP connections that broke off",
            self.broken.clone(),
        );
        registry.register(
            "duration_seconds",
            "From a request's head to the end of its response",
            self.latency.clone(),
        );
        registry.register(
            "refused_connections",
            "Connections closed without being served",
            self.refused_connections.clone(),
        );
        registry.register(
            "policy_updates",
            "Policies that took effect",
            self.updates.clone(),
        );
        registry.register(
            "policy_updates_refused",
            "Policies that were refused",
            self.refused_updates.clone(),
        );
        registry.register(
            "policy_warnings",
            "Things that the policy asks for and the agent does not do",
            self.warnings.clone(),
        );
        let active = Family::<EndpointLabels, Gauge>::default();
        for (cluster, endpoint, count) in live.active() {
            let gauge = active.get_or_create_owned(&EndpointLabels { cluster, endpoint });
            gauge.inc_by(i64::try_from(count).unwrap_or(i64::MAX));
        }
        registry.register("active_requests", "Active requests by endpoint", active);
        let (generation, age) = age(live);
        registry.register("policy_generation", "Counts policies", generation);
        registry.register(
            "policy_age_seconds",
            "Seconds since the policy took effect",
            age,
        );
        let lost: Counter = Counter::default();
        lost.inc_by(access_log.lost());
        registry.register("access_log_lost", "Access log lines that were lost", lost);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// Generation and age, in seconds, of the policy that decides now; 0 where there is none.
fn age(live: &Live) -> (Gauge, Gauge) {
    let (generation, age) = (Gauge::default(), Gauge::default());
    if let Some(policy) = live.current() {
        generation.set(i64::try_from(policy.generation).unwrap_or(i64::MAX));
        let since = SystemTime::now().duration_since(policy.since);
        let since = since.unwrap_or_default().as_secs();
        age.set(i64::try_from(since).unwrap_or(i64::MAX));
    }
    (generation, age)
}
