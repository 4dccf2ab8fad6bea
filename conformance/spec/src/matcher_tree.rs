//! The matcher tree of a virtual host (`xds.type.matcher.v3.Matcher`): which of its routes are looked
//! at.
//!
//! The virtual host lists them depth first, a map's in the order of its keys, and `on_no_match`'s last.

use std::ops::Range;

use envoy_types::pb::envoy::config::route::v3::RouteList;
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

use crate::message::Message;
use crate::regex::Regexes;
use crate::string_match;

/// A request in front of a tree.
struct Asked<'a> {
    message: &'a Message,
    regexes: &'a Regexes,
}

/// The routes that the tree leads to, by their places in the virtual host; none where it leads
/// nowhere.
pub(crate) fn routes(matcher: &Matcher, message: &Message, regexes: &Regexes) -> Range<usize> {
    let asked = Asked { message, regexes };
    asked.matcher(matcher, 0).unwrap_or(0..0)
}

impl Asked<'_> {
    /// `first` is the place of the first route below the matcher.
    fn matcher(&self, matcher: &Matcher, first: usize) -> Option<Range<usize>> {
        let mut at = first;
        match &matcher.matcher_type {
            Some(MatcherType::MatcherList(list)) => {
                for field in &list.matchers {
                    let Some(on_match) = &field.on_match else {
                        continue;
                    };
                    // What leads nowhere is as good as no match: the next one is asked.
                    if field.predicate.as_ref().is_some_and(|it| self.holds(it))
                        && let Some(found) = self.on_match(on_match, at)
                    {
                        return Some(found);
                    }
                    at += count(on_match);
                }
            }
            Some(MatcherType::MatcherTree(tree)) => {
                let value = self.input(tree.input.as_ref());
                let (map, is_prefix) = match &tree.tree_type {
                    Some(TreeType::ExactMatchMap(map)) => (Some(map), false),
                    Some(TreeType::PrefixMatchMap(map)) => (Some(map), true),
                    Some(TreeType::CustomMatch(_)) | None => (None, false),
                };
                let mut taken = Vec::new();
                for (key, on_match) in map.map(sorted).unwrap_or_default() {
                    let takes = value.as_deref().is_some_and(|value| match is_prefix {
                        true => value.starts_with(key),
                        false => value == key,
                    });
                    if takes {
                        taken.push((on_match, at));
                    }
                    at += count(on_match);
                }
                // Of prefixes the longest goes first, and sorted keys have it last.
                for (on_match, at) in taken.into_iter().rev() {
                    if let Some(found) = self.on_match(on_match, at) {
                        return Some(found);
                    }
                }
            }
            None => {}
        }
        self.on_match(matcher.on_no_match.as_deref()?, at)
    }

    fn on_match(&self, on_match: &OnMatch, first: usize) -> Option<Range<usize>> {
        match &on_match.on_match {
            Some(Leads::Matcher(matcher)) => self.matcher(matcher, first),
            Some(Leads::Action(_)) => Some(first..first + count(on_match)),
            None => None,
        }
    }

    fn holds(&self, predicate: &Predicate) -> bool {
        match &predicate.match_type {
            Some(MatchType::SinglePredicate(single)) => self.single(single),
            Some(MatchType::OrMatcher(list)) => list.predicate.iter().any(|it| self.holds(it)),
            Some(MatchType::AndMatcher(list)) => list.predicate.iter().all(|it| self.holds(it)),
            Some(MatchType::NotMatcher(not)) => !self.holds(not),
            None => false,
        }
    }

    fn single(&self, single: &SinglePredicate) -> bool {
        let Some(single_predicate::Matcher::ValueMatch(matcher)) = &single.matcher else {
            return false;
        };
        let value = self.input(single.input.as_ref());
        let matcher = string_matcher(matcher);
        value.is_some_and(|value| string_match::matches(&matcher, &value, self.regexes))
    }

    /// What an input says: all lines of a header as one value, joined by commas.
    fn input(&self, input: Option<&TypedExtensionConfig>) -> Option<String> {
        let input: HttpRequestHeaderMatchInput = decoded(input?.typed_config.as_ref())?;
        let values = self.message.values(&input.header_name);
        (!values.is_empty()).then(|| values.join(","))
    }
}

fn decoded<T: prost::Message + Default>(any: Option<&Any>) -> Option<T> {
    T::decode(any?.value.as_slice()).ok()
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

/// How many routes there are below.
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
            Some(TreeType::CustomMatch(_)) | None => 0,
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
