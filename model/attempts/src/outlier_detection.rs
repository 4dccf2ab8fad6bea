//! `OutlierDetection`: when an endpoint is ejected, and when it returns.

/// `interval` unless given, in milliseconds.
pub const INTERVAL_MS: u64 = 10_000;
/// `base_ejection_time` unless given, in milliseconds.
pub const BASE_MS: u64 = 30_000;
/// `max_ejection_time` unless given, in milliseconds; never less than `base_ejection_time`.
pub const MAX_MS: u64 = 300_000;

/// What a cluster says, what it does not say filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// `consecutive_5xx`
    pub five_xx: u64,
    /// `enforcing_consecutive_5xx`, in percent; likewise the others.
    pub enforcing_five_xx: u64,
    /// `consecutive_gateway_failure`
    pub gateway: u64,
    /// `enforcing_consecutive_gateway_failure`
    pub enforcing_gateway: u64,
    /// `split_external_local_origin_errors`
    pub split: bool,
    /// `consecutive_local_origin_failure`
    pub local: u64,
    /// `enforcing_consecutive_local_origin_failure`
    pub enforcing_local: u64,
    /// `interval`, in milliseconds.
    pub interval_ms: u64,
    /// `base_ejection_time`, in milliseconds.
    pub base_ms: u64,
    /// `max_ejection_time`, in milliseconds.
    pub max_ms: u64,
    /// `max_ejection_percent`
    pub max_percent: u64,
    /// `always_eject_one_host`
    pub always_one: bool,
    /// `success_rate_minimum_hosts`
    pub rate_hosts: u64,
    /// `success_rate_request_volume`
    pub rate_volume: u64,
    /// `success_rate_stdev_factor`, in thousandths.
    pub rate_factor: u64,
    /// `enforcing_success_rate`
    pub enforcing_rate: u64,
    /// `enforcing_local_origin_success_rate`
    pub enforcing_local_rate: u64,
    /// `failure_percentage_threshold`
    pub percentage: u64,
    /// `failure_percentage_minimum_hosts`
    pub percentage_hosts: u64,
    /// `failure_percentage_request_volume`
    pub percentage_volume: u64,
    /// `enforcing_failure_percentage`
    pub enforcing_percentage: u64,
    /// `enforcing_failure_percentage_local_origin`
    pub enforcing_local_percentage: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            five_xx: 5,
            enforcing_five_xx: 100,
            gateway: 5,
            enforcing_gateway: 0,
            split: false,
            local: 5,
            enforcing_local: 100,
            interval_ms: INTERVAL_MS,
            base_ms: BASE_MS,
            max_ms: MAX_MS,
            max_percent: 10,
            always_one: false,
            rate_hosts: 5,
            rate_volume: 100,
            rate_factor: 1900,
            enforcing_rate: 100,
            enforcing_local_rate: 100,
            percentage: 85,
            percentage_hosts: 5,
            percentage_volume: 50,
            enforcing_percentage: 0,
            enforcing_local_percentage: 0,
        }
    }
}

/// What an endpoint has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Result {
    /// It took a connection, or an attempt on one that there was.
    Connected,
    /// It responded with this status.
    Status(u32),
    /// Nothing came of the attempt, on the way or in time; the status that stands for it.
    Local(u32),
}

/// The status that a response to gRPC counts as.
pub fn of_grpc(status: u64) -> u32 {
    match status {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// Successes among requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Requests.
    pub total: u64,
    /// Those that succeeded.
    pub good: u64,
}

impl Tally {
    fn count(&mut self, good: bool) {
        self.total = self.total.saturating_add(1);
        self.good = self.good.saturating_add(u64::from(good));
    }

    /// Successes in percent; `None` where there were fewer requests.
    pub fn rate(self, volume: u64) -> Option<f64> {
        let rate = self.good as f64 * 100.0 / self.total as f64;
        (self.total > 0 && self.total >= volume).then_some(rate)
    }
}

/// What is remembered of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Endpoint {
    five_xx: u64,
    gateway: u64,
    local: u64,
    /// Since the last interval began: responses, and with `split` what came to none.
    pub external: Tally,
    /// As [`Self::external`], of what came to no response.
    pub local_origin: Tally,
    /// When it was ejected, in microseconds; `None`: it is not.
    pub ejected_us: Option<u64>,
    /// How many times `base_ejection_time` an ejection lasts.
    pub times: u64,
}

