//! `RetryPolicy`: whether what an attempt came to is tried again, and after how long.

/// Conditions of `retry_on`, a bit each.
pub mod on {
    /// `5xx`
    pub const FIVE_XX: u32 = 1;
    /// `gateway-error`
    pub const GATEWAY_ERROR: u32 = 1 << 1;
    /// `reset`
    pub const RESET: u32 = 1 << 2;
    /// `reset-before-request`
    pub const RESET_BEFORE_REQUEST: u32 = 1 << 3;
    /// `connect-failure`
    pub const CONNECT_FAILURE: u32 = 1 << 4;
    /// `envoy-ratelimited`
    pub const ENVOY_RATE_LIMITED: u32 = 1 << 5;
    /// `retriable-4xx`
    pub const RETRIABLE_4XX: u32 = 1 << 6;
    /// `refused-stream`
    pub const REFUSED_STREAM: u32 = 1 << 7;
    /// `retriable-status-codes`
    pub const RETRIABLE_STATUS_CODES: u32 = 1 << 8;
    /// `retriable-headers`
    pub const RETRIABLE_HEADERS: u32 = 1 << 9;
    /// `cancelled`
    pub const GRPC_CANCELLED: u32 = 1 << 10;
    /// `deadline-exceeded`
    pub const GRPC_DEADLINE_EXCEEDED: u32 = 1 << 11;
    /// `resource-exhausted`
    pub const GRPC_RESOURCE_EXHAUSTED: u32 = 1 << 12;
    /// `internal`
    pub const GRPC_INTERNAL: u32 = 1 << 13;
    /// `unavailable`
    pub const GRPC_UNAVAILABLE: u32 = 1 << 14;
}

/// `max_interval` is this many times `base_interval` unless given.
pub const INTERVALS: u64 = 10;
/// `base_interval` unless given, in milliseconds.
pub const BASE_MS: u64 = 25;
/// `max_interval` of `rate_limited_retry_back_off` unless given, in milliseconds.
pub const RESET_MAX_MS: u64 = 300_000;

/// The bits of a list as in `x-envoy-retry-on`; unknown names have none.
pub fn conditions(list: &str) -> u32 {
    bits(list, |name| match name {
        "5xx" => on::FIVE_XX,
        "gateway-error" => on::GATEWAY_ERROR,
        "reset" => on::RESET,
        "reset-before-request" => on::RESET_BEFORE_REQUEST,
        "connect-failure" => on::CONNECT_FAILURE,
        "envoy-ratelimited" => on::ENVOY_RATE_LIMITED,
        "retriable-4xx" => on::RETRIABLE_4XX,
        "refused-stream" => on::REFUSED_STREAM,
        "retriable-status-codes" => on::RETRIABLE_STATUS_CODES,
        "retriable-headers" => on::RETRIABLE_HEADERS,
        _ => 0,
    })
}

/// The bits of a list as in `x-envoy-retry-grpc-on`. `RetryPolicy.retry_on` takes both kinds.
pub fn grpc_conditions(list: &str) -> u32 {
    bits(list, |name| match name {
        "cancelled" => on::GRPC_CANCELLED,
        "deadline-exceeded" => on::GRPC_DEADLINE_EXCEEDED,
        "resource-exhausted" => on::GRPC_RESOURCE_EXHAUSTED,
        "internal" => on::GRPC_INTERNAL,
        "unavailable" => on::GRPC_UNAVAILABLE,
        _ => 0,
    })
}

fn bits(list: &str, of: fn(&str) -> u32) -> u32 {
    list.split(',').fold(0, |all, name| all | of(name.trim()))
}

/// What a response says to the conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Response {
    /// The HTTP status.
    pub status: u32,
    /// `grpc-status`, where it is a number.
    pub grpc_status: Option<u64>,
    /// It has `x-envoy-ratelimited`.
    pub rate_limited: bool,
    /// Its status is one of `retriable_status_codes`.
    pub listed: bool,
    /// It has one of `retriable_headers`.
    pub header: bool,
}

/// Whether a response is retriable under the conditions.
pub fn response(conditions: u32, response: Response) -> bool {
    if response.rate_limited {
        // It comes from an Envoy that has limited the rate: nothing else counts.
        return conditions & on::ENVOY_RATE_LIMITED != 0;
    }
    let mut meets = 0;
    if response.status / 100 == 5 {
        meets |= on::FIVE_XX;
    }
    if matches!(response.status, 502..=504) {
        meets |= on::GATEWAY_ERROR;
    }
    if response.status == 409 {
        meets |= on::RETRIABLE_4XX;
    }
    if response.listed {
        meets |= on::RETRIABLE_STATUS_CODES;
    }
    if response.header {
        meets |= on::RETRIABLE_HEADERS;
    }
    meets |= match response.grpc_status {
        Some(1) => on::GRPC_CANCELLED,
        Some(4) => on::GRPC_DEADLINE_EXCEEDED,
        Some(8) => on::GRPC_RESOURCE_EXHAUSTED,
        Some(13) => on::GRPC_INTERNAL,
        Some(14) => on::GRPC_UNAVAILABLE,
        _ => 0,
    };
    conditions & meets != 0
}

/// How an attempt ended without a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// No connection came about.
    Connect,
    /// The endpoint refused the stream.
    Refused,
    /// The endpoint ended it, or it took too long.
    Other,
}

/// Whether such an end is retriable under the conditions.
pub fn reset(conditions: u32, reset: Reset) -> bool {
    let meets = on::FIVE_XX
        | on::GATEWAY_ERROR
        | on::RESET
        | match reset {
            Reset::Connect => on::CONNECT_FAILURE | on::RESET_BEFORE_REQUEST,
            Reset::Refused => on::REFUSED_STREAM,
            Reset::Other => 0,
        };
    conditions & meets != 0
}

