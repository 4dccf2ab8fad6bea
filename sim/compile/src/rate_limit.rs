//! Compiles rate limits (`RateLimit`) against the descriptors of a local rate limit filter: the
//! condition on which a request has each of them.

#![expect(deprecated, reason = "Envoy still takes the deprecated forms")]

use std::net::IpAddr;

use envoy_types::pb::envoy::config::core::v3::CidrRange;
use envoy_types::pb::envoy::config::route::v3::{
    RateLimit, VirtualHost, rate_limit::Action, rate_limit::action::ActionSpecifier,
    rate_limit::action::MaskedRemoteAddress, route::Action as RouteActionOf,
};
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::{
    LocalRateLimitDescriptor, VhRateLimitsOptions, rate_limit_descriptor::Entry,
};
use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use envoy_types::pb::google::protobuf::UInt32Value;
use twinmesh_model::layout::{condition, pair, rate_limits};

use crate::compiler::Compiler;
use crate::http_filter::Left;
use crate::rbac::Next;

/// What an action has to say for a request to have a descriptor.
enum Wanted {
    /// Nothing that a request could change.
    Always,
    Never,
    /// The client is in this range.
    Client(CidrRange),
}

impl Compiler<'_> {
    /// What the routes of a configuration ask for, as in
    /// [`local_rate_limit::ROUTES`](twinmesh_model::layout::local_rate_limit::ROUTES).
    ///
    /// # Errors
    /// It does not fit.
    pub fn rate_limits_of_routes(
        &mut self,
        config: &LocalRateLimit,
        routes: Option<usize>,
    ) -> Result<u64, Left> {
        let snapshot = self.snapshot;
        let numbers: Vec<_> = self.filters.routes.clone();
        let mut found = Vec::new();
        for ((configuration, host, route), number) in numbers {
            if Some(configuration) != routes {
                continue;
            }
            let configuration = snapshot.route_configurations.get(configuration);
            let hosts = configuration.map(|it| &it.config.virtual_hosts);
            let Some(host) = hosts.and_then(|hosts| hosts.get(host)) else {
                continue;
            };
            let limits = applicable(config, host, route);
            if !limits.is_empty() {
                found.push([number, self.rate_limits(config, &limits)?]);
            }
        }
        found.sort_unstable();
        let offset = self.arena.words(found.as_flattened());
        Ok(pair(offset, found.len() as u64))
    }

    /// The offset of what these rate limits give a request.
    ///
    /// # Errors
    /// There are too many of them, or a condition does not fit.
    pub fn rate_limits(
        &mut self,
        config: &LocalRateLimit,
        limits: &[&RateLimit],
    ) -> Result<u64, Left> {
        if limits.len() > rate_limits::MOST {
            let most = rate_limits::MOST;
            return Err(format!("at most {most} rate limits of a request fit"));
        }
        let places = places(&config.descriptors);
        let mut words = Vec::new();
        let mut sees_client = false;
        for (number, limit) in limits.iter().enumerate() {
            sees_client |= limit.actions.iter().any(takes_client);
            for (index, descriptor) in config.descriptors.iter().enumerate() {
                let start = self.actions(&limit.actions, &descriptor.entries)?;
                if start != condition::FALSE {
                    let place = places.get(index).copied().unwrap_or(0);
                    let entry = number as u64 | place << 16 | (index as u64) << 32;
                    words.extend([entry, start]);
                }
            }
        }
        self.filters.sees_client |= sees_client;
        let count = words.len() as u64 / 2;
        words.insert(0, pair(count, u64::from(sees_client)));
        Ok(self.arena.words(&words))
    }

    fn cluster_condition(&mut self, name: &str, next: Next) -> Result<u64, Left> {
        crate::capacity::text(name.as_bytes()).map_err(|over| over.of_a_part())?;
        let record = self.cluster_offset(name);
        let text = self.arena.text(name.as_bytes());
        let wanted = self.arena.words(&[pair(record, text), name.len() as u64]);
        Ok(self.condition(condition::CLUSTER, wanted, next))
    }

    /// The condition on which actions make exactly these entries.
    fn actions(&mut self, actions: &[Action], entries: &[Entry]) -> Result<u64, Left> {
        let Some((action, actions)) = actions.split_first() else {
            return Ok(if entries.is_empty() {
                condition::TRUE
            } else {
                condition::FALSE
            });
        };
        let with = match entries.split_first() {
            Some((entry, entries)) => Some((entry, self.actions(actions, entries)?)),
            None => None,
        };
        let fails = condition::FALSE;
        let wanted = match action.action_specifier.as_ref() {
            Some(ActionSpecifier::RequestHeaders(header)) => {
                let slot = self.names.header(&header.header_name);
                let slot = slot.map_err(|over| over.of_a_part())?;
                let next = |holds| Next { holds, fails };
                let present = match with {
                    Some((entry, holds))
                        if entry.key == header.descriptor_key && holds != fails =>
                    {
                        let number = self.names.value(slot, &entry.value);
                        let value = pair(slot, number);
                        self.condition(condition::FIRST_VALUE, value, next(holds))
                    }
                    _ => fails,
                };
                let absent = match header.skip_if_absent {
                    true => self.actions(actions, entries)?,
                    false => fails,
                };
                if (present, absent) == (fails, fails) {
                    return Ok(fails);
                }
                let next = Next {
                    holds: present,
                    fails: absent,
                };
                return Ok(self.condition(condition::PRESENT, slot, next));
            }
            Some(ActionSpecifier::HeaderValueMatch(matched)) => {
                let key = named(&matched.descriptor_key, "header_match");
                let Some(holds) = entered(with, key, &matched.descriptor_value) else {
                    return Ok(fails);
                };
                let expects = matched.expect_match.is_none_or(|it| it.value);
                // Where a matcher does not hold, not all of them do.
                let (all, some_not) = if expects {
                    (holds, fails)
                } else {
                    (fails, holds)
                };
                let mut at = all;
                for matcher in matched.headers.iter().rev() {
                    let next = Next {
                        holds: at,
                        fails: some_not,
                    };
                    at = self.header_condition(matcher, next)?;
                }
                return Ok(at);
            }
            Some(ActionSpecifier::DestinationCluster(_)) => {
                return match with {
                    Some((entry, holds))
                        if entry.key == "destination_cluster" && holds != fails =>
                    {
                        self.cluster_condition(&entry.value, Next { holds, fails })
                    }
                    _ => Ok(fails),
                };
            }
            Some(ActionSpecifier::GenericKey(generic)) => {
                let key = named(&generic.descriptor_key, "generic_key");
                match entered(with, key, &generic.descriptor_value) {
                    Some(_) => Wanted::Always,
                    None => Wanted::Never,
                }
            }
            Some(ActionSpecifier::RemoteAddress(_)) => match with {
                Some((entry, _)) if entry.key == "remote_address" => {
                    address(&entry.value).map_or(Wanted::Never, Wanted::Client)
                }
                _ => Wanted::Never,
            },
            Some(ActionSpecifier::MaskedRemoteAddress(masked)) => match with {
                Some((entry, _)) if entry.key == "masked_remote_address" => {
                    network(&entry.value, masked).map_or(Wanted::Never, Wanted::Client)
                }
                _ => Wanted::Never,
            },
            // The reader leaves the others undecided.
            _ => return Err("an action of its rate limits is not decided".to_owned()),
        };
        let holds = with.map_or(fails, |(_, holds)| holds);
        match wanted {
            Wanted::Always => Ok(holds),
            Wanted::Client(range) if holds != fails => {
                self.address_condition(condition::CLIENT, &range, Next { holds, fails })
            }
            Wanted::Never | Wanted::Client(_) => Ok(fails),
        }
    }
}

