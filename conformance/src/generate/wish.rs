//! What inputs have to say so that a way of a matcher tree is taken.

use envoy_types::pb::envoy::config::core::v3::CidrRange;
use envoy_types::pb::xds::r#type::matcher::v3::{
    Matcher, StringMatcher,
    matcher::matcher_list::{
        Predicate,
        predicate::{MatchType, SinglePredicate, single_predicate},
    },
    string_matcher::MatchPattern,
};

use super::sample;
use crate::matcher_tree::{Condition, Input, Turn, input, ranges, several, walk};

/// How many alternatives of one way are told.
const MOST: usize = 32;

/// What an input is asked for.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    Text(String),
    /// An address in it.
    Range(CidrRange),
}

/// What an input is to say.
pub(crate) type Wish = (Input, Asked);

/// What has every turn of the way taken: one list of each way to that. What has to fail is not told.
pub(crate) fn of_way(way: &[Turn]) -> Vec<Vec<Wish>> {
    let mut all = vec![Vec::new()];
    for turn in way {
        let own = of_condition(&turn.condition);
        let both = all
            .iter()
            .flat_map(|above| own.iter().map(|own| [above.as_slice(), own].concat()));
        all = both.take(MOST).collect();
    }
    all
}

/// All that a tree asks for, whether it is to hold or to fail.
pub(crate) fn asked(matcher: &Matcher) -> Vec<Wish> {
    let mut all = Vec::new();
    walk(matcher, &mut |way, action| {
        if let (Some(turn), None) = (way.last(), action) {
            asked_in_condition(&turn.condition, &mut all);
        }
    });
    all
}

fn of_condition(condition: &Condition) -> Vec<Vec<Wish>> {
    match condition {
        Condition::Predicate(predicate) => of_predicate(predicate),
        Condition::Is(input, text) | Condition::StartsWith(input, text) => {
            vec![vec![(input.clone(), Asked::Text(text.clone()))]]
        }
        Condition::In(input, ranges) => {
            let ranges = ranges.iter();
            ranges
                .map(|range| vec![(input.clone(), Asked::Range(range.clone()))])
                .collect()
        }
        Condition::Otherwise | Condition::Always => vec![Vec::new()],
    }
}

fn of_predicate(predicate: &Predicate) -> Vec<Vec<Wish>> {
    match several(predicate) {
        Some((all, true)) => {
            let firsts = all
                .iter()
                .filter_map(|it| of_predicate(it).into_iter().next());
            return vec![firsts.flatten().collect()];
        }
        Some((all, false)) => return all.iter().flat_map(of_predicate).collect(),
        None => {}
    }
    match &predicate.match_type {
        Some(MatchType::SinglePredicate(single)) => {
            let all: Vec<_> = asked_by(single).into_iter().map(|it| vec![it]).collect();
            if all.is_empty() {
                vec![Vec::new()]
            } else {
                all
            }
        }
        _ => vec![Vec::new()],
    }
}

fn asked_in_condition(condition: &Condition, all: &mut Vec<Wish>) {
    match condition {
        Condition::Predicate(predicate) => asked_in_predicate(predicate, all),
        _ => all.extend(of_condition(condition).into_iter().flatten()),
    }
}

fn asked_in_predicate(predicate: &Predicate, all: &mut Vec<Wish>) {
    for one in several(predicate).map_or(&[][..], |(parts, _)| parts) {
        asked_in_predicate(one, all);
    }
    match &predicate.match_type {
        Some(MatchType::SinglePredicate(single)) => all.extend(asked_by(single)),
        Some(MatchType::NotMatcher(not)) => asked_in_predicate(not, all),
        _ => {}
    }
}

fn asked_by(single: &SinglePredicate) -> Vec<Wish> {
    let of = input(single.input.as_ref());
    let asked: Vec<Asked> = match &single.matcher {
        Some(single_predicate::Matcher::ValueMatch(matcher)) => {
            value(matcher).map(Asked::Text).into_iter().collect()
        }
        Some(single_predicate::Matcher::CustomMatch(custom)) => {
            ranges(custom).into_iter().map(Asked::Range).collect()
        }
        None => Vec::new(),
    };
    asked.into_iter().map(|it| (of.clone(), it)).collect()
}

/// A value that the matcher accepts.
fn value(matcher: &StringMatcher) -> Option<String> {
    match matcher.match_pattern.as_ref()? {
        MatchPattern::Exact(text)
        | MatchPattern::Prefix(text)
        | MatchPattern::Suffix(text)
        | MatchPattern::Contains(text) => Some(text.clone()),
        MatchPattern::SafeRegex(regex) => sample::matching(&regex.regex).into_iter().next(),
        MatchPattern::Custom(_) => None,
    }
}
