//! What a request asks of the router by `x-envoy-` headers, which only those from inside may do.

use std::net::IpAddr;

use envoy_types::pb::envoy::config::core::v3::CidrRange;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use twinmesh_attempts::retry;
use twinmesh_engine::Request;

use crate::header_value::number;
use crate::internal_addresses;
use crate::seen::{joined, values};

/// What is asked.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) timeout_ms: Option<u64>,
    pub(super) per_try_ms: Option<u64>,
    pub(super) other_status: bool,
    pub(super) conditions: u32,
    pub(super) retries: Option<u32>,
    pub(super) status_codes: Vec<u64>,
    pub(super) header_names: Vec<String>,
}

/// What the connection manager takes off requests from outside.
const HEADERS: [&str; 8] = [
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
];
const UNDECIDED: [&str; 3] = [
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-upstream-stream-duration-ms",
];

impl Asked {
    /// What a request asks; the error is why that is not decided.
    pub(super) fn of(manager: &HttpConnectionManager, request: &Request) -> Result<Self, String> {
        if let Some(name) = UNDECIDED
            .iter()
            .find(|name| !values(request, name).is_empty())
        {
            return Err(format!("what {name} asks for is not decided"));
        }
        if HEADERS.iter().all(|name| values(request, name).is_empty())
            || !is_internal(manager, request)?
        {
            return Ok(Self::default());
        }
        let [timeout, per_try, other, on, grpc_on, most, codes, names] =
            HEADERS.map(|name| joined(request, name));
        let text = |value: Option<String>| value.unwrap_or_default();
        Ok(Self {
            timeout_ms: timeout.and_then(|it| number(&it)),
            per_try_ms: per_try.and_then(|it| number(&it)),
            other_status: other.is_some(),
            conditions: retry::conditions(&text(on)) | retry::grpc_conditions(&text(grpc_on)),
            // Of a greater number Envoy takes what 32 bits hold.
            retries: most.and_then(|it| Some(number(&it)? as u32)),
            status_codes: text(codes)
                .split(',')
                .filter_map(|it| number(it.trim()))
                .collect(),
            header_names: text(names)
                .split(',')
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty())
                .collect(),
        })
    }
}

/// Whether a request comes from inside (`internal_address_config`).
///
/// # Errors
/// Why that is not decided.
pub(crate) fn is_internal(
    manager: &HttpConnectionManager,
    request: &Request,
) -> Result<bool, String> {
    let ranges = internal_addresses::ranges(manager);
    if ranges.is_empty() {
        return Ok(false);
    }
    if !manager.original_ip_detection_extensions.is_empty() {
        return Err("whether the client's address is internal is not decided".to_owned());
    }
    let lines = values(request, "x-forwarded-for");
    let forwarded = lines.join(",");
    let own = manager
        .use_remote_address
        .as_ref()
        .is_some_and(|own| own.value);
    let source = request.source.map(|source| source.ip().to_canonical());
    let address = if !own && manager.xff_num_trusted_hops != 0 {
        // Behind trusted hops there is always another address that counts.
        None
    } else if !own {
        forwarded.trim_ascii().parse().ok()
    } else if !lines.is_empty() {
        None
    } else {
        match source.filter(|source| !source.is_unspecified()) {
            Some(source) => Some(source),
            None => return Err("the request does not say where it comes from".to_owned()),
        }
    };
    Ok(address.is_some_and(|address| ranges.iter().any(|range| has(range, address))))
}

fn has(range: &CidrRange, address: IpAddr) -> bool {
    let Ok(prefix) = range.address_prefix.parse::<IpAddr>() else {
        return false;
    };
    let (one, other, width) = match (prefix, address) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            (u128::from(one.to_bits()), u128::from(other.to_bits()), 32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128),
        _ => return false,
    };
    let length = range
        .prefix_len
        .as_ref()
        .map_or(0, |length| length.value.min(width));
    // The bits in which they differ stand behind the prefix.
    (one ^ other).checked_shr(width - length).unwrap_or(0) == 0
}
