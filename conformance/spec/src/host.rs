//! What the connection manager strips off the authority.

use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, http_connection_manager::StripPortMode,
};

use crate::integer;

/// The authority after `strip_trailing_host_dot`, then `strip_any_host_port` or
/// `strip_matching_host_port`.
pub(crate) fn strip(
    authority: &str,
    manager: &HttpConnectionManager,
    destination_port: Option<u16>,
) -> String {
    let mut authority = authority.to_owned();
    if manager.strip_trailing_host_dot {
        authority = without_trailing_dot(&authority);
    }
    let any = matches!(
        manager.strip_port_mode,
        Some(StripPortMode::StripAnyHostPort(true))
    );
    if any {
        return without_port(&authority, |_| true).to_owned();
    }
    if manager.strip_matching_host_port {
        let matches = |port| destination_port.is_some_and(|own| u64::from(own) == port);
        return without_port(&authority, matches).to_owned();
    }
    authority
}

/// Where the port's colon stands; one inside an IPv6 address is none.
pub(crate) fn port_start(authority: &str) -> Option<usize> {
    let colon = authority.rfind(':')?;
    match authority.rfind(']') {
        Some(bracket) if bracket > colon => None,
        _ => Some(colon),
    }
}

fn without_port(authority: &str, condition: impl Fn(u64) -> bool) -> &str {
    let Some(colon) = port_start(authority) else {
        return authority;
    };
    let (host, port) = authority.split_at(colon);
    let number = port.strip_prefix(':').and_then(integer::unsigned);
    match number {
        Some(number) if u32::try_from(number).is_ok() && condition(number) => host,
        _ => authority,
    }
}

/// Without the last dot, where that ends the host: at the end, or right before a colon.
fn without_trailing_dot(authority: &str) -> String {
    match authority.rsplit_once('.') {
        Some((before, "")) => before.to_owned(),
        Some((before, after)) if after.starts_with(':') => format!("{before}{after}"),
        _ => authority.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("v", "v", "v")]
    #[case("v:80", "v", "v:80")]
    #[case("v:23402", "v", "v")]
    #[case("v:x", "v:x", "v:x")]
    #[case("v:", "v:", "v:")]
    #[case("v.", "v", "v.")]
    #[case("v.:80", "v", "v.:80")]
    #[case("v..", "v.", "v..")]
    #[case("[::1]:80", "[::1]", "[::1]:80")]
    #[case("[::1]", "[::1]", "[::1]")]
    #[case("::1", ":", "::1")]
    #[case("v:+80", "v", "v:+80")]
    #[case("v:080", "v", "v:080")]
    #[case("v:4294967296", "v:4294967296", "v:4294967296")]
    #[case(".", "", ".")]
    #[case(":80", "", ":80")]
    #[case("1.2.3.4:80", "1.2.3.4", "1.2.3.4:80")]
    fn stripped(#[case] authority: &str, #[case] any: &str, #[case] matching: &str) {
        let strip_any = HttpConnectionManager {
            strip_trailing_host_dot: true,
            strip_port_mode: Some(StripPortMode::StripAnyHostPort(true)),
            ..HttpConnectionManager::default()
        };
        assert_eq!(strip(authority, &strip_any, Some(23_402)), any);
        let strip_matching = HttpConnectionManager {
            strip_matching_host_port: true,
            ..HttpConnectionManager::default()
        };
        assert_eq!(strip(authority, &strip_matching, Some(23_402)), matching);
        let neither = HttpConnectionManager::default();
        assert_eq!(strip(authority, &neither, Some(23_402)), authority);
    }
}
