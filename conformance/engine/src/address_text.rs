//! Addresses as text, as matcher trees, hashes, format strings and the names of endpoints have them: what
//! `inet_ntop` writes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The address as text. That differs from Rust's for IPv6 addresses whose last 32 bits alone are set,
/// the upper 16 of these too: they stand there as IPv4.
pub fn text(address: IpAddr) -> String {
    match address {
        IpAddr::V6(v6) if v6.to_bits() >> 32 == 0 && v6.to_bits() >> 16 != 0 => {
            format!("::{}", Ipv4Addr::from_bits(v6.to_bits() as u32))
        }
        _ => address.to_string(),
    }
}

/// The same with the port behind it.
pub fn with_port(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(_) => address.to_string(),
        SocketAddr::V6(_) => format!("[{}]:{}", text(address.ip()), address.port()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("10.0.0.1", "10.0.0.1")]
    #[case("FD00:0:0::0A", "fd00::a")]
    #[case("::ffff:10.0.0.1", "::ffff:10.0.0.1")]
    #[case("::10.0.0.1", "::10.0.0.1")]
    #[case("::1", "::1")]
    #[case("::ffff", "::ffff")]
    #[case("1:0:0:2:0:0:0:3", "1:0:0:2::3")]
    fn addresses(#[case] given: &str, #[case] expected: &str) {
        let address: IpAddr = given.parse().expect("an address");
        assert_eq!(text(address), expected);
        let expected = match address {
            IpAddr::V4(_) => format!("{expected}:80"),
            IpAddr::V6(_) => format!("[{expected}]:80"),
        };
        assert_eq!(with_port(SocketAddr::new(address, 80)), expected);
    }
}
