//! Matcher trees (`xds.type.matcher.v3.Matcher`): of a virtual host, which of its routes are looked at;
//! of an RBAC filter, the action.
//!
//! Routes and actions are counted depth first, a map's in the order of its keys, a tree of address
//! ranges' as they are listed, and `on_no_match`'s last.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::ops::Range;

use envoy_types::pb::envoy::config::route::v3::RouteList;
use envoy_types::pb::envoy::extensions::matching::input_matchers::ip::v3::Ip;
use envoy_types::pb::envoy::r#type::matcher::v3::{
    HttpRequestHeaderMatchInput, RegexMatcher, StringMatcher, string_matcher::MatchPattern,
};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::{
    Matcher, StringMatcher as XdsStringMatcher,
    matcher::{
        MatcherType, OnMatch,
        matcher_list::{
            Predicate,
            predicate::{MatchType, SinglePredicate, single_predicate},
        },
        matcher_tree::{MatchMap, TreeType},
        on_match::OnMatch as Leads,
    },
    string_matcher::MatchPattern as XdsPattern,
};
use prost::Message as _;
use twinmesh_xds::rbac_matcher::IpMatcher;

use crate::message::Message;
use crate::range;
use crate::regex::Regexes;
use crate::string_match;

/// Why a tree comes to no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It looks at what is not there yet, and leads nowhere at all.
    Lacking,
    /// What it looks at is not decided, for this reason.
    Undecided(&'static str),
}

type Answer<T> = Result<T, Why>;

/// Where a tree leads to: an action, and its place among those of the tree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    /// The routes, or the one action.
    pub(crate) places: Range<usize>,
    /// The configuration of the action.
    pub(crate) action: Any,
}

/// Something in front of a tree.
pub(crate) struct Asked<'a> {
    /// What an input says, by its configuration; none where it says nothing.
    pub(crate) input: &'a dyn Fn(&Any) -> Answer<Option<String>>,
    pub(crate) regexes: &'a Regexes,
}

/// The routes that the tree leads to, by their places in the virtual host; none where it leads
/// nowhere.
pub(crate) fn routes(matcher: &Matcher, message: &Message, regexes: &Regexes) -> Range<usize> {
    let input = |any: &Any| Ok(header(any, message));
    let asked = Asked {
        input: &input,
        regexes,
    };
    // Headers are there, and decided.
    let found = asked.leads(matcher).ok().flatten();
    found.map_or(0..0, |found| found.places)
}

/// What a header input says: all lines of the header as one value, joined by commas.
pub(crate) fn header(input: &Any, message: &Message) -> Option<String> {
    let input = HttpRequestHeaderMatchInput::decode(input.value.as_slice()).ok()?;
    let values = message.values(&input.header_name);
    (!values.is_empty()).then(|| values.join(","))
}

