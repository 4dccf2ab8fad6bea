//! Compiles the hash policies of routes and TCP proxies.

use envoy_types::pb::envoy::config::route::v3::route_action::{
    HashPolicy, hash_policy::PolicySpecifier,
};
use envoy_types::pb::envoy::r#type::v3::{
    HashPolicy as TcpHashPolicy, hash_policy::PolicySpecifier as TcpPolicySpecifier,
};
use twinmesh_model::layout::{hash_policy, pair};

use crate::CapacityError;
use crate::compiler::Compiler;
use crate::matcher::arrives_as_sent;

/// The header whose last address is the client's, where it is trusted.
const FORWARDED_FOR: &str = "x-forwarded-for";

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
                Some(PolicySpecifier::Header(header))
                    if header.regex_rewrite.is_none() && arrives_as_sent(&header.header_name) =>
                {
                    (hash_policy::HEADER, self.names.header(&header.header_name)?)
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
