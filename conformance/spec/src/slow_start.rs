//! `slow_start_config`: endpoints that have come get less than their weight for a while.
//!
//! A cluster's endpoints are in its queue, by deadlines, whatever their weights, where one of them
//! came within the window before the priority changed the last time; an endpoint's weight is looked
//! at when it enters the queue, and each time it is picked. All is in Envoy's own doubles.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::cluster::v3::cluster::SlowStartConfig as OldConfig;
use envoy_types::pb::envoy::extensions::load_balancing_policies::common::v3::SlowStartConfig;
use envoy_types::pb::google::protobuf::Duration;

use crate::cluster::{Health, Host};
use crate::policy::Policy;

const DEFAULT_LEAST_PERCENT: f64 = 10.0;
/// `active_request_bias` where it is no number, or below 0.
const DEFAULT_BIAS: f64 = 1.0;

/// What a cluster says of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Options {
    window_ms: u64,
    aggression: f64,
    /// The least share of its weight that an endpoint has.
    least: f64,
}

impl Options {
    /// As a field beside `lb_policy` says; `None` where there is no window.
    pub(crate) fn old(config: Option<&OldConfig>) -> Option<Self> {
        let config = config?;
        let aggression = config.aggression.as_ref().map(|it| it.default_value);
        let least = config.min_weight_percent.map(|it| it.value);
        Self::of(config.slow_start_window, aggression, least)
    }

    /// As an extension says.
    pub(crate) fn new(config: Option<&SlowStartConfig>) -> Option<Self> {
        let config = config?;
        let aggression = config.aggression.as_ref().map(|it| it.default_value);
        let least = config.min_weight_percent.map(|it| it.value);
        Self::of(config.slow_start_window, aggression, least)
    }

    fn of(window: Option<Duration>, aggression: Option<f64>, percent: Option<f64>) -> Option<Self> {
        let window = window?;
        let nanos = i128::from(window.seconds) * 1_000_000_000 + i128::from(window.nanos);
        let window_ms = u64::try_from(nanos / 1_000_000).ok()?;
        let aggression = aggression.filter(|it| *it > 0.0).unwrap_or(1.0);
        let least = percent.unwrap_or(DEFAULT_LEAST_PERCENT) / 100.0;
        (window_ms > 0).then_some(Self {
            window_ms,
            aggression,
            least,
        })
    }

    /// What is left of the weight of an endpoint that came so many milliseconds ago.
    fn share(self, since_ms: u64) -> f64 {
        if since_ms >= self.window_ms {
            return 1.0;
        }
        let passed = since_ms.max(1) as f64 / self.window_ms as f64;
        let raised = if self.aggression == 1.0 || passed == 1.0 {
            passed
        } else {
            passed.powf(1.0 / self.aggression)
        };
        raised.max(self.least)
    }
}

/// An endpoint's place: index of its locality, and in that.
type Place = (usize, usize);

/// How a priority was when it changed the last time.
#[derive(Debug, Clone)]
struct Changed {
    at_us: u64,
    /// Some endpoint of the cluster came within the window before.
    starting: bool,
    /// What was active.
    active: BTreeMap<Place, u64>,
}

/// What a cluster knows of its endpoints' times.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    options: Options,
    /// When the last endpoint came, or the cluster itself.
    latest_us: u64,
    /// When each endpoint was first seen healthy.
    since_us: BTreeMap<Place, u64>,
    changed: BTreeMap<usize, Changed>,
}

impl Times {
    /// Of a cluster that comes at this time.
    pub(crate) fn new(options: Options, now_us: u64) -> Self {
        Self {
            options,
            latest_us: now_us,
            since_us: BTreeMap::new(),
            changed: BTreeMap::new(),
        }
    }

    /// The places of the endpoints are others; those that `next` does not know have gone.
    pub(crate) fn moved(mut self, next: impl Fn(Place) -> Option<Place>) -> Self {
        let move_all = |all: BTreeMap<Place, u64>| -> BTreeMap<Place, u64> {
            let all = all.into_iter();
            all.filter_map(|(place, it)| Some((next(place)?, it)))
                .collect()
        };
        self.since_us = move_all(self.since_us);
        for changed in self.changed.values_mut() {
            changed.active = move_all(std::mem::take(&mut changed.active));
        }
        self
    }

    /// A priority has other endpoints, or the cluster is new; priorities in order.
    pub(crate) fn change(
        &mut self,
        priority: usize,
        hosts: &[Host],
        active: impl Fn(Place) -> u64,
        now_us: u64,
    ) {
        for host in hosts.iter().filter(|host| host.health == Health::Healthy) {
            let since = *self.since_us.entry(place(host)).or_insert(now_us);
            let within = milliseconds(since, now_us) <= self.options.window_ms;
            if since > self.latest_us && within {
                self.latest_us = since;
            }
        }
        let active = hosts.iter().map(|host| (place(host), active(place(host))));
        let changed = Changed {
            at_us: now_us,
            starting: self.is_starting(now_us),
            active: active.collect(),
        };
        self.changed.insert(priority, changed);
    }

