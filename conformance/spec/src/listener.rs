//! Which listener takes a connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use envoy_types::pb::envoy::config::core::v3::{
    Address, SocketAddress, address, socket_address::PortSpecifier, socket_address::Protocol,
};
use twinmesh_engine::Request;
use twinmesh_xds::{Listener, Snapshot};

/// Where the decision about a request starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// At this listener: index into `Snapshot::listeners`.
    Listener(usize),
    /// At this route configuration, without a connection: index into
    /// `Snapshot::route_configurations`.
    RouteConfiguration(usize),
    /// Nowhere: no listener takes the connection.
    Nowhere,
}

/// The request does not say where it goes: an error of the input, not an outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// Neither a listener nor a destination is given.
    #[error(
        "request `{id}` names neither listener, route_config nor destination, and the snapshot has \
         {count} listeners: name one with `listener` (they are {names}), or give `destination`"
    )]
    NotNamed {
        /// The request's id.
        id: String,
        /// How many listeners there are.
        count: usize,
        /// Their names.
        names: String,
    },
    /// Several listeners fit the destination.
    #[error(
        "request `{id}` to {destination} fits several listeners ({names}): name one with `listener`"
    )]
    Ambiguous {
        /// The request's id.
        id: String,
        /// Its destination.
        destination: SocketAddr,
        /// Names of the listeners that fit.
        names: String,
    },
    /// `route_config` names none of the snapshot's.
    #[error(
        "request `{id}` names the route configuration `{name}`, which the snapshot does not hold"
    )]
    UnknownRouteConfiguration {
        /// The request's id.
        id: String,
        /// The name.
        name: String,
    },
}

/// Finds where the decision starts.
///
/// `route_config` names the start outright. A named listener takes the connection; without a name,
/// the listener at the destination does (see [`at`]), else the one with `use_original_dst`. A
/// listener with `use_original_dst` hands the connection on to the one at the destination, if
/// there is one. Without any of these fields the snapshot's only listener takes it, or, in a
/// snapshot without listeners, its only route configuration.
///
/// # Errors
/// The request leaves open which of several it means, or names a route configuration that is not
/// there.
pub fn select(snapshot: &Snapshot, request: &Request) -> Result<Entry, SelectionError> {
    if let Some(name) = &request.route_config {
        return snapshot
            .route_configurations
            .iter()
            .position(|route_configuration| &route_configuration.name == name)
            .map(Entry::RouteConfiguration)
            .ok_or_else(|| SelectionError::UnknownRouteConfiguration {
                id: request.id.clone(),
                name: name.clone(),
            });
    }
    let destination = request.destination.map(canonical);
    if let Some(name) = &request.listener {
        let Some(named) = position_by_name(snapshot, name) else {
            return Ok(Entry::Nowhere);
        };
        return hand_off(snapshot, request, named, destination);
    }
    if snapshot.listeners.is_empty() && snapshot.route_configurations.len() == 1 {
        return Ok(Entry::RouteConfiguration(0));
    }
    let Some(destination) = destination else {
        return match snapshot.listeners.len() {
            0 => Ok(Entry::Nowhere),
            1 => Ok(Entry::Listener(0)),
            count => Err(SelectionError::NotNamed {
                id: request.id.clone(),
                count,
                names: names(snapshot, &(0..count).collect::<Vec<_>>()),
            }),
        };
    };
    if let Some(found) = at(snapshot, request, destination)? {
        return hand_off(snapshot, request, found, Some(destination));
    }
    let catching = snapshot
        .listeners
        .iter()
        .enumerate()
        .filter(|(_, listener)| uses_original_destination(listener))
        .map(|(index, _)| index)
        .collect();
    Ok(only(snapshot, request, destination, catching)?.map_or(Entry::Nowhere, Entry::Listener))
}

/// An IPv4 address inside an IPv6 one is an IPv4 address.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The address a listener or an endpoint has, where it is an IP address with a port.
pub(crate) fn ip_and_port(address: &Option<Address>) -> Option<(SocketAddr, &SocketAddress)> {
    let Some(address::Address::SocketAddress(socket)) = &address.as_ref()?.address else {
        return None;
    };
    let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else {
        return None;
    };
    let ip: IpAddr = socket.address.parse().ok()?;
    Some((SocketAddr::new(ip, u16::try_from(port).ok()?), socket))
}

fn position_by_name(snapshot: &Snapshot, name: &str) -> Option<usize> {
    snapshot
        .listeners
        .iter()
        .position(|listener| listener.name == name)
}

pub(crate) fn uses_original_destination(listener: &Listener) -> bool {
    listener
        .config
        .use_original_dst
        .as_ref()
        .is_some_and(|use_original_dst| use_original_dst.value)
}

