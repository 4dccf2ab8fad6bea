//! `envoy.extensions.filters.http.rbac.v3`: who may ask for what. The network filter of the same name
//! (`network_rbac.rs`) goes by the same rules.
//!
//! A policy matches where one of its permissions and one of its principals do. The policies are
//! asked in order of their names, and all conditions from the first on, no further than needed.

use std::net::{IpAddr, SocketAddr};

use envoy_types::pb::envoy::config::core::v3::CidrRange;
use envoy_types::pb::envoy::config::rbac::v3::{
    Permission, Policy, Principal, Rbac as Rules, permission::Rule, principal::Identifier,
    rbac::Action,
};
use envoy_types::pb::envoy::config::route::v3::HeaderMatcher;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac;
use envoy_types::pb::envoy::r#type::matcher::v3::{PathMatcher, path_matcher};

use crate::header;
use crate::http_filter::Verdict;
use crate::message::Message;
use crate::regex::Regexes;
use crate::string_match;

const NO_CLIENT: &str = "a filter looks at the client's address, which is not known";
const NO_DESTINATION: &str = "a filter looks at the destination, which is not known";
const NO_PEER: &str = "a filter looks at who a TLS connection's peer is, which is not decided";
const NOT_DECIDED: &str = "a condition of a filter is not decided";

/// What rules may look at.
pub(crate) struct Asked<'a> {
    /// None of a connection, of which no condition of requests holds.
    pub(crate) message: Option<&'a Message>,
    pub(crate) destination: Option<SocketAddr>,
    /// The connection's.
    pub(crate) source: Option<IpAddr>,
    /// As the connection manager has it.
    pub(crate) client: Option<IpAddr>,
    /// Lower-cased; empty where none is known.
    pub(crate) server_name: String,
    pub(crate) is_tls: bool,
    pub(crate) regexes: &'a Regexes,
}

/// A condition's answer; the error is why it is not decided.
type Answer = Result<bool, &'static str>;

/// Whether the filter refuses the request, with 403.
pub(crate) fn verdict(rbac: &Rbac, asked: &Asked<'_>) -> Verdict {
    let Some(rules) = &rbac.rules else {
        return Verdict::Ignore;
    };
    if rules.action == Action::Log as i32 {
        return Verdict::Ignore;
    }
    match judge(rules, asked) {
        Ok((false, _)) => Verdict::Answer(403),
        Ok((true, _)) => Verdict::Pass,
        Err(why) => Verdict::Undecided(why),
    }
}

/// Whether the rules let on what they are asked about, and which policy matches, by its place in the
/// order of their names; the error is why that is not decided.
pub(crate) fn judge(
    rules: &Rules,
    asked: &Asked<'_>,
) -> Result<(bool, Option<usize>), &'static str> {
    let mut policies: Vec<_> = rules.policies.iter().collect();
    policies.sort_by_key(|(name, _)| name.as_str());
    let mut matched = None;
    for (place, (_, policy)) in policies.into_iter().enumerate() {
        if asked.policy(policy)? {
            matched = Some(place);
            break;
        }
    }
    let passes = match Action::try_from(rules.action) {
        Ok(Action::Deny) => matched.is_none(),
        Ok(Action::Log) => true,
        Ok(Action::Allow) | Err(_) => matched.is_some(),
    };
    Ok((passes, matched))
}

/// Whether one of them holds; those behind the first that does are not asked.
fn some<T>(of: impl IntoIterator<Item = T>, mut holds: impl FnMut(T) -> Answer) -> Answer {
    for item in of {
        if holds(item)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether all of them hold; those behind the first that does not are not asked.
fn every<T>(of: impl IntoIterator<Item = T>, mut holds: impl FnMut(T) -> Answer) -> Answer {
    some(of, |item| holds(item).map(|holds| !holds)).map(|fails| !fails)
}

impl Asked<'_> {
    fn policy(&self, policy: &Policy) -> Answer {
        Ok(some(&policy.permissions, |it| self.permission(it))?
            && some(&policy.principals, |it| self.principal(it))?)
    }

    fn permission(&self, permission: &Permission) -> Answer {
        match permission.rule.as_ref().ok_or(NOT_DECIDED)? {
            Rule::Any(_) => Ok(true),
            Rule::AndRules(set) => every(&set.rules, |it| self.permission(it)),
            Rule::OrRules(set) => some(&set.rules, |it| self.permission(it)),
            Rule::NotRule(rule) => self.permission(rule).map(|holds| !holds),
            Rule::Header(matcher) => Ok(self.header(matcher)),
            Rule::UrlPath(matcher) => self.path(matcher),
            Rule::DestinationIp(range) => {
                let known = self.destination.map(|it| it.ip());
                let known = known.filter(|it| !it.is_unspecified());
                Ok(contains(range, known.ok_or(NO_DESTINATION)?))
            }
            Rule::DestinationPort(port) => Ok(self.port()? == *port),
            Rule::DestinationPortRange(range) => {
                let port = self.port()? as i32;
                Ok(range.start <= port && port < range.end)
            }
            Rule::RequestedServerName(matcher) => Ok(string_match::matches(
                matcher,
                &self.server_name,
                self.regexes,
            )),
            _ => Err(NOT_DECIDED),
        }
    }

    fn principal(&self, principal: &Principal) -> Answer {
        match principal.identifier.as_ref().ok_or(NOT_DECIDED)? {
            Identifier::Any(_) => Ok(true),
            Identifier::AndIds(set) => every(&set.ids, |it| self.principal(it)),
            Identifier::OrIds(set) => some(&set.ids, |it| self.principal(it)),
            Identifier::NotId(id) => self.principal(id).map(|holds| !holds),
            Identifier::Header(matcher) => Ok(self.header(matcher)),
            Identifier::UrlPath(matcher) => self.path(matcher),
            Identifier::SourceIp(range) | Identifier::DirectRemoteIp(range) => {
                Ok(contains(range, self.source.ok_or(NO_CLIENT)?))
            }
            Identifier::RemoteIp(range) => Ok(contains(range, self.client.ok_or(NO_CLIENT)?)),
            // Nobody is who does not say so by TLS.
            Identifier::Authenticated(_) if !self.is_tls => Ok(false),
            Identifier::Authenticated(_) => Err(NO_PEER),
            _ => Err(NOT_DECIDED),
        }
    }

    fn port(&self) -> Result<u32, &'static str> {
        let destination = self.destination.ok_or(NO_DESTINATION)?;
        Ok(u32::from(destination.port()))
    }

    fn header(&self, matcher: &HeaderMatcher) -> bool {
        self.message
            .is_some_and(|message| header::matches_apart(matcher, message, self.regexes))
    }

    /// The path is matched without its query.
    fn path(&self, matcher: &PathMatcher) -> Answer {
        match (&matcher.rule, self.message) {
            (Some(path_matcher::Rule::Path(_)), Some(message)) if message.is_connect() => Ok(false),
            (Some(path_matcher::Rule::Path(matcher)), Some(message)) => {
                let path = message.path_without_query();
                Ok(string_match::matches(matcher, path, self.regexes))
            }
            (Some(path_matcher::Rule::Path(_)), None) => Ok(false),
            (None, _) => Err(NOT_DECIDED),
        }
    }
}

/// Whether the address is in the range. A range has addresses of its own family alone; without a
/// length it has all of them.
fn contains(range: &CidrRange, address: IpAddr) -> bool {
    let length = range.prefix_len.map_or(0, |length| length.value);
    let Ok(prefix) = range.address_prefix.parse::<IpAddr>() else {
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
