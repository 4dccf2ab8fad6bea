//! How long to wait before the next attempt.

use std::time::Duration;

/// Waiting times: exponential, with jitter, so that agents do not come back to a server all at
/// once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The longest first wait.
    pub base: Duration,
    /// By how much each longest wait is longer than the one before.
    pub factor: f64,
    /// No wait is longer.
    pub maximum: Duration,
}

impl Default for Backoff {
    /// Half a second, doubled up to half a minute.
    fn default() -> Backoff {
        Backoff {
            base: Duration::from_millis(500),
            factor: 2.0,
            maximum: Duration::from_secs(30),
        }
    }
}

impl Backoff {
    /// The wait after `failures` failures in a row; `random` is uniform in [0, 1). Half of it is
    /// jitter.
    pub fn wait(&self, failures: u32, random: f64) -> Duration {
        let steps = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let longest = self.base.as_secs_f64() * self.factor.max(1.0).powi(steps);
        let longest = longest.min(self.maximum.as_secs_f64());
        let random = if random.is_finite() {
            random.clamp(0.0, 1.0)
        } else {
            1.0
        };
        Duration::try_from_secs_f64(longest * (0.5 + random / 2.0)).unwrap_or(self.maximum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff::default();
        let waits: Vec<u128> = [1, 2, 3, 7, 8, 1000, u32::MAX]
            .into_iter()
            .map(|failures| backoff.wait(failures, 1.0).as_millis())
            .collect();
        assert_eq!(waits, [500, 1000, 2000, 30_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn jitter_takes_away_at_most_half() {
        let backoff = Backoff::default();
        assert_eq!(backoff.wait(1, 0.0), Duration::from_millis(250));
        assert_eq!(backoff.wait(1, 0.5), Duration::from_millis(375));
        assert_eq!(backoff.wait(0, -1.0), Duration::from_millis(250));
        assert_eq!(backoff.wait(1, f64::NAN), Duration::from_millis(500));
    }
}
