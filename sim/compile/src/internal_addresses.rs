//! Compiles which clients a connection manager takes to be inside, for virtual hosts that require TLS
//! of those outside.

use std::net::IpAddr;

use envoy_types::pb::envoy::config::core::v3::CidrRange;
use envoy_types::pb::envoy::config::route::v3::virtual_host::TlsRequirementType;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::google::protobuf::UInt32Value;
use twinmesh_model::layout::{internal_addresses, pair};
use twinmesh_xds::Snapshot;

use crate::compiler::Compiler;

/// Whether some virtual host asks who is inside.
pub fn is_asked(snapshot: &Snapshot) -> bool {
    let configurations = snapshot.route_configurations.iter();
    configurations
        .flat_map(|configuration| &configuration.config.virtual_hosts)
        .any(|host| host.require_tls == TlsRequirementType::ExternalOnly as i32)
}

/// The addresses that are inside where `internal_address_config` is there and names no ranges: private ones and
/// the two of the loopback interface.
const PRIVATE: [(&str, u32); 6] = [
    ("10.0.0.0", 8),
    ("172.16.0.0", 12),
    ("192.168.0.0", 16),
    ("127.0.0.1", 32),
    ("fd00::", 8),
    ("::1", 128),
];

/// The ranges of the clients that are inside; none without `internal_address_config`.
pub(crate) fn ranges(manager: &HttpConnectionManager) -> Vec<CidrRange> {
    let Some(config) = &manager.internal_address_config else {
        return Vec::new();
    };
    if !config.cidr_ranges.is_empty() {
        return config.cidr_ranges.clone();
    }
    let private = PRIVATE.iter().map(|(prefix, length)| CidrRange {
        address_prefix: (*prefix).to_owned(),
        prefix_len: Some(UInt32Value { value: *length }),
    });
    private.collect()
}

impl Compiler<'_> {
    /// The offset of the ranges, or 0 where nobody is inside or no virtual host asks.
    pub fn internal_addresses(&mut self, manager: &HttpConnectionManager) -> u64 {
        let ranges = ranges(manager);
        let own = manager.use_remote_address.is_some_and(|own| own.value);
        // Behind trusted hops x-forwarded-for has another to say it.
        let never = !own && manager.xff_num_trusted_hops != 0;
        if ranges.is_empty() || never || !is_asked(self.snapshot) {
            return 0;
        }
        let Ok(slot) = self.names.header("x-forwarded-for") else {
            return 0;
        };
        let mut words = Vec::new();
        for range in ranges {
            // What is no address the reader has refused.
            let Ok(address) = range.address_prefix.parse::<IpAddr>() else {
                continue;
            };
            let bits = range.prefix_len.map_or(0, |length| u64::from(length.value));
            let (v6, number) = match address {
                IpAddr::V4(address) => (0, u128::from(address.to_bits())),
                IpAddr::V6(address) => (1, address.to_bits()),
            };
            words.push([pair(bits, v6), (number >> 64) as u64, number as u64]);
        }
        let count = pair(words.len() as u64, u64::from(own));
        let offset = self.arena.words(&[count, slot]);
        self.arena.words(words.as_flattened());
        debug_assert_eq!(internal_addresses::RANGES, 16);
        debug_assert_eq!(internal_addresses::RANGE, 24);
        offset
    }
}
