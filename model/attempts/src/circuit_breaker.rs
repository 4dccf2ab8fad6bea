//! `CircuitBreakers`: whether one more of something may be. Each is asked before it is counted.

/// `max_connections`, `max_pending_requests` and `max_requests` unless given.
pub const DEFAULT: u64 = 1024;
/// `max_retries` unless given.
pub const RETRIES: u64 = 3;
/// `retry_budget.budget_percent` unless given.
pub const BUDGET_PERCENT: f64 = 20.0;
/// `retry_budget.min_retry_concurrency` unless given.
pub const BUDGET_LEAST: u64 = 3;

/// What a cluster may have at one time, at one routing priority.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// `max_connections`
    pub connections: u64,
    /// `max_connections` of each endpoint.
    pub connections_of_endpoint: Option<u64>,
    /// `max_pending_requests`
    pub pending: u64,
    /// `max_requests`
    pub requests: u64,
    /// `max_retries`
    pub retries: u64,
    /// `retry_budget`, which takes the place of `max_retries`.
    pub budget: Option<Budget>,
}

/// `retry_budget`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// `budget_percent`, of the requests that are active or pending.
    pub percent: f64,
    /// `min_retry_concurrency`
    pub least: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            connections: DEFAULT,
            connections_of_endpoint: None,
            pending: DEFAULT,
            requests: DEFAULT,
            retries: RETRIES,
            budget: None,
        }
    }
}

/// What there is of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections, those being opened and idle ones among them.
    pub connections: u64,
    /// Requests that wait for a connection.
    pub pending: u64,
    /// Requests that endpoints have.
    pub requests: u64,
    /// Retries: from the decision to make one until it has come to something.
    pub retries: u64,
}

impl Thresholds {
    /// Whether another connection may be opened to an endpoint that has so many. One that has none
    /// gets one whatever the others have.
    pub fn connection(&self, counts: &Counts, of_endpoint: u64) -> bool {
        let most = self.connections_of_endpoint;
        of_endpoint == 0
            || (counts.connections < self.connections && most.is_none_or(|most| of_endpoint < most))
    }

    /// Whether another request may wait for a connection.
    pub fn pending(&self, counts: &Counts) -> bool {
        counts.pending < self.pending
    }

    /// Whether an endpoint may get another request.
    pub fn request(&self, counts: &Counts) -> bool {
        counts.requests < self.requests
    }

    /// Whether another retry may be made.
    pub fn retry(&self, counts: &Counts) -> bool {
        let most = match self.budget {
            None => self.retries,
            Some(budget) => {
                let active = counts.requests.saturating_add(counts.pending);
                // Cut off behind the point, as Envoy does.
                let share = (budget.percent / 100.0 * active as f64) as u64;
                share.max(budget.least)
            }
        };
        counts.retries < most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: Counts = Counts {
        connections: 1,
        pending: 1,
        requests: 2,
        retries: 1,
    };

    #[test]
    fn as_many_as_the_threshold() {
        let most = |number| Thresholds {
            connections: number,
            pending: number,
            requests: number,
            retries: number,
            ..Thresholds::default()
        };
        assert!(most(3).request(&COUNTS) && !most(2).request(&COUNTS));
        assert!(most(2).pending(&COUNTS) && !most(1).pending(&COUNTS));
        assert!(most(2).retry(&COUNTS) && !most(1).retry(&COUNTS));
        assert!(!most(0).pending(&Counts::default()), "0 is none at all");
    }

    #[test]
    fn an_endpoint_without_a_connection_gets_one() {
        let thresholds = Thresholds {
            connections: 1,
            ..Thresholds::default()
        };
        assert!(thresholds.connection(&COUNTS, 0));
        assert!(!thresholds.connection(&COUNTS, 1));
        let thresholds = Thresholds {
            connections_of_endpoint: Some(1),
            ..Thresholds::default()
        };
        assert!(!thresholds.connection(&COUNTS, 1));
    }

    #[test]
    fn a_budget_follows_the_requests() {
        let budget = |percent, least| Thresholds {
            budget: Some(Budget { percent, least }),
            ..Thresholds::default()
        };
        assert!(budget(70.0, 0).retry(&COUNTS), "2.1 of 3");
        assert!(!budget(66.0, 0).retry(&COUNTS), "1.98 of 3");
        assert!(budget(0.0, 2).retry(&COUNTS));
    }
}
