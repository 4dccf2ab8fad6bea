//! How long a request may take.

use envoy_types::pb::envoy::config::route::v3::{RetryPolicy, RouteAction};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;

use super::internal::Told;
use super::plan::microseconds;
use crate::integer;
use crate::message::Message;

const DEFAULT_TIMEOUT_US: u64 = 15_000_000;
const DEFAULT_IDLE_TIMEOUT_US: u64 = 300_000_000;

/// The times a request has, in microseconds; `None`: as long as it takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Timeouts {
    /// From the request to the response: status 504, `UT`.
    pub(super) route: Option<u64>,
    /// Without anything of request or response: status 504, `SI`.
    pub(super) idle: Option<u64>,
    /// Of the whole stream: status 504.
    pub(super) duration: Option<u64>,
    /// Of one attempt, once it has a connection.
    pub(super) per_try: Option<u64>,
    /// Of one attempt without anything of a response.
    pub(super) per_try_idle: Option<u64>,
    /// The status where the route's or an attempt's is over.
    pub(super) status: u32,
}

/// Zero stands for no timeout.
fn unless_zero(time: u64) -> Option<u64> {
    (time > 0).then_some(time)
}

impl Timeouts {
    pub(super) fn new(
        manager: &HttpConnectionManager,
        action: &RouteAction,
        policy: Option<&RetryPolicy>,
        message: &Message,
        told: &Told,
    ) -> Self {
        let header_us = |text: &Option<String>| {
            let milliseconds = integer::unsigned(text.as_deref()?)?;
            Some(milliseconds.saturating_mul(1000))
        };
        let route = header_us(&told.timeout).unwrap_or_else(|| of_route(action, message));
        let per_try = header_us(&told.per_try_timeout).unwrap_or_else(|| {
            let configured = policy.and_then(|policy| policy.per_try_timeout.as_ref());
            microseconds(configured).unwrap_or(0)
        });
        let idle = microseconds(action.idle_timeout.as_ref())
            .or_else(|| microseconds(manager.stream_idle_timeout.as_ref()))
            .unwrap_or(DEFAULT_IDLE_TIMEOUT_US);
        let per_try_idle = policy.and_then(|policy| policy.per_try_idle_timeout.as_ref());
        Self {
            route: unless_zero(route),
            idle: unless_zero(idle),
            duration: longest(manager, action, message),
            // One that the route's timeout comes before is none.
            per_try: unless_zero(per_try).filter(|time| route == 0 || *time < route),
            per_try_idle: microseconds(per_try_idle).and_then(unless_zero),
            status: if told.other_status { 204 } else { 504 },
        }
    }
}

fn of_route(action: &RouteAction, message: &Message) -> u64 {
    if action.max_stream_duration.is_some() {
        return 0;
    }
    match microseconds(action.max_grpc_timeout.as_ref()) {
        Some(most) if message.is_grpc() => {
            let mut asked = grpc_timeout(message).unwrap_or(0);
            if let Some(offset) = microseconds(action.grpc_timeout_offset.as_ref())
                && offset < asked
            {
                asked -= offset;
            }
            if most != 0 && (asked == 0 || asked > most) {
                most
            } else {
                asked
            }
        }
        _ => microseconds(action.timeout.as_ref()).unwrap_or(DEFAULT_TIMEOUT_US),
    }
}

/// The longest that the stream may last; a `grpc-timeout` of nothing ends it at once.
fn longest(
    manager: &HttpConnectionManager,
    action: &RouteAction,
    message: &Message,
) -> Option<u64> {
    let own = action.max_stream_duration.as_ref();
    if let Some(limits) = own
        && let Some(most) = microseconds(limits.grpc_timeout_header_max.as_ref())
        && let Some(asked) = grpc_timeout(message)
    {
        let capped = if most == 0 { asked } else { asked.min(most) };
        let offset = microseconds(limits.grpc_timeout_header_offset.as_ref()).unwrap_or(0);
        return Some(capped.saturating_sub(offset));
    }
    own.and_then(|limits| microseconds(limits.max_stream_duration.as_ref()))
        .or_else(|| {
            let common = manager.common_http_protocol_options.as_ref()?;
            microseconds(common.max_stream_duration.as_ref())
        })
        .and_then(unless_zero)
}

