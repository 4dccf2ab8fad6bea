//! `FilterChainMatch`: which filter chain of a listener takes a connection.
//!
//! One criterion after the other narrows the chains to those that name its most specific value;
//! there is no way back to a less specific one, even when none of the chains left fits. What one of
//! them asks of an end of the connection that is not known is undecided.

use std::net::IpAddr;

use envoy_types::pb::envoy::config::core::v3::CidrRange;
use envoy_types::pb::envoy::config::listener::v3::FilterChainMatch;
use envoy_types::pb::envoy::config::listener::v3::filter_chain_match::ConnectionSourceType;
use twinmesh_engine::{Chain, Request};
use twinmesh_xds::Listener;

use crate::connection::Connection;

/// A filter chain that is still in the running.
type Candidate<'a> = (usize, &'a FilterChainMatch);

const NO_SOURCE: &str = "a filter chain looks at the source, which the request does not say";
const NO_DESTINATION: &str =
    "a filter chain looks at the destination, which the request does not say";

/// The filter chain for the connection; `None` where neither a chain nor a default fits. The error is why
/// that is not decided.
pub(crate) fn select(
    listener: &Listener,
    connection: &Connection,
) -> Result<Option<Chain>, &'static str> {
    let any = FilterChainMatch::default();
    let candidates = listener
        .filter_chains
        .iter()
        .map(|chain| chain.config.filter_chain_match.as_ref().unwrap_or(&any))
        .enumerate()
        .collect();
    let left = by_all_criteria(candidates, connection, None)?;
    Ok(match left.first() {
        Some((index, _)) => Some(Chain::Index(*index)),
        None => listener
            .default_filter_chain
            .as_ref()
            .map(|_| Chain::Default),
    })
}

/// A filter chain that does not take a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotTaken {
    /// Its index in the listener.
    pub filter_chain: usize,
    /// The field of `FilterChainMatch` by which it is out: it asks for another value, or another
    /// filter chain asks for a more specific one that the connection has.
    pub criterion: &'static str,
}

/// The filter chains of a listener that do not take the request's connection, in the order in which
/// they are out; up to the first criterion that is not decided.
pub fn not_taken(listener: &Listener, request: &Request) -> Vec<NotTaken> {
    if listener.config.filter_chain_matcher.is_some() {
        // Nothing is asked of the chains themselves.
        return Vec::new();
    }
    let any = FilterChainMatch::default();
    let chains = listener.filter_chains.iter();
    let candidates = chains
        .map(|chain| chain.config.filter_chain_match.as_ref().unwrap_or(&any))
        .enumerate()
        .collect();
    let mut out = Vec::new();
    let connection = Connection::new(request, listener);
    match by_all_criteria(candidates, &connection, Some(&mut out)) {
        // What is left, and what is not decided, is not out.
        Ok(_) | Err(_) => out,
    }
}

/// Narrows the candidates by one criterion, and notes which are out where that is asked for.
fn narrow<'a>(
    candidates: Vec<Candidate<'a>>,
    out: &mut Option<&mut Vec<NotTaken>>,
    criterion: &'static str,
    rule: impl FnOnce(Vec<Candidate<'a>>) -> Vec<Candidate<'a>>,
) -> Vec<Candidate<'a>> {
    let Some(out) = out else {
        return rule(candidates);
    };
    let before: Vec<usize> = candidates.iter().map(|(index, _)| *index).collect();
    let left = rule(candidates);
    let is_out = |index: &usize| left.iter().all(|(left, _)| left != index);
    out.extend(
        before
            .into_iter()
            .filter(is_out)
            .map(|filter_chain| NotTaken {
                filter_chain,
                criterion,
            }),
    );
    left
}

