//! Compiles RBAC's rules: each condition says where to go on, so that they are asked in order and
//! no further than needed. Its matcher trees are compiled as others ([`crate::matcher_tree`]).

#![expect(deprecated, reason = "Envoy still takes the deprecated forms")]

use envoy_types::pb::envoy::config::core::v3::CidrRange;
use envoy_types::pb::envoy::config::rbac::v3::{
    Permission, Policy, Principal, Rbac as Rules, permission::Rule, principal::Identifier,
    rbac::Action,
};
use envoy_types::pb::envoy::config::route::v3::HeaderMatcher;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac;
use envoy_types::pb::envoy::r#type::matcher::v3::{PathMatcher, StringMatcher, path_matcher};
use twinmesh_model::layout::{condition, pair, rbac};
use twinmesh_xds::Profile;

use crate::compiler::Compiler;
use crate::http_filter::{Left, Of};
use crate::input::address_bytes;
use crate::{CapacityError, matcher as compile_matcher};

/// Where to go on from a condition.
#[derive(Debug, Clone, Copy)]
pub struct Next {
    /// Where it holds.
    pub holds: u64,
    /// Where it does not.
    pub fails: u64,
}

fn over(error: CapacityError) -> Left {
    error.of_a_part()
}

fn unknown() -> Left {
    "a condition of its rules is not decided".to_owned()
}

