//! The first virtual host wins of which a domain stands anywhere in the host; only `*` alone is a
//! wildcard.

use envoy_types::pb::envoy::config::route::v3::VirtualHost;
use twinmesh_engine::Domain;

use crate::head::Head;
use crate::quirks::{limits, parsed_names};

/// The virtual host of a head, and how its domain is best described.
pub(crate) fn select(hosts: &[VirtualHost], head: &Head) -> Option<(usize, Domain)> {
    let host = parsed_names::last(head, "Host")?.value.as_str();
    limits::virtual_hosts(hosts).find_map(|(index, candidate)| {
        let domains = candidate.domains.iter();
        let mut kinds = domains.filter_map(|domain| matches(domain, host));
        Some((index, kinds.next()?))
    })
}

fn matches(domain: &str, host: &str) -> Option<Domain> {
    if domain == "*" {
        return Some(Domain::Any);
    }
    let found = host.find(domain)?;
    Some(if host == domain {
        Domain::Exact
    } else if found == 0 {
        Domain::Prefix
    } else {
        Domain::Suffix
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::head::tests::head;

    #[rstest]
    #[case(&["other.test", "host.test"], Some(1))]
    #[case(&["*", "host.test"], Some(0))]
    #[case(&["test", "host.test"], Some(0))]
    #[case(&["*.test", "HOST.test"], None)]
    fn in_order_and_anywhere(#[case] domains: &[&str], #[case] expected: Option<usize>) {
        let hosts: Vec<VirtualHost> = domains
            .iter()
            .map(|domain| VirtualHost {
                domains: vec![(*domain).to_owned()],
                ..VirtualHost::default()
            })
            .collect();
        let found = select(&hosts, &head("/", &[]));
        assert_eq!(found.map(|(index, _)| index), expected);
    }
}
