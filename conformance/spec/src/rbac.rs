//! `envoy.extensions.filters.http.rbac.v3`: who may ask for what. The network filter of the same name
//! (`network_rbac.rs`) goes by the same rules.
//!
//! A policy matches where one of its permissions and one of its principals do. The policies are
//! asked in order of their names, and all conditions from the first on, no further than needed.
//! A matcher tree takes the place of rules; what it leads nowhere is refused.

use std::net::{IpAddr, SocketAddr};

use envoy_types::pb::envoy::config::rbac::v3::{
    Action as TreeAction, Permission, Policy, Principal, Rbac as Rules, permission::Rule,
    principal::Identifier, rbac::Action,
};
use envoy_types::pb::envoy::config::route::v3::HeaderMatcher;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac;
use envoy_types::pb::envoy::r#type::matcher::v3::{PathMatcher, path_matcher};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use prost::Message as _;
use twinmesh_engine::address_text;
use twinmesh_xds::http_filter::{HttpFilter, Level};

use crate::header;
use crate::http_filter::Verdict;
use crate::matcher_tree::{self, Why};
use crate::message::Message;
use crate::range;
use crate::regex::Regexes;
use crate::string_match;

const NO_CLIENT: &str = "a filter looks at the client's address, which is not known";
const NO_DESTINATION: &str = "a filter looks at the destination, which is not known";
const NO_PEER: &str = "a filter looks at who a TLS connection's peer is, which is not decided";
const NOT_DECIDED: &str = "a condition of a filter is not decided";

/// What a filter that let a request on or answered it went by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Index in `HttpConnectionManager.http_filters`.
    pub filter: usize,
    /// `HttpFilter.name`, by which route configurations speak to it.
    pub name: String,
    /// The level of the route configuration whose configuration counts; `None`: the filter's own.
    pub level: Option<Level>,
    /// By a matcher tree, not by rules.
    pub by_matcher: bool,
    /// The policy that matches, or the action that the tree leads to; `None` where none does.
    pub policy: Option<String>,
    /// Its place in the order of their names; of the actions: depth first, a map's in the order of its
    /// keys, and what `on_no_match` leads to last.
    pub place: Option<usize>,
}

/// What rules may look at.
pub(crate) struct Asked<'a> {
    /// None of a connection, of which no condition of requests holds.
    pub(crate) message: Option<&'a Message>,
    pub(crate) destination: Option<SocketAddr>,
    /// The connection's.
    pub(crate) source: Option<IpAddr>,
    pub(crate) source_port: Option<u16>,
    /// As the connection manager has it.
    pub(crate) client: Option<IpAddr>,
    pub(crate) client_port: Option<u16>,
    /// Lower-cased; empty where none is known.
    pub(crate) server_name: String,
    pub(crate) is_tls: bool,
    pub(crate) regexes: &'a Regexes,
}

/// A condition's answer; the error is why it is not decided.
type Answer = Result<bool, &'static str>;

/// Whether the filter refuses the request, with 403.
pub(crate) fn verdict(rbac: &Rbac, asked: &Asked<'_>) -> Verdict {
    let judged = match (&rbac.matcher, &rbac.rules) {
        (Some(matcher), _) => by_matcher(matcher, asked),
        (None, Some(rules)) if rules.action != Action::Log as i32 => judge(rules, asked),
        _ => return Verdict::Ignore,
    };
    match judged {
        Ok((false, _)) => Verdict::Answer(403),
        Ok((true, _)) => Verdict::Pass,
        Err(why) => Verdict::Undecided(why),
    }
}

/// What a filter went by that let a request on or answered it; `level` is whose configuration counts.
pub(crate) fn judged(
    rbac: &Rbac,
    asked: &Asked<'_>,
    filter: &HttpFilter,
    level: Option<Level>,
) -> Judged {
    let found = match &rbac.matcher {
        Some(matcher) => action(matcher, asked),
        None => rbac.rules.as_ref().and_then(|rules| {
            let (_, place) = judge(rules, asked).ok()?;
            let mut names: Vec<&String> = rules.policies.keys().collect();
            names.sort_unstable();
            let name = names.get(place?)?;
            Some(((*name).clone(), place?))
        }),
    };
    let (policy, place) = found.unzip();
    Judged {
        filter: filter.index,
        name: filter.name.clone(),
        level,
        by_matcher: rbac.matcher.is_some(),
        policy,
        place,
    }
}