fn hand_off(
    snapshot: &Snapshot,
    request: &Request,
    listener: usize,
    destination: Option<SocketAddr>,
) -> Result<Entry, SelectionError> {
    let hands_off = snapshot
        .listeners
        .get(listener)
        .is_some_and(uses_original_destination);
    if hands_off
        && let Some(destination) = destination
        && let Some(other) = at(snapshot, request, destination)?
    {
        return Ok(Entry::Listener(other));
    }
    Ok(Entry::Listener(listener))
}

/// The listener at an address: one with exactly this address and port, else one with the port and
/// the wildcard address of the family; `[::]` with `ipv4_compat` stands for `0.0.0.0` too.
fn at(
    snapshot: &Snapshot,
    request: &Request,
    destination: SocketAddr,
) -> Result<Option<usize>, SelectionError> {
    let exact = bound_to(snapshot, |address, _| address == destination);
    if !exact.is_empty() {
        return only(snapshot, request, destination, exact);
    }
    let wildcard: IpAddr = match destination.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let wildcard = SocketAddr::new(wildcard, destination.port());
    let any = bound_to(snapshot, |address, _| address == wildcard);
    if !any.is_empty() || destination.is_ipv6() {
        return only(snapshot, request, destination, any);
    }
    let both = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), destination.port());
    let compatible = bound_to(snapshot, |address, socket| {
        address == both && socket.ipv4_compat
    });
    only(snapshot, request, destination, compatible)
}

/// The TCP listeners of which an address satisfies the condition.
fn bound_to(
    snapshot: &Snapshot,
    condition: impl Fn(SocketAddr, &SocketAddress) -> bool,
) -> Vec<usize> {
    let fits = |listener: &Listener| {
        let additional = &listener.config.additional_addresses;
        std::iter::once(&listener.config.address)
            .chain(additional.iter().map(|additional| &additional.address))
            .filter_map(ip_and_port)
            .filter(|(_, socket)| socket.protocol != Protocol::Udp as i32)
            // The kernel chooses this port.
            .filter(|(address, _)| address.port() != 0)
            .any(|(address, socket)| condition(address, socket))
    };
    snapshot
        .listeners
        .iter()
        .enumerate()
        .filter(|(_, listener)| fits(listener))
        .map(|(index, _)| index)
        .collect()
}

fn only(
    snapshot: &Snapshot,
    request: &Request,
    destination: SocketAddr,
    candidates: Vec<usize>,
) -> Result<Option<usize>, SelectionError> {
    match candidates.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        // Only a bootstrap has several of one name; the reader says that none of them is decided.
        [first, others @ ..]
            if others
                .iter()
                .all(|other| same_name(snapshot, *first, *other)) =>
        {
            Ok(Some(*first))
        }
        several => Err(SelectionError::Ambiguous {
            id: request.id.clone(),
            destination,
            names: names(snapshot, several),
        }),
    }
}

fn same_name(snapshot: &Snapshot, one: usize, other: usize) -> bool {
    let name = |index: usize| snapshot.listeners.get(index).map(|listener| &listener.name);
    name(one) == name(other)
}

