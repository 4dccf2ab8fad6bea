//! What is over the sizes of Kmesh's maps: all virtual hosts of a route configuration of more than
//! 16, a virtual host of more than 8 routes, endpoints of a cluster over 64.

use envoy_types::pb::envoy::config::route::v3::VirtualHost;

/// Virtual hosts of a route configuration.
const VIRTUAL_HOSTS: usize = 16;

/// Routes of a virtual host.
const ROUTES: usize = 8;

/// Endpoints of a cluster.
pub(crate) const ENDPOINTS: usize = 64;

/// The virtual hosts that count, with their indices.
pub(crate) fn virtual_hosts(hosts: &[VirtualHost]) -> impl Iterator<Item = (usize, &VirtualHost)> {
    let most = if hosts.len() > VIRTUAL_HOSTS {
        0
    } else {
        hosts.len()
    };
    let counted = hosts.iter().take(most).enumerate();
    counted.filter(|(_, host)| host.routes.len() <= ROUTES)
}

/// Whether a limit keeps a virtual host out.
pub(crate) fn keeps_out(hosts: &[VirtualHost], index: usize) -> bool {
    !virtual_hosts(hosts).any(|(counted, _)| counted == index)
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::route::v3::Route;

    use super::*;

    #[test]
    fn hosts_and_routes() {
        let host = |routes: usize| VirtualHost {
            routes: vec![Route::default(); routes],
            ..VirtualHost::default()
        };
        let hosts = vec![host(8), host(9), host(0)];
        let counted: Vec<usize> = virtual_hosts(&hosts).map(|(index, _)| index).collect();
        assert_eq!(counted, [0, 2]);
        assert!(keeps_out(&hosts, 1) && !keeps_out(&hosts, 2));
        assert_eq!(virtual_hosts(&vec![host(1); 16]).count(), 16);
        assert_eq!(virtual_hosts(&vec![host(1); 17]).count(), 0);
    }
}
