//! Timeouts that run while a filter delays a request: Envoy answers where one of them is over first.

use envoy_types::pb::envoy::config::route::v3::{RouteAction, route::Action};
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use twinmesh_engine::Outcome;

use crate::run::Run;
use crate::stream::microseconds;

/// `HttpConnectionManager.stream_idle_timeout` where it is not said.
const STREAM_IDLE_US: u64 = 300_000_000;

impl Run<'_> {
    /// Leaves a request undecided whose delay is as long as a timeout.
    pub(crate) fn heed_timeouts(&mut self) {
        let delay = self.answer.delayed_us;
        let Some(manager) = self.manager.filter(|_| delay != 0) else {
            return;
        };
        let action = match self.taken().map(|route| &route.action) {
            Some(Some(Action::Route(action))) => Some(action),
            _ => None,
        };
        let mut timeouts = timeouts(manager, action).into_iter();
        let over = timeouts.find(|(_, timeout)| timeout.is_some_and(|it| it != 0 && it <= delay));
        if let Some((name, _)) = over
            && self.answer.decision.outcome != Outcome::Unsupported
        {
            self.undecided(format!("HTTP filters delay it for as long as {name}"));
        }
    }
}

/// The timeouts that run from when the request came, in microseconds; 0 is none.
fn timeouts(
    manager: &HttpConnectionManager,
    action: Option<&RouteAction>,
) -> [(&'static str, Option<u64>); 3] {
    let idle = action
        .and_then(|action| microseconds(action.idle_timeout.as_ref()))
        .or_else(|| microseconds(manager.stream_idle_timeout.as_ref()))
        .or(Some(STREAM_IDLE_US));
    let longest = action
        .and_then(|action| action.max_stream_duration.as_ref())
        .and_then(|longest| microseconds(longest.max_stream_duration.as_ref()))
        .or_else(|| {
            let options = manager.common_http_protocol_options.as_ref();
            options.and_then(|options| microseconds(options.max_stream_duration.as_ref()))
        });
    [
        ("the stream's idle timeout", idle),
        ("max_stream_duration", longest),
        (
            "request_timeout",
            microseconds(manager.request_timeout.as_ref()),
        ),
    ]
}