fn by_all_criteria<'a>(
    candidates: Vec<Candidate<'a>>,
    connection: &Connection,
    mut out: Option<&mut Vec<NotTaken>>,
) -> Result<Vec<Candidate<'a>>, &'static str> {
    let (source, destination) = (connection.source, connection.destination);
    let asks = |left: &[Candidate<'_>], asks: fn(&FilterChainMatch) -> bool| {
        left.iter().any(|(_, matched)| asks(matched))
    };
    if asks(&candidates, |m| destination_port(m).is_some()) && !connection.knows_destination {
        return Err(NO_DESTINATION);
    }
    let left = narrow(candidates, &mut out, "destination_port", |left| {
        by_destination_port(left, destination.port())
    });
    if asks(&left, |m| !m.prefix_ranges.is_empty()) && destination.ip().is_unspecified() {
        return Err(NO_DESTINATION);
    }
    let left = narrow(left, &mut out, "prefix_ranges", |left| {
        by_prefix(left, destination.ip(), |m| &m.prefix_ranges)
    });
    let left = narrow(left, &mut out, "server_names", |left| {
        by_server_name(left, &connection.server_name)
    });
    let left = narrow(left, &mut out, "transport_protocol", |left| {
        by_value(left, &[connection.transport_protocol], |m| {
            match m.transport_protocol.as_str() {
                "" => Vec::new(),
                protocol => vec![protocol],
            }
        })
    });
    let protocols: Vec<&str> = connection
        .application_protocols
        .iter()
        .map(String::as_str)
        .collect();
    let left = narrow(left, &mut out, "application_protocols", |left| {
        by_value(left, &protocols, |m| {
            m.application_protocols.iter().map(String::as_str).collect()
        })
    });
    let no_source = source.ip().is_unspecified();
    if asks(&left, |m| !m.direct_source_prefix_ranges.is_empty()) && no_source {
        return Err(NO_SOURCE);
    }
    let left = narrow(left, &mut out, "direct_source_prefix_ranges", |left| {
        by_prefix(left, source.ip(), |m| &m.direct_source_prefix_ranges)
    });
    if asks(&left, |m| m.source_type != ConnectionSourceType::Any as i32) {
        if no_source {
            return Err(NO_SOURCE);
        }
        // A source that is not local may yet be the destination.
        if destination.ip().is_unspecified() && !is_same_ip_or_loopback(connection) {
            return Err(NO_DESTINATION);
        }
    }
    let left = narrow(left, &mut out, "source_type", |left| {
        by_source_type(left, connection)
    });
    if asks(&left, |m| !m.source_prefix_ranges.is_empty()) && no_source {
        return Err(NO_SOURCE);
    }
    let left = narrow(left, &mut out, "source_prefix_ranges", |left| {
        by_prefix(left, source.ip(), |m| &m.source_prefix_ranges)
    });
    if asks(&left, |m| !m.source_ports.is_empty()) && no_source {
        return Err(NO_SOURCE);
    }
    Ok(narrow(left, &mut out, "source_ports", |left| {
        by_value(left, &[u32::from(source.port())], |m| {
            m.source_ports.clone()
        })
    }))
}

/// The port that a chain asks for.
fn destination_port(matched: &FilterChainMatch) -> Option<u32> {
    let port = matched.destination_port.as_ref()?;
    Some(port.value)
}

fn by_destination_port(candidates: Vec<Candidate<'_>>, port: u16) -> Vec<Candidate<'_>> {
    by_value(candidates, &[u32::from(port)], |m| {
        destination_port(m).into_iter().collect()
    })
}

/// The candidates that list the first of `wanted` that any of them lists; where none lists one,
/// those that list nothing.
fn by_value<'a, T: PartialEq>(
    candidates: Vec<Candidate<'a>>,
    wanted: &[T],
    listed: impl Fn(&'a FilterChainMatch) -> Vec<T>,
) -> Vec<Candidate<'a>> {
    for value in wanted {
        let naming = keep(&candidates, |m| listed(m).contains(value));
        if !naming.is_empty() {
            return naming;
        }
    }
    keep(&candidates, |m| listed(m).is_empty())
}

/// The candidates with the longest prefix that holds the address; where none does, those without
/// prefixes.
fn by_prefix<'a>(
    candidates: Vec<Candidate<'a>>,
    address: IpAddr,
    ranges: impl Fn(&'a FilterChainMatch) -> &'a [CidrRange],
) -> Vec<Candidate<'a>> {
    let longest = |m| {
        ranges(m)
            .iter()
            .filter_map(|range| length_if_within(range, address))
            .max()
    };
    match candidates.iter().filter_map(|(_, m)| longest(m)).max() {
        // A chain may list the winning prefix beside others: what counts is that it lists it.
        Some(length) => keep(&candidates, |m| longest(m) == Some(length)),
        None => keep(&candidates, |m| ranges(m).is_empty()),
    }
}