/// At most the first ten names, for an error's text.
fn names(snapshot: &Snapshot, listeners: &[usize]) -> String {
    const MOST: usize = 10;
    let mut names: Vec<String> = listeners
        .iter()
        .take(MOST)
        .filter_map(|&index| snapshot.listeners.get(index))
        .map(|listener| format!("`{}`", listener.name))
        .collect();
    if listeners.len() > MOST {
        names.push(format!("{} more", listeners.len() - MOST));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::listener::v3::Listener as ListenerConfig;
    use envoy_types::pb::google::protobuf::BoolValue;
    use rstest::rstest;

    use super::*;

    struct Bind {
        name: &'static str,
        address: &'static str,
        port: u32,
        ipv4_compat: bool,
        use_original_dst: bool,
        udp: bool,
    }

    const BIND: Bind = Bind {
        name: "",
        address: "0.0.0.0",
        port: 80,
        ipv4_compat: false,
        use_original_dst: false,
        udp: false,
    };

    fn snapshot(binds: &[Bind]) -> Snapshot {
        let listeners = binds
            .iter()
            .map(|bind| Listener {
                name: bind.name.to_owned(),
                config: ListenerConfig {
                    use_original_dst: bind.use_original_dst.then_some(BoolValue { value: true }),
                    address: Some(Address {
                        address: Some(address::Address::SocketAddress(SocketAddress {
                            protocol: i32::from(bind.udp),
                            address: bind.address.to_owned(),
                            ipv4_compat: bind.ipv4_compat,
                            port_specifier: Some(PortSpecifier::PortValue(bind.port)),
                            ..SocketAddress::default()
                        })),
                    }),
                    ..ListenerConfig::default()
                },
                ..Listener::default()
            })
            .collect();
        Snapshot {
            listeners,
            ..Snapshot::default()
        }
    }

    fn request(listener: Option<&str>, destination: Option<&str>) -> Request {
        Request {
            listener: listener.map(str::to_owned),
            destination: destination.map(|text| text.parse().expect("an address")),
            ..crate::message::tests::request("/")
        }
    }

    fn mesh() -> Snapshot {
        snapshot(&[
            Bind {
                name: "virtual",
                address: "127.0.0.1",
                port: 15001,
                use_original_dst: true,
                ..BIND
            },
            Bind {
                name: "exact",
                address: "10.0.0.1",
                ..BIND
            },
            Bind {
                name: "wildcard",
                ..BIND
            },
            Bind {
                name: "both",
                address: "::",
                port: 81,
                ipv4_compat: true,
                ..BIND
            },
            Bind {
                name: "v6",
                address: "::",
                port: 82,
                ..BIND
            },
            Bind {
                name: "quic",
                port: 83,
                udp: true,
                ..BIND
            },
        ])
    }

    #[rstest]
    #[case::exact(None, Some("10.0.0.1:80"), Some("exact"))]
    #[case::wildcard(None, Some("10.0.0.2:80"), Some("wildcard"))]
    #[case::mapped(None, Some("[::ffff:10.0.0.1]:80"), Some("exact"))]
    #[case::both_families(None, Some("10.0.0.1:81"), Some("both"))]
    #[case::both_families_v6(None, Some("[fd00::1]:81"), Some("both"))]
    #[case::v6_only(None, Some("[fd00::1]:82"), Some("v6"))]
    #[case::v6_only_refuses_v4(None, Some("10.0.0.1:82"), Some("virtual"))]
    #[case::udp_takes_no_connection(None, Some("10.0.0.1:83"), Some("virtual"))]
    #[case::caught(None, Some("10.0.0.1:9999"), Some("virtual"))]
    #[case::named(Some("wildcard"), Some("10.0.0.1:80"), Some("wildcard"))]
    #[case::handed_off(Some("virtual"), Some("10.0.0.1:80"), Some("exact"))]
    #[case::nobody_to_hand_to(Some("virtual"), Some("10.0.0.1:9"), Some("virtual"))]
    #[case::nothing_to_go_by(Some("virtual"), None, Some("virtual"))]
    #[case::unknown_name(Some("other"), Some("10.0.0.1:80"), None)]
    fn in_a_mesh(
        #[case] listener: Option<&str>,
        #[case] destination: Option<&str>,
        #[case] expected: Option<&str>,
    ) {
        let snapshot = mesh();
        let entry = select(&snapshot, &request(listener, destination));
        let expected = expected.map_or(Entry::Nowhere, |name| {
            Entry::Listener(position_by_name(&snapshot, name).expect("a listener of the mesh"))
        });
        assert_eq!(entry, Ok(expected));
    }

    #[test]
    fn the_only_listener_needs_no_name() {
        let one = snapshot(&[BIND]);
        assert_eq!(select(&one, &request(None, None)), Ok(Entry::Listener(0)));
    }

    #[test]
    fn no_listener_is_at_the_destination() {
        let one = snapshot(&[BIND]);
        let entry = select(&one, &request(None, Some("10.0.0.1:81")));
        assert_eq!(entry, Ok(Entry::Nowhere));
    }

    #[test]
    fn several_listeners_and_no_name() {
        let error = select(&mesh(), &request(None, None)).expect_err("nothing is named");
        assert_eq!(
            error.to_string(),
            "request `r` names neither listener, route_config nor destination, and the snapshot \
             has 6 listeners: name one with `listener` (they are `virtual`, `exact`, `wildcard`, \
             `both`, `v6`, `quic`), or give `destination`"
        );
    }

    #[test]
    fn several_listeners_at_one_address() {
        let twice = snapshot(&[Bind { name: "a", ..BIND }, Bind { name: "b", ..BIND }]);
        let error = select(&twice, &request(None, Some("10.0.0.1:80"))).expect_err("both fit");
        assert_eq!(
            error.to_string(),
            "request `r` to 10.0.0.1:80 fits several listeners (`a`, `b`): name one with `listener`"
        );
    }

    #[test]
    fn an_unknown_route_configuration() {
        let mut request = request(None, None);
        request.route_config = Some("rc".to_owned());
        let error = select(&mesh(), &request).expect_err("it is not there");
        assert_eq!(
            error.to_string(),
            "request `r` names the route configuration `rc`, which the snapshot does not hold"
        );
    }
}
