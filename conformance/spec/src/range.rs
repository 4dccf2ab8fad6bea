//! Ranges of addresses (`CidrRange`, Envoy's and xDS's).

use std::net::IpAddr;

use envoy_types::pb::envoy::config::core::v3::CidrRange;

/// Whether the address is in the range. A range has addresses of its own family alone; without a
/// length it has all of them.
pub(crate) fn contains(range: &CidrRange, address: IpAddr) -> bool {
    let length = range.prefix_len.map_or(0, |length| length.value);
    has(&range.address_prefix, length, address)
}

/// Whether the address is in the range of this prefix and length.
pub(crate) fn has(prefix: &str, length: u32, address: IpAddr) -> bool {
    let Ok(prefix) = prefix.parse::<IpAddr>() else {
        return false;
    };
    match (prefix, address) {
        (IpAddr::V4(prefix), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - length.min(32)).unwrap_or(0);
            prefix.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(prefix), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - length.min(128)).unwrap_or(0);
            prefix.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::google::protobuf::UInt32Value;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("10.1.0.0", Some(16), "10.1.255.255", true)]
    #[case("10.1.2.3", Some(16), "10.1.255.255", true)]
    #[case("10.1.0.0", Some(16), "10.2.0.0", false)]
    #[case("10.1.1.1", Some(33), "10.1.1.1", true)]
    #[case("10.1.1.1", Some(33), "10.1.1.2", false)]
    #[case("10.1.1.1", None, "1.2.3.4", true)]
    #[case("0.0.0.0", Some(0), "::1", false)]
    #[case("::", Some(0), "10.1.1.1", false)]
    #[case("::", Some(0), "::ffff:10.1.1.1", true)]
    #[case("fd00::", Some(8), "fdff::1", true)]
    #[case("fd00::", Some(8), "fe00::1", false)]
    fn ranges(
        #[case] prefix: &str,
        #[case] length: Option<u32>,
        #[case] address: &str,
        #[case] expected: bool,
    ) {
        let range = CidrRange {
            address_prefix: prefix.to_owned(),
            prefix_len: length.map(|value| UInt32Value { value }),
        };
        assert_eq!(
            contains(&range, address.parse().expect("an address")),
            expected
        );
    }
}