/// The prefix's length, where it holds the address.
fn length_if_within(range: &CidrRange, address: IpAddr) -> Option<u32> {
    let prefix: IpAddr = range.address_prefix.parse().ok()?;
    let length = range.prefix_len.as_ref().map_or(0, |length| length.value);
    let within = match (prefix, address) {
        (IpAddr::V4(prefix), IpAddr::V4(address)) => same_leading_bits(
            prefix.to_bits().into(),
            address.to_bits().into(),
            32,
            length,
        ),
        (IpAddr::V6(prefix), IpAddr::V6(address)) => {
            same_leading_bits(prefix.to_bits(), address.to_bits(), 128, length)
        }
        _ => false,
    };
    within.then_some(length)
}

fn same_leading_bits(one: u128, other: u128, width: u32, length: u32) -> bool {
    let ignored = width.saturating_sub(length);
    let shift = |bits: u128| bits.checked_shr(ignored).unwrap_or(0);
    shift(one) == shift(other)
}

/// The candidates that name the server exactly; else by the longest wildcard over it; else those
/// that name none.
fn by_server_name<'a>(candidates: Vec<Candidate<'a>>, name: &str) -> Vec<Candidate<'a>> {
    let names = |m: &'a FilterChainMatch, wanted: &str| {
        m.server_names
            .iter()
            .map(|listed| listed.strip_prefix('*').unwrap_or(listed))
            .any(|listed| listed.eq_ignore_ascii_case(wanted))
    };
    let dots = name.match_indices('.').map(|(at, _)| at);
    // A wildcard covers at least one character, and its domain is more than the dot.
    let suffixes = dots
        .filter(|&at| at > 0 && at + 1 < name.len())
        .filter_map(|at| name.get(at..));
    for wanted in std::iter::once(name).chain(suffixes) {
        let naming = keep(&candidates, |m| !wanted.is_empty() && names(m, wanted));
        if !naming.is_empty() {
            return naming;
        }
    }
    keep(&candidates, |m| m.server_names.is_empty())
}

/// The candidates for this kind of source, where there are any; else those for every kind.
fn by_source_type<'a>(
    candidates: Vec<Candidate<'a>>,
    connection: &Connection,
) -> Vec<Candidate<'a>> {
    let wanted = if is_same_ip_or_loopback(connection) {
        ConnectionSourceType::SameIpOrLoopback
    } else {
        ConnectionSourceType::External
    };
    let of = |kind| keep(&candidates, |m| m.source_type == kind as i32);
    let specific = of(wanted);
    if specific.is_empty() {
        of(ConnectionSourceType::Any)
    } else {
        specific
    }
}

/// Of the loopback network Envoy takes 127.0.0.1 and ::1 only.
pub(crate) fn is_same_ip_or_loopback(connection: &Connection) -> bool {
    let source = connection.source.ip();
    let is_loopback = match source {
        IpAddr::V4(source) => source == std::net::Ipv4Addr::LOCALHOST,
        IpAddr::V6(source) => source == std::net::Ipv6Addr::LOCALHOST,
    };
    is_loopback || source == connection.destination.ip()
}

