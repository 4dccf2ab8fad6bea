//! How long a request may take, in milliseconds; 0 is for as long as it likes.

/// `RouteAction.timeout` unless given.
pub const ROUTE_MS: u64 = 15_000;
/// `HttpConnectionManager.stream_idle_timeout` unless given.
pub const IDLE_MS: u64 = 300_000;
/// `Cluster.connect_timeout` unless given.
pub const CONNECT_MS: u64 = 5_000;

/// What a route says of its timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Route {
    /// `timeout`
    pub timeout_ms: Option<u64>,
    /// `max_grpc_timeout`
    pub max_grpc_ms: Option<u64>,
    /// `grpc_timeout_offset`
    pub grpc_offset_ms: Option<u64>,
    /// It has `max_stream_duration`, which takes the place of all these.
    pub lasts: bool,
}

/// What a request says of its timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// `x-envoy-upstream-rq-timeout-ms`, of a request from inside.
    pub timeout_ms: Option<u64>,
    /// It is gRPC.
    pub grpc: bool,
    /// `grpc-timeout`
    pub grpc_ms: Option<u64>,
}

/// The route's timeout for a request.
pub fn route(route: Route, asked: Asked) -> u64 {
    if let Some(given) = asked.timeout_ms {
        return given;
    }
    if route.lasts {
        return 0;
    }
    let Some(most) = route.max_grpc_ms.filter(|_| asked.grpc) else {
        return route.timeout_ms.unwrap_or(ROUTE_MS);
    };
    let given = asked.grpc_ms.unwrap_or(0);
    // An offset that would leave nothing is not heeded.
    let left = given.checked_sub(route.grpc_offset_ms.unwrap_or(0));
    let timeout = left.filter(|left| *left > 0).unwrap_or(given);
    match (most, timeout) {
        (0, timeout) => timeout,
        (most, 0) => most,
        (most, timeout) => timeout.min(most),
    }
}

/// An attempt's timeout beside the route's, as [`route`] gives it.
pub fn per_try(configured_ms: Option<u64>, asked_ms: Option<u64>, route_ms: u64) -> u64 {
    let time = asked_ms.or(configured_ms).unwrap_or(0);
    // The route's comes first.
    if route_ms != 0 && time >= route_ms {
        0
    } else {
        time
    }
}

/// What is said of the longest that a stream lasts: of a route's `max_stream_duration`, and of the
/// connection manager's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Duration {
    /// `max_stream_duration`, the route's before the connection manager's.
    pub most_ms: Option<u64>,
    /// `grpc_timeout_header_max`
    pub header_max_ms: Option<u64>,
    /// `grpc_timeout_header_offset`
    pub header_offset_ms: Option<u64>,
}

/// The longest that a stream lasts; `None`: as long as it likes. 0 ends it at once.
pub fn duration(duration: Duration, grpc_ms: Option<u64>) -> Option<u64> {
    match (duration.header_max_ms, grpc_ms) {
        (Some(most), Some(given)) => {
            let capped = if most == 0 { given } else { given.min(most) };
            Some(capped.saturating_sub(duration.header_offset_ms.unwrap_or(0)))
        }
        _ => duration.most_ms.filter(|most| *most != 0),
    }
}

/// `grpc-timeout` in milliseconds, rounded up; `None` where it is none.
pub fn grpc(value: &[u8]) -> Option<u64> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let mut number: u64 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u64::from(digit - b'0');
    }
    Some(match unit {
        b'H' => number * 3_600_000,
        b'M' => number * 60_000,
        b'S' => number * 1_000,
        b'm' => number,
        b'u' => number.div_ceil(1_000),
        b'n' => number.div_ceil(1_000_000),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Measured on Envoy 1.40.
    #[rstest]
    #[case(300, 0, None, 300)]
    #[case(300, 0, Some(200), 200)]
    #[case(300, 0, Some(1000), 300)]
    #[case(300, 0, Some(0), 300)]
    #[case(0, 100, None, 0)]
    #[case(0, 100, Some(200), 100)]
    #[case(0, 100, Some(50), 50)]
    fn grpc_timeouts(
        #[case] most: u64,
        #[case] offset: u64,
        #[case] given: Option<u64>,
        #[case] expected: u64,
    ) {
        let of_route = Route {
            max_grpc_ms: Some(most),
            grpc_offset_ms: Some(offset),
            ..Route::default()
        };
        let asked = Asked {
            grpc: true,
            grpc_ms: given,
            ..Asked::default()
        };
        assert_eq!(route(of_route, asked), expected);
        let asked = Asked {
            grpc: false,
            ..asked
        };
        assert_eq!(route(of_route, asked), ROUTE_MS);
    }

    /// Measured on Envoy 1.40.
    #[rstest]
    #[case(None, Some(500))]
    #[case(Some(200), Some(150))]
    #[case(Some(1000), Some(250))]
    #[case(Some(0), Some(0))]
    #[case(Some(50), Some(0))]
    fn durations(#[case] given: Option<u64>, #[case] expected: Option<u64>) {
        let limits = Duration {
            most_ms: Some(500),
            header_max_ms: Some(300),
            header_offset_ms: Some(50),
        };
        assert_eq!(duration(limits, given), expected);
    }

    #[rstest]
    #[case("200m", Some(200))]
    #[case("1S", Some(1000))]
    #[case("2M", Some(120_000))]
    #[case("1H", Some(3_600_000))]
    #[case("1u", Some(1))]
    #[case("1000001n", Some(2))]
    #[case("99999999H", Some(99_999_999 * 3_600_000))]
    #[case("100000000m", None)]
    #[case("m", None)]
    #[case("1", None)]
    #[case("-1m", None)]
    #[case("", None)]
    fn grpc_header(#[case] text: &str, #[case] expected: Option<u64>) {
        assert_eq!(grpc(text.as_bytes()), expected);
    }

    #[test]
    fn an_attempt_has_less_than_the_route() {
        assert_eq!(per_try(Some(299), None, 300), 299);
        assert_eq!(per_try(Some(300), None, 300), 0);
        assert_eq!(per_try(Some(300), Some(50), 300), 50);
        assert_eq!(per_try(Some(400), None, 0), 400);
    }
}