    /// The last endpoint came within the window.
    fn is_starting(&self, now_us: u64) -> bool {
        milliseconds(self.latest_us, now_us) <= self.options.window_ms
    }

    /// Whether a priority's endpoints of one weight are in the queue, too.
    pub(crate) fn queues_equals(&self, priority: usize) -> bool {
        let changed = self.changed.get(&priority);
        changed.is_some_and(|changed| changed.starting)
    }

    /// What the endpoints are put into the queue with when the priority changes: the time to their
    /// first deadline.
    pub(crate) fn first(&self, priority: usize, hosts: &[Host], policy: Policy) -> Vec<f64> {
        let changed = self.changed.get(&priority);
        let first = |host: &Host| {
            let (at, starting, active) = changed.map_or((0, false, 0), |changed| {
                let active = changed.active.get(&place(host)).copied();
                (changed.at_us, changed.starting, active.unwrap_or(0))
            });
            1.0 / self.weight(host, policy, active, starting, at)
        };
        hosts.iter().map(first).collect()
    }

    /// How much later the next deadline of an endpoint is that is picked at this time.
    pub(crate) fn next(&self, host: &Host, policy: Policy, active: u64, now_us: u64) -> f64 {
        1.0 / self.weight(host, policy, active, self.is_starting(now_us), now_us)
    }

    fn weight(&self, host: &Host, policy: Policy, active: u64, starting: bool, now: u64) -> f64 {
        let mut weight = f64::from(host.weight);
        if let Policy::LeastRequest(options) = policy {
            let bias = options.active_request_bias;
            let bias = if bias >= 0.0 { bias } else { DEFAULT_BIAS };
            let requests = (active + 1) as f64;
            if bias == 1.0 {
                weight /= requests;
            } else if bias != 0.0 {
                weight /= requests.powf(bias);
            }
        }
        let since = self.since_us.get(&place(host));
        match since.filter(|_| starting && host.health == Health::Healthy) {
            Some(&since) => weight * self.options.share(milliseconds(since, now)),
            None => weight,
        }
    }
}

fn place(host: &Host) -> Place {
    (host.locality, host.endpoint)
}

/// Whole milliseconds between two times.
fn milliseconds(from_us: u64, to_us: u64) -> u64 {
    to_us.saturating_sub(from_us) / 1000
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn options(window_ms: u64, aggression: f64, least: f64) -> Options {
        Options {
            window_ms,
            aggression,
            least,
        }
    }

    #[rstest]
    #[case::at_once(options(1000, 1.0, 0.1), 0, 0.1)]
    #[case::a_millisecond_at_least(options(1000, 1.0, 0.0), 0, 0.001)]
    #[case::half(options(1000, 1.0, 0.1), 500, 0.5)]
    #[case::just_before(options(1000, 1.0, 0.1), 999, 0.999)]
    #[case::over(options(1000, 1.0, 0.1), 1000, 1.0)]
    #[case::squared(options(1000, 0.5, 0.1), 500, 0.25)]
    #[case::root(options(1000, 2.0, 0.1), 250, 0.5)]
    fn shares(#[case] options: Options, #[case] since_ms: u64, #[case] expected: f64) {
        assert_eq!(options.share(since_ms), expected);
    }

    #[rstest]
    #[case::none(None, None)]
    #[case::shorter_than_a_millisecond(Some((0, 999_999)), None)]
    #[case::a_millisecond(Some((0, 1_999_999)), Some(1))]
    #[case::seconds(Some((2, 500_000_000)), Some(2500))]
    fn windows(#[case] window: Option<(i64, i32)>, #[case] expected: Option<u64>) {
        let config = SlowStartConfig {
            slow_start_window: window.map(|(seconds, nanos)| Duration { seconds, nanos }),
            ..SlowStartConfig::default()
        };
        let found = Options::new(Some(&config));
        assert_eq!(found.map(|it| it.window_ms), expected);
        assert!(found.is_none_or(|it| (it.aggression, it.least) == (1.0, 0.1)));
    }

    #[test]
    fn the_last_that_came_opens_the_window() {
        let host = |endpoint, health| Host {
            locality: 0,
            endpoint,
            weight: 1,
            health,
        };
        let (old, young) = (host(0, Health::Healthy), host(1, Health::Healthy));
        let mut times = Times::new(options(1000, 1.0, 0.1), 0);
        times.change(0, std::slice::from_ref(&old), |_| 0, 0);
        assert!(times.is_starting(1_000_999));
        assert!(!times.is_starting(1_001_000));
        // One that is not healthy does not come.
        times.change(
            0,
            &[old.clone(), host(1, Health::Degraded)],
            |_| 0,
            2_000_000,
        );
        assert!(!times.queues_equals(0));
        times.change(0, &[old.clone(), young.clone()], |_| 0, 3_000_000);
        assert!(times.queues_equals(0));
        let first = times.first(0, &[old.clone(), young.clone()], Policy::RoundRobin);
        assert_eq!(first, [1.0, 10.0]);
        assert_eq!(times.next(&young, Policy::RoundRobin, 0, 3_500_000), 2.0);
        assert_eq!(times.next(&young, Policy::RoundRobin, 0, 4_000_000), 1.0);
    }
}
