//! Compiles matcher trees, of virtual hosts, of RBAC filters and of listeners: each branch says where to go on, also
//! where what it leads to leads nowhere. What a tree looks at is in [`crate::tree_input`].

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::rbac::v3::{Action, rbac::Action as Does};
use envoy_types::pb::envoy::config::route::v3::RouteList;
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::{
    Matcher,
    matcher::{
        MatcherList, MatcherType, OnMatch,
        matcher_list::{Predicate, predicate::MatchType},
        matcher_tree::TreeType,
        on_match,
    },
};
use prost::Message as _;
use twinmesh_model::layout::{branch, condition, pair};
use twinmesh_xds::rbac_matcher::IpMatcher;

use crate::capacity;
use crate::compiler::Compiler;
use crate::tree_input::Input;

/// Why a tree is not decided.
pub type Left = String;

/// The tree leads nowhere.
const NOWHERE: u64 = 0;

/// Where to go on from a predicate.
#[derive(Debug, Clone, Copy)]
pub struct Next {
    /// Where it holds.
    pub holds: u64,
    /// Where it does not.
    pub fails: u64,
    /// Where it looks at what is not there yet, so that nothing is decided.
    pub lacks: u64,
}

/// The number of the next route, or action, that the tree leads to.
struct Numbers(u64);

/// That a part of a tree is not decided.
pub fn unknown() -> Left {
    "a part of the matcher tree is not decided".to_owned()
}

