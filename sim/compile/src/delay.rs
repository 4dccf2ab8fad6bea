//! Delays of the fault filter that a timeout of the stream cuts short, which Envoy answers with a 504.

use envoy_types::pb::envoy::config::route::v3::{Route, route::Action};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::google::protobuf::Duration;

/// `HttpConnectionManager.stream_idle_timeout` where it is absent, in milliseconds.
const STREAM_IDLE_MS: u64 = 300_000;

/// The field of the timeout that a delay of so many milliseconds meets; `None` where it meets none.
pub(crate) fn meets(
    delay_ms: u64,
    manager: &HttpConnectionManager,
    route: Option<&Route>,
) -> Option<&'static str> {
    let action = route.and_then(|route| match &route.action {
        Some(Action::Route(action)) => Some(action),
        _ => None,
    });
    let of_stream = action.and_then(|it| it.max_stream_duration.as_ref());
    let own_longest = of_stream.and_then(|it| it.max_stream_duration.as_ref());
    let options = manager.common_http_protocol_options.as_ref();
    let longest = own_longest.or(options.and_then(|it| it.max_stream_duration.as_ref()));
    let own_idle = action.and_then(|it| it.idle_timeout.as_ref());
    let idle = match own_idle.or(manager.stream_idle_timeout.as_ref()) {
        Some(idle) => milliseconds(idle),
        None => STREAM_IDLE_MS,
    };
    let ends = |timeout: u64| timeout != 0 && timeout <= delay_ms;
    if ends(idle) {
        Some("stream_idle_timeout")
    } else if longest.is_some_and(|it| ends(milliseconds(it))) {
        Some("max_stream_duration")
    } else if (manager.request_timeout.as_ref()).is_some_and(|it| ends(milliseconds(it))) {
        Some("request_timeout")
    } else {
        None
    }
}

fn milliseconds(duration: &Duration) -> u64 {
    let seconds = u64::try_from(duration.seconds).unwrap_or(0);
    let rest = u64::try_from(duration.nanos).unwrap_or(0) / 1_000_000;
    seconds.saturating_mul(1000).saturating_add(rest)
}
