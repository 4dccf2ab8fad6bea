//! Which of a virtual host's domains took a host, and which would have but for a port.

use envoy_types::pb::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use twinmesh_engine::Domain;
use twinmesh_spec::reading;

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
    // A wildcard stands for one character or more.
    let leaves_some = |text: &str, host: &str| !text.is_empty() && text.len() < host.len();
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
                        .is_some_and(|it| leaves_some(it, host) && host.ends_with(it)),
                    Domain::Prefix => domain
                        .strip_suffix('*')
                        .is_some_and(|it| leaves_some(it, host) && host.starts_with(it)),
                    Domain::Any => domain == "*",
                }
            });
        fitting
            .max_by_key(|(_, domain)| domain.len())
            .map(|(index, domain)| (index, domain.as_str()))
    };
    find(&host).or_else(|| find(bare))
}

/// The host as it is compared with domains.
pub(super) fn compared(config: &RouteConfiguration, host: &str) -> String {
    let port = reading::port_start(host).filter(|_| config.ignore_port_in_host_matching);
    let end = port.unwrap_or(host.len());
    host.get(..end).unwrap_or(host).to_owned()
}

/// The virtual host that would have taken the host but for its port, or for the one that it has not;
/// in words. `taken` is the one that takes it as it is.
pub(super) fn but_for_port(
    config: &RouteConfiguration,
    host: &str,
    taken: Option<usize>,
) -> Option<String> {
    if config.ignore_port_in_host_matching {
        return None;
    }
    let name = |index: usize| config.virtual_hosts.get(index).map(|it| &it.name);
    if let Some(port) = reading::port_start(host) {
        let bare = host.get(..port)?;
        let (index, kind) = reading::virtual_host(config, bare)?;
        let (place, text) = domain(config.virtual_hosts.get(index)?, kind, bare)?;
        return (taken != Some(index)).then(|| {
            format!(
                "without its port, {:?} would take it by domains[{place}] {text:?}; its port counts, \
                 unless ignore_port_in_host_matching, strip_matching_host_port or \
                 strip_any_host_port is set",
                name(index).map_or("", String::as_str)
            )
        });
    }
    let with_port = |domain: &String| {
        let port = reading::port_start(domain)?;
        let bare = domain.get(..port)?;
        bare.eq_ignore_ascii_case(host).then_some(())
    };
    let mut all = config.virtual_hosts.iter().enumerate();
    let (index, place) = all.find_map(|(index, virtual_host)| {
        let place = virtual_host
            .domains
            .iter()
            .position(|it| with_port(it).is_some())?;
        (taken != Some(index)).then_some((index, place))
    })?;
    let virtual_host = config.virtual_hosts.get(index)?;
    let text = virtual_host.domains.get(place)?;
    Some(format!(
        "with a port, {:?} would take it by domains[{place}] {text:?}",
        virtual_host.name
    ))
}