impl Compiler<'_> {
    /// The first branch of a tree, whose routes count from `first` on, or whose actions from 0.
    ///
    /// # Errors
    /// Something of it does not fit, or is not decided.
    pub fn matcher_tree(&mut self, matcher: &Matcher, first: u64) -> Result<u64, Left> {
        self.matcher(matcher, &mut Numbers(first), NOWHERE)
    }

    /// The entry of a matcher; `fails` is where to go on where it leads nowhere.
    fn matcher(
        &mut self,
        matcher: &Matcher,
        numbers: &mut Numbers,
        fails: u64,
    ) -> Result<u64, Left> {
        let mut within = Numbers(numbers.0);
        numbers.skip_matcher(matcher);
        // What comes last in the numbers is compiled first, since others go on there.
        let otherwise = matcher.on_no_match.as_deref();
        let mut last = Numbers(numbers.0 - otherwise.map_or(0, routes));
        let fails = match otherwise {
            Some(on_match) => self.on_match(on_match, &mut last, fails)?,
            None => fails,
        };
        match &matcher.matcher_type {
            Some(MatcherType::MatcherList(list)) => self.matcher_list(list, &mut within, fails),
            Some(MatcherType::MatcherTree(tree)) => {
                let input = self.tree_input(tree.input.as_ref())?;
                let (map, kind) = match &tree.tree_type {
                    Some(TreeType::ExactMatchMap(map)) => (map, branch::EXACT),
                    Some(TreeType::PrefixMatchMap(map)) => (map, branch::PREFIX),
                    Some(TreeType::CustomMatch(custom)) => {
                        return self.ranges(input, custom, &mut within, fails);
                    }
                    None => return Err(unknown()),
                };
                let entries: BTreeMap<&[u8], &OnMatch> = map
                    .map
                    .iter()
                    .map(|(key, on_match)| (key.as_bytes(), on_match))
                    .collect();
                let mut keys = BTreeMap::new();
                for (key, on_match) in entries {
                    capacity::text(key).map_err(|over| over.of_a_part())?;
                    // Where a prefix leads nowhere, the next shorter one counts, which sorts before it.
                    let shorter = (0..key.len())
                        .rev()
                        .filter(|_| kind == branch::PREFIX)
                        .find_map(|length| keys.get(key.get(..length)?).copied());
                    let next = shorter.unwrap_or(fails);
                    let entry = self.on_match(on_match, &mut within, next)?;
                    keys.insert(key.to_vec(), entry);
                }
                self.keyed(input, kind, keys, fails)
            }
            None => Ok(fails),
        }
    }

    /// The entry of a tree of address ranges: the longest that has the address goes first, and of those
    /// of one length the first that is listed.
    fn ranges(
        &mut self,
        input: Input,
        custom: &TypedExtensionConfig,
        numbers: &mut Numbers,
        fails: u64,
    ) -> Result<u64, Left> {
        let Input::Text(which) = input else {
            return Err(unknown());
        };
        let matcher = ip_matcher(custom).ok_or_else(unknown)?;
        let mut ranges = Vec::new();
        for leads in &matcher.range_matchers {
            let on_match = leads.on_match.as_ref().ok_or_else(unknown)?;
            for range in &leads.ranges {
                let length = range.prefix_len.map_or(0, |length| length.value);
                ranges.push((length, range, leads.exclusive, on_match, numbers.0));
            }
            numbers.0 += routes(on_match);
        }
        ranges.sort_by_key(|(length, ..)| std::cmp::Reverse(*length));
        if ranges.is_empty() {
            // The address is asked for all the same.
            let condition = self.range_condition(which, "::", 0)?;
            return Ok(self.asks(condition, fails, fails));
        }
        // Where none of the longer ranges had the address, and where one did.
        let (mut first, mut later) = (fails, fails);
        for (length, range, exclusive, on_match, place) in ranges.into_iter().rev() {
            let holds = self.on_match(on_match, &mut Numbers(place), later)?;
            let prefix = &range.address_prefix;
            let condition = self.range_condition(which, prefix, length)?;
            let mut within = |fails| self.asks(condition, holds, fails);
            let at_first = within(first);
            if !exclusive {
                later = if first == later {
                    at_first
                } else {
                    within(later)
                };
            }
            first = at_first;
        }
        Ok(first)
    }

    /// A branch that goes by a condition.
    pub fn asks(&mut self, condition: u64, holds: u64, fails: u64) -> u64 {
        let kind = pair(branch::CONDITION, 0);
        self.arena.record([kind, condition, pair(holds, fails), 0])
    }

    /// A branch at which nothing is decided, unless there is a certificate, of which that is not done.
    pub fn asks_certificate(&mut self, lacks: u64) -> u64 {
        let nowhere = crate::rbac::Next {
            holds: condition::FALSE,
            fails: condition::FALSE,
        };
        let peer = self.condition(condition::AUTHENTICATED, 0, nowhere);
        let kind = pair(branch::CONDITION, 0);
        self.arena.record([kind, peer, pair(NOWHERE, lacks), 0])
    }

    fn matcher_list(
        &mut self,
        list: &MatcherList,
        numbers: &mut Numbers,
        fails: u64,
    ) -> Result<u64, Left> {
        let mut places = Vec::with_capacity(list.matchers.len());
        for field in &list.matchers {
            places.push(Numbers(numbers.0));
            numbers.0 += field.on_match.as_ref().map_or(0, routes);
        }
        let mut next = fails;
        for (field, mut place) in list.matchers.iter().zip(places).rev() {
            let (Some(predicate), Some(on_match)) = (&field.predicate, &field.on_match) else {
                return Err(unknown());
            };
            let holds = self.on_match(on_match, &mut place, next)?;
            let after = Next {
                holds,
                fails: next,
                lacks: NOWHERE,
            };
            next = self.predicate(predicate, after)?;
        }
        Ok(next)
    }

    fn on_match(
        &mut self,
        on_match: &OnMatch,
        numbers: &mut Numbers,
        fails: u64,
    ) -> Result<u64, Left> {
        let first = numbers.0;
        let Some(leads) = &on_match.on_match else {
            return Err(unknown());
        };
        match leads {
            on_match::OnMatch::Matcher(matcher) => self.matcher(matcher, numbers, fails),
            on_match::OnMatch::Action(action) => {
                numbers.0 += routes(on_match);
                let config = action.typed_config.as_ref();
                let value = match (config.and_then(rbac_action), config.and_then(chain_name)) {
                    (Some(action), _) => {
                        pair(first + 1, u64::from(action.action != Does::Deny as i32))
                    }
                    (_, Some(name)) => pair(first + 1, self.chain_of_name(&name)),
                    _ => pair(first, numbers.0),
                };
                let record = [pair(branch::LEAF, 0), value, 0, 0];
                Ok(self.arena.record(record))
            }
        }
    }

    fn predicate(&mut self, predicate: &Predicate, next: Next) -> Result<u64, Left> {
        match predicate.match_type.as_ref().ok_or_else(unknown)? {
            MatchType::SinglePredicate(single) => self.single_predicate(single, next),
            MatchType::OrMatcher(list) => {
                // Where something was not there, one of the others may still hold.
                let (mut fails, mut lacks) = (next.fails, next.lacks);
                for (index, one) in list.predicate.iter().enumerate().rev() {
                    let (after, lacking) = (fails, lacks);
                    let before = list.predicate.get(..index).unwrap_or_default();
                    fails = self.predicate(
                        one,
                        Next {
                            fails: after,
                            lacks: lacking,
                            ..next
                        },
                    )?;
                    lacks = match before.iter().any(asks_certificates) {
                        true if after != lacking => self.predicate(
                            one,
                            Next {
                                fails: lacking,
                                lacks: lacking,
                                ..next
                            },
                        )?,
                        _ => fails,
                    };
                }
                Ok(fails)
            }
            MatchType::AndMatcher(list) => {
                let mut holds = next.holds;
                for one in list.predicate.iter().rev() {
                    holds = self.predicate(one, Next { holds, ..next })?;
                }
                Ok(holds)
            }
            MatchType::NotMatcher(not) => {
                let turned = Next {
                    holds: next.fails,
                    fails: next.holds,
                    ..next
                };
                self.predicate(not, turned)
            }
        }
    }
}

