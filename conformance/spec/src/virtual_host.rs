//! Which virtual host of a route configuration has the authority.

use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use twinmesh_engine::Domain;

use crate::host;

/// The virtual host with the most specific domain: equal, else the longest `*x`, else the longest
/// `x*`, else `*`.
pub(crate) fn select(
    route_configuration: &RouteConfiguration,
    authority: &str,
) -> Option<(usize, Domain)> {
    let mut host = authority.to_ascii_lowercase();
    if route_configuration.ignore_port_in_host_matching
        && let Some(colon) = host::port_start(&host)
    {
        host.truncate(colon);
    }
    let mut best: Option<((u8, usize), usize, Domain)> = None;
    for (index, virtual_host) in route_configuration.virtual_hosts.iter().enumerate() {
        for domain in &virtual_host.domains {
            let Some((kind, length)) = covers(&domain.to_ascii_lowercase(), &host) else {
                continue;
            };
            let rank = (
                match kind {
                    Domain::Exact => 3,
                    Domain::Suffix => 2,
                    Domain::Prefix => 1,
                    Domain::Any => 0,
                },
                length,
            );
            if best.is_none_or(|(other, _, _)| rank > other) {
                best = Some((rank, index, kind));
            }
        }
    }
    best.map(|(_, index, kind)| (index, kind))
}

/// How the domain covers the host, and by how much text. A wildcard stands for one character or
/// more.
fn covers(domain: &str, host: &str) -> Option<(Domain, usize)> {
    if domain == "*" {
        return Some((Domain::Any, 0));
    }
    let (kind, text, is_covered) = if let Some(suffix) = domain.strip_prefix('*') {
        (Domain::Suffix, suffix, host.ends_with(suffix))
    } else if let Some(prefix) = domain.strip_suffix('*') {
        (Domain::Prefix, prefix, host.starts_with(prefix))
    } else {
        return (domain == host).then_some((Domain::Exact, domain.len()));
    };
    (is_covered && host.len() > text.len()).then_some((kind, text.len()))
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::route::v3::VirtualHost;
    use rstest::rstest;

    use super::*;

    fn route_configuration(ignore_port_in_host_matching: bool) -> RouteConfiguration {
        let domains = [
            "*",
            "*.a.test",
            "*.b.a.test",
            "x.a.test",
            "www.*",
            "www.a*",
            "ported.test:80",
            "[::1]",
        ];
        RouteConfiguration {
            ignore_port_in_host_matching,
            virtual_hosts: domains
                .iter()
                .map(|&domain| VirtualHost {
                    domains: vec![domain.to_owned()],
                    ..VirtualHost::default()
                })
                .collect(),
            ..RouteConfiguration::default()
        }
    }

    #[rstest]
    #[case::exact("x.a.test", 3, 3)]
    #[case::exact_case("X.A.Test", 3, 3)]
    #[case::suffix("y.a.test", 1, 1)]
    #[case::longest_suffix("y.b.a.test", 2, 2)]
    #[case::suffix_needs_a_character(".a.test", 0, 0)]
    #[case::suffix_before_prefix("www.a.test", 1, 1)]
    #[case::prefix("www.z", 4, 4)]
    #[case::longest_prefix("www.ab", 5, 5)]
    #[case::prefix_needs_a_character("www.", 0, 0)]
    #[case::port_counts("x.a.test:80", 0, 3)]
    #[case::port_named("ported.test:80", 6, 0)]
    #[case::trailing_dot_counts("x.a.test.", 0, 0)]
    #[case::address("[::1]", 7, 7)]
    #[case::address_and_port("[::1]:80", 0, 7)]
    #[case::empty("", 0, 0)]
    fn hosts(#[case] authority: &str, #[case] with_port: usize, #[case] without_port: usize) {
        let index = |ignore_port| {
            select(&route_configuration(ignore_port), authority).map(|(index, _)| index)
        };
        assert_eq!(index(false), Some(with_port));
        assert_eq!(index(true), Some(without_port));
    }

    #[test]
    fn nothing_covers() {
        let mut without_any = route_configuration(false);
        without_any.virtual_hosts.remove(0);
        assert_eq!(select(&without_any, "other"), None);
    }
}
