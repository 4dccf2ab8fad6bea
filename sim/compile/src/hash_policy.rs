//! Compiles the hash policies of routes and TCP proxies.

use envoy_types::pb::envoy::config::route::v3::route_action::{
    HashPolicy, hash_policy::PolicySpecifier,
};
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use envoy_types::pb::envoy::r#type::v3::{
    HashPolicy as TcpHashPolicy, hash_policy::PolicySpecifier as TcpPolicySpecifier,
};
use twinmesh_model::Machine;
use twinmesh_model::layout::{Span, hash_policy, pair};
use xxhash_rust::xxh64::xxh64;

use crate::CapacityError;
use crate::compiler::Compiler;
use crate::matcher::arrives_as_sent;
use crate::substitution::Substitutions;

/// The header whose last address is the client's, where it is trusted.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The rules by which routes rewrite headers before they are hashed, by number.
#[derive(Debug, Clone, Default)]
pub struct HashRewrites {
    rules: Vec<RegexMatchAndSubstitute>,
    substitutions: Substitutions,
}

impl HashRewrites {
    /// The number of a rule; `None` where its regex is too large to be compiled.
    fn add(&mut self, rule: &RegexMatchAndSubstitute) -> Option<u64> {
        self.substitutions.add(rule).ok()?;
        let known = self.rules.iter().position(|known| known == rule);
        let number = known.unwrap_or_else(|| {
            self.rules.push(rule.clone());
            self.rules.len() - 1
        });
        Some(number as u64)
    }

    /// The hash of a header's values, which stand at these places of a machine's input, each rewritten
    /// by the rule of this number: in the order of their bytes, the hash of each the next one's seed.
    /// `None` where there is no such rule.
    pub fn hash(
        &self,
        machine: &impl Machine,
        rule: u64,
        values: impl Iterator<Item = Span>,
    ) -> Option<u64> {
        let rule = self.rules.get(usize::try_from(rule).ok()?)?;
        let rewritten = values.map(|value| {
            let offsets = value.offset()..value.end();
            let bytes = offsets.map(|offset| machine.input8(offset) as u8);
            let bytes: Vec<u8> = bytes.collect();
            self.substitutions.apply_to_bytes(rule, &bytes)
        });
        let mut values: Vec<Vec<u8>> = rewritten.collect();
        values.sort_unstable();
        Some(values.iter().fold(0, |seed, value| xxh64(value, seed)))
    }
}

impl Compiler<'_> {
    /// The records of a route's hash policies. Low: their offset; high: how many. `query` is set
    /// where one looks at the query.
    ///
    /// # Errors
    /// A name does not fit.
    pub fn hash_policies(
        &mut self,
        policies: &[HashPolicy],
        query: &mut bool,
    ) -> Result<u64, CapacityError> {
        let mut records = Vec::with_capacity(policies.len());
        for policy in policies {
            let mut flags = 0;
            if policy.terminal {
                flags |= hash_policy::TERMINAL;
            }
            let mut name = 0;
            let (kind, slot) = match &policy.policy_specifier {
                Some(PolicySpecifier::Header(header)) if arrives_as_sent(&header.header_name) => {
                    let kind = match &header.regex_rewrite {
                        Some(rule) => match self.hash_rewrites.add(rule) {
                            Some(number) => {
                                name = number;
                                hash_policy::REWRITTEN
                            }
                            None => hash_policy::UNDECIDED,
                        },
                        None => hash_policy::HEADER,
                    };
                    (kind, self.names.header(&header.header_name)?)
                }
                Some(PolicySpecifier::Cookie(cookie)) => {
                    if cookie.ttl.is_some() {
                        flags |= hash_policy::GENERATED;
                    }
                    let length = cookie.name.len() as u64;
                    name = pair(self.arena.text(cookie.name.as_bytes()), length);
                    (hash_policy::COOKIE, self.names.header("cookie")?)
                }
                Some(PolicySpecifier::ConnectionProperties(properties)) if properties.source_ip => {
                    (hash_policy::SOURCE_IP, self.names.header(FORWARDED_FOR)?)
                }
                // To Envoy that is no policy, and so none that ends them.
                Some(PolicySpecifier::ConnectionProperties(_)) => continue,
                Some(PolicySpecifier::QueryParameter(parameter)) => {
                    *query = true;
                    let slot = self.names.query_parameter(&parameter.name)?;
                    (hash_policy::QUERY_PARAMETER, slot)
                }
                _ => (hash_policy::UNDECIDED, 0),
            };
            records.push([pair(kind, flags), slot, name, 0]);
        }
        let offset = self.arena.words(records.as_flattened());
        Ok(pair(offset, records.len() as u64))
    }

    /// The records of a TCP proxy's hash policies, as those of a route.
    pub fn tcp_hash_policies(&mut self, policies: &[TcpHashPolicy]) -> u64 {
        let records: Vec<[u64; 4]> = policies
            .iter()
            .map(|policy| {
                let kind = match &policy.policy_specifier {
                    Some(TcpPolicySpecifier::SourceIp(_)) => hash_policy::SOURCE_IP,
                    _ => hash_policy::UNDECIDED,
                };
                [kind, 0, 0, 0]
            })
            .collect();
        let offset = self.arena.words(records.as_flattened());
        pair(offset, records.len() as u64)
    }
}
