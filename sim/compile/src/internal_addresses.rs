//! Compiles which clients a connection manager takes to be inside, for virtual hosts that require TLS
//! of those outside.

use std::net::IpAddr;

use envoy_types::pb::envoy::config::route::v3::virtual_host::TlsRequirementType;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
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

impl Compiler<'_> {
    /// The offset of the ranges, or 0 where nobody is inside or no virtual host asks.
    pub fn internal_addresses(&mut self, manager: &HttpConnectionManager) -> u64 {
        let ranges = manager.internal_address_config.as_ref();
        let ranges = ranges.map_or(&[][..], |config| &config.cidr_ranges);
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
