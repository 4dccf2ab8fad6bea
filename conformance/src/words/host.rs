//! Which of a virtual host's domains took a host.

use envoy_types::pb::envoy::config::route::v3::VirtualHost;
use twinmesh_engine::Domain;

/// The first domain of that kind that the host fits, with its index. The host is taken as it
/// stands and, where that fits none, without its port.
pub fn domain<'a>(
    virtual_host: &'a VirtualHost,
    kind: Domain,
    host: &str,
) -> Option<(usize, &'a str)> {
    let host = host.to_ascii_lowercase();
    let bare = host
        .rsplit_once(':')
        .map_or(host.as_str(), |(bare, _)| bare);
    let find = |host: &str| {
        let fitting = virtual_host
            .domains
            .iter()
            .enumerate()
            .filter(|(_, domain)| {
                let domain = domain.to_ascii_lowercase();
                match kind {
                    Domain::Exact => domain == host,
                    Domain::Suffix => domain
                        .strip_prefix('*')
                        .is_some_and(|suffix| !suffix.is_empty() && host.ends_with(suffix)),
                    Domain::Prefix => domain
                        .strip_suffix('*')
                        .is_some_and(|prefix| !prefix.is_empty() && host.starts_with(prefix)),
                    Domain::Any => domain == "*",
                }
            });
        fitting
            .max_by_key(|(_, domain)| domain.len())
            .map(|(index, domain)| (index, domain.as_str()))
    };
    find(&host).or_else(|| find(bare))
}