/// Bounds of the back off, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intervals {
    /// `base_interval`, at least 1.
    pub base_ms: u64,
    /// `max_interval`.
    pub max_ms: u64,
}

impl Intervals {
    /// What a policy gives, each in milliseconds, or what stands for it.
    pub fn new(base_ms: Option<u64>, max_ms: Option<u64>) -> Self {
        let base_ms = base_ms.map_or(BASE_MS, |given| given.max(1));
        let max_ms = max_ms.map_or(base_ms.saturating_mul(INTERVALS), |given| given.max(1));
        Self { base_ms, max_ms }
    }
}

/// What is left of a request's retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Retries that may still be made.
    pub retries: u32,
    /// What the next back off stays below, in milliseconds.
    pub interval_ms: u64,
}

impl Left {
    /// At a request's start.
    pub fn new(retries: u32, intervals: Intervals) -> Self {
        Self {
            retries,
            interval_ms: intervals.base_ms,
        }
    }

    /// Takes a retry; `false`: there is none left.
    pub fn take(&mut self) -> bool {
        let Some(left) = self.retries.checked_sub(1) else {
            return false;
        };
        self.retries = left;
        true
    }

    /// How long to wait before it, in milliseconds, by a random number.
    pub fn back_off(&mut self, intervals: Intervals, random: u64) -> u64 {
        let wait = random.checked_rem(self.interval_ms).unwrap_or(0);
        let doubled = self.interval_ms.saturating_mul(2);
        self.interval_ms = if self.interval_ms < intervals.max_ms / 2 {
            doubled
        } else {
            intervals.max_ms
        };
        wait
    }
}

/// `rate_limited_retry_back_off`: how long to wait where a response asks for `asked_ms`; `None`:
/// that is not heeded.
pub fn rate_limited(asked_ms: u64, most_ms: u64, random: u64) -> Option<u64> {
    if asked_ms <= 1 || asked_ms > most_ms {
        return None;
    }
    let jitter = random.checked_rem(asked_ms / 2).unwrap_or(0);
    Some(asked_ms.saturating_add(jitter))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn status(status: u32) -> Response {
        Response {
            status,
            ..Response::default()
        }
    }

    /// Measured on Envoy 1.40.
    #[rstest]
    #[case("5xx", status(503), true)]
    #[case("5xx", status(500), true)]
    #[case("5xx", status(404), false)]
    #[case("gateway-error", status(502), true)]
    #[case("gateway-error", status(500), false)]
    #[case("gateway-error", status(501), false)]
    #[case("reset", status(503), false)]
    #[case("retriable-4xx", status(409), true)]
    #[case("retriable-4xx", status(404), false)]
    #[case("retriable-4xx", status(429), false)]
    #[case("retriable-status-codes", Response { listed: true, ..status(418) }, true)]
    #[case("retriable-status-codes", status(503), false)]
    #[case("retriable-headers", Response { header: true, ..status(200) }, true)]
    #[case("envoy-ratelimited", Response { rate_limited: true, ..status(429) }, true)]
    #[case("envoy-ratelimited", status(429), false)]
    #[case("5xx", Response { rate_limited: true, ..status(503) }, false)]
    #[case("unavailable", Response { grpc_status: Some(14), ..status(200) }, true)]
    #[case("unavailable", Response { grpc_status: Some(2), ..status(200) }, false)]
    #[case("junk, 5xx", status(503), true)]
    #[case("5XX", status(503), false)]
    fn responses(#[case] list: &str, #[case] given: Response, #[case] expected: bool) {
        let conditions = conditions(list) | grpc_conditions(list);
        assert_eq!(response(conditions, given), expected);
    }

    /// Measured on Envoy 1.40.
    #[rstest]
    #[case("5xx", [true, true, true])]
    #[case("gateway-error", [true, true, true])]
    #[case("reset", [true, true, true])]
    #[case("reset-before-request", [true, false, false])]
    #[case("connect-failure", [true, false, false])]
    #[case("refused-stream", [false, true, false])]
    #[case("retriable-status-codes", [false, false, false])]
    fn resets(#[case] list: &str, #[case] expected: [bool; 3]) {
        let kinds = [Reset::Connect, Reset::Refused, Reset::Other];
        assert_eq!(kinds.map(|kind| reset(conditions(list), kind)), expected);
    }

    #[test]
    fn retries_run_out() {
        let mut left = Left::new(2, Intervals::new(None, None));
        assert_eq!([left.take(), left.take(), left.take()], [true, true, false]);
    }

    #[test]
    fn intervals_double_up_to_the_longest() {
        let intervals = Intervals::new(Some(100), Some(350));
        let mut left = Left::new(9, intervals);
        let bounds = [(); 4].map(|()| {
            let bound = left.interval_ms;
            assert_eq!(left.back_off(intervals, bound * 7 + 50), 50);
            bound
        });
        assert_eq!(bounds, [100, 200, 350, 350]);
        assert_eq!(
            Intervals::new(None, None),
            Intervals {
                base_ms: 25,
                max_ms: 250
            }
        );
        assert_eq!(Intervals::new(Some(0), None).base_ms, 1);
    }

    /// Measured on Envoy 1.40 with a longest interval of 3 s: up to half more than asked for.
    #[rstest]
    #[case(0, 7, None)]
    #[case(1000, 499, Some(1499))]
    #[case(1000, 500, Some(1000))]
    #[case(3000, 1499, Some(4499))]
    #[case(5000, 7, None)]
    fn rate_limits(#[case] asked: u64, #[case] random: u64, #[case] expected: Option<u64>) {
        assert_eq!(rate_limited(asked, 3000, random), expected);
    }
}
