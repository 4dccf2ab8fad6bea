//! `OverrideHost`: endpoints that headers of the request name come before all others.

use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;

use crate::cluster;
use crate::message::Message;

/// An address that a header names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Index of the header among the sources.
    pub(crate) source: usize,
    address: String,
}

/// What the first values of these headers name, in order: addresses with commas between them.
pub(crate) fn named(headers: &[String], message: &Message) -> Vec<Named> {
    let mut named = Vec::new();
    for (source, header) in headers.iter().enumerate() {
        let value = message.first_value(header).unwrap_or_default();
        let parts = value.split(',').map(|part| part.trim_matches(is_space));
        named.extend(parts.filter(|part| !part.is_empty()).map(|part| Named {
            source,
            address: part.to_owned(),
        }));
    }
    named
}

/// What the server takes for white space.
fn is_space(character: char) -> bool {
    matches!(character, '\t'..='\r' | ' ')
}

/// Takes addresses from the front until one is an endpoint's: what named it, and its locality and place
/// there, whatever its health and priority.
pub(crate) fn take(
    assignment: &ClusterLoadAssignment,
    named: &mut Vec<Named>,
) -> Option<(usize, usize, usize)> {
    while !named.is_empty() {
        let Named { source, address } = named.remove(0);
        for (locality, group) in assignment.endpoints.iter().enumerate() {
            let mut endpoints = group.lb_endpoints.iter();
            let is_it = |it: &_| cluster::address(it).as_ref() == Some(&address);
            if let Some(endpoint) = endpoints.position(is_it) {
                return Some((source, locality, endpoint));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::message::tests::message;

    #[rstest]
    #[case(&[("x-a", "1:1, 2:2 ,,\t3:3"), ("x-a", "4:4")], &[(0, "1:1"), (0, "2:2"), (0, "3:3")])]
    #[case(&[("x-b", "1:1"), ("x-a", "2:2")], &[(0, "2:2"), (1, "1:1")])]
    #[case(&[("x-b", "1:1 2:2"), ("x-c", "2:2")], &[(1, "1:1 2:2")])]
    #[case(&[("x-a", " , ")], &[])]
    fn first_values_count(#[case] lines: &[(&str, &str)], #[case] expected: &[(usize, &str)]) {
        let found = named(&["x-a".to_owned(), "x-b".to_owned()], &message(lines));
        let found: Vec<(usize, &str)> = found
            .iter()
            .map(|it| (it.source, it.address.as_str()))
            .collect();
        assert_eq!(found, expected);
    }
}