fn keep<'a>(
    candidates: &[Candidate<'a>],
    condition: impl Fn(&'a FilterChainMatch) -> bool,
) -> Vec<Candidate<'a>> {
    candidates
        .iter()
        .filter(|(_, m)| condition(m))
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::google::protobuf::UInt32Value;
    use rstest::rstest;
    use twinmesh_xds::FilterChain;

    use super::*;

    fn connection() -> Connection {
        Connection {
            source: "192.168.1.5:1000".parse().expect("an address"),
            destination: "10.0.1.5:80".parse().expect("an address"),
            knows_destination: true,
            server_name: String::new(),
            transport_protocol: "raw_buffer",
            application_protocols: Vec::new(),
        }
    }

    fn ranges(texts: &[&str]) -> Vec<CidrRange> {
        texts
            .iter()
            .map(|text| {
                let (prefix, length) = text.split_once('/').expect("prefix/length");
                CidrRange {
                    address_prefix: prefix.to_owned(),
                    prefix_len: Some(UInt32Value {
                        value: length.parse().expect("a length"),
                    }),
                }
            })
            .collect()
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn port(port: u32) -> FilterChainMatch {
        FilterChainMatch {
            destination_port: Some(UInt32Value { value: port }),
            ..FilterChainMatch::default()
        }
    }

    fn to(texts: &[&str]) -> FilterChainMatch {
        FilterChainMatch {
            prefix_ranges: ranges(texts),
            ..FilterChainMatch::default()
        }
    }

    fn from(texts: &[&str]) -> FilterChainMatch {
        FilterChainMatch {
            source_prefix_ranges: ranges(texts),
            ..FilterChainMatch::default()
        }
    }

    fn server(names: &[&str], transport: &str, protocols: &[&str]) -> FilterChainMatch {
        FilterChainMatch {
            server_names: strings(names),
            transport_protocol: transport.to_owned(),
            application_protocols: strings(protocols),
            ..FilterChainMatch::default()
        }
    }

    fn source_type(kind: ConnectionSourceType) -> FilterChainMatch {
        FilterChainMatch {
            source_type: kind as i32,
            ..FilterChainMatch::default()
        }
    }

    fn source_port(port: u32) -> FilterChainMatch {
        FilterChainMatch {
            source_ports: vec![port],
            ..FilterChainMatch::default()
        }
    }

    fn listener(matches: Vec<FilterChainMatch>) -> Listener {
        let mut listener = Listener::default();
        for one in matches {
            let mut chain = FilterChain::default();
            chain.config.filter_chain_match = Some(one);
            listener.filter_chains.push(chain);
        }
        listener
    }

    fn chosen(matches: Vec<FilterChainMatch>, connection: &Connection) -> Option<usize> {
        match select(&listener(matches), connection) {
            Ok(Some(Chain::Index(index))) => Some(index),
            Ok(_) => None,
            Err(reason) => panic!("{reason}"),
        }
    }

    #[rstest]
    #[case::exact_port(vec![to(&["10.0.0.0/8"]), port(80)], Some(1))]
    #[case::other_port(vec![port(81), to(&["10.0.0.0/8"])], Some(1))]
    #[case::longest_prefix(vec![to(&["10.0.0.0/16"]), to(&["10.0.1.0/24"])], Some(1))]
    #[case::longest_of_several(vec![to(&["10.0.1.5/32", "1.0.0.0/8"]), to(&["10.0.1.0/24"])], Some(0))]
    #[case::zero_length_beats_none(vec![to(&[]), to(&["0.0.0.0/0"])], Some(1))]
    #[case::other_family(vec![to(&["::/0"])], None)]
    #[case::no_way_back(vec![
        FilterChainMatch { source_ports: vec![1], ..to(&["10.0.1.0/24"]) },
        to(&["10.0.0.0/16"]),
    ], None)]
    #[case::source_prefix(vec![from(&["192.168.0.0/16"]), from(&["192.168.1.0/24"])], Some(1))]
    #[case::source_prefix_elsewhere(vec![from(&["192.168.2.0/24"]), from(&[])], Some(1))]
    #[case::source_port(vec![source_port(1000), source_port(1001)], Some(0))]
    #[case::source_port_elsewhere(vec![source_port(1001)], None)]
    #[case::source_before_port(vec![source_port(1000), from(&["192.168.1.0/24"])], Some(1))]
    #[case::external(vec![
        source_type(ConnectionSourceType::SameIpOrLoopback),
        source_type(ConnectionSourceType::External),
        source_type(ConnectionSourceType::Any),
    ], Some(1))]
    #[case::any_source(vec![
        source_type(ConnectionSourceType::SameIpOrLoopback),
        source_type(ConnectionSourceType::Any),
    ], Some(1))]
    #[case::raw_buffer(vec![server(&[], "tls", &[]), server(&[], "raw_buffer", &[])], Some(1))]
    #[case::transport_before_protocol(vec![server(&[], "raw_buffer", &[]), server(&[], "", &["h2"])], Some(0))]
    #[case::nothing(vec![], None)]
    fn addresses(#[case] matches: Vec<FilterChainMatch>, #[case] expected: Option<usize>) {
        let mut out = Vec::new();
        let candidates = matches.iter().enumerate().collect();
        let left = by_all_criteria(candidates, &connection(), Some(&mut out));
        let left = left.expect("all of the connection is known");
        let others = (0..matches.len()).filter(|index| Some(*index) != expected);
        let mut not_taken: Vec<usize> = out.iter().map(|out| out.filter_chain).collect();
        not_taken.sort_unstable();
        assert_eq!(not_taken, others.collect::<Vec<_>>());
        assert_eq!(left.first().map(|(index, _)| *index), expected);
        assert_eq!(chosen(matches, &connection()), expected);
    }

    #[test]
    fn a_chain_is_out_by_the_first_criterion_that_tells() {
        let matches = [
            FilterChainMatch {
                source_ports: vec![1],
                ..to(&["10.0.1.0/24"])
            },
            to(&["10.0.0.0/16"]),
            port(81),
        ];
        let mut out = Vec::new();
        let candidates = matches.iter().enumerate().collect();
        let left = by_all_criteria(candidates, &connection(), Some(&mut out));
        assert_eq!(left, Ok(Vec::new()));
        let out: Vec<_> = out
            .iter()
            .map(|out| (out.filter_chain, out.criterion))
            .collect();
        assert_eq!(
            out,
            [
                (2, "destination_port"),
                (1, "prefix_ranges"),
                (0, "source_ports")
            ]
        );
    }

    #[rstest]
    #[case("a.test", &[], Some(0))]
    #[case("a.test", &["h2"], Some(4))]
    #[case("a.test", &["x", "h2"], Some(4))]
    #[case("y.b.test", &[], Some(1))]
    #[case("q.y.b.test", &[], Some(1))]
    #[case("x.b.test", &["h2"], Some(2))]
    #[case("z.x.b.test", &[], Some(3))]
    #[case("b.test", &[], Some(6))]
    #[case("b.test", &["istio"], Some(5))]
    #[case(".b.test", &[], Some(1))]
    #[case("test", &[], Some(6))]
    #[case("", &[], Some(6))]
    #[case("", &["peer", "istio"], Some(5))]
    fn server_names(
        #[case] name: &str,
        #[case] protocols: &[&str],
        #[case] expected: Option<usize>,
    ) {
        let matches = vec![
            server(&["a.test"], "", &[]),
            server(&["*.b.test"], "", &[]),
            server(&["x.b.test"], "", &[]),
            server(&["*.x.b.test"], "", &[]),
            server(&["a.test"], "", &["h2"]),
            server(&[], "tls", &["istio", "peer"]),
            server(&[], "tls", &[]),
        ];
        let connection = Connection {
            server_name: name.to_owned(),
            transport_protocol: "tls",
            application_protocols: strings(protocols),
            ..connection()
        };
        assert_eq!(chosen(matches, &connection), expected);
    }

    #[rstest]
    #[case("127.0.0.1:1", "127.0.0.1:80", true)]
    #[case("127.0.0.2:1", "127.0.0.1:80", false)]
    #[case("127.0.0.2:1", "127.0.0.2:80", true)]
    #[case("[::1]:1", "[fd00::1]:80", true)]
    #[case("10.0.0.1:1", "10.0.0.1:80", true)]
    #[case("10.0.0.1:1", "10.0.0.2:80", false)]
    fn local_sources(#[case] source: &str, #[case] destination: &str, #[case] expected: bool) {
        let connection = Connection {
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
            ..connection()
        };
        assert_eq!(is_same_ip_or_loopback(&connection), expected);
    }

    #[test]
    fn the_default_takes_what_no_chain_takes() {
        let mut listener = listener(vec![port(81)]);
        assert_eq!(select(&listener, &connection()), Ok(None));
        listener.default_filter_chain = Some(FilterChain::default());
        assert_eq!(select(&listener, &connection()), Ok(Some(Chain::Default)));
    }
}