/// `grpc-timeout` in microseconds, in whole milliseconds, rounded up.
fn grpc_timeout(message: &Message) -> Option<u64> {
    let text = message.first_value("grpc-timeout")?;
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    let milliseconds = match text.get(digits.len()..)? {
        "H" => number * 3_600_000,
        "M" => number * 60_000,
        "S" => number * 1000,
        "m" => number,
        "u" => number.div_ceil(1000),
        "n" => number.div_ceil(1_000_000),
        _ => return None,
    };
    Some(milliseconds * 1000)
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::route::v3::route_action::MaxStreamDuration;
    use envoy_types::pb::google::protobuf::Duration;
    use rstest::rstest;

    use super::*;
    use crate::message::tests::message;

    fn duration(milliseconds: i64) -> Option<Duration> {
        Some(Duration {
            seconds: milliseconds / 1000,
            nanos: i32::try_from(milliseconds % 1000 * 1_000_000).expect("small"),
        })
    }

    fn timeouts(
        action: &RouteAction,
        policy: Option<&RetryPolicy>,
        headers: &[(&str, &str)],
        told: &Told,
    ) -> Timeouts {
        Timeouts::new(
            &HttpConnectionManager::default(),
            action,
            policy,
            &message(headers),
            told,
        )
    }

    /// Measured on Envoy 1.40: `max_grpc_timeout` and `grpc_timeout_offset` against `grpc-timeout`.
    #[rstest]
    #[case(300, None, None, Some(300))]
    #[case(300, None, Some("200m"), Some(200))]
    #[case(300, None, Some("400m"), Some(300))]
    #[case(300, None, Some("1S"), Some(300))]
    #[case(300, None, Some("0m"), Some(300))]
    #[case(0, Some(100), None, None)]
    #[case(0, Some(100), Some("200m"), Some(100))]
    #[case(0, Some(100), Some("50m"), Some(50))]
    #[case(0, Some(100), Some("0m"), None)]
    fn grpc(
        #[case] most: i64,
        #[case] offset: Option<i64>,
        #[case] asked: Option<&str>,
        #[case] expected: Option<u64>,
    ) {
        let action = RouteAction {
            max_grpc_timeout: duration(most),
            grpc_timeout_offset: offset.and_then(duration),
            ..RouteAction::default()
        };
        let mut headers = vec![("content-type", "application/grpc")];
        headers.extend(asked.map(|asked| ("grpc-timeout", asked)));
        let found = timeouts(&action, None, &headers, &Told::default());
        assert_eq!(
            found.route,
            expected.map(|milliseconds| milliseconds * 1000)
        );
        headers.remove(0);
        let found = timeouts(&action, None, &headers, &Told::default());
        assert_eq!(found.route, Some(DEFAULT_TIMEOUT_US), "without gRPC");
    }

    /// Measured on Envoy 1.40.
    #[rstest]
    #[case(None, Some(500))]
    #[case(Some("200m"), Some(150))]
    #[case(Some("400m"), Some(250))]
    #[case(Some("1S"), Some(250))]
    #[case(Some("0m"), Some(0))]
    #[case(Some("50m"), Some(0))]
    fn stream_duration(#[case] asked: Option<&str>, #[case] expected: Option<u64>) {
        let action = RouteAction {
            timeout: duration(200),
            max_stream_duration: Some(MaxStreamDuration {
                max_stream_duration: duration(500),
                grpc_timeout_header_max: duration(300),
                grpc_timeout_header_offset: duration(50),
            }),
            ..RouteAction::default()
        };
        let headers: Vec<_> = asked
            .map(|asked| ("grpc-timeout", asked))
            .into_iter()
            .collect();
        let found = timeouts(&action, None, &headers, &Told::default());
        assert_eq!(
            found.duration,
            expected.map(|milliseconds| milliseconds * 1000)
        );
        assert_eq!(
            found.route, None,
            "max_stream_duration takes the timeout's place"
        );
    }

    /// Measured on Envoy 1.40: the route's timeout is 200 ms.
    #[rstest]
    #[case(None, Some(200))]
    #[case(Some("100"), Some(100))]
    #[case(Some("0"), None)]
    #[case(Some("abc"), Some(200))]
    #[case(Some("+600"), Some(600))]
    #[case(Some("-1"), Some(200))]
    #[case(Some("100,300"), Some(200))]
    fn by_header(#[case] text: Option<&str>, #[case] expected: Option<u64>) {
        let action = RouteAction {
            timeout: duration(200),
            ..RouteAction::default()
        };
        let told = Told {
            timeout: text.map(str::to_owned),
            ..Told::default()
        };
        let found = timeouts(&action, None, &[], &told);
        assert_eq!(
            found.route,
            expected.map(|milliseconds| milliseconds * 1000)
        );
    }

    #[rstest]
    #[case(299, Some(299))]
    #[case(300, None)]
    #[case(400, None)]
    fn an_attempt_has_less_than_the_route(
        #[case] milliseconds: i64,
        #[case] expected: Option<u64>,
    ) {
        let action = RouteAction {
            timeout: duration(300),
            ..RouteAction::default()
        };
        let policy = RetryPolicy {
            per_try_timeout: duration(milliseconds),
            ..RetryPolicy::default()
        };
        let found = timeouts(&action, Some(&policy), &[], &Told::default());
        assert_eq!(
            found.per_try,
            expected.map(|milliseconds| milliseconds * 1000)
        );
    }

    #[test]
    fn defaults() {
        let found = timeouts(&RouteAction::default(), None, &[], &Told::default());
        let expected = Timeouts {
            route: Some(DEFAULT_TIMEOUT_US),
            idle: Some(DEFAULT_IDLE_TIMEOUT_US),
            status: 504,
            ..Timeouts::default()
        };
        assert_eq!(found, expected);
    }
}
