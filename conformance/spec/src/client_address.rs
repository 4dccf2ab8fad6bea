//! The client's address as the connection manager finds it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use twinmesh_engine::Request;

use crate::listener::canonical;
use crate::message::Message;
use crate::range;

/// The client that a request comes from; `None` where it is not known.
///
/// Without `use_remote_address` it is the last address of x-forwarded-for, behind as many as
/// `xff_num_trusted_hops` says; with it, one fewer is skipped, and without hops the header does not
/// count. Where there is no such address, or it is none, it is the connection's source.
pub(crate) fn client(
    manager: &HttpConnectionManager,
    message: &Message,
    source: Option<IpAddr>,
) -> Option<IpAddr> {
    said(manager, message).or(source)
}

/// The client that x-forwarded-for tells of.
pub(crate) fn said(manager: &HttpConnectionManager, message: &Message) -> Option<IpAddr> {
    let hops = manager.xff_num_trusted_hops as usize;
    let uses_own = manager.use_remote_address.is_some_and(|own| own.value);
    let skipped = match (uses_own, hops) {
        (false, hops) => Some(hops),
        (true, 0) => None,
        (true, hops) => Some(hops - 1),
    };
    let list = message.values("x-forwarded-for").join(",");
    let mut list = list.as_str();
    for _ in 0..skipped? {
        list = list.rsplit_once(',')?.0;
    }
    let last = match list.rsplit_once(',') {
        // Envoy takes the whole list then, which is no address.
        Some((_, "")) => list,
        Some((_, last)) => last,
        None => list,
    };
    last.trim_ascii().parse().ok()
}

/// What is inside where no ranges are named: of the loopback network its one usual address.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private() || address == Ipv4Addr::LOCALHOST,
        IpAddr::V6(address) => address.octets()[0] == 0xfd || address == Ipv6Addr::LOCALHOST,
    }
}

/// Whether a request comes from inside: `internal_address_config` has its client's address, which is
/// the connection's own, or one that x-forwarded-for says alone.
///
/// # Errors
/// Why that is not decided.
pub(crate) fn is_internal(
    manager: &HttpConnectionManager,
    request: &Request,
    message: &Message,
) -> Result<bool, String> {
    let Some(config) = &manager.internal_address_config else {
        return Ok(false);
    };
    if !manager.original_ip_detection_extensions.is_empty() {
        return Err("whether the client's address is internal is not decided".to_owned());
    }
    let forwarded = message.values("x-forwarded-for");
    let is_inside = |address: IpAddr| match config.cidr_ranges.as_slice() {
        [] => is_private(address),
        ranges => ranges.iter().any(|it| range::contains(it, address)),
    };
    if manager.use_remote_address.is_some_and(|own| own.value) {
        if !forwarded.is_empty() {
            return Ok(false);
        }
        let source = request.source.map(|source| canonical(source).ip());
        return match source.filter(|source| !source.is_unspecified()) {
            Some(source) => Ok(is_inside(source)),
            None => Err("the request does not say where it comes from".to_owned()),
        };
    }
    // Behind trusted hops there is always another address that counts.
    if manager.xff_num_trusted_hops > 0 {
        return Ok(false);
    }
    let forwarded = forwarded.join(",");
    Ok(forwarded.trim_ascii().parse().is_ok_and(is_inside))
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::google::protobuf::BoolValue;
    use rstest::rstest;

    use super::*;
    use crate::message::tests::message;

    // Measured on Envoy 1.40: whether the client was 10.1.1.1, by use_remote_address and hops.
    #[rstest]
    #[case(&["10.1.1.1"], [true, false, false, true])]
    #[case(&["1.1.1.1, 10.1.1.1"], [true, false, false, true])]
    #[case(&["10.1.1.1, 1.1.1.1"], [false, true, false, false])]
    #[case(&["10.1.1.1:80"], [false, false, false, false])]
    #[case(&["10.1.1.1,"], [false, true, false, false])]
    #[case(&["x"], [false, false, false, false])]
    #[case(&[""], [false, false, false, false])]
    #[case(&["10.1.1.1", "2.2.2.2"], [false, true, false, false])]
    #[case(&["2.2.2.2", "10.1.1.1"], [true, false, false, true])]
    #[case(&["::ffff:10.1.1.1"], [false, false, false, false])]
    #[case(&[], [false, false, false, false])]
    fn addresses(#[case] lines: &[&str], #[case] expected: [bool; 4]) {
        let lines: Vec<_> = lines
            .iter()
            .map(|&line| ("x-forwarded-for", line))
            .collect();
        let options = [(false, 0), (false, 1), (true, 0), (true, 1)];
        for ((value, xff_num_trusted_hops), expected) in options.into_iter().zip(expected) {
            let manager = HttpConnectionManager {
                use_remote_address: Some(BoolValue { value }),
                xff_num_trusted_hops,
                ..HttpConnectionManager::default()
            };
            let source = "127.0.0.1".parse().ok();
            let found = client(&manager, &message(&lines), source);
            let is_it = found == "10.1.1.1".parse().ok();
            assert_eq!(is_it, expected, "{value} {xff_num_trusted_hops}");
            assert!(
                is_it
                    || found == source
                    || found.is_some_and(|it| it != source.expect("it is one"))
            );
        }
    }
}
