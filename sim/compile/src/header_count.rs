//! Headers of which Envoy keeps one entry, however many lines they have: it counts entries
//! (`max_headers_count`; measured on 1.40).

use crate::names::JOINED;

/// Those beside [`JOINED`]: what Envoy takes off, or writes itself, before a matcher looks.
const UNSEEN: [&str; 24] = [
    "host",
    "connection",
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

/// The names, in lower case; the model has a bit for each of them.
pub(crate) fn of_one_entry() -> impl Iterator<Item = &'static str> {
    JOINED.iter().chain(&UNSEEN).copied()
}

/// Whether Envoy keeps one entry of a header, whose name is in lower case.
pub(crate) fn has_one_entry(name: &str) -> bool {
    JOINED.contains(&name) || UNSEEN.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_a_bit_for_each_and_one_for_none() {
        let mut names: Vec<&str> = of_one_entry().collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), JOINED.len() + UNSEEN.len());
        assert!(names.len() < 64, "{}", names.len());
    }
}
