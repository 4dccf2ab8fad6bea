//! Requests from inside: only theirs may say by headers how the router is to treat them. The
//! connection manager takes those headers off all others (measured on Envoy 1.40).

use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use twinmesh_engine::Request;

use crate::client_address::is_internal;
use crate::message::{Message, join};

/// What a request says to the router.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) is_internal: bool,
    /// `x-envoy-upstream-rq-timeout-ms`.
    pub(super) timeout: Option<String>,
    /// `x-envoy-upstream-rq-per-try-timeout-ms`.
    pub(super) per_try_timeout: Option<String>,
    /// `x-envoy-upstream-rq-timeout-alt-response`.
    pub(super) other_status: bool,
    /// `x-envoy-retry-on`.
    pub(super) retry_on: Option<String>,
    /// `x-envoy-retry-grpc-on`.
    pub(super) retry_grpc_on: Option<String>,
    /// `x-envoy-max-retries`.
    pub(super) max_retries: Option<String>,
    /// `x-envoy-retriable-status-codes`.
    pub(super) status_codes: Option<String>,
    /// `x-envoy-retriable-header-names`.
    pub(super) header_names: Option<String>,
}

/// What the request says, and whether it may; the error is why that is not decided.
pub(super) fn told(
    manager: &HttpConnectionManager,
    request: &Request,
    message: &Message,
) -> Result<Told, String> {
    let header = |name: &str| {
        let values = message.values(name);
        (!values.is_empty()).then(|| join(&values))
    };
    for name in [
        "x-envoy-expected-rq-timeout-ms",
        "x-envoy-hedge-on-per-try-timeout",
        "x-envoy-upstream-stream-duration-ms",
    ] {
        if header(name).is_some() {
            return Err(format!("what {name} asks for is not decided"));
        }
    }
    let mut told = Told {
        is_internal: false,
        timeout: header("x-envoy-upstream-rq-timeout-ms"),
        per_try_timeout: header("x-envoy-upstream-rq-per-try-timeout-ms"),
        other_status: header("x-envoy-upstream-rq-timeout-alt-response").is_some(),
        retry_on: header("x-envoy-retry-on"),
        retry_grpc_on: header("x-envoy-retry-grpc-on"),
        max_retries: header("x-envoy-max-retries"),
        status_codes: header("x-envoy-retriable-status-codes"),
        header_names: header("x-envoy-retriable-header-names"),
    };
    if told != Told::default() {
        told.is_internal = is_internal(manager, request, message)?;
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::CidrRange;
    use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::InternalAddressConfig;
    use envoy_types::pb::google::protobuf::{BoolValue, UInt32Value};
    use rstest::rstest;

    use super::*;
    use crate::message::tests::{message, request};

    /// As measured: inside are 127.0.0.0/8, and the client is `source`.
    #[rstest]
    #[case::no_ranges(false, true, Some("127.0.0.1:1"), &[], false)]
    #[case::own_address(true, true, Some("127.0.0.1:1"), &[], true)]
    #[case::outside(true, true, Some("9.9.9.9:1"), &[], false)]
    #[case::own_address_behind_another(true, true, Some("127.0.0.1:1"), &["127.0.0.1"], false)]
    #[case::not_said(true, false, Some("127.0.0.1:1"), &[], false)]
    #[case::said(true, false, Some("9.9.9.9:1"), &["127.0.0.1"], true)]
    #[case::said_outside(true, false, Some("127.0.0.1:1"), &["9.9.9.9"], false)]
    #[case::said_of_two(true, false, Some("127.0.0.1:1"), &["127.0.0.1,127.0.0.2"], false)]
    fn who_is_inside(
        #[case] ranges: bool,
        #[case] own: bool,
        #[case] source: Option<&str>,
        #[case] forwarded: &[&str],
        #[case] expected: bool,
    ) {
        let range = CidrRange {
            address_prefix: "127.0.0.0".to_owned(),
            prefix_len: Some(UInt32Value { value: 8 }),
        };
        let manager = HttpConnectionManager {
            use_remote_address: Some(BoolValue { value: own }),
            internal_address_config: ranges.then(|| InternalAddressConfig {
                unix_sockets: false,
                cidr_ranges: vec![range],
            }),
            ..HttpConnectionManager::default()
        };
        let mut request = request("/");
        request.source = source.map(|source| source.parse().expect("an address"));
        let mut headers = vec![("x-envoy-retry-on", "5xx")];
        headers.extend(forwarded.iter().map(|value| ("x-forwarded-for", *value)));
        let told = told(&manager, &request, &message(&headers)).expect("decided");
        assert_eq!(told.is_internal, expected);
    }
}
