//! How many headers a head has: Envoy keeps one entry of a header whose repeated lines it joins, and
//! counts entries (measured on Envoy 1.40).

use std::collections::BTreeSet;

use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;

use crate::message::is_joined;

/// `max_headers_count` by default.
const DEFAULT_MAX: usize = 100;
/// Headers of one entry beside those that matchers see joined: no matcher sees them as they came.
const OF_ONE_ENTRY: [&str; 24] = [
    "connection",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-max-retries",
    "x-envoy-original-url",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-stream-duration-ms",
    "x-forwarded-client-cert",
];

/// The entries of a head, as its lines come.
pub(crate) struct HeaderCount {
    most: usize,
    count: usize,
    /// Headers of one entry that have theirs.
    seen: BTreeSet<String>,
}

impl HeaderCount {
    /// No entries; as many may come as the connection manager says.
    pub(crate) fn new(manager: &HttpConnectionManager) -> Self {
        let options = manager.common_http_protocol_options.as_ref();
        let most = options.and_then(|options| options.max_headers_count.as_ref());
        Self {
            most: most.map_or(DEFAULT_MAX, |most| {
                usize::try_from(most.value).unwrap_or(usize::MAX)
            }),
            count: 0,
            seen: BTreeSet::new(),
        }
    }

    /// Counts a line by its header's name in lower case; whether there are no more entries than may
    /// be.
    pub(crate) fn add(&mut self, name: &str) -> bool {
        let is_one = is_joined(name) || OF_ONE_ENTRY.contains(&name);
        if !is_one || self.seen.insert(name.to_owned()) {
            self.count += 1;
        }
        self.count <= self.most
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::apart("x", 100, true)]
    #[case::one_too_many("x", 101, false)]
    #[case::joined("accept", 300, true)]
    #[case::of_a_connection("upgrade", 300, true)]
    #[case::host("host", 300, true)]
    #[case::cookies_stay_apart("cookie", 101, false)]
    fn entries(#[case] name: &str, #[case] lines: usize, #[case] fits: bool) {
        let mut count = HeaderCount::new(&HttpConnectionManager::default());
        let found = (0..lines).map(|_| count.add(name)).last();
        assert_eq!(found, Some(fits));
    }
}