impl Compiler<'_> {
    /// The offset of the filter's record.
    ///
    /// # Errors
    /// A rule is not decided, or does not fit.
    pub fn rbac(&mut self, rbac: &Rbac) -> Result<u64, Left> {
        if let Some(matcher) = &rbac.matcher {
            let root = self.matcher_tree(matcher, 0)?;
            return Ok(self.arena.words(&[rbac::TREE, root]));
        }
        let Some(rules) = &rbac.rules else {
            return Ok(0);
        };
        let first = self.rbac_rules(rules)?;
        let passes = u64::from(rules.action != Action::Deny as i32);
        Ok(self.arena.words(&[passes, first]))
    }

    /// The first condition of the rules. Where they match, the number of the policy stands with that: its
    /// place in the order of their names.
    ///
    /// # Errors
    /// A rule is not decided, or does not fit.
    pub fn rbac_rules(&mut self, rules: &Rules) -> Result<u64, Left> {
        let mut policies: Vec<(&String, &Policy)> = rules.policies.iter().collect();
        policies.sort_unstable_by_key(|(name, _)| *name);
        let mut at = condition::FALSE;
        for (number, (_, policy)) in policies.into_iter().enumerate().rev() {
            let next = Next {
                holds: condition::TRUE | (number as u64) << 1,
                fails: at,
            };
            let principals = self.any(&policy.principals, next, Self::principal)?;
            let next = Next {
                holds: principals,
                fails: at,
            };
            at = self.any(&policy.permissions, next, Self::permission)?;
        }
        Ok(at)
    }

    /// One of several has to hold.
    fn any<T>(
        &mut self,
        of: &[T],
        next: Next,
        one: fn(&mut Self, &T, Next) -> Result<u64, Left>,
    ) -> Result<u64, Left> {
        let mut fails = next.fails;
        for item in of.iter().rev() {
            fails = one(self, item, Next { fails, ..next })?;
        }
        Ok(fails)
    }

    /// Each of several has to hold.
    fn all<T>(
        &mut self,
        of: &[T],
        next: Next,
        one: fn(&mut Self, &T, Next) -> Result<u64, Left>,
    ) -> Result<u64, Left> {
        let mut holds = next.holds;
        for item in of.iter().rev() {
            holds = one(self, item, Next { holds, ..next })?;
        }
        Ok(holds)
    }

    fn permission(&mut self, permission: &Permission, next: Next) -> Result<u64, Left> {
        match permission.rule.as_ref().ok_or_else(unknown)? {
            Rule::Any(_) => Ok(next.holds),
            Rule::AndRules(set) => self.all(&set.rules, next, Self::permission),
            Rule::OrRules(set) => self.any(&set.rules, next, Self::permission),
            Rule::NotRule(rule) => self.permission(rule, turned(next)),
            Rule::Header(matcher) => self.header_condition(matcher, next),
            Rule::UrlPath(matcher) => self.path_condition(matcher, next),
            Rule::DestinationIp(range) => {
                self.address_condition(condition::DESTINATION, range, next)
            }
            Rule::DestinationPort(port) => {
                self.port_condition(u64::from(*port), u64::from(*port) + 1, next)
            }
            Rule::DestinationPortRange(range) => {
                let edge = |edge: i32| u64::try_from(edge).unwrap_or(0);
                self.port_condition(edge(range.start), edge(range.end), next)
            }
            Rule::RequestedServerName(matcher) => {
                self.filters.sees_server_name = true;
                let slot = self.names.server_name().map_err(over)?;
                self.text_condition(matcher, slot, next)
            }
            _ => Err(unknown()),
        }
    }

    fn principal(&mut self, principal: &Principal, next: Next) -> Result<u64, Left> {
        match principal.identifier.as_ref().ok_or_else(unknown)? {
            Identifier::Any(_) => Ok(next.holds),
            Identifier::AndIds(set) => self.all(&set.ids, next, Self::principal),
            Identifier::OrIds(set) => self.any(&set.ids, next, Self::principal),
            Identifier::NotId(id) => self.principal(id, turned(next)),
            Identifier::Header(matcher) => self.header_condition(matcher, next),
            Identifier::UrlPath(matcher) => self.path_condition(matcher, next),
            Identifier::SourceIp(range) | Identifier::DirectRemoteIp(range) => {
                self.address_condition(condition::SOURCE, range, next)
            }
            // There is nobody else before there is a request.
            Identifier::RemoteIp(range) if self.filters.of != Of::Requests => {
                self.address_condition(condition::SOURCE, range, next)
            }
            Identifier::RemoteIp(range) => {
                self.filters.sees_client = true;
                self.address_condition(condition::CLIENT, range, next)
            }
            Identifier::Authenticated(_) => Ok(self.condition(condition::AUTHENTICATED, 0, next)),
            _ => Err(unknown()),
        }
    }

    /// A condition of this kind.
    pub fn condition(&mut self, kind: u64, value: u64, next: Next) -> u64 {
        let next = pair(next.holds, next.fails);
        self.arena.record([kind, value, next, 0])
    }

    /// That a header matcher accepts the request.
    ///
    /// # Errors
    /// It is not decided, or does not fit.
    pub fn header_condition(&mut self, matcher: &HeaderMatcher, next: Next) -> Result<u64, Left> {
        let (arena, names) = (&mut self.arena, &mut self.names);
        // RBAC sees lines one by one by every profile.
        let profile = Profile::Envoy140;
        let compiled = compile_matcher::header(arena, names, self.snapshot, matcher, 0, profile);
        let compiled = compiled.map_err(over)?.ok_or_else(unknown)?;
        let record = self.arena.record(compiled.record);
        Ok(self.condition(condition::MATCHER, record, next))
    }

    fn path_condition(&mut self, matcher: &PathMatcher, next: Next) -> Result<u64, Left> {
        let Some(path_matcher::Rule::Path(matcher)) = &matcher.rule else {
            return Err(unknown());
        };
        if self.filters.of != Of::Requests {
            // A connection has no path.
            return Ok(next.fails);
        }
        let slot = self.names.path_without_query();
        self.text_condition(matcher, slot, next)
    }

    fn text_condition(
        &mut self,
        matcher: &StringMatcher,
        slot: u64,
        next: Next,
    ) -> Result<u64, Left> {
        let (arena, names) = (&mut self.arena, &mut self.names);
        let compiled = compile_matcher::text(arena, names, self.snapshot, matcher, slot);
        let compiled = compiled.map_err(over)?.ok_or_else(unknown)?;
        let record = self.arena.record(compiled.record);
        Ok(self.condition(condition::MATCHER, record, next))
    }

    /// That an address is in a range.
    ///
    /// # Errors
    /// The range is none.
    pub fn address_condition(
        &mut self,
        which: u64,
        range: &CidrRange,
        next: Next,
    ) -> Result<u64, Left> {
        let address: std::net::IpAddr = range.address_prefix.parse().map_err(|_| unknown())?;
        let bits = range.prefix_len.map_or(0, |length| u64::from(length.value));
        let words = match address {
            std::net::IpAddr::V4(address) => [0, u64::from(address.to_bits())],
            std::net::IpAddr::V6(_) => {
                let bytes = u128::from_be_bytes(address_bytes(address));
                [(bytes >> 64) as u64, bytes as u64]
            }
        };
        let place = self.arena.words(&words);
        let v6 = u64::from(address.is_ipv6());
        let kind = condition::ADDRESS | which << 8 | v6 << 16 | bits << 32;
        Ok(self.condition(kind, place, next))
    }

    fn port_condition(&mut self, from: u64, to: u64, next: Next) -> Result<u64, Left> {
        Ok(self.condition(condition::PORT, pair(from, to), next))
    }
}

fn turned(next: Next) -> Next {
    Next {
        holds: next.fails,
        fails: next.holds,
    }
}
