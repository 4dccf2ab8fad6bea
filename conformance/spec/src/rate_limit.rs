//! `RateLimit`: the descriptors of a request, which its route, its virtual host or a filter ask for.

#![expect(deprecated, reason = "Envoy still takes the deprecated forms")]

use std::net::IpAddr;

use envoy_types::pb::envoy::config::route::v3::{
    RateLimit, RouteAction, VirtualHost, rate_limit::Action, rate_limit::action::ActionSpecifier,
};
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::VhRateLimitsOptions;
use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;

use crate::header;
use crate::message::Message;
use crate::regex::Regexes;

/// Keys and values.
pub(crate) type Descriptor = Vec<(String, String)>;

/// What actions look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) message: &'a Message,
    /// As the connection manager has it.
    pub(crate) client: Option<IpAddr>,
    /// The name that the route chose.
    pub(crate) cluster: Option<&'a str>,
    pub(crate) regexes: &'a Regexes,
}

/// What an action makes of a request.
enum Made {
    Entry(String, String),
    /// The descriptor does without it.
    Nothing,
    /// There is no descriptor.
    NoDescriptor,
}

/// The rate limits that count: the filter's own, else those of a route that forwards, and of its
/// virtual host where they are asked for.
pub(crate) fn applicable<'a>(
    config: &'a LocalRateLimit,
    route: Option<(&'a VirtualHost, &'a RouteAction)>,
) -> Vec<&'a RateLimit> {
    if !config.rate_limits.is_empty() {
        return config.rate_limits.iter().collect();
    }
    let Some((host, action)) = route else {
        return Vec::new();
    };
    let mut limits: Vec<&RateLimit> = action.rate_limits.iter().collect();
    let included = action.include_vh_rate_limits.is_some_and(|it| it.value);
    let counts = match VhRateLimitsOptions::try_from(config.vh_rate_limits) {
        _ if included => true,
        Ok(VhRateLimitsOptions::Include) => true,
        Ok(VhRateLimitsOptions::Ignore) => false,
        Ok(VhRateLimitsOptions::Override) | Err(_) => limits.is_empty(),
    };
    if counts {
        limits.extend(&host.rate_limits);
    }
    limits.retain(|limit| {
        let stage = limit.stage.map_or(0, |stage| stage.value);
        stage == config.stage && limit.disable_key.is_empty()
    });
    limits
}

/// The descriptors that rate limits make, in order; the error is why they are not decided.
pub(crate) fn descriptors(
    limits: &[&RateLimit],
    asked: Asked<'_>,
) -> Result<Vec<Descriptor>, &'static str> {
    let mut actions = limits.iter().flat_map(|limit| &limit.actions);
    if asked.client.is_none() && actions.any(takes_client) {
        return Err("a filter looks at the client's address, which is not known");
    }
    let mut descriptors = Vec::new();
    for limit in limits {
        descriptors.extend(descriptor(limit, asked)?);
    }
    Ok(descriptors)
}

fn descriptor(limit: &RateLimit, asked: Asked<'_>) -> Result<Option<Descriptor>, &'static str> {
    let mut descriptor = Descriptor::new();
    for action in &limit.actions {
        match made(action, asked)? {
            Made::Entry(key, value) => descriptor.push((key, value)),
            Made::Nothing => {}
            Made::NoDescriptor => return Ok(None),
        }
    }
    Ok(Some(descriptor))
}

fn takes_client(action: &Action) -> bool {
    matches!(
        action.action_specifier,
        Some(ActionSpecifier::RemoteAddress(_) | ActionSpecifier::MaskedRemoteAddress(_))
    )
}

fn made(action: &Action, asked: Asked<'_>) -> Result<Made, &'static str> {
    let named = |key: &str, default: &str| match key {
        "" => default.to_owned(),
        key => key.to_owned(),
    };
    let client = asked.client.ok_or("the client's address is not known");
    Ok(match action.action_specifier.as_ref() {
        Some(ActionSpecifier::GenericKey(generic)) => Made::Entry(
            named(&generic.descriptor_key, "generic_key"),
            generic.descriptor_value.clone(),
        ),
        Some(ActionSpecifier::DestinationCluster(_)) => match asked.cluster {
            Some(name) => Made::Entry("destination_cluster".to_owned(), name.to_owned()),
            None => Made::NoDescriptor,
        },
        Some(ActionSpecifier::RequestHeaders(header)) => {
            match asked
                .message
                .first_value(&header.header_name.to_ascii_lowercase())
            {
                Some(value) => Made::Entry(header.descriptor_key.clone(), value),
                None if header.skip_if_absent => Made::Nothing,
                None => Made::NoDescriptor,
            }
        }
        Some(ActionSpecifier::HeaderValueMatch(matched)) => {
            let mut headers = matched.headers.iter();
            let all = headers.all(|it| header::matches_apart(it, asked.message, asked.regexes));
            if all == matched.expect_match.is_none_or(|expects| expects.value) {
                let key = named(&matched.descriptor_key, "header_match");
                Made::Entry(key, matched.descriptor_value.clone())
            } else {
                Made::NoDescriptor
            }
        }
        Some(ActionSpecifier::RemoteAddress(_)) => {
            Made::Entry("remote_address".to_owned(), client?.to_string())
        }
        Some(ActionSpecifier::MaskedRemoteAddress(masked)) => {
            let (v4, v6) = (masked.v4_prefix_mask_len, masked.v6_prefix_mask_len);
            let value = match client? {
                IpAddr::V4(address) => network_v4(address.to_bits(), v4.map_or(32, |it| it.value)),
                IpAddr::V6(address) => network_v6(address.to_bits(), v6.map_or(128, |it| it.value)),
            };
            Made::Entry("masked_remote_address".to_owned(), value)
        }
        _ => return Err("an action of its rate limits is not decided"),
    })
}

fn network_v4(address: u32, length: u32) -> String {
    let mask = u32::MAX.checked_shl(32 - length.min(32)).unwrap_or(0);
    format!("{}/{length}", std::net::Ipv4Addr::from_bits(address & mask))
}

fn network_v6(address: u128, length: u32) -> String {
    let mask = u128::MAX.checked_shl(128 - length.min(128)).unwrap_or(0);
    format!("{}/{length}", std::net::Ipv6Addr::from_bits(address & mask))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("10.1.2.3", 32, "10.1.2.3/32")]
    #[case("10.1.2.3", 8, "10.0.0.0/8")]
    #[case("10.1.2.3", 31, "10.1.2.2/31")]
    #[case("10.1.2.3", 0, "0.0.0.0/0")]
    fn networks(#[case] address: std::net::Ipv4Addr, #[case] length: u32, #[case] expected: &str) {
        assert_eq!(network_v4(address.to_bits(), length), expected);
    }

    #[rstest]
    #[case("fd00::1", 128, "fd00::1/128")]
    #[case("fd00:1::1", 16, "fd00::/16")]
    fn networks_v6(
        #[case] address: std::net::Ipv6Addr,
        #[case] length: u32,
        #[case] expected: &str,
    ) {
        assert_eq!(network_v6(address.to_bits(), length), expected);
    }
}