/// Why an endpoint is to be ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// `consecutive_5xx`
    FiveXx,
    /// `consecutive_gateway_failure`
    Gateway,
    /// `consecutive_local_origin_failure`
    Local,
}

impl Policy {
    /// How often a cause ejects, in percent.
    pub fn enforcing(&self, cause: Cause) -> u64 {
        match cause {
            Cause::FiveXx => self.enforcing_five_xx,
            Cause::Gateway => self.enforcing_gateway,
            Cause::Local => self.enforcing_local,
        }
    }

    /// Whether one more of so many endpoints may be ejected.
    pub fn may_eject(&self, ejected: u64, endpoints: u64) -> bool {
        let percent = 100.0 * ejected.saturating_add(1) as f64 / endpoints as f64;
        percent <= self.max_percent.min(100) as f64 || (self.always_one && ejected == 0)
    }

    /// What an endpoint's result is cause for, in the order in which it takes effect.
    pub fn result(&self, endpoint: &mut Endpoint, result: Result) -> [Option<Cause>; 2] {
        let status = match result {
            Result::Connected => {
                if self.split {
                    endpoint.local_origin.count(true);
                    endpoint.local = 0;
                }
                return [None, None];
            }
            Result::Local(_) if self.split => {
                endpoint.local_origin.count(false);
                endpoint.local = endpoint.local.saturating_add(1);
                let is_cause = endpoint.local == self.local;
                if is_cause {
                    endpoint.local = 0;
                }
                return [is_cause.then_some(Cause::Local), None];
            }
            Result::Status(status) | Result::Local(status) => status,
        };
        let failed = status / 100 == 5;
        endpoint.external.count(!failed);
        if !failed {
            (endpoint.five_xx, endpoint.gateway) = (0, 0);
            return [None, None];
        }
        let mut causes = [None, None];
        if matches!(status, 502..=504) {
            endpoint.gateway = endpoint.gateway.saturating_add(1);
            if endpoint.gateway == self.gateway {
                causes[0] = Some(Cause::Gateway);
                endpoint.gateway = 0;
            }
        } else {
            endpoint.gateway = 0;
        }
        endpoint.five_xx = endpoint.five_xx.saturating_add(1);
        if endpoint.five_xx == self.five_xx {
            causes[1] = Some(Cause::FiveXx);
            endpoint.five_xx = 0;
        }
        causes
    }

    /// Ejects an endpoint.
    pub fn eject(&self, endpoint: &mut Endpoint, now_us: u64) {
        endpoint.ejected_us = Some(now_us);
        let lasts = endpoint.times.saturating_mul(self.base_ms);
        if lasts < self.max_ms.saturating_add(self.base_ms) {
            endpoint.times = endpoint.times.saturating_add(1);
        }
    }

    /// At an interval's end: lets an ejected endpoint return whose time is over. Whether it does. One
    /// that is not ejected is forgiven one time.
    pub fn returns(&self, endpoint: &mut Endpoint, now_us: u64) -> bool {
        let Some(since) = endpoint.ejected_us else {
            endpoint.times = endpoint.times.saturating_sub(1);
            return false;
        };
        let lasts = endpoint.times.saturating_mul(self.base_ms).min(self.max_ms);
        if lasts.saturating_mul(1000) > now_us.saturating_sub(since) {
            return false;
        }
        endpoint.ejected_us = None;
        (endpoint.five_xx, endpoint.gateway, endpoint.local) = (0, 0, 0);
        true
    }

    /// The success rate below which an endpoint is an outlier, of so many rates; `None`: there are
    /// too few.
    pub fn least_rate(&self, rates: impl Iterator<Item = f64> + Clone) -> Option<f64> {
        let count = rates.clone().count();
        if count == 0 || (count as u64) < self.rate_hosts {
            return None;
        }
        let mean = rates.clone().sum::<f64>() / count as f64;
        let variance = rates.map(|rate| (rate - mean) * (rate - mean)).sum::<f64>() / count as f64;
        Some(mean - root(variance) * (self.rate_factor as f64 / 1000.0))
    }

    /// Whether a success rate of one of so many endpoints is a failure percentage to eject for.
    pub fn fails_too_often(&self, rate: f64, endpoints: u64) -> bool {
        endpoints > 0
            && endpoints >= self.percentage_hosts
            && 100.0 - rate >= self.percentage as f64
    }
}