impl Numbers {
    fn skip_matcher(&mut self, matcher: &Matcher) {
        self.0 += routes_of_matcher(matcher);
    }
}

fn ip_matcher(custom: &TypedExtensionConfig) -> Option<IpMatcher> {
    let any = custom.typed_config.as_ref()?;
    let is_one = any.type_url.ends_with("/xds.type.matcher.v3.IPMatcher");
    IpMatcher::decode(any.value.as_slice())
        .ok()
        .filter(|_| is_one)
}

fn rbac_action(any: &Any) -> Option<Action> {
    let is_one = any.type_url.ends_with("/envoy.config.rbac.v3.Action");
    Action::decode(any.value.as_slice()).ok().filter(|_| is_one)
}

/// The name of a filter chain that a listener's action gives.
fn chain_name(any: &Any) -> Option<String> {
    let is_one = any.type_url.ends_with("/google.protobuf.StringValue");
    String::decode(any.value.as_slice()).ok().filter(|_| is_one)
}

/// Whether a predicate may look at the peer's certificate.
fn asks_certificates(predicate: &Predicate) -> bool {
    match &predicate.match_type {
        Some(MatchType::SinglePredicate(single)) => Input::is_of_certificate(single.input.as_ref()),
        Some(MatchType::OrMatcher(list) | MatchType::AndMatcher(list)) => {
            list.predicate.iter().any(asks_certificates)
        }
        Some(MatchType::NotMatcher(not)) => asks_certificates(not),
        None => false,
    }
}

/// How many routes, or actions, stand below.
fn routes(on_match: &OnMatch) -> u64 {
    match &on_match.on_match {
        Some(on_match::OnMatch::Matcher(matcher)) => routes_of_matcher(matcher),
        Some(on_match::OnMatch::Action(action)) => {
            let config = action.typed_config.as_ref();
            let list =
                config.filter(|any| any.type_url.ends_with("/envoy.config.route.v3.RouteList"));
            let list = list.and_then(|any| RouteList::decode(any.value.as_slice()).ok());
            list.map_or(1, |list| list.routes.len() as u64)
        }
        None => 0,
    }
}

fn routes_of_matcher(matcher: &Matcher) -> u64 {
    let below: u64 = match &matcher.matcher_type {
        Some(MatcherType::MatcherList(list)) => {
            let fields = list.matchers.iter();
            fields
                .filter_map(|it| it.on_match.as_ref())
                .map(routes)
                .sum()
        }
        Some(MatcherType::MatcherTree(tree)) => match &tree.tree_type {
            Some(TreeType::ExactMatchMap(map) | TreeType::PrefixMatchMap(map)) => {
                map.map.values().map(routes).sum()
            }
            Some(TreeType::CustomMatch(custom)) => {
                let matcher = ip_matcher(custom).unwrap_or_default();
                let leads = matcher.range_matchers.iter();
                leads
                    .filter_map(|it| it.on_match.as_ref())
                    .map(routes)
                    .sum()
            }
            None => 0,
        },
        None => 0,
    };
    below + matcher.on_no_match.as_deref().map_or(0, routes)
}
