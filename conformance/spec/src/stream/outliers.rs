//! Outlier detection: endpoints that fail are ejected for a while, and are unhealthy so long.

use envoy_types::pb::envoy::config::cluster::v3::{Cluster as ClusterConfig, OutlierDetection};
use envoy_types::pb::google::protobuf::UInt32Value;
use twinmesh_engine::stream::Response;
use twinmesh_engine::update::Identity;

use super::plan::microseconds;
use crate::integer;

/// What is remembered of an endpoint.
#[derive(Debug, Clone, Default)]
struct Monitor {
    consecutive_5xx: u32,
    consecutive_gateway_failure: u32,
    consecutive_local_origin_failure: u32,
    /// Responses of this interval, and how many were no error.
    responses: (u64, u64),
    /// The same of reaching the endpoint, where the two are told apart.
    reached: (u64, u64),
    ejected_us: Option<u64>,
    /// How many times the base ejection time it is ejected for.
    multiplier: u64,
}

/// The endpoints of a cluster, in the order of the load assignment.
#[derive(Debug, Clone, Default)]
pub(super) struct Detector {
    monitors: Vec<(Identity, Monitor)>,
}

/// What an attempt says of its endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) enum Said {
    /// It has a connection.
    Connected,
    Status(u32),
    /// It did not get there, was reset or took too long: the status that stands for that.
    Local(u32),
}

fn number(value: Option<UInt32Value>, default: u32) -> u32 {
    value.map_or(default, |value| value.value)
}

/// Why a cluster's outlier detection is not decided.
pub(super) fn undecided(cluster: &ClusterConfig) -> Option<&'static str> {
    let config = cluster.outlier_detection.as_ref()?;
    if !config.monitors.is_empty() {
        return Some("monitors of outlier detection are not decided");
    }
    if config.detect_degraded_hosts.is_some_and(|it| it.value) {
        return Some("degraded endpoints are detected, which is not decided");
    }
    if microseconds(config.max_ejection_time_jitter.as_ref()).unwrap_or(0) > 0 {
        return Some("an ejection time with jitter is not decided");
    }
    let shares = [
        config.enforcing_consecutive_5xx,
        config.enforcing_consecutive_gateway_failure,
        config.enforcing_consecutive_local_origin_failure,
        config.enforcing_success_rate,
        config.enforcing_local_origin_success_rate,
        config.enforcing_failure_percentage,
        config.enforcing_failure_percentage_local_origin,
    ];
    let is_drawn = |share: &UInt32Value| (1..100).contains(&share.value);
    let drawn = shares.iter().flatten().any(is_drawn);
    drawn.then_some("ejections that are enforced by chance are not decided")
}

/// `interval`, in microseconds.
pub(super) fn interval_us(config: &OutlierDetection) -> u64 {
    microseconds(config.interval.as_ref())
        .unwrap_or(10_000_000)
        .max(1000)
}

impl Detector {
    /// The endpoints that there are now; what is known of those that stay is kept.
    pub(super) fn update(&mut self, endpoints: Vec<Identity>) {
        let mut known: Vec<(Identity, Monitor)> = std::mem::take(&mut self.monitors);
        for identity in endpoints {
            if self.monitors.iter().any(|(other, _)| *other == identity) {
                continue;
            }
            let place = known.iter().position(|(other, _)| *other == identity);
            let monitor = place
                .map(|place| known.swap_remove(place).1)
                .unwrap_or_default();
            self.monitors.push((identity, monitor));
        }
    }

    fn may_eject(&self, config: &OutlierDetection) -> bool {
        let ejected = self
            .monitors
            .iter()
            .filter(|(_, it)| it.ejected_us.is_some())
            .count();
        let most = number(config.max_ejection_percent, 10).min(100);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let percent = 100.0 * (ejected + 1) as f64 / self.monitors.len() as f64;
        let always = config.always_eject_one_host.is_some_and(|it| it.value);
        percent <= f64::from(most) || (always && ejected == 0)
    }