/// The square root, by Newton's steps: `core` has none.
fn root(value: f64) -> f64 {
    if value <= 0.0 {
        return 0.0;
    }
    let mut root = if value > 1.0 { value } else { 1.0 };
    loop {
        let next = (root + value / root) / 2.0;
        if next >= root {
            return root;
        }
        root = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_errors_are_a_cause() {
        let policy = Policy {
            five_xx: 3,
            gateway: 2,
            ..Policy::default()
        };
        let mut endpoint = Endpoint::default();
        let mut result = |status| policy.result(&mut endpoint, Result::Status(status));
        assert_eq!(result(500), [None, None]);
        assert_eq!(result(502), [None, None]);
        assert_eq!(result(503), [Some(Cause::Gateway), Some(Cause::FiveXx)]);
        assert_eq!(result(503), [None, None]);
        assert_eq!(result(200), [None, None]);
        assert_eq!(result(503), [None, None]);
        assert_eq!(result(504), [Some(Cause::Gateway), None]);
        assert_eq!(result(500), [None, Some(Cause::FiveXx)]);
    }

    #[test]
    fn local_errors_count_apart_where_they_are_split() {
        let policy = Policy {
            split: true,
            local: 2,
            five_xx: 1,
            ..Policy::default()
        };
        let mut endpoint = Endpoint::default();
        assert_eq!(
            policy.result(&mut endpoint, Result::Local(503)),
            [None, None]
        );
        let causes = policy.result(&mut endpoint, Result::Local(504));
        assert_eq!(causes, [Some(Cause::Local), None]);
        let policy = Policy {
            split: false,
            ..policy
        };
        let causes = policy.result(&mut endpoint, Result::Local(503));
        assert_eq!(causes, [None, Some(Cause::FiveXx)]);
    }

    /// Measured on Envoy 1.40.
    #[test]
    fn so_many_may_be_ejected() {
        let may = |max_percent, ejected, endpoints| {
            let policy = Policy {
                max_percent,
                ..Policy::default()
            };
            policy.may_eject(ejected, endpoints)
        };
        assert!(!may(10, 0, 3) && !may(33, 0, 3) && may(34, 0, 3) && !may(34, 1, 3));
        assert!(!may(49, 0, 2) && may(50, 0, 2) && !may(50, 1, 2));
        let always = Policy {
            max_percent: 0,
            always_one: true,
            ..Policy::default()
        };
        assert!(always.may_eject(0, 3) && !always.may_eject(1, 3));
    }

    #[test]
    fn ejections_grow_and_are_forgiven() {
        let policy = Policy {
            base_ms: 1000,
            max_ms: 2500,
            ..Policy::default()
        };
        let mut endpoint = Endpoint::default();
        policy.eject(&mut endpoint, 0);
        assert!(!policy.returns(&mut endpoint, 999_000));
        assert!(policy.returns(&mut endpoint, 1_000_000));
        policy.eject(&mut endpoint, 2_000_000);
        assert!(!policy.returns(&mut endpoint, 3_999_000));
        assert!(policy.returns(&mut endpoint, 4_000_000));
        assert!(
            !policy.returns(&mut endpoint, 4_500_000) && !policy.returns(&mut endpoint, 4_600_000)
        );
        policy.eject(&mut endpoint, 5_000_000);
        assert!(policy.returns(&mut endpoint, 6_000_000));
        for time in 0..5 {
            policy.eject(&mut endpoint, 10_000_000 * time);
        }
        assert!(!policy.returns(&mut endpoint, 42_499_000));
        assert!(policy.returns(&mut endpoint, 42_500_000), "the longest");
    }

    #[test]
    fn rates() {
        let policy = Policy {
            rate_hosts: 3,
            rate_factor: 1000,
            percentage: 50,
            percentage_hosts: 3,
            ..Policy::default()
        };
        let rates = [100.0, 100.0, 0.0];
        let least = policy.least_rate(rates.into_iter()).expect("enough");
        assert!((least - (200.0 / 3.0 - 47.140_452)).abs() < 1e-4, "{least}");
        assert_eq!(policy.least_rate(rates.into_iter().take(2)), None);
        assert!(policy.fails_too_often(50.0, 3) && !policy.fails_too_often(50.1, 3));
        assert!(!policy.fails_too_often(0.0, 2));
        let tally = Tally { total: 4, good: 1 };
        assert_eq!((tally.rate(4), tally.rate(5)), (Some(25.0), None));
    }
}
