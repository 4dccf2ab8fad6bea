//! Compiles the health check filter: what it answers follows from the endpoints of the snapshot.

use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::extensions::filters::http::health_check::v3::HealthCheck;

use crate::compiler::Compiler;
use crate::http_filter::Left;

impl Compiler<'_> {
    /// The offset of the filter's record.
    ///
    /// # Errors
    /// Something of it is not decided, or does not fit.
    pub fn health_check(&mut self, config: &HealthCheck) -> Result<u64, Left> {
        let status = if self.is_healthy(config)? { 200 } else { 503 };
        let headers = self.all_matchers(&config.headers)?;
        Ok(self.arena.words(&[status, headers]))
    }

    /// Whether each cluster that it asks for has enough endpoints that may be used.
    fn is_healthy(&self, config: &HealthCheck) -> Result<bool, Left> {
        for (name, least) in &config.cluster_min_healthy_percentages {
            let Some(cluster) = self.snapshot.cluster(name) else {
                return Ok(false);
            };
            if cluster.unsupported.is_some() {
                return Err(format!(
                    "it asks for the cluster {name:?}, which is not decided"
                ));
            }
            let groups = cluster.load_assignment.iter().flat_map(|it| &it.endpoints);
            let endpoints = groups.flat_map(|group| &group.lb_endpoints);
            let (mut all, mut available) = (0_u64, 0_u64);
            for endpoint in endpoints {
                all += 1;
                let health = HealthStatus::try_from(endpoint.health_status);
                available += u64::from(matches!(
                    health,
                    Ok(HealthStatus::Unknown | HealthStatus::Healthy | HealthStatus::Degraded)
                ));
            }
            // Envoy cuts off what is behind the point.
            let least = least.value.max(0.0) as u64;
            if 100 * available < all * least || all == 0 && least != 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