    /// Ejects the endpoint at a place, where that is enforced and may be.
    fn eject(
        &mut self,
        config: &OutlierDetection,
        place: usize,
        enforcing: u32,
        now_us: u64,
    ) -> Option<Identity> {
        let may = self.may_eject(config);
        let (identity, monitor) = self.monitors.get_mut(place)?;
        if monitor.ejected_us.is_some() || !may || enforcing == 0 {
            return None;
        }
        monitor.ejected_us = Some(now_us);
        let (base, most) = times(config);
        if monitor.multiplier.saturating_mul(base) < most.saturating_add(base) {
            monitor.multiplier += 1;
        }
        Some(identity.clone())
    }

    /// What an attempt says; the endpoint, where it is ejected for that.
    pub(super) fn said(
        &mut self,
        config: &OutlierDetection,
        identity: &Identity,
        said: Said,
        now_us: u64,
    ) -> Option<Identity> {
        let split = config.split_external_local_origin_errors;
        let place = self
            .monitors
            .iter()
            .position(|(other, _)| other == identity)?;
        let (_, monitor) = self.monitors.get_mut(place)?;
        let status = match said {
            Said::Connected => {
                if split {
                    monitor.reached.0 += 1;
                    monitor.reached.1 += 1;
                    monitor.consecutive_local_origin_failure = 0;
                }
                return None;
            }
            Said::Local(_) if split => {
                monitor.reached.0 += 1;
                monitor.consecutive_local_origin_failure += 1;
                let most = number(config.consecutive_local_origin_failure, 5);
                if monitor.consecutive_local_origin_failure != most {
                    return None;
                }
                monitor.consecutive_local_origin_failure = 0;
                let enforcing = number(config.enforcing_consecutive_local_origin_failure, 100);
                return self.eject(config, place, enforcing, now_us);
            }
            Said::Status(status) | Said::Local(status) => status,
        };
        monitor.responses.0 += 1;
        if !(500..600).contains(&status) {
            monitor.responses.1 += 1;
            monitor.consecutive_5xx = 0;
            monitor.consecutive_gateway_failure = 0;
            return None;
        }
        let mut ejected = None;
        if (502..=504).contains(&status) {
            monitor.consecutive_gateway_failure += 1;
            if monitor.consecutive_gateway_failure == number(config.consecutive_gateway_failure, 5)
            {
                monitor.consecutive_gateway_failure = 0;
                let enforcing = number(config.enforcing_consecutive_gateway_failure, 0);
                ejected = self.eject(config, place, enforcing, now_us);
            }
        } else {
            monitor.consecutive_gateway_failure = 0;
        }
        let (_, monitor) = self.monitors.get_mut(place)?;
        monitor.consecutive_5xx += 1;
        if monitor.consecutive_5xx == number(config.consecutive_5xx, 5) {
            monitor.consecutive_5xx = 0;
            let enforcing = number(config.enforcing_consecutive_5xx, 100);
            ejected = ejected.or(self.eject(config, place, enforcing, now_us));
        }
        ejected
    }

    /// An interval is over: who returns, and who is ejected.
    pub(super) fn interval(
        &mut self,
        config: &OutlierDetection,
        now_us: u64,
    ) -> (Vec<Identity>, Vec<Identity>) {
        let mut returning = Vec::new();
        let (base, most) = times(config);
        for (identity, monitor) in &mut self.monitors {
            if monitor.ejected_us.is_none() {
                monitor.multiplier = monitor.multiplier.saturating_sub(1);
            }
            let lasts = monitor.multiplier.saturating_mul(base).min(most);
            if monitor
                .ejected_us
                .is_some_and(|since| lasts <= now_us.saturating_sub(since))
            {
                monitor.ejected_us = None;
                monitor.consecutive_5xx = 0;
                monitor.consecutive_gateway_failure = 0;
                monitor.consecutive_local_origin_failure = 0;
                returning.push(identity.clone());
            }
        }
        let mut ejected = self.by_rates(
            config,
            |monitor| monitor.responses,
            number(config.enforcing_success_rate, 100),
            number(config.enforcing_failure_percentage, 0),
            now_us,
        );
        if config.split_external_local_origin_errors {
            ejected.extend(self.by_rates(
                config,
                |monitor| monitor.reached,
                number(config.enforcing_local_origin_success_rate, 100),
                number(config.enforcing_failure_percentage_local_origin, 0),
                now_us,
            ));
        }
        for (_, monitor) in &mut self.monitors {
            monitor.responses = (0, 0);
            monitor.reached = (0, 0);
        }
        (returning, ejected)
    }

