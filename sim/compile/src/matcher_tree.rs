//! Compiles the matcher tree of a virtual host: each branch says where to go on, also where what it
//! leads to leads nowhere.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::route::v3::RouteList;
use envoy_types::pb::envoy::r#type::matcher::v3::{
    HttpRequestHeaderMatchInput, RegexMatcher, StringMatcher, string_matcher::MatchPattern,
};
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::{
    Matcher, StringMatcher as TreeStringMatcher,
    matcher::{
        MatcherList, MatcherType, OnMatch,
        matcher_list::{
            Predicate,
            predicate::{MatchType, SinglePredicate, single_predicate},
        },
        matcher_tree::TreeType,
        on_match,
    },
    string_matcher::MatchPattern as TreePattern,
};
use prost::Message as _;
use twinmesh_model::layout::{branch, pair};

use crate::compiler::Compiler;
use crate::trie::Keys;
use crate::{capacity, matcher as compile_matcher};

/// Why a tree is not decided.
type Left = String;

/// No route.
const NOWHERE: u64 = 0;

/// Where to go on from a predicate.
#[derive(Debug, Clone, Copy)]
struct Next {
    holds: u64,
    fails: u64,
}

/// The number of the next route that the tree leads to.
struct Numbers(u64);

fn unknown() -> Left {
    "a part of the matcher tree is not decided".to_owned()
}

impl Compiler<'_> {
    /// The first branch of a tree, whose routes count from `first` on.
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
                let (map, kind) = match &tree.tree_type {
                    Some(TreeType::ExactMatchMap(map)) => (map, branch::EXACT),
                    Some(TreeType::PrefixMatchMap(map)) => (map, branch::PREFIX),
                    Some(TreeType::CustomMatch(_)) | None => return Err(unknown()),
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
                keys.retain(|_, entry| *entry != NOWHERE);
                let keys = if kind == branch::EXACT {
                    Keys {
                        exact: keys,
                        ..Keys::default()
                    }
                } else {
                    Keys {
                        prefix: keys,
                        ..Keys::default()
                    }
                };
                let slot = self.input(tree.input.as_ref())?;
                let root = self.arena.trie(&keys);
                let record = [pair(kind, slot), root, pair(NOWHERE, fails), 0];
                Ok(self.arena.record(record))
            }
            None => Ok(fails),
        }
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
            next = self.predicate(predicate, Next { holds, fails: next })?;
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
            on_match::OnMatch::Action(_) => {
                numbers.0 += routes(on_match);
                let looked_at = pair(first, numbers.0);
                let record = [pair(branch::ROUTES, 0), looked_at, 0, 0];
                Ok(self.arena.record(record))
            }
        }
    }

    fn predicate(&mut self, predicate: &Predicate, next: Next) -> Result<u64, Left> {
        match predicate.match_type.as_ref().ok_or_else(unknown)? {
            MatchType::SinglePredicate(single) => self.single(single, next),
            MatchType::OrMatcher(list) => {
                let mut fails = next.fails;
                for one in list.predicate.iter().rev() {
                    fails = self.predicate(one, Next { fails, ..next })?;
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
                };
                self.predicate(not, turned)
            }
        }
    }

    fn single(&mut self, single: &SinglePredicate, next: Next) -> Result<u64, Left> {
        let Some(single_predicate::Matcher::ValueMatch(matcher)) = &single.matcher else {
            return Err(unknown());
        };
        let slot = self.input(single.input.as_ref())?;
        let matcher = string_matcher(matcher).ok_or_else(unknown)?;
        let (arena, names) = (&mut self.arena, &mut self.names);
        let compiled = compile_matcher::text(arena, names, self.snapshot, &matcher, slot);
        let compiled = compiled
            .map_err(|over| over.of_a_part())?
            .ok_or_else(unknown)?;
        let record = self.arena.record(compiled.record);
        let kind = pair(branch::MATCHER, slot);
        Ok(self
            .arena
            .record([kind, record, pair(next.holds, next.fails), 0]))
    }

    /// The slot of the header that an input names.
    fn input(&mut self, input: Option<&TypedExtensionConfig>) -> Result<u64, Left> {
        let config = input.and_then(|input| input.typed_config.as_ref());
        let config = config.ok_or_else(unknown)?;
        let input = HttpRequestHeaderMatchInput::decode(config.value.as_slice());
        let name = input.map_err(|_| unknown())?.header_name;
        let slot = self.names.header_in_a_tree(&name);
        slot.map_err(|over| over.of_a_part())
    }
}

impl Numbers {
    fn skip_matcher(&mut self, matcher: &Matcher) {
        self.0 += routes_of_matcher(matcher);
    }
}

/// How many routes stand below.
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
            Some(TreeType::CustomMatch(_)) | None => 0,
        },
        None => 0,
    };
    below + matcher.on_no_match.as_deref().map_or(0, routes)
}

/// The string matcher as Envoy's own type has it.
fn string_matcher(matcher: &TreeStringMatcher) -> Option<StringMatcher> {
    let pattern = match matcher.match_pattern.as_ref()? {
        TreePattern::Exact(text) => MatchPattern::Exact(text.clone()),
        TreePattern::Prefix(text) => MatchPattern::Prefix(text.clone()),
        TreePattern::Suffix(text) => MatchPattern::Suffix(text.clone()),
        TreePattern::Contains(text) => MatchPattern::Contains(text.clone()),
        TreePattern::SafeRegex(matcher) => MatchPattern::SafeRegex(RegexMatcher {
            regex: matcher.regex.clone(),
            ..RegexMatcher::default()
        }),
        TreePattern::Custom(_) => return None,
    };
    Some(StringMatcher {
        match_pattern: Some(pattern),
        ignore_case: matcher.ignore_case,
    })
}
