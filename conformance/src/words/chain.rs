//! A `filter_chain_match` in words.

use envoy_types::pb::envoy::config::core::v3::CidrRange;
use envoy_types::pb::envoy::config::listener::v3::FilterChainMatch;

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

fn ranges(ranges: &[CidrRange]) -> Vec<String> {
    ranges
        .iter()
        .map(|range| {
            let length = range.prefix_len.as_ref().map_or(0, |length| length.value);
            format!("{}/{length}", range.address_prefix)
        })
        .collect()
}