    /// Success rates that are too low, and failures that are too many.
    fn by_rates(
        &mut self,
        config: &OutlierDetection,
        of: fn(&Monitor) -> (u64, u64),
        enforcing_rate: u32,
        enforcing_percentage: u32,
        now_us: u64,
    ) -> Vec<Identity> {
        let rates = |volume: u32| -> Vec<(usize, f64)> {
            let monitors = self.monitors.iter().enumerate();
            let there = monitors.filter(|(_, (_, monitor))| monitor.ejected_us.is_none());
            there
                .map(|(place, (_, monitor))| (place, of(monitor)))
                .filter(|(_, (total, _))| *total > 0 && *total >= u64::from(volume))
                .map(|(place, (total, good))| {
                    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
                    let rate = good as f64 * 100.0 / total as f64;
                    (place, rate)
                })
                .collect()
        };
        let by_rate = rates(number(config.success_rate_request_volume, 100));
        let by_percentage = rates(number(config.failure_percentage_request_volume, 50));
        let mut ejected = Vec::new();
        let least = number(config.success_rate_minimum_hosts, 5) as usize;
        if !by_rate.is_empty() && by_rate.len() >= least {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            let count = by_rate.len() as f64;
            let mean = by_rate.iter().map(|(_, rate)| rate).sum::<f64>() / count;
            let squares = by_rate
                .iter()
                .map(|(_, rate)| (rate - mean) * (rate - mean));
            let deviation = (squares.sum::<f64>() / count).sqrt();
            let factor = f64::from(number(config.success_rate_stdev_factor, 1900)) / 1000.0;
            for (place, rate) in by_rate {
                if rate < mean - deviation * factor {
                    ejected.extend(self.eject(config, place, enforcing_rate, now_us));
                }
            }
        }
        let least = number(config.failure_percentage_minimum_hosts, 5) as usize;
        if !by_percentage.is_empty() && by_percentage.len() >= least {
            let most = f64::from(number(config.failure_percentage_threshold, 85));
            for (place, rate) in by_percentage {
                if 100.0 - rate >= most {
                    ejected.extend(self.eject(config, place, enforcing_percentage, now_us));
                }
            }
        }
        ejected
    }
}

/// Base and longest ejection time, in microseconds.
fn times(config: &OutlierDetection) -> (u64, u64) {
    let base = microseconds(config.base_ejection_time.as_ref()).unwrap_or(30_000_000);
    let most = microseconds(config.max_ejection_time.as_ref()).unwrap_or(300_000_000);
    (base, most.max(base))
}

/// The status that a response counts as: to a gRPC request, what its `grpc-status` stands for.
pub(super) fn status(response: &Response, is_grpc: bool) -> u32 {
    let grpc = response.values("grpc-status").first().copied();
    match grpc.filter(|_| is_grpc).and_then(integer::unsigned) {
        None => response.status,
        Some(0) => 200,
        Some(1) => 499,
        Some(3 | 9 | 11) => 400,
        Some(4) => 504,
        Some(5) => 404,
        Some(6 | 10) => 409,
        Some(7) => 403,
        Some(8) => 429,
        Some(12) => 501,
        Some(14) => 503,
        Some(16) => 401,
        Some(_) => 500,
    }
}