/// The action that a matcher tree leads to: its name, and its place among those of the tree.
fn action(matcher: &Matcher, asked: &Asked<'_>) -> Option<(String, usize)> {
    let input = |any: &Any| asked.input(any);
    let tree = matcher_tree::Asked {
        input: &input,
        regexes: asked.regexes,
    };
    let found = tree.leads(matcher).ok()??;
    let action = TreeAction::decode(found.action.value.as_slice());
    Some((action.ok()?.name, found.places.start))
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

/// Whether a matcher tree lets on what it is asked about, and which action it leads to, by its place
/// among those of the tree; the error is why that is not decided.
pub(crate) fn by_matcher(
    matcher: &Matcher,
    asked: &Asked<'_>,
) -> Result<(bool, Option<usize>), &'static str> {
    let input = |any: &Any| asked.input(any);
    let tree = matcher_tree::Asked {
        input: &input,
        regexes: asked.regexes,
    };
    match tree.leads(matcher) {
        Ok(Some(found)) => {
            let action = TreeAction::decode(found.action.value.as_slice());
            let action = action.map_err(|_| NOT_DECIDED)?.action;
            Ok((action != Action::Deny as i32, Some(found.places.start)))
        }
        Ok(None) | Err(Why::Lacking) => Ok((false, None)),
        Err(Why::Undecided(why)) => Err(why),
    }
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
            Rule::DestinationIp(range) => Ok(range::contains(range, self.destination_ip()?)),
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
                Ok(range::contains(range, self.source.ok_or(NO_CLIENT)?))
            }
            Identifier::RemoteIp(range) => {
                Ok(range::contains(range, self.client.ok_or(NO_CLIENT)?))
            }
            // Nobody is who does not say so by TLS.
            Identifier::Authenticated(_) if !self.is_tls => Ok(false),
            Identifier::Authenticated(_) => Err(NO_PEER),
            _ => Err(NOT_DECIDED),
        }
    }

    fn destination_ip(&self) -> Result<IpAddr, &'static str> {
        let known = self.destination.map(|it| it.ip());
        let known = known.filter(|it| !it.is_unspecified());
        known.ok_or(NO_DESTINATION)
    }

    /// What an input of a matcher tree says.
    fn input(&self, input: &Any) -> Result<Option<String>, Why> {
        let (_, name) = input.type_url.rsplit_once('/').unwrap_or_default();
        let network = name.strip_prefix("envoy.extensions.matching.common_inputs.network.v3.");
        let said = match network {
            Some("DestinationIPInput") => self.destination_ip().map(address_text::text),
            Some("DestinationPortInput") => self.port().map(|port| port.to_string()),
            Some("SourceIPInput") => self.client.ok_or(NO_CLIENT).map(address_text::text),
            Some("SourcePortInput") => {
                let port = self.client_port.ok_or(NO_CLIENT);
                port.map(|port| port.to_string())
            }
            Some("DirectSourceIPInput") => self.source.ok_or(NO_CLIENT).map(address_text::text),
            Some("ServerNameInput") if self.server_name.is_empty() => return Ok(None),
            Some("ServerNameInput") => Ok(self.server_name.clone()),
            _ if name == "envoy.type.matcher.v3.HttpRequestHeaderMatchInput" => {
                let message = self.message.ok_or(Why::Undecided(NOT_DECIDED))?;
                return Ok(matcher_tree::header(input, message));
            }
            // There is no certificate to look at.
            _ if name.starts_with("envoy.extensions.matching.common_inputs.ssl.v3.") => {
                match self.is_tls {
                    true => Err(NO_PEER),
                    false => return Err(Why::Lacking),
                }
            }
            _ => Err(NOT_DECIDED),
        };
        said.map(Some).map_err(Why::Undecided)
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
