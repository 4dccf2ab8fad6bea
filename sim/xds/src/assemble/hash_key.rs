//! The keys that hash balancers know endpoints by.

use std::collections::HashSet;

use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, LbEndpoint, lb_endpoint::HostIdentifier,
};
use envoy_types::pb::google::protobuf::value::Kind;

use super::cluster::socket;

/// A key that two endpoints of one priority have. Envoy then sorts them as their places in memory
/// have it.
pub(super) fn twice(assignment: &ClusterLoadAssignment, by_hostname: bool) -> Option<String> {
    let mut known = HashSet::new();
    for group in &assignment.endpoints {
        for endpoint in &group.lb_endpoints {
            let key = key(endpoint, by_hostname);
            if !known.insert((group.priority, key.clone())) {
                return Some(key);
            }
        }
    }
    None
}

fn key(endpoint: &LbEndpoint, by_hostname: bool) -> String {
    let given = endpoint.metadata.as_ref().and_then(|metadata| {
        let value = metadata.filter_metadata.get("envoy.lb")?;
        match value.fields.get("hash_key")?.kind.as_ref()? {
            Kind::StringValue(key) if !key.is_empty() => Some(key.clone()),
            _ => None,
        }
    });
    if let Some(key) = given {
        return key;
    }
    let hostname = match &endpoint.host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => endpoint.hostname.as_str(),
        _ => "",
    };
    if by_hostname && !hostname.is_empty() {
        return hostname.to_owned();
    }
    match socket(endpoint) {
        Some((address, _)) if by_hostname => match address.parse::<std::net::IpAddr>() {
            Ok(_) => String::new(),
            Err(_) => address.to_owned(),
        },
        Some((address, port)) => match address.parse::<std::net::IpAddr>() {
            Ok(address) => std::net::SocketAddr::new(address, port as u16).to_string(),
            Err(_) => format!("{address}:{port}"),
        },
        // Pipes differ in their paths.
        None => format!("{:?}", endpoint.host_identifier),
    }
}