impl Asked<'_> {
    /// Where the tree leads to; none where it leads nowhere.
    pub(crate) fn leads(&self, matcher: &Matcher) -> Answer<Option<Found>> {
        self.matcher(matcher, 0)
    }

    /// `first` is the place of the first route below the matcher.
    fn matcher(&self, matcher: &Matcher, first: usize) -> Answer<Option<Found>> {
        let mut at = first;
        match &matcher.matcher_type {
            Some(MatcherType::MatcherList(list)) => {
                for field in &list.matchers {
                    let Some(on_match) = &field.on_match else {
                        continue;
                    };
                    let holds = match &field.predicate {
                        Some(predicate) => self.holds(predicate)?,
                        None => false,
                    };
                    // What leads nowhere is as good as no match: the next one is asked.
                    if holds && let Some(found) = self.on_match(on_match, at)? {
                        return Ok(Some(found));
                    }
                    at += count(on_match);
                }
            }
            Some(MatcherType::MatcherTree(tree)) => {
                let value = self.input(tree.input.as_ref())?;
                // In the order in which they are asked.
                let mut taken: Vec<(OnMatch, usize)> = Vec::new();
                match &tree.tree_type {
                    Some(TreeType::ExactMatchMap(map)) => {
                        for (key, on_match) in sorted(map) {
                            if value.as_deref() == Some(key) {
                                taken.push((on_match.clone(), at));
                            }
                            at += count(on_match);
                        }
                    }
                    Some(TreeType::PrefixMatchMap(map)) => {
                        for (key, on_match) in sorted(map) {
                            if value.as_deref().is_some_and(|it| it.starts_with(key)) {
                                // The longest goes first, and sorted keys have it last.
                                taken.insert(0, (on_match.clone(), at));
                            }
                            at += count(on_match);
                        }
                    }
                    Some(TreeType::CustomMatch(custom)) => {
                        let address = value.and_then(|value| value.parse().ok());
                        taken = in_ranges(custom, address, &mut at);
                    }
                    None => {}
                }
                for (on_match, at) in taken {
                    if let Some(found) = self.on_match(&on_match, at)? {
                        return Ok(Some(found));
                    }
                }
            }
            None => {}
        }
        match &matcher.on_no_match {
            Some(on_match) => self.on_match(on_match, at),
            None => Ok(None),
        }
    }

    fn on_match(&self, on_match: &OnMatch, first: usize) -> Answer<Option<Found>> {
        match &on_match.on_match {
            Some(Leads::Matcher(matcher)) => self.matcher(matcher, first),
            Some(Leads::Action(action)) => Ok(Some(Found {
                places: first..first + count(on_match),
                action: action.typed_config.clone().unwrap_or_default(),
            })),
            None => Ok(None),
        }
    }

    fn holds(&self, predicate: &Predicate) -> Answer<bool> {
        match &predicate.match_type {
            Some(MatchType::SinglePredicate(single)) => self.single(single),
            Some(MatchType::OrMatcher(list)) => {
                // One that holds is enough, also behind one that looks at what is not there.
                let mut lacking = false;
                for one in &list.predicate {
                    match self.holds(one) {
                        Ok(true) => return Ok(true),
                        Ok(false) => {}
                        Err(Why::Lacking) => lacking = true,
                        Err(why) => return Err(why),
                    }
                }
                if lacking {
                    Err(Why::Lacking)
                } else {
                    Ok(false)
                }
            }
            Some(MatchType::AndMatcher(list)) => {
                for one in &list.predicate {
                    if !self.holds(one)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Some(MatchType::NotMatcher(not)) => Ok(!self.holds(not)?),
            None => Ok(false),
        }
    }

    fn single(&self, single: &SinglePredicate) -> Answer<bool> {
        let value = self.input(single.input.as_ref())?;
        Ok(match (&single.matcher, value) {
            (Some(single_predicate::Matcher::ValueMatch(matcher)), Some(value)) => {
                string_match::matches(&string_matcher(matcher), &value, self.regexes)
            }
            (Some(single_predicate::Matcher::CustomMatch(custom)), Some(value)) => {
                let ranges: Option<Ip> = decoded(custom);
                let ranges = ranges.map(|it| it.cidr_ranges).unwrap_or_default();
                let address: Option<IpAddr> = value.parse().ok();
                address.is_some_and(|address| ranges.iter().any(|it| range::contains(it, address)))
            }
            _ => false,
        })
    }

    fn input(&self, input: Option<&TypedExtensionConfig>) -> Answer<Option<String>> {
        match input.and_then(|input| input.typed_config.as_ref()) {
            Some(config) => (self.input)(config),
            None => Ok(None),
        }
    }
}

/// The matches of a tree of address ranges that have the address: the longest first, and of those of
/// one length the first that is listed. One that is exclusive counts only as the first of all.
fn in_ranges(
    custom: &TypedExtensionConfig,
    address: Option<IpAddr>,
    at: &mut usize,
) -> Vec<(OnMatch, usize)> {
    let matcher: IpMatcher = decoded(custom).unwrap_or_default();
    let mut having = Vec::new();
    for leads in matcher.range_matchers {
        let on_match = leads.on_match.unwrap_or_default();
        for range in &leads.ranges {
            let length = range.prefix_len.map_or(0, |length| length.value);
            if address.is_some_and(|it| range::has(&range.address_prefix, length, it)) {
                having.push((length, leads.exclusive, on_match.clone(), *at));
            }
        }
        *at += count(&on_match);
    }
    having.sort_by_key(|(length, ..)| Reverse(*length));
    let mut taken = Vec::new();
    for (_, exclusive, on_match, at) in having {
        if taken.is_empty() || !exclusive {
            taken.push((on_match, at));
        }
    }
    taken
}

fn decoded<T: prost::Message + Default>(extension: &TypedExtensionConfig) -> Option<T> {
    T::decode(extension.typed_config.as_ref()?.value.as_slice()).ok()
}

/// The entries of a map in the order of their keys.
fn sorted(map: &MatchMap) -> Vec<(&str, &OnMatch)> {
    let mut entries: Vec<(&str, &OnMatch)> = map
        .map
        .iter()
        .map(|(key, on_match)| (key.as_str(), on_match))
        .collect();
    entries.sort_by_key(|(key, _)| *key);
    entries
}

/// How many routes, or actions, there are below.
fn count(on_match: &OnMatch) -> usize {
    match &on_match.on_match {
        Some(Leads::Matcher(matcher)) => count_of_matcher(matcher),
        Some(Leads::Action(action)) => match action.typed_config.as_ref() {
            Some(any) if any.type_url.ends_with(".RouteList") => {
                let list = RouteList::decode(any.value.as_slice());
                list.map_or(0, |list| list.routes.len())
            }
            _ => 1,
        },
        None => 0,
    }
}

fn count_of_matcher(matcher: &Matcher) -> usize {
    let below = match &matcher.matcher_type {
        Some(MatcherType::MatcherList(list)) => {
            let all = list.matchers.iter();
            all.filter_map(|field| field.on_match.as_ref())
                .map(count)
                .sum()
        }
        Some(MatcherType::MatcherTree(tree)) => match &tree.tree_type {
            Some(TreeType::ExactMatchMap(map) | TreeType::PrefixMatchMap(map)) => {
                map.map.values().map(count).sum()
            }
            Some(TreeType::CustomMatch(custom)) => {
                let matcher: IpMatcher = decoded(custom).unwrap_or_default();
                let leads = matcher.range_matchers.iter();
                leads.filter_map(|it| it.on_match.as_ref()).map(count).sum()
            }
            None => 0,
        },
        None => 0,
    };
    below + matcher.on_no_match.as_deref().map_or(0, count)
}

/// The string matcher in Envoy's own type.
fn string_matcher(matcher: &XdsStringMatcher) -> StringMatcher {
    let pattern = matcher.match_pattern.as_ref();
    StringMatcher {
        ignore_case: matcher.ignore_case,
        match_pattern: pattern.and_then(|pattern| match pattern {
            XdsPattern::Exact(text) => Some(MatchPattern::Exact(text.clone())),
            XdsPattern::Prefix(text) => Some(MatchPattern::Prefix(text.clone())),
            XdsPattern::Suffix(text) => Some(MatchPattern::Suffix(text.clone())),
            XdsPattern::Contains(text) => Some(MatchPattern::Contains(text.clone())),
            XdsPattern::SafeRegex(regex) => Some(MatchPattern::SafeRegex(RegexMatcher {
                regex: regex.regex.clone(),
                ..RegexMatcher::default()
            })),
            XdsPattern::Custom(_) => None,
        }),
    }
}
