//! `envoy.extensions.filters.http.health_check.v3`: health checks of Envoy itself are answered.

use envoy_types::pb::envoy::extensions::filters::http::health_check::v3::HealthCheck;
use twinmesh_xds::Snapshot;

use crate::cluster::{self, Health};
use crate::header;
use crate::http_filter::Verdict;
use crate::message::Message;
use crate::regex::Regexes;

/// What the filter does with a request.
pub(crate) fn verdict(
    config: &HealthCheck,
    message: &Message,
    snapshot: &Snapshot,
    regexes: &Regexes,
) -> Verdict {
    if config.pass_through_mode.is_some_and(|passes| passes.value) {
        return Verdict::Ignore;
    }
    let mut matchers = config.headers.iter();
    if !matchers.all(|matcher| header::matches(matcher, message, regexes)) {
        return Verdict::Ignore;
    }
    for (name, least) in &config.cluster_min_healthy_percentages {
        let Some(cluster) = snapshot.cluster(name) else {
            return Verdict::Answer(503);
        };
        if cluster.unsupported.is_some() {
            return Verdict::Undecided("a health check asks for a cluster that is not decided");
        }
        let assignment = cluster.load_assignment.as_ref();
        let priorities = assignment.map(cluster::hosts_by_priority);
        let hosts: Vec<_> = priorities.into_iter().flatten().flatten().collect();
        // What is behind the point does not count.
        let least = least.value as usize;
        if hosts.is_empty() && least == 0 {
            continue;
        }
        let is_available = |health| matches!(health, Health::Healthy | Health::Degraded);
        let available = hosts
            .iter()
            .filter(|host| is_available(host.health))
            .count();
        if hosts.is_empty() || 100 * available < hosts.len() * least {
            return Verdict::Answer(503);
        }
    }
    Verdict::Answer(200)
}
