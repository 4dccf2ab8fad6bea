//! A `filter_chain_match` in words.

use envoy_types::pb::envoy::config::core::v3::CidrRange;
use envoy_types::pb::envoy::config::listener::v3::FilterChainMatch;
use twinmesh_engine::Request;
use twinmesh_xds::Listener;

/// What a filter chain asks of a connection, in the order in which Envoy asks.
pub fn criteria(criteria: &FilterChainMatch) -> String {
    let mut parts = Vec::new();
    if let Some(port) = &criteria.destination_port {
        parts.push(format!("destination_port {}", port.value));
    }
    let mut list = |name: &str, values: Vec<String>| {
        if !values.is_empty() {
            parts.push(format!("{name} {}", values.join(", ")));
        }
    };
    list("prefix_ranges", ranges(&criteria.prefix_ranges));
    list("server_names", criteria.server_names.clone());
    if !criteria.transport_protocol.is_empty() {
        list(
            "transport_protocol",
            vec![criteria.transport_protocol.clone()],
        );
    }
    list(
        "application_protocols",
        criteria.application_protocols.clone(),
    );
    list(
        "direct_source_prefix_ranges",
        ranges(&criteria.direct_source_prefix_ranges),
    );
    match criteria.source_type {
        1 => list("source_type", vec!["SAME_IP_OR_LOOPBACK".to_owned()]),
        2 => list("source_type", vec!["EXTERNAL".to_owned()]),
        _ => (),
    }
    list(
        "source_prefix_ranges",
        ranges(&criteria.source_prefix_ranges),
    );
    list(
        "source_ports",
        criteria.source_ports.iter().map(u32::to_string).collect(),
    );
    if parts.is_empty() {
        "its filter_chain_match asks for nothing".to_owned()
    } else {
        format!("filter_chain_match: {}", parts.join("; "))
    }
}

/// Why a filter chain does not take the request's connection: what it asks for by the criterion
/// that it is out by, and what the connection has.
pub fn not_taken(
    asked: &FilterChainMatch,
    criterion: &str,
    listener: &Listener,
    request: &Request,
) -> String {
    let only = only(asked, criterion);
    let is_of_tls = [
        "server_names",
        "transport_protocol",
        "application_protocols",
    ];
    let has = if is_of_tls.contains(&criterion) && request.is_tls() && !listener.has_tls_inspector()
    {
        "not read, as the listener has no TLS inspector".to_owned()
    } else {
        connection_has(criterion, request)
    };
    if only == FilterChainMatch::default() {
        return format!(
            "{criterion}: it asks for none, and another filter chain's takes the connection's, {has}"
        );
    }
    let only = criteria(&only);
    let only = only.strip_prefix("filter_chain_match: ").unwrap_or(&only);
    format!("{only}: the connection's is {has}")
}

/// One criterion of a match, without the others.
fn only(asked: &FilterChainMatch, criterion: &str) -> FilterChainMatch {
    let asked = asked.clone();
    let mut only = FilterChainMatch::default();
    match criterion {
        "destination_port" => only.destination_port = asked.destination_port,
        "prefix_ranges" => only.prefix_ranges = asked.prefix_ranges,
        "server_names" => only.server_names = asked.server_names,
        "transport_protocol" => only.transport_protocol = asked.transport_protocol,
        "application_protocols" => only.application_protocols = asked.application_protocols,
        "direct_source_prefix_ranges" => {
            only.direct_source_prefix_ranges = asked.direct_source_prefix_ranges;
        }
        "source_type" => only.source_type = asked.source_type,
        "source_prefix_ranges" => only.source_prefix_ranges = asked.source_prefix_ranges,
        _ => only.source_ports = asked.source_ports,
    }
    only
}

/// What a request's connection has where filter chains ask by a criterion.
fn connection_has(criterion: &str, request: &Request) -> String {
    let known = |value: Option<String>| value.unwrap_or_else(|| "not known".to_owned());
    match criterion {
        "destination_port" => known(request.destination.map(|ends| ends.port().to_string())),
        "prefix_ranges" => known(request.destination.map(|ends| ends.ip().to_string())),
        "server_names" => request.sni.clone().unwrap_or_else(|| "none".to_owned()),
        "transport_protocol" => if request.is_tls() {
            "tls"
        } else {
            "raw_buffer"
        }
        .to_owned(),
        "application_protocols" => request.alpn.clone().unwrap_or_else(|| "none".to_owned()),
        "source_type" => known(request.source.map(|ends| format!("from {}", ends.ip()))),
        "source_ports" => known(request.source.map(|ends| ends.port().to_string())),
        _ => known(request.source.map(|ends| ends.ip().to_string())),
    }
}

fn ranges(ranges: &[CidrRange]) -> Vec<String> {
    ranges
        .iter()
        .map(|range| {
            let length = range.prefix_len.as_ref().map_or(0, |length| length.value);
            format!("{}/{length}", range.address_prefix)
        })
        .collect()
}