/// Where to go on where the next entry is this one.
fn entered(with: Option<(&Entry, u64)>, key: &str, value: &str) -> Option<u64> {
    let (entry, holds) = with?;
    (entry.key == key && entry.value == value).then_some(holds)
}

fn named<'a>(given: &'a str, default: &'a str) -> &'a str {
    if given.is_empty() { default } else { given }
}

fn takes_client(action: &Action) -> bool {
    matches!(
        action.action_specifier,
        Some(ActionSpecifier::RemoteAddress(_) | ActionSpecifier::MaskedRemoteAddress(_))
    )
}

fn range(address: IpAddr, bits: u32) -> CidrRange {
    CidrRange {
        address_prefix: address.to_string(),
        prefix_len: Some(UInt32Value { value: bits }),
    }
}

fn whole(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address that is written so.
fn address(text: &str) -> Option<CidrRange> {
    let address: IpAddr = text.parse().ok()?;
    (address.to_string() == text).then(|| range(address, whole(address)))
}

/// The network that is written so, where the action masks addresses to it.
fn network(text: &str, masked: &MaskedRemoteAddress) -> Option<CidrRange> {
    let (prefix, bits) = text.split_once('/')?;
    let prefix: IpAddr = prefix.parse().ok()?;
    let given = match prefix {
        IpAddr::V4(_) => masked.v4_prefix_mask_len,
        IpAddr::V6(_) => masked.v6_prefix_mask_len,
    };
    let length = given.map_or(whole(prefix), |it| it.value);
    let rest = whole(prefix).checked_sub(length)?;
    let is_network = match prefix {
        IpAddr::V4(it) => it.to_bits().trailing_zeros().min(32) >= rest,
        IpAddr::V6(it) => it.to_bits().trailing_zeros().min(128) >= rest,
    };
    let written = format!("{prefix}/{length}") == text && bits == length.to_string();
    (is_network && written).then(|| range(prefix, length))
}

/// The rate limits that count for a route: its own, and its virtual host's where they are asked for.
fn applicable<'c>(
    config: &LocalRateLimit,
    host: &'c VirtualHost,
    route: usize,
) -> Vec<&'c RateLimit> {
    let route = host.routes.get(route).and_then(|it| it.action.as_ref());
    let Some(RouteActionOf::Route(action)) = route else {
        return Vec::new();
    };
    let includes = action.include_vh_rate_limits.is_some_and(|it| it.value);
    let of_host = includes
        || match VhRateLimitsOptions::try_from(config.vh_rate_limits) {
            Ok(VhRateLimitsOptions::Include) => true,
            Ok(VhRateLimitsOptions::Ignore) => false,
            _ => action.rate_limits.is_empty(),
        };
    let of_host = host.rate_limits.iter().filter(|_| of_host);
    let all = action.rate_limits.iter().chain(of_host);
    all.filter(|limit| {
        limit.stage.map_or(0, |stage| stage.value) == config.stage && limit.disable_key.is_empty()
    })
    .collect()
}

/// The place of each descriptor among those that fill slower; of those alike the same one.
fn places(descriptors: &[LocalRateLimitDescriptor]) -> Vec<u64> {
    let rate = |descriptor: &LocalRateLimitDescriptor| {
        let tokens = descriptor.token_bucket.unwrap_or_default();
        let interval = tokens.fill_interval.unwrap_or_default();
        let milliseconds = interval.seconds.unsigned_abs() * 1000
            + u64::from(interval.nanos.unsigned_abs() / 1_000_000);
        let per_fill = tokens.tokens_per_fill.map_or(1, |it| it.value);
        (u128::from(per_fill), u128::from(milliseconds))
    };
    let slower = |one: &LocalRateLimitDescriptor, other: &LocalRateLimitDescriptor| {
        let ((one, its), (other, others)) = (rate(one), rate(other));
        one * others < other * its
    };
    let place = |it| descriptors.iter().filter(|other| slower(other, it)).count() as u64;
    descriptors.iter().map(place).collect()
}
